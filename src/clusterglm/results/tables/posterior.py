"""How posteriors print, and what predictions of clusters left out are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array
from clusterglm.results.tables.table import listed, wrapped
from clusterglm.sample.loo import Pointwise

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class PosteriorSummary:
    """A table of parameters, with how the draws came about.

    Parameters
    ----------
    table : DataFrame
    facts, prior : tuple of (label, text)
    notes : tuple of str
        What to know of the draws.
    """

    table: pd.DataFrame
    facts: tuple[tuple[str, str], ...]
    prior: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        labels = max(len(label) for label, _ in (*self.facts, *self.prior)) + 2
        shown = self.table.copy()
        for name in shown.columns:
            decimals = 0 if name.startswith("ess") else 3 if name == "rhat" else 4
            shown[name] = [f"{value:.{decimals}f}" for value in shown[name]]
        parts = ["Posterior of the parameters", ""]
        parts += listed(self.facts, labels)
        parts += ["", shown.to_string(index_names=False), "", "Prior:"]
        parts += [f"  {label + ':':<{labels}}{text}" for label, text in self.prior]
        for note in self.notes:
            parts += ["", *wrapped(f"Note: {note}", "", " " * 6)]
        return "\n".join(parts)

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class PredictiveAccuracy:
    """Expected log predictive density of clusters, each given the others.

    Parameters
    ----------
    kind : {"loo", "waic"}
    labels : ndarray, shape (m,)
    repeats : ndarray, shape (m,)
        How many clusters each one stands for.
    pointwise : Pointwise
        Of one of these, without constants of the data.
    constants : ndarray, shape (m,)
        These of one of each, which no parameter enters.
    worst : float
        Pareto k above which a cluster's part is not to be trusted.
    """

    kind: str
    labels: NDArray[Any]
    repeats: Array
    pointwise: Pointwise
    constants: Array
    worst: float

    @property
    def elpd(self) -> float:
        """Sum over clusters, constants included, so that it compares with log-likelihoods."""
        return float(self.repeats @ self._each)

    @property
    def se(self) -> float:
        """Standard error of the sum, of the clusters as a sample."""
        return standard_error(self._each, self.repeats)

    @property
    def _each(self) -> Array:
        return self.pointwise.elpd + self.constants

    @property
    def p(self) -> float:
        """Effective number of parameters."""
        return float(self.repeats @ self.pointwise.p)

    @property
    def ic(self) -> float:
        """-2 elpd, on the scale of AIC."""
        return -2.0 * self.elpd

    @property
    def n_uncertain(self) -> int:
        """Clusters whose Pareto k is above the threshold."""
        return int(np.count_nonzero(self.pointwise.tails > self.worst))

    def to_frame(self) -> pd.DataFrame:
        """A row for each cluster: `label`, `elpd`, `p`, `pareto_k`."""
        import pandas as pd

        point = self.pointwise
        return pd.DataFrame({"label": self.labels, "elpd": self._each, "p": point.p, "pareto_k": point.tails})

    def __str__(self) -> str:
        words = f"elpd ({self.kind}, by cluster) {self.elpd:.2f} (Std. Error {self.se:.2f})"
        words += f", p {self.p:.2f}, ic {self.ic:.2f}"
        if self.n_uncertain:
            words += (
                f"\nPareto k above {self.worst:.2f} in {self.n_uncertain} clusters: their parts are not to be trusted"
            )
        return words

    __repr__ = __str__


def standard_error(values: Array, repeats: Array) -> float:
    """Of a sum over clusters, as often as they are repeated."""
    m = float(repeats.sum())
    mean = float(repeats @ values) / m
    return float(np.sqrt(m / (m - 1.0) * (repeats @ (values - mean) ** 2))) if m > 1.0 else np.nan


def compared(models: Sequence[tuple[str, PredictiveAccuracy]]) -> pd.DataFrame:
    """Models beside each other, the best first."""
    import pandas as pd

    from clusterglm.results.tables.frame import shown

    best = max((accuracy for _, accuracy in models), key=lambda accuracy: accuracy.elpd)
    rows = []
    for k, (formula, one) in enumerate(models):
        away = one.pointwise.elpd - best.pointwise.elpd
        rows.append([k, formula, one.elpd, one.se, one.p, one.elpd - best.elpd, standard_error(away, one.repeats)])
    names = ["model", "formula", "elpd", "se", "p", "difference", "se_difference"]
    return shown(pd.DataFrame(rows, columns=names).set_index("model").sort_values("elpd", ascending=False))
