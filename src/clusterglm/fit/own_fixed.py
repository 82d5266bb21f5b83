"""Maximum likelihood with an intercept for every cluster, of responses with parameters of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import block_diag

from clusterglm.data.prepare import ModelData
from clusterglm.data.weighing import weighing, weight_sum
from clusterglm.fit.fixed_effects import FixedEffectsFit, cluster_profile, fit_fixed_effects
from clusterglm.fit.newton import maximize
from clusterglm.fit.own import anew, at_end, refuse_boundless, with_constant
from clusterglm.fit.own_rows import alike
from clusterglm.fit.pooled import on_user_scale
from clusterglm.fit.standardise import standardise
from clusterglm.fit.sums import chosen_clusters
from clusterglm.fit.within import informative_clusters
from clusterglm.likelihood.own_profile import OwnProfileLikelihood
from clusterglm.likelihood.profile import ClusterProfile
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Parameters, State, coefficients
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters

_DEFAULT = Control()


@dataclass(frozen=True)
class OwnFixedEffectsFit(FixedEffectsFit):
    """Estimates of a model with an intercept for every cluster whose response has parameters of its own.

    Parameters
    ----------
    response : OwnParameters
        At the estimates; without values where the maximum lies at their lower end. A correction of the bias moves them
        and leaves the coefficients.
    whole_covariance : ndarray, shape (p + k, p + k)
        Of (beta, the response's parameters); nan in the rows of those at the end of their range.
    loglik_at_limit : float
        Of the model with the intercepts, without these parameters.
    likeliest : OwnParameters
        The response at the maximum of the likelihood.
    """

    response: OwnParameters | None = None
    whole_covariance: Array | None = None
    loglik_at_limit: float = np.nan
    likeliest: OwnParameters | None = None

    @property
    def own_state(self) -> State:
        """What became of the response's parameters; see `Block`."""
        return "boundary" if own_of(self).at_end else "free"

    @property
    def theta(self) -> Array:
        """(beta, working values) at estimates inside, shape (p + k,)."""
        return np.append(self.beta, own_of(self).working)


class OwnWithin:
    """The likelihood with each cluster's intercept at its best, in (gamma, psi), gamma for the optimiser's columns.

    Parameters
    ----------
    data : ModelData
        Without a column of ones in X.
    response : OwnParameters
    threads : int
    """

    def __init__(self, data: ModelData, response: OwnParameters, threads: int = 1) -> None:
        self.standard, self.response = standardise(data.X, None, centred=True), response
        self.likelihood = own_profile(self.standard.X, data, response, threads)
        self.evaluate = self.likelihood.evaluate

    def inside(self, beta: Array, psi: Array) -> Array:
        """(gamma, psi) from the user's coefficients."""
        return np.append(self.standard.inside(beta), psi)

    def to_user(self) -> Array:
        """The matrix that turns (gamma, psi) into (beta, psi)."""
        return np.asarray(block_diag(self.standard.L, np.eye(len(self.response.own))))

    def to_values(self, psi: Array) -> Array:
        """The same into (beta, values of the response), at psi."""
        return np.asarray(block_diag(self.standard.L, np.diag(self.response.slopes(psi))))


def fit_own_fixed_effects(
    data: ModelData, response: OwnParameters, start: Array | None = None, control: Control = _DEFAULT
) -> OwnFixedEffectsFit:
    """Fit by Newton's method on the exact profile Hessian, from the model at the limit.

    Raises
    ------
    ClusterError, DesignError, SeparationError
        As `fit_fixed_effects`, of the model at the limit: the same rows and columns tell nothing of either.
    ResponseError
        Where a parameter of the response has no finite maximum.
    """
    at_limit, parameters = _limit_of(response), coefficients(data.names).and_own(response.own)
    limit = fit_fixed_effects(data, at_limit, start, replace(control, progress=None))
    within = OwnWithin(data, response, control.threads)
    begin = within.inside(limit.beta, _moments(data, limit, response))
    maximum = maximize(within.evaluate, begin, control, radius=4.0, unit=weighing([weight_sum(data)]).unit)
    psi, value = maximum.theta[parameters.own], maximum.evaluation.value
    if at_end(response, psi, value, limit.loglik):
        held = coefficients(data.names).and_own(response.own, "boundary")
        return OwnFixedEffectsFit(
            **vars(limit), response=response, whole_covariance=held.nan_where_not_free(limit.covariance),
            loglik_at_limit=limit.loglik, likeliest=response,
        )  # fmt: skip
    refuse_boundless(response, psi)
    beta, found = within.standard.L @ maximum.theta[parameters.coefficients], response.at(psi)
    covariance, hessian = on_user_scale(maximum.evaluation.hessian, within.to_values(psi))
    of_beta = parameters.coefficients
    return OwnFixedEffectsFit(
        beta=beta,
        intercepts=_intercepts(data, found, beta),
        covariance=covariance[of_beta, of_beta].copy(),
        hessian=hessian[of_beta, of_beta].copy(),
        loglik=value,
        optimization=maximum.optimization,
        informative=limit.informative,
        uncorrected=beta,
        response=found,
        whole_covariance=covariance,
        loglik_at_limit=limit.loglik,
        likeliest=found,
    )


def own_fixed_again(fit: OwnFixedEffectsFit, data: ModelData, control: Control = _DEFAULT) -> OwnFixedEffectsFit:
    """Fit the model of `fit` to other responses, without a correction."""
    response = anew(own_of(fit), data)
    return fit_own_fixed_effects(with_constant(data, response), response, None, control)


def at_parameters(fit: OwnFixedEffectsFit, data: ModelData, psi: Array, how: str) -> OwnFixedEffectsFit:
    """A fit with other working values of the response's parameters: intercepts, Hessian and covariance follow."""
    response, of_beta = own_of(fit), parameters_of(fit, data.names).coefficients
    within, found = OwnWithin(data, response), response.at(psi)
    there = within.evaluate(within.inside(fit.beta, psi))
    covariance, hessian = on_user_scale(there.hessian, within.to_values(psi))
    return replace(
        fit,
        intercepts=_intercepts(data, found, fit.beta),
        covariance=covariance[of_beta, of_beta].copy(),
        hessian=hessian[of_beta, of_beta].copy(),
        correction=how,
        response=found,
        whole_covariance=covariance,
    )


def own_of(fit: OwnFixedEffectsFit) -> OwnParameters:
    """The response, whose parameters are known to be there."""
    assert fit.response is not None
    return fit.response


def own_cluster_profile(data: ModelData, response: OwnParameters, beta: Array) -> ClusterProfile:
    """Intercepts of all clusters, and what goes with them in (beta, working values), on the user's scale.

    At the end of the parameters' range it is that of the model there, of which nothing depends on them.
    """
    k = len(response.own)
    if response.at_end:
        found = cluster_profile(data, _limit_of(response), beta)
        nothing = np.zeros((data.n_clusters, k))
        means, scores = (np.hstack([each, nothing]) for each in (found.means, found.scores))
        return replace(found, means=means, scores=scores)
    known = informative_clusters(data, _limit_of(response))
    some = own_profile(data.X, data, response).clusters(np.append(beta, response.working))
    m, q = data.n_clusters, len(beta) + k
    whole = ClusterProfile(np.full(m, -np.inf), np.zeros(m), np.zeros((m, q)), np.zeros((m, q)))
    for name in ("intercepts", "information", "means", "scores"):
        getattr(whole, name)[known] = getattr(some, name)
    return whole


def parameters_of(fit: OwnFixedEffectsFit, names: tuple[str, ...]) -> Parameters:
    """What stands where in `whole_covariance`."""
    return coefficients(names).and_own(own_of(fit).own, fit.own_state)


def _limit_of(response: OwnParameters) -> Response:
    """The model without parameters, in which the same clusters have infinite intercepts."""
    assert response.at_limit is not None
    return response.at_limit


def own_profile(X: Array, data: ModelData, response: OwnParameters, threads: int = 1) -> OwnProfileLikelihood:
    """The likelihood in (coefficients of X, working values), of the clusters with a finite intercept."""
    known = np.flatnonzero(informative_clusters(data, _limit_of(response)))
    X, some = chosen_clusters(X, data, known)
    return OwnProfileLikelihood(np.ascontiguousarray(X), some, response, alike(response, some), threads)


def _intercepts(data: ModelData, response: OwnParameters, beta: Array) -> Array:
    return own_cluster_profile(data, response, beta).intercepts


def _moments(data: ModelData, limit: FixedEffectsFit, response: OwnParameters) -> Array:
    """Working values by moments about the means of the model at the limit."""
    rows = np.repeat(limit.informative, np.diff(data.starts))
    eta = data.X @ limit.beta + data.offset + np.repeat(limit.intercepts, np.diff(data.starts))
    return response.start(_limit_of(response).mean(eta[rows]), data.a[rows], data.b[rows])
