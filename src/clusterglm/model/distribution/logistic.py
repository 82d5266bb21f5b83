"""Logistic random intercepts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erf, expit, log_ndtr, logit

from clusterglm import _core
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.special import log_normal_cdf


@dataclass(frozen=True)
class Logistic(Distribution):
    """The logistic distribution; sigma is its scale parameter, pi / sqrt(3) times smaller than its sd."""

    code = "logistic"
    closed = True
    geometric = True

    @property
    def sd(self) -> float:
        return float(np.pi / np.sqrt(3.0))

    def log_density(self, t: Array) -> Jet:
        t = np.asarray(t, dtype=np.float64)
        size = np.abs(t)
        p, q = expit(t), expit(-t)
        v = p * q
        return -size - 2.0 * np.log1p(np.exp(-size)), q - p, -2.0 * v, -2.0 * v * (q - p), -2.0 * v * (1.0 - 6.0 * v)

    def quantile_of_normal(self, s: Array) -> Array:
        # log odds of Phi(s); near 0 by 2 atanh(2 Phi - 1), where the difference of logs would lose digits
        s = np.asarray(s, dtype=np.float64)
        centre = 2.0 * np.arctanh(erf(np.clip(s, -1.0, 1.0) / np.sqrt(2.0)))
        value: Array = np.where(np.abs(s) < 1.0, centre, log_ndtr(s) - log_ndtr(-s))
        return value

    def normal_map(self, s: Array) -> Jet:
        # T = log Phi(s) - log Phi(-s): its derivatives are those of log Phi, which hold in the tails too
        s = np.asarray(s, dtype=np.float64)
        _, p1, p2, p3, p4 = log_normal_cdf(s)
        _, q1, q2, q3, q4 = log_normal_cdf(-s)
        return self.quantile_of_normal(s), p1 + q1, p2 - q2, p3 + q3, p4 - q4

    def cdf(self, t: Array) -> Array:
        return expit(t)

    def quantile(self, probability: Array) -> Array:
        return logit(probability)

    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        return rng.logistic(size=size)

    def log_moment(self, order: float, sigma: float) -> tuple[float, float]:
        # x / sin(x), x = pi order sigma
        x = np.pi * order * sigma
        if x >= np.pi:
            return float("inf"), float("nan")
        # near 0 the slope is a difference of two large numbers: its series there
        slope = 1.0 / x - 1.0 / np.tan(x) if x > 1e-3 else x * (1.0 / 3.0 + x**2 / 45.0)
        return float(np.log(x / np.sin(x))), float(np.pi * order * slope)

    def core_map(self, *, normal: bool) -> _core.LocationMap:
        return _core.logistic(normal)
