"""Negative binomial counts from 1 on (NB2): of a count with variance mu + alpha mu^2, given that it is not 0."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit, log_expit

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.base import Response
from clusterglm.model.response.count import TruncatedCount
from clusterglm.model.response.own.base import KernelRows, OnePositive, Terms
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.own.repeats import refuse_fractions, repeated
from clusterglm.model.response.truncated_poisson import TruncatedPoissonLog

_AS_GOOD_AS_NONE = -700.0  # linear predictors at which all but the leading terms are gone, -inf among them
_FAR_BELOW = -37.0  # linear predictors with log(1 + e^x) = e^x to all digits
_LEAST_ALPHA, _MOST_ALPHA = 1e-3, 20.0  # alpha worth starting from
_SMALL_MEAN = 1e-5  # means below which two terms of a series have more digits than a difference


class _Counts(TruncatedPoissonLog):
    """The truncated Poisson model's reading of counts, under this family's name."""

    family = "truncated_negative_binomial"


class TruncatedRows(TruncatedPoissonLog):
    """Rows a log p - log(e^t - 1), t = b log(1 + e^x) and p = e^x / (1 + e^x): counts a of size b, without weights.

    log(1 / b) is the kernel's own parameter, which moves x too.
    """

    code = "truncated_negative_binomial"
    additive = False
    log_concave = False
    one_summit = False

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return _Parts.of(eta, a, b).value

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        return _Parts.of(eta, a, b).jet()

    def magnitude(self, a: Array, b: Array) -> Array:
        return np.abs(np.asarray(a)) + 1.0


@dataclass(frozen=True)
class _Parts:
    """What log P has of t = r log(1 + e^x), which may be tiny: all in units of it.

    Parameters
    ----------
    a, p, q : ndarray
    h : ndarray
        t / (e^t - 1).
    t : tuple of ndarray
        Derivatives of t in x, divided by t.
    F : tuple of ndarray
        Those of -log(e^t - 1) in t, multiplied by t, t^2, t^3 and t^4.
    value : ndarray
        All of log P but a constant.
    """

    a: Array
    p: Array
    q: Array
    h: Array
    t: tuple[Array, ...]
    F: tuple[Array, ...]
    value: Array

    @classmethod
    def of(cls, x: Array, a: Array, r: Array) -> _Parts:
        x, a, r = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (x, a, r)))
        x = np.clip(x, -1e300, 1e300)
        p, q, there, far = expit(x), expit(-x), r > 0.0, x < _FAR_BELOW
        v, grown, size = p * q, np.where(far, 1.0, np.logaddexp(0.0, x)), np.where(there, r, 1.0)
        first = np.where(far, 1.0, p / grown)
        log_t = np.log(size) + np.where(far, x, np.log(grown))
        t = np.exp(np.minimum(log_t, 700.0))
        h = np.where(there, np.exp(log_t - _log_expm1(t, log_t)), 0.0)
        on = np.where(there, t, 0.0)
        both = on + h
        hh = h * both
        F = (-both, hh, -hh * (both + h), hh * (on * on + 6.0 * hh))
        ratios = (first, first * q, first * q * (q - p), first * q * (1.0 - 6.0 * v))
        value = np.where(there, times(a, log_expit(x)) - _log_expm1(t, log_t), 0.0)
        value = np.where(there & (x < _AS_GOOD_AS_NONE), times(a - 1.0, x) - np.log(size), value)
        return cls(a, p, q, h, ratios, F, value)

    def jet(self) -> Jet:
        t1, t2, t3, t4 = self.t
        F1, F2, F3, F4 = self.F
        p, q, v = self.p, self.q, self.a * self.p * self.q
        third = F3 * t1**3 + 3.0 * F2 * t1 * t2 + F1 * t3 - v * (q - p)
        fourth = F4 * t1**4 + 6.0 * F3 * t1**2 * t2 + F2 * (3.0 * t2**2 + 4.0 * t1 * t3) + F1 * t4
        fourth -= v * (1.0 - 6.0 * p * q)
        return self.value, self.a * q + F1 * t1, F2 * t1**2 + F1 * t2 - v, third, fourth

    def own(self) -> tuple[Array, Array, Array]:
        """Derivatives in log(1 / r), in it and in x, and twice in it; of t, one in it is one in x less t itself."""
        t1, t2, *_ = self.t
        w, mixed, twice, v = t1 - 1.0, t2 - t1, t2 - 2.0 * t1 + 1.0, self.a * self.p * self.q
        F1, F2, *_ = self.F
        return self.a * self.q + F1 * w, F2 * t1 * w + F1 * mixed - v, F2 * w * w + F1 * twice - v


def _log_expm1(t: Array, log_t: Array) -> Array:
    """log(e^t - 1); where t is tiny it is log(t), which may be out of the range of t."""
    near = np.clip(t, 1e-9, 1.0)
    small = np.where(t < 1e-9, log_t + 0.5 * t, np.log(np.expm1(near)))
    return np.where(t < 1.0, small, t + np.log1p(-np.exp(-np.maximum(t, 1.0))))


@dataclass(frozen=True, eq=False, repr=False)
class TruncatedNegativeBinomial(OnePositive, TruncatedCount):
    """Negative binomial counts without zeros; alpha = 0 is the truncated Poisson distribution.

    The mean is that of these counts, mu / (1 - (1 + alpha mu)^(-1 / alpha)). The working value is log(alpha). Kernel
    rows have no weights: a row of a whole number of repeats is as many kernel rows.
    """

    family = "truncated_negative_binomial"
    link = "log"
    code = ""
    default = True
    ratio = ("rate ratio", "rate")
    own = ("alpha",)
    mean_moves = True
    meaning = "before truncation variance mean + alpha mean^2: the larger, the more dispersed"
    one_summit = False
    limit = "the truncated Poisson model"
    lowest = NegativeBinomial.lowest
    highest = NegativeBinomial.highest

    @property
    def alpha(self) -> float:
        """The dispersion of the counts before truncation."""
        (alpha,) = self.values
        return alpha

    @cached_property
    def _whole(self) -> NegativeBinomial:
        return NegativeBinomial(self.values)

    def untruncated(self) -> NegativeBinomial:
        return self._whole

    @property
    def reads(self) -> Response:
        return _Counts()

    @property
    def at_limit(self) -> TruncatedPoissonLog:
        return TruncatedPoissonLog()

    def refuse(self, a: Array, b: Array, weights: Array) -> None:
        refuse_fractions(self, weights)

    def start(self, mean: Array, a: Array, b: Array) -> Array:
        y = a / b
        mu = np.exp(TruncatedPoissonLog().link_function(np.maximum(mean, 1.0 + 1e-9)))
        excess = float(np.sum(b * (y * y - mean * (1.0 + mu))) / np.sum(b * mean * mu))  # E y^2 = m (1 + mu + alpha mu)
        return np.asarray(np.log(np.clip([excess], _LEAST_ALPHA, _MOST_ALPHA)))

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        y, of = repeated(a, b)
        groups = np.zeros(len(y), dtype=np.int64)
        size = np.full(len(y), 1.0 / self.alpha)
        return KernelRows(TruncatedRows(), y, size, float(np.log(self.alpha)), of=of, own=1, groups=groups)

    def own_derivatives(self, x: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
        return _Parts.of(x, a, b).own()

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        return NegativeBinomial().terms(psi, a, b)

    def log_terms(self, a: Array, b: Array) -> Array:
        return self._whole.log_terms(a, b)

    # Moments and probabilities, at a given alpha; at its end, without one, moments are those of the model there

    def _share(self, eta: Array) -> tuple[Array, Array, Array]:
        """The mean mu of all counts, t = -log P(0), and the mean of those above 0 less one."""
        mu = self._whole.mean(np.asarray(eta, dtype=np.float64))
        t = self._whole.log_ratio(eta) / self.alpha
        bent = (1.0 + self.alpha) * mu
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            near = 0.5 * bent * (1.0 - (1.0 + 2.0 * self.alpha) * mu / 3.0) / (1.0 - 0.5 * bent)
            more = np.where(bent < _SMALL_MEAN, near, (mu + np.expm1(-t)) / -np.expm1(-t))
        return mu, t, np.where(mu < np.inf, more, np.inf)

    def mean(self, eta: Array) -> Array:
        return 1.0 + self._share(eta)[2] if self.values else self.at_limit.mean(eta)

    def mean_derivative(self, eta: Array) -> Array:
        return self.mean_derivatives(eta)[1]

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        if not self.values:
            return self.at_limit.mean_derivatives(eta)
        x = np.asarray(eta, dtype=np.float64) + np.log(self.alpha)
        mean, at = self.mean(eta), _Parts.of(x, np.zeros_like(x), np.full_like(x, 1.0 / self.alpha))
        (t1, t2, t3, _), h = at.t, at.h
        second, third = at.F[1], at.F[2]  # of -log(1 - e^-t), as those of F
        g = (1.0 - h * t1, second * t1**2 - h * t2, third * t1**3 + 3.0 * second * t1 * t2 - h * t3)
        with np.errstate(over="ignore", invalid="ignore"):
            return mean, mean * g[0], mean * (g[1] + g[0] ** 2), mean * (g[2] + 3.0 * g[0] * g[1] + g[0] ** 3)

    def variance(self, mean: Array) -> Array:
        if not self.values:
            return self.at_limit.variance(mean)
        mean = np.asarray(mean, dtype=np.float64)
        mu = self._whole.mean(self.link_function(mean))
        with np.errstate(invalid="ignore", over="ignore"):
            found = mean * (1.0 + (1.0 + self.alpha) * mu - mean)
        return np.where(np.isfinite(mean), np.maximum(found, 0.0), np.inf)

    def link_function(self, mu: Array) -> Array:
        """By Newton's method for log(mean - 1), which is nearly linear in the linear predictor."""
        if not self.values:
            return self.at_limit.link_function(mu)
        wanted = np.asarray(mu, dtype=np.float64)
        inside = (wanted > 1.0) & (wanted < np.inf)
        more = np.where(inside, wanted - 1.0, 1.0)
        eta = np.log(more) - np.where(more < 1.0, np.log(0.5 * (1.0 + self.alpha)), 0.0)
        for _ in range(100):
            beyond, slope = self._share(eta)[2], self.mean_derivative(eta)
            slope = np.where(beyond < _SMALL_MEAN, beyond, slope)
            step = np.clip((np.log(more) - np.log(beyond)) * beyond / slope, -5.0, 5.0)
            eta = eta + step
            if np.all(np.abs(step) <= 1e-14 * (1.0 + np.abs(eta))):
                break
        return np.where(inside, eta, np.where(wanted > 1.0, wanted, -np.inf))

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        eta = np.clip(np.asarray(eta, dtype=np.float64), -1e300, 1e300)
        ratio = self._whole.log_ratio(eta)
        t = ratio / self.alpha
        with np.errstate(divide="ignore"):
            log_t = np.where(eta < -30.0, eta, np.log(t))
        return times(a, eta - ratio) - times(b, _log_expm1(t, log_t))

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        y = np.where(b > 0.0, a / np.where(b > 0.0, b, 1.0), 0.0)
        at = _Parts.of(np.asarray(eta) + np.log(self.alpha), y, np.full_like(y, 1.0 / self.alpha))
        _, *parts = at.jet()
        G, H, third, K = (b * part for part in parts)
        return self.value(eta, a, b), G, H, third, K

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        return self._whole.log_constants(y, trials, weights)

    def saturated(self, a: Array, b: Array) -> Array:
        # scores are (y - mean) q: the maximum is where the mean is the count
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        more = (a > b) & (b > 0.0)
        eta = self.link_function(np.where(more, a / np.where(b > 0.0, b, 1.0), 2.0))
        return np.where(more, self.value(eta, a, b), 0.0)

    def magnitude(self, a: Array, b: Array) -> Array:
        return self._whole.magnitude(a, b) + np.abs(np.asarray(b))

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        upto, above = self._whole.tails(y, eta, trials)
        t = self._whole.log_ratio(eta) / self.alpha
        none, some = np.exp(-t), -np.expm1(-t)
        low, never = np.asarray(y) < 1.0, some == 0.0
        with np.errstate(invalid="ignore", divide="ignore"):
            upto = np.where(low, 0.0, np.where(never, 1.0, np.clip((upto - none) / some, 0.0, 1.0)))
            return upto, np.where(low, 1.0, np.where(never, 0.0, np.minimum(above / some, 1.0)))

    def draw(self, rng: np.random.Generator, eta: Array, trials: Array | None = None) -> Array:
        eta = np.asarray(eta, dtype=np.float64)
        mu, t, _ = self._share(eta)
        rare = np.exp(-t) < 0.5  # zeros, which are then drawn again
        drawn, again = np.ones(eta.shape), rare.copy()
        while np.any(again):
            drawn[again] = self._whole.simulate(rng, mu[again])
            again = rare & (drawn == 0.0)
        drawn[~rare] = _by_steps(rng.random(int(np.count_nonzero(~rare))), self, eta[~rare])
        return drawn


def _by_steps(u: Array, response: TruncatedNegativeBinomial, eta: Array) -> Array:
    """Counts by their distribution function, step by step: P(y + 1) is P(y) times a ratio."""
    x = eta + np.log(response.alpha)
    p, r, one = expit(x), 1.0 / response.alpha, np.ones_like(u)
    chance = np.exp(response.value(eta, one, one))  # of 1
    total, y = chance.copy(), np.ones_like(u)
    open_ = u > total
    while np.any(open_) and float(y.max()) < 1e7:
        chance = np.where(open_, chance * p * (y + r) / (y + 1.0), chance)
        y = np.where(open_, y + 1.0, y)
        total = np.where(open_, total + chance, total)
        open_ &= (u > total) & (chance > 1e-18)
    return y
