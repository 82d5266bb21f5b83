"""One intercept per cluster with a density that is a mixture of fixed parts: joint derivatives in its log-weights.

All parts are integrated by one trapezoid rule on a fixed grid of b / sigma. A cluster's likelihood is linear in the
weights, so that score and Hessian in them are those of a finite mixture; in (beta, sigma) they are the core's, of a
Gaussian intercept whose nodes have other weights. Exact derivatives of the sum that is computed, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import rows_of
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation, core_problem
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.distribution.smooth import MEANS, OUTERMOST, SPACING, Weights, log_parts, weights_of
from clusterglm.model.response.base import Response
from clusterglm.model.special import log_normal_density

_PART_REACH = 8.0  # standard deviations of a part, or of the whole, that the grid reaches beyond the outermost means
_SUMMED_AT_A_TIME = 200_000  # numbers, of clusters or rows by nodes
_UNFELT = 1e-18  # of a posterior probability: what sums do not feel


@dataclass(frozen=True)
class DensityRule(Rule):
    """A trapezoid rule on the normal scale whose weights make another density of the standard normal one.

    Parameters
    ----------
    log_density : tuple of float
        At the nodes.
    """

    log_density: tuple[float, ...] = field(default=(), repr=False)

    @cached_property
    def points(self) -> tuple[Array, Array]:
        s, log_h = super().points
        return s, log_h + np.array(self.log_density) - log_normal_density(s)


@dataclass(frozen=True)
class _Parts:
    """What clusters' likelihoods are made of at some (beta, sigma).

    Parameters
    ----------
    tops : ndarray, shape (m,)
        Logarithm of the largest likelihood of each at a node.
    values : ndarray, shape (m, K + 1)
        Likelihoods over that with an intercept of each part.
    """

    tops: Array
    values: Array


class DensityLikelihood:
    """The log-likelihood of clusters in (beta, sigma) and the third differences of log-weights.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Design matrix to use with `data`, C-contiguous.
    data : ClusterArrays
    response : Response
    threads : int
        Threads of the core.
    halvings : int
        Of the step between nodes, from half the standard deviation of a part.
    """

    def __init__(self, X: Array, data: ClusterArrays, response: Response, threads: int = 1, halvings: int = 0) -> None:
        self.halvings = halvings
        reach = OUTERMOST + _PART_REACH * SPACING
        self.nodes = int(2.0 * reach / (0.5 * SPACING)) * 2**halvings + 1
        self._half_width = reach
        self._X, self._data, self._response = X, data, response
        self._n_clusters = len(data.starts) - 1
        self._gaussian = MarginalLikelihood(core_problem(X, data, response), Gaussian(), "normal", threads)
        self._t = np.linspace(-reach, reach, self.nodes)
        step = self._t[1] - self._t[0]
        self._of_parts = np.exp(log_parts(self._t, np.zeros(1))).T * step  # shape (nodes, K + 1)
        self._known: tuple[Array, _Parts] | None = None

    def value(self, theta: Array, working: Array) -> float:
        """Log-likelihood (without constants) at (beta, sigma), shape (p + 1,), and third differences."""
        parts, weights = self._parts(theta), weights_of(tuple(working.tolist()))
        return float(self._weights @ (parts.tops + np.log(parts.values @ np.exp(weights.all_logs))))

    def evaluate(self, theta: Array, working: Array) -> Evaluation:
        """Value, score and Hessian in all parameters: (beta, sigma), sigma > 0, and the third differences."""
        weights = weights_of(tuple(working.tolist()))
        parts, w = self._parts(theta), np.exp(weights.all_logs)
        mixed = parts.values @ w
        shares = parts.values[:, :-1] * (w[:-1] / mixed[:, None])
        total = self._weights @ shares
        inner = np.diag(total) - (shares.T * self._weights) @ shares
        value = float(self._weights @ (parts.tops + np.log(mixed)))
        given = self._gaussian.evaluate(theta, (Part(self._rule(weights)),))
        across = self._across(theta, weights, parts.tops + np.log(mixed), shares)
        within = weights.slopes.T @ inner @ weights.slopes + weights.bend(total)
        score = np.concatenate([given.score, weights.slopes.T @ total])
        hessian = np.block([[given.hessian, across], [across.T, 0.5 * (within + within.T)]])
        return Evaluation(value, score, hessian)

    @property
    def _weights(self) -> Array:
        return self._data.cluster_weights

    def _rule(self, weights: Weights) -> DensityRule:
        log_density = np.log(self._of_parts @ np.exp(weights.all_logs)) - np.log(self._t[1] - self._t[0])
        return DensityRule(self.nodes, self._half_width, log_density=tuple(log_density.tolist()))

    def _at_nodes(self, theta: Array, some: NDArray[np.int64]) -> Array:
        """Logarithms of clusters' likelihoods at the nodes, shape (c, nodes)."""
        points = np.broadcast_to(self._t, (len(some), self.nodes)).copy()
        return self._gaussian.log_integrands(theta, some, points) - log_normal_density(self._t)

    def _pieces(self, sizes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Clusters in turn, so many at a time that their sizes times the nodes are no more than memory should hold."""
        cuts = np.flatnonzero(np.diff(np.cumsum(sizes) * self.nodes // _SUMMED_AT_A_TIME)) + 1
        return np.split(np.arange(len(sizes)), cuts)

    def _parts(self, theta: Array) -> _Parts:
        if self._known is not None and np.array_equal(self._known[0], theta):
            return self._known[1]
        m = self._n_clusters
        tops, values = np.empty(m), np.empty((m, self._of_parts.shape[1]))
        for some in self._pieces(np.ones(m, dtype=np.int64)):
            logs = self._at_nodes(theta, some)
            tops[some] = logs.max(axis=1)
            values[some] = np.exp(logs - tops[some, None]) @ self._of_parts
        self._known = theta.copy(), _Parts(tops, values)
        return self._known[1]

    def _across(self, theta: Array, weights: Weights, log_likelihoods: Array, shares: Array) -> Array:
        """Second derivatives in (beta, sigma) and the third differences, shape (p + 1, k).

        With r the parts' shares of a cluster's likelihood, those in a log-weight are r times the score with an
        intercept of this part, less r times the score.
        """
        data, parameters = self._data, self._gaussian.parameters
        beta, sigma = theta[parameters.coefficients], float(theta[parameters.scale])
        at_nodes = self._of_parts * np.exp(weights.all_logs)
        density = at_nodes.sum(axis=1)
        slopes = (at_nodes[:, :-1] / density[:, None]) @ weights.slopes  # of the log-density, shape (nodes, k)
        eta, starts = self._X @ beta + data.offset, data.starts
        at, scores = np.zeros((len(theta), self.nodes)), np.zeros((self._n_clusters, len(theta)))
        order = np.argsort(shares @ MEANS, kind="stable")  # clusters that need the same nodes are neighbours
        for piece in self._pieces(np.diff(starts)[order]):
            some = order[piece]
            posterior = np.exp(self._at_nodes(theta, some) - log_likelihoods[some, None]) * density
            seen = np.flatnonzero(posterior.max(axis=0) > _UNFELT)
            nodes = slice(int(seen[0]), int(seen[-1]) + 1)
            rows, firsts = rows_of(starts, some)
            X, t = self._X[rows], self._t[nodes]
            by_eta = self._response.slope(eta[rows, None] + sigma * t, data.a[rows, None], data.b[rows, None])
            by_eta *= np.repeat(posterior[:, nodes] * self._weights[some, None], np.diff(firsts), axis=0)
            at[parameters.coefficients, nodes] += X.T @ by_eta
            at[parameters.scale, nodes] += by_eta.sum(axis=0) * t
            each = np.column_stack([X * by_eta.sum(axis=1)[:, None], by_eta @ t])
            scores[some] = np.add.reduceat(each, firsts[:-1], axis=0)
        found: Array = at @ slopes - scores.T @ (shares @ weights.slopes)
        return found
