"""Cauchy random intercepts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, ndtr, ndtri

from clusterglm import _core
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution


def log_kernel(t: Array) -> Jet:
    """-log(1 + t^2) and its first four derivatives, free of overflow.

    The n-th derivative is 2 (-1)^n (n-1)! cos(n theta) / rho^n, rho = |t + i|, theta = arg(t + i).
    """
    rho = np.hypot(1.0, t)
    u = 1.0 / rho  # sin(theta) = 1 / rho
    c = np.where(np.isinf(t), np.sign(t), t * u)
    square, u2 = c * c, u * u
    return (
        -2.0 * np.log(rho),
        -2.0 * c * u,
        2.0 * (square - u2) * u2,
        -4.0 * c * (square - 3.0 * u2) * u2 * u,
        12.0 * (square * square - 6.0 * square * u2 + u2 * u2) * u2 * u2,
    )


def normal_of_symmetric(sf: Callable[[Array], Array], t: Array) -> Array:
    """Phi^-1(F(t)) of a distribution that is symmetric about 0, given the probability of what lies above t >= 0."""
    t = np.asarray(t, dtype=np.float64)
    value: Array = -np.sign(t) * ndtri(sf(np.abs(t)))
    return value


@dataclass(frozen=True)
class Cauchy(Distribution):
    """The Cauchy distribution; sigma is its scale parameter (half the interquartile range), it has no sd."""

    code = "cauchy"
    closed = True
    tail = 1.0
    spread = 1.0

    @property
    def moment_order(self) -> float:
        return 1.0

    @property
    def sd(self) -> float:
        return np.inf

    def log_density(self, t: Array) -> Jet:
        value, d1, d2, d3, d4 = log_kernel(np.asarray(t, dtype=np.float64))
        return value - np.log(np.pi), d1, d2, d3, d4

    def quantile_of_normal(self, s: Array) -> Array:
        # tan(pi (Phi - 1/2)) near 0, cot(pi Phi(-|s|)) in the tails
        s = np.asarray(s, dtype=np.float64)
        centre = np.tan(0.5 * np.pi * erf(np.clip(s, -0.7, 0.7) / np.sqrt(2.0)))
        with np.errstate(divide="ignore", over="ignore"):
            tail = np.sign(s) / np.tan(np.pi * ndtr(-np.maximum(np.abs(s), 0.5)))
        value: Array = np.where(np.abs(s) < 0.6, centre, tail)
        return value

    def normal_of(self, t: Array) -> Array:
        return normal_of_symmetric(self.sf, t)

    def cdf(self, t: Array) -> Array:
        return np.arctan2(1.0, -np.asarray(t, dtype=np.float64)) / np.pi

    def quantile(self, probability: Array) -> Array:
        p = np.asarray(probability, dtype=np.float64)
        tail = np.minimum(p, 1.0 - p)
        with np.errstate(divide="ignore"):
            value: Array = np.where(p == 0.5, 0.0, np.sign(p - 0.5) / np.tan(np.pi * tail))
        return value

    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        return rng.standard_cauchy(size)

    def core_map(self, *, normal: bool) -> _core.LocationMap:
        return _core.cauchy(normal)

    def difference_quantile(self, probability: float) -> float:
        return float(2.0 * self.quantile(np.array([probability]))[0])
