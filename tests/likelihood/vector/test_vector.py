"""Several effects: the core against its NumPy twin, against differences, and at the ends of the range of numbers."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest

from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import single_rule
from clusterglm.likelihood.vector import reference
from clusterglm.likelihood.vector.points import hermite_points, lattice, quasi_random
from clusterglm.likelihood.vector.vector import VectorLikelihood, VectorPart, diagonal, unstructured
from clusterglm.model.distribution import Gaussian
from clusterglm.model.family import RESPONSES, response

EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
EACH_DIMENSION = pytest.mark.parametrize("d", [1, 2, 3])
EACH_STRUCTURE = pytest.mark.parametrize("structure", [unstructured, diagonal], ids=["unstructured", "diagonal"])
SIZES = (6, 1, 4, 30)


def central(f, theta, step=1e-5):
    """Central differences of the value and the score."""
    ups, downs = [f(theta + step * e) for e in np.eye(len(theta))], [f(theta - step * e) for e in np.eye(len(theta))]
    score = np.array([(u.value - v.value) / (2 * step) for u, v in zip(ups, downs, strict=True)])
    hessian = np.array([(u.score - v.score) / (2 * step) for u, v in zip(ups, downs, strict=True)])
    return score, hessian


@EACH_RESPONSE
@EACH_DIMENSION
@EACH_STRUCTURE
@pytest.mark.parametrize("weighted", [False, True])
def test_core_equals_its_twin(model, d, structure, weighted, simulate, parameters):
    block, free = simulate(model, SIZES, d, weighted=weighted), structure(d)
    theta, likelihood = parameters(free), block.likelihood(model, free)
    places = block.about_modes(theta, model, free)
    for points in (hermite_points(5 if d == 3 else 8, d), lattice(0.9, 4.0, d), quasi_random(16, d, 3)):
        value, score, hessian = block.twin(theta, model, points, free, places)
        got = likelihood.evaluate(theta, (VectorPart(points, None, places),))
        assert got.value == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(got.score, score, rtol=0, atol=1e-11 * np.abs(score).max())
        np.testing.assert_allclose(got.hessian, hessian, rtol=0, atol=1e-11 * np.abs(hessian).max())
    points = hermite_points(5 if d == 3 else 8, d, accurate=True)  # about modes; the Hessian is that of points held
    value, _, hessian = block.twin(theta, model, points, free)
    got = likelihood.evaluate(theta, (VectorPart(points),))
    assert got.value == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose(got.hessian, hessian, rtol=0, atol=1e-8 * np.abs(hessian).max())


@EACH_RESPONSE
@EACH_DIMENSION
@EACH_STRUCTURE
@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_derivatives_of_few_nodes_are_those_of_their_sum(model, d, structure, nodes, simulate, parameters):
    block, free = simulate(model, SIZES, d), structure(d)
    theta, likelihood, plan = parameters(free), block.likelihood(model, free), (VectorPart(hermite_points(nodes, d)),)
    at = likelihood.evaluate(theta, plan)
    score, hessian = central(lambda t: likelihood.evaluate(t, plan, 1), theta)
    np.testing.assert_allclose(at.score, score, rtol=0, atol=1e-7 * (1 + np.abs(score).max()))
    np.testing.assert_allclose(at.hessian, hessian, rtol=0, atol=3e-6 * (1 + np.abs(hessian).max()))
    np.testing.assert_array_equal(at.hessian, at.hessian.T)


@EACH_RESPONSE
@EACH_DIMENSION
@EACH_STRUCTURE
@pytest.mark.parametrize("sizes", [SIZES, (300,)], ids=["short", "long"])
def test_derivatives_of_points_that_stay(model, d, structure, sizes, simulate, parameters):
    block, free = simulate(model, sizes, d), structure(d)
    theta, likelihood = parameters(free), block.likelihood(model, free)
    plan = (VectorPart(lattice(0.9, 4.0, d), None, block.about_modes(theta, model, free)),)
    at = likelihood.evaluate(theta, plan)
    score, hessian = central(lambda t: likelihood.evaluate(t, plan), theta, 2e-6)
    np.testing.assert_allclose(at.score, score, rtol=0, atol=3e-7 * (1 + np.abs(score).max()))
    np.testing.assert_allclose(at.hessian, hessian, rtol=0, atol=3e-7 * (1 + np.abs(hessian).max()))
    np.testing.assert_array_equal(at.hessian, at.hessian.T)


@EACH_RESPONSE
@EACH_DIMENSION
def test_all_points_tell_the_same_integral(model, d, simulate, parameters):
    block, free = simulate(model, (6, 1, 9), d), unstructured(d)
    theta, likelihood = parameters(free, 0.5), block.likelihood(model)
    want = [reference.dense(block.rows(i), theta, free, model, 81 if d == 3 else 301) for i in range(3)]
    places = block.about_modes(theta, model, scale=1.0)
    want = np.array(want) * block.cluster_weights
    fine = likelihood.cluster_values(theta, (VectorPart(lattice(0.25, 10.0, d), None, places),))
    np.testing.assert_allclose(fine, want, rtol=0, atol=1e-7)
    many = likelihood.cluster_values(theta, (VectorPart(hermite_points(60 if d < 3 else 20, d)),))
    np.testing.assert_allclose(many, want, rtol=0, atol=1e-7 if d < 3 else 1e-4)
    rough = likelihood.cluster_values(theta, (VectorPart(quasi_random(4096, d), None, places),))
    np.testing.assert_allclose(rough, want, rtol=0, atol=3e-3)


@EACH_RESPONSE
@pytest.mark.parametrize("nodes", [1, 4, 9])
@pytest.mark.parametrize("weighted", [False, True])
def test_one_effect_is_a_random_intercept(model, nodes, weighted, simulate):
    block = simulate(model, SIZES, 1, weighted=weighted)
    theta = np.array([0.3, -0.5, 0.8, 0.9])
    scalar = MarginalLikelihood(core_problem(block.X, block, model), Gaussian(), "normal")
    want, vector = scalar.evaluate(theta, single_rule(nodes)), block.likelihood(model)
    plan = (VectorPart(replace(hermite_points(nodes, 1), fine=False)),)
    got = vector.evaluate(theta, plan)
    assert got.value == pytest.approx(want.value, rel=1e-10)  # as far as its search for modes goes
    np.testing.assert_allclose(got.score, want.score, rtol=0, atol=1e-9 * np.abs(want.score).max())
    np.testing.assert_allclose(got.hessian, want.hessian, rtol=0, atol=1e-6 * np.abs(want.hessian).max())
    np.testing.assert_allclose(
        vector.unit_scores(theta, plan), scalar.unit_scores(theta, single_rule(nodes)), rtol=0, atol=1e-8
    )
    if nodes == 9:
        posterior = vector.posterior(theta, plan)
        means, sds = scalar.posterior(theta, single_rule(nodes))
        np.testing.assert_allclose(0.9 * posterior.means[:, 0], means, rtol=1e-8)
        np.testing.assert_allclose(0.9 * np.sqrt(posterior.covariances[:, 0, 0]), sds, rtol=1e-8)


@EACH_RESPONSE
def test_parts_add_up(model, simulate, parameters):
    """By cluster, by order, by thread, by part of the plan."""
    block, free = simulate(model, tuple([5, 9, 1, 14] * 120), 2), unstructured(2)
    theta, likelihood = parameters(free), block.likelihood(model)
    plan = (VectorPart(hermite_points(9, 2)),)
    likelihood.evaluate(theta, plan, 0)  # where modes are, all searches begin alike
    at = likelihood.evaluate(theta, plan)
    for threads in (2, 3, 7):
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
    even, odd = np.arange(0, 480, 2), np.arange(1, 480, 2)
    split = likelihood.evaluate(theta, (VectorPart(plan[0].points, even), VectorPart(plan[0].points, odd)))
    assert split.value == pytest.approx(at.value, rel=1e-13)
    np.testing.assert_allclose(split.hessian, at.hessian, rtol=0, atol=1e-10 * np.abs(at.hessian).max())


@EACH_RESPONSE
def test_a_long_cluster_is_taken_in_parts(model, simulate, parameters):
    """Derivatives of 3,000 rows at 400 points do not fit into what is kept."""
    block, free = simulate(model, (3000, 3), 2), unstructured(2)
    theta = parameters(free)
    places = block.about_modes(theta, model)
    points = hermite_points(20, 2)
    value, score, hessian = block.twin(theta, model, points, free, places)
    got = block.likelihood(model).evaluate(theta, (VectorPart(points, None, places),))
    assert got.value == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(got.score, score, rtol=0, atol=1e-10 * np.abs(score).max())
    np.testing.assert_allclose(got.hessian, hessian, rtol=0, atol=1e-10 * np.abs(hessian).max())


@EACH_RESPONSE
@pytest.mark.parametrize("offset", [-900.0, -250.0, 40.0, 290.0])
def test_far_linear_predictors(model, offset, simulate, parameters):
    """Out of the range of exponentials, and where only products of them are; the twin has no such ranges."""
    if not model.bounded and offset > 100.0:
        offset = 30.0
    block, free = simulate(model, (4, 2), 2), unstructured(2)
    block = replace(block, offset=block.offset + offset)
    theta = np.array([0.3, -0.5, 0.8, 12.0, -3.0, 7.0])
    likelihood, plan = block.likelihood(model), (VectorPart(hermite_points(9, 2)),)
    got = likelihood.evaluate(theta, plan)
    assert np.isfinite(got.value)
    assert np.isfinite(got.score).all()
    assert np.isfinite(got.hessian).all()
    places = likelihood.modes(theta, None)
    for i in range(2):
        rows = block.rows(i)
        here = reference.log_integrand(rows, theta, free, model, places.centres[i][None])[0]
        around = places.centres[i] + 1e-3 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]) @ places.factors[i].T
        assert np.all(reference.log_integrand(rows, theta, free, model, around) <= here + 1e-9 * abs(here))
    value, _, _ = block.twin(theta, model, plan[0].points, free, places)
    assert got.value == pytest.approx(value, rel=1e-9)


def test_one_cluster_by_mpmath(simulate, parameters):
    """Two effects, five rows: an iterated integral in 20 digits."""
    model = response("binomial", "logit")
    block, free = simulate(model, (5,), 2, weighted=False), unstructured(2)
    theta = np.array([0.3, -0.5, 0.8, 1.1, -0.4, 0.7])
    beta, L = reference.split(theta, 3, free)
    A, eta = block.Z @ L, block.X @ beta

    def integrand(u, v):
        density = mpmath.exp(-(u * u + v * v) / 2) / (2 * mpmath.pi)
        for e, (x, z), success in zip(eta, A, block.a, strict=True):
            lam = mpmath.mpf(e) + mpmath.mpf(x) * u + mpmath.mpf(z) * v
            density /= 1 + mpmath.exp(-lam if success else lam)
        return density

    with mpmath.workdps(18):
        step, reach = mpmath.mpf(1) / 8, 72
        total = mpmath.fsum(
            integrand(i * step, k * step) for i in range(-reach, reach + 1) for k in range(-reach, reach + 1)
        )
        want = float(mpmath.log(total * step**2))
    got = block.likelihood(model).evaluate(theta, (VectorPart(hermite_points(40, 2)),), 0).value
    assert got == pytest.approx(want, abs=1e-10)


def test_modes_behind_an_exponential_wall():
    """Newton's steps from far up there are one unit of lambda each."""
    model = response("poisson", "log")
    ones = np.ones((3, 1))

    class Data:
        starts, offset = np.array([0, 3]), np.full(3, 500.0)
        a, b, cluster_weights = np.zeros(3), np.ones(3), np.ones(1)

    likelihood = VectorLikelihood(ones, np.column_stack([ones, [-1.0, 0.0, 1.0]]), Data(), model)
    theta = np.array([0.0, 15.0, 0.5, 15.0])
    mode = likelihood.modes(theta, None).centres[0]
    lam = 500.0 + np.column_stack([ones, [-1.0, 0.0, 1.0]]) @ likelihood.factor(theta) @ mode
    slope = -mode - (np.column_stack([ones, [-1.0, 0.0, 1.0]]) @ likelihood.factor(theta)).T @ np.exp(lam)
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)


def test_effects_without_a_coefficient_are_columns_of_their_own(simulate):
    model = response("binomial", "logit")
    block = simulate(model, SIZES, 3)
    theta = np.array([0.4, 0.9, 0.2, 0.7])
    narrow = replace(block, X=block.X[:, 1:2], Z=block.Z[:, [1, 2]])
    plan = (VectorPart(hermite_points(9, 2)),)
    wide = replace(block, X=np.column_stack([block.X[:, 1], block.Z[:, 2]]), Z=block.Z[:, [1, 2]])
    got = narrow.likelihood(model).evaluate(theta, plan)
    want = wide.likelihood(model).evaluate(np.insert(theta, 1, 0.0), plan)
    keep = [0, 2, 3, 4]
    assert got.value == pytest.approx(want.value, rel=1e-14)
    np.testing.assert_allclose(got.score, want.score[keep], rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(got.hessian, want.hessian[np.ix_(keep, keep)], rtol=1e-10, atol=1e-10)
    nothing = replace(block, X=block.X[:, :0])
    assert np.isfinite(nothing.likelihood(model).evaluate(np.full(6, 0.5), (VectorPart(hermite_points(5, 3)),)).value)


def test_signs_of_columns_of_the_factor_do_not_matter(simulate, parameters):
    model = response("binomial", "probit")
    block, free = simulate(model, SIZES, 2), unstructured(2)
    theta, plan = parameters(free), (VectorPart(hermite_points(7, 2)),)
    turned = theta.copy()
    turned[[3, 4]] *= -1.0
    one, other = block.likelihood(model).evaluate(theta, plan), block.likelihood(model).evaluate(turned, plan)
    assert one.value == pytest.approx(other.value, rel=1e-12)
    np.testing.assert_allclose(one.score[[3, 4]], -other.score[[3, 4]], rtol=0, atol=1e-9)


def test_a_factor_without_entries_is_no_effect(simulate):
    """L = 0: the pooled likelihood, whatever the points."""
    model = response("poisson", "log")
    block = simulate(model, SIZES, 2)
    theta = np.array([0.3, -0.5, 0.8, 0.0, 0.0, 0.0])
    weight = np.repeat(block.cluster_weights, SIZES)
    want = float(weight @ model.value(block.X @ theta[:3] + block.offset, block.a, block.b))
    for nodes in (1, 9):
        assert block.likelihood(model).evaluate(
            theta, (VectorPart(hermite_points(nodes, 2)),), 0
        ).value == pytest.approx(want, rel=1e-12)


def test_what_the_core_refuses(simulate):
    model = response("binomial", "logit")
    block = simulate(model, SIZES, 2)
    with pytest.raises(ValueError, match="points: of as many dimensions"):
        block.likelihood(model).evaluate(np.zeros(6), (VectorPart(hermite_points(3, 1)),))
    with pytest.raises(ValueError, match="theta: the coefficients and the free entries"):
        block.likelihood(model).evaluate(np.zeros(5), (VectorPart(hermite_points(3, 2)),))
    with pytest.raises(ValueError, match="lower triangle"):
        block.likelihood(model, np.ones((2, 2), dtype=bool)).evaluate(np.zeros(7), (VectorPart(hermite_points(3, 2)),))
