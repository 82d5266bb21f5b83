"""Nonparametric maximum likelihood: the distribution of the intercept is whatever set of mass points is most likely.

Laird (JASA 73, 1978), Lindsay (Annals of Statistics 11, 1983), Aitkin (Biometrics 55, 1999). Coefficients, points and
weights are maximised together by Newton's method with the exact Hessian; points are added where the gradient function
is positive, as in Wang's constrained Newton method (JRSS B 69, 2007), until it is nowhere above a tolerance: that is
the end, and a proof.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import logsumexp

from clusterglm.data.prepare import ModelData
from clusterglm.fit.newton import Optimization, maximize
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response

_GRID = 161  # values of the intercept at which the gradient function is looked at
_TOLERANCE = 1e-6  # above which the gradient function asks for another point
_ROUNDS = 60
_BEGIN, _EM = 0.1, 10  # weight that new points get to begin with, and steps of the EM algorithm
_SAME = 1e-3  # points closer than this are one
_EMPTY = 1e-7  # weight of a point that can go
_OUTSIDE = 1e-9  # probability of an event, or mean count, that is as good as none


@dataclass(frozen=True)
class NonparametricFit:
    """Estimates, on the user's scale.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients; there is no intercept among them.
    points, weights : ndarray, shape (k,)
        The intercept's values, ascending, and their probabilities. The outermost ones may stand for -inf or inf.
    at_end : ndarray of bool, shape (k,)
        Points that stand for an infinite value.
    covariance : ndarray, shape (p, p)
        Of beta, from the observed information of all parameters; nan where that is singular.
    loglik : float
        Full, normalised log-likelihood.
    gradient : float
        Largest value of the gradient function; times the number of clusters a bound of what any other distribution
        could add to the log-likelihood.
    rounds : int
        In which points were added or taken off.
    optimization : Optimization
        The last of the joint maximisations.
    """

    beta: Array
    points: Array
    weights: Array
    at_end: np.ndarray[tuple[int], np.dtype[np.bool_]]
    covariance: Array
    loglik: float
    gradient: float
    rounds: int
    optimization: Optimization


@dataclass(frozen=True)
class _State:
    """A distribution on points, and coefficients."""

    beta: Array
    points: Array
    weights: Array


@dataclass(frozen=True)
class _Task:
    """The data and the range of intercepts in which anything can be told."""

    data: ModelData
    X: Array
    response: Response
    low: float
    high: float

    def log_likelihoods(self, beta: Array, points: Array) -> Array:
        """Of each cluster at each point, shape (m, k)."""
        eta = self.X @ beta + self.data.offset
        values = np.empty((self.data.n_clusters, len(points)))
        for k, u in enumerate(points.tolist()):
            values[:, k] = np.add.reduceat(
                self.response.value(eta + u, self.data.a, self.data.b), self.data.starts[:-1]
            )
        return values


def fit_npml(data: ModelData, response: Response, beta: Array, control: Control) -> NonparametricFit:
    """Maximise over coefficients and all distributions of the intercept.

    Parameters
    ----------
    data : ModelData
        X without a column of ones.
    response : Response
    beta : ndarray, shape (p,)
        Where the search starts.
    control : Control
    """
    task = _task(data, data.X, response, beta)
    state = _one_point(task, beta)
    quiet = replace(control, progress=None)
    story: Optimization | None = None
    gradient, rounds = np.inf, 0
    while rounds < _ROUNDS:
        rounds += 1
        gradient, candidates = _gradient(task, state)
        if gradient <= _TOLERANCE and story is not None and story.converged:
            break
        state = _reweighted(task, state, candidates)
        state, story = _joint(task, state, quiet)
    assert story is not None
    converged = gradient <= _TOLERANCE and story.converged
    if not converged:
        message = (
            f"stopped after {rounds} rounds with the gradient function at {gradient:.1e}: the distribution is not the "
            "most likely one; look for covariates that nearly determine the response"
        )
        story = replace(story, status="max_iter" if story.converged else story.status, message=message)
    order = np.argsort(state.points)
    state = replace(state, points=state.points[order], weights=state.weights[order])
    at_end = (state.points <= task.low) | (state.points >= task.high)
    loglik = _value(task, state) + data.constant
    covariance = _covariance(task, state)
    return NonparametricFit(
        state.beta, state.points, state.weights, at_end, covariance, loglik, gradient, rounds, story
    )


def _task(data: ModelData, X: Array, response: Response, beta: Array) -> _Task:
    """Beyond the range, every response is as good as certain."""
    eta = X @ beta + data.offset
    low = float(response.link_function(np.array(_OUTSIDE))) - float(eta.max())
    if response.family == "binomial":
        return _Task(data, X, response, low, float(response.link_function(np.array(1.0 - _OUTSIDE))) - float(eta.min()))
    most = float((data.a / data.b).max())
    return _Task(data, X, response, low, float(np.log(most + 1.0)) + 2.0 - float(eta.min()))


def _one_point(task: _Task, beta: Array) -> _State:
    grid = np.linspace(task.low, task.high, _GRID)
    heights = task.data.cluster_weights @ task.log_likelihoods(beta, grid)
    return _State(beta, grid[[int(np.argmax(heights))]], np.ones(1))


def _gradient(task: _Task, state: _State) -> tuple[float, Array]:
    """Largest value of the gradient function, and the local maxima at which it is positive."""
    grid = np.linspace(task.low, task.high, _GRID)
    width = grid[1] - grid[0]
    values = _gradient_at(task, state, grid)
    padded = np.concatenate([[-np.inf], values, [-np.inf]])
    peaks = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
    found = grid[peaks]
    for _ in range(4):  # closer looks
        width *= 0.25
        near = np.clip(found[:, None] + width * np.arange(-4, 5), task.low, task.high)
        finer = _gradient_at(task, state, near.ravel()).reshape(near.shape)
        found = near[np.arange(len(near)), finer.argmax(axis=1)]
        largest = finer.max(axis=1)
    return float(largest.max()), np.unique(found[largest > 0.0])


def _gradient_at(task: _Task, state: _State, points: Array) -> Array:
    weights = task.data.cluster_weights
    mixed = logsumexp(task.log_likelihoods(state.beta, state.points), b=state.weights, axis=1)
    ratio = np.exp(task.log_likelihoods(state.beta, points) - mixed[:, None])
    gradient: Array = weights @ ratio / weights.sum() - 1.0
    return gradient


def _reweighted(task: _Task, state: _State, candidates: Array) -> _State:
    """Weights for old and new points: a quadratic model of the likelihood, maximised under its constraints."""
    from scipy.optimize import nnls

    points = np.concatenate([state.points, candidates])
    share = _BEGIN / len(candidates) if len(candidates) > 0 else 0.0
    weights = np.concatenate([state.weights * (1.0 - share * len(candidates)), np.full(len(candidates), share)])
    log_f = task.log_likelihoods(state.beta, points)
    every, root = task.data.cluster_weights.sum(), np.sqrt(task.data.cluster_weights)
    for _ in range(_EM):  # first steps, which cannot fail wherever the new points lie
        mixed = logsumexp(log_f, b=weights, axis=1)
        weights = task.data.cluster_weights @ (weights * np.exp(log_f - mixed[:, None])) / every
    for _ in range(5):
        mixed = logsumexp(log_f, b=weights, axis=1)
        S = np.exp(log_f - mixed[:, None])
        heavy = 10.0 * np.sqrt(task.data.cluster_weights.sum())
        left = np.vstack([S * root[:, None], np.full((1, len(points)), heavy)])
        target = nnls(left, np.concatenate([2.0 * root, [heavy]]))[0]
        target /= target.sum()
        before, step = task.data.cluster_weights @ mixed, 1.0
        while step > 1e-4:
            trial = weights + step * (target - weights)
            with np.errstate(divide="ignore"):
                after = task.data.cluster_weights @ logsumexp(log_f, b=trial, axis=1)
            if after >= before:
                break
            step *= 0.5
        else:
            break
        weights = trial
        if after - before < 1e-9 * (1.0 + abs(before)):
            break
    keep = weights > _EMPTY
    return _merged(replace(state, points=points[keep], weights=weights[keep] / weights[keep].sum()))


def _merged(state: _State) -> _State:
    """Points that cannot be told apart become one."""
    order = np.argsort(state.points)
    points, weights = state.points[order], state.weights[order]
    group = np.cumsum(np.diff(points, prepend=points[0]) > _SAME)
    total: Array = np.bincount(group, weights=weights).astype(np.float64)
    return replace(state, points=np.bincount(group, weights=weights * points) / total, weights=total)


def _joint(task: _Task, state: _State, control: Control) -> tuple[_State, Optimization]:
    """Newton's method on coefficients, points inside the range, and weights."""
    p, k = len(state.beta), len(state.points)
    inside = (state.points > task.low) & (state.points < task.high)
    start = np.concatenate([state.beta, state.points[inside], np.log(state.weights[:-1] / state.weights[-1])])

    def unpack(theta: Array) -> _State:
        points = state.points.copy()
        points[inside] = theta[p : p + inside.sum()]
        logits = np.append(theta[p + inside.sum() :], 0.0)
        return _State(theta[:p], points, np.exp(logits - logsumexp(logits)))

    found = maximize(lambda theta: _evaluate(task, unpack(theta), inside), start, control, radius=1.0)
    new = unpack(found.theta)
    keep = new.weights > _EMPTY
    clipped = np.clip(new.points[keep], task.low, task.high)
    new = _merged(_State(new.beta, clipped, new.weights[keep] / new.weights[keep].sum()))
    story = found.optimization
    if len(new.points) < k:
        story = replace(story, status="max_iter")  # points went: once more
    return new, story


def _evaluate(task: _Task, state: _State, inside: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Evaluation:
    """Log-likelihood with score and Hessian in (beta, points inside, logits of all weights but the last).

    The Hessian of a mixture is the mean of the complete-data Hessians plus the variance of the complete-data scores
    (Louis, JRSS B 44, 1982).
    """
    data, X, pi = task.data, task.X, state.weights
    starts, w = data.starts[:-1], data.cluster_weights
    m, k, p = data.n_clusters, len(pi), X.shape[1]
    free = np.flatnonzero(inside)
    q = p + len(free) + k - 1
    eta = X @ state.beta + data.offset
    value, G, H, _, _ = task.response.derivatives(eta[:, None] + state.points, data.a[:, None], data.b[:, None])
    log_joint = np.add.reduceat(value, starts, axis=0) + np.log(pi)
    mixed = logsumexp(log_joint, axis=1)
    tau = np.exp(log_joint - mixed[:, None])
    scores = np.zeros((m, k, q))
    for j in range(k):
        scores[:, j, :p] = np.add.reduceat(G[:, j, None] * X, starts, axis=0)
    S1, S2 = np.add.reduceat(G, starts, axis=0), np.add.reduceat(H, starts, axis=0)
    for number, j in enumerate(free.tolist()):
        scores[:, j, p + number] = S1[:, j]
    scores[:, :, p + len(free) :] = np.eye(k)[:, :-1] - pi[:-1]
    mean = np.einsum("ik,ikq->iq", tau, scores)
    share = w[:, None] * tau
    flat = scores.reshape(m * k, q)
    hessian = flat.T @ (flat * share.reshape(-1, 1)) - mean.T @ (mean * w[:, None])
    rows = np.repeat(share, np.diff(data.starts), axis=0) * H
    hessian[:p, :p] += X.T @ (X * rows.sum(axis=1)[:, None])
    cross = X.T @ rows[:, free]
    hessian[:p, p : p + len(free)] += cross
    hessian[p : p + len(free), :p] += cross.T
    at = np.arange(p, p + len(free))
    hessian[at, at] += (share * S2).sum(axis=0)[free]
    last = slice(p + len(free), q)
    hessian[last, last] -= w.sum() * (np.diag(pi[:-1]) - np.outer(pi[:-1], pi[:-1]))
    return Evaluation(float(w @ mixed), w @ mean, hessian)


def _value(task: _Task, state: _State) -> float:
    mixed = logsumexp(task.log_likelihoods(state.beta, state.points), b=state.weights, axis=1)
    return float(task.data.cluster_weights @ mixed)


def _covariance(task: _Task, state: _State) -> Array:
    p = len(state.beta)
    inside = (state.points > task.low) & (state.points < task.high)
    information = -_evaluate(task, state, inside).hessian
    try:
        inverse = cho_solve(cho_factor(information), np.eye(len(information)))
    except LinAlgError:
        return np.full((p, p), np.nan)
    return np.asarray(inverse[:p, :p])
