"""What the data say of the effects of factors that cross, at given parameters.

The effects v outside are about normal about the mode v^ of f, with the covariance S = (-f_vv)^-1; those of a unit, u,
have given v the moments of its points, and follow v by the derivative J of their mean. To the second order in v - v^

    E v = v^ + 1/2 S t,    t_k = sum of S_ij f_ijk                                  Cov v     = S
    E u = E[u | v^] + J (E v - v^) + 1/2 sum of S_ij d2E[u]/dv_i dv_j               Cov u     = Cov[u | v^] + J S J'
                                                                                    Cov(u, v) = J S

(Tierney, Kass and Kadane 1989). Where a unit has one point, its mode and curvature there take the place of its moments,
and these are the same terms of the joint approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from clusterglm.likelihood.crossed.layout import Layout
from clusterglm.model.arrays import Array

_CELLS = 4_000_000  # numbers of a product that is wanted row by row alone


@dataclass(frozen=True, eq=False)
class UnitMoments:
    """What the points of the units say of their effects u at given effects outside.

    Parameters
    ----------
    means : ndarray, shape (m, d)
    covariances, spreads : ndarray, shape (m, d, d)
        Given the effects outside, and what these add to them.
    follows : ndarray, shape (number of touched effects, d)
        Derivatives of the means in the effects that each unit touches, unit by unit.
    bends : ndarray, shape (m, d)
        1/2 sum of S_ij times the second derivatives of the means.
    """

    means: Array
    covariances: Array
    spreads: Array
    follows: Array
    bends: Array


@dataclass(frozen=True, eq=False)
class CrossedPosterior:
    """What the data say of the standard normal effects v outside and u of the units; those of the model are L v, L u.

    Places in v are those of `Layout`: term by term, level by level, one effect after another. All arrays are read-only.

    Parameters
    ----------
    modes_v, means_v : ndarray, shape (size of v,)
        0 for effects of levels without rows.
    components : tuple of ndarray of int64
        Places in v of effects that hang together; those of different components are independent.
    covariances_v : tuple of ndarray
        S of each component.
    modes_u : ndarray, shape (m, d)
        Of the units' effects given v^.
    means_u : ndarray, shape (m, d)
    covariances_u : ndarray, shape (m, d, d)
    given : ndarray, shape (m, d, d)
        Covariances of u given v^, the part of `covariances_u` that does not come from v.
    follows : sparse array, shape (m d, size of v)
        J, the rows of a unit's effects one after another.
    """

    modes_v: Array
    means_v: Array
    components: tuple[NDArray[np.int64], ...]
    covariances_v: tuple[Array, ...]
    modes_u: Array
    means_u: Array
    covariances_u: Array
    given: Array
    follows: csr_array

    def covariance_v(self, places: NDArray[np.int64]) -> Array:
        """Covariance of some of the effects outside, shape (k, k)."""
        found = np.eye(len(places))
        for own, S in zip(self.components, self.covariances_v, strict=True):
            at = np.minimum(np.searchsorted(own, places), len(own) - 1)
            here = np.flatnonzero(own[at] == places)
            found[np.ix_(here, here)] = S[np.ix_(at[here], at[here])]
        return found

    def moments(self, units: NDArray[np.int64], A: Array, places: NDArray[np.int64], B: Array) -> tuple[Array, Array]:
        """Means and variances of A u + B v, one for each of r rows, of whatever units and levels.

        Parameters
        ----------
        units : ndarray of int64, shape (r,)
            -1 stands for a unit without data.
        A : ndarray, shape (r, d)
        places : ndarray of int64, shape (r, w)
            In v; -1 stands for an effect without data.
        B : ndarray, shape (r, w)
        """
        rows, size, d = len(units), len(self.modes_v), A.shape[1]
        old, known = units >= 0, places >= 0
        means = np.where(known, B * self.means_v[places], 0.0).sum(axis=1)
        variances = np.where(known, 0.0, B**2).sum(axis=1)
        means[old] += (A[old] * self.means_u[units[old]]).sum(axis=1)
        variances[old] += np.einsum("rs,rst,rt->r", A[old], self.given[units[old]], A[old])
        variances[~old] += (A[~old] ** 2).sum(axis=1)
        # What v adds to each row, through u too.
        whose = np.arange(rows).repeat(d)[np.repeat(old, d)]
        of_u = (units[old, None] * d + np.arange(d)).ravel()
        through = csr_array((A[old].ravel(), (whose, of_u)), shape=(rows, self.follows.shape[0])) @ self.follows
        direct = csr_array((B[known], (np.nonzero(known)[0], places[known])), shape=(rows, size))
        pulls = csr_array(through + direct).tocsc()
        without = np.ones(size, dtype=np.bool_)
        for own, S in zip(self.components, self.covariances_v, strict=True):
            without[own] = False
            of_own = pulls[:, own].tocsr()
            touching = np.flatnonzero(np.diff(of_own.indptr))
            for part in np.array_split(touching, 1 + len(touching) * len(own) // _CELLS):
                some = of_own[part]
                variances[part] += np.asarray((some.multiply(some @ S)).sum(axis=1)).ravel()
        variances += np.asarray(pulls[:, np.flatnonzero(without)].power(2).sum(axis=1)).ravel()
        return means, variances


def joined(layout: Layout, v: Array, S: Array, pull: Array, units: UnitMoments, modes_u: Array) -> CrossedPosterior:
    """The posterior from its parts.

    Parameters
    ----------
    layout : Layout
    v : ndarray, shape (size of v,)
        The mode.
    S : ndarray
        Covariances of all components one after another, of which lower triangles are looked at; becomes symmetric.
    pull : ndarray, shape (size of v,)
        Half of t.
    units : UnitMoments
    modes_u : ndarray, shape (m, d)
    """
    m, d = units.means.shape
    covariances = layout.matrices(S)
    means = v.copy()
    for own, matrix in zip(layout.components, covariances, strict=True):
        matrix[:] = np.tril(matrix) + np.tril(matrix, -1).T
        means[own] += matrix @ pull[own]
    # The rows of J: a unit's effects follow those that it touches.
    counts = np.diff(layout.touched_starts)
    cells = np.repeat(layout.touched_starts[:-1], d), np.repeat(counts, d)
    at = np.repeat(cells[0] - np.append(0, np.cumsum(cells[1])[:-1]), cells[1]) + np.arange(int(cells[1].sum()))
    which = np.repeat(np.tile(np.arange(d), m), cells[1])
    follows = csr_array(
        (units.follows[at, which], layout.touched[at], np.append(0, np.cumsum(cells[1]))), shape=(m * d, layout.size)
    )
    means_u = units.means + (follows @ (means - v)).reshape(m, d) + units.bends
    whole = units.covariances + units.spreads
    found = CrossedPosterior(
        v.copy(),
        means,
        layout.components,
        tuple(covariances),
        modes_u,
        means_u,
        whole,
        units.covariances,
        follows,
    )
    frozen = [found.modes_v, means, S, *covariances, modes_u, means_u, whole, units.covariances]
    for array in [*frozen, *layout.components, follows.data, follows.indices, follows.indptr]:
        array.flags.writeable = False
    return found
