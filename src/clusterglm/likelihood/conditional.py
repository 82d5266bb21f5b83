"""The logistic likelihood given every cluster's number of successes: beta -> value, score, exact Hessian.

Intercepts drop out exactly (Andersen 1970; Breslow and Day 1980, chapter 7). Conditional Poisson regression needs
nothing of its own: it is the profile likelihood up to a constant.
"""

from __future__ import annotations

import numpy as np

from clusterglm import _core
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array


class ConditionalLikelihood:
    """Sum over clusters of log P(responses | number of successes).

    Parameters
    ----------
    problem : Problem
        The data, binomial with logit link: X without a column of ones, a and b whole numbers.
    threads : int
        Threads of the core; results are the same bits for any number.
    tilts : ndarray, shape (m,), optional
        What the core remembers of each cluster, where it outlives the instance; nan for clusters without any.
    """

    def __init__(
        self,
        problem: _core.Problem,
        threads: int = 1,
        tilts: Array | None = None,
    ) -> None:
        self.n_clusters = problem.n_clusters
        self.n_parameters = problem.n_coefficients
        self.threads = threads
        self._problem = problem
        # the core's intercepts; only the speed depends on them
        self._tilts = np.full(self.n_clusters, np.nan) if tilts is None else tilts

    def evaluate(self, beta: Array, order: int = 2) -> Evaluation:
        """Log-likelihood (without binomial coefficients) at `beta`, shape (p,)."""
        return self._call(beta, order, None)

    def cluster_scores(self, beta: Array) -> Array:
        """Each cluster's score, times its weight, shape (m, p)."""
        scores = np.zeros((self.n_clusters, self.n_parameters))
        self._call(beta, 1, scores)
        return scores

    def _call(self, beta: Array, order: int, scores: Array | None) -> Evaluation:
        p = self.n_parameters
        score, hessian = np.zeros(p), np.zeros((p, p))
        beta = np.ascontiguousarray(beta)
        value = _core.conditional(self._problem, beta, order, self._tilts, score, hessian, scores, self.threads)
        return Evaluation(value, score, hessian)
