"""Counts with a hurdle: maxima of both parts, as profiles need them, and scores of both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clusterglm.data.positive import positive_counts, zero_or_not
from clusterglm.data.prepare import ModelData
from clusterglm.fit.hurdle import HurdlePooledFit, HurdleRandomEffectsFit
from clusterglm.fit.hurdle_mixed import HurdleMixedFit
from clusterglm.inference.uncertainty.covariance import free_scores, pooled_scores
from clusterglm.inference.uncertainty.mixed import marginal_scores
from clusterglm.inference.uncertainty.mixed_profiles import mixed_summit
from clusterglm.inference.uncertainty.own import (
    own_marginal_scores,
    own_marginal_summit,
    own_pooled_scores,
    own_pooled_summit,
)
from clusterglm.inference.uncertainty.own_several import own_several_scores, own_several_summit
from clusterglm.inference.uncertainty.peaks import Summit, marginal_summit, pooled_summit
from clusterglm.model.arrays import Array
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.truncated_poisson import TruncatedPoissonLog


def hurdle_pooled_summit(data: ModelData, fit: HurdlePooledFit, threads: int = 1) -> Summit:
    """The maxima of both parts, in (beta, log(alpha) where there is one) and in coefficients of zeros."""
    counts, positive = fit.counts, _positive(data)
    if fit.inflated.dispersed:
        found = own_pooled_summit(positive, counts, threads)  # type: ignore[arg-type]  # of such counts
    else:
        found = pooled_summit(positive, TruncatedPoissonLog(), fit.beta, threads, None)
    return _joined(found, _zeros(fit, threads))


def hurdle_marginal_summit(data: ModelData, fit: HurdleRandomEffectsFit, threads: int = 1) -> Summit:
    """The same with random intercepts, in (beta, sigma, log(alpha)) of counts."""
    counts = fit.counts
    assert counts is not None
    if fit.inflated.dispersed:
        found = own_marginal_summit(counts.data.rows, counts, threads)  # type: ignore[arg-type]  # of such counts
    else:
        found = marginal_summit(counts.data.rows, counts, threads)
    return _joined(found, _zeros(fit, threads))


def hurdle_pooled_scores(data: ModelData, fit: HurdlePooledFit, *, by_row: bool) -> tuple[Array, Array]:
    """Scores of clusters, or rows, in the parameters of counts (of those that have some) and of zeros."""
    positive = _positive(data)
    if fit.inflated.dispersed:
        counts = own_pooled_scores(positive, fit.counts, by_row=by_row)  # type: ignore[arg-type]  # of such counts
    else:
        counts = pooled_scores(positive, TruncatedPoissonLog(), fit.beta, by_row=by_row)
    return counts, _of_zeros(fit, by_row=by_row)


def hurdle_marginal_scores(data: ModelData, fit: HurdleRandomEffectsFit) -> tuple[Array, Array]:
    """The same of clusters with random intercepts, in the free parameters."""
    counts = fit.counts
    assert counts is not None
    if fit.inflated.dispersed:
        found = own_marginal_scores(counts.data.rows, counts)  # type: ignore[arg-type]  # of such counts
    else:
        found = free_scores(counts.data.rows, counts)
    return found, _of_zeros(fit, by_row=False)


def hurdle_several_summit(fit: HurdleMixedFit, threads: int = 1) -> Summit:
    """The same with several random effects, in (beta, what their covariance has, log(alpha)) of counts."""
    own = fit.own_counts
    found = mixed_summit(fit.of_counts, threads) if own is None else own_several_summit(own, threads)
    return _joined(found, _zeros(fit, threads))


def hurdle_several_scores(fit: HurdleMixedFit) -> tuple[Array, Array]:
    """The same of clusters with several random effects: those that have counts above 0, and all."""
    own = fit.own_counts
    found = marginal_scores(fit.of_counts) if own is None else own_several_scores(own)
    return found, _of_zeros(fit, by_row=False)


def _positive(data: ModelData) -> ModelData:
    return positive_counts(data, TruncatedPoissonLog())


def _zeros(fit: HurdlePooledFit | HurdleRandomEffectsFit | HurdleMixedFit, threads: int) -> Summit:
    zeros = fit.zeros
    assert zeros is not None
    return pooled_summit(zero_or_not(fit.zero_rows), BinomialLogit(), zeros.beta, threads, None)


def _of_zeros(fit: HurdlePooledFit | HurdleRandomEffectsFit | HurdleMixedFit, *, by_row: bool) -> Array:
    zeros = fit.zeros
    assert zeros is not None
    return np.asarray(pooled_scores(zero_or_not(fit.zero_rows), BinomialLogit(), zeros.beta, by_row=by_row))


def _joined(counts: Summit, zeros: Summit) -> Summit:
    """Peaks of both parts: each is of its own likelihood, which is the other's but for a constant."""
    return replace(counts, peaks=(*counts.peaks, *zeros.peaks))
