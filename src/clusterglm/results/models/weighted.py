"""How many rows and clusters a result stands for, and the result with all of them written out."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.data.repeats import (
    Counts,
    Repeats,
    counts_of,
    repeats_of,
    sizes_of_clusters,
    written_out,
    written_out_clusters,
)
from clusterglm.likelihood.plan import Plan
from clusterglm.model.arrays import Array
from clusterglm.results.tables.table import counted, sizes_in_words

_OF_CLUSTERS = ("intercepts", "informative")  # arrays of a fit with an element for each cluster

Self = TypeVar("Self", bound="Weighted")


class Weighted:
    """What weights do to a result besides its likelihood."""

    if TYPE_CHECKING:
        data: FittedData

    @cached_property
    def _counts(self) -> Counts:
        return counts_of(self.data.rows)

    @property
    def _repeats(self) -> Repeats:
        """How many rows and clusters each one stands for."""
        return repeats_of(self.data.rows)

    @property
    def _single(self) -> tuple[Array, Array]:
        """What `ModelData` has as a and b, of one of the rows that each row stands for."""
        return self.data.rows.a / self.data.rows.weights, self.data.rows.b / self.data.rows.weights

    def _sandwich(self, covariance: Array, scores: Array, clusters: NDArray[np.bool_] | None = None) -> Array:
        """Robust covariance from scores of clusters, or of some of them."""
        from clusterglm.inference.uncertainty.covariance import sandwich

        repeats = self._repeats.clusters
        return sandwich(covariance, scores, repeats if clusters is None else repeats[clusters])

    def _written_out(self: Self, what: str) -> Self:
        """This result with rows and clusters as often as their weights say, for `what` draws or counts them.

        Raises
        ------
        OptionError
            Where weights are not whole numbers.
        """
        data = written_out(self.data.rows, what)
        if data is self.data.rows:
            return self
        state: dict[str, Any] = {"data": data, "fit": _of_clusters(self.fit, self.data.rows, data)}  # type: ignore[attr-defined]
        return replace(self, **state)  # type: ignore[type-var]  # all results are dataclasses

    def _sizes(self) -> str:
        """Rows of the clusters, in words."""
        ones = Repeats(np.broadcast_to(1.0, self.data.n_obs), np.broadcast_to(1.0, self.data.n_clusters))
        return sizes_in_words(sizes_of_clusters(self.data.rows, self._repeats if self._counts.whole else ones))

    def _weight_facts(self) -> list[tuple[str, str]]:
        """What a summary says of weights; nothing where there are none."""
        counts, words = self._counts, []
        sums = {
            "case": ("case weights", counts.sum_rows, self.data.n_obs, "row"),
            "cluster": ("cluster weights", counts.sum_clusters, self.data.n_clusters, "cluster"),
        }
        if len(counts.weighted) == 2:
            sums["case"] = ("case weights times those of clusters", *sums["case"][1:])
        for name in counts.weighted:
            what, total, number, unit = sums[name]
            words.append(f"{what}, which sum to {total:.10g} in {counted(number, unit)} of the table")
        if counts.fractions:
            words.append("not all whole numbers, so that they do not say how many rows there are")
        return [("Weights", "; ".join(words))] if words else []


def _of_clusters(fit: Any, data: ModelData, new: ModelData) -> Any:
    """A fit with what belongs to clusters as often as they are repeated."""
    clusters = written_out_clusters(data)
    names = {field.name for field in fields(fit)}
    changes: dict[str, Any] = {name: getattr(fit, name)[clusters] for name in _OF_CLUSTERS if name in names}
    if "data" in names:
        changes["data"] = new
    if "plan" in names:
        changes["plan"] = _plan(fit.plan, clusters)
    return replace(fit, **changes) if changes else fit


def _plan(plan: Plan, clusters: NDArray[np.int64]) -> Plan:
    return tuple(
        part if part.clusters is None else replace(part, clusters=np.flatnonzero(np.isin(clusters, part.clusters)))
        for part in plan
    )
