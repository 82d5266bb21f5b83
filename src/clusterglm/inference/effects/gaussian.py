"""Shares of the variance of normal responses that random effects have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.fit.gaussian import GaussianFit
from clusterglm.inference.uncertainty.intervals import wald_interval
from clusterglm.model.arrays import Array


@dataclass(frozen=True)
class Shares:
    """Of n rows, shape (n,) each.

    Parameters
    ----------
    sd : ndarray
        Of the effects in common.
    estimate, std_error, low, high : ndarray
        Their share of the variance; nan for errors where the effects do not vary.
    """

    sd: Array
    estimate: Array
    std_error: Array
    low: Array
    high: Array


def shares(fit: GaussianFit, Z: Array, common: NDArray[np.bool_], V: Array, level: float) -> Shares:
    """Shares of effects in common of the variance of all effects and the residual.

    Parameters
    ----------
    fit : GaussianFit
    Z : ndarray, shape (n, q)
    common : ndarray of bool, shape (q,)
        Which effects are in common.
    V : ndarray, shape (p + r + 1, p + r + 1)
        Covariance of the parameters, 0 for those that are known.
    level : float
    """
    L, slopes = fit.factor, fit.effects.covariance.slopes(fit.phi)
    some = np.where(common, Z, 0.0)
    of_common, of_all = np.square(some @ L).sum(axis=1), np.square(Z @ L).sum(axis=1)
    total = of_all + fit.residual_sd**2
    estimate = of_common / total
    moved = np.array([2.0 * np.einsum("ij,ij->i", some @ slope, some @ L) for slope in slopes])
    moved_all = np.array([2.0 * np.einsum("ij,ij->i", Z @ slope, Z @ L) for slope in slopes])
    gradient = np.zeros((len(Z), len(V)))
    gradient[:, fit.parameters.place("random")] = ((moved - estimate * moved_all) / total).T
    gradient[:, fit.parameters.own] = (-2.0 * fit.residual_sd * estimate / total)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(np.einsum("ij,jk,ik->i", gradient, V, gradient))
        error = np.where(of_common > 0.0, error, np.nan)
        ends = wald_interval(np.log(estimate / (1.0 - estimate)), error / (estimate * (1.0 - estimate)), level)
        low, high = (1.0 / (1.0 + np.exp(-end)) for end in ends)
    return Shares(np.sqrt(of_common), estimate, error, low, high)
