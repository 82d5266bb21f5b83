"""The search for the maximum of a profiled normal likelihood, in the relative covariance of the effects."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import DesignError
from clusterglm.fit.boundary import below_zero, vanishing
from clusterglm.fit.newton import Maximum, Optimization, maximize, maximize_free
from clusterglm.likelihood.gaussian.objective import Task
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control

CLOSED = "converged: least squares have a closed form"
_SDS_TRIED = (0.3, 1.0, 2.5)  # standard deviations of effects over the residual one that are tried first
AS_GOOD_AS_ZERO = 1e-4  # entry of the relative L below which it is compared with 0
_SAME_VALUE = 1e-7  # of a log-likelihood
_HARDLY_ANY = 0.01  # times the standard deviations, where it is asked whether the data want any
_LARGEST_RATIO = 1e6  # standard deviation of effects over the residual one with which float64 can compute
_MANY_STEPS = 30  # of a search elsewhere, ...
_LOOKED = 0.01  # ... and the standard errors from a maximum at which it ends
_APART = 1.5  # by which correlations of their own are moved, as numbers on the real line


def maximum_of(
    task: Task, control: Control, begin: Array | None = None, *, widely: bool = True
) -> tuple[Maximum, NDArray[np.bool_]]:
    """The maximum of the profiled likelihood, and which parameters are zero there because it is singular.

    Searched from `begin`, or the best of a few starts; where there may be several maxima, and `widely`, from all.
    """
    covariance = task.covariance

    def reflect(theta: Array) -> Array:
        if not float(np.abs(covariance.factor(theta)).max()) < _LARGEST_RATIO:
            raise DesignError(
                "random effects whose standard deviation over the residual one passes a million",
                "responses of a level that differ from each other by more than rounding",
                "fewer random effects; or check that the response is not constant within levels",
            )
        return covariance.canonical(theta)

    def search(theta: Array, free: NDArray[np.bool_] | None = None) -> Maximum:
        some = np.ones(len(theta), dtype=bool) if free is None else free
        if not some.any():  # nothing varies: least squares
            return Maximum(theta, task.evaluate(theta), Optimization("converged", CLOSED, 0, 1, 0.0, ()))
        there = maximize_free(task.evaluate, theta, control, 1.0, some, reflect)
        below, ended = below_zero(covariance, there.theta) & some, covariance.at_end(there.theta) & some
        if not (below | ended).any():
            return there
        return search(np.where(below, 0.0, there.theta), some & ~(below | ended))

    tried = starts_of(task) if begin is None else [begin]
    values = [task.value(theta) for theta in tried]
    order = np.argsort(np.nan_to_num(values, nan=-np.inf))[::-1]
    found = search(tried[int(order[0])])
    stories = [found.optimization]
    elsewhere = [start for start in _nearly_without(task, found.theta) if task.value(start) > found.evaluation.value]
    several = bool((task.exponents == 0.0).any())  # correlations of their own, which have maxima at both ends
    if widely and (several or vanishing(covariance, found.theta, AS_GOOD_AS_ZERO).any()):
        elsewhere += [tried[int(k)] for k in order[1:]] if begin is None else starts_of(task)
    for start in elsewhere:
        roughly = maximize(task.evaluate, start, Control(max_iter=_MANY_STEPS), tolerance=_LOOKED, reflect=reflect)
        stories.append(roughly.optimization)
        if roughly.evaluation.value > found.evaluation.value + _SAME_VALUE:
            other = search(roughly.theta)
            stories.append(other.optimization)
            found = other if other.evaluation.value > found.evaluation.value else found
    vanished, ended = vanishing(covariance, found.theta, AS_GOOD_AS_ZERO), covariance.at_end(found.theta)
    if vanished.any():
        again = search(np.where(vanished, 0.0, found.theta), ~(vanished | ended))
        stories.append(again.optimization)
        if again.evaluation.value >= found.evaluation.value - _SAME_VALUE:
            found = again
        else:
            vanished = np.zeros_like(vanished)
    story = replace(
        found.optimization,
        iterations=sum(each.iterations for each in stories),
        evaluations=sum(each.evaluations for each in stories) + len(tried),
        trace=tuple(step for each in stories for step in each.trace),
    )
    return replace(found, optimization=story), vanished | ended


def starts_of(task: Task) -> list[Array]:
    """Covariances without correlations, the same for all effects of a factor."""
    sizes = np.zeros(task.covariance.n_effects, dtype=np.int64)
    for k, factor in enumerate(task.statistics.factors):
        sizes[factor.columns] = k
    each = (
        product(_SDS_TRIED, repeat=len(task.statistics.factors))
        if len(task.statistics.factors) < 4
        else ((sd,) * len(task.statistics.factors) for sd in _SDS_TRIED)
    )
    found = [task.covariance.of(np.diag(np.array(sds)[sizes] ** 2)) for sds in each]
    apart = np.where(task.exponents == 0.0, _APART, 0.0)
    return [theta + side * apart for theta in found for side in ((-1.0, 0.0, 1.0) if apart.any() else (0.0,))]


def _nearly_without(task: Task, theta: Array) -> list[Array]:
    """Next to no effects of one of several factors."""
    if len(task.statistics.factors) < 2:
        return []
    blocks = task.covariance.blocks_of_parameters()
    found = []
    for group in dict.fromkeys(group for group, _ in blocks):
        there = theta.copy()
        for of, some in blocks:
            if of == group:
                there[some] *= _HARDLY_ANY ** task.exponents[some]
        found.append(there)
    return found
