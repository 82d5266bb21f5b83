"""Posteriors of linear mixed models, by the closed form of their full likelihood, whatever they were fitted by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.fit.gaussian import RESIDUAL, GaussianFit, responses, task_of
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.gaussian.objective import Task
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters, random_effects
from clusterglm.sample.coordinates import Coordinate, Coordinates, spread
from clusterglm.sample.likelihoods import Points, coordinates_of, fitted_covariance, row_weights, start_of

_PRIOR = "half_t(3, 2.5)"
_CLOSED_FORM = Points((), (), np.nan)


@dataclass(frozen=True)
class LinearLikelihood:
    """Of a linear mixed model of any grouping factors.

    Coefficients and deviations have the units of the response, as their priors have where these are scaled.
    """

    fit: GaussianFit

    @property
    def _data(self) -> ModelData:
        return self.fit.data

    @cached_property
    def _task(self) -> Task:
        """Of what the estimates leave, whose squares keep their digits."""
        return task_of(self._data, False, self.fit.beta, self.fit.effects.covariance.unconstrained())

    @cached_property
    def _parameters(self) -> Parameters:
        return random_effects(self._data.names, self._task.covariance.labels).and_own((RESIDUAL,))

    @cached_property
    def coordinates(self) -> Coordinates:
        """See `SampledLikelihood`."""
        unit, centre = spread(responses(self._data), row_weights(self._data))
        found = [*coordinates_of(self._data, self.fit.effects.Z, self._task.covariance)]
        found.append(Coordinate(RESIDUAL, "own", prior=_PRIOR))
        for k, one in enumerate(found):
            if one.kind != "correlation":
                place = centre if one.kind == "intercept" else one.centre
                found[k] = replace(one, unit=one.unit / unit, centre=place)
        return Coordinates(tuple(found))

    @property
    def start(self) -> Array:
        """See `SampledLikelihood`: near the estimates, with a covariance that is not singular."""
        L = self.fit.factor
        least = 0.05 * self.fit.residual_sd
        inner = start_of(self.fit.beta, L, self._task.covariance, self.coordinates.logs[:-1], least)
        return np.append(inner, np.log(self.fit.residual_sd))

    def fresh(self) -> LinearLikelihood:
        """See `SampledLikelihood`: nothing is remembered."""
        return self

    def points(self, theta: Array) -> Points:
        """See `SampledLikelihood`: there are no integrals."""
        return _CLOSED_FORM

    def _split(self, theta: Array) -> tuple[Array, Array, float]:
        beta, phi, sd = self._parameters.split(theta)
        return beta, phi, float(sd[0])

    def value(self, theta: Array, points: Points) -> float:
        """See `SampledLikelihood`."""
        beta, phi, sd = self._split(theta)
        return self._task.whole_value(beta - self.fit.beta, phi, sd)

    def evaluate(self, theta: Array, points: Points, order: int) -> Evaluation:
        """See `SampledLikelihood`."""
        beta, phi, sd = self._split(theta)
        return self._task.whole(beta - self.fit.beta, phi, sd)

    def weight(self, theta: Array, points: Points) -> tuple[float, float]:
        """See `SampledLikelihood`: a closed form."""
        return np.nan, np.nan

    @cached_property
    def _alike(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64], list[Array]]]:
        """Clusters of one size: which, their rows, and for each factor which pairs of rows share a level."""
        data, found = self._data, []
        sizes = np.diff(data.starts)
        for size in np.unique(sizes):
            which = np.flatnonzero(sizes == size)
            rows = data.starts[which][:, None] + np.arange(size)
            codes = [levels.codes[rows] for levels in self.fit.effects.groupings]
            found.append((which, rows, [(code[:, :, None] == code[:, None, :]).astype(np.float64) for code in codes]))
        return found

    def cluster_values(self, theta: Array, points: Points) -> Array:
        """See `SampledLikelihood`: normal densities of the clusters' responses; factors lie in clusters.

        A row of weight w is w equal ones, of which only the mean has anything to do with effects.
        """
        beta, phi, sd = self._split(theta)
        data, s2 = self._data, sd * sd
        left, scaled = responses(data) - data.X @ beta, self.fit.effects.Z @ self._task.covariance.factor(phi)
        found, w = np.empty(data.n_clusters), data.weights
        columns = [factor.columns for factor in self._task.statistics.factors]
        for which, rows, shared in self._alike:
            V = np.zeros(shared[0].shape)
            for some, same in zip(columns, shared, strict=True):
                z = scaled[:, some][rows]
                V += np.einsum("gid,gjd->gij", z, z) * same
            V[:, np.arange(rows.shape[1]), np.arange(rows.shape[1])] += s2 / w[rows]
            L = np.linalg.cholesky(V)
            half = np.linalg.solve(L, left[rows][:, :, None])[:, :, 0]
            logs = 2.0 * np.log(np.diagonal(L, axis1=1, axis2=2)) + np.log(2.0 * np.pi)
            more = (w[rows] - 1.0) * np.log(2.0 * np.pi * s2) + np.log(w[rows])
            found[which] = -0.5 * (logs + half**2 + more).sum(axis=1)
        return found

    def shown(self, theta: Array) -> Array:
        """See `SampledLikelihood`."""
        beta, phi, sd = self._split(theta)
        return np.concatenate([beta, self._task.covariance.shown(phi), [sd]])

    def fit_at(self, theta: Array) -> GaussianFit:
        """See `SampledLikelihood`."""
        beta, phi, sd = self._split(theta)
        there = fitted_covariance(self._task.covariance, phi, self.fit.effects.covariance)
        return replace(self.fit, beta=beta, phi=there, residual_sd=sd)
