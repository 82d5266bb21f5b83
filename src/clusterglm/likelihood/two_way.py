"""An intercept for every level of two factors: sums over both, and linear systems in their intercepts.

With weights w of rows, D and E their sums over the levels of the first and of the second factor and C their sums over
pairs of levels, the information of the intercepts is [[D, C], [C', E]]. The first are eliminated exactly, which leaves
S = E - C' D^-1 C for the second: solved by Cholesky's method where it is small, by conjugate gradients otherwise
(Guimaraes and Portugal, Stata Journal 10, 2010, and Correia, 2017, for least squares; Stammann, arXiv:1707.01815, for
Newton's method on top of them). S is singular by one dimension for each set of levels that hang together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from clusterglm.errors import DesignError
from clusterglm.model.arrays import Array

_Integers = NDArray[np.int64]

DENSE = 500
"""Levels of the second factor up to which S is a matrix in memory."""
MOST_JOINT = 3_000  # levels up to which it is for a joint covariance
_DENSE_CELLS = 8_000_000  # pairs of levels up to which C is
_SPARSE_COST = 50.0  # what a pair of rows costs, in units of a product and sum of dense matrices
_PRECISE, _FOR_A_STEP = 1e-12, 1e-9  # of right-hand sides is what conjugate gradients leave
_GRADIENT_STEPS, _GRADIENT_STEPS_NEWTON = 20_000, 500
_LEAST_INFORMATION = 1e-13  # of the largest: below, a row's information is rounding


@dataclass(frozen=True)
class Crossing:
    """Which levels of two factors meet, rows in the order of the first.

    Parameters
    ----------
    starts : ndarray of int64, shape (m + 1,)
        First row of each level of the first factor, and n.
    codes : ndarray of int64, shape (n,)
        Each row's level of the second factor.
    q : int
        Levels of it; none without rows.
    """

    starts: _Integers
    codes: _Integers
    q: int

    @property
    def m(self) -> int:
        """Levels of the first factor."""
        return len(self.starts) - 1

    @cached_property
    def _components(self) -> tuple[int, _Integers, _Integers]:
        m, n = self.m, len(self.codes)
        ends = np.concatenate([self.starts, np.full(self.q, n)])
        graph = csr_matrix((np.ones(n, dtype=np.int8), self.codes + m, ends), shape=(m + self.q, m + self.q))
        count, labels = connected_components(graph, directed=True, connection="weak")
        return int(count), labels[:m].astype(np.int64), labels[m:].astype(np.int64)

    @property
    def n_components(self) -> int:
        """Sets of levels that hang together: in each, one intercept is a matter of choice."""
        return self._components[0]

    @property
    def of_first(self) -> _Integers:
        """The set of each level of the first factor, shape (m,)."""
        return self._components[1]

    @property
    def of_second(self) -> _Integers:
        """The set of each level of the second factor, shape (q,)."""
        return self._components[2]

    @cached_property
    def references(self) -> _Integers:
        """The first level of the second factor in each set, whose intercept is 0."""
        return np.unique(self.of_second, return_index=True)[1].astype(np.int64)

    def over_first(self, values: Array) -> Array:
        """Sums over the rows of each level of the first factor, of (n,) or (n, k)."""
        return np.asarray(np.add.reduceat(values, self.starts[:-1], axis=0), dtype=np.float64)

    def over_second(self, values: Array) -> Array:
        """Sums over the rows of each level of the second factor, of (n,) or (n, k)."""
        if values.ndim == 1:
            return np.bincount(self.codes, values, self.q).astype(np.float64, copy=False)
        columns = [np.bincount(self.codes, values[:, j], self.q) for j in range(values.shape[1])]
        return np.column_stack(columns) if columns else np.zeros((self.q, 0))

    def at_rows(self, first: Array, second: Array) -> Array:
        """The sum of both intercepts of each row, of (m,) and (q,), or (m, k) and (q, k)."""
        found = np.repeat(first, np.diff(self.starts), axis=0)
        found += second[self.codes]
        return found

    def identified(self, first: Array, second: Array) -> tuple[Array, Array]:
        """Intercepts with the same sums, those of `references` 0."""
        shift = second[self.references]
        return first + shift[self.of_first], second - shift[self.of_second]


class Intercepts:
    """Linear systems in the intercepts of both factors, at weights of rows.

    Parameters
    ----------
    crossing : Crossing
    weights : ndarray, shape (n,)
        Information of each row; positive.
    """

    def __init__(self, crossing: Crossing, weights: Array) -> None:
        self.crossing = crossing
        self.weights = np.maximum(weights, _LEAST_INFORMATION * float(weights.max(initial=0.0)))
        self._plain = bool((self.weights == 1.0).all())
        self.first = crossing.over_first(self.weights)
        self.second = crossing.over_second(self.weights)
        shape = crossing.m, crossing.q
        self.pairs = csr_matrix((self.weights, crossing.codes, crossing.starts), shape=shape)

    @cached_property
    def reduced(self) -> Array:
        """S with 1 in place of what is a matter of choice, shape (q, q).

        Raises
        ------
        DesignError
            When it has more than a few thousand rows.
        """
        q, pinned = self.crossing.q, self.crossing.references
        if q > MOST_JOINT:
            raise DesignError(
                f"a joint covariance of {q} effects", f"at most {MOST_JOINT:,}", "coefficients, which need none"
            )
        sizes = np.diff(self.crossing.starts).astype(np.float64)
        cells = float(self.crossing.m) * q
        if cells <= _DENSE_CELLS and cells * q < _SPARSE_COST * float(np.sum(sizes**2)):
            whole = self.pairs.toarray()
            taken = whole.T @ (whole / self.first[:, None])
        else:
            scaled = csr_matrix(
                (self.weights / np.repeat(self.first, np.diff(self.crossing.starts)), *self._places), self.pairs.shape
            )
            taken = (self.pairs.T @ scaled).toarray()
        S = np.diag(self.second) - taken
        S[pinned], S[:, pinned] = 0.0, 0.0
        S[pinned, pinned] = 1.0
        return S

    @property
    def _places(self) -> tuple[_Integers, _Integers]:
        return self.crossing.codes, self.crossing.starts

    @cached_property
    def _factor(self) -> tuple[Array, bool]:
        S = self.reduced
        root = 1.0 / np.sqrt(np.diag(S))
        self._root = root
        factor, lower = cho_factor(S * root[:, None] * root, check_finite=False)
        return factor, bool(lower)

    def solve(self, first: Array, second: Array, rough: bool = False) -> tuple[Array, Array]:
        """Solve [[D, C], [C', E]] (u, v) = (first, second).

        Parameters
        ----------
        first : ndarray, shape (m, k)
        second : ndarray, shape (q, k)
            With the same sum over each set of levels as `first`.
        rough : bool
            As well as a step of Newton's method needs it, and never refused.

        Returns
        -------
        u : ndarray, shape (m, k)
        v : ndarray, shape (q, k)
            0 at the references.

        Raises
        ------
        DesignError
            When levels hang together so loosely that conjugate gradients do not end.
        """
        right = second - self.pairs.T @ (first / self.first[:, None])
        v = self._dense(right) if self.crossing.q <= DENSE else self._by_gradients(right, rough)
        u = (first - self.pairs @ v) / self.first[:, None]
        return self.crossing.identified(u, v)

    def _dense(self, right: Array) -> Array:
        right = right.copy()
        right[self.crossing.references] = 0.0
        factor = self._factor
        root = self._root[:, None]
        return np.asarray(root * cho_solve(factor, root * right, check_finite=False))

    def _by_gradients(self, right: Array, rough: bool) -> Array:
        """Conjugate gradients, preconditioned by the diagonal, of every column at once."""
        D, pairs, back = self.first[:, None], self.pairs, self.pairs.T.tocsr()
        squares = csr_matrix((np.square(pairs.data), pairs.indices, pairs.indptr), pairs.shape)
        diagonal = np.maximum(self.second - squares.T @ (1.0 / self.first), 1e-10 * self.second)[:, None]
        v, left = np.zeros_like(right), self._consistent(right)
        z = left / diagonal
        direction, size = z.copy(), np.sum(left * z, axis=0)
        target = (_FOR_A_STEP if rough else _PRECISE) ** 2 * np.maximum(size, 1e-300)
        for _ in range(_GRADIENT_STEPS_NEWTON if rough else _GRADIENT_STEPS):
            if (size <= target).all():
                return v
            moved = self.second[:, None] * direction - back @ ((pairs @ direction) / D)
            curvature = np.sum(direction * moved, axis=0)
            step = np.divide(size, curvature, out=np.zeros_like(size), where=(curvature > 0.0) & (size > target))
            v += step * direction
            left -= step * moved
            z = left / diagonal
            before, size = size, np.sum(left * z, axis=0)
            direction = z + direction * np.divide(size, before, out=np.zeros_like(size), where=before > 0.0)
        if rough:
            return v
        raise DesignError(
            f"effects of two factors that hang together so loosely that {_GRADIENT_STEPS:,} steps of conjugate "
            "gradients do not tell them apart",
            "levels of both that meet more often",
            "leave out levels with few rows, or fit parts of the data",
        )

    def _consistent(self, right: Array) -> Array:
        """Right-hand sides whose sums over sets of levels are 0 to the last digit, so that S can reach them."""
        sets, count = self.crossing.of_second, self.crossing.n_components
        share = self.second / np.bincount(sets, self.second, count)[sets]
        excess = np.column_stack([np.bincount(sets, column, count) for column in right.T])
        return np.asarray(right - excess[sets] * share[:, None])

    def projection(self, X: Array) -> tuple[Array, Array]:
        """Intercepts that fit columns best by weighted least squares, (m, k) and (q, k), of X of shape (n, k)."""
        weighted = X if self._plain else X * self.weights[:, None]
        return self.solve(self.crossing.over_first(weighted), self.crossing.over_second(weighted))

    def residual(self, X: Array) -> Array:
        """Columns less the intercepts that fit them best, shape (n, k)."""
        if X.shape[1] == 0:
            return X.copy()
        left = X
        for _ in range(2):  # once more for the rounding of large common levels
            taken = self.crossing.at_rows(*self.projection(left))
            left = np.subtract(left, taken, out=taken)
        return left
