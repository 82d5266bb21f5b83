"""Sums of products of rows within the levels of grouping factors: all that a normal likelihood asks of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import bsr_array, csr_array

from clusterglm import _core
from clusterglm.errors import OptionError
from clusterglm.likelihood.gaussian.layout import Factor, Group, Layout, layout_of
from clusterglm.likelihood.gaussian.small import product, transposed
from clusterglm.model.arrays import Array

_Integers = NDArray[np.int64]
_NUMBERS_AT_ONCE = 8_000_000  # numbers of an array that is made on the way
_STORED_WHOLE = 0.25  # share of entries that are not zero from which a matrix is stored whole
_SQUARES_HELD = 12  # of the outer effects that an evaluation holds
_MOST_BYTES = 6e9


@dataclass(frozen=True)
class Outside:
    """Effects of the outer factors in components of one shape: C components, q effects of each, U units.

    Parameters
    ----------
    group : Group
    blocks : tuple of (int, int, int)
        First place, levels and effects of a level of each outer factor; places go level by level.
    squares : ndarray, shape (C, q, q)
        Z2' Z2.
    products : ndarray, shape (C, q, k)
        Z2' U.
    across : ndarray, shape (U, d, q), or csr_array, shape (U d, q)
        Z1' Z2 of each unit; whole, or, of a single component, its entries other than zero.
    weights : ndarray, shape (C,)
        Of components.
    """

    group: Group
    blocks: tuple[tuple[int, int, int], ...]
    squares: Array
    products: Array
    across: Array | csr_array
    weights: Array

    def gram(self, W: Array) -> Array:
        """Sums over units of J' W J, shape (C, q, q), where J are the units' rows of `across`; W (U, d, d)."""
        if isinstance(self.across, csr_array):
            U = len(W)
            middle = bsr_array((W, np.arange(U), np.arange(U + 1)), shape=(self.across.shape[0],) * 2)
            return np.asarray((self.across.T @ (middle @ self.across)).toarray())[None]
        J = self.across
        return self._summed(J, product(W, J))

    def gather(self, Y: Array) -> Array:
        """Sums over units of J' Y, shape (C, q, k); Y (U, d, k)."""
        if isinstance(self.across, csr_array):
            return np.asarray(self.across.T @ Y.reshape(-1, Y.shape[-1]))[None]
        return self._summed(self.across, Y)

    def spread(self, B: Array) -> Array:
        """J B of each unit, shape (U, d, k); B (C, q, k)."""
        k = B.shape[-1]
        if isinstance(self.across, csr_array):
            return np.asarray(self.across @ B[0]).reshape(-1, self._d, k)
        U, d, q = self.across.shape
        if len(B) == 1:
            return np.asarray(self.across.reshape(U * d, q) @ B[0]).reshape(U, d, k)
        return product(self.across, B[self.group.component])

    def within(self, K: Array) -> Array:
        """J K J' of each unit, shape (U, d, d); K (C, q, q)."""
        d, q = self._d, K.shape[-1]
        U = self.group.end - self.group.first
        step, found = max(1, _NUMBERS_AT_ONCE // (d * q)), np.empty((U, d, d))
        for first in range(0, U, step):
            some = slice(first, min(first + step, U))
            if isinstance(self.across, csr_array):
                rows = self.across[some.start * d : some.stop * d]
                J = rows.toarray().reshape(-1, d, q)
                JK = np.asarray(rows @ K[0]).reshape(-1, d, q)
            elif len(K) == 1:
                J = self.across[some]
                JK = (J.reshape(-1, q) @ K[0]).reshape(-1, d, q)
            else:
                J = self.across[some]
                JK = product(J, K[self.group.component[some]])
            found[some] = np.einsum("uaq,ubq->uab", JK, J)
        return found

    def rows_across(self, units: _Integers, x: Array) -> Array:
        """J' x of some units, shape (k, q); x (k, d)."""
        if isinstance(self.across, csr_array):
            d = self._d
            return np.asarray(sum(self.across[units * d + a].toarray() * x[:, a, None] for a in range(d)))
        return np.asarray(np.einsum("uaq,ua->uq", self.across[units], x))

    @property
    def _d(self) -> int:
        if isinstance(self.across, csr_array):
            return int(self.across.shape[0]) // (self.group.end - self.group.first)
        _, d, _ = self.across.shape
        return int(d)

    def _summed(self, J: Array, Y: Array) -> Array:
        """Sums over the units of each component of J' Y."""
        (U, d, q), k, C = J.shape, Y.shape[-1], self.group.n_components
        if C == 1:
            return np.asarray(J.reshape(U * d, q).T @ Y.reshape(U * d, k))[None]
        starts = np.searchsorted(self.group.component, np.arange(C))
        if U * q * k <= _NUMBERS_AT_ONCE:
            return np.asarray(np.add.reduceat(product(transposed(J), Y), starts, axis=0))
        ends = np.append(starts[1:], U)
        found = np.empty((C, q, k))
        for c, (first, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            found[c] = J[first:end].reshape(-1, q).T @ Y[first:end].reshape(-1, k)
        return found


@dataclass(frozen=True)
class Packed:
    """Units without others outside of them, padded with empty ones to whole packs of the core, M of them.

    Parameters
    ----------
    squares : ndarray, shape (d, d, M)
    products : ndarray, shape (d, k, M)
    weights : ndarray, shape (M,)
    """

    squares: Array
    products: Array
    weights: Array


@dataclass(frozen=True)
class Statistics:
    """Sums of products of rows, weighted by case; U units with d effects each, columns U = [X y] of k.

    Parameters
    ----------
    layout : Layout
    factors : tuple of Factor
    total : ndarray, shape (k, k)
        U' U, weighted by cluster too.
    squares : ndarray, shape (U, d, d)
        Z1' Z1 of each unit.
    products : ndarray, shape (U, d, k)
        Z1' U.
    weights : ndarray, shape (U,)
        Of the units' clusters.
    outside : tuple of Outside
    n : float
        Sum of the weights of all rows.
    """

    layout: Layout
    factors: tuple[Factor, ...]
    total: Array
    squares: Array
    products: Array
    weights: Array
    outside: tuple[Outside, ...]
    n: float

    @cached_property
    def packed(self) -> Packed | None:
        """The units as the core takes them; None where it does not know so many effects, or factors cross or nest."""
        d = self.squares.shape[-1]
        if self.outside or not 1 <= d <= _core.NORMAL_EFFECTS:
            return None
        weights = np.zeros(in_packs(len(self.weights)))
        weights[: len(self.weights)] = self.weights
        return Packed(_by_entry(self.squares), _by_entry(self.products), weights)

    @property
    def inner(self) -> Factor:
        """The factor whose levels are the units."""
        return self.factors[self.layout.inner]

    def combined(self, C: Array) -> Statistics:
        """The statistics of other columns U C; C (k, l)."""
        outside = tuple(
            Outside(each.group, each.blocks, each.squares, each.products @ C, each.across, each.weights)
            for each in self.outside
        )
        return Statistics(
            self.layout, self.factors, C.T @ self.total @ C, self.squares, self.products @ C, self.weights, outside,
            self.n,
        )  # fmt: skip


def statistics_of(
    X: Array, y: Array, Z: Array, factors: Sequence[Factor], weights: Array, cluster_weights: Array
) -> Statistics:
    """One pass over the rows, of U = [X y].

    Parameters
    ----------
    X : ndarray, shape (n, k - 1)
    y : ndarray, shape (n,)
    Z : ndarray, shape (n, q)
        Columns of all effects.
    factors : sequence of Factor
        At least one.
    weights, cluster_weights : ndarray, shape (n,)
        Of cases, and of the clusters in which they are; the latter are the same throughout a component.

    Raises
    ------
    OptionError
        When the outer factors take more memory than there may be.
    """
    layout = layout_of(factors)
    inner = factors[layout.inner]
    _refuse_large(layout, factors)
    unit = inner.codes
    if layout.outer:
        place = np.empty(inner.levels, dtype=np.int64)
        place[layout.units] = np.arange(inner.levels)
        unit = place[inner.codes]
    ordered = bool((unit[1:] >= unit[:-1]).all())
    order = None if ordered else np.argsort(unit, kind="stable")
    if order is not None:
        X, y, Z, unit = X[order], y[order], Z[order], unit[order]
        weights, cluster_weights = weights[order], cluster_weights[order]
    starts = np.searchsorted(unit, np.arange(inner.levels))
    even, alike = _ones(weights), _ones(cluster_weights)
    Z1 = np.ascontiguousarray(Z if len(inner.columns) == Z.shape[1] else Z[:, inner.columns])
    weighted = Z1 if even else Z1 * weights[:, None]
    squares, products = _products(weighted, [Z1], starts), _products(weighted, [X, y[:, None]], starts)
    total = _gram(X, y, None if even and alike else weights * cluster_weights)
    of_unit = np.ones(inner.levels) if alike else cluster_weights[starts]
    codes = [factors[k].codes if order is None else factors[k].codes[order] for k in layout.outer]
    outer = [(factors[k], own) for k, own in zip(layout.outer, codes, strict=True)]
    columns = np.column_stack([X, y]) * weights[:, None] if layout.groups else X
    outside = tuple(_outside(group, outer, unit, Z, Z1, columns, weights, of_unit) for group in layout.groups)
    n = float(len(y)) if even and alike else float(weights @ cluster_weights)
    return Statistics(layout, tuple(factors), total, squares, products, of_unit, outside, n)


def in_packs(count: int) -> int:
    """So many, and as many more as make packs of four."""
    return -(-count // 4) * 4


def _by_entry(A: Array) -> Array:
    """Stacks of matrices, (m, i, j), with the numbers of an entry together, (i, j, M)."""
    m, i, j = A.shape
    found = np.zeros((i, j, in_packs(m)))
    found[..., :m] = A.transpose(1, 2, 0)
    return found


def _ones(weights: Array) -> bool:
    return bool(weights[0] == 1.0) if weights.strides == (0,) else bool((weights == 1.0).all())


def _gram(X: Array, y: Array, weights: Array | None) -> Array:
    """[X y]' [X y], weighted, without all columns beside each other: no other array of their size."""
    weighted = (X, y) if weights is None else (X * weights[:, None], y * weights)
    cross = (weighted[0].T @ y)[:, None]
    return np.block([[weighted[0].T @ X, cross], [cross.T, np.array([[weighted[1] @ y]])]])


def _products(left: Array, right: Sequence[Array], starts: _Integers) -> Array:
    """Sums over runs of rows of left' [right], (runs, i, j), an entry's numbers of all runs together in memory."""
    runs, one = len(starts), np.ascontiguousarray(left)
    found = np.zeros((left.shape[1], sum(each.shape[1] for each in right), in_packs(runs)))
    ends, place = np.append(starts, len(left)).astype(np.int64), 0
    for each in right:
        _core.normal_products(one, np.ascontiguousarray(each), ends, found, place)
        place += each.shape[1]
    return found[:, :, :runs].transpose(2, 0, 1)


def _refuse_large(layout: Layout, factors: Sequence[Factor]) -> None:
    for group in layout.groups:
        q = sum(levels.shape[1] * factors[k].n_effects for levels, k in zip(group.levels, layout.outer, strict=True))
        size, most = 8.0 * _SQUARES_HELD * q * q, int((_MOST_BYTES / 8.0 / _SQUARES_HELD) ** 0.5)
        if size > _MOST_BYTES:
            raise OptionError(
                f"crossed random effects, {q:,} of which depend on each other: about {size / 1e9:.0f} gigabytes",
                f"at most {_MOST_BYTES / 1e9:.0f}, that is {most:,} such effects",
                "one of the crossed factors alone, or fewer of its levels",
            )


def _outside(
    group: Group,
    outer: Sequence[tuple[Factor, _Integers]],
    unit: _Integers,
    Z: Array,
    Z1: Array,
    weighted: Array,
    weights: Array,
    of_unit: Array,
) -> Outside:
    """Products with the columns of the outer factors."""
    C, U, d, k = group.n_components, group.end - group.first, Z1.shape[1], weighted.shape[1]
    some = slice(*np.searchsorted(unit, [group.first, group.end]))
    own = unit[some] - group.first
    component = group.component[own]
    blocks, places, first = [], [], 0
    for (factor, codes), levels in zip(outer, group.levels, strict=True):
        blocks.append((first, levels.shape[1], factor.n_effects))
        local = np.empty(factor.levels, dtype=np.int64)
        c, j = np.nonzero(levels >= 0)
        local[levels[c, j]] = first + j * factor.n_effects
        places.append(local[codes[some]])
        first += levels.shape[1] * factor.n_effects
    q = first
    squares, products = np.zeros((C, q, q)), np.zeros((C, q, k))
    entries: list[tuple[_Integers, _Integers, Array]] = []
    w = weights[some]
    for i, (factor, _) in enumerate(outer):
        Zi = Z[some][:, factor.columns] * w[:, None]
        key, starts, order = _runs(component * q + places[i])
        at = key // q, key % q
        sums = _products(Z[some][:, factor.columns][order], [weighted[some][order]], starts)
        for b in range(factor.n_effects):
            products[at[0], at[1] + b] = sums[:, b]
        for other in range(i, len(outer)):
            Zj = Z[some][:, outer[other][0].columns]
            key, starts, order = _runs((component * q + places[i]) * q + places[other])
            at_c, rest = np.divmod(key, q * q)
            left, right = np.divmod(rest, q)
            sums = _products(Zi[order], [Zj[order]], starts)
            for b in range(factor.n_effects):
                for e in range(outer[other][0].n_effects):
                    squares[at_c, left + b, right + e] = sums[:, b, e]
                    squares[at_c, right + e, left + b] = sums[:, b, e]
        key, starts, order = _runs(own * q + places[i])
        sums = _products(Z1[some][order], [Zi[order]], starts)
        entries += [(key // q * d + a, key % q + b, sums[:, a, b]) for a in range(d) for b in range(factor.n_effects)]
    rows, places_of, values = (np.concatenate(part) for part in zip(*entries, strict=True))
    starts = np.searchsorted(group.component, np.arange(C))
    own_weights = of_unit[group.first : group.end][starts]
    if C == 1 and len(values) < _STORED_WHOLE * U * d * q and U * d * q > _NUMBERS_AT_ONCE // 8:
        across: Array | csr_array = csr_array((values, (rows, places_of)), shape=(U * d, q))
    else:
        across = np.zeros((U * d, q))
        across[rows, places_of] = values
        across = across.reshape(U, d, q)
    return Outside(group, tuple(blocks), squares, products, across, own_weights)


def _runs(key: _Integers) -> tuple[_Integers, _Integers, _Integers]:
    """Different keys, the first place of each in the order that brings them together, and that order."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return ordered[starts], starts, order
