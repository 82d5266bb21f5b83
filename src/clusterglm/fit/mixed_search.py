"""The search for the maximum with several random effects, whichever way their integrals are computed (`levels.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from clusterglm.fit.boundary import below_zero, beside, has_little, vanishing
from clusterglm.fit.levels import AnyPlan, Chosen
from clusterglm.fit.mixed_looks import first_points, looks_of, objective_of, surrogate_of
from clusterglm.fit.mixed_task import BOUNDLESS, MixedTask, choose
from clusterglm.fit.newton import Maximum, Optimization, maximize, maximize_free
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.quadrature import Quadrature

_STARTS = (0.3, 1.0, 2.5)  # standard deviations of effects, on the linear predictor, that are tried first
_SHRUNK, _MOST_SHRUNK = 0.346, 0.2  # (16 sqrt(3) / 15 pi)^2; what is left of 1 at least
_NEARBY = 0.5  # standard errors within which the maximum of a sample is found
_ROUGHLY = 0.02  # standard errors within which the neighbourhood of the maximum is found with few points
_LOOSE = 1e-3  # tolerance of integrals with which the search goes on from there
_ONE_STEP = 0.03  # standard errors from a maximum at which one step of Newton's gets within what does not count
_BEND = 10.0  # times the square of Newton's step, in standard errors, is what it leaves at most: of many clusters
_STILL = 1e-3  # standard errors that a step may be long after which points are not chosen again
_ROUNDS = 12  # times that points may be chosen
_VANISHED = 3e-4  # diagonal entry of L, on the linear predictor, below which it is compared with 0
_LITTLE = 0.1  # the same with a penalty, which keeps it from 0, and where a lower maximum may lie
_NEARLY_NONE = 0.01  # a standard deviation, or times those of a factor, where it is asked whether the data want any
_NO_LOSS = 1e-6  # of a log-likelihood
_ONE_RULE, _AGREE = 9, 5.0  # nodes for all on the way; times its difference from the next smaller, what it leaves
_LARGE = 15.0  # a standard deviation on the linear predictor from which coarse lattices say more than few points
_CONFIRMED = 0.3  # of a rise of the log-likelihood, with which each of the integrals that confirm it may be wrong


@dataclass(frozen=True)
class Found:
    """A maximum, and the points by which it is one."""

    maximum: Maximum
    chosen: Chosen


def start_of(
    task: MixedTask, sample: MixedTask | None, gamma: Array, levels: Sequence[int], quadrature: Quadrature, unit: float
) -> Array:
    """The best of a few covariances without correlations, by few points; of many clusters what a sample leads to.

    Where factors cross, or are nested, it is what moments say.

    `levels`: effects of each grouping factor.
    """
    of = task if sample is None else sample
    plan = first_points(of, sample is not None, quadrature)
    begin = _by_moments(of, plan, gamma, sum(levels))
    if begin is None:
        each = product(_STARTS, repeat=len(levels))
        tried = [np.append(gamma, of.covariance.of(np.diag(np.repeat(sds, levels) ** 2))) for sds in each]
        values = [of.value(theta, plan) for theta in tried]
        begin = tried[int(np.nanargmax(values))]
    if sample is None:
        return begin
    objective = objective_of(of, plan, _NEARBY, unit)
    return maximize(objective, begin, Control(max_iter=30), tolerance=_NEARBY, reflect=task.reflect, unit=unit).theta


def _by_moments(task: MixedTask, plan: AnyPlan, gamma: Array, effects: int) -> Array | None:
    """Where moments say, if they say something, and there is a likelihood there."""
    pairs = task.likelihood.pairs(task.entries(np.append(gamma, task.covariance.of(np.eye(effects)))))
    if pairs is None:
        return None
    found = pairs.variances()
    if not np.isfinite(found).all():
        return None
    begin = np.append(gamma, task.covariance.of(np.diag(_about(found, task.bounded))))
    return begin if np.isfinite(task.value(begin, plan)) else None


def _about(variances: Array, bounded: bool) -> Array:
    """Variances of effects, from what moments to first order say of them.

    On a logit scale these are too small, as coefficients are where effects are left out (Zeger, Liang and Albert 1988);
    on a logarithmic one they are variances of exp(effect), for a mean of 1.
    """
    positive = np.maximum(variances, 0.0)
    whole = positive / max(1.0 - _SHRUNK * float(positive.sum()), _MOST_SHRUNK) if bounded else np.log1p(positive)
    return np.asarray(np.clip(whole, _STARTS[0] ** 2, _STARTS[-1] ** 2))


def maximum_of(
    task: MixedTask, sample: MixedTask | None, begin: Array, quadrature: Quadrature, control: Control, unit: float
) -> tuple[Found, NDArray[np.bool_]]:
    """The maximum, and which parameters of the covariance are zero there because it is singular.

    With a penalty it never is; it may have more than one maximum where it is nearly so. `sample`: the likelihood of
    some of many clusters, which stands in for the rest between evaluations of all.
    """
    quick = replace(control, max_iter=min(control.max_iter, 30), progress=None)
    every, theta, stories = np.ones(len(begin), dtype=bool), begin, list[Optimization]()
    looks = looks_of(task, sample, quadrature, unit)
    for look, within in looks:
        like = surrogate_of(task, sample, quadrature)
        near = maximize(look, theta, quick, tolerance=within, reflect=task.reflect, surrogate=like, unit=unit)
        theta = near.theta
        stories.append(near.optimization)
    few = objective_of(task, first_points(task, sample is not None, quadrature), _ROUGHLY, unit)
    if len(looks) == 1 and quadrature.kind == "auto" and quadrature.tolerance < _LOOSE:
        theta = _farther(task, theta, unit)
        near = _nearer(task, theta, replace(quadrature, tolerance=_LOOSE), quick, unit)
        theta = near.theta
        stories.append(near.optimization)
    many = sample is not None or (task.penalty is None and task.likelihood.nearly_quadratic)
    inside = partial(_within_structure, task, quadrature=quadrature, control=control, unit=unit)
    found = inside(refined(task, theta, quadrature, control, unit, every, many))
    beta, phi = task.parameters.split(found.maximum.theta)
    elsewhere = [
        maximize(few, np.append(beta, there), quick, tolerance=_ROUGHLY, reflect=task.reflect, unit=unit).theta
        for there in beside(task.covariance, phi)
    ]
    elsewhere += _nearly_without_a_factor(task, found.maximum.theta)
    vanished = _vanished(task, found.maximum.theta)
    if vanished.any() if task.penalty is None else has_little(task.covariance, phi, _LITTLE):
        elsewhere += _nearly_without_an_effect(task, found.maximum.theta, quick, unit)
    for begin in elsewhere:
        other = inside(refined(task, begin, quadrature, control, unit, every))
        ended = other.maximum.optimization.converged or not found.maximum.optimization.converged
        if ended and other.maximum.evaluation.value > found.maximum.evaluation.value:
            stories.append(found.maximum.optimization)
            found = other
    vanished = _vanished(task, found.maximum.theta) if task.penalty is None else np.zeros_like(vanished)
    if vanished.any():
        theta = np.where(task.all_and(vanished), 0.0, found.maximum.theta)
        free = ~task.all_and(vanished)
        again = refined(task, theta, quadrature, control, unit, free)
        slack = max(_NO_LOSS * unit, float(np.nan_to_num(found.chosen.error + again.chosen.error)))
        if again.maximum.evaluation.value >= found.maximum.evaluation.value - slack:
            stories.append(found.maximum.optimization)
            found = again
        else:
            vanished = np.zeros_like(vanished)
    story = _whole([*stories, found.maximum.optimization])
    return Found(replace(found.maximum, optimization=story), found.chosen), vanished


def _farther(task: MixedTask, theta: Array, unit: float) -> Array:
    """As far out as doubling all parameters raises the log-likelihood by coarse lattices, where effects are large.

    From there the search goes on, and comes back if there is a maximum. If they grow without end, as where covariates
    determine the response within clusters, it need not creep: it ends here if accurate integrals confirm the rise.

    Raises
    ------
    IntegrationError
        See `MixedTask.reflect`.
    """

    def roughly(there: Array) -> float:
        plan = task.likelihood.wide(task.entries(there))
        return np.nan if plan is None else task.evaluate(there, plan, 0).value

    def times(factor: float, of: Array) -> Array:
        beta, phi = task.parameters.split(of)
        L = factor * task.covariance.factor(phi)
        return task.parameters.joined(factor * beta, task.covariance.of(L @ L.T))

    spread = task.spread(theta)
    if task.penalty is not None or not (task.bounded and spread > _LARGE):
        return theta
    first, begin, last = roughly(theta), theta, theta
    if not roughly(times(0.5, theta)) < first:
        return theta
    value = first
    while spread < BOUNDLESS:
        farther = times(2.0, theta)
        there = roughly(farther)
        if not there > value:
            return theta
        last, theta, value, spread = theta, farther, there, 2.0 * spread
    enough = Quadrature("auto", tolerance=max(_LOOSE, _CONFIRMED * (value - first) / unit))
    here, out = (choose(task.likelihood, task.entries(each), enough, unit) for each in (begin, theta))
    if here.value is not None and out.value is not None and out.value - here.value > here.error + out.error:
        task.reflect(theta)
    return last


def _nearly_without_a_factor(task: MixedTask, theta: Array) -> list[Array]:
    """Where the likelihood is higher with next to no effects of one of several grouping factors: there is a summit."""
    blocks, few = task.covariance.blocks_of_parameters(), task.likelihood.few()
    groups = list(dict.fromkeys(group for group, _ in blocks))
    found = []
    if len(groups) > 1:
        here = task.glanced(theta, few)
        for group in groups:
            beta, phi = (part.copy() for part in task.parameters.split(theta))
            for of, some in blocks:
                phi[some] = _NEARLY_NONE * phi[some] if of == group else phi[some]
            there = task.parameters.joined(beta, phi)
            if task.glanced(there, few, here) > here:
                found.append(there)
    return found


def _nearly_without_an_effect(task: MixedTask, theta: Array, control: Control, unit: float) -> list[Array]:
    """A higher maximum, by few points, if one is found from next to no variance of one of the effects.

    Where few clusters hardly tell effects apart a singular maximum need not be the only one.
    """
    few, q = partial(task.evaluate, plan=task.likelihood.few()), task.covariance.n_effects
    beta, best, found = task.parameters.split(theta)[0], few(theta).value + _NO_LOSS * unit, []
    for k, sd in product(range(q if q > 1 else 0), _STARTS):
        sds = np.where(np.arange(q) == k, _NEARLY_NONE, sd)
        begin = task.parameters.joined(beta, task.covariance.of(np.diag(sds**2)))
        top = maximize(few, begin, control, tolerance=_ROUGHLY, reflect=task.reflect, unit=unit)
        if top.evaluation.value > best:
            best, found = top.evaluation.value, [top.theta]
    return found


def _within_structure(task: MixedTask, found: Found, quadrature: Quadrature, control: Control, unit: float) -> Found:
    """The maximum without effects whose standard deviations were turned; correlations at their ends stay there."""
    held = np.zeros(task.covariance.n_parameters, dtype=bool)
    while True:
        phi = task.parameters.split(found.maximum.theta)[1]
        below, ended = below_zero(task.covariance, phi), task.covariance.at_end(phi) & ~held
        if not below.any() and (found.maximum.optimization.converged or not ended.any()):
            return found
        held |= below | ended
        theta = np.where(task.all_and(below), 0.0, found.maximum.theta)
        found = refined(task, theta, quadrature, control, unit, ~task.all_and(held))


def _vanished(task: MixedTask, theta: Array) -> NDArray[np.bool_]:
    return vanishing(task.covariance, task.parameters.split(theta)[1], _VANISHED)


def _nearer(task: MixedTask, begin: Array, quadrature: Quadrature, control: Control, unit: float) -> Maximum:
    """The maximum by points chosen where the search is; where it is near, one step, as what that leaves is little."""
    objective = objective_of(task, _on_the_way(task, begin, quadrature, unit), control.tol, unit)
    here = maximize(objective, begin, control, max_iter=0, unit=unit)
    if here.optimization.gradient_norm <= _ONE_STEP * unit**0.5:
        step = np.linalg.solve(-here.evaluation.hessian, here.evaluation.score)
        return replace(here, theta=task.reflect(begin + step))
    far = max(2.0, 0.2 * float(np.linalg.norm(begin)))  # a first step that is not small beside large parameters
    return maximize(objective, begin, control, reflect=task.reflect, begin=here.evaluation, radius=far, unit=unit)


def _on_the_way(task: MixedTask, theta: Array, quadrature: Quadrature, unit: float) -> AnyPlan:
    """Points for derivatives: one rule for all where there are many, if the next smaller agrees well enough."""
    entries, likelihood = task.entries(theta), task.likelihood
    if likelihood.nearly_quadratic:
        plan, fewer = (likelihood.by_nodes(nodes) for nodes in (_ONE_RULE, _ONE_RULE - 1))
        apart = np.abs(likelihood.cluster_values(entries, plan) - likelihood.cluster_values(entries, fewer)).sum()
        if likelihood.held(plan) and _AGREE * apart <= quadrature.tolerance * unit:
            return plan
    return choose(likelihood, entries, quadrature, unit).slopes


def refined(
    task: MixedTask,
    begin: Array,
    quadrature: Quadrature,
    control: Control,
    unit: float,
    free: NDArray[np.bool_],
    many: bool = False,
) -> Found:
    """Points chosen where the search is, and the maximum by them, until neither moves the other.

    Parameters that are not `free` stay as they are in `begin`. `many`: clusters so many (that a sample was enough to
    begin with) that the log-likelihood is nearly quadratic: where Newton's step leaves less than the tolerance it is
    not evaluated there again.
    """
    theta, chosen = begin, choose(task.likelihood, task.entries(begin), quadrature, unit)
    stories: list[Optimization] = []
    for remaining in reversed(range(_ROUNDS)):
        objective = objective_of(task, chosen.slopes, control.tol, unit)
        bend = _BEND if many else None
        maximum = maximize_free(objective, theta, control, unit, free, task.reflect, bend)
        stories.append(maximum.optimization)
        step, theta = maximum.theta - theta, maximum.theta
        moved = max(0.0, -float(step @ maximum.evaluation.hessian @ step)) ** 0.5
        still = moved <= _STILL * unit**0.5  # what was chosen so near has the same errors here
        if quadrature.kind != "auto" or still or not maximum.optimization.converged or remaining == 0:
            break
        chosen = choose(task.likelihood, task.entries(theta), quadrature, unit)
    evaluation = maximum.evaluation
    if chosen.value_apart:
        if chosen.value is not None and (still if many else not step.any()):
            # By derivatives alone: over so short a way their errors have no weight.
            moved_by = evaluation.value - maximum.optimization.trace[0].loglik
            value = chosen.value + task.penalty_at(theta).value + moved_by
        else:
            value = task.value(theta, chosen.plan)
        evaluation = replace(evaluation, value=value)
    return Found(Maximum(theta, evaluation, _whole(stories)), chosen)


def _whole(stories: list[Optimization]) -> Optimization:
    """Searches that followed one another as one, which ended as the last did."""
    return replace(
        stories[-1],
        iterations=sum(story.iterations for story in stories),
        evaluations=sum(story.evaluations for story in stories),
        trace=tuple(step for story in stories for step in story.trace),
    )
