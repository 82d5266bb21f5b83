"""Derivatives of the Cholesky factor C of a matrix R = C C'.

C' = C low(C^-1 R' C^-T), where `low` is the lower triangle with half the diagonal; and, differentiated once more in
another parameter, C'' = C low(C^-1 (R'' - C'_1 C'_2^T - C'_2 C'_1^T) C^-T).
"""

from __future__ import annotations

import numpy as np

from clusterglm.model.arrays import Array


def cholesky(R: Array) -> Array:
    """The factor; NaN where R is not positive definite."""
    try:
        return np.asarray(np.linalg.cholesky(R), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.full_like(R, np.nan)


def cholesky_slope(C: Array, slope: Array) -> Array:
    """Derivative of the factor from that of the matrix, shape (d, d)."""
    return C @ _low(_between(C, slope))


def cholesky_bend(C: Array, one: Array, other: Array, bend: Array | float = 0.0) -> Array:
    """Second derivative of the factor from its first ones in two parameters, and the matrix' second derivative."""
    return C @ _low(_between(C, bend - one @ other.T - other @ one.T))


def _low(matrix: Array) -> Array:
    return np.asarray(np.tril(matrix) - 0.5 * np.diag(np.diag(matrix)))


def _between(C: Array, matrix: Array) -> Array:
    """C^-1 matrix C^-T."""
    half = np.linalg.solve(C, matrix)
    return np.asarray(np.linalg.solve(C, half.T).T)
