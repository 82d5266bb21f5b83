"""Maximum likelihood of zero-inflated counts: a linear predictor of counts, and one of zeros for certain."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from scipy.special import logit

from clusterglm.data.prepare import ModelData
from clusterglm.data.zero_part import zero_part_of
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.newton import Maximum, maximize
from clusterglm.fit.own import refuse_boundless
from clusterglm.fit.own_rows import OwnMarginal
from clusterglm.fit.pooled import PooledFit, on_user_scale
from clusterglm.fit.random_effects import check_sigma
from clusterglm.fit.search import Task, maximum_from
from clusterglm.fit.start import start_sigma
from clusterglm.fit.zero_ends import (
    Counts,
    counts_of_clusters,
    no_better,
    no_excess,
    pooled_counts,
    pooled_without,
    refuse_certain,
    refuse_without_zeros,
    with_poisson,
    without_excess,
    without_intercepts,
)
from clusterglm.fit.zero_estimates import ZeroPooledFit, ZeroRandomEffectsFit, with_zeros
from clusterglm.fit.zero_rows import zero_rows
from clusterglm.likelihood.registry import integrator_for
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import State, coefficients, random_intercept
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.poisson_log import PoissonLog
from clusterglm.model.response.zeros.inflated import ZeroInflated

R = TypeVar("R", bound=ZeroInflated)

_DEFAULT = Control()
_LIKELY_SHARE = (0.02, 0.9)  # P(a zero for certain) worth starting from
_ALPHA = 0.3  # a dispersion to start from where nothing tells one
_SIGMA_NEAR_ZERO = 1e-3  # sigma below this is compared with sigma = 0
_NOISE_OF_LOGLIK = 1e-9  # relative difference of log-likelihoods that says nothing


def fit_zero_pooled(
    data: ModelData, zero: ModelData, response: ZeroInflated, control: Control = _DEFAULT
) -> ZeroPooledFit:
    """Fit without cluster effects.

    Searches begin at the fit without inflation, and where this leaves the zeros to themselves: the likelihood may have
    several maxima. Of negative binomial counts one begins at the fit of Poisson counts.

    Parameters
    ----------
    data, zero : ModelData
        The same rows in the same order, with the columns of counts and with those of zeros.
    response : ZeroInflated
        Without parameters.

    Raises
    ------
    ResponseError
        Without zeros, or where alpha has no finite maximum.
    SeparationError
        Where covariates separate counts, or tell rows whose zeros are all for certain, or none.
    """
    refuse_without_zeros(data)
    counts = pooled_counts(data, response, control)
    plain, rows, k = counts.fit, zero_rows(data, zero, response, control), len(response.own)
    starts = _starts(data, zero, counts, response)
    poisson = None
    if response.dispersed:
        poisson = fit_zero_pooled(data, zero, replace(response, dispersed=False), control)
        if poisson.zero_state == "free":
            psi = np.append(np.log(_ALPHA), poisson.inflated.zero)
            starts.append((poisson.beta, psi))
    maximum = _best([
        maximize(rows.pooled, rows.inside(beta, (), psi), control, radius=2.0, unit=rows.unit) for beta, psi in starts
    ])  # fmt: skip
    value, psi = maximum.evaluation.value, maximum.theta[-k:]
    if no_excess(rows.w(psi)) or no_better(value, plain.loglik):
        return pooled_without(counts, zero, response, poisson)
    if poisson is not None and (no_better(value, poisson.loglik) or psi[0] <= NegativeBinomial.lowest):
        return with_poisson(poisson, response, plain.loglik)
    user = rows.to_user(0) @ maximum.theta
    refuse_certain(rows.w(psi), zero, user[-zero.X.shape[1] :])
    if response.dispersed:
        refuse_boundless(NegativeBinomial(), psi[:1])
    of_beta = with_zeros(coefficients(data.names), response).coefficients
    covariance, hessian = on_user_scale(maximum.evaluation.hessian, rows.to_values(maximum.theta))
    return ZeroPooledFit(
        user[of_beta],
        covariance[of_beta, of_beta].copy(),
        hessian[of_beta, of_beta].copy(),
        value,
        maximum.optimization,
        response=response.at(user[-k:]),
        whole_covariance=covariance,
        loglik_at_limit=np.nan if poisson is None else poisson.loglik,
        zero=zero,
        loglik_plain=plain.loglik,
    )


def fit_zero_random_effects(
    data: ModelData,
    zero: ModelData,
    response: ZeroInflated,
    distribution: Distribution,
    quadrature: Quadrature,
    scale: str = "normal",
    start: Array | None = None,
    sigma: float | None = None,
    fix_sigma: bool = False,
    control: Control = _DEFAULT,
) -> ZeroRandomEffectsFit:
    """Fit with one Gaussian intercept per cluster in the linear predictor of counts; see `fit_random_effects`.

    What lies at a boundary is compared with what is found inside: sigma = 0, no zero for certain, and of negative
    binomial counts alpha = 0.

    Raises
    ------
    ResponseError, SeparationError
        As `fit_zero_pooled`.
    """
    check_sigma(sigma, fix_sigma)
    quiet = replace(control, progress=None)
    pooled = fit_zero_pooled(data, zero, response, quiet)
    asked = distribution, quadrature, scale, start, sigma, fix_sigma
    counts = counts_of_clusters(data, response, asked, quiet)
    plain = counts.fit
    poisson = None
    if response.dispersed:
        poisson = fit_zero_random_effects(data, zero, replace(response, dispersed=False), *asked, control=quiet)
    at_limit = np.nan if poisson is None else poisson.loglik
    nothing = data, zero, pooled, distribution, quadrature, scale, fix_sigma, plain.loglik, at_limit
    if fix_sigma and sigma == 0.0:
        return without_intercepts(*nothing)
    rows, k = zero_rows(data, zero, response, control), len(response.own)
    state: State = "held" if fix_sigma else "free"
    parameters = with_zeros(random_intercept(data.names, data.cluster_name, state), response)
    task = Task(
        rows.sums,
        OwnMarginal(rows, integrator_for(distribution, scale, several_modes=True)),
        quadrature,
        parameters,
        control,
    )
    begin = _begin(data, pooled, plain, poisson, response, distribution, start, sigma)
    found = maximum_from(task, rows.inside(*begin))
    maximum, value = found.maximum, found.maximum.evaluation.value
    psi, reached = maximum.theta[-k:], task.sigma(maximum.theta)
    noise = _NOISE_OF_LOGLIK * (rows.unit + abs(value)) if reached < _SIGMA_NEAR_ZERO else 0.0
    inner_maximum = fix_sigma or value > pooled.loglik + noise
    if (no_excess(rows.w(psi)) or no_better(value, plain.loglik)) and plain.loglik >= pooled.loglik:
        return without_excess(ZeroRandomEffectsFit, counts, pooled, zero, response, poisson)
    if not inner_maximum:
        return without_intercepts(*nothing)
    if poisson is not None and (no_better(value, poisson.loglik) or psi[0] <= NegativeBinomial.lowest):
        return with_poisson(poisson, response, plain.loglik, pooled=pooled)
    user = rows.to_user(1) @ maximum.theta
    refuse_certain(rows.w(psi), zero, user[-zero.X.shape[1] :])
    if response.dispersed:
        refuse_boundless(NegativeBinomial(), psi[:1])
    free = parameters.of_free(maximum.evaluation.hessian)
    covariance, hessian = on_user_scale(free, parameters.of_free(rows.to_values(maximum.theta)))
    whole = parameters.nan_where_not_free(covariance)
    inner = slice(0, len(parameters) - k)
    return ZeroRandomEffectsFit(
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
        response=response.at(user[-k:]),
        plan=found.plan,
        whole_covariance=whole,
        loglik_at_limit=at_limit,
        zero=zero,
        loglik_plain=plain.loglik,
    )


def zero_pooled_again(fit: ZeroPooledFit, data: ModelData, control: Control = _DEFAULT) -> ZeroPooledFit:
    """Fit the model of `fit` to other responses, or some of the rows."""
    zero = zero_part_of(fit.zero_rows, data)
    return fit_zero_pooled(normalised(data), zero, anew(fit.inflated, zero), control)


def zero_again(fit: ZeroRandomEffectsFit, data: ModelData, control: Control = _DEFAULT) -> ZeroRandomEffectsFit:
    """The same with random intercepts; a sigma that was held stays."""
    asked, sigma = fit.integration, fit.sigma if fit.sigma_fixed else None
    zero = zero_part_of(fit.zero_rows, data)
    return fit_zero_random_effects(
        normalised(data), zero, anew(fit.inflated, zero), fit.distribution, asked.requested, asked.scale,
        None, sigma, fit.sigma_fixed, control,
    )  # fmt: skip


def anew(response: R, zero: ModelData) -> R:
    """The response with its parameters to be estimated, of these columns of zeros."""
    return replace(response, values=(), names=zero.names)


def normalised(data: ModelData) -> ModelData:
    """Data whose log-likelihoods without inflation are normalised, as those with it are."""
    each = PoissonLog().log_constants(np.rint(data.a / data.weights), data.trials, data.weights)
    return replace(data, constant=float(np.repeat(data.cluster_weights, np.diff(data.starts)) @ each))


# Where searches begin -------------------------------------------------------------------------------------------------


def _starts(
    data: ModelData, zero: ModelData, counts: Counts[PooledFit], response: ZeroInflated
) -> list[tuple[Array, Array]]:
    """(beta, working values): of the fit without inflation, and of one that leaves the zeros to themselves."""
    beta, positive = counts.fit.beta, data.a > 0.0
    eta, alpha = data.X @ beta + data.offset, _ALPHA if counts.at_end else counts.alpha
    starts = [(beta, zero_start(data, zero, response, eta, alpha))]
    if data.intercept is not None and positive.any():
        shift = np.log(data.a[positive].sum() / (data.b * np.exp(eta))[positive].sum())
        moved = beta.copy()
        moved[data.intercept] += shift
        starts.append((moved, zero_start(data, zero, response, eta + shift, 0.3 * alpha)))
    return starts


def zero_start(data: ModelData, zero: ModelData, response: ZeroInflated, eta: Array, alpha: float) -> Array:
    """Working values that explain the zeros beyond those that counts have at their linear predictor."""
    count = NegativeBinomial((alpha,)) if alpha > 0.0 else replace(response, dispersed=False).count
    none = np.zeros(len(eta))
    expected = float(data.b @ count.tails(none, eta, np.ones_like(none))[0]) / float(data.b.sum())
    observed = float(data.b[data.a == 0.0].sum()) / float(data.b.sum())
    share = np.clip((observed - expected) / max(1.0 - expected, 1e-3), *_LIKELY_SHARE)
    coefficients_of_zeros = np.zeros(zero.X.shape[1])
    if zero.intercept is not None:
        coefficients_of_zeros[zero.intercept] = logit(share)
    if not response.dispersed:
        return coefficients_of_zeros
    return np.append(np.log(max(alpha, 1e-2)), coefficients_of_zeros)


def _begin(
    data: ModelData,
    pooled: ZeroPooledFit,
    plain: RandomEffectsFit,
    poisson: ZeroRandomEffectsFit | None,
    response: ZeroInflated,
    distribution: Distribution,
    start: Array | None,
    sigma: float | None,
) -> tuple[Array, tuple[float], Array]:
    """Where the search begins: (beta, (sigma,), working values)."""
    if poisson is not None and poisson.zero_state == "free" and poisson.sigma > 0.0:
        beta, scale = poisson.beta, poisson.sigma
        alpha = pooled.inflated.alpha if pooled.alpha_state == "free" and pooled.inflated.values else _ALPHA
        psi = np.append(np.log(max(alpha, 1e-2)), poisson.inflated.zero)
    else:
        scale = max(plain.sigma, start_sigma(0.0, 0.0, distribution))
        beta = pooled.beta.copy()
        if data.intercept is not None:
            beta[data.intercept] -= 0.5 * scale * scale
        if pooled.zero_state == "free" and pooled.alpha_state == "free":
            psi = pooled.inflated.working
        else:
            eta = data.X @ plain.beta + data.offset + 0.5 * scale * scale
            psi = zero_start(data, pooled.zero_rows, response, eta, _ALPHA if response.dispersed else 0.0)
    if sigma is not None and sigma != 0.0:
        scale = sigma
    return (beta if start is None else start), (float(scale),), psi


def _best(found: list[Maximum]) -> Maximum:
    return max(found, key=lambda each: each.evaluation.value)
