"""Which outside effects hang together, and which of them rows and units touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.errors import ClusterError
from clusterglm.model.arrays import Array

_MOST_EFFECTS = 8000  # of a component: three matrices of so many rows fill 1.5 GiB
_MATRICES = 3


@dataclass(frozen=True, eq=False)
class OutsideTerm:
    """A random term of a factor that crosses the units.

    Parameters
    ----------
    Z : ndarray, shape (n, d)
        Columns with effects.
    levels : ndarray of int64, shape (n,)
        Number of each row's level, from 0 up.
    free : ndarray of bool, shape (d, d)
        Which entries of the factor L, of its lower triangle, are parameters; the others are 0.
    """

    Z: Array
    levels: NDArray[np.int64]
    free: NDArray[np.bool_]

    @property
    def n_levels(self) -> int:
        """Levels, those without rows among them."""
        return int(self.levels.max()) + 1

    @property
    def n_effects(self) -> int:
        """Effects of each level."""
        return int(self.Z.shape[1])


@dataclass(frozen=True, eq=False)
class Layout:
    """Places of the effects v outside: term by term, level by level, one effect after another.

    Parameters
    ----------
    columns : ndarray of int64, shape (n, w)
        The effects of each row, by their place in v: those of the first term, of the second, ...
    components : tuple of ndarray of int64
        Places in v of the effects of each component with rows, ascending.
    of_units : ndarray of int64, shape (m,)
        Each unit's component.
    cells : ndarray of int64, shape (C + 1,)
        Where the components' square matrices begin in an array of all of them, and its length.
    touched_starts : ndarray of int64, shape (m + 1,)
        Where the effects that each unit touches begin in the next, and their number.
    touched : ndarray of int64, shape (number of them,)
        Their places in v, ascending.
    outside : _core.Outside
        The core's form of it.
    size : int
        Length of v.
    """

    columns: NDArray[np.int64]
    components: tuple[NDArray[np.int64], ...]
    of_units: NDArray[np.int64]
    cells: NDArray[np.int64]
    touched_starts: NDArray[np.int64]
    touched: NDArray[np.int64]
    outside: _core.Outside
    size: int

    def matrices(self, flat: Array) -> list[Array]:
        """Views of the components' matrices in an array of all of them."""
        return [
            flat[self.cells[c] : self.cells[c + 1]].reshape(len(own), len(own)) for c, own in enumerate(self.components)
        ]

    def spread(self, rows: Array, v: Array, offset: Array | None = None, to: Array | None = None) -> Array:
        """B v for slopes B, shape (n, w) of `rows`: what the outside effects add to each row's predictor."""
        found = np.empty(len(rows)) if to is None else to
        self.outside.spread(rows, v, offset, found)
        return found

    def gather(self, rows: Array, by: Array) -> Array:
        """B' by."""
        found = np.zeros(self.size)
        self.outside.gather(rows, by, found)
        return found


@dataclass(frozen=True, eq=False)
class FreeEntry:
    """A parameter of a term outside, entry (a, b) of its factor.

    Parameters
    ----------
    term : OutsideTerm
    a, b : int
    column : int
        Of effect b among the effects of a row.
    places : ndarray of int64, shape (n,)
        Of that effect of each row, in v.
    """

    term: OutsideTerm
    a: int
    b: int
    column: int
    places: NDArray[np.int64]


def free_entries(columns: NDArray[np.int64], terms: Sequence[OutsideTerm]) -> list[FreeEntry]:
    """The parameters of all terms, whose rows have the effects `columns` (see `Layout`)."""
    found, first = [], 0
    for term in terms:
        places = [np.ascontiguousarray(columns[:, first + b]) for b in range(term.n_effects)]
        for a, b in np.argwhere(term.free).tolist():
            found.append(FreeEntry(term, a, b, first + b, places[b]))
        first += term.n_effects
    return found


def laid_out(starts: NDArray[np.int64], terms: Sequence[OutsideTerm]) -> Layout:
    """The layout of units, whose rows begin at `starts` (m + 1,), and of outside terms.

    Raises
    ------
    ClusterError
        More effects hang together than there is memory for their covariances.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    m, n = len(starts) - 1, int(starts[-1])
    units = np.repeat(np.arange(m), np.diff(starts))
    columns, first = [], 0
    for term in terms:
        d = term.n_effects
        columns.append(first + term.levels[:, None] * d + np.arange(d))
        first += term.n_levels * d
    all_columns = np.ascontiguousarray(np.concatenate(columns, axis=1).astype(np.int64))
    width, size = all_columns.shape[1], first
    rows = np.repeat(units, width)
    graph = coo_array((np.ones(n * width, dtype=np.int8), (rows, m + all_columns.ravel())), shape=(m + size, m + size))
    labels = connected_components(graph, directed=False)[1]
    _, of_units = np.unique(labels[:m], return_inverse=True)  # effects without rows are components of their own
    known = np.full(int(labels.max()) + 1, -1)
    known[labels[:m]] = of_units
    of_effects = known[labels[m:]]
    order = np.argsort(of_effects, kind="stable")
    counts = np.bincount(of_effects[of_effects >= 0], minlength=int(of_units.max()) + 1)
    _check_memory(counts)
    split = np.cumsum(counts)[:-1]
    components = tuple(np.split(order[len(order) - int(counts.sum()) :], split))
    place = np.zeros(size, dtype=np.int64)
    for own in components:
        place[own] = np.arange(len(own))
    cells = np.concatenate([[0], np.cumsum(counts.astype(np.int64) ** 2)])
    keys = rows * size + place[all_columns].ravel()
    inverse = np.arange(len(keys))
    if not (np.diff(keys) > 0).all():  # as they are of rows in the order of units and levels
        keys, inverse = np.unique(keys, return_inverse=True)
    of_keys = keys // size
    touched_starts = np.searchsorted(of_keys, np.arange(m + 1)).astype(np.int64)
    local = (inverse - touched_starts[rows]).reshape(n, width)
    within = np.ascontiguousarray(keys % size, dtype=np.int32)
    firsts = np.cumsum(np.append(0, counts))[of_units[of_keys]]
    core = _core.Outside(
        np.ascontiguousarray(local, dtype=np.int32),
        all_columns.astype(np.int32),
        touched_starts,
        within,
        np.ascontiguousarray(cells[of_units]),
        np.ascontiguousarray(counts[of_units].astype(np.int64)),
    )
    touched = np.concatenate(components)[firsts + within]
    return Layout(all_columns, components, of_units.astype(np.int64), cells, touched_starts, touched, core, size)


def _check_memory(counts: NDArray[np.int64]) -> None:
    most = int(counts.max())
    if most <= _MOST_EFFECTS:
        return
    gibibytes = _MATRICES * 8.0 * float(np.square(counts.astype(np.float64)).sum()) / 2.0**30
    raise ClusterError(
        f"{most:,} effects of crossed factors hang together, whose covariances would fill {gibibytes:,.1f} GiB",
        f"at most {_MOST_EFFECTS:,} of them beside those of the factor that is integrated out",
        "take the factor with the most levels as the inside one, or leave out a random term",
    )
