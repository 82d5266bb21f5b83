"""Poisson response, log link: mean exp(eta)."""

from __future__ import annotations

import numpy as np
from scipy.special import gammainc, gammaincc, gammaln, xlogy

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.base import ScoreTerms
from clusterglm.model.response.count import Count

_COUNTABLE = 1e18
_LARGEST = 1e300


class PoissonLog(Count):
    """Log-linear model for counts."""

    family = "poisson"
    link = "log"
    code = "poisson_log"
    default = True
    ratio = ("rate ratio", "rate")
    additive = True
    log_concave = True
    one_summit = True
    totals_suffice = True
    poisson_totals = True
    intercepts_bias = False
    variance_curvature = 0.0

    def variance(self, mean: Array) -> Array:
        return mean

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        mu, k = self.mean(eta), np.maximum(y, 0.0) + 1.0
        return np.where(y < 0.0, 0.0, gammaincc(k, mu)), np.where(y < 0.0, 1.0, gammainc(k, mu))

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return times(a, np.minimum(eta, 1e300)) - times(b, self.mean(eta))  # eta = inf: -inf, not inf - inf

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        mu = times(b, self.mean(eta))
        return times(a, eta) - mu, a - mu, -mu, -mu, -mu

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        """-w log(count!)."""
        return times(weights, -np.asarray(gammaln(y + 1.0)))

    def saturated(self, a: Array, b: Array) -> Array:
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        return np.asarray(xlogy(a, a / np.where(b > 0.0, b, 1.0)) - a)

    def magnitude(self, a: Array, b: Array) -> Array:
        mean = (a + 0.5) / np.where(b > 0.0, b, 1.0)
        eta, zero = self.link_function(mean), np.zeros_like(a)
        size = a * np.abs(eta) + np.abs(gammaln(a + 1.0))
        size += np.abs(self.value(eta, a, zero))
        size += np.abs(self.value(eta, zero, b))
        return np.asarray(size)

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        # Beyond what integers count, where heavy-tailed intercepts may lead, the noise is less than 1e-8 of the mean.
        counts = rng.poisson(np.minimum(mu, _COUNTABLE)).astype(np.float64)
        return np.where(mu > _COUNTABLE, np.minimum(mu, _LARGEST), counts)

    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        mu = self.mean(eta)
        return mu, mu, mu

    def bias_moments(self, eta: Array) -> tuple[Array, Array]:
        mu = self.mean(eta)
        return mu, -0.5 * mu

    def score_terms(self, eta: Array, a: Array, b: Array) -> ScoreTerms:
        mu = self.mean(eta)
        return ScoreTerms(*self.derivatives(eta, a, b)[1:3], mu, mu + 2.0 * mu * mu, mu)
