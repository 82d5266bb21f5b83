"""What a reader should know before trusting a fit: only what applies to this one, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clusterglm.fit.newton import Optimization
from clusterglm.model.response.base import Response
from clusterglm.results.models.weighted import Weighted
from clusterglm.results.tables.table import counted

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from clusterglm.model.arrays import Array

_FEW_FOR_ROBUST = 40  # clusters below which the sandwich is too small on average
_EVENTS = 10  # for each coefficient
_APART = 1.5  # robust over model-based standard error that asks for an explanation


@dataclass(frozen=True)
class Caveat:
    """One thing to know.

    Parameters
    ----------
    title : str
    words : str
    serious : bool
        The numbers may be wrong, not just uncertain.
    """

    title: str
    words: str
    serious: bool = False


class Caveats(Weighted):
    """What there is to know of every kind of result."""

    if TYPE_CHECKING:

        @property
        def response(self) -> Response: ...
        @property
        def penalty(self) -> str | None: ...
        @property
        def optimization(self) -> Optimization: ...
        @property
        def converged(self) -> bool: ...
        @property
        def n_clusters(self) -> int: ...
        @property
        def bse(self) -> pd.Series[float]: ...
        @property
        def _testable(self) -> tuple[tuple[str, ...], Array, NDArray[np.int64]]: ...
        @property
        def _covariances(self) -> tuple[str, ...]: ...
        def cov(self, kind: str = ...) -> pd.DataFrame: ...

    def _caveats(self) -> list[Caveat]:
        """All that apply; a kind of result adds its own."""
        return [
            *self._caveats_of_optimisation(),
            *self._caveats_of_penalty(),
            *self._caveats_of_data(),
            *self._caveats_of_clusters(),
        ]

    def _caveats_of_optimisation(self) -> list[Caveat]:
        if self.converged:
            return []
        words = f"The optimiser stopped early: {self.optimization.message}. The estimates are not at the maximum."
        return [Caveat("Not converged", words, serious=True)]

    def _caveats_of_penalty(self) -> list[Caveat]:
        if self.penalty is None:
            return []
        words = (
            "The coefficients maximise the likelihood with a penalty, which keeps them finite whatever the responses. "
            "Where responses are separated, normal intervals and Wald tests are unreliable: use profile intervals, and "
            "likelihood-ratio tests between fits with the penalty."
        )
        return [Caveat("Penalised likelihood", words)]

    def _caveats_of_data(self) -> list[Caveat]:
        found = []
        lost = [dropped for dropped in self.data.dropped if dropped.reason != "outside subset"]  # that one was wanted
        if lost:
            total = sum(dropped.count for dropped in lost)
            share = total / (total + self.data.n_obs)
            reasons = "; ".join(f"{dropped.count} for {dropped.reason}" for dropped in lost)
            words = (
                f"{counted(total, 'row')} of the table ({100 * share:.3g}%) played no part: {reasons}. The estimates "
                "speak for the rows that are left; if what is missing has to do with the response, they can be biased."
            )
            found.append(Caveat("Rows left out", words))
        rows = self.data.rows
        weights = np.repeat(rows.cluster_weights, np.diff(rows.starts))
        events = self.response.events(float(weights @ rows.a), float(weights @ rows.b))
        kind = self.response.words.events
        p = len(self.data.names)
        if p > 0 and events < _EVENTS * p:
            words = (
                f"There are {events:.4g} {kind} for {counted(p, 'coefficient')}. Below about {_EVENTS} for each, "
                "estimates tend to lie too far from zero and normal intervals are unreliable: profile intervals are "
                "safer."
            )
            found.append(Caveat("Few events", words))
        return found

    def _caveats_of_clusters(self) -> list[Caveat]:
        m = self.n_clusters
        if self.data.cluster_name is None:
            return []
        if m < _FEW_FOR_ROBUST:
            sandwich = "robust (sandwich) standard errors are too small on average, and "
            words = (
                f"With {counted(m, 'cluster')}, {sandwich if 'robust' in self._covariances else ''}tests and intervals "
                "that rest on many clusters are optimistic. Bootstrap intervals are safer."
            )
            return [Caveat("Few clusters", words)]
        return self._caveats_of_robust() if self.penalty is None and "robust" in self._covariances else []

    def _caveats_of_robust(self) -> list[Caveat]:
        errors, (names, _, places) = self.bse.to_numpy(), self._testable
        ratio = np.sqrt(np.diag(self.cov("robust").to_numpy()))[places[: len(errors)]] / errors
        if len(ratio) == 0 or not np.isfinite(ratio).all() or np.abs(np.log(ratio)).max() < np.log(_APART):
            return []
        j = int(np.abs(np.log(ratio)).argmax())
        words = (
            f"The robust standard error of {names[j]} is {ratio[j]:.2f} times that of the model. If the "
            "model held, they would be about the same: rows of a cluster may be dependent in another way than the "
            "model says, or vary more."
        )
        return [Caveat("Robust standard errors differ", words)]


def without_a_say(informative: int, clusters: int) -> list[Caveat]:
    """Caveat of a model in which only some clusters say something of the coefficients."""
    if informative == clusters:
        return []
    words = (
        f"In {clusters - informative} of {clusters} clusters the responses are all alike (or certain given their "
        f"total). They say nothing of the coefficients, which rest on the other {informative}."
    )
    return [Caveat("Clusters without a say", words)]


def caveats(fit: Caveats) -> list[Caveat]:
    """All that apply to a fit, the serious ones first."""
    return sorted(fit._caveats(), key=lambda caveat: not caveat.serious)
