"""Several random effects with a response that has parameters of its own: profiles, and scores of clusters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clusterglm.fit.own_mixed import OwnMixedFit, own_of
from clusterglm.inference.uncertainty.mixed import marginal_scores
from clusterglm.inference.uncertainty.mixed_profiles import mixed_summit
from clusterglm.inference.uncertainty.own import to_limit
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.model.arrays import Array


def own_several_scores(fit: OwnMixedFit) -> Array:
    """Scores of clusters in (beta, phi, the response's parameters), shape (m, q); 0 in those at the end."""
    response, p, k = own_of(fit), len(fit.beta), len(own_of(fit).own)
    found = marginal_scores(fit)
    if fit.own_state == "boundary":
        return np.hstack([found, np.zeros((len(found), k))])
    of_psi = found[:, p : p + k] / response.slopes(response.working)
    return np.hstack([found[:, :p], found[:, p + k :], of_psi])


def own_several_summit(fit: OwnMixedFit, threads: int = 1) -> Summit:
    """The likelihood around its maximum: coefficients, standard deviations and correlations, the response's parameters.

    See `mixed_summit`, to which working values are coefficients.
    """
    response, p, k = own_of(fit), len(fit.beta), len(own_of(fit).own)
    found = mixed_summit(fit, threads)
    peaks = list(found.peaks)
    limit = to_limit(peaks[p : p + k], response, fit.loglik_at_limit - fit.constant)
    return replace(found, peaks=(*peaks[:p], *peaks[p + k :], *limit))
