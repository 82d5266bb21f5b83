"""What some rows of a design matrix show of all of them: mostly that nothing is wrong, which is then certain."""

from __future__ import annotations

from math import gcd

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.model.large_data import ROWS_GLANCED_AT, ROWS_IN_CACHE, ROWS_SEEN_QUICKLY

LARGEST = 1e100  # size of a covariate
_SHARE_OF_ROWS = 4  # a design of fewer times as many rows is looked at as a whole
_CYCLES = 2 * 3 * 5 * 7  # rows may come in cycles, such as a time within clusters: steps share no factor with these
_VARIES = 1e-6  # share of its size by which a column varies, and beyond doubt
_DISTINCT = 1e-3  # smallest eigenvalue of the correlations of columns that are no combinations of others, beyond doubt


def step_through(n: int, rows: int) -> int:
    """A step that shows at most about `rows` of `n` rows, in all phases of short cycles."""
    step = max(1, n // rows)
    while step > 1 and gcd(step, _CYCLES) > 1:
        step += 1
    return step


def tame(X: Array) -> bool:
    """Whether float64 can certainly compute with X: the sum of all squares tells, and some rows of a large design."""
    return _sum_is_tame(X) and any(_large_enough(X[:: step_through(len(X), rows)]) for rows in _looks(X))


def plainly_fine(X: Array, intercept: int | None) -> bool:
    """Whether some of the rows show already that a large design is: what is wrong with all is wrong with them.

    Columns that are constant, or combinations of others, are so in every selection of rows; and the sum of all squares
    tells of infinite, undefined or extreme values.
    """
    return _sum_is_tame(X) and independent(X, intercept)


def independent(X: Array, intercept: int | None) -> bool:
    """Whether some rows of a large design that is `tame` show that no column is a combination of others."""
    return any(_shows_rank(np.ascontiguousarray(X[:: step_through(len(X), rows)]), intercept) for rows in _looks(X))


def _looks(X: Array) -> list[int]:
    return [rows for rows in ROWS_GLANCED_AT if len(X) >= _SHARE_OF_ROWS * rows and rows > X.shape[1]]


def _sum_is_tame(X: Array) -> bool:
    if X.size == 0 or not _looks(X) or not X.flags.c_contiguous:
        return False
    flat = X.reshape(-1)
    return float(flat @ flat) < LARGEST


def _large_enough(part: Array) -> bool:
    return bool(np.all(np.abs(part).max(axis=0) > 1.0 / LARGEST))


def _shows_rank(part: Array, intercept: int | None) -> bool:
    low, high = column_range(part)
    size = np.maximum(np.abs(low), np.abs(high))
    others = np.arange(len(low)) != (-1 if intercept is None else intercept)
    if not np.all(size > 1.0 / LARGEST) or not np.all((high - low > _VARIES * size)[others]):
        return False
    return smallest_eigenvalue(part, intercept, low, high) > _DISTINCT


def column_range(X: Array) -> tuple[Array, Array]:
    """Smallest and largest value of each column; NaN where one is."""
    if X.shape[1] > 32 or len(X) < ROWS_SEEN_QUICKLY:
        return X.min(axis=0), X.max(axis=0)
    # NumPy reduces short rows slowly: column by column takes a third of the time, but for its calls
    return np.array([x.min() for x in X.T]), np.array([x.max() for x in X.T])


def smallest_eigenvalue(X: Array, intercept: int | None, low: Array, high: Array) -> float:
    """Smallest eigenvalue of the correlations of the columns (about zero without an intercept)."""
    n, p = X.shape
    others = [j for j in range(p) if j != intercept]
    if not others:
        return 1.0
    centre: Array = np.zeros(p) if intercept is None else np.ones(n) @ X / n
    centre[[] if intercept is None else [intercept]] = 0.0
    scale = np.maximum(high - centre, centre - low)
    product = np.zeros((p, p))
    for first in range(0, n, ROWS_IN_CACHE):
        block = X[first : first + ROWS_IN_CACHE] - centre
        block /= scale
        product += block.T @ block
    size = np.sqrt(np.diag(product))
    return float(np.linalg.eigvalsh((product / np.outer(size, size))[np.ix_(others, others)])[0])
