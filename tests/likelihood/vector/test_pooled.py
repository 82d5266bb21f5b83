"""Points of many clusters, whose errors are judged together, against a fine lattice."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.likelihood.vector.choice import choose_points, settled
from clusterglm.likelihood.vector.points import lattice
from clusterglm.likelihood.vector.vector import VectorPart
from clusterglm.model.family import response


@pytest.mark.parametrize("sd", [0.2, 0.5])
@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "log"])
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_are_in_sum_as_reported(link, sd, weighted, simulate, parameters):
    model = response("poisson" if link == "log" else "binomial", link)
    m = 510
    block = simulate(model, tuple(np.random.default_rng(5).integers(1, 10, m)), 2, weighted=weighted)
    theta, likelihood = parameters(np.tri(2, dtype=bool), sd), block.likelihood(model)
    choice = choose_points(likelihood, theta, 1e-6)
    served = np.sort(np.concatenate([part.clusters for part in choice.plan]))
    np.testing.assert_array_equal(served, np.arange(m))
    exact = VectorPart(lattice(0.1, 12.0, 2), None, settled(likelihood, theta, np.arange(m)))
    wrong = np.abs(likelihood.sums(theta, exact).values * block.cluster_weights - choice.values)
    assert wrong.sum() <= choice.error + 1e-9
    assert choice.error <= 1e-6
    assert np.mean(wrong <= choice.errors + 1e-11) > 0.99
    assert likelihood.evaluate(theta, choice.plan, 0).value == pytest.approx(choice.values.sum(), abs=1e-9)


def test_a_cluster_without_weight_has_no_error(simulate, parameters):
    model = response("binomial", "logit")
    block = simulate(model, tuple([4] * 600), 2, weighted=False)
    block.cluster_weights[7] = 0.0
    likelihood, theta = block.likelihood(model), parameters(np.tri(2, dtype=bool))
    choice = choose_points(likelihood, theta, 1e-6)
    assert choice.errors[7] == choice.values[7] == 0.0
    assert 0.0 < choice.error <= 1e-6
