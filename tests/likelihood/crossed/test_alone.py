"""What rows say of effects one by one: moments against sums over pairs, derivatives against differences, bent draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clusterglm.likelihood.crossed.alone import higher, variances
from clusterglm.likelihood.crossed.certificate import HeldDraws
from clusterglm.likelihood.crossed.proposal import Placed
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorPart
from clusterglm.model.family import response

LOGIT = response("binomial", "logit")
PLAN = (VectorPart(hermite_points(9, 1, True)),)


def test_variances_are_those_of_all_pairs(simulate):
    block = simulate(LOGIT, 8, (3,), (2,))
    beta, (term,) = np.array([0.3, -0.2]), block.terms
    inside = block.likelihood().inside
    before = inside.last_places[0].copy()
    p = 1.0 / (1.0 + np.exp(-block.X @ beta - block.offset))
    G, H = block.a - (block.a + block.b) * p, -(block.a + block.b) * p * (1.0 - p)
    units, want = np.repeat(np.arange(8), np.diff(block.starts)), []
    for z, levels in [(block.Z[:, 0], units), (term.Z[:, 0], term.levels), (term.Z[:, 1], term.levels)]:
        pairs = [(j, k) for j in range(len(z)) for k in range(len(z)) if j != k and levels[j] == levels[k]]
        above = sum(z[j] * G[j] * z[k] * G[k] for j, k in pairs)
        want.append(above / sum(z[j] ** 2 * H[j] * z[k] ** 2 * H[k] for j, k in pairs))
    np.testing.assert_allclose(variances(inside, beta), want, rtol=1e-10)
    np.testing.assert_array_equal(inside.last_places[0], before)


def test_higher_derivatives_are_differences(simulate):
    """Without effects of the units f is a sum over rows: derivatives in one effect are differences of its slope."""
    block = simulate(LOGIT, 20, (4, 3), (1, 2))
    likelihood, theta = block.likelihood(), block.theta(scale=1.2)
    theta[2] = 0.0
    v = np.random.default_rng(2).normal(size=likelihood.layout.size)
    third, fourth = higher(likelihood.inside, theta, v, PLAN)
    for k, e in enumerate(0.02 * np.eye(len(v))):
        slopes = [likelihood.inside.gradient(theta, v + t * e, PLAN).v[k] for t in (-2, -1, 0, 1, 2)]
        second = np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) @ slopes / (12.0 * 0.02**2)
        bend = np.array([-0.5, 1.0, 0.0, -1.0, 0.5]) @ slopes / 0.02**3
        assert third[k] == pytest.approx(second, abs=2e-3 * (1.0 + abs(second)))
        assert fourth[k] == pytest.approx(bend, abs=1e-2 * (1.0 + abs(bend)))


@pytest.mark.parametrize(("third", "fourth"), [(0.1, 0.02), (-0.15, -0.03), (0.6, 0.5), (-0.6, -0.1)])
def test_bent_draws_have_the_density_that_they_say(third, fourth):
    """It integrates to 1; bent little, its logarithm is that of the integrand to the order of what is left out."""
    z = np.linspace(-9.0, 9.0, 36_001)
    placed = Placed.of(np.zeros(1), np.eye(1), np.array([third]), np.array([fourth]))
    y, logs = placed.bent(z[:, None])
    y = y[:, 0]
    assert np.all(np.diff(y) > 0.0)
    density = np.exp(-0.5 * z**2 - logs) / np.sqrt(2.0 * np.pi)
    assert np.trapezoid(density, y) == pytest.approx(1.0, abs=1e-6)
    if abs(third) < 0.2:
        wanted = -0.5 * y**2 + third * (y**3 - 3.0 * y) / 6.0 + fourth * (y**4 - 6.0 * y**2 + 3.0) / 24.0
        apart = (np.log(density) - wanted)[np.abs(z) < 2.5]
        assert np.ptp(apart) < 0.1 * np.ptp(wanted[np.abs(z) < 2.5] + 0.5 * y[np.abs(z) < 2.5] ** 2)


def test_bent_draws_weigh_nearly_the_same(simulate):
    """Of effects of which the data tell little and each something else: the variance of weights is a fourth at most."""
    block = simulate(LOGIT, 200, (60,), binary=True, seed=7)
    rare = np.random.default_rng(1).random(len(block.a)) < 0.85
    block = replace(block, a=rare.astype(float), b=1.0 - rare)
    likelihood, theta = block.likelihood(), block.theta(scale=1.0)
    theta[0] = 1.7
    nothing, spread = np.zeros((len(theta), len(theta))), []
    for bent in (True, False):
        held = HeldDraws(likelihood)
        held.certify(theta, PLAN, nothing, 0.0, np.inf, most=8)
        if not bent:
            held._placed = [
                replace(placed, third=0.0 * placed.third, fourth=0.0 * placed.fourth) for placed in held._placed
            ]
        held._last = None
        spread.append(held.estimate(theta, PLAN, 16, 0))
    assert 1.0 / spread[0].share - 1.0 < 0.25 * (1.0 / spread[1].share - 1.0)
    assert abs(spread[0].value - spread[1].value) < 3.0 * np.hypot(spread[0].standard_error, spread[1].standard_error)
