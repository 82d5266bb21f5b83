"""Survival curves from models of rows that are periods at risk."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import encode, group
from clusterglm.data.prepare import FittedData
from clusterglm.data.tables.table import column, to_pandas_columns
from clusterglm.errors import DataError, OptionError, check_option
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.inference.uncertainty.intervals import check_level, wald_interval, with_alpha
from clusterglm.model.arguments import several
from clusterglm.model.arguments import shown as in_words
from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows, new_rows

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    import pandas as pd

    from clusterglm.inference.predictions.survival import SurvivalCurves

_OWN = ("hazard", "survival", "std_error", "low", "high", "status")
_UNRESOLVED = "the mean over frailties is not known accurately"


class Survival:
    """Survival curves where rows are periods and the response is the event."""

    if TYPE_CHECKING:
        data: FittedData

        @property
        def _covariances(self) -> tuple[str, ...]: ...
        def _delta_covariance(self, kind: str) -> Array: ...

    @with_alpha
    def survival(
        self,
        data: Any,
        time: str,
        by: str | Sequence[str] | None = None,
        kind: str = "marginal",
        *,
        level: float = 0.95,
        cov: str = "observed",
    ) -> pd.DataFrame:
        """Survival curves of discrete time, of a fit to person-period data.

        The rows that were fitted are periods in which a person (or tooth, or firm) was at risk, the response is whether
        the event came in the period, and the random intercept is the frailty of a person or of a group of persons.

        Parameters
        ----------
        data : table
            Curves to predict: a row for each period from the first, with the columns of the right-hand side.
        time : str
            Its column of periods: numbers or dates, which order the rows of a curve.
        by : str or sequence of str, optional
            Columns whose values name the curves; without it all rows are one curve.
        kind : {"marginal", "typical"}
            Averaged over the distribution of frailties, that of the population; or at a random intercept of zero.
        level : float
            Coverage of the intervals.
        cov : {"observed", "robust"}
            Covariance of the estimates.

        Returns
        -------
        DataFrame
            A row for each period, curve by curve: the columns of `by`, that of `time`, `hazard` (the probability of the
            event in the period for those who come to it: for "marginal" it falls below the typical one as the frail
            leave), `survival` at its end, `std_error`, `low`, `high` of the survival, and `status`: "ok", or why the
            curve is not known from here on.

        Raises
        ------
        OptionError
            On another kind, level or covariance.
        DataError
            When a column is missing altogether, periods cannot be ordered, or a curve has a period twice.

        Notes
        -----
        S(t) = E prod_{s <= t} (1 - h(eta_s + v)), the likelihood of no event in any period. Standard errors by the
        delta method in coefficients and sigma; intervals on the scale log(-log S), transformed, so that they stay
        between 0 and 1. With the cloglog link this is the proportional hazards model of grouped survival times
        (Prentice and Gloeckler, Biometrics 34, 1978). Of counts, with exposures or offsets for the lengths of periods,
        the hazard is constant within each: S(t) = E exp(-sum of means).

        Examples
        --------
        >>> import pandas as pd
        >>> import clusterglm as cg
        >>> bacteria = cg.datasets.load("bacteria")
        >>> fit = cg.random_effects("y ~ week", bacteria, cluster="ID", success="n")
        >>> new = pd.DataFrame({"week": [0, 2, 4]})
        >>> fit.survival(new, "week")["survival"].round(2).to_list()
        [0.88, 0.77, 0.67]
        """
        check_option("kind", kind, ("marginal", "typical"))
        check_option("cov", cov, self._covariances)
        check_level(level)
        rows = new_rows(self.data, data)
        self._complete(rows)
        assert rows.frame is not None
        names = curve_columns(time, by)
        order, starts = curves(rows.frame, time, names)
        known = _refuse_rest(rows, order, starts)
        at = order[known]
        lengths = (
            np.add.reduceat(known.astype(np.int64), starts[:-1]) if len(order) > 0 else np.zeros(0, dtype=np.int64)
        )
        begin = np.concatenate([[0], np.cumsum(lengths[lengths > 0])])
        found = self._survival_curves(rows, at, begin, kind)
        log_survival, gradient = np.full(rows.size, np.nan), np.full((rows.size, found.gradient.shape[1]), np.nan)
        log_survival[at], gradient[at] = found.log_survival, found.gradient
        lacking = np.zeros(rows.size, dtype=bool)
        lacking[at] = ~found.accurate
        rows.status.note(lacking, _UNRESOLVED)
        return self._survival_table(rows, order, starts, log_survival, gradient, [*names, time], level, cov)

    def _complete(self, rows: Rows) -> None:
        """Refuse rows that lack what the random part needs."""

    @abstractmethod
    def _survival_curves(
        self, rows: Rows, at: NDArray[np.int64], begin: NDArray[np.int64], kind: str
    ) -> SurvivalCurves:
        """Of some rows, curve by curve and in time."""

    def _survival_table(
        self,
        rows: Rows,
        order: NDArray[np.int64],
        starts: NDArray[np.int64],
        log_survival: Array,
        gradient: Array,
        names: list[str],
        level: float,
        cov: str,
    ) -> pd.DataFrame:
        from clusterglm.results.tables.frame import shown

        V = self._delta_covariance(cov)
        log_survival, gradient = log_survival[order], gradient[order]
        before = np.append(0.0, log_survival[:-1])
        before[starts[:-1]] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt(np.einsum("ij,jk,ik->i", gradient, V, gradient))
            ends = wald_interval(np.log(-log_survival), error / -log_survival, level)
            high, low = (np.exp(-np.exp(end)) for end in ends)
        assert rows.frame is not None
        table = to_pandas_columns(rows.frame[order], names).reset_index(drop=True)
        survival = np.exp(log_survival)
        return shown(
            table.assign(
                hazard=-np.expm1(log_survival - before),
                survival=survival,
                std_error=survival * error,
                low=low,
                high=high,
                status=rows.status.text[order],
            )
        )


class RandomEffectsSurvival(Survival):
    """Averaged over a random intercept."""

    if TYPE_CHECKING:
        fit: RandomEffectsFit

    def _survival_curves(
        self, rows: Rows, at: NDArray[np.int64], begin: NDArray[np.int64], kind: str
    ) -> SurvivalCurves:
        from clusterglm.inference.predictions.survival import survival_curves

        fit = self.fit
        theta = fit.parameters.joined(fit.beta, fit.sigma if kind == "marginal" else 0.0)
        return survival_curves(rows.X[at], rows.offset[at], begin, theta, fit.response, fit.distribution)


def curve_columns(time: str, by: str | Sequence[str] | None) -> list[str]:
    """The columns that name curves; `OptionError` where these or that of time are no names."""
    names = [by] if isinstance(by, str) else [] if by is None else several("by", by, "columns", "by='treated'")
    for argument, name in (("time", time), *(("by", name) for name in names)):
        if not isinstance(name, str):
            raise OptionError(f"{argument}={in_words(name)}", "the name of a column", f"{argument}='period'")
        if name in _OWN:
            raise OptionError(f"{argument}={name!r}, which the answer has too", "another name", "a renamed column")
    return names


def curves(
    frame: nw.DataFrame[Any], time: str, names: Sequence[str], *, once: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows' order, curve by curve and in time, and where curves begin; with a time but once in each, if so."""
    times = column(frame, time, "time=").to_numpy()
    if times.dtype.kind not in "iufM":
        raise DataError(
            f"time={time!r}, a column of {times.dtype}", "numbers or dates, which have an order", "numbers of periods"
        )
    if np.any(np.isnat(times) if times.dtype.kind == "M" else np.isnan(times)):
        raise DataError(f"time={time!r} with missing values", "the period of every row", "rows that have it")
    code = np.zeros(len(times), dtype=np.int64)
    for name in names:
        both = np.column_stack([code, encode(column(frame, name, "by=")).codes])
        code = np.unique(both, axis=0, return_inverse=True)[1].ravel()
    in_time = np.argsort(times, kind="stable")
    grouping = group(code[in_time], int(code.max()) + 1 if len(code) > 0 else 0)
    order = in_time if grouping.order is None else in_time[grouping.order]
    same = (np.diff(code[order]) == 0) & (times[order][1:] == times[order][:-1])
    if once and same.any():
        twice = times[order][:-1][same][0]
        raise DataError(
            f"period {twice} of {time!r} twice in a curve", "a row for each period of a curve", "by= what names curves"
        )
    return order, grouping.starts


def _refuse_rest(rows: Rows, order: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Periods, in order, up to which nothing is missing; those after one that cannot be predicted are refused."""
    bad = np.cumsum(~rows.status.ok[order])
    before = np.repeat(np.append(0, bad)[starts[:-1]], np.diff(starts))
    known = np.asarray(bad == before)
    where = np.zeros(rows.size, dtype=bool)
    where[order] = ~known
    rows.status.refuse(where, "an earlier period of its curve cannot be predicted")
    return known
