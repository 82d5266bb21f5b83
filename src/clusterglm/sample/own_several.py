"""Posteriors with several random effects where the response has parameters of its own, a linear predictor of zeros too.

Theta is (coefficients, parameters of the effects' covariance, values of the response's parameters); the fit's search,
whose integrals these are, has working values of the latter among the coefficients. Values of the likelihood are all
that independence proposals need; where a kernel's numbers move with working values, scores in these are differences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.mixed_task import MixedTask
from clusterglm.fit.own_levels import AtPsi, OwnData
from clusterglm.fit.own_mixed import OwnMixedFit, own_task
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.sample.coordinates import Coordinates
from clusterglm.sample.crossed import CrossedLikelihood
from clusterglm.sample.effects import SeveralDraws
from clusterglm.sample.likelihoods import (
    LEAST_TRIED,
    EffectsLikelihood,
    Points,
    constants_of_clusters,
    coordinates_of,
    fitted_covariance,
    start_of,
)
from clusterglm.sample.own import OwnPart


@dataclass(frozen=True)
class OwnEffectsLikelihood(EffectsLikelihood):
    """Of a model with several random effects of each cluster, or of clusters and what is nested in them."""

    fit: OwnMixedFit

    @cached_property
    def part(self) -> OwnPart:
        """The parameters of the response."""
        assert isinstance(self.fit.response, OwnParameters)
        return OwnPart.of(self.fit.response, self._data, self.fit.beta)

    @cached_property
    def _given(self) -> AtPsi:
        return OwnData(self._data, self.part.response)

    @cached_property
    def task(self) -> MixedTask:
        """See `EffectsLikelihood`: working values of the response stand behind the coefficients."""
        response = self.part.response
        found = own_task(self._data, self._given, self._data.X, None, 1, response.bounded or response.ordered)
        return replace(found, covariance=found.covariance.unconstrained())

    @cached_property
    def _inner(self) -> Coordinates:
        """All but the response's parameters."""
        return Coordinates(tuple(coordinates_of(self._data, self.fit.effects.Z, self.task.covariance)))

    @cached_property
    def coordinates(self) -> Coordinates:
        """See `SampledLikelihood`."""
        return Coordinates((*self._inner.each, *self.part.each))

    @property
    def start(self) -> Array:
        """See `SampledLikelihood`: inside, where the maximum lies at an end of a range."""
        inner = start_of(self.fit.beta, self.fit.factor, self.task.covariance, self._inner.logs, LEAST_TRIED)
        return np.append(inner, self.part.start)

    def _split(self, theta: Array) -> tuple[Array, Array, OwnParameters]:
        """Coefficients, parameters of the covariance, and the response at its values."""
        inner, response = self.part.split(theta)
        beta, phi = np.split(inner, [len(self.fit.beta)])
        return beta, phi, response

    def searched(self, theta: Array) -> Array:
        """See `EffectsLikelihood`."""
        beta, phi, response = self._split(theta)
        return np.concatenate([beta, response.working, phi])

    def sampled(self, there: Evaluation, theta: Array) -> Evaluation:
        """See `EffectsLikelihood`."""
        order = self._order
        last = Evaluation(there.value, there.score[order], there.hessian[np.ix_(order, order)])
        return self.part.in_values(last, self._split(theta)[2])

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        p, k, q = len(self.fit.beta), len(self.part), len(self.coordinates)
        return np.concatenate([np.arange(p), np.arange(p + k, q), np.arange(p, p + k)])

    def rows_at(self, theta: Array) -> tuple[MixedFit, Array]:
        """See `EffectsLikelihood`."""
        return self.fit_at(theta).given, self.part.split(theta)[0]

    def cluster_values(self, theta: Array, points: Points) -> Array:
        """See `SampledLikelihood`."""
        return super().cluster_values(theta, points) - self._constants(self._split(theta)[2])

    def _constants(self, at: OwnParameters) -> Array:
        """What clusters' likelihoods are normalised by, and others are not."""
        return constants_of_clusters(self._data, at.of_constants)

    def shown(self, theta: Array) -> Array:
        """See `SampledLikelihood`."""
        inner, response = self.part.split(theta)
        beta, phi = np.split(inner, [len(self.fit.beta)])
        return np.concatenate([beta, self.task.covariance.shown(phi), response.values])

    def fit_at(self, theta: Array) -> OwnMixedFit:
        """See `SampledLikelihood`."""
        beta, phi, response = self._split(theta)
        there = fitted_covariance(self.task.covariance, phi, self.fit.effects.covariance)
        return replace(self.fit, beta=beta, phi=there, response=response)


@dataclass(frozen=True)
class OwnCrossedLikelihood(OwnEffectsLikelihood, CrossedLikelihood):
    """Of a model whose grouping factors cross."""


@dataclass(frozen=True)
class OwnSeveralDraws:
    """Effects given the response's parameters: those of the rows that it has in the core."""

    of: EffectsLikelihood

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """See `EffectDraws`."""
        there, inner = self.of.rows_at(theta)
        return SeveralDraws(EffectsLikelihood(there)).draw(inner, rng)
