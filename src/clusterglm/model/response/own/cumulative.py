"""Ordered categories: P(Y <= c) = F(kappa_c - eta), with thresholds kappa that ascend and no intercept in eta.

A larger linear predictor means higher categories. With two categories it is the binary model with the link of F, whose
intercept is minus the threshold.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.base import CERTAIN, Response, Words
from clusterglm.model.response.own.base import OwnParameters

_NO_MEAN = "an ordered category has no mean; ask for probabilities of categories"


@dataclass(frozen=True, eq=False, repr=False)
class Cumulative(OwnParameters):
    """An ordered category, of which a row's a is w times its number from 0 on, and b is w.

    The working values are the thresholds themselves, in which the log-likelihood is concave (Pratt, JASA 76, 1981).

    Parameters
    ----------
    levels : tuple of str
        Names of the categories from the lowest to the highest; empty before data are read.
    """

    levels: tuple[str, ...] = ()

    family = "ordinal"
    code = ""
    meaning = ""
    scales = False
    by_shifts = True
    location = True
    ordered = True
    log_concave = True
    one_summit = True
    binary: ClassVar[Response]
    """The binary response whose inverse link is F."""

    words = Words(
        mean="category",
        expectation="Probability",
        squared_error="mean squared error",
        total="sum of categories",
        totals="Sum of categories in a cluster",
        low="the lowest category",
        only_low="only the lowest category",
        all_low="all in the lowest category",
        nothing="all are in the lowest category",
        varied="different categories",
        some="responses in each category",
        separated="the categories",
        events="responses",
        high="the highest category",
        all_high="all in the highest category",
    )

    @property
    def own(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the thresholds: the categories on their two sides."""
        return tuple(f"{low}|{high}" for low, high in zip(self.levels[:-1], self.levels[1:], strict=True))

    @property
    def reads(self) -> Response:
        return self

    def of_levels(self, levels: tuple[str, ...] | None) -> Self:
        assert levels is not None
        return replace(self, levels=levels)

    @property
    def thresholds(self) -> Array:
        """The thresholds, shape (k,)."""
        return np.array(self.values)

    @property
    def working(self) -> Array:
        return self.thresholds

    def at(self, psi: Array) -> Self:
        return replace(self, values=tuple(np.asarray(psi).tolist()))

    def slopes(self, psi: Array) -> Array:
        return np.ones(len(psi))

    def start(self, mean: Array, a: Array, b: Array) -> Array:
        counts = self.counts(a, b)
        return self.binary.link_function(np.cumsum(counts)[:-1] / counts.sum())

    def counts(self, a: Array, b: Array) -> Array:
        """Weight of each category, shape (k + 1,)."""
        return np.bincount(self.categories(a, b), weights=b, minlength=len(self.levels)).astype(np.float64)

    def empty(self, a: Array, b: Array) -> tuple[str, ...]:
        counts = self.counts(a, b).tolist()
        return tuple(level for level, count in zip(self.levels, counts, strict=True) if count == 0.0)

    def categories(self, a: Array, b: Array) -> NDArray[np.int64]:
        """Numbers of the rows' categories, shape (n,)."""
        return np.asarray(np.rint(a / b), dtype=np.int64)

    def ends(self, y: Array, eta: Array) -> tuple[Array, Array]:
        """Where a category begins and where it ends, less the linear predictor; infinite at the outer ones."""
        padded = np.concatenate([[-np.inf], self.thresholds, [np.inf]])
        number = np.asarray(y, dtype=np.int64)
        with np.errstate(invalid="ignore"):
            low, high = (np.where(np.isinf(at), at, at - eta) for at in (padded[number], padded[number + 1]))
        return low, high

    @abstractmethod
    def log_probability(self, low: Array, high: Array) -> Array:
        """log(F(high) - F(low)), accurate in both tails."""

    def below(self, eta: Array) -> Array:
        """P(Y <= c) for all c but the last, shape (n, k)."""
        return self.binary.mean(self.thresholds - np.asarray(eta)[:, None])

    def probabilities(self, eta: Array, thresholds: Array | None = None) -> Array:
        """Of each category, shape (n, k + 1); with other thresholds than its own, shape (k,) or (n, k), if given."""
        eta, thresholds = np.asarray(eta, dtype=np.float64), self.thresholds if thresholds is None else thresholds
        none = np.full(len(eta), np.inf)
        at = [-none, *(each - eta for each in thresholds.T), none]
        return np.exp(np.column_stack([self.log_probability(*ends) for ends in pairwise(at)]))

    # Coefficients that differ between thresholds ----------------------------------------------------------------------

    @property
    def nonparallel(self) -> tuple[str, ...]:
        """Covariates that have them."""
        return ()

    @property
    def plain(self) -> Cumulative:
        """The response without them, its thresholds to be estimated."""
        return replace(self, values=())

    def covariates(self, a: Array, b: Array) -> Array:
        """What rows have of these covariates, shape (n, q)."""
        return np.zeros((len(a), 0))

    def thresholds_at(self, covariates: Array) -> Array:
        """Thresholds of rows with these covariates: shape (k,) where all rows have the same, otherwise (n, k)."""
        return self.thresholds

    def by_covariates(self, covariates: Array) -> Array:
        """Derivatives of these in the response's parameters: shape (k, m) or (n, k, m)."""
        return np.eye(len(self.thresholds))

    def category(self, codes: Array) -> NDArray[np.int64]:
        """Numbers of categories from responses as they are drawn."""
        return np.asarray(np.rint(codes), dtype=np.int64)

    def distances(self, a: Array, b: Array) -> tuple[NDArray[np.int64], Array]:
        """Rows of inner categories, and derivatives of the distance of their ends in the parameters, shape (i, m)."""
        y, k = self.categories(a, b), len(self.levels) - 1
        inner = np.flatnonzero((y > 0) & (y < k))
        moves, each = np.zeros((len(inner), k)), np.arange(len(inner))
        moves[each, y[inner]], moves[each, y[inner] - 1] = 1.0, -1.0
        return inner, moves

    # As a response ---------------------------------------------------------------------------------------------------

    def rows(self, y: Array, trials: Array, weights: Array) -> tuple[Array, Array]:
        return weights * y, np.array(weights, dtype=np.float64, order="C")

    def sizes(self, a: Array, b: Array) -> Array:
        return b

    def amount(self, a: float, b: float) -> float:
        return b

    def events(self, a: float, b: float) -> float:
        return b

    def overall_mean(self, a: float, b: float, expected: float) -> float:
        return a / b

    def rises_towards(self, a: Array, b: Array) -> Array:
        return np.zeros(np.shape(a))  # of a single row it depends on the thresholds

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return times(b, self.log_probability(*self.ends(np.rint(a / b), eta)))

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        return np.zeros(len(y))

    def span(self, a: Array, b: Array) -> tuple[float | Array, float | Array]:
        ends = self.binary.link_function(np.array([1.0 - CERTAIN, CERTAIN]))
        return float(self.thresholds[0] - ends[0]), float(self.thresholds[-1] - ends[1])

    def saturated(self, a: Array, b: Array) -> Array:
        return np.zeros(len(a))

    def log_terms(self, a: Array, b: Array) -> Array:
        return np.zeros(len(a))

    def magnitude(self, a: Array, b: Array) -> Array:
        return np.asarray(b)

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        _, high = self.ends(y, eta)  # P(Y <= y) is F at the end of category y, and category -1 ends before all others
        one, none = np.ones_like(high), np.zeros_like(high)
        return np.exp(self.binary.value(high, one, none)), np.exp(self.binary.value(high, none, one))

    def draw(self, rng: np.random.Generator, eta: Array, trials: Array | None = None) -> Array:
        """Numbers of categories at linear predictors, shape (n,)."""
        u = rng.random(np.shape(eta))
        return np.asarray((u[:, None] > self.below(eta)).sum(axis=1), dtype=np.float64)

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        raise NotImplementedError(_NO_MEAN)

    def mean(self, eta: Array) -> Array:
        raise NotImplementedError(_NO_MEAN)

    def mean_derivative(self, eta: Array) -> Array:
        raise NotImplementedError(_NO_MEAN)

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        raise NotImplementedError(_NO_MEAN)

    def variance(self, mean: Array) -> Array:
        raise NotImplementedError(_NO_MEAN)

    def variance_inside(self, observed: Array) -> Array:
        raise NotImplementedError(_NO_MEAN)

    def link_function(self, mu: Array) -> Array:
        raise NotImplementedError(_NO_MEAN)

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        rows = self.kernel_rows(a, b)
        of = np.arange(len(eta)) if rows.of is None else rows.of
        at = rows.sign * np.asarray(eta, dtype=np.float64)[of] + rows.shift
        _, *parts = rows.response.derivatives(at, rows.a, rows.b)
        n, sign = len(eta), rows.sign
        G, H, I, K = (np.bincount(of, part, n).astype(np.float64) for part in parts)
        return self.value(eta, a, b), sign * G, H, sign * I, K
