"""Successes of trials whose probability is beta distributed from row to row, logit link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import expit, log_expit

from clusterglm.errors import DataError, ResponseError
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.response.base import Response
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.own.base import KernelRows, OwnParameters, Terms
from clusterglm.model.rising import rising

_BASE = 2.0**26  # failures are counted in units of it, beside successes
_CERTAIN_TRIAL = 300.0  # linear predictors beyond which probabilities are taken to be those there
_MOST_TERMS = 1_000_000  # probabilities that are held at a time
_FROM_RHO, _TO_RHO = 1e-3, 0.5  # correlations worth starting from


class _Shares(BinomialLogit):
    """The binomial model's reading of successes and failures, under this family's name."""

    family = "beta_binomial"


class RisingRows(BinomialLogit):
    """Rows log Gamma(b p + y) - log Gamma(b p) and the same of q = 1 - p and f, for a = y + 2^26 f; without weights.

    log(1 / b) is the kernel's own parameter. A row is concave in p; clusters may have several summits.
    """

    code = "beta_binomial"
    additive = False
    log_concave = False
    one_summit = False

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return _Pair.of(eta, a, b).value()

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        return _Pair.of(eta, a, b).jet()

    def magnitude(self, a: Array, b: Array) -> Array:
        failures = np.floor(np.asarray(a) / _BASE)
        n = np.asarray(a) - failures * (_BASE - 1.0)
        return n * np.abs(np.log(np.asarray(b) + n + 2.0)) + 1.0


@dataclass(frozen=True)
class _Pair:
    """Successes and failures with their probabilities, as rising factorials from phi p and phi q."""

    p: Array
    q: Array
    y: Array
    f: Array
    phi: Array
    x: Array

    @classmethod
    def of(cls, x: Array, a: Array, b: Array) -> _Pair:
        x, a, b = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (x, a, b)))
        failures = np.floor(a / _BASE)
        return cls.counts(x, a - failures * _BASE, failures, b)

    @classmethod
    def counts(cls, x: Array, y: Array, f: Array, phi: Array | float) -> _Pair:
        x = np.clip(np.asarray(x, dtype=np.float64), -1e300, 1e300)
        x, y, f, size = np.broadcast_arrays(x, y, f, np.asarray(phi, dtype=np.float64))
        near = np.clip(x, -_CERTAIN_TRIAL, _CERTAIN_TRIAL)  # where sizes are still above 0
        return cls(expit(near), expit(-near), y, f, np.where(size > 0.0, size, 1.0), x)

    def value(self) -> Array:
        of_y, of_f = rising(self.phi * self.p, self.y).rest, rising(self.phi * self.q, self.f).rest
        log_phi = np.log(self.phi)
        first = np.where(self.y > 0.0, log_expit(self.x) + log_phi, 0.0)
        return np.asarray(of_y + of_f + first + np.where(self.f > 0.0, log_expit(-self.x) + log_phi, 0.0))

    def normalised(self) -> Array:
        """Less that of all trials from phi: log P but for the binomial coefficient."""
        whole, log_phi = -_excess(self.phi, self.y + self.f), np.log(self.phi)
        for log_p, s, k in ((log_expit(self.x), self.p, self.y), (log_expit(-self.x), self.q, self.f)):
            more = rising(self.phi * s, k).rest - np.maximum(k - 1.0, 0.0) * log_phi
            whole = whole + np.where(k > 0.0, log_p + more, 0.0)
        return np.asarray(whole)

    def jet(self) -> Jet:
        y, f = rising(self.phi * self.p, self.y), rising(self.phi * self.q, self.f)
        p, q, v = self.p, self.q, self.p * self.q
        both = y.d1 + f.d1
        G, H = y.d1 * q - f.d1 * p, y.d2 * q**2 + f.d2 * p**2 - both * v
        third = y.d3 * q**3 - f.d3 * p**3 - 3.0 * v * (y.d2 * q - f.d2 * p) - both * v * (q - p)
        fourth = y.d4 * q**4 + f.d4 * p**4 - 6.0 * v * (y.d3 * q**2 + f.d3 * p**2) - both * v * (1.0 - 6.0 * v)
        fourth += y.d2 * v * (3.0 * v - 4.0 * q * (q - p)) + f.d2 * v * (3.0 * v + 4.0 * p * (q - p))
        return self.value(), G, H, third, fourth

    def own(self) -> tuple[Array, Array, Array]:
        """Derivatives in log(1 / phi), in it and in x, and twice in it."""
        y, f = rising(self.phi * self.p, self.y), rising(self.phi * self.q, self.f)
        return -(y.d1 + f.d1), f.d2 * self.p - y.d2 * self.q, y.d2 + f.d2


def _excess(s: Array, k: Array) -> Array:
    """Sum of log(1 + i / s) over i below k."""
    return np.asarray(rising(s, k).rest - np.maximum(np.asarray(k) - 1.0, 0.0) * np.log(s))


@dataclass(frozen=True, eq=False, repr=False)
class BetaBinomial(OwnParameters, BinomialLogit):
    """Beta-binomial successes: given the linear predictor, a row's probability has mean mu and is beta distributed.

    Its parameters are mu phi and (1 - mu) phi: n trials have the variance n mu (1 - mu) (phi + n) / (phi + 1), and the
    correlation 1 / (1 + phi). The working value is log(1 / phi), at whose lower end it is the binomial distribution.
    """

    family = "beta_binomial"
    link = "logit"
    code = ""
    default = True
    two_levels = False
    additive = False
    totals_suffice = False
    log_concave = False
    one_summit = False
    latent_variance = None  # type: ignore[assignment]
    own = ("phi",)
    meaning = "variance n mean (1 - mean) (phi + n) / (phi + 1): the smaller phi, the more dispersed"
    limit = "the binomial model"
    at_lower = float("inf")
    alike_by_ratio = False
    lowest = float(np.log(1e-6))
    highest = float(np.log(1e6))
    prior = "half_t(1, 10)"  # a concentration: large where there is no overdispersion

    @property
    def phi(self) -> float:
        """Sum of the beta distribution's parameters."""
        (phi,) = self.values
        return phi

    @property
    def reads(self) -> Response:
        return _Shares()

    @property
    def at_limit(self) -> BinomialLogit:
        return BinomialLogit()

    def refuse(self, a: Array, b: Array, weights: Array) -> None:
        if np.any(weights != 1.0):
            raise DataError(
                f"weights= with family={self.family!r}",
                "rows without weights: each is one draw of a probability, however many trials it has",
                "rows written out, or cluster_weights=; for shares of known numbers, cbind(successes, failures) ~ ...",
            )
        n = np.asarray(a) + b
        if n.max() <= 1.0:
            raise ResponseError(
                f"{len(n)} rows of a single trial each with family={self.family!r}",
                "rows of several trials: how these vary beyond chance is what phi measures, and single trials cannot",
                "family='binomial'; or cbind(successes, failures) ~ ... with rows that belong together added up",
            )
        if n.max() >= _BASE:
            raise ResponseError(
                f"{n.max():.0f} trials in one row with family={self.family!r}",
                f"fewer than {_BASE:.0f}",
                "smaller units",
            )

    @property
    def working(self) -> Array:
        return np.asarray(-np.log(self.values))

    def at(self, psi: Array) -> Self:
        return type(self)((float(np.exp(-psi[0])),))

    def slopes(self, psi: Array) -> Array:
        return np.asarray(-np.exp(-psi))

    def start(self, mean: Array, a: Array, b: Array) -> Array:
        n = np.asarray(a) + b
        some = (n > 1.0) & (mean > 0.0) & (mean < 1.0)
        n, y, mean = n[some], np.asarray(a)[some], mean[some]
        chance = n * mean * (1.0 - mean)  # the variance is this times 1 + (n - 1) rho
        excess = float(np.sum((y - n * mean) ** 2 / chance - 1.0) / max(float(np.sum(n - 1.0)), 1.0))
        rho = np.clip([excess], _FROM_RHO, _TO_RHO)
        return np.asarray(np.log(rho / (1.0 - rho)))

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        groups = np.zeros(len(a), dtype=np.int64)
        both = np.asarray(a) + _BASE * np.asarray(b)
        return KernelRows(RisingRows(), both, np.full(len(a), self.phi), 0.0, own=1, groups=groups)

    def own_derivatives(self, x: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
        return _Pair.of(x, a, b).own()

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        at, n = self.at(psi), np.asarray(a) + b
        whole = rising(np.full(len(n), at.phi), n)
        each, w = at.log_terms(a, b), np.ones(len(n)) if weights is None else weights
        return Terms(float(w @ each), (w * whole.d1)[:, None], np.array([[-float(w @ whole.d2)]]))

    def log_terms(self, a: Array, b: Array) -> Array:
        n = np.asarray(a) + b
        whole = rising(np.full(len(n), self.phi), n).rest + np.where(n > 0.0, np.log(self.phi), 0.0)
        return np.asarray(self.log_constants(np.asarray(a), n, np.ones(len(n))) - whole)

    # Moments and probabilities, at a given phi; rows have no weights. At the end of its range it is the model there

    def overdispersion(self, a: Array, b: Array) -> Array:
        return np.asarray((self.phi + (np.asarray(a) + b)) / (self.phi + 1.0))

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        if not self.values:
            return self.at_limit.value(eta, a, b)
        return _Pair.counts(eta, np.asarray(a), np.asarray(b), self.phi).normalised()

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        if not self.values:
            return self.at_limit.derivatives(eta, a, b)
        at = _Pair.counts(eta, np.asarray(a), np.asarray(b), self.phi)
        return (at.normalised(), *at.jet()[1:])

    def saturated(self, a: Array, b: Array) -> Array:
        """By halving, as the slope changes its sign once; 0 where all trials have one outcome."""
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        low, high = np.full(a.shape, -40.0), np.full(a.shape, 40.0)
        for _ in range(60):
            middle = 0.5 * (low + high)
            rises = self.derivatives(middle, a, b)[1] > 0.0
            low, high = np.where(rises, middle, low), np.where(rises, high, middle)
        return np.where((a > 0.0) & (b > 0.0), self.value(0.5 * (low + high), a, b), 0.0)

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        shape = np.broadcast_shapes(np.shape(y), np.shape(eta), np.shape(trials))
        y, eta, trials = (np.broadcast_to(each, shape).ravel() for each in (y, eta, trials))
        upto, above = np.zeros(len(y)), np.ones(len(y))
        inside = np.flatnonzero((y >= 0.0) & (y < trials))
        upto[y >= trials], above[y >= trials] = 1.0, 0.0
        sizes = trials[inside].astype(np.int64) + 1
        for part in np.array_split(inside, max(1, int(sizes.sum() // _MOST_TERMS))):
            if len(part) == 0:
                continue
            count = trials[part].astype(np.int64) + 1
            first = np.concatenate([[0], np.cumsum(count)[:-1]])
            of = np.repeat(np.arange(len(part)), count)
            k = np.arange(len(of)) - first[of]
            n = trials[part][of]
            log_p = self.value(eta[part][of], k.astype(np.float64), n - k) + self.log_constants(
                k.astype(np.float64), n, np.ones(len(k))
            )
            p, below = np.exp(log_p), k <= y[part][of]
            upto[part] = np.add.reduceat(np.where(below, p, 0.0), first)
            above[part] = np.add.reduceat(np.where(below, 0.0, p), first)
        return np.minimum(upto, 1.0).reshape(shape), np.minimum(above, 1.0).reshape(shape)

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        mu = np.asarray(mu, dtype=np.float64)
        count = np.ones_like(mu) if trials is None else np.asarray(trials)
        least = np.finfo(np.float64).tiny
        chance = rng.beta(np.maximum(mu * self.phi, least), np.maximum((1.0 - mu) * self.phi, least))
        return super().simulate(rng, np.where((mu > 0.0) & (mu < 1.0), chance, mu), count)
