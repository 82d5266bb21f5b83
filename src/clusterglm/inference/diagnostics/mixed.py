"""Diagnostics of models with several random effects: modes, and how accurate the integrals are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.data.repeats import repeats_of
from clusterglm.fit.mixed import MixedFit, task_of
from clusterglm.fit.mixed_task import choose, effects_of, points_within_reach
from clusterglm.inference.diagnostics.adequacy import (
    REFERENCE_TOLERANCE,
    IntegrationCheck,
    IntegrationCurve,
    is_bearable,
)
from clusterglm.inference.diagnostics.influence import definite
from clusterglm.model.arrays import Array
from clusterglm.model.quadrature import Quadrature


def effects_at_modes(
    fit: MixedFit, given: Callable[[ModelData], MixedFit] | None = None
) -> Callable[[ModelData], Array]:
    """The linear predictor at posterior modes of the effects, which are found for every data set anew.

    Parameters
    ----------
    fit : MixedFit
    given : callable, optional
        Data -> a fit of kernel rows of theirs, which has the same effects, where the likelihood is not that of `fit`.
    """
    L = fit.factor

    def predictor(data: ModelData) -> Array:
        known = fit if given is None else given(data)
        task = known.task_with(data if given is None else known.data.rows)
        b = task.likelihood.at_modes(task.entries(known.searched)) @ L.T
        eta: Array = data.X @ fit.beta + data.offset
        eta += np.einsum("ij,ij->i", effects_of(data).Z, np.repeat(b, np.diff(data.innermost), axis=0))
        return eta

    return predictor


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
