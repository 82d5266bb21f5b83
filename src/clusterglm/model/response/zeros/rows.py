"""Counts whose zeros have log odds that differ between rows: what is asked of rows, in the order that they have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NoReturn, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from clusterglm.model.arrays import Array, Jet
from clusterglm.model.response.base import Response, ScoreTerms
from clusterglm.model.response.count import Count


class BothPredictors(Protocol):
    """Counts at a linear predictor, with log odds of a zero: inflated, or with a hurdle."""

    @property
    def family(self) -> str: ...
    @property
    def count(self) -> Response: ...
    def whole_mean(self, eta: Array, w: Array) -> Array: ...
    def whole_tails(self, y: Array, eta: Array, w: Array) -> tuple[Array, Array]: ...
    def drawn(self, rng: np.random.Generator, eta: Array, w: Array) -> Array: ...


class ByRow(Count):
    """What likelihoods ask of a response and such counts do not answer: they are rows of a kernel of their own."""

    def _of_a_kernel(self) -> NoReturn:
        raise NotImplementedError("a count whose zeros have a linear predictor depends on the row's own odds of a zero")

    def variance(self, mean: Array) -> Array:
        self._of_a_kernel()

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        self._of_a_kernel()

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        self._of_a_kernel()

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        self._of_a_kernel()

    def saturated(self, a: Array, b: Array) -> Array:
        self._of_a_kernel()

    def magnitude(self, a: Array, b: Array) -> Array:
        self._of_a_kernel()

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        self._of_a_kernel()

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        self._of_a_kernel()

    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        self._of_a_kernel()

    def bias_moments(self, eta: Array) -> tuple[Array, Array]:
        self._of_a_kernel()

    def score_terms(self, eta: Array, a: Array, b: Array) -> ScoreTerms:
        self._of_a_kernel()


@dataclass(frozen=True, eq=False, repr=False)
class AtOdds(ByRow):
    """Such counts at given log odds of zeros; the linear predictor that methods take is that of counts.

    Parameters
    ----------
    inflated : BothPredictors
        With its parameters.
    w : ndarray, shape (n,)
    """

    inflated: BothPredictors
    w: Array

    link = "log"
    code = ""
    ratio = ("rate ratio", "rate")
    exponential_mean = False
    mean_is_a_row = False
    variance_curvature = 0.0

    @property
    def family(self) -> str:  # type: ignore[override]
        """That of the counts."""
        return self.inflated.family

    def of_rows(self, rows: NDArray[np.int64] | slice) -> Self:
        return replace(self, w=self.w[rows])

    def _beside(self, values: Array) -> Array:
        """The log odds as they stand beside one value of each row, or several, shape (n,) or (n, k)."""
        return self.w if np.ndim(values) < 2 else self.w[:, None]

    def mean(self, eta: Array) -> Array:
        return self.inflated.whole_mean(eta, self._beside(eta))

    def mean_derivative(self, eta: Array) -> Array:
        return self.mean_derivatives(eta)[1]

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        rest = expit(-self._beside(eta))
        mean, first, second, third = self.inflated.count.mean_derivatives(eta)
        return rest * mean, rest * first, rest * second, rest * third

    def variance(self, mean: Array) -> Array:
        w = self._beside(mean)
        rest = expit(-w)
        with np.errstate(invalid="ignore", divide="ignore"):
            count = np.where(rest > 0.0, mean / rest, 0.0)
            found = rest * (self.inflated.count.variance(count) + expit(w) * count * count)
        return np.where(rest > 0.0, found, 0.0)

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        return self.inflated.whole_tails(y, eta, self._beside(eta))

    def draw(self, rng: np.random.Generator, eta: Array, trials: Array | None = None) -> Array:
        return self.inflated.drawn(rng, eta, self._beside(eta))
