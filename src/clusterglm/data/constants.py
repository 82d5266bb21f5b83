"""What the kernels leave out of a log-likelihood: normalising constants, and what the saturated model would reach."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.response import ResponseValues
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_RECURRING = 0.1  # largest count over the number of rows up to which equal counts are added up first


def log_constants(values: ResponseValues, weights: Array, response: Response) -> Array:
    """What the kernel leaves out of each row's weighted log-probability, shape (n,).

    Parameters
    ----------
    values : ResponseValues
    weights : ndarray, shape (n,)
        Case weights.
    response : Response
    """
    return response.log_constants(values.successes, values.trials, weights)


def totals(
    values: ResponseValues,
    weights: Array,
    cluster_weights: Array,
    starts: NDArray[np.int64],
    a: Array,
    b: Array,
    response: Response,
) -> tuple[float, float]:
    """Sum of the constants, and the log-likelihood of the saturated model with them, cluster weights included.

    Parameters
    ----------
    values : ResponseValues
        Successes or counts are whole numbers.
    weights : ndarray, shape (n,)
    cluster_weights : ndarray, shape (m,)
    starts : ndarray of int64, shape (m + 1,)
    a, b : ndarray, shape (n,)
        As `to_kernel` gives them.
    response : Response
    """
    y, n = values.successes, values.trials
    if response.continuous:  # a density, whose scale is a parameter
        return 0.0, 0.0
    if len(y) == 0 or (_constant(n) and response.is_binary(n)):
        return 0.0, 0.0  # perfect prediction of a single trial has probability one
    if not response.trials and y.max() < _RECURRING * len(y):
        return _of_recurring_counts(y.astype(np.int64), weights, cluster_weights, starts, response)
    constant = _summed(log_constants(values, weights, response), cluster_weights, starts)
    return constant, _summed(response.saturated(a, b), cluster_weights, starts) + constant


def _of_recurring_counts(
    counts: NDArray[np.int64],
    weights: Array,
    cluster_weights: Array,
    starts: NDArray[np.int64],
    response: Response,
) -> tuple[float, float]:
    """Constants of counts few of which are different: each of them once, with the weight of all its rows."""
    alike = _constant(weights) and bool((cluster_weights == cluster_weights[0]).all())
    if alike:
        weight = np.bincount(counts) * (weights[0] * cluster_weights[0])
    else:
        weight = np.bincount(counts, weights * np.repeat(cluster_weights, np.diff(starts)))
    k, one = np.arange(len(weight), dtype=np.float64), np.ones(len(weight))
    constant = float(weight @ response.log_constants(k, one, one))
    return constant, float(weight @ response.saturated(*response.rows(k, one, one))) + constant


def _summed(values: Array, cluster_weights: Array, starts: NDArray[np.int64]) -> float:
    return float(np.add.reduceat(values, starts[:-1]) @ cluster_weights) if values.any() else 0.0


def _constant(values: Array) -> bool:
    """Whether one value stands for all, known without a look at them."""
    return values.strides == (0,)
