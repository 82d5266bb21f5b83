"""Diagnostics of models whose response has parameters of its own: linear predictors of other data, deletion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.data.resampled import only_clusters, rows_as_clusters
from clusterglm.fit.newton import Optimization
from clusterglm.fit.own import OwnPooledFit, OwnRandomEffectsFit, own_again, own_of, own_pooled_again
from clusterglm.fit.own_fixed import OwnFixedEffectsFit, own_cluster_profile, own_fixed_again, own_profile
from clusterglm.fit.own_rows import bordered, kernel_data, weighted_terms
from clusterglm.inference.diagnostics.influence import (
    CLOSE,
    Deletion,
    fixed_effects_deletion,
    pooled_deletion,
    random_effects_deletion,
)
from clusterglm.inference.uncertainty.own import own_marginal_scores, own_pooled_scores, with_shifts
from clusterglm.likelihood.evaluation import Evaluation, OwnArrays, core_problem
from clusterglm.likelihood.integrator import UnitLikelihood
from clusterglm.likelihood.own import through_coordinates
from clusterglm.likelihood.plan import Part, UnitRule
from clusterglm.likelihood.scalar.posterior import posterior_modes_of
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import coefficients
from clusterglm.model.response.own.base import OwnParameters


def own_at_modes(fit: OwnRandomEffectsFit) -> Callable[[ModelData], Array]:
    """The linear predictor at posterior modes of the intercepts, found for every data set anew; see `at_modes`."""
    response = own_of(fit)

    def predictor(data: ModelData) -> Array:
        known: Array = data.X @ fit.beta + data.offset
        if fit.sigma == 0.0:
            return known
        at, rows, sign = response.at_limit, data, 1.0
        if not response.at_end or at is None:
            kernel = response.kernel_rows(data.a, data.b)
            at, rows, sign = kernel.response, kernel_data(data, kernel), kernel.sign
        modes = posterior_modes_of(core_problem(rows.X, rows, at), fit.distribution, fit.theta)
        return known + np.repeat(sign * modes, np.diff(data.starts))

    return predictor


def own_pooled_deletion(fit: OwnPooledFit, data: ModelData) -> Deletion:
    """Deletion of clusters from a pooled fit, or of rows where there are none, in (beta, working values).

    Where the maximum lies at the end of the parameters' range it is deletion from the model there.
    """
    response = fit.response
    assert response is not None
    if response.at_end and response.at_limit is not None:
        return pooled_deletion(fit, data, response.at_limit)
    if data.cluster_name is None:
        data = rows_as_clusters(data)
    parameters = coefficients(data.names).and_own(response.own)
    theta = np.append(fit.beta, response.working)

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        again = own_pooled_again(fit, new, CLOSE)
        return _theta_of(again.beta, again.response), again.optimization

    def evaluate(at: Array, some: slice) -> Evaluation:
        return _pooled_rows(data, response.at(at[parameters.own]), at[parameters.coefficients], some)

    return Deletion(
        data,
        parameters.names,
        theta,
        -evaluate(theta, slice(0, data.n_obs)).hessian,
        _in_working(own_pooled_scores(data, fit, by_row=False), response),
        lambda i: evaluate(theta, slice(int(data.starts[i]), int(data.starts[i + 1]))).hessian,
        refit,
        lambda at: evaluate(at, slice(0, data.n_obs)).value,
        as_shown=lambda at: _as_values(at, response),
    )


def own_marginal_deletion(fit: OwnRandomEffectsFit, data: ModelData) -> Deletion:
    """Deletion of clusters from a random-intercept fit, in what is free of (beta, sigma, working values).

    At sigma = 0 it is deletion from the pooled fit, and where the response's parameters lie at the end of their range
    that from the model there.
    """
    response = own_of(fit)
    if fit.sigma == 0.0:
        again = own_pooled_deletion(fit.pooled, data)
        return replace(again, refit=lambda new: _refitted(fit, new))
    if response.at_end and response.at_limit is not None:
        return random_effects_deletion(replace(fit, response=response.at_limit), data)
    parameters, p = fit.all_parameters, len(fit.beta)
    theta, free = np.concatenate([fit.beta, [fit.sigma], response.working]), parameters.free
    rules: dict[int, UnitRule] = {}
    for part in fit.plan:
        served = range(data.n_clusters) if part.clusters is None else part.clusters
        rules |= {int(i): part.rule for i in served}

    def likelihood(own: OwnParameters, beta: Array) -> tuple[UnitLikelihood, Array]:
        kernel, moved, wider = with_shifts(data, own, beta)
        arrays = OwnArrays(
            moved.starts, moved.a, moved.b, moved.offset, moved.cluster_weights, kernel.own, kernel.groups
        )
        return fit.integrator.likelihood(moved.X, arrays, kernel.response), wider

    shared, wider = likelihood(response, fit.beta)

    def hessian(i: int) -> Array:
        core = shared.evaluate(np.append(wider, fit.sigma), (Part(rules[i], np.array([i], dtype=np.int64)),))
        rows = slice(int(data.starts[i]), int(data.starts[i + 1]))
        weights = np.full(rows.stop - rows.start, data.cluster_weights[i])
        terms = weighted_terms(response, response.working, data.a[rows], data.b[rows], weights)
        whole = through_coordinates(core, p, response.coordinates(response.working), terms)
        return parameters.of_free(whole.hessian)

    def loglik(at: Array) -> float:
        whole = parameters.filled(at, theta)
        own, weights = response.at(whole[parameters.own]), np.repeat(data.cluster_weights, np.diff(data.starts))
        there, beta = likelihood(own, whole[parameters.coefficients])
        value = there.evaluate(np.append(beta, whole[parameters.scale]), fit.plan, 0).value
        return value + float(weights @ own.log_terms(data.a, data.b))

    scores = _in_working(own_marginal_scores(data, fit), response)
    return Deletion(
        data,
        parameters.names_of(free),
        theta[free],
        -sum_of(hessian, data.n_clusters),
        scores,
        hessian,
        lambda new: _refitted(fit, new),
        loglik,
        as_shown=lambda at: _as_values(at, response),
    )


def own_fixed_deletion(fit: OwnFixedEffectsFit, data: ModelData) -> Deletion:
    """Deletion of clusters from a fit with fixed intercepts, in (beta, working values), at the likelihood's maximum.

    Where the response's parameters lie at the end of their range it is deletion from the model there.
    """
    response, beta = fit.likeliest, fit.uncorrected
    assert response is not None
    if response.at_end and response.at_limit is not None:
        return fixed_effects_deletion(fit, data, response.at_limit)
    theta, names = np.append(beta, response.working), (*data.names, *response.own)

    def evaluate(rows: ModelData, at: Array) -> Evaluation:
        return own_profile(rows.X, rows, response).evaluate(at)

    def hessian(i: int) -> Array:
        if not fit.informative[i]:
            return np.zeros((len(theta), len(theta)))
        return evaluate(only_clusters(data, np.arange(data.n_clusters) == i), theta).hessian

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        again = own_fixed_again(fit, new, CLOSE)
        return _theta_of(again.beta, again.response), again.optimization

    return Deletion(
        data,
        names,
        theta,
        -evaluate(data, theta).hessian,
        own_cluster_profile(data, response, beta).scores,
        hessian,
        refit,
        lambda at: evaluate(data, at).value,
        as_shown=lambda at: _as_values(at, response),
    )


def sum_of(hessian: Callable[[int], Array], m: int) -> Array:
    """The Hessian of all clusters from those of each."""
    total = hessian(0).copy()
    for i in range(1, m):
        total += hessian(i)
    return total


def _refitted(fit: OwnRandomEffectsFit, new: ModelData) -> tuple[Array, Optimization]:
    again = own_again(fit, new, CLOSE)
    theta = _theta_of(np.append(again.beta, again.sigma), own_of(again))
    return theta[fit.all_parameters.free], again.optimization


def _theta_of(inner: Array, response: OwnParameters | None) -> Array:
    """Estimates in working values; at the end of their range the least of these."""
    assert response is not None
    own = np.full(len(response.own), response.lowest) if response.at_end else response.working
    return np.append(inner, own)


def _as_values(theta: Array, response: OwnParameters) -> Array:
    """Working values, the last of theta, as people know them; those of the model at the lower end there."""
    inner, psi = np.split(theta, [len(theta) - len(response.own)])
    if response.at_limit is not None and (psi <= response.lowest).any():
        psi = np.full(len(psi), response.at_lower)
    elif np.isfinite(psi).all():
        psi = np.array(response.at(psi).values)
    return np.append(inner, psi)


def _in_working(scores: Array, response: OwnParameters) -> Array:
    """Scores in working values from those in values, the last columns."""
    scores[:, scores.shape[1] - len(response.own) :] *= response.slopes(response.working)
    return scores


def _pooled_rows(data: ModelData, own: OwnParameters, beta: Array, some: slice) -> Evaluation:
    """The log-likelihood of some rows without cluster effects, in (beta, working values)."""
    weights = np.repeat(data.cluster_weights, np.diff(data.starts))[some]
    few = replace(
        data, X=data.X[some], a=data.a[some], b=data.b[some], offset=data.offset[some],
        starts=np.array([0, len(weights)], dtype=np.int64), cluster_weights=np.ones(1),
    )  # fmt: skip
    kernel, moved, wider = with_shifts(few, own, beta)
    each = weights if kernel.of is None else weights[kernel.of]
    at = moved.X @ wider + moved.offset
    value, G, H, *_ = kernel.response.derivatives(at, kernel.a, kernel.b)
    found = Evaluation(float(each @ value), moved.X.T @ (each * G), (moved.X.T * (each * H)) @ moved.X)
    if kernel.groups is not None:
        parts = own.own_derivatives(at, kernel.a, kernel.b)
        found = bordered(found, moved.X, kernel.own, kernel.groups, each, parts)
    psi = own.working
    terms = weighted_terms(own, psi, few.a, few.b, weights)
    return through_coordinates(found, len(beta), own.coordinates(psi), terms)
