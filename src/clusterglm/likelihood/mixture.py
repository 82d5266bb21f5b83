"""The likelihood when the intercept takes one of k values: coefficients, points and weights to value, score, Hessian.

A mass point is a quadrature rule of one node: with the Gaussian map m = sigma s at s = 1, sigma is the point itself,
so that the core gives each cluster's likelihood there, and its derivatives in coefficients and point. Formulas:
docs/explanation/likelihood.md, "Mass points".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation, OwnArrays, core_problem
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import NUMBERS_OF_MIXTURES
from clusterglm.model.parameters import Parameters, mass_points, random_intercept
from clusterglm.model.response.base import Response

_HUGE = 600.0  # log of a ratio that is large enough
_NORM = 0.5 + 0.5 * float(np.log(2.0 * np.pi))  # takes the normal density at s = 1 out again


@dataclass(frozen=True)
class Mixture:
    """Coefficients and a distribution on points.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        With the working values of the response's own parameters behind the coefficients, where it has some.
    points, weights : ndarray, shape (k,)
        Values of the intercept and their probabilities, all positive, of sum one.
    free : ndarray of bool, shape (k,)
        Points that are parameters; the others stay where they are.
    """

    beta: Array
    points: Array
    weights: Array
    free: NDArray[np.bool_]

    @property
    def theta(self) -> Array:
        """All parameters: coefficients, free points, logs of all weights but the last relative to it; shape (q,)."""
        return self.parameters.joined(self.beta, self.points[self.free], np.log(self.weights[:-1] / self.weights[-1]))

    @cached_property
    def parameters(self) -> Parameters:
        """What stands where in `theta`."""
        return mass_points(len(self.beta), np.flatnonzero(self.free).tolist(), len(self.points))

    def at(self, theta: Array) -> Mixture:
        """The mixture with other values of its parameters."""
        beta, inner, ratios = self.parameters.split(theta)
        points = self.points.copy()
        points[self.free] = inner
        logits = np.append(ratios, 0.0)
        weights = np.exp(logits - logits.max())
        return Mixture(beta, points, weights / weights.sum(), self.free)


class OverPoints(ABC):
    """A log-likelihood of m clusters under mixtures, which a search for the most likely one asks.

    Parameters
    ----------
    cluster_weights : ndarray, shape (m,)

    Attributes
    ----------
    evaluations : int
        How often derivatives were asked for.
    """

    def __init__(self, cluster_weights: Array) -> None:
        self.cluster_weights = cluster_weights
        self.evaluations = 0

    @abstractmethod
    def cluster_values(self, beta: Array, points: Array) -> Array:
        """Each cluster's log-likelihood (kernel, without its weight) at each point, -inf and inf included; (m, k)."""

    @abstractmethod
    def evaluate(self, mixture: Mixture) -> Evaluation:
        """Log-likelihood with derivatives in the parameters of `Mixture.theta`.

        Notes
        -----
        The Hessian is the mean of the complete-data Hessians plus the variance of the complete-data scores (Louis,
        JRSS B 44, 1982).
        """

    def mixed_values(self, mixture: Mixture) -> Array:
        """Each cluster's log-likelihood under the mixture, shape (m,)."""
        return _log_mean(self.cluster_values(mixture.beta, mixture.points), mixture.weights)[0]

    def probabilities(self, mixture: Mixture) -> Array:
        """Probabilities of the points given each cluster's data, shape (m, k)."""
        return _log_mean(self.cluster_values(mixture.beta, mixture.points), mixture.weights)[1]


class MixtureLikelihood(OverPoints):
    """Log-likelihood of the data under mixtures, summed over clusters with their weights.

    Derivatives are in the kernel's own parameters too, which stand behind the coefficients, where data have some.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Without a column of ones, C-contiguous.
    data : ClusterArrays
        Everything else.
    response : Response
    threads : int
        Threads of the core; results are the same bits for any number.
    """

    def __init__(self, X: Array, data: ClusterArrays, response: Response, threads: int = 1) -> None:
        super().__init__(data.cluster_weights)
        self._X, self._data, self._response, self._threads = X, data, response, threads
        self._map, self._rule = _core.gaussian(), _core.Rule(False, False, np.ones(1), np.full(1, _NORM))
        self._modes = np.zeros(len(self.cluster_weights))
        self._parameters = random_intercept(X.shape[1])  # as the core sees it, sigma being the point
        own = data.own if isinstance(data, OwnArrays) else 0
        self._derived = random_intercept(X.shape[1] + own)
        self._problem = self._weighted(np.ones(len(self.cluster_weights)))  # the core's values carry their weights

    def cluster_values(self, beta: Array, points: Array) -> Array:
        values = np.empty((len(points), len(self.cluster_weights)))
        for k, point in enumerate(points.tolist()):
            if np.isinf(point):
                rows = self._response.value(np.full(len(self._X), point), self._data.a, self._data.b)
                values[k] = np.add.reduceat(rows, self._data.starts[:-1])
            else:
                self._call(self._problem, beta, point, 0, values=values[k])
        return values.T

    def evaluate(self, mixture: Mixture) -> Evaluation:
        return self._derivatives(mixture)[0]

    def scores(self, mixture: Mixture) -> Array:
        """Each cluster's score in `Mixture.theta`, its weight included, shape (m, q)."""
        _, of_beta, of_points, tau = self._derivatives(mixture)
        of_weights = self.cluster_weights[:, None] * (tau - mixture.weights)
        return np.hstack([of_beta, of_points[:, mixture.free], of_weights[:, :-1]])

    def _derivatives(self, mixture: Mixture) -> tuple[Evaluation, Array, Array, Array]:
        self.evaluations += 1
        beta, pi, w = mixture.beta, mixture.weights, self.cluster_weights
        m, k, p = len(w), len(pi), len(self._derived) - 1
        mixed, tau = _log_mean(self.cluster_values(beta, mixture.points), pi)
        complete = np.zeros((p + k, p + k))  # mean Hessians plus mean squares, in (beta, points)
        of_beta, of_points = np.zeros((m, p)), np.empty((m, k))
        with_weights = np.empty((p, k))
        at_beta, at_point = self._derived.coefficients, self._derived.scale
        q = len(self._derived)
        T = np.empty((m, q))  # a cluster's score at a point, times its weight and the point's probability
        for j, point in enumerate(mixture.points.tolist()):
            if np.isinf(point):  # nothing there depends on anything
                of_points[:, j] = with_weights[:, j] = 0.0
                continue
            share = w * tau[:, j]
            hessian = self._call(self._weighted(share), beta, point, 2, scores=T)
            square = hessian + T.T @ (T / np.where(share > 0.0, share, 1.0)[:, None])
            places = np.append(np.arange(p), p + j)
            complete[np.ix_(places, places)] += square
            of_beta += T[:, at_beta]
            of_points[:, j] = T[:, at_point]
            with_weights[:, j] = T[:, at_beta].sum(axis=0)
        first = np.hstack([of_beta, of_points])
        among = complete - first.T @ (first / w[:, None])
        wide = w[:, None] * tau
        weights = np.diag(wide.sum(axis=0)) - wide.T @ tau - w.sum() * (np.diag(pi) - np.outer(pi, pi))
        across = np.vstack([with_weights, np.diag(of_points.sum(axis=0))]) - first.T @ tau
        whole = np.block([[among, across], [across.T, weights]])
        score = np.concatenate([first.sum(axis=0), wide.sum(axis=0) - w.sum() * pi])
        chosen = np.concatenate([np.arange(p), p + np.flatnonzero(mixture.free), p + k + np.arange(k - 1)])
        found = Evaluation(float(w @ mixed), score[chosen], whole[np.ix_(chosen, chosen)])
        return found, of_beta, of_points, tau

    def _weighted(self, cluster_weights: Array) -> _core.Problem:
        data, weights = self._data, np.ascontiguousarray(cluster_weights)
        arrays = OwnArrays(data.starts, data.a, data.b, data.offset, weights)
        if isinstance(data, OwnArrays):
            arrays = replace(arrays, own=data.own, groups=data.groups)
        return core_problem(self._X, arrays, self._response)

    def _call(
        self,
        problem: _core.Problem,
        beta: Array,
        point: float,
        order: int,
        values: Array | None = None,
        scores: Array | None = None,
    ) -> Array:
        theta = self._parameters.joined(beta, point)
        q = len(self._derived)
        hessian = np.zeros((q, q))
        _core.marginal(
            problem,
            self._map,
            self._rule,
            theta,
            order,
            None,
            self._modes,
            np.zeros(q),
            hessian,
            values=values,
            scores=scores,
            threads=self._threads,
        )
        return hessian


def gradient_values(likelihood: OverPoints, beta: Array, total: Array, points: Array) -> Array:
    """The gradient function of a distribution of the intercept (Lindsay, Annals of Statistics 11, 1983).

    Parameters
    ----------
    likelihood : OverPoints
    beta : ndarray, shape (p,)
    total : ndarray, shape (m,)
        Each cluster's log-likelihood under the distribution.
    points : ndarray, shape (k,)

    Returns
    -------
    ndarray, shape (k,)
        Mean over clusters, by their weights, of the likelihood at a point over that of the distribution, less 1.
    """
    weights = likelihood.cluster_weights
    found = np.empty(len(points))
    chunk = max(1, NUMBERS_OF_MIXTURES // len(weights))
    for first in range(0, len(points), chunk):
        above = likelihood.cluster_values(beta, points[first : first + chunk]) - total[:, None]
        found[first : first + chunk] = weights @ np.exp(np.minimum(above, _HUGE)) / weights.sum() - 1.0
    return found


def _log_mean(values: Array, weights: Array) -> tuple[Array, Array]:
    """Log of each row's weighted mean of exponentials, and what each adds to it, which sums to one."""
    top = values.max(axis=1)
    parts = weights * np.exp(values - top[:, None])
    total = parts.sum(axis=1)
    return top + np.log(total), parts / total[:, None]
