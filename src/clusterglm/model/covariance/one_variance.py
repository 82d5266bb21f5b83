"""Effects without correlations and with one variance."""

from __future__ import annotations

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.model.covariance.diagonal import Diagonal


class OneVariance(Diagonal):
    """No correlations, and one standard deviation, which is phi."""

    def size(self, d: int) -> int:
        """See `Structure`."""
        return 1

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        return ("sd",)

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return np.asarray(phi[0] * np.eye(d))

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return np.eye(d)[None]

    def basis(self, d: int) -> Array:
        """See `Structure`."""
        return np.eye(d)[None]

    def of(self, covariance: Array) -> Array:
        """See `Structure`."""
        return np.array([np.sqrt(np.mean(np.diag(covariance)))])

    def units(self, scale: Array) -> Array:
        """See `Structure`."""
        return scale[:1]

    def counts(self, d: int) -> Array:
        """See `Structure`: all entries are one and the same."""
        return np.full((d, d), 1.0 / d)

    same_unit = True
