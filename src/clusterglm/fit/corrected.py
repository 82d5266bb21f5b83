"""The maximum of a model with crossed factors, moved by what importance sampling says of Laplace's approximation.

The estimate by draws that are held is a smooth function of the parameters, near the approximation that it corrects:
Newton's method with the Hessian of the latter finds its maximum in a few steps. Where that has moved by a hundredth of
a standard error, these are from its own Hessian, the differences of its score; elsewhere both are alike to a hundredth.
Draws have the points inside that are enough for derivatives: with them weights are as good as with more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import IntegrationError
from clusterglm.fit.levels import AnyPlan, CrossedFactors, Integrals
from clusterglm.fit.mixed_search import Found
from clusterglm.fit.mixed_task import MixedTask
from clusterglm.fit.newton import Maximum, maximize_free
from clusterglm.fit.own_corrected import OwnDraws
from clusterglm.fit.own_levels import OwnIntegrals
from clusterglm.likelihood.crossed.certificate import Estimate, HeldDraws
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.report import OutsideReport
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.quadrature import Quadrature

SEED = 20113
MOST_OF_ESTIMATES = 0.02  # of a standard error: the Monte Carlo error of an estimate
_AMPLE = 0.8 * MOST_OF_ESTIMATES  # what is sought, as standard errors at the corrected maximum are others
_TOO_NOISY = 0.2  # the same, above which estimates are better left where they are
_MOST_OF_A_REPLICATE = 2048  # of each replicate
_WHERE_IT_IS = 1e-3  # of a standard error: where the maximum has been found
_MOST_CORRECTIONS = 20
_OWN_HESSIAN = 0.01  # standard errors that the maximum has moved, from which its Hessian is its own
_FOR_HESSIAN = 32  # draws of each replicate for second derivatives, at most
_STEP_OF_ERRORS = 1e-3  # of a standard error, of their differences


def corrected(
    task: MixedTask, found: Found, held: NDArray[np.bool_], quadrature: Quadrature, unit: float
) -> tuple[Found, OutsideReport | None]:
    """The maximum of the corrected likelihood, and what is known of it.

    Parameters
    ----------
    task : MixedTask
        Of crossed factors.
    found : Found
        The maximum of Laplace's approximation.
    held : ndarray of bool
        Parameters of the covariance that are zero there.
    quadrature : Quadrature
    unit : float

    Returns
    -------
    Found
        With the Hessian of the corrected likelihood, or of the approximation, where they are alike or the former is no
        maximum's.
    OutsideReport or None
        None where there is no curvature to go by.
    """
    free, plan, theta = ~task.all_and(held), found.chosen.slopes, found.maximum.theta
    V = _covariance(found.maximum.evaluation.hessian, free)
    if V is None:
        return found, None
    draws, tolerance = draws_of(task.likelihood, SEED), quadrature.tolerance_outside * unit
    J = task.slopes(theta)
    certificate = draws.certify(task.entries(theta), plan, J.T @ V @ J, tolerance, _AMPLE, _MOST_OF_A_REPLICATE)
    first, scored = certificate.estimate, certificate.scored
    by_more_points = found.maximum.evaluation.value - first.laplace
    noise = _of_estimates(first, J.T @ V @ J)
    if not (np.isfinite(first.value) and noise <= _TOO_NOISY):
        return found, _report(first, by_more_points, noise, 0.0, tolerance, applied=False)
    count, at, evaluations = first.draws // len(first.scores), theta, 0
    quick = Control(max_iter=_MOST_CORRECTIONS, tol=_WHERE_IT_IS)
    while True:
        objective = partial(_objective, task, draws, plan, scored, hessian=found.maximum.evaluation.hessian)
        top = maximize_free(objective, at, quick, unit, free, task.reflect)
        evaluations += top.optimization.evaluations
        at, J = top.theta, task.slopes(top.theta)
        last = draws.estimate(task.entries(at), plan, count, scored=scored)
        valued, known = last.standard_error <= tolerance, _of_estimates(last, J.T @ V @ J) <= _AMPLE
        if (valued or count >= _MOST_OF_A_REPLICATE) and (known or scored >= _MOST_OF_A_REPLICATE):
            break
        scored = scored if known else 2 * scored  # enough at the maximum of the approximation, but not here
        count = max(count if valued else 2 * count, scored)
    moved = _distance(at - theta, V, free)
    hessian = found.maximum.evaluation.hessian
    if moved > _OWN_HESSIAN:
        hessian = _hessian(partial(_objective, task, draws, plan, min(scored, _FOR_HESSIAN), hessian=V), at, free, V)
    if moved > _WHERE_IT_IS and (moved <= _OWN_HESSIAN or _covariance(hessian, free) is None):
        hessian = task.evaluate(at, plan, 2).hessian
    there = _covariance(hessian, free)
    V = V if there is None else there
    moved = _distance(at - theta, V, free)
    story = found.maximum.optimization
    story = replace(story, evaluations=story.evaluations + evaluations)
    if not top.optimization.converged:
        story = replace(story, status=top.optimization.status, message=top.optimization.message)
    evaluation = Evaluation(last.value + by_more_points, J @ last.score, hessian)
    report = _report(last, by_more_points, _of_estimates(last, J.T @ V @ J), moved, tolerance, applied=True)
    return replace(found, maximum=Maximum(at, evaluation, story)), report


def draws_of(likelihood: Integrals, seed: int) -> HeldDraws | OwnDraws:
    """Importance sampling for a likelihood of crossed factors."""
    if isinstance(likelihood, OwnIntegrals):
        return OwnDraws(likelihood, seed)
    assert isinstance(likelihood, CrossedFactors)
    return HeldDraws(likelihood, seed)


def _objective(
    task: MixedTask, draws: HeldDraws | OwnDraws, plan: AnyPlan, count: int, theta: Array, hessian: Array
) -> Evaluation:
    """The estimate by so many draws, with a Hessian that is known."""
    try:
        there = draws.estimate(task.entries(theta), plan, count)
    except IntegrationError:
        return Evaluation(np.nan, np.full(len(theta), np.nan), hessian)
    return Evaluation(there.value, task.slopes(theta) @ there.score, hessian)


def _distance(step: Array, V: Array, free: NDArray[np.bool_]) -> float:
    """The largest entry of a step in standard errors."""
    return float((np.abs(step)[free] / np.sqrt(np.diag(V)[free])).max(initial=0.0))


def _hessian(scored: Callable[[Array], Evaluation], theta: Array, free: NDArray[np.bool_], V: Array) -> Array:
    """Differences of the score over a small part of the standard errors, 0 for parameters that are held."""
    found, score = np.zeros_like(V), scored(theta).score
    for k in np.flatnonzero(free).tolist():
        step = _STEP_OF_ERRORS * float(np.sqrt(V[k, k]))
        found[k] = (scored(theta + step * np.eye(len(theta))[k]).score - score) / step
    found[:, ~free] = 0.0
    return 0.5 * (found + found.T)


def _covariance(hessian: Array, free: NDArray[np.bool_]) -> Array | None:
    """Inverse of the information of the free parameters, 0 elsewhere; None where it is not positive definite."""
    some = np.ix_(free, free)
    if not np.isfinite(hessian).all() or np.linalg.eigvalsh(-hessian[some]).min() <= 0.0:
        return None
    found = np.zeros_like(hessian)
    found[some] = np.linalg.inv(-hessian[some])
    return found


def _of_estimates(estimate: Estimate, covariance: Array) -> float:
    """The largest Monte Carlo error of an estimate in standard errors."""
    return float(np.nan_to_num(estimate.errors_of_estimates(covariance)).max())


def _report(
    estimate: Estimate, by_more_points: float, noise: float, moved: float, tolerance: float, *, applied: bool
) -> OutsideReport:
    return OutsideReport(
        estimate.laplace + by_more_points,
        estimate.correction,
        estimate.standard_error,
        noise,
        moved,
        estimate.share,
        estimate.draws,
        tolerance,
        MOST_OF_ESTIMATES,
        applied,
    )
