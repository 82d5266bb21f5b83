"""Effects in reported units: against quadrature, closed forms, published numbers and central differences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import norm

from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.errors import DataError, OptionError
from clusterglm.inference.diagnostics.design_changes import DesignChange, design_changes, recovered_frame
from clusterglm.inference.effects.average_effects import average_effects, uncorrected
from clusterglm.inference.effects.ratios import exponentiated, marginal_coefficients, ratio_names
from clusterglm.inference.predictions.averaged_mean import averaged_jet, mean_jet
from clusterglm.inference.predictions.marginal_mean import marginal_link
from clusterglm.inference.predictions.prediction import PredictedIntercepts
from clusterglm.model.distribution import Cauchy, Distribution, Gaussian, Logistic, StudentT
from clusterglm.model.family import response
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response

MODELS = tuple(response(*pair) for pair in (("binomial", "logit"), ("binomial", "probit"), ("binomial", "cloglog")))
COUNTS = response("poisson", "log")
DISTRIBUTIONS: tuple[Distribution, ...] = (Gaussian(), Logistic(), StudentT(4.0), Cauchy())
EACH_MODEL = pytest.mark.parametrize("model", MODELS, ids=lambda m: m.link)
EACH_DISTRIBUTION = pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda d: d.name)
ETA = np.array([-9.0, -2.5, -0.4, 0.0, 1.3, 3.0])
JETS = ("mean", "first", "second", "by_sigma", "first_by_sigma")
COVARIANCE = np.array([[0.09, -0.02, 0.01, 0.01], [-0.02, 0.04, 0.0, 0.02], [0.01, 0.0, 0.05, 0.01], [0, 0, 0, 0.06]])
COVARIANCE[3] = COVARIANCE[:, 3]
BETA = np.array([-0.3, 0.8, -0.5])


def central(f: Callable[[float], Any], at: float, h: float = 1e-4) -> np.ndarray:
    """First derivative to the fourth order."""
    return (8.0 * (f(at + h) - f(at - h)) - (f(at + 2.0 * h) - f(at - 2.0 * h))) / (12.0 * h)


def gradient(f: Callable[[np.ndarray], Any], theta: np.ndarray, h: float = 1e-4) -> np.ndarray:
    """Derivatives of f in each parameter, last axis."""
    columns = []
    for j in range(len(theta)):
        unit = np.eye(len(theta))[j]
        columns.append(central(lambda t, unit=unit: np.asarray(f(theta + t * unit)), 0.0, h))
    return np.stack(columns, axis=-1)


def over_intercepts(f: Callable[[float], float], distribution: Distribution) -> float:
    """E f(Z) by adaptive quadrature on the normal scale."""

    def integrand(s: float) -> float:
        return f(float(distribution.quantile_of_normal(np.array([s]))[0])) * norm.pdf(s)

    edges = np.linspace(-9.0, 9.0, 37)
    return float(sum(quad(integrand, *pair, epsabs=1e-14, epsrel=1e-11, limit=200)[0] for pair in pairwise(edges)))


# The averaged mean -----------------------------------------------------------------------------------------------


@EACH_MODEL
@EACH_DISTRIBUTION
def test_averaged_mean_is_the_integral(model: Response, distribution: Distribution) -> None:
    jet = averaged_jet(ETA, 1.2, model, distribution)
    assert jet.resolved.all()
    for j, eta in enumerate(ETA[1:], 1):
        want = over_intercepts(lambda z, eta=eta: float(model.mean(np.array([eta + 1.2 * z]))[0]), distribution)
        np.testing.assert_allclose(jet.mean[j], want, rtol=1e-8)


@EACH_MODEL
@EACH_DISTRIBUTION
@pytest.mark.parametrize("sigma", [0.05, 1.2, 6.0])
def test_averaged_slopes_by_differences(model: Response, distribution: Distribution, sigma: float) -> None:
    def jet(eta: np.ndarray, scale: float = sigma) -> dict[str, np.ndarray]:
        found = averaged_jet(eta, scale, model, distribution)
        assert found.resolved.all()
        return {name: getattr(found, name) for name in JETS}

    at, h = jet(ETA), 1e-3 * sigma
    for slope, of in (("first", "mean"), ("second", "first")):
        want = central(lambda t, of=of: jet(ETA + t)[of], 0.0, 1e-3)
        np.testing.assert_allclose(at[slope], want, rtol=1e-6, atol=1e-9)
    for slope, of in (("by_sigma", "mean"), ("first_by_sigma", "first")):
        want = central(lambda t, of=of: jet(ETA, t)[of], sigma, h)
        np.testing.assert_allclose(at[slope], want, rtol=1e-6, atol=1e-8)


@EACH_MODEL
def test_averaged_mean_agrees_with_predictions(model: Response) -> None:
    for distribution in DISTRIBUTIONS:
        found = averaged_jet(ETA, 0.8, model, distribution)
        link = marginal_link(ETA, 0.8, model, distribution)
        np.testing.assert_allclose(found.mean, model.mean(link.link), rtol=1e-9)
        np.testing.assert_allclose(found.first, model.mean_derivative(link.link) * link.by_eta, rtol=1e-8)


@EACH_MODEL
@EACH_DISTRIBUTION
@pytest.mark.parametrize("sigma", [1e-3, 30.0, 1e3])
def test_averaged_mean_where_it_is_steep(model: Response, distribution: Distribution, sigma: float) -> None:
    """Against the rule of predictions, another one; narrow transitions on the normal scale at both ends of sigma."""
    eta = np.array([-12.0, -3.0, 0.2, 1.5])
    found, link = averaged_jet(eta, sigma, model, distribution), marginal_link(eta, sigma, model, distribution)
    assert found.resolved.all()
    ok = link.resolved
    assert ok.sum() >= 3
    np.testing.assert_allclose(found.mean[ok], model.mean(link.link[ok]), rtol=1e-8)
    slope = model.mean_derivative(link.link)
    np.testing.assert_allclose(found.first[ok], (slope * link.by_eta)[ok], rtol=1e-6)
    np.testing.assert_allclose(found.by_sigma[ok], (slope * link.by_sigma)[ok], rtol=1e-6, atol=1e-14)


@EACH_DISTRIBUTION
def test_the_table_for_many_rows_changes_nothing(distribution: Distribution) -> None:
    many = np.random.default_rng(5).uniform(-3.0, 3.0, 4000)
    table = averaged_jet(many, 0.9, MODELS[0], distribution)
    direct = averaged_jet(many[:20], 0.9, MODELS[0], distribution)
    for name in JETS:
        np.testing.assert_allclose(getattr(table, name)[:20], getattr(direct, name), rtol=1e-8, atol=1e-10)


def test_averaged_counts() -> None:
    jet = averaged_jet(ETA, 0.7, COUNTS, Gaussian())
    np.testing.assert_allclose(jet.mean, np.exp(ETA + 0.245), rtol=1e-14)
    np.testing.assert_allclose(jet.by_sigma, 0.7 * np.exp(ETA + 0.245), rtol=1e-14)
    assert not averaged_jet(ETA, 0.7, COUNTS, Cauchy()).exists


@EACH_MODEL
def test_no_spread_leaves_the_mean(model: Response) -> None:
    np.testing.assert_array_equal(averaged_jet(ETA, 0.0, model, Gaussian()).second, mean_jet(ETA, model).second)
    small = averaged_jet(ETA, 1e-6, model, Logistic())
    np.testing.assert_allclose(small.mean, model.mean(ETA), rtol=1e-9)


# Average effects -------------------------------------------------------------------------------------------------


def example(n: int = 40) -> tuple[list[DesignChange], np.ndarray, np.ndarray]:
    """A derivative with its square, a difference; offsets and weights."""
    rng = np.random.default_rng(11)
    x, flag = rng.normal(size=n), rng.integers(0, 2, n).astype(float)
    one, zero = np.ones(n), np.zeros(n)
    X = np.column_stack([one, x, flag * x])
    derivative = DesignChange("x", "derivative", X, None, np.column_stack([zero, one, flag]))
    high, low = np.column_stack([one, x, x]), np.column_stack([one, x, zero])
    weights = rng.uniform(0.5, 2.0, n)
    return (
        [derivative, DesignChange("flag", "1 - 0", high, low, np.empty((n, 0)))],
        rng.normal(scale=0.3, size=n),
        (weights / weights.sum()),
    )


@pytest.mark.parametrize("model", [*MODELS, COUNTS], ids=lambda m: m.link)
@pytest.mark.parametrize("distribution", [Gaussian(), Logistic()], ids=lambda d: d.name)
def test_gradient_of_marginal_effects(model: Response, distribution: Distribution) -> None:
    changes, known, weights = example()

    def found(theta: np.ndarray) -> Any:
        def jet(eta: np.ndarray) -> Any:
            return averaged_jet(eta, theta[3], model, distribution)

        return average_effects(changes, theta[:3], known, weights, COVARIANCE, jet)

    theta = np.append(BETA, 0.6)
    at = found(theta)
    want = gradient(lambda t: found(t).estimate, theta, 1e-3)
    np.testing.assert_allclose(at.gradient, want, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(at.covariance, want @ COVARIANCE @ want.T, rtol=1e-5)
    np.testing.assert_allclose(at.std_error**2, np.diag(at.covariance))


@pytest.mark.parametrize("model", [*MODELS, COUNTS], ids=lambda m: m.link)
def test_gradient_with_intercepts_that_move(model: Response) -> None:
    changes, known, weights = example()
    rng = np.random.default_rng(2)
    cluster, values = np.arange(40) // 8, rng.normal(size=5)
    derivatives, variances = rng.normal(size=(5, 4)), rng.uniform(0.1, 0.4, 5)
    theta = np.append(BETA, 0.6)

    def found(t: np.ndarray, extra: np.ndarray) -> Any:
        u = values + derivatives @ (t - theta) + extra
        at = uncorrected(PredictedIntercepts(u, derivatives, variances), cluster)

        def jet(eta: np.ndarray) -> Any:
            return mean_jet(eta, model)

        return average_effects(changes, t[:3], known + u[cluster], weights, COVARIANCE, jet, at)

    at = found(theta, np.zeros(5))
    np.testing.assert_allclose(at.gradient, gradient(lambda t: found(t, np.zeros(5)).estimate, theta), rtol=1e-6)
    own = gradient(lambda e: found(theta, e).estimate, np.zeros(5))
    want = at.gradient @ COVARIANCE @ at.gradient.T + (own * variances) @ own.T
    np.testing.assert_allclose(at.covariance, want, rtol=1e-6)


def test_marginal_effect_is_that_of_drawn_intercepts() -> None:
    changes, known, weights = example()
    z = np.random.default_rng(8).standard_normal(40_000)
    eta = changes[0].high @ BETA + known
    effect = MODELS[0].mean_derivative(eta[:, None] + 1.5 * z) * (changes[0].slope @ BETA)[:, None]
    drawn = weights @ effect
    got = average_effects(
        changes[:1], BETA, known, weights, COVARIANCE, lambda e: averaged_jet(e, 1.5, MODELS[0], Gaussian())
    )
    assert abs(got.estimate[0] - drawn.mean()) < 4.0 * drawn.std() / 200.0


def test_a_known_sigma_adds_nothing() -> None:
    changes, known, weights = example()
    V = random_intercept(3, state="held").zero_where_not_free(COVARIANCE)

    def jet(eta: np.ndarray) -> Any:
        return averaged_jet(eta, 0.6, MODELS[0], Gaussian())

    got = average_effects(changes, BETA, known, weights, V, jet)
    part = got.gradient[:, :3]
    np.testing.assert_allclose(got.covariance, part @ COVARIANCE[:3, :3] @ part.T)


# Changes of the design -------------------------------------------------------------------------------------------


def table(n: int = 80, scale: float = 1.0, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "y": np.arange(n) % 2,
            "x": shift + scale * rng.uniform(0.01, 3.0, n),
            "z": rng.normal(size=n),
            "k": rng.integers(1, 4, n),
            "g": rng.choice(["a", "b", "c"], n),
            "flag": rng.integers(0, 2, n),
            "truth": rng.integers(0, 2, n).astype(bool),
            "id": rng.integers(0, 9, n),
        }
    )


def fitted(formula: str, d: pd.DataFrame) -> ModelData:
    return prepare(formula, d, Request(MODELS[0], cluster="id"))


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e5, 0.0), (1e-4, 0.0), (1.0, 50.0)])
def test_derivatives_of_terms(scale: float, shift: float) -> None:
    d = table(scale=scale, shift=shift)
    data = fitted("y ~ x*z + I(x**2) + np.log(x) + g:x", d)
    frame = d.loc[data.row_index, list(data.design.variables)].astype({"g": "category"})
    (change,) = design_changes(data.design, frame.reset_index(drop=True), ["x"])
    x, z, g = (frame[name].to_numpy() for name in ("x", "z", "g"))
    want = {"x": np.ones(80), "z": 0 * x, "x:z": z, "I(x ** 2)": 2 * x, "np.log(x)": 1 / x, "(Intercept)": 0 * x}
    for level in "abc":
        want |= {f"g{level}:x": (g == level) * 1.0, f"x:g{level}": (g == level) * 1.0}
    for name, slope in zip(data.names, change.slope.T, strict=True):
        np.testing.assert_allclose(slope, want[name], rtol=2e-7, atol=1e-9 * np.abs(want[name]).max(), err_msg=name)


def test_derivative_of_a_spline_stays_in_its_range() -> None:
    from scipy.interpolate import BSpline

    d = table()
    data = fitted("y ~ bs(x, df=5) + z", d)
    frame = d.loc[data.row_index, ["x", "z"]].reset_index(drop=True)
    (change,) = design_changes(data.design, frame, ["x"])
    x = frame.x.to_numpy()
    inner = np.quantile(d.x, [1 / 3, 2 / 3])
    knots = np.concatenate([[x.min()] * 4, inner, [x.max()] * 4])
    slopes = np.column_stack([BSpline(knots, np.eye(6)[j], 3).derivative()(x) for j in range(1, 6)])
    columns = [j for j, name in enumerate(data.names) if name.startswith("bs(")]
    np.testing.assert_allclose(change.slope[:, columns], slopes, atol=1e-7 * np.abs(slopes).max())


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + g",
        "y ~ x*g + I(x**2)",
        "y ~ C(k) + z + truth",
        "y ~ 0 + g + flag",
        "y ~ C(g, contr.sum) + x",
        "y ~ scale(z):flag + z + flag",
    ],
)
def test_variables_are_read_off_the_design(formula: str) -> None:
    d = table()
    data = fitted(formula, d)
    found = recovered_frame(data)
    for name in data.design.variables:
        want, got = d[name].to_numpy()[data.row_index], np.asarray(found[name])
        if want.dtype.kind in "Of":
            assert (np.asarray(got, dtype=want.dtype) == want).all()
        else:
            assert (got.astype(float) == want.astype(float)).all()
    X = data.design.build(nw.from_native(found, eager_only=True))
    np.testing.assert_allclose(X, data.X, rtol=1e-12)


@pytest.mark.parametrize("formula", ["y ~ np.log(x)", "y ~ bs(x, df=4) + z", "y ~ x:z", "y ~ x + z:g"])
def test_variables_that_the_design_hides(formula: str) -> None:
    with pytest.raises(DataError, match="data=the same table"):
        recovered_frame(fitted(formula, table()))


def test_kinds_of_contrasts() -> None:
    d = table()
    data = fitted("y ~ C(k) + z + truth + flag + g", d)
    changes = design_changes(data.design, recovered_frame(data), ["k", "z", "flag", "g"])
    words = [(change.variable, change.contrast) for change in changes]
    assert words == [
        ("k", "2 - 1"),
        ("k", "3 - 1"),
        ("z", "derivative"),
        ("flag", "1 - 0"),
        ("g", "b - a"),
        ("g", "c - a"),
    ]


def test_steps_have_no_derivative() -> None:
    d = table()
    data = fitted("y ~ I(x > 1) + z", d)
    frame = d.loc[data.row_index, ["x", "z"]].reset_index(drop=True)
    with pytest.raises(DataError, match="steps"):
        design_changes(data.design, frame, ["x"])


# Ratios ----------------------------------------------------------------------------------------------------------


def test_ratios() -> None:
    got = exponentiated(np.array([0.5, -1.0]), np.array([0.2, 0.1]), 0.9)
    np.testing.assert_allclose(got.estimate, np.exp([0.5, -1.0]))
    np.testing.assert_allclose(got.std_error, [0.2 * np.exp(0.5), 0.1 * np.exp(-1.0)])
    np.testing.assert_allclose(got.low, np.exp([0.5 - 1.6448536 * 0.2, -1.0 - 0.16448536]), rtol=1e-7)
    assert [ratio_names(m)[0] for m in (MODELS[0], MODELS[2], COUNTS)] == ["odds ratio", "hazard ratio", "rate ratio"]
    with pytest.raises(OptionError, match="latent normal"):
        ratio_names(MODELS[1])


# Marginal coefficients -------------------------------------------------------------------------------------------


def marginal(model: Response, distribution: Distribution, theta: np.ndarray, scale: float = 1.0) -> Any:
    rng = np.random.default_rng(13)
    X = np.column_stack([np.ones(60), rng.normal(size=60), rng.integers(0, 2, 60)]) * [1.0, scale, 1.0]
    V = COVARIANCE * np.outer([1.0, 1.0 / scale, 1.0, 1.0], [1.0, 1.0 / scale, 1.0, 1.0])
    weights = rng.uniform(0.5, 2.0, 60)

    def link(eta: np.ndarray) -> Any:
        return marginal_link(eta, theta[3], model, distribution)

    return marginal_coefficients(X, np.zeros(60), weights, theta[:3] / [1.0, scale, 1.0], V, link)


def test_marginal_coefficients_in_closed_form() -> None:
    theta = np.append(BETA, 1.3)
    probit = marginal(MODELS[1], Gaussian(), theta)
    np.testing.assert_allclose(probit.estimate, BETA / np.sqrt(2.69), rtol=1e-12)
    assert probit.misfit < 1e-14
    counts = marginal(COUNTS, Gaussian(), theta)
    np.testing.assert_allclose(counts.estimate, BETA + np.array([0.845, 0.0, 0.0]), rtol=1e-12)
    np.testing.assert_allclose(counts.std_error[1:], np.sqrt(np.diag(COVARIANCE)[1:3]), rtol=1e-12)


def test_marginal_logit_by_quadrature() -> None:
    """The regression by hand; and near Zeger, Liang and Albert (Biometrics 44, 1988): c = 16 sqrt(3) / (15 pi)."""
    rng = np.random.default_rng(13)
    X = np.column_stack([np.ones(60), rng.normal(size=60), rng.integers(0, 2, 60)])
    root = np.sqrt(rng.uniform(0.5, 2.0, 60))
    means = [over_intercepts(lambda z, e=e: float(expit(e + 1.3 * z)), Gaussian()) for e in X @ BETA]
    want = np.linalg.lstsq(root[:, None] * X, root * logit(means), rcond=None)[0]
    got = marginal(MODELS[0], Gaussian(), np.append(BETA, 1.3))
    np.testing.assert_allclose(got.estimate, want, rtol=1e-9)
    c = 16.0 * np.sqrt(3.0) / (15.0 * np.pi)
    np.testing.assert_allclose(want, BETA / np.sqrt(1.0 + c**2 * 1.69), rtol=0.05)  # as good as it is
    assert 0.0 < got.misfit < 0.01


@EACH_MODEL
@EACH_DISTRIBUTION
def test_gradient_of_marginal_coefficients(model: Response, distribution: Distribution) -> None:
    theta = np.append(BETA, 0.8)
    got = marginal(model, distribution, theta)
    want = gradient(lambda t: marginal(model, distribution, t).estimate, theta, 1e-3)
    np.testing.assert_allclose(got.gradient, want, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(got.covariance, want @ COVARIANCE @ want.T, rtol=1e-5)


def test_marginal_coefficients_keep_units() -> None:
    theta = np.append(BETA, 0.8)
    one, other = (marginal(MODELS[0], Gaussian(), theta, scale) for scale in (1.0, 1e6))
    factor = np.array([1.0, 1e6, 1.0])
    np.testing.assert_allclose(other.estimate * factor, one.estimate, rtol=1e-9)
    np.testing.assert_allclose(other.std_error * factor, one.std_error, rtol=1e-9)
