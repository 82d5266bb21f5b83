"""Centred and scaled covariates inside, the user's scale outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterglm.data.tables.glance import step_through
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import ROWS_AT_A_TIME, ROWS_FOR_UNITS

_ALIKE = 1e-6  # of the mean square of columns: a combination of them that rows do not see


@dataclass(frozen=True)
class Standardisation:
    """beta = L gamma, where gamma are the coefficients of the standardised columns.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Standardised design matrix (the user's own array where it was fit for use as it stood).
    L : ndarray, shape (p, p)
        Back-transformation; the identity when nothing was done.
    centre : ndarray, shape (p,)
        What was taken off the columns without an intercept among them to make up for it: intercepts that belong to
        `X` are larger by centre @ beta than those that belong to the user's columns. Otherwise 0.
    """

    X: Array
    L: Array
    centre: Array

    def inside(self, beta: Array) -> Array:
        """gamma from beta."""
        return np.asarray(np.linalg.solve(self.L, beta), dtype=np.float64)


def standardise(X: Array, intercept: int | None, *, centred: bool = False) -> Standardisation:
    """Centre (given an intercept) and scale the columns that need it.

    Newton's method does not care for units in exact arithmetic; rounding does. A column is left alone when its mean is
    within ten standard deviations of zero and its standard deviation between 1/30 and 30.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    intercept : int or None
        The column of ones; without one, columns are scaled but not centred.
    centred : bool
        Every cluster has an intercept, which is not a column: columns are centred.
    """
    n, p = X.shape
    centred |= intercept is not None
    others = np.arange(p) != (-1 if intercept is None else intercept)
    step = step_through(n, ROWS_FOR_UNITS)
    mean, sd = _moments(np.ascontiguousarray(X[::step]), centred)
    if step > 1 and np.any(others & (sd == 0.0)):  # a rare level
        mean, sd = _moments(X, centred)
    return standardisation(X, rescaling(mean, sd, intercept), intercept)


def rescaling(mean: Array, sd: Array, intercept: int | None) -> tuple[Array, Array] | None:
    """Centres and scales from the columns' means (0 to leave them) and standard deviations; None to leave all alone."""
    usable = (np.arange(len(mean)) != (-1 if intercept is None else intercept)) & (sd > 0.0)
    harmless = (sd > 1 / 30) & (sd < 30.0) & (np.abs(mean) < 10.0 * sd)
    if np.all(harmless | ~usable):
        return None
    return np.where(usable, mean, 0.0), np.where(usable, sd, 1.0)


def standardisation(X: Array, units: tuple[Array, Array] | None, intercept: int | None) -> Standardisation:
    """Some rows in other units, and the way back."""
    n, p = X.shape
    if units is None:
        return Standardisation(X, np.eye(p), np.zeros(p))
    centre, scale = units
    Z = np.empty_like(X)
    for first in range(0, n, ROWS_AT_A_TIME):
        np.divide(X[first : first + ROWS_AT_A_TIME] - centre, scale, out=Z[first : first + ROWS_AT_A_TIME])
    L = np.diag(1.0 / scale)
    if intercept is not None:
        L[intercept] -= centre / scale
        centre = np.zeros(p)
    return Standardisation(Z, L, centre)


def _moments(X: Array, centred: bool) -> tuple[Array, Array]:
    """Means (0 unless `centred`) and standard deviations about them."""
    n, p = X.shape
    mean = np.zeros(p)
    if centred:
        for first in range(0, n, ROWS_AT_A_TIME):  # as a product, several times faster than a mean over rows
            block = X[first : first + ROWS_AT_A_TIME]
            mean += np.ones(len(block)) @ block
        mean /= n
    square = np.zeros(p)
    for first in range(0, n, ROWS_AT_A_TIME):
        block = X[first : first + ROWS_AT_A_TIME] - mean
        square += np.einsum("ij,ij->j", block, block)
    return mean, np.sqrt(square / n)


def tells_columns_apart(X: Array) -> bool:
    """Whether some rows of columns of unit size vary in all of them, and in no two alike."""
    squares = X.T @ X / max(len(X), 1)
    return len(squares) == 0 or bool(np.linalg.eigvalsh(squares)[0] > _ALIKE * np.trace(squares) / len(squares))
