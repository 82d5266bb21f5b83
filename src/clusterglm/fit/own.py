"""Maximum likelihood of models whose response has parameters of its own."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from clusterglm.data.blocks.store import BlockArrays
from clusterglm.data.prepare import ModelData
from clusterglm.engine.base import InMemory
from clusterglm.engine.block import Block, Memory
from clusterglm.errors import OptionError, ResponseError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.newton import maximize
from clusterglm.fit.pooled import PooledFit, fit_pooled, on_user_scale
from clusterglm.fit.random_effects import check_sigma, fit_random_effects
from clusterglm.fit.search import Task, maximum_from
from clusterglm.fit.start import start_sigma
from clusterglm.fit.sums import MarginalSums, Sums, sums_in_memory
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.integrator import AnyIntegrator, Intercepts, UnitLikelihood
from clusterglm.likelihood.own import with_own
from clusterglm.likelihood.plan import Choice, Part, Plan
from clusterglm.likelihood.pooled import evaluate_pooled
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.report import report
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import Parameters, State, coefficients, random_intercept
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.own.base import OwnParameters

_DEFAULT = Control()
_SIGMA_NEAR_ZERO = 1e-3  # sigma below this is compared with sigma = 0
_NEAR_LIMIT = 0.25  # of the least working value: where a search begins that moments do not tell
_NOISE_OF_LOGLIK = 1e-9  # relative difference of log-likelihoods that says nothing


@dataclass(frozen=True)
class OwnPooledFit(PooledFit):
    """Estimates of a model without cluster effects whose response has parameters of its own.

    Parameters
    ----------
    response : OwnParameters
        At the estimates; without values where the maximum lies at their lower end.
    whole_covariance : ndarray, shape (p + k, p + k)
        Of (beta, the response's parameters); nan in the rows of those at the end of their range.
    loglik_at_limit : float
        Of the model without these parameters.
    """

    response: OwnParameters | None = None
    whole_covariance: Array | None = None
    loglik_at_limit: float = np.nan

    @property
    def own_state(self) -> State:
        """What became of the response's parameters; see `Block`."""
        return "boundary" if self.response is None or not self.response.values else "free"


@dataclass(frozen=True)
class OwnRandomEffectsFit(RandomEffectsFit):
    """Estimates of a random-intercept model whose response has parameters of its own.

    Parameters
    ----------
    pooled : OwnPooledFit
        The same model without random intercepts.
    whole_covariance : ndarray, shape (p + 1 + k, p + 1 + k)
        Of (beta, sigma, the response's parameters).
    loglik_at_limit : float
        Of the model with the intercepts, without these parameters.
    """

    pooled: OwnPooledFit
    whole_covariance: Array | None = None
    loglik_at_limit: float = np.nan

    @property
    def own_state(self) -> State:
        """What became of the response's parameters; see `Block`."""
        return "free" if own_of(self).values else "boundary"

    @property
    def all_parameters(self) -> Parameters:
        return self.parameters.and_own(own_of(self).own, self.own_state)

    @cached_property
    def intercepts(self) -> Intercepts:
        """Posterior mode, mean and standard deviation of every cluster's intercept."""
        response, data = own_of(self), self.data.rows
        if not response.values:
            return self.integrator.posterior(data, response.at_limit, self.theta, self.plan)
        rows = response.kernel_rows(data.a, data.b)
        moved = replace(data, a=rows.a, b=rows.b, offset=data.offset + rows.shift)
        return self.integrator.posterior(moved, rows.response, self.theta, self.plan)


def own_of(fit: OwnRandomEffectsFit) -> OwnParameters:
    """The response, whose parameters are known to be there."""
    assert isinstance(fit.response, OwnParameters)
    return fit.response


class OwnRows:
    """The rows of a response with parameters of its own, of data in memory.

    Parameters
    ----------
    sums : Sums
        The data in the optimiser's columns, nothing merged.
    response : OwnParameters
    """

    def __init__(self, sums: Sums, response: OwnParameters) -> None:
        assert isinstance(sums.blocks, InMemory)
        self.blocks, self.response, self.unit = sums.blocks, response, sums.weights.unit
        self._block, self._memory = sums.blocks.block, Memory()
        data = self._block.data
        # log_terms are proportional to the weights of rows with the same response: one row stands for all of these
        y, place = np.unique(data.a / data.b, return_inverse=True)
        weights = data.b * np.repeat(data.cluster_weights, np.diff(data.starts))
        self._each_b = np.bincount(place, weights=weights).astype(np.float64)
        self._each_a = y * self._each_b

    def at(self, psi: Array) -> tuple[Block, float]:
        """The rows that the core knows, at working values psi, and the sum of what their kernel leaves out."""
        data, own = self._block.data, self.response
        response = own.at(np.clip(psi, own.lowest - 1.0, own.highest + 1.0))
        rows = response.kernel_rows(data.a, data.b)
        arrays = BlockArrays(data.starts, rows.a, rows.b, data.offset + rows.shift, data.cluster_weights)
        constant = float(np.sum(response.log_terms(self._each_a, self._each_b)))
        return Block(self._block.X, arrays, rows.response, self._block.threads, self._memory), constant

    def pooled(self, theta: Array) -> Evaluation:
        """Log-likelihood without cluster effects in (gamma, psi), with score and Hessian; normalised."""
        k = len(self.response.own)

        def at(psi: Array, order: int) -> Evaluation:
            block, constant = self.at(psi)
            found = evaluate_pooled(block.problem, theta[:-k], order, block.threads)
            return Evaluation(found.value + constant, found.score, found.hessian)

        return with_own(at, theta[-k:])


class OwnMarginal(MarginalSums):
    """The marginal likelihood of such rows in (gamma, sigma, psi), normalised.

    Parameters
    ----------
    rows : OwnRows
    integrator : Integrator
    """

    sampled = False

    def __init__(self, rows: OwnRows, integrator: AnyIntegrator) -> None:
        super().__init__(rows.blocks, rows.blocks.block.n_clusters, integrator, rows.unit)
        self._rows = rows

    def evaluate(self, theta: Array, plan: Plan) -> Evaluation:
        k = len(self._rows.response.own)

        def at(psi: Array, order: int) -> Evaluation:
            block, constant = self._rows.at(psi)
            found = self._likelihood(block).evaluate(theta[:-k], plan, order)
            return Evaluation(found.value + constant, found.score, found.hessian)

        return with_own(at, theta[-k:])

    def choose(self, theta: Array, tolerance: float, moving: bool = False) -> Choice:
        """Rules for the rows as they are at psi; see `MarginalSums.choose`."""
        k = len(self._rows.response.own)
        found = self._of(self._rows.at(theta[-k:])[0]).choose(theta[:-k], tolerance, moving)
        return replace(found, there=None)

    def outer_products(self, theta: Array, plan: Plan, whole: tuple[bool, bool]) -> Array:
        raise NotImplementedError("scores of clusters are not known for responses with parameters of their own")

    def _likelihood(self, block: Block) -> UnitLikelihood:
        modes = block.memory.modes
        if modes is None:
            modes = block.memory.modes = np.zeros(block.n_clusters)
        return self.integrator.likelihood(block.X, block.data, block.response, block.threads, modes)

    def _of(self, block: Block) -> MarginalSums:
        return MarginalSums(InMemory(block), self.n_clusters, self.integrator, self._unit)


def fit_own_pooled(data: ModelData, response: OwnParameters, control: Control = _DEFAULT) -> OwnPooledFit:
    """Fit without cluster effects: from the model at the limit, and moments.

    Raises
    ------
    SeparationError, DesignError
        As `fit_pooled`, of the model at the limit.
    """
    limit = fit_pooled(data, response.at_limit, control)
    sums = standardised(data, response, control)
    mean = response.at_limit.mean(data.X @ limit.beta + data.offset)
    likelihood, k = OwnRows(sums, response), len(response.own)
    start = np.append(sums.standard.inside(limit.beta), response.start(mean, data.a, data.b))
    maximum = maximize(likelihood.pooled, start, control, radius=4.0, unit=sums.weights.unit)
    psi, value = maximum.theta[-k:], maximum.evaluation.value
    if _at_end(response, psi, value, limit.loglik):
        held = coefficients(data.names).and_own(response.own, "boundary")
        whole = held.nan_where_not_free(limit.covariance)
        return OwnPooledFit(
            limit.beta, limit.covariance, limit.hessian, limit.loglik, limit.optimization,
            response=response, whole_covariance=whole, loglik_at_limit=limit.loglik,
        )  # fmt: skip
    refuse_boundless(response, psi)
    there = response.at(psi)
    covariance, hessian = _on_user_scale(maximum.evaluation.hessian, sums.standard.L, response.slopes(psi))
    of_beta = coefficients(data.names).and_own(response.own).coefficients
    return OwnPooledFit(
        sums.standard.L @ maximum.theta[:-k],
        covariance[of_beta, of_beta],
        hessian[of_beta, of_beta],
        value,
        maximum.optimization,
        response=there,
        whole_covariance=covariance,
        loglik_at_limit=limit.loglik,
    )


def fit_own_random_effects(
    data: ModelData,
    response: OwnParameters,
    distribution: Distribution,
    quadrature: Quadrature,
    scale: str = "normal",
    start: Array | None = None,
    sigma: float | None = None,
    fix_sigma: bool = False,
    control: Control = _DEFAULT,
) -> OwnRandomEffectsFit:
    """Fit with one random intercept per cluster; see `fit_random_effects`.

    Three boundaries are compared with what is found inside: sigma = 0, the limit of the response's parameters, both.

    Raises
    ------
    OptionError
        Where the distribution has a shape to be estimated.
    ResponseError
        Where a parameter of the response has no finite maximum.
    """
    check_sigma(sigma, fix_sigma)
    if distribution.free:
        raise OptionError(
            f"family={response.family!r} with the shape of {distribution.name} to be estimated",
            "a distribution of given shape",
            'distribution="gaussian", or a shape such as "student_t(4)"',
        )
    quiet = replace(control, progress=None)
    pooled = fit_own_pooled(data, response, quiet)
    limit = fit_random_effects(
        data, response.at_limit, distribution, quadrature, scale, start, sigma, fix_sigma, control=quiet
    )
    state: State = "held" if fix_sigma else "free"
    parameters = random_intercept(data.names, data.cluster_name, state).and_own(response.own)
    if limit.sigma == 0.0 and (pooled.own_state == "boundary" or fix_sigma):
        return _without_intercepts(limit, pooled, response)
    sums, integrator, k = standardised(data, response, control), integrator_for(distribution, scale), len(response.own)
    task = Task(sums, OwnMarginal(OwnRows(sums, response), integrator), quadrature, parameters, control)
    assert pooled.response is not None
    psi = pooled.response.working if pooled.own_state == "free" else np.full(k, _NEAR_LIMIT * response.lowest)
    if sigma is None or sigma == 0.0:
        sigma = max(limit.sigma, start_sigma(0.0, 0.0, distribution))
    begin = parameters.joined(sums.standard.inside(pooled.beta if start is None else start), sigma, psi)
    found = maximum_from(task, begin)
    maximum, value = found.maximum, found.maximum.evaluation.value
    psi, reached = maximum.theta[-k:], task.sigma(maximum.theta)
    if _at_end(response, psi, value, limit.loglik) and (fix_sigma or limit.loglik >= pooled.loglik):
        return _at_limit(limit, pooled, response)
    noise = _NOISE_OF_LOGLIK * (sums.weights.unit + abs(value)) if reached < _SIGMA_NEAR_ZERO else 0.0
    if not fix_sigma and value <= pooled.loglik + noise:
        return _without_intercepts(limit, pooled, response)
    refuse_boundless(response, psi)
    free = parameters.of_free(maximum.evaluation.hessian)
    L = parameters.of_free(parameters.to_user(sums.standard.L))
    covariance, hessian = _on_user_scale(free, L[:-k, :-k], response.slopes(psi))
    whole = parameters.nan_where_not_free(covariance)
    inner = slice(0, len(parameters) - k)
    return OwnRandomEffectsFit(
        beta=sums.standard.L @ maximum.theta[parameters.coefficients],
        sigma=reached,
        covariance=whole[inner, inner].copy(),
        hessian=parameters.nan_where_not_free(hessian)[inner, inner].copy(),
        loglik=value,
        optimization=maximum.optimization,
        integration=found.integration,
        pooled=pooled,
        boundary=False,
        sigma_fixed=fix_sigma,
        data=data,
        distribution=distribution,
        response=response.at(psi),
        plan=found.plan,
        whole_covariance=whole,
        loglik_at_limit=limit.loglik,
    )


def _at_limit(limit: RandomEffectsFit, pooled: OwnPooledFit, response: OwnParameters) -> OwnRandomEffectsFit:
    """The model without parameters of the response, as the maximum."""
    parameters = limit.parameters.and_own(response.own, "boundary")
    whole = np.full((len(parameters), len(parameters)), np.nan)
    inner = slice(0, len(limit.parameters))
    whole[inner, inner] = limit.covariance
    return OwnRandomEffectsFit(
        **{**_fields_of(limit), "response": response, "pooled": pooled},
        whole_covariance=whole,
        loglik_at_limit=limit.loglik,
    )


def _without_intercepts(limit: RandomEffectsFit, pooled: OwnPooledFit, response: OwnParameters) -> OwnRandomEffectsFit:
    """Where sigma = 0 is the maximum, or was asked for; or the limit with intercepts, where that is as likely."""
    if pooled.own_state == "boundary":
        return _at_limit(limit, pooled, response)
    assert pooled.response is not None
    assert pooled.whole_covariance is not None
    state: State = "held" if limit.sigma_fixed else "boundary"
    inner_parameters = random_intercept(len(pooled.beta), state=state)
    parameters = inner_parameters.and_own(response.own)
    whole = parameters.nan_where_not_free(pooled.whole_covariance)
    inner = slice(0, len(limit.parameters))
    plan = (Part(limit.integrator.no_rule()),)
    asked = limit.integration
    return OwnRandomEffectsFit(
        **{
            **_fields_of(limit),
            "beta": pooled.beta,
            "sigma": 0.0,
            "covariance": whole[inner, inner].copy(),
            "hessian": inner_parameters.nan_where_not_free(pooled.hessian),
            "loglik": pooled.loglik,
            "optimization": pooled.optimization,
            "integration": report(plan, 0.0, asked.requested, asked.scale, limit.data.n_clusters, asked.unit),
            "boundary": not limit.sigma_fixed,
            "response": pooled.response,
            "pooled": pooled,
            "plan": plan,
        },
        whole_covariance=whole,
        loglik_at_limit=limit.loglik,
    )


def _fields_of(fit: RandomEffectsFit) -> dict[str, Any]:
    """The fields of a fit."""
    return {field.name: getattr(fit, field.name) for field in fields(RandomEffectsFit)}


def standardised(data: ModelData, response: OwnParameters, control: Control) -> Sums:
    """The data in the optimiser's columns; rows are no sums of others, so that none are merged, and none sampled."""
    return sums_in_memory(data, response, control.threads, data.n_obs + 1)


def _at_end(response: OwnParameters, psi: Array, value: float, at_limit: float) -> bool:
    """Whether the model without these parameters is as likely."""
    return value <= at_limit + _NOISE_OF_LOGLIK * (1.0 + abs(at_limit)) or bool(np.any(psi <= response.lowest))


def refuse_boundless(response: OwnParameters, psi: Array) -> None:
    """Raise `ResponseError` where a search has come to the upper end of the parameters' range."""
    if np.any(psi >= response.highest):
        names = ", ".join(response.own)
        raise ResponseError(
            f"{names} grew to {np.exp(response.highest):.0e} while the log-likelihood still rose",
            "responses that a finite value fits best",
            f"look at the largest responses; or family={response.at_limit.family!r}",
        )


def _on_user_scale(hessian: Array, L: Array, slopes: Array) -> tuple[Array, Array]:
    """Covariance and Hessian of (beta, ..., the values) from the Hessian in (gamma, ..., psi), all of them free."""
    k, q = len(slopes), len(hessian)
    whole = np.eye(q)
    whole[: q - k, : q - k] = L
    whole[q - k :, q - k :] = np.diag(slopes)
    return on_user_scale(hessian, whole)
