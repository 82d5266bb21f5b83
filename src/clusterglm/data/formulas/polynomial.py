"""Orthogonal polynomials of a column: `poly(x, degree)`."""

from __future__ import annotations

from typing import Any

import numpy as np

from clusterglm.errors import FormulaError
from clusterglm.model.arrays import Array

MOST_POWERS = 100
"""Largest degree."""


def orthogonal(x: Array, degree: int, state: tuple[Array, Array] | None = None) -> tuple[Array, tuple[Array, Array]]:
    """Polynomials of degree 1 to `degree` that are orthonormal over the fitted values, by three-term recurrence.

    Parameters
    ----------
    x : ndarray, shape (n,)
    degree : int
    state : (ndarray, ndarray), optional
        What an earlier call gave; else it is learned from x.

    Returns
    -------
    columns : ndarray, shape (n, degree)
    state : (ndarray, ndarray), shapes (degree,) and (degree + 1,)
        Centres alpha and squared norms: P_{k+1} = (x - alpha_k) P_k - (norm_k / norm_{k-1}) P_{k-1}.

    References
    ----------
    Kennedy and Gentle, Statistical Computing, 1980, sec. 8.3.
    """
    alpha, norms = (np.empty(degree), np.empty(degree + 1)) if state is None else state
    P = np.empty((len(x), degree + 1))
    P[:, 0] = 1.0
    for k in range(degree + 1):
        if state is None:
            squares = P[:, k] ** 2
            norms[k] = np.sum(squares)
            if k < degree:
                alpha[k] = np.sum(x * squares) / norms[k]
        if k < degree:
            P[:, k + 1] = (x - alpha[k]) * P[:, k]
            if k > 0:
                P[:, k + 1] -= norms[k] / norms[k - 1] * P[:, k - 1]
    return P[:, 1:] / np.sqrt(norms[1:]), (alpha, norms)


def learn(x: Array, degree: float = 1, raw: Any = False) -> dict[str, Any]:
    """What `poly` keeps of the fitted column.

    Raises
    ------
    FormulaError
        When the degree is no whole number from 1, or x has too few different values.
    """
    if degree != int(degree) or not 1 <= degree <= MOST_POWERS:
        raise FormulaError(f"poly() of degree {degree:g}", f"a whole number from 1 to {MOST_POWERS}", "degree=2")
    if raw:
        return {"degree": int(degree), "raw": True, "alpha": None, "norms2": None}
    different = len(np.unique(x))
    if different <= degree:
        raise FormulaError(
            f"poly() of degree {degree:g} of a column with {different} different values",
            "more different values than the degree",
            "a lower degree, or C(x)",
        )
    alpha, norms = orthogonal(x, int(degree))[1]
    return {"degree": int(degree), "raw": False, "alpha": alpha, "norms2": norms}


def apply(state: dict[str, Any], x: Array) -> Array:
    """The columns, shape (n, degree)."""
    if state["raw"]:
        return np.stack([np.power(x, k) for k in range(1, state["degree"] + 1)], axis=1)
    return orthogonal(x, state["degree"], (state["alpha"], state["norms2"]))[0]
