"""Poisson response, log link: mean exp(eta)."""

from __future__ import annotations

import numpy as np
from scipy.special import gammainc, gammaincc, xlogy

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.base import Response

_COUNTABLE = 1e18
_LARGEST = 1e300


class PoissonLog(Response):
    """Log-linear model for counts."""

    family = "poisson"
    link = "log"
    code = "poisson_log"

    def mean(self, eta: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.exp(eta)

    def mean_derivative(self, eta: Array) -> Array:
        return self.mean(eta)

    def variance(self, mean: Array) -> Array:
        return mean

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        mu, k = self.mean(eta), np.maximum(y, 0.0) + 1.0
        return np.where(y < 0.0, 0.0, gammaincc(k, mu)), np.where(y < 0.0, 1.0, gammainc(k, mu))

    def link_function(self, mu: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(mu)

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return times(a, np.minimum(eta, 1e300)) - times(b, self.mean(eta))  # eta = inf: -inf, not inf - inf

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        mu = times(b, self.mean(eta))
        return times(a, eta) - mu, a - mu, -mu, -mu, -mu

    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        mu = self.mean(eta)
        return mu, mu, mu

    def saturated(self, a: Array, b: Array) -> Array:
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        return np.asarray(xlogy(a, a / np.where(b > 0.0, b, 1.0)) - a)

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        # Beyond what integers count, where heavy-tailed intercepts may lead, the noise is less than 1e-8 of the mean.
        counts = rng.poisson(np.minimum(mu, _COUNTABLE)).astype(np.float64)
        return np.where(mu > _COUNTABLE, np.minimum(mu, _LARGEST), counts)
