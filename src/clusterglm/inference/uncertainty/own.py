"""Models whose response has parameters of its own: their maxima, as profiles need them, and scores of clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.own import OwnMarginal, OwnPooledFit, OwnRandomEffectsFit, OwnRows, own_of, standardised
from clusterglm.fit.sums import in_free
from clusterglm.inference.uncertainty.covariance import pooled_scores
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.inference.uncertainty.profiling import Peak
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.integrator import UnitLikelihood
from clusterglm.likelihood.own import slopes
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.own.base import OwnParameters


def own_pooled_summit(data: ModelData, fit: OwnPooledFit, threads: int = 1) -> Summit:
    """The maximum without cluster effects, in (beta, working values of the response)."""
    response = fit.response
    assert response is not None
    sums = standardised(data, response, Control(n_threads=threads))
    theta = np.append(sums.standard.inside(fit.beta), response.working)
    to_user, p = np.eye(len(theta)), len(fit.beta)
    to_user[:p, :p] = sums.standard.L
    evaluate = OwnRows(sums, response).pooled
    here = evaluate(theta)
    peaks = [Peak(evaluate, theta, here, row) for row in to_user]
    return Summit((*peaks[:p], *_to_limit(peaks[p:], response, fit.loglik_at_limit)), 0.0)


def own_marginal_summit(data: ModelData, fit: OwnRandomEffectsFit, threads: int = 1) -> Summit:
    """The maximum with random intercepts, in what is free of (beta, sigma, working values of the response)."""
    response, parameters = own_of(fit), fit.all_parameters
    sums = standardised(data, response, Control(n_threads=threads))
    likelihood = OwnMarginal(OwnRows(sums, response), fit.integrator)
    inside = parameters.joined(sums.standard.inside(fit.beta), fit.sigma, response.working)
    requested = fit.integration.requested

    def free(at: Array) -> Evaluation:
        theta = parameters.filled(at, inside)
        plan = fit.plan
        if requested.kind == "auto" and any(part.rule.laid_for != "all" for part in plan):
            plan = likelihood.choose(theta, requested.tolerance).plan
        return in_free(likelihood.evaluate(theta, plan), parameters)

    theta, here = inside[parameters.free], free(inside[parameters.free])
    peaks = [Peak(free, theta, here, row) for row in parameters.of_free(parameters.to_user(sums.standard.L))]
    for scale in parameters.only_free.scales:
        peaks[scale] = replace(peaks[scale], least=0.0, value_at_least=fit.pooled.loglik)
    k = len(response.own)
    return Summit((*peaks[:-k], *_to_limit(peaks[-k:], response, fit.loglik_at_limit)), 0.0)


def own_pooled_scores(data: ModelData, fit: OwnPooledFit, *, by_row: bool) -> Array:
    """Scores of clusters, or rows, in the free ones of (beta, the response's parameters), without cluster effects."""
    response = fit.response
    assert response is not None
    if not response.values:
        return pooled_scores(data, response.at_limit, fit.beta, by_row=by_row)
    rows, eta = response.kernel_rows(data.a, data.b), data.X @ fit.beta + data.offset
    moved = replace(data, a=rows.a, b=rows.b, offset=data.offset + rows.shift)
    weights, starts = np.repeat(data.cluster_weights, np.diff(data.starts)), data.starts[:-1]

    def values(psi: Array) -> Array:
        at = response.at(psi)
        each = at.value(eta, data.a, data.b) + at.log_constants(data.a / data.weights, data.trials, data.weights)
        return weights * each if by_row else np.add.reduceat(weights * each, starts)

    return np.column_stack(
        [pooled_scores(moved, rows.response, fit.beta, by_row=by_row), _own_scores(values, response)]
    )


def own_marginal_scores(data: ModelData, fit: OwnRandomEffectsFit) -> Array:
    """Scores of clusters in the free ones of (beta, sigma, the response's parameters)."""
    response, free = own_of(fit), fit.parameters.free
    if fit.sigma == 0.0:
        return own_pooled_scores(data, fit.pooled, by_row=False)
    if not response.values:
        at_limit = fit.integrator.likelihood(data.X, data, response.at_limit)
        return at_limit.unit_scores(fit.theta, fit.plan)[:, free]

    def likelihood(at: OwnParameters) -> UnitLikelihood:
        rows = at.kernel_rows(data.a, data.b)
        moved = replace(data, a=rows.a, b=rows.b, offset=data.offset + rows.shift)
        return fit.integrator.likelihood(data.X, moved, rows.response)

    def values(psi: Array) -> Array:
        at = response.at(psi)
        constants = np.add.reduceat(at.log_terms(data.a, data.b), data.starts[:-1])
        return likelihood(at).unit_values(fit.theta, fit.plan) + data.cluster_weights * constants

    inner = likelihood(response).unit_scores(fit.theta, fit.plan)[:, free]
    return np.column_stack([inner, _own_scores(values, response)])


def _own_scores(values: Callable[[Array], Array], response: OwnParameters) -> Array:
    """Derivatives of log-likelihoods in the response's parameters, shape (m, k), from their values at psi."""
    psi = response.working
    return slopes(values, psi).T / response.slopes(psi)


def _to_limit(peaks: list[Peak], response: OwnParameters, loglik: float) -> list[Peak]:
    """Profiles of working values, which are read as values: 0 at the lower end."""

    def read(k: int, working: float) -> float:
        psi = response.working
        psi[k] = working
        return 0.0 if working <= response.lowest else response.at(psi).values[k]

    return [
        replace(peak, least=response.lowest, value_at_least=loglik, read=partial(read, k))
        for k, peak in enumerate(peaks)
    ]
