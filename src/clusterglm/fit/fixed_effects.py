"""Maximum likelihood with an intercept for every cluster, profiled out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.engine.block import Block
from clusterglm.fit.newton import Optimization
from clusterglm.fit.penalty_fixed import PenalizedFixed
from clusterglm.fit.pooled import on_user_scale
from clusterglm.fit.sums import repeats_in
from clusterglm.fit.within import (
    Informative,
    WithinSums,
    WithoutClusters,
    informative_clusters,
    profile_of,
    sums_within,
    within_maximum,
)
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.profile import ClusterProfile, ProfileLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class ProfiledEstimates(WithoutClusters):
    """Estimates of a model with an intercept for every cluster, on the user's scale, without the intercepts.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients; the corrected ones if a correction was made.
    covariance, hessian : ndarray, shape (p, p)
        Inverse of the profile information at `beta`, and the Hessian of the profile log-likelihood there.
    loglik : float
        Full, normalised log-likelihood at its maximum (not at corrected coefficients).
    optimization : Optimization
    clusters : Informative
        How many intercepts are finite.
    uncorrected : ndarray, shape (p,)
        The coefficients that maximise the likelihood.
    correction : str
        How the bias from the intercepts was corrected; empty if it was not.
    """

    beta: Array
    covariance: Array
    hessian: Array
    loglik: float
    optimization: Optimization
    clusters: Informative
    uncorrected: Array
    correction: str = ""

    penalty: ClassVar[str | None] = None  # which takes all rows at once
    penalized_loglik: ClassVar[float | None] = None


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
    penalty : "firth", optional
        What was added to the log-likelihood that was maximised; `loglik` is without it, all intercepts are finite, and
        covariance and Hessian are of the expected information.
    penalized_loglik : float, optional
        The maximum: `loglik` and the penalty.
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
    penalty: str | None = None
    penalized_loglik: float | None = None

    @property
    def by_cluster(self) -> FixedEffectsFit:
        """The fit with what belongs to single clusters: this one."""
        return self


def fit_fixed_effects(
    data: ModelData, response: Response, start: Array | None, control: Control, penalty: str | None = None
) -> FixedEffectsFit:
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
        When covariates separate the responses within clusters; never with a penalty.
    """
    within = WithinSums(sums_within(data, response, control.threads), conditional=False)
    if penalty is not None:
        return _penalized(within, start, control, penalty)
    found = profiled_estimates(within, start, control)
    return FixedEffectsFit(
        found.beta,
        within.intercepts(within.sums.standard.inside(found.beta)),
        found.covariance,
        found.hessian,
        found.loglik,
        found.optimization,
        informative_clusters(data, response),
        uncorrected=found.beta,
    )


def _penalized(within: WithinSums, start: Array | None, control: Control, penalty: str) -> FixedEffectsFit:
    """A fit with Jeffreys' prior of coefficients and intercepts together."""
    sums, penalized = within.sums, PenalizedFixed.of(within)
    maximum = within_maximum(within, within.informative(), start, control, penalized.evaluate)
    alpha = penalized.intercepts(maximum.theta)
    at = penalized.at(alpha, maximum.theta)
    assert at is not None  # at the maximum
    covariance, hessian = on_user_scale(-at.inside, sums.standard.L)
    beta = sums.standard.L @ maximum.theta
    return FixedEffectsFit(
        beta,
        alpha - float(sums.standard.centre @ beta),
        covariance,
        hessian,
        at.loglik + sums.data.constant,
        maximum.optimization,
        np.ones(len(alpha), dtype=bool),
        uncorrected=beta,
        penalty=penalty,
        penalized_loglik=at.value + sums.data.constant,
    )


def profiled_estimates(within: WithinSums, start: Array | None, control: Control) -> ProfiledEstimates:
    """A fit of fixed effects from sums over blocks, without what belongs to single clusters."""
    clusters = within.informative()
    maximum = within_maximum(within, clusters, start, control)
    L = within.sums.standard.L
    covariance, hessian = on_user_scale(maximum.evaluation.hessian, L)
    loglik = maximum.evaluation.value + within.sums.data.constant
    beta = L @ maximum.theta
    return ProfiledEstimates(beta, covariance, hessian, loglik, maximum.optimization, clusters, uncorrected=beta)


def cluster_profile(data: ModelData, response: Response, beta: Array) -> ClusterProfile:
    """Intercepts, information, means and scores of all clusters, on the user's scale, at `beta`."""
    return ProfileLikelihood(core_problem(data.X, data, response)).clusters(beta)


def at_coefficients(fit: FixedEffectsFit, within: WithinSums, beta: Array, how: str) -> FixedEffectsFit:
    """A fit with its coefficients replaced by corrected ones: intercepts, Hessian and covariance follow."""
    covariance, hessian = curvature_at(within, beta)
    intercepts = within.intercepts(within.sums.standard.inside(beta))
    return replace(fit, beta=beta, intercepts=intercepts, covariance=covariance, hessian=hessian, correction=how)


def curvature_at(within: WithinSums, beta: Array) -> tuple[Array, Array]:
    """Covariance and Hessian of the user's coefficients at `beta`."""
    standard = within.sums.standard
    return on_user_scale(within.evaluate(standard.inside(beta)).hessian, standard.L)


def effects_of_clusters(
    profile: ClusterProfile,
    known: NDArray[np.bool_],
    covariance: Array,
    cluster_weights: Array,
    sizes: NDArray[np.int64],
    response: Response,
) -> dict[str, NDArray[Any]]:
    """Columns of a table of cluster effects: estimate, std_error, n_obs, status.

    Parameters
    ----------
    profile : ClusterProfile
        At the estimates, in the user's columns.
    known : ndarray of bool, shape (m,)
        Clusters with a finite intercept.
    covariance : ndarray, shape (p, p)
        Of the coefficients.
    cluster_weights, sizes : ndarray, shape (m,)
        Weight, and rows, of one of the clusters that each stands for.
    response : Response
    """
    se = np.full(len(known), np.nan)
    # the block of gamma_i in the inverse of the full information: its own noise, and that of beta
    from_beta = np.einsum("ij,jk,ik->i", profile.means[known], covariance, profile.means[known])
    se[known] = np.sqrt(1.0 / (profile.information[known] * cluster_weights[known]) + from_beta)
    low, high = response.words.all_low, response.words.all_high
    status = np.where(known, "estimated", np.where(profile.intercepts < 0.0, low, high))
    return {"estimate": profile.intercepts, "std_error": se, "n_obs": sizes, "status": status}


def effects_of_block(
    block: Block, gamma: Array, covariance: Array, centre: Array, scale: Array, whole: tuple[bool, bool]
) -> dict[str, NDArray[Any]]:
    """`effects_of_clusters` of one block, whose columns are the user's less `centre`, over `scale`."""
    found, data = profile_of(block).clusters(gamma), block.data
    there = replace(found, intercepts=found.intercepts - centre @ (gamma / scale), means=found.means * scale + centre)
    known = informative_clusters(data, block.response)
    repeats = repeats_in(data, whole)
    sizes = np.add.reduceat(repeats.rows, data.starts[:-1]).astype(np.int64)
    weights = data.cluster_weights / repeats.clusters
    return effects_of_clusters(there, known, covariance, weights, sizes, block.response)
