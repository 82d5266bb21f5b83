"""Marginal likelihoods of fitted models, in the parameters theta that are sampled (`Coordinates.theta`).

Each chain has an instance of its own: what one remembers of its last search for modes never meets another's draws, so
that these are the same for any number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.mixed_task import MixedTask, choose
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.integrator import UnitLikelihood
from clusterglm.likelihood.plan import Goal, Part
from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance
from clusterglm.model.response.base import Response
from clusterglm.sample.coordinates import Coordinate, Coordinates, of_columns, spread


@dataclass(frozen=True)
class Points:
    """At which integrals are computed: those of values, and those that are enough for derivatives.

    Parameters
    ----------
    values, slopes : tuple
    error : float
        Of the log-likelihood where they were chosen; nan where nobody has looked.
    """

    values: tuple[Any, ...]
    slopes: tuple[Any, ...]
    error: float


class SampledLikelihood(Protocol):
    """A log-likelihood that is sampled from."""

    @property
    def coordinates(self) -> Coordinates:
        """The parameters."""

    @property
    def start(self) -> Array:
        """Where the search for a mode may begin, shape (q,), of x."""

    def fresh(self) -> SampledLikelihood:
        """The same, which remembers nothing."""

    def points(self, theta: Array) -> Points:
        """Points chosen at theta, as the fit was asked to."""

    def value(self, theta: Array, points: Points) -> float:
        """The log-likelihood without constants."""

    def evaluate(self, theta: Array, points: Points, order: int) -> Evaluation:
        """Value, score, and Hessian where `order` is 2, by the points of derivatives."""

    def weight(self, theta: Array, points: Points) -> tuple[float, float]:
        """Log of the likelihood as well as it can be known over that by these points, and its standard error.

        Both are nan where no more is known.
        """

    def cluster_values(self, theta: Array, points: Points) -> Array:
        """Each cluster's, without its weight, shape (m,)."""

    def shown(self, theta: Array) -> Array:
        """What people read, shape (q,): correlations in the place of what stands for them."""

    def fit_at(self, theta: Array) -> Any:
        """The fit with theta in the place of its estimates, as predictions and simulations take it."""


LEAST_TRIED = 0.05  # standard deviation from which a search for the mode may begin


@dataclass(frozen=True)
class InterceptLikelihood:
    """Of a model with one random intercept of any distribution."""

    fit: RandomEffectsFit

    @property
    def _data(self) -> ModelData:
        return self.fit.data.rows

    @cached_property
    def coordinates(self) -> Coordinates:
        """See `SampledLikelihood`; a sigma that was held is no parameter."""
        data = self._data
        found = of_columns(data.names, data.X, data.intercept, row_weights(data))
        return Coordinates((*found, *([] if self.fit.sigma_fixed else [Coordinate("sigma", "sd")])))

    @property
    def start(self) -> Array:
        """See `SampledLikelihood`."""
        if self.fit.sigma_fixed:
            return self.fit.beta.copy()
        return np.append(self.fit.beta, np.log(max(self.fit.sigma, LEAST_TRIED)))

    @cached_property
    def _likelihood(self) -> UnitLikelihood:
        return self.fit.integrator.likelihood(self._data.X, self._data, self.fit.response)

    def fresh(self) -> InterceptLikelihood:
        """See `SampledLikelihood`."""
        return replace(self)

    def whole(self, theta: Array) -> Array:
        """(beta, sigma)."""
        return np.append(theta, self.fit.sigma) if self.fit.sigma_fixed else theta

    def points(self, theta: Array) -> Points:
        """See `SampledLikelihood`: rules that follow the clusters' modes, wherever such rules do."""
        asked, at, integrator = self.fit.integration, self.whole(theta), self.fit.integrator
        if asked.requested.kind != "auto":
            plan: tuple[Any, ...] = (Part(integrator.first_rule(asked.requested, 0.0, 1.0)),)
            return Points(plan, plan, np.nan)
        goal, shared = Goal(asked.requested.tolerance * asked.unit, self._data.n_clusters, True), None
        if integrator.by_sample(goal):
            shared = integrator.agreed(at, [integrator.proposals(self._likelihood, at, goal)])
        found = integrator.choose(self._likelihood, at, goal, shared)
        return Points(found.plan, found.plan, found.error)

    def value(self, theta: Array, points: Points) -> float:
        """See `SampledLikelihood`."""
        return self._likelihood.evaluate(self.whole(theta), points.values, 0).value

    def evaluate(self, theta: Array, points: Points, order: int) -> Evaluation:
        """See `SampledLikelihood`."""
        found, some = self._likelihood.evaluate(self.whole(theta), points.slopes, order), slice(0, len(theta))
        return Evaluation(found.value, found.score[some], found.hessian[some, some])

    def weight(self, theta: Array, points: Points) -> tuple[float, float]:
        """See `SampledLikelihood`: these points are chosen so that no more need be known."""
        return np.nan, np.nan

    def cluster_values(self, theta: Array, points: Points) -> Array:
        """See `SampledLikelihood`."""
        return unweighted(self._likelihood.unit_values(self.whole(theta), points.values), self._data.cluster_weights)

    def shown(self, theta: Array) -> Array:
        """See `SampledLikelihood`."""
        return theta

    def fit_at(self, theta: Array) -> RandomEffectsFit:
        """See `SampledLikelihood`."""
        whole = self.whole(theta)
        at = self.fit.parameters
        return replace(self.fit, beta=whole[at.coefficients], sigma=float(whole[at.scale]), boundary=False)


@dataclass(frozen=True)
class EffectsLikelihood:
    """Of a model with several random effects of each cluster, or of clusters and what is nested in them."""

    fit: MixedFit

    @property
    def _data(self) -> ModelData:
        return self.fit.data.rows

    @cached_property
    def task(self) -> MixedTask:
        """The likelihood in coefficients, standard deviations and what stands for correlations."""
        data, units = self._data, np.ones(self.fit.effects.Z.shape[1])
        found = MixedTask.of(data, self.fit.response, data.X, units, 1)
        return replace(found, covariance=found.covariance.unconstrained())

    @cached_property
    def coordinates(self) -> Coordinates:
        """See `SampledLikelihood`."""
        return Coordinates(tuple(coordinates_of(self._data, self.fit.effects.Z, self.task.covariance)))

    @property
    def start(self) -> Array:
        """See `SampledLikelihood`: a covariance near the estimated one that is not singular."""
        return start_of(self.fit.beta, self.fit.factor, self.task.covariance, self.coordinates.logs, LEAST_TRIED)

    def fresh(self) -> EffectsLikelihood:
        """See `SampledLikelihood`."""
        return replace(self)

    def searched(self, theta: Array) -> Array:
        """What the fit's search has in the place of theta."""
        return theta

    def sampled(self, there: Evaluation, theta: Array) -> Evaluation:
        """Derivatives in theta, of those in what the search has."""
        return there

    def rows_at(self, theta: Array) -> tuple[MixedFit, Array]:
        """The fit whose rows are those that the core has at theta, and what is sampled of it."""
        return self.fit, theta

    def entries(self, theta: Array) -> Array:
        """What the integrals take at theta; see `MixedTask.entries`."""
        return self.task.entries(self.searched(theta))

    def points(self, theta: Array) -> Points:
        """See `SampledLikelihood`."""
        asked = self.fit.integration
        found = choose(self.task.likelihood, self.entries(theta), asked.requested, asked.unit)
        return Points(found.plan, found.slopes, found.error)

    def value(self, theta: Array, points: Points) -> float:
        """See `SampledLikelihood`."""
        return self.task.likelihood.evaluate(self.entries(theta), points.values, 0).value

    def evaluate(self, theta: Array, points: Points, order: int) -> Evaluation:
        """See `SampledLikelihood`."""
        return self.sampled(self.task.evaluate(self.searched(theta), points.slopes, order), theta)

    def weight(self, theta: Array, points: Points) -> tuple[float, float]:
        """See `SampledLikelihood`: these points are chosen so that no more need be known."""
        return np.nan, np.nan

    def cluster_values(self, theta: Array, points: Points) -> Array:
        """See `SampledLikelihood`."""
        values = self.task.likelihood.cluster_values(self.entries(theta), points.values)
        return unweighted(values, self._data.cluster_weights)

    def shown(self, theta: Array) -> Array:
        """See `SampledLikelihood`."""
        beta, phi = self.task.parameters.split(theta)
        return self.task.parameters.joined(beta, self.task.covariance.shown(phi))

    def fit_at(self, theta: Array) -> MixedFit:
        """See `SampledLikelihood`."""
        beta, phi = self.task.parameters.split(theta)
        return replace(
            self.fit, beta=beta, phi=fitted_covariance(self.task.covariance, phi, self.fit.effects.covariance)
        )


@dataclass(frozen=True)
class NoLikelihood:
    """That of no data, which is 0: what is sampled is the prior."""

    of: SampledLikelihood

    @property
    def coordinates(self) -> Coordinates:
        """See `SampledLikelihood`."""
        return self.of.coordinates

    @property
    def start(self) -> Array:
        """See `SampledLikelihood`."""
        return np.zeros(len(self.coordinates))

    def fresh(self) -> NoLikelihood:
        """See `SampledLikelihood`."""
        return self

    def points(self, theta: Array) -> Points:
        """See `SampledLikelihood`: there are none."""
        return Points((), (), 0.0)

    def value(self, theta: Array, points: Points) -> float:
        """See `SampledLikelihood`."""
        return 0.0

    def evaluate(self, theta: Array, points: Points, order: int) -> Evaluation:
        """See `SampledLikelihood`."""
        q = len(theta)
        return Evaluation(0.0, np.zeros(q), np.zeros((q, q)))

    def weight(self, theta: Array, points: Points) -> tuple[float, float]:
        """See `SampledLikelihood`: these points are chosen so that no more need be known."""
        return np.nan, np.nan

    def cluster_values(self, theta: Array, points: Points) -> Array:
        """See `SampledLikelihood`."""
        return np.zeros(0)

    def shown(self, theta: Array) -> Array:
        """See `SampledLikelihood`."""
        return self.of.shown(theta)

    def fit_at(self, theta: Array) -> Any:
        """See `SampledLikelihood`."""
        return self.of.fit_at(theta)


def coordinates_of(data: ModelData, Z: Array, covariance: Covariance) -> list[Coordinate]:
    """Of coefficients, standard deviations and correlations of effects in columns, shape (n, q)."""
    weights = row_weights(data)
    found = of_columns(data.names, data.X, data.intercept, weights)
    names = iter(covariance.read_labels())
    for term, where in covariance.blocks():
        d = len(term.effects)
        units = [spread(column, weights)[0] for column in Z[:, where].T]
        shares = term.kind.lkj(d)
        scales = term.size - len(shares)
        each = units if scales == d else [float(np.sqrt(np.mean(np.square(units))))] * scales
        found += [Coordinate(next(names), "sd", unit) for unit in each]
        found += [Coordinate(next(names), "correlation", share=share) for share in shares]
    return found


def start_of(beta: Array, L: Array, covariance: Covariance, logs: NDArray[np.bool_], least: float) -> Array:
    """x near coefficients and a covariance L L', but not singular: deviations are at least so large."""
    sds = np.sqrt(np.maximum((L**2).sum(axis=1), least**2))
    near = 0.9 * L @ L.T + 0.1 * np.diag(sds**2)
    theta = np.append(beta, covariance.of(near))
    return np.where(logs, np.log(np.maximum(theta, least)), theta)


def fitted_covariance(covariance: Covariance, phi: Array, own: Covariance) -> Array:
    """The parameters of a fit's own structures for what phi says of the ones that are sampled."""
    L = covariance.factor(phi)
    kept = [term.structure == was.structure for term, was in zip(covariance.terms, own.terms, strict=True)]
    parts = []
    for (term, where), (_, some), same in zip(own.blocks(), own.blocks_of_parameters(), kept, strict=True):
        block = L[where, where]
        parts.append(phi[some] if same else term.kind.of(block @ block.T))
    return np.concatenate(parts)


def constants_of_clusters(data: ModelData, response: Response) -> Array:
    """What the log-likelihood of one of each cluster leaves out, shape (m,); `response`: whose rows the data are."""
    if data.constant == 0.0:
        return np.zeros(data.n_clusters)
    each = response.log_constants(np.rint(data.a / data.weights), data.trials, data.weights)
    return np.asarray(np.add.reduceat(each, data.starts[:-1]))


def row_weights(data: ModelData) -> Array:
    """How much each row counts: as many trials and repeats as it stands for, whatever form the data have."""
    return np.asarray(data.weights * data.trials * np.repeat(data.cluster_weights, np.diff(data.starts)))


def unweighted(values: Array, weights: Array) -> Array:
    """Values of clusters that have been multiplied by these weights, without them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(weights == 0.0, 0.0, values / weights))
