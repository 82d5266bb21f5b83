"""Distributions known by their quantile function alone: all the rest follows from a table of it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri

from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.distribution.table import REACH, Table, build
from clusterglm.model.special import log_normal_density

_LARGEST_QUANTILE = 1e100  # T beyond this is never needed, and its square must not overflow
_COMPRESSED_FROM = 1e4  # a T that grows so far is tabulated as asinh T, which is smooth
_STEPS = 100
_REACHES = (REACH, 20.0, 12.0)  # where the far tails are too rough for a table, it ends before them


@lru_cache(maxsize=32)
def normal_table(distribution: Distribution) -> tuple[Table, bool]:
    """T(s) of a standard member, or asinh T(s) where it grows far: the table, and whether it is the latter."""
    s = np.linspace(0.0, REACH, 4 * int(REACH) + 1)
    with np.errstate(over="ignore"):
        size = np.maximum(np.abs(distribution.quantile_of_normal(s)), np.abs(distribution.quantile_of_normal(-s)))
    large = ~(size < _LARGEST_QUANTILE)
    last = int(np.argmax(large)) - 1 if large.any() else len(s) - 1
    heavy = bool(size[last] > _COMPRESSED_FROM)

    def function(s: Array) -> Array:
        t = distribution.quantile_of_normal(s)
        return (np.arcsinh(t) if heavy else t)[None, :]

    for reach in _REACHES:
        reach = min(reach, float(s[last]))
        try:
            return build(function, distribution.name, -reach, reach, distribution.kinks), heavy
        except OptionError:
            if reach <= _REACHES[-1]:
                raise
    raise AssertionError("the last reach is the smallest")


class Tabulated(Distribution):
    """A standard member of which only `quantile_of_normal` is known; must be hashable."""

    density_scale = False

    def log_density(self, t: Array) -> Jet:
        # log f(T(s)) = log phi(s) - log T'(s), differentiated along s and divided by T' as often
        t = np.asarray(t, dtype=np.float64)
        s = self.normal_of(t)
        y = self._jets(s)
        _, t1, t2, t3, t4, t5 = y
        u2, u3, u4, u5 = t2 / t1, t3 / t1, t4 / t1, t5 / t1
        g1 = -s - u2
        g2 = -1.0 - u3 + u2**2
        g3 = -u4 + 3.0 * u2 * u3 - 2.0 * u2**3
        g4 = -u5 + 4.0 * u2 * u4 + 3.0 * u3**2 - 12.0 * u2**2 * u3 + 6.0 * u2**4
        d1 = g1
        d2 = g2 - u2 * g1
        d3 = g3 - 3.0 * u2 * g2 + (3.0 * u2**2 - u3) * g1
        d4 = g4 - 6.0 * u2 * g3 + (15.0 * u2**2 - 4.0 * u3) * g2 + (10.0 * u2 * u3 - 15.0 * u2**3 - u4) * g1
        return log_normal_density(s) - np.log(t1), d1 / t1, d2 / t1**2, d3 / t1**3, d4 / t1**4

    def _jets(self, s: Array) -> Array:
        """T and five derivatives, shape (6, ...)."""
        y = _table_with_derivatives(self)(s)
        if not normal_table(self)[1]:
            return y
        y0, y1, y2, y3, y4, y5 = y
        S, C = np.sinh(y0), np.cosh(y0)
        return np.stack(
            [
                S,
                C * y1,
                S * y1**2 + C * y2,
                C * (y1**3 + y3) + 3.0 * S * y1 * y2,
                S * (y1**4 + 3.0 * y2**2 + 4.0 * y1 * y3) + C * (6.0 * y1**2 * y2 + y4),
                C * (y1**5 + 15.0 * y1 * y2**2 + 10.0 * y1**2 * y3 + y5)
                + S * (10.0 * y1**3 * y2 + 10.0 * y2 * y3 + 5.0 * y1 * y4),
            ]
        )

    def normal_map(self, s: Array) -> Jet:
        t, t1, t2, t3, t4, _ = self._jets(np.asarray(s, dtype=np.float64))
        return t, t1, t2, t3, t4

    def normal_of(self, t: Array) -> Array:
        """Phi^-1(F(t)), by Newton's method inside a bracket; held at the ends of the table."""
        table, heavy = normal_table(self)
        t = np.asarray(t, dtype=np.float64)
        want = np.arcsinh(t) if heavy else t
        low, high = np.full(t.shape, table.edges[0]), np.full(t.shape, table.edges[-1])
        s = np.interp(want, table(table.edges)[0], table.edges)
        slopes = table.jets(1)
        for _ in range(_STEPS):
            y, y1 = slopes(s)
            low, high = np.where(y <= want, s, low), np.where(y >= want, s, high)
            with np.errstate(divide="ignore", invalid="ignore"):
                newton = s - (y - want) / y1
            new = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
            moved, s = np.abs(new - s), new
            if not np.any(moved > 1e-14 * (1.0 + np.abs(s))):
                break
        return s

    def cdf(self, t: Array) -> Array:
        return ndtr(self.normal_of(t))

    def sf(self, t: Array) -> Array:
        return ndtr(-self.normal_of(t))

    def quantile(self, probability: Array) -> Array:
        return self.quantile_of_normal(ndtri(probability))

    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        return self.quantile_of_normal(rng.standard_normal(size))

    @property
    def sd(self) -> float:
        if self.moment_order <= 2.0:
            return np.inf
        return _sd(self)


@lru_cache(maxsize=32)
def _table_with_derivatives(distribution: Distribution) -> Table:
    return normal_table(distribution)[0].jets(5)


@lru_cache(maxsize=32)
def _sd(distribution: Tabulated) -> float:
    """Standard deviation by Gauss-Legendre rules on the pieces of the table."""
    edges = normal_table(distribution)[0].edges
    x, w = np.polynomial.legendre.leggauss(20)
    half = 0.5 * np.diff(edges)[:, None]
    s = (0.5 * (edges[:-1] + edges[1:])[:, None] + half * x).ravel()
    weights = (half * w).ravel() * np.exp(log_normal_density(s))
    t = distribution.normal_map(s)[0]
    mean = float(weights @ t)
    return float(np.sqrt(weights @ np.square(t - mean)))
