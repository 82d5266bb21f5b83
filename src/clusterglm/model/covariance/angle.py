"""Any covariance, by the angle that stands for one correlation: what its profile follows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array
from clusterglm.model.covariance.unstructured import Unstructured


class FirstAngle(Unstructured):
    """phi are the standard deviations of the first two effects, an angle, and the other rows of L.

    The first two effects have correlation sin(angle). L is a smooth function of phi at correlations of -1 and 1 too,
    where the likelihood is symmetric about the angle: a maximum there is one like others. It needs two effects.
    """

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        first, second = effects[:2]
        return (f"sd({first})", f"sd({second})", f"angle({first},{second})", *super().labels(effects)[3:])

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        L = super().factor(phi, d)
        L[1, :2] = phi[1] * np.sin(phi[2]), phi[1] * np.cos(phi[2])
        return L

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        found = super().slopes(phi, d)
        sine, cosine = np.sin(phi[2]), np.cos(phi[2])
        found[1:3] = 0.0
        found[1, 1, :2] = sine, cosine
        found[2, 1, :2] = phi[1] * cosine, -phi[1] * sine
        return found

    def bends(self, phi: Array, d: int) -> Array | None:
        """See `Structure`."""
        found = np.zeros((self.size(d), self.size(d), d, d))
        sine, cosine = np.sin(phi[2]), np.cos(phi[2])
        found[1, 2, 1, :2] = found[2, 1, 1, :2] = cosine, -sine
        found[2, 2, 1, :2] = -phi[1] * sine, -phi[1] * cosine
        return found

    def canonical(self, phi: Array, d: int) -> Array:
        """As it is: standard deviations of either sign are told apart by who follows the profile."""
        return phi

    def of(self, covariance: Array) -> Array:
        """See `Structure`; the first two standard deviations must not be zero."""
        phi, sd = super().of(covariance), np.sqrt(np.diag(covariance)[:2])
        phi[:3] = sd[0], sd[1], np.arcsin(np.clip(covariance[1, 0] / (sd[0] * sd[1]), -1.0, 1.0))
        return phi

    def scales(self, d: int) -> NDArray[np.bool_]:
        """See `Structure`."""
        found = super().scales(d)
        found[1:3] = True, False
        return found

    def units(self, scale: Array) -> Array:
        """See `Structure`."""
        found = super().units(scale)
        found[2] = 1.0
        return found
