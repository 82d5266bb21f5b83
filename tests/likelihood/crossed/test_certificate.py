"""The certificate: its derivative against differences, and its errors against integrals by product rules."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.errors import ClusterError, OptionError
from clusterglm.likelihood.crossed import certificate, reference
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
    grown = HeldDraws(block.likelihood())
    grown.estimate(theta, plan, 16)
    parts = grown.estimate(theta, plan, 64)
    at_once = HeldDraws(block.likelihood()).estimate(theta, plan, 64)
    assert parts.draws == at_once.draws == 1024
    assert parts.value == pytest.approx(at_once.value, rel=1e-13)
    assert parts.standard_error == pytest.approx(at_once.standard_error, rel=1e-8)
    np.testing.assert_allclose(parts.score, at_once.score, rtol=0, atol=1e-10)
    values = HeldDraws(block.likelihood()).estimate(theta, plan, 64, 0)
    assert values.value == pytest.approx(at_once.value, rel=1e-13)
    assert np.all(np.isnan(values.score))
    assert grown.estimate(theta, plan, 16).value == HeldDraws(block.likelihood()).estimate(theta, plan, 16).value
    later = grown.estimate(theta, plan, 128, 0)  # some of whose draws have derivatives
    assert later.value == pytest.approx(HeldDraws(block.likelihood()).estimate(theta, plan, 128, 0).value, rel=1e-13)


def test_draws_are_placed_better_where_they_are_not_enough(simulate):
    """Then errors are smaller, the integral the same, and the score that of the estimate."""
    block = simulate(LOGIT, 12, (6,), binary=True, seed=2)
    likelihood, theta, plan = block.likelihood(), block.theta(scale=1.5), hermite(33)
    before = HeldDraws(likelihood).estimate(theta, plan, 64)
    held = HeldDraws(likelihood)
    found = held.certify(theta, plan, np.diag(np.full(len(theta), 0.1)), 0.0, 0.0, most=64)
    assert not found.enough
    assert found.estimate.draws == before.draws == 1024
    assert found.estimate.share > before.share
    assert found.estimate.standard_error < before.standard_error
    apart = np.hypot(found.estimate.standard_error, before.standard_error)
    assert abs(found.estimate.value - before.value) < 3.0 * apart
    want = []
    for e in 1e-4 * np.eye(len(theta)):
        f = [held.estimate(theta + k * e, plan, 8, 0).value for k in (-2, -1, 1, 2)]
        want.append((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / 12e-4)
    np.testing.assert_allclose(held.estimate(theta, plan, 8).score, want, rtol=0, atol=1e-6 * (1 + np.abs(want).max()))


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


def test_too_many_effects_are_refused_in_gibibytes(simulate, monkeypatch):
    monkeypatch.setattr(certificate, "_MOST_GIBIBYTES", 1e-6)
    with pytest.raises(ClusterError, match=r"covariances would fill .* GiB"):
        HeldDraws(simulate(LOGIT, 30, (12,)).likelihood())


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


def dense(block, theta, likelihood, plan, step):
    """The integral of a logit model over one scalar effect of each unit and up to 6 outside, by trapezoid rules.

    Log-probabilities are written out. Of the likelihood only a mode and its factors are taken, as coordinates: nodes
    outside are a product of axes, on which a unit's rows at one level are a table of its node by the unit's.
    """
    mode = likelihood.mode(theta, plan)
    (factor,) = mode.factors
    (term,) = block.terms
    sds = np.sqrt((np.linalg.inv(np.triu(factor)) ** 2).sum(axis=1))
    axis = np.arange(-5.6, 5.6 + 1e-9, step)
    v, u, size = mode.v[:, None] + sds[:, None] * axis, np.arange(-8.0, 8.0 + 1e-9, 0.25), len(sds)
    beta, own, outside = theta[:2], theta[2], theta[3]
    eta = block.X @ beta + block.offset

    def shaped(table, levels):
        return table.reshape([len(axis) if level in levels else 1 for level in range(size)])

    f = sum(shaped(-0.5 * v[level] ** 2, [level]) for level in range(size))
    for first, last in zip(block.starts[:-1], block.starts[1:], strict=True):
        tables, total = {}, 0.0
        for j in range(first, last):
            level = term.levels[j]
            there = eta[j] + outside * term.Z[j] * v[level][:, None] + own * block.Z[j] * u
            log_p = -block.a[j] * np.logaddexp(0.0, -there) - block.b[j] * np.logaddexp(0.0, there)
            tables[level] = tables.get(level, 0.0) + log_p
        levels, halves = sorted(tables), []
        for some in (levels[: len(levels) // 2], levels[len(levels) // 2 :]):
            half = np.ones((1, len(u)))
            for level in some:
                highest = tables[level].max()
                total += highest
                half = (half[:, None, :] * np.exp(tables[level] - highest)).reshape(-1, len(u))
            halves.append(half)
        integral = (halves[0] * np.exp(-0.5 * u**2)) @ halves[1].T
        with np.errstate(divide="ignore"):
            f = f + shaped(np.log(integral) + total + np.log(0.25 / np.sqrt(2.0 * np.pi)), levels)
    highest = f.max()
    volume = size * np.log(step / np.sqrt(2.0 * np.pi)) + np.log(sds).sum()
    return float(highest + np.log(np.exp(f - highest).sum()) + volume)


def test_the_error_is_what_it_says(simulate):
    """On 200 random designs of 1 to 6 outside effects the truth lies within 3 standard errors in at least 98%.

    Of draws where they are first, and of those that are placed better.
    """
    rng, within, plan, number = np.random.default_rng(8), [], hermite(25), 100
    while len(within) < 200:
        number += 1
        block = simulate(LOGIT, int(rng.integers(3, 9)), (int(rng.integers(1, 7)),), seed=number, binary=True)
        likelihood, theta = block.likelihood(), block.theta(scale=float(rng.uniform(0.3, 2.0)), seed=number)
        if len(likelihood.layout.components) > 1:
            continue
        size = likelihood.layout.size
        truly = dense(block, theta, likelihood, plan, 0.7 if size < 5 else 0.8 if size < 6 else 0.93)
        held, nothing = HeldDraws(likelihood, seed=number), np.zeros((len(theta), len(theta)))
        tried = [held.estimate(theta, plan, 8, 0)]
        tried.append(held.certify(theta, plan, nothing, 0.0, np.inf, most=8).estimate)
        within.append([abs(found.value - truly) <= 3.0 * found.standard_error for found in tried])
    assert np.mean(within, axis=0).min() >= 0.98


def test_derivatives_may_be_of_fewer_draws(simulate):
    """The value is that of all, the score that of the estimate with the first of them; and only these were computed."""
    block = simulate(LOGIT, 20, (4,), binary=True, seed=4)
    theta, plan = block.theta(scale=1.2), hermite(15)
    mixed = HeldDraws(block.likelihood()).estimate(theta, plan, 32, scored=8)
    assert mixed.value == pytest.approx(HeldDraws(block.likelihood()).estimate(theta, plan, 32, 0).value, rel=1e-13)
    few = HeldDraws(block.likelihood()).estimate(theta, plan, 8)
    np.testing.assert_allclose(mixed.score, few.score, rtol=1e-10)
    np.testing.assert_allclose(mixed.scores, few.scores, rtol=1e-10)
    found = HeldDraws(block.likelihood()).certify(theta, plan, 1e-6 * np.eye(len(theta)), 1e-4, np.inf, most=64)
    assert found.scored == certificate._FIRST_DRAWS < found.estimate.draws // 16


def test_proposals_and_their_weights(simulate):
    """Weighted means of functions of the effects outside are those by a product rule, component by component."""
    block = simulate(LOGIT, 14, (2,), binary=True, seed=6)
    theta, plan, points = block.theta(scale=1.3), hermite(15), hermite_points(25, 2)
    v, logs = HeldDraws(block.likelihood()).proposed(theta, plan, 4000, np.random.default_rng(3))
    twin = block.twin()
    centre = reference.mode(twin, theta, hermite_points(15, 1))
    grid = centre + 1.4 * points.positions
    at = np.array([reference.at(twin, theta, each, hermite_points(15, 1)).value for each in grid])
    wanted = np.exp((shares := at + points.log_weights) - shares.max())
    components = block.likelihood().layout.components
    assert len(components) == 1
    weights = np.exp(logs[:, 0] - logs[:, 0].max())
    mean = weights @ v / weights.sum()
    exact = wanted @ grid / wanted.sum()
    sd = np.sqrt(wanted @ (grid - exact) ** 2 / wanted.sum())
    share = weights.sum() ** 2 / (weights @ weights)
    assert share > 2000
    np.testing.assert_allclose(mean, exact, atol=4.0 * sd.max() / np.sqrt(share))
