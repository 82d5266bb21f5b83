"""Many small matrices at once: products and inverses without a call of LAPACK for each."""

from __future__ import annotations

import numpy as np

from clusterglm.model.arrays import Array

_UNROLLED = 4  # order up to which sums are written out


def product(A: Array, B: Array) -> Array:
    """A @ B for stacks of matrices, shapes (m, i, j) and (m, j, k), or (i, j) and (m, j, k)."""
    j = A.shape[-1]
    if j > _UNROLLED:
        return np.asarray(np.matmul(A, B))
    found: Array = A[..., :, 0, None] * B[..., 0, None, :]
    for k in range(1, j):
        found += A[..., :, k, None] * B[..., k, None, :]
    return found


def transposed(A: Array) -> Array:
    """A' of each."""
    return np.swapaxes(A, -1, -2)


def inverse_and_logdet(A: Array) -> tuple[Array, Array]:
    """Inverse, shape (m, d, d), and log-determinant, shape (m,), of positive definite matrices."""
    d = A.shape[-1]
    if d == 1:
        return 1.0 / A, np.log(A[:, 0, 0])
    if d == 2:
        a, b, c = A[:, 0, 0], A[:, 0, 1], A[:, 1, 1]
        det = a * c - b * b
        found = np.empty_like(A)
        found[:, 0, 0], found[:, 1, 1] = c, a
        found[:, 0, 1] = found[:, 1, 0] = -b
        found /= det[:, None, None]
        return found, np.log(det)
    if d == 0 or len(A) == 0:
        return A, np.zeros(len(A))
    C = np.linalg.cholesky(A)
    half = np.linalg.inv(C)
    return transposed(half) @ half, 2.0 * np.log(np.diagonal(C, axis1=1, axis2=2)).sum(axis=1)
