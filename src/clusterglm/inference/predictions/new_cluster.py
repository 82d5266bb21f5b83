"""Where the linear predictor of a new cluster will lie: its intercept may be any, and estimates are not exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from clusterglm.likelihood.scalar.rules import averaging_rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution import Gaussian
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import ROWS_IN_CACHE
from clusterglm.model.parameters import random_intercept
from clusterglm.model.quadrature import hermite
from clusterglm.model.special import log_normal_density

_SIGMA_NODES = 15  # nodes of the rule over log sigma
_NODES, _RULE_REACH = 129, 8.6  # of a trapezoid rule on the normal scale
_ACCURATE_SCORE = 1e-9  # error of the normal score of the probability beyond an end
_MOST_STEPS = 200  # steps of a search


def new_cluster_ends(
    X: Array, eta: Array, covariance: Array, sigma: float, distribution: Distribution, level: float
) -> tuple[Array, Array]:
    """Ends of the interval that holds eta + v for a new cluster.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    eta : ndarray, shape (n,)
        Estimated linear predictor at an intercept of zero.
    covariance : ndarray, shape (p + 1, p + 1)
        Of (beta, sigma); a sigma that is known has 0.
    sigma : float
    distribution : Distribution
        Of the standardised intercept.
    level : float

    Returns
    -------
    low, high : ndarray, shape (n,)

    Notes
    -----
    Quantiles of eta + e + sigma exp(u) Z: Z has the distribution of the intercept, and (e, u) are normal, the errors of
    eta and log sigma. Given u, e is normal, so that the distribution function is an average over u of one integral. As
    the quantiles of a prediction they cover a new cluster's linear predictor to first order in the number of clusters.
    """
    parameters = random_intercept(X.shape[1])
    of_beta, scale = parameters.coefficients, parameters.scale
    variance = np.einsum("ij,jk,ik->i", X, covariance[of_beta, of_beta], X)
    of_sigma = float(covariance[scale, scale])
    scores, weights, by_score, sigmas = np.zeros(1), np.ones(1), np.zeros(len(X)), np.array([sigma])
    if of_sigma > 0.0:
        scores, weights = _rule()
        by_score = X @ covariance[of_beta, scale] / np.sqrt(of_sigma)
        sigmas = sigma * np.exp(np.sqrt(of_sigma) / sigma * scores)
    rest = np.sqrt(np.maximum(variance - by_score**2, 0.0))
    return _ends(eta, by_score, scores, weights, sigmas, rest, distribution, level)


def normal_cluster_ends(
    eta: Array, variance: Array, size: Array, of_size: Array, joint: Array, level: float
) -> tuple[Array, Array]:
    """The same where what a row's linear predictor has from a new cluster is normal, of a size of the row's own.

    Parameters
    ----------
    eta, variance : ndarray, shape (n,)
        Estimated linear predictor of a typical cluster, and the variance of its error.
    size, of_size : ndarray, shape (n,)
        Standard deviation of the cluster's part, and the variance of its error.
    joint : ndarray, shape (n,)
        Covariance of both errors.
    level : float
    """
    scores, weights = _rule()
    root = np.sqrt(of_size)
    by_score = np.divide(joint, root, out=np.zeros_like(joint), where=root > 0.0)
    relative = np.divide(root, size, out=np.zeros_like(size), where=size > 0.0)
    sigmas = size * np.exp(relative * scores[:, None])
    rest = np.sqrt(np.maximum(variance - by_score**2, 0.0))
    return _ends(eta, by_score, scores, weights, sigmas, rest, Gaussian(), level)


def _rule() -> tuple[Array, Array]:
    """Nodes of a standard normal variable, the score of log sigma, and their weights."""
    scores, log_weights = hermite(_SIGMA_NODES)
    return scores, np.exp(log_weights - 0.5 * scores**2) / np.sqrt(np.pi)


def _ends(
    eta: Array, by_score: Array, scores: Array, weights: Array, sigmas: Array, rest: Array,
    distribution: Distribution, level: float,
) -> tuple[Array, Array]:  # fmt: skip
    """Row by row; see `_Error`."""
    tail, (low, high) = 0.5 * (1.0 - level), np.empty((2, len(eta)))
    for start in range(0, len(eta), ROWS_IN_CACHE):
        rows = slice(start, start + ROWS_IN_CACHE)
        own = sigmas[:, rows] if sigmas.ndim == 2 else sigmas
        for ends, sign in ((low, -1.0), (high, 1.0)):
            error = _Error(sign, by_score[rows], scores, weights, own, rest[rows], distribution)
            ends[rows] = eta[rows] + sign * _where_tail_is(error, tail)
    return low, high


@dataclass(frozen=True)
class _Error:
    """The distribution of what rows' new linear predictors are off by, times a sign.

    Given a normal score of log sigma: a part in proportion to the score, a normal part and an intercept. Where the
    intercept is normal, `sigmas` may be those of each row, shape (scores, rows).
    """

    sign: float
    by_score: Array
    scores: Array
    weights: Array
    sigmas: Array
    normal: Array
    distribution: Distribution

    def beyond(self, x: Array, rows: NDArray[np.int64]) -> Array:
        """Probability above x, one for each of some rows."""
        q, found = self.sign * x, np.zeros(len(rows))
        for score, weight, sigma in zip(self.scores, self.weights, self.sigmas, strict=True):
            own = sigma[rows] if np.ndim(sigma) else sigma
            found += weight * self._given(q - score * self.by_score[rows], own, self.normal[rows])
        return found

    def _given(self, y: Array, sigma: Any, normal: Array) -> Array:
        sign = self.sign
        if self.distribution.normal or sigma == 0.0 or self.distribution.at(sigma).normal:
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray(ndtr(-sign * y / np.hypot(sigma, normal)))
        member = self.distribution.at(sigma)
        found = np.empty(len(y))
        wide = normal > sigma  # the smoother of the two is taken under the integral of the other
        s, weights = averaging_rule(self.distribution, _NODES, _RULE_REACH)
        found[wide] = (
            ndtr(-sign * (y[wide, None] - sigma * member.quantile_of_normal(s)) / normal[wide, None]) @ weights
        )
        e = np.linspace(-_RULE_REACH, _RULE_REACH, _NODES)
        t = (y[~wide, None] - normal[~wide, None] * e) / sigma
        tails = member.sf(t) if sign > 0.0 else member.cdf(t)
        found[~wide] = tails @ (np.exp(log_normal_density(e)) * (e[1] - e[0]))
        return found


def _where_tail_is(error: _Error, tail: float) -> Array:
    """Where the probability beyond is `tail`: regula falsi (Illinois) on the normal scores of probabilities."""
    n, wanted = len(error.normal), ndtri(tail)

    def excess(x: Array, rows: NDArray[np.int64]) -> Array:
        return np.asarray(ndtri(np.minimum(error.beyond(x, rows), 1.0)) - wanted)

    unit, every = np.maximum(error.sigmas[len(error.sigmas) // 2], error.normal), np.arange(n)
    ends, values = np.stack([-unit, unit]), np.empty((2, n))  # the tail is larger at the first, smaller at the second
    for k, sign in ((0, 1.0), (1, -1.0)):
        rows = every
        while len(rows) > 0:
            values[k, rows] = excess(ends[k, rows], rows)
            rows = rows[~(sign * values[k, rows] > 0.0)]
            ends[k, rows] *= 2.0
    found: Array = ends[1].copy()
    rows, last = every, np.full(n, -1)
    for _ in range(_MOST_STEPS):
        (low, high), (above, below) = ends[:, rows], values[:, rows]
        with np.errstate(invalid="ignore"):
            x = low + (high - low) * above / (above - below)
        x = np.where((x > low) & (x < high), x, 0.5 * (low + high))
        value = excess(x, rows)
        found[rows] = x
        which = np.where(value > 0.0, 0, 1)
        again = which == last[rows]
        values[1 - which[again], rows[again]] *= 0.5
        ends[which, rows], values[which, rows], last[rows] = x, value, which
        rows = rows[np.abs(value) > _ACCURATE_SCORE]
        if len(rows) == 0:
            break
    return found
