"""Where a likelihood without a maximum goes: rows that are certain in its limit, and coefficients that diverge.

Along a direction of recession the likelihood never falls. Rows whose linear predictor grows along one have probability
1 in the limit, and the limit of the likelihood is that of the other rows (Albert and Anderson, Biometrika 71, 1984;
Geyer, Electronic Journal of Statistics 3, 2009; for counts Correia, Guimaraes and Zylkin 2021, arXiv:1903.01633).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.checks import (
    FEASIBLE,
    RANK_TOLERANCE,
    distinct,
    find_separation,
    null_space,
    standardised,
    with_rows_as_needed,
)
from clusterglm.data.design import Design, DesignRows
from clusterglm.data.prepare import ModelData
from clusterglm.data.within import find_separation_within, sides
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_BEYOND = "certain or open in the limit of separation"
_ZERO = 1e-9  # of the terms of a sum: what is rounding


@dataclass(frozen=True)
class Recession:
    """Which rows and coefficients separation takes away, of n rows and p columns.

    Parameters
    ----------
    decided : ndarray of bool, shape (n,)
        Rows that the limit predicts with certainty.
    basis : ndarray, shape (p, k)
        Directions in which no other row changes: the coefficients are known up to combinations of these.
    walls : ndarray, shape (any, k)
        The limit is approached along `basis @ g` where `walls @ g` goes to infinity.
    kept : ndarray of int64, shape (p - k,)
        Columns that say all of the other rows that there is to say.
    """

    decided: NDArray[np.bool_]
    basis: Array
    walls: Array
    kept: NDArray[np.int64]

    def ends(self, combinations: Array) -> Array:
        """Where combinations of the coefficients go on the way to the limit.

        Parameters
        ----------
        combinations : ndarray, shape (c, p)

        Returns
        -------
        ndarray, shape (c,)
            0 for those that have a finite limit, inf, -inf, and nan where every value is as likely.
        """
        along = _along(combinations, self.basis)
        if along.shape[1] <= 2:
            return _driven(along @ _rays(self.walls, along.shape[1]).T)
        patterns, which = np.unique(along, axis=0, return_inverse=True)
        return np.array([self._end(pattern) for pattern in patterns])[which.reshape(-1)]

    def _end(self, cost: Array) -> float:
        """End of a combination, by linear programs: what no admissible direction lowers is driven upwards by all."""
        from scipy.optimize import linprog

        size = float(np.abs(cost).max(initial=0.0))
        if size == 0.0:
            return 0.0
        for sign in (1.0, -1.0):
            goal = sign * cost / size

            def solve(some: Array, goal: Array = goal) -> Array | None:
                found = linprog(goal, A_ub=-some, b_ub=np.zeros(len(some)), bounds=(-1.0, 1.0)).x
                # where already some of the walls keep it up, all do
                return None if found is None or goal @ found > -FEASIBLE else np.asarray(found)

            if with_rows_as_needed(self.walls, solve) is None:
                return sign * np.inf
        return np.nan


@dataclass(frozen=True, eq=False)
class RestDesign(Design):
    """The design of rows that are not certain, which makes no others.

    Parameters
    ----------
    whole : Design
        Of all rows.
    basis, kept
        As in `Recession`.
    closed : bool
        Whether rows of clusters lie along the way to the limit, so that what is new cannot be told apart from them.
    """

    whole: Design | None = None
    basis: Array = field(default_factory=lambda: np.empty((0, 0)))
    kept: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    closed: bool = False

    @classmethod
    def of(cls, whole: Design, found: Recession, X: Array) -> RestDesign:
        """For the rows X that are left."""
        gone = sorted(set(range(len(whole.names))) - set(found.kept.tolist()))
        design = whole.without(gone)
        known = {each.name: getattr(design, each.name) for each in fields(design)} | {"variables": whole.variables}
        closed = bool((_along(X, found.basis) != 0.0).any())
        return cls(**known, whole=whole, basis=found.basis, kept=found.kept, closed=closed)

    def rows(self, table: nw.DataFrame[Any]) -> DesignRows:
        assert self.whole is not None
        found = self.whole.rows(table)
        beyond = ((_along(found.X, self.basis) != 0.0).any(axis=1) | self.closed) & ~np.isnan(found.X).any(axis=1)
        X = found.X[:, self.kept]
        X[beyond] = np.nan
        return DesignRows(X, (*found.missing, *([(_BEYOND, beyond)] if beyond.any() else [])), found.unseen)


def recession(data: ModelData, response: Response, *, within: bool) -> Recession | None:
    """Find what separation takes away; None where nothing separates, or too little for float64 to tell.

    Parameters
    ----------
    data : ModelData
    response : Response
    within : bool
        Next to an intercept for every cluster.
    """
    found = _within(data, response) if within else _across(data, response)
    if found is None or found.basis.shape[1] == 0 or len(found.kept) + found.basis.shape[1] != len(data.names):
        return None
    return found


def _across(data: ModelData, response: Response) -> Recession | None:
    report = find_separation(data.X, data.a, data.b, data.names, response)
    if report is None:
        return None
    decided = np.zeros(data.n_obs, dtype=bool)
    for direction in report.directions:
        decided |= np.abs(data.X @ direction) > FEASIBLE
    Z, centre, scale, ones = standardised(data.X)
    sign = np.where(data.a > 0.0, 1.0, -1.0)[decided]
    inside = _cleaned(null_space(Z[~decided], Z.shape[1]))
    basis = inside / scale[:, None]
    moved = centre @ basis
    basis[ones] -= moved
    basis[ones] = np.where(np.abs(basis[ones]) <= _ZERO * np.abs(moved), 0.0, basis[ones])
    return Recession(decided, basis, _walls(sign[:, None] * (data.X[decided] @ basis)), _independent(Z[~decided]))


def _within(data: ModelData, response: Response) -> Recession | None:
    a, b, starts = data.a, data.b, data.starts
    known = response.rises_towards(np.add.reduceat(a, starts[:-1]), np.add.reduceat(b, starts[:-1])) == 0.0
    report = find_separation_within(data.X, a, b, starts, data.names, response, known)
    if report is None:
        return None
    use = np.repeat(known, np.diff(starts))
    found = sides(data.X, a, b, starts, use, report.directions)
    decided = np.zeros(data.n_obs, dtype=bool)
    decided[use] = ~found.undecided
    first = np.flatnonzero(np.diff(found.of[found.undecided], prepend=-1))
    rest = found.Z[found.undecided]
    rest = rest - np.repeat(rest[first], np.diff(np.append(first, len(rest))), axis=0)
    inside = _cleaned(null_space(rest, rest.shape[1]))
    walls = [np.empty((0, inside.shape[1]))]
    for k in np.unique(found.of[~found.undecided]).tolist():
        own = slice(*np.searchsorted(found.of, [k, k + 1]))
        u = found.Z[own] @ inside
        upper, lower = distinct(u[a[use][own] > 0.0]), distinct(u[b[use][own] > 0.0])
        walls.append((upper[:, None] - lower[None]).reshape(-1, inside.shape[1]))
    return Recession(decided, inside / found.scale[:, None], _walls(np.vstack(walls)), _independent(rest))


def rest_of(data: ModelData, found: Recession) -> ModelData:
    """The rows and columns that separation leaves; at least one of either."""
    left = ~found.decided
    sizes = np.add.reduceat(left.astype(np.int64), data.starts[:-1])
    clusters = sizes > 0
    design = RestDesign.of(data.design, found, data.X[left])
    certain = int(found.decided.sum())
    note = f"Without {certain} of {data.n_obs} rows, which are certain where covariates separate the responses."
    return replace(
        data,
        X=np.ascontiguousarray(data.X[np.ix_(left, found.kept)]),
        names=tuple(data.names[j] for j in found.kept.tolist()),
        intercept=design.intercept,
        starts=np.concatenate([[0], np.cumsum(sizes[clusters])]).astype(np.int64),
        labels=data.labels[clusters],
        cluster_weights=data.cluster_weights[clusters],
        design=design,
        notes=(*data.notes, note),
        **{name: getattr(data, name)[left] for name in ("a", "b", "offset", "weights", "trials", "row_index")},
    )


def without_column(data: ModelData, j: int) -> ModelData:
    """The data without one column of the design."""
    design = data.design.without([j])
    names = tuple(name for k, name in enumerate(data.names) if k != j)
    return replace(data, X=np.delete(data.X, j, axis=1), names=names, intercept=design.intercept, design=design)


def _along(combinations: Array, basis: Array) -> Array:
    """What combinations have of directions, shape (c, k)."""
    along = combinations @ basis
    return np.where(np.abs(along) <= _ZERO * (np.abs(combinations) @ np.abs(basis)), 0.0, along)


def _driven(values: Array) -> Array:
    """Where what takes such values along all rays of a cone goes: one sign decides, two leave it open, shape (c,)."""
    low, high = values.min(axis=1, initial=0.0), values.max(axis=1, initial=0.0)
    size = np.maximum(high, -low)
    ends = np.where(low > -FEASIBLE * size, np.inf, np.where(high < FEASIBLE * size, -np.inf, np.nan))
    return np.where(size == 0.0, 0.0, ends)


def _rays(walls: Array, k: int) -> Array:
    """Directions of which the cone `walls @ g >= 0` of one or two dimensions has all as sums, shape (any, k)."""
    if k < 2:
        return np.ones((k, k)) * (np.sign(walls[0, 0]) if k == 1 else 1.0)
    across = np.column_stack([-walls[:, 1], walls[:, 0]])
    rays = np.vstack([across, -across, walls])
    return np.asarray(rays[(rays @ walls.T >= -FEASIBLE).all(axis=1)])


def _cleaned(basis: Array) -> Array:
    """Directions without the rounding where a column has no part."""
    return np.where(np.abs(basis) <= _ZERO, 0.0, basis)


def _walls(rows: Array) -> Array:
    """Rows of one length, each once; those of one column are all the same."""
    size = np.linalg.norm(rows, axis=1)
    some = size > FEASIBLE * size.max(initial=0.0)
    rows = rows[some] / size[some, None]
    if len(rows) == 0:
        return rows
    rows = distinct(np.round(rows, 12) + 0.0)
    if rows.shape[1] == 2:  # the two that lie furthest apart are the walls of all
        inner = rows.mean(axis=0)
        turn = np.arctan2(inner[0] * rows[:, 1] - inner[1] * rows[:, 0], rows @ inner)
        rows = rows[np.unique([turn.argmin(), turn.argmax()])]
    return rows


def _independent(Z: Array) -> NDArray[np.int64]:
    """The first columns of which none is a combination of those before."""
    kept: list[int] = []
    basis = np.empty((len(Z), 0))
    for j, column in enumerate(Z.T):
        size = float(np.linalg.norm(column))
        rest = column - basis @ (basis.T @ column)
        rest = rest - basis @ (basis.T @ rest)
        if np.linalg.norm(rest) > RANK_TOLERANCE * size > 0.0:
            kept.append(j)
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
    return np.array(kept, dtype=np.int64)
