"""What follows a fit of factors that cross."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.errors import AccuracyWarning, OptionError, SamplingWarning

sys.path.insert(0, str(Path(__file__).parents[1] / "weights"))
sys.path.insert(0, str(Path(__file__).parent))
from members import called, members
from test_crossed import FORMULA, answers

REFUSED = {  # in some call
    "adjusted_means", "average_effects", "bootstrap", "chi_squared", "conf_int", "cov", "delta_method",
    "dispersion_test", "effects_covariance", "event_counts", "gradient_function", "hausman", "icc", "influence",
    "jackknife", "plot.density", "plot.gradient", "plot.influence", "plot.random_effects", "plot.rootogram", "predict",
    "profile", "random_effects_sd",
    "sigma", "sigma_se", "term_tests", "test_clustering", "tidy", "to_marginaleffects",
    "wald_test", "zero_inflation_test",
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return answers()


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> Any:
    return cg.random_effects(FORMULA, data)


# The result -----------------------------------------------------------------------------------------------------------


def test_the_summary_says_what_was_corrected(fit: Any) -> None:
    text = " ".join(str(fit).split())
    outside = fit.quadrature.outside
    assert f"corrected by {outside.correction:+.4f}" in text
    assert f"by {outside.draws:,} draws" in text
    assert "levels: 25 of 'person', 4 of 'item'" in text
    assert fit.glance()["correction"].item() == outside.correction


def test_too_small_a_share_is_said(data: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws that are not enough for the tolerance: a warning that says so, and what to do."""
    monkeypatch.setattr("clusterglm.fit.corrected._MOST_OF_A_REPLICATE", 8)
    tight = cg.Quadrature("auto", tolerance_outside=1e-6)
    with pytest.warns(AccuracyWarning, match=r"(?s)draws of the effects of crossed factors.*inside="):
        found = cg.random_effects(FORMULA, data, quadrature=tight)
    assert not found.quadrature.outside.enough


def test_save_and_load(fit: Any, tmp_path: Path) -> None:
    fit.save(tmp_path / "crossed.cgm")
    again = cg.load(tmp_path / "crossed.cgm")
    assert again.loglik == fit.loglik
    pd.testing.assert_frame_equal(again.random_effects, fit.random_effects)
    assert str(again.summary()) == str(fit.summary())


@pytest.mark.parametrize("group", ["person", "item"])
def test_a_factor_is_tested_by_half_a_chi_square(fit: Any, data: pd.DataFrame, group: str) -> None:
    alone = cg.random_effects(f"y ~ x + (1 | {group})", data)
    (test,) = cg.compare(alone, fit).tests
    statistic = 2.0 * (fit.loglik - alone.loglik)
    assert test.statistic == pytest.approx(statistic, abs=1e-6)
    assert test.pvalue == pytest.approx(0.5 * chi2.sf(statistic, 1), rel=1e-6)


def test_profiles_are_those_of_the_corrected_likelihood(fit: Any, data: pd.DataFrame) -> None:
    summit = fit._summit(1)
    for peak in summit.peaks:
        assert peak.evaluation.value + summit.constant == pytest.approx(fit.loglik, abs=1e-6)
        assert np.abs(peak.evaluation.score).max() < 1e-6
    for k, group in ((2, "item"), (3, "person")):
        alone = cg.random_effects(f"y ~ x + (1 | {group})", data)
        assert summit.peaks[k].value_at_least + fit.data.constant == pytest.approx(alone.loglik, abs=1e-5)
    ends = fit.conf_int(method="profile")
    assert (ends["low"] < fit._estimates).all()
    assert (ends["high"] > fit._estimates).all()


def test_shares_of_variance_by_factor(fit: Any, data: pd.DataFrame) -> None:
    s1, s2 = fit.variance_components["estimate"]
    total = s1**2 + s2**2 + np.pi**2 / 3
    found = fit.intraclass_correlation(data.head(2))
    assert list(found["group"]) == ["person"] * 2 + ["item"] * 2
    np.testing.assert_allclose(found["estimate"], [s1**2 / total] * 2 + [s2**2 / total] * 2)
    ratios = fit.median_odds_ratio(data.head(1))["estimate"]
    np.testing.assert_allclose(ratios, np.exp(0.6744897501960817 * np.sqrt(2.0) * np.array([s1, s2])))
    V = fit.cov().to_numpy()[2:, 2:]
    slope = np.array([2.0 * s1 * (total - s1**2), -2.0 * s2 * s1**2]) / total**2
    assert found["std_error"].iloc[0] == pytest.approx(float(np.sqrt(slope @ V @ slope)), rel=1e-6)


def test_conditional_predictions_are_at_the_joint_modes(fit: Any, data: pd.DataFrame) -> None:
    modes = fit.random_effects.set_index(["group", "label"])["mode"]
    b0, b1 = fit.fit.beta
    person, item = (modes[name].loc[data[name]].to_numpy() for name in ("person", "item"))
    line = b0 + b1 * data["x"]
    found = fit.predict(data, kind="conditional", scale="link")
    np.testing.assert_allclose(found, line + person + item, atol=1e-9)
    np.testing.assert_allclose(fit.predict(kind="conditional", scale="link").loc[data.index], found, atol=1e-9)
    alone = fit.predict(data, kind="conditional", scale="link", effects=["item"])
    np.testing.assert_allclose(alone, line + item, atol=1e-9)
    y, eta = data["y"].to_numpy(), found.to_numpy()  # where the joint density is flat: sums of residuals are effects
    sd = dict(zip(("person", "item"), fit.variance_components["estimate"], strict=True))
    for name in ("person", "item"):
        sums = (y - expit(eta)) @ (data[name].to_numpy()[:, None] == np.array(modes[name].index)[None, :])
        np.testing.assert_allclose(modes[name] / sd[name] ** 2, sums, atol=1e-6)


def test_errors_of_predictions_are_differences(fit: Any, data: pd.DataFrame) -> None:
    """With the posterior held, an estimate that moves by a standard error moves a prediction as the table says."""
    rows = data.head(3)
    found = fit.predict(rows, kind="posterior", scale="link", level=0.9)
    assert (found["std_error"] > 0.0).all()
    unknown = rows.assign(person=99, item="zz")
    marginal = fit.predict(unknown, kind="marginal", scale="link", level=0.9)
    both = fit.predict(unknown, kind="posterior", scale="link", level=0.9, unseen="marginal")
    np.testing.assert_allclose(both["std_error"], marginal["std_error"], rtol=1e-4)
    refused = fit.predict(unknown, kind="posterior", level=0.9)
    assert list(refused["status"].str.contains("not seen")) == [True] * 3


def test_draws_have_the_covariance_of_both_factors(fit: Any) -> None:
    """Mean products of two rows of a person, of an item, and of neither."""
    from dataclasses import replace

    rng, sd = np.random.default_rng(2), np.array([1.5, 1.0])
    wide = type(fit)(replace(fit.fit, phi=sd), fit.data)
    draws = np.array([wide._draw_new(rng) for _ in range(600)])
    person, item, eta = fit.data.innermost_clusters, fit.data.effects.outside[0].codes, wide._eta(0.0)
    z, w = np.polynomial.hermite_e.hermegauss(30)
    w = w / w.sum()
    P = expit(eta[:, None, None] + sd[0] * z[:, None] + sd[1] * z)
    of_person, of_item, alone = P @ w, np.einsum("nuv,u->nv", P, w), np.einsum("nuv,u,v->n", P, w, w)
    i, j = np.triu_indices(len(eta), 1)
    for kind, where, expected in (
        ("person", person[i] == person[j], (of_person[i] * of_person[j]) @ w),
        ("item", item[i] == item[j], (of_item[i] * of_item[j]) @ w),
        ("", (person[i] != person[j]) & (item[i] != item[j]), alone[i] * alone[j]),
    ):
        each = (draws[:, i[where]] * draws[:, j[where]]).mean(axis=1)
        assert abs(each.mean() - expected[where].mean()) < 4.0 * each.std() / np.sqrt(len(each)), kind


def test_each_factor_has_its_panel(fit: Any) -> None:
    from matplotlib import pyplot as plt

    drawn = fit.plot.caterpillar()
    assert list(drawn.data["effect"].value_counts()) == [25, 4]
    assert fit.plot.caterpillar(effect="item: (Intercept)").data["label"].nunique() == 4
    plt.close("all")


def test_integration_check_has_draws_of_its_own(fit: Any, data: pd.DataFrame) -> None:
    found = fit.integration_check()
    assert found.adequate
    assert 0.0 < abs(found.difference) < 5.0 * fit.quadrature.outside.standard_error
    laplace = cg.random_effects(FORMULA, data, quadrature="laplace")
    with pytest.warns(AccuracyWarning, match="Laplace"):
        rough = laplace.integration_check()
    assert rough.difference < -0.1
    curve = laplace.integration_curve((1, 9, 25))
    assert curve.difference[0] == pytest.approx(rough.difference, abs=1e-6)
    assert abs(curve.difference[2]) < abs(curve.difference[0])


def test_whole_number_weights_are_repeats(data: pd.DataFrame) -> None:
    """Of rows, and of persons, who share the items."""
    weighted = data.assign(w=1.0 + (data.index % 3 == 0), v=1.0 + (data["person"] == 2))
    rows = cg.random_effects(FORMULA, weighted, weights="w", cluster_weights="v", quadrature=15)
    assert rows._written_out("this").data.n_clusters == 26
    long = weighted.loc[np.repeat(weighted.index, weighted["w"].astype(int))]
    copy = long[long["person"] == 2].assign(person=99)
    both = cg.random_effects(FORMULA, pd.concat([long, copy]), quadrature=15)
    assert abs(rows.loglik - both.loglik) < 1e-6
    np.testing.assert_allclose(rows.cov(), both.cov(), rtol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)  # so few draws
        drawn = [each.sample(20, chains=1, seed=3, warmup=0, method="independence") for each in (rows, both)]
    np.testing.assert_allclose(drawn[0].values, drawn[1].values, rtol=1e-4)


def test_every_public_member_answers_or_refuses(data: pd.DataFrame) -> None:
    """Values, or a refusal in one sentence; nothing else."""
    from matplotlib import pyplot as plt

    fit = cg.random_effects(FORMULA, data, quadrature=9)
    found = [each for name in members(type(fit)) for each in called(fit, name)]
    plt.close("all")
    refusals = [each for each in found if isinstance(each.value, BaseException)]
    assert all(isinstance(each.value, OptionError) for each in refusals), [str(each) for each in refusals]
    assert {each.name for each in refusals} == REFUSED
