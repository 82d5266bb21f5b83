"""Many small matrices at once: products and inverses without a call of LAPACK for each.

Stacks have the shape (m, i, j), whatever their order in memory: short loops go over entries, long ones over m.
"""

from __future__ import annotations

import numpy as np

from clusterglm.model.arrays import Array

_UNROLLED = 4  # order up to which sums are written out
_KEPT_TOGETHER = 4  # columns from which rows are kept together
_ENTRIES = 64  # of a product that are computed one after the other


def product(A: Array, B: Array) -> Array:
    """A @ B for stacks of matrices, either of which may be a single one."""
    (i, j), k = A.shape[-2:], B.shape[-1]
    m = max(A.shape[0] if A.ndim == 3 else 1, B.shape[0] if B.ndim == 3 else 1)
    if j == 0 or j > _UNROLLED or i * min(k, _KEPT_TOGETHER) > _ENTRIES:
        return np.asarray(np.matmul(A, B))
    if k >= _KEPT_TOGETHER:
        rows = np.empty((i, m, k))
        for a in range(i):
            np.multiply(A[..., a, 0, None], B[..., 0, :], out=rows[a])
            for b in range(1, j):
                rows[a] += A[..., a, b, None] * B[..., b, :]
        return rows.transpose(1, 0, 2)
    found = np.empty((i, k, m))
    for a in range(i):
        for c in range(k):
            np.multiply(A[..., a, 0], B[..., 0, c], out=found[a, c])
            for b in range(1, j):
                found[a, c] += A[..., a, b] * B[..., b, c]
    return found.transpose(2, 0, 1)


def transposed(A: Array) -> Array:
    """A' of each."""
    return A.swapaxes(-1, -2)


def summed(left: Array, weights: Array, right: Array) -> Array:
    """Weighted sum of left' right, (m, d, i) and (m, d, j) -> (i, j)."""
    alike = bool((weights == 1.0).all())
    found = np.zeros((left.shape[-1], right.shape[-1]))
    for a in range(left.shape[1]):
        found += (left[:, a] if alike else left[:, a] * weights[:, None]).T @ right[:, a]
    return found


def weighted_sum(weights: Array, A: Array) -> Array:
    """Sum of weights times A, (m,) and (m, i, j) -> (i, j)."""
    return np.array([[float(weights @ A[:, a, b]) for b in range(A.shape[2])] for a in range(A.shape[1])])


def pairs(weights: Array, A: Array, B: Array) -> Array:
    """Weighted sums of products of entries, (m, i, j) and (m, k, l) -> (i, j, k, l)."""
    one, other = (each.transpose(1, 2, 0).reshape(-1, len(weights)) for each in (A, B))
    scaled = one if (weights == 1.0).all() else one * weights
    return np.asarray(scaled @ other.T).reshape(*A.shape[1:], *B.shape[1:])


def inverse_and_logdet(A: Array) -> tuple[Array, Array]:
    """Inverse, shape (m, d, d), and log-determinant, shape (m,), of positive definite matrices."""
    d = A.shape[-1]
    if d == 1:
        return 1.0 / A, np.log(A[:, 0, 0])
    if d == 2:
        a, b, c = A[:, 0, 0], A[:, 0, 1], A[:, 1, 1]
        det = a * c - b * b
        found = np.empty((2, 2, len(A)))
        np.divide(c, det, out=found[0, 0])
        np.divide(a, det, out=found[1, 1])
        np.divide(-b, det, out=found[0, 1])
        found[1, 0] = found[0, 1]
        return found.transpose(2, 0, 1), np.log(det)
    if d == 0 or len(A) == 0:
        return A, np.zeros(len(A))
    C = np.linalg.cholesky(A)
    half = np.linalg.inv(C)
    return transposed(half) @ half, 2.0 * np.log(np.diagonal(C, axis1=1, axis2=2)).sum(axis=1)
