"""From where the data sets of a power simulation come: a fit, or a model with assumed values."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np

from clusterglm.api.assumed import AssumedModel
from clusterglm.data.extended import extended
from clusterglm.data.planned import StudyDesign, is_planned, refuse_levels_lost
from clusterglm.data.prepare import ModelData
from clusterglm.errors import ClusterGLMError, ClusterGLMWarning, DataError, OptionError
from clusterglm.model.arrays import Array
from clusterglm.results.models.base import Result

_PROTOTYPES = 20  # data sets that are tried until one can be fitted

Draw = Callable[[np.random.Generator], Array]


class Source(Protocol):
    """What draws data sets, and a fit of the model to one of them, which fits it to any other."""

    @property
    def fit(self) -> Any: ...
    @property
    def beta(self) -> Array: ...
    def same(self, clusters: int | None, size: int | None) -> bool:
        """Whether all data sets of these sizes have the same rows, responses apart."""

    def rows(self, clusters: int | None, size: int | None, rng: np.random.Generator) -> ModelData:
        """Rows, with responses of whatever kind."""

    def drawing(self, rows: ModelData, beta: Array) -> Draw:
        """What draws responses of these rows, at some coefficients."""

    def digest(self) -> str:
        """A hash of all that the numbers depend on."""

    @property
    def words(self) -> str:
        """The model and its values."""


@dataclass(frozen=True)
class FromFit:
    """A fit: its estimates are the truth, its clusters are those that others are copies of."""

    fit: Any

    @property
    def beta(self) -> Array:
        """Coefficients, shape (p,)."""
        found: Array = self.fit._beta
        return found

    def same(self, clusters: int | None, size: int | None) -> bool:
        return size is None and (clusters is None or clusters % self.fit.data.rows.n_clusters == 0)

    def rows(self, clusters: int | None, size: int | None, rng: np.random.Generator) -> ModelData:
        return extended(self.fit.data.rows, clusters, size, rng)

    def drawing(self, rows: ModelData, beta: Array) -> Draw:
        estimates = self.fit.fit
        changes: dict[str, Any] = {"beta": np.array(beta)}
        if "data" in {field.name for field in fields(estimates)}:
            changes["data"] = rows
        draw: Draw = replace(self.fit, data=rows, fit=replace(estimates, **changes))._draw_new
        return draw

    def digest(self) -> str:
        return _hash(*_of_rows(self.fit.data.rows), repr(self.fit.response), *self.fit.params, *self.fit._estimates)

    @property
    def words(self) -> str:
        return f"{self.fit._in_words} of {self.fit.formula}, from its estimates"


@dataclass(frozen=True)
class FromValues:
    """A model with assumed values, and planned or given rows."""

    model: AssumedModel
    design: Any
    fit: Any

    @property
    def beta(self) -> Array:
        """Coefficients, shape (p,)."""
        return self.model.truth.beta

    @property
    def _planned(self) -> StudyDesign | None:
        return self.design if is_planned(self.design) else None

    def same(self, clusters: int | None, size: int | None) -> bool:
        planned = self._planned
        if planned is not None:
            return not planned.random
        return size is None and (clusters is None or clusters % self.design.n_clusters == 0)

    def rows(self, clusters: int | None, size: int | None, rng: np.random.Generator) -> ModelData:
        planned = self._planned
        if planned is None:
            return extended(self.design, clusters, size, rng)
        _, rows = self.model.rows(planned.resized(clusters, size), rng)
        refuse_levels_lost(rows.names, self.model.names)
        return rows

    def drawing(self, rows: ModelData, beta: Array) -> Draw:
        truth = replace(self.model.truth, beta=beta)
        return lambda rng: truth.draw(rows, rng)

    def digest(self) -> str:
        truth, planned = self.model.truth, self._planned
        of_rows = [repr(planned.__dict__)] if planned is not None else _of_rows(self.design)
        factor = [] if truth.factor is None else [truth.factor]
        law = "" if truth.distribution is None else truth.distribution.name
        own = getattr(truth.response, "values", getattr(truth.response, "sd", ""))
        values = [repr(type(truth.response).__name__), repr(own), truth.beta, *factor, law, truth.sigma]
        return _hash(self.model.formula, *of_rows, *values)

    @property
    def words(self) -> str:
        truth = self.model.truth
        named = [f"{name} = {value:g}" for name, value in zip(self.model.names, truth.beta, strict=True)]
        if truth.distribution is not None:
            named.append(f"sigma = {truth.sigma:g}")
        elif truth.factor is not None:
            sds = np.sqrt(np.sum(truth.factor**2, axis=1))
            named.append(f"standard deviations of effects {', '.join(f'{sd:g}' for sd in sds)}")
        return f"{self.model.formula}, {truth.response.family} ({truth.response.link}); {', '.join(named)}"


def from_fit(fit: Result) -> FromFit:
    """A fit as a source.

    Raises
    ------
    OptionError
        For fits whose clusters have intercepts of their own, or whose weights are not whole numbers.
    """
    if getattr(fit, "_own_intercepts", False) or not fit.data.in_memory:
        raise OptionError(
            f"power from a {fit.kind} fit" + ("" if fit.data.in_memory else " to data elsewhere"),
            "a model whose clusters are drawn, fitted to a table in memory",
            "cg.random_effects(...) or cg.pooled(...)",
        )
    return FromFit(fit._written_out("a power simulation"))


def from_values(
    model: AssumedModel, design: Any, rows: ModelData, seed: np.random.SeedSequence, how: Mapping[str, Any]
) -> FromValues:
    """Assumed values as a source: with a fit to one of the first data sets that can be fitted.

    Parameters
    ----------
    model : AssumedModel
    design : StudyDesign or table
    rows : ModelData
        Of the design.
    seed : SeedSequence
    how : mapping
        Further arguments of the verb.

    Raises
    ------
    DataError
        When none of twenty data sets can be fitted.
    """
    import clusterglm.api.verbs as verbs

    clustered = rows.cluster_name is not None
    options = {**model.options, **how}
    if not clustered:
        options = {name: value for name, value in options.items() if name not in ("quadrature", "reml", "distribution")}
    verb: Any = verbs.random_effects if clustered else verbs.pooled
    reason: ClusterGLMError | None = None
    for child in seed.spawn(_PROTOTYPES):
        rng = np.random.default_rng(child)
        try:
            table, some = model.rows(design, rng)
            data = model.frame(table, some, model.truth.draw(some, rng))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ClusterGLMWarning)
                fit = verb(model.formula, data.to_native(), **options)
        except OptionError:
            raise
        except (DataError, ArithmeticError) as problem:
            reason = problem if isinstance(problem, ClusterGLMError) else None
            continue
        return FromValues(model, design if is_planned(design) else rows, fit)
    raise DataError(
        f"{_PROTOTYPES} data sets of this design, none of which could be fitted"
        + ("" if reason is None else f" (the last: {reason.got})"),
        "a design from which the model can be estimated",
        "larger clusters or more of them, or smaller effects" if reason is None else reason.advice,
    )


def _of_rows(rows: ModelData) -> list[Any]:
    effects = [] if rows.effects is None else [rows.effects.Z]
    return [rows.formula, rows.X, rows.offset, rows.trials, rows.starts, *effects]


def _hash(*parts: Any) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
        found.update(b"\0")
    return found.hexdigest()[:16]
