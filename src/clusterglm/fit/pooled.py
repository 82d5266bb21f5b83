"""Maximum likelihood without cluster effects: the null model, and where every other fit starts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from clusterglm import _core
from clusterglm.data.checks import find_separation
from clusterglm.data.design import INTERCEPT
from clusterglm.data.prepare import ModelData
from clusterglm.errors import DesignError, SeparationError
from clusterglm.fit.newton import Maximum, Optimization, maximize
from clusterglm.fit.standardise import Standardisation, standardise
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.pooled import evaluate_pooled
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response

_SAMPLE = 25_000  # rows from which the fit of a large data set starts
_TAME = 4.0  # largest standardised coefficient that is believed of a sample
EXTREME = 1e-7  # fitted probabilities or means this close to the border make separation worth a look


@dataclass(frozen=True)
class PooledFit:
    """Estimates of a model without cluster effects.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients on the user's scale.
    covariance, hessian : ndarray, shape (p, p)
        Inverse of the observed information, and the Hessian of the log-likelihood.
    loglik : float
        Full, normalised log-likelihood.
    optimization : Optimization
        How the maximum was found.
    """

    beta: Array
    covariance: Array
    hessian: Array
    loglik: float
    optimization: Optimization


def fit_pooled(data: ModelData, response: Response, control: Control) -> PooledFit:
    """Fit by Newton's method on the exact Hessian.

    Raises
    ------
    SeparationError
        When covariates separate the responses, so that no finite maximum exists.
    DesignError
        When the information matrix is singular at the end.
    """
    standard = standardise(data.X, data.intercept)
    problem = core_problem(standard.X, data, response)
    return pooled_estimates(problem, standard, data, response, control)


def pooled_estimates(
    problem: _core.Problem, standard: Standardisation, data: ModelData, response: Response, control: Control
) -> PooledFit:
    """The same from a problem that is set up already."""
    start = _start(standard, data, response, control)
    maximum = maximize(lambda gamma: evaluate_pooled(problem, gamma, 2, control.threads), start, control, radius=4.0)
    _refuse_separation(maximum, standard, data, response)
    covariance, hessian = on_user_scale(maximum.evaluation.hessian, standard.L)
    loglik = maximum.evaluation.value + data.constant
    return PooledFit(standard.L @ maximum.theta, covariance, hessian, loglik, maximum.optimization)


def _start(standard: Standardisation, data: ModelData, response: Response, control: Control) -> Array:
    """An intercept that fits the overall mean; for large data, the estimates of a sample of its rows."""
    start = np.zeros(data.X.shape[1])
    if data.intercept is not None:
        start[data.intercept] = response.link_function(np.array(_overall_mean(data, response)))
    if data.n_obs < 4 * _SAMPLE:
        return start
    rows = slice(None, None, data.n_obs // _SAMPLE)
    X, a, b, offset = (np.ascontiguousarray(v[rows]) for v in (standard.X, data.a, data.b, data.offset))
    problem = _core.Problem(np.array([0, len(a)]), X, a, b, offset, np.ones(1), response.code)
    quick = Control(max_iter=12, tol=0.1, n_threads=control.n_threads)
    found = maximize(lambda gamma: evaluate_pooled(problem, gamma, 2, control.threads), start, quick, radius=4.0)
    # In a sample a rare level may be all zeros, and its coefficient anywhere.
    tame = np.abs(found.theta - start).max() < _TAME
    return found.theta if found.optimization.converged and tame else start


def with_intercept(data: ModelData) -> ModelData:
    """The data of a fixed-effects model with one intercept for all clusters instead."""
    if data.has_intercept:
        return data
    X = np.ascontiguousarray(np.column_stack([np.ones(data.n_obs), data.X]))
    return replace(data, X=X, names=(INTERCEPT, *data.names), intercept=0)


def on_user_scale(hessian: Array, L: Array) -> tuple[Array, Array]:
    """Covariance and Hessian of beta = L gamma from the Hessian in gamma.

    Raises
    ------
    DesignError
        When the negative Hessian is not positive definite.
    """
    try:
        information = cho_factor(-hessian)
    except LinAlgError:
        raise DesignError(
            "the observed information matrix is not positive definite where the optimiser stopped",
            "a log-likelihood with a single, curved maximum",
            "fewer covariates, or look at `optimization` of a simpler model",
        ) from None
    covariance = L @ cho_solve(information, L.T)
    inverse = np.linalg.inv(L)
    user: Array = inverse.T @ hessian @ inverse
    return 0.5 * (covariance + covariance.T), 0.5 * (user + user.T)


def _overall_mean(data: ModelData, response: Response) -> float:
    if response.family == "binomial":
        return float(data.a.sum() / (data.a.sum() + data.b.sum()))
    return float(data.a.sum() / (data.b @ np.exp(data.offset)))


def _refuse_separation(maximum: Maximum, standard: Standardisation, data: ModelData, response: Response) -> None:
    eta = standard.X @ maximum.theta + data.offset
    lowest, highest = response.mean(np.array([eta.min(), eta.max()]))  # means rise with the linear predictor
    extreme = lowest < EXTREME or (response.family == "binomial" and highest > 1.0 - EXTREME)
    if maximum.optimization.converged and not extreme:
        return
    separation = find_separation(data.X, data.a, data.b, data.names, response.family)
    if separation is not None:
        raise SeparationError(separation.got, separation.needed, separation.advice)
