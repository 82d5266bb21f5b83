"""Tabulated distributions: core against twin, differences, dense rules and closed forms."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.special import gammaln, logsumexp, ndtri

from clusterglm import _core
from clusterglm.errors import OptionError
from clusterglm.likelihood import reference
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.scalar.choice import choose_plan
from clusterglm.likelihood.scalar.ladders import ladders
from clusterglm.likelihood.scalar.location import location_map
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import Part, Rule, averaging_rule, fixed_rule, single_rule
from clusterglm.model.distribution import (
    Bridge,
    Gaussian,
    GaussianMixture,
    Laplace,
    LogGamma,
    Smooth,
    StudentT,
    UserDistribution,
)
from clusterglm.model.family import RESPONSES, response


def gumbel_lower(p):
    return -np.log(-np.log(p)) - np.euler_gamma


def gumbel_upper(q):
    return -np.log(-np.log1p(-q)) - np.euler_gamma


GUMBEL = UserDistribution("gumbel", gumbel_lower, upper_quantile=gumbel_upper)
BRIDGE = UserDistribution("my bridge", lambda p, sigma: Bridge().location(ndtri(p), sigma), scale_family=False)
SMOOTH = Smooth(differences=tuple((0.03 * np.random.default_rng(8).standard_normal(46)).tolist()))
DISTRIBUTIONS = (Laplace(), Bridge(), LogGamma(), GaussianMixture(0.3, 3.0), GUMBEL, BRIDGE, SMOOTH)
EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
EACH_DISTRIBUTION = pytest.mark.parametrize("d", DISTRIBUTIONS, ids=lambda d: d.name)
SIZES = (6, 1, 4, 30)
THETA = np.array([0.3, -0.5, 0.8, 0.9])


class Block:
    """Clustered rows without a meaning, with trials, weights and offsets if `weighted`."""

    def __init__(self, model, sizes, weighted):
        rng = np.random.default_rng(8)
        n = sum(sizes)
        ones = np.ones(n)
        self.X = np.column_stack([ones, rng.normal(size=(n, 2))])
        w = rng.uniform(0.5, 2.0, n) if weighted else ones
        trials = rng.integers(1, 4, n) if weighted else np.ones(n, dtype=int)
        y = rng.binomial(trials, 0.5) if model.family == "binomial" else model.least + rng.poisson(1.5, n)
        self.a = w * y
        self.b = w * (trials - y) if model.family == "binomial" else w
        self.offset = rng.normal(scale=0.3, size=n) if weighted else np.zeros(n)
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.cluster_weights = rng.uniform(0.5, 2.0, len(sizes)) if weighted else np.ones(len(sizes))

    @property
    def arguments(self):
        return self.starts, self.X, self.a, self.b, self.offset, self.cluster_weights

    def likelihood(self, model, d, scale="normal"):
        problem = core_problem(self.X, self, model)
        return MarginalLikelihood(problem, d, scale)


def simulate(model, sizes, *, weighted=True):
    return Block(model, sizes, weighted)


def central(f, theta, step):
    ups, downs = ([f(theta + sign * step * e) for e in np.eye(len(theta))] for sign in (1, -1))
    score = np.array([(u.value - v.value) / (2 * step) for u, v in zip(ups, downs, strict=True)])
    hessian = np.array([(u.score - v.score) / (2 * step) for u, v in zip(ups, downs, strict=True)])
    return score, hessian


def dense(block, model, d, theta):
    """Log-integrals of the clusters by 4000 nodes of a rule that suits the distribution, in plain NumPy."""
    s, weights = averaging_rule(d, 4000, 12.0)
    m = theta[-1] * d.at(theta[-1]).quantile_of_normal(s)
    eta = block.X @ theta[:-1] + block.offset
    rows = model.value(eta[:, None] + m, block.a[:, None], block.b[:, None])
    return logsumexp(np.add.reduceat(rows, block.starts[:-1], axis=0) + np.log(weights), axis=1)


@EACH_RESPONSE
@EACH_DISTRIBUTION
@pytest.mark.parametrize("nodes", [1, 7])
def test_core_equals_its_twin(model, d, nodes):
    block = simulate(model, (6, 1, 4), weighted=True)
    value, score, hessian, _ = reference.marginal(*block.arguments, THETA, model, d, "normal", nodes)
    got = block.likelihood(model, d).evaluate(THETA, single_rule(nodes))
    assert got.value == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(got.score, score, rtol=1e-7, atol=1e-7 * np.abs(score).max())
    digits = 2e-6 if d is SMOOTH else 1e-7  # at one node fourth derivatives count, of which its table has fewer digits
    np.testing.assert_allclose(got.hessian, hessian, rtol=1e-6, atol=digits * np.abs(hessian).max())


@EACH_RESPONSE
@EACH_DISTRIBUTION
@pytest.mark.parametrize("kind", ["adaptive", "fixed"])
@pytest.mark.parametrize("sigma", [0.03, 0.9, 3.0])
def test_score_and_hessian_against_differences(model, d, kind, sigma):
    block = simulate(model, SIZES)
    likelihood = block.likelihood(model, d)
    plan = (Part(Rule(6) if kind == "adaptive" else fixed_rule(d, 97, 9.0)),)
    theta = np.append(THETA[:-1], sigma)
    at = likelihood.evaluate(theta, plan)
    score, hessian = central(lambda t: likelihood.evaluate(t, plan), theta, 1e-6 if sigma < 0.1 else 3e-6)
    np.testing.assert_allclose(at.score, score, rtol=0, atol=1e-6 * (1 + np.abs(score).max()))
    np.testing.assert_allclose(at.hessian, hessian, rtol=0, atol=1e-6 * (1 + np.abs(hessian).max()))


@EACH_RESPONSE
@EACH_DISTRIBUTION
@pytest.mark.parametrize("sigma", [0.2, 0.9, 2.5])
def test_automatic_rules_are_as_accurate_as_they_claim(model, d, sigma):
    block = simulate(model, SIZES)
    likelihood = block.likelihood(model, d)
    theta = np.append(THETA[:-1], sigma)
    want = block.cluster_weights @ dense(block, model, d, theta)
    choice = choose_plan(likelihood, theta, 1e-6, d.unimodal)
    assert choice.error < 1e-6
    got = likelihood.evaluate(theta, choice.plan, 0).value
    assert abs(got - want) <= choice.error + 1e-11 * (1.0 + abs(want))
    finest = likelihood.evaluate(theta, (Part(ladders(d).narrow[-1]),), 0).value
    assert finest == pytest.approx(want, rel=1e-11)


@pytest.mark.parametrize("d", [LogGamma(), GUMBEL, Bridge()], ids=lambda d: d.name)
def test_twin_by_a_dense_rule(d):
    model = response("binomial", "logit")
    block = simulate(model, (6, 1, 4))
    value, each = reference.dense(*block.arguments, THETA, model, d)
    np.testing.assert_allclose(each, dense(block, model, d, THETA), rtol=1e-11)
    got = block.likelihood(model, d).evaluate(THETA, (Part(Rule(513, 9.0)),), 0).value
    assert got == pytest.approx(value, rel=1e-11)


@pytest.mark.parametrize("sigma", [0.002, 0.05, 0.6, 1.7, 5.0])
def test_poisson_with_log_gamma_is_negative_multinomial(sigma):
    """Of a cluster with means mu_j and gamma factor of shape k: Johnson, Kotz and Balakrishnan (1997), chapter 36."""
    model = response("poisson", "log")
    block = simulate(model, (5, 2, 1, 3, 40), weighted=False)
    theta = np.append(THETA[:-1], sigma)
    mu = np.exp(block.X @ theta[:-1])
    k = sigma**-2
    want = 0.0
    for i in range(len(block.starts) - 1):
        rows = slice(block.starts[i], block.starts[i + 1])
        y, total = block.a[rows], mu[rows].sum()
        n = y.sum()
        # log Gamma(k + n) - log Gamma(k) - n log k as a sum: k may be large
        want += np.log1p(np.arange(int(n)) / k).sum() + y @ np.log(mu[rows])
        want -= (k + n) * np.log1p(total / k)
    likelihood = block.likelihood(model, LogGamma())
    choice = choose_plan(likelihood, theta, 1e-10, False)
    assert likelihood.evaluate(theta, choice.plan, 0).value == pytest.approx(want, rel=1e-9 if sigma > 0.01 else 1e-8)
    # the constants of the counts are the model's, not the mixture's
    assert gammaln(block.a + 1.0).sum() > 0.0


@pytest.mark.parametrize("sigma", [0.05, 0.6, 1.7, 4.0])
def test_cloglog_with_log_gamma_is_a_sum_over_sets_of_events(sigma):
    """With frailty G, P(no event) = exp(-h G); the product over events is expanded, E exp(-H G) = (1 + H/k)^-k."""
    model = response("binomial", "cloglog")
    block = simulate(model, (5, 2, 1, 7), weighted=False)
    theta = np.append(THETA[:-1], sigma)
    h = np.exp(block.X @ theta[:-1])
    k = sigma**-2
    want = 0.0
    for i in range(len(block.starts) - 1):
        rows = slice(block.starts[i], block.starts[i + 1])
        events, none = h[rows][block.a[rows] == 1.0], h[rows][block.b[rows] == 1.0].sum()
        p = 0.0
        for size in range(len(events) + 1):
            for chosen in combinations(events, size):
                p += (-1.0) ** size * np.exp(-k * np.log1p((none + sum(chosen)) / k))
        want += np.log(p)
    likelihood = block.likelihood(model, LogGamma())
    choice = choose_plan(likelihood, theta, 1e-10, False)
    assert likelihood.evaluate(theta, choice.plan, 0).value == pytest.approx(want, rel=1e-9)


@EACH_RESPONSE
@pytest.mark.parametrize("d", [GaussianMixture(0.3, 3.0), GaussianMixture(0.5, 8.0)], ids=lambda d: d.name)
def test_mixture_is_a_sum_of_two_gaussian_models(model, d):
    block = simulate(model, (5, 2, 1, 3))
    w, gap = d.parameters
    part = 1.0 / np.sqrt(1.0 + w * (1.0 - w) * gap**2)
    logs = []
    for share, mean in ((1.0 - w, -w * gap * part), (w, (1.0 - w) * gap * part)):
        theta = np.append(THETA[:-1], THETA[-1] * part)
        theta[0] += THETA[-1] * mean  # the first column is the constant
        likelihood = block.likelihood(model, Gaussian())
        logs.append(np.log(share) + likelihood.cluster_values(theta, Rule(1025, 9.0), None)[0] / block.cluster_weights)
    want = block.cluster_weights @ np.logaddexp(*logs)
    likelihood = block.likelihood(model, d)
    got = likelihood.evaluate(THETA, (Part(fixed_rule(d, 385, 9.0)),), 0).value
    assert got == pytest.approx(want, rel=1e-11)


@EACH_DISTRIBUTION
@pytest.mark.parametrize("rule", [Rule(5), None], ids=["adaptive", "fixed"])
def test_likelihood_is_even_in_sigma(d, rule):
    model = response("binomial", "logit")
    block = simulate(model, SIZES)
    plan = (Part(rule or fixed_rule(d, 65, 9.0)),)
    mirrored = np.append(THETA[:-1], -THETA[-1])
    one, other = (block.likelihood(model, d).evaluate(theta, plan) for theta in (THETA, mirrored))
    sign = np.append(np.ones(len(THETA) - 1), -1.0)
    assert other.value == pytest.approx(one.value, rel=1e-13)
    np.testing.assert_allclose(other.score, sign * one.score, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(other.hessian, np.outer(sign, sign) * one.hessian, rtol=1e-7, atol=1e-9)
    likelihood = block.likelihood(model, d)
    scores = likelihood.unit_scores(mirrored, plan)
    np.testing.assert_allclose(scores.sum(axis=0), other.score, rtol=1e-9, atol=1e-12)


@EACH_DISTRIBUTION
def test_sigma_zero_is_the_pooled_model(d):
    model = response("poisson", "log")
    block = simulate(model, SIZES)
    theta = np.append(THETA[:-1], 0.0)
    at = block.likelihood(model, d).evaluate(theta, (Part(fixed_rule(d, 129, 9.0)),))
    value, score, _ = reference.pooled(*block.arguments, theta[:-1], model)
    assert at.value == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(at.score[:-1], score, rtol=1e-9)


@pytest.mark.parametrize("family", [Bridge(), LogGamma()], ids=lambda d: d.name)
@pytest.mark.parametrize("sigma", [0.0021, 0.0077, 0.0079, 0.3, 1.0, 1.0001, 7.0, 60.0])
def test_table_of_a_family_follows_it_in_both_directions(family, sigma):
    s = np.linspace(-8.0, 8.0, 161)
    out = np.empty((len(s), 17))
    _core.locate(location_map(family, "normal", sigma), s, sigma, out)
    near = 1e-13 if sigma >= family.least else 1e-7 * sigma
    np.testing.assert_allclose(out[:, 0], family.location(s, sigma), rtol=2e-13, atol=near)
    np.testing.assert_allclose(out[:, 5], family.by_sigma(s, sigma), rtol=1e-8, atol=1e-9)


def test_posterior_mode_by_own_density_equals_that_by_the_density():
    model = response("binomial", "logit")
    block = simulate(model, SIZES)
    for d in (StudentT(4.0), Gaussian()):
        s = block.likelihood(model, d, "own").modes(THETA)
        t = block.likelihood(model, d, "density").modes(THETA)
        np.testing.assert_allclose(d.quantile_of_normal(s), t, atol=1e-7)


@pytest.mark.parametrize(
    "d", [Laplace(), Bridge(), LogGamma(), GUMBEL, GaussianMixture(0.3, 2.0)], ids=lambda d: d.name
)
def test_density_scale_is_refused_where_it_makes_no_sense(d):
    with pytest.raises(OptionError, match='scale="normal"'):
        location_map(d, "density")


def test_rules_for_corners_integrate_polynomials_on_either_side():
    s, weights = averaging_rule(Laplace(), 65, 9.0)
    assert weights @ np.abs(s) == pytest.approx(np.sqrt(2.0 / np.pi), rel=1e-13)
    assert weights @ np.abs(s) ** 3 == pytest.approx(4.0 / np.sqrt(2.0 * np.pi), rel=1e-13)
    assert np.count_nonzero(np.abs(s) > 9.0) == 2
