"""Counts with mean mu = exp(eta) and variance mu + alpha mu^2 (NB2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, gammaln, psi, zeta

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.base import Response
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.count import Count
from clusterglm.model.response.own.base import KernelRows, OnePositive, Terms
from clusterglm.model.response.poisson_log import PoissonLog

_COUNTS_IN_TABLE = 100_000  # largest count up to which logarithms are added up
_STIRLING_FROM = 50.0  # size above which three terms of Stirling's series leave less than rounding
_LEAST_ALPHA, _MOST_ALPHA = 1e-3, 20.0  # alpha worth starting from
_LOG_IS_LINEAR = 30.0  # where log(1 + exp(x)) is x but for rounding, relative to the rest of a row


class _Counts(PoissonLog):
    """The Poisson model's reading of counts, under this family's name."""

    family = "negative_binomial"


class _Rows(BinomialLogit):
    """Successes and failures, by the kernel that knows their derivatives in log(alpha) too."""

    code = "negative_binomial"


@dataclass(frozen=True, eq=False, repr=False)
class NegativeBinomial(OnePositive, Count):
    """Negative binomial counts with variance mu + alpha mu^2; alpha = 0 is the Poisson distribution.

    With size r = 1 / alpha, its likelihood is that of y successes and r failures with the logit link, at the linear
    predictor eta + log(alpha). The working value is log(alpha).
    """

    family = "negative_binomial"
    link = "log"
    code = ""
    default = True
    ratio = ("rate ratio", "rate")
    own = ("alpha",)
    meaning = "variance mean + alpha mean^2: the larger, the more dispersed"
    log_concave = True
    one_summit = True
    profiled = True
    intercepts_bias = False
    limit = "the Poisson model"
    lowest = float(np.log(1e-5))
    highest = float(np.log(1e6))

    @property
    def alpha(self) -> float:
        """The dispersion."""
        (alpha,) = self.values
        return alpha

    @property
    def reads(self) -> Response:
        return _Counts()

    @property
    def at_limit(self) -> PoissonLog:
        return PoissonLog()

    @property
    def variance_curvature(self) -> float:  # type: ignore[override]
        return self.alpha

    def start(self, mean: Array, a: Array, b: Array) -> Array:
        y = a / b
        excess = float(np.sum(b * ((y - mean) ** 2 - y)) / np.sum(b * mean * mean))
        return np.asarray(np.log(np.clip([excess], _LEAST_ALPHA, _MOST_ALPHA)))

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        groups = np.zeros(len(a), dtype=np.int64)
        return KernelRows(_Rows(), a, b / self.alpha, float(np.log(self.alpha)), own=1, groups=groups)

    def own_derivatives(self, x: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
        # log(alpha) moves x by itself and b by -b
        small = np.exp(-np.abs(x))
        near, up = 1.0 / (1.0 + small), x >= 0.0
        far = small * near
        p, q = np.where(up, near, far), np.where(up, far, near)
        bp, grown = b * p, b * (np.maximum(x, 0.0) + np.log1p(small))
        H = -(a + b) * (near * far) + bp
        return a * q - bp + grown, H, H + bp - grown

    def own_bias_moments(self, eta: Array) -> tuple[Array, Array]:
        # M = -p G, where p = alpha mu / (1 + alpha mu): E[M G] = -p v, and E[N] = -p E[H] = p v
        mu = self.mean(eta)
        share = 1.0 / (1.0 + self.alpha * mu)
        return mu * share, -0.5 * self.alpha * (mu * share) ** 2

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        at, y = self.at(psi), np.rint(a / b)
        first, second = at._rising_slopes(y)
        value = float(np.sum(at.log_terms(a, b)))
        return Terms(value, (b * first - a)[:, None], np.array([[float(b @ second)]]))

    def log_terms(self, a: Array, b: Array) -> Array:
        y = np.rint(a / b)
        return np.asarray(b * (self._rising(y) - gammaln(y + 1.0)) - a * np.log(self.alpha))

    def _rising(self, y: Array) -> Array:
        """Sum of log(1 + alpha i) over i below y: log Gamma(y + r) - log Gamma(r) + y log(alpha)."""
        y = np.asarray(y, dtype=np.float64)
        if y.size > 0 and y.max() <= _COUNTS_IN_TABLE:
            upto = np.concatenate([[0.0], np.cumsum(np.log1p(self.alpha * np.arange(y.max())))])
            return np.asarray(upto[y.astype(np.int64)])
        r = 1.0 / self.alpha
        if r < _STIRLING_FROM:
            return np.asarray(gammaln(y + r) - gammaln(r) - y * np.log(r))

        def rest(x: Array) -> Array:
            return np.asarray(1.0 / (12.0 * x) - 1.0 / (360.0 * x**3) + 1.0 / (1260.0 * x**5))

        return np.asarray((y + r - 0.5) * np.log1p(y / r) - y + rest(y + r) - rest(np.array(r)))

    def _rising_slopes(self, y: Array) -> tuple[Array, Array]:
        """First and second derivative of `_rising` in log(alpha)."""
        if y.size > 0 and y.max() <= _COUNTS_IN_TABLE:
            share = self.alpha * np.arange(y.max())
            share /= 1.0 + share
            steps = (share, share * (1.0 - share))
            first, second = (np.concatenate([[0.0], np.cumsum(step)])[y.astype(np.int64)] for step in steps)
            return first, second
        r = 1.0 / self.alpha
        slope = r * (psi(y + r) - psi(r))
        return y - slope, slope + r * r * (zeta(2.0, y + r) - zeta(2.0, r))

    # Moments and probabilities, at a given alpha

    def variance(self, mean: Array) -> Array:
        return np.asarray(mean + self.alpha * mean * mean)

    def log_ratio(self, eta: Array) -> Array:
        """log(1 + alpha mu), accurate where alpha mu is small."""
        x = np.asarray(eta, dtype=np.float64) + np.log(self.alpha)
        return np.asarray(np.where(x > _LOG_IS_LINEAR, x, np.log1p(np.exp(np.minimum(x, _LOG_IS_LINEAR)))))

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        ratio = self.log_ratio(eta)
        return times(a, np.minimum(eta, 1e300) - ratio) - times(b / self.alpha, ratio)

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        r = 1.0 / self.alpha
        _, G, H, I, K = BinomialLogit().derivatives(eta - np.log(r), a, b * r)
        return self.value(eta, a, b), G, H, I, K

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        return times(weights, self._rising(y) - gammaln(y + 1.0))

    def saturated(self, a: Array, b: Array) -> Array:
        with np.errstate(divide="ignore"):
            eta = np.log(a / b)
        return np.where(a == 0.0, 0.0, self.value(np.where(a == 0.0, 0.0, eta), a, b))

    def magnitude(self, a: Array, b: Array) -> Array:
        rows = self.kernel_rows(a, b)
        return rows.response.magnitude(rows.a, rows.b) + np.abs(self.log_terms(a, b))

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        x = np.asarray(eta) + np.log(self.alpha)
        r, k = 1.0 / self.alpha, np.maximum(y, 0.0) + 1.0
        with np.errstate(over="ignore"):
            failure, success = 1.0 / (1.0 + np.exp(x)), 1.0 / (1.0 + np.exp(-x))
        return np.where(y < 0.0, 0.0, betainc(r, k, failure)), np.where(y < 0.0, 1.0, betainc(k, r, success))

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        r = 1.0 / self.alpha
        return PoissonLog().simulate(rng, mu * rng.gamma(r, 1.0 / r, np.shape(mu)))

    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        mu = self.mean(eta)
        share = 1.0 / (1.0 + self.alpha * mu)
        first = mu * share * share
        return mu * share, first, first * (2.0 * share - 1.0)
