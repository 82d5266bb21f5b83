"""Predictions of conditional models: log ratios, and probabilities within sets given their totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.data.clusters import cluster_column, encode, group, rows_of
from clusterglm.errors import OptionError, check_option
from clusterglm.inference.predictions.inclusion import inclusion, shares_of_events
from clusterglm.inference.predictions.prediction import LinkPrediction, at_intercepts
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows, cluster_codes, one_per_row
from clusterglm.results.topics.prediction import Predictions, Wanted

if TYPE_CHECKING:
    import pandas as pd


class SetPredictions(Predictions):
    """Predictions of a model that has coefficients but no intercepts: differences, and probabilities within sets."""

    _kinds = ("link", "set")
    _scales = ("link", "ratio", "probability")
    _takes_kind = False

    @overload
    def predict(
        self, data: Any = ..., *, scale: str = ..., level: None = ..., cov: str = ..., total: Any = ...
    ) -> pd.Series[float]: ...
    @overload
    def predict(
        self, data: Any = ..., *, scale: str = ..., level: float, cov: str = ..., total: Any = ...
    ) -> pd.DataFrame: ...

    @with_alpha
    def predict(
        self,
        data: Any = None,
        *,
        scale: str = "link",
        level: float | None = None,
        cov: str = "observed",
        total: ArrayLike | None = None,
    ) -> pd.Series[float] | pd.DataFrame:
        """The linear predictor without an intercept, or probabilities within sets of rows.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
            For probabilities also that of the clusters: all rows of a cluster are a set.
        scale : {"link", "ratio", "probability"}
            Scale of the predictions. The linear predictor, offsets included: differences within a cluster are log odds
            (or rate) ratios. Its exponential. Or the probability that the row is a success (one trial of it, if it has
            several), given the number of successes of its set; of counts, the probability that an event of the set
            falls to the row.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust", "quasi"}
            Covariance of the estimates, for the intervals.
        total : int or array_like, optional
            Successes of each set, for probabilities: one number, or one for each row that is the same within a set. By
            default as many as were observed; in new data, where each row is one trial, 1.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error` (delta method), `low`,
            `high` (an interval on the scale of the link, transformed; of probabilities the logit) and `status`: "ok",
            or what is missing. Where one row of a set cannot be predicted none of its probabilities is known; where the
            total leaves nothing to chance they are 0 or 1, without a standard error.

        Raises
        ------
        OptionError
            On another scale or covariance, or totals that are none; means need intercepts, which `cg.fixed_effects`
            estimates.
        ClusterError
            When probabilities are wanted of new data without the cluster column.
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted: they are nan.

        Notes
        -----
        For one success in a set the probabilities are exp(x'beta) over its sum in the set, McFadden's conditional logit
        (in: Zarembka, Frontiers in Econometrics, 1974); for several, of those of all subsets of as many rows.
        """
        check_option("scale", scale, self._scales)
        if scale != "probability" and total is not None:
            raise OptionError(
                f"total= with scale={scale!r}", "probabilities, which depend on it", 'scale="probability"'
            )
        kind = "set" if scale == "probability" else "link"
        return self._predicted(data, kind, scale, Wanted(level, cov, total=total))

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        if kind == "link":
            return at_intercepts(rows.eta(self._beta))
        n = rows.size
        if rows.frame is None:
            data = self.data.rows
            order, starts, size = np.arange(n), data.starts, data.a + data.b
        else:
            order, starts = _sets(rows, self.data.cluster_name)
            size = np.ones(len(order))
        of = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        incomplete = np.bincount(of, ~rows.status.ok[order], len(starts) - 1) > 0.0
        where = np.zeros(n, dtype=bool)
        where[order] = incomplete[of]
        rows.status.refuse(where, "another row of its set cannot be predicted")
        logit, gradient = np.full(n, np.nan), np.full((n, len(self._beta)), np.nan)
        sets = np.flatnonzero(~incomplete)
        if not self.response.poisson_totals:
            total = self._totals(rows, order, starts, wanted.total)
            sets = self._possible(rows, order, starts, total, size, sets)
        elif wanted.total is not None:
            raise OptionError("total= for counts", "nothing: an event falls to a row, whatever their sum", "no total=")
        if len(sets) > 0:
            within, begin = rows_of(starts, sets)
            chosen = order[within]
            X, offset = rows.X[chosen], rows.offset[chosen]
            if not self.response.poisson_totals:
                found = inclusion(X, offset, size[within], total[sets], begin, self._beta, self.response)
            else:
                found = shares_of_events(X, X @ self._beta + offset, begin)
            logit[chosen], gradient[chosen] = found.logit, found.gradient
        rows.status.note(np.isinf(logit), "no standard error: its set's total leaves nothing to chance")
        return LinkPrediction(logit, np.zeros(n), np.zeros(n), own=gradient, cluster=np.arange(n))

    def _totals(self, rows: Rows, order: NDArray[np.int64], starts: NDArray[np.int64], given: Any) -> Array:
        """Successes of each set; nan where rows of a set disagree."""
        first = starts[:-1]
        if given is None:
            return np.ones(len(first)) if rows.frame is not None else np.add.reduceat(self.data.rows.a, first)
        total = rows.given(one_per_row(given, rows.size, ("the observed number",), "total"))[order]
        least, most = (f.reduceat(total, first) if len(first) > 0 else total for f in (np.minimum, np.maximum))
        if np.any(least != most) or np.any(total != np.round(total)) or np.any(total < 0.0):
            raise OptionError(
                "total= with numbers that differ within a set, or are not whole, or negative",
                "the number of successes of each set",
                "total=1",
            )
        return np.asarray(least)

    def _possible(
        self,
        rows: Rows,
        order: NDArray[np.int64],
        starts: NDArray[np.int64],
        total: Array,
        size: Array,
        sets: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """The sets that have as many trials as successes at least; rows of others are refused."""
        trials = np.add.reduceat(size, starts[:-1]) if len(sets) > 0 else total
        short = total > trials
        where = np.zeros(rows.size, dtype=bool)
        where[order] = np.repeat(short, np.diff(starts))
        rows.status.refuse(where, "its set has fewer trials than successes")
        return sets[~short[sets]]


def _sets(rows: Rows, name: str | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of new data in the order of their sets, and where these begin; rows without a label are refused."""
    assert rows.frame is not None
    codes, _ = cluster_codes(np.empty(0, dtype=object), name, rows.frame)
    rows.status.refuse(codes == -2, f"missing value in {name!r}")
    known = np.flatnonzero(codes != -2)
    labels = cluster_column(rows.frame, str(name))
    assert labels is not None  # the codes above have been found
    coded = encode(labels[known])
    grouping = group(coded.codes, len(coded.labels))
    return known if grouping.order is None else known[grouping.order], grouping.starts
