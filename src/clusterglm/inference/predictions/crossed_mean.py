"""Predictions given what the data say of each of several crossed factors.

Given the data the effects of a row are taken to be jointly normal, with the means and covariances of `posterior.py`;
those of levels that the data do not have are as they are before any data. So a row's linear predictor is normal, and
its mean is averaged over that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.fit.levels import AnyPlan, CrossedFactors
from clusterglm.fit.mixed import MixedFit, points_for_moments, task_of
from clusterglm.fit.mixed_task import MixedTask, choose
from clusterglm.inference.predictions.normal_mean import normal_jet
from clusterglm.likelihood.crossed.posterior import CrossedPosterior
from clusterglm.model.arrays import Array

_STEP_OF_ESTIMATES = 1e-3  # of differences in the estimates, in standard errors


@dataclass(frozen=True)
class Levels:
    """Levels of n rows.

    Parameters
    ----------
    units : ndarray of int64, shape (n,)
        Of the clusters' factor; -1 where nothing is known.
    columns : ndarray of int64, shape (n, w)
        Places of the effects of the others, likewise.
    new : ndarray of bool, shape (n,)
        Rows with a level that the data do not have.
    """

    units: NDArray[np.int64]
    columns: NDArray[np.int64]
    new: NDArray[np.bool_]

    @classmethod
    def of_factors(
        cls,
        effects: Effects,
        units: NDArray[np.int64],
        codes: Sequence[NDArray[np.int64]],
        new: NDArray[np.bool_],
    ) -> Levels:
        """From the numbers of the rows' levels."""
        columns = [
            np.where(own[:, None] >= 0, places_outside(effects, factor.group, own), -1)
            for factor, own in zip(effects.outside, codes, strict=True)
        ]
        return cls(units, np.hstack(columns), new)

    def of(self, rows: NDArray[np.int64]) -> Levels:
        """Those of some rows."""
        return Levels(self.units[rows], self.columns[rows], self.new[rows])


def places_outside(effects: Effects, group: str, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the effects of some levels of a factor stand among all outside, shape (k, d)."""
    first = 0
    for factor in effects.outside:
        where = effects.places_of(factor.group)
        d = where.stop - where.start
        if factor.group == group:
            return np.asarray(first + codes[:, None] * d + np.arange(d))
        first += d * (int(factor.codes.max()) + 1)
    raise KeyError(group)


@dataclass(frozen=True)
class CrossedGivenData:
    """What the data say of the effects of crossed factors, at the parameters of a fit.

    Parameters
    ----------
    fit : MixedFit
    posterior : CrossedPosterior
    modes : tuple of two ndarray
        Of effects outside and of units, standard normal ones, that are most likely jointly.
    """

    fit: MixedFit
    posterior: CrossedPosterior
    modes: tuple[Array, Array]

    @classmethod
    def of(cls, fit: MixedFit) -> CrossedGivenData:
        """At the estimates."""
        found, _ = _crossed_factors(fit.given)
        return cls._at(fit, *found)

    @classmethod
    def _at(cls, fit: MixedFit, likelihood: CrossedFactors, entries: Array, plan: AnyPlan) -> CrossedGivenData:
        return cls(fit, likelihood.posterior(entries, plan), likelihood.joint_modes(entries))

    def link(self, rows: CrossedRows) -> tuple[Array, Array]:
        """Links of rows' means, and the mean squares of linear predictors about modes, shape (n,) each."""
        fit, d, (v, u) = self.fit, self.fit.effects.n_upper, self.modes
        units, columns, scaled = rows.levels.units, rows.levels.columns, rows.Z @ fit.factor
        own, others = scaled[:, :d], scaled[:, d:]
        means, variances = self.posterior.moments(units, own, columns, others)
        eta = rows.X @ fit.beta + rows.offset
        at_modes = np.where(units[:, None] >= 0, own * u[units], 0.0).sum(axis=1)
        at_modes += np.where(columns >= 0, others * v[columns], 0.0).sum(axis=1)
        link, extra = eta + at_modes, variances + (means - at_modes) ** 2
        some = np.flatnonzero(~rows.at_modes)
        if len(some) > 0:
            spread = np.sqrt(np.maximum(variances[some], 0.0))
            mean = normal_jet(eta[some] + means[some], spread, fit.response).mean
            link[some], extra[some] = fit.response.link_function(mean), 0.0
        return link, extra


@dataclass(frozen=True)
class CrossedRows:
    """Rows to predict given the data.

    Parameters
    ----------
    X, Z : ndarray, shape (n, p) and (n, q)
    offset : ndarray, shape (n,)
    levels : Levels
    at_modes : ndarray of bool, shape (n,)
        Rows predicted at the modes of the effects; the others are averaged over what is not known of these.
    """

    X: Array
    Z: Array
    offset: Array
    levels: Levels
    at_modes: NDArray[np.bool_]


def differences(rows: CrossedRows, fit: MixedFit, variances: Array) -> Array:
    """Derivatives of the rows' links in the estimates, shape (n, k), by differences of all that depends on these.

    Parameters
    ----------
    rows : CrossedRows
    fit : MixedFit
    variances : ndarray, shape (k,)
        Of the estimates; where they are 0 so are the derivatives, which do not count.
    """
    (likelihood, _, plan), task = _crossed_factors(fit.given)
    found = np.zeros((len(rows.X), len(fit.theta)))
    for k in np.flatnonzero(variances > 0.0):
        ends, step = [], _STEP_OF_ESTIMATES * float(np.sqrt(variances[k]))
        for side in (step, -step):
            theta = fit.theta + side * np.eye(len(fit.theta))[k]
            beta, phi = fit.parameters.split(theta)
            there = replace(fit, beta=beta, phi=phi)
            ends.append(CrossedGivenData._at(there, likelihood, task.entries(theta), plan).link(rows)[0])
        found[:, k] = (ends[0] - ends[1]) / (2.0 * step)
    return found


def _crossed_factors(fit: MixedFit) -> tuple[tuple[CrossedFactors, Array, AnyPlan], MixedTask]:
    """The likelihood of a fit, its parameters, and points for moments."""
    task = task_of(fit)
    assert isinstance(task.likelihood, CrossedFactors)
    entries = task.entries(fit.theta)
    chosen = choose(task.likelihood, entries, points_for_moments(fit.integration.requested))
    return (task.likelihood, entries, chosen.plan), task
