"""The maxima of fitted models, as profiles need them: an objective around its maximum, in standardised coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.penalty import PenalizedSums
from clusterglm.fit.penalty_fixed import PenalizedFixed
from clusterglm.fit.penalty_within import PenalizedWithin
from clusterglm.fit.pooled import sums_of
from clusterglm.fit.soft import marginal_of
from clusterglm.fit.standardise import standardise
from clusterglm.fit.sums import MarginalSums, in_free
from clusterglm.fit.within import WithinSums, sums_within
from clusterglm.inference.uncertainty.profiling import Peak
from clusterglm.likelihood.conditional import ConditionalLikelihood
from clusterglm.likelihood.evaluation import Evaluation, core_problem
from clusterglm.likelihood.plan import Plan
from clusterglm.likelihood.profile import ProfileLikelihood
from clusterglm.likelihood.scalar.rules import single_rule
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response

_DOUBLINGS = 20  # of sigma, for which rules are chosen again


@dataclass(frozen=True)
class Summit:
    """A fitted model's likelihood around its maximum.

    Parameters
    ----------
    peaks : tuple of Peak
        One for each parameter, in the user's units.
    constant : float
        To be added to the objective for the normalised log-likelihood.
    """

    peaks: tuple[Peak, ...]
    constant: float


def _summit(evaluate: Callable[[Array], Evaluation], theta: Array, to_user: Array, constant: float) -> Summit:
    here = evaluate(theta)
    return Summit(tuple(Peak(evaluate, theta, here, row) for row in to_user), constant)


def pooled_summit(
    data: ModelData, response: Response, beta: Array, threads: int = 1, penalty: str | None = None
) -> Summit:
    """The maximum of a model without cluster effects."""
    sums = sums_of(data, response, Control(n_threads=threads))
    evaluate = sums.pooled if penalty is None else PenalizedSums.of(sums).evaluate
    return _summit(evaluate, sums.standard.inside(beta), sums.standard.L, data.constant)


def within_summit(
    data: ModelData, response: Response, beta: Array, loglik: float, *, conditional: bool, threads: int = 1
) -> Summit:
    """The maximum of a model with fixed or conditioned intercepts."""
    standard = standardise(data.X, None, centred=True)
    exact = conditional and not response.poisson_totals
    kind = ConditionalLikelihood if exact else ProfileLikelihood
    likelihood = kind(core_problem(standard.X, data, response), threads)
    summit = _summit(likelihood.evaluate, standard.inside(beta), standard.L, 0.0)
    return replace(summit, constant=loglik - summit.peaks[0].evaluation.value if summit.peaks else data.constant)


def penalized_within_summit(data: ModelData, response: Response, beta: Array, threads: int = 1) -> Summit:
    """The maximum of a conditional model with a penalty."""
    penalized = PenalizedWithin.of(WithinSums(sums_within(data, response, threads), conditional=True))
    standard = penalized.within.sums.standard
    return _summit(penalized.evaluate, standard.inside(beta), standard.L, penalized.constant)


def penalized_fixed_summit(data: ModelData, response: Response, beta: Array, threads: int = 1) -> Summit:
    """The maximum of a model with fixed intercepts and a penalty."""
    within = WithinSums(sums_within(data, response, threads), conditional=False)
    standard = within.sums.standard
    return _summit(PenalizedFixed.of(within).evaluate, standard.inside(beta), standard.L, data.constant)


def marginal_summit(data: ModelData, fit: RandomEffectsFit, threads: int = 1) -> Summit:
    """The maximum of a model with random intercepts, in the parameters that were not held.

    Where sigma = 0 is the maximum, coefficients are profiled at sigma = 0, and sigma, from there upwards, by rules that
    are accurate where its interval may end.
    """
    if fit.sigma == 0.0:
        summit = pooled_summit(data, fit.response, fit.pooled.beta, threads)
        return (
            summit if fit.sigma_fixed else replace(summit, peaks=(*summit.peaks, _sigma_from_zero(data, fit, threads)))
        )
    parameters = fit.parameters
    sums = sums_of(data, fit.response, Control(n_threads=threads))
    likelihood = marginal_of(sums, fit.integrator, fit.penalty)
    plan = sums.by_block(fit.plan)
    inside = parameters.joined(sums.standard.inside(fit.beta), fit.sigma)
    to_user = parameters.of_free(parameters.to_user(sums.standard.L))
    whole = _by_fitting_rules(likelihood, fit, plan)

    def free(at: Array) -> Evaluation:
        return in_free(whole(parameters.filled(at, inside)), parameters)

    summit = _summit(free, inside[parameters.free], to_user, data.constant)
    at_zero = fit.pooled.loglik - data.constant if fit.penalty is None else -np.inf
    peaks = list(summit.peaks)
    for scale in parameters.only_free.scales:
        peaks[scale] = replace(peaks[scale], least=0.0, value_at_least=at_zero)
    return replace(summit, peaks=tuple(peaks))


def _by_fitting_rules(likelihood: MarginalSums, fit: RandomEffectsFit, plan: Plan) -> Callable[[Array], Evaluation]:
    """The likelihood, by rules chosen again for each doubling of sigma where those of the fit belong to its own.

    Panels are laid about the integrands of single clusters, which coefficients move too: they are laid anew everywhere.
    """
    requested = fit.integration.requested
    same = fit.sigma_fixed or all(part.rule.laid_for == "all" for part in plan)
    if requested.kind != "auto" or same:
        return lambda theta: likelihood.evaluate(theta, plan)
    if any(part.rule.laid_for == "theta" for part in plan):
        return lambda theta: likelihood.evaluate(theta, likelihood.choose(theta, requested.tolerance).plan)
    plans = {0: plan}

    def evaluate(theta: Array) -> Evaluation:
        beta, sigma = theta[fit.parameters.coefficients], theta[fit.parameters.scale]
        ratio = abs(float(sigma)) / fit.sigma
        doublings = round(np.log2(np.clip(ratio, 2.0**-_DOUBLINGS, 2.0**_DOUBLINGS)))
        if doublings not in plans:
            at = fit.parameters.joined(beta, fit.sigma * 2.0**doublings)
            plans[doublings] = likelihood.choose(at, requested.tolerance).plan
        return likelihood.evaluate(theta, plans[doublings])

    return evaluate


def _sigma_from_zero(data: ModelData, fit: RandomEffectsFit, threads: int) -> Peak:
    """Sigma's profile where its maximum is 0."""
    sums = sums_of(data, fit.response, Control(n_threads=threads))
    likelihood = sums.marginal(fit.integrator)
    sigma, theta = fit.parameters.scale, fit.parameters.joined(sums.standard.inside(fit.pooled.beta), 0.0)
    plan: Plan = single_rule(8)
    requested = fit.integration.requested
    if requested.kind != "auto":
        plan = single_rule(1 if requested.kind == "laplace" else int(requested.nodes or 1))
    here = likelihood.evaluate(theta, plan)
    if requested.kind == "auto":
        curvature = max(-here.hessian[sigma, sigma], 1e-6 * data.n_clusters)
        guess = theta.copy()
        guess[sigma] = min(np.sqrt(4.0 / curvature), 3.0)
        plan = likelihood.choose(guess, requested.tolerance).plan
        here = likelihood.evaluate(theta, plan)
    return Peak(lambda t: likelihood.evaluate(t, plan), theta, here, np.eye(len(theta))[sigma], 0.0, here.value)
