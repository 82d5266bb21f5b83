"""Maximum likelihood with several normal effects of each cluster, in the coefficients and the factor of a covariance.

theta = (gamma, phi): coefficients of standardised columns, and parameters of the covariance of effects whose columns
have unit mean square. The search leaves L = 0 and other singular points along directions of negative curvature, at
which Newton's method in a trust region does not stop. Where a diagonal entry of L vanishes nevertheless the maximum is
singular: the rest is maximised again with that column of L held at zero, and no standard error is given for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import rows_of
from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.errors import DesignError, IntegrationError, OptionError
from clusterglm.fit.chords import Chords
from clusterglm.fit.newton import Maximum, Optimization, maximize
from clusterglm.fit.pooled import PooledFit, on_user_scale, pooled_estimates, sums_of
from clusterglm.fit.random_effects import refuse_homogeneous_clusters
from clusterglm.fit.sums import chosen_clusters
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.report import IntegrationReport
from clusterglm.likelihood.vector.choice import choose_points
from clusterglm.likelihood.vector.points import MOST_EFFECTS, hermite_points
from clusterglm.likelihood.vector.vector import VectorLikelihood, VectorPart, VectorPlan, VectorPosterior
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.covariance import Covariance
from clusterglm.model.large_data import SAMPLE_FOR_EFFECTS
from clusterglm.model.parameters import Block, Parameters, coefficients, random_effects
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response

_STARTS = (0.3, 1.0, 2.5)  # standard deviations of effects, on the linear predictor, that are tried first
_NEARBY = 0.5  # standard errors within which the maximum of a sample is found
_ROUGHLY = 0.02  # standard errors within which the neighbourhood of the maximum is found with few points
_LOOSE = 1e-3  # tolerance of integrals with which the search goes on from there
_CLOSE = 0.03  # standard errors from a maximum at which one step of Newton's gets within what does not count
_STILL = 1e-3  # standard errors that a step may be long after which points are not chosen again
_ROUNDS = 12  # times that points may be chosen
_VANISHED = 3e-4  # diagonal entry of L, on the linear predictor, below which it is compared with 0
_NO_LOSS = 1e-6  # of a log-likelihood
_MOST = 100_000  # points of a cluster
_FEW = {1: 9, 2: 7, 3: 5, 4: 3, 5: 3}  # nodes a dimension for a first look, 2 with more effects
_FOR_MOMENTS = 1e-4  # error of the log-likelihood by the points of posterior moments, where the fit has one point
_BOUNDLESS = 200.0  # a standard deviation of which no data set on a logit scale can tell
_LARGEST_SD = 1e6  # standard deviation with which float64 can compute


@dataclass(frozen=True)
class MixedFit:
    """Estimates of a model with several random effects, on the user's scale.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Regression coefficients.
    phi : ndarray, shape (r,)
        Parameters of the effects' covariance; see `Covariance`.
    covariance : ndarray, shape (p + r, p + r)
        Inverse observed information of (beta, phi); nan in rows of parameters that are held at zero.
    hessian : ndarray, shape (p + r, p + r)
        Of the log-likelihood at the estimate.
    held : ndarray of bool, shape (r,)
        Parameters of the covariance that are zero because the maximum is singular.
    loglik : float
        Full, normalised log-likelihood.
    optimization : Optimization
    integration : IntegrationReport
    pooled : PooledFit
        The same model without random effects.
    data : ModelData
    response : Response
    """

    beta: Array
    phi: Array
    covariance: Array
    hessian: Array
    held: NDArray[np.bool_]
    loglik: float
    optimization: Optimization
    integration: IntegrationReport
    pooled: PooledFit
    data: ModelData
    response: Response

    @property
    def effects(self) -> Effects:
        """What varies over clusters."""
        return effects_of(self.data)

    @property
    def parameters(self) -> Parameters:
        """What (beta, phi) are: coefficients, and the parameters of the effects' covariance."""
        own = Block("random", str(self.data.cluster_name), self.effects.covariance.labels)
        return Parameters((*coefficients(self.data.names).blocks, own))

    @property
    def factor(self) -> Array:
        """L, the lower-triangular factor of the effects' covariance, shape (q, q)."""
        return self.effects.covariance.factor(self.phi)

    @property
    def theta(self) -> Array:
        """(beta, phi)."""
        return self.parameters.joined(self.beta, self.phi)

    @cached_property
    def posterior(self) -> VectorPosterior:
        """What the data say of each cluster's effects."""
        return posterior_of(self, self.data)


def effects_of(data: ModelData) -> Effects:
    """The random part of data that have one."""
    assert data.effects is not None, "data of a model with one intercept"
    return data.effects


@dataclass(frozen=True)
class Chosen:
    """Points of each cluster, and what the log-likelihood may be wrong by; nan where nobody has looked.

    Parameters
    ----------
    plan : VectorPlan
    error : float
    slopes : VectorPlan
        Points that are enough for derivatives.
    value : float or None
        The log-likelihood where they were chosen, if it is known.
    """

    plan: VectorPlan
    error: float
    slopes: VectorPlan
    value: float | None = None

    @property
    def value_apart(self) -> bool:
        """Whether values need other points than derivatives."""
        return self.slopes is not self.plan


def choose(likelihood: VectorLikelihood, theta: Array, requested: Quadrature, unit: float = 1.0) -> Chosen:
    """Points as they were asked for, at `theta`.

    Raises
    ------
    OptionError
        When a number of nodes, with so many effects, makes too many points.
    """
    if requested.kind == "auto":
        found = choose_points(likelihood, theta, requested.tolerance * unit)
        return Chosen(found.plan, found.error, found.slopes, float(found.values.sum()))
    nodes, d = 1 if requested.kind == "laplace" else int(requested.nodes or 1), likelihood.n_effects
    if not points_within_reach(nodes, d):
        raise OptionError(
            f"{nodes} nodes for each of {d} effects: {nodes**d:,} points of every cluster",
            f"at most {_MOST:,}",
            f"quadrature={int(_MOST ** (1.0 / d) + 1e-9)}, 'auto', or fewer random effects",
        )
    plan = (VectorPart(hermite_points(nodes, d)),)
    return Chosen(plan, float("nan"), plan)


def points_within_reach(nodes: int, d: int) -> bool:
    """Whether so many nodes for each of d effects make no more points than can be."""
    return bool(nodes**d <= _MOST)


def _few(likelihood: VectorLikelihood) -> VectorPlan:
    """Points for a first look."""
    d = likelihood.n_effects
    return (VectorPart(hermite_points(_FEW.get(d, 2), d, True)),)  # the Hessian of held points shows the way


@dataclass(frozen=True)
class MixedTask:
    """The likelihood in theta = (coefficients, phi), of columns in some units."""

    likelihood: VectorLikelihood
    covariance: Covariance
    parameters: Parameters
    squares: Array
    bounded: bool

    @classmethod
    def of(cls, data: ModelData, response: Response, X: Array, scale: Array, threads: int) -> MixedTask:
        effects = effects_of(data)
        covariance = effects.covariance
        Z = effects.Z if (scale == 1.0).all() else np.ascontiguousarray(effects.Z / scale)
        likelihood = VectorLikelihood(X, Z, data, response, covariance.pattern, threads)
        own, squares = random_effects(X.shape[1], covariance.n_parameters), Z.T @ Z / len(Z)
        return cls(likelihood, covariance, own, squares, response.bounded)

    @classmethod
    def of_fit(cls, fit: MixedFit, threads: int = 1) -> MixedTask:
        """The likelihood of a fit, in the user's units."""
        return cls.of(fit.data, fit.response, fit.data.X, np.ones(fit.effects.Z.shape[1]), threads)

    @property
    def inner(self) -> Parameters:
        """Parameters of the likelihood: coefficients, and the entries of L that may be other than zero."""
        return random_effects(self.likelihood.n_coefficients, int(self.covariance.pattern.sum()))

    def entries(self, theta: Array) -> Array:
        """(coefficients, entries of L row by row), as the likelihood takes them."""
        beta, phi = self.parameters.split(theta)
        return np.append(beta, self.covariance.factor(phi)[self.covariance.pattern])

    def evaluate(self, theta: Array, plan: VectorPlan, order: int = 2) -> Evaluation:
        """Value and derivatives in theta, from those in the entries of L by the chain rule."""
        there = self.likelihood.evaluate(self.entries(theta), plan, order)
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
        J[own.coefficients, inner.coefficients] = np.eye(self.likelihood.n_coefficients)
        random = own.place("random")
        J[random, inner.place("random")] = self.covariance.slopes(theta[random])[:, self.covariance.pattern]
        return J

    def all_and(self, of_covariance: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Marks of parameters of the covariance as marks of all: none of a coefficient."""
        found = np.zeros(len(self.parameters), dtype=bool)
        found[self.parameters.place("random")] = of_covariance
        return found

    def reflect(self, theta: Array) -> Array:
        """Parameters of the model at theta with the customary signs of L."""
        beta, phi = self.parameters.split(theta)
        return np.append(beta, self.covariance.canonical(phi))


def posterior_of(fit: MixedFit, data: ModelData) -> VectorPosterior:
    """What the data of some clusters say of their effects, those of the fit or others.

    Moments have the points of the fit. A fit by Laplace's approximation has one, which has no spread: its moments
    have as many as their integrals need.
    """
    task = MixedTask.of(data, fit.response, data.X, np.ones(fit.effects.Z.shape[1]), 1)
    theta, requested = task.entries(fit.theta), fit.integration.requested
    one_point = requested.kind == "laplace" or requested.nodes == 1
    points = Quadrature("auto", tolerance=_FOR_MOMENTS) if one_point else requested
    return task.likelihood.posterior(theta, choose(task.likelihood, theta, points).plan)


def fit_mixed(
    data: ModelData, response: Response, quadrature: Quadrature, control: Control, start: Array | None = None
) -> MixedFit:
    """Fit by Newton's method on the exact Hessian.

    Parameters
    ----------
    data : ModelData
        With effects.
    response : Response
    quadrature : Quadrature
    control : Control
    start : ndarray, shape (p,), optional
        Starting coefficients.

    Raises
    ------
    OptionError
        On more effects than integrals can be computed over.
    SeparationError
        When covariates separate the responses.
    ClusterError
        When every cluster's responses are equal.
    DesignError
        When the information matrix is singular at the end.
    IntegrationError
        When a standard deviation grows beyond what can be computed.
    """
    effects = effects_of(data)
    if effects.Z.shape[1] > MOST_EFFECTS:
        raise OptionError(
            f"{effects.Z.shape[1]} random effects of each cluster",
            f"at most {MOST_EFFECTS}, over which integrals can be computed",
            "fewer columns left of the bar; a numeric covariate in the place of a category of many levels",
        )
    sums = sums_of(data, response, control)
    pooled = pooled_estimates(sums, control)
    if any(term.design.intercept is not None for term in effects.terms):
        refuse_homogeneous_clusters(data, response)
    standard, unit = sums.standard, sums.weights.unit
    covariance = effects.covariance
    scale = covariance.common(np.sqrt(np.mean(effects.Z**2, axis=0)))
    task = MixedTask.of(data, response, standard.X, scale, control.threads)
    gamma = standard.inside(pooled.beta if start is None else start)
    sample = task if data.n_clusters < 2 * SAMPLE_FOR_EFFECTS else _sampled(task, data, response, standard.X, scale)
    begin = _start(sample, gamma, effects.Z.shape[1])
    if sample is not task:
        few = partial(sample.evaluate, plan=_few(sample.likelihood))
        begin = maximize(few, begin, Control(max_iter=30), tolerance=_NEARBY, reflect=task.reflect, unit=unit).theta
    found, held = _maximum(task, begin, quadrature, control, unit)
    T, random = task.parameters.to_user(standard.L), task.parameters.place("random")
    T[random, random] = np.diag(covariance.units(1.0 / scale))
    beta, phi = task.parameters.split(T @ found.maximum.theta)
    return MixedFit(
        beta,
        phi,
        *_on_user_scale(found.maximum.evaluation.hessian, T, task.all_and(held)),
        held,
        found.maximum.evaluation.value + data.constant,
        found.maximum.optimization,
        _report(found.chosen, quadrature, data.n_clusters, unit),
        pooled,
        data,
        response,
    )


@dataclass(frozen=True)
class _Found:
    maximum: Maximum
    chosen: Chosen


def _sampled(task: MixedTask, data: ModelData, response: Response, X: Array, scale: Array) -> MixedTask:
    """The likelihood of some of the clusters, evenly spaced."""
    chosen = np.arange(0, data.n_clusters, data.n_clusters // SAMPLE_FOR_EFFECTS)
    some, arrays = chosen_clusters(X, data, chosen)
    Z = np.ascontiguousarray(effects_of(data).Z[rows_of(data.starts, chosen)[0]] / scale)
    likelihood = VectorLikelihood(some, Z, arrays, response, task.covariance.pattern, task.likelihood.threads)
    return replace(task, likelihood=likelihood)


def _start(task: MixedTask, gamma: Array, q: int) -> Array:
    """The best of a few covariances without correlations, by few points."""
    few = _few(task.likelihood)
    tried = [np.append(gamma, task.covariance.of(sd**2 * np.eye(q))) for sd in _STARTS]
    values = [task.likelihood.evaluate(task.entries(theta), few, 0).value for theta in tried]
    return tried[int(np.nanargmax(values))]


def _maximum(
    task: MixedTask, begin: Array, quadrature: Quadrature, control: Control, unit: float
) -> tuple[_Found, NDArray[np.bool_]]:
    """The maximum, and which parameters of the covariance are zero there because it is singular."""
    quick = replace(control, max_iter=min(control.max_iter, 30), progress=None)
    few = partial(task.evaluate, plan=_few(task.likelihood))
    near = maximize(few, begin, quick, tolerance=_ROUGHLY, reflect=task.reflect, unit=unit)
    _refuse_endless(task, near.theta)
    every, theta, stories = np.ones(len(begin), dtype=bool), near.theta, [near.optimization]
    if quadrature.kind == "auto" and quadrature.tolerance < _LOOSE:
        loose = _nearer(task, theta, replace(quadrature, tolerance=_LOOSE), quick, unit)
        theta = loose.theta
        stories.append(loose.optimization)
    found = _refined(task, theta, quadrature, control, unit, every)
    vanished = _vanished(task, found.maximum.theta)
    if vanished.any():
        theta = np.where(task.all_and(vanished), 0.0, found.maximum.theta)
        free = ~task.all_and(vanished)
        again = _refined(task, theta, quadrature, control, unit, free)
        slack = max(_NO_LOSS * unit, float(np.nan_to_num(found.chosen.error + again.chosen.error)))
        if again.maximum.evaluation.value >= found.maximum.evaluation.value - slack:
            stories.append(found.maximum.optimization)
            found = again
        else:
            vanished = np.zeros_like(vanished)
    story = _whole([*stories, found.maximum.optimization])
    return _Found(replace(found.maximum, optimization=story), found.chosen), vanished


def _vanished(task: MixedTask, theta: Array) -> NDArray[np.bool_]:
    """Parameters that are zero, or might as well be, where the covariance is singular.

    They are those without which a diagonal entry of L is exactly 0 and L hardly different; and where a diagonal entry
    is as good as 0, all that its column depends on alone: turned into the columns that follow, it adds nothing.
    """
    _, phi = task.parameters.split(theta)
    L, slopes = task.covariance.factor(phi), task.covariance.slopes(phi)
    found = np.zeros(len(phi), dtype=bool)
    for k in range(len(phi)):
        without = np.where(np.arange(len(phi)) == k, 0.0, phi)
        moved = task.covariance.factor(without) - L
        found[k] = np.abs(moved).max() < _VANISHED and bool((np.diag(L + moved) == 0.0).any())
    for k in np.flatnonzero(np.abs(np.diag(L)) < _VANISHED).tolist():
        in_column, elsewhere = slopes[:, :, k].any(axis=1), np.delete(slopes, k, axis=2).any(axis=(1, 2))
        found |= in_column & ~elsewhere
    return found


def _nearer(task: MixedTask, begin: Array, quadrature: Quadrature, control: Control, unit: float) -> Maximum:
    """The maximum by points chosen where the search is; where it is near, one step, as what that leaves is little."""
    objective = _objective(task, choose(task.likelihood, task.entries(begin), quadrature, unit).slopes, unit)
    here = maximize(objective, begin, control, max_iter=0, unit=unit)
    if here.optimization.gradient_norm <= _CLOSE * unit**0.5:
        step = np.linalg.solve(-here.evaluation.hessian, here.evaluation.score)
        return replace(here, theta=task.reflect(begin + step))
    found = maximize(objective, begin, control, reflect=task.reflect, begin=here.evaluation, unit=unit)
    _refuse_endless(task, found.theta)
    return found


def _refined(
    task: MixedTask, begin: Array, quadrature: Quadrature, control: Control, unit: float, free: NDArray[np.bool_]
) -> _Found:
    """Points chosen where the search is, and the maximum by them, until neither moves the other."""
    theta, chosen = begin, choose(task.likelihood, task.entries(begin), quadrature, unit)
    stories: list[Optimization] = []
    for remaining in reversed(range(_ROUNDS)):
        objective = _objective(task, chosen.slopes, unit)
        maximum = _maximize_free(objective, theta, control, unit, free, task.reflect)
        _refuse_endless(task, maximum.theta)
        stories.append(maximum.optimization)
        step, theta = maximum.theta - theta, maximum.theta
        moved = max(0.0, -float(step @ maximum.evaluation.hessian @ step)) ** 0.5
        still = moved <= _STILL * unit**0.5  # what was chosen so near has the same errors here
        if quadrature.kind != "auto" or still or not maximum.optimization.converged or remaining == 0:
            break
        chosen = choose(task.likelihood, task.entries(theta), quadrature, unit)
    evaluation = maximum.evaluation
    if chosen.value_apart:
        known = chosen.value if not step.any() else None
        value = task.likelihood.evaluate(task.entries(theta), chosen.plan, 0).value if known is None else known
        evaluation = replace(evaluation, value=value)
    return _Found(Maximum(theta, evaluation, _whole(stories)), chosen)


def _objective(task: MixedTask, plan: VectorPlan, unit: float) -> Callable[[Array], Evaluation]:
    """What is maximised by these points: where second derivatives are differences, as few of them as will do."""
    exact = partial(task.evaluate, plan=plan)
    if all(part.points.fine or part.places is not None for part in plan):
        return exact
    return Chords(partial(exact, order=1), exact, partial(task.evaluate, plan=_few(task.likelihood)), unit)


def _whole(stories: list[Optimization]) -> Optimization:
    """Searches that followed one another as one, which ended as the last did."""
    return replace(
        stories[-1],
        iterations=sum(story.iterations for story in stories),
        evaluations=sum(story.evaluations for story in stories),
        trace=tuple(step for story in stories for step in story.trace),
    )


def _maximize_free(
    objective: Callable[[Array], Evaluation],
    begin: Array,
    control: Control,
    unit: float,
    free: NDArray[np.bool_],
    reflect: Callable[[Array], Array],
) -> Maximum:
    """The maximum over the free parameters; value and derivatives there are those of all."""
    if free.all():
        return maximize(objective, begin, control, reflect=reflect, unit=unit)

    def whole(some: Array) -> Array:
        theta = begin.copy()
        theta[free] = some
        return theta

    def at(some: Array) -> Evaluation:
        there = objective(whole(some))
        return Evaluation(there.value, there.score[free], there.hessian[np.ix_(free, free)])

    found = maximize(at, begin[free], control, reflect=lambda some: reflect(whole(some))[free], unit=unit)
    theta = whole(found.theta)
    return Maximum(theta, objective(theta), found.optimization)


def _report(chosen: Chosen, requested: Quadrature, n_clusters: int, unit: float) -> IntegrationReport:
    """Describe how the integrals were computed."""
    rules = tuple(
        (str(part.points), n_clusters if part.clusters is None else len(part.clusters)) for part in chosen.plan
    )
    most = max(len(part.points) for part in chosen.plan)
    return IntegrationReport(requested, "normal", most, rules, chosen.error, unit)


def _refuse_endless(task: MixedTask, theta: Array) -> None:
    """Refuse spreads of the linear predictor with which nothing can be computed, or that stand for infinity."""
    L = task.covariance.factor(task.parameters.split(theta)[1])
    spread = float(np.trace(L.T @ task.squares @ L)) ** 0.5
    if spread > (_BOUNDLESS if task.bounded else _LARGEST_SD):
        raise IntegrationError(
            f"random effects whose standard deviation on the linear predictor is {spread:.3g}, and still growing",
            "data in which effects of finite size explain the differences between clusters",
            "look for covariates that determine the response within clusters; or fewer random effects",
        )


def _on_user_scale(hessian: Array, T: Array, held: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Covariance and Hessian of T theta; nan in rows of the former that are held."""
    free = np.flatnonzero(~held)
    some = np.ix_(free, free)
    covariance = np.full_like(hessian, np.nan)
    try:
        covariance[some], _ = on_user_scale(hessian[some], T[some])
    except DesignError:
        raise DesignError(
            "the observed information matrix is not positive definite where the optimiser stopped",
            "a log-likelihood with a single, curved maximum",
            "fewer random effects, such as (x || id) for (x | id), or fewer covariates",
        ) from None
    inverse = np.linalg.inv(T)
    user = inverse.T @ hessian @ inverse
    return covariance, 0.5 * (user + user.T)
