"""Maximum likelihood of counts with a hurdle: the likelihood separates, and two fits are one."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self

import numpy as np
from scipy.linalg import block_diag

from clusterglm.data.positive import positive_counts, zero_or_not
from clusterglm.data.prepare import ModelData
from clusterglm.data.zero_part import zero_part_of
from clusterglm.errors import ResponseError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.own import fit_own_pooled, fit_own_random_effects, own_of
from clusterglm.fit.pooled import PooledFit, fit_pooled
from clusterglm.fit.random_effects import fit_random_effects
from clusterglm.fit.zero_ends import Asked, Counts
from clusterglm.fit.zero_estimates import ZeroPooledFit, ZeroRandomEffectsFit
from clusterglm.fit.zeros import anew
from clusterglm.likelihood.integrator import AnyIntegrator, Intercepts
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.model.response.zeros.hurdle import Hurdle

_DEFAULT = Control()


@dataclass(frozen=True)
class HurdlePooledFit(ZeroPooledFit):
    """Estimates of a model of counts with a hurdle, without cluster effects.

    Parameters
    ----------
    counts : PooledFit
        Of the counts that are not 0; its arrays are among this fit's.
    zeros : PooledFit
        Of a binary logit model of which counts are 0.
    """

    counts: PooledFit | None = None
    zeros: PooledFit | None = None


@dataclass(frozen=True)
class HurdleRandomEffectsFit(ZeroRandomEffectsFit):
    """The same with a random intercept for each cluster in the linear predictor of counts that are not 0.

    Parameters
    ----------
    pooled : HurdlePooledFit
    counts : RandomEffectsFit
    zeros : PooledFit
    """

    pooled: HurdlePooledFit
    counts: RandomEffectsFit | None = None
    zeros: PooledFit | None = None

    @property
    def kernel(self) -> tuple[ModelData, Response]:
        assert self.counts is not None
        return self.counts.kernel

    def moved(self, inner: Array, values: Array) -> Self:
        assert self.counts is not None
        found = super().moved(inner, values)
        hurdle = found.inflated
        assert isinstance(hurdle, Hurdle)
        counts = replace(self.counts, beta=found.beta, sigma=found.sigma, response=hurdle.truncated_now)
        return replace(found, counts=counts)

    @property
    def integrator(self) -> AnyIntegrator:
        """How the random effects of counts are integrated out."""
        assert self.counts is not None
        return self.counts.integrator

    @cached_property
    def intercepts(self) -> Intercepts:
        """Posterior mode, mean and standard deviation of every cluster's intercept: the prior's without counts."""
        assert self.counts is not None
        return self._placed(self.counts.intercepts)

    def accurate_intercepts(self, data: ModelData) -> Intercepts:
        assert self.counts is not None
        return self._placed(self.counts.accurate_intercepts(self.counts.data.rows))

    def _placed(self, known: Intercepts) -> Intercepts:
        assert self.counts is not None
        m = self.data.n_clusters
        place = np.isin(self.data.rows.labels, self.counts.data.rows.labels)
        modes, means, sds = np.zeros(m), np.zeros(m), np.full(m, self.sigma)
        modes[place], means[place], sds[place] = known.modes, known.means, known.sds
        return Intercepts(modes, means, sds)


def fit_hurdle_pooled(
    data: ModelData, zero: ModelData, response: Hurdle, control: Control = _DEFAULT
) -> HurdlePooledFit:
    """Fit without cluster effects.

    Parameters
    ----------
    data, zero : ModelData
        The same rows in the same order, with the columns of counts and with those of zeros.
    response : Hurdle
        Without parameters.

    Raises
    ------
    ResponseError
        Without zeros, without counts above 0, or where all of these are 1.
    DesignError, SeparationError
        Of either part.
    """
    return _pooled(data, zero, response, positive_rows(data, response), control)


def fit_hurdle_random_effects(
    data: ModelData, zero: ModelData, response: Hurdle, asked: Asked, control: Control = _DEFAULT
) -> HurdleRandomEffectsFit:
    """Fit with one random intercept per cluster in the counts that are not 0; `asked` as `fit_random_effects` takes it.

    Raises
    ------
    As `fit_hurdle_pooled`.
    """
    positive, truncated = positive_rows(data, response), response.truncated
    fit: RandomEffectsFit
    if isinstance(truncated, OwnParameters):
        own = fit_own_random_effects(positive, truncated, *asked, control)
        assert own.whole_covariance is not None
        alpha = (own_of(own).values or (0.0,))[0]
        fit, at_end = own, own.own_state == "boundary"
        counts: Counts[RandomEffectsFit] = Counts(own, alpha, own.whole_covariance, at_end)
        at_limit, of_counts = own.loglik_at_limit, own.pooled
    else:
        fit = fit_random_effects(positive, truncated, *asked, control)
        counts, at_limit, of_counts = Counts(fit, 0.0, fit.covariance, False), np.nan, None
    zeros = fit_zeros(zero, control)
    pooled = _pooled(data, zero, response, positive, control)
    assert of_counts is None or pooled.counts is not None
    return HurdleRandomEffectsFit(
        **{field.name: getattr(fit, field.name) for field in fields(RandomEffectsFit)}
        | {
            "data": data,
            "pooled": pooled,
            "loglik": fit.loglik + zeros.loglik,
            "response": at_values(response, counts.alpha, zeros),
        },
        whole_covariance=np.asarray(block_diag(counts.covariance, zeros.covariance)),
        loglik_at_limit=at_limit + zeros.loglik,
        zero=zero,
        poisson=counts.at_end,
        counts=fit,
        zeros=zeros,
    )


def hurdle_pooled_again(fit: HurdlePooledFit, data: ModelData, control: Control = _DEFAULT) -> HurdlePooledFit:
    """Fit the model of `fit` to other responses, or some of the rows."""
    zero = zero_part_of(fit.zero_rows, data)
    return fit_hurdle_pooled(data, zero, _anew(fit, zero), control)


def hurdle_again(fit: HurdleRandomEffectsFit, data: ModelData, control: Control = _DEFAULT) -> HurdleRandomEffectsFit:
    """The same with random intercepts; a sigma that was held stays."""
    used, sigma = fit.integration, fit.sigma if fit.sigma_fixed else None
    asked = fit.distribution, used.requested, used.scale, None, sigma, fit.sigma_fixed
    zero = zero_part_of(fit.zero_rows, data)
    return fit_hurdle_random_effects(data, zero, _anew(fit, zero), asked, control)


def _anew(fit: HurdlePooledFit | HurdleRandomEffectsFit, zero: ModelData) -> Hurdle:
    response = fit.inflated
    assert isinstance(response, Hurdle)
    return anew(response, zero)


def positive_rows(data: ModelData, response: Hurdle) -> ModelData:
    """The counts that are not 0."""
    is_zero = data.a == 0.0
    if is_zero.all() or not is_zero.any():
        raise ResponseError(
            f"{'no zero' if not is_zero.any() else 'nothing but zeros'} among the {data.n_obs} counts in "
            f"{data.response_name!r}, with hurdle=",
            "counts some of which are 0 and some are not",
            "the same model without hurdle=" if not is_zero.any() else "check the response and subset=",
        )
    truncated = response.truncated
    return positive_counts(data, truncated.reads if isinstance(truncated, OwnParameters) else truncated)


def fit_zeros(zero: ModelData, control: Control) -> PooledFit:
    """Of which counts are 0, a binary logit model."""
    return fit_pooled(zero_or_not(zero), BinomialLogit(), control)


def _pooled(
    data: ModelData, zero: ModelData, response: Hurdle, positive: ModelData, control: Control
) -> HurdlePooledFit:
    truncated = response.truncated
    if isinstance(truncated, OwnParameters):
        own = fit_own_pooled(positive, truncated, control)
        assert own.response is not None
        assert own.whole_covariance is not None
        alpha, whole = (own.response.values or (0.0,))[0], own.whole_covariance
        counts: Counts[PooledFit] = Counts(own, alpha, whole, own.own_state == "boundary")
        at_limit = own.loglik_at_limit
    else:
        plain = fit_pooled(positive, truncated, control)
        counts, at_limit = Counts(plain, 0.0, plain.covariance, False), np.nan
    zeros, fit = fit_zeros(zero, control), counts.fit
    return HurdlePooledFit(
        fit.beta,
        fit.covariance,
        fit.hessian,
        fit.loglik + zeros.loglik,
        fit.optimization,
        response=at_values(response, counts.alpha, zeros),
        whole_covariance=np.asarray(block_diag(counts.covariance, zeros.covariance)),
        loglik_at_limit=at_limit + zeros.loglik,
        zero=zero,
        poisson=counts.at_end,
        counts=fit,
        zeros=zeros,
    )


def at_values(response: Hurdle, alpha: float, zeros: PooledFit) -> Hurdle:
    """The response at the estimates."""
    values: Array = zeros.beta
    return replace(response, values=(*((alpha,) if response.dispersed else ()), *values.tolist()))
