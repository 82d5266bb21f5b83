"""Any covariance, by its standard deviations and correlations: as people read it, and as profiles follow it."""

from __future__ import annotations

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.model.covariance.base import Structure
from clusterglm.model.covariance.cholesky import cholesky, cholesky_bend, cholesky_slope


class Correlated(Structure):
    """phi are the standard deviations, then the correlations below the diagonal, row by row.

    L is NaN where the correlations are those of no covariance.
    """

    def size(self, d: int) -> int:
        """See `Structure`."""
        return d * (d + 1) // 2

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        pairs = zip(*np.tril_indices(len(effects), -1), strict=True)
        return (*(f"sd({name})" for name in effects), *(f"cor({effects[j]},{effects[i]})" for i, j in pairs))

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return np.asarray(phi[:d, None] * self._root(phi, d)[0])

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        C, firsts = self._root(phi, d)
        found = np.zeros((self.size(d), d, d))
        found[np.arange(d), np.arange(d)] = C
        for k, first in enumerate(firsts):
            found[d + k] = phi[:d, None] * first
        return found

    def bends(self, phi: Array, d: int) -> Array | None:
        """See `Structure`."""
        C, firsts = self._root(phi, d)
        found = np.zeros((self.size(d), self.size(d), d, d))
        for k, first in enumerate(firsts):
            found[np.arange(d), d + k, np.arange(d)] = found[d + k, np.arange(d), np.arange(d)] = first
            for j, other in enumerate(firsts):
                found[d + k, d + j] = phi[:d, None] * cholesky_bend(C, first, other)
        return found

    def canonical(self, phi: Array, d: int) -> Array:
        """Standard deviations are not negative."""
        rows, columns = np.tril_indices(d, -1)
        signs = np.where(phi[:d] < 0.0, -1.0, 1.0)
        return np.append(np.abs(phi[:d]), phi[d:] * signs[rows] * signs[columns])

    def of(self, covariance: Array) -> Array:
        """See `Structure`; NaN for correlations with an effect that does not vary."""
        sd = np.sqrt(np.diag(covariance))
        with np.errstate(invalid="ignore", divide="ignore"):
            correlations = covariance / np.outer(sd, sd)
        return np.append(sd, np.clip(correlations[np.tril_indices(len(sd), -1)], -1.0, 1.0))

    def units(self, scale: Array) -> Array:
        """See `Structure`."""
        d = len(scale)
        return np.append(scale, np.ones(d * (d - 1) // 2))

    @staticmethod
    def _root(phi: Array, d: int) -> tuple[Array, list[Array]]:
        """The factor of the correlations, and its derivatives in each of them."""
        rows, columns = np.tril_indices(d, -1)
        R = np.eye(d)
        R[rows, columns] = R[columns, rows] = phi[d:]
        C, firsts = cholesky(R), []
        for i, j in zip(rows, columns, strict=True):
            slope = np.zeros((d, d))
            slope[i, j] = slope[j, i] = 1.0
            firsts.append(cholesky_slope(C, slope))
        return C, firsts


class FisherCorrelated(Correlated):
    """Any covariance, by standard deviations and Fisher's z of each correlation, its inverse hyperbolic tangent."""

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return super().factor(_tanh(phi, d), d)

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        found = super().slopes(_tanh(phi, d), d)
        found[d:] *= (1.0 - np.tanh(phi[d:]) ** 2)[:, None, None]
        return found

    def bends(self, phi: Array, d: int) -> Array | None:
        """See `Structure`."""
        at = _tanh(phi, d)
        found, rho = super().bends(at, d), at[d:]
        assert found is not None
        first = np.append(np.ones(d), 1.0 - rho**2)
        found = found * (first[:, None] * first)[:, :, None, None]
        slopes = super().slopes(at, d)
        for k, r in enumerate(rho, start=d):
            found[k, k] += slopes[k] * (-2.0 * r * (1.0 - r**2))
        return found

    def of(self, covariance: Array) -> Array:
        """See `Structure`."""
        found, d = super().of(covariance), len(covariance)
        with np.errstate(divide="ignore"):
            return np.append(found[:d], np.arctanh(found[d:]))


def _tanh(phi: Array, d: int) -> Array:
    return np.append(phi[:d], np.tanh(phi[d:]))
