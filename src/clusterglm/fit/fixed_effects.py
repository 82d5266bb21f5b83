"""Maximum likelihood with an intercept for every cluster, profiled out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.data.prepare import ModelData
from clusterglm.data.within import find_separation_within, refuse_unidentified
from clusterglm.errors import ClusterError, OptionError, SeparationError
from clusterglm.fit.newton import Maximum, Optimization, maximize
from clusterglm.fit.pooled import EXTREME, on_user_scale
from clusterglm.fit.standardise import Standardisation, standardise
from clusterglm.likelihood.conditional import ConditionalLikelihood
from clusterglm.likelihood.evaluation import Evaluation, core_problem
from clusterglm.likelihood.profile import ClusterProfile, ProfileLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response

_CLEAR = 1e-6  # within clusters: share of a column's variation, and smallest eigenvalue of the correlations
_LARGE = 100_000  # rows from which a fit starts from a sample of its clusters
_SAMPLE = 5_000  # clusters
_CLOSE = 1e-6  # standard errors from the maximum, above which separation is worth a look
_TAME = 4.0  # largest standardised coefficient that is believed of a sample


@dataclass(frozen=True)
class FixedEffectsFit:
    """Estimates of a model with an intercept for every cluster, on the user's scale.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients; the corrected ones if a correction was made.
    intercepts : ndarray, shape (m,)
        Of the clusters, at `beta`: -inf or inf where all responses are failures (or zero counts), or successes.
    covariance, hessian : ndarray, shape (p, p)
        Inverse of the profile information at `beta`, and the Hessian of the profile log-likelihood there.
    loglik : float
        Full, normalised log-likelihood at its maximum (not at corrected coefficients).
    optimization : Optimization
    informative : ndarray of bool, shape (m,)
        Clusters with a finite intercept.
    uncorrected : ndarray, shape (p,)
        The coefficients that maximise the likelihood.
    correction : str
        How the bias from the intercepts was corrected; empty if it was not.
    """

    beta: Array
    intercepts: Array
    covariance: Array
    hessian: Array
    loglik: float
    optimization: Optimization
    informative: NDArray[np.bool_]
    uncorrected: Array
    correction: str = ""


def informative_clusters(data: ModelData, response: Response) -> NDArray[np.bool_]:
    """Clusters whose intercept has a finite maximum, shape (m,): others say nothing of beta."""
    some = np.add.reduceat(data.a, data.starts[:-1]) > 0.0
    if response.family == "binomial":
        some &= np.add.reduceat(data.b, data.starts[:-1]) > 0.0
    return np.asarray(some)


def fit_fixed_effects(data: ModelData, response: Response, start: Array | None, control: Control) -> FixedEffectsFit:
    """Fit by Newton's method on the exact profile Hessian.

    Parameters
    ----------
    data : ModelData
        Without a column of ones in X.
    response : Response
    start : ndarray, shape (p,), optional
        Starting coefficients.
    control : Control

    Raises
    ------
    ClusterError
        When no cluster has responses that vary.
    DesignError
        When coefficients are not identified within clusters; it names the columns.
    SeparationError
        When covariates separate the responses within clusters.
    """
    informative = informative_clusters(data, response)
    standard = standardise(data.X, None, fixed_effects=True)
    problem = core_problem(standard.X, data, response)
    likelihood = ProfileLikelihood(problem, data.n_clusters, data.X.shape[1], control.threads)
    maximum = within_maximum(likelihood, data, response, standard, informative, start, control)
    beta = standard.L @ maximum.theta
    intercepts = likelihood.intercepts(maximum.theta) - standard.centre @ beta
    covariance, hessian = on_user_scale(maximum.evaluation.hessian, standard.L)
    loglik = maximum.evaluation.value + data.constant
    return FixedEffectsFit(
        beta, intercepts, covariance, hessian, loglik, maximum.optimization, informative, uncorrected=beta
    )


def within_maximum(
    likelihood: ProfileLikelihood | ConditionalLikelihood,
    data: ModelData,
    response: Response,
    standard: Standardisation,
    informative: NDArray[np.bool_],
    start: Array | None,
    control: Control,
) -> Maximum:
    """The maximum of a likelihood that compares rows within clusters, in standardised coefficients.

    Raises
    ------
    ClusterError, DesignError, SeparationError
        As `fit_fixed_effects`.
    """
    if not informative.any():
        what = "both successes and failures" if response.family == "binomial" else "a positive count"
        raise ClusterError(
            f"none of the {data.n_clusters} clusters has {what}",
            "responses that vary within some clusters: rows are compared with others of their cluster only",
            "check that cluster= names the right column; or cg.pooled, cg.random_effects",
        )
    p = data.X.shape[1]
    sample = _sample(likelihood, data, response, standard)
    begin = (sample or likelihood).evaluate(np.zeros(p))
    doubtful = not _clear(begin, data.n_obs)
    if doubtful and sample is not None:  # it may miss what the others show
        doubtful = not _clear(likelihood.evaluate(np.zeros(p)), data.n_obs)
    if doubtful:
        refuse_unidentified(data.X, data.starts, data.names, informative)
    if p == 0:
        nothing = Optimization("converged", "converged: there is no coefficient to estimate", 0, 1, 0.0, ())
        return Maximum(np.zeros(0), likelihood.evaluate(np.zeros(0)), nothing)
    theta = np.zeros(p)
    if start is not None:
        theta = standard.inside(checked_start(start, data.names))
    elif sample is not None:
        theta = _start_from(sample, begin, control)
    known = begin if sample is None and not theta.any() else None
    maximum = maximize(likelihood.evaluate, theta, control, radius=4.0, begin=known)
    _refuse_separation(maximum, data, response, standard, informative)
    return maximum


def checked_start(start: Array, names: tuple[str, ...]) -> Array:
    """Starting coefficients of the right number, finite.

    Raises
    ------
    OptionError
    """
    values = np.asarray(start, dtype=np.float64)
    if values.shape != (len(names),) or not np.isfinite(values).all():
        raise OptionError(
            f"start with shape {values.shape} and values {values}",
            f"one finite number for each of the {len(names)} coefficients: {', '.join(names)}",
            "start=None",
        )
    return values


def cluster_profile(data: ModelData, response: Response, beta: Array) -> ClusterProfile:
    """Intercepts, information, means and scores of all clusters, on the user's scale, at `beta`."""
    p = data.X.shape[1]
    return ProfileLikelihood(core_problem(data.X, data, response), data.n_clusters, p).clusters(beta)


def at_coefficients(
    fit: FixedEffectsFit, data: ModelData, response: Response, beta: Array, how: str
) -> FixedEffectsFit:
    """The same fit with corrected coefficients: intercepts, Hessian and covariance follow."""
    standard = standardise(data.X, None, fixed_effects=True)
    likelihood = ProfileLikelihood(core_problem(standard.X, data, response), data.n_clusters, len(beta))
    inside = standard.inside(beta)
    covariance, hessian = on_user_scale(likelihood.evaluate(inside).hessian, standard.L)
    intercepts = likelihood.intercepts(inside) - standard.centre @ beta
    return replace(fit, beta=beta, intercepts=intercepts, covariance=covariance, hessian=hessian, correction=how)


def _clear(begin: Evaluation, n: int) -> bool:
    """Whether columns vary enough within clusters, and independently, for no doubt about their coefficients."""
    information = -begin.hessian
    size = np.sqrt(np.maximum(np.diag(information), 0.0))
    if not np.all(size > 1e-4 * np.sqrt(n)):
        return False
    return len(size) == 0 or bool(np.linalg.eigvalsh(information / np.outer(size, size))[0] > _CLEAR)


def _sample(
    likelihood: ProfileLikelihood | ConditionalLikelihood,
    data: ModelData,
    response: Response,
    standard: Standardisation,
) -> ProfileLikelihood | ConditionalLikelihood | None:
    """The same likelihood of some of the clusters, where there are very many."""
    p, m = data.X.shape[1], data.n_clusters
    step = m // _SAMPLE
    if data.n_obs < _LARGE or step < 4:
        return None
    chosen = np.arange(0, m, step)
    sizes = np.diff(data.starts)[chosen]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.repeat(data.starts[chosen] - starts[:-1], sizes) + np.arange(starts[-1])
    X, a, b, offset = (np.ascontiguousarray(v[rows]) for v in (standard.X, data.a, data.b, data.offset))
    problem = _core.Problem(starts, X, a, b, offset, data.cluster_weights[chosen], response.code)
    return type(likelihood)(problem, len(chosen), p, likelihood.threads)


def _start_from(sample: ProfileLikelihood | ConditionalLikelihood, begin: Evaluation, control: Control) -> Array:
    """The estimates of the sample, unless they look odd: then zeros."""
    zeros = np.zeros(sample.n_parameters)
    quick = Control(max_iter=12, tol=0.1, n_threads=control.n_threads)
    found = maximize(sample.evaluate, zeros, quick, radius=4.0, begin=begin)
    # In a sample a rare level may be without variation, and its coefficient anywhere.
    return found.theta if found.optimization.converged and np.abs(found.theta).max() < _TAME else zeros


def _refuse_separation(
    maximum: Maximum, data: ModelData, response: Response, standard: Standardisation, informative: NDArray[np.bool_]
) -> None:
    story = maximum.optimization
    # a likelihood that rises for ever is so flat in the end that rounding stops the search, short of the tolerance
    if story.converged and story.gradient_norm < _CLOSE and np.abs(maximum.theta).max() < _TAME:
        low, high = response.link_function(np.array([EXTREME, 1.0 - EXTREME]))
        limit = -low if response.family == "poisson" else 0.5 * (high - low)
        if _reach(standard.X, data.starts, maximum.theta) < limit:
            return
    separation = find_separation_within(data.X, data.a, data.b, data.starts, data.names, response.family, informative)
    if separation is not None:
        raise SeparationError(separation.got, separation.needed, separation.advice)


def _reach(X: Array, starts: NDArray[np.int64], theta: Array) -> float:
    """Largest difference of X theta within a cluster."""
    eta = X @ theta
    return float((np.maximum.reduceat(eta, starts[:-1]) - np.minimum.reduceat(eta, starts[:-1])).max())
