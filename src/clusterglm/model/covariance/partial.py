"""Any covariance, by standard deviations and Fisher's z of partial correlations, which may be any numbers.

The factor of the correlations has the rows

    C_ij = tanh(z_ij) prod_{k<j} sech(z_ik)   (j < i),    C_ii = prod_{k<i} sech(z_ik),

and tanh(z_ij) is the correlation of effects i and j given those before j (Joe, Journal of Multivariate Analysis 97,
2006; Lewandowski, Kurowicka and Joe, the same 100, 2009). Of two effects it is the correlation.
"""

from __future__ import annotations

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.model.covariance.base import BetaShare, Structure


class PartialCorrelated(Structure):
    """phi are the standard deviations, then z of the pairs below the diagonal, row by row."""

    def size(self, d: int) -> int:
        """See `Structure`."""
        return d * (d + 1) // 2

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        pairs = zip(*np.tril_indices(len(effects), -1), strict=True)
        return (*(f"sd({name})" for name in effects), *(f"cor({effects[j]},{effects[i]})" for i, j in pairs))

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return np.asarray(phi[:d, None] * _root(phi, d))

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        found = np.zeros((self.size(d), d, d))
        found[np.arange(d), np.arange(d)] = _root(phi, d)
        for k, pair in enumerate(_pairs(d), start=d):
            found[k] = phi[:d, None] * _root(phi, d, (pair,))
        return found

    def bends(self, phi: Array, d: int) -> Array | None:
        """See `Structure`."""
        found = np.zeros((self.size(d), self.size(d), d, d))
        for k, pair in enumerate(_pairs(d), start=d):
            first = _root(phi, d, (pair,))
            found[np.arange(d), k, np.arange(d)] = found[k, np.arange(d), np.arange(d)] = first
            for m, other in enumerate(_pairs(d), start=d):
                found[k, m] = phi[:d, None] * _root(phi, d, (pair, other))
        return found

    def canonical(self, phi: Array, d: int) -> Array:
        """Standard deviations are not negative."""
        rows, columns = np.tril_indices(d, -1)
        signs = np.where(phi[:d] < 0.0, -1.0, 1.0)
        return np.append(np.abs(phi[:d]), phi[d:] * signs[rows] * signs[columns])

    def of(self, covariance: Array) -> Array:
        """See `Structure`; of a singular one that near it whose partial correlations are within .999."""
        d, sd = len(covariance), np.sqrt(np.diag(covariance))
        safe = np.where(sd > 0.0, sd, 1.0)
        C = np.linalg.cholesky((1.0 - 1e-9) * covariance / np.outer(safe, safe) + 1e-9 * np.eye(d))
        rows, columns = np.tril_indices(d, -1)
        left = np.array([1.0 - (C[i, :j] ** 2).sum() for i, j in zip(rows, columns, strict=True)])
        partial = C[rows, columns] / np.sqrt(np.maximum(left, 1e-12))
        return np.append(sd, np.arctanh(np.clip(partial, -0.999, 0.999)))

    def units(self, scale: Array) -> Array:
        """See `Structure`."""
        d = len(scale)
        return np.append(scale, np.ones(d * (d - 1) // 2))

    def lkj(self, d: int) -> tuple[BetaShare, ...]:
        """See `Structure`: independent, each the more concentrated the fewer effects it is given."""
        return tuple(BetaShare(2.0, 0.0, (0.5 * (d - 2 - j), 1.0), (0.5 * (d - 2 - j), 1.0)) for _, j in _pairs(d))

    def correlations(self, followed: Array, d: int) -> Array:
        """See `Structure`: from z of the partial ones."""
        C = _root(np.append(np.ones(d), followed), d)
        return np.asarray((C @ C.T)[np.tril_indices(d, -1)])


def _pairs(d: int) -> list[tuple[int, int]]:
    """Rows and columns below the diagonal, row by row."""
    return [(i, j) for i in range(d) for j in range(i)]


def _root(phi: Array, d: int, by: tuple[tuple[int, int], ...] = ()) -> Array:
    """The factor of the correlations, differentiated once for each pair of `by`."""
    z = np.zeros((d, d))
    z[np.tril_indices(d, -1)] = phi[d:]
    p, s = np.tanh(z), 1.0 / np.cosh(z)
    times = np.zeros((d, d), dtype=int)
    for pair in by:
        times[pair] += 1
    # derivatives of sech and of tanh, as many as asked for
    left = np.choose(times, [s, -p * s, (p * p - s * s) * s])
    own = np.choose(times, [p, s * s, -2.0 * p * s * s])
    C = np.zeros((d, d))
    for i in range(d):
        if by and any(pair[0] != i for pair in by):
            continue
        along = np.append(1.0, np.cumprod(left[i, :i]))
        for j in range(i + 1):
            used = times[i, : j + 1].sum() if j < i else times[i, :i].sum()
            if used == len(by):
                C[i, j] = along[j] * (own[i, j] if j < i else 1.0)
    return C
