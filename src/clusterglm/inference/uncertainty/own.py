"""Models whose response has parameters of its own: their maxima, as profiles need them, and scores of clusters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.own import OwnPooledFit, OwnRandomEffectsFit, own_of
from clusterglm.fit.own_fixed import OwnFixedEffectsFit, OwnWithin
from clusterglm.fit.own_fixed import own_of as fixed_of
from clusterglm.fit.own_rows import OwnMarginal, OwnRows, kernel_data, standardised
from clusterglm.fit.sums import in_free
from clusterglm.inference.uncertainty.covariance import pooled_scores
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.inference.uncertainty.profiling import Peak
from clusterglm.likelihood.evaluation import Evaluation, OwnArrays
from clusterglm.likelihood.own import chain_of
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.own.base import KernelRows, OwnParameters


def own_pooled_summit(data: ModelData, fit: OwnPooledFit, threads: int = 1) -> Summit:
    """The maximum without cluster effects, in (beta, working values of the response)."""
    response = fit.response
    assert response is not None
    rows = OwnRows(standardised(data, response, Control(n_threads=threads)), response)
    theta, p = rows.inside(fit.beta, (), response.working), len(fit.beta)
    here = rows.pooled(theta)
    peaks = [Peak(rows.pooled, theta, here, row) for row in rows.to_user(0)]
    return Summit((*peaks[:p], *to_limit(peaks[p:], response, fit.loglik_at_limit)), 0.0)


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
    inner = len(peaks) - k
    return Summit((*peaks[:inner], *to_limit(peaks[inner:], response, fit.loglik_at_limit)), 0.0)


def own_fixed_summit(data: ModelData, fit: OwnFixedEffectsFit, threads: int = 1) -> Summit:
    """The maximum with fixed intercepts, in (beta, working values of the response)."""
    response, p = fixed_of(fit), len(fit.beta)
    within = OwnWithin(data, response, threads)
    theta = within.inside(fit.beta, response.working)
    here = within.evaluate(theta)
    peaks = [Peak(within.evaluate, theta, here, row) for row in within.to_user()]
    return Summit((*peaks[:p], *to_limit(peaks[p:], response, fit.loglik_at_limit)), 0.0)


def own_pooled_scores(data: ModelData, fit: OwnPooledFit, *, by_row: bool) -> Array:
    """Scores of clusters, or rows, in the free ones of (beta, the response's parameters), without cluster effects."""
    response = fit.response
    assert response is not None
    if response.at_end and response.at_limit is not None:
        return pooled_scores(data, response.at_limit, fit.beta, by_row=by_row)
    rows, moved, beta = with_shifts(data, response, fit.beta)
    found = pooled_scores(moved, rows.response, beta, by_row=by_row)
    starts = np.arange(data.n_obs) if by_row else data.starts[:-1]
    weights = np.repeat(data.cluster_weights, np.diff(data.starts))
    firsts = starts if rows.of is None else np.searchsorted(rows.of, starts)
    if by_row and rows.of is not None:
        found = np.add.reduceat(found, firsts, axis=0)
    if rows.groups is not None:
        g = response.own_derivatives(moved.X @ beta + moved.offset, rows.a, rows.b)[0]
        of_own = np.where(rows.groups[:, None] == np.arange(rows.own), g[:, None], 0.0)
        of_own *= (weights if rows.of is None else weights[rows.of])[:, None]
        found = np.column_stack([found, np.add.reduceat(of_own, firsts, axis=0)])
    each = weights[:, None] * response.terms(response.working, data.a, data.b).first
    return _chained(found, np.add.reduceat(each, starts, axis=0), len(fit.beta), response)


def own_marginal_scores(data: ModelData, fit: OwnRandomEffectsFit) -> Array:
    """Scores of clusters in the free ones of (beta, sigma, the response's parameters)."""
    response, free = own_of(fit), fit.parameters.free
    if fit.sigma == 0.0:
        return own_pooled_scores(data, fit.pooled, by_row=False)
    if response.at_end and response.at_limit is not None:
        at_limit = fit.integrator.likelihood(data.X, data, response.at_limit)
        return at_limit.unit_scores(fit.theta, fit.plan)[:, free]
    rows, moved, beta = with_shifts(data, response, fit.beta)
    arrays = OwnArrays(moved.starts, moved.a, moved.b, moved.offset, moved.cluster_weights, rows.own, rows.groups)
    likelihood = fit.integrator.likelihood(moved.X, arrays, rows.response)
    found = likelihood.unit_scores(np.append(beta, fit.sigma), fit.plan)
    each = np.add.reduceat(response.terms(response.working, data.a, data.b).first, data.starts[:-1], axis=0)
    terms = data.cluster_weights[:, None] * each
    return _chained(found, terms, len(fit.beta), response)[:, fit.all_parameters.free]


def with_shifts(data: ModelData, response: OwnParameters, beta: Array) -> tuple[KernelRows, ModelData, Array]:
    """Kernel rows, as data with the columns that parameters are coefficients of, and all coefficients."""
    rows = response.kernel_rows(data.a, data.b)
    moved = kernel_data(data, rows)
    if rows.columns is None:
        return rows, moved, beta
    shifts = response.coordinates(response.working).value[: rows.columns.shape[1]]
    X = np.ascontiguousarray(np.hstack([moved.X, rows.columns]))
    return rows, replace(moved, X=X, offset=moved.offset - rows.shift), np.append(beta, shifts)


def _chained(scores: Array, terms: Array, p: int, response: OwnParameters) -> Array:
    """Scores in (beta, others, values) from those in (beta, coordinates, others), and what terms of psi add."""
    psi = response.working
    chained = scores @ chain_of(response.coordinates(psi).first, p, scores.shape[1])
    own = slice(chained.shape[1] - len(psi), chained.shape[1])
    chained[:, own] = (chained[:, own] + terms) / response.slopes(psi)
    return chained


def to_limit(peaks: list[Peak], response: OwnParameters, loglik: float) -> list[Peak]:
    """Profiles of working values, which are read as values, up to that at the lower end, where there is one."""

    def read(k: int, working: float) -> float:
        psi = response.working
        psi[k] = working
        return response.at_lower if working <= response.lowest else response.at(psi).values[k]

    def read_back(k: int, against: float) -> float:
        return read(k, -against)

    def ended(k: int, peak: Peak) -> Peak:
        if response.at_limit is None:
            return replace(peak, read=partial(read, k))
        if response.slopes(response.working)[k] > 0.0:
            return replace(peak, least=response.lowest, value_at_least=loglik, read=partial(read, k))
        limit = -response.lowest  # values that fall as working values rise: these are looked at with their sign turned
        return replace(peak, direction=-peak.direction, most=limit, value_at_most=loglik, read=partial(read_back, k))

    return [ended(k, peak) for k, peak in enumerate(peaks)]
