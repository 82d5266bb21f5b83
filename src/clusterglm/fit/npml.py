"""Nonparametric maximum likelihood: the distribution of the intercept is whatever set of mass points is most likely.

Laird (JASA 73, 1978), Lindsay (Annals of Statistics 11, 1983), Aitkin (Biometrics 55, 1999). Coefficients, points and
weights are maximised together by Newton's method with the exact Hessian; points are added where the gradient function
is positive, as in Wang's constrained Newton method (JRSS B 69, 2007), until it is nowhere above a tolerance: that is
the end, and a proof. A fixed number of points grows one by one in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from clusterglm.data.checks import check_clusters, check_design
from clusterglm.data.design import INTERCEPT
from clusterglm.data.identical import merge_identical
from clusterglm.data.prepare import ModelData
from clusterglm.data.weighing import Weighing, weighing, weight_sum
from clusterglm.errors import DataError
from clusterglm.fit.newton import Iteration, Optimization, maximize
from clusterglm.fit.random_effects import refuse_homogeneous_clusters
from clusterglm.fit.standardise import Standardisation, standardise
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.mixture import Mixture, MixtureLikelihood, OverPoints, gradient_values
from clusterglm.model.arguments import whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Parameters
from clusterglm.model.response.base import Response

TOLERANCE = 1e-6  # above which the gradient function asks for another point
_BEGIN, _EM = 0.1, 10  # weight that new points get to begin with, and steps of the EM algorithm
_SAME = 1e-3  # points closer than this are one
_EMPTY = 1e-7  # weight of a point that can go
_WIDE_STEP = 1.0  # of the first grid of intercepts
_TIGHT = 0.5  # of the second, in widths of the sharpest likelihood there
_WIDEST = 600.0  # range of intercepts, of which the exponential is to be a number
_SEEN = 12.0  # a cluster's likelihood counts where its log is no further below its maximum
_LOW = -0.1  # gradient below which a peak between grid points is not worth a closer look
_WORTH = 0.3  # share of the highest peak below which others wait
_NEAR_MAXIMUM = 1e-3  # gradient from which on Newton's method is to reach its maximum
_STEPS = {False: 5, True: 20}  # of it before and then
_FLAT_CURVATURE = 1e-7  # curvature, relative to the largest, of directions in which the likelihood does not change


@dataclass(frozen=True)
class NonparametricFit:
    """Estimates, on the user's scale.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients; there is no intercept among them.
    points, weights : ndarray, shape (k,)
        The intercept's values, ascending, and their probabilities. The outermost values may be -inf or inf.
    covariance : ndarray, shape (q, q)
        Of beta, the finite points, and the logs of all weights but the last relative to it, from the observed
        information: a pseudo-inverse where the data do not tell all of these apart; nan in rows of coefficients that
        they do not tell.
    loglik : float
        Full, normalised log-likelihood.
    gradient : float
        Largest value of the gradient function; times the sum of the cluster weights a bound of what any other
        distribution could add to the log-likelihood at these coefficients.
    wanted : int or None
        Number of points asked for; None for as many as it takes.
    optimization : Optimization
        An iteration is a round in which points were added or taken off.
    """

    beta: Array
    points: Array
    weights: Array
    covariance: Array
    loglik: float
    gradient: float
    wanted: int | None
    optimization: Optimization


@dataclass(frozen=True)
class _Task:
    """The likelihood; the intercepts at which anything can be told, shape (grid,), ascending; how large weights are."""

    likelihood: OverPoints
    grid: Array
    weights: Weighing
    left: Callable[[Array], bool] = lambda beta: False

    def mixture(self, beta: Array, points: Array, weights: Array) -> Mixture:
        """Points at the ends of the grid stand for infinite ones and are no parameters."""
        points = np.clip(points, self.grid[0], self.grid[-1])
        free = (points > self.grid[0]) & (points < self.grid[-1])
        return Mixture(beta, points, weights / weights.sum(), free)


@dataclass(frozen=True)
class Found:
    """The most likely mixture, in the parameters of a likelihood.

    Parameters
    ----------
    mixture : Mixture
        Points that are not free are infinite.
    evaluation : Evaluation
        There.
    covariance : ndarray, shape (q, q)
        Of its parameters.
    loglik : float
        Without constants.
    gradient : float
        See `NonparametricFit`.
    story : Optimization
    """

    mixture: Mixture
    evaluation: Evaluation
    covariance: Array
    loglik: float
    gradient: float
    story: Optimization


def check_points(points: int | None) -> None:
    """Raise `OptionError` on another number of mass points than 1 or more, or None."""
    if points is not None:
        whole_number("points", points, 1, advice="points=3, or None for as many as the likelihood wants")


def check_mixture(data: ModelData, response: Response, points: int | None = None) -> None:
    """Refuse data from which coefficients next to an intercept, or its distribution, cannot be told.

    Raises
    ------
    DesignError
        On constant or collinear columns.
    ClusterError
        On a single cluster, clusters of single binary responses, or none with both successes and failures: two points
        at minus and plus infinity are then most likely, whatever the coefficients. A single point bears it.
    """
    check_design(np.column_stack([np.ones(data.n_obs), data.X]), (INTERCEPT, *data.names), 0)
    check_clusters(data.trials, data.starts, response, str(data.cluster_name))
    if points != 1:
        refuse_homogeneous_clusters(data, response)


def fit_npml(
    data: ModelData, response: Response, beta: Array, control: Control, points: int | None = None
) -> NonparametricFit:
    """Maximise over coefficients and all distributions of the intercept, or those with so many points.

    Parameters
    ----------
    data : ModelData
        X without a column of ones.
    response : Response
    beta : ndarray, shape (p,)
        Where the search starts.
    control : Control
        `max_iter` limits the rounds.
    points : int, optional
        Number of mass points, at least 1; fewer are found where more do not raise the likelihood.

    Raises
    ------
    OptionError
        On another number of points.
    """
    check_points(points)
    standard = standardise(data.X, None, centred=True)
    merged = merge_identical(replace(data, X=standard.X), response, always=True)
    likelihood, begin = MixtureLikelihood(merged.X, merged, response, control.threads), standard.inside(beta)
    ends = span(response, merged.a, merged.b, merged.X @ begin + merged.offset)
    found = most_likely(likelihood, begin, ends, weighing([weight_sum(data)]), control, points)
    return _estimates(found, standard, data.constant, points)


def span(response: Response, a: Array, b: Array, eta: Array) -> tuple[float, float]:
    """Ends of the range of intercepts at which anything can be told of rows with these linear predictors."""
    low, high = response.span(a, b)
    return float(np.min(low - eta)), float(np.max(high - eta))


def most_likely(
    likelihood: OverPoints,
    beta: Array,
    ends: tuple[float, float],
    weights: Weighing,
    control: Control,
    wanted: int | None,
    left: Callable[[Array], bool] = lambda beta: False,
) -> Found:
    """The most likely mixture, by a search from some coefficients.

    Parameters
    ----------
    likelihood : OverPoints
    beta : ndarray, shape (p,)
    ends : tuple of two floats
        Of the range of intercepts.
    weights : Weighing
    control : Control
    wanted : int or None
        Number of points.
    left : callable
        Whether coefficients are where the search is to give up, with the status "left".
    """
    task = _Task(likelihood, _grid(likelihood, ends, beta), weights, left)
    mixture, evaluation, gradient, story = _search(task, beta, control, wanted)
    mixture, evaluation = _outwards(task, mixture, evaluation)
    infinite = np.where(mixture.points > task.grid[0], np.inf, -np.inf)
    mixture = Mixture(mixture.beta, np.where(mixture.free, mixture.points, infinite), mixture.weights, mixture.free)
    loglik = float(likelihood.cluster_weights @ likelihood.mixed_values(mixture))
    covariance = _inverse(-evaluation.hessian, mixture.parameters)
    return Found(mixture, evaluation, covariance, loglik, gradient, story)


def _grid(likelihood: OverPoints, ends: tuple[float, float], beta: Array) -> Array:
    """Places for mass points, from one end to the other; steps suit the sharpest likelihood."""
    low, high = ends
    if high - low > _WIDEST:
        raise DataError(
            f"linear predictors that reach over {high - low:.3g} at the pooled estimates",
            f"a distribution of intercepts on a range of at most {_WIDEST:g}",
            "look at the offset and the covariates: an exposure is given as exposure=",
        )
    coarse = np.linspace(low, high, int(np.ceil((high - low) / _WIDE_STEP)) + 1)
    step = coarse[1] - coarse[0]
    top = np.full(len(likelihood.cluster_weights), -np.inf)
    for u in coarse:
        np.maximum(top, likelihood.cluster_values(beta, np.array([u]))[:, 0], out=top)
    most = np.zeros(len(coarse))
    columns = [likelihood.cluster_values(beta, coarse[:1])[:, 0], likelihood.cluster_values(beta, coarse[1:2])[:, 0]]
    for g in range(1, len(coarse) - 1):
        before, here, after = *columns, likelihood.cluster_values(beta, coarse[g + 1 : g + 2])[:, 0]
        seen = np.maximum(np.maximum(before, here), after) > top - _SEEN
        curvature = (2.0 * here - before - after)[seen]
        most[g] = max(curvature.max(initial=0.0), 0.0) / step**2
        columns = [here, after]
    sharp = np.sqrt(np.maximum(most[:-1], most[1:]))
    cuts = np.ceil(step * sharp / _TIGHT).astype(np.int64).clip(1)
    pieces = [np.linspace(u, u + step, n, endpoint=False) for u, n in zip(coarse[:-1], cuts.tolist(), strict=True)]
    return np.concatenate([*pieces, [high]])


def _search(
    task: _Task, beta: Array, control: Control, wanted: int | None
) -> tuple[Mixture, Evaluation, float, Optimization]:
    """Rounds of new points and joint maximisation, until no point is wanted and the rest is at its maximum."""
    totals = [task.likelihood.cluster_weights @ task.likelihood.cluster_values(beta, np.array([u])) for u in task.grid]
    mixture = task.mixture(beta, task.grid[[int(np.argmax(totals))]], np.ones(1))
    mixture, evaluation, at_rest = _newton(task, mixture, control, near=wanted == 1)
    late = 0  # rounds near the end; where Newton's method does not make it, every other one goes another way
    trace: list[Iteration] = []
    status, rounds = "", 0
    while not status:
        gradient, candidates, heights = _peaks(task, mixture)
        trace.append(Iteration(rounds, evaluation.value, _decrement(evaluation), np.nan, np.nan))
        full = wanted is not None and len(mixture.points) >= wanted
        if control.progress is not None and control.progress(trace[-1]) is False:
            status = "interrupted"
        elif at_rest and trace[-1].gradient_norm <= control.tol * task.weights.root and (gradient <= TOLERANCE or full):
            status = "converged"
        elif rounds == control.max_iter:
            status = "max_iter"
        elif task.left(mixture.beta):
            status = "left"
        else:
            rounds += 1
            if wanted is not None:
                candidates = candidates[np.argsort(-heights)][: min(1, wanted - len(mixture.points))]
            mixture = _reweighted(task, mixture, candidates)
            near = gradient < _NEAR_MAXIMUM or (wanted is not None and len(mixture.points) >= wanted)
            late += near
            again = _polished(task, mixture, control) if late > 2 and late % 2 == 1 else None
            mixture, evaluation, at_rest = again or _newton(task, mixture, control, near=near)
    message = _message(status, rounds, gradient, len(mixture.points))
    last, evaluations = trace[-1].gradient_norm, task.likelihood.evaluations
    return mixture, evaluation, gradient, Optimization(status, message, rounds, evaluations, last, tuple(trace))


def _message(status: str, rounds: int, gradient: float, points: int) -> str:
    if status == "interrupted":
        return "stopped by the progress callback before converging: the estimates are the last round's"
    if status == "converged" and gradient <= TOLERANCE:
        return f"converged: the gradient function is nowhere above {TOLERANCE:g}"
    if status == "converged":
        return f"converged: a maximum with {points} points; more points would raise the likelihood"
    return (
        f"stopped after {rounds} rounds with the gradient function at {gradient:.1e}: the distribution is not the most "
        "likely one; raise Control(max_iter=), or look for covariates that nearly determine the response"
    )


def _peaks(task: _Task, mixture: Mixture) -> tuple[float, Array, Array]:
    """Largest value of the gradient function; the local maxima at which it is positive, and their heights."""
    grid, likelihood = task.grid, task.likelihood
    mixed = likelihood.mixed_values(mixture)
    values = gradient_values(likelihood, mixture.beta, mixed, grid)
    padded = np.concatenate([[-np.inf], values, [-np.inf]])
    peaks = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
    ends = peaks[(peaks == 0) | (peaks == len(grid) - 1)]
    inner = peaks[(peaks > 0) & (peaks < len(grid) - 1) & (values[peaks] > _LOW)]
    found, width = grid[inner], 0.5 * (grid[inner + 1] - grid[inner - 1])
    for part in (0.5, 0.1):  # twice the top of a parabola
        near = found[:, None] + part * width[:, None] * np.array([-1.0, 0.0, 1.0])
        low, middle, high = gradient_values(likelihood, mixture.beta, mixed, near.ravel()).reshape(near.shape).T
        bend = np.minimum(low - 2.0 * middle + high, -1e-300)
        with np.errstate(over="ignore"):
            found = found + part * width * np.clip(0.5 * (low - high) / bend, -1.0, 1.0)
    found = np.concatenate([grid[ends], found])
    tops = gradient_values(likelihood, mixture.beta, mixed, found[len(ends) :])
    heights = np.concatenate([values[ends], tops])
    largest = max(float(values.max()), float(heights.max(initial=-1.0)))
    chosen = heights > _WORTH * max(largest, 0.0)
    if np.count_nonzero(chosen) > len(mixed):
        # more points than clusters: the function is too large for a number, and flat. Each cluster has its own best one
        found = grid[np.unique(likelihood.cluster_values(mixture.beta, grid).argmax(axis=1))]
        return largest, found, gradient_values(likelihood, mixture.beta, mixed, found)
    return largest, found[chosen], heights[chosen]


def _reweighted(task: _Task, mixture: Mixture, candidates: Array) -> Mixture:
    """The best weights for old and new points."""
    begin, new = (_BEGIN if len(candidates) > 0 else 0.0), np.ones(len(candidates)) / max(len(candidates), 1)
    points = np.concatenate([mixture.points, candidates])
    weights = np.concatenate([mixture.weights * (1.0 - begin), new * begin])
    values = task.likelihood.cluster_values(mixture.beta, points)
    of_clusters = task.likelihood.cluster_weights / task.weights.unit
    return _kept(task, mixture.beta, points, _best_weights(values, weights, of_clusters))


def _best_weights(log_f: Array, weights: Array, w: Array) -> Array:
    """Steps of a quadratic model of the likelihood in the weights of fixed points, under their constraints.

    Parameters
    ----------
    log_f : ndarray, shape (m, k)
        Log-likelihood of each cluster at each point.
    weights : ndarray, shape (k,)
        To begin with.
    w : ndarray, shape (m,)
        Of the clusters.
    """
    from scipy.optimize import nnls

    every = float(w.sum())
    f = np.exp(log_f - log_f.max(axis=1)[:, None])
    for _ in range(_EM):  # first steps, which cannot fail wherever the new points lie
        weights = weights * (f.T @ (w / (f @ weights))) / every
    for _ in range(5):
        mixed = f @ weights
        S = f / mixed[:, None]
        squares, vectors = eigh(S.T @ (S * w[:, None]))
        roots = np.sqrt(np.maximum(squares, 1e-14 * squares[-1]))
        heavy = 10.0 * np.sqrt(every)
        left = np.vstack([roots[:, None] * vectors.T, np.full((1, len(weights)), heavy)])
        target = nnls(left, np.append(2.0 * (vectors.T @ (S.T @ w)) / roots, heavy))[0]
        target /= target.sum()
        before, step, rise = float(w @ np.log(mixed)), 1.0, -1.0
        while rise < 0.0 and step > 1e-4:
            trial = weights + step * (target - weights)
            with np.errstate(divide="ignore"):
                rise = float(w @ np.log(f @ trial)) - before
            step *= 0.5
        if rise < 0.0:
            break
        weights = trial
        if rise < 1e-9 * (1.0 + abs(before)):
            break
    return weights


def _kept(task: _Task, beta: Array, points: Array, weights: Array) -> Mixture:
    """Points without weight go; those that cannot be told apart become one."""
    order = np.argsort(points)
    order = order[weights[order] > _EMPTY]
    points, weights = np.clip(points[order], task.grid[0], task.grid[-1]), weights[order]
    group = np.cumsum(np.diff(points, prepend=points[0]) > _SAME)
    total: Array = np.bincount(group, weights=weights).astype(np.float64)
    return task.mixture(beta, np.bincount(group, weights=weights * points) / total, total)


def _newton(task: _Task, mixture: Mixture, control: Control, *, near: bool) -> tuple[Mixture, Evaluation, bool]:
    """Newton's method on all parameters, a few steps unless `near` the end; whether all points were kept."""
    objective = task.likelihood.evaluate
    found = maximize(
        lambda theta: objective(mixture.at(theta)),
        mixture.theta,
        replace(control, progress=None),
        tolerance=None if near else 0.01,
        max_iter=_STEPS[near],
        radius=1.0,
        unit=task.weights.unit,
    )
    there = mixture.at(found.theta)
    new = _kept(task, there.beta, there.points, there.weights)
    same = len(new.points) == len(mixture.points) and np.array_equal(new.free, mixture.free)
    return (new, found.evaluation, True) if same else (new, objective(new), False)


def _outwards(task: _Task, mixture: Mixture, evaluation: Evaluation) -> tuple[Mixture, Evaluation]:
    """Outermost points become infinite where that is as likely: how far out a search had stopped is chance."""
    for outermost, end in ((0, task.grid[0]), (-1, task.grid[-1])):
        points = mixture.points.copy()
        points[outermost] = end
        moved = task.mixture(mixture.beta, points, mixture.weights)
        there = task.likelihood.evaluate(moved)
        if mixture.free[outermost] and there.value > evaluation.value - TOLERANCE * task.weights.unit:
            mixture, evaluation = moved, there
    return mixture, evaluation


def _polished(task: _Task, mixture: Mixture, control: Control) -> tuple[Mixture, Evaluation, bool] | None:
    """Newton's method where the distribution is not unique: only along directions in which the likelihood changes."""
    objective, unit = task.likelihood.evaluate, task.weights.unit
    here = objective(mixture)
    for _ in range(_STEPS[True]):
        curvatures, vectors = eigh(-here.hessian)
        told = curvatures > _FLAT_CURVATURE * curvatures[-1]
        if told.all():
            return None
        if _decrement(here) <= control.tol * task.weights.root:
            return mixture, here, True
        step = vectors[:, told] @ ((vectors.T @ here.score)[told] / curvatures[told])
        mixture = mixture.at(mixture.theta + step)
        there = objective(mixture)
        if there.value < here.value - 1e-12 * (unit + abs(here.value)):
            return None
        here = there
    return None


def _decrement(evaluation: Evaluation) -> float:
    """Length of the step that is left, in standard errors, along directions in which the likelihood changes."""
    curvatures, vectors = eigh(-evaluation.hessian)
    told = curvatures > _FLAT_CURVATURE * max(float(curvatures[-1]), 1e-300)
    along = (vectors.T @ evaluation.score)[told]
    return float(np.sqrt(np.sum(along**2 / curvatures[told])))


def _estimates(found: Found, standard: Standardisation, constant: float, wanted: int | None) -> NonparametricFit:
    """On the user's scale."""
    mixture = found.mixture
    beta, parameters = standard.L @ mixture.beta, mixture.parameters
    points = mixture.points - standard.centre @ beta
    back = parameters.to_user(standard.L)
    back[parameters.place("points"), parameters.coefficients] = -(standard.centre @ standard.L)
    covariance = back @ found.covariance @ back.T
    loglik = found.loglik + constant
    return NonparametricFit(beta, points, mixture.weights, covariance, loglik, found.gradient, wanted, found.story)


def _inverse(information: Array, parameters: Parameters) -> Array:
    """Pseudo-inverse; nan for coefficients that lie in directions without information."""
    curvatures, vectors = eigh(information)
    told = curvatures > _FLAT_CURVATURE * max(float(curvatures[-1]), 1e-300)
    inverse: Array = (vectors[:, told] / curvatures[told]) @ vectors[:, told].T
    untold = np.abs(vectors[parameters.coefficients, ~told])
    lost: NDArray[np.int64] = np.flatnonzero(untold.max(axis=1, initial=0.0) > 1e-4)
    inverse[lost, :] = inverse[:, lost] = np.nan
    return inverse
