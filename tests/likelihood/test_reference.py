"""The NumPy twin: its derivatives against differences, its integrals against mpmath, its sums against golden values."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from clusterglm.likelihood.reference import dense, dense_intercepts, marginal, modes, pooled
from clusterglm.model.distribution import Cauchy, Gaussian, Logistic, StudentT, distribution
from clusterglm.model.family import RESPONSES, response
from clusterglm.model.quadrature import hermite

DISTRIBUTIONS = (Gaussian(), Logistic(), Cauchy(), StudentT(4))
EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
EACH_DISTRIBUTION = pytest.mark.parametrize("d", DISTRIBUTIONS, ids=lambda d: d.name)
EACH_SCALE = pytest.mark.parametrize("scale", ["normal", "density"])
THETA = np.array([0.3, -0.5, 0.8, 0.9])


def small(model, seed=3, sizes=(6, 1, 4)):
    """A few clusters with two covariates, an offset and uneven weights: the leading arguments of the twin."""
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    offset = rng.normal(scale=0.3, size=n)
    w = rng.uniform(0.5, 2.0, n)
    if model.family == "binomial":
        trials = rng.integers(1, 4, n)
        y = rng.binomial(trials, 0.5)
        a, b = w * y, w * (trials - y)
    else:
        a, b = w * (model.least + rng.poisson(1.5, n)), w
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return starts, X, a.astype(float), b.astype(float), offset, rng.uniform(0.5, 2.0, len(sizes))


def central(f, theta, step=1e-5):
    """Central differences of a function's value and score: (q,), (q, q)."""
    ups = [f(theta + step * e) for e in np.eye(len(theta))]
    downs = [f(theta - step * e) for e in np.eye(len(theta))]
    score = np.array([(u[0] - v[0]) / (2 * step) for u, v in zip(ups, downs, strict=True)])
    hessian = np.array([(u[1] - v[1]) / (2 * step) for u, v in zip(ups, downs, strict=True)])
    return score, hessian


@EACH_RESPONSE
@EACH_DISTRIBUTION
@EACH_SCALE
@pytest.mark.parametrize("nodes", [1, 2, 7])
def test_score_and_hessian_are_those_of_the_approximation(model, d, scale, nodes):
    block = small(model)
    _, score, hessian, _ = marginal(*block, THETA, model, d, scale, nodes)
    want_score, want_hessian = central(lambda t: marginal(*block, t, model, d, scale, nodes)[:2], THETA)
    size = 1.0 + np.abs(score).max()
    np.testing.assert_allclose(score, want_score, rtol=0, atol=2e-8 * size)
    np.testing.assert_allclose(hessian, want_hessian, rtol=0, atol=2e-8 * (size + np.abs(hessian).max()))
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-11 * (1.0 + np.abs(hessian).max()))


@EACH_RESPONSE
def test_pooled_derivatives(model):
    block = small(model)
    beta = THETA[:3]
    _, score, hessian = pooled(*block, beta, model)
    want_score, want_hessian = central(lambda t: pooled(*block, t, model)[:2], beta)
    np.testing.assert_allclose(score, want_score, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(hessian, want_hessian, rtol=1e-7, atol=1e-7)


@EACH_RESPONSE
@EACH_DISTRIBUTION
@EACH_SCALE
def test_sigma_zero_is_the_pooled_model(model, d, scale):
    block = small(model)
    theta = np.array([0.3, -0.5, 0.8, 0.0])
    value, score, hessian, _ = marginal(*block, theta, model, d, scale, 9)
    want, want_score, _ = pooled(*block, theta[:3], model)
    c, log_w = hermite(9)  # on the density scale the rule does not make the density's integral 1
    omega = 1.0 if scale == "normal" else (-d.log_density(np.zeros(1))[2][0]) ** -0.5
    a = Gaussian() if scale == "normal" else d
    mass = np.log(np.sqrt(2.0) * omega) + np.logaddexp.reduce(log_w + a.log_density(c * omega)[0])
    assert value == pytest.approx(want + block[-1].sum() * mass, abs=1e-10)
    assert abs(mass) < (1e-13 if a.code == "gaussian" else 0.3)
    np.testing.assert_allclose(score[:3], want_score, atol=1e-9)
    assert score[3] == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(hessian[3, :3], 0.0, atol=1e-8)
    assert dense(*block, theta, model, d)[0] == pytest.approx(want, rel=1e-12)


@EACH_RESPONSE
@EACH_DISTRIBUTION
@EACH_SCALE
def test_the_likelihood_is_even_in_sigma(model, d, scale):
    block = small(model)
    mirrored = THETA * [1, 1, 1, -1]
    value, score, hessian, each = marginal(*block, THETA, model, d, scale, 5)
    value2, score2, hessian2, each2 = marginal(*block, mirrored, model, d, scale, 5)
    signs = np.array([1, 1, 1, -1])
    assert value == pytest.approx(value2, rel=1e-12)
    np.testing.assert_allclose(each, each2, rtol=1e-11)
    np.testing.assert_allclose(score, signs * score2, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(hessian, np.outer(signs, signs) * hessian2, rtol=1e-8, atol=1e-8)


def integral(model, d, rows, sigma):
    """log of the integral of prod exp(kernel) over the density of the intercept, by mpmath on the normal scale."""

    def link_pair(x):
        if model.link == "logit":
            return -mp.log1p(mp.exp(-x)), -mp.log1p(mp.exp(x))
        if model.link == "probit":
            return mp.log(mp.ncdf(x)), mp.log(mp.ncdf(-x))
        return mp.log(-mp.expm1(-mp.exp(x))), -mp.exp(x)

    def t_of(s):
        tail = mp.ncdf(-abs(s))
        side = 1 if s > 0 else -1
        if d.code == "gaussian":
            return s
        return side * (mp.log((1 - tail) / tail) if d.code == "logistic" else mp.cot(mp.pi * tail))

    def integrand(s):
        m = sigma * t_of(s)
        log_f = -s * s / 2 - mp.log(2 * mp.pi) / 2
        for eta, a, b in rows:
            x = max(min(eta + m, mp.mpf(60)), mp.mpf(-10_000))  # beyond it a factor is 0 or 1 to 25 digits
            if not model.bounded:
                log_f += a * x - b * (mp.exp(x) if model.least == 0.0 else mp.log(mp.expm1(mp.exp(x))))
            else:
                p, q = link_pair(x)
                log_f += (a * p if a else 0) + (b * q if b else 0)
        return mp.exp(log_f)

    return float(mp.log(mp.quad(integrand, [-12, -8, -5, -3, -2, -1, 0, 1, 2, 3, 5, 8, 12])))


CLUSTERS = {
    "all ones": ([0.85] * 5, [1.0] * 5, 1.0),
    "all zeros, large sigma": ([0.2] * 5, [0.0] * 5, 4.0),
    "mixed": ([0.5, -0.7, 1.0], [1.0, 0.0, 1.0], 1.3),
    "single, small sigma": ([-0.4], [1.0], 0.3),
}


@EACH_RESPONSE
@pytest.mark.parametrize("d", [Gaussian(), Logistic(), Cauchy()], ids=lambda d: d.name)
@pytest.mark.parametrize("case", CLUSTERS)
def test_dense_rule_on_single_clusters_agrees_with_mpmath(model, d, case):
    eta, y, sigma = (np.array(part) for part in CLUSTERS[case])
    a, b = (y, 1.0 - y) if model.family == "binomial" else (2.0 * y + model.least, np.ones_like(y))
    with mp.workdps(20):
        want = integral(model, d, list(zip(eta.tolist(), a.tolist(), b.tolist(), strict=True)), float(sigma))
    block = np.array([0, len(y)]), np.zeros((len(y), 0)), a, b, eta, np.ones(1)
    got, each = dense(*block, np.array([sigma]), model, d)
    assert got == pytest.approx(want, abs=2e-12)
    assert each[0] == got
    if d.code != "cauchy":
        fine = marginal(*block, np.array([sigma]), model, d, "normal", 100)[0]
        assert fine == pytest.approx(want, abs=1e-5 if model.least == 0.0 else 3e-5)


@pytest.mark.parametrize(
    ("nodes", "density", "normal"), [(1, -0.51, -0.071), (8, -0.23, -3.6e-4), (16, -0.16, 5.2e-5), (64, -0.08, 6e-8)]
)
def test_cauchy_errors_on_the_two_scales_are_those_of_the_mathematics_page(nodes, density, normal):
    model, d = response("binomial"), Cauchy()
    block = np.array([0, 5]), np.zeros((5, 0)), np.ones(5), np.zeros(5), np.full(5, 0.85), np.ones(1)
    exact = dense(*block, np.ones(1), model, d)[0]
    for scale, error in (("density", density), ("normal", normal)):
        got = marginal(*block, np.ones(1), model, d, scale, nodes)[0] - exact
        assert got == pytest.approx(error, rel=0.1), scale


def test_dense_rule_does_not_depend_on_points_even_for_sharp_clusters():
    """10,000 trials pin the intercept down: the integrand is far narrower than the step of the first pass."""
    model = response("binomial")
    for successes, trials, sigma in (
        (60.0, 100.0, 2.0),
        (6_000.0, 10_000.0, 2.0),
        (99_999.0, 1e5, 0.5),
        (5e8, 1e9, 3.0),
    ):
        block = np.array([0, 1]), np.ones((1, 1)), np.array([successes]), np.array([trials - successes])
        block = (*block, np.zeros(1), np.ones(1))
        for d in DISTRIBUTIONS:
            theta = np.array([0.1, sigma])
            one, two = (dense(*block, theta, model, d, points=n)[0] for n in (4001, 9001))
            assert one == pytest.approx(two, rel=1e-12)
            assert marginal(*block, theta, model, d, "normal", 40)[0] == pytest.approx(one, rel=1e-9, abs=1e-7)


@EACH_RESPONSE
@EACH_DISTRIBUTION
def test_adaptive_rule_converges_to_the_dense_one(model, d):
    block = small(model)
    want, each = dense(*block, THETA, model, d)
    errors = [abs(marginal(*block, THETA, model, d, "normal", n)[0] - want) for n in (1, 8, 100)]
    assert errors[2] < 2e-4
    assert errors[2] < errors[0]
    assert block[-1] @ each == pytest.approx(want, rel=1e-14)


def test_scores_of_many_nodes_are_those_of_the_dense_rule():
    model, d = response("binomial"), Logistic()
    block = small(model)
    _, score, _, _ = marginal(*block, THETA, model, d, "normal", 60)
    step = 1e-5
    for k, e in enumerate(np.eye(4)):
        up, down = (dense(*block, THETA + sign * step * e, model, d)[0] for sign in (1, -1))
        assert score[k] == pytest.approx((up - down) / (2 * step), abs=1e-5)


@EACH_SCALE
def test_modes_are_the_highest_maxima(scale):
    """A Cauchy cluster pulled far out has two modes on the density scale: one near the data, one near zero."""
    model, d = response("binomial"), Cauchy()
    block = np.array([0, 1]), np.zeros((1, 0)), np.array([30.0]), np.array([0.5]), np.array([-14.0])
    s = modes(*block, np.array([0.5]), model, d, scale)[0]
    grid = np.linspace(-5, 60, 400_001)
    t, log_a = (d.quantile_of_normal(grid), -(grid**2) / 2) if scale == "normal" else (grid, d.log_density(grid)[0])
    with np.errstate(over="ignore"):
        g = log_a + model.value(-14.0 + 0.5 * t, block[2], block[3])
    assert s == pytest.approx(grid[np.argmax(g)], abs=2e-4)


def test_intercept_moments_are_derivatives_of_the_log_integral():
    model, d = response("poisson"), Gaussian()
    block = np.array([0, 1]), np.zeros((1, 0)), np.array([4.0]), np.ones(1)
    theta = np.array([0.7])
    mean, sd = dense_intercepts(*block, np.array([0.2]), theta, model, d)
    # one row: for a Gaussian intercept u, E(u | y) = sigma^2 d log-integral / d eta, and likewise the variance
    step = 1e-3
    below, at, above = (dense(*block, np.array([0.2 + k * step]), np.ones(1), theta, model, d)[0] for k in (-1, 0, 1))
    assert mean[0] == pytest.approx(0.49 * (above - below) / (2 * step), abs=1e-6)
    assert sd[0] ** 2 == pytest.approx(0.49 + 0.49**2 * (above - 2 * at + below) / step**2, abs=1e-6)


def test_cluster_weights_and_row_weights_are_repetitions():
    model, d = response("binomial", "cloglog"), Logistic()
    starts, X, a, b, offset, _ = small(model)
    last = slice(starts[-2], starts[-1])
    whole = marginal(starts, X, a, b, offset, np.array([1.0, 1.0, 2.0]), THETA, model, d, "normal", 4)
    doubled = [np.concatenate([part, part[last]]) for part in (X, a, b, offset)]
    longer = np.append(starts, starts[-1] + starts[-1] - starts[-2])
    again = marginal(longer, *doubled, np.ones(4), THETA, model, d, "normal", 4)
    for one, two in zip(whole[:3], again[:3], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)
    # row weights: every row of one cluster twice, against twice its (a, b)
    rows = np.repeat(np.arange(len(a)), 2)
    twice = marginal(2 * starts, X[rows], a[rows], b[rows], offset[rows], np.ones(3), THETA, model, d, "normal", 4)
    weighted = marginal(starts, X, 2 * a, 2 * b, offset, np.ones(3), THETA, model, d, "normal", 4)
    for one, two in zip(twice, weighted, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-11, atol=1e-11)


def test_dense_rule_at_the_exact_maxima(exact_name, exact, golden_arrays):
    """Value to 1e-9 of an independent implementation, at its estimates, for all its fits."""
    fit = exact[exact_name]
    arrays = golden_arrays(fit["dataset"])
    theta = arrays.theta(fit)
    value, _ = dense(*arrays.block, theta, response(fit["family"], fit["link"]), distribution(fit["prior"]))
    assert value + arrays.constant == pytest.approx(fit["logLik"], abs=1e-9)


# Not Cauchy, ohio or respiratory: adaptive nodes converge too slowly there to judge a score.
@pytest.mark.parametrize("d", ["gaussian", "logistic"])
@pytest.mark.parametrize(
    "model", ["bacteria_logit", "bacteria_cloglog", "cbpp_grouped_logit", "cbpp_grouped_cloglog", "epil_log"]
)
def test_score_vanishes_and_curvature_gives_the_standard_errors_at_the_exact_maxima(model, d, exact, golden_arrays):
    fit = exact[f"{model}_{d}"]
    arrays = golden_arrays(fit["dataset"])
    model, d = response(fit["family"], fit["link"]), distribution(fit["prior"])
    value, score, hessian, _ = marginal(*arrays.block, arrays.theta(fit), model, d, "normal", 60)
    assert value + arrays.constant == pytest.approx(fit["logLik"], abs=2e-6)
    se = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    np.testing.assert_allclose(se, fit["se"], rtol=2e-5)
    assert np.abs(score * se).max() < 2e-5


def test_glmmml_and_lme4_values_at_their_own_estimates(r_reference, golden_arrays):
    """glmmML integrates on the density scale, lme4 knows Gaussian intercepts only: same nodes, same log-likelihood."""
    compared = {"glmmML": 0, "lme4": 0}
    for name in ("bacteria", "cbpp_grouped", "epil", "respiratory"):
        arrays = golden_arrays(name)
        for key, fit in r_reference[name]["fits"].items():
            if key == "glmmML_logit_cauchy_ghq21" and name == "bacteria":
                continue  # one cluster has two modes, and glmmML expands about the lower
            if fit["package"] == "glmmML":
                nodes, left_out = fit["n_points"], 0.0
            elif (
                fit["package"] == "lme4" and fit["nAGQ"] > 1 and fit["link"] != "cloglog"
            ):  # there: expected information
                nodes, left_out = fit["nAGQ"], r_reference[name]["ll_sat"]
            else:
                continue
            model, d = response(fit["family"], fit["link"]), distribution(fit["prior"])
            value = marginal(*arrays.block, arrays.theta(fit), model, d, "density", nodes)[0] + arrays.constant
            assert value == pytest.approx(fit["logLik"] + left_out, abs=1e-5), (name, key)  # lme4 stops its modes early
            compared[fit["package"]] += 1
    assert compared["glmmML"] > 50
    assert compared["lme4"] == 8


def test_grouped_and_expanded_data_have_the_same_likelihood(exact, golden_arrays):
    fit = exact["cbpp_grouped_logit_gaussian"]
    model = response("binomial")
    values = []
    for name in ("cbpp_grouped", "cbpp_expanded"):
        arrays = golden_arrays(name)
        values.append(marginal(*arrays.block, arrays.theta(fit), model, Gaussian(), "normal", 9)[0])
    assert values[0] == pytest.approx(values[1], rel=1e-12)
