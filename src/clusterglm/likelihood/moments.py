"""What moments say of the variances of effects, to first order: where searches begin.

The scores G of two rows that share an effect of variance s^2 have, at an effect of 0, the mean product z H s^2 H z:
z is the rows' column, H their second derivative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array

_NO_PAIRS = 1e-300


def over_pairs(levels: NDArray[np.int64], values: Array) -> float:
    """The sum of the products of all two different rows of a level, each pair in both orders."""
    sums = np.bincount(levels, values)
    return float(sums @ sums - values @ values)


def variances_of(Z: Array, levels: NDArray[np.int64], scores: Array, curvatures: Array) -> list[float]:
    """Of effects of levels, one for each column of Z, as if there were no others.

    Parameters
    ----------
    Z : ndarray, shape (n, d)
    levels : ndarray of int64, shape (n,)
    scores, curvatures : ndarray, shape (n,)
        First and second derivatives of the rows' log-probabilities without effects.
    """
    return [
        over_pairs(levels, z * scores) / max(over_pairs(levels, z**2 * curvatures), _NO_PAIRS) for z in Z.T
    ]  # fmt: skip


def nested_variances(
    columns: Sequence[Array], levels: Sequence[NDArray[np.int64]], scores: Array, curvatures: Array
) -> Array:
    """Of effects of units, and of those of the children nested in them, shape (d1 + d2,).

    Rows of a unit that are of different children share the unit's effects alone; two rows of a child share both.

    Parameters
    ----------
    columns : sequence of ndarray, shapes (n, d1) and (n, d2)
    levels : sequence of ndarray of int64, shape (n,)
        The rows' units, and their children.
    scores, curvatures : ndarray, shape (n,)
        See `variances_of`.
    """
    (Z1, Z2), (units, children) = columns, levels

    def apart(values: Array) -> float:
        return over_pairs(units, values) - over_pairs(children, values)

    upper = [apart(z * scores) / max(apart(z**2 * curvatures), _NO_PAIRS) for z in Z1.T]
    lower = []
    for z in Z2.T:
        of_units = sum(
            max(variance, 0.0) * over_pairs(children, z * other * curvatures)
            for variance, other in zip(upper, Z1.T, strict=True)
        )
        own = over_pairs(children, z * scores) - of_units
        lower.append(own / max(over_pairs(children, z**2 * curvatures), _NO_PAIRS))
    return np.array([*upper, *lower])
