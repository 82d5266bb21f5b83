"""The likelihood without cluster effects: beta -> value, score, Hessian."""

from __future__ import annotations

import numpy as np

from clusterglm import _core
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array


def evaluate_pooled(problem: _core.Problem, beta: Array, order: int = 2, threads: int = 1) -> Evaluation:
    """Log-likelihood (without constants) of independent rows, cluster weights included.

    Parameters
    ----------
    problem : Problem
        The data.
    beta : ndarray, shape (p,)
        Coefficients of the columns of the problem's X.
    order : {0, 1, 2}
        Highest derivative wanted; the others come back as zeros.
    threads : int
        Threads to use; results are the same bits for any number.
    """
    p = len(beta)
    score, hessian = np.zeros(p), np.zeros((p, p))
    value = _core.pooled(problem, np.ascontiguousarray(beta), order, score, hessian, None, threads)
    return Evaluation(value, score, hessian)


def cluster_sums(problem: _core.Problem, beta: Array, n_clusters: int, threads: int = 1) -> tuple[Array, Array]:
    """Per cluster, the sums over rows of the first and second derivative of log P in the linear predictor.

    Returns
    -------
    S1, S2 : ndarray, shape (n_clusters,)
    """
    p = len(beta)
    sums = np.empty((n_clusters, 2))
    _core.pooled(problem, np.ascontiguousarray(beta), 0, np.zeros(p), np.zeros((p, p)), sums, threads)
    return sums[:, 0], sums[:, 1]
