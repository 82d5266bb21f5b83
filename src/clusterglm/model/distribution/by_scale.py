"""Distributions of the intercept whose shape changes with sigma."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution

_STEP = 0.01  # relative, of differences in sigma
_CENTRAL = (4.0 / 5.0, -1.0 / 5.0, 4.0 / 105.0, -1.0 / 280.0)  # of eighth order


class ShapedByScale(Distribution):
    """A family of intercepts b = m(s, sigma), s standard normal, that is no scale family.

    To add one: a file with the methods below. Its likelihood is taken to be even in sigma. As a `Distribution` it is
    its own member with sigma = 1; callers that know sigma ask for `at(sigma)`.
    """

    scale_family = False
    density_scale = False

    @abstractmethod
    def location(self, s: Array, sigma: float) -> Array:
        """m(s, sigma) for sigma > 0, increasing in s, accurate for |s| <= 37."""

    @abstractmethod
    def log_density_at(self, b: Array, sigma: float) -> Jet:
        """Log-density of b and its first four derivatives."""

    @abstractmethod
    def sf_at(self, b: Array, sigma: float) -> Array:
        """P(intercept > b), accurate where it is small."""

    @abstractmethod
    def cdf_at(self, b: Array, sigma: float) -> Array:
        """P(intercept <= b), accurate where it is small."""

    @abstractmethod
    def sd_of(self, sigma: float) -> float:
        """Standard deviation of b."""

    def at(self, sigma: float) -> Distribution:
        return Member(self, float(sigma))

    def by_sigma(self, s: Array, sigma: float) -> Array:
        h = _STEP * sigma
        total = np.zeros_like(np.asarray(s, dtype=np.float64))
        for k, weight in enumerate(_CENTRAL, 1):
            total += weight * (self.location(s, sigma + k * h) - self.location(s, sigma - k * h))
        return total / h

    @property
    def sd(self) -> float:
        return self.sd_of(1.0)

    def log_density(self, t: Array) -> Jet:
        return self.log_density_at(t, 1.0)

    def quantile_of_normal(self, s: Array) -> Array:
        return self.location(np.asarray(s, dtype=np.float64), 1.0)

    def cdf(self, t: Array) -> Array:
        return self.cdf_at(t, 1.0)

    def sf(self, t: Array) -> Array:
        return self.sf_at(t, 1.0)

    def quantile(self, probability: Array) -> Array:
        return self.location(ndtri(probability), 1.0)

    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        return self.location(rng.standard_normal(size), 1.0)


@dataclass(frozen=True)
class Member(Distribution):
    """Distribution of b / sigma at one sigma.

    Parameters
    ----------
    family : ShapedByScale
    sigma : float
        Above 0.
    """

    family: ShapedByScale
    sigma: float

    code = "member"
    density_scale = False

    @property
    def name(self) -> str:
        return f"{self.family.name} at sigma = {self.sigma:g}"

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        return self.family.symmetric

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return self.family.kinks

    @property
    def moment_order(self) -> float:
        return self.family.moment_order

    @property
    def sd(self) -> float:
        return self.family.sd_of(self.sigma) / self.sigma

    def log_density(self, t: Array) -> Jet:
        value, d1, d2, d3, d4 = self.family.log_density_at(np.asarray(t, dtype=np.float64) * self.sigma, self.sigma)
        c = self.sigma
        return value + np.log(c), d1 * c, d2 * c**2, d3 * c**3, d4 * c**4

    def quantile_of_normal(self, s: Array) -> Array:
        return self.family.location(np.asarray(s, dtype=np.float64), self.sigma) / self.sigma

    def cdf(self, t: Array) -> Array:
        return self.family.cdf_at(np.asarray(t, dtype=np.float64) * self.sigma, self.sigma)

    def sf(self, t: Array) -> Array:
        return self.family.sf_at(np.asarray(t, dtype=np.float64) * self.sigma, self.sigma)

    def quantile(self, probability: Array) -> Array:
        return self.quantile_of_normal(ndtri(probability))

    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        return self.quantile_of_normal(rng.standard_normal(size))

    def log_moment(self, order: float, sigma: float) -> tuple[float, float] | None:
        raise NotImplementedError("ask the family, whose shape follows sigma")
