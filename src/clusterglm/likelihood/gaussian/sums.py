"""What the likelihood asks of units that nothing is outside of, as sums over them which the core makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clusterglm import _core
from clusterglm.likelihood.gaussian.statistics import Packed
from clusterglm.model.arrays import Array


class Sums:
    """At one relative covariance of the units' effects; the symbols are those of `moments.py`.

    Parameters
    ----------
    units : Packed
    root : ndarray, shape (d, d)
        L, of M1 = L L'.

    Attributes
    ----------
    logdet : float
        log|V|, weighted by cluster.
    explained : ndarray, shape (k, k)
        What the effects take off U' U, likewise.
    """

    def __init__(self, units: Packed, root: Array) -> None:
        self._units, self._root = units, np.ascontiguousarray(root)
        (d, k, _), found = units.products.shape, np.empty(1 + units.products.shape[1] ** 2)
        self._d, self._k = d, k
        _core.normal_value(units.squares, units.products, units.weights, self._root, found)
        self.logdet, self.explained = float(found[0]), found[1:].reshape(k, k)
        self._last: tuple[Array, tuple[Array, ...]] | None = None

    def _derived(self, C: Array) -> tuple[Array, ...]:
        """Sums of H, (d, d), of T x t, (k, d, d), of H x H and of tt' x H, (d, d, d, d) each; t = T C, C (k, 1)."""
        if self._last is None or self._last[0] is not C:
            d, k, units = self._d, self._k, self._units
            found = np.empty(d * d * (1 + k + 2 * d * d))
            v = np.ascontiguousarray(C[:, 0])
            _core.normal_slopes(units.squares, units.products, units.weights, self._root, v, found)
            H, T, HH, ttH = np.split(found, np.cumsum([d * d, k * d * d, d**4]))
            of_pairs = HH.reshape(d, d, d, d), ttH.reshape(d, d, d, d)
            self._last = C, (H.reshape(d, d), T.reshape(k, d, d), *of_pairs)
        return self._last[1]

    def gradients(self, C: Array) -> tuple[list[Array], list[Array]]:
        """See `Moments.gradients`."""
        H, T, _, _ = self._derived(C)
        return [H], [np.einsum("i,iab->ab", C[:, 0], T)[:, :, None, None]]

    def slopes(self, changes: Sequence[Array], C: Array) -> Array:
        """Of S times C, shape (r, k, 1), for r changes of M1, (d, d) each."""
        T = self._derived(C)[1]
        return np.array([-np.einsum("ab,iab->i", E, T) for E in changes]).reshape(len(changes), self._k, 1)

    def pairs(self, C: Array) -> tuple[Array, Array]:
        """Sums of H_ab H_ce and of t_a H_bc t_e, (d, d, d, d) each."""
        _, _, HH, ttH = self._derived(C)
        return HH, np.einsum("aebc->abce", ttH)
