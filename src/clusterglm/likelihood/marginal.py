"""The marginal likelihood of a random-intercept model: theta = (beta, sigma) -> value, score, exact Hessian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.location import location_map
from clusterglm.likelihood.rules import Plan, Rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution


class MarginalLikelihood:
    """Sums of the clusters' log-integrals, each by a quadrature rule of its own.

    The derivatives are those of the approximation itself, not approximations of derivatives. An instance remembers
    where each cluster's mode was last found, which makes the next search short; that moves results by no more than the
    search's tolerance.

    Parameters
    ----------
    problem : Problem
        The data.
    n_clusters : int
        Number of clusters, m.
    n_coefficients : int
        Columns of X, p.
    distribution : Distribution
        Of the random intercept.
    scale : {"normal", "density", "own"}
        Scale on which adaptive rules integrate ("own": see `location_map`); fixed rules always use the normal scale.
    threads : int
        Threads of the core; results are the same bits for any number.
    modes : ndarray, shape (m,), optional
        Where the modes are remembered, and the first search starts; by default the instance's own.
    """

    def __init__(
        self,
        problem: _core.Problem,
        n_clusters: int,
        n_coefficients: int,
        distribution: Distribution,
        scale: str,
        threads: int = 1,
        modes: Array | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_parameters = n_coefficients + 1
        self.threads = threads
        self._problem = problem
        self.distribution, self._scale = distribution, scale
        # A symmetric scale family's likelihood is even in sigma by itself; others are made so.
        self._folded = not (distribution.symmetric and distribution.scale_family)
        self._sigma = 1.0
        self._maps = self._located(self._sigma)
        self._modes = np.zeros(n_clusters) if modes is None else modes

    def evaluate(self, theta: Array, plan: Plan, order: int = 2) -> Evaluation:
        """Log-likelihood (without constants) at `theta`, shape (p + 1,), sigma last."""
        value, score = 0.0, np.zeros(self.n_parameters)
        hessian = np.zeros((self.n_parameters, self.n_parameters))
        for part in plan:
            more = self._call(theta, part.rule, part.clusters, order)
            value, score, hessian = value + more.value, score + more.score, hessian + more.hessian
        return Evaluation(value, score, hessian)

    def cluster_values(self, theta: Array, rule: Rule, clusters: NDArray[np.int64] | None) -> tuple[Array, Array]:
        """Log-likelihoods of single clusters by one rule, and the share of each integral that lies at the rule's ends.

        Returns
        -------
        values, ends : ndarray
            As many as `clusters`; `ends` is zero for Gauss-Hermite rules, whose ends carry no meaning.
        """
        values, ends = np.zeros(self.n_clusters), np.zeros(self.n_clusters)
        self._call(theta, rule, clusters, 0, values=values, ends=None if rule.hermite else ends)
        return (values, ends) if clusters is None else (values[clusters], ends[clusters])

    def evaluate_by_cluster(self, theta: Array, rule: Rule) -> tuple[Evaluation, Array, Array]:
        """What `evaluate` and `cluster_values` give of all clusters under one rule, in one pass."""
        values, ends = np.zeros(self.n_clusters), np.zeros(self.n_clusters)
        whole = self._call(theta, rule, None, 2, values=values, ends=None if rule.hermite else ends)
        return whole, values, ends

    def cluster_scores(self, theta: Array, plan: Plan) -> Array:
        """Each cluster's (weighted) score, shape (m, p + 1)."""
        scores = np.zeros((self.n_clusters, self.n_parameters))
        for part in plan:
            self._call(theta, part.rule, part.clusters, 1, scores=scores)
        return scores

    def posterior(self, theta: Array, plan: Plan) -> tuple[Array, Array]:
        """Mean and standard deviation of each cluster's intercept given its data, shape (m,) each."""
        posterior = np.zeros((self.n_clusters, 2))
        for part in plan:
            self._call(theta, part.rule, part.clusters, 0, posterior=posterior)
        return posterior[:, 0], posterior[:, 1]

    def modes(self, theta: Array) -> Array:
        """Mode on the scale of integration of every cluster, as found by the Laplace rule at `theta`, shape (m,)."""
        self._call(theta, Rule(1), None, 0)
        return self._modes.copy()

    def _call(
        self,
        theta: Array,
        rule: Rule,
        clusters: NDArray[np.int64] | None,
        order: int,
        values: Array | None = None,
        ends: Array | None = None,
        scores: Array | None = None,
        posterior: Array | None = None,
    ) -> Evaluation:
        score, hessian = np.zeros(self.n_parameters), np.zeros((self.n_parameters, self.n_parameters))
        mirrored = self._folded and theta[-1] < 0.0
        if mirrored:
            theta = np.append(theta[:-1], -theta[-1])
        if not self.distribution.scale_family and theta[-1] != self._sigma:
            self._sigma = float(theta[-1])
            self._maps = self._located(self._sigma)
        value = _core.marginal(
            self._problem,
            self._maps[0 if rule.adaptive else 1],
            rule.core,
            np.ascontiguousarray(theta),
            order,
            clusters,
            self._modes,
            score,
            hessian,
            values,
            ends,
            scores,
            posterior,
            self.threads,
        )
        if mirrored:
            score[-1] *= -1.0
            hessian[-1, :-1] *= -1.0
            hessian[:-1, -1] *= -1.0
            if scores is not None:
                scores[slice(None) if clusters is None else clusters, -1] *= -1.0
        return Evaluation(value, score, hessian)

    def _located(self, sigma: float) -> tuple[_core.LocationMap, _core.LocationMap]:
        """The map that adaptive rules use, and that of fixed rules."""
        fixed = location_map(self.distribution, "normal", sigma)
        return (fixed if self._scale == "normal" else location_map(self.distribution, self._scale, sigma)), fixed
