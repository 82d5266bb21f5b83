"""Log-gamma random intercepts: exp(b) has a gamma distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammainc, gammaincc, gammainccinv, gammaincinv, gammaln, log_ndtr, ndtr, polygamma

from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.by_scale import ShapedByScale

_STIRLING = 1e3  # gammaln(k) - k log k loses digits beyond


@dataclass(frozen=True)
class LogGamma(ShapedByScale):
    """exp(b) is gamma with mean 1 and variance sigma^2; b is skewed to the left, and nearly Gaussian for a small sigma.

    The frailty of survival analysis and the mixing distribution of the negative binomial. Poisson clusters are then
    negative multinomial, and a cloglog's probability of no success is (1 + sigma^2 H)^(-1 / sigma^2), H = exp(eta).
    The standard deviation of b is the root of the trigamma function at 1 / sigma^2, about sigma; its mean is not 0.

    Examples
    --------
    >>> import clusterglm as cg
    >>> epil = cg.datasets.load("epil")
    >>> model = dict(formula="y ~ trt", data=epil, cluster="subject", family="poisson")
    >>> fit = cg.random_effects(**model, distribution="log_gamma")
    >>> round(fit.sigma**2, 2)  # the variance of the factor
    0.9
    """

    code = "log_gamma"
    geometric = True
    symmetric = False

    def location(self, s: Array, sigma: float) -> Array:
        s = np.asarray(s, dtype=np.float64)
        k = 1.0 / sigma**2
        upper = s > 0.0
        g = np.empty_like(s)
        g[upper] = gammainccinv(k, ndtr(-s[upper]))
        g[~upper] = gammaincinv(k, ndtr(s[~upper]))
        # far below, P(k, g) = g^k / Gamma(k + 1), in logs that cannot underflow
        low = (log_ndtr(s) + gammaln(k + 1.0)) / k
        with np.errstate(divide="ignore"):
            value: Array = np.where(low < -40.0, low, np.log(g)) - np.log(k)
        return value

    def log_density_at(self, b: Array, sigma: float) -> Jet:
        b = np.asarray(b, dtype=np.float64)
        k = 1.0 / sigma**2
        with np.errstate(over="ignore"):
            e = k * np.exp(b)
            value = _constant(k) - k * (np.expm1(b) - b)
        return value, k - e, -e, -e, -e

    def sf_at(self, b: Array, sigma: float) -> Array:
        k = 1.0 / sigma**2
        with np.errstate(over="ignore"):
            return np.asarray(gammaincc(k, k * np.exp(np.asarray(b, dtype=np.float64))))

    def cdf_at(self, b: Array, sigma: float) -> Array:
        k = 1.0 / sigma**2
        with np.errstate(over="ignore"):
            return np.asarray(gammainc(k, k * np.exp(np.asarray(b, dtype=np.float64))))

    def sd_of(self, sigma: float) -> float:
        return float(np.sqrt(polygamma(1, 1.0 / sigma**2)))

    def log_moment(self, order: float, sigma: float) -> tuple[float, float]:
        if order != np.rint(order) or order < 0.0:
            return self._real_log_moment(order, sigma)
        j = np.arange(order)
        return float(np.log1p(j * sigma**2).sum()), float((2.0 * j * sigma / (1.0 + j * sigma**2)).sum())

    def _real_log_moment(self, order: float, sigma: float) -> tuple[float, float]:
        """log Gamma(k + order) - log Gamma(k) - order log k, with k = 1 / sigma^2."""
        k = 1.0 / sigma**2
        if k + order <= 0.0:
            return float("inf"), float("nan")
        by_k = digamma(k + order) - digamma(k) - order / k
        value = gammaln(k + order) - gammaln(k) - order * np.log(k)
        return float(value), float(-2.0 * by_k / sigma**3)


def _constant(k: float) -> float:
    """k log k - k - log Gamma(k)."""
    if k < _STIRLING:
        return float(k * np.log(k) - k - gammaln(k))
    return float(0.5 * np.log(k / (2.0 * np.pi)) - 1.0 / (12.0 * k) + 1.0 / (360.0 * k**3))
