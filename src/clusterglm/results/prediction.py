"""Predictions of every kind of result, with standard errors, intervals and a status for each row."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.errors import OptionError, PredictionWarning, check_option
from clusterglm.fit.random_effects import RandomEffectsFit
from clusterglm.inference.covariance import KINDS as COVARIANCES
from clusterglm.inference.intervals import check_level, with_alpha
from clusterglm.inference.marginal_mean import marginal_link
from clusterglm.inference.prediction import (
    LinkPrediction,
    PredictedIntercepts,
    at_intercepts,
    fixed_intercepts,
    given_clusters,
    on_scale,
    posterior_modes,
    with_interval,
)
from clusterglm.likelihood.profile import ClusterProfile
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.results.newdata import (
    Rows,
    cluster_codes,
    fitted_rows,
    history_data,
    new_rows,
    one_per_row,
    refuse_unknown_clusters,
)
from clusterglm.results.weighted import Weighted

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.fit.fixed_effects import FixedEffectsFit

SCALES = ("response", "link")
_NAMES = {"response": "mean", "link": "linear_predictor", "ratio": "ratio"}
_ENOUGH = 1e-6  # tolerance of a fit whose rules serve posterior moments too
_NO_MEAN = "no finite mean over the intercept's distribution: its tails are too heavy"
_UNRESOLVED = "the mean over the intercept's distribution is not known accurately"


class Predictions(Weighted):
    """The steps of a prediction, which kinds of results share."""

    _kinds: tuple[str, ...] = ("typical", "conditional", "marginal")
    """Words for the intercept, the default first."""

    if TYPE_CHECKING:

        @property
        def response(self) -> Response: ...
        @property
        def _beta(self) -> Array: ...
        def _covariance(self, kind: str) -> Array: ...

    def _predicted(
        self, data: Any, kind: str | ArrayLike | None, scale: str, level: float | None, cov: str, history: Any
    ) -> pd.Series[float] | pd.DataFrame:
        check_option("cov", cov, COVARIANCES)
        if level is not None:
            check_level(level)
        wanted = self._kinds[0] if kind is None else kind
        rows = fitted_rows(self.data) if data is None else new_rows(self.data, data)
        if isinstance(wanted, str) and wanted in self._kinds:
            at = self._at_kind(wanted, rows, history, level is not None)
        else:
            at = self._at_numbers(wanted, rows)
        return self._table(at, rows, scale, level, cov)

    def _at_kind(self, kind: str, rows: Rows, history: Any, uncertain: bool) -> LinkPrediction:
        """At an intercept by name; `uncertain`: with what the standard errors need."""
        return at_intercepts(rows.eta(self._beta))

    def _at_numbers(self, kind: Any, rows: Rows) -> LinkPrediction:
        if isinstance(kind, str) and kind in (*SCALES, "ratio"):
            raise OptionError(
                f"kind={kind!r}", f"one of {', '.join(map(repr, self._kinds))}, or intercepts", f"scale={kind!r}"
            )
        if isinstance(kind, str):
            check_option("kind", kind, self._kinds)
        shift = np.broadcast_to(one_per_row(kind, rows.size, self._kinds, "kind"), (rows.size,))
        if rows.frame is None:  # given in the order of the user's table
            shift = shift[np.argsort(np.argsort(rows.index, kind="stable"), kind="stable")]
        return at_intercepts(rows.eta(self._beta) + shift)

    def _table(
        self, at: LinkPrediction, rows: Rows, scale: str, level: float | None, cov: str
    ) -> pd.Series[float] | pd.DataFrame:
        import pandas as pd

        order = np.argsort(rows.index, kind="stable")
        index = pd.Index(rows.index[order], name="row")
        if level is None:
            refused = int(np.count_nonzero(~rows.status.ok))
            if refused > 0:
                warnings.warn(
                    f"{refused} of {rows.size} rows cannot be predicted ({rows.status})",
                    PredictionWarning,
                    stacklevel=5,
                )
            values = on_scale(scale, self.response, at.estimate)[0]
            return pd.Series(values[order], index=index, name=_NAMES[scale])
        variance = at.variance(rows.X, self._covariance(cov))
        found = with_interval(scale, self.response, at.estimate, variance, level)
        return pd.DataFrame(
            {
                "estimate": found.estimate[order],
                "std_error": found.std_error[order],
                "low": found.low[order],
                "high": found.high[order],
                "status": rows.status.text[order],
            },
            index=index,
        )

    def _codes(self, rows: Rows, labels: NDArray[Any] | None = None, where: str = "the fit") -> NDArray[np.int64]:
        """Each row's cluster, 0 where it is not known and the row therefore refused."""
        if rows.frame is None:
            return np.repeat(np.arange(self.data.n_clusters), np.diff(self.data.starts))
        known = self.data.labels if labels is None else labels
        codes, words = cluster_codes(known, self.data.cluster_name, rows.frame)
        refuse_unknown_clusters(rows.status, codes, words, str(self.data.cluster_name), where)
        return np.maximum(codes, 0)


class PooledPredictions(Predictions):
    """Predictions where clusters have no effect: all kinds mean the same."""

    @overload
    def predict(
        self,
        data: Any = ...,
        kind: str | ArrayLike | None = ...,
        *,
        scale: str = ...,
        level: None = ...,
        cov: str = ...,
    ) -> pd.Series[float]: ...
    @overload
    def predict(
        self, data: Any = ..., kind: str | ArrayLike | None = ..., *, scale: str = ..., level: float, cov: str = ...
    ) -> pd.DataFrame: ...

    @with_alpha
    def predict(
        self,
        data: Any = None,
        kind: str | ArrayLike | None = None,
        *,
        scale: str = "response",
        level: float | None = None,
        cov: str = "observed",
    ) -> pd.Series[float] | pd.DataFrame:
        """Predict rows of the fitted data or of new data.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
        kind : {"typical", "conditional", "marginal"} or array_like, optional
            Which intercept; without cluster effects the words mean the same. A number, or one for each row, is added to
            the linear predictor.
        scale : {"response", "link"}
            The mean (of one trial, for a binomial), or the linear predictor. Offsets are included, weights are not.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error` (delta method), `low`,
            `high` (an interval of the linear predictor, transformed) and `status`: "ok", or what is missing.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance.
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted: they are nan.
        """
        check_option("scale", scale, SCALES)
        return self._predicted(data, kind, scale, level, cov, None)


class RatioPredictions(Predictions):
    """Predictions of a model that has coefficients but no intercepts."""

    _kinds = ("link",)

    @overload
    def predict(self, data: Any = ..., *, scale: str = ..., level: None = ..., cov: str = ...) -> pd.Series[float]: ...
    @overload
    def predict(self, data: Any = ..., *, scale: str = ..., level: float, cov: str = ...) -> pd.DataFrame: ...

    @with_alpha
    def predict(
        self, data: Any = None, *, scale: str = "link", level: float | None = None, cov: str = "observed"
    ) -> pd.Series[float] | pd.DataFrame:
        """The linear predictor without an intercept: differences within a cluster are log odds (or rate) ratios.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
        scale : {"link", "ratio"}
            The linear predictor, offsets included, or its exponential.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error`, `low`, `high` and
            `status`.

        Raises
        ------
        OptionError
            On another scale or covariance; means need intercepts, which `cg.fixed_effects` estimates.
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted: they are nan.
        """
        check_option("scale", scale, ("link", "ratio"))
        return self._predicted(data, None, scale, level, cov, None)


class FixedEffectsPredictions(Predictions):
    """Predictions at estimated intercepts."""

    _kinds = ("conditional",)

    if TYPE_CHECKING:
        fit: FixedEffectsFit

        @property
        def _profile(self) -> ClusterProfile: ...

    @overload
    def predict(
        self,
        data: Any = ...,
        kind: str | ArrayLike | None = ...,
        *,
        scale: str = ...,
        level: None = ...,
        cov: str = ...,
    ) -> pd.Series[float]: ...
    @overload
    def predict(
        self, data: Any = ..., kind: str | ArrayLike | None = ..., *, scale: str = ..., level: float, cov: str = ...
    ) -> pd.DataFrame: ...

    @with_alpha
    def predict(
        self,
        data: Any = None,
        kind: str | ArrayLike | None = None,
        *,
        scale: str = "response",
        level: float | None = None,
        cov: str = "observed",
    ) -> pd.Series[float] | pd.DataFrame:
        """Predict rows of the fitted data or of new data of the same clusters.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side and of the clusters; by default the
            rows that were used.
        kind : "conditional" or array_like, optional
            The intercepts of the rows' own clusters; or a number, or one for each row of the answer.
        scale : {"response", "link"}
            The mean (of one trial, for a binomial), or the linear predictor. Offsets are included, weights are not.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error` (from the joint
            information of coefficients and intercepts), `low`, `high` (an interval of the linear predictor,
            transformed) and `status`: "ok", or what is missing. 0 or 1, without a standard error, in clusters whose
            intercept is infinite.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance.
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted: they are nan.
        """
        check_option("scale", scale, SCALES)
        return self._predicted(data, kind, scale, level, cov, None)

    def _at_kind(self, kind: str, rows: Rows, history: Any, uncertain: bool) -> LinkPrediction:
        codes = self._codes(rows)
        intercepts = self.fit.intercepts[codes]
        if not uncertain:
            return at_intercepts(rows.eta(self._beta) + intercepts)
        nothing = "failures" if self.response.family == "binomial" else "zero"
        for where, which in ((np.isneginf(intercepts), nothing), (np.isposinf(intercepts), "successes")):
            rows.status.note(where, f"no standard error: the cluster's responses are all {which}")
        at = fixed_intercepts(self._profile, self.data.cluster_weights / self._repeats.clusters)
        known = PredictedIntercepts(self.fit.intercepts, at.derivatives, at.variances)
        return given_clusters(rows.eta(self._beta), codes, known)


class RandomEffectsPredictions(Predictions):
    """Predictions with a random intercept."""

    if TYPE_CHECKING:
        fit: RandomEffectsFit

    @overload
    def predict(
        self,
        data: Any = ...,
        kind: str | ArrayLike | None = ...,
        *,
        scale: str = ...,
        level: None = ...,
        cov: str = ...,
        history: Any = ...,
    ) -> pd.Series[float]: ...
    @overload
    def predict(
        self,
        data: Any = ...,
        kind: str | ArrayLike | None = ...,
        *,
        scale: str = ...,
        level: float,
        cov: str = ...,
        history: Any = ...,
    ) -> pd.DataFrame: ...

    @with_alpha
    def predict(
        self,
        data: Any = None,
        kind: str | ArrayLike | None = None,
        *,
        scale: str = "response",
        level: float | None = None,
        cov: str = "observed",
        history: Any = None,
    ) -> pd.Series[float] | pd.DataFrame:
        """Predict rows of the fitted data or of new data, at random intercepts of a kind.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
        kind : {"typical", "conditional", "marginal"} or array_like, optional
            An intercept of zero, that of a typical cluster (the default); the posterior mode of the row's own cluster
            (the default with `history`); the mean averaged over the distribution of intercepts, that of the population;
            or a number, or one for each row of the answer.
        scale : {"response", "link"}
            The mean (of one trial, for a binomial), or the linear predictor: for "marginal" the link of the averaged
            mean. Offsets are included, weights are not.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.
        history : table, optional
            Observed rows, response included, of clusters that the fit has not seen: in these clusters "conditional"
            means the posterior mode given the history, at the fitted parameters. A cluster of the fit that has a
            history is judged by its history alone. Rows of the history count with weight one.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error`, `low`, `high` and
            `status`: "ok", or what is missing. The interval is one of the linear predictor, transformed; the standard
            error follows by the delta method.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance, or a history for another kind than "conditional".
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted (they are nan) or have no finite mean (inf); and when rows of
            the history are not complete.

        Notes
        -----
        Standard errors carry the uncertainty of the estimates, sigma's included unless it was held fixed or lies at
        zero. Those of "conditional" add the posterior variance of the intercept about its mode (Booth and Hobert,
        Journal of the American Statistical Association 93, 1998).
        """
        check_option("scale", scale, SCALES)
        if history is not None:
            kind = self._kind_with_history(data, kind)
        return self._predicted(data, kind, scale, level, cov, history)

    def _kind_with_history(self, data: Any, kind: Any) -> str:
        if data is None:
            raise OptionError("history= without data=", "the rows to predict in its clusters", "predict(new, ...)")
        if kind is not None and not (isinstance(kind, str) and kind == "conditional"):
            raise OptionError(f"history= with kind={kind!r}", 'kind="conditional"', "leave kind= out")
        return "conditional"

    def _at_kind(self, kind: str, rows: Rows, history: Any, uncertain: bool) -> LinkPrediction:
        if kind == "typical":
            return at_intercepts(rows.eta(self._beta))
        if kind == "marginal":
            return self._marginal(rows, uncertain)
        if history is not None:
            return self._given_history(rows, history)
        codes = self._codes(rows)
        if uncertain:
            return self._with_posterior(rows, codes, self._posterior)
        return at_intercepts(rows.eta(self._beta) + self.fit.modes[codes])

    def _marginal(self, rows: Rows, uncertain: bool) -> LinkPrediction:
        fit, eta = self.fit, rows.eta(self._beta)
        known = np.flatnonzero(~np.isnan(eta))
        found = marginal_link(eta[known], fit.sigma, fit.response, fit.distribution)
        link, by_eta, by_sigma = (np.full(rows.size, np.nan) for _ in range(3))
        link[known], by_eta[known], by_sigma[known] = found.link, found.by_eta, found.by_sigma
        reason = _UNRESOLVED if found.exists else _NO_MEAN
        where = np.zeros(rows.size, dtype=bool)
        where[known] = ~found.resolved if found.exists else True
        rows.status.note(where, reason)
        if where.any() and not uncertain:
            warnings.warn(f"{int(where.sum())} of {rows.size} rows: {reason}", PredictionWarning, stacklevel=6)
        return LinkPrediction(link, by_eta, np.zeros(rows.size), by_sigma=by_sigma)

    def _given_history(self, rows: Rows, table: Any) -> LinkPrediction:
        """History first, then the fit's own clusters."""
        fit = self.fit
        history, left = history_data(self.data, fit.response, table)
        if not left.ok.all():
            count = int(np.count_nonzero(~left.ok))
            warnings.warn(f"{count} rows of the history are not complete ({left})", PredictionWarning, stacklevel=6)
        found = posterior_modes(history, fit.response, fit.distribution, fit.theta)
        assert rows.frame is not None
        name = str(self.data.cluster_name)
        codes, words = cluster_codes(history.labels, name, rows.frame)
        fitted, _ = cluster_codes(self.data.labels, name, rows.frame)
        m = len(found.values)
        both = np.where((codes == -1) & (fitted >= 0), m + fitted, codes)
        refuse_unknown_clusters(rows.status, both, words, name, "the fit or the history")
        if (both >= m).any():
            own = self._posterior
            found = PredictedIntercepts(
                np.append(found.values, own.values),
                np.vstack([found.derivatives, own.derivatives]),
                np.append(found.variances, own.variances),
            )
        return self._with_posterior(rows, np.maximum(both, 0), found)

    def _with_posterior(self, rows: Rows, codes: NDArray[np.int64], intercepts: PredictedIntercepts) -> LinkPrediction:
        rows.status.note(np.isinf(intercepts.variances)[codes], "the cluster's intercept has no posterior variance")
        return given_clusters(rows.eta(self._beta), codes, intercepts)

    @cached_property
    def _posterior(self) -> PredictedIntercepts:
        fit, used = self.fit, self.fit.integration
        accurate = used.requested.kind == "auto" and used.requested.tolerance <= _ENOUGH and used.accurate
        known = fit.intercepts if accurate else None
        return posterior_modes(fit.data, fit.response, fit.distribution, fit.theta, known)
