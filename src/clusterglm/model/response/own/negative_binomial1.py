"""Counts with mean mu = exp(eta) and variance mu (1 + alpha) (NB1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, gammaln

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.base import Response
from clusterglm.model.response.count import Count
from clusterglm.model.response.own.base import KernelRows, OnePositive, Terms
from clusterglm.model.response.own.repeats import refuse_fractions, repeated
from clusterglm.model.response.poisson_log import PoissonLog
from clusterglm.model.rising import rising

_LARGEST_LOG = 600.0  # of sizes: further out nothing is lost, and nothing overflows
_LEAST_ALPHA, _MOST_ALPHA = 1e-3, 20.0  # alpha worth starting from
_LEAST_MEAN = 1e-300  # of a count: 0 of it is no excess


class _Counts(PoissonLog):
    """The Poisson model's reading of counts, under this family's name."""

    family = "negative_binomial1"


class SizeRows(PoissonLog):
    """Rows log Gamma(s + a) - log Gamma(s) - b s with the size s = exp(x): counts a, without weights.

    With b = log(1 + alpha), the kernel's own parameter is log(alpha), which moves x by -1. They are concave in s, and
    so are clusters in exp(intercept); they need not be in the intercept.
    """

    code = "negative_binomial1"
    additive = False
    log_concave = False
    one_summit = True

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        x = np.clip(np.asarray(eta, dtype=np.float64), -_LARGEST_LOG, _LARGEST_LOG)
        a, s = np.asarray(a, dtype=np.float64), np.exp(x)
        return np.where(a > 0.0, np.maximum(eta, -1e300), 0.0) + rising(s, a).rest - times(b, s)

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        s = _size(eta)
        at, c = rising(s, a), times(b, s)
        return self.value(eta, a, b), at.d1 - c, at.d2 - c, at.d3 - c, at.d4 - c

    def magnitude(self, a: Array, b: Array) -> Array:
        return np.asarray(a) * (1.0 + np.abs(np.log(np.asarray(a) + 1.0))) + 1.0


def _size(x: Array) -> Array:
    return np.exp(np.clip(np.asarray(x, dtype=np.float64), -_LARGEST_LOG, _LARGEST_LOG))


@dataclass(frozen=True, eq=False, repr=False)
class NegativeBinomial1(OnePositive, Count):
    """Negative binomial counts with variance mu (1 + alpha); alpha = 0 is the Poisson distribution.

    Their size is mu / alpha, proportional to the mean. The working value is log(alpha). Kernel rows have no weights: a
    row of a whole number of repeats is as many kernel rows.
    """

    family = "negative_binomial1"
    link = "log"
    code = ""
    default = True
    ratio = ("rate ratio", "rate")
    own = ("alpha",)
    meaning = "variance mean (1 + alpha): the larger, the more dispersed"
    one_summit = True
    limit = "the Poisson model"
    lowest = float(np.log(1e-5))
    highest = float(np.log(1e6))
    variance_curvature = 0.0

    @property
    def alpha(self) -> float:
        """The dispersion."""
        (alpha,) = self.values
        return alpha

    @property
    def variance_slope(self) -> float:  # type: ignore[override]
        return 1.0 + self.alpha

    @property
    def reads(self) -> Response:
        return _Counts()

    @property
    def at_limit(self) -> PoissonLog:
        return PoissonLog()

    def refuse(self, a: Array, b: Array, weights: Array) -> None:
        refuse_fractions(self, weights)

    def start(self, mean: Array, a: Array, b: Array) -> Array:
        y = a / b
        with np.errstate(over="ignore"):
            excess = float(np.sum(b * (y - mean) ** 2 / np.maximum(mean, _LEAST_MEAN)) / np.sum(b)) - 1.0
        return np.asarray(np.log(np.clip([excess], _LEAST_ALPHA, _MOST_ALPHA)))

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        y, of = repeated(a, b)
        groups = np.zeros(len(y), dtype=np.int64)
        numbers = np.full(len(y), np.log1p(self.alpha))
        return KernelRows(SizeRows(), y, numbers, -float(np.log(self.alpha)), of=of, own=1, groups=groups)

    def own_derivatives(self, x: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
        # log(alpha) moves x by -1, and b by 1 - e^-b
        s = _size(x)
        at, first = rising(s, a), -np.expm1(-np.asarray(b))
        once, twice = s * (first - b), s * (np.exp(-np.asarray(b)) * first - 2.0 * first + b)
        return -at.d1 - once, -at.d2 - once, at.d2 - twice

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        at = self.at(psi)
        share = at.alpha / (1.0 + at.alpha)
        second = -float(np.sum(a)) * share * (1.0 - share)
        return Terms(float(np.sum(at.log_terms(a, b))), (a * (1.0 - share))[:, None], np.array([[second]]))

    def log_terms(self, a: Array, b: Array) -> Array:
        y = np.rint(a / b)
        return np.asarray(-b * gammaln(y + 1.0) - a * np.log1p(1.0 / self.alpha))

    # Moments and probabilities, at a given alpha

    def variance(self, mean: Array) -> Array:
        return np.asarray((1.0 + self.alpha) * mean)

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        eta = np.minimum(np.asarray(eta, dtype=np.float64), 1e300)
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        y, x = np.where(b > 0.0, a / np.where(b > 0.0, b, 1.0), 0.0), eta - np.log(self.alpha)
        near = np.clip(x, -_LARGEST_LOG, _LARGEST_LOG)
        rest = rising(np.exp(near), y).rest - np.where(y > 0.0, y - 1.0, 0.0) * near
        return times(a, eta) + times(b, rest) - times(b, self.mean(eta) * (np.log1p(self.alpha) / self.alpha))

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        y = np.where(b > 0.0, a / np.where(b > 0.0, b, 1.0), 0.0)
        x = np.asarray(eta, dtype=np.float64) - np.log(self.alpha)
        _, *parts = SizeRows().derivatives(x, y, np.full_like(y, np.log1p(self.alpha)))
        G, H, third, K = (b * part for part in parts)
        return self.value(eta, a, b), G, H, third, K

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        return times(weights, -gammaln(y + 1.0) - np.asarray(y) * np.log1p(self.alpha))

    def saturated(self, a: Array, b: Array) -> Array:
        """The size s is where the sum of 1 / (s + i) over i below the count is log(1 + alpha); by Newton's method."""
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        y = np.where(b > 0.0, a / np.where(b > 0.0, b, 1.0), 0.0)
        some, c = y > 0.0, float(np.log1p(self.alpha))
        count = np.where(some, y, 1.0)
        x = np.log(count / self.alpha)
        for _ in range(200):
            at = rising(np.exp(x), count)
            step = np.clip((np.log(at.d1) - x - np.log(c)) / (1.0 - at.d2 / at.d1), -5.0, 5.0)
            x = x + step
            if np.all(np.abs(step) <= 1e-13 * (1.0 + np.abs(x))):
                break
        return np.where(some & (b > 0.0), self.value(x + np.log(self.alpha), a, b), 0.0)

    def magnitude(self, a: Array, b: Array) -> Array:
        return PoissonLog().magnitude(a, b) + np.abs(self.log_terms(a, np.where(b > 0.0, b, 1.0)))

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        k, size = np.maximum(y, 0.0) + 1.0, np.exp(np.clip(np.asarray(eta) - np.log(self.alpha), -700.0, 700.0))
        failure, success = 1.0 / (1.0 + self.alpha), self.alpha / (1.0 + self.alpha)
        return np.where(y < 0.0, 0.0, betainc(size, k, failure)), np.where(y < 0.0, 1.0, betainc(k, size, success))

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        mu = np.asarray(mu, dtype=np.float64)
        near = np.minimum(mu, 1e300)
        return PoissonLog().simulate(rng, rng.gamma(near / self.alpha, self.alpha))
