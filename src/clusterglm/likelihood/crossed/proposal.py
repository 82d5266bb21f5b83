"""Draws of a component's effects: a mixture of a normal and a Student's density, put to where the integrand is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, gammaln, ndtri

from clusterglm.model.arrays import Array

_NORMAL = 0.8  # share of the normal density
_DF = 10.0  # of the other, where there are no more effects
_BENT_UP_TO = 5.0
_THIRD, _FOURTH = (-0.6, 0.6), (-0.1, 0.5)  # derivatives by which draws are bent, at most


@dataclass(frozen=True, eq=False)
class Placed:
    """Where a component's draws are put: e = a + R b(z).

    Parameters
    ----------
    shift : ndarray, shape (k,)
        a
    scale : ndarray, shape (k, k)
        R, upper triangular.
    third, fourth : ndarray, shape (k,)
        Derivatives of the integrand in each z, by which b bends them.
    """

    shift: Array
    scale: Array
    third: Array
    fourth: Array

    @classmethod
    def of(cls, shift: Array, scale: Array, third: Array, fourth: Array) -> Placed:
        """With derivatives no larger than b can follow."""
        return cls(shift, scale, np.clip(third, *_THIRD), np.clip(fourth, *_FOURTH))

    def bent(self, z: Array) -> tuple[Array, Array]:
        """b(z), shape (n, k), and the logs of its determinants, shape (n,).

        b takes a normal z to one of density exp(-z^2 / 2 + third (z^3 - 3 z) / 6 + fourth (z^4 - 6 z^2 + 3) / 24), to
        the orders third^2 and fourth; straight on beyond 5, and rising where the derivatives are limited so.
        """
        k, m, x = self.third, self.fourth, np.clip(z, -_BENT_UP_TO, _BENT_UP_TO)
        square = x**2
        rise = 1.0 + k * x / 3.0 + k**2 * (15.0 * square + 1.0) / 72.0 + m * (square - 1.0) / 8.0
        found = x + k * (square - 1.0) / 6.0 + x * (k**2 * (5.0 * square + 1.0) / 72.0 + m * (square - 3.0) / 24.0)
        return found + rise * (z - x), np.log(rise).sum(axis=1)


def mixture(uniform: Array) -> tuple[Array, Array]:
    """Draws of a mixture in d dimensions from numbers in (0, 1), shape (k, d + 1); logs of normal over own density."""
    inside = np.clip(uniform, 1e-12, 1.0 - 1e-12)
    z, chosen = ndtri(inside[:, 1:]), inside[:, 0]
    d = z.shape[1]
    df, heavy = max(_DF, float(d)), chosen > _NORMAL
    chi2 = chdtri(df, np.clip((chosen - _NORMAL) / (1.0 - _NORMAL), 1e-12, 1.0))
    e = np.where(heavy[:, None], z * np.sqrt(df / np.maximum(chi2, 1e-12))[:, None], z)
    square = (e**2).sum(axis=1)
    normal = -0.5 * square - 0.5 * d * np.log(2.0 * np.pi)
    student = gammaln(0.5 * (df + d)) - gammaln(0.5 * df) - 0.5 * d * np.log(df * np.pi)
    student = student - 0.5 * (df + d) * np.log1p(square / df)
    return e, np.asarray(normal - np.logaddexp(np.log(_NORMAL) + normal, np.log(1.0 - _NORMAL) + student))
