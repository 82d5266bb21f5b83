"""Maximum likelihood of zero-inflated counts with several normal effects in their linear predictor.

theta = (gamma, psi, phi), as in `own_mixed.py`: psi are log(alpha) of negative binomial counts, where there is one, and
the coefficients of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self

import numpy as np
from scipy.linalg import block_diag

from clusterglm.data.prepare import ModelData
from clusterglm.data.weighing import weighing, weight_sum
from clusterglm.data.zero_part import zero_part_of
from clusterglm.fit.mixed import MixedFit, fit_mixed, refuse_too_many
from clusterglm.fit.mixed_search import start_of
from clusterglm.fit.mixed_task import MixedTask, effects_of
from clusterglm.fit.own import refuse_boundless
from clusterglm.fit.own_levels import kernel_effects
from clusterglm.fit.own_mixed import OwnMaximum, OwnMixedFit, Units, fit_own_mixed, own_of, own_task, scale_of_effects
from clusterglm.fit.own_rows import kernel_data
from clusterglm.fit.standardise import standardise
from clusterglm.fit.zero_data import ZeroData
from clusterglm.fit.zero_ends import (
    Counts,
    no_better,
    no_excess,
    refuse_certain,
    with_poisson,
    without_excess,
)
from clusterglm.fit.zero_estimates import WithZeros, ZeroPooledFit, with_zeros
from clusterglm.fit.zeros import anew, fit_zero_pooled, normalised, zero_start
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Parameters
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.zeros.inflated import ZeroInflated

_DEFAULT = Control()
_ALPHA = 0.3  # a dispersion to start from where nothing tells one


@dataclass(frozen=True)
class ZeroMixedFit(WithZeros, OwnMixedFit):
    """Estimates of a model of zero-inflated counts with several random effects in their linear predictor.

    Parameters
    ----------
    pooled : ZeroPooledFit
        The same model without random effects.
    whole_covariance : ndarray, shape (p + r + k, p + r + k)
        Of (beta, phi, alpha of negative binomial counts, coefficients of zeros).
    loglik_at_limit
        As `ZeroPooledFit` has it.
    zero, loglik_plain, poisson, plain
        As `WithZeros` has them.
    """

    pooled: ZeroPooledFit

    @property
    def all_parameters(self) -> Parameters:
        return with_zeros(self.parameters, self.inflated, self.alpha_state, self.zero_state)

    def task_with(self, data: ModelData, threads: int = 1) -> MixedTask:
        given = ZeroData(data, zero_part_of(self.zero_rows, data).X, self.inflated)
        return own_task(data, given, data.X, None, threads)

    def again(self, data: ModelData, control: Control = _DEFAULT) -> ZeroMixedFit:
        zero, start = zero_part_of(self.zero_rows, data), self.beta if data.X.shape[1] == len(self.beta) else None
        response = anew(self.inflated, zero)
        return fit_zero_mixed(normalised(data), zero, response, self.integration.requested, control, start)

    def moved(self, inner: Array, values: Array) -> Self:
        """See `ZeroRandomEffectsFit.moved`; `inner` is (beta, phi)."""
        beta, phi = self.parameters.split(inner)
        return replace(self, beta=beta, phi=phi, response=replace(self.inflated, values=tuple(values.tolist())))

    @cached_property
    def given(self) -> MixedFit:
        """The same with the parameters of zeros and alpha as known: a fit of kernel rows."""
        return self.given_with(self.data.rows)

    def given_with(self, data: ModelData) -> MixedFit:
        """The same of other responses of the same rows."""
        known = {field.name: getattr(self, field.name) for field in fields(MixedFit)}
        rows, effects = ZeroData(data, self.zero_rows.X, self.inflated).at_estimates(), effects_of(data)
        Z = np.ascontiguousarray(effects.Z if rows.of is None else effects.Z[rows.of])
        moved = replace(kernel_data(data, rows), effects=kernel_effects(effects, rows, Z))
        return MixedFit(**{**known, "response": rows.response, "data": moved})


def fit_zero_mixed(
    data: ModelData,
    zero: ModelData,
    response: ZeroInflated,
    quadrature: Quadrature,
    control: Control = _DEFAULT,
    start: Array | None = None,
) -> ZeroMixedFit:
    """Fit several random effects in the linear predictor of counts.

    What lies at a boundary is compared with what is found inside: no zero for certain, and of negative binomial counts
    alpha = 0.

    Parameters
    ----------
    data, zero : ModelData
        The same rows in the same order: with effects and the columns of counts, and with those of zeros.
    response : ZeroInflated
        Without parameters.
    quadrature : Quadrature
    control : Control
    start : ndarray, shape (p,), optional
        Starting coefficients of counts.

    Raises
    ------
    ClusterError, DesignError, IntegrationError, OptionError
        As `fit_mixed`.
    ResponseError, SeparationError
        As `fit_zero_pooled`.
    """
    effects, k, quiet = effects_of(data), len(response.own), replace(control, progress=None)
    refuse_too_many(effects)
    pooled = fit_zero_pooled(data, zero, response, quiet)
    counts, _ = counts_of_effects(data, response.plain, quadrature, quiet, start)
    poisson = None
    if response.dispersed:
        poisson = fit_zero_mixed(data, zero, replace(response, dispersed=False), quadrature, quiet, start)
    unit, units, standard = weighing([weight_sum(data)]).unit, *_units(data, zero, response)
    given = ZeroData(data, standard, response)
    task = own_task(data, given, units.X, units.scale, control.threads)
    begin = _begin(task, units, data, zero, response, pooled, counts, poisson, quadrature, unit, start)
    found = OwnMaximum.of(task, effects, units, begin, k, quadrature, control, unit)
    value, psi, w = found.loglik, found.psi, zero.X @ found.psi[int(response.dispersed) :]
    if no_excess(w) or no_better(value, counts.fit.loglik):
        return without_excess(ZeroMixedFit, counts, pooled, zero, response, poisson)
    if poisson is not None and (no_better(value, poisson.loglik) or psi[0] <= NegativeBinomial.lowest):
        return with_poisson(poisson, response, counts.fit.loglik, pooled=pooled)
    refuse_certain(w, zero, psi[int(response.dispersed) :])
    if response.dispersed:
        refuse_boundless(NegativeBinomial(), psi[:1])
    known = found.covariances(response.slopes(psi), quadrature)
    return ZeroMixedFit(
        found.beta,
        found.phi,
        known.covariance,
        known.hessian,
        found.held,
        value,
        found.optimization,
        found.integration,
        pooled,
        data,
        response.at(psi),
        whole_covariance=known.whole,
        loglik_at_limit=np.nan if poisson is None else poisson.loglik,
        zero=zero,
        loglik_plain=counts.fit.loglik,
    )


def counts_of_effects(
    data: ModelData, response: Response, quadrature: Quadrature, control: Control, start: Array | None
) -> tuple[Counts[MixedFit], OwnMixedFit | None]:
    """The fit of counts without a linear predictor of zeros; once more where they have a dispersion."""
    if not isinstance(response, OwnParameters):
        fit = fit_mixed(data, response, quadrature, control, start)
        return Counts(fit, 0.0, fit.covariance, False), None
    own = fit_own_mixed(data, response, quadrature, control, start)
    assert own.whole_covariance is not None
    return Counts(own, (own_of(own).values or (0.0,))[0], own.whole_covariance, own.own_state == "boundary"), own


def _units(data: ModelData, zero: ModelData, response: ZeroInflated) -> tuple[Units, Array]:
    """The optimiser's columns of counts, and of zeros."""
    own, of_zeros = standardise(data.X, data.intercept), standardise(zero.X, zero.intercept)
    L = np.asarray(block_diag(own.L, np.eye(int(response.dispersed)), of_zeros.L))
    return Units(own.X, L, scale_of_effects(effects_of(data))), of_zeros.X


def _begin(
    task: MixedTask,
    units: Units,
    data: ModelData,
    zero: ModelData,
    response: ZeroInflated,
    pooled: ZeroPooledFit,
    counts: Counts[MixedFit],
    poisson: ZeroMixedFit | None,
    quadrature: Quadrature,
    unit: float,
    start: Array | None,
) -> Array:
    """Where the search begins: the best, by few points, of some covariances, and of the smaller models."""
    plain, alpha = counts.fit, counts.alpha or (_ALPHA if response.dispersed else 0.0)
    if pooled.zero_state == "free" and pooled.alpha_state == "free":
        psi = pooled.inflated.working
    else:
        psi = zero_start(data, zero, response, data.X @ pooled.beta + data.offset, alpha)
    gamma = units.inside(pooled.beta if start is None else start, psi)
    tried = [start_of(task, None, gamma, effects_of(data).levels, quadrature, unit)]
    if not plain.held.any():
        phi = units.phi(task, plain.phi)
        spread = np.linalg.norm(plain.effects.Z @ plain.factor, axis=1)
        eta = data.X @ plain.beta + data.offset + 0.5 * spread**2
        for beta, own in ((plain.beta, zero_start(data, zero, response, eta, alpha)), (pooled.beta, psi)):
            tried.append(task.parameters.joined(units.inside(beta, own), phi))
    if poisson is not None and poisson.zero_state == "free" and not poisson.held.any():
        own = np.append(np.log(alpha), poisson.inflated.zero)
        tried.append(task.parameters.joined(units.inside(poisson.beta, own), units.phi(task, poisson.phi)))
    few = task.likelihood.few()
    return tried[int(np.nanargmax([task.value(theta, few) for theta in tried]))]
