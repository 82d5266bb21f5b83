"""Binomial response, complementary log-log link: F(eta) = 1 - exp(-exp(eta))."""

from __future__ import annotations

import numpy as np

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.binomial import Binomial

_TINY = float(np.finfo(np.float64).tiny)
# coefficients B_2k / (2k)! of mu^2k, k = 1, 2, ...: mu / (e^mu - 1) = 1 - mu/2 + sum
_BERNOULLI = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600)


class BinomialCloglog(Binomial):
    """Complementary log-log regression (grouped proportional hazards)."""

    link = "cloglog"
    code = "binomial_cloglog"
    ratio = ("hazard ratio", "hazard")
    latent_variance = np.pi**2 / 6.0
    attenuation = 0.3
    exponential_tail = True

    def mean(self, eta: Array) -> Array:
        return -np.expm1(-_exp(eta))

    def mean_derivative(self, eta: Array) -> Array:
        return np.exp(np.minimum(eta, 1e300) - _exp(eta))

    def link_function(self, mu: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(-np.log1p(-np.asarray(mu, dtype=np.float64)))

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        mu = _exp(eta)
        return times(a, _log_success(np.asarray(eta, dtype=np.float64), mu)) - times(b, mu)

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        eta = np.asarray(eta, dtype=np.float64)
        mu = _exp(eta)
        r, r1, r2, r3 = success_derivatives(mu)
        failures = times(b, mu)  # equal to each of its derivatives
        return (
            times(a, _log_success(eta, mu)) - failures,
            a * r - failures,
            a * r1 - failures,
            a * r2 - failures,
            a * r3 - failures,
        )


def _exp(eta: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(eta)


def _log_success(eta: Array, mu: Array) -> Array:
    """log(1 - exp(-mu)), mu = exp(eta); by eta + log((1 - exp(-mu)) / mu) below log 2, where mu may underflow."""
    small = np.clip(mu, _TINY, np.log(2.0))
    value: Array = np.where(
        mu < np.log(2.0), eta + np.log(-np.expm1(-small) / small), np.log1p(-np.exp(-np.maximum(mu, np.log(2.0))))
    )
    return value


def success_derivatives(mu: Array) -> tuple[Array, Array, Array, Array]:
    """First four derivatives in eta of log(1 - exp(-mu)), mu = exp(eta).

    r = mu / (e^mu - 1) is the first; r' = r t with t = 1 - mu - r, and t' = -mu - r t, t'' = -mu - r (t^2 + t').
    Below mu = 1/2, t comes from its series: 1 - r would lose what is left of a small mu.
    """
    mu = np.clip(mu, _TINY, 800.0)  # from 746 on r is exactly 0
    r = mu * np.exp(-mu) / -np.expm1(-mu)
    low = np.minimum(mu, 0.5)
    square = low * low
    series = np.zeros_like(mu)
    for coefficient in reversed(_BERNOULLI):
        series = square * (coefficient + series)
    t = np.where(mu < 0.5, -0.5 * low - series, 1.0 - mu - r)
    t1 = -mu - r * t
    t2 = -mu - r * (t * t + t1)
    return r, r * t, r * (t * t + t1), r * (t * t * t + 3.0 * t * t1 + t2)
