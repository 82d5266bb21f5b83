"""Profile and bootstrap intervals: ends where a refit with the parameter held says they are."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import IntervalWarning, OptionError

DROP = 0.5 * 3.841458820694124  # half the 95% point of chi-square on one df
DISTRIBUTIONS = ("gaussian", "logistic", "cauchy", "student_t(4)")


def held(verb: Any, data: pd.DataFrame, value: float, name: str, others: list[str], **options: Any) -> float:
    """Log-likelihood maximised over all coefficients but one."""
    new = data.assign(_held=value * (1.0 if name == "(Intercept)" else data[name]))
    formula = "y ~ " + " + ".join(others or ["1"]) + (" - 1" if name == "(Intercept)" else "")
    return float(verb(formula, new, offset="_held", **options).loglik)


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    ids = np.repeat(np.arange(30), 5)
    x, z = 1000.0 + 30.0 * rng.normal(size=150), rng.integers(0, 2, 150).astype(float)
    eta = 0.04 * (x - 1000.0) - 0.6 * z + rng.normal(size=30)[ids]
    return pd.DataFrame({"y": (rng.random(150) < expit(eta)).astype(int), "x": x, "z": z, "id": ids})


@pytest.mark.parametrize("verb", [cg.pooled, cg.fixed_effects, cg.conditional, cg.random_effects])
def test_ends_of_coefficients(verb: Any, data: pd.DataFrame) -> None:
    options = {} if verb is cg.pooled else {"cluster": "id"}
    fit = verb("y ~ x + z", data, **options)
    found = fit.conf_int(method="profile")
    for name in ("x", "z"):
        other = ["z" if name == "x" else "x"]
        assert found.low[name] < fit.params[name] < found.high[name]
        for end in found.loc[name, ["low", "high"]]:
            assert held(verb, data, end, name, other, **options) == pytest.approx(fit.loglik - DROP, abs=2e-5)


def test_ends_of_an_intercept(data: pd.DataFrame) -> None:
    near = data.assign(x=data.x - 1000.0)
    fit = cg.random_effects("y ~ x + z", near, cluster="id")
    found = fit.conf_int(method="profile")
    for end in found.loc["(Intercept)", ["low", "high"]]:
        value = held(cg.random_effects, near, end, "(Intercept)", ["x", "z"], cluster="id")
        assert value == pytest.approx(fit.loglik - DROP, abs=2e-5)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_ends_of_sigma(distribution: str, data: pd.DataFrame) -> None:
    fit = cg.random_effects("y ~ x + z", data, cluster="id", distribution=distribution)
    low, high = fit.conf_int(method="profile").loc["sigma"]
    assert low < fit.sigma < high
    for end in (low, high):
        again = cg.random_effects("y ~ x + z", data, cluster="id", distribution=distribution, sigma=end, fix_sigma=True)
        if end == 0.0:
            assert again.loglik >= fit.loglik - DROP
        else:
            assert again.loglik == pytest.approx(fit.loglik - DROP, abs=1e-4)


def test_sigma_at_the_boundary(at_zero: Any) -> None:
    found = at_zero.conf_int(method="profile")
    assert found.low["sigma"] == 0.0
    again = cg.random_effects(
        at_zero.formula,
        pd.DataFrame({"y": at_zero.data.a, "x": at_zero.data.X[:, 1], "id": np.repeat(np.arange(20), 6)}),
        cluster="id",
        sigma=float(found.high["sigma"]),
        fix_sigma=True,
    )
    assert again.loglik == pytest.approx(at_zero.loglik - DROP, abs=1e-4)
    assert np.isnan(at_zero.conf_int().loc["sigma"]).all()


def test_a_sigma_that_might_be_zero_has_an_interval_from_zero() -> None:
    fit = cg.random_effects("y ~ trt + I(week > 2)", cg.datasets.load("bacteria"), cluster="ID", distribution="cauchy")
    assert fit.loglik - fit.pooled.loglik > 0.0
    low, high = fit.conf_int(level=0.999, method="profile").loc["sigma"]
    assert low == 0.0 < fit.sigma < high


def test_levels_are_nested_and_wald_is_near_in_large_samples() -> None:
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(800), 5)
    x = rng.normal(size=4000)
    y = rng.random(4000) < expit(x + rng.normal(size=800)[ids])
    fit = cg.random_effects("y ~ x", pd.DataFrame({"y": y.astype(int), "x": x, "id": ids}), cluster="id")
    wide, narrow = (fit.conf_int(level=level, method="profile") for level in (0.99, 0.9))
    assert (wide.low < narrow.low).all()
    assert (wide.high > narrow.high).all()
    width = fit.conf_int(level=0.9).high - fit.conf_int(level=0.9).low
    assert (np.abs(narrow - fit.conf_int(level=0.9)).max(axis=1) < 0.05 * width).all()


@pytest.mark.parametrize("points", [17, 65, 257])
def test_a_profile_is_followed_where_it_is_convex(points: int) -> None:
    """Near sigma = 0 a profile is level, and so convex before it falls."""
    fit = cg.random_effects("y ~ trt + week", cg.datasets.load("bacteria"), cluster="ID")
    curve = fit.profile("sigma", points=points)
    assert curve.value[0] == 0.0
    assert (np.diff(curve.value) > 0.0).all()
    assert (np.diff(curve.root) > 0.0).all()
    assert len(curve.value) > points * 0.9
    np.testing.assert_allclose(curve.root[1:-1], np.linspace(-3.0, 3.0, points)[-len(curve.root) + 1 : -1], atol=1e-9)


def test_a_profile_that_never_falls() -> None:
    # one success at x = 1, and only failures there otherwise: the coefficient has no lower limit to speak of
    data = pd.DataFrame({"x": [0.0] * 20 + [1.0] * 3, "y": [0, 1] * 10 + [0, 0, 1]})
    fit = cg.pooled("y ~ x", data)
    assert np.isfinite(fit.conf_int(method="profile").to_numpy()).all()


def test_r_profiles() -> None:
    # confint() of R 4.2.2's glm, which interpolates: four digits
    fit = cg.pooled("y ~ trt + I(week > 2)", cg.datasets.load("bacteria"))
    expected = [
        [2.0131253, 3.78936127],
        [-1.9820253, -0.28929553],
        [-1.5290068, 0.24487922],
        [-2.1528859, -0.52819501],
    ]
    np.testing.assert_allclose(fit.conf_int(method="profile"), expected, atol=2e-4)


def test_curve(data: pd.DataFrame) -> None:
    fit = cg.random_effects("y ~ x + z", data, cluster="id")
    curve = fit.profile("z")
    assert len(curve.value) == 13
    assert np.all(np.diff(curve.value) > 0.0)
    np.testing.assert_allclose(curve.root, np.linspace(-3.0, 3.0, 13), atol=1e-12)
    np.testing.assert_allclose(fit.loglik - curve.loglik, 0.5 * curve.root**2, atol=1e-6)
    assert curve.value[6] == pytest.approx(fit.params.z)
    assert held(cg.random_effects, data, curve.value[2], "z", ["x"], cluster="id") == pytest.approx(
        curve.loglik[2], abs=2e-5
    )
    assert list(curve.to_frame().columns) == ["value", "loglik", "root"]
    pickle.loads(pickle.dumps(curve))
    sigma = fit.profile("sigma", to=4.0)
    assert sigma.value[0] == 0.0 or sigma.root[0] == -4.0
    with pytest.raises(OptionError, match="'sigmo'"):
        fit.profile("sigmo")


def test_robust_wald(data: pd.DataFrame) -> None:
    fit = cg.random_effects("y ~ x + z", data, cluster="id")
    robust = fit.conf_int(cov="robust")
    half = 0.5 * (robust.high - robust.low)[["x", "z"]]
    np.testing.assert_allclose(half, 1.959964 * np.sqrt(np.diag(fit.cov("robust")))[1:3], rtol=1e-6)


@pytest.mark.parametrize("verb", [cg.pooled, cg.fixed_effects, cg.random_effects])
def test_bootstrap(verb: Any, data: pd.DataFrame) -> None:
    fit = verb("y ~ x + z", data, cluster="id")
    one, two = fit.bootstrap(60, seed=4), fit.bootstrap(60, seed=4, n_jobs=2)
    np.testing.assert_array_equal(one.replicates, two.replicates)
    assert one.names == tuple(fit.conf_int().index)
    assert one.replicates.shape[0] + sum(count for _, count in one.failures) == 60
    low, high = one.interval(level=0.8)
    again = fit.conf_int(level=0.8, method="bootstrap", n_boot=60, seed=4) if not one.failures else None
    if again is not None:
        np.testing.assert_array_equal(again.low, low)
    np.testing.assert_allclose(one.interval(level=0.8, kind="basic")[0], 2.0 * one.estimate - high)
    assert np.all((one.std_error / fit._se.mean())[:2] < 1e3)
    assert "seed 4" in str(one)


def test_bootstrap_of_corrected_estimates(data: pd.DataFrame) -> None:
    fit = cg.fixed_effects("y ~ x + z", data, cluster="id", bias_correction="analytical")
    assert np.abs(fit.bootstrap(20, seed=1).bias / fit.bse.to_numpy()).max() < 2.0
    with pytest.raises(OptionError, match="corrected"):
        fit.conf_int(method="profile")


def test_failures_warn() -> None:
    # with so few events many simulated data sets have none
    data = pd.DataFrame({"y": [1, 0, 1, 0, *[0] * 26], "id": np.repeat(np.arange(10), 3)})
    fit = cg.pooled("y ~ 1", data)
    with pytest.warns(IntervalWarning, match="failed"):
        found = fit.conf_int(method="bootstrap", n_boot=100, seed=1)
    assert np.isfinite(found.to_numpy()).all()


def test_options(data: pd.DataFrame) -> None:
    fit = cg.conditional("y ~ x + z", data, cluster="id")
    with pytest.raises(OptionError, match="method="):
        fit.conf_int(method="likelihood")
    with pytest.raises(OptionError, match="level="):
        fit.conf_int(level=1.0, method="profile")


def test_an_end_is_where_the_profile_has_fallen() -> None:
    """A first step that lands far from the best of the other parameters must not bound where the end may be."""
    data = cg.datasets.load("bacteria")
    fit = cg.random_effects("y ~ trt + week", data, cluster="ID")
    high = fit.conf_int(method="profile").loc["trtdrug+", "high"]
    rows = data.assign(off=high * (data["trt"] == "drug+"), drug=(data["trt"] == "drug") * 1.0)
    held = cg.random_effects("y ~ drug + week", rows, cluster="ID", offset="off")
    assert abs(fit.loglik - held.loglik - 0.5 * 3.841458820694124) < 1e-5
