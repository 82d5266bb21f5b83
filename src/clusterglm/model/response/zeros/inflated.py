"""Zero-inflated counts: 0 for certain with probability pi, and otherwise Poisson or negative binomial.

logit(pi) is a linear predictor of its own, w, of the columns that `zero_inflation=` names. What depends on w takes it
beside the linear predictor of the counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import Coordinates, KernelRows, OwnParameters, Terms
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.poisson_log import PoissonLog
from clusterglm.model.response.zeros.kernels import InflatedNegativeBinomial, InflatedPoisson, ZeroInflatedKernel
from clusterglm.model.response.zeros.parts import Means, NoCount, Part, Themselves
from clusterglm.model.response.zeros.rows import AtOdds, ByRow

PREFIX = "zero: "
"""What a coefficient of zeros is called: this, and the name of its column."""
_BY_ROW = "a zero-inflated count depends on the row's own probability of a zero"


@dataclass(frozen=True, eq=False, repr=False)
class ZeroInflated(OwnParameters, ByRow):
    """A zero-inflated count. Its working values are log(alpha), of negative binomial counts, and the coefficients of w.

    Parameters
    ----------
    values : tuple of float
        (alpha, coefficients of zeros), or these alone; an alpha of 0 means Poisson counts.
    names : tuple of str
        Columns of the coefficients of zeros.
    dispersed : bool
        Whether counts are negative binomial.
    """

    names: tuple[str, ...] = ()
    dispersed: bool = False

    link = "log"
    code = ""
    ratio = ("rate ratio", "rate")
    meaning = "variance mean + alpha mean^2 of counts that are not zero for certain"
    variance_curvature = 0.0

    @property
    def family(self) -> str:  # type: ignore[override]
        """That of the counts."""
        return self.plain.family

    @property
    def own(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*(("alpha",) if self.dispersed else ()), *(PREFIX + name for name in self.names))

    @property
    def plain(self) -> Response:
        """The counts without inflation, with parameters to be estimated."""
        return NegativeBinomial() if self.dispersed else PoissonLog()

    @property
    def reads(self) -> Response:
        return PoissonLog()

    @property
    def alpha(self) -> float:
        """The dispersion of counts; 0 for Poisson counts."""
        return self.values[0] if self.dispersed and self.values else 0.0

    @property
    def count(self) -> Response:
        """What counts that are no certain zeros follow."""
        return NegativeBinomial((self.alpha,)) if self.alpha > 0.0 else PoissonLog()

    @property
    def kernel(self) -> ZeroInflatedKernel:
        """What the core knows these counts by."""
        return InflatedNegativeBinomial() if self.alpha > 0.0 else InflatedPoisson()

    @property
    def zero(self) -> Array:
        """Coefficients of zeros, shape (c,)."""
        return np.array(self.values[1:] if self.dispersed else self.values)

    @property
    def working(self) -> Array:
        if not self.dispersed:
            return self.zero
        with np.errstate(divide="ignore"):
            return np.append(np.log([self.alpha]), self.zero)

    def at(self, psi: Array) -> Self:
        values = np.append(np.exp(psi[:1]), psi[1:]) if self.dispersed else np.asarray(psi)
        return replace(self, values=tuple(values.tolist()))

    def slopes(self, psi: Array) -> Array:
        found = np.ones(len(psi))
        if self.dispersed:
            found[0] = np.exp(psi[0])
        return found

    # With the linear predictor of zeros ------------------------------------------------------------------------------

    def whole_mean(self, eta: Array, w: Array) -> Array:
        """Of all counts, zeros for certain among them."""
        return np.asarray(expit(-np.asarray(w)) * self.mean(eta))

    def at_odds(self, w: Array) -> AtOdds:
        """Counts of rows with these log odds of zeros, as diagnostics ask of any response."""
        return AtOdds(self, w)

    @property
    def scales(self) -> dict[str, Part]:  # type: ignore[override]
        """What is predicted from both linear predictors, by name."""
        mean = Means(self.count)
        return {
            "response": Part(0.0, 1.0, 1.0, mean),
            "count": Part(0.0, 1.0, 0.0, mean),
            "zero": Part(1.0, 1.0, 1.0, NoCount(self.alpha)),
            "excess": Part(1.0, 0.0, 0.0, mean),
            "link": Part(0.0, 1.0, 0.0, Themselves()),
        }

    def whole_tails(self, y: Array, eta: Array, w: Array) -> tuple[Array, Array]:
        """P(Y <= y) and P(Y > y); see `Response.tails`."""
        low, high = self.count.tails(y, eta, np.ones(np.shape(y)))
        rest = expit(-np.asarray(w))
        return np.where(y < 0.0, 0.0, expit(w) + rest * low), np.where(y < 0.0, 1.0, rest * high)

    def drawn(self, rng: np.random.Generator, eta: Array, w: Array) -> Array:
        """Counts at both linear predictors."""
        drawn = self.count.simulate(rng, self.mean(eta))
        return np.where(rng.random(np.shape(eta)) < expit(w), 0.0, drawn)

    def log_probability(self, y: Array, eta: Array, w: Array) -> Array:
        """log P(Y = y)."""
        one = np.ones(np.shape(y))
        count = self.count.value(eta, y, one) + self.count.log_constants(y, one, one) + log_expit(-np.asarray(w))
        return np.where(y == 0.0, np.logaddexp(log_expit(w), count), count)

    # Rows of the core ------------------------------------------------------------------------------------------------

    def zero_rows(
        self, a: Array, b: Array, w: Array, repeats: NDArray[np.int64] | None
    ) -> tuple[ZeroInflatedKernel, Array, Array, float]:
        """Kernel rows of rows whose numbers are a and b, with w: their numbers and what is added to eta.

        Parameters
        ----------
        a, b, w : ndarray, shape (n,)
        repeats : ndarray of int64, shape (r,), optional
            The row of each kernel row, where zeros of some weight are several; see `kernels.py`.
        """
        is_zero = a == 0.0
        if self.alpha == 0.0:
            return self.kernel, np.where(is_zero, -b, a), np.where(is_zero, w, b), 0.0
        size, first = 1.0 / self.alpha, np.where(is_zero, w, a)
        second = np.where(is_zero, -size, b * size)
        if repeats is not None:
            first, second = first[repeats], second[repeats]
        return self.kernel, first, second, float(np.log(self.alpha))

    # What a response is asked that does not know the row -------------------------------------------------------------

    def variance(self, mean: Array) -> Array:
        return self.count.variance(mean)

    def start(self, mean: Array, a: Array, b: Array) -> Array:
        raise NotImplementedError(_BY_ROW)

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        raise NotImplementedError(_BY_ROW)

    def coordinates(self, psi: Array) -> Coordinates:
        k = len(psi)
        return Coordinates(np.array(psi), np.eye(k), np.zeros((k, k, k)))

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        raise NotImplementedError(_BY_ROW)

    def log_terms(self, a: Array, b: Array) -> Array:
        raise NotImplementedError(_BY_ROW)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ZeroInflated)
            and type(self) is type(other)
            and (self.values, self.names, self.dispersed) == (other.values, other.names, other.dispersed)
        )

    def __hash__(self) -> int:
        return hash((type(self), self.values, self.names, self.dispersed))


def zero_inflated(response: Response) -> ZeroInflated | None:
    """A response with zero inflation, whose parameters are to be estimated; None where there is none of its kind."""
    if not isinstance(response, PoissonLog | NegativeBinomial):
        return None
    return ZeroInflated(dispersed=isinstance(response, NegativeBinomial))
