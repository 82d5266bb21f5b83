"""What counts with a linear predictor of zeros have at both: certain pi + (rest - less pi) A, pi the odds' probability.

A is a function of the counts' linear predictor alone: a mean, or the probability of a 0 among them. Averaged over
effects of clusters, which only that has, everything but A stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.model.response.zeros.kernels import rate


@dataclass(frozen=True)
class Means:
    """The mean of counts as a function of their linear predictor, with three derivatives."""

    count: Response

    @property
    def exponential_mean(self) -> bool:
        """Whether it is exp(eta)."""
        return self.count.exponential_mean

    @property
    def moves_with_alpha(self) -> bool:
        """Whether it depends on the dispersion, where there is one."""
        return not self.exponential_mean

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        """The mean and its derivatives."""
        return self.count.mean_derivatives(eta)


@dataclass(frozen=True)
class Themselves:
    """Linear predictors, in the place of means."""

    exponential_mean = False
    moves_with_alpha = False

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        """eta, 1, 0 and 0."""
        nothing = np.zeros_like(eta)
        return eta, nothing + 1.0, nothing, nothing


@dataclass(frozen=True)
class NoCount:
    """P(a count is 0) as such a function, of counts that may be; an alpha of 0 means Poisson counts."""

    alpha: float
    exponential_mean = False
    moves_with_alpha = True

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        """exp(-m), m = mu or log(1 + alpha mu) / alpha, and its derivatives."""
        if self.alpha > 0.0:
            m, first, second, third, _ = rate(eta + np.log(self.alpha), np.full_like(eta, 1.0 / self.alpha))
        else:
            m = first = second = third = np.exp(eta)
        none = np.exp(-m)
        with np.errstate(over="ignore", invalid="ignore"):
            parts = -first, first**2 - second, 3.0 * first * second - first**3 - third
            found = tuple(np.where(none > 0.0, each * none, 0.0) for each in parts)
        return (none, *found)  # type: ignore[return-value]  # of three


Function = Means | Themselves | NoCount


@dataclass(frozen=True)
class Part:
    """certain pi + (rest - less pi) A(eta), pi the inverse logit of w.

    Parameters
    ----------
    certain, rest, less : float
    function : Function
        A.
    """

    certain: float
    rest: float
    less: float
    function: Function

    def __call__(self, eta: Array, w: Array) -> Array:
        """At both linear predictors, whose shapes broadcast."""
        pi = expit(w)
        found = self.certain * pi + 0.0 * np.asarray(eta)
        if self.rest == 0.0:
            return found
        return np.asarray(found + (self.rest - self.less * pi) * self.function.mean_derivatives(eta)[0])

    @property
    def moves_with_alpha(self) -> bool:
        """Whether it depends on the dispersion of counts."""
        return self.rest > 0.0 and self.function.moves_with_alpha
