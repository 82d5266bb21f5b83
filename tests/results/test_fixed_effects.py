"""The results of `fixed_effects` and `conditional`."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import ClusterError, DataError, DesignError, OptionError, PredictionWarning, SeparationError
from clusterglm.results.models.conditional import ConditionalResult
from clusterglm.results.models.fixed_effects import FixedEffectsResult


def simulate(clusters: int, size: int, seed: int = 1, beta: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(clusters), size)
    x, z = rng.normal(size=len(ids)), rng.integers(0, 2, len(ids))
    y = rng.random(len(ids)) < expit(beta * x - 0.5 * z + rng.normal(size=clusters)[ids])
    return pd.DataFrame({"y": y.astype(int), "x": x, "z": z, "t": np.tile(np.arange(size), clusters), "id": ids})


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return simulate(40, 6)


@pytest.fixture(scope="module")
def fixed(data: pd.DataFrame) -> FixedEffectsResult:
    return cg.fixed_effects("y ~ x + z", data, cluster="id")


@pytest.fixture(scope="module")
def conditional(data: pd.DataFrame) -> ConditionalResult:
    return cg.conditional("y ~ x + z", data, cluster="id")


def dummies(data: pd.DataFrame, fit: FixedEffectsResult) -> Any:
    """statsmodels' GLM with a dummy for each cluster that has a finite intercept."""
    known = fit.cluster_effects.set_index("label").status == "estimated"
    rows = data[data.id.map(known)]
    X = np.column_stack([rows[["x", "z"]], pd.get_dummies(rows.id).to_numpy(float)])
    return sm.GLM(rows.y, X, family=sm.families.Binomial()).fit(tol=1e-12, maxiter=100)


def test_all_estimates_are_those_with_dummies(data: pd.DataFrame, fixed: FixedEffectsResult) -> None:
    peer, effects = dummies(data, fixed), fixed.cluster_effects
    known = effects[effects.status == "estimated"]
    np.testing.assert_allclose(fixed.params, peer.params.iloc[:2], rtol=1e-7)
    np.testing.assert_allclose(fixed.bse, peer.bse.iloc[:2], rtol=1e-6)
    np.testing.assert_allclose(known.estimate, peer.params.iloc[2:], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(known.std_error, peer.bse.iloc[2:], rtol=1e-6)
    assert fixed.loglik == pytest.approx(peer.llf, abs=1e-9)
    assert fixed.deviance == pytest.approx(peer.deviance, abs=1e-8)


def test_clusters_without_variation_are_counted(data: pd.DataFrame, fixed: FixedEffectsResult) -> None:
    effects, share = fixed.cluster_effects, data.groupby("id").y.mean()
    assert (np.isposinf(effects.estimate) == (share == 1.0).to_numpy()).all()
    assert (np.isneginf(effects.estimate) == (share == 0.0).to_numpy()).all()
    assert effects.std_error.isna().equals(~np.isfinite(effects.estimate))
    assert fixed.n_informative == np.isfinite(effects.estimate).sum() < fixed.n_clusters
    assert fixed.n_obs_informative == 6 * fixed.n_informative
    assert f"{fixed.n_informative} finite intercepts" in str(fixed)
    assert fixed.n_parameters == 2 + 40
    assert fixed.df_resid == 240 - 42


def test_robust_covariance_is_a_sandwich_of_cluster_scores(data: pd.DataFrame, fixed: FixedEffectsResult) -> None:
    known = np.isfinite(fixed.cluster_effects.estimate).to_numpy()
    residual = (data.y - fixed.predict()).to_numpy()
    G = np.array([residual[data.id == i] @ data.loc[data.id == i, ["x", "z"]].to_numpy() for i in range(40)])[known]
    A, m = fixed.cov().to_numpy(), known.sum()
    np.testing.assert_allclose(fixed.cov("robust"), m / (m - 1) * A @ G.T @ G @ A, rtol=1e-6)


def test_prediction(data: pd.DataFrame, fixed: FixedEffectsResult) -> None:
    effects = fixed.cluster_effects.set_index("label").estimate
    known = data[["x", "z"]] @ fixed.params
    link = fixed.predict(scale="link")
    np.testing.assert_allclose(link, known + data.id.map(effects))
    np.testing.assert_allclose(fixed.predict(), expit(link))
    np.testing.assert_allclose(fixed.predict(data.iloc[:7]), fixed.predict().iloc[:7])
    np.testing.assert_allclose(fixed.predict(data.iloc[:7], 0.0, scale="link"), known.iloc[:7])
    with pytest.warns(PredictionWarning, match="99"):
        assert fixed.predict(data.iloc[:2].assign(id=99)).isna().all()
    with pytest.raises(OptionError, match="'conditional'"):
        fixed.predict(kind="typical")
    with pytest.raises(ClusterError, match="cluster column"):
        fixed.predict(data[["x", "z"]])


def test_rows_of_clusters_without_variation_fit_exactly(fixed: FixedEffectsResult) -> None:
    rows = fixed.augment()
    silent = ~np.isfinite(rows.linear_predictor)
    assert silent.any()
    assert (rows["mean"] == rows.observed)[silent].all()
    for kind in ("response", "pearson", "deviance"):
        residuals = fixed.residuals(kind)
        assert np.isfinite(residuals).all()
        assert (residuals[silent] == 0.0).all()
    assert np.sum(fixed.residuals("deviance") ** 2) == pytest.approx(fixed.deviance)
    draws = fixed.simulate(5, seed=1)
    assert (draws[silent].to_numpy() == rows.observed[silent].to_numpy()[:, None]).all()
    assert draws[~silent].to_numpy().std(axis=1).max() > 0.0


def test_poisson_clusters_without_counts() -> None:
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"id": np.repeat(np.arange(20), 3), "x": rng.normal(size=60)})
    data["y"] = np.where(data.id < 4, 0, rng.poisson(1.0, 60))
    fit = cg.fixed_effects("y ~ x", data, cluster="id", family="poisson")
    zero = data.groupby("id").y.sum().to_numpy() == 0
    assert (np.isneginf(fit.cluster_effects.estimate) == zero).all()
    assert (fit.predict()[zero[data.id]] == 0.0).all()
    # clusters of equal counts say something of the coefficients: they stay
    equal = data.assign(y=np.where(data.id == 10, 2, data.y))
    kept = cg.fixed_effects("y ~ x", equal, cluster="id", family="poisson")
    assert kept.cluster_effects.status[10] == "estimated"
    total = np.exp(equal.x[equal.id == 10] * kept.params.x).sum()
    assert kept.cluster_effects.estimate[10] == pytest.approx(np.log(6.0 / total), rel=1e-8)


def test_what_a_formula_says_of_an_intercept_does_not_matter(data: pd.DataFrame) -> None:
    data = data.assign(g=np.array(["a", "b", "c"])[data.t % 3])
    one, other = (cg.fixed_effects(f, data, cluster="id") for f in ("y ~ x + g", "y ~ 0 + x + g"))
    assert list(one.params.index) == list(other.params.index) == ["x", "gb", "gc"]
    assert one.loglik == other.loglik
    np.testing.assert_array_equal(one.predict(data.iloc[:9]), other.predict(data.iloc[:9]))


def test_no_covariates(data: pd.DataFrame) -> None:
    fit = cg.fixed_effects("y ~ 1", data, cluster="id")
    share = data.groupby("id").y.mean()
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(fit.cluster_effects.estimate, np.log(share / (1.0 - share)), atol=1e-12)
    assert fit.n_parameters == 40
    assert "Estimate" not in str(fit)
    assert fit.predict(data.iloc[:3]).notna().all()
    with pytest.raises(DesignError, match="without covariates"):
        cg.conditional("y ~ 1", data, cluster="id")


def test_effects_that_are_not_identified_are_named(data: pd.DataFrame) -> None:
    data = data.assign(g=data.id % 3, late=data.x + 2.0 * data.id)
    with pytest.raises(DesignError, match="'g' is constant within every cluster"):
        cg.fixed_effects("y ~ g", data, cluster="id")
    with pytest.raises(DesignError, match=r"within clusters, .* 'x'"):
        cg.conditional("y ~ x + late", data, cluster="id")


def test_effects_that_the_intercepts_take_up_are_left_out(data: pd.DataFrame) -> None:
    """R and Stata leave them out too; interactions with them are coded as next to them, whatever the formula says."""
    data = data.assign(g=data.id % 3, f=np.where(data.id % 2 == 0, "even", "odd"))
    for verb in (cg.fixed_effects, cg.conditional):
        plain = verb("y ~ x", data, cluster="id")
        without = verb("y ~ x + g", data, cluster="id")
        assert without.params.to_dict() == plain.params.to_dict()
        assert "without 'g': constant within every cluster" in str(without)
        by_hand = verb("y ~ x + odd_x", data.assign(odd_x=data.x * (data.f == "odd")), cluster="id")
        for formula in ("y ~ x*f", "y ~ x + x:f", "y ~ x*f - f"):
            fit = verb(formula, data, cluster="id")
            assert list(fit.params.index) == ["x", "x:fodd"]
            np.testing.assert_allclose(fit.params, by_hand.params, rtol=1e-9)
            np.testing.assert_allclose(
                fit.predict(data, scale="link") if verb is cg.fixed_effects else 0.0,
                by_hand.predict(scale="link") if verb is cg.fixed_effects else 0.0,
                rtol=1e-9,
            )


def test_alternatives_and_attributes_of_the_chooser() -> None:
    """Chosen among three alternatives, with an attribute of the chooser: as R's clogit codes it by hand."""
    people = [(i, e) for i, e in enumerate([8, 10, 12, 12, 14, 16, 16, 18, 9, 11, 13, 15])]
    rows = [{"id": i, "edu": e, "alt": a, "case": int(a == "aabcbccabbca"[i])} for (i, e) in people for a in "abc"]
    d = pd.DataFrame(rows)
    d["b_edu"], d["c_edu"] = (d.alt == "b") * d.edu, (d.alt == "c") * d.edu
    right = cg.conditional("case ~ alt + b_edu + c_edu", d, cluster="id")
    for formula in ("case ~ alt * edu", "case ~ alt + alt:edu", "case ~ alt*edu - edu", "case ~ alt/edu"):
        fit = cg.conditional(formula, d, cluster="id")
        assert list(fit.params.index) == ["altb", "altc", "altb:edu", "altc:edu"]
        np.testing.assert_allclose(fit.params, right.params, rtol=1e-8)
        assert ("without 'edu'" in str(fit)) == (formula == "case ~ alt * edu")


def test_separation_within_clusters_is_named(data: pd.DataFrame) -> None:
    separated = data.assign(w=data.y + data.id)
    for verb in (cg.fixed_effects, cg.conditional):
        with pytest.raises(SeparationError, match="'w' separates successes from failures completely within"):
            verb("y ~ x + w", separated, cluster="id")
    counts = data.assign(w=np.minimum(data.y, 1) + data.id)
    with pytest.raises(SeparationError, match="zero counts"):
        cg.fixed_effects("y ~ x + w", counts, cluster="id", family="poisson")


def test_no_cluster_with_variation(data: pd.DataFrame) -> None:
    with pytest.raises(ClusterError, match="none of the 40 clusters has both"):
        cg.fixed_effects("y ~ x", data.assign(y=data.id % 2), cluster="id")


def test_tables_and_pickles(fixed: FixedEffectsResult, conditional: ConditionalResult) -> None:
    for fit in (fixed, conditional):
        again = pickle.loads(pickle.dumps(fit))
        assert str(again) == str(fit)
        assert list(fit.tidy().term) == ["x", "z"]
        assert fit.glance().loc[0, "n_informative"] == fit.n_informative
        assert "<table" in fit._repr_html_()
        with pytest.raises(AttributeError):
            fit.fit = None  # type: ignore[misc]
        with pytest.raises(ValueError, match="read-only"):
            fit.fit.beta[0] = 0.0


# Bias from the intercepts ---------------------------------------------------------------------------------------------


def test_pairs_are_off_by_a_factor_of_two() -> None:
    pairs = simulate(300, 2, seed=5)
    fixed, exact = (verb("y ~ x + z", pairs, cluster="id") for verb in (cg.fixed_effects, cg.conditional))
    np.testing.assert_allclose(fixed.params, 2.0 * exact.params, rtol=1e-8)
    assert "factor of" in str(fixed)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_corrections_move_towards_zero(link: str) -> None:
    data = simulate(400, 8, seed=2)
    plain, analytical, halves = (
        cg.fixed_effects("y ~ x + z", data, cluster="id", link=link, bias_correction=how)
        for how in (None, "analytical", cg.SplitPanel(order="t"))
    )
    assert plain.params.x > analytical.params.x > 0.0
    assert plain.params.x > halves.params.x > 0.0
    assert plain.loglik == analytical.loglik == halves.loglik
    assert "corrected: analytical" in str(analytical)
    assert "rows by 't'" in str(halves)
    # intercepts follow the coefficients
    assert not np.allclose(
        plain.cluster_effects.estimate.replace([np.inf, -np.inf], 0.0),
        analytical.cluster_effects.estimate.replace([np.inf, -np.inf], 0.0),
    )


def test_analytical_correction_of_logit_is_near_the_conditional_estimate() -> None:
    data = simulate(400, 8, seed=2)
    plain = cg.fixed_effects("y ~ x + z", data, cluster="id").params
    corrected = cg.fixed_effects("y ~ x + z", data, cluster="id", bias_correction="analytical").params
    exact = cg.conditional("y ~ x + z", data, cluster="id").params
    assert np.all(np.abs(corrected - exact) < 0.1 * np.abs(plain - exact))


def test_half_panels_by_a_column_do_not_depend_on_the_order_of_rows() -> None:
    data = simulate(100, 8, seed=2)
    shuffled = data.sample(frac=1.0, random_state=1)
    one, other = (
        cg.fixed_effects("y ~ x", d, cluster="id", bias_correction=cg.SplitPanel(order="t")) for d in (data, shuffled)
    )
    np.testing.assert_allclose(one.params, other.params, rtol=1e-9)


def test_corrections_that_cannot_be() -> None:
    data = simulate(100, 8, seed=2)
    with pytest.raises(OptionError, match="poisson"):
        cg.fixed_effects("y ~ x", data, cluster="id", family="poisson", bias_correction="analytical")
    with pytest.raises(OptionError, match="bias_correction="):
        cg.fixed_effects("y ~ x", data, cluster="id", bias_correction="bootstrap")
    with pytest.raises(DesignError, match="half of every cluster"):
        cg.fixed_effects("y ~ x", simulate(30, 2, seed=2), cluster="id", bias_correction="jackknife")
    with pytest.raises(DataError, match="year"):
        cg.fixed_effects("y ~ x", data, cluster="id", bias_correction=cg.SplitPanel(order="year"))


def test_average_effects(fixed: FixedEffectsResult, data: pd.DataFrame) -> None:
    everyone, some = fixed.average_effects(), fixed.average_effects(clusters="informative")
    share = fixed.n_obs_informative / fixed.n_obs
    np.testing.assert_allclose(everyone.estimate, share * some.estimate)
    link = fixed.predict(scale="link")
    known = np.isfinite(link)
    slope = (expit(link) * expit(-link))[known].mean() * fixed.params.x
    assert some.estimate[0] == pytest.approx(slope)
    base = link - data.z * fixed.params.z
    assert some.estimate[1] == pytest.approx((expit(base + fixed.params.z) - expit(base))[known].mean())
    with pytest.raises(OptionError, match="clusters="):
        fixed.average_effects(clusters="some")


# Conditional ----------------------------------------------------------------------------------------------------------


def test_conditional_tables(data: pd.DataFrame, conditional: ConditionalResult) -> None:
    np.testing.assert_allclose(conditional.predict(), data[["x", "z"]] @ conditional.params)
    np.testing.assert_allclose(conditional.predict(scale="ratio"), np.exp(conditional.predict()))
    np.testing.assert_allclose(conditional.predict(data.iloc[:5]), conditional.predict().iloc[:5])
    assert list(conditional.augment().columns) == ["cluster", "observed", "linear_predictor"]
    assert conditional.deviance == -2.0 * conditional.loglik
    assert conditional.n_parameters == 2
    with pytest.raises(OptionError, match="scale="):
        conditional.predict(scale="response")
    assert "contribute" in str(conditional)


def test_conditional_robust_covariance(data: pd.DataFrame, conditional: ConditionalResult) -> None:
    # scores by differences of single clusters' log-likelihoods, at two coefficients
    from clusterglm.fit.conditional import conditional_scores
    from clusterglm.likelihood import reference_within

    d, h = conditional.data, 1e-6
    beta = conditional.params.to_numpy()
    known = conditional.fit.informative
    G = conditional_scores(d, conditional.response, beta)[known]
    A, m = conditional.cov().to_numpy(), known.sum()
    np.testing.assert_allclose(conditional.cov("robust"), m / (m - 1) * A @ G.T @ G @ A, rtol=1e-10)
    first = int(np.flatnonzero(known)[0])
    rows = slice(d.starts[first], d.starts[first + 1])
    one = (np.array([0, 6]), d.X[rows], d.a[rows], d.b[rows], d.offset[rows], np.ones(1))
    for j, step in enumerate(h * np.eye(2)):
        up, down = (reference_within.conditional(*one, beta + s).value for s in (step, -step))
        assert G[0, j] == pytest.approx((up - down) / (2 * h), abs=1e-7)


def test_conditional_refuses_what_it_cannot_mean(data: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match="'cloglog'"):
        cg.conditional("y ~ x", data, cluster="id", link="cloglog")
    with pytest.raises(DataError, match="not whole numbers"):
        cg.conditional("y ~ x", data.assign(w=0.5), cluster="id", weights="w")
    with pytest.raises(DataError, match="not whole numbers"):
        cg.conditional("y ~ x", data.assign(w=0.5), cluster="id", weights="w", family="poisson")
    halved = cg.conditional("y ~ x", data.assign(w=0.5), cluster="id", cluster_weights="w")
    whole = cg.conditional("y ~ x", data, cluster="id")
    assert halved.loglik == pytest.approx(0.5 * whole.loglik)
    np.testing.assert_allclose(halved.bse, np.sqrt(2.0) * whole.bse, rtol=1e-8)


def test_conditional_poisson_is_fixed_effects_given_totals(data: pd.DataFrame) -> None:
    from scipy.stats import multinomial

    rng = np.random.default_rng(9)
    counts = data.assign(y=rng.poisson(np.exp(0.3 * data.x)))
    one, other = (
        verb("y ~ x + z", counts, cluster="id", family="poisson") for verb in (cg.conditional, cg.fixed_effects)
    )
    np.testing.assert_allclose(one.params, other.params, rtol=1e-10)
    np.testing.assert_allclose(one.cov(), other.cov(), rtol=1e-8)
    np.testing.assert_allclose(one.cov("robust"), other.cov("robust"), rtol=1e-8)
    total = 0.0
    for _, rows in counts.groupby("id"):
        share = np.exp(rows[["x", "z"]] @ one.params).to_numpy()
        total += multinomial.logpmf(rows.y.to_numpy(), rows.y.sum(), share / share.sum())
    assert one.loglik == pytest.approx(total, rel=1e-10)


def test_start_and_control(data: pd.DataFrame) -> None:
    for verb in (cg.fixed_effects, cg.conditional):
        usual = verb("y ~ x + z", data, cluster="id")
        begun = verb("y ~ x + z", data, cluster="id", start=usual.params)
        assert begun.optimization.iterations <= 1
        np.testing.assert_allclose(begun.params, usual.params, rtol=1e-8)
        with pytest.raises(OptionError, match="start"):
            verb("y ~ x + z", data, cluster="id", start=[1.0])
        with pytest.warns(cg.errors.ConvergenceWarning, match="iteration limit"):
            verb("y ~ x + z", data, cluster="id", control=cg.Control(max_iter=1))
