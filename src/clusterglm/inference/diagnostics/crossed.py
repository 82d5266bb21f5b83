"""Whether Laplace's approximation over crossed factors, and points over the others, were accurate enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clusterglm.fit.corrected import MOST_OF_ESTIMATES, SEED
from clusterglm.fit.levels import CrossedFactors
from clusterglm.fit.mixed import MixedFit, task_of
from clusterglm.fit.mixed_task import MixedTask, choose, points_within_reach
from clusterglm.inference.diagnostics.adequacy import IntegrationCheck, IntegrationCurve, is_bearable
from clusterglm.likelihood.crossed.certificate import Certificate, HeldDraws
from clusterglm.model.arrays import Array
from clusterglm.model.quadrature import Quadrature

_OTHER_DRAWS = SEED + 1  # than those of a fit


def check_crossed_integration(fit: MixedFit, names: tuple[str, ...], shown: Array) -> IntegrationCheck:
    """Compare the likelihood in use with an estimate by importance sampling, with draws that no fit has used.

    Parameters
    ----------
    fit : MixedFit
    names : tuple of str, length q
        Of coefficients, standard deviations and correlations.
    shown : ndarray, shape (q, q)
        Their derivatives in (beta, phi).
    """
    requested, task = fit.integration.requested, task_of(fit)
    free = ~task.all_and(fit.held)
    V = np.where(np.outer(free, free), np.nan_to_num(fit.covariance), 0.0)
    found, wrong = _sampled(task, fit, V)
    difference = fit.loglik - fit.data.constant - found.estimate.value
    step = V @ (task.slopes(fit.theta) @ found.estimate.score)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = shown @ step / np.sqrt(np.einsum("ij,jk,ik->i", shown, V, shown))
    error = wrong + found.estimate.standard_error
    fine = is_bearable(shift[np.isfinite(shift)], difference) and found.estimate.standard_error <= abs(difference) + 0.1
    return IntegrationCheck(_in_words(requested), difference, error, 0.0, None, names, shift, fine)


def crossed_integration_curve(fit: MixedFit, nodes: Sequence[int]) -> IntegrationCurve:
    """Errors of adaptive nodes for the effects of clusters, with Laplace's approximation over the others.

    Parameters
    ----------
    fit : MixedFit
    nodes : sequence of int
        1: Laplace's approximation for all effects. Numbers that make too many points are left out.
    """
    task = task_of(fit)
    entries = task.entries(fit.theta)
    free = ~task.all_and(fit.held)
    V = np.where(np.outer(free, free), np.nan_to_num(fit.covariance), 0.0)
    found, wrong = _sampled(task, fit, V)
    possible: NDArray[np.int64] = np.array([n for n in nodes if points_within_reach(n, task.likelihood.dimensions)])
    plans = [choose(task.likelihood, entries, Quadrature("fixed", int(n))).plan for n in possible]
    apart = [task.likelihood.evaluate(entries, plan, 0).value - found.estimate.value for plan in plans]
    error = wrong + found.estimate.standard_error
    return IntegrationCurve(("normal",) * len(possible), possible, np.array(apart), error)


def _sampled(task: MixedTask, fit: MixedFit, V: Array) -> tuple[Certificate, float]:
    """The estimate at the parameters of a fit, and what its integrals over clusters' effects may be wrong by."""
    assert isinstance(task.likelihood, CrossedFactors)
    requested, entries, J = fit.integration.requested, task.entries(fit.theta), task.slopes(fit.theta)
    accurate = requested if requested.kind == "auto" else Quadrature("auto")
    chosen = choose(task.likelihood, entries, accurate, fit.integration.unit)
    tolerance = accurate.tolerance_outside * fit.integration.unit
    draws = HeldDraws(task.likelihood, _OTHER_DRAWS)
    found = draws.certify(entries, chosen.plan, J.T @ V @ J, tolerance, MOST_OF_ESTIMATES)
    return found, chosen.error


def _in_words(requested: Quadrature) -> str:
    if requested.kind == "auto":
        return f"automatic quadrature (tolerance {requested.tolerance:g}) and its corrections"
    nodes = 1 if requested.nodes is None else requested.nodes
    if nodes == 1:
        return "the Laplace approximation"
    return f"{nodes} adaptive nodes for each effect of clusters and the Laplace approximation of the others"
