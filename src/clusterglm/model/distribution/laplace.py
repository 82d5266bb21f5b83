"""Laplace (double exponential) random intercepts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erf, log_ndtr

from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution


@dataclass(frozen=True)
class Laplace(Distribution):
    """The Laplace distribution, density exp(-|t|) / 2; sigma is its scale parameter, sqrt(2) times smaller than its sd.

    The density has a corner at 0: integrals are split there, and scale="density" is not offered.

    Examples
    --------
    >>> import clusterglm as cg
    >>> round(cg.Laplace().sd, 4)
    1.4142
    """

    code = "laplace"
    kinks = (0.0,)
    density_scale = False

    @property
    def sd(self) -> float:
        return float(np.sqrt(2.0))

    def log_density(self, t: Array) -> Jet:
        t = np.asarray(t, dtype=np.float64)
        zero = np.zeros_like(t)
        return -np.abs(t) - np.log(2.0), -np.sign(t), zero, zero, zero

    def quantile_of_normal(self, s: Array) -> Array:
        # -log of twice the tail; near 0 the tail is (1 - erf) / 2
        s = np.asarray(s, dtype=np.float64)
        size = np.abs(s)
        near = -np.log1p(-erf(np.minimum(size, 1.0) / np.sqrt(2.0)))
        value: Array = np.sign(s) * np.where(size < 1.0, near, -np.log(2.0) - log_ndtr(-size))
        return value

    def cdf(self, t: Array) -> Array:
        t = np.asarray(t, dtype=np.float64)
        tail = 0.5 * np.exp(-np.abs(t))
        value: Array = np.where(t < 0.0, tail, 1.0 - tail)
        return value

    def quantile(self, probability: Array) -> Array:
        p = np.asarray(probability, dtype=np.float64)
        with np.errstate(divide="ignore"):
            value: Array = np.sign(0.5 - p) * np.log(2.0 * np.minimum(p, 1.0 - p))
        return value

    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        return rng.laplace(size=size)

    def log_moment(self, order: float, sigma: float) -> tuple[float, float]:
        t = order * sigma
        if t >= 1.0:
            return float("inf"), float("nan")
        return float(-np.log1p(-t * t)), 2.0 * order * t / (1.0 - t * t)
