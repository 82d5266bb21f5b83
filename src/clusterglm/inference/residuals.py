"""Residuals of single rows, given their linear predictor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

KINDS = ("response", "pearson", "deviance")

_VARIANCE: dict[str, Callable[[Array], Array]] = {
    "binomial": lambda mean: mean * (1.0 - mean),
    "poisson": lambda mean: mean,
}


def observed(response: Response, a: Array, b: Array) -> Array:
    """The observed mean of each row: share of successes, or count.

    Parameters
    ----------
    response : Response
    a, b : ndarray, shape (n,)
        Weighted successes and failures, or weighted counts and weights.
    """
    return np.asarray(a / (a + b) if response.family == "binomial" else a / b)


def residuals(kind: str, response: Response, eta: Array, a: Array, b: Array) -> Array:
    """Residuals, row by row.

    Parameters
    ----------
    kind : {"response", "pearson", "deviance"}
        Observed minus mean; the same over its standard deviation; or the signed root of the row's deviance. The last
        two carry the row's weight.
    response : Response
    eta : ndarray, shape (n,)
        Linear predictor.
    a, b : ndarray, shape (n,)
        The data of each row.

    Returns
    -------
    ndarray, shape (n,)
    """
    difference = observed(response, a, b) - response.mean(eta)
    if kind == "response":
        return difference
    if kind == "pearson":
        size = a + b if response.family == "binomial" else b
        variance = _VARIANCE[response.family](response.mean(eta)) / size
        # A mean that rounds to the border has variance 0: the residual is 0 where the row lies there too, or inf.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(difference == 0.0, 0.0, difference / np.sqrt(variance))
    lack = response.saturated(a, b) - response.value(eta, a, b)
    return np.asarray(np.copysign(np.sqrt(2.0 * np.maximum(lack, 0.0)), difference))
