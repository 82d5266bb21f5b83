"""What data say of random effects of normal responses: means, covariances across factors, and what moves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterglm.fit.gaussian import GaussianFit
from clusterglm.fit.pql import PqlFit
from clusterglm.likelihood.gaussian.moments import Moments
from clusterglm.likelihood.gaussian.objective import Task
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import ROWS_AT_A_TIME

_Integers = NDArray[np.int64]
NormalEstimates: TypeAlias = GaussianFit | PqlFit
"""A linear mixed model of the responses, or of working ones."""


@dataclass(frozen=True)
class Known:
    """The effects of every level given the data, at the estimates.

    Parameters
    ----------
    task : Task
    moments : Moments
    means : tuple of ndarray, shape (levels, d)
        Of each factor's effects, which are their modes too.
    covariances : tuple of ndarray, shape (levels, d, d)
    """

    task: Task
    moments: Moments
    means: tuple[Array, ...]
    covariances: tuple[Array, ...]

    @property
    def _columns(self) -> list[_Integers]:
        return [factor.columns for factor in self.task.statistics.factors]

    def effects(self, Z: Array, codes: list[_Integers]) -> Array:
        """z'b of rows, shape (n,), those of levels that are not known (-1) left out.

        Parameters
        ----------
        Z : ndarray, shape (n, q)
        codes : list of ndarray of int64, shape (n,)
            Levels of each factor.
        """
        found = np.zeros(len(Z))
        for mean, columns, code in zip(self.means, self._columns, codes, strict=True):
            there = np.einsum("ij,ij->i", Z[:, columns], mean[code]) if len(mean) else 0.0
            found += np.where(code >= 0, there, 0.0)
        return found


def known_effects(fit: NormalEstimates) -> Known:
    """The effects of the levels of a fit."""
    task = fit.task
    theta = fit.phi * fit.residual_sd**-task.exponents
    moments = task.moments(theta)
    M = tuple(root @ root.T for root in task.roots(theta))
    T = moments.by_level()
    s2 = fit.residual_sd**2
    return Known(
        task,
        moments,
        tuple(t[..., -1] @ each for t, each in zip(T, M, strict=True)),
        tuple(s2 * each for each in moments.conditional_covariances()),
    )


def slopes_of_effects(fit: NormalEstimates, known: Known) -> list[Array]:
    """Derivatives of the levels' means in the parameters of a fit, (levels, d, parameters) for each factor."""
    task, moments, s = known.task, known.moments, fit.residual_sd
    e = task.exponents
    theta = fit.phi * s**-e
    p, r = len(fit.beta), len(theta)
    v = np.append(np.zeros(p), 1.0)  # the responses of the task are residuals
    roots, T = task.roots(theta), moments.by_level()
    M = [root @ root.T for root in roots]
    found = [np.zeros((*(t @ v).shape, p + r + 1)) for t in T]
    for f, t in enumerate(T):
        found[f][..., :p] = -np.einsum("ab,lbk->lak", M[f], t[..., :p])
    for k, direction in enumerate(task.directions(theta)):
        moved = moments.slopes_by_level(direction, v)
        for f, t in enumerate(T):
            slope = moved[f] @ M[f]
            if f == direction.factor:
                slope = slope + (t @ v) @ direction.E
            found[f][..., p + k] = slope * s ** -e[k]
            found[f][..., p + r] -= e[k] * theta[k] / s * slope
    return [slope[..., : len(fit.theta)] for slope in found]  # without a residual that is known


def variances(fit: NormalEstimates, known: Known, Z: Array, codes: list[_Integers]) -> Array:
    """Variance of z'b of rows given the data, at the estimates; levels that are not known (-1) have their prior one.

    Shape (n,).
    """
    found = np.empty(len(Z))
    for first in range(0, len(Z), ROWS_AT_A_TIME):
        some = slice(first, first + ROWS_AT_A_TIME)
        found[some] = _variances(known, fit, Z[some], [code[some] for code in codes])
    return found


def _variances(known: Known, fit: NormalEstimates, Z: Array, codes: list[_Integers]) -> Array:
    """With z1 of the unit and z2 of the outer levels: z1'K1 z1 + a'K2 a, a = z2 - J'K1 z1."""
    moments, statistics = known.moments, known.moments.statistics
    layout, s2 = statistics.layout, fit.residual_sd**2
    S = fit.factor @ fit.factor.T / s2
    columns = [factor.columns for factor in statistics.factors]
    total = np.zeros(len(Z))
    for code, own in zip(codes, columns, strict=True):
        prior = np.einsum("ij,jk,ik->i", Z[:, own], S[np.ix_(own, own)], Z[:, own])
        total += np.where(code < 0, prior, 0.0)
    inner = layout.inner
    place = np.empty(len(layout.units), dtype=np.int64)
    place[layout.units] = np.arange(len(layout.units))
    unit = np.where(codes[inner] >= 0, place[codes[inner]], -1)
    z1 = np.where((unit >= 0)[:, None], Z[:, columns[inner]], 0.0)
    Kz = np.einsum("iab,ib->ia", moments.K[unit], z1)
    total += np.einsum("ia,ia->i", z1, Kz)
    for part in moments.parts:
        outside, group = part.outside, part.outside.group
        component, a = np.full(len(Z), -1), np.zeros((len(Z), part.K.shape[-1]))
        for position, k in enumerate(layout.outer):
            first, _, d = outside.blocks[position]
            of, levels = np.full(statistics.factors[k].levels, -1), group.levels[position]
            at = np.full(statistics.factors[k].levels, -1)
            c, j = np.nonzero(levels >= 0)
            of[levels[c, j]], at[levels[c, j]] = c, first + j * d
            mine = np.flatnonzero((codes[k] >= 0) & (of[codes[k]] >= 0))
            component[mine] = of[codes[k][mine]]
            for b, column in enumerate(columns[k].tolist()):
                a[mine, at[codes[k][mine]] + b] += Z[mine, column]
        mine = np.flatnonzero((unit >= group.first) & (unit < group.end))
        component[mine] = group.component[unit[mine] - group.first]
        a[mine] -= outside.rows_across(unit[mine] - group.first, Kz[mine])
        some = np.flatnonzero(component >= 0)
        if len(part.K) == 1:
            total[some] += np.einsum("ij,ij->i", a[some] @ part.K[0], a[some])
        else:
            total[some] += np.einsum("ij,ijk,ik->i", a[some], part.K[component[some]], a[some])
    return np.asarray(s2 * total)
