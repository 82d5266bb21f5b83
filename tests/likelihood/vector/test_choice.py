"""Reported errors against an integral by other means, on clusters random and extreme."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_ndtr, logsumexp

from clusterglm.likelihood.vector.choice import choose_points, settled
from clusterglm.likelihood.vector.points import hermite_points, lattice, quasi_random
from clusterglm.likelihood.vector.pooled import pooled_rules
from clusterglm.likelihood.vector.vector import VectorLikelihood, VectorPart
from clusterglm.model.family import response

LINKS = ("logit", "logit", "probit", "cloglog", "log")


def log_p(link, lam, a, b):
    """Log-probability of a row, by formulas of its own."""
    if link == "logit":
        return -a * np.logaddexp(0.0, -lam) - b * np.logaddexp(0.0, lam)
    if link == "probit":
        return a * log_ndtr(lam) + b * log_ndtr(-lam)
    e = np.exp(np.minimum(lam, 600.0))
    if link == "log":
        return a * lam - b * e
    return (a * np.log(-np.expm1(-np.maximum(e, 1e-300))) if a > 0.0 else 0.0) - b * e


def oracle(link, eta, A, a, b, nodes, most):
    """The log-integral by a product trapezoid rule along the axes of the curvature, and its last change."""
    d = A.shape[1]

    def each(lam):
        return np.array([log_p(link, x, p, q) for x, p, q in zip(lam, a, b, strict=True)])

    def negative(u):
        lam = eta + A @ u
        h = 1e-5 * (1.0 + np.abs(lam))
        return 0.5 * u @ u - each(lam).sum(), u - A.T @ ((each(lam + h) - each(lam - h)) / (2.0 * h))

    u = np.zeros(d)
    for _ in range(3):
        u = minimize(negative, u, jac=True, method="BFGS").x
        simplex = {"xatol": 1e-9, "fatol": 1e-12}
        u = minimize(lambda v: negative(v)[0], u, method="Nelder-Mead", options=simplex).x
    lam, h = eta + A @ u, 1e-3
    curvature = -(each(lam + h) + each(lam - h) - 2.0 * each(lam)) / h**2
    _, turn = np.linalg.eigh((A.T * curvature) @ A)
    A, u = A @ turn, turn.T @ u

    def on(low, high, count):
        grid = np.meshgrid(*[np.linspace(x, y, count) for x, y in zip(low, high, strict=True)], indexing="ij")
        g = -0.5 * sum(x * x for x in grid)
        for e, row, p, q in zip(eta, A, a, b, strict=True):
            g = g + log_p(link, e + sum(x * c for x, c in zip(grid, row, strict=True)), p, q)
        return g

    low, high = u - 10.0, u + 10.0  # the prior's curvature alone makes what lies beyond negligible
    for _ in range(12):
        g = on(low, high, nodes)
        matter = np.argwhere(g > g.max() - 40.0)
        first, last = matter.min(axis=0), matter.max(axis=0)
        if np.all(last - first > 0.6 * nodes):
            break
        step = (high - low) / (nodes - 1)
        low, high = np.maximum(low + (first - 2) * step, low), np.minimum(low + (last + 2) * step, high)
    values, count = [np.inf], nodes
    while True:
        g = on(low, high, count)
        values.append(logsumexp(g) + np.log((high - low) / (count - 1)).sum() - 0.5 * d * np.log(2.0 * np.pi))
        change = abs(values[-1] - values[-2])
        if change < 1e-11 * (1.0 + abs(values[-1])) or count >= most:
            return values[-1], change
        count = min(int(1.5 * count) | 1, most)


def cluster(rng, link, d, extreme):
    """Rows of a cluster: eta, Z, L, a, b."""
    n = int(np.exp(rng.uniform(0.0, np.log(201.0)))) if extreme else int(rng.integers(1, 16))
    sd = np.exp(rng.uniform(np.log(0.3), np.log(15.0), d) if extreme else rng.uniform(np.log(0.1), np.log(3.0), d))
    if link in ("log", "cloglog"):
        sd = np.minimum(sd, 6.0)
    C = np.eye(d) + np.tril(rng.uniform(-1.5, 1.5, (d, d)), -1)
    L = sd[:, None] * C / np.linalg.norm(C, axis=1)[:, None]
    Z = np.column_stack([np.ones(n), rng.normal(size=(n, d - 1)) * (rng.choice([0.2, 1.0, 3.0]) if extreme else 1.0)])
    eta = rng.normal() * (3.0 if extreme else 1.0) + rng.normal(size=n) * rng.choice([0.0, 1.0])
    lam = eta + Z @ L @ rng.normal(size=d)
    kind = rng.integers(4) if extreme else 3  # all of one kind, nothing to do with the model, or from it
    if link == "log":
        y = rng.poisson(np.exp(np.clip(lam, -20.0, 5.0))).astype(float) if kind else np.zeros(n)
        return eta, Z, L, y, np.ones(n)
    p = np.exp(np.array([log_p(link, x, 1.0, 0.0) for x in lam]))
    y = (rng.random(n) < (p, p, 0.5, p)[kind]).astype(float)
    if kind < 2:
        y[:] = kind
    trials = rng.choice([1.0, 1.0, 1.0, 20.0])
    return eta, Z, L, trials * y, trials * (1.0 - y)


def checked(rng, link, d, extreme, tolerance, nodes, most):
    """Error, reported error, and what the oracle is sure of; of one cluster."""
    eta, Z, L, a_, b_ = cluster(rng, link, d, extreme)

    class Data:
        starts, a, b, offset = np.array([0, len(eta)]), a_, b_, eta
        cluster_weights = np.ones(1)

    model = response("poisson" if link == "log" else "binomial", link)
    likelihood = VectorLikelihood(np.ones((len(eta), 1)), Z, Data(), model)
    theta = np.concatenate([[0.0], L[np.tri(d, dtype=bool)]])
    choice = choose_points(likelihood, theta, tolerance)
    want, sure = oracle(link, eta, Z @ L, a_, b_, nodes, most)
    value = likelihood.evaluate(theta, choice.plan, 0).value
    return abs(value - want), choice.error, sure + 2e-11 * (1.0 + abs(want))


@pytest.mark.parametrize(("d", "extreme", "count"), [(2, False, 50), (2, True, 10), (3, False, 5)])
def test_no_error_is_larger_than_reported(d, extreme, count):
    rng, tolerance = np.random.default_rng(17 + d), 1e-6 if d == 2 else 1e-5
    nodes, most = (121, 1201) if d == 2 else (61, 201)
    for i in range(count):
        error, reported, sure = checked(rng, LINKS[i % 5], d, extreme, tolerance, nodes, most)
        assert error <= reported + sure, i
        assert extreme or reported <= tolerance, i


def test_coarser_tolerances_take_fewer_points(simulate, parameters):
    block = simulate(response("binomial", "logit"), tuple([5] * 20), 2)
    likelihood, theta = block.likelihood(response("binomial", "logit")), parameters(np.tri(2, dtype=bool), 2.0)
    rough, fine = (choose_points(likelihood, theta, tolerance) for tolerance in (1e-2, 1e-7))
    served = np.sort(np.concatenate([part.clusters for part in fine.plan]))
    np.testing.assert_array_equal(served, np.arange(20))

    def points(choice):
        return sum(len(part.points) * len(part.clusters) for part in choice.plan)

    assert points(rough) < points(fine)
    assert rough.error <= 1e-2
    assert fine.error <= 1e-7
    values = [likelihood.evaluate(theta, choice.plan, 0).value for choice in (rough, fine)]
    assert abs(values[0] - values[1]) <= rough.error + fine.error


@pytest.mark.parametrize("m", [40, 700])
def test_points_for_derivatives(simulate, parameters, m):
    """Of each cluster once, fewer than for the value, with which they agree; of many clusters a sample chose rules."""
    model = response("binomial", "logit")
    block = simulate(model, tuple([6] * m), 2, weighted=False)
    likelihood, theta = block.likelihood(model), parameters(np.tri(2, dtype=bool), 1.0)
    choice = choose_points(likelihood, theta, 1e-7)
    assert choice.error <= 1e-7
    for plan in (choice.plan, choice.slopes):
        np.testing.assert_array_equal(np.sort(np.concatenate([part.clusters for part in plan])), np.arange(m))

    def points(plan):
        return sum(len(part.points) * len(part.clusters) for part in plan)

    assert points(choice.slopes) < 0.5 * points(choice.plan)
    fine, some = (likelihood.evaluate(theta, plan) for plan in (choice.plan, choice.slopes))
    assert fine.value == pytest.approx(choice.values.sum(), abs=1e-9)
    assert abs(fine.value - some.value) <= 1e-4
    se = 1.0 / np.sqrt(np.abs(np.diag(fine.hessian)))
    assert np.abs((fine.score - some.score) * se).max() < 1e-4
    np.testing.assert_allclose(some.hessian * np.outer(se, se), fine.hessian * np.outer(se, se), atol=1e-4)
    exact = VectorPart(lattice(0.1, 12.0, 2), None, settled(likelihood, theta, np.arange(m)))
    assert np.all(np.abs(likelihood.sums(theta, exact).values - choice.values) <= choice.errors + 1e-12)


def test_coarse_tolerances_have_one_plan(simulate, parameters):
    block = simulate(response("binomial", "logit"), (5, 5, 5), 2)
    likelihood, theta = block.likelihood(response("binomial", "logit")), parameters(np.tri(2, dtype=bool), 1.0)
    choice = choose_points(likelihood, theta, 1e-3)
    assert choice.slopes is choice.plan


def test_four_effects_by_replicates(simulate, parameters):
    """Quasi-random points for what Gauss-Hermite rules leave, within three of their standard errors."""
    model = response("binomial", "logit")
    block = simulate(model, (9, 4), 4, weighted=False)
    likelihood, theta = block.likelihood(model), parameters(np.tri(4, dtype=bool), 0.8)
    choice = choose_points(likelihood, theta, 1e-2)
    assert choice.error <= 1e-2
    want = likelihood.evaluate(theta, (VectorPart(hermite_points(15, 4)),), 0).value
    assert abs(likelihood.evaluate(theta, choice.plan, 0).value - want) <= choice.error


def test_points_integrate_the_normal_density():
    for points in (
        hermite_points(1, 2),
        hermite_points(7, 3),
        lattice(0.5, 9.0, 2),
        lattice(0.6, 8.0, 3),
        quasi_random(4096, 5),
    ):
        total = logsumexp(points.log_weights - 0.5 * (points.positions**2).sum(axis=1))
        assert total == pytest.approx(0.0, abs=1e-3 if points.d == 5 else 1e-9)


def test_halves_of_a_lattice_are_lattices():
    """Each of the coarser sets is of half the points, and of the normal density has nearly half."""
    for d in (1, 2, 3):
        points = lattice(0.5, 8.0, d)
        weight = np.exp(points.log_weights - 0.5 * (points.positions**2).sum(axis=1))
        shares = np.bincount(points.kinds, weight, minlength=points.core.kinds)
        assert points.coarser.shape == (d + (d > 1), 2 ** (d + 1))
        np.testing.assert_allclose(points.coarser @ shares, 1.0, atol=1e-6)
        assert np.all(np.linalg.norm(points.positions[points.outermost[points.kinds]], axis=1) > 7.0)


def test_five_effects_have_errors_that_hold(simulate, parameters):
    """The last of few sizes serves clusters for which nothing better is affordable, whatever was asked for."""
    model = response("binomial", "logit")
    block = simulate(model, tuple([8] * 12), 5, weighted=False)
    likelihood, theta = block.likelihood(model), parameters(np.tri(5, dtype=bool), 0.2)
    found = pooled_rules(likelihood, theta, np.full(12, 1e-12))
    served = np.setdiff1d(np.arange(12), found.left)
    assert len(served) >= 6
    finer = likelihood.log_integrals(theta, VectorPart(hermite_points(14, 5, True), served))
    assert (np.abs(finer - found.values[served]) <= found.errors[served]).all()
    assert found.errors[served].max() < 3e-5
