"""The likelihood with a free intercept in every cluster, each at its maximum: beta -> value, score, exact Hessian.

Sections 3.2 and 3.3.1 of Brostrom and Holmberg's text on glmmML; at the maximum the inverse Hessian is the block of
beta in the inverse of the full one (Patefield, Sankhya B 39, 1977).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterglm import _core
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array


@dataclass(frozen=True)
class ClusterProfile:
    """What the profile likelihood knows of single clusters at one value of beta.

    Parameters
    ----------
    intercepts : ndarray, shape (m,)
        gamma_i(beta); -inf or inf where the likelihood of the cluster has no finite maximum in it.
    information : ndarray, shape (m,)
        -d2 loglik / d gamma_i^2, without the cluster weight; 0 for infinite intercepts.
    means : ndarray, shape (m, p)
        Means of the covariates, weighted by the rows' information: -d gamma_i / d beta. 0 for infinite intercepts.
    scores : ndarray, shape (m, p)
        Each cluster's score in beta, times its weight.
    """

    intercepts: Array
    information: Array
    means: Array
    scores: Array


class ProfileLikelihood:
    """Sum over clusters of log-likelihoods, maximised over the clusters' intercepts.

    Clusters whose intercept would be infinite (all responses failures or zero counts, or all successes) contribute
    exactly 0 and leave score and Hessian. An instance remembers the intercepts, where the next search starts.

    Parameters
    ----------
    problem : Problem
        The data, X without a column of ones.
    threads : int
        Threads of the core; results are the same bits for any number.
    intercepts : ndarray, shape (m,), optional
        The memory, where it outlives the instance; nan for clusters without any.
    """

    def __init__(
        self,
        problem: _core.Problem,
        threads: int = 1,
        intercepts: Array | None = None,
    ) -> None:
        self.n_clusters = problem.n_clusters
        self.n_parameters = problem.n_coefficients
        self.threads = threads
        self._problem = problem
        self._intercepts = np.full(self.n_clusters, np.nan) if intercepts is None else intercepts
        self._at = np.full(self.n_parameters, np.nan)  # the beta that they belong to

    def evaluate(self, beta: Array, order: int = 2) -> Evaluation:
        """Log-likelihood (without constants) at `beta`, shape (p,)."""
        p = self.n_parameters
        score, hessian = np.zeros(p), np.zeros((p, p))
        beta = np.ascontiguousarray(beta)
        self._at = beta.copy()
        value = _core.profile(
            self._problem, beta, order, self._intercepts, score, hessian, None, None, None, self.threads
        )
        return Evaluation(value, score, hessian)

    def clusters(self, beta: Array) -> ClusterProfile:
        """Intercepts, their information, means and scores of all clusters at `beta`."""
        p, m = self.n_parameters, self.n_clusters
        information, means, scores = np.zeros(m), np.zeros((m, p)), np.zeros((m, p))
        nothing, beta = np.zeros((p, p)), np.ascontiguousarray(beta)
        self._at = beta.copy()
        _core.profile(
            self._problem, beta, 0, self._intercepts, np.zeros(p), nothing, information, means, scores, self.threads
        )
        return ClusterProfile(self._intercepts.copy(), information, means, scores)

    def intercepts(self, beta: Array) -> Array:
        """The intercepts that maximise the likelihood at `beta`, shape (m,)."""
        if not np.array_equal(beta, self._at):
            self.evaluate(beta, 0)
        return self._intercepts.copy()
