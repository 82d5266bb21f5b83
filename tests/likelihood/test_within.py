"""Profile and conditional likelihood: the core against its twin, differences, mpmath, and at the ends of the range."""

from __future__ import annotations

from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterglm import _core
from clusterglm.likelihood import reference_within as reference
from clusterglm.likelihood.conditional import ConditionalLikelihood
from clusterglm.likelihood.profile import ProfileLikelihood
from clusterglm.model.family import RESPONSES, response

EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
BETA = np.array([0.4, -0.6, 0.2])
SIZES = {
    "mixed": [1, 2, 3, 5, 8, 13, 4, 4, 2, 7, 1, 6],
    "equal": [5] * 17,
    "long": [60, 3, 101, 48, 47, 1, 200],
    "one": [30],
}
EACH_SHAPE = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())


@dataclass(frozen=True)
class Block:
    """Clustered data as the core takes them."""

    starts: np.ndarray
    X: np.ndarray
    a: np.ndarray
    b: np.ndarray
    offset: np.ndarray
    cluster_weights: np.ndarray

    @property
    def arguments(self):
        return self.starts, self.X, self.a, self.b, self.offset, self.cluster_weights

    def likelihood(self, kind, model, threads=1):
        problem = _core.Problem(*self.arguments, model.code)
        return kind(problem, threads)


def simulate(model, sizes, *, seed=1, grouped=False, weighted=False, spread=1.0, mean=0.5):
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    X = spread * rng.normal(size=(n, 3))
    trials = rng.integers(1, 5, n) if grouped else np.ones(n, dtype=int)
    w = rng.uniform(0.5, 2.0, n) if weighted else np.ones(n)
    if model.family == "binomial":
        y = rng.binomial(trials, mean)
        a, b = w * y, w * (trials - y)
    else:
        a, b = w * (model.least + rng.poisson(1.0, n)), w
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Block(starts, X, a, b, 0.3 * rng.normal(size=n), rng.uniform(0.5, 2.0, len(sizes)))


def check_derivatives(likelihood, beta, tolerance=2e-7):
    here, h = likelihood.evaluate(beta), 1e-5
    for j, step in enumerate(h * np.eye(len(beta))):
        up, down = likelihood.evaluate(beta + step), likelihood.evaluate(beta - step)
        scale = 1.0 + np.abs(here.hessian).max()
        assert abs((up.value - down.value) / (2 * h) - here.score[j]) < tolerance * scale
        np.testing.assert_allclose((up.score - down.score) / (2 * h), here.hessian[j], atol=tolerance * scale)


@EACH_SHAPE
@EACH_RESPONSE
@pytest.mark.parametrize("kind", ["single", "grouped", "weighted"])
def test_profile_is_its_twin(model, sizes, kind) -> None:
    block = simulate(model, sizes, grouped=kind != "single", weighted=kind == "weighted")
    likelihood = block.likelihood(ProfileLikelihood, model)
    for beta in (np.zeros(3), BETA, 3.0 * BETA):  # the second and third start from the intercepts before
        got = likelihood.evaluate(beta)
        expected, intercepts = reference.profile(*block.arguments, beta, model)
        assert got.value == pytest.approx(expected.value, rel=1e-13, abs=1e-11)
        np.testing.assert_allclose(got.score, expected.score, rtol=1e-10, atol=1e-9)
        np.testing.assert_allclose(got.hessian, expected.hessian, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(likelihood.intercepts(beta), intercepts, rtol=1e-8, atol=1e-8)
    check_derivatives(likelihood, BETA)


@EACH_RESPONSE
def test_what_the_profile_knows_of_clusters(model) -> None:
    block = simulate(model, SIZES["long"], grouped=True)
    likelihood = block.likelihood(ProfileLikelihood, model)
    terms, here, h = likelihood.clusters(BETA), likelihood.evaluate(BETA), 1e-5
    np.testing.assert_allclose(terms.scores.sum(axis=0), here.score, rtol=1e-12, atol=1e-10)
    for j, step in enumerate(h * np.eye(3)):
        known = np.isfinite(terms.intercepts)
        moved = (likelihood.intercepts(BETA + step)[known] - likelihood.intercepts(BETA - step)[known]) / (2 * h)
        np.testing.assert_allclose(-moved, terms.means[known, j], atol=1e-7)
    assert np.all(terms.means[~known] == 0.0)
    assert np.all(terms.information[~known] == 0.0)


@EACH_SHAPE
@pytest.mark.parametrize("mean", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("grouped", [False, True])
def test_conditional_is_its_twin(sizes, mean, grouped) -> None:
    block = simulate(response("binomial", "logit"), sizes, grouped=grouped, mean=mean)
    likelihood = block.likelihood(ConditionalLikelihood, response("binomial", "logit"))
    for beta in (np.zeros(3), BETA, 3.0 * BETA):
        got, expected = likelihood.evaluate(beta), reference.conditional(*block.arguments, beta)
        assert got.value == pytest.approx(expected.value, rel=1e-12, abs=1e-11)
        np.testing.assert_allclose(got.score, expected.score, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(got.hessian, expected.hessian, rtol=1e-9, atol=1e-9)
    check_derivatives(likelihood, BETA)
    np.testing.assert_allclose(likelihood.cluster_scores(BETA).sum(axis=0), likelihood.evaluate(BETA).score, atol=1e-10)


@pytest.mark.parametrize("events", [1, 3, 300, 997, 1500, 2999])
def test_one_large_stratum_against_mpmath(events) -> None:
    # 3,000 rows: elementary symmetric functions up to e^2000, far beyond double precision
    rng = np.random.default_rng(events)
    n = 3000
    x = rng.normal(size=(n, 1))
    eta = 1.3 * x[:, 0]
    a = np.zeros(n)
    a[rng.choice(n, events, replace=False)] = 1.0
    block = Block(np.array([0, n]), x, a, 1.0 - a, np.zeros(n), np.ones(1))
    got = block.likelihood(ConditionalLikelihood, response("binomial", "logit")).evaluate(np.array([1.3]), 0).value
    k = min(events, n - events)  # the functions of 1/w tell the same
    sign = 1.0 if k == events else -1.0
    polynomial = [mpmath.mpf(1)] + [mpmath.mpf(0)] * k
    if k <= 3:
        with mpmath.workdps(30):
            for e in eta:
                w = mpmath.exp(sign * mpmath.mpf(e))
                for j in range(k, 0, -1):
                    polynomial[j] += w * polynomial[j - 1]
            log_e = float(mpmath.log(polynomial[k])) + (0.0 if k == events else float(eta.sum()))
        assert got == pytest.approx(float(a @ eta) - log_e, rel=1e-13)
    else:
        assert got == pytest.approx(reference.conditional(*block.arguments, np.array([1.3])).value, rel=1e-12)


def test_a_stratum_of_10000_with_5000_events() -> None:
    rng = np.random.default_rng(5)
    n = 10_000
    X = rng.normal(size=(n, 2))
    a = np.zeros(n)
    a[rng.choice(n, 5000, replace=False)] = 1.0
    block = Block(np.array([0, n]), X, a, 1.0 - a, np.zeros(n), np.ones(1))
    likelihood = block.likelihood(ConditionalLikelihood, response("binomial", "logit"))
    # at beta = 0 every choice of 5,000 rows is as likely
    from scipy.special import gammaln

    got = likelihood.evaluate(np.zeros(2))
    assert got.value == pytest.approx(2.0 * gammaln(5001.0) - gammaln(10_001.0), rel=1e-13)
    # and the sum of x over events has the moments of sampling without replacement
    np.testing.assert_allclose(got.score, a @ X - 5000.0 * X.mean(axis=0), atol=1e-8)
    np.testing.assert_allclose(-got.hessian, 5000.0 * 0.5 * np.cov(X.T), rtol=1e-10, atol=1e-8)
    check_derivatives(likelihood, np.array([0.7, -0.4]))


@EACH_RESPONSE
def test_the_same_bits_for_any_number_of_threads(model) -> None:
    block = simulate(model, [3] * 900 + [70, 5, 400])
    one, three = (block.likelihood(ProfileLikelihood, model, threads) for threads in (1, 3))
    for beta in (np.zeros(3), BETA):
        first, second = one.evaluate(beta), three.evaluate(beta)
        assert first.value == second.value
        assert np.array_equal(first.score, second.score)
        assert np.array_equal(first.hessian, second.hessian)


def test_conditional_has_the_same_bits_for_any_number_of_threads() -> None:
    model = response("binomial", "logit")
    block = simulate(model, [3] * 900 + [70, 5, 400])
    one, three = (block.likelihood(ConditionalLikelihood, model, threads).evaluate(BETA) for threads in (1, 3))
    assert one.value == three.value
    assert np.array_equal(one.hessian, three.hessian)


@pytest.mark.parametrize("code", ["binomial_logit", "binomial_cloglog", "binomial_probit"])
@settings(max_examples=60, deadline=None)
@given(
    eta=st.lists(st.floats(-600.0, 600.0), min_size=2, max_size=6),
    first=st.floats(-700.0, 700.0),
    data=st.data(),
)
def test_an_intercept_is_found_wherever_it_starts(code, eta, first, data) -> None:
    # a search that stopped early on a flat stretch once made a likelihood of 1e304 (clusters separated by hundreds)
    n = len(eta)
    y = data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda y: 0 < sum(y) < n))
    if code == "binomial_probit":
        eta, first = [e / 20.0 for e in eta], first / 20.0
    a = np.array(y, dtype=float)
    problem = _core.Problem(np.array([0, n]), np.zeros((n, 0)), a, 1.0 - a, np.array(eta), np.ones(1), code)
    values = []
    for start in (np.nan, first):
        intercepts = np.array([start])
        empty = np.zeros(0), np.zeros((0, 0))
        values.append(_core.profile(problem, np.zeros(0), 0, intercepts, *empty))
        assert np.isfinite(intercepts[0])
    model = RESPONSES[code]
    grid = np.concatenate([np.linspace(-e - 3.0, -e + 3.0, 61) for e in eta] + [np.linspace(-700.0, 700.0, 701)])
    with np.errstate(over="ignore"):
        best = max(float(model.value(np.array(eta) + g, a, 1.0 - a).sum()) for g in grid)
    for value in values:
        assert value <= 1e-12
        assert value >= best - 1e-9 * (1.0 + abs(best))
    assert values[0] == pytest.approx(values[1], rel=1e-9, abs=1e-9)


def test_poisson_intercepts_have_a_closed_form_at_any_size() -> None:
    eta, y = np.array([350.0, 349.0, -400.0]), np.array([2.0, 1.0, 0.0])
    problem = _core.Problem(np.array([0, 3]), np.zeros((3, 0)), y, np.ones(3), eta, np.ones(1), "poisson_log")
    intercepts = np.array([np.nan])
    _core.profile(problem, np.zeros(0), 0, intercepts, np.zeros(0), np.zeros((0, 0)))
    assert intercepts[0] == pytest.approx(np.log(3.0) - (350.0 + np.log1p(np.exp(-1.0))), rel=1e-14)
