"""Deletion of clusters from fits with several random effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import ClusterGLMError
from clusterglm.fit.levels import Chosen
from clusterglm.fit.mixed import MixedFit, fit_again, task_of
from clusterglm.fit.mixed_task import MixedTask, choose
from clusterglm.fit.newton import Optimization
from clusterglm.inference.diagnostics.influence import CLOSE, Deletion
from clusterglm.inference.uncertainty.mixed import estimates_by_reading, task_by_reading
from clusterglm.inference.uncertainty.replicates import ReplicateError
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import random_effects

ANOTHER_FACE = "the covariance of the random effects is singular without the cluster, or no longer so"
_CLUSTERS_FOR_NEARBY = 50  # clusters from which the maximum without one of them is sought near that with it
_POINTS_AGAIN_FROM = 0.5  # standard errors from which points are chosen again
_LEFT_OF_AN_SD = 0.5  # of a standard deviation, below which it may be on its way to 0
_STEPS_NEARBY = 12  # which Newton's method with the Hessian of the start never needs where it works


def mixed_deletion(fit: MixedFit, as_shown: Callable[[Array], Array], own: tuple[str, ...] = ()) -> Deletion:
    """Of clusters, in coefficients, standard deviations and functions of the correlations.

    Where the covariance is singular, these are not free to move: then in the parameters of its factor that are.

    Parameters
    ----------
    fit : MixedFit
    as_shown : callable
        Estimates by reading -> coefficients, standard deviations and correlations.
    own : tuple of str
        Parameters of the response, which the search has behind the coefficients.
    """
    data, singular = fit.data.rows, bool(fit.held.any())
    task = task_of(fit) if singular else task_by_reading(fit)
    theta = fit.searched if singular else estimates_by_reading(fit)
    labels = task.covariance.labels if singular else task.covariance.read_labels()
    free = np.flatnonzero(~task.all_and(fit.held))
    chosen = choose(task.likelihood, task.entries(theta), fit.integration.requested)
    plan = chosen.plan

    def whole(some: Array) -> Array:
        found = theta.copy()
        found[free] = some
        return found

    responses = replace(task, penalty=None)

    def of_cluster(i: int) -> Array:
        return responses.evaluate(theta, task.likelihood.of_cluster(plan, i)).hessian[np.ix_(free, free)]

    penalty_score = None
    if task.penalty is not None:
        without = task.penalty.score_without(task.entries(theta), data.starts)

        def penalty_score(i: int, information: Array, share: float) -> Array:
            return (task.slopes(theta) @ without(i, information, share))[free]

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        again = fit_again(fit, new, fit.beta, CLOSE)
        if not np.array_equal(again.held, fit.held):
            raise ReplicateError(ANOTHER_FACE)
        at = again.theta if singular else estimates_by_reading(again)
        return at[free], again.optimization

    def loglik(some: Array) -> float:
        own = task_of(fit) if singular else task_by_reading(fit)  # remembers modes: not for two threads
        at = whole(some)
        return own.value(at, choose(own.likelihood, own.entries(at), fit.integration.requested).plan)

    found = Deletion(
        data,
        random_effects((*data.names, *own), labels).names_of(free),
        theta[free],
        -task.evaluate(theta, plan).hessian[np.ix_(free, free)],
        (task.likelihood.unit_scores(task.entries(theta), plan) @ task.slopes(theta).T)[:, free],
        of_cluster,
        refit,
        loglik,
        penalty_score,
        as_shown=np.array if singular else as_shown,
    )
    if singular or own or fit.penalty is not None or data.n_clusters < _CLUSTERS_FOR_NEARBY:
        return found
    return replace(found, nearby=Nearby(fit, found, task, chosen))


@dataclass(frozen=True)
class Nearby:
    """Maxima without single clusters, sought near the estimates instead of all over.

    Parameters
    ----------
    fit : MixedFit
    deletion : Deletion
    task : MixedTask
        The likelihood by reading.
    chosen : Chosen
        The points of the estimates.
    """

    fit: MixedFit
    deletion: Deletion
    task: MixedTask
    chosen: Chosen

    def __call__(self, i: int) -> tuple[Array, float] | None:
        """Estimates without cluster i, and the log-likelihood of all data there; None where they lie elsewhere.

        Newton's method with the exact Hessian of the start and what changes of the score teach of it
        (Broyden, Fletcher, Goldfarb and Shanno), by the points of the estimates unless that leads far away.
        """
        of, theta = self.deletion, self.deletion.theta
        share, data = float(of.share[i]), of.data
        weights = data.cluster_weights.copy()
        weights[i] -= share * weights[i]
        without, every = self._task(replace(data, cluster_weights=weights)), self._task(data)
        information = of.information + share * of.cluster_hessian(i)
        chosen, requested = self.chosen, self.fit.integration.requested
        try:
            found = self._maximum(without, chosen, theta, information)
            if found is not None and _length(found - theta, information) > _POINTS_AGAIN_FROM:
                chosen = choose(every.likelihood, every.entries(found), requested)
                found = self._maximum(without, chosen, found, information)
            if found is None or not self._like_before(found):
                return None
            return found, every.likelihood.evaluate(every.entries(found), chosen.plan, 0).value
        except (ClusterGLMError, np.linalg.LinAlgError):
            return None

    def _task(self, data: ModelData) -> MixedTask:
        """One of its own: likelihoods remember modes, and calls may be in several threads."""
        own = MixedTask.of(data, self.fit.response, data.X, np.ones(self.fit.effects.Z.shape[1]), 1)
        own.likelihood.remember(tuple(each.copy() for each in self.task.likelihood.remember(None)))
        return replace(own, covariance=self.task.covariance)

    def _maximum(self, task: MixedTask, chosen: Chosen, theta: Array, information: Array) -> Array | None:
        inverse = np.asarray(np.linalg.inv(information), dtype=np.float64)
        score = _score(task, chosen, theta)
        before = np.inf
        for _ in range(_STEPS_NEARBY):
            left = _length(score, inverse)
            if left <= CLOSE.tol:
                return theta
            if not left < before:
                return None
            step = inverse @ score
            theta, before = theta + step, left
            new = _score(task, chosen, theta)
            inverse, score = _learned(inverse, step, score - new), new
        return None

    def _like_before(self, theta: Array) -> bool:
        """Whether no standard deviation has lost so much that it may vanish."""
        now, before = (self.task.parameters.split(at)[1] for at in (theta, self.deletion.theta))
        sds = [k for k, name in enumerate(self.task.covariance.read_labels()) if name.startswith("sd")]
        return all(now[k] > _LEFT_OF_AN_SD * before[k] for k in sds)


def _score(task: MixedTask, chosen: Chosen, theta: Array) -> Array:
    there = task.likelihood.evaluate(task.entries(theta), chosen.slopes, 1)
    return np.asarray(task.slopes(theta) @ there.score, dtype=np.float64)


def _length(step: Array, metric: Array) -> float:
    return float(np.sqrt(np.maximum(0.0, step @ metric @ step)))


def _learned(inverse: Array, step: Array, change: Array) -> Array:
    """The inverse information that a step's change of the score (its fall) tells, from one before it."""
    along = float(step @ change)
    if not along > 0.0:
        return inverse
    turn = np.eye(len(step)) - np.outer(step, change) / along
    return np.asarray(turn @ inverse @ turn.T + np.outer(step, step) / along)
