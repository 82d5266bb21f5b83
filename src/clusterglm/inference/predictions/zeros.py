"""Predictions of counts whose zeros have a linear predictor of their own, with standard errors by the delta method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from clusterglm.inference.predictions.prediction import Prediction, with_a_unit
from clusterglm.inference.uncertainty.intervals import wald_interval
from clusterglm.likelihood.scalar.rules import averaging_rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.large_data import NUMBERS_AT_A_TIME

_AVERAGED_OVER, _HALF_WIDTH = 65, 9.0  # of averages over Gaussian intercepts: beyond lies 2e-19
_OF_DIFFERENCES = 1e-5  # of differences in parameters, over 1 + their size

_SCALES: dict[str, tuple[Any, Any]] = {
    "log": (np.log, np.exp),
    "logit": (logit, expit),
    "identity": (np.positive, np.positive),
}

At = Callable[[Array, Array], Array]
"""Linear predictors of counts and of zeros -> what is predicted; shapes broadcast."""


@dataclass(frozen=True)
class Predictors:
    """Both linear predictors of n rows as functions of the parameters.

    Parameters
    ----------
    X, offset : ndarray, shape (n, p), (n,)
        Of counts.
    shift : ndarray, shape (n,)
        Intercepts of clusters that are known.
    Z : ndarray, shape (n, c)
        Of zeros.
    averaged : bool
        Whether to average over intercepts.
    """

    X: Array
    offset: Array
    shift: Array
    Z: Array
    averaged: bool


def predicted(at: At, rows: Predictors, beta: Array, sigma: float | Array, zero: Array) -> Array:
    """What is predicted of each row, shape (n,), averaged over sigma u, u standard normal, where that is asked for.

    `sigma` may differ between rows, shape (n,).
    """
    eta, w = rows.X @ beta + rows.offset + rows.shift, rows.Z @ zero
    if not rows.averaged or not np.any(sigma):
        return at(eta, w)
    each = np.broadcast_to(sigma, eta.shape)[:, None]
    s, weights = averaging_rule(Gaussian(), _AVERAGED_OVER, _HALF_WIDTH)
    found = np.empty(len(eta))
    size = max(1, NUMBERS_AT_A_TIME // len(s))
    for first in range(0, len(eta), size):
        some = slice(first, first + size)
        found[some] = at(eta[some, None] + each[some] * s, np.repeat(w[some, None], len(s), axis=1)) @ weights
    return found


def with_intervals(
    of: Callable[[Array, Array | float], Array],
    theta: Array,
    covariance: Array,
    level: float,
    scale: str,
    moves: Array | None = None,
) -> Prediction:
    """Predictions with intervals of their logarithm, or of the log odds of probabilities, transformed.

    Parameters
    ----------
    of : callable
        Parameters, and what is added to linear predictors of counts -> predictions, shape (n,).
    theta : ndarray, shape (q,)
    covariance : ndarray, shape (q, q)
        Zero where a parameter is taken as known.
    level : float
    scale : {"log", "logit", "identity"}
    moves : ndarray, shape (n, q + 1), optional
        What the linear predictors of counts have besides: derivatives in theta, and a standard deviation.
    """
    to, back = _SCALES[scale]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        estimate, moves = of(theta, 0.0), np.zeros((1, len(theta) + 1)) if moves is None else moves
        link, gradient = to(estimate), np.zeros((len(estimate), len(theta) + 1))
        for k in [*np.flatnonzero(np.diag(covariance) > 0.0), *([len(theta)] if moves.any() else [])]:
            move = np.zeros(len(theta) + 1)
            move[k] = step = _OF_DIFFERENCES * (1.0 + (abs(theta[k]) if k < len(theta) else 0.0))
            ends = [to(of(theta + side * move[:-1], side * step * moves[:, k])) for side in (1.0, -1.0)]
            gradient[:, k] = (ends[0] - ends[1]) / (2.0 * step)
        se = np.sqrt(np.einsum("ij,ij->i", gradient @ with_a_unit(covariance), gradient))
        slope = {"log": estimate, "logit": estimate * (1.0 - estimate), "identity": np.ones_like(estimate)}[scale]
        low, high = wald_interval(link, se, level)
        return Prediction(estimate, slope * se, back(low), back(high))
