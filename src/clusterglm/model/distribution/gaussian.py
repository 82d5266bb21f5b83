"""Gaussian random intercepts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from clusterglm import _core
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.special import log_normal_density


@dataclass(frozen=True)
class Gaussian(Distribution):
    """The normal distribution; sigma is its standard deviation."""

    code = "gaussian"
    normal = True
    closed = True
    unimodal = True

    @property
    def sd(self) -> float:
        return 1.0

    def log_density(self, t: Array) -> Jet:
        t = np.asarray(t, dtype=np.float64)
        return log_normal_density(t), -t, -np.ones_like(t), np.zeros_like(t), np.zeros_like(t)

    def quantile_of_normal(self, s: Array) -> Array:
        return np.array(s, dtype=np.float64)

    def normal_map(self, s: Array) -> Jet:
        t = self.quantile_of_normal(s)
        return t, np.ones_like(t), np.zeros_like(t), np.zeros_like(t), np.zeros_like(t)

    def cdf(self, t: Array) -> Array:
        return ndtr(t)

    def quantile(self, probability: Array) -> Array:
        return ndtri(probability)

    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        return rng.standard_normal(size)

    def log_moment(self, order: float, sigma: float) -> tuple[float, float]:
        return 0.5 * (order * sigma) ** 2, order * order * sigma

    def core_map(self, *, normal: bool) -> _core.LocationMap:
        return _core.gaussian()

    def difference_quantile(self, probability: float) -> float:
        return float(np.sqrt(2.0) * ndtri(probability))
