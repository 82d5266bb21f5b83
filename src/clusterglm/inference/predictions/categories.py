"""Probabilities of ordered categories, at given intercepts or averaged over them, with standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from clusterglm.inference.predictions.marginal_mean import marginal_link
from clusterglm.inference.predictions.normal_mean import normal_jet
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.response.own.cumulative import Cumulative


@dataclass(frozen=True)
class CumulativeProbabilities:
    """P(Y <= c) of the k categories but the last, and how they move.

    Parameters
    ----------
    value : ndarray, shape (n, k)
    by_threshold : ndarray, shape (n, k)
        Derivatives in the category's threshold; those in the linear predictor are the same with the other sign.
    by_sigma : ndarray, shape (n, k)
    resolved : ndarray of bool, shape (n,)
        Rows whose integrals settled.
    """

    value: Array
    by_threshold: Array
    by_sigma: Array
    resolved: NDArray[np.bool_]


@dataclass(frozen=True)
class PredictedProbabilities:
    """Probabilities with standard errors and intervals, shape (n, c) each."""

    estimate: Array
    std_error: Array
    low: Array
    high: Array


def cumulative_probabilities(
    response: Cumulative, thresholds: Array, eta: Array, sigma: float = 0.0, distribution: Distribution | None = None
) -> CumulativeProbabilities:
    """P(Y <= c) at linear predictors, averaged over an intercept where there is one.

    Parameters
    ----------
    response : Cumulative
    thresholds : ndarray, shape (k,) or (n, k)
    eta : ndarray, shape (n,)
        Finite.
    sigma : float
        Scale of the intercept.
    distribution : Distribution, optional
        Of the intercept; symmetric where the response's rows have it with its sign turned.
    """
    k, n = thresholds.shape[-1], len(eta)
    sign = 1.0 if response.reversed else -1.0  # F(x), or 1 - F(-x) of a symmetric F
    value, by_threshold, by_sigma = np.empty((n, k)), np.empty((n, k)), np.zeros((n, k))
    resolved = np.ones(n, dtype=bool)
    for c, threshold in enumerate(thresholds.T):
        link, by_eta = sign * (threshold - eta), np.ones(n)
        if sigma != 0.0 and distribution is not None:
            found = marginal_link(link, sigma, response.binary, distribution)
            link, by_eta, resolved = found.link, found.by_eta, resolved & found.resolved
        finite = np.isfinite(link)
        slope = np.where(finite, response.binary.mean_derivative(np.where(finite, sign * link, 0.0)), 0.0)
        value[:, c], by_threshold[:, c] = response.binary.mean(sign * link), slope * by_eta
        if sigma != 0.0 and distribution is not None:
            by_sigma[:, c] = sign * slope * found.by_sigma
    return CumulativeProbabilities(value, by_threshold, by_sigma, resolved)


def over_normal(response: Cumulative, thresholds: Array, eta: Array, size: Array) -> CumulativeProbabilities:
    """P(Y <= c) averaged over a normal part of the linear predictor whose size differs between rows.

    Parameters
    ----------
    response : Cumulative
    thresholds : ndarray, shape (k,) or (n, k)
    eta : ndarray, shape (n,)
        Finite.
    size : ndarray, shape (n,)
        Standard deviations; `by_sigma` are derivatives in them, over them: in half their squares.
    """
    found = [normal_jet(threshold - eta, size, response.binary) for threshold in thresholds.T]
    resolved = np.full(len(eta), not any(at.unresolved for at in found))
    values, first, second = ([getattr(at, name) for at in found] for name in ("mean", "first", "second"))
    return CumulativeProbabilities(np.column_stack(values), np.column_stack(first), np.column_stack(second), resolved)


def of_categories(cumulative: Array) -> Array:
    """Probabilities of all categories, or their derivatives, from those of being at most in each but the last."""
    n = len(cumulative)
    return np.diff(np.column_stack([np.zeros(n), cumulative, np.ones(n)]), axis=1)


def gradients(found: CumulativeProbabilities, X: Array, random: Array, thresholds: Array) -> Array:
    """Derivatives of P(Y <= c) in (coefficients, what effects have, the response's parameters), shape (n, k, q).

    Parameters
    ----------
    found : CumulativeProbabilities
    X : ndarray, shape (n, p)
    random : ndarray, shape (n, r)
        Derivatives of that in which `by_sigma` is in the r parameters of the effects' distribution.
    thresholds : ndarray, shape (k, m) or (n, k, m)
        Derivatives of thresholds in the m parameters of the response.
    """
    parts = [-found.by_threshold[:, :, None] * X[:, None, :], found.by_sigma[:, :, None] * random[:, None, :]]
    parts.append(found.by_threshold[:, :, None] * thresholds)
    return np.concatenate(parts, axis=2)


def gradients_of_categories(cumulative: Array) -> Array:
    """Derivatives of the categories' probabilities, shape (n, k + 1, q), from those of P(Y <= c)."""
    none = np.zeros_like(cumulative[:, :1])
    return np.diff(np.concatenate([none, cumulative, none], axis=1), axis=1)


def with_intervals(estimate: Array, gradient: Array, covariance: Array, level: float) -> PredictedProbabilities:
    """Standard errors by the delta method, and intervals on the scale of log odds.

    Parameters
    ----------
    estimate : ndarray, shape (n, c)
    gradient : ndarray, shape (n, c, q)
    covariance : ndarray, shape (q, q)
    level : float
    """
    variance = np.einsum("ncq,qr,ncr->nc", gradient, covariance, gradient)
    se, z = np.sqrt(np.maximum(variance, 0.0)), float(ndtri(0.5 + 0.5 * level))
    with np.errstate(divide="ignore", invalid="ignore"):
        logit, spread = np.log(estimate) - np.log1p(-estimate), z * se / (estimate * (1.0 - estimate))
        return PredictedProbabilities(estimate, se, expit(logit - spread), expit(logit + spread))
