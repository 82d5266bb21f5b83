"""Formulas that do no more than list columns of numbers: their design matrix is written in one pass.

The other way computes every factor and multiplies; and there a fit of few rows would take less time than its formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.model.arrays import Array

_FLOATS_AT_A_TIME = 131_072  # that become floats at a time: no copy of a column


@dataclass(frozen=True)
class Matrix:
    """Columns side by side.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        C order.
    ranges : ndarray, shape (p, 2), or None
        Least and largest value of each column, NaN where one is; None where they are not known.
    """

    X: Array
    ranges: Array | None = None


def plain_matrix(listed: Sequence[str], intercept: bool, columns: Mapping[str, Any], n: int) -> Matrix | None:
    """The matrix of n rows; None where a column holds anything but numbers.

    Parameters
    ----------
    listed : sequence of str
        Columns of numbers.
    intercept : bool
        Whether there is a column of ones before them.
    columns : mapping of str to ndarray
    n : int
    """
    found = [_numbers(columns[name]) for name in listed]
    if any(each is None for each in found):
        return None
    return _side_by_side([None, *found] if intercept else found, n)


def _side_by_side(columns: Sequence[NDArray[Any] | None], n: int) -> Matrix:
    """None stands for ones."""
    step = max(_FLOATS_AT_A_TIME // max(len(columns), 1), 1)
    X, parts = np.empty((n, len(columns))), np.empty((-(-n // step), len(columns), 2))
    for k, first in enumerate(range(0, n, step)):
        rows = slice(first, first + step)
        some = [None if each is None else np.ascontiguousarray(each[rows], dtype=np.float64) for each in columns]
        _core.side_by_side(some, X[rows], parts[k])
    if n == 0:
        return Matrix(X)
    return Matrix(X, np.stack([parts[:, :, 0].min(axis=0), parts[:, :, 1].max(axis=0)], axis=1))


def _numbers(values: Any) -> NDArray[Any] | None:
    """An array of numbers or bools; None for anything else."""
    return values if isinstance(values, np.ndarray) and values.dtype.kind in "biuf" else None
