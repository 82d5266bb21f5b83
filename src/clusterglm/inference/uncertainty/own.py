"""Models whose response has parameters of its own: their maxima, as profiles need them, and scores of clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.own import OwnPooledFit, OwnRandomEffectsFit, own_of
from clusterglm.fit.own_rows import OwnMarginal, OwnRows, kernel_data, standardised
from clusterglm.fit.sums import in_free
from clusterglm.inference.uncertainty.covariance import pooled_scores
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.inference.uncertainty.profiling import Peak
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.integrator import UnitLikelihood
from clusterglm.likelihood.own import chain_of, slopes
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.own.base import OwnParameters


def own_pooled_summit(data: ModelData, fit: OwnPooledFit, threads: int = 1) -> Summit:
    """The maximum without cluster effects, in (beta, working values of the response)."""
    response = fit.response
    assert response is not None
    rows = OwnRows(standardised(data, response, Control(n_threads=threads)), response)
    theta, p = rows.inside(fit.beta, (), response.working), len(fit.beta)
    here = rows.pooled(theta)
    peaks = [Peak(rows.pooled, theta, here, row) for row in rows.to_user(0)]
    return Summit((*peaks[:p], *_to_limit(peaks[p:], response, fit.loglik_at_limit)), 0.0)


def own_marginal_summit(data: ModelData, fit: OwnRandomEffectsFit, threads: int = 1) -> Summit:
    """The maximum with random intercepts, in what is free of (beta, sigma, working values of the response)."""
    response, parameters = own_of(fit), fit.all_parameters
    rows = OwnRows(standardised(data, response, Control(n_threads=threads)), response)
    likelihood = OwnMarginal(rows, fit.integrator)
    inside = rows.inside(fit.beta, (fit.sigma,), response.working)
    requested = fit.integration.requested

    def free(at: Array) -> Evaluation:
        theta = parameters.filled(at, inside)
        plan = fit.plan
        if requested.kind == "auto" and any(part.rule.laid_for != "all" for part in plan):
            plan = likelihood.choose(theta, requested.tolerance).plan
        return in_free(likelihood.evaluate(theta, plan), parameters)

    theta, here = inside[parameters.free], free(inside[parameters.free])
    peaks = [Peak(free, theta, here, row) for row in parameters.of_free(rows.to_user(1))]
    for scale in parameters.only_free.scales:
        peaks[scale] = replace(peaks[scale], least=0.0, value_at_least=fit.pooled.loglik)
    k = len(response.own)
    return Summit((*peaks[:-k], *_to_limit(peaks[-k:], response, fit.loglik_at_limit)), 0.0)


def own_pooled_scores(data: ModelData, fit: OwnPooledFit, *, by_row: bool) -> Array:
    """Scores of clusters, or rows, in the free ones of (beta, the response's parameters), without cluster effects."""
    response = fit.response
    assert response is not None
    if not response.values and response.at_limit is not None:
        return pooled_scores(data, response.at_limit, fit.beta, by_row=by_row)
    rows, eta = response.kernel_rows(data.a, data.b), data.X @ fit.beta + data.offset
    moved = kernel_data(data, rows)
    weights, starts = np.repeat(data.cluster_weights, np.diff(data.starts)), data.starts[:-1]
    if rows.columns is not None:
        p, moved = len(fit.beta), with_columns(moved, rows.columns, rows.shift)
        at = np.append(fit.beta, response.coordinates(response.working).value)
        found = pooled_scores(moved, rows.response, at, by_row=by_row)
        if by_row and rows.of is not None:
            found = np.add.reduceat(found, np.searchsorted(rows.of, np.arange(data.n_obs)), axis=0)
        each = weights[:, None] * response.terms(response.working, data.a, data.b).first
        return _chained(found, each if by_row else np.add.reduceat(each, starts), p, response)

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
    if not response.values and response.at_limit is not None:
        at_limit = fit.integrator.likelihood(data.X, data, response.at_limit)
        return at_limit.unit_scores(fit.theta, fit.plan)[:, free]
    if response.by_shifts:
        return _scores_by_shifts(data, fit, response)

    def likelihood(at: OwnParameters) -> UnitLikelihood:
        rows = at.kernel_rows(data.a, data.b)
        return fit.integrator.likelihood(data.X, kernel_data(data, rows), rows.response)

    def values(psi: Array) -> Array:
        at = response.at(psi)
        constants = np.add.reduceat(at.log_terms(data.a, data.b), data.starts[:-1])
        return likelihood(at).unit_values(fit.theta, fit.plan) + data.cluster_weights * constants

    inner = likelihood(response).unit_scores(fit.theta, fit.plan)[:, free]
    return np.column_stack([inner, _own_scores(values, response)])


def _scores_by_shifts(data: ModelData, fit: OwnRandomEffectsFit, response: OwnParameters) -> Array:
    """The same where the parameters enter by shifts: exactly, by the chain rule."""
    rows, p = response.kernel_rows(data.a, data.b), len(fit.beta)
    assert rows.columns is not None
    moved = with_columns(kernel_data(data, rows), rows.columns, rows.shift)
    at = np.concatenate([fit.beta, response.coordinates(response.working).value, [fit.sigma]])
    found = fit.integrator.likelihood(moved.X, moved, rows.response).unit_scores(at, fit.plan)
    each = data.cluster_weights[:, None] * np.add.reduceat(
        response.terms(response.working, data.a, data.b).first, data.starts[:-1]
    )
    return _chained(found, each, p, response)[:, fit.all_parameters.free]


def with_columns(data: ModelData, columns: Array, shift: float | Array) -> ModelData:
    """Kernel rows whose shift is again the coefficients of columns."""
    return replace(data, X=np.ascontiguousarray(np.hstack([data.X, columns])), offset=data.offset - shift)


def _chained(scores: Array, terms: Array, p: int, response: OwnParameters) -> Array:
    """Scores in (beta, others, psi) from those in (beta, coordinates, others), and what terms of psi add."""
    chained = scores @ chain_of(response.coordinates(response.working).first, p, scores.shape[1])
    return chained + np.pad(terms, ((0, 0), (chained.shape[1] - terms.shape[1], 0)))


def _own_scores(values: Callable[[Array], Array], response: OwnParameters) -> Array:
    """Derivatives of log-likelihoods in the response's parameters, shape (m, k), from their values at psi."""
    psi = response.working
    return slopes(values, psi).T / response.slopes(psi)


def _to_limit(peaks: list[Peak], response: OwnParameters, loglik: float) -> list[Peak]:
    """Profiles of working values, which are read as values: 0 at the lower end, where there is one."""
    if response.at_limit is None:
        return peaks

    def read(k: int, working: float) -> float:
        psi = response.working
        psi[k] = working
        return 0.0 if working <= response.lowest else response.at(psi).values[k]

    return [
        replace(peak, least=response.lowest, value_at_least=loglik, read=partial(read, k))
        for k, peak in enumerate(peaks)
    ]
