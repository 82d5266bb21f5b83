"""Poisson counts from 1 on, log link: of a Poisson variable with mean exp(eta), given that it is not 0."""

from __future__ import annotations

import numpy as np
from scipy.special import gammainc, gammaincc, gammaln

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.base import ScoreTerms
from clusterglm.model.response.binomial_cloglog import success_derivatives
from clusterglm.model.response.count import Count, TruncatedCount
from clusterglm.model.response.poisson_log import PoissonLog


class TruncatedPoissonLog(TruncatedCount):
    """Log-linear model for counts without zeros; the mean is that of the counts, mu / (1 - exp(-mu)).

    Given the linear predictor it is an exponential family: log P has the derivative y - mean, and others are minus the
    derivatives of the mean.
    """

    family = "truncated_poisson"
    link = "log"
    code = "truncated_poisson"
    exponential_tail = True
    default = True
    ratio = ("rate ratio", "rate")
    additive = True
    variance_curvature = 0.0  # a bound: the counts vary less than Poisson counts of their mean
    log_concave = True
    one_summit = True

    def untruncated(self) -> Count:
        return PoissonLog()

    def _cumulants(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        """The first four of the counts: mu plus what a success of the complementary log-log link has."""
        mu = PoissonLog().mean(np.asarray(eta, dtype=np.float64))
        first, second, third, fourth = success_derivatives(mu)
        return mu + first, mu + second, mu + third, mu + fourth

    def mean(self, eta: Array) -> Array:
        return self._cumulants(eta)[0]

    def mean_derivative(self, eta: Array) -> Array:
        return self._cumulants(eta)[1]

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        return self._cumulants(eta)

    def link_function(self, mu: Array) -> Array:
        """By Newton's method for log(mean - 1), which is nearly linear in the linear predictor."""
        wanted = np.asarray(mu, dtype=np.float64)
        inside = (wanted > 1.0) & (wanted < np.inf)
        more = np.where(inside, wanted - 1.0, 1.0)
        eta = np.where(more < 1.0, np.log(2.0 * more), np.log1p(more))
        for _ in range(30):
            there = np.exp(eta)
            beyond = _more_than_one(there)
            step = (np.log(more) - np.log(beyond)) * beyond / (there + success_derivatives(there)[1])
            eta = eta + step
            if np.all(np.abs(step) <= 1e-15 * (1.0 + np.abs(eta))):
                break
        return np.where(inside, eta, np.where(wanted > 1.0, wanted, -np.inf))

    def variance(self, mean: Array) -> Array:
        mu = PoissonLog().mean(self.link_function(mean))
        return np.where(mu < np.inf, mu + success_derivatives(mu)[1], np.inf)

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        eta = np.clip(np.asarray(eta, dtype=np.float64), -np.inf, 1e300)  # not inf - inf
        return times(np.asarray(a) - b, eta) - times(b, _log_grown(PoissonLog().mean(eta), eta))

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        eta = np.asarray(eta, dtype=np.float64)
        mu = PoissonLog().mean(eta)
        _, q1, q2, q3 = success_derivatives(mu)
        weighted = times(b, mu)
        G = (np.asarray(a) - b) - times(b, _more_than_one(mu))
        return self.value(eta, a, b), G, -weighted - b * q1, -weighted - b * q2, -weighted - b * q3

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        """-w log(count!)."""
        return times(weights, -np.asarray(gammaln(y + 1.0)))

    def saturated(self, a: Array, b: Array) -> Array:
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        more = (a > b) & (b > 0.0)
        eta = self.link_function(np.where(more, a / np.where(b > 0.0, b, 1.0), 2.0))
        return np.where(more, self.value(eta, a, b), 0.0)

    def magnitude(self, a: Array, b: Array) -> Array:
        return PoissonLog().magnitude(a, b) + np.abs(np.asarray(b))

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        mu, k = PoissonLog().mean(eta), np.maximum(y, 0.0) + 1.0
        with np.errstate(invalid="ignore", divide="ignore"):
            some, none = -np.expm1(-mu), np.exp(-mu)
            upto, above = (gammaincc(k, mu) - none) / some, gammainc(k, mu) / some
        low, never = np.asarray(y) < 1.0, mu == 0.0
        upto = np.where(low, 0.0, np.where(never, 1.0, np.clip(upto, 0.0, 1.0)))
        return upto, np.where(low, 1.0, np.where(never, 0.0, above))

    def draw(self, rng: np.random.Generator, eta: Array, trials: Array | None = None) -> Array:
        # the first event of a process that has one, and what comes after it
        mu = PoissonLog().mean(eta)
        first = -np.log1p(rng.random(np.shape(mu)) * np.expm1(-mu))
        rest = np.where(mu < np.inf, np.maximum(mu - np.where(mu < np.inf, first, 0.0), 0.0), mu)
        return 1.0 + PoissonLog().simulate(rng, rest)

    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        return self._cumulants(eta)[1:]

    def bias_moments(self, eta: Array) -> tuple[Array, Array]:
        _, second, third, _ = self._cumulants(eta)
        return second, -0.5 * third

    def score_terms(self, eta: Array, a: Array, b: Array) -> ScoreTerms:
        _, second, third, fourth = self._cumulants(eta)
        G, H = self.derivatives(eta, a, b)[1:3]
        return ScoreTerms(G, H, second, fourth + 2.0 * second**2, third)


def _more_than_one(mu: Array) -> Array:
    """mu / (1 - exp(-mu)) - 1, with all digits where mu is small."""
    q, q1, *_ = success_derivatives(mu)
    small = np.minimum(mu, 0.5)
    with np.errstate(invalid="ignore"):
        slope = np.where(q > 0.0, q1 / np.where(q > 0.0, q, 1.0), 1.0 - mu)  # q' / q = 1 - mu - q
    return np.where(mu < 0.5, -np.where(mu > 0.0, slope, -0.5 * small), mu + q - 1.0)


def _log_grown(mu: Array, eta: Array) -> Array:
    """log((e^mu - 1) / mu), mu = exp(eta)."""
    small = np.clip(mu, 1e-300, 0.7)
    near = np.where(small < 1e-8, 0.5 * small, np.log(np.expm1(small) / small))
    with np.errstate(over="ignore"):
        return np.where(mu < 0.7, np.where(mu < 1e-300, 0.0, near), mu + np.log1p(-np.exp(-np.maximum(mu, 0.7))) - eta)
