"""Integrals over a standard normal variable, for many rows at once: refined until they settle, or read from a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.scalar.rules import averaging_rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.special import log_normal_density

NARROW, WIDE = 9.0, 37.0  # half-widths: the standard normal leaves 2e-19 outside the first, float64 nothing the other
_RULE_STEP = 0.25  # of the coarsest trapezoid rule
_COARSEST = 1 << 6  # nodes of the coarsest other rule
_TABLE_ELEMENTS = 1 << 16  # elements at a time
_GRID_STEP = 1.0 / 128.0  # step in eta of the table that serves many rows
_STENCIL = np.arange(-2, 4)

Settled: TypeAlias = NDArray[np.bool_]
Integrand: TypeAlias = Callable[[NDArray[np.int64], Array], Array]
"""Rows, shape (r,), and nodes, shape (s,), to integrands (k, r, s)."""


def refined(
    integrand: Integrand,
    rows: NDArray[np.int64],
    half_width: float,
    finest: int,
    moved: Callable[[NDArray[np.int64], Array, Array], Settled],
    distribution: Distribution | None = None,
) -> tuple[Array, Settled]:
    """Rules on [-half_width, half_width], of twice the nodes each, until nothing changes.

    Parameters
    ----------
    integrand : function
        Without the normal density.
    rows : ndarray of int64, shape (r,)
    half_width : float
    finest : int
        Nodes of the last rule.
    moved : function
        Of rows and two rules' integrals, shape (k, rows) each: which still differ.
    distribution : Distribution, optional
        Whose rules are to be used where its kinks or its own scale ask for others than the trapezoid.

    Returns
    -------
    integrals : ndarray, shape (k, r)
    settled : ndarray of bool, shape (r,)
    """
    if distribution is not None and (distribution.kinks or distribution.own_scale):
        return _by_rules_of(distribution, integrand, rows, half_width, finest, moved)
    step = _RULE_STEP
    s = np.arange(-half_width, half_width + 0.5 * step, step)
    values = _sums(integrand, rows, s, step)
    open_ = np.arange(len(rows))
    while len(open_) > 0 and len(s) < finest:
        more = _sums(integrand, rows[open_], s[:-1] + 0.5 * step, step)
        before = values[:, open_]
        values[:, open_] = 0.5 * (before + more)
        open_ = open_[moved(rows[open_], before, more)]
        s, step = np.arange(-half_width, half_width + 0.25 * step, 0.5 * step), 0.5 * step
    settled = np.ones(len(rows), dtype=bool)
    settled[open_] = False
    return values, settled


def _by_rules_of(
    distribution: Distribution,
    integrand: Integrand,
    rows: NDArray[np.int64],
    half_width: float,
    finest: int,
    moved: Callable[[NDArray[np.int64], Array, Array], Settled],
) -> tuple[Array, Settled]:
    nodes, open_ = _COARSEST, np.arange(len(rows))
    values = _weighted(integrand, rows, *averaging_rule(distribution, nodes, half_width))
    while len(open_) > 0 and nodes < finest:
        nodes *= 2
        finer = _weighted(integrand, rows[open_], *averaging_rule(distribution, nodes, half_width))
        still = moved(rows[open_], values[:, open_], finer)
        values[:, open_] = finer
        open_ = open_[still]
    settled = np.ones(len(rows), dtype=bool)
    settled[open_] = False
    return values, settled


def _sums(integrand: Integrand, rows: NDArray[np.int64], s: Array, step: float) -> Array:
    return _weighted(integrand, rows, s, step * np.exp(log_normal_density(s)))


def _weighted(integrand: Integrand, rows: NDArray[np.int64], s: Array, weights: Array) -> Array:
    size = max(1, _TABLE_ELEMENTS // len(s))
    return np.concatenate([integrand(rows[k : k + size], s) @ weights for k in range(0, len(rows), size)], axis=1)


def for_many_rows(eta: Array, integrals: Callable[[Array], tuple[Array, Settled]]) -> tuple[Array, Settled]:
    """Smooth functions of `eta`: once for each different value, or from a table on a fine grid where that is cheaper.

    Parameters
    ----------
    eta : ndarray, shape (n,)
    integrals : function
        Of values of eta, shape (r,), to integrals (k, r) and which of them settled.

    Notes
    -----
    Between points of the grid, sixth-order interpolation: an error of about 1e-11.
    """
    different, place = np.unique(eta, return_inverse=True)
    if len(eta) == 0 or (different[-1] - different[0]) / _GRID_STEP + len(_STENCIL) >= 0.5 * len(different):
        values, settled = integrals(different)
        return values[:, place], settled[place]
    first = np.floor(different[0] / _GRID_STEP) + _STENCIL[0]
    count = int(np.floor(different[-1] / _GRID_STEP) + _STENCIL[-1] - first) + 1
    table, known = integrals((first + np.arange(count)) * _GRID_STEP)
    position = eta / _GRID_STEP - first
    left = np.floor(position).astype(np.int64)
    fraction = position - left
    found, settled = np.zeros((len(table), len(eta))), np.ones(len(eta), dtype=bool)
    for k in _STENCIL:  # Lagrange's weights
        weight = np.ones(len(eta))
        for other in _STENCIL[k != _STENCIL]:
            weight *= (fraction - other) / (k - other)
        found += weight * table[:, left + k]
        settled &= known[left + k]
    return found, settled
