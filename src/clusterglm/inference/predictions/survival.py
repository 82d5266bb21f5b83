"""Survival curves of discrete time: the probability of no event in any of some periods, over all frailties.

Given the frailty v, survival up to t is the product of the probabilities 1 - h(eta_s + v) of no event in the periods
s <= t. Averaged over v that is the likelihood of a cluster with t rows, all failures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.inference.predictions.integrals import log_integrals
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import ROWS_MADE_UP
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class SurvivalCurves:
    """Survival at the end of each period of some curves, n periods in all.

    Parameters
    ----------
    log_survival : ndarray, shape (n,)
    gradient : ndarray, shape (n, p + 1)
        Its derivatives in (beta, sigma).
    accurate : ndarray of bool, shape (n,)
        See `LogIntegrals`.
    """

    log_survival: Array
    gradient: Array
    accurate: NDArray[np.bool_]


def survival_curves(
    X: Array,
    offset: Array,
    starts: NDArray[np.int64],
    theta: Array,
    response: Response,
    distribution: Distribution,
) -> SurvivalCurves:
    """Curves of rows that are the periods of each, in their order.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    offset : ndarray, shape (n,)
    starts : ndarray of int64, shape (m + 1,)
        First row of each curve, and n.
    theta : ndarray, shape (p + 1,)
        (beta, sigma).
    response : Response
        Of the event; for counts, of which there is one at most, with a rate that is constant within a period.
    distribution : Distribution
        Of the frailty, on the scale of the linear predictor.
    """
    n, q = len(offset), len(theta)
    log_survival, gradient, accurate = np.empty(n), np.empty((n, q)), np.zeros(n, dtype=bool)
    first = np.repeat(starts[:-1], np.diff(starts))  # of each period's curve
    lengths = np.arange(n) - first + 1
    for block in np.split(np.arange(n), np.flatnonzero(np.diff(np.cumsum(lengths) // ROWS_MADE_UP)) + 1):
        if len(block) == 0:
            continue
        begin = np.concatenate([[0], np.cumsum(lengths[block])])
        rows = np.arange(begin[-1]) - np.repeat(begin[:-1] - first[block], lengths[block])
        nothing, once = np.zeros(len(rows)), np.ones(len(rows))
        found = log_integrals(X[rows], offset[rows], nothing, once, begin, theta, response, distribution)
        log_survival[block], gradient[block], accurate[block] = found.values, found.scores, found.accurate
    return SurvivalCurves(log_survival, gradient, accurate)
