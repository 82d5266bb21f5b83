"""Effects without correlations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array
from clusterglm.model.covariance.base import Structure


class Diagonal(Structure):
    """No correlations; phi are the standard deviations."""

    def size(self, d: int) -> int:
        """See `Structure`."""
        return d

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        return tuple(f"sd({name})" for name in effects)

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return np.diag(phi)

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        found = np.zeros((d, d, d))
        found[np.arange(d), np.arange(d), np.arange(d)] = 1.0
        return found

    def canonical(self, phi: Array, d: int) -> Array:
        """Standard deviations are not negative."""
        return np.abs(phi)

    def of(self, covariance: Array) -> Array:
        """See `Structure`."""
        return np.sqrt(np.diag(covariance))

    def units(self, scale: Array) -> Array:
        """See `Structure`."""
        return scale

    def pattern(self, d: int) -> NDArray[np.bool_]:
        """See `Structure`."""
        return np.eye(d, dtype=bool)

    def basis(self, d: int) -> Array:
        """See `Structure`."""
        return self.slopes(np.ones(d), d)
