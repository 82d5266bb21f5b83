"""What the change from one rule to a finer one cannot show: peaks that both miss, and what lies beyond their nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.outside import Summits, gaps, log_outside, resolved
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.arrays import Array
from clusterglm.model.special import log_normal_density


def unseen(
    likelihood: MarginalLikelihood,
    theta: Array,
    pair: tuple[Rule, Rule],
    clusters: NDArray[np.int64],
    log_integrals: Array,
    summits: Summits,
) -> tuple[Array, NDArray[np.bool_]]:
    """Bounds for clusters that the finer of a pair of rules has just served.

    Parameters
    ----------
    likelihood : MarginalLikelihood
    theta : ndarray, shape (p + 1,)
    pair : tuple of Rule
        The coarser and the finer rule; not Gauss-Hermite.
    clusters : ndarray of int64, shape (c,)
    log_integrals : ndarray, shape (c,)
        By the finer rule, without the clusters' weights.
    summits : Summits
        Of these clusters.

    Returns
    -------
    missing : ndarray, shape (c,)
        Bound of what the rule does not cover, relative to the integral.
    seen : ndarray of bool, shape (c,)
        Whether the coarser rule resolves every peak and, if it follows the cluster, spans no corner of the density.
    """
    coarser, rule = pair
    low, high, unit = likelihood.spans(rule, clusters)
    gap = coarser.step * unit if rule.about_mode else gaps(coarser.points[0], summits.s)
    seen = resolved(gap, summits, low, high)
    if rule.about_mode:
        for kink in likelihood.distribution.at(likelihood.sigma(theta)).kinks:
            seen &= (kink < low) | (kink > high)

    def heights(points: Array) -> Array:
        found = likelihood.log_integrands(theta, clusters, points) - log_normal_density(points)
        return np.where(np.isnan(found), np.inf, found)

    with np.errstate(over="ignore"):
        missing = np.exp(log_outside(heights, low, high, summits, unit, held=rule.heavy) - log_integrals)
    return missing, seen
