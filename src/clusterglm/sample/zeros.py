"""Posteriors of counts whose zeros have a linear predictor of their own: with inflation, and with a hurdle.

Coefficients of zeros are sampled as they are, with the priors of coefficients; alpha as of other counts. With a hurdle
the likelihood is that of the counts which are not 0 times a binary one of which counts are: two likelihoods in one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.special import expit, log_expit

from clusterglm.data.prepare import ModelData
from clusterglm.fit.hurdle import HurdleRandomEffectsFit
from clusterglm.fit.hurdle_mixed import HurdleMixedFit
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.mixed_task import effects_of
from clusterglm.fit.own_levels import AtPsi
from clusterglm.fit.zero_data import ZeroData
from clusterglm.fit.zero_estimates import WithZeros, ZeroRandomEffectsFit
from clusterglm.fit.zero_mixed import ZeroMixedFit
from clusterglm.fit.zero_rows import ZeroRows, kernel_data, zero_rows
from clusterglm.fit.zeros import zero_start
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.zeros.inflated import PREFIX, ZeroInflated
from clusterglm.sample.coordinates import Coordinate, Coordinates, of_columns
from clusterglm.sample.crossed import CrossedLikelihood
from clusterglm.sample.effects import EffectDraws
from clusterglm.sample.likelihoods import (
    EffectsLikelihood,
    Points,
    SampledLikelihood,
    constants_of_clusters,
    coordinates_of,
    row_weights,
    unweighted,
)
from clusterglm.sample.own import OwnLikelihood, OwnPart
from clusterglm.sample.own_several import OwnEffectsLikelihood

_PART = "zeros"
_ALPHA = 0.3  # a dispersion to start from where nothing tells one


def coordinates_of_zeros(zero: ModelData) -> tuple[Coordinate, ...]:
    """Coefficients of zeros."""
    each = of_columns(zero.names, zero.X, zero.intercept, row_weights(zero))
    return tuple(replace(one, name=f"{PREFIX}{one.name}", part=_PART) for one in each)


def part_of_zeros(fit: WithZeros, data: ModelData, beta: Array) -> OwnPart:
    """The parameters of zero-inflated counts; the search begins inside, where the maximum lies at an end."""
    response, zero = fit.inflated, fit.zero_rows
    psi = response.working if fit.alpha_state == "free" and fit.zero_state == "free" else None
    if psi is None:
        alpha = response.alpha or _ALPHA
        psi = zero_start(data, zero, response, data.X @ beta + data.offset, alpha if response.dispersed else 0.0)
        if fit.zero_state == "free":
            psi[int(response.dispersed) :] = response.zero
    alphas = [Coordinate("alpha", "own", prior=NegativeBinomial.prior)] if response.dispersed else []
    return OwnPart(response, (*alphas, *coordinates_of_zeros(zero)), psi)


def inside(fit: Any, response: OwnParameters, **known: Any) -> Any:
    """A fit of zero-inflated counts at other estimates, which lie at no end of a range."""
    return replace(fit, response=response, poisson=False, plain=False, **known)


# With inflation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ZeroLikelihood(OwnLikelihood):
    """Of zero-inflated counts with one random intercept, in (beta, sigma, alpha if there is one, coefficients)."""

    fit: ZeroRandomEffectsFit

    @cached_property
    def part(self) -> OwnPart:
        """See `OwnLikelihood`."""
        return part_of_zeros(self.fit, self._data, self.fit.beta)

    @cached_property
    def _rows(self) -> ZeroRows:
        return zero_rows(self._data, self.fit.zero_rows, self.fit.inflated, Control())

    def _terms(self, at: OwnParameters) -> Array:
        data = self._data
        values, _ = ZeroData(data, self.fit.zero_rows.X, self.fit.inflated).of_clusters(at.working)
        return unweighted(values, data.cluster_weights)

    def fit_at(self, theta: Array) -> ZeroRandomEffectsFit:
        """See `SampledLikelihood`."""
        beta, sigma, response = self._at(theta)
        found: ZeroRandomEffectsFit = inside(self.fit, response, beta=beta, sigma=sigma, boundary=False)
        return found

    def kernel_at(self, theta: Array) -> tuple[ModelData, Response, float]:
        """See `OwnLikelihood`."""
        response = self._at(theta)[2]
        assert isinstance(response, ZeroInflated)
        return *kernel_data(self._data, self.fit.zero_rows.X, response), 1.0


@dataclass(frozen=True)
class ZeroEffectsLikelihood(OwnEffectsLikelihood):
    """The same with several random effects."""

    fit: ZeroMixedFit

    @cached_property
    def part(self) -> OwnPart:
        """See `OwnEffectsLikelihood`."""
        return part_of_zeros(self.fit, self._data, self.fit.beta)

    @cached_property
    def _given(self) -> AtPsi:
        return ZeroData(self._data, self.fit.zero_rows.X, self.fit.inflated)

    def _constants(self, at: OwnParameters) -> Array:
        return np.zeros(self._data.n_clusters)

    def fit_at(self, theta: Array) -> ZeroMixedFit:
        """See `SampledLikelihood`."""
        there = super().fit_at(theta)
        assert isinstance(there.response, OwnParameters)
        found: ZeroMixedFit = inside(there, there.response)
        return found


@dataclass(frozen=True)
class ZeroCrossedLikelihood(ZeroEffectsLikelihood, CrossedLikelihood):
    """Where factors cross."""


# With a hurdle --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HurdleLikelihood:
    """Of counts with a hurdle, in the parameters of those that are not 0 and the coefficients of zeros.

    Parameters
    ----------
    fit : HurdleRandomEffectsFit or HurdleMixedFit
    counts : SampledLikelihood
        Of the counts that are not 0.
    """

    fit: HurdleRandomEffectsFit | HurdleMixedFit
    counts: SampledLikelihood

    @property
    def _zero(self) -> ModelData:
        return self.fit.zero_rows

    @cached_property
    def coordinates(self) -> Coordinates:
        """See `SampledLikelihood`: columns are those of all rows, for a prior knows nothing of which counts are 0."""
        data, counts = self.fit.data.rows, self.counts.coordinates.each
        if isinstance(self.counts, EffectsLikelihood):
            columns = coordinates_of(data, effects_of(data).Z, self.counts.task.covariance)
        else:
            columns = of_columns(data.names, data.X, data.intercept, row_weights(data))
        return Coordinates((*columns, *counts[len(columns) :], *coordinates_of_zeros(self._zero)))

    @property
    def start(self) -> Array:
        """See `SampledLikelihood`."""
        return np.append(self.counts.start, self.fit.inflated.zero)

    def fresh(self) -> HurdleLikelihood:
        """See `SampledLikelihood`."""
        return replace(self, counts=self.counts.fresh())

    def split(self, theta: Array) -> tuple[Array, Array]:
        """Parameters of counts, and coefficients of zeros."""
        counts, zeros = np.split(theta, [len(self.counts.coordinates)])
        return counts, zeros

    @cached_property
    def _weights(self) -> Array:
        """How often each row counts, shape (n,)."""
        zero = self._zero
        return np.asarray(zero.b * np.repeat(zero.cluster_weights, np.diff(zero.starts)))

    def points(self, theta: Array) -> Points:
        """See `SampledLikelihood`."""
        return self.counts.points(self.split(theta)[0])

    def _log_probabilities(self, zeros: Array) -> Array:
        """Of each row's being 0 or not."""
        w = self._zero.X @ zeros
        return np.asarray(log_expit(np.where(self._zero.a == 0.0, w, -w)))

    def value(self, theta: Array, points: Points) -> float:
        """See `SampledLikelihood`."""
        counts, zeros = self.split(theta)
        return self.counts.value(counts, points) + float(self._weights @ self._log_probabilities(zeros))

    def evaluate(self, theta: Array, points: Points, order: int) -> Evaluation:
        """See `SampledLikelihood`: the parts have no parameters in common."""
        (counts, zeros), Z, weights = self.split(theta), self._zero.X, self._weights
        there, pi = self.counts.evaluate(counts, points, order), expit(Z @ zeros)
        score = np.einsum("nc,n->c", Z, weights * ((self._zero.a == 0.0) - pi))
        hessian = block_diag(there.hessian, -np.einsum("nc,n,nd->cd", Z, weights * pi * (1.0 - pi), Z))
        value = there.value + float(weights @ self._log_probabilities(zeros))
        return Evaluation(value, np.append(there.score, score), hessian)

    def weight(self, theta: Array, points: Points) -> tuple[float, float]:
        """See `SampledLikelihood`."""
        return self.counts.weight(self.split(theta)[0], points)

    @cached_property
    def clusters(self) -> NDArray[np.bool_]:
        """Which clusters have counts that are not 0, shape (m,)."""
        zero = self._zero
        return np.asarray(np.add.reduceat(zero.a, zero.starts[:-1]) > 0.0)

    def cluster_values(self, theta: Array, points: Points) -> Array:
        """See `SampledLikelihood`; with the constants of counts."""
        (counts, zeros), zero = self.split(theta), self._zero
        found = np.add.reduceat(zero.b * self._log_probabilities(zeros), zero.starts[:-1])
        found[self.clusters] += self.counts.cluster_values(counts, points) + self._constants
        return found

    @cached_property
    def _constants(self) -> Array:
        counts: Any = self.fit.counts
        response = counts.response
        at = response.of_constants if isinstance(response, OwnParameters) else response
        return constants_of_clusters(counts.data.rows, at)

    def shown(self, theta: Array) -> Array:
        """See `SampledLikelihood`."""
        counts, zeros = self.split(theta)
        return np.append(self.counts.shown(counts), zeros)

    def fit_at(self, theta: Array) -> Any:
        """See `SampledLikelihood`."""
        counts, zeros = self.split(theta)
        there = self.counts.fit_at(counts)
        alpha = there.response.values if isinstance(there.response, OwnParameters) else ()
        at = replace(self.fit.inflated, values=(*alpha, *zeros.tolist()))
        named = [name for name in ("phi", "sigma") if hasattr(there, name)]
        known = {name: getattr(there, name) for name in named} | ({"boundary": False} if "sigma" in named else {})
        return inside(self.fit, at, beta=there.beta, counts=there, **known)

    def rows_at(self, theta: Array) -> tuple[MixedFit, Array]:
        """See `EffectsLikelihood`: all rows, of which those that are 0 say nothing of effects."""
        last = sum(one.kind != "own" for one in self.counts.coordinates.each)
        return self.fit_at(theta).given, theta[:last]


@dataclass(frozen=True)
class HurdleDraws:
    """Random intercepts: of clusters without counts above 0 as they are without data."""

    of: HurdleLikelihood
    counts: EffectDraws

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """See `EffectDraws`."""
        known, error = self.counts.draw(self.of.split(theta)[0], rng)
        found = self.of.fit_at(theta).sigma * rng.standard_normal((len(self.of.clusters), 1))
        found[self.of.clusters] = known
        return found, error


@dataclass(frozen=True)
class HurdleCrossedDraws:
    """The same of factors that cross: effects of all levels, as `CrossedDraws` has them."""

    of: HurdleLikelihood
    counts: EffectDraws

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """See `EffectDraws`."""
        known, error = self.counts.draw(self.of.split(theta)[0], rng)
        fit: Any = self.of.fit
        of_counts: Any = self.of.fit.counts
        L, first, found = self.of.fit_at(theta).factor, 0, []
        some = [of_counts.data.rows.labels, *(each.labels for each in of_counts.effects.outside)]
        every = [fit.data.rows.labels, *(each.labels for each in fit.effects.outside)]
        places = [slice(0, fit.effects.n_upper), *(fit.effects.places_of(each.group) for each in fit.effects.outside)]
        for labels, all_labels, where in zip(some, every, places, strict=True):
            own = L[where, where]
            drawn = rng.standard_normal((len(all_labels), len(own))) @ own.T
            last = first + len(labels) * len(own)
            place = {label: k for k, label in enumerate(all_labels.tolist())}
            drawn[[place[label] for label in labels.tolist()]] = known[0, first:last].reshape(len(labels), -1)
            found.append(drawn.ravel())
            first = last
        return np.concatenate(found)[None], error
