"""The jackknife: estimates without each cluster, and what they say, as a table that prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import check_option
from clusterglm.inference.uncertainty.degrees import t_interval
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.inference.uncertainty.jackknife import CENTRES, Moments, acceleration, moments, not_finite, reached
from clusterglm.model.arrays import Array
from clusterglm.model.printing import fold

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False, eq=False)
class Jackknife:
    """Estimates without each cluster, or without each of some groups of clusters.

    Parameters
    ----------
    kind : {"exact", "one_step"}
        By fitting again, or by one Newton step.
    names : tuple of str, length q
        Of the parameters.
    estimate : ndarray, shape (q,)
        From all clusters.
    labels : ndarray, shape (k,)
        Of the clusters that were deleted, one at a time; numbers of the groups; positions in the user's table where
        rows are the clusters.
    sizes : ndarray of int64, shape (k,)
        Clusters that each deletion takes away.
    times : ndarray of int64, shape (k,)
        How often each deletion counts: clusters that are alike, where whole-number weights say so.
    deleted : ndarray, shape (k, q)
        Estimates without the cluster or group; nan where there are none.
    units : str
        What is deleted, in words.
    failures : tuple of (str, int)
        Why there are no estimates without a cluster, with counts. What follows then rests on the others.
    seed : int or SeedSequence, optional
        Deals clusters into the same groups again.
    interrupted : bool
        Stopped by the user; clusters that were not reached are nan.
    """

    kind: str
    names: tuple[str, ...]
    estimate: Array
    labels: NDArray[Any]
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]
    deleted: Array
    units: str
    failures: tuple[tuple[str, int], ...] = ()
    seed: int | np.random.SeedSequence | None = None
    interrupted: bool = False

    @property
    def bias(self) -> Array:
        """Of the estimates, shape (q,): with m clusters (m - 1) times the mean without a cluster less the estimate."""
        return self.estimate - self.corrected

    @property
    def corrected(self) -> Array:
        """Estimates less their bias, shape (q,): Quenouille's."""
        return self._moments("mean").corrected

    @property
    def pseudo_values(self) -> Array:
        """Tukey's pseudo-values, m estimate - (m - 1) deleted, shape (k, q)."""
        return self._moments("mean").pseudo

    @property
    def std_error(self) -> Array:
        """Roots of the diagonal of `cov()`, shape (q,)."""
        return np.sqrt(np.diag(self._moments("mean").covariance))

    @property
    def df(self) -> float:
        """Degrees of freedom of intervals: clusters, or groups, that have been deleted, less one."""
        return self._moments("mean").df

    @property
    def acceleration(self) -> Array:
        """What BCa intervals take from a jackknife, shape (q,)."""
        return acceleration(self.deleted, self.times)

    def cov(self, centre: str = "mean") -> pd.DataFrame:
        """Covariance matrix of the estimates.

        Parameters
        ----------
        centre : {"mean", "estimate"}
            Whether (m - 1)/m times the sum of squares is of deviations from the mean of the estimates without a cluster
            (Efron and Tibshirani 1993, chapter 11), or from the estimate of all: the latter, of least squares, is CV3
            of MacKinnon, Nielsen and Webb (Journal of Applied Econometrics 38, 2023), (m - 1)/m times `cov("CR3")`.

        Returns
        -------
        DataFrame
            Rows and columns by parameter.

        Raises
        ------
        OptionError
            On another centre.
        """
        import pandas as pd

        return pd.DataFrame(self._moments(centre).covariance, index=list(self.names), columns=list(self.names))

    @with_alpha
    def interval(self, *, level: float = 0.95, centre: str = "mean") -> tuple[Array, Array]:
        """Intervals of Student's t about the estimates, on as many degrees of freedom as there are clusters, less one.

        Parameters
        ----------
        level : float
        centre : {"mean", "estimate"}
            See `cov`.

        Returns
        -------
        low, high : ndarray, shape (q,)
            Symmetric about the estimate, of standard deviations too, where an end may lie below 0.

        Raises
        ------
        OptionError
            On another centre or level.
        """
        found = self._moments(centre)
        se = np.sqrt(np.diag(found.covariance))
        if np.isnan(found.df):
            return np.full(len(se), np.nan), np.full(len(se), np.nan)
        return t_interval(self.estimate, se, np.full(len(se), found.df), level)

    @with_alpha
    def to_frame(self, *, level: float = 0.95, centre: str = "mean") -> pd.DataFrame:
        """A row for each parameter.

        Parameters
        ----------
        level, centre
            Of the standard errors and intervals; see `interval` and `cov`.

        Returns
        -------
        DataFrame
            `estimate`, `bias`, `corrected` (estimate less bias), `std_error`, `df`, `conf_low`, `conf_high`.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        found, (low, high) = self._moments(centre), self.interval(level=level, centre=centre)
        columns = {
            "estimate": self.estimate,
            "bias": self.bias,
            "corrected": self.corrected,
            "std_error": np.sqrt(np.diag(found.covariance)),
            "df": np.full(len(self.names), found.df if np.isnan(found.df) else int(found.df)),
            "conf_low": low,
            "conf_high": high,
        }
        return shown(pd.DataFrame(columns, index=pd.Index(self.names, name="term")))

    def to_html(self) -> str:
        """The table of `to_frame`, and what is to be said of it, for a page."""
        words = "".join(f"<p>{line}</p>" for line in self.caveats)
        return f"<p>{self.heading}</p>{self.to_frame()._repr_html_()}{words}"  # type: ignore[operator]

    def table(self) -> pd.DataFrame:
        """A row for each deletion.

        Returns
        -------
        DataFrame
            `label`, `n_clusters` (that it takes away), `times`, and for each parameter `deleted_NAME` and
            `pseudo_NAME`.
        """
        import pandas as pd

        columns: dict[str, Any] = {"label": self.labels, "n_clusters": self.sizes, "times": self.times}
        columns |= {f"deleted_{name}": self.deleted[:, j] for j, name in enumerate(self.names)}
        columns |= {f"pseudo_{name}": self.pseudo_values[:, j] for j, name in enumerate(self.names)}
        return pd.DataFrame(columns, copy=True)

    def __str__(self) -> str:
        return "\n".join([fold(self.heading), str(self.to_frame()), *map(fold, self.caveats)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.to_html()

    @property
    def heading(self) -> str:
        """What was done, in words."""
        how = "one Newton step" if self.kind == "one_step" else "fitting again"
        return f"Jackknife: estimates without {self.units}, by {how}"

    @property
    def caveats(self) -> list[str]:
        """What a reader should know of fits that failed, were not reached, or lack a parameter."""
        lines = ["interrupted: what was not reached does not count"] if self.interrupted else []
        lines += [f"{number} without estimates, which do not count: {reason}" for reason, number in self.failures]
        return [*lines, *not_finite(self.names, self.deleted[reached(self.deleted)])]

    def _moments(self, centre: str) -> Moments:
        check_option("centre", centre, CENTRES)
        return moments(self.estimate, self.deleted, self.sizes, self.times, centre)
