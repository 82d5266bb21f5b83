"""Fits without a single coefficient, which the limits of separated likelihoods may come to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.fit.newton import Optimization
from clusterglm.fit.pooled import PooledFit
from clusterglm.fit.within import WithinSums, sums_within
from clusterglm.model.response.base import Response


def loglik_without_columns(data: ModelData, response: Response, left: NDArray[np.bool_] | None = None) -> float:
    """Normalised log-likelihood where linear predictors are offsets; `left`: of these rows, others being certain."""
    values = response.derivatives(data.offset, data.a, data.b)[0]
    weights = np.repeat(data.cluster_weights, np.diff(data.starts))
    return float(values @ (weights if left is None else weights * left)) + data.constant


def loglik_given_totals(data: ModelData, response: Response) -> float:
    """Normalised log-likelihood given each cluster's total, where linear predictors are offsets."""
    within = WithinSums(sums_within(data, response, 1), conditional=True)
    return float(within.evaluate(np.zeros(0)).value + data.constant + within.constant())


def without_columns(loglik: float) -> PooledFit:
    """A pooled fit in which nothing is left to estimate."""
    nothing = Optimization("converged", "converged: no finite coefficient is left to estimate", 0, 1, 0.0, ())
    return PooledFit(np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)), loglik, nothing)
