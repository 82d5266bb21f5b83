"""The maxima of models whose response has parameters of its own, as profiles need them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.own import OwnMarginal, OwnPooledFit, OwnRandomEffectsFit, OwnRows, own_of, standardised
from clusterglm.fit.sums import in_free
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.inference.uncertainty.profiling import Peak
from clusterglm.likelihood.evaluation import Evaluation
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


def _to_limit(peaks: list[Peak], response: OwnParameters, loglik: float) -> list[Peak]:
    return [replace(peak, least=response.lowest, value_at_least=loglik) for peak in peaks]
