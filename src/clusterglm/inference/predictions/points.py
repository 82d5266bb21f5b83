"""Categories' probabilities, survival and times averaged over mass points, and how they move with all estimates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, logsumexp

from clusterglm.data.prepare import ModelData
from clusterglm.fit.own_npml import OwnNonparametricFit
from clusterglm.inference.distribution.mass_points import Averaged, Chances, averaged
from clusterglm.inference.predictions.categories import CumulativeProbabilities
from clusterglm.inference.predictions.durations import LogHazards, LogTimes
from clusterglm.model.arrays import Array
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.model.response.own.cumulative import Cumulative

_FAR_POINT = 600.0  # a linear predictor beyond is as good as infinite
_FAR_HAZARD = 50.0  # logarithm of a cumulative hazard beyond which survival is 0, also times its hazard
_BISECTIONS = 64  # of an interval of 2 * _FAR_POINT


@dataclass(frozen=True)
class PointAverages:
    """What averages over mass points know besides the function: the clusters, the estimates, and the probabilities.

    Parameters
    ----------
    data : ModelData
        Of the clusters.
    fit : OwnNonparametricFit
    chances : Chances
        Of n rows.
    """

    data: ModelData
    fit: OwnNonparametricFit
    chances: Chances

    def of(self, rows: NDArray[np.int64]) -> PointAverages:
        """Those of some rows."""
        given = self.chances
        cluster = None if given.cluster is None else given.cluster[rows]
        return PointAverages(self.data, self.fit, Chances(given.probabilities[rows], cluster))

    @property
    def logs(self) -> Array:
        """Logarithms of the probabilities."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.chances.probabilities))

    def average(self, values: Array, slopes: Array, by_own: Array) -> Averaged:
        """See `averaged`."""
        return averaged(self.data, self.fit.response, self.fit, self.chances, values, slopes, by_own)


@dataclass(frozen=True)
class OverPointsProbabilities(CumulativeProbabilities):
    """Cumulative probabilities that are averages, with linear predictors, shape (n,), at an intercept of zero."""

    eta: Array
    over: PointAverages


def probabilities_over(response: Cumulative, eta: Array, over: PointAverages) -> OverPointsProbabilities:
    """P(Y <= c) of all categories but the last."""
    chosen, points = over.chances.probabilities, over.fit.points
    at = response.thresholds[:, None] - eta - points[:, None, None]  # (points, categories, rows)
    value, slope = response.binary.mean(at), response.binary.mean_derivative(np.clip(at, -_FAR_POINT, _FAR_POINT))
    mean, by_threshold = (np.einsum("jcn,nj->nc", part, chosen) for part in (value, slope))
    resolved = np.ones(len(eta), dtype=bool)
    return OverPointsProbabilities(mean, by_threshold, np.zeros_like(mean), resolved, eta=eta, over=over)


def gradients_over(response: Cumulative, found: OverPointsProbabilities, X: Array) -> Array:
    """Derivatives of P(Y <= c) in (coefficients, points, weights, thresholds), shape (n, k, q)."""
    eta, over, each = found.eta, found.over, []
    for c, threshold in enumerate(response.thresholds):
        at = threshold - eta[:, None] - over.fit.points
        slopes = response.binary.mean_derivative(np.clip(at, -_FAR_POINT, _FAR_POINT))
        by_own = np.zeros((*at.shape, len(response.thresholds)))
        by_own[:, :, c] = slopes
        moved = over.average(response.binary.mean(at), -slopes, by_own)
        each.append(_whole(moved, X))
    return np.stack(each, axis=1)


def _whole(moved: Averaged, X: Array) -> Array:
    """Derivatives in all parameters, coefficients among them in the linear predictor too."""
    whole = moved.by_parameters.copy()
    whole[:, : X.shape[1]] += moved.by_eta[:, None] * X
    return whole


def log_hazards_over(x: Array, over: PointAverages) -> LogHazards:
    """Logarithms of cumulative hazards, -log S, of averaged survival; `by_sigma` are derivatives in all parameters.

    Parameters
    ----------
    x : ndarray, shape (n,)
        eta + k log t, finite.
    over : PointAverages
    """
    log_h = np.minimum(x[:, None] + over.fit.points, _FAR_POINT)
    log_s = -np.exp(log_h)
    whole = logsumexp(over.logs + log_s, axis=1)
    share = np.exp(log_s - whole[:, None])  # of each point in survival, over its probability
    with np.errstate(invalid="ignore"):
        slopes = np.where(share > 0.0, log_s * share, 0.0)
    moved = over.average(share, slopes, np.zeros((*share.shape, len(over.fit.response.own))))
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing ever happens
        by_x, by_parameters = moved.by_eta / whole, moved.by_parameters / whole[:, None]
        return LogHazards(np.log(-whole), by_x, by_parameters, np.ones(len(x), dtype=bool))


def mean_times_over(eta: Array, k: float, over: PointAverages) -> LogTimes:
    """Logarithms of mean times, of which those of an infinitely small hazard are infinite."""
    response = over.fit.response
    each = gammaln(1.0 + 1.0 / k) - (eta[:, None] + over.fit.points) / k
    with np.errstate(invalid="ignore"):
        value = logsumexp(np.where(over.chances.probabilities > 0.0, over.logs + each, -np.inf), axis=1)
    if np.isposinf(value).any():
        nan = np.full(len(eta), np.nan)
        return LogTimes(value, nan, np.full((len(eta), _size(over)), np.nan), nan, exists=False)
    share = np.exp(np.where(over.chances.probabilities > 0.0, each, -np.inf) - value[:, None])
    by_k = (eta[:, None] + np.where(np.isfinite(over.fit.points), over.fit.points, 0.0)) - digamma(1.0 + 1.0 / k)
    moved = over.average(share, -share / k, _in_shape(share * by_k / k**2, response))
    return LogTimes(value, moved.by_eta, moved.by_parameters, np.zeros(len(eta)))


def quantile_times_over(probability: float, eta: Array, k: float, over: PointAverages) -> LogTimes:
    """Logarithms of the times by which the event has come with this probability; infinite where it never has."""
    wanted, points = float(np.log1p(-probability)), over.fit.points
    never = np.where(np.isneginf(points), over.chances.probabilities, 0.0).sum(axis=1) >= 1.0 - probability

    def log_survival(x: Array) -> Array:
        return np.asarray(logsumexp(over.logs - np.exp(np.minimum(x[:, None] + points, _FAR_HAZARD)), axis=1))

    low, high = np.full(len(eta), -_FAR_POINT), np.full(len(eta), _FAR_POINT)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        above = log_survival(middle) > wanted
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    x = 0.5 * (low + high)
    at = log_hazards_over(x, over)
    value = (x - eta) / k
    slope = at.by_x[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        by_parameters = np.where(never[:, None], np.nan, -at.by_sigma / slope / k)
    value = np.where(never & ~np.isnan(eta), np.inf, value)
    by_k = np.where(never, np.nan, -value / k)
    return LogTimes(value, np.full(len(eta), -1.0 / k), by_parameters, by_k, exists=not bool(never.any()))


def _size(over: PointAverages) -> int:
    """Number of parameters."""
    return len(over.fit.whole_covariance)


def _in_shape(by_k: Array, response: OwnParameters) -> Array:
    """Derivatives in the shape, where it is a parameter, as those in the response's own."""
    return by_k[:, :, None] if response.own else np.zeros((*by_k.shape, 0))
