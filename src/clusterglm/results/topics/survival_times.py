"""Survival curves and hazards of continuous time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.data.prepare import FittedData
from clusterglm.data.tables.table import column, read_table, to_pandas_columns
from clusterglm.errors import DataError, check_option
from clusterglm.inference.uncertainty.intervals import check_level, wald_interval, with_alpha
from clusterglm.model.arguments import shown as in_words
from clusterglm.model.arrays import Array
from clusterglm.results.topics.kinds import Averaging
from clusterglm.results.topics.newdata import Rows, new_rows
from clusterglm.results.topics.survival import curve_columns, curves

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.predictions.durations import LogHazards, LogTimes
    from clusterglm.model.distribution.base import Distribution
    from clusterglm.model.response.own.durations import Durations

UNRESOLVED = "the average over frailties is not known accurately"
_TIME, _ROW = "time", "row"  # columns of times that are given as numbers, and of the rows that are at each
_LOG_HAZARD_AT_0 = -30.0  # logarithm of a cumulative hazard that is as good as none


@dataclass(frozen=True)
class Frailty:
    """What n rows' linear predictors have from their clusters.

    Parameters
    ----------
    sigma : float, or ndarray of shape (n,)
        Its scale.
    distribution : Distribution or None
        None: nothing.
    slopes : ndarray, shape (n, r)
        Derivatives of the scale in the r parameters of the distribution of effects.
    """

    sigma: float | Array
    distribution: Distribution | None
    slopes: Array

    @classmethod
    def none(cls, n: int) -> Frailty:
        return cls(0.0, None, np.zeros((n, 0)))

    def of(self, rows: NDArray[np.int64]) -> Frailty:
        """That of some rows."""
        sigma = self.sigma[rows] if isinstance(self.sigma, np.ndarray) else self.sigma
        return Frailty(sigma, self.distribution, self.slopes[rows])

    def log_hazards(self, x: Array) -> LogHazards:
        """See `log_cumulative_hazards`."""
        from clusterglm.inference.predictions.durations import log_cumulative_hazards

        return log_cumulative_hazards(x, self.sigma, self.distribution)

    def mean_times(self, eta: Array, k: float) -> LogTimes:
        """See there."""
        from clusterglm.inference.predictions.durations import mean_times

        return mean_times(eta, k, self.sigma, self.distribution)

    def quantile_times(self, probability: float, eta: Array, k: float) -> LogTimes:
        """See there."""
        from clusterglm.inference.predictions.durations import quantile_times

        return quantile_times(probability, eta, k, self.sigma, self.distribution)

    def moved(self, by_sigma: Array) -> Array:
        """Derivatives in the parameters of effects, shape (n, r), of what has these in the scale, shape (n,)."""
        return by_sigma[:, None] * self.slopes


class SurvivalTimes:
    """Survival where responses are times."""

    _smooth_survival: ClassVar[bool] = True
    """Whether curves go on between their points rather than step down at them."""
    _where: ClassVar[tuple[str, ...]]

    if TYPE_CHECKING:
        data: FittedData

        @property
        def _covariances(self) -> tuple[str, ...]: ...
        @property
        def _durations(self) -> Durations: ...
        def _eta_of(self, rows: Rows, kind: Any) -> tuple[Array, Averaging]: ...
        def _moves(self, rows: Rows, kind: Any, cov: str) -> Array | None: ...

    @abstractmethod
    def _frailty(self, rows: Rows, averaged: Averaging) -> Any:
        """What rows' linear predictors have from their clusters; rows where that is not known are refused.

        `averaged` is what `_eta_of` says.
        """

    @abstractmethod
    def _delta_errors(
        self, X: Array, by_eta: Array, by_frailty: Array, by_k: Array, cov: str, moves: Array | None = None
    ) -> Array:
        """Standard errors of functions of the estimates, one of each row; `moves` as `KindsInWords` has them."""

    @with_alpha
    def survival(
        self,
        data: Any,
        time: str | ArrayLike,
        by: str | Sequence[str] | None = None,
        kind: str = "marginal",
        *,
        level: float | None = 0.95,
        cov: str = "observed",
    ) -> pd.DataFrame:
        """Survival curves and hazards.

        Parameters
        ----------
        data : table
            Rows to predict, with the columns of the right-hand side.
        time : str or array_like
            A column of `data` with the time at which each row is asked for, or numbers, at each of which every row is.
        by : str or sequence of str, optional
            Columns whose values name the curves, to tell them apart in the answer and in `fit.plot.survival`.
        kind : {"marginal", "typical", "conditional"}
            Averaged over the distribution of frailties, that of the population; at a random intercept of zero; or at
            the posterior mode of the row's own cluster. In a pooled model they are the same. Mass points have no
            "typical", and average "conditional" ones.
        level : float or None
            Coverage of the intervals; None for none.
        cov : {"observed", "robust"}
            Covariance of the estimates.

        Returns
        -------
        DataFrame
            A row for each row and time, curve by curve: the columns of `by` (without it, and with times as numbers, the
            `row` of the table), the time, `hazard` (for "marginal" that of those who come to the time, which falls
            below the typical one as the frail leave), `survival`, `std_error`, `low`, `high` of the survival, and
            `status`: "ok", or what is missing.

        Raises
        ------
        OptionError
            On another kind, level or covariance.
        DataError
            When a column is missing altogether, or a time is negative or no number.

        Notes
        -----
        S(t) = E exp(-t^k exp(eta + u)), k the shape. Standard errors by the delta method in the coefficients, sigma and
        the shape; intervals on the scale log(-log S), transformed.
        """
        from clusterglm.results.tables.frame import shown

        check_option("kind", kind, self._where)
        check_option("cov", cov, self._covariances)
        if level is not None:
            check_level(level)
        table, name = (data, time) if isinstance(time, str) else (_at_each(data, time), _TIME)
        rows = new_rows(self.data, table)
        names = curve_columns(name, _ROW if by is None and not isinstance(time, str) else by)
        assert rows.frame is not None
        order, _ = curves(rows.frame, name, names, once=False)
        t = _times(rows, name)
        eta, averaged = self._eta_of(rows, kind)
        frailty = self._frailty(rows, averaged) if averaged else Frailty.none(rows.size)
        known = np.flatnonzero(~np.isnan(eta) & rows.status.ok)
        frailty, k = frailty.of(known), self._durations.k
        log_t = np.log(np.where(t > 0.0, t, np.exp(_LOG_HAZARD_AT_0 / k)))
        at = frailty.log_hazards((eta + k * log_t)[known])
        whole = np.full((3, rows.size), np.nan)
        whole[:2, known] = at.value, at.by_x
        lacking = np.zeros(rows.size, dtype=bool)
        lacking[known] = ~at.resolved
        rows.status.note(lacking, UNRESOLVED)
        value, by_x, error = whole
        if level is not None:
            by_frailty = frailty.moved(at.by_sigma)
            moves = self._moves(rows, kind, cov)
            moves = None if moves is None else moves[known]
            by_k = (by_x * log_t)[known]
            error[known] = self._delta_errors(rows.X[known], by_x[known], by_frailty, by_k, cov, moves)
        low, high = np.full((2, rows.size), np.nan) if level is None else wald_interval(value, error, level)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            H, begun = np.exp(value), t > 0.0
            hazard, at_once = k * by_x * np.exp(value - log_t), 0.0 if k > 1.0 else np.inf
            answer = {
                "hazard": np.where(begun | (k == 1.0), hazard, at_once + 0.0 * H),
                "survival": np.where(begun, np.exp(-H), 1.0 + 0.0 * H),
                "std_error": np.where(begun, np.exp(-H) * H * error, 0.0 * error),
                "low": np.where(begun, np.exp(-np.exp(high)), 1.0 + 0.0 * error),
                "high": np.where(begun, np.exp(-np.exp(low)), 1.0 + 0.0 * error),
                "status": rows.status.text,
            }
        found = to_pandas_columns(rows.frame[order], [*names, name]).reset_index(drop=True)
        return shown(found.assign(**{each: values[order] for each, values in answer.items()}))


def _times(rows: Rows, name: str) -> Array:
    assert rows.frame is not None
    t = np.asarray(column(rows.frame, name, "time=").to_numpy())
    if t.dtype.kind not in "iuf":
        raise DataError(f"time={name!r}, a column of {t.dtype}", "numbers", "times in the units of the fit")
    t = t.astype(np.float64)
    bad = ~(np.isfinite(t) & (t >= 0.0))
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(f"the time {name!r} is {t[first]:g} in row {first}", "finite times from 0 on", "other times")
    return t


def _at_each(data: Any, times: ArrayLike) -> Any:
    """A table with each of its rows at each of some times, in the column `time`."""
    try:
        t = np.atleast_1d(np.asarray(times, dtype=np.float64))
    except (TypeError, ValueError):
        t = np.zeros((0, 0))
    if t.ndim != 1 or len(t) == 0:
        raise DataError(f"time={in_words(times)}", "the name of a column, or numbers", "time=[1, 2, 5]")
    frame = read_table(data)
    for name in (_TIME, _ROW):
        if name in frame.columns:
            raise DataError(
                f"times as numbers, and data with a column {name!r}",
                "data without it, which the answer has",
                "a column of times, by its name; or another name",
            )
    n = len(frame)
    table = to_pandas_columns(frame, frame.columns).reset_index(drop=True)
    repeated = table.loc[np.repeat(np.arange(n), len(t))].reset_index(drop=True)
    return repeated.assign(**{_TIME: np.tile(t, n), _ROW: np.repeat(np.arange(n), len(t))})
