"""Diagnostics of models with several random effects: modes, deletion of clusters, accuracy of the integrals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.data.repeats import repeats_of
from clusterglm.fit.mixed import MixedFit, fit_mixed, task_of
from clusterglm.fit.mixed_search import MixedTask, choose, effects_of, points_within_reach
from clusterglm.fit.newton import Optimization
from clusterglm.inference.diagnostics.adequacy import (
    REFERENCE_TOLERANCE,
    IntegrationCheck,
    IntegrationCurve,
    is_bearable,
)
from clusterglm.inference.diagnostics.influence import Deletion, definite
from clusterglm.inference.uncertainty.mixed import estimates_by_reading, task_by_reading
from clusterglm.inference.uncertainty.replicates import ReplicateError
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import random_effects
from clusterglm.model.quadrature import Quadrature

_CONTROL = Control(tol=1e-7)
_ANOTHER_FACE = "the covariance of the random effects is singular without the cluster, or no longer so"


def effects_at_modes(fit: MixedFit) -> Callable[[ModelData], Array]:
    """The linear predictor at posterior modes of the effects, which are found for every data set anew."""
    L = fit.factor

    def predictor(data: ModelData) -> Array:
        Z = effects_of(data).Z
        task = MixedTask.of(data, fit.response, data.X, np.ones(Z.shape[1]), 1)
        b = task.likelihood.at_modes(task.entries(fit.theta)) @ L.T
        eta: Array = data.X @ fit.beta + data.offset
        eta += np.einsum("ij,ij->i", Z, np.repeat(b, np.diff(data.innermost), axis=0))
        return eta

    return predictor


def mixed_deletion(fit: MixedFit, as_shown: Callable[[Array], Array]) -> Deletion:
    """Of clusters, in coefficients, standard deviations and functions of the correlations.

    Where the covariance is singular, these are not free to move: then in the parameters of its factor that are.

    Parameters
    ----------
    fit : MixedFit
    as_shown : callable
        Estimates by reading -> coefficients, standard deviations and correlations.
    """
    data, singular = fit.data.rows, bool(fit.held.any())
    task = task_of(fit) if singular else task_by_reading(fit)
    theta = fit.theta if singular else estimates_by_reading(fit)
    labels = task.covariance.labels if singular else task.covariance.read_labels()
    free = np.flatnonzero(~task.all_and(fit.held))
    plan = choose(task.likelihood, task.entries(theta), fit.integration.requested).plan

    def whole(some: Array) -> Array:
        found = theta.copy()
        found[free] = some
        return found

    def of_cluster(i: int) -> Array:
        return task.evaluate(theta, task.likelihood.of_cluster(plan, i)).hessian[np.ix_(free, free)]

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        again = fit_mixed(new, fit.response, fit.integration.requested, _CONTROL, fit.beta)
        if not np.array_equal(again.held, fit.held):
            raise ReplicateError(_ANOTHER_FACE)
        at = again.theta if singular else estimates_by_reading(again)
        return at[free], again.optimization

    def loglik(some: Array) -> float:
        own = task_of(fit) if singular else task_by_reading(fit)  # remembers modes: not for two threads
        entries = own.entries(whole(some))
        return own.likelihood.evaluate(
            entries, choose(own.likelihood, entries, fit.integration.requested).plan, 0
        ).value

    return Deletion(
        data,
        random_effects(data.names, labels).names_of(free),
        theta[free],
        -task.evaluate(theta, plan).hessian[np.ix_(free, free)],
        (task.likelihood.unit_scores(task.entries(theta), plan) @ task.slopes(theta).T)[:, free],
        of_cluster,
        refit,
        loglik,
        as_shown=np.array if singular else as_shown,
    )


def check_mixed_integration(fit: MixedFit, names: tuple[str, ...], shown: Array, se: Array) -> IntegrationCheck:
    """Compare the quadrature of a fit with one that is accurate to 1e-7.

    Parameters
    ----------
    fit : MixedFit
    names : tuple of str, length q
        Of coefficients, standard deviations and correlations.
    shown : ndarray, shape (q, q)
        Their derivatives in (beta, phi).
    se : ndarray, shape (q,)
        Their standard errors; nan on the boundary.
    """
    data, requested, q = fit.data.rows, fit.integration.requested, len(fit.theta)
    if not fit.factor.any():
        nothing, trusted = np.where(np.isnan(se), np.nan, 0.0), requested.kind == "auto"
        return IntegrationCheck("none", 0.0, 0.0, 0.0, data.labels[0], names, nothing, trusted)
    task = task_of(fit)
    entries = task.entries(fit.theta)
    used = choose(task.likelihood, entries, requested).plan
    accurate = choose(task.likelihood, entries, Quadrature("auto", tolerance=REFERENCE_TOLERANCE))
    apart = task.likelihood.cluster_values(entries, used) - task.likelihood.cluster_values(entries, accurate.plan)
    at = task.evaluate(fit.theta, accurate.plan)
    free = np.flatnonzero(~task.all_and(fit.held))
    step, information = np.zeros(q), -at.hessian[np.ix_(free, free)]
    concave = np.isfinite(information).all() and np.all(np.diag(information) > 0.0)
    shift = np.full(q, np.nan)
    if concave and definite(information, information):
        step[free] = np.linalg.solve(information, at.score[free])
        shift = shown @ step / se
    each, total = apart / repeats_of(data).clusters, float(apart.sum())
    worst = int(np.abs(each).argmax())
    return IntegrationCheck(
        _in_words(requested),
        total,
        accurate.error,
        float(each[worst]),
        data.labels[worst],
        names,
        shift,
        is_bearable(shift[np.isfinite(se)], total),
    )


def mixed_integration_curve(fit: MixedFit, nodes: Sequence[int]) -> IntegrationCurve:
    """The log-likelihood at the estimates by more and more nodes for each effect.

    Parameters
    ----------
    fit : MixedFit
    nodes : sequence of int
        Numbers that make too many points, with so many effects, are left out.
    """
    task = task_of(fit)
    entries = task.entries(fit.theta)
    accurate = choose(task.likelihood, entries, Quadrature("auto", tolerance=REFERENCE_TOLERANCE))
    value = task.likelihood.evaluate(entries, accurate.plan, 0).value
    possible: NDArray[np.int64] = np.array([n for n in nodes if points_within_reach(n, task.likelihood.dimensions)])
    plans = [choose(task.likelihood, entries, Quadrature("fixed", int(n))).plan for n in possible]
    apart = np.array([task.likelihood.evaluate(entries, plan, 0).value - value for plan in plans])
    return IntegrationCurve(("normal",) * len(possible), possible, apart, accurate.error)


def _in_words(requested: Quadrature) -> str:
    if requested.kind == "auto":
        return f"automatic quadrature (tolerance {requested.tolerance:g})"
    nodes = 1 if requested.nodes is None else requested.nodes
    return "the Laplace approximation" if nodes == 1 else f"{nodes} adaptive nodes for each effect"
