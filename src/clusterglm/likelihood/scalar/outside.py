"""Where a cluster's likelihood has its summit, and bounds of what a quadrature rule does not see of an integral.

The likelihood of a cluster is log-concave in its intercept for most responses of the package: it rises up to its summit
and falls from there on. Others have one summit all the same, or may have several (`Response.one_summit`): their bounds
are estimates, and said to be. So between two points on one side of the summit it is at most the larger of its values
there, and the integral between them at most that times the probability that the intercept lies between them. Such
bounds hold whatever the distribution of the intercept (docs/explanation/likelihood.md, "Error and certificate").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp, ndtri

from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.special import log_normal_density

_GROWTH = 2.0  # of the distances of points at which a likelihood is looked at
_DOUBLED = 60  # doublings of a unit
_SPANS = 2.0  # widths of a summit that may lie between two nodes: the coarser rule is then right to a part in a hundred


@dataclass(frozen=True)
class Summits:
    """Where clusters' likelihoods are highest as functions of the intercept, on the normal scale.

    Parameters
    ----------
    s : ndarray, shape (c,)
        -inf or inf where the likelihood rises for ever.
    width : ndarray, shape (c,)
        Inverse root of the information there; inf where the summit is infinite.
    reach : float
        Largest |s| at which integrands are known. A finite summit beyond is said to lie there.
    beyond : ndarray, shape (c,)
        Largest log-likelihood of clusters whose summit is infinite or lies beyond the reach; of no account for others.
    """

    s: Array
    width: Array
    reach: float
    beyond: Array

    def of(self, clusters: NDArray[np.int64]) -> Summits:
        """The summits of some clusters."""
        return Summits(self.s[clusters], self.width[clusters], self.reach, self.beyond[clusters])


def summits(
    distribution: Distribution,
    sigma: float,
    intercepts: Array,
    information: Array,
    reach: float,
    log_likelihood: Callable[[NDArray[np.int64], Array], Array],
) -> Summits:
    """Summits on the normal scale, from the intercepts there and minus the second derivatives of the log-likelihoods.

    Parameters
    ----------
    distribution : Distribution
    sigma : float
        Above 0.
    intercepts, information : ndarray, shape (c,)
    reach : float
        Largest |s| at which integrands are known.
    log_likelihood : callable
        Takes some clusters and an intercept for each; returns their log-likelihoods, as many.
    """
    member = distribution.at(sigma)
    t = intercepts / sigma
    finite = np.isfinite(t)
    s, width = np.where(finite, 0.0, t), np.full(len(t), np.inf)
    inside = t[finite]
    with np.errstate(all="ignore"):
        at = np.clip(np.where(inside < 0.0, ndtri(member.cdf(inside)), -ndtri(member.sf(inside))), -reach, reach)
        slope = np.exp(log_normal_density(at) - member.log_density(inside)[0])  # of the standard member in s
        spread = 1.0 / (sigma * slope * np.sqrt(information[finite]))
    s[finite], width[finite] = at, np.where(np.isfinite(spread), spread, np.inf)
    beyond, far = np.zeros(len(t)), np.flatnonzero(np.abs(s) == reach)
    if len(far) > 0:
        beyond[far] = log_likelihood(far, intercepts[far])
    return Summits(s, width, reach, beyond)


def resolved(gap: Array, found: Summits, low: Array | float, high: Array | float) -> NDArray[np.bool_]:
    """Whether no summit inside [low, high] is so narrow that it could hide between two nodes `gap` apart."""
    inside = (found.s > low) & (found.s < high)
    return ~inside | (gap <= _SPANS * found.width)


def gaps(nodes: Array, s: Array) -> Array:
    """Distance of the two nodes between which each s lies; that of the last two for an s beyond them."""
    after = np.clip(np.searchsorted(nodes, s), 1, len(nodes) - 1)
    with np.errstate(invalid="ignore"):  # of nodes beyond all numbers
        found = nodes[after] - nodes[after - 1]
    return np.where(np.isnan(found), np.inf, found)


def log_outside(
    log_likelihood: Callable[[Array], Array],
    low: Array,
    high: Array,
    found: Summits,
    unit: Array,
    *,
    held: bool = False,
) -> Array:
    """Logs of bounds of clusters' integrals outside an interval of the normal scale.

    Parameters
    ----------
    log_likelihood : callable
        Takes points of every cluster, shape (c, k); returns the log-likelihoods given intercepts there, as many.
    low, high : ndarray, shape (c,)
        The intervals.
    found : Summits
    unit : ndarray, shape (c,)
        Distance from an end of the interval over which the likelihood may change much; infinite where so little lies
        outside that a rough bound will do.
    held : bool
        Whether the rule takes the likelihood beyond the interval to be what it is at its ends: where it rises for ever,
        only what it still rises by is then missing.

    Returns
    -------
    ndarray, shape (c,)
        -inf where there is nothing.
    """
    far = found.reach
    below = _steps(np.clip(low, -far, far), unit, -1.0, found)
    above = _steps(np.clip(high, -far, far), unit, 1.0, found)
    k = below.shape[1]
    values = log_likelihood(np.concatenate([below, above], axis=1))
    sides = []
    for points, heights, sign in ((below, values[:, :k], -1.0), (above, values[:, k:], 1.0)):
        # from the interval outwards; beyond the last point the likelihood falls, or has its summit
        towards, summit = sign * points, sign * found.s
        last = np.where(summit < far, heights[:, -1], found.beyond)
        highest = np.maximum(heights, np.column_stack([heights[:, 1:], last]))
        inner, outer = towards, np.column_stack([towards[:, 1:], np.full(len(towards), np.inf)])
        missing = logsumexp(log_probability(inner, outer) + highest, axis=1)
        if held:
            with np.errstate(divide="ignore"):
                rise = np.log(-np.expm1(np.minimum(heights[:, 0], 0.0)))
            missing = np.log(2.0) + np.where(summit == np.inf, log_ndtr(-inner[:, 0]) + rise, missing)
        sides.append(missing)
    return np.asarray(np.logaddexp(*sides))


def log_probability(low: Array, high: Array) -> Array:
    """Log of a bound of the probability that a standard normal lies in [low, high], low <= high."""
    with np.errstate(divide="ignore"):
        empty = np.where(high > low, 0.0, -np.inf)
    return np.minimum(log_ndtr(high), log_ndtr(-low)) + empty


def _steps(start: Array, unit: Array, sign: float, found: Summits) -> Array:
    """Points from `start` outwards at growing distances up to the far end, with the summit if it is among them."""
    far = found.reach
    # 0 where a cluster says more than numbers can
    least = max(float(np.min(unit, initial=np.inf)), far * 2.0**-_DOUBLED)
    count = max(int(np.ceil(np.log2(2.0 * far / least))) + 1, 0) if np.isfinite(least) else 0
    distances = np.append(0.0, _GROWTH ** np.arange(count)) * np.minimum(unit, far)[:, None]
    points = np.minimum(sign * start[:, None] + distances, far)
    between = np.clip(sign * found.s, points[:, 0], far)
    return sign * np.sort(np.column_stack([points, between]), axis=1)
