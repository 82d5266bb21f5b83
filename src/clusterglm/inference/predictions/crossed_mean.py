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
from clusterglm.fit.levels import CrossedFactors, GivenData
from clusterglm.fit.mixed import MixedFit, points_for_moments, task_of
from clusterglm.fit.mixed_search import choose
from clusterglm.inference.predictions.normal_mean import normal_jet
from clusterglm.likelihood.crossed.posterior import CrossedPosterior
from clusterglm.model.arrays import Array

_STEP = 1e-3  # of differences in the estimates, in standard errors


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


def link_given_data(
    X: Array,
    Z: Array,
    offset: Array,
    levels: Levels,
    at_modes: NDArray[np.bool_],
    fit: MixedFit,
    posterior: GivenData,
) -> tuple[Array, Array]:
    """Links of the rows' means, and the variance of linear predictors at modes, shape (n,) each.

    Parameters
    ----------
    X, Z : ndarray, shape (n, p) and (n, q)
    offset : ndarray, shape (n,)
    levels : Levels
    at_modes : ndarray of bool, shape (n,)
        Rows predicted at the modes of the effects; the others are averaged over what is not known of these.
    fit : MixedFit
    posterior : CrossedPosterior
        At the parameters of `fit`.
    """
    assert isinstance(posterior, CrossedPosterior)
    known, scaled = posterior.of(levels.units, levels.columns), Z @ fit.factor
    eta = X @ fit.beta + offset
    link = eta + np.einsum("ij,ij->i", scaled, known.modes)
    extra = np.einsum("ij,ijk,ik->i", scaled, known.about_modes, scaled)
    some = np.flatnonzero(~at_modes)
    if len(some) > 0:
        centre = eta[some] + np.einsum("ij,ij->i", scaled[some], known.means[some])
        spread = np.einsum("ij,ijk,ik->i", scaled[some], known.covariances[some], scaled[some])
        mean = normal_jet(centre, np.sqrt(np.maximum(spread, 0.0)), fit.response).mean
        link[some], extra[some] = fit.response.link_function(mean), 0.0
    return link, extra


def differences(
    X: Array,
    Z: Array,
    offset: Array,
    levels: Levels,
    at_modes: NDArray[np.bool_],
    fit: MixedFit,
    variances: Array,
) -> Array:
    """Derivatives of the links in the estimates, shape (n, k), by differences of all that depends on these.

    Parameters
    ----------
    X, Z, offset, levels, at_modes, fit
        As in `link_given_data`.
    variances : ndarray, shape (k,)
        Of the estimates; where they are 0 so are the derivatives, which do not count.
    """
    task = task_of(fit)
    assert isinstance(task.likelihood, CrossedFactors)
    plan = choose(task.likelihood, task.entries(fit.theta), points_for_moments(fit.integration.requested)).plan
    found = np.zeros((len(X), len(fit.theta)))
    for k in np.flatnonzero(variances > 0.0):
        ends, step = [], _STEP * float(np.sqrt(variances[k]))
        for side in (step, -step):
            theta = fit.theta + side * np.eye(len(fit.theta))[k]
            beta, phi = fit.parameters.split(theta)
            given = task.likelihood.given_data(task.entries(theta), plan)
            there = replace(fit, beta=beta, phi=phi)
            ends.append(link_given_data(X, Z, offset, levels, at_modes, there, given)[0])
        found[:, k] = (ends[0] - ends[1]) / (2.0 * step)
    return found
