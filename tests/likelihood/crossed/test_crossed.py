"""Crossed factors: the core against its NumPy twin and against differences, at the edges too."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from clusterglm.errors import ClusterError
from clusterglm.likelihood.crossed import layout, reference
from clusterglm.likelihood.crossed.crossed import CrossedLikelihood
from clusterglm.likelihood.crossed.layout import OutsideTerm
from clusterglm.likelihood.nested.nested import NestedLikelihood, NestedPart
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorLikelihood, VectorPart, unstructured
from clusterglm.model.family import RESPONSES, response

EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
DESIGNS = {
    "scalar": {"levels": (5,)},
    "two factors": {"levels": (4, 3), "effects": (1, 1)},
    "vectors outside": {"levels": (4,), "effects": (2,)},
    "vectors everywhere": {"levels": (3, 3), "effects": (2, 1), "d": 2},
    "nested and crossed": {"levels": (4, 3), "effects": (1, 1), "nested": True},
    "one level": {"levels": (1,)},
    "two levels": {"levels": (2,)},
    "components": {"levels": (6,), "nested": True},
}
EACH_DESIGN = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS.keys())


def hermite(nodes, d=1):
    return (VectorPart(hermite_points(nodes, d, nodes > 1)),)


def differences(likelihood, theta, plan, step=1e-4):
    """Fourth-order differences of the value."""
    found = []
    for e in step * np.eye(len(theta)):
        f = [likelihood.evaluate(theta + k * e, plan, 0).value for k in (-2, -1, 1, 2)]
        found.append((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step))
    return np.array(found)


@EACH_RESPONSE
@EACH_DESIGN
def test_values_are_the_twins(model, design, simulate):
    block = simulate(model, 12, **design)
    likelihood, theta, d = block.likelihood(), block.theta(), block.Z.shape[1]
    plan = hermite(9, d)
    value = likelihood.evaluate(theta, plan, 0).value
    assert value == pytest.approx(reference.laplace(block.twin(), theta, plan[0].points), rel=1e-10)
    summit = likelihood.evaluate(theta, likelihood.laplace_plan(), 0).value
    assert summit == pytest.approx(reference.joint(block.twin(), theta), rel=1e-11)


@EACH_RESPONSE
@EACH_DESIGN
@pytest.mark.parametrize("exact", [True, False])
def test_scores_are_the_differences(model, design, exact, simulate):
    """Of fine points the score is as exact as the sum; of one point inside it is that of the joint approximation."""
    block = simulate(model, 12, **design)
    likelihood, theta, d = block.likelihood(), block.theta(), block.Z.shape[1]
    plan = hermite((33 if d == 1 else 41) if exact else 1, d)
    want = differences(likelihood, theta, plan)
    score = likelihood.evaluate(theta, plan, 1).score
    np.testing.assert_allclose(score, want, rtol=0, atol=1e-6 * (1 + np.abs(want).max()))


def test_weights_are_repeats(simulate):
    """A unit of weight 2 is two units that touch the same outside effects."""
    model = response("binomial", "logit")
    block = simulate(model, 10, (4,))
    sizes = np.diff(block.starts)
    rows = np.concatenate([np.tile(np.arange(block.starts[i], block.starts[i + 1]), 2) for i in range(10)])
    (term,) = block.terms
    twice = replace(
        block,
        **{name: np.ascontiguousarray(getattr(block, name)[rows]) for name in ("X", "Z", "a", "b", "offset")},
        starts=np.concatenate([[0], np.cumsum(np.repeat(sizes, 2))]).astype(np.int64),
        cluster_weights=np.ones(20),
        terms=(OutsideTerm(term.Z[rows], term.levels[rows], term.free),),
    )
    weighted = replace(block, cluster_weights=np.full(10, 2.0))
    theta = block.theta()
    for plan in (hermite(9), hermite(1)):
        one, two = (each.likelihood().evaluate(theta, plan, 1) for each in (weighted, twice))
        assert one.value == pytest.approx(two.value, rel=1e-12)
        np.testing.assert_allclose(one.score, two.score, rtol=0, atol=1e-10)


def test_threads_give_the_same_bits(simulate):
    block = simulate(response("binomial", "logit"), 400, (30, 7), (2, 1), binary=True)
    theta = block.theta()
    for plan in (hermite(9), hermite(1)):
        one, three = (block.likelihood(threads).evaluate(theta, plan, 1) for threads in (1, 3))
        assert one.value == three.value
        np.testing.assert_array_equal(one.score, three.score)


def test_hessian_is_the_differences_of_the_score(simulate):
    block = simulate(response("binomial", "probit"), 15, (4,))
    likelihood, theta, plan = block.likelihood(), block.theta(), hermite(15)
    hessian = likelihood.evaluate(theta, plan).hessian
    step = 1e-4 * np.eye(len(theta))
    scores = [[likelihood.evaluate(theta + k * e, plan, 1).score for k in (-1, 1)] for e in step]
    np.testing.assert_allclose(hessian, [(up - down) / 2e-4 for down, up in scores], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(hessian, hessian.T)


@EACH_DESIGN
@pytest.mark.parametrize("nodes", [1, 33])
def test_scores_allow_for_a_mode_that_was_missed(design, nodes, simulate):
    """One step from beside the mode leaves a second-order error: a hundredth as much from a tenth as far."""
    block = simulate(response("binomial", "logit"), 12, **design)
    likelihood, theta = block.likelihood(), block.theta()
    plan = hermite(nodes, block.Z.shape[1]) if nodes > 1 and block.Z.shape[1] == 1 else likelihood.laplace_plan()
    mode, score = likelihood.mode(theta, plan), likelihood.evaluate(theta, plan, 1).score
    direction = np.random.default_rng(5).normal(size=len(mode.v))
    missed = []
    for far in (1e-3, 1e-4):
        near = likelihood.near(theta, replace(mode, v=mode.v + far * direction), plan)
        missed.append(np.abs(likelihood._score(theta, near, plan) - score).max())
    assert missed[1] < 0.03 * missed[0] + 1e-10
    assert missed[0] < 1e-4


@EACH_DESIGN
def test_effects_and_rows_are_those_of_the_matrix(design, simulate):
    """B v and B' by, B written out."""
    block = simulate(response("binomial", "logit"), 12, **design)
    likelihood, theta = block.likelihood(), block.theta()
    inside, rng = likelihood.inside, np.random.default_rng(6)
    layout, slopes = inside.layout, inside.slopes(theta)
    B = np.zeros((len(slopes), layout.size))
    for k in range(slopes.shape[1]):
        np.add.at(B, (np.arange(len(B)), layout.columns[:, k]), slopes[:, k])
    v, by = rng.normal(size=layout.size), rng.normal(size=len(B))
    np.testing.assert_allclose(layout.spread(slopes, v), B @ v, rtol=0, atol=1e-13)
    np.testing.assert_allclose(layout.gather(slopes, by), B.T @ by, rtol=0, atol=1e-12)


@EACH_RESPONSE
@EACH_DESIGN
def test_modes_are_foreseen(model, design, simulate):
    """dv^/dtheta of the joint approximation, by differences of modes."""
    block = simulate(model, 12, **design)
    likelihood, theta = block.likelihood(), block.theta()
    plan = likelihood.laplace_plan()
    mode, inside = likelihood.mode(theta, plan), likelihood.inside
    solve = partial(likelihood.solved, mode.factors)
    _, follows = inside.information(theta, mode.v, plan, mode.gradient.rows, solve)
    for k, e in enumerate(1e-4 * np.eye(len(theta))):
        ahead, behind = (block.likelihood().mode(theta + side * e, plan).v for side in (1, -1))
        np.testing.assert_allclose(follows[:, k], (ahead - behind) / 2e-4, rtol=0, atol=1e-6)


@EACH_DESIGN
def test_modes_are_not_expected_far_out(design, simulate):
    """From next to no effects to large ones of another sign, as a step of a search may go."""
    block = simulate(response("poisson", "log"), 12, **design)
    likelihood, theta = block.likelihood(), block.theta()
    plan = likelihood.laplace_plan()
    theta[-1] = 6e-17
    likelihood.evaluate(theta, plan, 1)
    theta[-1] = -2.0
    assert np.abs(likelihood._expected(theta, plan)).max() <= 6.0


def test_a_glance_is_near_the_value_and_leaves_no_trace(simulate):
    block = simulate(response("binomial", "logit"), 30, (5, 4), (1, 1), binary=True, seed=3)
    likelihood, plan = block.likelihood(), hermite(9)
    here, there = block.theta(), block.theta(scale=2.0, seed=8)
    first = likelihood.evaluate(here, plan, 1)
    exact = block.likelihood().evaluate(there, plan, 0).value
    assert likelihood.glanced(there, plan, exact - 1.0) == pytest.approx(exact, abs=0.02)
    assert likelihood.glanced(there, plan) == pytest.approx(exact, rel=1e-12)
    again = likelihood.evaluate(here, plan, 1)
    assert again.value == first.value
    assert np.array_equal(again.score, first.score)


@pytest.mark.parametrize(("trials", "most"), [(1, 0.5), (8, 0.2)])
def test_average_information_is_nearly_the_hessian(trials, most, simulate):
    """What a step of Newton's method with it leaves of the way, of units with points too; few trials tell little."""
    likelihood, theta = binomial_of(trials, simulate), np.array([0.2, -0.4, 1.0, 0.8])
    for plan in (hermite(1), hermite(15)):
        exact, mode = likelihood.evaluate(theta, plan), likelihood.mode(theta, plan)
        solve = partial(likelihood.solved, mode.factors)
        found = likelihood.inside.information(theta, mode.v, plan, mode.gradient.rows, solve)[0]
        left = np.linalg.eigvals(np.eye(4) + np.linalg.solve(found, exact.hessian))
        assert np.abs(left).max() < most


@pytest.mark.parametrize("times", [(0.5, 0.5), (0.5, 2.0), (2.0, 0.5), (2.0, 2.0)])
def test_rough_steps_end_near_the_maximum(times, simulate):
    """From standard deviations half as large as there, or twice, those after one step are within a quarter."""
    likelihood = binomial_of(8, simulate)
    for plan in (hermite(1), hermite(15)):
        theta = np.array([0.2, -0.4, 1.0, 0.8])
        for _ in range(12):
            there = likelihood.roughly(theta, plan)
            exact = likelihood.evaluate(theta, plan, 1)
            assert there.value == exact.value
            np.testing.assert_array_equal(there.score, exact.score)
            theta = theta - np.linalg.solve(there.hessian, there.score)
        np.testing.assert_allclose(likelihood.evaluate(theta, plan, 1).score, 0.0, rtol=0, atol=1e-4)
        begin = theta * [1.0, 1.0, *times]
        there = likelihood.roughly(begin, plan)
        begin = begin - np.linalg.solve(there.hessian, there.score)
        np.testing.assert_allclose(begin[2:], theta[2:], rtol=0.25, atol=0)


def binomial_of(trials, simulate):
    """400 units and 40 levels outside, whose standard deviations are 1 and 0.8."""
    block = simulate(response("binomial", "logit"), 400, (40,), binary=True)
    rng, (term,) = np.random.default_rng(5), block.terms
    units = np.repeat(rng.normal(size=400), np.diff(block.starts))
    eta = block.X @ [0.2, -0.4] + block.offset + units + 0.8 * rng.normal(size=40)[term.levels]
    a = rng.binomial(trials, 1.0 / (1.0 + np.exp(-eta))).astype(float)
    return replace(block, a=a, b=trials - a).likelihood()


@pytest.mark.parametrize("nodes", [3, 5])
def test_few_nodes_have_the_score_of_their_value(nodes, simulate):
    block = simulate(response("binomial", "logit"), 12, (4,))
    likelihood, theta = block.likelihood(), block.theta()
    plan = (VectorPart(hermite_points(nodes, 1)),)
    assert likelihood.evaluate(theta, plan, 0).value == pytest.approx(
        reference.laplace(block.twin(), theta, plan[0].points), rel=1e-9
    )
    want = differences(likelihood, theta, plan)
    np.testing.assert_allclose(likelihood.evaluate(theta, plan, 1).score, want, rtol=0, atol=1e-6)


def test_points_that_stay_and_points_that_follow(simulate):
    """Points chosen unit by unit at the mode serve there; the score is that of their sum."""
    block = simulate(response("binomial", "logit"), 30, (5,), binary=True)
    likelihood, theta = block.likelihood(), block.theta(scale=3.0)
    choice = likelihood.choose(theta, 1e-6)
    assert choice.error <= 1e-6
    value = likelihood.evaluate(theta, choice.plan, 1)
    assert value.value == pytest.approx(likelihood.evaluate(theta, hermite(200), 0).value, abs=1e-5)
    want = differences(likelihood, theta, choice.plan)
    np.testing.assert_allclose(value.score, want, rtol=0, atol=1e-5 * (1 + np.abs(want).max()))


def test_a_nested_design_gives_the_nested_result(simulate):
    """Joint approximations agree whatever way the effects are eliminated."""
    model = response("binomial", "logit")
    block = simulate(model, 12, (3,), nested=True)
    (term,) = block.terms
    theta = block.theta()
    upper = np.append(np.flatnonzero(np.diff(term.levels, prepend=-1)), len(term.levels)).astype(np.int64)
    data = replace(block, starts=upper, cluster_weights=np.ones(3))
    nested = NestedLikelihood(block.X, block.Z, block.Z, data, block.starts, model)
    one = hermite_points(1, 1)
    moved = theta[[0, 1, 3, 2]]
    want = nested.evaluate(moved, (NestedPart(one, one),), 1)
    got = block.likelihood().evaluate(theta, hermite(1), 1)
    assert got.value == pytest.approx(want.value, abs=1e-8)
    np.testing.assert_allclose(got.score, want.score[[0, 1, 3, 2]], rtol=0, atol=1e-7)


def test_factors_of_zero_leave_one_factor(simulate):
    """Without variance outside the likelihood is that of the units, and its score in the standard deviation is 0."""
    model = response("binomial", "logit")
    block = simulate(model, 12, (4,))
    theta = np.array([0.2, -0.4, 0.8, 0.0])
    got = block.likelihood().evaluate(theta, hermite(15), 1)
    want = VectorLikelihood(block.X, block.Z, block, model).evaluate(theta[:3], hermite(15), 1)
    assert got.value == pytest.approx(want.value, rel=1e-12)
    np.testing.assert_allclose(got.score, [*want.score, 0.0], rtol=0, atol=1e-8)


def test_components_are_integrals_of_their_own(simulate):
    """Two halves that share nothing: their log-likelihoods add up; one of the components has a single row."""
    model = response("binomial", "logit")
    block = simulate(model, 12, (4,))
    (term,) = block.terms
    n = len(block.X)
    joined = replace(
        block,
        X=np.vstack([block.X, [[1.0, 0.3]]]),
        Z=np.vstack([block.Z, [[1.0]]]),
        a=np.append(block.a, 1.0),
        b=np.append(block.b, 0.0),
        offset=np.append(block.offset, 0.0),
        starts=np.append(block.starts, n + 1),
        cluster_weights=np.ones(13),
        terms=(OutsideTerm(np.ones((n + 1, 1)), np.append(term.levels, 4), unstructured(1)),),
    )
    alone = replace(
        joined,
        **{name: np.ascontiguousarray(getattr(joined, name)[n:]) for name in ("X", "Z", "a", "b", "offset")},
        starts=np.array([0, 1]),
        cluster_weights=np.ones(1),
        terms=(OutsideTerm(np.ones((1, 1)), np.zeros(1, dtype=np.int64), unstructured(1)),),
    )
    theta = block.theta()
    assert len(joined.likelihood().layout.components) == len(block.likelihood().layout.components) + 1
    for plan in (hermite(15), hermite(1)):
        whole, first, second = (each.likelihood().evaluate(theta, plan, 1) for each in (joined, block, alone))
        assert whole.value == pytest.approx(first.value + second.value, rel=1e-12)
        np.testing.assert_allclose(whole.score, first.score + second.score, rtol=0, atol=1e-10)


def test_levels_that_say_nothing_and_levels_without_rows(simulate):
    """An item that all answer alike counts; a slope that is 0 in a level's rows leaves the level's effect at 0."""
    model = response("binomial", "logit")
    block = simulate(model, 12, (4,), (2,), binary=True)
    (term,) = block.terms
    of_first = term.levels == 0
    Z = term.Z.copy()
    Z[of_first, 1] = 0.0
    a = np.where(of_first, 1.0, block.a)
    block = replace(block, a=a, b=1.0 - a, terms=(OutsideTerm(Z, term.levels + 1, term.free),))
    likelihood, theta, plan = block.likelihood(), block.theta(), hermite(25)
    at = likelihood.evaluate(theta, plan, 1)
    assert at.value == pytest.approx(reference.laplace(block.twin(), theta, plan[0].points), rel=1e-10)
    np.testing.assert_allclose(at.score, differences(likelihood, theta, plan), rtol=0, atol=3e-6)
    assert sum(len(own) for own in likelihood.layout.components) == 8  # the level without rows is nowhere


def test_too_many_effects_are_refused_in_gibibytes(simulate, monkeypatch):
    block = simulate(response("binomial", "logit"), 30, (12,))
    monkeypatch.setattr(layout, "_MOST_EFFECTS", 5)
    with pytest.raises(ClusterError, match=r"hang together, whose covariances would fill .* GiB"):
        CrossedLikelihood(block.X, block.Z, block, block.terms, block.model)
