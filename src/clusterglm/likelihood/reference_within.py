"""Profile and conditional likelihood once more, in plain NumPy, one cluster at a time: the yardstick of the tests.

Arguments as in `reference`; nothing here is meant to be fast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


def profile(
    starts: NDArray[np.int64],
    X: Array,
    a: Array,
    b: Array,
    offset: Array,
    cluster_weights: Array,
    beta: Array,
    response: Response,
) -> tuple[Evaluation, Array]:
    """Log-likelihood maximised over an intercept per cluster, with score and Hessian; and the intercepts, (m,).

    Equations 11 to 15 of Brostrom and Holmberg's text, as they stand there.
    """
    p = X.shape[1]
    value, score, hessian = 0.0, np.zeros(p), np.zeros((p, p))
    intercepts = np.zeros(len(cluster_weights))
    for i, weight in enumerate(cluster_weights):
        rows = slice(starts[i], starts[i + 1])
        x, ai, bi, eta = X[rows], a[rows], b[rows], X[rows] @ beta + offset[rows]
        end = float(response.rises_towards(ai.sum(), bi.sum()))
        if end != 0.0:
            intercepts[i] = end * np.inf
            continue
        gamma = _root(eta, ai, bi, response)
        kernel, G, H, _, _ = response.derivatives(eta + gamma, ai, bi)
        h = H @ x
        value += weight * float(kernel.sum())
        score += weight * (G @ x)
        hessian += weight * (x.T @ (H[:, None] * x) - np.outer(h, h) / H.sum())
        intercepts[i] = gamma
    return Evaluation(value, score, hessian), intercepts


def _root(eta: Array, a: Array, b: Array, response: Response) -> float:
    def slope(gamma: float) -> float:
        return float(response.derivatives(eta + gamma, a, b)[1].sum())

    middle, reach = -float(np.mean(eta)), 1.0
    while slope(middle - reach) < 0.0 or slope(middle + reach) > 0.0:
        reach *= 2.0
    low, high = middle - reach, middle + reach
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) > 0.0 else (low, middle)
    return middle


def conditional(
    starts: NDArray[np.int64],
    X: Array,
    a: Array,
    b: Array,
    offset: Array,
    cluster_weights: Array,
    beta: Array,
) -> Evaluation:
    """Logistic log-likelihood given each cluster's successes, by elementary symmetric functions in log space.

    The recursion for the functions e(k) of exp(eta) over single trials, and the same for the sums of x and of x x' over
    all ways to choose k trials, whose logarithms cannot be taken: these are kept relative to e(k).
    """
    p = X.shape[1]
    value, score, hessian = 0.0, np.zeros(p), np.zeros((p, p))
    for i, weight in enumerate(cluster_weights):
        rows = slice(starts[i], starts[i + 1])
        trials = np.round(a[rows] + b[rows]).astype(int)
        total = int(np.round(a[rows].sum()))
        if total in (0, trials.sum()):
            continue
        x = np.repeat(X[rows], trials, axis=0)
        eta = np.repeat(X[rows] @ beta + offset[rows], trials)
        log_e = np.full(total + 1, -np.inf)
        log_e[0] = 0.0
        first, second = np.zeros((total + 1, p)), np.zeros((total + 1, p, p))
        for row, e in zip(x, eta, strict=True):
            chosen, previous = np.concatenate([[-np.inf], log_e[:-1] + e]), log_e
            log_e = np.logaddexp(previous, chosen)
            known = np.isfinite(log_e)
            share = np.where(known, np.exp(chosen - np.where(known, log_e, 0.0)), 0.0)
            f, s = np.roll(first, 1, axis=0), np.roll(second, 1, axis=0)
            s = s + np.einsum("ki,j->kij", f, row) + np.einsum("i,kj->kij", row, f) + np.outer(row, row)
            f = f + row
            first = (1.0 - share)[:, None] * first + share[:, None] * f
            second = (1.0 - share)[:, None, None] * second + share[:, None, None] * s
        value += weight * float(a[rows] @ (X[rows] @ beta + offset[rows]) - log_e[total])
        score += weight * (a[rows] @ X[rows] - first[total])
        hessian -= weight * (second[total] - np.outer(first[total], first[total]))
    return Evaluation(value, score, hessian)
