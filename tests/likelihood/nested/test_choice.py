"""Reported errors against integrals by other means, of units random and extreme."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_ndtr, logsumexp

from clusterglm.likelihood.nested.choice import choose_points
from clusterglm.likelihood.nested.nested import NestedLikelihood, NestedPart
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import unstructured
from clusterglm.model.family import response

LINKS = ("logit", "logit", "probit", "cloglog", "log")
REACH = 100.0  # where no posterior gets to


def log_p(link, lam, a, b):
    """Log-probability of rows, by formulas of its own."""
    if link == "logit":
        return -a * np.logaddexp(0.0, -lam) - b * np.logaddexp(0.0, lam)
    if link == "probit":
        return a * log_ndtr(lam) + b * log_ndtr(-lam)
    e = np.exp(np.minimum(lam, 600.0))
    if link == "log":
        return a * lam - b * e
    with np.errstate(divide="ignore"):
        return (a * np.log(-np.expm1(-np.maximum(e, 1e-300))) if np.any(a > 0.0) else 0.0) - b * e


def child_integral(link, eta, s1, s2, a, b, u, nodes):
    """log of the integral over v at each u (U, d1), by trapezoid rules where the integrand matters; and every other."""
    base = eta[:, None] + s1 @ u.T
    low, high = np.full(len(u), -REACH), np.full(len(u), REACH)

    def on(count):
        v = low + (high - low) * np.linspace(0.0, 1.0, count)[:, None]  # (V, U)
        g = -0.5 * v * v
        for j in range(len(eta)):
            g = g + log_p(link, base[j] + s2[j] * v, a[j], b[j])
        return v, g

    for _ in range(8):
        v, g = on(61)
        matters = g > g.max(axis=0) - 45.0
        first = np.maximum(matters.argmax(axis=0) - 1, 0)
        last = np.minimum(len(v) - matters[::-1].argmax(axis=0), len(v) - 1)
        every = np.arange(len(u))
        low, high = v[first, every], v[last, every]
        if np.all(last - first > 35):
            break
    _, g = on(nodes)
    step = (high - low) / (nodes - 1)
    half = np.log(step) - 0.5 * np.log(2.0 * np.pi)
    return logsumexp(g, axis=0) + half, logsumexp(g[::2], axis=0) + half + np.log(2.0)


def oracle(link, children, nodes=161):
    """The log-integral of a unit, and by how much it is known; `children`: eta, s1 (n, d1), s2, a, b of each."""
    d = children[0][1].shape[1]
    low, high = np.full(d, -REACH), np.full(d, REACH)

    def on(count, inner):
        axes = [np.linspace(x, y, count) for x, y in zip(low, high, strict=True)]
        u = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, d)
        g = -0.5 * (u**2).sum(axis=1)
        found = [child_integral(link, *child, u, inner) for child in children]
        shape = (count,) * d
        return [(g + sum(each[k] for each in found)).reshape(shape) for k in (0, 1)]

    coarse = 41
    for _ in range(8):
        g, _ = on(coarse, 61)
        matter = np.argwhere(g > g.max() - 45.0)
        first, last = matter.min(axis=0), matter.max(axis=0)
        if np.all(last - first > 22):
            break
        step = (high - low) / (coarse - 1)
        low, high = np.maximum(low + (first - 1) * step, low), np.minimum(low + (last + 1) * step, high)
    every_other = (slice(None, None, 2),) * d
    while True:
        whole, fewer = on(nodes, nodes)
        volume = np.log((high - low) / (nodes - 1)).sum() - 0.5 * d * np.log(2.0 * np.pi)
        value = logsumexp(whole) + volume
        others = logsumexp(fewer) + volume, logsumexp(whole[every_other]) + volume + d * np.log(2.0)
        sure = sum(abs(value - other) for other in others)
        if sure < 1e-8 or nodes ** (d + 1) > 300_000:
            return value, sure
        nodes = 2 * nodes - 1


def unit(rng, link, d1, extreme):
    """Children of a unit, each eta, s1, s2, a, b; and Z1, L1, sd2."""
    count = int(rng.integers(1, 21 if extreme else 7))
    most = 20 if extreme else 7
    sd1, sd2 = np.exp(rng.uniform(np.log(0.1), np.log(10.0 if extreme else 3.0), 2))
    L = np.diag(np.full(d1, sd1))
    if d1 > 1:
        L[1, 0] = 0.5 * sd1
    level, spread = rng.normal() * (3.0 if extreme else 1.0), rng.choice([0.0, 1.0])
    kind = rng.integers(4) if extreme else 3  # all of one kind, nothing to do with the model, or from it
    u, found = rng.normal(size=d1), []
    for _ in range(count):
        n = int(rng.integers(1, most + 1))
        Z = np.column_stack([np.ones(n), rng.normal(size=(n, d1 - 1))])
        eta = level + spread * rng.normal(size=n)
        lam = eta + Z @ L @ u + sd2 * rng.normal()
        if link == "log":
            a, b = (rng.poisson(np.exp(np.clip(lam, -20.0, 5.0))) * float(kind > 0)), np.ones(n)
        else:
            p = np.exp(log_p(link, lam, np.ones(n), np.zeros(n)))
            y = (rng.random(n) < (p if kind == 3 else 0.5)).astype(float) if kind > 1 else np.full(n, float(kind))
            trials = rng.choice([1.0, 1.0, 1.0, 20.0])
            a, b = trials * y, trials * (1.0 - y)
        found.append((eta, Z @ L, np.full(n, sd2), a.astype(float), b, Z))
    return found, L, sd2


def checked(rng, link, d1, extreme, tolerance, nodes=161):
    """Error, reported error, and what the oracle is sure of; of one unit."""
    children, L, sd2 = unit(rng, link, d1, extreme)
    sizes = [len(child[0]) for child in children]

    class Data:
        starts = np.array([0, sum(sizes)])
        a, b, offset = (np.concatenate([child[k] for child in children]) for k in (3, 4, 0))
        cluster_weights = np.ones(1)

    ones, Z1 = np.ones((sum(sizes), 1)), np.concatenate([child[5] for child in children])
    model = response("poisson" if link == "log" else "binomial", link)
    child_starts = np.concatenate([[0], np.cumsum(sizes)])
    likelihood = NestedLikelihood(ones, Z1, ones, Data(), child_starts, model)
    theta = np.concatenate([[0.0], L[unstructured(d1)], [sd2]])
    choice = choose_points(likelihood, theta, tolerance)
    want, sure = oracle(link, [child[:5] for child in children], nodes)
    value = likelihood.evaluate(theta, choice.plan, 0).value
    return abs(value - want), choice.error, sure + 2e-11 * (1.0 + abs(want))


@pytest.mark.parametrize(
    ("d1", "extreme", "count", "nodes"), [(1, False, 30, 161), (1, True, 15, 201), (2, False, 4, 61)]
)
def test_no_error_is_larger_than_reported(d1, extreme, count, nodes):
    rng, tolerance = np.random.default_rng(17 + d1), 1e-6 if d1 == 1 else 1e-5
    for i in range(count):
        error, reported, sure = checked(rng, LINKS[i % 5], d1, extreme, tolerance, nodes)
        assert error <= reported + sure, i
        assert extreme or reported <= tolerance, i


def tensor(link, children, coarse=41, nodes=81):
    """The log-integral of one effect of a unit and two of each child, and by how much it is known.

    By trapezoid rules on a grid for each child, in boxes that shrink to where the integrand matters; `children` as in
    `oracle`, with s2 (n, 2).
    """
    low, high = -REACH, REACH
    boxes = [(np.full(2, -REACH), np.full(2, REACH)) for _ in children]

    def on(count):
        u, found = np.linspace(low, high, count), []
        for (eta, s1, s2, a, b), (first, last) in zip(children, boxes, strict=True):
            x, y = (np.linspace(*ends, count) for ends in zip(first, last, strict=True))
            g = np.broadcast_to(-0.5 * (x[:, None] ** 2 + y**2), (count, count, count))
            for j in range(len(eta)):
                lam = eta[j] + s1[j] * u[:, None, None] + s2[j, 0] * x[:, None] + s2[j, 1] * y
                g = g + log_p(link, lam, a[j], b[j])
            found.append(g)
        return u, found

    for _ in range(12):
        u, found = on(coarse)
        parts = [logsumexp(g, axis=(1, 2)) for g in found]
        whole = sum(parts) - 0.5 * u**2
        for k, g in enumerate(found):
            joint = g + (whole - parts[k])[:, None, None]
            matter = np.argwhere(joint > joint.max() - 42.0)[:, 1:]
            first, last = boxes[k]
            step = (last - first) / (coarse - 1)
            ends = first + (matter.min(axis=0) - 1) * step, first + (matter.max(axis=0) + 1) * step
            boxes[k] = np.maximum(ends[0], first), np.minimum(ends[1], last)
        matter = u[whole > whole.max() - 42.0]
        step = u[1] - u[0]
        low, high = max(matter[0] - step, low), min(matter[-1] + step, high)
    values = []
    for count in (coarse, nodes):
        u, found = on(count)
        whole = -0.5 * u**2 + np.log(u[1] - u[0]) - 0.5 * np.log(2.0 * np.pi)
        for g, (first, last) in zip(found, boxes, strict=True):
            area = np.log((last - first) / (count - 1)).sum() - np.log(2.0 * np.pi)
            whole = whole + logsumexp(g, axis=(1, 2)) + area
        values.append(logsumexp(whole))
    return values[1], abs(values[1] - values[0])


def test_two_effects_of_children():
    rng, L2 = np.random.default_rng(5), np.array([[1.3, 0.0], [-0.4, 0.8]])
    for i in range(10):
        link, children = LINKS[i % 5], []
        for n in rng.integers(1, 6, int(rng.integers(1, 4))).tolist():
            Z = np.column_stack([np.ones(n), rng.normal(size=n)])
            a = (rng.random(n) < 0.6).astype(float)
            b = np.ones(n) if link == "log" else 1.0 - a
            children.append((rng.normal(size=n), np.full(n, 0.9), Z @ L2, a, b, Z))
        sizes = [len(child[0]) for child in children]

        class Data:
            starts = np.array([0, sum(sizes)])
            a, b, offset = (np.concatenate([child[k] for child in children]) for k in (3, 4, 0))
            cluster_weights = np.ones(1)

        ones, Z2 = np.ones((sum(sizes), 1)), np.concatenate([child[5] for child in children])
        model = response("poisson" if link == "log" else "binomial", link)
        child_starts = np.concatenate([[0], np.cumsum(sizes)])
        likelihood = NestedLikelihood(ones, ones, Z2, Data(), child_starts, model)
        theta = np.concatenate([[0.0, 0.9], L2[unstructured(2)]])
        choice = choose_points(likelihood, theta, 1e-5)
        want, sure = tensor(link, [child[:5] for child in children])
        value = likelihood.evaluate(theta, choice.plan, 0).value
        assert choice.error <= 1e-5
        assert abs(value - want) <= choice.error + sure + 1e-10, i


def test_every_unit_has_its_points(simulate):
    """Easy and hard units together, with weights: each in one part, finer points where finer ones are asked for."""
    model = response("binomial", "logit")
    block = simulate(model, ((1, 2), (5, 5, 5), (20, 1), (3,), (2, 2, 2, 2)) * 6, 1, 1)
    likelihood, theta = block.likelihood(model), np.array([0.3, -0.5, 0.8, 2.5, 4.0])
    rough, fine = (choose_points(likelihood, theta, tolerance) for tolerance in (1e-2, 1e-7))
    for choice, tolerance in ((rough, 1e-2), (fine, 1e-7)):
        served = np.sort(np.concatenate([part.units for part in choice.plan]))
        np.testing.assert_array_equal(served, np.arange(30))
        assert choice.error <= tolerance
    assert {part.places is None for part in fine.plan} == {True, False}  # both kinds of points

    def points(choice):
        return sum(len(part) * len(part.units) for part in choice.plan)

    assert points(rough) < points(fine)
    values = [likelihood.cluster_values(theta, choice.plan) for choice in (rough, fine)]
    assert np.all(np.abs(values[0] - values[1]) <= rough.errors + fine.errors)


def test_points_for_derivatives(simulate):
    """Of each unit once, fewer than for the value, with which they agree; of a coarse tolerance they are the same."""
    model = response("binomial", "logit")
    block = simulate(model, ((1, 2), (5, 5, 5), (20, 1), (3,), (2, 2, 2, 2)) * 6, 1, 1)
    likelihood, theta = block.likelihood(model), np.array([0.3, -0.5, 0.8, 1.0, 1.5])
    choice = choose_points(likelihood, theta, 1e-7)
    served = np.sort(np.concatenate([part.units for part in choice.slopes]))
    np.testing.assert_array_equal(served, np.arange(30))

    def points(plan):
        return sum(len(part) * len(part.units) for part in plan)

    assert points(choice.slopes) < 0.7 * points(choice.plan)
    dense = tuple(
        NestedPart(hermite_points(80, 1, True), hermite_points(80, 1, True), part.units) for part in choice.plan
    )
    exact, some = (likelihood.evaluate(theta, plan) for plan in (dense, choice.slopes))
    assert abs(choice.values.sum() - exact.value) <= choice.error + 1e-10
    assert abs(exact.value - some.value) <= 1e-4
    se = 1.0 / np.sqrt(np.abs(np.diag(exact.hessian)))
    assert np.abs((exact.score - some.score) * se).max() < 1e-4
    np.testing.assert_allclose(some.hessian * np.outer(se, se), exact.hessian * np.outer(se, se), atol=1e-4)
    coarse = choose_points(likelihood, theta, 1e-2)
    assert coarse.slopes is coarse.plan
