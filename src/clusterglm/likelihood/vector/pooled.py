"""Gauss-Hermite rules for many clusters at once, whose errors are small in sum.

Sizes grow by as many nodes as the core takes at once. The difference between two sizes is the error of the smaller, and
the ratio of two differences that follow one another shows how fast errors fall: the larger rule's is the difference
times that ratio. Of one cluster either may be small by chance. So a ratio counts as 1/20 at least, a difference as
1/30 of the one before, and five times the product, and its mean over the clusters that a size serves, is what each
of them may be wrong by. In sum this is some ten times what errors are, their signs left out.

The sum is what has to be within the tolerance. Errors of clusters differ by many powers of ten: a rule serves those of
which it leaves little, however large a share of the tolerance that is, and the rest of it is for the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import Places, VectorLikelihood, VectorPart, VectorPlan
from clusterglm.model.arrays import Array

SIZES = {
    1: (8, 12, 16, 24, 32),
    2: (8, 12, 16, 20, 24, 32, 40),
    3: (8, 12, 16, 20, 24, 32),
    4: (4, 8, 12),
    5: (4, 8, 12),
}
"""Sizes of rules, by the number of effects."""
ROUNDING_OF_SUMS = 2e-14
"""Relative error of a cluster's log-integral that no points can better."""
CHANCE = 1e-5
"""Of a cluster's error: rules that leave more may agree by chance before they converge."""
_AGREE = 5.0  # times the error that the differences show
_LEAST_RATIO, _LEAST_DIFFERENCE = 1.0 / 20.0, 1.0 / 30.0
_OF_THE_REST = 1.0 / 3.0  # of the tolerance that is left, which a size may use, ...
_THE_LAST = 0.9  # ... and the last of them
_BEST = 4  # effects from which the last size is better than any other points, for all of which it leaves little
_LARGEST_SHARE = 4.0  # times the mean share of the tolerance, above which a cluster gets a larger rule
_HOPELESS = (
    0.03  # of the clusters, which a size must serve so that the next is tried, if there are more of them left ...
)
_MANY_LEFT = 0.2  # ... than this
# Error of the log-likelihood whose derivatives are used, times the root of the number of clusters: no estimate moves by
# 1e-3 standard errors.
_SLOPES_OF_MANY = 2e-5
_SLOPES_OF_FIVE = 1e-3  # the same of five effects and more, where a finer rule takes minutes: some may move by 1e-3


@dataclass(frozen=True, eq=False)
class Trial:
    """A rule that was tried on some clusters, and their log-integrals by it, without weights."""

    part: VectorPart
    values: Array


@dataclass(frozen=True, eq=False)
class Rules:
    """What one kind of rules has found.

    Parameters
    ----------
    parts : list of VectorPart
    errors, values : ndarray, shape (m,)
        Of the parts' clusters, without weights; 0 for others.
    trials : list of Trial
        In growing size.
    left : ndarray of int64
        Clusters that no part serves.
    """

    parts: list[VectorPart]
    errors: Array
    values: Array
    trials: list[Trial]
    left: NDArray[np.int64]


def pooled_rules(likelihood: VectorLikelihood, theta: Array, allowed: Array) -> Rules:
    """Rules for as many clusters as they can serve.

    Parameters
    ----------
    likelihood : VectorLikelihood
    theta : ndarray, shape (q,)
    allowed : ndarray, shape (m,)
        Each cluster's share of the tolerance, over its weight.
    """
    d, m = likelihood.n_effects, likelihood.n_clusters
    sizes, clusters = SIZES[d], np.arange(m, dtype=np.int64)
    parts, trials = [], []
    errors, final = np.zeros(m), np.zeros(m)
    unspent = float(m)
    before: list[Array] = []  # differences of the sizes before, of the clusters that are left
    last = np.zeros(m)
    for number, nodes in enumerate(sizes):
        part = VectorPart(hermite_points(nodes, d, True), clusters)
        values = likelihood.log_integrals(theta, part, again=number > 0)
        trials.append(Trial(part, values))
        if number > 0:
            before.append(np.abs(values - last))
        served = np.zeros(len(clusters), dtype=np.bool_)
        if len(before) > 1:
            rounding = ROUNDING_OF_SUMS * (1.0 + np.abs(values))
            error = _AGREE * _of_larger(before) + rounding
            at_last = number + 1 == len(sizes)
            room = unspent * (_THE_LAST if at_last else _OF_THE_REST)
            shares = np.where(error <= CHANCE, error / allowed[clusters], np.inf)
            served = _first(shares, unspent, room, np.inf if at_last else _LARGEST_SHARE)
            served |= error <= (CHANCE if at_last and d >= _BEST else 2.0 * rounding)
        if served.any():
            found = clusters[served]
            parts.append(VectorPart(part.points, found))
            errors[found] = error[served] + error[served].mean()
            final[found] = values[served]
            unspent -= float(np.sum(errors[found] / allowed[found]))
        hopeless = nodes > sizes[2] and served.mean() < _HOPELESS and len(clusters) > _MANY_LEFT * m
        clusters, last = clusters[~served], values[~served]
        before = [difference[~served] for difference in before]
        if len(clusters) == 0 or hopeless:
            break
    return Rules(parts, errors, final, trials, clusters)


def _of_larger(differences: list[Array]) -> Array:
    """The error of the largest of some sizes, by the differences between one and the next."""
    ratio = np.zeros_like(differences[-1])
    for one, other in pairwise(differences[-3:]):
        ratio = np.maximum(ratio, other / np.maximum(one, 1e-300))
    amount = np.maximum(differences[-1], _LEAST_DIFFERENCE * differences[-2])
    return np.asarray(amount * np.clip(ratio, _LEAST_RATIO, 1.0))


def _first(shares: Array, unspent: float, room: float, most: float) -> NDArray[np.bool_]:
    """The clusters of least error, whose shares of the tolerance, with their mean, have room.

    The clusters that are left keep half their own shares, whatever these have.
    """
    order = np.flatnonzero(shares <= most)
    order = order[np.argsort(shares[order])]
    rest = len(shares) - 1.0 - np.arange(len(order))
    found = np.zeros(len(shares), dtype=np.bool_)
    found[order[2.0 * np.cumsum(shares[order]) <= np.minimum(room, unspent - 0.5 * rest)]] = True
    return found


def pooled_slopes(trials: list[Trial], plan: VectorPlan, values: Array, weights: Array) -> VectorPlan:
    """For each cluster the smallest rule that is enough for derivatives, as the plan's rule has shown.

    Errors are small in sum, as those of the plan are; each next rule may use half of what those before have left.
    """
    m = len(values)
    d = plan[0].points.d
    room = (_SLOPES_OF_MANY if d < 5 else _SLOPES_OF_FIVE) * float(np.sqrt(m))
    most = _LARGEST_SHARE * room / m
    parts, left = [], np.ones(m, dtype=np.bool_)
    for trial in trials:
        clusters = trial.part.clusters
        assert clusters is not None
        error = _AGREE * weights[clusters] * np.abs(trial.values - values[clusters])
        order = np.flatnonzero(left[clusters])
        order = order[np.argsort(error[order])]
        order = order[(np.cumsum(error[order]) <= 0.5 * room) & (error[order] <= most)]
        room -= float(error[order].sum())
        served = np.zeros(len(clusters), dtype=np.bool_)
        served[order] = True
        parts.append(some(trial.part, served))
        left[clusters[served]] = False
    for part in plan:
        assert part.clusters is not None
        parts.append(some(part, left[part.clusters]))
    return tuple(part for part in parts if part.clusters is not None and len(part.clusters) > 0)


def some(part: VectorPart, which: NDArray[np.bool_]) -> VectorPart:
    """Some of a part's clusters."""
    assert part.clusters is not None
    places = part.places and Places(part.places.centres[which], part.places.factors[which])
    return VectorPart(part.points, part.clusters[which], places)
