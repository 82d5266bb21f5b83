"""Maximum likelihood with several normal effects where the response has parameters of its own.

theta = (gamma, psi, phi): to the search of `mixed_search.py` working values psi of the response are coefficients like
any others. With a lower end of their range, such as alpha = 0, the maximum is compared with that of the model there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.data.weighing import weighing, weight_sum
from clusterglm.fit.corrected import corrected
from clusterglm.fit.levels import report
from clusterglm.fit.mixed import MixedFit, fit_mixed, refuse_too_many, where_free
from clusterglm.fit.mixed_search import maximum_of, start_of
from clusterglm.fit.mixed_task import MixedTask, effects_of
from clusterglm.fit.newton import Optimization
from clusterglm.fit.own import (
    OwnPooledFit,
    anew,
    at_end,
    fit_own_pooled,
    refuse_boundless,
    refuse_ends,
    with_constant,
)
from clusterglm.fit.own_levels import AtPsi, OwnData, OwnIntegrals, kernel_effects
from clusterglm.fit.own_rows import kernel_data
from clusterglm.fit.standardise import standardise
from clusterglm.likelihood.report import IntegrationReport
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Parameters, State, random_effects
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.own.base import OwnParameters

_DEFAULT = Control()
_NEAR_LIMIT = 0.25  # of the least working value: where a search begins that moments do not tell


@dataclass(frozen=True)
class OwnMixedFit(MixedFit):
    """Estimates of a model with several random effects whose response has parameters of its own.

    `covariance` and `hessian` are those of (beta, phi), with the uncertainty of the response's parameters.

    Parameters
    ----------
    pooled : OwnPooledFit
        The same model without random effects.
    whole_covariance : ndarray, shape (p + r + k, p + r + k)
        Of (beta, phi, the response's parameters); nan in rows of those that have no standard error.
    loglik_at_limit : float
        Of the model with the effects, without the response's parameters; nan where there is none.
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
        """What (beta, phi, the response's parameters) are."""
        return self.parameters.and_own(own_of(self).own, self.own_state)

    @property
    def _plain(self) -> bool:
        """Whether the response's parameters lie at the lower end of their range, so that it is the model there."""
        return own_of(self).at_end

    @property
    def searched(self) -> Array:
        """(beta, working values of the response, phi); at the lower end of their range without these."""
        return self.theta if self._plain else np.concatenate([self.beta, own_of(self).working, self.phi])

    @property
    def constant(self) -> float:
        return self.data.constant if self._plain else 0.0

    def task_with(self, data: ModelData, threads: int = 1) -> MixedTask:
        if self._plain:
            return self.given.task_with(data, threads)
        response = own_of(self)
        return own_task(data, OwnData(data, response), data.X, None, threads, response.bounded or response.ordered)

    def again(self, data: ModelData, control: Control = _DEFAULT) -> OwnMixedFit:
        return own_mixed_again(self, data, control)

    @cached_property
    def given(self) -> MixedFit:
        """The same with the response's parameters as known: a fit of kernel rows, or of the model at the limit."""
        return self.given_with(self.data.rows)

    def given_with(self, data: ModelData) -> MixedFit:
        response = own_of(self)
        known = {field.name: getattr(self, field.name) for field in fields(MixedFit)} | {"data": data}
        if self._plain and response.at_limit is not None:
            return MixedFit(**{**known, "response": response.at_limit})
        rows = response.kernel_rows(data.a, data.b)
        effects = effects_of(data)
        Z = rows.sign * (effects.Z if rows.of is None else effects.Z[rows.of])
        moved = replace(kernel_data(data, rows), effects=kernel_effects(effects, rows, np.ascontiguousarray(Z)))
        return MixedFit(**{**known, "response": rows.response, "data": moved})


def own_of(fit: OwnMixedFit) -> OwnParameters:
    """The response, whose parameters are known to be there."""
    assert isinstance(fit.response, OwnParameters)
    return fit.response


def fit_own_mixed(
    data: ModelData,
    response: OwnParameters,
    quadrature: Quadrature,
    control: Control = _DEFAULT,
    start: Array | None = None,
) -> OwnMixedFit:
    """Fit several random effects: from the model at the limit, or from that without effects.

    Parameters
    ----------
    data : ModelData
        With effects.
    response : OwnParameters
    quadrature : Quadrature
    control : Control
    start : ndarray, shape (p,), optional
        Starting coefficients.

    Raises
    ------
    SeparationError, ClusterError, DesignError, IntegrationError, OptionError
        As `fit_mixed`.
    ResponseError
        Where the likelihood rises with a parameter of the response for ever.
    """
    effects = effects_of(data)
    refuse_too_many(effects)
    pooled = fit_own_pooled(data, response, control)
    limit = None
    if response.at_limit is not None:
        limit = fit_mixed(data, response.at_limit, quadrature, replace(control, progress=None), start)
    unit, units = weighing([weight_sum(data)]).unit, Units.of(data, response)
    task = own_task(
        data,
        OwnData(data, response.standard()[0]),
        units.X,
        units.scale,
        control.threads,
        response.bounded or response.ordered,
    )
    begin = _begin(task, units, pooled, limit, effects.levels, quadrature, unit, start)
    found = OwnMaximum.of(task, effects, units, begin, len(response.own), quadrature, control, unit)
    psi = found.psi
    if limit is not None and at_end(response, psi, found.loglik, limit.loglik):
        return _at_limit(limit, pooled, response)
    refuse_boundless(response, psi)
    refuse_ends(response, psi, data, found.optimization)
    known = found.covariances(response.slopes(psi), quadrature)
    return OwnMixedFit(
        found.beta,
        found.phi,
        known.covariance,
        known.hessian,
        found.held,
        found.loglik,
        found.optimization,
        found.integration,
        pooled,
        data,
        response.at(psi),
        whole_covariance=known.whole,
        loglik_at_limit=np.nan if limit is None else limit.loglik,
    )


def own_mixed_again(fit: OwnMixedFit, data: ModelData, control: Control = _DEFAULT) -> OwnMixedFit:
    """Fit the model of `fit` to other responses.

    Raises
    ------
    ResponseError
        Where a level has no responses.
    """
    response = anew(own_of(fit), data)
    start = fit.beta if data.X.shape[1] == len(fit.beta) else None  # of data with fewer columns
    return fit_own_mixed(with_constant(data, response), response, fit.integration.requested, control, start)


def own_task(
    data: ModelData, given: AtPsi, X: Array, scale: Array | None, threads: int, bounded: bool = False
) -> MixedTask:
    """The likelihood in (gamma, psi, phi), with columns of effects over `scale`, shape (q,).

    `bounded`: whether the response tells no more of effects beyond some size; see `Response`.
    """
    effects = effects_of(data)
    covariance, Z = effects.covariance, effects.Z if scale is None else np.ascontiguousarray(effects.Z / scale)
    likelihood = OwnIntegrals(X, Z, effects, given, threads)
    own = random_effects(X.shape[1] + given.n_working, covariance.n_parameters)
    return MixedTask(likelihood, covariance, own, Z.T @ Z / len(Z), bounded)


@dataclass(frozen=True)
class Units:
    """The optimiser's columns.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    L : ndarray, shape (p + k, p + k)
        (beta, psi) = L (gamma, psi of these columns).
    scale : ndarray, shape (q,)
        What the columns of effects are divided by, so that they have unit mean square.
    """

    X: Array
    L: Array
    scale: Array

    @classmethod
    def of(cls, data: ModelData, response: OwnParameters) -> Units:
        p, k, effects = data.X.shape[1], len(response.own), effects_of(data)
        standard = standardise(data.X, data.intercept, centred=response.location)
        _, unit_of_psi = response.standard()
        L = np.eye(p + k)
        L[:p, :p] = standard.L
        if unit_of_psi is not None:
            L[p:, p:] = unit_of_psi
        if response.location:  # thresholds make up for what is taken off the columns
            L[p : p + response.n_thresholds, :p] = standard.centre @ standard.L
        return cls(standard.X, L, scale_of_effects(effects))

    def inside(self, beta: Array, psi: Array) -> Array:
        """(gamma, psi) of the optimiser's columns."""
        return np.asarray(np.linalg.solve(self.L, np.append(beta, psi)), dtype=np.float64)

    def to_user(self, task: MixedTask) -> Array:
        """The matrix that takes (gamma, psi, phi) to the user's scale."""
        T, random = task.parameters.to_user(self.L), task.parameters.place("random")
        T[random, random] = np.diag(task.covariance.units(1.0 / self.scale))
        return T

    def phi(self, task: MixedTask, phi: Array) -> Array:
        """Parameters of the covariance of the optimiser's effects, from the user's."""
        return np.asarray(phi / task.covariance.units(1.0 / self.scale))


def scale_of_effects(effects: Effects) -> Array:
    """What columns of effects are divided by, so that they have unit mean square; shape (q,)."""
    return effects.covariance.common(np.sqrt(np.mean(effects.Z**2, axis=0)))


@dataclass(frozen=True)
class Covariances:
    """Of estimates.

    Parameters
    ----------
    covariance, hessian : ndarray, shape (p + r, p + r)
        Of (beta, phi).
    whole : ndarray, shape (p + r + k, p + r + k)
        Covariance of (beta, phi, the response's parameters).
    """

    covariance: Array
    hessian: Array
    whole: Array


@dataclass(frozen=True)
class OwnMaximum:
    """Where the likelihood is largest, on the user's scale.

    Parameters
    ----------
    task : MixedTask
    beta, psi, phi : ndarray, shape (p,), (k,) and (r,)
    held : ndarray of bool, shape (r,)
        Parameters of the covariance that are zero there.
    loglik : float
    inner_hessian : ndarray, shape (p + k + r, p + k + r)
        In the optimiser's (gamma, psi, phi).
    to_user : ndarray, shape (p + k + r, p + k + r)
        Takes them to the user's.
    optimization : Optimization
    integration : IntegrationReport
    """

    task: MixedTask
    beta: Array
    psi: Array
    phi: Array
    held: NDArray[np.bool_]
    loglik: float
    inner_hessian: Array
    to_user: Array
    optimization: Optimization
    integration: IntegrationReport

    @classmethod
    def of(
        cls,
        task: MixedTask,
        effects: Effects,
        units: Units,
        begin: Array,
        n_own: int,
        quadrature: Quadrature,
        control: Control,
        unit: float,
    ) -> OwnMaximum:
        """By a search from `begin`; corrected where factors are crossed. `n_own`: k."""
        found, held = maximum_of(task, None, begin, quadrature, control, unit)
        integration = report(task.likelihood, found.chosen, quadrature, unit)
        if effects.outside and quadrature.kind == "auto":
            found, outside = corrected(task, found, held, quadrature, unit)
            integration = replace(integration, outside=outside)
        T, top = units.to_user(task), found.maximum
        coefficients, phi = task.parameters.split(T @ top.theta)
        beta, psi = np.split(coefficients, [len(coefficients) - n_own])
        return cls(
            task, beta, psi, phi, held, top.evaluation.value, top.evaluation.hessian, T, top.optimization, integration
        )

    def covariances(self, slopes: Array, quadrature: Quadrature) -> Covariances:
        """From the Hessian; `slopes` of the response's parameters in psi, shape (k,)."""
        T, q, p, k = self.to_user.copy(), len(self.to_user), len(self.beta), len(slopes)
        of_psi = slice(p, p + k)
        T[of_psi] *= slopes[:, None]
        covariance, user = where_free(self.inner_hessian, T, self.task.all_and(self.held), quadrature)
        order = np.concatenate([np.arange(p), np.arange(p + k, q), np.arange(p, p + k)])
        inner = np.ix_(order[: q - k], order[: q - k])
        return Covariances(covariance[inner], user[inner], covariance[np.ix_(order, order)])


def _begin(
    task: MixedTask,
    units: Units,
    pooled: OwnPooledFit,
    limit: MixedFit | None,
    levels: tuple[int, ...],
    quadrature: Quadrature,
    unit: float,
    start: Array | None,
) -> Array:
    """Where the search begins: the best, by few points, of some covariances and of the model at the limit."""
    response = pooled.response
    assert response is not None
    near = np.full(len(response.own), _NEAR_LIMIT * response.lowest)
    psi = response.working if pooled.own_state == "free" else near
    gamma = units.inside(pooled.beta if start is None else start, psi)
    begin = start_of(task, None, gamma, levels, quadrature, unit)
    if limit is None or limit.held.any():
        return begin
    few = task.likelihood.few()
    phi = units.phi(task, limit.phi)
    tried = [begin, *(task.parameters.joined(units.inside(limit.beta, each), phi) for each in (psi, near))]
    return tried[int(np.nanargmax([task.value(theta, few) for theta in tried]))]


def _at_limit(limit: MixedFit, pooled: OwnPooledFit, response: OwnParameters) -> OwnMixedFit:
    """The model without parameters of the response, as the maximum."""
    inner = slice(0, len(limit.parameters))
    whole = np.full((inner.stop + len(response.own),) * 2, np.nan)
    whole[inner, inner] = limit.covariance
    known: dict[str, Any] = {field.name: getattr(limit, field.name) for field in fields(MixedFit)}
    return OwnMixedFit(
        **{**known, "response": replace(response, values=()), "pooled": pooled},
        whole_covariance=whole,
        loglik_at_limit=limit.loglik,
    )
