"""One point about the mode, four clusters side by side: against the NumPy twin, and whatever lies beside a cluster."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorPart, unstructured
from clusterglm.model.family import RESPONSES, response

EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())


def plan(d, clusters=None):
    return (VectorPart(hermite_points(1, d), clusters),)


@EACH_RESPONSE
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_is_that_of_the_twin(model, d, weighted, simulate, parameters):
    block, free = simulate(model, (6, 1, 4, 30, 2, 3), d, weighted=weighted), unstructured(d)
    theta, likelihood = parameters(free), block.likelihood(model)
    value, _, _ = block.twin(theta, model, hermite_points(1, d))
    assert likelihood.evaluate(theta, plan(d)).value == pytest.approx(value, rel=1e-10)
    assert likelihood.cluster_values(theta, plan(d)).sum() == pytest.approx(value, rel=1e-10)


def test_clusters_do_not_feel_their_neighbours(simulate, parameters):
    """Sums of clusters one by one, whose lanes repeat them, are those of all; scores too."""
    model = response("binomial", "logit")
    block, theta = simulate(model, (6, 1, 4, 30, 2, 3, 5), 2), parameters(np.tri(2, dtype=bool))
    whole = block.likelihood(model).evaluate(theta, plan(2))
    alone = [block.likelihood(model).evaluate(theta, plan(2, np.array([i], dtype=np.int64))) for i in range(7)]
    assert sum(each.value for each in alone) == pytest.approx(whole.value, rel=1e-13)
    scores = block.likelihood(model).unit_scores(theta, plan(2))
    np.testing.assert_allclose(scores, [each.score for each in alone], atol=1e-12)
    np.testing.assert_allclose(sum(each.hessian for each in alone), whole.hessian, atol=1e-11)


def test_threads_give_the_same_bits(simulate, parameters):
    model = response("binomial", "cloglog")
    sizes = tuple(np.random.default_rng(3).integers(1, 20, 700))
    block, theta = simulate(model, sizes, 2), parameters(np.tri(2, dtype=bool))
    one, two = (block.likelihood(model, threads=threads).evaluate(theta, plan(2)) for threads in (1, 2))
    assert one.value == two.value
    np.testing.assert_array_equal(one.score, two.score)
    np.testing.assert_array_equal(one.hessian, two.hessian)


@EACH_RESPONSE
def test_far_modes_are_found_from_anywhere(model, simulate, parameters):
    """Effects so large that full steps overshoot; the modes do not depend on where the search begins."""
    block, theta = simulate(model, (6, 1, 4, 30), 2), parameters(np.tri(2, dtype=bool), 6.0)
    likelihood = block.likelihood(model)
    first = likelihood.evaluate(theta, plan(2))
    likelihood.evaluate(0.01 * theta, plan(2))
    again = likelihood.evaluate(theta, plan(2))
    assert again.value == pytest.approx(first.value, rel=1e-11)
    np.testing.assert_allclose(again.hessian, first.hessian, atol=1e-8 * np.abs(first.hessian).max())
    value, _, _ = block.twin(theta, model, hermite_points(1, 2))
    assert first.value == pytest.approx(value, rel=1e-9)
