"""The certificate: its derivative against differences, and its errors against integrals by product rules."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.errors import OptionError
from clusterglm.likelihood.crossed import reference
from clusterglm.likelihood.crossed.certificate import HeldDraws
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorPart
from clusterglm.model.family import RESPONSES, response

EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
DESIGNS = {
    "scalar": {"levels": (5,)},
    "vectors": {"levels": (3, 2), "effects": (2, 1), "d": 2},
    "components": {"levels": (6,), "nested": True},
}
EACH_DESIGN = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS.keys())
LOGIT = response("binomial", "logit")


def hermite(nodes, d=1):
    return (VectorPart(hermite_points(nodes, d, True)),)


@EACH_RESPONSE
@EACH_DESIGN
def test_score_is_that_of_the_estimate(model, design, simulate):
    block = simulate(model, 10, **design)
    theta, d = block.theta(), block.Z.shape[1]
    held, plan = HeldDraws(block.likelihood()), hermite(33 if d == 1 else 41, d)
    found, want = held.estimate(theta, plan, 16), []
    for e in 1e-4 * np.eye(len(theta)):
        f = [held.estimate(theta + k * e, plan, 16, 0).value for k in (-2, -1, 1, 2)]
        want.append((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / 12e-4)
    np.testing.assert_allclose(found.score, want, rtol=0, atol=1e-6 * (1 + np.abs(want).max()))


def test_more_draws_go_on_where_fewer_ended(simulate):
    """Draws that are added up in two parts are the same draws, and values need no derivatives."""
    block = simulate(LOGIT, 10, (4,))
    theta, plan = block.theta(), hermite(15)
    covariance = np.diag(np.full(len(theta), 0.1))
    grown = HeldDraws(block.likelihood()).certify(theta, plan, covariance, 0.0, 0.0, most=64)
    at_once = HeldDraws(block.likelihood()).estimate(theta, plan, 64)
    assert not grown.enough
    assert grown.estimate.draws == at_once.draws == 512
    assert grown.estimate.value == pytest.approx(at_once.value, rel=1e-13)
    assert grown.estimate.standard_error == pytest.approx(at_once.standard_error, rel=1e-8)
    np.testing.assert_allclose(grown.estimate.score, at_once.score, rtol=0, atol=1e-10)
    values = HeldDraws(block.likelihood()).estimate(theta, plan, 64, 0)
    assert values.value == pytest.approx(at_once.value, rel=1e-13)
    assert np.all(np.isnan(values.score))


def test_stops_when_both_errors_are_small(simulate):
    block = simulate(LOGIT, 30, (4,))
    likelihood, theta, plan = block.likelihood(), block.theta(), hermite(15)
    covariance = np.diag(np.full(len(theta), 0.05))
    found = HeldDraws(likelihood).certify(theta, plan, covariance, 0.01, 0.02)
    assert found.enough
    assert found.estimate.standard_error <= 0.01
    assert np.all(found.errors <= 0.02)
    assert 0.3 < found.estimate.share <= 1.0
    assert found.estimate.correction == found.estimate.value - likelihood.evaluate(theta, plan, 0).value


def test_no_certificate_for_joint_approximations(simulate):
    block = simulate(LOGIT, 10, (4,))
    likelihood = block.likelihood()
    with pytest.raises(OptionError, match="one point for some units"):
        HeldDraws(likelihood).estimate(block.theta(), likelihood.laplace_plan(), 16)


def truth(block, theta, inside=13):
    """The log-likelihood by product rules over v, two of them, which agree."""
    points, found = hermite_points(inside, 1, True), []
    size = block.twin().rows(theta)[2].shape[1]
    for nodes in {1: (40, 50), 2: (24, 30), 3: (10, 13)}[size]:
        found.append(reference.product(block.twin(), theta, points, hermite_points(nodes, size)))
    return found


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_estimates_are_integrals(levels, simulate):
    block = simulate(LOGIT, 6, (levels,), seed=5)
    theta = block.theta()
    coarse, value = truth(block, theta)
    assert coarse == pytest.approx(value, abs=2e-6)
    found = HeldDraws(block.likelihood()).estimate(theta, hermite(13), 256)
    assert abs(found.value - value) < 3.0 * found.standard_error + 2e-6
    assert abs(found.laplace - value) > 10.0 * abs(found.value - value)
