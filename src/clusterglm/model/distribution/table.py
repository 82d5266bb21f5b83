"""Piecewise Chebyshev polynomials: tables of maps from the normal scale that have no closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array

TERMS = 16  # Chebyshev coefficients of a piece
REACH = 37.0  # the standard normal as far as float64 knows it
_PIECE_WIDTH = 1.0  # of the widest pieces
_PIECE_HALVINGS = 30  # of a piece, at most ...
_PIECES = 1000  # ... while no more are open
_PIECE_TOLERANCE = 4e-15  # of the last coefficients, relative to the largest value on the piece, or to 1
_ROUGH_FUNCTION = 1e-10  # rounding in the function itself that is still put up with
_NODES = np.cos(np.pi * (np.arange(TERMS) + 0.5) / TERMS)


@lru_cache(maxsize=8)
def transform(terms: int) -> Array:
    """Matrix from values at Chebyshev points (first kind) to coefficients, shape (terms, terms)."""
    x = np.cos(np.pi * (np.arange(terms) + 0.5) / terms)
    matrix = np.array(2.0 / terms * np.polynomial.chebyshev.chebvander(x, terms - 1).T, dtype=np.float64)
    matrix[0] *= 0.5
    return matrix


@lru_cache(maxsize=8)
def differentiation(terms: int) -> Array:
    """Matrix from coefficients to those of the derivative in x, shape (terms, terms)."""
    matrix = np.zeros((terms, terms))
    matrix[:-1] = np.polynomial.chebyshev.chebder(np.eye(terms))
    return matrix


@dataclass(frozen=True)
class Table:
    """Functions of s, polynomials of degree 15 on each piece.

    Parameters
    ----------
    edges : ndarray, shape (pieces + 1,)
        Ascending.
    coefficients : ndarray, shape (functions, pieces, 16)
        Of Chebyshev polynomials.
    """

    edges: Array
    coefficients: Array

    def derivative(self) -> Table:
        """The derivatives in s."""
        slope = 2.0 / np.diff(self.edges)[:, None]
        return Table(self.edges, (self.coefficients @ differentiation(TERMS).T) * slope)

    def jets(self, order: int) -> Table:
        """The functions and their derivatives up to `order`: (order + 1) times as many functions, by order."""
        tables = [self]
        for _ in range(order):
            tables.append(tables[-1].derivative())
        return Table(self.edges, np.concatenate([table.coefficients for table in tables]))

    def __call__(self, s: Array) -> Array:
        """Values, shape (functions, *s.shape); held beyond the ends."""
        s = np.asarray(s, dtype=np.float64)
        piece = np.clip(np.searchsorted(self.edges, s, side="right") - 1, 0, len(self.edges) - 2)
        low, high = self.edges[piece], self.edges[piece + 1]
        x = np.clip((2.0 * s - low - high) / (high - low), -1.0, 1.0)
        basis = np.polynomial.chebyshev.chebvander(x, TERMS - 1)
        values: Array = np.einsum("f...k,...k->f...", self.coefficients[:, piece], basis)
        return values


def build(
    function: Callable[[Array], Array],
    name: str,
    low: float = -REACH,
    high: float = REACH,
    breaks: tuple[float, ...] = (),
) -> Table:
    """Tabulate functions of s on pieces that are halved until polynomials follow them to rounding.

    Parameters
    ----------
    function : callable
        Takes s, shape (n,); returns finite values, shape (functions, n).
    name : str
        Of the distribution, for the message.
    low, high : float
        Ends of the table.
    breaks : tuple of float
        Points inside where a function need not be analytic.

    Raises
    ------
    OptionError
        When a function is not smooth enough.
    """
    inside = [x for x in breaks if low < x < high]
    corners = np.array([low, *inside, high])
    counts = np.maximum(np.ceil(np.diff(corners) / _PIECE_WIDTH), 1).astype(int)
    edges = [np.linspace(a, b, n + 1) for a, b, n in zip(corners[:-1], corners[1:], counts, strict=True)]
    left = np.concatenate([e[:-1] for e in edges])
    right = np.concatenate([e[1:] for e in edges])
    error_before = np.full(len(left), np.inf)
    done: list[tuple[Array, Array]] = []
    for halving in range(_PIECE_HALVINGS + 1):
        coefficients = _fitted(function, left, right)
        size = np.maximum(np.abs(coefficients).sum(axis=2), 1.0)
        error = (np.abs(coefficients[:, :, -2:]).max(axis=2) / size).max(axis=0)
        # rounding of the function itself: halving a piece no longer helps
        level = (error <= _ROUGH_FUNCTION) & (error > 0.2 * error_before)
        good = (error <= _PIECE_TOLERANCE) | level
        done.append((left[good], coefficients[:, good]))
        left, right, error = left[~good], right[~good], error[~good]
        if len(left) == 0:
            return _joined(done, high)
        if halving == _PIECE_HALVINGS or len(left) > _PIECES:
            break
        middle = 0.5 * (left + right)
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        error_before = np.concatenate([error, error])
    raise OptionError(
        f"a quantile function of {name} that no polynomial follows near s = {left[0]:.3g} on the normal scale",
        "a smooth and accurate quantile function",
        "name the points where its derivatives jump in kinks=, on the normal scale; or compute it to more digits",
    )


def _fitted(function: Callable[[Array], Array], left: Array, right: Array) -> Array:
    s = 0.5 * (left + right)[:, None] + 0.5 * (right - left)[:, None] * _NODES
    values = function(s.ravel()).reshape(-1, len(left), TERMS)
    coefficients: Array = values @ transform(TERMS).T
    return coefficients


def _joined(done: list[tuple[Array, Array]], high: float) -> Table:
    left = np.concatenate([part[0] for part in done])
    order: NDArray[np.int64] = np.argsort(left)
    coefficients = np.concatenate([part[1] for part in done], axis=1)[:, order]
    return Table(np.append(left[order], high), np.ascontiguousarray(coefficients))
