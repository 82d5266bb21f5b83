"""What responses share that are counts without an upper end: a = w count, b = w."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response, Words


class Count(Response):
    """A count with mean exp(eta)."""

    words = Words(
        mean="count",
        expectation="Mean count",
        squared_error="mean squared error",
        total="sum of counts",
        totals="Sum of counts in a cluster",
        low="zero",
        only_low="only zero counts",
        all_low="all counts 0",
        nothing="every count is 0",
        varied="a positive count",
        some="some positive counts",
        separated="zero counts from the others",
        events="events",
    )
    unbounded_counts = True
    zero_inflation = True
    exponential_mean = True

    def rows(self, y: Array, trials: Array, weights: Array) -> tuple[Array, Array]:
        return weights * y, np.array(weights, dtype=np.float64, order="C")

    def sizes(self, a: Array, b: Array) -> Array:
        return b

    def amount(self, a: float, b: float) -> float:
        return a

    def events(self, a: float, b: float) -> float:
        return a

    def overall_mean(self, a: float, b: float, expected: float) -> float:
        return float(np.divide(a, expected))

    def rises_towards(self, a: Array, b: Array) -> Array:
        return np.where(a == 0.0, -1.0, 0.0)

    def mean(self, eta: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.exp(eta)

    def mean_derivative(self, eta: Array) -> Array:
        return self.mean(eta)

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        mean = self.mean(eta)
        return mean, mean, mean, mean

    def variance_inside(self, observed: Array) -> Array:
        return np.zeros_like(observed)  # a count is one observation

    def link_function(self, mu: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(mu)


class TruncatedCount(Count):
    """A count from 1 on: what another model makes of counts that are not 0.

    Its mean is that of these counts; ratios are those of the means, exp(eta), before zeros are left out.
    """

    words = replace(
        Count.words,
        low="one",
        only_low="only counts of 1",
        all_low="all counts 1",
        nothing="every count is 1",
        varied="a count above 1",
        some="some counts above 1",
        separated="counts of 1 from the others",
    )
    least = 1.0
    zero_inflation = False
    exponential_mean = False
    mean_is_a_row = False

    @abstractmethod
    def untruncated(self) -> Count:
        """The model of all counts, zeros among them, at the same linear predictor."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, eta: Array, trials: Array | None = None) -> Array:
        """Counts at linear predictors, shaped like `eta`."""

    def overall_mean(self, a: float, b: float, expected: float) -> float:
        return float(np.divide(a, b))

    def rises_towards(self, a: Array, b: Array) -> Array:
        return np.where(np.asarray(a) <= b, -1.0, 0.0)

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        return self.draw(rng, self.link_function(np.asarray(mu, dtype=np.float64)))
