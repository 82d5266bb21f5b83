"""Posteriors where the shape of the intercept's distribution was estimated: its parameters are sampled with the rest.

At each value of the shape's working parameters the likelihood is that of a distribution of given shape. Its derivatives
in these are differences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from clusterglm.fit.estimates import RandomEffectsFit, ShapeEstimate
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.sample.coordinates import Coordinate, Coordinates
from clusterglm.sample.effects import InterceptDraws
from clusterglm.sample.likelihoods import InterceptLikelihood, Points

_STEP_IN_SHAPES = 2e-3  # of differences in a working value, where the range leaves room for it
_LEAVES_ROOM = 0.2  # of the way to an end of the range, that a step may be
_AT_LEAST = 0.02  # place in the range at which a search for the mode may begin


@dataclass(frozen=True)
class ShapedLikelihood:
    """Of a model with one random intercept, in (beta, sigma, working values of its distribution's shape).

    Parameters
    ----------
    fit : RandomEffectsFit
    """

    fit: RandomEffectsFit

    @property
    def _shape(self) -> ShapeEstimate:
        assert self.fit.shape is not None
        return self.fit.shape

    @property
    def _family(self) -> Distribution:
        return self._shape.family

    @property
    def _count(self) -> int:
        return len(self._family.free)

    @cached_property
    def coordinates(self) -> Coordinates:
        """See `SampledLikelihood`."""
        shapes = [
            Coordinate(one.name, "shape", prior=one.prior, ends=(one.low, one.high), inverse=one.inverse)
            for one in self._family.free
        ]
        return Coordinates((*InterceptLikelihood(self.fit).coordinates.each, *shapes))

    @property
    def start(self) -> Array:
        """See `SampledLikelihood`: inside, where the maximum lies at an end of a range."""
        low, high = np.array([(one.low, one.high) for one in self._family.free]).T
        place = np.clip((self._shape.working - low) / (high - low), _AT_LEAST, 1.0 - _AT_LEAST)
        return np.append(InterceptLikelihood(self.fit).start, np.log(place) - np.log1p(-place))

    def fresh(self) -> ShapedLikelihood:
        """See `SampledLikelihood`: nothing is remembered."""
        return self

    def split(self, theta: Array) -> tuple[Array, Array]:
        """(beta, sigma) and working values."""
        inner, working = np.split(theta, [len(theta) - self._count])
        return inner, working

    def given(self, working: Array) -> InterceptLikelihood:
        """The likelihood with a distribution of this shape."""
        return InterceptLikelihood(replace(self.fit, distribution=self._family.with_shape(working), shape=None))

    def points(self, theta: Array) -> Points:
        """See `SampledLikelihood`."""
        inner, working = self.split(theta)
        return self.given(working).points(inner)

    def value(self, theta: Array, points: Points) -> float:
        """See `SampledLikelihood`."""
        inner, working = self.split(theta)
        given = self.given(working)
        return given.value(inner, _adapted(given, points))

    def evaluate(self, theta: Array, points: Points, order: int) -> Evaluation:
        """See `SampledLikelihood`."""
        (inner, working), k = self.split(theta), self._count

        def at(move: Array, order: int) -> Evaluation:
            given = self.given(working + move)
            return given.evaluate(inner, _adapted(given, points), order)

        here, moves = at(np.zeros(k), order), np.diag(self._steps(working))
        slopes, across, squares = np.zeros(k), np.zeros((k, len(inner))), np.zeros((k, k))
        sides = [[at(side * move, max(0, order - 1)) for side in (1.0, -1.0)] for move in moves]
        for j, (up, down) in enumerate(sides):
            step = moves[j, j]
            slopes[j] = (up.value - down.value) / (2.0 * step)
            if order > 1:
                squares[j, j] = (up.value - 2.0 * here.value + down.value) / step**2
                across[j] = (up.score - down.score) / (2.0 * step)
        for i, j in combinations(range(k), 2) if order > 1 else ():
            both = sum(at(side * (moves[i] + moves[j]), 0).value for side in (1.0, -1.0))
            beside = sum(one.value for one in (*sides[i], *sides[j]))
            bend = (both - beside + 2.0 * here.value) / (2.0 * moves[i, i] * moves[j, j])
            squares[i, j] = squares[j, i] = bend
        hessian = np.block([[here.hessian, across.T], [across, squares]])
        return Evaluation(here.value, np.append(here.score, slopes), hessian)

    def _steps(self, working: Array) -> Array:
        """Of differences, shape (k,): small beside the way to the ends of the ranges."""
        low, high = np.array([(one.low, one.high) for one in self._family.free]).T
        return np.asarray(np.minimum(_STEP_IN_SHAPES, _LEAVES_ROOM * np.minimum(working - low, high - working)))

    def weight(self, theta: Array, points: Points) -> tuple[float, float]:
        """See `SampledLikelihood`: these points are chosen so that no more need be known."""
        return np.nan, np.nan

    def cluster_values(self, theta: Array, points: Points) -> Array:
        """See `SampledLikelihood`."""
        inner, working = self.split(theta)
        given = self.given(working)
        return given.cluster_values(inner, _adapted(given, points))

    def shown(self, theta: Array) -> Array:
        """See `SampledLikelihood`."""
        inner, working = self.split(theta)
        return np.append(inner, self._family.shape(working)[0])

    def fit_at(self, theta: Array) -> RandomEffectsFit:
        """See `SampledLikelihood`."""
        inner, working = self.split(theta)
        return self.given(working).fit_at(inner)


def _adapted(given: InterceptLikelihood, points: Points) -> Points:
    """The same points, of rules that follow the distribution those of this one."""
    adapted = given.fit.integrator.adapted
    return Points(adapted(points.values), adapted(points.slopes), points.error)


@dataclass(frozen=True)
class ShapedDraws:
    """Random intercepts given the shape of their distribution."""

    of: ShapedLikelihood

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """See `EffectDraws`."""
        inner, working = self.of.split(theta)
        return InterceptDraws(self.of.given(working)).draw(inner, rng)
