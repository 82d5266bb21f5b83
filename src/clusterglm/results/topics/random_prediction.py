"""Predictions with a random intercept: typical, given what is known of the cluster, averaged, of a new cluster."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.errors import PredictionWarning, check_option
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.inference.predictions.marginal_mean import marginal_link
from clusterglm.inference.predictions.new_cluster import new_cluster_ends
from clusterglm.inference.predictions.posterior_mean import Posterior, posterior_mean, posterior_of
from clusterglm.inference.predictions.prediction import (
    LinkPrediction,
    PredictedIntercepts,
    at_intercepts,
    combined,
    given_clusters,
    posterior_modes,
)
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.likelihood.integrator import Intercepts
from clusterglm.model.arrays import Array
from clusterglm.results.topics.given_clusters import GivenClusters, Known
from clusterglm.results.topics.newdata import Rows
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    import pandas as pd

_ENOUGH = 1e-6  # tolerance of a fit whose rules serve posterior moments too
_NO_MEAN = "no finite mean over the intercept's distribution: its tails are too heavy"
_UNRESOLVED = "the mean over the intercept's distribution is not known accurately"
_UNRESOLVED_GIVEN = "the mean given the cluster's data is not known accurately"
_ONE_FOR_ALL = "sigma is estimated as 0: the interval knows no differences between clusters"


class RandomEffectsPredictions(GivenClusters):
    """Predictions with a random intercept."""

    _kinds: tuple[str, ...] = ("typical", "conditional", "posterior", "marginal")
    _drawn_kinds = ("typical", "marginal")
    _drawn_clusters = 0

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
        unseen: str = ...,
        interval: str = ...,
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
        unseen: str = ...,
        interval: str = ...,
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
        unseen: str = "refuse",
        interval: str = "mean",
    ) -> pd.Series[float] | pd.DataFrame:
        """Predict rows of the fitted data or of new data, at random intercepts of a kind.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
        kind : {"typical", "conditional", "posterior", "marginal"} or array_like, optional
            An intercept of zero, that of a typical cluster (the default); the posterior mode of the row's own cluster
            (the default with `history`); the mean averaged over the posterior of that cluster's intercept, which is the
            probability that the next response is a success (or the count to be expected), given the cluster's data;
            the mean averaged over the distribution of intercepts, that of the population; or a number, or one for each
            row of the answer.
        scale : {"response", "link"}
            Scale of the predictions: the mean (of one trial, for a binomial), or the linear predictor, for "posterior"
            and "marginal" the link of the averaged mean. Offsets are included, weights are not.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.
        history : table, optional
            Observed rows, response included, of clusters that the fit has not seen: in these clusters "conditional" and
            "posterior" are given the history, at the fitted parameters. A cluster of the fit that has a history is
            judged by its history alone. Rows of the history count with weight one.
        unseen : {"refuse", "marginal"}
            What "conditional" and "posterior" do where nothing is known of a row's cluster: refuse the row, or predict
            it as "marginal" does; `status` says so.
        interval : {"mean", "cluster"}
            What intervals of "marginal" predictions are to hold: the averaged mean, which is known the better the more
            clusters were seen; or the mean of one new cluster, wherever in the distribution its intercept lies.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error`, `low`, `high` and
            `status`: "ok", or what is missing. The interval is one of the linear predictor, transformed; the standard
            error follows by the delta method.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance, or a history, `unseen` or `interval` where they say nothing.
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
        zero (a shape that was estimated counts as known). Those of "conditional" add the posterior variance of the
        intercept about its mode (Booth and Hobert, Journal of the American Statistical Association 93, 1998), so that
        these intervals are to hold the mean of the row's own cluster. Those of "posterior" do not: they are to hold the
        posterior mean, not the cluster's own mean, which lies further from it the less was seen of the cluster.

        A mode is not a mean: in small clusters without successes (or without failures) "conditional" predicts fewer
        (more) of them than happen, while "posterior" is right on average whatever was seen.

        With interval="cluster" the ends are quantiles of eta + v + e, where v is a new cluster's intercept and e the
        error of the estimates, normal with their covariance (sigma's on the log scale).
        """
        check_option("scale", scale, self._scales)
        if history is not None:
            kind = self._kind_with_history(data, kind)
        self._check_questions(kind, level, unseen, interval)
        return self._predicted(data, kind, scale, Wanted(level, cov, history, interval, unseen))

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        if kind == "typical":
            return at_intercepts(rows.eta(self._beta))
        if kind == "marginal":
            return self._marginal(rows, np.ones(rows.size, dtype=bool), wanted)
        history = self._history(wanted.history)
        known = self._known(rows, history, wanted)
        at = (self._at_modes if kind == "conditional" else self._at_means)(rows, known, history, wanted)
        if known.unseen.any():
            at = combined(known.unseen, self._marginal(rows, known.unseen, wanted), at)
            self._say_unseen(rows, known)
        return at

    def _marginal(self, rows: Rows, where: NDArray[np.bool_], wanted: Wanted) -> LinkPrediction:
        fit, eta = self.fit, rows.eta(self._beta)
        known = np.flatnonzero(~np.isnan(eta) & where)
        found = marginal_link(eta[known], fit.sigma, fit.response, fit.distribution)
        link, by_eta, by_sigma = (np.full(rows.size, np.nan) for _ in range(3))
        link[known], by_eta[known], by_sigma[known] = found.link, found.by_eta, found.by_sigma
        reason = _UNRESOLVED if found.exists else _NO_MEAN
        lacking = np.zeros(rows.size, dtype=bool)
        lacking[known] = ~found.resolved if found.exists else True
        rows.status.note(lacking, reason)
        if lacking.any() and wanted.level is None:
            warnings.warn(f"{int(lacking.sum())} of {rows.size} rows: {reason}", PredictionWarning, stacklevel=7)
        of_new = None
        if wanted.interval == "cluster":
            of_new = where
            if fit.sigma == 0.0 and not fit.sigma_fixed:
                rows.status.note(where, _ONE_FOR_ALL)
        return LinkPrediction(link, by_eta, np.zeros(rows.size), by_sigma=by_sigma, of_new=of_new)

    def _at_modes(self, rows: Rows, known: Known, history: ModelData | None, wanted: Wanted) -> LinkPrediction:
        fit = self.fit
        if history is None:
            if wanted.level is None:
                return at_intercepts(rows.eta(self._beta) + fit.modes[known.codes])
            return self._with_posterior(rows, known, self._posterior)
        found = self._modes_of(history, fit.accurate_intercepts(history))
        if (known.codes >= history.n_clusters).any():
            own = self._posterior
            found = PredictedIntercepts(
                np.append(found.values, own.values),
                np.vstack([found.derivatives, own.derivatives]),
                np.append(found.variances, own.variances),
            )
        return self._with_posterior(rows, known, found)

    def _with_posterior(self, rows: Rows, known: Known, intercepts: PredictedIntercepts) -> LinkPrediction:
        endless = np.isinf(intercepts.variances)[known.codes] & ~known.unseen
        rows.status.note(endless, "the cluster's intercept has no posterior variance")
        return given_clusters(rows.eta(self._beta), known.codes, intercepts)

    def _at_means(self, rows: Rows, known: Known, history: ModelData | None, wanted: Wanted) -> LinkPrediction:
        """Averaged over the posteriors, those given the history first."""
        m, n, q = 0 if history is None else history.n_clusters, rows.size, len(self.fit.parameters)
        wanted_rows = rows.status.ok & ~known.unseen
        link, own, resolved = np.full(n, np.nan), np.zeros((n, q)), np.ones(n, dtype=bool)
        for given, base, inside in ((history, 0, known.codes < m), (None, m, known.codes >= m)):
            which = np.flatnonzero(wanted_rows & inside)
            if len(which) == 0:
                continue
            posterior = self._integrals if given is None else self._posterior_of(given)
            codes, gradient = known.codes[which] - base, wanted.level is not None
            found = posterior_mean(posterior, rows.X[which], rows.offset[which], codes, gradient)
            link[which], resolved[which] = found.link, found.resolved
            if gradient:
                own[which] = found.gradient
        rows.status.note(~resolved, _UNRESOLVED_GIVEN)
        if not resolved.all() and wanted.level is None:
            count = int(np.count_nonzero(~resolved))
            warnings.warn(f"{count} of {n} rows: {_UNRESOLVED_GIVEN}", PredictionWarning, stacklevel=7)
        return LinkPrediction(link, np.zeros(n), np.zeros(n), own=own, cluster=np.arange(n))

    def _posterior_of(self, data: ModelData) -> Posterior:
        fit = self.fit
        return posterior_of(data, self.response, fit.distribution, fit.theta, fit.kernel_of(data))

    def _new_cluster_ends(self, rows: Rows, which: NDArray[np.int64], cov: str, level: float) -> tuple[Array, Array]:
        fit, V = self.fit, self._delta_covariance(cov)
        eta = rows.eta(self._beta)[which]
        return new_cluster_ends(rows.X[which], eta, V, fit.sigma, fit.distribution, level)

    @cached_property
    def _integrals(self) -> Posterior:
        return self._posterior_of(self.fit.data.rows)

    @cached_property
    def _posterior(self) -> PredictedIntercepts:
        fit, used = self.fit, self.fit.integration
        accurate = used.requested.kind == "auto" and used.requested.tolerance <= _ENOUGH and used.accurate
        return self._modes_of(fit.data.rows, fit.intercepts if accurate else fit.accurate_intercepts(fit.data.rows))

    def _modes_of(self, data: ModelData, found: Intercepts) -> PredictedIntercepts:
        return posterior_modes(data, self.response, self.fit.distribution, self.fit.theta, found)
