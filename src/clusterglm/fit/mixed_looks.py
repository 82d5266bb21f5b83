"""The first looks of a search with several random effects: what of many clusters a sample of them can tell.

A search begins on few points. Of many clusters a sample says where; and it says what more points would change, so that
all clusters have fewer: the difference that points make varies much less over clusters than the likelihood does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from clusterglm.data.clusters import rows_of, spread_out
from clusterglm.data.prepare import ModelData
from clusterglm.fit.chords import Chords
from clusterglm.fit.levels import AnyPlan, integrals
from clusterglm.fit.mixed_task import MixedTask, effects_of
from clusterglm.fit.standardise import tells_columns_apart
from clusterglm.fit.sums import added, chosen_clusters
from clusterglm.fit.surrogate import Surrogate
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import SAMPLES_FOR_EFFECTS
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response

_ROUGHLY = 0.02  # standard errors within which the neighbourhood of the maximum is found with few points
_FOR_MORE, _CLOSELY = 0.3, 3e-3  # the same by one point and a sample, and by few points and a sample from there
_BEFORE_MORE, _AS_LEARNED = 1.0, 1e-3  # the same where factors cross, without a sample
_OF_MANY_EFFECTS = 5e-4  # the latter of more effects than two, where choosing points twice costs more than a look


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


def first_points(task: MixedTask, many: bool, quadrature: Quadrature) -> AnyPlan:
    """Few points, or of many clusters one, if that is asked for and has second derivatives."""
    plan = task.likelihood.few()
    if many and quadrature.one_point:
        one = task.likelihood.by_nodes(1)
        plan = one if task.likelihood.held(one) else plan
    return plan


def looks_of(
    task: MixedTask, sample: MixedTask | None, quadrature: Quadrature, unit: float
) -> list[tuple[Callable[[Array], Evaluation], float]]:
    """What is maximised one after another before points are chosen, each within so many standard errors.

    Of many clusters the first has one point and the difference that few points make in a sample. Where points are to be
    chosen few points and the difference that more make come next.
    """
    plan = first_points(task, sample is not None, quadrature)
    last = objective_of(task, plan, _ROUGHLY, unit), _ROUGHLY
    if task.likelihood.learned is not None:  # what one look has learned serves the next
        more = task.likelihood.more() if quadrature.kind == "auto" else None
        if more is not None:
            first = objective_of(task, plan, _BEFORE_MORE, unit), _BEFORE_MORE
            return [first, (objective_of(task, more, _AS_LEARNED, unit), _AS_LEARNED)]
        return [] if quadrature.one_point else [last]  # the first look would be the last, too
    one = task.likelihood.by_nodes(1)
    if sample is None or not (task.likelihood.held(one) and task.likelihood.held(plan)):
        return [last]
    few, second = first_points(sample, True, quadrature), task.likelihood.more()
    if sample.likelihood.most(few) == 1:
        return [last]
    first = _with_difference(task, sample, one, sample.likelihood.by_nodes(1), few), _FOR_MORE
    if quadrature.kind != "auto" or second is None:
        return [first, last]
    coarse, fine = sample.likelihood.more(), sample.likelihood.more(of_sample=True)
    assert coarse is not None, "a sample has the points that all have"
    assert fine is not None, "and more of them"
    within = _CLOSELY if task.likelihood.dimensions <= 2 else _OF_MANY_EFFECTS
    return [first, (_with_difference(task, sample, second, coarse, fine), within)]


def _with_difference(
    task: MixedTask, sample: MixedTask, plan: AnyPlan, coarse: AnyPlan, fine: AnyPlan
) -> Callable[[Array], Evaluation]:
    """The likelihood by the points of `plan`, corrected by what finer ones change in a sample (a control variate)."""
    factor = task.likelihood.n_units / sample.likelihood.n_units

    def evaluate(theta: Array) -> Evaluation:
        more, less = sample.evaluate(theta, fine), sample.evaluate(theta, coarse)
        change = Evaluation(
            factor * (more.value - less.value),
            factor * (more.score - less.score),
            factor * (more.hessian - less.hessian),
        )
        return added([task.evaluate(theta, plan), change])

    return evaluate


def surrogate_of(task: MixedTask, sample: MixedTask | None, quadrature: Quadrature) -> Surrogate | None:
    """The likelihood of a sample by few points, in the place of that of all."""
    if sample is None:
        return None
    size, plan = sample.likelihood.n_units, first_points(sample, True, quadrature)
    return Surrogate(partial(sample.evaluate, plan=plan), task.likelihood.n_units / size, size)


def objective_of(task: MixedTask, plan: AnyPlan, tolerance: float, unit: float) -> Callable[[Array], Evaluation]:
    """What is maximised by these points: where second derivatives are differences, as few of them as will do."""
    exact = partial(task.evaluate, plan=plan)
    if task.likelihood.held(plan):
        return exact
    similar, learned = partial(task.similar, plan=plan), task.likelihood.learned
    return Chords(partial(exact, order=1), exact, similar, unit, tolerance, learned)
