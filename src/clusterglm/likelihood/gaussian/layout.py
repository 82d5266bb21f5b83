"""Which levels of grouping factors hang together: units, those of the largest factor, and components of all others.

A unit's effects are eliminated by themselves, whatever the other factors are. What is left connects levels of the other
factors only where a unit has rows in both. Components with as many levels of each factor are computed side by side;
where they have nearly as many, the smaller ones are filled up with levels that have no rows, which change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_Integers = NDArray[np.int64]
_SIDE_BY_SIDE = 48  # levels of a factor up to which components are filled up to a common number


@dataclass(frozen=True)
class Factor:
    """A grouping factor.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Each row's level.
    levels : int
    columns : ndarray of int64, shape (d,)
        Places of its effects among all.
    """

    codes: _Integers
    levels: int
    columns: _Integers

    @property
    def n_effects(self) -> int:
        """Effects of each level, d."""
        return len(self.columns)


@dataclass(frozen=True)
class Group:
    """Components with as many levels of each of the outer factors.

    Parameters
    ----------
    first, end : int
        Units, in the order of `Layout.units`, which has those of a component together.
    component : ndarray of int64, shape (end - first,)
        Of each of these units, from 0 on.
    levels : tuple of ndarray of int64, shape (components, levels of a component)
        Levels of each outer factor; -1 where a component has been filled up.
    """

    first: int
    end: int
    component: _Integers
    levels: tuple[_Integers, ...]

    @property
    def n_components(self) -> int:
        """Components of the group."""
        return len(self.levels[0])


@dataclass(frozen=True)
class Layout:
    """How the levels of all factors are eliminated.

    Parameters
    ----------
    inner : int
        Number of the factor whose levels are the units.
    outer : tuple of int
        Numbers of the others.
    units : ndarray of int64, shape (units,)
        Levels of the inner factor in the order in which components come.
    groups : tuple of Group
        Empty where there is one factor.
    """

    inner: int
    outer: tuple[int, ...]
    units: _Integers
    groups: tuple[Group, ...]


def layout_of(factors: Sequence[Factor]) -> Layout:
    """The order of elimination.

    Parameters
    ----------
    factors : sequence of Factor
        Each level of which has a row.
    """
    inner = int(np.argmax([factor.levels * factor.n_effects**2 for factor in factors]))
    outer = tuple(k for k in range(len(factors)) if k != inner)
    m = factors[inner].levels
    if not outer:
        return Layout(inner, outer, np.arange(m), ())
    firsts = np.cumsum([m, *(factors[k].levels for k in outer)])
    rows = np.concatenate([factors[inner].codes] * len(outer))
    columns = np.concatenate([firsts[j] + factors[k].codes for j, k in enumerate(outer)])
    edges = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(firsts[-1], firsts[-1]))
    _, labels = connected_components(edges.tocsr(), directed=False)
    of_units = labels[:m].astype(np.int64)
    of_levels = [labels[firsts[j] : firsts[j + 1]] for j in range(len(outer))]
    return Layout(inner, outer, *_grouped(of_units, of_levels))


def _grouped(of_units: _Integers, of_levels: list[NDArray[np.int32]]) -> tuple[_Integers, tuple[Group, ...]]:
    """Units in the order of their components, and components with as many levels together."""
    n = int(of_units.max()) + 1
    counts = np.stack([np.bincount(labels, minlength=n) for labels in of_levels], axis=1)
    padded = np.array([[_padded(count) for count in row] for row in np.unique(counts, axis=0).tolist()])
    _, place = np.unique(counts, axis=0, return_inverse=True)
    sizes, kind = np.unique(padded[place.ravel()], axis=0, return_inverse=True)
    kind = kind.ravel()
    units, groups, first = [], [], 0
    rank = np.lexsort((of_units, kind[of_units]))
    ordered = of_units[rank]
    for k, shape in enumerate(sizes.tolist()):
        components = np.flatnonzero(kind == k)
        number = np.full(n, -1)
        number[components] = np.arange(len(components))
        mine = rank[first : first + int(np.isin(ordered, components).sum())]
        levels = tuple(
            _levels(labels, number, len(components), most) for labels, most in zip(of_levels, shape, strict=True)
        )
        units.append(mine)
        groups.append(Group(first, first + len(mine), number[of_units[mine]], levels))
        first += len(mine)
    return np.concatenate(units), tuple(groups)


def _levels(labels: NDArray[np.int32], number: _Integers, components: int, most: int) -> _Integers:
    """Levels of a factor in each of some components, -1 beyond the last."""
    found = np.full((components, most), -1)
    mine = np.flatnonzero(number[labels] >= 0)
    mine = mine[np.argsort(number[labels[mine]], kind="stable")]
    of = number[labels[mine]]
    starts = np.searchsorted(of, np.arange(components))
    found[of, np.arange(len(mine)) - starts[of]] = mine
    return found


def _padded(count: int) -> int:
    """A few sizes instead of all: 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, and beyond each its own."""
    if count > _SIDE_BY_SIDE:
        return count
    return next(size for size in _sizes() if size >= count)


def _sizes() -> Iterator[int]:
    yield from (1, 2)
    size = 2
    while True:
        yield size + size // 2
        size *= 2
        yield size
