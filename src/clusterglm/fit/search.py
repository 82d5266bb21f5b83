"""From the data to the maximum: where a search starts, and by which steps it gets there.

Large data are searched by way of a sample of their clusters. Its maximum is the start; there the whole likelihood is
evaluated with few nodes, for which the sample makes up; and from then on it stands in for the whole between two
evaluations (`surrogate.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, eigvalsh

from clusterglm.errors import OptionError
from clusterglm.fit.newton import Maximum, maximize
from clusterglm.fit.start import start_coefficients, start_sigma
from clusterglm.fit.sums import MarginalSums, SomeClusters, Sums, in_free
from clusterglm.fit.surrogate import Surrogate
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.integrator import AnyIntegrator
from clusterglm.likelihood.plan import Choice, Part, Plan, UnitRule
from clusterglm.likelihood.report import IntegrationReport, report
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import Parameters
from clusterglm.model.quadrature import Quadrature

_ROUGH_TOLERANCE = 0.02  # standard errors within which quadrature="auto" finds the neighbourhood of the maximum
_NEAR = 0.5  # the same of a sample's maximum, and of the step that its surrogate takes next: of the whole's errors
_LEAST_START = 0.1  # sigma that is believed of a sample ...
_LEAST_HEAVY = 1e-3  # ... where it is no standard deviation
_SMALLER = 0.02  # times the sigma with which a search begins: one that it may come by, on a scale of heavy tails
_NEARLY = 0.5  # the same where a sample says where it begins
_TAME_FACTOR = 8.0  # factor of information on coefficients, from the first start to there, that is
_REFINEMENTS = 16  # times that "auto" may choose rules again at a better estimate; two will do, but for sharp clusters


@dataclass(frozen=True)
class Task:
    """What the steps of a search share, all on the standardised scale.

    Parameters
    ----------
    sums : Sums
        The data.
    likelihood : MarginalSums
    quadrature : Quadrature
    parameters : Parameters
        Of (gamma, sigma); what is held stays where it starts.
    control : Control
    """

    sums: Sums
    likelihood: MarginalSums
    quadrature: Quadrature
    parameters: Parameters
    control: Control

    @property
    def integrator(self) -> AnyIntegrator:
        """How random effects are integrated out."""
        return self.likelihood.integrator

    @property
    def distribution(self) -> Distribution:
        """The distribution of the random effects."""
        return self.integrator.distribution

    @property
    def unit(self) -> float:
        """What log-likelihoods are counted in; see `Weighing`."""
        return self.sums.weights.unit

    @property
    def all_free(self) -> bool:
        """Whether nothing is held."""
        return self.parameters.all_free

    def sigma(self, theta: Array) -> float:
        """The scale of the intercept at `theta`."""
        return float(theta[self.parameters.scale])


@dataclass(frozen=True)
class Found:
    """Where a search ended, and by which rules the likelihood was computed there.

    Parameters
    ----------
    maximum : Maximum
        In (gamma, sigma).
    plan : Plan
    integration : IntegrationReport
    """

    maximum: Maximum
    plan: Plan
    integration: IntegrationReport


@dataclass(frozen=True)
class _Helper:
    """A sample of the clusters of large data: its likelihood by the rule that a search begins with."""

    some: SomeClusters
    surrogate: Surrogate
    rule: UnitRule


def find_maximum(task: Task, pooled: Array, start: Array | None, sigma: float | None) -> Found:
    """Maximise the likelihood.

    Parameters
    ----------
    task : Task
    pooled : ndarray, shape (p,)
        Coefficients of the pooled fit, on the user's scale like `start`.
    start : ndarray, shape (p,), optional
        Coefficients to start from.
    sigma : float, optional
        Where sigma starts, or stays.

    Raises
    ------
    OptionError
        When `start` is not one finite number for each coefficient.
    """
    some = task.sums.some_clusters(task.control.threads) if task.likelihood.sampled else None
    theta = _start(task, some, pooled, start, sigma)
    size = np.inf if some is None else some.size
    rule = task.integrator.first_rule(task.quadrature, _SMALLER * task.sigma(theta), size)
    helper = None
    if some is not None:
        helper = _Helper(some, _surrogate(task, some, rule, theta), rule)
        if start is None and (sigma is None or not task.all_free):
            theta = _start_of_sample(task, helper.surrogate, theta)
            rule = task.integrator.first_rule(task.quadrature, _NEARLY * task.sigma(theta), some.size)
            if rule != helper.rule:
                helper = _Helper(some, _surrogate(task, some, rule, theta), rule)
    m = task.sums.data.n_clusters
    if task.quadrature.kind != "auto":
        plan: Plan = (Part(rule),)
        near = None if helper is None else _neighbourhood(task, helper, theta)
        maximum = _newton(task, near or theta, plan, helper)
        return Found(maximum, plan, report(plan, float("nan"), task.quadrature, task.integrator.scale, m))
    return _by_rules_of_clusters(task, theta, rule, helper)


def maximum_from(task: Task, theta: Array) -> Found:
    """Maximise the likelihood from a point, shape (q,), without the help of a sample; as `find_maximum`."""
    rule = task.integrator.first_rule(task.quadrature, _SMALLER * task.sigma(theta), np.inf)
    if task.quadrature.kind == "auto":
        return _by_rules_of_clusters(task, theta, rule, None)
    plan: Plan = (Part(rule),)
    maximum = _newton(task, theta, plan, None)
    m = task.sums.data.n_clusters
    return Found(maximum, plan, report(plan, float("nan"), task.quadrature, task.integrator.scale, m))


def _by_rules_of_clusters(task: Task, theta: Array, rule: UnitRule, helper: _Helper | None) -> Found:
    """1. Near the maximum with few nodes; 2. rules that are accurate there; 3. the rest of the way with these.

    4. If they are not accurate where that led, again. Rules that lead nowhere give way to those that move (`moving`).
    """
    plan: Plan = (Part(rule),)
    error, move = float("nan"), False
    near = None if helper is None else _neighbourhood(task, helper, theta)
    tolerance = _ROUGH_TOLERANCE if helper is None else _NEAR
    maximum = near or _newton(task, theta, plan, helper, tolerance)
    for left in range(_REFINEMENTS, -1, -1):
        if maximum.optimization.status == "interrupted":
            break
        before = maximum
        choice = _choice(task, before, move)
        if left == 0:  # the estimates did not settle: what the last rules are worth where they have led
            error = choice.error + abs(
                maximum.evaluation.value - task.likelihood.evaluate(before.theta, choice.plan).value
            )
            break
        maximum = _newton(task, before, choice.plan, helper, begin=choice.there)
        if maximum.optimization.status in ("max_iter", "stalled") and not move:
            move, choice = True, _choice(task, before, move=True)
            maximum = _newton(task, before, choice.plan, helper)
        plan, error = choice.plan, choice.error
        moved = np.linalg.norm(maximum.theta - before.theta) / (1.0 + np.linalg.norm(before.theta))
        if moved <= task.integrator.settled(plan, task.likelihood.n_clusters):
            break
    plan = task.sums.by_cluster(plan)
    m = task.sums.data.n_clusters
    return Found(maximum, plan, report(plan, error, task.quadrature, task.integrator.scale, m, task.unit))


def _choice(task: Task, at: Maximum, move: bool) -> Choice:
    return task.likelihood.choose(at.theta, task.quadrature.tolerance, move)


# Where to start -------------------------------------------------------------------------------------------------------


def _start(task: Task, some: SomeClusters | None, pooled: Array, start: Array | None, sigma: float | None) -> Array:
    gamma = task.sums.standard.inside(pooled)
    if sigma is None or sigma == 0.0:
        sigma = start_sigma(*(some or task.sums).sigma_moments(gamma), task.distribution)
    if start is None:
        gamma = start_coefficients(gamma, sigma, task.distribution, task.sums.response, task.sums.data.intercept)
    else:
        values = np.asarray(start, dtype=np.float64)
        if values.shape != gamma.shape or not np.isfinite(values).all():
            raise OptionError(
                f"start with shape {values.shape} and values {values}",
                f"one finite number for each of the {len(gamma)} coefficients: {', '.join(task.sums.data.names)}",
                "start=None, which begins at the pooled fit",
            )
        gamma = task.sums.standard.inside(values)
    return task.parameters.joined(gamma, sigma)


def _start_of_sample(task: Task, surrogate: Surrogate, theta: Array) -> Array:
    """Where a sample of the clusters has its maximum; the start as it was, where that is no place to believe in."""
    quick = Control(max_iter=12, tol=_NEAR, n_threads=task.control.n_threads)
    parameters, inner = task.parameters, task.parameters.only_free
    begin = theta[parameters.free]
    before = surrogate(begin)
    found = maximize(surrogate, begin, quick, radius=1.0, reflect=inner.reflected, begin=before, unit=task.unit)
    better = parameters.filled(found.theta, theta)
    # sigma = 0 is stationary for the whole too; in a sample a rare level may be all zeros, its coefficient anywhere.
    least = _LEAST_START if np.isfinite(task.distribution.sd) else _LEAST_HEAVY
    if not found.optimization.converged or task.sigma(better) < least:
        return theta
    try:
        of_beta = inner.coefficients
        change = eigvalsh(-found.evaluation.hessian[of_beta, of_beta], -before.hessian[of_beta, of_beta])
    except LinAlgError:
        return theta
    return better if change[0] > 1.0 / _TAME_FACTOR and change[-1] < _TAME_FACTOR else theta


def _neighbourhood(task: Task, helper: _Helper, theta: Array) -> Maximum | None:
    """Near the maximum with fewer nodes than are asked for: what more would change is much the same in a sample.

    None where the rule has few nodes as it is, or where that leads nowhere.
    """
    rule = task.integrator.coarse_rule(helper.rule)
    if rule is None:
        return None
    whole = _objective(task, (Part(rule),), theta)
    fine, coarse = helper.surrogate, _surrogate(task, helper.some, rule, theta)

    def corrected(at: Array) -> Evaluation:
        found, more, fewer = whole(at), fine(at), coarse(at)
        return Evaluation(
            found.value + more.value - fewer.value,
            found.score + more.score - fewer.score,
            found.hessian + more.hessian - fewer.hessian,
        )

    found = _search(task, corrected, theta, helper, tolerance=_NEAR)
    if found.optimization.status == "interrupted":  # that is all there will be: the likelihood itself
        return replace(found, evaluation=task.likelihood.evaluate(found.theta, (Part(helper.rule),)))
    return found if found.optimization.converged else None


# Steps ----------------------------------------------------------------------------------------------------------------


def _newton(
    task: Task,
    start: Array | Maximum,
    plan: Plan,
    helper: _Helper | None,
    tolerance: float | None = None,
    begin: Evaluation | None = None,
) -> Maximum:
    """From `start`, perhaps where another search has ended, to the maximum of the likelihood by a plan."""
    before = start if isinstance(start, Maximum) else None
    if before is not None and before.optimization.status == "interrupted":
        return before
    theta = start.theta if isinstance(start, Maximum) else start
    left = None if before is None else task.control.max_iter - before.optimization.iterations
    found = _search(task, _objective(task, plan, theta), theta, helper, tolerance, left, begin)
    if not task.all_free:
        found = replace(found, evaluation=task.likelihood.evaluate(found.theta, plan))
    return found if before is None else _joined(before, found)


def _search(
    task: Task,
    objective: Callable[[Array], Evaluation],
    theta: Array,
    helper: _Helper | None,
    tolerance: float | None = None,
    max_iter: int | None = None,
    begin: Evaluation | None = None,
) -> Maximum:
    """`maximize` in the free parameters; the maximum is a whole (gamma, sigma)."""
    parameters, inner = task.parameters, task.parameters.only_free
    found = maximize(
        objective,
        theta[parameters.free],
        task.control,
        tolerance=tolerance,
        max_iter=max_iter,
        radius=1.0 if inner.scales else 2.0,
        reflect=inner.reflected,
        begin=None if begin is None else in_free(begin, parameters),
        surrogate=None if helper is None else helper.surrogate,
        unit=task.unit,
    )
    return replace(found, theta=parameters.filled(found.theta, theta))


def _objective(task: Task, plan: Plan, theta: Array) -> Callable[[Array], Evaluation]:
    """The likelihood by a plan in the free parameters; the others are held as in `theta`."""
    parameters = task.parameters
    return lambda free: in_free(task.likelihood.evaluate(parameters.filled(free, theta), plan), parameters)


def _surrogate(task: Task, some: SomeClusters, rule: UnitRule, theta: Array) -> Surrogate:
    """The sample's likelihood by a rule, in the same coordinates."""
    return some.surrogate(task.integrator, rule, task.parameters, theta)


def _joined(first: Maximum, second: Maximum) -> Maximum:
    """One story of two runs, the second of which began where the first ended."""
    a, b = first.optimization, second.optimization
    shifted = tuple(replace(step, iteration=step.iteration + a.iterations) for step in b.trace)
    story = replace(
        b, iterations=a.iterations + b.iterations, evaluations=a.evaluations + b.evaluations, trace=a.trace + shifted
    )
    return replace(second, optimization=story)
