"""Maximum likelihood with several normal effects of each cluster, in the coefficients and the factor of a covariance.

theta = (gamma, phi): coefficients of standardised columns, and parameters of the covariance of effects whose columns
have unit mean square. The search leaves L = 0 and other singular points along directions of negative curvature, at
which Newton's method in a trust region does not stop. Where a diagonal entry of L vanishes nevertheless the maximum is
singular: the rest is maximised again with that column of L held at zero, and no standard error is given for it. With
a penalty on L (`soft.py`) no maximum is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.errors import DesignError, OptionError
from clusterglm.fit.corrected import corrected
from clusterglm.fit.levels import report
from clusterglm.fit.mixed_search import maximum_of, start_of
from clusterglm.fit.mixed_sums import InMemorySums, MixedSums
from clusterglm.fit.mixed_task import MixedTask, choose, effects_of
from clusterglm.fit.newton import Optimization
from clusterglm.fit.penalty import jeffreys
from clusterglm.fit.pooled import PooledFit, on_user_scale
from clusterglm.fit.soft import SoftPenalty, losses_of
from clusterglm.fit.standardise import Standardisation
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.report import IntegrationReport
from clusterglm.likelihood.vector.points import MOST_EFFECTS
from clusterglm.likelihood.vector.vector import VectorPosterior
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Block, Parameters, coefficients
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response

_FOR_MOMENTS = 1e-4  # error of the log-likelihood by the points of posterior moments, where the fit has one point
_DEFAULT = Control()
_MOST_NESTED = 4  # effects of two levels, of which lattices have some 50,000 points a row


@dataclass(frozen=True)
class MixedFit:
    """Estimates of a model with several random effects, on the user's scale.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Regression coefficients.
    phi : ndarray, shape (r,)
        Parameters of the effects' covariance; see `Covariance`.
    covariance : ndarray, shape (p + r, p + r)
        Inverse observed information of (beta, phi); nan in rows of parameters that are held at zero.
    hessian : ndarray, shape (p + r, p + r)
        Of the log-likelihood at the estimate. With a penalty both are of the responses alone, in the logarithms of
        scales.
    held : ndarray of bool, shape (r,)
        Parameters of the covariance that are zero because the maximum is singular.
    loglik : float
        Full, normalised log-likelihood, without any penalty.
    optimization : Optimization
    integration : IntegrationReport
    pooled : PooledFit
        The same model without random effects.
    data : FittedData
    response : Response
    penalty : "soft", optional
    penalized_loglik : float, optional
        The maximum with the penalty.
    """

    beta: Array
    phi: Array
    covariance: Array
    hessian: Array
    held: NDArray[np.bool_]
    loglik: float
    optimization: Optimization
    integration: IntegrationReport
    pooled: PooledFit
    data: FittedData
    response: Response
    penalty: str | None = None
    penalized_loglik: float | None = None

    @property
    def effects(self) -> Effects:
        """What varies over clusters."""
        return effects_of(self.data)

    @property
    def parameters(self) -> Parameters:
        """What (beta, phi) are: coefficients, and the parameters of the effects' covariance."""
        own = Block("random", str(self.data.cluster_name), self.effects.covariance.labels)
        return Parameters((*coefficients(self.data.names).blocks, own))

    @property
    def factor(self) -> Array:
        """L, the lower-triangular factor of the effects' covariance, shape (q, q)."""
        return self.effects.covariance.factor(self.phi)

    @property
    def theta(self) -> Array:
        """(beta, phi)."""
        return self.parameters.joined(self.beta, self.phi)

    @property
    def searched(self) -> Array:
        """What stands for coefficients in the search, and phi: (beta, phi), as `task` takes them."""
        return self.theta

    @property
    def constant(self) -> float:
        """What the log-likelihood has that `task` leaves out."""
        return self.data.constant

    def task(self, Z: Array | None = None, threads: int = 1) -> MixedTask:
        """What was maximised, in the user's units, without any penalty; of other columns of effects if they are given.

        Parameters
        ----------
        Z : ndarray, shape (n, q), optional
        threads : int
        """
        data = self.data.rows
        moved = data if Z is None else replace(data, effects=replace(self.effects, Z=Z))
        return self.task_with(moved, threads)

    def task_with(self, data: ModelData, threads: int = 1) -> MixedTask:
        """The same of other data."""
        return MixedTask.of(data, self.response, data.X, np.ones(effects_of(data).Z.shape[1]), threads)

    def again(self, data: ModelData, control: Control = _DEFAULT) -> MixedFit:
        """The same model of other data, or with fewer effects, by maximum likelihood from these coefficients."""
        return fit_mixed(data, self.response, self.integration.requested, control, self.beta)

    @cached_property
    def posterior(self) -> VectorPosterior:
        """What the data say of the effects of each cluster, or of each of its children where these have some too."""
        return posterior_of(self, self.data.rows)

    @property
    def given(self) -> MixedFit:
        """The same with the response's own parameters, if it has any, as known: a fit of rows that the core knows."""
        return self

    def given_with(self, data: ModelData) -> MixedFit:
        """The same of other data."""
        return replace(self, data=data)


def task_of(fit: MixedFit, threads: int = 1) -> MixedTask:
    """What a fit maximised, in the user's units."""
    task = fit.task(threads=threads)
    if fit.penalty is None:
        return task
    data, units = fit.data.rows, np.ones(fit.effects.Z.shape[1])
    prior = jeffreys(data.X, data, fit.response)
    return replace(task, penalty=SoftPenalty.of(prior, losses_of(task.covariance, units)))


def posterior_of(fit: MixedFit, data: ModelData) -> VectorPosterior:
    """What the data of some clusters say of their effects, those of the fit or others.

    Moments have the points of the fit. A fit by Laplace's approximation has one, which has no spread: its moments
    have as many as their integrals need.
    """
    given = fit.given if data is fit.data.rows else fit.given_with(data)
    data = given.data.rows
    task = MixedTask.of(data, given.response, data.X, np.ones(fit.effects.Z.shape[1]), 1)
    theta, points = task.entries(fit.theta), points_for_moments(fit.integration.requested)
    return task.likelihood.given_data(theta, choose(task.likelihood, theta, points).plan)


def points_for_moments(requested: Quadrature) -> Quadrature:
    """The points of a fit, or others where it has but one."""
    return Quadrature("auto", tolerance=_FOR_MOMENTS) if requested.one_point else requested


def fit_again(fit: MixedFit, data: ModelData, start: Array | None = None, control: Control = _DEFAULT) -> MixedFit:
    """Fit the model of `fit` to other data, from coefficients `start`, shape (p,)."""
    return fit_mixed(data, fit.response, fit.integration.requested, control, start, fit.penalty)


def fit_mixed(
    data: ModelData,
    response: Response,
    quadrature: Quadrature,
    control: Control,
    start: Array | None = None,
    penalty: str | None = None,
) -> MixedFit:
    """Fit by Newton's method on the exact Hessian.

    Parameters
    ----------
    data : ModelData
        With effects.
    response : Response
    quadrature : Quadrature
    control : Control
    start : ndarray, shape (p,), optional
        Starting coefficients.
    penalty : "soft", optional

    Raises
    ------
    OptionError
        On more effects than integrals can be computed over.
    SeparationError
        When covariates separate the responses; never with a penalty.
    ClusterError
        When every cluster's responses are equal; never with a penalty.
    DesignError
        When the information matrix is singular at the end.
    IntegrationError
        When a standard deviation grows beyond what can be computed.
    """
    return fit_mixed_sums(InMemorySums(data, response, control, penalty), response, quadrature, control, start)


def fit_mixed_sums(
    given: MixedSums, response: Response, quadrature: Quadrature, control: Control, start: Array | None = None
) -> MixedFit:
    """`fit_mixed` of data wherever they are."""
    data, effects = given.data, effects_of(given.data)
    refuse_too_many(effects)
    pooled = given.pooled(control)
    if given.penalty is None and any(term.design.intercept is not None for term in effects.terms):
        given.refuse_homogeneous()
    unit, scale = given.sums.weights.unit, scale_of(given)
    task = given.task(scale)
    gamma = given.standard.inside(pooled.beta if start is None else start)
    sample = None if effects.outside else given.sample(task, scale)  # as all share effects
    begin = start_of(task, sample, gamma, effects.levels, quadrature, unit)
    found, held = maximum_of(task, sample, begin, quadrature, control, unit)
    integration = report(task.likelihood, found.chosen, quadrature, unit)
    if effects.outside and quadrature.kind == "auto":
        found, outside = corrected(task, found, held, quadrature, unit)
        integration = replace(integration, outside=outside)
    T = to_user(task, given.standard, scale)
    beta, phi = task.parameters.split(T @ found.maximum.theta)
    top = found.maximum.evaluation
    plain = top if given.penalty is None else _without_penalty(task, found.maximum.theta, top)
    return MixedFit(
        beta,
        phi,
        *where_free(plain.hessian, T, task.all_and(held), quadrature),
        held,
        plain.value + data.constant,
        found.maximum.optimization,
        integration,
        pooled,
        data,
        response,
        given.penalty,
        None if given.penalty is None else top.value + data.constant,
    )


def refuse_too_many(effects: Effects) -> None:
    """Refuse more effects than integrals can be computed over; those outside are not integrated over so."""
    inside = effects.n_upper if effects.outside else effects.Z.shape[1]
    if inside > MOST_EFFECTS:
        raise OptionError(
            f"{inside} random effects of each cluster",
            f"at most {MOST_EFFECTS}, over which integrals can be computed",
            "fewer columns left of the bar; a numeric covariate in the place of a category of many levels",
        )
    if effects.children is not None and inside > _MOST_NESTED:
        raise OptionError(
            f"{inside} random effects of two nested factors, whose integrals take more than 500,000 points "
            "of every row",
            f"at most {_MOST_NESTED} of both together",
            f"(1 | {effects.children.group}) for what is nested; or inside={effects.children.group!r}, with Laplace's "
            "approximation over the others",
        )


def scale_of(given: MixedSums) -> Array:
    """What the columns of effects are divided by, so that they have unit mean square; shape (q,)."""
    return effects_of(given.data).covariance.common(np.sqrt(given.mean_squares))


def to_user(task: MixedTask, standard: Standardisation, scale: Array) -> Array:
    """The matrix that takes the optimiser's parameters to the user's scale, shape (q, q)."""
    T, random = task.parameters.to_user(standard.L), task.parameters.place("random")
    T[random, random] = np.diag(task.covariance.units(1.0 / scale))
    return T


def _without_penalty(task: MixedTask, theta: Array, top: Evaluation) -> Evaluation:
    """The log-likelihood of the responses alone at the estimates, with second derivatives in logarithms of scales.

    Far from a maximum curvature depends on the scale. Where these are not those of a maximum they are those of what was
    maximised.
    """
    penalty = task.penalty_at(theta)
    score, hessian = top.score - penalty.score, top.hessian - penalty.hessian
    scales = task.all_and(task.covariance.scales)
    hessian[scales, scales] += score[scales] / theta[scales]
    if np.linalg.eigvalsh(hessian).max() >= 0.0:
        hessian = top.hessian
    return Evaluation(top.value - penalty.value, score, hessian)


def where_free(hessian: Array, T: Array, held: NDArray[np.bool_], rule: Quadrature) -> tuple[Array, Array]:
    """Covariance and Hessian of T theta; nan in rows of the former that are held."""
    free = np.flatnonzero(~held)
    some = np.ix_(free, free)
    covariance = np.full_like(hessian, np.nan)
    try:
        covariance[some], _ = on_user_scale(hessian[some], T[some])
    except DesignError:
        finer = "" if rule.kind == "auto" else 'quadrature="auto", as a likelihood by few points may have none; '
        raise DesignError(
            "the observed information matrix is not positive definite where the optimiser stopped",
            "a log-likelihood with a single, curved maximum",
            f"{finer}fewer random effects, such as (x || id) for (x | id), or fewer covariates",
        ) from None
    inverse = np.linalg.inv(T)
    user = inverse.T @ hessian @ inverse
    return covariance, 0.5 * (user + user.T)
