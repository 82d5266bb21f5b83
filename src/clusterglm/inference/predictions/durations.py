"""Survival, hazards, quantiles and means of survival times, at given frailties or averaged over them.

The scale `sigma` of the frailties' logarithm is a number, or of normal ones an array, one for each row.

Given a frailty u, survival to t is exp(-exp(x + u)) with x = eta + k log t: the probability of a failure with the
cloglog link. Averaged over u it is so again, at another linear predictor, which is a function of x alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from clusterglm.inference.diagnostics.residuals import log_moment
from clusterglm.inference.predictions.marginal_mean import marginal_link, marginal_link_by_row
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.response.binomial_cloglog import BinomialCloglog

_NEWTON_STEPS, _QUANTILE_SETTLED = 100, 1e-12  # of Newton's method for a quantile
_STEP_OF_POWER = 1e-5  # of differences in 1 / k, relative


@dataclass(frozen=True)
class LogHazards:
    """Logarithms of cumulative hazards, -log S(t), and how they move, shape (n,) each.

    Parameters
    ----------
    value, by_x, by_sigma : ndarray
        Derivatives in x = eta + k log t and in sigma.
    resolved : ndarray of bool
        Where the average over frailties is known accurately.
    """

    value: Array
    by_x: Array
    by_sigma: Array
    resolved: NDArray[np.bool_]


@dataclass(frozen=True)
class LogTimes:
    """Logarithms of predicted times, and how they move, shape (n,) each.

    Parameters
    ----------
    value, by_eta, by_sigma, by_k : ndarray
    exists : bool
        False where the mean over frailties is infinite.
    resolved : bool
        Whether an average over frailties is known accurately.
    """

    value: Array
    by_eta: Array
    by_sigma: Array
    by_k: Array
    exists: bool = True
    resolved: bool = True


def log_cumulative_hazards(x: Array, sigma: float | Array, distribution: Distribution | None) -> LogHazards:
    """Of survival averaged over frailties, or at a frailty of zero.

    Parameters
    ----------
    x : ndarray, shape (n,)
        eta + k log t, finite.
    sigma : float or ndarray of shape (n,)
    distribution : Distribution or None
        None without a frailty.
    """
    if distribution is None or not np.any(sigma):
        return LogHazards(x, np.ones(len(x)), np.zeros(len(x)), np.ones(len(x), dtype=bool))
    if isinstance(sigma, np.ndarray):
        found = marginal_link_by_row(x, sigma, BinomialCloglog())
    else:
        found = marginal_link(x, sigma, BinomialCloglog(), distribution)
    return LogHazards(found.link, found.by_eta, found.by_sigma, found.resolved)


def quantile_times(
    probability: float, eta: Array, k: float, sigma: float | Array, distribution: Distribution | None
) -> LogTimes:
    """The time by which the event has come with this probability.

    All rows of one sigma reach it at one x: log t = (x - eta) / k.
    """
    target, of_rows = float(np.log(-np.log1p(-probability))), isinstance(sigma, np.ndarray)
    different, place = np.unique(sigma, return_inverse=True) if of_rows else (sigma, np.zeros(len(eta), dtype=int))
    x = np.full(np.size(different), target)
    at = log_cumulative_hazards(x, different, distribution)
    for _ in range(_NEWTON_STEPS):
        step = (target - at.value) / at.by_x
        x = x + np.clip(step, -5.0, 5.0)
        at = log_cumulative_hazards(x, different, distribution)
        if not np.any(np.abs(step) > _QUANTILE_SETTLED * (1.0 + np.abs(x))):
            break
    value = (x[place] - eta) / k
    by_sigma = (-at.by_sigma / at.by_x / k)[place]
    return LogTimes(value, np.full(len(eta), -1.0 / k), by_sigma, -value / k, True, bool(at.resolved.all()))


def mean_times(eta: Array, k: float, sigma: float | Array, distribution: Distribution | None) -> LogTimes:
    """The mean time, Gamma(1 + 1/k) exp(-eta / k) times E exp(-u / k)."""
    n = len(eta)
    value = gammaln(1.0 + 1.0 / k) - eta / k
    by_k = (eta - digamma(1.0 + 1.0 / k)) / k**2
    if distribution is None or not np.any(sigma):
        return LogTimes(value, np.full(n, -1.0 / k), np.zeros(n), by_k)
    if isinstance(sigma, np.ndarray):  # normal: the logarithm of E exp(-u / k) is sigma^2 / (2 k^2)
        more = 0.5 * np.square(sigma / k)
        return LogTimes(value + more, np.full(n, -1.0 / k), sigma / k**2, by_k - 2.0 * more / k)
    factor, slope = _log_factor(1.0 / k, sigma, distribution)
    if not np.isfinite(factor):
        nan = np.full(n, np.nan)
        return LogTimes(np.full(n, factor), nan, nan, nan, not np.isposinf(factor), not np.isnan(factor))
    step = _STEP_OF_POWER / k
    ahead, behind = (_log_factor(1.0 / k + h, sigma, distribution)[0] for h in (step, -step))
    by_k = by_k - (ahead - behind) / (2.0 * step) / k**2
    return LogTimes(value + factor, np.full(n, -1.0 / k), np.full(n, slope), by_k)


def _log_factor(r: float, sigma: float, distribution: Distribution) -> tuple[float, float]:
    """log E exp(-r u) and its derivative in sigma; inf and nan where it does not exist."""
    return log_moment(distribution, r if distribution.symmetric else -r, sigma)
