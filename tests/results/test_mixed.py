"""Fits with several random effects: exact maxima, other software under Laplace, invariances, and what follows a fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logsumexp

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.results.models.mixed import MixedEffectsResult

GOLDEN = Path(__file__).parent.parent / "golden"
EXACT = json.loads((GOLDEN / "several_effects.json").read_text())


def table(name: str) -> pd.DataFrame:
    found = pd.read_csv(GOLDEN / "data" / f"{name}.csv")
    if name == "contraception":
        found = found.assign(age10=found["age"] / 10.0, urbanY=(found["urban"] == "Y").astype(float))
    return found


def simulated(m: int = 60, size: int = 6, seed: int = 1, sd: tuple[float, float] = (1.0, 0.7), rho: float = 0.4) -> Any:
    rng = np.random.default_rng(seed)
    L = np.array([[sd[0], 0.0], [rho * sd[1], sd[1] * np.sqrt(1.0 - rho**2)]])
    u = rng.normal(size=(m, 2)) @ L.T
    g = np.repeat(np.arange(m), size)
    x, w = rng.normal(size=m * size), rng.normal(size=m * size)
    eta = -0.3 + 0.5 * x + 0.4 * w + u[g, 0] + u[g, 1] * x
    return pd.DataFrame({"y": rng.binomial(1, expit(eta)), "x": x, "w": w, "g": g})


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return simulated()


@pytest.fixture(scope="module")
def fit(rows: pd.DataFrame) -> MixedEffectsResult:
    found = cg.random_effects("y ~ x + w + (x | g)", rows)
    assert isinstance(found, MixedEffectsResult)
    return found


# Against maxima and other software -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["contraception_logit_slope", "contraception_logit_noint", "contraception_logit_3d"])
def test_exact_maxima(name: str) -> None:
    expected = EXACT[name]
    found = cg.random_effects(expected["formula"], table("contraception"))
    assert found.loglik == pytest.approx(expected["logLik"], abs=1e-5)
    assert found.quadrature.error < 1e-6
    assert abs(found.loglik - expected["logLik"]) < found.quadrature.error + 1e-8
    p, values, se = len(found.params), list(expected["parameters"].values()), list(expected["se"].values())
    np.testing.assert_allclose((found.params - values[:p]) / se[:p], 0.0, atol=1e-3)
    np.testing.assert_allclose(found.bse, se[:p], rtol=1e-3)
    d = found.fit.factor.shape[0]
    L = np.zeros((d, d))
    L[np.tril_indices(d)] = values[p:]
    np.testing.assert_allclose(found.fit.factor, L, atol=2e-4)
    np.testing.assert_allclose(np.sqrt(np.diag(found.fit.covariance))[p:], se[p:], rtol=1e-3)


@pytest.mark.parametrize("name", ["contraception_logit_slope", "toenail_logit_slope"])
def test_laplace_is_that_of_glmmtmb(name: str) -> None:
    """glmmTMB 1.1.5; on the toenail trial 58 units above the exact maximum, at a point 67 below it."""
    expected = EXACT[name]
    found = cg.random_effects(expected["formula"], table(name.partition("_")[0]), quadrature="laplace")
    assert found.loglik == pytest.approx(expected["laplace"]["glmmTMB_logLik"], abs=1e-5)
    values = np.array(list(expected["laplace"]["glmmTMB_parameters"].values()))
    se = np.sqrt(np.diag(found.fit.covariance))
    np.testing.assert_allclose((found.fit.theta - values) / se, 0.0, atol=2e-3)
    assert np.isnan(found.quadrature.error)


def test_effects_whose_names_have_commas(rows: pd.DataFrame) -> None:
    names = ["(Intercept)", "poly(x, 2)1", "poly(x, 2)2"]
    found = cg.random_effects("y ~ x + (poly(x, 2) | g)", rows, quadrature="laplace").variance_components
    assert found["effect"].to_list() == [*names, names[0], names[0], names[1]]
    assert found["with"].to_list() == ["", "", "", names[1], names[2], names[2]]


def test_one_node_is_laplace(rows: pd.DataFrame) -> None:
    one, other = (cg.random_effects("y ~ x + (x | g)", rows, quadrature=each) for each in (1, "laplace"))
    assert one.loglik == other.loglik


def test_posterior_moments_do_not_depend_on_the_quadrature(fit: MixedEffectsResult, rows: pd.DataFrame) -> None:
    """One point has no spread: moments at Laplace's estimates are computed with as many as they need."""
    found = cg.random_effects("y ~ x + w + (x | g)", rows, quadrature="laplace")
    effects = found.random_effects
    assert (effects["sd"] > 0.05).all()
    assert (effects["mean"] != effects["mode"]).all()
    seven = cg.random_effects("y ~ x + w + (x | g)", rows, quadrature=9).random_effects
    np.testing.assert_allclose(seven["sd"], fit.random_effects["sd"], rtol=1e-3)


# Invariances ---------------------------------------------------------------------------------------------------------


def test_an_intercept_written_as_an_effect_is_a_random_intercept(rows: pd.DataFrame) -> None:
    scalar = cg.random_effects("y ~ x + w + (1 | g)", rows)
    vector = cg.random_effects("y ~ x + w + (0 + one | g)", rows.assign(one=1.0))
    assert vector.loglik == pytest.approx(scalar.loglik, abs=1e-6)
    assert vector.variance_components["estimate"][0] == pytest.approx(scalar.sigma, rel=1e-5)
    assert vector.variance_components["std_error"][0] == pytest.approx(scalar.sigma_se, rel=1e-4)
    np.testing.assert_allclose(vector.bse, scalar.bse, rtol=1e-4)
    np.testing.assert_allclose(vector.cov("robust"), scalar.cov("robust"), rtol=1e-3)
    modes = vector.random_effects
    for name in ("mode", "mean", "sd"):
        np.testing.assert_allclose(modes[name], scalar.random_effects[name], atol=2e-4)
    for kind in ("typical", "conditional", "posterior", "marginal"):
        one, other = (each.predict(kind=kind, level=0.9) for each in (vector, scalar))
        for column in ("estimate", "std_error", "low", "high"):
            np.testing.assert_allclose(one[column], other[column], rtol=2e-3, atol=1e-5, err_msg=f"{kind} {column}")


def test_rows_in_another_order_and_other_units(rows: pd.DataFrame, fit: MixedEffectsResult) -> None:
    shuffled = cg.random_effects("y ~ x + w + (x | g)", rows.sample(frac=1.0, random_state=3))
    assert shuffled.loglik == pytest.approx(fit.loglik, abs=1e-6)
    scaled = cg.random_effects("y ~ x + w + (x | g)", rows.assign(x=1000.0 * rows["x"]))
    assert scaled.loglik == pytest.approx(fit.loglik, abs=1e-6)
    factor = np.array([1.0, 1e-3, 1.0])
    ours, theirs = (each.variance_components for each in (fit, scaled))
    np.testing.assert_allclose(theirs["estimate"], ours["estimate"] * factor, rtol=1e-4)
    np.testing.assert_allclose(theirs["std_error"], ours["std_error"] * factor, rtol=1e-3)


def test_a_shifted_covariate_is_the_same_model_with_correlations(rows: pd.DataFrame, fit: MixedEffectsResult) -> None:
    moved = cg.random_effects("y ~ x + w + (x | g)", rows.assign(x=rows["x"] + 3.0))
    assert moved.loglik == pytest.approx(fit.loglik, abs=1e-6)
    A = np.array([[1.0, -3.0], [0.0, 1.0]])  # intercepts where x was 0
    expected = A @ fit.effects_covariance().to_numpy() @ A.T
    np.testing.assert_allclose(moved.effects_covariance(), expected, rtol=1e-3)


def test_two_ways_to_write_uncorrelated_effects(rows: pd.DataFrame, fit: MixedEffectsResult) -> None:
    written = ["(x || g)", "(1 | g) + (0 + x | g)", "diag(x | g)"]
    found = [cg.random_effects(f"y ~ x + w + {text}", rows) for text in written]
    for each in found[1:]:
        assert each.loglik == pytest.approx(found[0].loglik, abs=1e-7)
        np.testing.assert_allclose(each._estimates, found[0]._estimates, rtol=1e-5)
    assert found[0].loglik < fit.loglik


def test_structures_of_a_factor_are_nested(rows: pd.DataFrame) -> None:
    data = rows.assign(f=np.where(rows["w"] > 0.0, "b", "a"))
    fits = [cg.random_effects(f"y ~ x + {structure}(0 + f | g)", data) for structure in ("homdiag", "cs", "us")]
    assert [len(each.variance_components) for each in fits] == [1, 3, 3]
    assert fits[0].loglik <= fits[1].loglik + 1e-7
    assert fits[1].loglik == pytest.approx(fits[2].loglik, abs=1e-6)  # of two levels they are one
    np.testing.assert_allclose(fits[1]._estimates, fits[2]._estimates, rtol=1e-4)
    np.testing.assert_allclose(fits[1].cov(), fits[2].cov(), rtol=1e-3, atol=1e-6)


def test_whole_weights_are_repeats(rows: pd.DataFrame) -> None:
    data = rows.assign(k=1 + rows["g"] % 2, c=1.0 + (rows["g"] % 3 == 0))
    weighted = cg.random_effects("y ~ x + (x | g)", data, weights="k")
    repeated = cg.random_effects("y ~ x + (x | g)", data.loc[data.index.repeat(data["k"])])
    assert weighted.loglik == pytest.approx(repeated.loglik, abs=1e-6)
    np.testing.assert_allclose(weighted._estimates, repeated._estimates, rtol=1e-4, atol=1e-6)
    assert weighted.n_obs == repeated.n_obs
    clusters = cg.random_effects("y ~ x + (x | g)", data, cluster_weights="c")
    twice = pd.concat([data, data[data["c"] == 2.0].assign(g=data["g"] + 1000)])
    both = cg.random_effects("y ~ x + (x | g)", twice)
    assert clusters.loglik == pytest.approx(both.loglik, abs=1e-6)
    np.testing.assert_allclose(clusters.bse, both.bse, rtol=1e-4)
    np.testing.assert_allclose(clusters.cov("robust"), both.cov("robust"), rtol=1e-4)


# Where a maximum is singular -----------------------------------------------------------------------------------------


def test_effects_that_move_as_one() -> None:
    data = simulated(40, 5, seed=3, sd=(1.2, 0.8), rho=1.0)
    found = cg.random_effects("y ~ x + (x | g)", data)
    assert found.singular
    parts = found.variance_components.set_index("kind")
    assert abs(parts.loc["cor", "estimate"]) == pytest.approx(1.0, abs=1e-9)
    assert np.isnan(parts.loc["cor", "std_error"])
    assert np.isfinite(parts.loc["sd", "std_error"]).all()
    assert np.isfinite(found.bse).all()
    assert "two effects move as one" in str(found)
    near = cg.random_effects("y ~ x + (x || g)", data)
    assert found.loglik > near.loglik
    ends = found.conf_int(method="profile")
    assert np.isfinite(ends.to_numpy()).all()
    assert (ends["low"] <= found._estimates).all()
    assert (ends["high"] >= found._estimates - 1e-12).all()
    assert ends.loc["cor(g: (Intercept),x)", "high"] == 1.0


def test_an_effect_that_does_not_vary() -> None:
    data = simulated(40, 5, seed=2, sd=(1.0, 0.0), rho=0.0)
    found = cg.random_effects("y ~ x + (x || g)", data)
    alone = cg.random_effects("y ~ x + (1 | g)", data)
    assert found.loglik == pytest.approx(alone.loglik, abs=1e-6)
    parts = found.variance_components
    assert parts["estimate"].tolist()[1] == 0.0
    assert np.isnan(parts["std_error"][1])
    np.testing.assert_allclose(found.bse, alone.bse, rtol=1e-4)
    assert "is 0" in str(found)


# What follows a fit --------------------------------------------------------------------------------------------------


def brute(fit: MixedEffectsResult, theta: np.ndarray, label: object, x: float, w: float) -> tuple[float, float]:
    """Probability of success of a row, averaged over effects, and over them given the cluster's data: a plain grid."""
    beta, L = theta[:3], np.zeros((2, 2))
    L[np.tril_indices(2)] = theta[3:]
    s = np.linspace(-8.0, 8.0, 321)
    u = np.stack(np.meshgrid(s, s, indexing="ij"), axis=-1).reshape(-1, 2)
    b = u @ L.T
    prior = -0.5 * (u**2).sum(axis=1)
    k = int(np.flatnonzero(fit.data.labels == label)[0])
    where = slice(int(fit.data.starts[k]), int(fit.data.starts[k + 1]))
    X, Z = fit.data.X[where], fit.fit.effects.Z[where]
    eta = (X @ beta)[:, None] + Z @ b.T
    given = prior + (fit.data.a[where, None] * eta - np.logaddexp(0.0, eta)).sum(axis=0)
    mean = expit(beta @ [1.0, x, w] + b @ [1.0, x])
    averages = [float(np.exp(log - logsumexp(log)) @ mean) for log in (prior, given)]
    return averages[0], averages[1]


def test_predictions_against_a_grid(fit: MixedEffectsResult) -> None:
    new = pd.DataFrame({"x": [-1.5, 0.3, 2.0], "w": [0.5, -1.0, 0.0], "g": [3, 17, 17]})
    marginal, given = (fit.predict(new, kind=kind, level=0.95) for kind in ("marginal", "posterior"))
    V, h = fit.fit.covariance, 1e-4
    for i, row in new.iterrows():
        at = (row["g"], row["x"], row["w"])
        expected = brute(fit, fit.fit.theta, *at)
        steps = h * np.eye(6)
        slopes = [
            (np.array(brute(fit, fit.fit.theta + s, *at)) - brute(fit, fit.fit.theta - s, *at)) / (2 * h) for s in steps
        ]
        for k, found in enumerate((marginal, given)):
            assert found["estimate"][i] == pytest.approx(expected[k], abs=1e-7)
            gradient = np.array(slopes)[:, k]
            assert found["std_error"][i] == pytest.approx(np.sqrt(gradient @ V @ gradient), rel=1e-4)


def test_modes_follow_the_estimates(fit: MixedEffectsResult) -> None:
    from dataclasses import replace

    from clusterglm.inference.predictions.mixed_modes import mode_derivatives

    found = mode_derivatives(fit.fit, fit.response, fit.data, fit.fit.posterior.modes)
    h, p = 1e-5, len(fit.params)
    for k in range(len(fit.fit.theta)):
        ends = []
        for side in (1.0, -1.0):
            theta = fit.fit.theta.copy()
            theta[k] += side * h
            other = replace(fit.fit, beta=theta[:p], phi=theta[p:])
            ends.append(other.posterior.modes @ other.factor.T)
        np.testing.assert_allclose(found[:, :, k], (ends[0] - ends[1]) / (2 * h), atol=1e-5)


def test_new_clusters(fit: MixedEffectsResult) -> None:
    new = pd.DataFrame({"x": [0.5, 0.5], "w": [0.0, 0.0], "g": [3, 999]})
    with pytest.warns(UserWarning, match="cluster 999 not seen"):
        refused = fit.predict(new, kind="posterior")
    assert np.isnan(refused[1])
    found = fit.predict(new, kind="posterior", unseen="marginal", level=0.95)
    assert found["estimate"][1] == pytest.approx(fit.predict(new.tail(1), kind="marginal").iloc[0], rel=1e-12)
    assert "not seen" in found["status"][1]
    with pytest.raises(OptionError, match="unseen"):
        fit.predict(new, kind="typical", unseen="marginal")
    assert fit.predict(new.assign(x=np.nan), kind="marginal", level=0.9)["status"].str.contains("missing").all()


def test_profiles(fit: MixedEffectsResult, rows: pd.DataFrame) -> None:
    """At their ends the maximum with the parameter held is lower by half the quantile of chi-square."""
    ends = fit.conf_int(method="profile")
    assert (ends["low"] < fit._estimates).all()
    assert (ends["high"] > fit._estimates).all()
    held = cg.random_effects("y ~ x + (x | g)", rows.assign(off=ends.loc["w", "low"] * rows["w"]), offset="off")
    assert fit.loglik - held.loglik == pytest.approx(0.5 * 3.841458820694124, abs=1e-4)
    assert ends.loc["sd(g: x)", "low"] >= 0.0
    assert ends.loc["cor(g: (Intercept),x)"].between(-1.0, 1.0).all()


def test_profile_of_a_correlation() -> None:
    found = cg.random_effects("y ~ x + (x | g)", simulated(120, 8, sd=(1.2, 0.9)))
    curve = found.profile("cor(g: (Intercept),x)", to=2.0, points=5)
    assert (np.abs(curve.value) < 1.0).all()
    assert curve.value[2] == pytest.approx(curve.estimate)
    np.testing.assert_allclose(curve.root, [-2.0, -1.0, 0.0, 1.0, 2.0])
    np.testing.assert_allclose(found.loglik - curve.loglik, 0.5 * curve.root**2, atol=1e-4)
    peak = found._summit(1).peaks[-1]
    assert peak.read(peak.estimate) == pytest.approx(curve.estimate)


@pytest.mark.parametrize("case", json.loads((GOLDEN / "profiles_of_slopes.json").read_text()), ids=lambda c: c["seed"])
def test_profile_intervals_at_the_boundary(case: dict[str, Any]) -> None:
    """By brute force: singular maxima (no variance of the slope; correlations of 1 and -1), nearly singular and not."""
    y = np.array(list(case["y"]), dtype=int)
    data = pd.DataFrame({"y": y, "x": np.tile(np.linspace(-1.0, 1.0, 8), 100), "g": np.repeat(np.arange(100), 8)})
    fit = cg.random_effects("y ~ x + (x | g)", data)
    assert fit.singular is (case["seed"] in (4, 15, 21))
    ends = fit.conf_int(method="profile").to_numpy()
    np.testing.assert_allclose(ends[2:], case["intervals"], atol=2e-4)
    estimates = fit._estimates
    assert ((ends[:, 0] <= estimates + 1e-4) & (estimates <= ends[:, 1] + 1e-9)).all()


def test_profiles_of_other_structures() -> None:
    """At an end that is not a limit the maximum with the parameter held is lower by half the quantile."""
    data = simulated(150, 8, sd=(1.2, 0.9))
    for term in ("x || g", "homdiag(x | g)", "cs(x | g)"):
        fit = cg.random_effects(f"y ~ x + w + {term if '(' in term else f'({term})'}", data)
        ends = fit.conf_int(method="profile")
        assert np.isfinite(ends.to_numpy()).all()
        assert ((ends["low"] < fit._estimates) & (fit._estimates < ends["high"])).all()
        off = data.assign(off=ends.loc["w", "high"] * data["w"])
        held = cg.random_effects(f"y ~ x + {term if '(' in term else f'({term})'}", off, offset="off")
        assert fit.loglik - held.loglik == pytest.approx(0.5 * 3.841458820694124, abs=1e-4)
    same = cg.random_effects("y ~ x + w + (x | g)", data).conf_int(method="profile").to_numpy()
    np.testing.assert_allclose(ends.to_numpy(), same, atol=1e-4)  # two effects: a compound symmetry is any covariance


def test_comparisons(fit: MixedEffectsResult, rows: pd.DataFrame) -> None:
    intercept = cg.random_effects("y ~ x + w + (1 | g)", rows)
    apart = cg.random_effects("y ~ x + w + (x || g)", rows)
    pooled = cg.pooled("y ~ x + w", rows, cluster="g")
    text = str(cg.compare({"a": intercept, "b": apart, "c": fit, "p": pooled}))
    assert "half chi2 on 0 and half chi2 on 1 df" in text
    assert "chi2 on 1 df" in text
    assert "half chi2 on 1 and half chi2 on 2 df" in str(cg.compare({"a": intercept, "c": fit}))
    assert "no distribution is known" in str(cg.compare({"p": pooled, "c": fit}))


def test_simulated_data_have_the_covariance(fit: MixedEffectsResult) -> None:
    drawn = fit.simulate(400, seed=1)
    np.testing.assert_allclose(drawn.mean(axis=1), fit.predict(kind="marginal"), atol=0.12)
    pd.testing.assert_frame_equal(drawn, fit.simulate(400, seed=1))
    found = fit.bootstrap(8, seed=2)
    assert not found.failures
    assert found.replicates.shape == (8, 6)


def test_files(fit: MixedEffectsResult, tmp_path: Path, rows: pd.DataFrame) -> None:
    import pickle

    fit.save(tmp_path / "fit.json")
    for again in (cg.load(tmp_path / "fit.json"), pickle.loads(pickle.dumps(fit))):
        assert str(again) == str(fit)
        new = rows.head(4)
        pd.testing.assert_frame_equal(
            again.predict(new, kind="posterior", level=0.9), fit.predict(new, kind="posterior", level=0.9)
        )
        pd.testing.assert_frame_equal(again.random_effects, fit.random_effects)


def test_tables(fit: MixedEffectsResult) -> None:
    assert fit.tidy()["term"].tolist()[-3:] == ["sd(g: (Intercept))", "sd(g: x)", "cor(g: (Intercept),x)"]
    broom = fit.tidy(names="broom").tail(3)
    assert broom["term"].tolist() == ["sd__(Intercept)", "sd__x", "cor__(Intercept).x"]
    assert broom["group"].tolist() == ["g"] * 3
    assert fit.glance()["n_effects"][0] == 2
    assert fit.n_parameters == 6
    assert fit.cov().columns.tolist()[-1] == "cor(g: (Intercept),x)"
    effects = fit.random_effects
    assert len(effects) == 120
    assert fit.random_effects_covariance(3).shape == (2, 2)
    own = effects[effects["label"] == 3]["sd"].to_numpy()
    np.testing.assert_allclose(np.sqrt(np.diag(fit.random_effects_covariance(3))), own, rtol=1e-12)
    with pytest.raises(OptionError, match="variance_components"):
        _ = fit.sigma


def test_a_covariate_with_the_name_of_a_parameter(rows: pd.DataFrame) -> None:
    found = cg.random_effects("y ~ sigma + (sigma | g)", rows.rename(columns={"x": "sigma"}))
    assert found.params.index.tolist() == ["(Intercept)", "sigma"]
    assert found.conf_int().index.tolist()[1] == "sigma"
    assert found.wald_test("sigma = 0").df == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"distribution": "cauchy"}, "cauchy"),
        ({"scale": "density"}, "scale"),
        ({"sigma": 1.0, "fix_sigma": True}, "sigma"),
        ({"penalty": "firth"}, "penalty='soft'"),
        ({"separation": "limit"}, "limit"),
    ],
)
def test_refused(options: dict[str, Any], named: str, rows: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match=named):
        cg.random_effects("y ~ x + (x | g)", rows, **options)


def test_too_many_points_are_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match="1,000,000 points"):
        cg.random_effects("y ~ x + w + (x + w | g)", rows, quadrature=100)


def test_more_effects_than_can_be_integrated_over(rows: pd.DataFrame) -> None:
    data = rows.assign(f=np.arange(len(rows)) % 9)
    with pytest.raises(OptionError, match="9 random effects of each cluster"):
        cg.random_effects("y ~ x + (0 + C(f) || g)", data)


def test_few_patterns_of_covariates_in_many_rows() -> None:
    """Rows that are one to a fit without random effects are several here; the same in other units."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(300), 20)
    g = rng.integers(0, 2, len(ids))
    eta = 0.2 + 0.5 * g + rng.normal(size=300)[ids]
    data = pd.DataFrame({"y": (rng.random(len(ids)) < 1.0 / (1.0 + np.exp(-eta))).astype(int), "g": g, "id": ids})
    fit = cg.random_effects("y ~ g + (g || id)", data, quadrature=5)
    other = cg.random_effects("y ~ h + (h || id)", data.assign(h=100.0 * g), quadrature=5)
    assert other.loglik == pytest.approx(fit.loglik, abs=1e-8)
    some = data.assign(g=g + 1e-9 * rng.normal(size=len(ids)))  # no two rows are alike
    assert cg.random_effects("y ~ g + (g || id)", some, quadrature=5).loglik == pytest.approx(fit.loglik, abs=1e-6)


def test_another_singular_maximum_nearby_is_not_taken() -> None:
    """Nineteen pairs of responses with a second, lower maximum, at which the search once ended."""
    y = [int(each) for each in "11100110000101111011111001110011000011"]
    x = "86 -160 -69 -84 54 -16 -75 125 -65 -88 52 -47 -53 -15 77 -142 165 3 57 -7 35 -115 57 26 -140 -85 104 234 244 "
    x += "16 215 94 43 235 -98 -71 27 -114"
    data = pd.DataFrame({"y": y, "x": [int(each) / 100.0 for each in x.split()], "g": np.repeat(np.arange(19), 2)})
    found = cg.random_effects("y ~ x + (x | g)", data, link="cloglog")
    slope = cg.random_effects("y ~ x + (0 + x | g)", data, link="cloglog")
    assert found.loglik >= slope.loglik - 1e-6
