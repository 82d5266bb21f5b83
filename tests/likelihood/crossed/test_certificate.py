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
    found, want = held.estimate(theta, plan, 8), []
    for e in 1e-4 * np.eye(len(theta)):
        f = [held.estimate(theta + k * e, plan, 8, 0).value for k in (-2, -1, 1, 2)]
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
    assert grown.estimate.draws == at_once.draws == 1024
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
    points = hermite_points(inside, 1, True)
    size = block.twin().rows(theta)[2].shape[1]
    rules = {1: (40, 50), 2: (16, 20)}[size]
    return [reference.product(block.twin(), theta, points, hermite_points(nodes, size)) for nodes in rules]


@pytest.mark.parametrize("levels", [1, 2])
def test_estimates_are_integrals(levels, simulate):
    block = simulate(LOGIT, 6, (levels,), seed=5)
    theta = block.theta()
    coarse, value = truth(block, theta)
    assert coarse == pytest.approx(value, abs=2e-6)
    found = HeldDraws(block.likelihood()).estimate(theta, hermite(13), 256)
    assert abs(found.value - value) < 3.0 * found.standard_error + 2e-6
    assert abs(found.laplace - value) > 10.0 * abs(found.value - value)


def dense(block, theta, likelihood, plan):
    """The integral of a logit model over one scalar effect of each unit and up to 3 outside, by trapezoid rules.

    Log-probabilities are written out. Of the likelihood only a mode and its factors are taken, as coordinates.
    """
    mode = likelihood.mode(theta, plan)
    (factor,) = mode.factors
    step, radius = {1: (0.25, 8.0), 2: (0.4, 8.0), 3: (0.7, 7.0)}[len(factor)]
    axis = np.arange(-radius, radius + 1e-9, step)
    e = np.array(np.meshgrid(*[axis] * len(factor))).reshape(len(factor), -1)
    e = e[:, (e**2).sum(axis=0) <= radius**2]
    v = mode.v[:, None] + np.linalg.solve(np.triu(factor), e)
    u = np.arange(-8.0, 8.0 + 1e-9, 0.25)
    (term,) = block.terms
    beta, own, outside = theta[:2], theta[2], theta[3]
    eta = (block.X @ beta + block.offset)[:, None] + outside * term.Z * v[term.levels]
    f = -0.5 * (v**2).sum(axis=0)
    for first, last in zip(block.starts[:-1], block.starts[1:], strict=True):
        rows = slice(first, last)
        there = eta[rows, :, None] + own * block.Z[rows, :, None] * u
        a, b = block.a[rows, None, None], block.b[rows, None, None]
        log_p = -(a * np.logaddexp(0.0, -there) + b * np.logaddexp(0.0, there)).sum(axis=0)
        f += np.logaddexp.reduce(log_p - 0.5 * u**2, axis=1) + np.log(0.25 / np.sqrt(2.0 * np.pi))
    volume = len(factor) * (np.log(step) - 0.5 * np.log(2.0 * np.pi)) - np.log(np.abs(np.diagonal(factor))).sum()
    return float(np.logaddexp.reduce(f)) + volume


def test_the_error_is_what_it_says(simulate):
    """On 200 random designs of 1 to 3 outside effects the truth lies within 3 standard errors in at least 98%."""
    rng, within, plan = np.random.default_rng(8), [], hermite(25)
    for number in range(230):
        block = simulate(LOGIT, int(rng.integers(3, 9)), (int(rng.integers(1, 4)),), seed=100 + number, binary=True)
        likelihood = block.likelihood()
        if len(likelihood.layout.components) > 1:
            continue
        theta = block.theta(scale=float(rng.uniform(0.3, 2.0)), seed=number)
        truly = dense(block, theta, likelihood, plan)
        found = HeldDraws(likelihood, seed=number).estimate(theta, plan, 8, 0)
        within.append(abs(found.value - truly) <= 3.0 * found.standard_error)
    assert len(within) >= 200
    assert np.mean(within) >= 0.98
