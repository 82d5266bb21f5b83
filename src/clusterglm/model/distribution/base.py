"""The interface of a random-intercept distribution, described by its standard member."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import ndtri

from clusterglm import _core
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.special import log_normal_density


@dataclass(frozen=True)
class ShapeParameter:
    """A shape parameter that is estimated with the rest.

    Parameters
    ----------
    name : str
        Its name for people.
    low, high : float
        Range of the working value in which the maximum is sought.
    starts : tuple of float
        Working values from which the search begins.
    at_low, at_high : str
        What the model is where the maximum lies at an end of the range.
    prior : str
        Where a posterior is asked for and no prior is given.
    inverse : bool
        Whether the working value is 1 over that which people know.
    """

    name: str
    low: float
    high: float
    starts: tuple[float, ...]
    at_low: str
    at_high: str
    prior: str = "beta(1, 1)"
    inverse: bool = False


class Distribution(ABC):
    """Distribution of the random intercept b.

    Of a scale family, b is sigma times a draw of the standard member. In general b / sigma has the distribution
    `at(sigma)`, whose shape may depend on sigma. To add a scale family: a file with
    `log_density`, `quantile_of_normal` and the few numbers below.
    """

    code: ClassVar[str]
    """Name by which `distribution=` knows it."""
    normal: ClassVar[bool] = False
    """Whether it is the normal distribution: its sums with normal variables are normal, and both scales are one."""
    symmetric: bool = True
    """About zero; the likelihood is then even in sigma by itself."""
    scale_family: bool = True
    closed: ClassVar[bool] = False
    """Whether the core has T in closed form, as far out as it may be asked for."""
    unimodal: ClassVar[bool] = False
    """Whether a cluster's integrand on the normal scale has one mode for every log-concave response."""
    kinks: tuple[float, ...] = ()
    """Points on the normal scale where T is not analytic."""
    own_scale: ClassVar[bool] = False
    """Whether fixed rules are better laid evenly on the scale of the distribution than on the normal scale."""
    geometric: ClassVar[bool] = False
    """Whether errors of fixed rules of n nodes are known to fall like q^n, integrands being analytic in a strip."""
    density_scale: ClassVar[bool] = True
    """Whether scale="density" is offered: the core then knows a density with a continuous slope."""
    smoothed: ClassVar[bool] = False
    """Whether the shape is a vector, estimated under a penalty on the roughness of the density."""
    smoothness: float | None = None
    """Weight of that penalty, where it is given."""
    least: ClassVar[float] = 1.0 / 128.0
    """A sigma below which m / sigma is nearly a polynomial of degree 5 in sigma; of account where shapes follow it."""

    @property
    def name(self) -> str:
        """Name for people."""
        return self.code

    @property
    def parameters(self) -> tuple[float, ...]:
        """Shape parameters, fixed in a fit; empty for most."""
        return ()

    @property
    def free(self) -> tuple[ShapeParameter, ...]:
        """Shape parameters to be estimated; empty for most."""
        return ()

    def with_shape(self, working: Array) -> Distribution:
        """The member with these working values of the free shape parameters."""
        return self

    def shape(self, working: Array) -> tuple[Array, Array]:
        """The free shape parameters on the scale people know, and their derivatives in the working values."""
        return working, np.ones(len(working))

    def by_shape(self, working: Array, t: Array) -> Array | None:
        """Derivatives of the standard member's log-density at `t` in the working values, shape (k, *t.shape).

        Where a distribution does not have them, None, and fits take differences.
        """
        return None

    @property
    def moment_order(self) -> float:
        """Absolute moments of every order below it exist."""
        return np.inf

    @property
    def tail(self) -> float:
        """nu of a standard density f(0) (1 + (t / spread)^2)^(-(1 + nu) / 2), whose tails are powers; inf of others."""
        return np.inf

    @property
    def spread(self) -> float:
        """Where the tails of such a density begin."""
        return 1.0

    @property
    @abstractmethod
    def sd(self) -> float:
        """Standard deviation of the standard member; inf where there is none."""

    @abstractmethod
    def log_density(self, t: Array) -> Jet:
        """Log-density of the standard member and its first four derivatives."""

    @abstractmethod
    def quantile_of_normal(self, s: Array) -> Array:
        """T(s) = F^-1(Phi(s)), accurate in relative terms for |s| <= 37; inf where it overflows, never NaN."""

    @abstractmethod
    def cdf(self, t: Array) -> Array:
        """Distribution function of the standard member."""

    def sf(self, t: Array) -> Array:
        """Probability above t, accurate where it is small."""
        return self.cdf(-np.asarray(t, dtype=np.float64))

    @abstractmethod
    def quantile(self, probability: Array) -> Array:
        """Quantile function of the standard member."""

    @abstractmethod
    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        """Draws of the standard member."""

    def normal_of(self, t: Array) -> Array:
        """Phi^-1(F(t)), from whichever tail is small."""
        low, high = self.cdf(t), self.sf(t)
        return np.where(low < high, ndtri(low), -ndtri(high))

    def normal_map(self, s: Array) -> Jet:
        """T(s) and its first four derivatives in s.

        T' = phi(s) / f(T), so that T'' = T' c with c = -s - (log f)'(T) T', and so on by the product rule.
        """
        s = np.asarray(s, dtype=np.float64)
        t = self.quantile_of_normal(s)
        log_f, f1, f2, f3, _ = self.log_density(t)
        t1 = np.exp(log_normal_density(s) - log_f)
        c = -s - f1 * t1
        t2 = t1 * c
        c1 = -1.0 - f2 * t1 * t1 - f1 * t2
        t3 = t2 * c + t1 * c1
        c2 = -(f3 * t1 * t1 * t1 + 3.0 * f2 * t1 * t2 + f1 * t3)
        return t, t1, t2, t3, t3 * c + 2.0 * t2 * c1 + t1 * c2

    def at(self, sigma: float) -> Distribution:
        """Distribution of b / sigma; of a scale family, that of the standard member for every sigma."""
        return self

    def location(self, s: Array, sigma: float) -> Array:
        """The intercept m(s, sigma) at points of the normal scale."""
        return sigma * self.quantile_of_normal(s)

    def core_map(self, *, normal: bool) -> _core.LocationMap | None:
        """The core's own map, on the normal scale or that of the density; None where it needs a table of T."""
        return None

    def by_sigma(self, s: Array, sigma: float) -> Array:
        """Derivative in sigma of the intercept sigma T(s) at a fixed s."""
        return self.quantile_of_normal(s)

    def sd_at(self, sigma: float) -> float:
        """Standard deviation of b."""
        return sigma * self.at(sigma).sd if sigma > 0.0 else 0.0

    def draw(self, rng: np.random.Generator, size: int, sigma: float) -> Array:
        """Draws of b."""
        return sigma * self.at(sigma).rvs(rng, size)

    def log_moment(self, order: float, sigma: float) -> tuple[float, float] | None:
        """log E exp(order b) and its derivative in sigma; inf and nan where it does not exist, None if not known."""
        return None

    def difference_quantile(self, probability: float) -> float | None:
        """Quantile of the difference of two draws of the standard member; None where there is no closed form."""
        return None
