"""Kernels and their derivatives against mpmath, at ordinary points, in the tails, and at the ends of the range."""

from __future__ import annotations

from functools import cache

import mpmath as mp
import numpy as np
import pytest

from clusterglm.errors import OptionError
from clusterglm.model.family import RESPONSES, families, links, response
from clusterglm.model.special import log_normal_cdf

ETA = (-700.0, -60.0, -37.6, -8.3, -3.0, -2.0, -1.99, -0.6, -1e-7, 0.0, 0.4, 1.5, 3.0, 5.5, 6.6, 8.3)
ROWS = ((1.0, 0.0), (0.0, 1.0), (2.5, 0.75))
MODELS = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())


def normal_derivatives(x: mp.mpf) -> list[mp.mpf]:
    """log Phi and four derivatives by the recurrence, harmless with hundreds of digits."""
    z = mp.npdf(x) / mp.ncdf(x)
    d = x + z
    z1 = -z * d
    z2 = -(z1 * d + z * (1 + z1))
    return [mp.log(mp.ncdf(x)), z, z1, z2, -(z2 * d + 2 * z1 * (1 + z1) + z * z2)]


@cache
def unit_derivatives(link: str, eta: float, upper: bool) -> list[mp.mpf]:
    """Kernel and four derivatives for (a, b) = (1, 0), or (0, 1) if `upper`."""
    with mp.workdps(400):  # the tails are as small as 1e-319 beside 1
        x = mp.mpf(eta)
        if link == "probit":
            values = normal_derivatives(-x if upper else x)
            return [(-1) ** (n * upper) * value for n, value in enumerate(values)]
        f = {
            ("log", False): lambda t: t,
            ("log", True): lambda t: -mp.exp(t),
            ("logit", False): lambda t: -mp.log1p(mp.exp(-t)),
            ("logit", True): lambda t: -mp.log1p(mp.exp(t)),
            ("cloglog", False): lambda t: mp.log(-mp.expm1(-mp.exp(t))),
            ("cloglog", True): lambda t: -mp.exp(t),
            ("truncated", False): lambda t: t,
            ("truncated", True): lambda t: -mp.log(mp.expm1(mp.exp(t))),
        }[link, upper]
        return list(mp.diffs(f, x, 4))


@MODELS
@pytest.mark.parametrize("eta", ETA)
@pytest.mark.parametrize(("a", "b"), ROWS)
def test_kernel_and_derivatives_agree_with_mpmath(model, eta, a, b):
    got = model.derivatives(np.array([eta]), np.array([a]), np.array([b]))
    kind = "truncated" if model.least > 0.0 else model.link
    lower, upper = (unit_derivatives(kind, eta, side) for side in (False, True))
    with mp.workdps(400):
        for n in range(5):
            want = a * lower[n] + b * upper[n]
            size = abs(a * lower[n]) + abs(b * upper[n])  # a mixed row subtracts its two halves
            error = abs(mp.mpf(float(got[n][0])) - want)
            # 1e-307: underflow; 1e-15: third and fourth derivatives cross zero
            assert error <= 2e-12 * size + mp.mpf(1e-15 if n > 2 and abs(eta) < 30 else 1e-307), n
    np.testing.assert_allclose(model.value(np.array([eta]), np.array([a]), np.array([b])), got[0], rtol=1e-15)


@MODELS
@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (3.0, 2.0)])
@pytest.mark.parametrize("eta", [-700.0, -40.0, 40.0, 700.0])
def test_ends_of_the_range_are_finite_and_ordered(model, eta, a, b):
    value, d1, d2, d3, d4 = (x[0] for x in model.derivatives(np.array([eta]), np.array([a]), np.array([b])))
    assert np.all(np.isfinite([value, d1, d2, d3, d4]))
    assert d2 <= 0.0
    if model.family == "binomial":
        assert value <= 0.0
        assert d1 >= 0.0 if b == 0.0 else True
        assert d1 <= 0.0 if a == 0.0 else True
    if a == b == 0.0:
        assert value == d1 == d2 == d3 == d4 == 0.0


@MODELS
def test_an_infinite_predictor_gives_minus_infinity_or_zero_but_no_nan(model):
    far = np.array([-np.inf, np.inf, 1e299])
    for a, b in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0)):
        assert not np.any(np.isnan(model.value(far, np.full(3, a), np.full(3, b))))
    if model.family == "binomial":
        np.testing.assert_array_equal(model.value(far, np.ones(3), np.zeros(3)), [-np.inf, 0.0, 0.0])


@MODELS
def test_binomial_reflection_and_broadcasting(model):
    eta = np.linspace(-6, 6, 7)
    a, b = np.array([1.0, 2.0]), np.array([0.5, 0.0])
    got = model.derivatives(eta[:, None], a, b)
    assert all(x.shape == (7, 2) for x in got)
    if model.link in ("logit", "probit"):
        mirrored = model.derivatives(-eta[:, None], b, a)
        for n, (x, y) in enumerate(zip(got, mirrored, strict=True)):
            np.testing.assert_allclose(x, (-1) ** n * y, rtol=1e-14, atol=1e-15)


@MODELS
def test_mean_link_and_mean_derivative_agree(model):
    eta = np.linspace(-5.0, 2.0, 15)
    np.testing.assert_allclose(model.link_function(model.mean(eta)), eta, rtol=1e-9, atol=1e-12)
    step = 1e-6
    slope = (model.mean(eta + step) - model.mean(eta - step)) / (2 * step)
    np.testing.assert_allclose(model.mean_derivative(eta), slope, rtol=1e-8)
    ends = model.link_function(np.array([model.least, 1.0]))
    assert ends[0] == -np.inf
    assert ends[1] == (np.inf if model.family == "binomial" else 0.0 if model.least == 0.0 else -np.inf)
    far = model.mean(np.array([-800.0, 800.0]))
    assert far[0] == model.least
    assert far[1] == (1.0 if model.family == "binomial" else np.inf)


@MODELS
def test_saturated_is_the_maximum_of_the_kernel(model):
    a, b = np.array([3.0, 0.25, 7.0]), np.array([2.0, 4.0, 0.5])
    a += model.least * b
    best = model.link_function(a / (a + b) if model.family == "binomial" else a / b)
    np.testing.assert_allclose(model.value(best, a, b), model.saturated(a, b), rtol=1e-13)
    np.testing.assert_allclose(model.derivatives(best, a, b)[1], 0.0, atol=1e-13)
    zero = np.zeros(1)
    assert model.saturated(zero, np.ones(1))[0] == 0.0
    assert model.saturated(zero, zero)[0] == 0.0
    if model.family == "binomial":
        assert model.saturated(np.ones(1), zero)[0] == 0.0


@MODELS
def test_score_has_mean_zero_under_the_model(model):
    """Ties kernel, mean and `simulate` together: the expected derivative of the kernel is zero."""
    rng = np.random.default_rng(7)
    eta = np.repeat([-1.2, 0.3], 40_000)
    trials = np.full(eta.shape, 3.0)
    y = model.simulate(rng, model.mean(eta), trials)
    assert y.dtype == np.float64
    assert y.max() <= 3.0 or not model.bounded
    assert y.min() >= model.least
    a, b = (y, trials - y) if model.family == "binomial" else (y, np.ones_like(y))
    score = model.derivatives(eta, a, b)[1].reshape(2, -1)
    z = score.mean(axis=1) / (score.std(axis=1) / np.sqrt(score.shape[1]))
    assert np.all(np.abs(z) < 4.0)


def test_simulate_without_trials_draws_zeros_and_ones():
    y = response("binomial").simulate(np.random.default_rng(1), np.full(200, 0.5))
    assert set(y) == {0.0, 1.0}


@pytest.mark.parametrize("x", [-1000.0, -20.0, -2.0001, -2.0, 0.0, 2.0, 10.0, 37.0])
def test_log_normal_cdf_keeps_relative_accuracy(x):
    got = log_normal_cdf(np.array([x]))
    with mp.workdps(400):
        for n, want in enumerate(normal_derivatives(mp.mpf(x))):
            assert abs(mp.mpf(float(got[n][0])) - want) <= 5e-12 * abs(want), n


def test_names_and_defaults():
    assert families() == ("binomial", "poisson", "truncated_poisson")
    assert links("binomial") == ("logit", "cloglog", "probit")
    assert links("poisson") == ("log",)
    assert response("binomial", None).code == "binomial_logit"
    assert response("poisson").code == "poisson_log"
    for code, model in RESPONSES.items():
        assert response(model.family, model.link) is model
        assert code in (model.code, f"{model.code}_{model.link}")
        assert model == type(model)()
        assert hash(model) == hash(type(model)())


@pytest.mark.parametrize(
    ("family", "link", "listed"),
    [("binomal", None, "'binomial', 'poisson'"), ("binomial", "log", "'logit', 'cloglog', 'probit'"), (3, None, "got")],
)
def test_unknown_names_are_answered_with_the_allowed_ones(family, link, listed):
    with pytest.raises(OptionError) as caught:
        response(family, link)
    assert listed in str(caught.value) or listed == "got"
    if family == "binomal":
        assert "did you mean 'binomial'?" in str(caught.value)


def test_counts_of_any_mean_can_be_drawn() -> None:
    # Cauchy intercepts make means beyond any integer: the draw is then the mean itself
    drawn = response("poisson").simulate(np.random.default_rng(1), np.array([2.0, 1e17, 1e25, np.inf]))
    assert drawn[0] < 20.0
    assert drawn[1] == pytest.approx(1e17, rel=1e-7)
    assert drawn[2] == 1e25
    assert drawn[3] == 1e300
