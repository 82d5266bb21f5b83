"""Zero-inflated counts: their maxima, as profiles need them, and scores of clusters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.own_rows import OwnMarginal
from clusterglm.fit.sums import in_free
from clusterglm.fit.zero_estimates import ZeroPooledFit, ZeroRandomEffectsFit
from clusterglm.fit.zero_rows import zero_rows
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.inference.uncertainty.profiling import Peak
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.zeros.inflated import ZeroInflated


def zero_pooled_summit(data: ModelData, fit: ZeroPooledFit, threads: int = 1) -> Summit:
    """The maximum without cluster effects, in (beta, log(alpha) where there is one, coefficients of zeros)."""
    rows = zero_rows(data, fit.zero_rows, fit.inflated, Control(n_threads=threads))
    theta = rows.inside(fit.beta, (), fit.inflated.working)
    here = rows.pooled(theta)
    peaks = [Peak(rows.pooled, theta, here, row) for row in rows.to_user(0)]
    return Summit(tuple(read_alpha(peaks, fit.inflated, fit.loglik_at_limit, len(fit.beta))), 0.0)


def zero_marginal_summit(data: ModelData, fit: ZeroRandomEffectsFit, threads: int = 1) -> Summit:
    """The maximum with random intercepts, in what is free of (beta, sigma, log(alpha), coefficients of zeros)."""
    rows = zero_rows(data, fit.zero_rows, fit.inflated, Control(n_threads=threads))
    likelihood, parameters = OwnMarginal(rows, fit.integrator), fit.all_parameters
    inside = rows.inside(fit.beta, (fit.sigma,), fit.inflated.working)
    requested = fit.integration.requested

    def free(at: Array) -> Evaluation:
        theta, plan = parameters.filled(at, inside), fit.plan
        if requested.kind == "auto":
            plan = likelihood.choose(theta, requested.tolerance).plan
        return in_free(likelihood.evaluate(theta, plan), parameters)

    theta, here = inside[parameters.free], free(inside[parameters.free])
    peaks = [Peak(free, theta, here, row) for row in parameters.of_free(rows.to_user(1))]
    for scale in parameters.only_free.scales:
        peaks[scale] = replace(peaks[scale], least=0.0, value_at_least=fit.pooled.loglik)
    at = len(peaks) - len(fit.inflated.own)
    return Summit(tuple(read_alpha(peaks, fit.inflated, fit.loglik_at_limit, at)), 0.0)


def zero_pooled_scores(data: ModelData, fit: ZeroPooledFit, *, by_row: bool) -> Array:
    """Scores of clusters, or rows, in (beta, alpha, coefficients of zeros), without cluster effects."""
    rows = zero_rows(data, fit.zero_rows, fit.inflated, Control())
    theta = rows.inside(fit.beta, (), fit.inflated.working)
    scores = rows.row_scores(theta) @ np.linalg.inv(rows.to_values(theta))
    return scores if by_row else np.add.reduceat(scores, data.starts[:-1], axis=0)


def zero_marginal_scores(data: ModelData, fit: ZeroRandomEffectsFit) -> Array:
    """Scores of clusters in the free ones of (beta, sigma, alpha, coefficients of zeros)."""
    if fit.sigma == 0.0:
        return zero_pooled_scores(data, fit.pooled, by_row=False)
    rows = zero_rows(data, fit.zero_rows, fit.inflated, Control())
    theta = rows.inside(fit.beta, (fit.sigma,), fit.inflated.working)
    block, inner = rows.for_core(theta)
    likelihood = fit.integrator.likelihood(block.X, block.data, block.response)
    found = likelihood.unit_scores(inner, fit.plan)  # of (coefficients, own, sigma)
    k = len(fit.inflated.own)
    psi, scale = theta[-k:], fit.parameters.scale
    terms = np.add.reduceat(rows.zero_terms(psi), data.starts[:-1], axis=0)
    of_beta, of_own, of_sigma = np.split(found, [scale, scale + k], axis=1)
    whole = np.column_stack([of_beta, of_sigma, of_own + terms])
    return np.asarray((whole @ np.linalg.inv(rows.to_values(theta)))[:, fit.all_parameters.free])


def read_alpha(peaks: list[Peak], response: ZeroInflated, loglik_at_limit: float, at: int) -> list[Peak]:
    """Profiles of log(alpha), where the response has one, are read as alpha: 0 at the end, where counts are Poisson.

    Parameters
    ----------
    peaks : list of Peak
    response : ZeroInflated
    loglik_at_limit : float
        Of Poisson counts.
    at : int
        Place of alpha.
    """
    if response.dispersed:
        end = NegativeBinomial.lowest
        value = partial(_alpha, end)
        peaks[at] = replace(peaks[at], least=end, value_at_least=loglik_at_limit, read=value)
    return peaks


def _alpha(end: float, working: float) -> float:
    return 0.0 if working <= end else float(np.exp(working))
