"""Predictions with several random effects: typical, given what is known of the cluster, averaged."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.data.effects import Effects
from clusterglm.errors import OptionError, PredictionWarning, check_option
from clusterglm.fit.mixed import MixedFit
from clusterglm.inference.predictions.mixed_mean import LogMeans, averaged, given_clusters
from clusterglm.inference.predictions.mixed_modes import mode_derivatives
from clusterglm.inference.predictions.prediction import LinkPrediction, Prediction, at_intercepts, with_interval
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows, cluster_codes, refuse_unknown_clusters
from clusterglm.results.topics.prediction import Predictions, Wanted

if TYPE_CHECKING:
    import pandas as pd

_ROUGH_MEAN = 1e-4  # error of the logarithm of a mean beyond which it is said


class MixedPredictions(Predictions):
    """Predictions with several random effects."""

    _kinds = ("typical", "conditional", "posterior", "marginal")
    _drawn_kinds = ("typical", "marginal")

    if TYPE_CHECKING:
        fit: MixedFit

        def _of_theta(self, kind: str) -> Array: ...

    @overload
    def predict(
        self,
        data: Any = ...,
        kind: str | ArrayLike | None = ...,
        *,
        scale: str = ...,
        level: None = ...,
        cov: str = ...,
        unseen: str = ...,
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
        unseen: str = ...,
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
        unseen: str = "refuse",
    ) -> pd.Series[float] | pd.DataFrame:
        """Predict rows of the fitted data or of new data, at random effects of a kind.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
        kind : {"typical", "conditional", "posterior", "marginal"} or array_like, optional
            Effects of zero, those of a typical cluster (the default); the posterior mode of the row's own cluster; the
            mean averaged over the posterior of that cluster's effects, which is the probability that the next response
            is a success (or the count to be expected), given the cluster's data; the mean averaged over the
            distribution of effects, that of the population; or a number, or one for each row of the answer, that is
            added to the linear predictor.
        scale : {"response", "link"}
            Scale of the predictions: the mean (of one trial, for a binomial), or the linear predictor, for "posterior"
            and "marginal" the link of the averaged mean. Offsets are included, weights are not.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.
        unseen : {"refuse", "marginal"}
            What "conditional" and "posterior" do where nothing is known of a row's cluster: refuse the row, or predict
            it as "marginal" does; `status` says so.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error`, `low`, `high` and
            `status`: "ok", or what is missing. The interval is one of the linear predictor, transformed; the standard
            error follows by the delta method.

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

        Notes
        -----
        Standard errors carry the uncertainty of the estimates, those of the covariance included unless they lie on the
        boundary. Those of "conditional" add the variance of the effects about their mode given the data, so that these
        intervals are to hold the mean of the row's own cluster (Booth and Hobert, Journal of the American Statistical
        Association 93, 1998). Those of "posterior" are to hold the posterior mean.
        """
        check_option("scale", scale, self._scales)
        check_option("unseen", unseen, ("refuse", "marginal"))
        if unseen == "marginal" and not (isinstance(kind, str) and kind in ("conditional", "posterior")):
            raise OptionError(
                f'unseen="marginal" with kind={kind!r}', "a kind that asks for a row's cluster", 'kind="posterior"'
            )
        return self._predicted(data, kind, scale, Wanted(level, cov, unseen=unseen))

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        if kind == "typical":
            return at_intercepts(rows.eta(self._beta))
        Z = self._effect_rows(rows)
        if kind == "marginal":
            return self._from_means(averaged, rows, Z, np.ones(rows.size, dtype=bool))
        codes, unseen = self._known_clusters(rows, wanted)
        given = kind == "posterior"
        found = self._given(rows, Z, codes, ~unseen) if given else self._at_modes(rows, Z, codes, wanted)
        if not unseen.any():
            return found
        return _merged(unseen, self._from_means(averaged, rows, Z, unseen), found)

    def _with_interval(self, at: LinkPrediction, rows: Rows, scale: str, level: float, cov: str) -> Prediction:
        """Derivatives are in the factor of the covariance, not in what is shown of it."""
        return with_interval(scale, self.response, at.estimate, at.variance(rows.X, self._of_theta(cov)), level)

    def _effect_rows(self, rows: Rows) -> Array:
        """z of each row; those without a value are refused."""
        effects: Effects = self.fit.effects
        if rows.frame is None:
            return effects.Z
        Z = np.full((rows.size, effects.Z.shape[1]), np.nan)
        first = 0
        for term in effects.terms:
            found = term.design.rows(rows.frame)
            for reason, where in found.missing:
                rows.status.refuse(where, reason)
            for unseen in found.unseen:
                name = unseen.factor.column or unseen.factor.expression
                rows.status.refuse(unseen.where, f"level {unseen.level!r} of {name!r} not seen in the fit")
            Z[:, first : first + found.X.shape[1]] = found.X
            first += found.X.shape[1]
        rows.status.refuse(np.asarray(~np.isfinite(Z).all(axis=1)), "a random effect's column is not finite")
        return Z

    def _known_clusters(self, rows: Rows, wanted: Wanted) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Each row's cluster, 0 where there is none, and rows whose cluster the fit has not seen and may not have."""
        if rows.frame is None:
            return self._codes(rows), np.zeros(rows.size, dtype=bool)
        codes, words = cluster_codes(self.data.rows.labels, self.data.cluster_name, rows.frame)
        unseen = (codes == -1) & rows.status.ok & (wanted.unseen == "marginal")
        refuse_unknown_clusters(rows.status, np.where(unseen, 0, codes), words, str(self.data.cluster_name), "the fit")
        reason = "cluster " + words + " not seen: the mean over all clusters"
        rows.status.say_first(unseen, np.asarray(reason, dtype=object))
        return np.maximum(codes, 0), unseen

    def _from_means(self, means: Any, rows: Rows, Z: Array, where: NDArray[np.bool_]) -> LinkPrediction:
        which = np.flatnonzero(rows.status.ok & where)
        return self._link_of(means(rows.X[which], Z[which], rows.offset[which], self.fit), rows, which)

    def _given(self, rows: Rows, Z: Array, codes: NDArray[np.int64], where: NDArray[np.bool_]) -> LinkPrediction:
        which = np.flatnonzero(rows.status.ok & where)
        known = self.data.rows
        found = given_clusters(rows.X[which], Z[which], rows.offset[which], codes[which], self.fit, known)
        return self._link_of(found, rows, which)

    def _link_of(self, found: LogMeans, rows: Rows, which: NDArray[np.int64]) -> LinkPrediction:
        """On the scale of the link: the derivative of the link in the logarithm of the mean is mean / mean'."""
        link, own = np.full(rows.size, np.nan), np.zeros((rows.size, len(self.fit.theta)))
        mean = np.exp(found.value)
        at = self.response.link_function(mean)
        link[which] = at
        own[which] = (mean / self.response.mean_derivative(at))[:, None] * found.gradient
        if found.error > _ROUGH_MEAN:
            warnings.warn(
                f"averaged means are known with a relative error of {found.error:.1e} alone",
                PredictionWarning,
                stacklevel=6,
            )
        return LinkPrediction(link, np.zeros(rows.size), np.zeros(rows.size), own=own, cluster=np.arange(rows.size))

    def _at_modes(self, rows: Rows, Z: Array, codes: NDArray[np.int64], wanted: Wanted) -> LinkPrediction:
        fit, n = self.fit, rows.size
        posterior, L = fit.posterior, fit.factor
        modes = posterior.modes @ L.T
        link = rows.eta(self._beta) + np.einsum("ij,ij->i", np.nan_to_num(Z), modes[codes])
        if wanted.level is None:
            return at_intercepts(link)
        derivatives = mode_derivatives(fit, posterior.modes)
        own = np.einsum("ij,ijk->ik", np.nan_to_num(Z), derivatives[codes])
        away = posterior.means - posterior.modes
        second = posterior.covariances + away[:, :, None] * away[:, None, :]
        scaled = np.nan_to_num(Z) @ L
        extra = np.einsum("ij,ijk,ik->i", scaled, second[codes], scaled)
        return LinkPrediction(link, np.ones(n), extra, own=own, cluster=np.arange(n))


def _merged(where: NDArray[np.bool_], inside: LinkPrediction, outside: LinkPrediction) -> LinkPrediction:
    """Rows of one prediction where `where` is true, else of another, both with a gradient for each row."""
    assert inside.own is not None
    own = np.zeros_like(inside.own) if outside.own is None else outside.own
    return LinkPrediction(
        np.where(where, inside.estimate, outside.estimate),
        np.where(where, inside.slope, outside.slope),
        np.where(where, inside.extra, outside.extra),
        own=np.where(where[:, None], inside.own, own),
        cluster=np.arange(len(where)),
    )
