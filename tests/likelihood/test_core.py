"""The compiled core against its NumPy twin, against differences, and at the ends of the range of numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from clusterglm import _core
from clusterglm.likelihood import reference
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.pooled import cluster_sums, evaluate_pooled
from clusterglm.likelihood.scalar.choice import choose_plan
from clusterglm.likelihood.scalar.location import location_map
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import Part, Rule, single_rule
from clusterglm.model.distribution import Cauchy, Gaussian, Logistic, StudentT
from clusterglm.model.family import RESPONSES, response

DISTRIBUTIONS = (Gaussian(), Logistic(), Cauchy(), StudentT(4), StudentT(1.3))
EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
EACH_DISTRIBUTION = pytest.mark.parametrize("d", DISTRIBUTIONS, ids=lambda d: d.name)
EACH_SCALE = pytest.mark.parametrize("scale", ["normal", "density"])
THETA = np.array([0.3, -0.5, 0.8, 0.9])
TRAPEZOID = Rule(97, 9.0)


@dataclass(frozen=True)
class Block:
    """Clustered data as the core takes them."""

    X: np.ndarray
    a: np.ndarray
    b: np.ndarray
    offset: np.ndarray
    starts: np.ndarray
    cluster_weights: np.ndarray

    @property
    def arguments(self):
        """The leading arguments of the twin's functions."""
        return self.starts, self.X, self.a, self.b, self.offset, self.cluster_weights

    def likelihood(self, model, d, scale="normal", threads=1):
        problem = core_problem(self.X, self, model)
        return MarginalLikelihood(problem, d, scale, threads)


def simulate(model, sizes, *, seed=1, weighted=True, spread=1.0):
    """Covariates and responses without a meaning; `weighted` rows have trials, weights and offsets."""
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    X = np.column_stack([np.ones(n), spread * rng.normal(size=(n, 2))])
    w = rng.uniform(0.5, 2.0, n) if weighted else np.ones(n)
    trials = rng.integers(1, 4, n) if weighted else np.ones(n, dtype=int)
    if model.family == "binomial":
        y = rng.binomial(trials, 0.5)
        a, b = w * y, w * (trials - y)
    else:
        a, b = w * (model.least + rng.poisson(1.5, n)), w
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    offset = rng.normal(scale=0.3, size=n) if weighted else np.zeros(n)
    weights = rng.uniform(0.5, 2.0, len(sizes)) if weighted else np.ones(len(sizes))
    return Block(X, a.astype(float), b.astype(float), offset, starts, weights)


def central(f, theta, step=1e-5):
    """Central differences of the value and the score."""
    ups, downs = [f(theta + step * e) for e in np.eye(len(theta))], [f(theta - step * e) for e in np.eye(len(theta))]
    score = np.array([(u.value - v.value) / (2 * step) for u, v in zip(ups, downs, strict=True)])
    hessian = np.array([(u.score - v.score) / (2 * step) for u, v in zip(ups, downs, strict=True)])
    return score, hessian


@EACH_RESPONSE
@EACH_DISTRIBUTION
@EACH_SCALE
@pytest.mark.parametrize("nodes", [1, 2, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_core_equals_its_twin(model, d, scale, nodes, weighted):
    block = simulate(model, (6, 1, 4, 30), weighted=weighted)
    value, score, hessian, _ = reference.marginal(*block.arguments, THETA, model, d, scale, nodes)
    got = block.likelihood(model, d, scale).evaluate(THETA, single_rule(nodes))
    assert got.value == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(got.score, score, rtol=1e-7, atol=1e-7 * np.abs(score).max())
    np.testing.assert_allclose(got.hessian, hessian, rtol=1e-6, atol=1e-7 * np.abs(hessian).max())


@EACH_RESPONSE
@EACH_DISTRIBUTION
@pytest.mark.parametrize(
    ("rule", "scale"),
    [*((Rule(nodes), scale) for nodes in (1, 2, 7) for scale in ("normal", "density")), (TRAPEZOID, "normal")],
    ids=str,
)
@pytest.mark.parametrize("sizes", [(5, 2, 1, 3), (40, 70), (600,)], ids=["short", "long", "in chunks"])
def test_score_and_hessian_against_differences(model, d, rule, sizes, scale):
    block = simulate(model, sizes, weighted=True)
    likelihood = block.likelihood(model, d, scale)
    plan = (Part(rule),)
    at = likelihood.evaluate(THETA, plan)
    # A fixed rule in a long cluster turns sharply: a short step, which no error of a mode search blurs.
    step = 1e-5 if rule.adaptive else 2e-6
    score, hessian = central(lambda t: likelihood.evaluate(t, plan), THETA, step)
    np.testing.assert_allclose(at.score, score, rtol=0, atol=3e-7 * (1 + np.abs(score).max()))
    np.testing.assert_allclose(at.hessian, hessian, rtol=0, atol=3e-7 * (1 + np.abs(hessian).max()))
    np.testing.assert_array_equal(at.hessian, at.hessian.T)


@EACH_RESPONSE
@pytest.mark.parametrize("d", [Gaussian(), Logistic()], ids=lambda d: d.name)
@pytest.mark.parametrize("sizes", [(5, 2, 1, 3), (40, 70), (600,)], ids=["short", "long", "in chunks"])
def test_trapezoid_rule_about_the_mode(model, d, sizes):
    """So fine that derivatives need not know that nodes move; and it tells where it does not reach far enough."""
    block = simulate(model, sizes)
    likelihood = block.likelihood(model, d)
    plan = (Part(Rule(129, 18.0, about_mode=True)),)
    at = likelihood.evaluate(THETA, plan)
    want, per_cluster = reference.dense(*block.arguments, THETA, model, d)
    assert at.value == pytest.approx(want, rel=1e-11)
    score, hessian = central(lambda t: likelihood.evaluate(t, plan), THETA, 2e-6)
    np.testing.assert_allclose(at.score, score, rtol=0, atol=3e-7 * (1 + np.abs(score).max()))
    np.testing.assert_allclose(at.hessian, hessian, rtol=0, atol=3e-7 * (1 + np.abs(hessian).max()))
    values, ends = likelihood.cluster_values(THETA, plan[0].rule, None)
    np.testing.assert_allclose(values, block.cluster_weights * per_cluster, rtol=1e-10)
    assert ends.max() < 1e-12
    _, ends = likelihood.cluster_values(THETA, Rule(33, 3.0, about_mode=True), None)
    assert np.all(ends > 1e-4)


@EACH_RESPONSE
@EACH_DISTRIBUTION
def test_trapezoid_rule_equals_the_dense_one(model, d):
    block = simulate(model, (5, 2, 1, 3))
    want, each = reference.dense(*block.arguments, THETA, model, d)
    likelihood = block.likelihood(model, d)
    assert likelihood.evaluate(THETA, (Part(Rule(513, 9.0)),), 0).value == pytest.approx(want, rel=1e-11)
    values, ends = likelihood.cluster_values(THETA, Rule(513, 9.0), None)
    np.testing.assert_allclose(values, block.cluster_weights * each, rtol=1e-10)
    assert ends.max() < 1e-12


@EACH_RESPONSE
def test_pooled_equals_its_twin(model):
    block = simulate(model, (6, 1, 4, 100))
    value, score, hessian = reference.pooled(*block.arguments, THETA[:3], model)
    problem = core_problem(block.X, block, model)
    got = evaluate_pooled(problem, THETA[:3])
    assert got.value == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(got.score, score, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(got.hessian, hessian, rtol=1e-11, atol=1e-11)
    S1, S2 = cluster_sums(problem, THETA[:3], 4)
    jet = model.derivatives(block.X @ THETA[:3] + block.offset, block.a, block.b)
    np.testing.assert_allclose(S1, np.add.reduceat(jet[1], block.starts[:-1]), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(S2, np.add.reduceat(jet[2], block.starts[:-1]), rtol=1e-11, atol=1e-12)


@EACH_RESPONSE
@pytest.mark.parametrize("rule", [Rule(8), TRAPEZOID], ids=str)
def test_same_bits_for_any_number_of_threads(model, rule):
    block = simulate(model, [3] * 1500, weighted=True)
    one = block.likelihood(model, Gaussian(), threads=1).evaluate(THETA, (Part(rule),))
    for threads in (2, 5):
        more = block.likelihood(model, Gaussian(), threads=threads).evaluate(THETA, (Part(rule),))
        assert more.value == one.value
        np.testing.assert_array_equal(more.score, one.score)
        np.testing.assert_array_equal(more.hessian, one.hessian)


@EACH_DISTRIBUTION
def test_even_in_sigma(d):
    model = response("binomial", "logit")
    likelihood = simulate(model, (5, 2, 1, 3)).likelihood(model, d)
    mirror = np.array([1.0, 1.0, 1.0, -1.0])
    for rule in (Rule(7), TRAPEZOID):
        plus, minus = (likelihood.evaluate(t, (Part(rule),)) for t in (THETA, THETA * mirror))
        assert minus.value == pytest.approx(plus.value, rel=1e-10)
        np.testing.assert_allclose(minus.score, plus.score * mirror, rtol=1e-7, atol=1e-8)


def test_parts_add_up_and_scores_are_per_cluster():
    model = response("binomial", "logit")
    block = simulate(model, (5, 2, 1, 3, 40))
    likelihood = block.likelihood(model, Gaussian())
    even, odd = np.array([0, 2, 4]), np.array([1, 3])
    plan = (Part(Rule(8), even), Part(Rule(8), odd))
    whole = likelihood.evaluate(THETA, single_rule(8))
    parts = likelihood.evaluate(THETA, plan)
    assert parts.value == pytest.approx(whole.value, rel=1e-14)
    np.testing.assert_allclose(parts.hessian, whole.hessian, rtol=1e-12)
    scores = likelihood.unit_scores(THETA, plan)
    assert scores.shape == (5, 4)
    np.testing.assert_allclose(scores.sum(axis=0), whole.score, rtol=1e-12, atol=1e-13)


@EACH_RESPONSE
@EACH_DISTRIBUTION
def test_posterior_moments_and_modes(model, d):
    block = simulate(model, (5, 2, 4, 3))
    likelihood = block.likelihood(model, d, "density")
    if d.moment_order > 2:
        means, sds = likelihood.posterior(THETA, (Part(Rule(513, 9.0)),))
        want_means, want_sds = reference.dense_intercepts(
            block.starts, block.X, block.a, block.b, block.offset, THETA, model, d
        )
        np.testing.assert_allclose(means, want_means, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(sds, want_sds, rtol=1e-6)
    want = reference.modes(block.starts, block.X, block.a, block.b, block.offset, THETA, model, d, "density")
    np.testing.assert_allclose(likelihood.modes(THETA), want, rtol=1e-6, atol=1e-7)


@EACH_DISTRIBUTION
def test_location_map_equals_the_twin(d):
    s = np.linspace(-8.3, 8.3, 67)
    out = np.empty((len(s), 17))
    _core.locate(location_map(d, "normal"), s, 0.7, out)
    T = d.normal_map(s)
    for column, values in enumerate(T):
        np.testing.assert_allclose(out[:, column], 0.7 * values, rtol=2e-9, atol=1e-9)
    for column, values in enumerate(T[:4]):
        np.testing.assert_allclose(out[:, 5 + column], values, rtol=2e-9, atol=1e-9)
    _core.locate(location_map(d, "density"), s, 0.7, out)
    for column, values in enumerate(d.log_density(s)):
        np.testing.assert_allclose(out[:, 12 + column], values, rtol=1e-11, atol=1e-13)


@EACH_RESPONSE
@pytest.mark.parametrize("size", [50.0, 295.0, 320.0, 600.0])
def test_huge_linear_predictors_stay_finite_and_right(model, size):
    if not model.bounded and size > 300:
        size = 290.0  # a mean of e^600 has no use and no finite square
    block = simulate(model, (3, 1, 4), weighted=False)
    X = block.X.copy()
    X[0, 1], X[3, 1] = size, -size
    block = replace(block, X=X)
    theta = np.array([0.1, 1.0, 0.2, 0.8])
    want, score, _, _ = reference.marginal(*block.arguments, theta, model, Gaussian(), "normal", 9)
    got = block.likelihood(model, Gaussian()).evaluate(theta, single_rule(9))
    assert np.isfinite(got.value)
    assert np.isfinite(got.score).all()
    assert np.isfinite(got.hessian).all()
    assert got.value == pytest.approx(want, rel=1e-9)
    np.testing.assert_allclose(got.score, score, rtol=1e-6, atol=1e-6 * np.abs(score).max())


@EACH_RESPONSE
def test_one_large_cluster_and_many_of_one_row(model):
    large = simulate(model, (10_000,), weighted=False)
    got = large.likelihood(model, Gaussian()).evaluate(THETA, single_rule(15))
    want = reference.marginal(*large.arguments, THETA, model, Gaussian(), "normal", 15)
    assert got.value == pytest.approx(want[0], rel=1e-10)
    np.testing.assert_allclose(got.hessian, want[2], rtol=1e-6, atol=1e-6 * np.abs(want[2]).max())
    single = simulate(model, [1] * 300, weighted=False)
    got = single.likelihood(model, Gaussian()).evaluate(THETA, single_rule(15))
    want = reference.marginal(*single.arguments, THETA, model, Gaussian(), "normal", 15)
    assert got.value == pytest.approx(want[0], rel=1e-10)


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    code=st.sampled_from(sorted(RESPONSES)),
    d=st.sampled_from(DISTRIBUTIONS),
    sigma=st.floats(0.05, 4.0),
    spread=st.floats(1e-3, 6.0),
)
@example(seed=267482, sizes=[6, 3, 1, 8, 9, 9], code="binomial_logit", d=StudentT(4), sigma=0.05, spread=4.09375)
@example(seed=267482, sizes=[6, 1, 5, 9, 9, 9], code="binomial_logit", d=StudentT(4), sigma=0.05, spread=4.09375)
@example(seed=375616, sizes=[3, 1], code="binomial_cloglog", d=StudentT(1.3), sigma=0.05, spread=0.05078125)
def test_automatic_rules_keep_their_promise_on_any_small_data(seed, sizes, code, d, sigma, spread):
    model = RESPONSES[code]
    if not model.bounded:
        spread = min(spread, 3.0)
    block = simulate(model, sizes, seed=seed, spread=spread)
    theta = np.array([0.2, 0.4, -0.3, sigma])
    # Beyond, the yardstick is cut off at 37: there mpmath sides with the automatic rules.
    assume(np.abs(reference.modes(*block.arguments[:-1], theta, model, d, "normal")).max() < 25.0)
    want, _ = reference.dense(*block.arguments, theta, model, d)
    likelihood = block.likelihood(model, d)
    choice = choose_plan(likelihood, theta, 1e-6, unimodal=d.unimodal)
    plan, error = choice.plan, choice.error
    got = likelihood.evaluate(theta, plan)
    assert got.value == pytest.approx(want, rel=1e-11, abs=max(1e-6, 3.0 * error))
    assert error < 1e-4
    assert np.isfinite(got.score).all()
    assert np.isfinite(got.hessian).all()


def test_shapes_are_checked():
    model = response("binomial", "logit")
    block = simulate(model, (3, 2))
    with pytest.raises(ValueError, match="starts"):
        core_problem(block.X, replace(block, starts=np.array([0, 3, 4])), model)
    with pytest.raises(ValueError, match="one per cluster"):
        core_problem(block.X, replace(block, cluster_weights=np.ones(3)), model)
    with pytest.raises(ValueError, match="theta"):
        block.likelihood(model, Gaussian()).evaluate(np.zeros(9), single_rule(1))


@pytest.mark.parametrize(("d", "tolerance"), [(Gaussian(), 1e-7), (Cauchy(), 1e-8)], ids=["gaussian", "cauchy"])
def test_choosing_rules_for_many_clusters_gives_the_likelihood_by_them(d, tolerance) -> None:
    # some clusters are given other rules than most: what choosing has computed is corrected for them
    model = response("binomial", "logit")
    block = simulate(model, [3, 4, 2, 6] * 1500 + [600] * 3, weighted=True)
    likelihood = block.likelihood(model, d)
    choice = choose_plan(likelihood, THETA, tolerance, unimodal=d.unimodal)
    assert choice.there is not None
    assert len(choice.plan) > 1
    again = likelihood.evaluate(THETA, choice.plan)
    assert choice.there.value == pytest.approx(again.value, rel=1e-13)
    np.testing.assert_allclose(choice.there.score, again.score, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(choice.there.hessian, again.hessian, rtol=1e-10, atol=1e-8)
