"""Points for each unit and its children that are accurate enough at a theta, and how accurate they are.

Product Gauss-Hermite rules about the joint mode come first: they are for units on which rules of four sizes agree. What
is left gets lattices at both levels, about the posterior means and scaled by the posterior covariances, those of
children given their unit. Each level is refined by itself. Its error is taken to be three times the difference from a
lattice of twice the step, and what lies in the outermost ring: a log-concave integrand has no second peak that a ball
about the first could miss, and less beyond the ring than within. Where `Response.log_concave` is false the error is an
estimate only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.nested.nested import NestedLikelihood, NestedPart, NestedPlaces, NestedPlan
from clusterglm.likelihood.vector.points import PointSet, hermite_points, lattice
from clusterglm.model.arrays import Array

_SIZES = (7, 9, 13, 17, 25, 33)  # of Gauss-Hermite rules, at both levels
_BALLS = {  # steps and radii of lattices, by dimensions
    1: (
        (0.7, 6.0),
        (0.5, 7.0),
        (0.35, 8.0),
        (0.25, 9.0),
        (0.18, 10.0),
        (0.125, 11.0),
        (0.09, 12.0),
        (0.06, 13.0),
        (0.04, 14.0),
    ),
    2: ((0.7, 6.0), (0.5, 7.0), (0.35, 8.0), (0.25, 9.0), (0.18, 10.0)),
    3: ((0.7, 6.0), (0.5, 7.0)),
}
_MOST_POINTS = 400_000  # of both levels together, in the search for points
_SEEN_BY_HALVES = 3.0  # times what coarser sets show
_AGREE = 5.0  # times the largest difference between Gauss-Hermite rules of four sizes in a row
_IN_A_ROW = 4
_CHANCE = 1e-5  # of a unit's error: rules that leave more may agree by chance before they converge
_EARLY = 9  # nodes up to which differences that do not fall need not mean that they will not
_TOO_FAR_OFF = 2.0  # times what a difference may be, beyond which the same rule differs too much from the next, too
_FOR_SLOPES, _OF_ONE = 1e-4, 1e-7  # errors of log-likelihoods whose derivatives are used, see `vector.choice`
_ROUNDING_OF_SUMS = 2e-14  # relative error of a unit's log-integral that no points can better
_LEAST_SPREAD = 1e-8  # of the last covariance, below which the next is not believed
_WELL_PLACED = 0.15  # change of centre and factor below which points lie well enough


@dataclass(frozen=True, eq=False)
class NestedChoice:
    """Points that were chosen at a theta.

    Parameters
    ----------
    plan : NestedPlan
    errors : ndarray, shape (m,)
        What each unit's (weighted) log-likelihood may be wrong by.
    values : ndarray, shape (m,)
        Each unit's (weighted) log-likelihood.
    slopes : NestedPlan
        Points for derivatives, which need fewer: of the Gauss-Hermite rules that were tried the first whose
        log-likelihoods are, in sum, within 1e-4 of those of the plan, and each within 1e-7; the plan itself where the
        tolerance asks for no more.
    """

    plan: NestedPlan
    errors: Array
    values: Array
    slopes: NestedPlan

    @property
    def error(self) -> float:
        """What the log-likelihood may be wrong by."""
        return float(self.errors.sum())


def choose_points(
    likelihood: NestedLikelihood, theta: Array, tolerance: float, among: int | None = None
) -> NestedChoice:
    """Choose points at `theta` for errors whose sum is within `tolerance`, as far as there are points for it.

    Parameters
    ----------
    likelihood : NestedLikelihood
    theta : ndarray, shape (q,)
    tolerance : float
    among : int, optional
        Number of units for which the tolerance is, where these are some of them.
    """
    whole = among or likelihood.n_units
    with np.errstate(divide="ignore"):
        allowed = tolerance / whole / likelihood.weights
    for_slopes = np.maximum(allowed, min(_FOR_SLOPES / whole, _OF_ONE))
    found = _by_hermite(likelihood, theta, allowed)
    errors, values, lattices = found.errors, found.values, list[NestedPart]()
    if len(found.left) > 0:
        lattices, wrong, there = _by_lattices(likelihood, theta, found.left, allowed)
        errors, values = errors + wrong, values + there
    plan, weights = (*found.parts, *lattices), likelihood.weights
    few = np.array_equal(for_slopes, allowed)
    slopes = plan if few else (*_for_slopes(likelihood, found, for_slopes), *lattices)
    return NestedChoice(plan, errors * weights, np.where(weights == 0.0, 0.0, values * weights), slopes)


@dataclass(frozen=True, eq=False)
class _Rules:
    """Gauss-Hermite rules of units; errors and values without weights, 0 of units that are `left`.

    `tried`: by nodes, values of all units, nan where they have not been computed.
    """

    parts: list[NestedPart]
    errors: Array
    values: Array
    tried: dict[int, Array]
    left: NDArray[np.int64]


def _hermite(likelihood: NestedLikelihood, nodes: int, units: NDArray[np.int64]) -> NestedPart:
    upper, lower = (hermite_points(nodes, d, True) for d in likelihood.n_effects)
    return NestedPart(upper, lower, units)


def _by_hermite(likelihood: NestedLikelihood, theta: Array, allowed: Array) -> _Rules:
    """Rules of growing size, until four that follow one another agree: two or three may do so by chance.

    The first that they are compared with is one that the next rule will be compared with, too, and otherwise the
    smallest, from which they differ most: units for which that is too far off need not try the others, nor the next.
    """
    units = np.arange(likelihood.n_units, dtype=np.int64)
    parts, errors, final, given_up = list[NestedPart](), np.zeros(len(units)), np.zeros(len(units)), [units[:0]]
    last, hopeless = np.full(len(units), np.inf), np.zeros(len(units), dtype=np.bool_)
    tried: dict[int, Array] = {}

    def values_at(nodes: int, some: NDArray[np.int64]) -> Array:
        known = tried.setdefault(nodes, np.full(likelihood.n_units, np.nan))
        missing = some[np.isnan(known[some])]
        if len(missing) > 0:
            known[missing] = likelihood.values_of(theta, _hermite(likelihood, nodes, missing))
        return known[some]

    sizes = [n for n in _SIZES if n ** sum(likelihood.n_effects) <= _MOST_POINTS]
    for nodes, following in zip(sizes, [*sizes[1:], 2 * _SIZES[-1]], strict=True):
        now = units[~hopeless[units]]
        hopeless[:] = False
        values = values_at(nodes, now)
        rounding = _ROUNDING_OF_SUMS * (1.0 + np.abs(values))
        limit = np.maximum(np.minimum(allowed[now], _CHANCE), 2.0 * rounding) - rounding
        apart, hopeful = np.zeros(len(now)), np.ones(len(now), dtype=np.bool_)
        fewest, shared = nodes - _IN_A_ROW + 1, following - _IN_A_ROW + 1
        for fewer in sorted(range(fewest, nodes), key=lambda n: n != shared):
            there = values_at(fewer, now[hopeful])
            apart[hopeful] = np.maximum(apart[hopeful], np.abs(there - values[hopeful]))
            if fewer == shared:
                hopeless[now] = _AGREE * apart > _TOO_FAR_OFF * limit
            hopeful &= _AGREE * apart <= limit
            if not hopeful.any():
                break
        served = now[hopeful]
        if len(served) > 0:
            parts.append(_hermite(likelihood, nodes, served))
            errors[served], final[served] = (_AGREE * apart + rounding)[hopeful], values[hopeful]
        slow = ~hopeful & ~(apart < last[now]) & (nodes > _EARLY)
        last[now] = apart
        given_up.append(now[slow])
        units = np.setdiff1d(units, np.append(served, now[slow]), assume_unique=True)
        if len(units) == 0:
            break
    return _Rules(parts, errors, final, tried, np.sort(np.concatenate([*given_up, units])))


def _for_slopes(likelihood: NestedLikelihood, found: _Rules, allowed: Array) -> list[NestedPart]:
    """For each unit that has a rule the smallest that gives its log-integral well enough."""
    parts, going = [], np.ones(likelihood.n_units, dtype=np.bool_)
    going[found.left] = False
    for nodes in sorted(found.tried):
        enough = going & (_AGREE * np.abs(found.tried[nodes] - found.values) <= allowed)
        if enough.any():
            parts.append(_hermite(likelihood, nodes, np.flatnonzero(enough)))
            going &= ~enough
    return parts


def settled(likelihood: NestedLikelihood, theta: Array, units: NDArray[np.int64]) -> NestedPlaces:
    """Posterior means and factors of posterior covariances, from coarse lattices that are laid anew."""
    upper, lower = (lattice(0.7, 5.0, d) for d in likelihood.n_effects)
    modes = likelihood.modes(theta, units)
    places = replace(modes, factors1=_lower(modes.factors1, units), factors2=modes.factors2.copy())
    of = likelihood.units_of_children()
    moving = units
    places.factors2[:] = _lower(places.factors2, np.flatnonzero(np.isin(of, units)))
    for _ in range(12):
        children = np.flatnonzero(np.isin(of, moving))
        means1, covariances1, means2, covariances2, across = likelihood.moments(
            theta, NestedPart(upper, lower, moving, places)
        )
        # Where one point has all the weight the covariance vanishes.
        least = _LEAST_SPREAD * places.factors1 @ np.swapaxes(places.factors1, 1, 2)
        regressed = np.linalg.solve((covariances1 + least)[of[children]], np.swapaxes(across[children], 1, 2))
        slopes = np.swapaxes(regressed, 1, 2)
        given = covariances2[children] - slopes @ np.swapaxes(across[children], 1, 2)
        change = np.zeros(likelihood.n_units)
        factors1, change[moving] = _adjusted(
            places.factors1[moving], covariances1[moving], means1[moving] - places.centres1[moving]
        )
        moved = places.slopes2[children] @ (means1 - places.centres1)[of[children]][..., None]
        factors2, changes = _adjusted(
            places.factors2[children], given, means2[children] - places.centres2[children] - moved[..., 0]
        )
        np.maximum.at(change, of[children], changes)
        places.centres1[moving], places.factors1[moving] = means1[moving], factors1
        places.centres2[children], places.slopes2[children] = means2[children], slopes
        places.factors2[children] = factors2
        moving = moving[change[moving] > _WELL_PLACED]
        if len(moving) == 0:
            break
    return places


def _lower(factors: Array, which: NDArray[np.int64]) -> Array:
    """Some factors F replaced by the lower-triangular ones of the same F F'."""
    found = factors.copy()
    found[which] = np.linalg.cholesky(factors[which] @ np.swapaxes(factors[which], 1, 2))
    return found


def _adjusted(factors: Array, covariances: Array, shift: Array) -> tuple[Array, Array]:
    """Factors of covariances as far as they are believable, and by how much they and the centres change."""
    inverse = np.linalg.inv(factors)
    spread = inverse @ covariances @ np.swapaxes(inverse, 1, 2)
    size, axes = np.linalg.eigh(0.5 * (spread + np.swapaxes(spread, 1, 2)))
    size = np.clip(size, 0.04, 16.0)
    new = factors @ (axes * np.sqrt(size)[:, None, :])
    away = np.abs((inverse @ shift[..., None])[..., 0]).max(axis=1)
    found = np.linalg.cholesky(new @ np.swapaxes(new, 1, 2))
    return np.asarray(found, dtype=np.float64), np.maximum(away, np.abs(size - 1.0).max(axis=1))


def _by_lattices(
    likelihood: NestedLikelihood, theta: Array, units: NDArray[np.int64], allowed: Array
) -> tuple[list[NestedPart], Array, Array]:
    """Lattices of growing fineness at the level that needs it; as fine as there are where none is enough.

    Their parts, and errors and values of units without weights, 0 of others.
    """
    balls = [_BALLS.get(d, _BALLS[max(_BALLS)]) for d in likelihood.n_effects]
    places = settled(likelihood, theta, units)
    away = _away(likelihood, theta, units, places)
    number = np.zeros((likelihood.n_units, 2), dtype=np.int64)
    errors, values, going = np.zeros(likelihood.n_units), np.zeros(likelihood.n_units), units
    while len(going) > 0:
        unfinished = []
        for pair, some in _alike(number, going):
            chosen = [ball[k] for ball, k in zip(balls, pair.tolist(), strict=True)]
            wrong, values[some] = _seen(likelihood, theta, some, places, chosen)
            radii = np.array([radius for _, radius in chosen])
            wrong[away[some] >= radii - 1.0] = np.inf
            rounding = _ROUNDING_OF_SUMS * (1.0 + np.abs(values[some]))
            errors[some] = wrong.sum(axis=1) + rounding
            limit = np.maximum(allowed[some], 2.0 * rounding) - rounding
            finer = (wrong > 0.5 * limit[:, None]) & (wrong >= 0.1 * wrong.max(axis=1)[:, None])
            finer &= pair + 1 < [len(ball) for ball in balls]
            finer[(wrong.sum(axis=1) <= limit) | ~_affordable(balls, pair + finer, likelihood.n_effects)] = False
            number[some] += finer
            unfinished.append(some[finer.any(axis=1)])
        going = np.concatenate(unfinished)
    parts = []
    for pair, some in _alike(number, units):
        sets = _sets([ball[k] for ball, k in zip(balls, pair.tolist(), strict=True)], likelihood.n_effects)
        parts.append(NestedPart(*sets, some, places))
    return parts, errors, values


def _alike(number: NDArray[np.int64], units: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of numbers, and the units that have them."""
    return [(pair, units[(number[units] == pair).all(axis=1)]) for pair in np.unique(number[units], axis=0)]


_Ball = tuple[float, float]


def _sets(balls: list[_Ball], d: tuple[int, int]) -> tuple[PointSet, PointSet]:
    return lattice(*balls[0], d[0]), lattice(*balls[1], d[1])


def _affordable(balls: list[tuple[_Ball, ...]], numbers: NDArray[np.int64], d: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether pairs of lattices have so few points that they may be tried."""
    count = np.ones(len(numbers))
    for level in (0, 1):
        sizes = [2.0 * radius / step for step, radius in balls[level]]
        ball = {1: 1.0, 2: 0.79, 3: 0.52}.get(d[level], 0.31)  # its share of the cube
        count *= ball * np.array(sizes)[np.minimum(numbers[:, level], len(sizes) - 1)] ** d[level]
    return count <= _MOST_POINTS


def _away(likelihood: NestedLikelihood, theta: Array, units: NDArray[np.int64], places: NestedPlaces) -> Array:
    """How far the joint modes lie from the centres of both levels' lattices, shape (m, 2)."""
    modes, of = likelihood.modes(theta, units), likelihood.units_of_children()
    away = np.zeros((likelihood.n_units, 2))
    shift = modes.centres1 - places.centres1
    away[units, 0] = np.linalg.norm(np.linalg.solve(places.factors1[units], shift[units][..., None])[..., 0], axis=1)
    children = np.flatnonzero(np.isin(of, units))
    along = (places.slopes2[children] @ shift[of[children]][..., None])[..., 0]
    rest = modes.centres2[children] - places.centres2[children] - along
    distances = np.linalg.norm(np.linalg.solve(places.factors2[children], rest[..., None])[..., 0], axis=1)
    np.maximum.at(away[:, 1], of[children], distances)
    return away


def _seen(
    likelihood: NestedLikelihood, theta: Array, units: NDArray[np.int64], places: NestedPlaces, balls: list[_Ball]
) -> tuple[Array, Array]:
    """What each level's lattice may be wrong by, shape (units, 2), and the log-integrals."""

    def at(upper: _Ball, lower: _Ball) -> Array:
        return likelihood.values_of(theta, NestedPart(*_sets([upper, lower], likelihood.n_effects), units, places))

    upper, lower = balls
    values = at(upper, lower)

    def compared(other: Array) -> Array:
        return np.abs(other - values)

    (step1, radius1), (step2, radius2) = balls
    wrong1 = _SEEN_BY_HALVES * compared(at((2.0 * step1, radius1), lower)) + compared(at((step1, radius1 - 1.0), lower))
    wrong2 = _SEEN_BY_HALVES * compared(at(upper, (2.0 * step2, radius2))) + compared(at(upper, (step2, radius2 - 1.0)))
    return np.column_stack([wrong1, wrong2]), values
