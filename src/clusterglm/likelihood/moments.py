"""What moments say of the variances of effects, to first order: where searches begin.

The scores G of two rows that share an effect of variance s^2 have, at an effect of 0, the mean product z H s^2 H z:
z is the rows' column, H their second derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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


class Pairs(Protocol):
    """Sums over pairs of rows."""

    def variances(self) -> Array:
        """Of each effect, to first order, shape (q,)."""


@dataclass(frozen=True)
class OneByOne:
    """Of effects each of which was looked at as if there were no others.

    Parameters
    ----------
    found : ndarray, shape (q,)
    """

    found: Array

    def variances(self) -> Array:
        return self.found


@dataclass(frozen=True)
class NestedPairs:
    """Sums over pairs of rows that say how much effects of units, and of the children nested in them, vary.

    Rows of a unit that are of different children share the unit's effects alone; two rows of a child share both.

    Parameters
    ----------
    upper, lower : ndarray, shapes (2, d1) and (2, d2)
        Products of scores, and of curvatures: of pairs of different children, and of one child.
    across : ndarray, shape (d2, d1)
        What of the products of scores in `lower` is the units' for variances of 1.
    """

    upper: Array
    lower: Array
    across: Array

    @classmethod
    def of(
        cls, columns: tuple[Array, Array], levels: Sequence[NDArray[np.int64]], scores: Array, curvatures: Array
    ) -> NestedPairs:
        """Of some whole units.

        Parameters
        ----------
        columns : tuple of ndarray, shapes (n, d1) and (n, d2)
        levels : sequence of two ndarray of int64, shape (n,)
            The rows' units, and their children.
        scores, curvatures : ndarray, shape (n,)
            See `variances_of`.
        """
        (Z1, Z2), (units, children) = columns, levels

        def together(values: Array) -> float:
            return over_pairs(children, values)

        def apart(values: Array) -> float:
            return over_pairs(units, values) - together(values)

        return cls(
            np.array([[apart(z * scores) for z in Z1.T], [apart(z**2 * curvatures) for z in Z1.T]]),
            np.array([[together(z * scores) for z in Z2.T], [together(z**2 * curvatures) for z in Z2.T]]),
            np.array([[together(z * other * curvatures) for other in Z1.T] for z in Z2.T]),
        )

    def __add__(self, other: NestedPairs) -> NestedPairs:
        return NestedPairs(self.upper + other.upper, self.lower + other.lower, self.across + other.across)

    def variances(self) -> Array:
        """Of effects of units, and then of children, shape (d1 + d2,)."""
        upper = self.upper[0] / np.maximum(self.upper[1], _NO_PAIRS)
        own = self.lower[0] - self.across @ np.maximum(upper, 0.0)
        return np.append(upper, own / np.maximum(self.lower[1], _NO_PAIRS))
