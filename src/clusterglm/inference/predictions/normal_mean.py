"""The mean of a response averaged over a normal part of the linear predictor whose size differs between rows.

With m(eta, s) = E F(eta + s Z), Z standard normal, the derivative in s^2 is half the second one in eta: everything that
a change of s does follows from derivatives in eta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clusterglm.inference.diagnostics.quantile_residuals import over_intercepts
from clusterglm.model.arrays import Array
from clusterglm.model.distribution import Gaussian
from clusterglm.model.response.base import Response

_REACH = 700.0  # a linear predictor beyond is as good as infinite


@dataclass(frozen=True)
class NormalJet:
    """Averaged means and four derivatives in the linear predictor, shape (n,) each.

    Parameters
    ----------
    mean, first, second, third, fourth : ndarray
        The fourth is 0 where the size is.
    unresolved : int
        Rows whose integrals did not settle to 1e-10.
    """

    mean: Array
    first: Array
    second: Array
    third: Array
    fourth: Array
    unresolved: int = 0

    def on_link(self, response: Response) -> NormalJet:
        """Links of the averaged means, and as `first` and `second` what these add to them: their derivatives over F'.

        With F the mean as a function of the linear predictor, a link g = F^-1(m) moves as dm / F'(g) does, whatever
        moves m; higher derivatives are nan.
        """
        link = response.link_function(self.mean)
        slope = response.mean_derivative(link)
        unknown = np.full_like(link, np.nan)
        return NormalJet(link, self.first / slope, self.second / slope, unknown, unknown, self.unresolved)


class Mean(Protocol):
    """A function of the linear predictor that is averaged, such as the mean of a response."""

    @property
    def exponential_mean(self) -> bool:
        """Whether it is exp(eta)."""

    def mean_derivatives(self, eta: Array, /) -> tuple[Array, Array, Array, Array]:
        """The function and its first three derivatives."""


def normal_jet(eta: Array, size: Array, response: Mean) -> NormalJet:
    """Average the mean over a normal part of the linear predictor.

    Parameters
    ----------
    eta : ndarray, shape (n,)
    size : ndarray, shape (n,)
        Standard deviation of what is averaged over.
    response : Mean

    Notes
    -----
    Counts in closed form, exp(eta + s^2 / 2); otherwise the trapezoid rule. By integration by parts the fourth
    derivative is E[F'''(eta + s Z) Z] / s.
    """
    if response.exponential_mean:
        with np.errstate(over="ignore"):
            mean = np.exp(eta + 0.5 * size**2)
        return NormalJet(mean, mean, mean, mean, np.where(size > 0.0, mean, 0.0))
    inverse = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0.0)

    def integrand(rows: NDArray[np.int64], shift: Array) -> Array:
        at = eta[rows, None] + shift
        values = np.stack(response.mean_derivatives(np.clip(at, -_REACH, _REACH)))
        values[1:, np.abs(at) > _REACH] = 0.0
        return np.concatenate([values, (values[3] * shift * inverse[rows, None])[None]])

    found, unresolved = over_intercepts(integrand, len(eta), Gaussian(), size)
    mean, first, second, third, moved = found
    return NormalJet(mean, first, second, third, moved * inverse, unresolved)
