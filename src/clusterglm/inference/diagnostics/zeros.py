"""Diagnostics of counts whose zeros have a linear predictor: counts' linear predictors of other data, deletion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from clusterglm.data.positive import positive_counts, zero_or_not
from clusterglm.data.prepare import ModelData
from clusterglm.data.resampled import only_rows, rows_as_clusters
from clusterglm.data.zero_part import zero_part_of
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.hurdle import HurdlePooledFit, HurdleRandomEffectsFit
from clusterglm.fit.hurdle_mixed import HurdleMixedFit
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.newton import Optimization
from clusterglm.fit.own import OwnPooledFit, OwnRandomEffectsFit
from clusterglm.fit.own_mixed import OwnMixedFit
from clusterglm.fit.own_rows import OwnMarginal
from clusterglm.fit.pooled import PooledFit
from clusterglm.fit.zero_estimates import ZeroPooledFit, ZeroRandomEffectsFit
from clusterglm.fit.zero_mixed import ZeroMixedFit
from clusterglm.fit.zero_rows import kernel_data, rows_as_they_are
from clusterglm.fit.zeros import zero_again, zero_pooled_again
from clusterglm.inference.diagnostics.dispersion import at_modes
from clusterglm.inference.diagnostics.influence import CLOSE, Deletion, pooled_deletion, random_effects_deletion
from clusterglm.inference.diagnostics.mixed_influence import mixed_deletion
from clusterglm.inference.diagnostics.own import own_at_modes, own_marginal_deletion, own_pooled_deletion
from clusterglm.inference.diagnostics.own_several import own_several_deletion
from clusterglm.inference.uncertainty.replicates import ReplicateError
from clusterglm.inference.uncertainty.zeros import zero_marginal_scores, zero_pooled_scores
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.plan import Part, UnitRule
from clusterglm.likelihood.scalar.posterior import posterior_modes_of
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.poisson_log import PoissonLog
from clusterglm.model.response.zeros.hurdle import Hurdle
from clusterglm.model.response.zeros.inflated import ZeroInflated

_AT_AN_END = "without the cluster, no zero is one for certain or counts are Poisson: parameters lie at their ends"


# Linear predictors ----------------------------------------------------------------------------------------------------


def zero_at_modes(fit: ZeroRandomEffectsFit) -> Callable[[ModelData], Array]:
    """The counts' linear predictor at posterior modes of the intercepts, found for every data set anew."""

    def predictor(data: ModelData) -> Array:
        known: Array = data.X @ fit.beta + data.offset
        if fit.sigma == 0.0:
            return known
        rows, kernel = kernel_data(data, fit.zero_rows.X, fit.inflated)
        modes = posterior_modes_of(core_problem(rows.X, rows, kernel), fit.distribution, fit.theta)
        return known + np.repeat(modes, np.diff(data.starts))

    return predictor


def hurdle_at_modes(fit: HurdleRandomEffectsFit) -> Callable[[ModelData], Array]:
    """The same with a hurdle: 0 in clusters without a count above it."""
    counts = fit.counts
    assert counts is not None
    of_positive = own_at_modes(counts) if fit.inflated.dispersed else at_modes(counts)  # type: ignore[arg-type]  # of such counts

    def predictor(data: ModelData) -> Array:
        known: Array = data.X @ fit.beta + data.offset
        rows = np.flatnonzero(data.a > 0.0)
        if fit.sigma == 0.0 or len(rows) == 0:
            return known
        positive, modes = only_rows(data, rows), np.zeros(data.n_clusters)
        shift = of_positive(positive) - known[rows]
        modes[np.isin(data.labels, positive.labels)] = shift[positive.starts[:-1]]
        return known + np.repeat(modes, np.diff(data.starts))

    return predictor


# Deletion -------------------------------------------------------------------------------------------------------------


def zero_pooled_deletion(fit: ZeroPooledFit, data: ModelData) -> Deletion:
    """Deletion of clusters from a pooled fit, or of rows where there are none.

    In (beta, log(alpha) where there is one, coefficients of zeros). Where the maximum lies at the end of their range it
    is deletion from the model there.
    """
    if fit.zero_state == "boundary":
        return _of_plain_pooled(fit, data)
    if data.cluster_name is None:
        data = rows_as_clusters(data)
    response, zero = _there(fit.inflated), zero_part_of(fit.zero_rows, data)
    theta, k = np.append(fit.beta, response.working), int(response.dispersed)

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        again = zero_pooled_again(replace(fit, response=response), new, CLOSE)
        return np.append(again.beta, _working(again)), again.optimization

    def hessian(i: int) -> Array:
        alone = _alone(data, i)
        return rows_as_they_are(alone, zero_part_of(zero, alone), response).pooled(theta).hessian

    whole = rows_as_they_are(data, zero, response)
    scores = zero_pooled_scores(data, replace(fit, response=response, zero=zero), by_row=False)
    return Deletion(
        data,
        (*data.names, *response.own),
        theta,
        -whole.pooled(theta).hessian,
        _in_working(scores, response),
        hessian,
        refit,
        lambda at: whole.pooled(at).value,
        as_shown=partial(_as_shown, at=len(theta) - len(response.own) if k else None),
    )


def zero_marginal_deletion(fit: ZeroRandomEffectsFit, data: ModelData) -> Deletion:
    """Deletion of clusters from a random-intercept fit, sigma behind the coefficients; at 0 from the pooled fit."""
    if fit.sigma == 0.0:
        found = zero_pooled_deletion(fit.pooled, data)
        return found if fit.pooled.zero_state == "boundary" else replace(found, refit=partial(_refitted_at_zero, fit))
    if fit.zero_state == "boundary":
        return _of_plain_intercepts(fit, data)
    response = _there(fit.inflated)
    fit = replace(fit, response=response, poisson=False)
    parameters, zero = fit.all_parameters, fit.zero_rows
    theta, free = np.concatenate([fit.beta, [fit.sigma], response.working]), parameters.free
    rules: dict[int, UnitRule] = {}
    for part in fit.plan:
        served = range(data.n_clusters) if part.clusters is None else part.clusters
        rules |= {int(i): part.rule for i in served}

    def likelihood(some: ModelData) -> OwnMarginal:
        return OwnMarginal(rows_as_they_are(some, zero_part_of(zero, some), response), fit.integrator)

    def hessian(i: int) -> Array:
        return parameters.of_free(likelihood(_alone(data, i)).evaluate(theta, (Part(rules[i]),)).hessian)

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        again = zero_again(fit, new, CLOSE)
        return np.concatenate([again.beta, [again.sigma], _working(again)])[free], again.optimization

    def loglik(at: Array) -> float:
        return likelihood(data).evaluate(parameters.filled(at, theta), fit.plan, 0).value

    return Deletion(
        data,
        parameters.names_of(free),
        theta[free],
        -parameters.of_free(likelihood(data).evaluate(theta, fit.plan).hessian),
        _in_working(zero_marginal_scores(data, fit), response),
        hessian,
        refit,
        loglik,
        as_shown=partial(_as_shown, at=len(theta[free]) - len(response.own) if response.dispersed else None),
    )


def zero_several_deletion(fit: ZeroMixedFit, as_shown: Callable[[Array], Array]) -> Deletion:
    """Deletion of clusters from a fit with several effects; see `own_several_deletion`."""
    if fit.zero_state == "boundary":
        return _of_plain_effects(fit, as_shown)
    return own_several_deletion(replace(fit, response=_there(fit.inflated), poisson=False), as_shown)


def hurdle_deletion(
    of_counts: Deletion, zeros: PooledFit, data: ModelData, zero: ModelData, response: Hurdle
) -> Deletion:
    """Deletion from both parts of a model with a hurdle, whose likelihoods separate.

    Parameters
    ----------
    of_counts : Deletion
        From the fit of the counts that are not 0, by the clusters (or rows) that have some.
    zeros : PooledFit
        Of which counts are 0.
    data, zero : ModelData
        All rows, with the columns of counts and with those of zeros.
    response : Hurdle
    """
    if data.cluster_name is None:
        data = rows_as_clusters(data)
    of_zeros = pooled_deletion(zeros, zero_or_not(zero_part_of(zero, data)), BinomialLogit())
    k, c = len(of_counts.theta), len(zeros.beta)
    place = np.full(data.n_clusters, -1)
    place[np.isin(data.labels, of_counts.data.labels)] = np.arange(of_counts.data.n_clusters)
    scores = np.zeros((data.n_clusters, k))
    scores[place >= 0] = of_counts.scores
    reads = response.truncated.reads if isinstance(response.truncated, OwnParameters) else response.truncated

    def hessian(i: int) -> Array:
        own = of_counts.cluster_hessian(int(place[i])) if place[i] >= 0 else np.zeros((k, k))
        return _diagonal(own, of_zeros.cluster_hessian(i))

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        one, story = of_counts.refit(positive_counts(new, reads))
        other, beside = of_zeros.refit(zero_or_not(zero_part_of(zero, new)))
        return np.append(one, other), beside if story.converged else story

    def shown(at: Array) -> Array:
        return np.append(of_counts.as_shown(at[:-c]), at[-c:])

    return Deletion(
        data,
        (*of_counts.parameters, *response.own[int(response.dispersed) :]),
        np.append(of_counts.theta, of_zeros.theta),
        _diagonal(of_counts.information, of_zeros.information),
        np.column_stack([scores, of_zeros.scores]),
        hessian,
        refit,
        lambda at: of_counts.loglik(at[:-c]) + of_zeros.loglik(at[-c:]),
        as_shown=shown,
    )


def hurdle_pooled_deletion(fit: HurdlePooledFit, data: ModelData) -> Deletion:
    """Without cluster effects."""
    counts, zeros, response = fit.counts, fit.zeros, fit.inflated
    assert counts is not None
    assert zeros is not None
    assert isinstance(response, Hurdle)
    positive = only_rows(data, np.flatnonzero(data.a > 0.0))
    if response.dispersed:
        own = own_pooled_deletion(counts, positive)  # type: ignore[arg-type]  # of such counts
    else:
        own = pooled_deletion(counts, positive, response.truncated)
    return hurdle_deletion(own, zeros, data, fit.zero_rows, response)


def hurdle_marginal_deletion(fit: HurdleRandomEffectsFit, data: ModelData) -> Deletion:
    """With a random intercept for each cluster in the counts that are not 0."""
    counts, zeros, response = fit.counts, fit.zeros, fit.inflated
    assert counts is not None
    assert zeros is not None
    assert isinstance(response, Hurdle)
    made = own_marginal_deletion if response.dispersed else random_effects_deletion
    return hurdle_deletion(made(counts, counts.data.rows), zeros, data, fit.zero_rows, response)  # type: ignore[arg-type]


def hurdle_several_deletion(fit: HurdleMixedFit, as_shown: Callable[[Array], Array]) -> Deletion:
    """With several random effects in these."""
    zeros, response, own = fit.zeros, fit.inflated, fit.own_counts
    assert zeros is not None
    assert isinstance(response, Hurdle)
    counts = mixed_deletion(fit.of_counts, as_shown) if own is None else own_several_deletion(own, as_shown)
    return hurdle_deletion(counts, zeros, fit.data.rows, fit.zero_rows, response)


# Where the maximum lies at an end -------------------------------------------------------------------------------------


def _there(response: ZeroInflated) -> ZeroInflated:
    """The response with the parameters that it has at the estimates: Poisson counts where alpha is 0."""
    if response.dispersed and response.alpha == 0.0:
        return replace(response, dispersed=False, values=tuple(response.zero.tolist()))
    return response


def _of_plain_pooled(fit: ZeroPooledFit, data: ModelData) -> Deletion:
    """From counts without inflation."""
    alpha = fit.inflated.alpha
    if alpha == 0.0:
        return pooled_deletion(fit, data, PoissonLog())
    return own_pooled_deletion(OwnPooledFit(**_plain(OwnPooledFit, fit, NegativeBinomial((alpha,)))), data)


def _of_plain_intercepts(fit: ZeroRandomEffectsFit, data: ModelData) -> Deletion:
    """The same with random intercepts."""
    alpha = fit.inflated.alpha
    if alpha == 0.0:
        return random_effects_deletion(RandomEffectsFit(**_plain(RandomEffectsFit, fit, PoissonLog())), data)
    own = OwnRandomEffectsFit(**_plain(OwnRandomEffectsFit, fit, NegativeBinomial((alpha,))))
    return own_marginal_deletion(own, data)


def _of_plain_effects(fit: ZeroMixedFit, as_shown: Callable[[Array], Array]) -> Deletion:
    """The same with several effects."""
    alpha = fit.inflated.alpha
    if alpha == 0.0:
        return mixed_deletion(MixedFit(**_plain(MixedFit, fit, PoissonLog())), as_shown)
    own = OwnMixedFit(**_plain(OwnMixedFit, fit, NegativeBinomial((alpha,))))
    return own_several_deletion(own, as_shown)


def _plain(kind: type[Any], fit: Any, response: Response) -> dict[str, Any]:
    """What a fit of another kind, without coefficients of zeros, has in common with one that has none there."""
    known = {field.name: getattr(fit, field.name) for field in fields(kind)} | {"response": response}
    if "whole_covariance" in known:
        some = slice(0, len(fit.whole_covariance) - fit.zero_rows.X.shape[1])
        known["whole_covariance"] = fit.whole_covariance[some, some]
    return known


# Parameters as a search has them --------------------------------------------------------------------------------------


def _refitted_at_zero(fit: ZeroRandomEffectsFit, new: ModelData) -> tuple[Array, Optimization]:
    """Of a fit whose sigma is 0, of which a fit without a cluster may have one."""
    again = zero_again(replace(fit, response=_there(fit.inflated)), new, CLOSE)
    return np.append(again.beta, _working(again)), again.optimization


def _working(fit: ZeroPooledFit | ZeroRandomEffectsFit) -> Array:
    """(log(alpha) where there is one, coefficients of zeros) without a cluster.

    Raises
    ------
    ReplicateError
        Where they lie at an end.
    """
    found = fit.inflated.working
    if not np.isfinite(found).all() or fit.zero_state == "boundary":
        raise ReplicateError(_AT_AN_END)
    return found


def _in_working(scores: Array, response: ZeroInflated) -> Array:
    """Scores in working values from those in values, the last columns."""
    scores[:, scores.shape[1] - len(response.own) :] *= response.slopes(response.working)
    return scores


def _as_shown(theta: Array, at: int | None) -> Array:
    """Parameters as people know them: alpha, at its place, is exp(log(alpha))."""
    shown = np.array(theta)
    if at is not None:
        shown[at] = np.exp(shown[at])
    return shown


def _alone(data: ModelData, i: int) -> ModelData:
    """One cluster."""
    return only_rows(data, np.arange(data.starts[i], data.starts[i + 1]))


def _diagonal(one: Array, other: Array) -> Array:
    return np.asarray(block_diag(one, other), dtype=np.float64)
