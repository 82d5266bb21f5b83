"""The search for the maximum with several random effects, whichever way their integrals are computed (`levels.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import rows_of, spread_out
from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.errors import IntegrationError, OptionError
from clusterglm.fit.boundary import below_zero, beside, has_little, vanishing
from clusterglm.fit.chords import Chords
from clusterglm.fit.levels import AnyPlan, Chosen, Integrals, integrals
from clusterglm.fit.newton import Maximum, Optimization, maximize, maximize_free
from clusterglm.fit.soft import SoftPenalty
from clusterglm.fit.standardise import tells_columns_apart
from clusterglm.fit.sums import added, chosen_clusters
from clusterglm.fit.surrogate import Surrogate
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.covariance import Covariance
from clusterglm.model.large_data import SAMPLES_FOR_EFFECTS
from clusterglm.model.parameters import Parameters, random_effects
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response

_STARTS = (0.3, 1.0, 2.5)  # standard deviations of effects, on the linear predictor, that are tried first
_NEARBY = 0.5  # standard errors within which the maximum of a sample is found
_ROUGHLY = 0.02  # standard errors within which the neighbourhood of the maximum is found with few points
_FOR_MORE, _CLOSELY = 1.0, 3e-3  # the same where a sample stands in for the rest, and with more points from there
_LOOSE = 1e-3  # tolerance of integrals with which the search goes on from there
_ONE_STEP = 0.03  # standard errors from a maximum at which one step of Newton's gets within what does not count
_BEND = 10.0  # times the square of Newton's step, in standard errors, is what it leaves at most: of many clusters
_STILL = 1e-3  # standard errors that a step may be long after which points are not chosen again
_ROUNDS = 12  # times that points may be chosen
_VANISHED = 3e-4  # diagonal entry of L, on the linear predictor, below which it is compared with 0
_LITTLE = 0.1  # the same with a penalty, which keeps it from 0, and where a lower maximum may lie
_NEARLY_NONE = 0.01  # a standard deviation, or times those of a factor, where it is asked whether the data want any
_NO_LOSS = 1e-6  # of a log-likelihood
_MOST = 100_000  # points of a cluster
_LARGE = 15.0  # a standard deviation on the linear predictor from which coarse lattices say more than few points
_CONFIRMED = 0.3  # of a rise of the log-likelihood, with which each of the integrals that confirm it may be wrong
_BOUNDLESS = 200.0  # a standard deviation of which no data set on a logit scale can tell
_LARGEST_SD = 1e6  # standard deviation with which float64 can compute


class WithEffects(Protocol):
    """Data of which it is known what varies over clusters."""

    @property
    def effects(self) -> Effects | None: ...


class EffectArrays(ClusterArrays, WithEffects, Protocol):
    """The arrays of clusters, and what varies over these."""


def effects_of(data: WithEffects) -> Effects:
    """The random part of data that have one."""
    assert data.effects is not None, "data of a model with one intercept"
    return data.effects


def choose(likelihood: Integrals, theta: Array, requested: Quadrature, unit: float = 1.0) -> Chosen:
    """Points as they were asked for, at `theta`.

    Raises
    ------
    OptionError
        When a number of nodes, with so many effects, makes too many points.
    """
    if requested.kind == "auto":
        return likelihood.within(theta, requested.tolerance * unit)
    nodes, d = 1 if requested.kind == "laplace" else int(requested.nodes or 1), likelihood.dimensions
    if not points_within_reach(nodes, d):
        raise OptionError(
            f"{nodes} nodes for each of {d} effects: {nodes**d:,} points of every cluster",
            f"at most {_MOST:,}",
            f"quadrature={int(_MOST ** (1.0 / d) + 1e-9)}, 'auto', or fewer random effects",
        )
    return Chosen(plan := likelihood.by_nodes(nodes), float("nan"), plan)


def points_within_reach(nodes: int, d: int) -> bool:
    """Whether so many nodes for each of d effects make no more points than can be."""
    return bool(nodes**d <= _MOST)


@dataclass(frozen=True)
class MixedTask:
    """The likelihood in theta = (coefficients, phi), of columns in some units, with a penalty where there is one."""

    likelihood: Integrals
    covariance: Covariance
    parameters: Parameters
    squares: Array
    bounded: bool
    penalty: SoftPenalty | None = None

    @classmethod
    def of(cls, data: EffectArrays, response: Response, X: Array, scale: Array, threads: int) -> MixedTask:
        effects = effects_of(data)
        covariance = effects.covariance
        Z = effects.Z if (scale == 1.0).all() else np.ascontiguousarray(effects.Z / scale)
        likelihood = integrals(X, Z, effects, data, response, threads)
        own, squares = random_effects(X.shape[1], covariance.n_parameters), Z.T @ Z / len(Z)
        return cls(likelihood, covariance, own, squares, response.bounded)

    @property
    def _n_coefficients(self) -> int:
        return len(self.parameters) - self.covariance.n_parameters

    @property
    def inner(self) -> Parameters:
        """Parameters of the likelihood: coefficients, and the entries of L that may be other than zero."""
        return random_effects(self._n_coefficients, int(self.covariance.pattern.sum()))

    def entries(self, theta: Array) -> Array:
        """(coefficients, entries of L row by row), as the likelihood takes them."""
        beta, phi = self.parameters.split(theta)
        return np.append(beta, self.covariance.factor(phi)[self.covariance.pattern])

    def evaluate(self, theta: Array, plan: AnyPlan, order: int = 2) -> Evaluation:
        """Value and derivatives in theta, from those in the entries of L by the chain rule."""
        there = self.likelihood.evaluate(self.entries(theta), plan, order)
        if self.penalty is not None:
            there = added([there, self.penalty.evaluate(self.entries(theta))])
        return self._in_theta(there, theta)

    def similar(self, theta: Array, plan: AnyPlan) -> Evaluation:
        """See `Integrals.similar`."""
        there = self.likelihood.similar(self.entries(theta), plan)
        if self.penalty is not None:
            there = added([there, self.penalty.evaluate(self.entries(theta))])
        return self._in_theta(there, theta)

    def value(self, theta: Array, plan: AnyPlan) -> float:
        """The value alone."""
        return self.likelihood.evaluate(self.entries(theta), plan, 0).value + self.penalty_at(theta).value

    def glanced(self, theta: Array, plan: AnyPlan) -> float:
        """The value alone, as accurate as it takes to see which of some places is higher."""
        return self.likelihood.glanced(self.entries(theta), plan) + self.penalty_at(theta).value

    def penalty_at(self, theta: Array) -> Evaluation:
        """The penalty's part of the value and the derivatives; 0 where there is none."""
        q = len(self.parameters)
        if self.penalty is None:
            return Evaluation(0.0, np.zeros(q), np.zeros((q, q)))
        return self._in_theta(self.penalty.evaluate(self.entries(theta)), theta)

    def _in_theta(self, there: Evaluation, theta: Array) -> Evaluation:
        """Derivatives in theta from those in the entries of L."""
        J = self.slopes(theta)
        hessian = J @ there.hessian @ J.T
        random, pattern = self.parameters.place("random"), self.covariance.pattern
        weights = np.zeros(pattern.shape)
        weights[pattern] = self.inner.split(there.score)[1]
        hessian[random, random] += self.covariance.bends(theta[random], weights)
        return Evaluation(there.value, J @ there.score, hessian)

    def slopes(self, theta: Array) -> Array:
        """Derivatives of the likelihood's parameters in theta, shape (q, parameters of the likelihood)."""
        own, inner = self.parameters, self.inner
        J = np.zeros((len(own), len(inner)))
        J[own.coefficients, inner.coefficients] = np.eye(self._n_coefficients)
        random = own.place("random")
        J[random, inner.place("random")] = self.covariance.slopes(theta[random])[:, self.covariance.pattern]
        return J

    def all_and(self, of_covariance: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Marks of parameters of the covariance as marks of all: none of a coefficient."""
        found = np.zeros(len(self.parameters), dtype=bool)
        found[self.parameters.place("random")] = of_covariance
        return found

    def spread(self, theta: Array) -> float:
        """Standard deviation of the random part of the linear predictor."""
        L = self.covariance.factor(theta[self.parameters.place("random")])
        return float(np.sqrt(np.trace(L.T @ self.squares @ L)))

    def reflect(self, theta: Array) -> Array:
        """Parameters of the model at theta with the customary signs of L.

        Raises
        ------
        IntegrationError
            On spreads of the linear predictor with which nothing can be computed, or that stand for infinity: a search
            that has come so far need not go on.
        """
        beta, phi = self.parameters.split(theta)
        spread = self.spread(theta)
        if spread > (_BOUNDLESS if self.bounded and self.penalty is None else _LARGEST_SD):
            raise IntegrationError(
                f"random effects whose standard deviation on the linear predictor is {spread:.3g}, and still growing",
                "data in which effects of finite size explain the differences between clusters",
                "look for covariates that determine the response within clusters; penalty='soft', whose estimates are "
                "finite; or fewer random effects",
            )
        return np.append(beta, self.covariance.canonical(phi))


@dataclass(frozen=True)
class Found:
    """A maximum, and the points by which it is one."""

    maximum: Maximum
    chosen: Chosen


def one_in(n_clusters: int) -> int | None:
    """One cluster in how many is a sample that tells enough of them; None of few clusters, of which there is none."""
    fewest, most = SAMPLES_FOR_EFFECTS
    count = int(np.clip(n_clusters // 20, fewest, most))
    return None if n_clusters < 4 * count else n_clusters // count


def sampled(task: MixedTask, data: ModelData, response: Response, X: Array, scale: Array) -> MixedTask | None:
    """The likelihood of some of many clusters; None where columns do not vary among these."""
    if (every := one_in(data.n_clusters)) is None:
        return None
    chosen = spread_out(data.n_clusters, every)
    some, arrays = chosen_clusters(X, data, chosen)
    if not tells_columns_apart(some):
        return None
    effects = effects_of(data).taken(*rows_of(data.starts, chosen))
    Z = np.ascontiguousarray(effects.Z / scale)
    return replace(task, likelihood=integrals(some, Z, effects, arrays, response, task.likelihood.threads))


def start_of(
    task: MixedTask, sample: MixedTask | None, gamma: Array, levels: Sequence[int], quadrature: Quadrature, unit: float
) -> Array:
    """The best of a few covariances without correlations, by few points; of many clusters what a sample leads to.

    `levels`: effects of each grouping factor.
    """
    of = task if sample is None else sample
    plan = _first_points(of, sample is not None, quadrature)
    dear = not of.likelihood.held(plan)
    each = ((sd,) * len(levels) for sd in _STARTS) if dear else product(_STARTS, repeat=len(levels))
    tried = [np.append(gamma, task.covariance.of(np.diag(np.repeat(sds, levels) ** 2))) for sds in each]
    values = [of.glanced(theta, plan) for theta in tried]
    begin = tried[int(np.nanargmax(values))]
    if sample is None:
        return begin
    objective = _objective(of, plan, _NEARBY, unit)
    return maximize(objective, begin, Control(max_iter=30), tolerance=_NEARBY, reflect=task.reflect, unit=unit).theta


def _first_points(task: MixedTask, many: bool, quadrature: Quadrature) -> AnyPlan:
    """Few points, or of many clusters one, if that is asked for and has second derivatives."""
    plan = task.likelihood.few()
    if many and quadrature.one_point:
        one = task.likelihood.by_nodes(1)
        plan = one if task.likelihood.held(one) else plan
    return plan


def maximum_of(
    task: MixedTask, sample: MixedTask | None, begin: Array, quadrature: Quadrature, control: Control, unit: float
) -> tuple[Found, NDArray[np.bool_]]:
    """The maximum, and which parameters of the covariance are zero there because it is singular.

    With a penalty it never is; it may have more than one maximum where it is nearly so. `sample`: the likelihood of
    some of many clusters, which stands in for the rest between evaluations of all.
    """
    quick = replace(control, max_iter=min(control.max_iter, 30), progress=None)
    like, learns = _surrogate(task, sample, quadrature), task.likelihood.learned is not None
    more = task.likelihood.more() if quadrature.kind == "auto" and (sample is not None or learns) else None
    within = _ROUGHLY if more is None else _FOR_MORE
    few = _objective(task, _first_points(task, sample is not None, quadrature), within, unit)
    every, theta, stories = np.ones(len(begin), dtype=bool), begin, list[Optimization]()
    if not (learns and quadrature.one_point):  # of which the first look would be the last, too
        near = maximize(few, begin, quick, tolerance=within, reflect=task.reflect, surrogate=like, unit=unit)
        theta = near.theta
        stories.append(near.optimization)
    if more is not None:
        closely, like = _STILL if learns else _CLOSELY, _surrogate(task, sample, quadrature)
        better = _objective(task, more, closely, unit)
        near = maximize(better, theta, quick, tolerance=closely, reflect=task.reflect, surrogate=like, unit=unit)
    elif quadrature.kind == "auto" and quadrature.tolerance < _LOOSE:
        theta = _farther(task, theta, unit)
        near = _nearer(task, theta, replace(quadrature, tolerance=_LOOSE), quick, unit)
    if stories and near.theta is not theta:
        theta = near.theta
        stories.append(near.optimization)
    inside = partial(_within_structure, task, quadrature=quadrature, control=control, unit=unit)
    found = inside(refined(task, theta, quadrature, control, unit, every, sample is not None))
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
    while spread < _BOUNDLESS:
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


def _surrogate(task: MixedTask, sample: MixedTask | None, quadrature: Quadrature) -> Surrogate | None:
    """The likelihood of a sample by few points, in the place of that of all."""
    if sample is None:
        return None
    size, plan = sample.likelihood.n_units, _first_points(sample, True, quadrature)
    return Surrogate(partial(sample.evaluate, plan=plan), task.likelihood.n_units / size, size)


def _nearly_without_a_factor(task: MixedTask, theta: Array) -> list[Array]:
    """Where the likelihood is higher with next to no effects of one of several grouping factors: there is a summit."""
    blocks, few = task.covariance.blocks_of_parameters(), task.likelihood.few()
    groups = list(dict.fromkeys(group for group, _ in blocks))
    found = []
    if len(groups) > 1:
        here = task.value(theta, few)
        for group in groups:
            beta, phi = (part.copy() for part in task.parameters.split(theta))
            for of, some in blocks:
                phi[some] = _NEARLY_NONE * phi[some] if of == group else phi[some]
            there = task.parameters.joined(beta, phi)
            if task.glanced(there, few) > here:
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
    objective = _objective(
        task, choose(task.likelihood, task.entries(begin), quadrature, unit).slopes, control.tol, unit
    )
    here = maximize(objective, begin, control, max_iter=0, unit=unit)
    if here.optimization.gradient_norm <= _ONE_STEP * unit**0.5:
        step = np.linalg.solve(-here.evaluation.hessian, here.evaluation.score)
        return replace(here, theta=task.reflect(begin + step))
    far = max(2.0, 0.2 * float(np.linalg.norm(begin)))  # a first step that is not small beside large parameters
    return maximize(objective, begin, control, reflect=task.reflect, begin=here.evaluation, radius=far, unit=unit)


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

    Parameters that are not `free` stay as they are in `begin`. `many`: clusters of which a sample was enough to begin
    with, so that the log-likelihood is nearly quadratic: where Newton's step leaves less than the tolerance it is not
    evaluated there again.
    """
    theta, chosen = begin, choose(task.likelihood, task.entries(begin), quadrature, unit)
    stories: list[Optimization] = []
    for remaining in reversed(range(_ROUNDS)):
        objective = _objective(task, chosen.slopes, control.tol, unit)
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


def _objective(task: MixedTask, plan: AnyPlan, tolerance: float, unit: float) -> Callable[[Array], Evaluation]:
    """What is maximised by these points: where second derivatives are differences, as few of them as will do."""
    exact = partial(task.evaluate, plan=plan)
    if task.likelihood.held(plan):
        return exact
    similar, learned = partial(task.similar, plan=plan), task.likelihood.learned
    return Chords(partial(exact, order=1), exact, similar, unit, tolerance, learned)


def _whole(stories: list[Optimization]) -> Optimization:
    """Searches that followed one another as one, which ended as the last did."""
    return replace(
        stories[-1],
        iterations=sum(story.iterations for story in stories),
        evaluations=sum(story.evaluations for story in stories),
        trace=tuple(step for story in stories for step in story.trace),
    )
