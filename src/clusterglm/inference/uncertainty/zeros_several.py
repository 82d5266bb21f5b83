"""Zero-inflated counts with several random effects: the maximum, as profiles need it."""

from __future__ import annotations

from dataclasses import replace

from clusterglm.fit.zero_mixed import ZeroMixedFit
from clusterglm.inference.uncertainty.mixed_profiles import mixed_summit
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.inference.uncertainty.zeros import read_alpha


def zero_several_summit(fit: ZeroMixedFit, threads: int = 1) -> Summit:
    """The likelihood around its maximum: coefficients, standard deviations and correlations, the response's parameters.

    See `mixed_summit`, to which working values are coefficients.
    """
    p, k, found = len(fit.beta), len(fit.inflated.own), mixed_summit(fit, threads)
    peaks = list(found.peaks)
    ordered = [*peaks[:p], *peaks[p + k :], *peaks[p : p + k]]
    return replace(found, peaks=tuple(read_alpha(ordered, fit.inflated, fit.loglik_at_limit, len(ordered) - k)))
