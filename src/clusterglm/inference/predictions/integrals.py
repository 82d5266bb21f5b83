"""Integrals over random intercepts of clusters that are made up to ask a question, and their scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.likelihood.scalar.choice import choose_plan
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response

_WANTED, _ACCURATE = 1e-10, 1e-8  # error of a cluster's log-integral that is asked for, and that is accurate
_TOGETHER = 100  # clusters, the sum of whose errors bounds that of each well enough


@dataclass(frozen=True)
class LogIntegrals:
    """Logs of clusters' integrals, kernels of their rows averaged over the intercept.

    Parameters
    ----------
    values : ndarray, shape (m,)
    scores : ndarray, shape (m, p + 1)
        Derivatives in (beta, sigma).
    accurate : ndarray of bool, shape (m,)
        Whether the value's error is known to be at most 1e-8; it is 1e-10 or less as a rule.
    """

    values: Array
    scores: Array
    accurate: NDArray[np.bool_]


def log_integrals(
    X: Array,
    offset: Array,
    a: Array,
    b: Array,
    starts: NDArray[np.int64],
    theta: Array,
    response: Response,
    distribution: Distribution,
) -> LogIntegrals:
    """Log of E prod_j exp(kernel_j(eta_j + sigma Z)) of each cluster, by rules that a fit would choose.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    offset, a, b : ndarray, shape (n,)
        Rows as kernels take them: a = 1 and b = 0 is a success, a = 0 and b = 1 a failure.
    starts : ndarray of int64, shape (m + 1,)
    theta : ndarray, shape (p + 1,)
        (beta, sigma).
    response : Response
    distribution : Distribution
    """
    m, p = len(starts) - 1, X.shape[1]
    parameters = random_intercept(p)
    values, scores = np.zeros(m), np.zeros((m, len(parameters)))
    if theta[parameters.scale] == 0.0:
        eta = X @ theta[parameters.coefficients] + offset
        _, slope, *_ = response.derivatives(eta, a, b)
        values = np.add.reduceat(response.value(eta, a, b), starts[:-1])
        scores[:, parameters.coefficients] = np.add.reduceat(X * slope[:, None], starts[:-1], axis=0)
        return LogIntegrals(values, scores, np.ones(m, dtype=bool))
    X, a, b, offset = (np.ascontiguousarray(each) for each in (X, a, b, offset))
    if m <= _TOGETHER:
        problem = _core.Problem(np.ascontiguousarray(starts), X, a, b, offset, np.ones(m), response.code)
        likelihood = MarginalLikelihood(problem, distribution, "normal", log_concave=response.log_concave)
        choice = choose_plan(likelihood, theta, m * _WANTED, likelihood.unimodal)
        if choice.error <= _ACCURATE or m == 1:
            values, scores = likelihood.unit_values(theta, choice.plan), likelihood.unit_scores(theta, choice.plan)
            return LogIntegrals(values, scores, np.full(m, choice.error <= _ACCURATE))
    half = m // 2  # whose the error is, halves tell
    rows = int(starts[half])
    one, other = (
        log_integrals(X[part], offset[part], a[part], b[part], begin, theta, response, distribution)
        for part, begin in ((slice(rows), starts[: half + 1]), (slice(rows, None), starts[half:] - rows))
    )
    return LogIntegrals(
        np.append(one.values, other.values),
        np.vstack([one.scores, other.scores]),
        np.append(one.accurate, other.accurate),
    )
