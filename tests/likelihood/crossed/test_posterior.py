"""Posteriors of effects of factors that cross: their parts against differences, the whole against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.likelihood.crossed import reference
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorPart
from clusterglm.model.family import RESPONSES, response

EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
DESIGNS = {
    "scalar": {"levels": (3,)},
    "vectors": {"levels": (3, 2), "effects": (2, 1), "d": 2},
    "components": {"levels": (4,), "nested": True},
}
EACH_DESIGN = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS.keys())
LOGIT = response("binomial", "logit")


def hermite(nodes, d=1):
    return (VectorPart(hermite_points(nodes, d, nodes > 1)),)


def given(twin, theta, v):
    """Log-integrals, means and covariances of u at v, by lattices: one about 0 shows where the second is to lie."""
    fixed, A, B = twin.rows(theta)
    eta, d = fixed + B @ v, A.shape[1]
    found = []
    for i in range(twin.n_units):
        rows = np.flatnonzero(twin.unit == i)
        mean, root = np.zeros(d), np.eye(d)
        for step, radius in ((0.5, 6.0), (0.4, 9.0)):
            axis = np.arange(-radius, radius + 1e-9, step)
            c = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)
            u = mean + c @ root.T
            log_p = twin.response.value(eta[rows] + u @ A[rows].T, twin.a[rows], twin.b[rows]).sum(axis=1)
            logs = log_p - 0.5 * (u**2).sum(axis=1) + d * np.log(step / np.sqrt(2.0 * np.pi))
            total = np.logaddexp.reduce(logs)
            pi = np.exp(logs - total)
            total += np.log(np.diagonal(root)).sum()
            mean = pi @ u
            covariance = (u - mean).T @ ((u - mean) * pi[:, None])
            root = np.linalg.cholesky(covariance)
        found.append((total, mean, covariance))
    return tuple(np.array(each) for each in zip(*found, strict=True))


@EACH_RESPONSE
@EACH_DESIGN
def test_outside_parts_are_the_twins(model, design, simulate):
    """The mode, its covariance, and the shift that third derivatives make, by differences of the twin."""
    block = simulate(model, 5, **design)
    twin, theta, d = block.twin(), block.theta(), block.Z.shape[1]
    plan = hermite(25 if d == 1 else 33, d)
    found, points = block.likelihood().posterior(theta, plan), plan[0].points
    v, size = found.modes_v, len(found.modes_v)
    at = reference.at(twin, theta, v, points)
    S = np.linalg.inv(-at.hessian)
    np.testing.assert_allclose(S @ at.gradient, 0.0, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.covariance_v(np.arange(size)), S, rtol=0, atol=1e-6)
    pull, h = np.zeros(size), 1e-3
    for k, e in enumerate(h * np.eye(size)):
        ahead, behind = (reference.at(twin, theta, v + side * e, points).hessian for side in (1, -1))
        pull[k] = 0.5 * np.trace(S @ (ahead - behind)) / (2 * h)
    np.testing.assert_allclose(found.means_v - v, S @ pull, rtol=0, atol=1e-5)


@EACH_RESPONSE
@EACH_DESIGN
def test_units_parts_are_derivatives(model, design, simulate):
    """Moments at the mode, their derivatives in v by differences of integrals that share no code, and their sums."""
    block = simulate(model, 8, **design)
    twin, theta, d = block.twin(), block.theta(), block.Z.shape[1]
    nodes = (33 if d == 1 else 41) if model.least == 0.0 else 61
    found = block.likelihood().posterior(theta, hermite(nodes, d))
    v, size, m = found.modes_v, len(found.modes_v), twin.n_units
    S = found.covariance_v(np.arange(size))
    _, means, covariances = given(twin, theta, v)
    np.testing.assert_allclose(found.given, covariances, rtol=0, atol=1e-7)
    J, bend = np.zeros((m, d, size)), np.zeros((m, d))
    for k, along in enumerate(np.linalg.cholesky(S).T):
        ahead, behind = (given(twin, theta, v + side * 1e-2 * along)[1] for side in (1, -1))
        bend += 0.5 * (ahead + behind - 2 * means) / 1e-4
        ahead, behind = (given(twin, theta, v + side * 1e-3 * np.eye(size)[k])[1] for side in (1, -1))
        J[:, :, k] = (ahead - behind) / 2e-3
    np.testing.assert_allclose(found.follows.toarray(), J.reshape(m * d, size), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.means_u, means + J @ (found.means_v - v) + bend, rtol=0, atol=1e-4)
    whole = covariances + J @ S @ np.swapaxes(J, 1, 2)
    np.testing.assert_allclose(found.covariances_u, whole, rtol=0, atol=1e-6)


@EACH_RESPONSE
@EACH_DESIGN
def test_of_the_joint_approximation(model, design, simulate):
    """Modes, the joint inverse, and the shift that third derivatives make, with whole matrices."""
    block = simulate(model, 8, **design)
    twin, theta, d = block.twin(), block.theta(), block.Z.shape[1]
    likelihood = block.likelihood()
    found = likelihood.posterior(theta, likelihood.laplace_plan())
    fixed, A, B = twin.rows(theta)
    m, size = twin.n_units, B.shape[1]
    W = np.zeros((len(A), m * d + size))
    for j, i in enumerate(twin.unit):
        W[j, i * d : (i + 1) * d] = A[j]
    W[:, m * d :] = B
    e = np.concatenate([found.modes_u.ravel(), found.modes_v])
    _, G, H, third, _ = model.derivatives(fixed + W @ e, twin.a, twin.b)
    np.testing.assert_allclose(W.T @ G, e, rtol=0, atol=1e-7)
    whole = np.linalg.inv(np.eye(len(e)) - (W.T * H) @ W)
    shifted = e + whole @ (W.T @ (0.5 * third * np.einsum("ni,ij,nj->n", W, whole, W)))
    np.testing.assert_allclose(found.means_u.ravel(), shifted[: m * d], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.means_v, shifted[m * d :], rtol=0, atol=1e-8)
    S = found.covariance_v(np.arange(size))
    np.testing.assert_allclose(S, whole[m * d :, m * d :], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.follows @ S, whole[: m * d, m * d :], rtol=0, atol=1e-8)
    for i in range(m):
        own = slice(i * d, (i + 1) * d)
        np.testing.assert_allclose(found.covariances_u[i], whole[own, own], rtol=0, atol=1e-8)


def brute_force(twin, theta, found, step, radius=6.0):
    """Means and covariances of v and u by a lattice over v of at most 3 effects, rules over u."""
    size, m = len(found.modes_v), twin.n_units
    root = np.linalg.cholesky(found.covariance_v(np.arange(size)))
    axis = np.arange(-radius, radius + 1e-9, step)
    c = np.stack(np.meshgrid(*[axis] * size), axis=-1).reshape(-1, size)
    v = found.modes_v + c[(c**2).sum(axis=1) <= radius**2] @ root.T
    logs, means, squares = np.zeros(len(v)), np.zeros((len(v), m)), np.zeros((len(v), m))
    for k, each in enumerate(v):
        values, at, covariances = given(twin, theta, each)
        logs[k] = values.sum() - 0.5 * each @ each
        means[k], squares[k] = at[:, 0], covariances[:, 0, 0] + at[:, 0] ** 2
    pi = np.exp(logs - np.logaddexp.reduce(logs))
    v_mean, u_mean = pi @ v, pi @ means
    v_cov = (v - v_mean).T @ ((v - v_mean) * pi[:, None])
    across = (means - u_mean).T @ ((v - v_mean) * pi[:, None])
    return v_mean, v_cov, u_mean, pi @ squares - u_mean**2, across


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_near_brute_force(levels, simulate):
    """What is left is of the next order: means are nearer than modes, variances within 3 percent."""
    block = simulate(LOGIT, 8 * levels, (levels,), seed=4, binary=True)
    twin, theta = block.twin(), np.array([0.5, -0.4, 1.0, 1.0])
    found = block.likelihood().posterior(theta, hermite(25))
    v_mean, v_cov, u_mean, u_var, across = brute_force(twin, theta, found, {1: 0.5, 2: 0.8, 3: 1.0}[levels])
    S = found.covariance_v(np.arange(levels))
    assert np.abs(found.modes_v - v_mean).max() > 10.0 * np.abs(found.means_v - v_mean).max()
    np.testing.assert_allclose(found.means_v, v_mean, rtol=0, atol=2e-4)
    np.testing.assert_allclose(found.means_u[:, 0], u_mean, rtol=0, atol=2e-4)
    np.testing.assert_allclose(np.diagonal(S), np.diagonal(v_cov), rtol=0.03)
    np.testing.assert_allclose(found.covariances_u[:, 0, 0], u_var, rtol=0.02)
    np.testing.assert_allclose(found.follows @ S, across, rtol=0, atol=0.01 * np.abs(across).max())
    assert np.all(found.given[:, 0, 0] < u_var)


def test_moments_of_rows(simulate):
    """Of rows of any unit and levels, with data or without, against whole matrices."""
    block = simulate(LOGIT, 12, (6, 2), (2, 1), 2, nested=True)
    found = block.likelihood().posterior(block.theta(), hermite(15, 2))
    m, size, rng = 12, len(found.modes_v), np.random.default_rng(3)
    units = rng.integers(-1, m, 40)
    places = rng.integers(-1, size, (40, 3))
    A, B = rng.normal(size=(40, 2)), rng.normal(size=(40, 3))
    means, variances = found.moments(units, A, places, B)
    S, J = found.covariance_v(np.arange(size)), found.follows.toarray().reshape(m, 2, size)
    for r in range(40):
        c, mean, variance = np.zeros(size), 0.0, 0.0
        if units[r] < 0:
            variance += A[r] @ A[r]
        else:
            c += A[r] @ J[units[r]]
            mean += A[r] @ found.means_u[units[r]]
            variance += A[r] @ found.given[units[r]] @ A[r]
        for place, b in zip(places[r], B[r], strict=True):
            if place < 0:
                variance += b**2
            else:
                c[place] += b
                mean += b * found.means_v[place]
        assert means[r] == pytest.approx(mean, abs=1e-12)
        assert variances[r] == pytest.approx(variance + c @ S @ c, rel=1e-12)


def test_levels_without_rows_are_as_before_the_data(simulate):
    block = simulate(LOGIT, 12, (4,))
    (term,) = block.terms
    term.levels[:] = np.where(term.levels >= 2, term.levels + 1, term.levels)  # none has number 2
    found = block.likelihood().posterior(block.theta(), hermite(9))
    assert found.modes_v[2] == found.means_v[2] == 0.0
    np.testing.assert_array_equal(found.covariance_v(np.array([2, 0]))[0], [1.0, 0.0])
    none = np.zeros((1, 1))
    _, variances = found.moments(np.array([-1]), none, np.array([[2]]), none + 3.0)
    assert variances[0] == 9.0


def test_nobody_can_write_on_it(simulate):
    block = simulate(LOGIT, 12, (4,))
    found = block.likelihood().posterior(block.theta(), hermite(9))
    for array in (found.modes_v, found.means_u, found.covariances_v[0], found.covariances_u, found.follows.data):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.0
