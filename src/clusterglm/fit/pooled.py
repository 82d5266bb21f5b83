"""Maximum likelihood without cluster effects: the null model, and where every other fit starts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from clusterglm import _core
from clusterglm.data.design import INTERCEPT
from clusterglm.data.prepare import ModelData
from clusterglm.data.weighing import Weighing
from clusterglm.errors import DesignError, SeparationError
from clusterglm.fit.newton import Maximum, Optimization, maximize
from clusterglm.fit.penalty import PenalizedSums
from clusterglm.fit.sums import Sums, sums_in_memory
from clusterglm.fit.surrogate import Surrogate
from clusterglm.likelihood.pooled import evaluate_pooled
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.large_data import SAMPLE_OF_ROWS
from clusterglm.model.response.base import Response

_NEAR = 0.5  # standard errors of all rows within which a sample's estimates are found
_TAME = 4.0  # largest standardised coefficient that is believed of a sample
_EXTREME = 1e-7  # see `border`


@dataclass(frozen=True)
class PooledFit:
    """Estimates of a model without cluster effects.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients on the user's scale.
    covariance, hessian : ndarray, shape (p, p)
        Inverse of the observed information, and the Hessian of the log-likelihood. With a penalty the expected
        information takes the observed one's place, in both.
    loglik : float
        Full, normalised log-likelihood at `beta`; of the responses alone, without any penalty.
    optimization : Optimization
        How the maximum was found.
    penalty : "firth", optional
        What was added to the log-likelihood that was maximised.
    penalized_loglik : float, optional
        The maximum: `loglik` and the penalty.
    """

    beta: Array
    covariance: Array
    hessian: Array
    loglik: float
    optimization: Optimization
    penalty: str | None = None
    penalized_loglik: float | None = None


def fit_pooled(data: ModelData, response: Response, control: Control, penalty: str | None = None) -> PooledFit:
    """Fit by Newton's method on the exact Hessian.

    Raises
    ------
    SeparationError
        When covariates separate the responses, so that no finite maximum exists; never with a penalty.
    DesignError
        When the information matrix is singular at the end.
    """
    sums = sums_of(data, response, control)
    return pooled_estimates(sums, control) if penalty is None else penalized_estimates(sums, control, penalty)


def sums_of(data: ModelData, response: Response, control: Control) -> Sums:
    """Data in memory as a fit takes them."""
    return sums_in_memory(data, response, control.threads, SAMPLE_OF_ROWS)


def pooled_estimates(sums: Sums, control: Control) -> PooledFit:
    """A pooled fit from sums over blocks: Newton's method on the exact Hessian."""
    start, surrogate = _start(sums, control)
    maximum = maximize(sums.pooled, start, control, radius=4.0, surrogate=surrogate, unit=sums.weights.unit)
    _refuse_separation(maximum, sums, control)
    covariance, hessian = on_user_scale(maximum.evaluation.hessian, sums.standard.L)
    loglik = maximum.evaluation.value + sums.data.constant
    return PooledFit(sums.standard.L @ maximum.theta, covariance, hessian, loglik, maximum.optimization)


def penalized_estimates(sums: Sums, control: Control, penalty: str) -> PooledFit:
    """A pooled fit with Firth's penalty, of data in memory."""
    penalized = PenalizedSums.of(sums)
    maximum = maximize(penalized.evaluate, penalized.start, control, radius=4.0, unit=sums.weights.unit)
    covariance, hessian = on_user_scale(-penalized.penalty.information(maximum.theta), sums.standard.L)
    constant = sums.data.constant
    return PooledFit(
        sums.standard.L @ maximum.theta,
        covariance,
        hessian,
        sums.pooled(maximum.theta).value + constant,
        maximum.optimization,
        penalty,
        maximum.evaluation.value + constant,
    )


def _start(sums: Sums, control: Control) -> tuple[Array, Surrogate | None]:
    """An intercept that fits the overall mean; for large data, the estimates of a sample of rows; and the sample."""
    start = np.zeros(sums.p)
    if sums.data.intercept is not None:
        start[sums.data.intercept] = sums.response.link_function(np.array(sums.mean)) - sums.raised
    if sums.sample is None:
        return start, None
    X, a, b, offset = sums.sample.X, sums.sample.a, sums.sample.b, sums.sample.offset
    problem = _core.Problem(np.array([0, len(a)]), X, a, b, offset, np.ones(1), sums.response.code)
    surrogate = Surrogate(lambda gamma: evaluate_pooled(problem, gamma, 2, control.threads), sums.sample.factor, len(a))
    quick = Control(max_iter=12, tol=_NEAR, n_threads=control.n_threads)
    found = maximize(surrogate, start, quick, radius=4.0, unit=sums.weights.unit)
    # In a sample a rare level may be all zeros, and its coefficient anywhere.
    tame = np.abs(found.theta - start).max() < _TAME
    return (found.theta, surrogate) if found.optimization.converged and tame else (start, None)


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


def border(weights: Weighing, control: Control) -> float:
    """Fitted probabilities or means closer to 0 or 1 than this, at most 1/2, make separation worth a look.

    Where nothing but the tolerance stops a search, a row is left with a residual whose product with its weight is about
    the square of the tolerance: the lighter the row, the larger its residual.
    """
    return min(0.5, max(_EXTREME, 1e3 * control.tol**2) * weights.spread)


def _refuse_separation(maximum: Maximum, sums: Sums, control: Control) -> None:
    if _informed(maximum, sums):
        return
    response, limit = sums.response, border(sums.weights, control)
    lowest, highest = response.mean(np.array(sums.reach(maximum.theta)))  # means rise with the linear predictor
    extreme = lowest < limit or (response.bounded and highest > 1.0 - limit) or limit == 0.5
    if maximum.optimization.converged and not extreme:
        return
    separation = sums.separation()
    if separation is not None:
        raise SeparationError(separation.got, separation.needed, separation.advice)


def _informed(maximum: Maximum, sums: Sums) -> bool:
    """Whether information in every direction rules separation out, which spares a look at the rows.

    Along a direction d that separates, all residuals r have the sign of x'd. The weights of the information being at
    most about |r|, so is the information sum w (x'd)^2 at most max (x'd)^2 times the squared decrement, by Cauchy and
    Schwarz; and in the optimiser's columns nothing lies further out than about 30 root(n p).
    """
    if not maximum.optimization.converged:
        return False
    decrement = max(maximum.optimization.gradient_norm, 1e-6 * sums.weights.root)
    least = float(np.linalg.eigvalsh(-maximum.evaluation.hessian)[0])
    return least > (1e3 * decrement) ** 2 * sums.data.n_obs * len(maximum.theta)
