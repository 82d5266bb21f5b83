"""Maximum likelihood of models whose response has parameters of its own."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from clusterglm.data.checks import find_separation, listed
from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, ResponseError, SeparationError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.newton import Maximum, Optimization, maximize
from clusterglm.fit.own_rows import OwnMarginal, OwnRows, kernel_data, standardised
from clusterglm.fit.pooled import PooledFit, fit_pooled, on_user_scale
from clusterglm.fit.random_effects import check_sigma, fit_random_effects
from clusterglm.fit.search import Task, maximum_from
from clusterglm.fit.start import start_coefficients, start_sigma
from clusterglm.likelihood.integrator import AnyIntegrator, Intercepts
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.report import report
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import Parameters, State, coefficients, random_intercept
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters

_DEFAULT = Control()
_SIGMA_NEAR_ZERO = 1e-3  # sigma below this is compared with sigma = 0
_NEAR_LIMIT = 0.25  # of the least working value: where a search begins that moments do not tell
_LEAST_SIGMA = 0.2  # where a search begins beside a limit: at sigma = 0 no derivative says that it should rise
_PROBABLE = 12.0  # linear predictors of binary rows up to which no data are separated
_FACTORS = (-700.0, 700.0)  # of offsets whose exponentials float64 holds
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
        Of the model without these parameters; nan where there is none.
    """

    response: OwnParameters | None = None
    whole_covariance: Array | None = None
    loglik_at_limit: float = np.nan

    @property
    def own_state(self) -> State:
        """What became of the response's parameters; see `Block`."""
        return "boundary" if self.response is None or self.response.at_end else "free"


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
        Of the model with the intercepts, without these parameters; nan where there is none.
    """

    pooled: OwnPooledFit
    whole_covariance: Array | None = None
    loglik_at_limit: float = np.nan

    @property
    def own_state(self) -> State:
        """What became of the response's parameters; see `Block`."""
        return "boundary" if own_of(self).at_end else "free"

    @property
    def all_parameters(self) -> Parameters:
        return self.parameters.and_own(own_of(self).own, self.own_state)

    def kernel_of(self, data: ModelData) -> tuple[ModelData, Response]:
        response = own_of(self)
        if response.at_end and response.at_limit is not None:  # which has rows of its own
            return data, response.at_limit
        rows = response.kernel_rows(data.a, data.b)
        return kernel_data(data, rows), rows.response

    def _as_known(self, found: Intercepts) -> Intercepts:
        return Intercepts(-found.modes, -found.means, found.sds) if own_of(self).reversed else found


def own_of(fit: OwnRandomEffectsFit) -> OwnParameters:
    """The response, whose parameters are known to be there."""
    assert isinstance(fit.response, OwnParameters)
    return fit.response


def fit_own_pooled(
    data: ModelData,
    response: OwnParameters,
    control: Control = _DEFAULT,
    rows: OwnRows | None = None,
    limit: PooledFit | None = None,
) -> OwnPooledFit:
    """Fit without cluster effects: from the model at the limit, and moments.

    Parameters
    ----------
    data : ModelData
    response : OwnParameters
    control : Control
    rows : OwnRows, optional
        Those of the data, where they are known.
    limit : PooledFit, optional
        The fit of the model at the limit, where it is known.

    Raises
    ------
    SeparationError, DesignError
        As `fit_pooled`.
    """
    if response.at_limit is not None and limit is None:
        limit = fit_pooled(data, response.at_limit, control)
    rows = OwnRows(standardised(data, response, control), response) if rows is None else rows
    k, p = len(response.own), data.X.shape[1]
    level, mean = response.start_level(data.a, data.b, data.offset), np.exp(np.clip(data.offset, *_FACTORS))
    beta = np.zeros(p)
    if data.intercept is not None:
        beta[data.intercept] = level
    elif level != 0.0 and not response.location:
        beta[:] = np.linalg.lstsq(data.X, np.full(data.n_obs, level), rcond=None)[0]
    if limit is not None and response.at_limit is not None:
        beta, mean = limit.beta, response.at_limit.mean(data.X @ limit.beta + data.offset)
    psi = response.start(mean, data.a, data.b)
    if response.location:
        psi[: response.n_thresholds] -= level
    start = rows.inside(beta, (), psi)
    maximum = maximize(rows.pooled, start, control, radius=4.0, unit=rows.unit)
    psi, value = maximum.theta[len(maximum.theta) - k :], maximum.evaluation.value
    if limit is not None and at_end(response, psi, value, limit.loglik):
        held = coefficients(data.names).and_own(response.own, "boundary")
        whole = held.nan_where_not_free(limit.covariance)
        return OwnPooledFit(
            limit.beta, limit.covariance, limit.hessian, limit.loglik, limit.optimization,
            response=response, whole_covariance=whole, loglik_at_limit=limit.loglik,
        )  # fmt: skip
    user = rows.to_user(0) @ maximum.theta
    refuse_ends(response, user[p:], data, maximum.optimization)
    _refuse_separated(rows, maximum, data)
    refuse_boundless(response, psi)
    covariance, hessian = on_user_scale(maximum.evaluation.hessian, rows.to_values(maximum.theta))
    of_beta = coefficients(data.names).and_own(response.own).coefficients
    return OwnPooledFit(
        user[:p],
        covariance[of_beta, of_beta],
        hessian[of_beta, of_beta],
        value,
        maximum.optimization,
        response=response.at(user[p:]),
        whole_covariance=covariance,
        loglik_at_limit=np.nan if limit is None else limit.loglik,
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

    The boundaries that there are, are compared with what is found inside: sigma = 0, the limit of the response's
    parameters, both.

    Raises
    ------
    OptionError
        Where the distribution has a shape to be estimated, or does not suit the response.
    ResponseError
        Where a parameter of the response has no finite maximum.
    """
    check_sigma(sigma, fix_sigma)
    refuse_distribution(response, distribution)
    quiet, limit = replace(control, progress=None), None
    rows = OwnRows(standardised(data, response, control), response)
    if response.at_limit is None:
        pooled = fit_own_pooled(data, response, quiet, rows)
    else:
        limit = fit_random_effects(
            data, response.at_limit, distribution, quadrature, scale, start, sigma, fix_sigma, control=quiet
        )
        pooled = fit_own_pooled(data, response, quiet, rows, limit.pooled)
    state: State = "held" if fix_sigma else "free"
    parameters = random_intercept(data.names, data.cluster_name, state).and_own(response.own)
    integrator, k = integrator_for(distribution, scale), len(response.own)

    def without_intercepts() -> OwnRandomEffectsFit:
        if limit is not None and pooled.own_state == "boundary":
            return _at_limit(limit, pooled, response)
        asked = quadrature, scale, rows.unit
        return _without_intercepts(data, pooled, distribution, integrator, asked, fix_sigma, limit)

    if fix_sigma and sigma == 0.0 and limit is None:
        return without_intercepts()
    if limit is not None and limit.sigma == 0.0 and (pooled.own_state == "boundary" or fix_sigma):
        return without_intercepts()
    task = Task(rows.sums, OwnMarginal(rows, integrator), quadrature, parameters, control)
    found = maximum_from(task, _begin(rows, pooled, distribution, limit, start, sigma))
    maximum, value = found.maximum, found.maximum.evaluation.value
    psi, reached = maximum.theta[len(maximum.theta) - k :], task.sigma(maximum.theta)
    ended = limit is not None and at_end(response, psi, value, limit.loglik)
    if limit is not None and ended and (fix_sigma or limit.loglik >= pooled.loglik):
        return _at_limit(limit, pooled, response)
    noise = _NOISE_OF_LOGLIK * (rows.unit + abs(value)) if reached < _SIGMA_NEAR_ZERO else 0.0
    if not fix_sigma and value <= pooled.loglik + noise:
        return without_intercepts()
    refuse_boundless(response, psi)
    user = rows.to_user(1) @ maximum.theta
    refuse_ends(response, user[len(user) - k :], data, maximum.optimization)
    free = parameters.of_free(maximum.evaluation.hessian)
    covariance, hessian = on_user_scale(free, parameters.of_free(rows.to_values(maximum.theta)))
    whole = parameters.nan_where_not_free(covariance)
    inner = slice(0, len(parameters) - k)
    return OwnRandomEffectsFit(
        beta=user[parameters.coefficients],
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
        response=response.at(user[len(user) - k :]),
        plan=found.plan,
        whole_covariance=whole,
        loglik_at_limit=np.nan if limit is None else limit.loglik,
    )


def own_again(fit: OwnRandomEffectsFit, data: ModelData, control: Control = _DEFAULT) -> OwnRandomEffectsFit:
    """Fit the model of `fit` to other responses; a sigma that was held stays.

    Raises
    ------
    ResponseError
        Where a level has no responses.
    """
    response, asked = anew(own_of(fit), data), fit.integration
    sigma = fit.sigma if fit.sigma_fixed else None
    return fit_own_random_effects(
        with_constant(data, response), response, fit.distribution, asked.requested, asked.scale, None, sigma,
        fit.sigma_fixed, control,
    )  # fmt: skip


def own_pooled_again(fit: OwnPooledFit, data: ModelData, control: Control = _DEFAULT) -> OwnPooledFit:
    """The same without cluster effects."""
    assert fit.response is not None
    response = anew(fit.response, data)
    return fit_own_pooled(with_constant(data, response), response, control)


def anew(response: OwnParameters, data: ModelData) -> OwnParameters:
    """The response with its parameters to be estimated."""
    empty = response.empty(data.a, data.b)
    if empty:
        raise ResponseError(f"no response in {listed(empty)}", "responses at every level", "fewer levels, or more rows")
    return replace(response, values=())


def with_constant(data: ModelData, response: OwnParameters) -> ModelData:
    """Data whose log-likelihoods at the limit are normalised, as those of the response are."""
    if response.at_limit is None:
        return data
    each = response.at_limit.log_constants(np.rint(data.a / data.weights), data.trials, data.weights)
    return replace(data, constant=float(np.repeat(data.cluster_weights, np.diff(data.starts)) @ each))


def _begin(
    rows: OwnRows,
    pooled: OwnPooledFit,
    distribution: Distribution,
    limit: RandomEffectsFit | None,
    start: Array | None,
    sigma: float | None,
) -> Array:
    """Where the search begins, in (gamma, sigma, psi)."""
    response = pooled.response
    assert response is not None
    given = sigma is not None and sigma != 0.0
    if limit is not None:
        k = len(response.own)
        psi = response.working if pooled.own_state == "free" else np.full(k, _NEAR_LIMIT * response.lowest)
        if not given:
            sigma = max(limit.sigma, _LEAST_SIGMA)
        return rows.inside(limit.beta if start is None else start, (float(sigma or 0.0),), psi)
    inside = rows.inside(pooled.beta if start is None else start, (), response.working)
    if not given:
        sigma = start_sigma(*rows.sigma_moments(inside), distribution)
    assert sigma is not None
    wider = start_coefficients(inside, sigma, distribution, response, None)
    p = len(pooled.beta)
    return np.concatenate([wider[:p], [sigma], wider[p:]])


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


def _without_intercepts(
    data: ModelData,
    pooled: OwnPooledFit,
    distribution: Distribution,
    integrator: AnyIntegrator,
    asked: tuple[Quadrature, str, float],
    sigma_fixed: bool,
    limit: RandomEffectsFit | None,
) -> OwnRandomEffectsFit:
    """Where sigma = 0 is the maximum, or was asked for."""
    assert pooled.response is not None
    assert pooled.whole_covariance is not None
    state: State = "held" if sigma_fixed else "boundary"
    inner_parameters = random_intercept(len(pooled.beta), state=state)
    parameters = inner_parameters.and_own(pooled.response.own)
    whole = parameters.nan_where_not_free(pooled.whole_covariance)
    inner = slice(0, len(inner_parameters))
    plan = (Part(integrator.no_rule()),)
    quadrature, scale, unit = asked
    return OwnRandomEffectsFit(
        beta=pooled.beta,
        sigma=0.0,
        covariance=whole[inner, inner].copy(),
        hessian=inner_parameters.nan_where_not_free(pooled.hessian),
        loglik=pooled.loglik,
        optimization=pooled.optimization,
        integration=report(plan, 0.0, quadrature, scale, data.n_clusters, unit),
        boundary=not sigma_fixed,
        sigma_fixed=sigma_fixed,
        data=data,
        distribution=distribution,
        response=pooled.response,
        pooled=pooled,
        plan=plan,
        whole_covariance=whole,
        loglik_at_limit=np.nan if limit is None else limit.loglik,
    )


def _fields_of(fit: RandomEffectsFit) -> dict[str, Any]:
    """The fields of a fit."""
    return {field.name: getattr(fit, field.name) for field in fields(RandomEffectsFit)}


def at_end(response: OwnParameters, psi: Array, value: float, at_limit: float) -> bool:
    """Whether the model without these parameters is as likely."""
    return value <= at_limit + _NOISE_OF_LOGLIK * (1.0 + abs(at_limit)) or bool(np.any(psi <= response.lowest))


def refuse_distribution(response: OwnParameters, distribution: Distribution) -> None:
    """Raise `OptionError` for distributions of the intercept that such a response cannot have."""
    if distribution.free:
        raise OptionError(
            f"family={response.family!r} with the shape of {distribution.name} to be estimated",
            "a distribution of given shape",
            'distribution="gaussian", or a shape such as "student_t(4)"',
        )
    if response.reversed and not distribution.symmetric:
        raise OptionError(
            f"family={response.family!r} with link={response.link!r} and distribution={distribution.name!r}",
            "a symmetric distribution: this link's rows have the intercept with its sign turned",
            'distribution="gaussian", or another link',
        )


def _refuse_separated(rows: OwnRows, maximum: Maximum, data: ModelData) -> None:
    """Raise `SeparationError` where covariates tell responses apart: kernel rows are then separated too."""
    if rows.response.at_limit is not None:
        return  # the fit there has looked
    block, theta = rows.for_core(maximum.theta)
    if maximum.optimization.converged and np.abs(block.X @ theta + block.data.offset).max() < _PROBABLE:
        return
    response = rows.response
    by_threshold, shifts = response.own[response.n_thresholds :], block.X.shape[1] - len(data.names)
    thresholds = (f"threshold {j}" for j in range(shifts - len(by_threshold)))
    named = (*data.names, *by_threshold)
    names = (*data.names, *thresholds, *by_threshold)
    found = find_separation(block.X, block.data.a, block.data.b, names, block.response)
    columns = () if found is None else [name for name in found.columns if name in named]
    if columns:
        raise SeparationError(
            f"{listed(columns)} separate{'s' * (len(columns) == 1)} {response.words.separated}: the maximum lies "
            "at infinity",
            f"no combination of covariates that tells {response.words.separated} perfectly",
            ("leave their terms out of nonparallel=" if set(columns) & set(by_threshold) else f"drop {listed(columns)}")
            + ", or merge levels whose responses all lie at one end"
            + (", or merge categories" if response.ordered else ""),
        )


def refuse_boundless(response: OwnParameters, psi: Array) -> None:
    """Raise `ResponseError` where a search has come to the upper end of the parameters' range."""
    if np.any(psi >= response.highest):
        names = ", ".join(response.own)
        advice = "" if response.at_limit is None else f"; or family={response.at_limit.family!r}"
        raise ResponseError(
            f"{names} grew to {np.exp(response.highest):.0e} while the log-likelihood still rose",
            "responses that a finite value fits best",
            f"look at the largest responses{advice}",
        )


def refuse_ends(response: OwnParameters, psi: Array, data: ModelData, found: Optimization) -> None:
    """Raise `ResponseError` where a search has ended because thresholds of some rows would cross."""
    crossing = None if found.converged else response.at_edge(psi, data.a, data.b)
    if crossing is not None and crossing.any():
        raise ResponseError(
            f"thresholds of {int(crossing.sum())} of {len(crossing)} rows that would cross: the log-likelihood rises "
            "up to where a category between two of them is impossible, and beyond there is none",
            "coefficients at each threshold that keep the thresholds of every row in their order",
            "fewer terms in nonparallel=; covariates without values far out; or merge categories that hardly occur with"
            " some values of them",
        )
