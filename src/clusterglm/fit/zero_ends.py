"""Where the maximum of zero-inflated counts lies at the end of a range: what that model is, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from scipy.special import expit

from clusterglm.data.checks import listed
from clusterglm.data.prepare import ModelData
from clusterglm.errors import ResponseError, SeparationError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.own import fit_own_pooled, fit_own_random_effects, own_of
from clusterglm.fit.pooled import PooledFit, fit_pooled
from clusterglm.fit.random_effects import fit_random_effects
from clusterglm.fit.zero_estimates import WithZeros, ZeroPooledFit, ZeroRandomEffectsFit
from clusterglm.likelihood.plan import Part, Plan
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.report import report
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import random_intercept
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.zeros.inflated import ZeroInflated

_NO_EXCESS = 1e-5  # largest P(a zero for certain) of any row that is none at all
_EXTREME_LOG_ODDS = 18.0  # of zeros: beyond, they are certain, or certainly none
_NOISE_OF_LOGLIK = 1e-9  # relative difference of log-likelihoods that says nothing

Asked: TypeAlias = tuple[Distribution, Quadrature, str, Array | None, float | None, bool]
"""Distribution, quadrature, scale of integration, start, sigma, and whether this is held."""

F = TypeVar("F", bound=PooledFit | RandomEffectsFit | MixedFit)
Z = TypeVar("Z", bound=WithZeros)


@dataclass(frozen=True)
class Counts(Generic[F]):
    """The fit of counts without inflation.

    Parameters
    ----------
    fit : PooledFit, RandomEffectsFit or MixedFit
    alpha : float
        Their dispersion; 0 for Poisson counts.
    covariance : ndarray
        Of all parameters, alpha last where counts have one.
    at_end : bool
        Whether they have one, and it is 0.
    """

    fit: F
    alpha: float
    covariance: Array
    at_end: bool


def pooled_counts(data: ModelData, response: ZeroInflated, control: Control) -> Counts[PooledFit]:
    """Without cluster effects."""
    if not response.dispersed:
        fit = fit_pooled(data, response.plain, control)
        return Counts(fit, 0.0, fit.covariance, False)
    own = fit_own_pooled(data, NegativeBinomial(), control)
    assert own.response is not None
    assert own.whole_covariance is not None
    return Counts(own, (own.response.values or (0.0,))[0], own.whole_covariance, own.own_state == "boundary")


def counts_of_clusters(
    data: ModelData, response: ZeroInflated, asked: Asked, control: Control
) -> Counts[RandomEffectsFit]:
    """With a random intercept for each cluster; `asked` as `fit_random_effects` takes it."""
    if not response.dispersed:
        fit = fit_random_effects(data, response.plain, *asked, control)
        return Counts(fit, 0.0, fit.covariance, False)
    own = fit_own_random_effects(data, NegativeBinomial(), *asked, control)
    assert own.whole_covariance is not None
    alpha = (own_of(own).values or (0.0,))[0]
    return Counts(own, alpha, own.whole_covariance, own.own_state == "boundary")


def refuse_without_zeros(data: ModelData) -> None:
    """Raise `ResponseError` where no count is zero."""
    if not np.any((data.a == 0.0) & (data.b > 0.0)):
        raise ResponseError(
            f"no zero among the {data.n_obs} counts in {data.response_name!r}, with zero_inflation=",
            "counts some of which are 0",
            "the same model without zero_inflation=; or family='truncated_poisson', of counts that cannot be 0",
        )


def no_better(value: float, other: float) -> bool:
    """Whether a log-likelihood is no larger than that of a model inside this one, but for rounding."""
    return value <= other + _NOISE_OF_LOGLIK * (1.0 + abs(other))


def no_excess(w: Array) -> bool:
    """Whether hardly any zero is for certain, at linear predictors of zeros."""
    return bool(np.max(expit(w)) < _NO_EXCESS)


def refuse_certain(w: Array, zero: ModelData, coefficients: Array) -> None:
    """Raise `SeparationError` where zeros of some rows are certainly for certain, or certainly not.

    Parameters
    ----------
    w : ndarray, shape (n,)
        Linear predictors of zeros.
    zero : ModelData
    coefficients : ndarray, shape (c,)
        Of its columns.
    """
    extreme = np.abs(w) > _EXTREME_LOG_ODDS
    if not extreme.any():
        return
    spread = np.abs(coefficients) * np.ptp(zero.X, axis=0)
    names = [name for name, each in zip(zero.names, spread, strict=True) if each > 0.5 * _EXTREME_LOG_ODDS] or list(
        zero.names
    )
    which = "none is a zero for certain" if np.median(w[extreme]) < 0.0 else "every zero is one for certain"
    raise SeparationError(
        f"{listed(names)} in zero_inflation= {'tells' if len(names) == 1 else 'tell'} rows apart of which {which}: "
        "the maximum lies at infinity",
        "covariates at all of whose values some zeros are for certain and some are not",
        f"drop {listed(names)} from zero_inflation=, or merge levels; zero_inflation='~ 1' has one probability for all",
    )


def pooled_without(
    counts: Counts[PooledFit], zero: ModelData, response: ZeroInflated, poisson: ZeroPooledFit | None
) -> ZeroPooledFit:
    """Counts without inflation, as the maximum."""
    plain = counts.fit
    return ZeroPooledFit(
        plain.beta, plain.covariance, plain.hessian, plain.loglik, plain.optimization,
        response=none_for_certain(response, counts.alpha, zero),
        whole_covariance=padded(counts.covariance, zero.X.shape[1]),
        loglik_at_limit=np.nan if poisson is None else poisson.loglik,
        zero=zero, loglik_plain=plain.loglik, poisson=counts.at_end, plain=True,
    )  # fmt: skip


def without_excess(
    made: type[Z],
    counts: Counts[F],
    pooled: ZeroPooledFit,
    zero: ModelData,
    response: ZeroInflated,
    poisson: Z | None,
) -> Z:
    """The same with random effects, as the kind of fit `made`."""
    plain = counts.fit
    return made(
        **{field.name: getattr(plain, field.name) for field in fields(plain)}
        | {
            "response": none_for_certain(response, counts.alpha, zero),
            "pooled": pooled,
            "whole_covariance": padded(counts.covariance, zero.X.shape[1]),
            "loglik_at_limit": np.nan if poisson is None else poisson.loglik,
        },
        zero=zero,
        loglik_plain=plain.loglik,
        poisson=counts.at_end,
        plain=True,
    )


def with_poisson(poisson: Z, response: ZeroInflated, loglik_plain: float, **known: Any) -> Z:
    """Zero-inflated Poisson counts, as the maximum of negative binomial ones.

    Parameters
    ----------
    poisson : ZeroPooledFit, ZeroRandomEffectsFit or ZeroMixedFit
    response : ZeroInflated
        Of negative binomial counts.
    loglik_plain : float
        Of these without inflation, which may have a dispersion.
    **known
        Other fields of the fit.
    """
    assert poisson.whole_covariance is not None
    known |= {
        "response": replace(response, values=(0.0, *poisson.inflated.values)),
        "whole_covariance": with_gap(poisson.whole_covariance, len(poisson.covariance)),
        "loglik_at_limit": poisson.loglik,
    }
    return replace(poisson, loglik_plain=loglik_plain, poisson=True, **known)


def without_intercepts(
    data: ModelData,
    zero: ModelData,
    pooled: ZeroPooledFit,
    distribution: Distribution,
    quadrature: Quadrature,
    scale: str,
    sigma_fixed: bool,
    loglik_plain: float,
    loglik_at_limit: float,
) -> ZeroRandomEffectsFit:
    """Where sigma = 0 is the maximum, or was asked for.

    The last two are of models with intercepts, which may have a sigma where this one has none.
    """
    integrator, parameters = integrator_for(distribution, scale, several_modes=True), random_intercept(len(pooled.beta))
    assert pooled.whole_covariance is not None
    whole, inner = with_gap(pooled.whole_covariance, parameters.scale), slice(0, len(parameters))
    hessian = with_gap(pooled.hessian, parameters.scale)
    plan: Plan = (Part(integrator.no_rule()),)
    return ZeroRandomEffectsFit(
        beta=pooled.beta,
        sigma=0.0,
        covariance=whole[inner, inner].copy(),
        hessian=hessian,
        loglik=pooled.loglik,
        optimization=pooled.optimization,
        integration=report(plan, 0.0, quadrature, scale, data.n_clusters, 1.0),
        pooled=pooled,
        boundary=not sigma_fixed,
        sigma_fixed=sigma_fixed,
        data=data,
        distribution=distribution,
        response=pooled.inflated,
        plan=plan,
        whole_covariance=whole,
        loglik_at_limit=loglik_at_limit,
        zero=zero,
        loglik_plain=loglik_plain,
        poisson=pooled.poisson,
        plain=pooled.plain,
    )


def none_for_certain(response: ZeroInflated, alpha: float, zero: ModelData) -> ZeroInflated:
    """The response at the end where no zero is for certain: an intercept of minus infinity."""
    values = np.where(np.arange(zero.X.shape[1]) == (0 if zero.intercept is None else zero.intercept), -np.inf, 0.0)
    return replace(response, values=(*((alpha,) if response.dispersed else ()), *values.tolist()))


def padded(covariance: Array, more: int) -> Array:
    """A covariance with rows of nan after it."""
    n = len(covariance)
    whole = np.full((n + more, n + more), np.nan)
    whole[:n, :n] = covariance
    return whole


def with_gap(covariance: Array, at: int) -> Array:
    """A covariance with a row of nan at a place."""
    n = len(covariance) + 1
    whole, others = np.full((n, n), np.nan), np.delete(np.arange(n), at)
    whole[np.ix_(others, others)] = covariance
    return whole
