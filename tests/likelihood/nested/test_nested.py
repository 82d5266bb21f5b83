"""Nested effects: the core against its NumPy twin, against differences, and against the likelihood of one level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clusterglm.likelihood.nested import reference
from clusterglm.likelihood.nested.nested import NestedPart
from clusterglm.likelihood.vector.points import hermite_points, lattice
from clusterglm.likelihood.vector.vector import VectorLikelihood, VectorPart, diagonal, unstructured
from clusterglm.model.family import RESPONSES, response

EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
EACH_DIMENSION = pytest.mark.parametrize(("d1", "d2"), [(1, 1), (2, 1), (1, 2), (2, 2)])
UNITS = ((3, 1, 6), (1,), (5, 9), (30,))


def central(f, theta, step=1e-5):
    """Central differences of the value and the score."""
    ups, downs = [f(theta + step * e) for e in np.eye(len(theta))], [f(theta - step * e) for e in np.eye(len(theta))]
    score = np.array([(u.value - v.value) / (2 * step) for u, v in zip(ups, downs, strict=True)])
    hessian = np.array([(u.score - v.score) / (2 * step) for u, v in zip(ups, downs, strict=True)])
    return score, hessian


def hermite(nodes, d1, d2, *, accurate=False):
    return NestedPart(hermite_points(nodes, d1, accurate), hermite_points(nodes, d2, accurate))


def shifted(places):
    """Other places than the modes, their factors turned to lower triangles."""
    return replace(
        places,
        centres1=places.centres1 + 0.1,
        factors1=1.2 * np.linalg.cholesky(places.factors1 @ places.factors1.transpose(0, 2, 1)),
        centres2=places.centres2 - 0.1,
        slopes2=0.9 * places.slopes2,
        factors2=1.1 * np.linalg.cholesky(places.factors2 @ places.factors2.transpose(0, 2, 1)),
    )


@EACH_RESPONSE
@EACH_DIMENSION
@pytest.mark.parametrize("structure", [unstructured, diagonal], ids=["unstructured", "diagonal"])
@pytest.mark.parametrize("weighted", [False, True])
def test_core_equals_its_twin(model, d1, d2, structure, weighted, simulate, parameters):
    block, free1, free2 = simulate(model, UNITS, d1, d2, weighted=weighted), structure(d1), structure(d2)
    theta, likelihood = parameters(free1, free2), block.likelihood(model, free1, free2)
    twin = reference.Model(model, free1, free2)
    places = shifted(likelihood.modes(theta, None))
    nodes = {2: 6, 3: 4, 4: 3}[d1 + d2]
    for upper, lower in (
        (hermite_points(nodes, d1), hermite_points(nodes + 1, d2)),
        (lattice(0.9, 1.8, d1), lattice(1.1, 2.2, d2)),
    ):
        value, score, hessian = block.twin(theta, twin, upper, lower, places)
        got = likelihood.evaluate(theta, (NestedPart(upper, lower, None, places),))
        assert got.value == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(got.score, score, rtol=0, atol=1e-11 * np.abs(score).max())
        np.testing.assert_allclose(got.hessian, hessian, rtol=0, atol=1e-11 * np.abs(hessian).max())
        np.testing.assert_array_equal(got.hessian, got.hessian.T)
    part = hermite(nodes, d1, d2, accurate=True)  # about modes; the Hessian is that of points held
    value, _, hessian = block.twin(theta, twin, part.upper, part.lower)
    got = likelihood.evaluate(theta, (part,))
    assert got.value == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose(got.hessian, hessian, rtol=0, atol=1e-8 * np.abs(hessian).max())


@EACH_RESPONSE
@EACH_DIMENSION
def test_moments_of_effects_equal_the_twins(model, d1, d2, simulate, parameters):
    block, free1, free2 = simulate(model, UNITS[:3], d1, d2), unstructured(d1), unstructured(d2)
    theta, likelihood = parameters(free1, free2), block.likelihood(model)
    places = likelihood.modes(theta, None)
    part = replace(hermite(4, d1, d2), places=places)
    got = likelihood.posterior(theta, (part,))
    first = 0
    for i in range(3):
        place = block.place(places, i)
        want = reference.sums(block.unit(i), theta, reference.Model(model, free1, free2), part.upper, part.lower, place)
        children = slice(first, first + len(want.means2))
        first = children.stop
        np.testing.assert_allclose(got.means1[i], want.mean1, rtol=0, atol=1e-10)
        np.testing.assert_allclose(got.covariances1[i], want.covariance1, rtol=0, atol=1e-10)
        np.testing.assert_allclose(got.means2[children], want.means2, rtol=0, atol=1e-10)
        np.testing.assert_allclose(got.covariances2[children], want.covariances2, rtol=0, atol=1e-10)
        np.testing.assert_allclose(got.across[children], want.across, rtol=0, atol=1e-10)
        mode = reference.mode(block.unit(i), theta, reference.Model(model, free1, free2))
        np.testing.assert_allclose(got.modes1[i], mode.centre1, rtol=0, atol=1e-10)
        np.testing.assert_allclose(got.modes2[children], mode.centres2, rtol=0, atol=1e-10)


@EACH_RESPONSE
@EACH_DIMENSION
@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_derivatives_of_few_nodes_are_those_of_their_sum(model, d1, d2, nodes, simulate, parameters):
    """Points move with the joint mode, and the score knows it."""
    block, free1, free2 = simulate(model, UNITS, d1, d2), unstructured(d1), unstructured(d2)
    theta, likelihood, plan = parameters(free1, free2), block.likelihood(model), (hermite(nodes, d1, d2),)
    at = likelihood.evaluate(theta, plan)
    score, hessian = central(lambda t: likelihood.evaluate(t, plan, 1), theta)
    np.testing.assert_allclose(at.score, score, rtol=0, atol=1e-7 * (1 + np.abs(score).max()))
    np.testing.assert_allclose(at.hessian, hessian, rtol=0, atol=3e-6 * (1 + np.abs(hessian).max()))
    np.testing.assert_array_equal(at.hessian, at.hessian.T)


@EACH_RESPONSE
@EACH_DIMENSION
def test_derivatives_of_points_that_stay(model, d1, d2, simulate, parameters):
    block, free1, free2 = simulate(model, UNITS, d1, d2), unstructured(d1), unstructured(d2)
    theta, likelihood = parameters(free1, free2), block.likelihood(model)
    places = shifted(likelihood.modes(theta, None))
    plan = (NestedPart(lattice(0.9, 3.6, d1), lattice(0.9, 3.6, d2), None, places),)
    at = likelihood.evaluate(theta, plan)
    score, hessian = central(lambda t: likelihood.evaluate(t, plan), theta, 2e-6)
    np.testing.assert_allclose(at.score, score, rtol=0, atol=3e-7 * (1 + np.abs(score).max()))
    np.testing.assert_allclose(at.hessian, hessian, rtol=0, atol=3e-7 * (1 + np.abs(hessian).max()))


@EACH_RESPONSE
@pytest.mark.parametrize("d1", [1, 2])
@pytest.mark.parametrize("nodes", [1, 4, 9])
def test_without_variation_of_children_it_is_the_likelihood_of_one_level(model, d1, nodes, simulate, parameters):
    block, free1 = simulate(model, UNITS, d1, 1), unstructured(d1)
    theta = parameters(free1, unstructured(0))
    vector = VectorLikelihood(block.X, block.Z1, block, model)
    want = vector.evaluate(theta, (VectorPart(hermite_points(nodes, d1)),))
    got = block.likelihood(model).evaluate(np.append(theta, 0.0), (hermite(nodes, d1, 1),))
    same = np.arange(len(theta))
    assert got.value == pytest.approx(want.value, rel=1e-12)
    np.testing.assert_allclose(got.score[same], want.score, rtol=0, atol=1e-9 * np.abs(want.score).max())
    np.testing.assert_allclose(
        got.hessian[np.ix_(same, same)], want.hessian, rtol=0, atol=1e-7 * np.abs(want.hessian).max()
    )


@EACH_RESPONSE
def test_without_variation_of_units_children_are_clusters(model, simulate):
    block = simulate(model, UNITS, 1, 1, weighted=False)
    children = replace(block, starts=block.child_starts, cluster_weights=np.ones(len(block.child_starts) - 1))
    theta = np.array([0.3, -0.5, 0.8, 0.9])
    want = VectorLikelihood(block.X, block.Z2, children, model).evaluate(theta, (VectorPart(hermite_points(9, 1)),))
    got = block.likelihood(model).evaluate(np.insert(theta, 3, 0.0), (hermite(9, 1, 1),))
    keep = [0, 1, 2, 4]
    assert got.value == pytest.approx(want.value, rel=1e-12)
    np.testing.assert_allclose(got.score[keep], want.score, rtol=0, atol=1e-9 * np.abs(want.score).max())
    np.testing.assert_allclose(got.hessian[np.ix_(keep, keep)], want.hessian, rtol=1e-8, atol=1e-8)


@EACH_RESPONSE
def test_parts_add_up(model, simulate, parameters):
    """By unit, by order, by thread, by part of the plan."""
    block = simulate(model, UNITS * 60, 2, 1)
    theta, likelihood = parameters(unstructured(2), unstructured(1)), block.likelihood(model)
    plan = (hermite(5, 2, 1, accurate=True),)
    likelihood.evaluate(theta, plan, 0)  # where modes are, all searches begin alike
    at = likelihood.evaluate(theta, plan)
    for threads in (2, 5):
        other = block.likelihood(model, threads=threads)
        other.evaluate(theta, plan, 0)
        again = other.evaluate(theta, plan)
        assert again.value == at.value
        np.testing.assert_array_equal(again.score, at.score)
        np.testing.assert_array_equal(again.hessian, at.hessian)
    assert likelihood.evaluate(theta, plan, 0).value == at.value
    np.testing.assert_allclose(likelihood.evaluate(theta, plan, 1).score, at.score, rtol=1e-10, atol=1e-10)
    assert likelihood.cluster_values(theta, plan).sum() == pytest.approx(at.value, rel=1e-13)
    np.testing.assert_allclose(likelihood.unit_scores(theta, plan).sum(axis=0), at.score, rtol=1e-10, atol=1e-9)
    even, odd = np.arange(0, 240, 2), np.arange(1, 240, 2)
    split = likelihood.evaluate(theta, tuple(replace(plan[0], units=units) for units in (even, odd)))
    assert split.value == pytest.approx(at.value, rel=1e-13)
    np.testing.assert_allclose(split.hessian, at.hessian, rtol=0, atol=1e-10 * np.abs(at.hessian).max())


@EACH_RESPONSE
def test_long_children_are_taken_in_parts(model, simulate, parameters):
    """Derivatives of so many rows at so many points do not fit into what is kept, of units or of children."""
    block, free = simulate(model, ((90, 1100), (40, 30)), 1, 1), unstructured(1)
    theta, likelihood = parameters(free, free), block.likelihood(model)
    places = likelihood.modes(theta, None)
    upper, lower = hermite_points(20, 1), hermite_points(12, 1)
    value, score, hessian = block.twin(theta, reference.Model(model, free, free), upper, lower, places)
    got = likelihood.evaluate(theta, (NestedPart(upper, lower, None, places),))
    assert got.value == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(got.score, score, rtol=0, atol=1e-10 * np.abs(score).max())
    np.testing.assert_allclose(got.hessian, hessian, rtol=0, atol=1e-10 * np.abs(hessian).max())


@EACH_RESPONSE
@pytest.mark.parametrize("offset", [-900.0, -250.0, 40.0, 290.0])
def test_far_linear_predictors(model, offset, simulate):
    """Out of the range of exponentials, and where only products of them are; the twin has no such ranges."""
    if not model.bounded and offset > 100.0:
        offset = 30.0
    block = simulate(model, ((4, 2), (1, 3)), 1, 1)
    block, free = replace(block, offset=block.offset + offset), unstructured(1)
    theta = np.array([0.3, -0.5, 0.8, 12.0, 7.0])
    likelihood, part = block.likelihood(model), hermite(9, 1, 1)
    got = likelihood.evaluate(theta, (part,))
    assert np.isfinite(got.value)
    assert np.isfinite(got.score).all()
    assert np.isfinite(got.hessian).all()
    places = likelihood.modes(theta, None)
    value, _, _ = block.twin(theta, reference.Model(model, free, free), part.upper, part.lower, places)
    assert got.value == pytest.approx(value, rel=1e-9)


def test_what_the_core_refuses(simulate):
    model = response("binomial", "logit")
    block = simulate(model, UNITS, 2, 1)
    with pytest.raises(ValueError, match="points: of as many dimensions"):
        block.likelihood(model).evaluate(np.zeros(7), (hermite(3, 1, 1),))
    with pytest.raises(ValueError, match="free entries of both factors"):
        block.likelihood(model).evaluate(np.zeros(6), (hermite(3, 2, 1),))
    with pytest.raises(ValueError, match="lower triangle"):
        block.likelihood(model, np.ones((2, 2), dtype=bool)).evaluate(np.zeros(8), (hermite(3, 2, 1),))
    wrong = replace(block, child_starts=block.child_starts + (block.child_starts == block.starts[3]))
    with pytest.raises(ValueError, match="units begin where their first child does"):
        wrong.likelihood(model).evaluate(np.zeros(7), (hermite(3, 2, 1),))
