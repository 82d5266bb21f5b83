"""Uncertainty of the parameters of models with several random effects: standard deviations and correlations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.fit.mixed import MixedFit, scale_of, task_of, to_user
from clusterglm.fit.mixed_blocks import MixedBlockSums
from clusterglm.fit.mixed_task import MixedTask, choose
from clusterglm.fit.sums import whole_weights
from clusterglm.model.arrays import Array


def standardised_covariance(J: Array, V: Array, nowhere: NDArray[np.bool_]) -> Array:
    """Covariance of what is shown, by the delta method.

    Parameters
    ----------
    J : ndarray, shape (k, k)
        Derivatives of what is shown in the parameters.
    V : ndarray, shape (k, k)
        Covariance of the parameters, 0 for those that are held.
    nowhere : ndarray of bool, shape (r,)
        Which of the last of what is shown have no standard error: the method has nothing to say on a boundary.
    """
    some = J.copy()
    lost = len(J) - len(nowhere) + np.flatnonzero(nowhere)
    some[lost] = 0.0
    found = some @ V @ some.T
    found[lost, :] = found[:, lost] = np.nan
    return np.asarray(0.5 * (found + found.T))


def marginal_scores(fit: MixedFit) -> Array:
    """Each cluster's score in what was searched, (beta, phi), at the estimate, shape (m, k)."""
    task, theta = task_of(fit), fit.searched
    entries = task.entries(theta)
    scores = task.likelihood.unit_scores(entries, choose(task.likelihood, entries, fit.integration.requested).plan)
    return scores @ task.slopes(theta).T


def mixed_products(given: MixedBlockSums, fit: MixedFit) -> Array:
    """Sum of the outer products of `marginal_scores`, shape (k, k), over blocks."""
    scale = scale_of(given)
    task = given.task(scale)
    T = to_user(task, given.standard, scale)
    theta = np.asarray(np.linalg.solve(T, fit.theta), dtype=np.float64)
    likelihood, entries = given.integrals(scale), task.entries(theta)
    plan = choose(likelihood, entries, fit.integration.requested).plan
    inside = likelihood.outer_products(entries, plan, task.slopes(theta), whole_weights(given.sums))
    back = np.linalg.inv(T)
    return np.asarray(back.T @ inside @ back)


def task_by_reading(fit: MixedFit, threads: int = 1) -> MixedTask:
    """The likelihood in coefficients, standard deviations and functions of the correlations."""
    whole = task_of(fit, threads)
    return replace(whole, covariance=whole.covariance.by_reading())


def estimates_by_reading(fit: MixedFit) -> Array:
    """The estimates as `task_by_reading` takes them."""
    L, parameters = fit.factor, task_of(fit).parameters
    return parameters.joined(parameters.split(fit.searched)[0], fit.effects.covariance.by_reading().of(L @ L.T))
