"""Gamma responses with mean mu = exp(eta) and variance mu^2 / shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import digamma, gammainc, gammaincc, gammaln, zeta

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.base import BEYOND_SUMMIT, Response
from clusterglm.model.response.count import Count
from clusterglm.model.response.own.base import KernelRows, OnePositive, Terms
from clusterglm.model.response.poisson_log import PoissonLog

_LEAST_SHAPE, _MOST_SHAPE = 1e-2, 1e6  # shapes worth starting from


class GammaRows(PoissonLog):
    """Rows -a eta - b exp(-eta), by the kernel that knows their derivatives in log(shape) too."""

    family = "gamma"
    code = "gamma"
    additive = True
    totals_suffice = False
    poisson_totals = False

    def rises_towards(self, a: Array, b: Array) -> Array:
        return np.zeros(np.shape(a))

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        with np.errstate(over="ignore"):
            return -times(a, eta) - times(b, np.exp(-np.asarray(eta)))

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        with np.errstate(over="ignore"):
            r = times(b, np.exp(-np.asarray(eta)))
        return -times(a, eta) - r, r - a, -r, r, -r

    def saturated(self, a: Array, b: Array) -> Array:
        return -a * (np.log(b / a) + 1.0)

    def magnitude(self, a: Array, b: Array) -> Array:
        return a * (np.abs(np.log(b / a)) + 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class GammaLog(OnePositive, Count):
    """Positive responses with a gamma distribution; shape 1 is the exponential distribution.

    A row's a is w y, its b is w. Its likelihood is that of a row -a eta - b exp(-eta) with a = w shape and
    b = w shape y, in which log(shape) multiplies both numbers. The working value is log(shape).
    """

    family = "gamma"
    link = "log"
    code = ""
    default = True
    ratio = ("ratio of means", "mean")
    own = ("shape",)
    meaning = "variance mean^2 / shape: the larger the shape, the less dispersed"
    continuous = True
    positive = True
    log_concave = True
    one_summit = True
    zero_inflation = False
    variance_slope = 0.0
    intercepts_bias = False
    highest = float(np.log(1e8))
    prior = "half_t(1, 10)"  # a concentration: large where responses vary little
    words = replace(
        Count.words,
        mean="mean response",
        expectation="Mean",
        total="sum of responses",
        totals="Sum of responses of a cluster",
        varied="responses that differ",
        some="responses that differ",
        separated="responses",
        events="responses",
    )

    @property
    def shape(self) -> float:
        """1 / shape is the squared coefficient of variation."""
        (shape,) = self.values
        return shape

    @property
    def reads(self) -> Response:
        return self

    @property
    def latent_variance(self) -> float | None:  # type: ignore[override]
        """Of the logarithm of a response about its linear predictor."""
        return float(zeta(2.0, self.shape)) if self.values else None

    @property
    def variance_curvature(self) -> float:  # type: ignore[override]
        return 1.0 / self.shape

    def start(self, mean: Array, a: Array, b: Array) -> Array:
        """From the mean of logarithms, without covariates (Minka's approximation of the maximum)."""
        y, log_y, offset = a / b, np.log(a / b), np.log(mean)
        y, log_y = y * np.exp(offset.min() - offset), log_y + (offset.min() - offset)
        s = max(float(np.log(np.average(y, weights=b)) - np.average(log_y, weights=b)), 1e-12)
        shape = (3.0 - s + np.sqrt((s - 3.0) ** 2 + 24.0 * s)) / (12.0 * s)
        return np.asarray(np.log(np.clip([shape], _LEAST_SHAPE, _MOST_SHAPE)))

    def start_level(self, a: Array, b: Array, offset: Array) -> float:
        least = offset.min()
        return float(np.log((a * np.exp(least - offset)).sum() / b.sum()) - least)

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        groups = np.zeros(len(a), dtype=np.int64)
        return KernelRows(GammaRows(), self.shape * b, self.shape * a, 0.0, own=1, groups=groups)

    def own_derivatives(self, x: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
        value, G, *_ = GammaRows().derivatives(x, a, b)
        return value, G, value

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        at, log_y = self.at(psi), np.log(a / b)
        nu = at.shape
        first = nu * b * (np.log(nu) + 1.0 - digamma(nu) + log_y)
        second = float(first.sum() + b.sum() * nu * (1.0 - nu * zeta(2.0, nu)))
        return Terms(float(np.sum(at.log_terms(a, b))), first[:, None], np.array([[second]]))

    def log_terms(self, a: Array, b: Array) -> Array:
        return self.log_constants(a / b, np.ones(len(a)), b)

    # Moments and probabilities, at a given shape

    def variance(self, mean: Array) -> Array:
        return np.asarray(np.square(mean) / self.shape)

    def rises_towards(self, a: Array, b: Array) -> Array:
        return np.zeros(np.shape(a))

    def amount(self, a: float, b: float) -> float:
        return b

    def events(self, a: float, b: float) -> float:
        return b

    def span(self, a: Array, b: Array) -> tuple[float | Array, float | Array]:
        log_y = np.log(a / b)
        return log_y - BEYOND_SUMMIT, log_y + BEYOND_SUMMIT

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return GammaRows().value(eta, self.shape * b, self.shape * a)

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        return GammaRows().derivatives(eta, self.shape * b, self.shape * a)

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        nu = self.shape
        return times(weights, nu * np.log(nu) - gammaln(nu) + (nu - 1.0) * np.log(y))

    def saturated(self, a: Array, b: Array) -> Array:
        return GammaRows().saturated(self.shape * b, self.shape * a)

    def magnitude(self, a: Array, b: Array) -> Array:
        return GammaRows().magnitude(self.shape * b, self.shape * a) + np.abs(self.log_terms(a, b))

    def before(self, y: Array) -> Array:
        return y

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        with np.errstate(over="ignore"):
            x = self.shape * np.maximum(y, 0.0) * np.exp(-np.asarray(eta))
        return np.asarray(gammainc(self.shape, x)), np.asarray(gammaincc(self.shape, x))

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        drawn = rng.gamma(self.shape, np.asarray(mu) / self.shape)
        return np.asarray(np.maximum(drawn, np.finfo(float).tiny))  # of tiny shapes, what float64 has for 0

    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        zero = np.zeros(np.shape(eta))
        return zero + self.shape, zero, zero
