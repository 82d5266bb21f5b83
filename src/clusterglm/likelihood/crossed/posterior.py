"""What the data say of effects that cross: of those outside, of the units', and of any combination of both.

Effects outside have the covariance S = (-f_vv)^-1 about the maximum of f, with the units' effects integrated out. Given
v the units are independent, with means that follow v with slopes D = C L'Z'H B, where C is the covariance of their
effects given v and H the second derivatives in the rows' linear predictors. Hence

    cov(u) = C + D S D',    cov(u, v) = D S

Posterior means outside are those to the next order, v^ + S t, with t minus half the derivative of log det(-f_vv)
(Tierney, Kass and Kadane, Journal of the American Statistical Association 84, 1989). Modes are those of all effects
jointly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.crossed.crossed import CrossedLikelihood
from clusterglm.likelihood.vector.vector import VectorPlan, VectorPosterior
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


@dataclass(frozen=True, eq=False)
class CrossedPosterior:
    """What the data say of standard normal effects u of m units, with d of each, and v outside.

    Parameters
    ----------
    unit_modes, unit_means : ndarray, shape (m, d)
    given_outside : ndarray, shape (m, d, d)
        Covariances of the units' effects where those outside are known.
    modes_outside, means_outside : ndarray, shape (size of v,)
    outside : ndarray
        Covariances of the components of v, square matrices one after another.
    component, place : ndarray of int64, shape (size of v,)
        The component of each effect outside, -1 of one without rows; and its place there.
    cells : ndarray of int64, shape (C + 1,)
        Where the components' matrices begin.
    touched_starts : ndarray of int64, shape (m + 1,)
        Where the effects that each unit touches begin.
    touched : ndarray of int64, shape (t,)
        These effects.
    slopes : ndarray, shape (t, d)
        Derivatives of the units' means in them.
    units : ndarray of int64, shape (n,)
        The unit of each row of the data.
    columns : ndarray of int64, shape (n, w)
        The effects outside of each row.
    """

    unit_modes: Array
    unit_means: Array
    given_outside: Array
    modes_outside: Array
    means_outside: Array
    outside: Array
    component: NDArray[np.int64]
    place: NDArray[np.int64]
    cells: NDArray[np.int64]
    touched_starts: NDArray[np.int64]
    touched: NDArray[np.int64]
    slopes: Array
    units: NDArray[np.int64]
    columns: NDArray[np.int64]

    def of(self, units: NDArray[np.int64], columns: NDArray[np.int64]) -> VectorPosterior:
        """Of the effects of units together with some outside.

        Parameters
        ----------
        units : ndarray of int64, shape (k,)
            -1: a unit that the data do not have, whose effects are as they are before any data.
        columns : ndarray of int64, shape (k, w)
            Likewise.

        Returns
        -------
        VectorPosterior
            Of k vectors, the d effects of the unit before the w outside.
        """
        (k, w), d = columns.shape, self.unit_modes.shape[1]
        unit_known, known = units >= 0, columns >= 0
        modes, means = np.zeros((k, d + w)), np.zeros((k, d + w))
        modes[:, :d], means[:, :d] = (
            np.where(unit_known[:, None], each[units], 0.0) for each in (self.unit_modes, self.unit_means)
        )
        modes[:, d:], means[:, d:] = (
            np.where(known, each[columns], 0.0) for each in (self.modes_outside, self.means_outside)
        )
        covariances = np.zeros((k, d + w, d + w))
        covariances[:] = np.eye(d + w)
        some = np.flatnonzero(unit_known)
        covariances[some, :d, :d] = self.unit_covariances[units[some]]
        for a in range(w):
            for b in range(w):
                both = np.flatnonzero(known[:, a] & known[:, b])
                covariances[both, d + a, d + b] = self._outside(columns[both, a], columns[both, b])
            both = np.flatnonzero(known[:, a] & unit_known)
            across = self._across(units[both], columns[both, a])
            covariances[both, :d, d + a] = covariances[both, d + a, :d] = across
        return VectorPosterior(modes, means, covariances)

    @cached_property
    def unit_covariances(self) -> Array:
        """Covariances of the units' effects, shape (m, d, d)."""
        found = self.given_outside.copy()
        for i, (first, last) in enumerate(zip(self.touched_starts[:-1], self.touched_starts[1:], strict=True)):
            own, slopes = self.touched[first:last], self.slopes[first:last]
            S = self._outside(np.repeat(own, len(own)), np.tile(own, len(own))).reshape(len(own), len(own))
            found[i] += slopes.T @ S @ slopes
        return found

    @cached_property
    def _of_rows(self) -> VectorPosterior:
        return self.of(self.units, self.columns)

    @property
    def modes(self) -> Array:
        """Of the effects of each row of the data, shape (n, d + w)."""
        return self._of_rows.modes

    @property
    def means(self) -> Array:
        """Of the effects of each row of the data, shape (n, d + w)."""
        return self._of_rows.means

    @property
    def covariances(self) -> Array:
        """Of the effects of each row of the data, shape (n, d + w, d + w)."""
        return self._of_rows.covariances

    @property
    def about_modes(self) -> Array:
        """Mean squares and products of the distance from the mode, of each row's effects."""
        return self._of_rows.about_modes

    def _outside(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> Array:
        """Covariances of pairs of effects outside; those without rows are as before any data."""
        own = self.component[one]
        here = (own == self.component[other]) & (own >= 0)
        size = np.sqrt(np.diff(self.cells)[own]).astype(np.int64)
        at = np.where(here, self.cells[own] + self.place[one] * size + self.place[other], 0)
        return np.where(here, self.outside[at], (one == other) * 1.0)

    def _across(self, units: NDArray[np.int64], columns: NDArray[np.int64]) -> Array:
        """Covariances of units' effects with one outside each, shape (k, d)."""
        counts = np.diff(self.touched_starts)[units]
        owner = np.repeat(np.arange(len(units)), counts)
        first = np.repeat(self.touched_starts[units] - np.append(0, np.cumsum(counts)[:-1]), counts)
        at = first + np.arange(len(owner))
        found = np.zeros((len(units), self.slopes.shape[1]))
        np.add.at(found, owner, self.slopes[at] * self._outside(self.touched[at], columns[owner])[:, None])
        return found


def posterior_of(
    likelihood: CrossedLikelihood, Z: Array, response: Response, theta: Array, plan: VectorPlan
) -> CrossedPosterior:
    """What the data say of all effects.

    Parameters
    ----------
    likelihood : CrossedLikelihood
    Z : ndarray, shape (n, d)
        Columns with effects of the units.
    response : Response
    theta : ndarray, shape (q,)
    plan : VectorPlan
        Of points that have a spread: Laplace's approximation of the units has none.
    """
    inside, layout = likelihood.inside, likelihood.layout
    own = inside.own(theta)
    modes_outside, unit_modes = joint_modes(likelihood, theta)
    mode = likelihood.mode(theta, plan)
    flat = likelihood.inverses(mode.factors)
    pull = inside.contract(theta, mode.v, plan, flat).v
    means_outside = mode.v.copy()
    component, place = np.full(layout.size, -1), np.zeros(layout.size, dtype=np.int64)
    for c, (effects, matrix) in enumerate(zip(layout.components, layout.matrices(flat), strict=True)):
        means_outside[effects] += matrix @ pull[effects]
        component[effects], place[effects] = c, np.arange(len(effects))
    slopes_of_rows = inside.move(theta, means_outside)
    given = inside.given.posterior(own, plan)
    p, starts = inside.X.shape[1], inside.data.starts
    units = np.repeat(np.arange(inside.n_units), np.diff(starts))
    L = inside.given.factor(own)
    eta = inside.X @ theta[:p] + inside.data.offset + layout.spread(slopes_of_rows, means_outside)
    eta = eta + np.einsum("ij,ij->i", Z, given.means[units] @ L.T)
    H = response.derivatives(eta, inside.data.a, inside.data.b)[2]
    w = layout.columns.shape[1]
    keys = np.repeat(units, w) * layout.size + layout.columns.ravel()
    pairs, inverse = np.unique(keys, return_inverse=True)
    by_pair = np.zeros((len(pairs), Z.shape[1]))
    np.add.at(by_pair, inverse, np.repeat(H[:, None] * (Z @ L), w, axis=0) * slopes_of_rows.ravel()[:, None])
    owner = pairs // layout.size
    return CrossedPosterior(
        unit_modes,
        given.means,
        given.covariances,
        modes_outside,
        means_outside,
        flat,
        component,
        place,
        layout.cells,
        np.searchsorted(owner, np.arange(inside.n_units + 1)).astype(np.int64),
        pairs % layout.size,
        np.einsum("tij,tj->ti", given.covariances[owner], by_pair),
        units,
        layout.columns,
    )


def joint_modes(likelihood: CrossedLikelihood, theta: Array) -> tuple[Array, Array]:
    """The effects outside, and those of the units, shape (m, d), that are most likely jointly."""
    v = likelihood.mode(theta, likelihood.laplace_plan()).v
    likelihood.inside.move(theta, v)
    return v, likelihood.inside.given.modes(likelihood.inside.own(theta), None).centres
