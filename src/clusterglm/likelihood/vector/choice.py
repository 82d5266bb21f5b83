"""Points for each cluster that are accurate enough at a theta, and how accurate they are.

Product Gauss-Hermite rules about the mode come first: they are for clusters on which rules of four sizes agree; errors
of many clusters are judged together (`pooled.py`). What is left gets a lattice in a ball about its posterior mean,
scaled by its posterior covariance. Its error is taken to be three times the largest difference between the whole
lattice and its halves, and the share of the ring at its edge: a log-concave integrand has no second peak that a ball
about the first could miss, and less beyond the ring than within. Where `Response.log_concave` is false the error is an
estimate only. Of more than three effects, quasi-random points tell their error by their replicates
(docs/explanation/likelihood.md, "Points and their errors").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.vector.points import PointSet, hermite_points, lattice, quasi_random
from clusterglm.likelihood.vector.pooled import (
    CHANCE,
    ROUNDING_OF_SUMS,
    SIZES,
    Rules,
    Trial,
    pooled_rules,
    pooled_slopes,
    some,
)
from clusterglm.likelihood.vector.vector import ClusterSums, Places, VectorLikelihood, VectorPart, VectorPlan
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import MANY_FOR_POINTS

_HERMITE = {  # where many are needed multiples of four, which is how many points the core takes at once
    1: (8, 12, 16, 24, 32),
    2: (8, 12, 16, 20, 24, 32),
    3: (8, 12, 16),
    4: (7, 9, 13),
    5: (7, 9),
    6: (7,),
}
_LATTICES = {
    1: ((0.5, 8.0), (0.25, 10.0), (0.12, 12.0), (0.06, 14.0), (0.03, 16.0), (0.015, 18.0)),
    2: ((0.7, 6.0), (0.5, 7.0), (0.35, 8.0), (0.25, 9.0), (0.18, 10.0), (0.125, 11.0), (0.09, 12.0), (0.06, 13.0)),
    3: ((0.7, 6.0), (0.5, 7.0), (0.35, 8.0), (0.25, 9.0), (0.18, 10.0)),
}
_RANDOM = (1024, 8192, 65536)  # points of each replicate
_SEEN_BY_HALVES = 3.0  # times what coarser sets show
_AGREE = 5.0  # times the largest difference between Gauss-Hermite rules of four sizes in a row
_IN_A_ROW = 4
_EARLY = 9  # nodes up to which differences that do not fall need not mean that they will not
_FOR_SLOPES = 1e-4  # error of a log-likelihood whose derivatives are used: no estimate moves by 1e-3 standard errors,
_OF_ONE = 1e-7  # and that of one cluster's, for standard errors from few clusters
_WELL_PLACED = 0.15  # change of centre and factor below which points lie well enough


@dataclass(frozen=True, eq=False)
class VectorChoice:
    """Points that were chosen at a theta.

    Parameters
    ----------
    plan : VectorPlan
    errors : ndarray, shape (m,)
        What each cluster's (weighted) log-likelihood may be wrong by.
    values : ndarray, shape (m,)
        Each cluster's (weighted) log-likelihood.
    slopes : VectorPlan
        Points for derivatives, which need fewer: of those that were tried the first whose log-likelihoods are, in sum,
        within 1e-4 of those of the plan, and each within 1e-7; the plan itself where the tolerance asks for no more.
        Of many clusters, see `pooled_slopes`.
    """

    plan: VectorPlan
    errors: Array
    values: Array
    slopes: VectorPlan

    @property
    def error(self) -> float:
        """What the log-likelihood may be wrong by."""
        return float(self.errors.sum())


def choose_points(
    likelihood: VectorLikelihood, theta: Array, tolerance: float, among: int | None = None
) -> VectorChoice:
    """Choose points at `theta` for errors whose sum is within `tolerance`, as far as there are points for it.

    Parameters
    ----------
    likelihood : VectorLikelihood
    theta : ndarray, shape (q,)
    tolerance : float
    among : int, optional
        Number of clusters for which the tolerance is, where these are some of them. Each cluster then has the points
        that it has among any others.
    """
    m, whole, weights = likelihood.n_clusters, among or likelihood.n_clusters, likelihood.weights
    with np.errstate(divide="ignore"):
        allowed = tolerance / whole / weights
    many = among is None and m >= MANY_FOR_POINTS and likelihood.n_effects in SIZES
    found = (pooled_rules if many else _by_all_hermite)(likelihood, theta, allowed)
    errors, values, parts, trials = found.errors, found.values, found.parts, found.trials
    if len(found.left) > 0:
        if many:  # what others have not used
            allowed[found.left] *= max(m - float(np.sum(errors / allowed)), 0.0) / len(found.left)
        more = _by_lattice if likelihood.n_effects <= max(_LATTICES) else _by_random
        rest = more(likelihood, theta, found.left, allowed)
        errors, values = errors + rest.errors, values + rest.values
        parts, trials = parts + rest.parts, trials + rest.trials
    plan = tuple(parts)
    for_slopes = np.maximum(allowed, min(_FOR_SLOPES / whole, _OF_ONE))
    if many:
        slopes = pooled_slopes(trials, plan, values, weights)
    else:
        slopes = plan if np.array_equal(for_slopes, allowed) else _for_slopes(trials, plan, values, for_slopes)
    return VectorChoice(plan, errors * weights, np.where(weights == 0.0, 0.0, values * weights), slopes)


def _by_all_hermite(likelihood: VectorLikelihood, theta: Array, allowed: Array) -> Rules:
    return _by_hermite(likelihood, theta, np.arange(likelihood.n_clusters, dtype=np.int64), allowed)


def _for_slopes(trials: list[Trial], plan: VectorPlan, values: Array, allowed: Array) -> VectorPlan:
    """For each cluster the smallest rule that gives its log-integral well enough, which the plan's rule has shown."""
    parts, left = [], np.ones(len(values), dtype=np.bool_)
    for trial in trials:
        clusters = trial.part.clusters
        assert clusters is not None
        apart = _AGREE * np.abs(trial.values - values[clusters])
        parts.append(some(trial.part, left[clusters] & (apart <= allowed[clusters])))
        left[clusters] &= apart > allowed[clusters]
    for part in plan:
        assert part.clusters is not None
        parts.append(some(part, left[part.clusters]))
    return tuple(part for part in parts if part.clusters is not None and len(part.clusters) > 0)


def _by_hermite(
    likelihood: VectorLikelihood,
    theta: Array,
    clusters: NDArray[np.int64],
    allowed: Array,
) -> Rules:
    """Rules of growing size, until four that follow one another agree: two or three may do so by chance."""
    d, m = likelihood.n_effects, likelihood.n_clusters
    parts, given_up = [], [np.zeros(0, dtype=np.int64)]
    trials: list[Trial] = []
    errors, final = np.zeros(m), np.zeros(m)
    last = np.full(m, np.inf)
    for nodes in _HERMITE.get(d, ()):
        points = hermite_points(nodes, d, True)
        values = likelihood.log_integrals(theta, VectorPart(points, clusters), again=len(trials) > 0)
        trials.append(Trial(VectorPart(points, clusters), values))
        rounding = ROUNDING_OF_SUMS * (1.0 + np.abs(values))
        limit = np.maximum(np.minimum(allowed[clusters], CHANCE), 2.0 * rounding) - rounding
        apart = np.zeros(len(clusters))
        hopeful = np.ones(len(clusters), dtype=np.bool_)
        for fewer in range(1, _IN_A_ROW):
            part = VectorPart(hermite_points(nodes - fewer, d, True), clusters[hopeful])
            difference = np.abs(likelihood.log_integrals(theta, part, again=True) - values[hopeful])
            apart[hopeful] = np.maximum(apart[hopeful], difference)
            hopeful &= _AGREE * apart <= limit
            if not hopeful.any():
                break
        if hopeful.any():
            served = clusters[hopeful]
            parts.append(VectorPart(points, served))
            errors[served], final[served] = (_AGREE * apart + rounding)[hopeful], values[hopeful]
        slow = ~hopeful & ~(apart < last[clusters]) & (nodes > _EARLY)
        last[clusters] = apart
        given_up.append(clusters[slow])
        clusters = clusters[~hopeful & ~slow]
        if len(clusters) == 0:
            break
    return Rules(parts, errors, final, trials, np.sort(np.concatenate([*given_up, clusters])))


def settled(likelihood: VectorLikelihood, theta: Array, clusters: NDArray[np.int64]) -> Places:
    """Posterior means and Cholesky factors of the posterior covariances, from coarse lattices that are laid anew."""
    d = likelihood.n_effects
    points = lattice(0.5, 6.0, d) if d < 4 else quasi_random(256, d, 4)
    places = likelihood.modes(theta, clusters)
    factors = np.asarray(np.linalg.cholesky(places.factors @ np.swapaxes(places.factors, 1, 2)), dtype=np.float64)
    centres, moving = places.centres, np.arange(len(clusters))
    for _ in range(12):
        part = VectorPart(points, clusters[moving], Places(centres[moving], factors[moving]))
        found = likelihood.sums(theta, part)
        inverse = np.linalg.inv(factors[moving])
        shift = np.einsum("kab,kb->ka", inverse, found.means - centres[moving])
        spread = inverse @ found.covariances @ np.swapaxes(inverse, 1, 2)
        size, axes = np.linalg.eigh(0.5 * (spread + np.swapaxes(spread, 1, 2)))
        size = np.clip(size, 0.04, 16.0)
        new = factors[moving] @ (axes * np.sqrt(size)[:, None, :])
        factors[moving] = np.linalg.cholesky(new @ np.swapaxes(new, 1, 2))
        centres[moving] = found.means
        change = np.maximum(np.abs(shift).max(axis=1), np.abs(size - 1.0).max(axis=1))
        moving = moving[change > _WELL_PLACED]
        if len(moving) == 0:
            break
    return Places(centres, factors)


def seen_error(points: PointSet, sums: ClusterSums) -> tuple[Array, Array]:
    """What coarser sets show of a lattice's error, three times the largest difference, and the share of its edge."""
    assert points.coarser is not None
    assert points.outermost is not None
    with np.errstate(divide="ignore"):
        halves = np.abs(np.log(sums.shares @ points.coarser.T)).max(axis=1)
    return _SEEN_BY_HALVES * halves, np.asarray(sums.shares[:, points.outermost].sum(axis=1))


def _by_lattice(likelihood: VectorLikelihood, theta: Array, clusters: NDArray[np.int64], allowed: Array) -> Rules:
    """Lattices of growing fineness about the posterior mean."""
    places, modes = settled(likelihood, theta, clusters), likelihood.modes(theta, clusters)
    away = np.linalg.norm(np.linalg.solve(places.factors, (modes.centres - places.centres)[..., None])[..., 0], axis=1)

    def error(points: PointSet, sums: ClusterSums, at: NDArray[np.int64]) -> Array:
        seen, ring = seen_error(points, sums)
        radius = np.linalg.norm(points.positions, axis=1).max()
        return np.where(away[at] < radius - 1.0, seen + ring, np.inf)

    d = likelihood.n_effects
    sets = [partial(lattice, step, radius, d) for step, radius in _LATTICES[d]]
    return _by_growing(likelihood, theta, clusters, allowed, places, sets, error)


def _by_random(likelihood: VectorLikelihood, theta: Array, clusters: NDArray[np.int64], allowed: Array) -> Rules:
    """Quasi-random points: three standard errors of their mean, by the replicates."""

    def error(points: PointSet, sums: ClusterSums, at: NDArray[np.int64]) -> Array:
        replicates = sums.shares.shape[1]
        return np.asarray(_SEEN_BY_HALVES * (replicates * sums.shares).std(axis=1, ddof=1) / np.sqrt(replicates))

    places = settled(likelihood, theta, clusters)
    sets = [partial(quasi_random, count, likelihood.n_effects) for count in _RANDOM]
    return _by_growing(likelihood, theta, clusters, allowed, places, sets, error)


def _by_growing(
    likelihood: VectorLikelihood,
    theta: Array,
    clusters: NDArray[np.int64],
    allowed: Array,
    places: Places,
    sets: list[partial[PointSet]],
    error: Callable[[PointSet, ClusterSums, NDArray[np.int64]], Array],
) -> Rules:
    """The first of growing point sets about given places that serves each cluster, or the last."""
    parts, trials, at = [], [], np.arange(len(clusters))
    errors, values = np.zeros(likelihood.n_clusters), np.zeros(likelihood.n_clusters)
    for laid in sets:
        points = laid()
        part = VectorPart(points, clusters[at], Places(places.centres[at], places.factors[at]))
        sums = likelihood.sums(theta, part)
        trials.append(Trial(part, sums.values))
        rounding = ROUNDING_OF_SUMS * (1.0 + np.abs(sums.values))
        found = error(points, sums, at) + rounding
        good = (found <= np.maximum(allowed[clusters[at]], 2.0 * rounding)) | (laid is sets[-1])
        if good.any():
            served = at[good]
            parts.append(VectorPart(points, clusters[served], Places(places.centres[served], places.factors[served])))
            errors[clusters[served]], values[clusters[served]] = found[good], sums.values[good]
        at = at[~good]
        if len(at) == 0:
            break
    return Rules(parts, errors, values, trials, clusters[:0])
