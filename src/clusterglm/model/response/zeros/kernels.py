"""Rows of zero-inflated counts as the core takes them, and what it computes of them, in NumPy.

A count is 0 for certain with probability pi = expit(w), otherwise one of a distribution with P(0) = exp(-m). Times
1 + exp(w), which is left out here, a positive count has the probability that it has there, and a zero exp(w) + exp(-m).
The logarithm of that is not concave in the linear predictor: a cluster's integrand may have several modes.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from clusterglm.model.arrays import Array, Jet
from clusterglm.model.response.base import Response
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.poisson_log import PoissonLog


@dataclass(frozen=True)
class _Zero:
    """log(exp(w) + exp(-m)), its first four derivatives in m; in w it has 1 + F1, and then the same."""

    value: Array
    F1: Array
    F2: Array
    F3: Array
    F4: Array

    @classmethod
    def of(cls, w: Array, m: Array) -> _Zero:
        s, other = expit(-(w + m)), expit(w + m)
        v, skew = s * other, other - s
        return cls(np.logaddexp(w, -m), -s, v, -skew * v, (skew * skew - 2.0 * v) * v)

    def jet(self, m1: Array, m2: Array, m3: Array, m4: Array) -> Jet:
        """Value and derivatives in the linear predictor, from those of m."""
        F1, F2, F3, F4 = self.F1, self.F2, self.F3, self.F4
        third = F1 * m3 + 3.0 * F2 * m1 * m2 + F3 * m1**3
        fourth = F1 * m4 + F2 * (4.0 * m1 * m3 + 3.0 * m2 * m2) + 6.0 * F3 * m1 * m1 * m2 + F4 * m1**4
        return self.value, F1 * m1, F1 * m2 + F2 * m1 * m1, third, fourth


@dataclass(frozen=True)
class OwnDerivatives:
    """Derivatives of r rows in the kernel's J own numbers; of pairs of these in the order (1, 1), (2, 1), (2, 2).

    Parameters
    ----------
    first, crossed : ndarray, shape (J, r)
        In each, and in it and the linear predictor.
    second : ndarray, shape (J (J + 1) / 2, r)
        In pairs of them.
    """

    first: Array
    crossed: Array
    second: Array


class ZeroInflatedKernel(Response):
    """What kernels of zero-inflated counts share."""

    additive = False
    log_concave = False
    one_summit = False
    numbers: ClassVar[int]
    """Numbers of their own on which rows depend: the last is w."""

    @abstractmethod
    def zeros(self, a: Array, b: Array) -> NDArray[np.bool_]:
        """Which rows are zeros, from their numbers."""

    @abstractmethod
    def own_derivatives(self, x: Array, a: Array, b: Array) -> OwnDerivatives:
        """Of rows with numbers a and b at the linear predictors x, shape (r,) each."""

    @abstractmethod
    def _jets(self, x: Array, a: Array, b: Array) -> tuple[Jet, Jet]:
        """Of all rows as zeros, and as positive counts."""

    def _weight(self, a: Array) -> Array | float:
        """Of zeros."""
        return 1.0

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        eta, a, b = np.broadcast_arrays(np.asarray(eta, dtype=np.float64), a, b)
        with np.errstate(over="ignore", invalid="ignore"):
            zero, positive = self._jets(np.minimum(eta, 150.0), a, b)
            is_zero, weight = self.zeros(a, b), self._weight(a)
            value, G, H, I, K = (np.where(is_zero, weight * z, p) for z, p in zip(zero, positive, strict=True))
        return value, G, H, I, K

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return self.derivatives(eta, a, b)[0]

    def rises_towards(self, a: Array, b: Array) -> Array:
        return np.where(self.zeros(a, b), -1.0, 0.0)


class InflatedPoisson(ZeroInflatedKernel, PoissonLog):
    """A positive count: (a, b) = (weight count, weight). A zero: (-weight, w)."""

    code = "zero_inflated_poisson"
    numbers = 1

    def zeros(self, a: Array, b: Array) -> NDArray[np.bool_]:
        return np.asarray(a) < 0.0

    def _weight(self, a: Array) -> Array:
        return -a

    def _jets(self, x: Array, a: Array, b: Array) -> tuple[Jet, Jet]:
        mu = np.exp(x)
        is_zero = self.zeros(a, b)
        positive = PoissonLog().derivatives(x, np.where(is_zero, 0.0, a), np.where(is_zero, 0.0, b))
        return _Zero.of(np.where(is_zero, b, 0.0), mu).jet(mu, mu, mu, mu), positive

    def own_derivatives(self, x: Array, a: Array, b: Array) -> OwnDerivatives:
        mu, is_zero = np.exp(np.minimum(x, 150.0)), self.zeros(a, b)
        f, weight = _Zero.of(np.where(is_zero, b, 0.0), mu), np.where(is_zero, -a, 0.0)
        return OwnDerivatives((weight * (1.0 + f.F1))[None], (weight * f.F2 * mu)[None], (weight * f.F2)[None])

    def magnitude(self, a: Array, b: Array) -> Array:
        is_zero = self.zeros(a, b)
        positive = PoissonLog().magnitude(np.where(is_zero, 0.0, a), np.where(is_zero, 0.0, b))
        return np.where(is_zero, -a * (1.0 + np.abs(b)), positive)


class InflatedNegativeBinomial(ZeroInflatedKernel, BinomialLogit):
    """At eta + log(alpha). A positive count: (weight count, weight / alpha). A zero: (w, -1 / alpha)."""

    code = "zero_inflated_negative_binomial"
    numbers = 2

    def zeros(self, a: Array, b: Array) -> NDArray[np.bool_]:
        return np.asarray(b) < 0.0

    def _jets(self, x: Array, a: Array, b: Array) -> tuple[Jet, Jet]:
        is_zero = self.zeros(a, b)
        positive = BinomialLogit().derivatives(x, np.where(is_zero, 0.0, a), np.where(is_zero, 0.0, b))
        m, *rates = rate(x, np.where(is_zero, -b, 0.0))
        return _Zero.of(np.where(is_zero, a, 0.0), m).jet(*rates), positive

    def own_derivatives(self, x: Array, a: Array, b: Array) -> OwnDerivatives:
        is_zero = self.zeros(a, b)
        m, m1, m2, _, _ = rate(x, np.where(is_zero, -b, 0.0))
        f = _Zero.of(np.where(is_zero, a, 0.0), m)
        n, n1 = m1 - m, m2 - m1  # log(alpha) moves x by itself and 1 / alpha by its negative
        p, q, log_ratio = expit(x), expit(-x), np.logaddexp(0.0, x)
        count, size = np.where(is_zero, 0.0, a), np.where(is_zero, 0.0, b)
        G, H = count * q - size * p, -(count + size) * p * q
        of_alpha = np.where(is_zero, f.F1 * n, G + size * log_ratio)
        crossed = np.where(is_zero, f.F1 * n1 + f.F2 * m1 * n, H + size * p)
        twice = np.where(is_zero, f.F1 * (n1 - n) + f.F2 * n * n, H + size * (2.0 * p - log_ratio))
        nothing = np.zeros_like(of_alpha)
        return OwnDerivatives(
            np.stack([of_alpha, np.where(is_zero, 1.0 + f.F1, nothing)]),
            np.stack([crossed, np.where(is_zero, f.F2 * m1, nothing)]),
            np.stack([twice, np.where(is_zero, f.F2 * n, nothing), np.where(is_zero, f.F2, nothing)]),
        )

    def magnitude(self, a: Array, b: Array) -> Array:
        is_zero = self.zeros(a, b)
        positive = BinomialLogit().magnitude(np.where(is_zero, 0.0, a), np.where(is_zero, 0.0, b))
        return np.where(is_zero, 1.0 + np.abs(a), positive)


def rate(x: Array, size: Array) -> Jet:
    """m = size log(1 + e^x) and its derivatives: of negative binomial counts -log P(0)."""
    p, q = expit(x), expit(-x)
    first, second = size * p, size * p * q
    return size * np.logaddexp(0.0, x), first, second, second * (q - p), second * (1.0 - 6.0 * p * q)
