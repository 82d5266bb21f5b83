"""Any covariance."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array
from clusterglm.model.covariance.base import Structure
from clusterglm.model.covariance.correlated import Correlated

_A = TypeVar("_A", bound=NDArray[Any])


@lru_cache(maxsize=64)
def _lower(d: int) -> NDArray[np.bool_]:
    """Marks of the entries of L, which are read row by row."""
    return _kept(np.tri(d, dtype=np.bool_))


@lru_cache(maxsize=64)
def _unit_matrices(d: int) -> Array:
    """Derivatives of L in each of its entries."""
    rows, columns = np.tril_indices(d)
    found = np.zeros((len(rows), d, d))
    found[np.arange(len(rows)), rows, columns] = 1.0
    return _kept(found)


def _kept(array: _A) -> _A:
    array.flags.writeable = False
    return array


class Unstructured(Structure):
    """Any covariance; phi are the entries of L, row by row."""

    def size(self, d: int) -> int:
        """See `Structure`."""
        return d * (d + 1) // 2

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        return tuple(f"L[{effects[i]},{effects[j]}]" for i, j in zip(*np.tril_indices(len(effects)), strict=True))

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        L = np.zeros((d, d))
        L[_lower(d)] = phi
        return L

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return _unit_matrices(d).copy()

    def canonical(self, phi: Array, d: int) -> Array:
        """Diagonal entries are not negative."""
        L = self.factor(phi, d)
        return np.asarray((L * np.where(np.diag(L) < 0.0, -1.0, 1.0))[_lower(d)])

    def of(self, covariance: Array) -> Array:
        """See `Structure`."""
        return np.asarray(np.linalg.cholesky(covariance)[np.tril_indices(len(covariance))])

    def scales(self, d: int) -> NDArray[np.bool_]:
        """See `Structure`: entries of the diagonal."""
        rows, columns = np.tril_indices(d)
        return np.asarray(rows == columns)

    def read_labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        return Correlated().labels(effects)

    def read(self, phi: Array, d: int) -> tuple[Array, Array]:
        """See `Structure`; a correlation with an effect that does not vary is NaN."""
        L, slopes = self.factor(phi, d), self.slopes(phi, d)
        S, moved = L @ L.T, slopes @ L.T
        moved = moved + np.swapaxes(moved, 1, 2)
        sd = np.sqrt(np.diag(S))
        rows, columns = np.tril_indices(d, -1)
        with np.errstate(invalid="ignore", divide="ignore"):
            of_sd = np.diagonal(moved, axis1=1, axis2=2).T / (2.0 * sd[:, None])
            correlations = S[rows, columns] / (sd[rows] * sd[columns])
            relative = of_sd / sd[:, None]
            of_correlations = moved[:, rows, columns].T / (sd[rows] * sd[columns])[:, None] - correlations[:, None] * (
                relative[rows] + relative[columns]
            )
        return np.append(sd, np.clip(correlations, -1.0, 1.0)), np.vstack([of_sd, of_correlations])

    def units(self, scale: Array) -> Array:
        """See `Structure`."""
        return scale[np.tril_indices(len(scale))[0]]

    def basis(self, d: int) -> Array:
        """See `Structure`."""
        lower = self.slopes(np.zeros(self.size(d)), d)
        return np.asarray(np.maximum(lower, lower.transpose(0, 2, 1)))
