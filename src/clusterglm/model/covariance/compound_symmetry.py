"""Effects with one correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array
from clusterglm.model.covariance.base import BetaShare, Structure
from clusterglm.model.covariance.cholesky import cholesky, cholesky_bend, cholesky_slope

ENDLESS = 12.0  # t from the middle beyond which the correlation is at its end


class CompoundSymmetry(Structure):
    """One correlation; phi are the standard deviations and a number t that it follows from.

    The correlation runs from -1/(d - 1) to 1 as t runs over the real line: rho = (e^t - 1) / (e^t + d - 1).
    """

    def size(self, d: int) -> int:
        """See `Structure`."""
        return d + (d > 1)

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        return (*(f"sd({name})" for name in effects), *(("t(correlation)",) if len(effects) > 1 else ()))

    @staticmethod
    def correlation(t: float, d: int) -> tuple[float, float, float]:
        """The correlation of d effects, and its first two derivatives in t."""
        share = 1.0 / (1.0 + (d - 1) * np.exp(-t))  # logistic in t - log(d - 1)
        slope = share * (1.0 - share) * d / (d - 1)
        return (d * share - 1.0) / (d - 1), slope, slope * (1.0 - 2.0 * share)

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return phi[:d, None] * self._roots(phi, d)[0]

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        root, first, _ = self._roots(phi, d)
        found = np.zeros((self.size(d), d, d))
        found[np.arange(d), np.arange(d)] = root
        if d > 1:
            found[d] = phi[:d, None] * first
        return found

    def bends(self, phi: Array, d: int) -> Array | None:
        """See `Structure`."""
        if d == 1:
            return None
        _, first, second = self._roots(phi, d)
        found = np.zeros((d + 1, d + 1, d, d))
        found[np.arange(d), d, np.arange(d)] = found[d, np.arange(d), np.arange(d)] = first
        found[d, d] = phi[:d, None] * second
        return found

    def canonical(self, phi: Array, d: int) -> Array:
        """Standard deviations are not negative, where all can be turned at once; of two, one with the correlation."""
        if d == 2 and phi[0] * phi[1] < 0.0:
            return np.append(np.abs(phi[:2]), -phi[2:])
        return np.concatenate([-phi[:d], phi[d:]]) if (phi[:d] <= 0.0).all() else phi

    def of(self, covariance: Array) -> Array:
        """See `Structure`."""
        d = len(covariance)
        sd = np.sqrt(np.diag(covariance))
        if d == 1:
            return sd
        mean = ((covariance / np.outer(sd, sd)).sum() - d) / (d * (d - 1))
        share = np.clip((mean * (d - 1) + 1.0) / d, 1e-3, 1.0 - 1e-3)
        return np.append(sd, np.log(share / (1.0 - share)) + np.log(d - 1))

    def read_labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        return (*(f"sd({name})" for name in effects), *(("cor",) if len(effects) > 1 else ()))

    def read(self, phi: Array, d: int) -> tuple[Array, Array]:
        """See `Structure`."""
        if d == 1:
            return phi, np.eye(1)
        rho, slope, _ = self.correlation(float(phi[d]), d)
        return np.append(phi[:d], rho), np.diag(np.append(np.ones(d), slope))

    def at_end(self, phi: Array, d: int) -> NDArray[np.bool_]:
        """See `Structure`: a correlation of 1, or of -1/(d - 1)."""
        found = np.zeros(len(phi), dtype=bool)
        found[d:] = np.abs(phi[d:] - np.log(max(d - 1, 1))) > ENDLESS
        return found

    def correlations(self, followed: Array, d: int) -> Array:
        """See `Structure`: from t."""
        with np.errstate(over="ignore"):
            return np.array([self.correlation(t, d)[0] for t in followed.tolist()])

    def lkj(self, d: int) -> tuple[BetaShare, ...]:
        """See `Structure`: det R = (1 - rho)^(d-1) (1 + (d-1) rho) is a product of powers of a share and of 1 - it."""
        return (BetaShare(1.0, -float(np.log(d - 1)), (0.0, 1.0), (2.0 - d, d - 1.0)),) if d > 1 else ()

    def units(self, scale: Array) -> Array:
        """See `Structure`."""
        return scale if len(scale) == 1 else np.append(scale, 1.0)

    def _roots(self, phi: Array, d: int) -> tuple[Array, Array, Array]:
        """The factor of the correlations and its first two derivatives in t."""
        if d == 1:
            return np.eye(1), np.zeros((1, 1)), np.zeros((1, 1))
        rho, slope, bend = self.correlation(float(phi[d]), d)
        others = np.ones((d, d)) - np.eye(d)
        C = cholesky(np.eye(d) + rho * others)
        first = cholesky_slope(C, slope * others)
        return C, first, cholesky_bend(C, first, first, bend * others)
