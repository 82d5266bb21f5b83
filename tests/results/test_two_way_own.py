"""Negative binomial counts with effects of two factors, beside a pooled fit with a dummy for every level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.data.request import Request
from clusterglm.data.two_way import prepare_two_way
from clusterglm.errors import OptionError
from clusterglm.fit.two_way import crossing_of, fit_two_way
from clusterglm.fit.two_way_own import at_psi
from clusterglm.model.response.own.negative_binomial import NegativeBinomial

BOTH = ["f", "g"]


def made(alpha: float, seed: int = 2, m: int = 24, q: int = 5, each: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    f, g = np.repeat(np.arange(m), q * each), np.tile(np.arange(q), m * each)
    kept = rng.random(len(f)) < 0.9
    f, g = f[kept], g[kept]
    x, z = rng.normal(size=len(f)) + 0.2 * g, rng.normal(size=len(f))
    eta = 0.5 + 0.4 * x - 0.3 * z + 0.5 * rng.normal(size=m)[f] + 0.4 * rng.normal(size=q)[g]
    mean = np.exp(eta)
    y = rng.poisson(mean) if alpha == 0.0 else rng.negative_binomial(1 / alpha, 1 / (1 + alpha * mean))
    table = pd.DataFrame({"y": y, "x": x, "z": z, "f": [f"f{k:02d}" for k in f], "g": [f"g{k}" for k in g]})
    return table.sample(frac=1.0, random_state=1, ignore_index=True)


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return made(0.6)


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> Any:
    return cg.fixed_effects("y ~ x + z", data, family="negative_binomial", cluster=BOTH)


@pytest.fixture(scope="module")
def dummies(data: pd.DataFrame) -> Any:
    return cg.pooled("y ~ x + z + f + g", data, family="negative_binomial", cluster="f")


def test_it_is_the_fit_with_dummies(fit: Any, dummies: Any) -> None:
    names = ["x", "z"]
    np.testing.assert_allclose(fit.params[names], dummies.params[names], rtol=1e-7)
    assert fit.family_parameters["alpha"] == pytest.approx(dummies.family_parameters["alpha"], rel=1e-7)
    assert fit.loglik == pytest.approx(dummies.loglik, abs=1e-8)
    assert fit.n_parameters == dummies.n_parameters
    assert fit.aic == pytest.approx(dummies.aic, abs=1e-7)
    assert fit.deviance == pytest.approx(dummies.deviance, rel=1e-8)
    assert fit.dispersion_lr_test.statistic == pytest.approx(dummies.dispersion_lr_test.statistic, rel=1e-7)
    names = [*names, "alpha"]
    for kind in ("observed", "robust"):  # alpha's uncertainty and that of all intercepts included
        np.testing.assert_allclose(fit.cov(kind), dummies.cov(kind).loc[names, names], rtol=2e-5, atol=1e-9)
    mine, theirs = fit.tidy().set_index("term"), dummies.tidy().set_index("term").loc[names]
    np.testing.assert_allclose(mine["conf_high"], theirs["conf_high"], rtol=1e-5)


def test_effects_and_predictions_have_the_errors_of_dummies(fit: Any, dummies: Any, data: pd.DataFrame) -> None:
    effects = fit.cluster_effects.set_index(["factor", "label"])
    g = effects.loc["g"]
    assert g["estimate"]["g0"] == 0.0
    later = ["g1", "g2", "g3", "g4"]
    np.testing.assert_allclose(g["estimate"][later], dummies.params[[f"g{k}" for k in later]], rtol=1e-6)
    np.testing.assert_allclose(g["std_error"][later], dummies.bse[[f"g{k}" for k in later]], rtol=1e-5)
    assert effects.loc[("f", "f00"), "estimate"] == pytest.approx(dummies.params["(Intercept)"], rel=1e-6)
    assert effects.loc[("f", "f00"), "std_error"] == pytest.approx(dummies.bse["(Intercept)"], rel=1e-5)
    mine, theirs = fit.predict(data, level=0.9), dummies.predict(data, level=0.9)
    for column in ("estimate", "std_error", "low", "high"):
        np.testing.assert_allclose(mine[column], theirs[column], rtol=1e-5)
    np.testing.assert_allclose(fit.residuals("pearson"), dummies.residuals("pearson"), rtol=1e-5, atol=1e-7)


def test_it_says_what_it_is_and_comes_back_from_a_file(fit: Any, tmp_path: Path) -> None:
    text = " ".join(str(fit).split())
    assert "alpha: 0." in text
    assert "24 of 'f' and 5 of 'g'" in text
    assert "alpha is too small" in text
    assert "bias_correction" not in text
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    pd.testing.assert_frame_equal(again.tidy(), fit.tidy())
    np.testing.assert_allclose(again.cov("two-way"), fit.cov("two-way"), rtol=1e-10)
    draws = fit.simulate(200, seed=3).to_numpy()
    mean = fit.predict().to_numpy()
    spread = draws.var(axis=1) / (mean + fit.family_parameters["alpha"] * mean**2)
    assert spread.mean() == pytest.approx(1.0, abs=0.05)


def test_scores_and_information_of_the_profile_are_those_of_differences(data: pd.DataFrame) -> None:
    response = NegativeBinomial()
    whole = prepare_two_way("y ~ x + z", data, Request(response.reads, fixed_effects=True), ("f", "g"))
    limit, used = fit_two_way(whole, response.reads, None, cg.Control())
    crossing, near = crossing_of(used), (limit.beta, limit.intercepts, limit.second)

    def at(psi: float) -> Any:
        return at_psi(used, crossing, response.at(np.array([psi])), near, cg.Control(tol=1e-10))

    for psi in (-3.0, -0.6, 0.8):
        here, h = at(psi), 1e-4
        below, above = at(psi - h), at(psi + h)
        assert here.score == pytest.approx((above.value - below.value) / (2 * h), rel=1e-5, abs=1e-5)
        assert here.curvature == pytest.approx(-(above.score - below.score) / (2 * h), rel=1e-5)


def test_counts_that_are_not_dispersed_are_the_poisson_model() -> None:
    data = made(0.0, seed=5)
    fit = cg.fixed_effects("y ~ x + z", data, family="negative_binomial", cluster=BOTH)
    poisson = cg.fixed_effects("y ~ x + z", data, family="poisson", cluster=BOTH)
    assert fit.family_parameters["alpha"] == 0.0
    assert fit.loglik == poisson.loglik
    np.testing.assert_array_equal(fit.params, poisson.params)
    np.testing.assert_allclose(fit.cov("robust").loc[["x", "z"], ["x", "z"]], poisson.cov("robust"), rtol=1e-10)
    assert np.isnan(fit.cov().loc["alpha", "alpha"])
    assert fit.dispersion_lr_test.pvalue == 1.0
    assert "the Poisson model" in str(fit)
    np.testing.assert_allclose(fit.cluster_effects["std_error"], poisson.cluster_effects["std_error"], rtol=1e-10)
    np.testing.assert_allclose(fit.predict(data, level=0.95)["high"], poisson.predict(data, level=0.95)["high"])


def test_levels_that_say_nothing_are_left_out(data: pd.DataFrame, fit: Any) -> None:
    empty = pd.DataFrame({"y": 0, "x": [0.1, 2.0], "z": 0.5, "f": "none", "g": ["g1", "g2"]})
    more = cg.fixed_effects(
        "y ~ x + z", pd.concat([data, empty], ignore_index=True), family="negative_binomial", cluster=BOTH
    )
    np.testing.assert_allclose(more.params, fit.params, rtol=1e-8)
    assert "Dropped" in str(more)


def test_many_levels_of_both_factors() -> None:
    data = made(0.5, seed=8, m=70, q=45, each=1)
    fit = cg.fixed_effects("y ~ x + z", data, family="negative_binomial", cluster=BOTH)
    again = cg.fixed_effects("y ~ x + z", data, family="negative_binomial", cluster=BOTH[::-1])
    np.testing.assert_allclose(fit.params, again.params, rtol=1e-6)
    assert fit.family_parameters["alpha"] == pytest.approx(again.family_parameters["alpha"], rel=1e-6)
    assert fit.family_parameters["alpha"] == pytest.approx(0.5, abs=0.1)


def test_what_is_not_worked_out_refuses_in_words(fit: Any, data: pd.DataFrame) -> None:
    for name in ("average_effects", "bootstrap", "adjusted_means"):
        with pytest.raises(OptionError, match="effects of two factors"):
            getattr(fit, name)()
    with pytest.raises(OptionError, match="profile"):
        fit.conf_int(method="profile")
    with pytest.raises(OptionError, match="bias_correction="):
        cg.fixed_effects("y ~ x", data, family="negative_binomial", cluster=BOTH, bias_correction="analytical")
    for family in ("negative_binomial1", "ordinal", "beta_binomial"):
        with pytest.raises(OptionError, match="effects of two factors"):
            cg.fixed_effects("y ~ x", data, family=family, cluster=BOTH)
