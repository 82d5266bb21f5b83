"""The interface of a random-intercept distribution: a symmetric scale family, described by its standard member."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from clusterglm.model.arrays import Array, Jet
from clusterglm.model.special import log_normal_density


class Distribution(ABC):
    """Distribution of the random intercept, which is sigma times a draw of the standard member.

    To add one: a file with `log_density`, `quantile_of_normal` and the few numbers below.
    """

    code: ClassVar[str]
    """Name by which the compiled core knows the distribution."""
    symmetric: ClassVar[bool] = True
    """About zero; the likelihood is then even in sigma."""
    scale_family: ClassVar[bool] = True
    unimodal: ClassVar[bool] = False
    """Whether a cluster's integrand on the normal scale has one mode for every log-concave response."""

    @property
    def name(self) -> str:
        """Name for people."""
        return self.code

    @property
    def parameters(self) -> tuple[float, ...]:
        """Shape parameters, fixed in a fit; empty for most."""
        return ()

    @property
    def moment_order(self) -> float:
        """Absolute moments of every order below it exist."""
        return np.inf

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

    @abstractmethod
    def quantile(self, probability: Array) -> Array:
        """Quantile function of the standard member."""

    @abstractmethod
    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        """Draws of the standard member."""

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
