"""Kernels of truncated, NB1 and beta-binomial rows: core and NumPy against mpmath over wide ranges."""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest

from clusterglm.likelihood.evaluation import OwnArrays
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.scalar.choice import choose_plan
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution import Gaussian
from clusterglm.model.family import with_own
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.model.rising import log_rising, rising

Exact = Callable[[mp.mpf, float, float, mp.mpf], mp.mpf]
"""log P of a kernel row (x, a, b), as the own parameter moves by the last."""


def truncated(x: mp.mpf, a: float, b: float, w: mp.mpf) -> mp.mpf:
    x, r = x + w, b * mp.exp(-w)
    grown = mp.log1p(mp.exp(x))
    return a * (x - grown) - mp.log(mp.expm1(r * grown))


def of_size(x: mp.mpf, a: float, b: float, w: mp.mpf) -> mp.mpf:
    alpha, s = mp.expm1(b) * mp.exp(w), mp.exp(x - w)
    return mp.loggamma(s + a) - mp.loggamma(s) - s * mp.log1p(alpha)


def beta_binomial(x: mp.mpf, a: float, b: float, w: mp.mpf) -> mp.mpf:
    failures, phi = a // 2**26, b * mp.exp(-w)
    p, q = phi / (1 + mp.exp(-x)), phi / (1 + mp.exp(x))
    y = a - failures * 2**26
    return mp.loggamma(p + y) - mp.loggamma(p) + mp.loggamma(q + failures) - mp.loggamma(q)


FAMILIES: dict[str, Exact] = {
    "truncated_negative_binomial": truncated,
    "negative_binomial1": of_size,
    "beta_binomial": beta_binomial,
}
VALUES = {"beta_binomial": [0.02, 3.0, 400.0, 1e8]}
ALPHAS = [1e-5, 0.03, 2.0, 400.0]


def rows_of(family: str, value: float, count: int = 12) -> tuple[OwnParameters, Response, Array, Array, Array]:
    """Kernel rows whose counts are small and large, and linear predictors of theirs from -40 to 40."""
    found = with_own(family)
    assert found is not None
    response = found.at(np.array([-np.log(value) if family == "beta_binomial" else np.log(value)]))
    rng = np.random.default_rng(int(1e3 * value) % 97)
    y = np.where(rng.random(count) < 0.6, rng.integers(0, 12, count), np.floor(10.0 ** rng.uniform(0.0, 5.0, count)))
    if family == "beta_binomial":
        a, b = y, np.floor(10.0 ** rng.uniform(0.0, 3.0, count)) - 1.0
    else:
        a, b = np.maximum(y, 1.0 if family.startswith("truncated") else 0.0), np.ones(count)
    rows = response.kernel_rows(a, b)
    eta = np.where(rng.random(count) < 0.5, rng.uniform(-40.0, 40.0, count), rng.uniform(-5.0, 5.0, count))
    return response, rows.response, eta + rows.shift, rows.a, rows.b


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("k", range(4))
def test_derivatives_in_numpy(family: str, k: int) -> None:
    exact, value = FAMILIES[family], VALUES.get(family, ALPHAS)[k]
    response, rows, x, a, b = rows_of(family, value)
    found, own = rows.derivatives(x, a, b), response.own_derivatives(x, a, b)
    with mp.workdps(90):
        for i in range(len(x)):
            at = mp.mpf(float(x[i]))
            want = [exact(at, a[i], b[i], mp.mpf(0))]
            want += [
                mp.diff(lambda t, i=i: exact(t, a[i], b[i], mp.mpf(0)), at, n, h=mp.mpf(10) ** -14)
                for n in (1, 2, 3, 4)
            ]
            want += [
                mp.diff(lambda t, w, i=i: exact(t, a[i], b[i], w), (at, 0), order, h=mp.mpf(10) ** -14)
                for order in ((0, 1), (1, 1), (0, 2))
            ]
            n = a[i] % 2**26 + a[i] // 2**26
            for got, right in zip([float(each[i]) for each in (*found, *own)], want, strict=True):
                assert got == pytest.approx(float(right), rel=2e-13, abs=2e-13 * max(n, 1.0))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("far", [False, True])
def test_the_core_has_the_same(family: str, k: int, far: bool) -> None:
    """A row a cluster with next to no variance; far: rows beside one whose linear predictor has no exponential."""
    response, rows, x, a, b = rows_of(family, VALUES.get(family, ALPHAS)[k], 40)
    n, starts = len(x), np.arange(len(x) + 1, dtype=np.int64)
    if far:  # two rows a cluster
        x, a, b = (np.column_stack([each, each]).ravel() for each in (x, a, b))
        x[1::2] = np.where(np.arange(n) % 2 == 0, -450.0, 420.0 if family == "beta_binomial" else -500.0)
        starts *= 2
    arrays = OwnArrays(starts, a, b, x, np.ones(n), 1, np.zeros(len(x), dtype=np.int64))
    X = np.zeros((len(x), 1))
    X[:, 0] = 1.0
    likelihood = integrator_for(Gaussian(), "normal").likelihood(X, arrays, rows, 1)
    theta, plan = np.array([0.0, 1e-100]), (Part(Rule(3)),)
    scores = likelihood.unit_scores(theta, plan)
    values = likelihood.unit_values(theta, plan)
    value, G, *_ = rows.derivatives(x, a, b)
    g = response.own_derivatives(x, a, b)[0]
    first = starts[:-1]
    size = np.add.reduceat(a % 2**26 + a // 2**26, first) + 1.0
    for got, want in ((values, value), (scores[:, 0], G), (scores[:, 1], g)):
        want = np.add.reduceat(want, first)
        np.testing.assert_array_less(np.abs(got - want), 3e-12 * (size + np.abs(want)))


def test_rising_factorials_keep_their_digits() -> None:
    rng, worst = np.random.default_rng(0), np.zeros(5)
    with mp.workdps(40):
        for _ in range(300):
            s = float(np.exp(rng.uniform(-30.0, 25.0)))
            k = float(rng.integers(0, 14) if rng.random() < 0.5 else int(10 ** rng.uniform(0.0, 5.0)))
            S = mp.mpf(s)
            p = [S**j * (mp.polygamma(j - 1, S + k) - mp.polygamma(j - 1, S)) for j in (1, 2, 3, 4)]
            exact = [mp.loggamma(S + k) - mp.loggamma(S), p[0], p[0] + p[1], p[0] + 3 * p[1] + p[2]]
            exact.append(p[0] + 7 * p[1] + 6 * p[2] + p[3])
            found = [log_rising(np.array([s]), np.array([k])), *rising(np.array([s]), np.array([k]))[1:]]
            errors = [
                abs(float(right - mp.mpf(float(each[0])))) / max(1.0, k, abs(float(right)))
                for right, each in zip(exact, found, strict=True)
            ]
            worst = np.maximum(worst, errors)
    assert worst.max() < 1e-14


@pytest.mark.parametrize("family", FAMILIES)
def test_claims_of_concavity_and_of_one_summit(family: str) -> None:
    """What is claimed holds on random clusters, and what is not claimed does not hold on some."""
    value = 2.0 if family != "beta_binomial" else 0.5
    _, rows, _, _, _ = rows_of(family, value)
    found = with_own(family)
    assert found is not None
    response = found.at(np.array([-np.log(value) if family == "beta_binomial" else np.log(value)]))
    grid, rng = np.linspace(-25.0, 25.0, 801), np.random.default_rng(3)
    bent = several = False
    for _ in range(300):
        n = int(rng.integers(1, 5))
        y = rng.integers(0, 40, n).astype(float)
        a, b = (y, rng.integers(0, 40, n).astype(float)) if family == "beta_binomial" else (y + 1.0, np.ones(n))
        kernel = response.kernel_rows(a, b)
        x = 6.0 * rng.normal(size=n)[:, None] + grid + kernel.shift
        _, G, H, *_ = rows.derivatives(x, kernel.a[:, None], kernel.b[:, None])
        slope, curvature = G.sum(axis=0), H.sum(axis=0)
        bent |= bool(np.any(curvature > 1e-9))
        signs = np.sign(np.where(np.abs(slope) < 1e-9, 0.0, slope))
        signs = signs[signs != 0.0]
        several |= bool(np.any(np.diff(signs) > 0.0))
    assert rows.log_concave != bent
    assert not (rows.one_summit and several)


def test_clusters_of_two_summits_are_integrated_as_well() -> None:
    """Successes where failures are likelier and failures where successes are: beside a dense rule."""
    found = with_own("beta_binomial")
    assert found is not None
    response, rng = found.at(np.array([np.log(2.0)])), np.random.default_rng(5)
    clusters = 60
    far, n = rng.uniform(2.0, 12.0, clusters), rng.integers(2, 30, clusters).astype(float)
    x = np.column_stack([-far, far]).ravel()
    a, b = (np.column_stack(each).ravel() for each in ((n, 0.0 * n), (0.0 * n, n)))
    rows = response.kernel_rows(a, b)
    grid = np.linspace(-12.0, 12.0, 4001)
    starts = np.arange(0, 2 * clusters + 1, 2, dtype=np.int64)
    arrays = OwnArrays(starts, rows.a, rows.b, x, np.ones(clusters))
    likelihood = integrator_for(Gaussian(), "normal").likelihood(np.ones((2 * clusters, 1)), arrays, rows.response, 1)
    several = 0
    for sigma in (1.0, 5.0):
        at = x[:, None] + sigma * grid
        height = np.add.reduceat(rows.response.value(at, rows.a[:, None], rows.b[:, None]), starts[:-1], axis=0)
        g = height - 0.5 * grid**2
        several += int(np.count_nonzero((np.diff(np.sign(np.diff(g, axis=1)), axis=1) < 0).sum(axis=1) > 1))
        top = g.max(axis=1)
        exact = top + np.log(np.exp(g - top[:, None]).sum(axis=1) * (grid[1] - grid[0]) / np.sqrt(2.0 * np.pi))
        theta = np.array([0.0, sigma])
        choice = choose_plan(likelihood, theta, 1e-6, likelihood.unimodal)
        assert np.abs(likelihood.unit_values(theta, choice.plan) - exact).sum() <= choice.error + 1e-9
        assert choice.error < 1e-5
    assert several > 5
