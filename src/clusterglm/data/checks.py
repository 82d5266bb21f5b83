"""What can be wrong with a design matrix, a response or the clusters, found before or after a fit.

Columns are judged after centring and scaling, so that units do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from clusterglm.data.tables.glance import (
    LARGEST,
    column_range,
    independent,
    plainly_fine,
    smallest_eigenvalue,
    tame,
)
from clusterglm.errors import ClusterError, DesignError, ResponseError
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import ROWS_IN_CACHE
from clusterglm.model.response.base import Response

RANK_TOLERANCE = 1e-7  # of a standardised column's norm, as in R's lm
_CLEAR = 1e-6  # smallest eigenvalue of the correlations above which there is no doubt about the rank
ROWS = 1000  # that the linear programs start from, and gain at a time
FEASIBLE = 1e-6  # margin in standardised units; HiGHS itself is accurate to 1e-7


def check_columns(X: Array, names: Sequence[str], ranges: Array | None = None) -> None:
    """Refuse covariates with which float64 cannot compute.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    names : sequence of str
    ranges : ndarray, shape (p, 2), optional
        Least and largest value of each column, where they are known; NaN where one is.

    Raises
    ------
    DesignError
        On infinite, NaN or extreme values; it names the columns.
    """
    if len(X) > 0 and (ranges is not None or not tame(X)):
        _checked_range(X, names, ranges)


def _checked_range(X: Array, names: Sequence[str], ranges: Array | None) -> tuple[Array, Array]:
    """Smallest and largest value of each column, or the error that says which cannot be used."""
    low, high = column_range(X) if ranges is None else (ranges[:, 0], ranges[:, 1])
    _refuse_not_finite(X, names, low, high)
    largest = np.maximum(np.abs(low), np.abs(high))
    extreme = (largest > LARGEST) | ((largest < 1.0 / LARGEST) & (largest > 0.0))
    if extreme.any():
        guilty = np.flatnonzero(extreme).tolist()
        values = ", ".join(f"{names[j]!r} (up to {largest[j]:.3g})" for j in guilty)
        raise DesignError(
            f"columns whose squares float64 cannot hold: {values}",
            f"values between {1.0 / LARGEST:g} and {LARGEST:g} in size",
            f"change the units of {listed(names[j] for j in guilty)}",
        )
    return low, high


def check_design(X: Array, names: Sequence[str], intercept: int | None, ranges: Array | None = None) -> None:
    """Refuse a design matrix without a unique estimate.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    names : sequence of str
    intercept : int or None
        The column of ones.
    ranges : ndarray, shape (p, 2), optional
        As in `check_columns`.

    Raises
    ------
    DesignError
        On columns that `check_columns` refuses, more columns than rows, columns that are constant next to an intercept
        or zero, and columns that are combinations of others; it names the columns.
    """
    n, p = X.shape
    if ranges is None and plainly_fine(X, intercept):
        return
    low, high = _checked_range(X, names, ranges)
    if p > n:
        raise DesignError(
            f"{p} columns in the design matrix and only {n} complete rows",
            "at least as many rows as columns",
            "a simpler formula, or fewer levels of its categorical columns",
        )
    largest = np.maximum(np.abs(low), np.abs(high))
    constant = high - low <= 4.0 * np.finfo(np.float64).eps * largest
    flat = constant if intercept is not None else constant & (largest == 0.0)
    flat[[] if intercept is None else [intercept]] = False
    if flat.any():
        guilty = np.flatnonzero(flat).tolist()
        values = ", ".join(f"{names[j]!r} (always {low[j]:g})" for j in guilty)
        raise DesignError(
            f"constant in the rows in use: {values}",
            "columns that vary" + (", next to the intercept" if intercept is not None else ""),
            f"drop {listed(names[j] for j in guilty)} from the formula",
        )
    if ranges is None or not independent(X, intercept):
        _refuse_collinear(X, names, intercept, low, high)


def _refuse_not_finite(X: Array, names: Sequence[str], low: Array, high: Array) -> None:
    guilty = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high))).tolist()
    if len(guilty) == 0:
        return
    parts = []
    for j in guilty:
        infinite, undefined = int(np.isinf(X[:, j]).sum()), int(np.isnan(X[:, j]).sum())
        counts = [f"{infinite} infinite"] * (infinite > 0) + [f"{undefined} NaN"] * (undefined > 0)
        parts.append(f"{names[j]!r} ({' and '.join(counts)})")
    raise DesignError(
        f"values that are not finite, in rows where nothing is missing: {', '.join(parts)}",
        "finite numbers",
        "look for infinite values, and for log or sqrt of zero or of negative numbers; replace them by missing values",
    )


def _refuse_collinear(X: Array, names: Sequence[str], intercept: int | None, low: Array, high: Array) -> None:
    """Rank of the standardised columns: from their cross-products where these are clear, else from a pivoted QR."""
    n, p = X.shape
    others = [j for j in range(p) if j != intercept]
    if not others:
        return
    centre: Array = np.zeros(p) if intercept is None else np.ones(n) @ X / n
    centre[[] if intercept is None else [intercept]] = 0.0
    scale = np.maximum(high - centre, centre - low)
    if smallest_eigenvalue(X, intercept, low, high) > _CLEAR:
        return
    # the triangle of a QR decomposition, from the triangles of blocks of rows: no copy of X
    triangle: Array = np.empty((0, len(others)))
    for first in range(0, n, ROWS_IN_CACHE):
        block = ((X[first : first + ROWS_IN_CACHE] - centre) / scale)[:, others]
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, block]), mode="r"))
    triangle = triangle / np.linalg.norm(triangle, axis=0)
    diagonal = np.abs(np.diag(qr(triangle, mode="r", pivoting=True)[0]))
    if len(diagonal) == len(others) and diagonal[-1] > RANK_TOLERANCE:
        return
    sentences, guilty = combinations(triangle, [names[j] for j in others], intercept is not None)
    raise DesignError(
        "collinear columns: " + "; ".join(sentences),
        "columns none of which is a combination of the others",
        f"drop {listed(guilty)} from the formula",
    )


def combinations(R: Array, names: Sequence[str], centred: bool) -> tuple[list[str], list[str]]:
    """Which columns are combinations of which earlier ones: sentences, and the columns."""
    kept: list[int] = []
    sentences, guilty = [], []
    for j in range(R.shape[1]):
        weights = np.linalg.lstsq(R[:, kept], R[:, j], rcond=None)[0] if kept else np.zeros(0)
        rest = R[:, j] - R[:, kept] @ weights
        if np.linalg.norm(rest) > 4.0 * RANK_TOLERANCE:
            kept.append(j)
            continue
        parts = [names[k] for k, weight in zip(kept, weights, strict=True) if abs(weight) > 1e-5]
        also = " and the intercept" if centred else ""
        sentences.append(f"{names[j]!r} is a combination of {listed(parts)}{also}")
        guilty.append(names[j])
    if not guilty:  # nearly so, with no single culprit
        sentences, guilty = [f"{listed(names)} are nearly so"], [names[-1]]
    return sentences, guilty


def check_response(a: Array, b: Array, response: Response, name: str) -> None:
    """Refuse responses that put the maximum at infinity whatever the covariates.

    Parameters
    ----------
    a, b : ndarray, shape (n,)
        As the likelihood takes them: weighted successes and failures, or weighted counts and weights.
    response : Response
    name : str
        Of the response.

    Raises
    ------
    ResponseError
        When all binomial responses are failures or all are successes, or all counts are zero.
    """
    end = float(response.rises_towards(a.sum(), b.sum()))
    if end != 0.0:
        words = response.words
        raise ResponseError(
            f"all responses in {name!r} are equal: {words.nothing if end < 0.0 else f'there are only {words.high}'}",
            words.some,
            f"check subset= and the {'coding of the response' if response.two_levels else 'data'}",
        )


def check_clusters(
    trials: Array, starts: NDArray[np.int64], response: Response, name: str, sigma_known: bool = False
) -> None:
    """Refuse clusters from which the spread of intercepts cannot be told.

    Parameters
    ----------
    trials : ndarray, shape (n,)
        Binomial trials of each row.
    starts : ndarray of int64, shape (m + 1,)
    response : Response
    name : str
        Of the cluster column.
    sigma_known : bool
        Sigma is held fixed, and need not be estimated.

    Raises
    ------
    ClusterError
        When there is only one cluster, or when no cluster of a binomial model has more than one trial.
    """
    if sigma_known:
        return
    if trials.strides == (0,):  # as many in each row
        most = float(np.diff(starts).max() * trials[0])
    else:
        most = float(np.add.reduceat(trials, starts[:-1]).max())
    refuse_clusters(len(starts) - 1, most, response, name)


def refuse_clusters(m: int, trials: float, response: Response, name: str, sigma_known: bool = False) -> None:
    """Refuse a spread of intercepts that cannot be told, from the number of clusters and the most trials of one."""
    if sigma_known:
        return
    if m < 2:
        raise ClusterError(
            f"only one cluster in {name!r}",
            "at least two clusters, and better ten or more, to estimate the spread between them",
            "cg.pooled, or another cluster column",
        )
    if response.trials and trials <= 1.0:
        raise ClusterError(
            f"{m} clusters in {name!r}, none with more than one binary response",
            "clusters with several responses: otherwise sigma is not identified",
            "cg.pooled; or check that cluster= names the group and not the row",
        )


@dataclass(frozen=True)
class SeparationReport:
    """Covariates that separate the responses, in the words of an error.

    Parameters
    ----------
    got, needed, advice : str
    columns : tuple of str
        Columns whose coefficients go to infinity.
    directions : tuple of ndarray, shape (p,) each
        Directions of X's columns along which the likelihood never falls: each one that of the rows which those before
        do not decide.
    complete : bool
        Whether every response is predicted perfectly.
    """

    got: str
    needed: str
    advice: str
    columns: tuple[str, ...]
    directions: tuple[Array, ...]
    complete: bool

    @property
    def direction(self) -> Array:
        """The first direction."""
        return self.directions[0]


def find_separation(X: Array, a: Array, b: Array, names: Sequence[str], response: Response) -> SeparationReport | None:
    """Complete or quasi-complete separation, by linear programs (Konis 2007; here on unique rows, added as they bind).

    A direction d separates when, for some row with X d != 0 and none otherwise, moving along d cannot lower the
    likelihood: X d >= 0 where there are only successes, <= 0 where there are only failures (or counts of 0), and
    = 0 where there are both (or positive counts).

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Of full column rank.
    a, b : ndarray, shape (n,)
    names : sequence of str
    response : Response

    Returns
    -------
    SeparationReport or None
        None when the maximum is finite.
    """
    p = X.shape[1]
    used = (a > 0.0) | (b > 0.0)
    sign = response.rises_towards(a, b)[used]
    Z, centre, scale, ones = standardised(X if used.all() else X[used])
    fixed = Z[sign == 0.0]
    rows = distinct(Z[sign != 0.0] * sign[sign != 0.0, None])
    free = null_space(fixed, p)
    found: list[Array] = []
    affected = np.zeros(p, dtype=bool)
    complete = False
    while len(found) < p and free.shape[1] > 0 and len(rows) > 0:
        direction = separating(rows, free)
        if direction is None:
            break
        if not found:
            complete = len(fixed) == 0 and bool((rows @ direction > FEASIBLE).all() or _all_decided(rows))
        direction = sparsest(rows, free, direction, ones)
        affected |= np.abs(direction) > 1e-5 * np.abs(direction).max()
        # rows that the direction decides drop out; what is left may separate in its turn
        rows = rows[rows @ direction <= FEASIBLE]
        direction = direction / scale
        direction[ones] -= centre @ direction
        found.append(direction)
    if not found:
        return None
    moving = np.flatnonzero(affected).tolist()
    columns = tuple([names[j] for j in moving if j not in ones] or [names[j] for j in moving])
    how, what = "completely" if complete else "in part", response.words.separated
    return SeparationReport(
        got=f"{listed(columns)} separate{'s' * (len(columns) == 1)} {what} {how}: the maximum lies at infinity",
        needed="no combination of covariates that predicts some responses perfectly",
        advice="separation='limit' in cg.pooled and cg.random_effects, for the limit of the fit with its likelihood; "
        "or a penalty, with finite estimates: penalty='firth' in cg.pooled, penalty='soft' in cg.random_effects; or "
        f"drop {listed(columns)}, or merge levels in which all responses are equal",
        columns=columns,
        directions=tuple(found),
        complete=complete,
    )


def standardised(X: Array) -> tuple[Array, Array, Array, NDArray[np.int64]]:
    """Columns centred (given one of ones) and scaled to at most 1 in size; centres, scales, and the column of ones."""
    low, high = column_range(X)
    ones = np.flatnonzero((low == 1.0) & (high == 1.0))[:1]
    centre = X.mean(axis=0) if len(ones) else np.zeros(X.shape[1])
    centre[ones] = 0.0
    scale = np.maximum(high - centre, centre - low)
    scale[scale == 0.0] = 1.0
    return (X - centre) / scale, centre, scale, ones


def null_space(rows: Array, p: int) -> Array:
    """Orthonormal basis of the directions in which every row is 0, shape (p, k)."""
    if len(rows) == 0:
        return np.eye(p)
    triangle = np.linalg.qr(rows, mode="r") if len(rows) > p else rows
    _, values, Vt = np.linalg.svd(triangle)
    rank = int((values > 1e-9 * max(values[0], 1e-300)).sum()) if values[0] > 0.0 else 0
    basis: Array = Vt[rank:].T
    return basis


def distinct(rows: Array) -> Array:
    """Rows without repetitions; told apart by a random combination of their columns, a hundred times faster to sort."""
    key = np.zeros(len(rows))
    combination: Array = np.random.default_rng(20070701).normal(size=(rows.shape[1],))
    for j, weight in enumerate(combination.tolist()):
        key += weight * rows[:, j]  # not rows @ weights: the same row must always give the same bits
    return rows[np.unique(key, return_index=True)[1]]


def separating(rows: Array, free: Array) -> Array | None:
    """Direction of the largest sum of margins, coefficients in the basis `free` at most 1; None without one."""
    from scipy.optimize import linprog

    inside = rows @ free
    cost = -inside.mean(axis=0)

    def solve(some: Array) -> Array | None:
        found = linprog(cost, A_ub=-some, b_ub=np.zeros(len(some)), bounds=(-1.0, 1.0)).x
        # where already some of the rows leave only d = 0, all do
        return None if found is None or np.abs(found).max() < FEASIBLE else found

    found = with_rows_as_needed(inside, solve)
    if found is None:
        return None
    margins = inside @ found
    if margins.min() < -FEASIBLE or margins.max() <= 10.0 * FEASIBLE:
        return None
    direction: Array = free @ found
    return direction


def sparsest(rows: Array, free: Array, direction: Array, ones: NDArray[np.int64]) -> Array:
    """A separating direction of few columns: least sum of |d|, the intercept's apart, for the same sum of margins."""
    from scipy.optimize import linprog

    p, k = free.shape
    toward = rows.mean(axis=0)
    # variables g (k) and bounds u (p) of |free @ g|
    cost = np.concatenate([np.zeros(k), np.ones(p)])
    cost[k + ones] = 0.0
    absolute = np.block([[free, -np.eye(p)], [-free, -np.eye(p)]])
    limits = [(None, None)] * k + [(0.0, None)] * p
    reach = np.concatenate([toward @ free, np.zeros(p)])[None, :]

    def solve(some: Array) -> Array | None:
        return linprog(
            cost,
            A_ub=np.vstack([-some, absolute]),
            b_ub=np.zeros(len(some) + 2 * p),
            A_eq=reach,
            b_eq=[float(toward @ direction)],
            bounds=limits,
        ).x

    found = with_rows_as_needed(np.hstack([rows @ free, np.zeros((len(rows), p))]), solve)
    if found is None:
        return direction
    sparse: Array = free @ found[:k]
    sparse[np.abs(sparse) < 1e-9 * np.abs(sparse).max()] = 0.0
    return sparse


def _all_decided(rows: Array) -> bool:
    """Whether some direction has a positive margin in every row: complete separation."""
    from scipy.optimize import linprog

    p = rows.shape[1]
    cost = np.append(np.zeros(p), -1.0)  # the last variable is the smallest margin
    bounds = [(-1.0, 1.0)] * p + [(0.0, 1.0)]

    def solve(some: Array) -> Array | None:
        found = linprog(cost, A_ub=-some, b_ub=np.zeros(len(some)), bounds=bounds).x
        return None if found is None or found[-1] <= FEASIBLE else found

    return with_rows_as_needed(np.hstack([rows, np.full((len(rows), 1), -1.0)]), solve) is not None


def with_rows_as_needed(rows: Array, solve: Callable[[Array], Array | None]) -> Array | None:
    """Solution x of a linear program under rows @ x >= 0, of which only those enter that would be violated.

    `solve` gives the solution under some of the rows; None ends the search.
    """
    active = np.zeros(len(rows), dtype=bool)
    active[:: max(1, len(rows) // ROWS)] = True
    while True:
        x = solve(rows[active])
        if x is None:
            return None
        margins = rows @ x
        violated = np.flatnonzero((margins < -0.1 * FEASIBLE) & ~active)
        if len(violated) == 0:
            return x
        active[violated[np.argsort(margins[violated])[:ROWS]]] = True


def listed(names: Iterable[str], most: int = 6) -> str:
    every = [repr(name) for name in names]
    if not every:
        return "nothing"
    if len(every) > most:
        return ", ".join(every[:most]) + f" and {len(every) - most} more"
    return every[0] if len(every) == 1 else ", ".join(every[:-1]) + " and " + every[-1]
