"""Results of fits with Firth's penalty: what they say, what works as ever, and what is refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import clusterglm as cg
from clusterglm.cli import app
from clusterglm.errors import DesignError, OptionError, SeparationError
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.tables.export import as_dict

FORMULA = "y ~ x + g"


@pytest.fixture(scope="module")
def separated() -> pd.DataFrame:
    """Level c of g has only successes."""
    rng = np.random.default_rng(5)
    d = pd.DataFrame({"x": rng.normal(size=60), "g": np.tile(["a", "b", "c"], 20), "id": np.arange(60) // 6})
    d["y"] = np.where(d.g == "c", 1, rng.random(60) < 1 / (1 + np.exp(-d.x))).astype(int)
    return d


@pytest.fixture(scope="module")
def fit(separated: pd.DataFrame) -> PooledResult:
    return cg.pooled(FORMULA, separated, cluster="id", penalty="firth")


def test_summary_names_the_penalty_and_what_rests_on_what(fit: PooledResult) -> None:
    text = " ".join(str(fit).split())
    assert "maximum penalised likelihood" in text
    assert "Firth: half the log-determinant of the expected information (Jeffreys' prior)" in text
    assert f"With the penalty: {fit.penalized_loglik:.4f} (the maximum; log-likelihood, AIC, BIC" in text
    assert fit.aic == 2 * 4 - 2 * fit.loglik
    (row,) = fit.glance().to_dict(orient="records")
    assert (row["penalty"], row["penalized_loglik"]) == ("firth", fit.penalized_loglik)


def test_without_a_penalty_nothing_of_it_is_said(separated: pd.DataFrame) -> None:
    plain = cg.pooled("y ~ x", separated)
    assert (plain.penalty, plain.penalized_loglik) == (None, None)
    assert "penal" not in str(plain).lower()
    assert "penalty" not in plain.glance()


def test_loglik_is_that_of_the_responses_alone(separated: pd.DataFrame, fit: PooledResult) -> None:
    mean = fit.predict(separated)
    loglik = np.log(np.where(separated.y == 1, mean, 1 - mean)).sum()
    assert fit.loglik == pytest.approx(loglik, rel=1e-12)
    X, w = fit.data.X, (mean * (1 - mean)).to_numpy()[fit.data.row_index]
    determinant = np.linalg.slogdet((X.T * w) @ X)[1]
    assert fit.penalized_loglik == pytest.approx(loglik + 0.5 * determinant, rel=1e-12)
    np.testing.assert_allclose(fit.cov(), np.linalg.inv((X.T * w) @ X), rtol=1e-9)


def test_files_give_it_back(fit: PooledResult, tmp_path: Path) -> None:
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert str(again) == str(fit)
    assert (again.penalty, again.penalized_loglik) == ("firth", fit.penalized_loglik)
    pd.testing.assert_frame_equal(again.conf_int(method="profile"), fit.conf_int(method="profile"))
    assert as_dict(fit)["penalty"] == "firth"
    assert as_dict(fit)["penalized_loglik"] == fit.penalized_loglik


def test_profile_ends_lie_where_the_penalised_ratio_rejects(separated: pd.DataFrame, fit: PooledResult) -> None:
    """The end of the interval of x as an offset: the test of that value is just significant."""
    low, high = fit.conf_int(method="profile").loc["x"]
    curve = fit.profile("x", points=3)
    assert curve.loglik.max() == pytest.approx(fit.penalized_loglik, rel=1e-12)
    for end in (low, high):
        d = separated.assign(o=end * separated.x)
        held = cg.pooled("y ~ g", d, offset="o", penalty="firth")
        moved = cg.pooled(FORMULA, d, offset="o", penalty="firth")
        (test,) = cg.compare(held, moved).tests
        assert test.pvalue == pytest.approx(0.05, rel=1e-5)


def test_bootstrap_refits_with_the_penalty(fit: PooledResult) -> None:
    found = fit.bootstrap(40, seed=1)
    assert found.failures == ()
    assert np.isfinite(found.replicates).all()
    assert np.abs(found.replicates).max() < 20.0


def test_influence_against_fits_without_the_row(separated: pd.DataFrame) -> None:
    fit = cg.pooled(FORMULA, separated, penalty="firth")
    exact = fit.influence("exact", clusters=[0, 2, 17])
    for k, row in enumerate((0, 2, 17)):
        other = cg.pooled(FORMULA, separated.drop(index=row), penalty="firth")
        np.testing.assert_allclose(exact.deleted[k], other.params, atol=1e-6)
    assert (exact.displacement > 0.0).all()
    step = fit.influence(clusters=[0, 2, 17])
    shift = np.abs(exact.deleted - fit.params.to_numpy())
    assert (np.abs(step.deleted - exact.deleted).max(axis=1) < 0.7 * shift.max(axis=1)).all()


def test_only_likelihoods_of_one_kind_are_tested(separated: pd.DataFrame, fit: PooledResult) -> None:
    plain = cg.pooled("y ~ x", separated, cluster="id")
    comparison = cg.compare(plain, fit)
    assert "fit 2 maximises a likelihood with penalty='firth', and fit 1 one without" in " ".join(
        str(comparison.tests[0]).split()
    )
    assert any("fit 2 are those at its penalised estimates" in note for note in comparison.notes)
    random = cg.random_effects("y ~ x", separated, cluster="id", sigma=0.5, fix_sigma=True)
    assert "penalty='firth'" in cg.compare(random, fit).tests[0].reason
    assert "(1): penalty firth; the log-likelihood is without it." in str(cg.table([fit, plain]))


def test_order_of_rows_does_not_matter_for_the_test(separated: pd.DataFrame, fit: PooledResult) -> None:
    one = cg.pooled("y ~ x", separated, penalty="firth")  # rows in the table's order
    other = cg.pooled("y ~ x", separated, cluster="g", penalty="firth")
    first, second = (cg.compare(small, fit).tests[0] for small in (one, other))
    assert first.statistic == pytest.approx(second.statistic, rel=1e-9)
    assert first.df == 2


def test_no_effect_at_all_is_a_special_case(separated: pd.DataFrame) -> None:
    none, some = (cg.pooled(f"y ~ 0 + {rest}", separated, penalty="firth") for rest in ("x", "x + g"))
    (test,) = cg.compare(none, some).tests
    assert test.df == 3
    assert test.pvalue < 0.01


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda fit: fit.cov("robust"), "the sandwich is far too small"),
        (lambda fit: fit.conf_int(cov="robust"), "the sandwich is far too small"),
        (lambda fit: fit.test_clustering(), "coefficients at the maximum of the likelihood alone"),
    ],
)
def test_what_rests_on_scores_is_refused(fit: PooledResult, ask: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        ask(fit)


def test_what_cannot_be_penalised_says_so(separated: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"penalty='firth' of cg\.pooled"):
        cg.nonparametric(FORMULA, separated, cluster="id", penalty="firth")
    with pytest.raises(OptionError, match=r"penalty='soft' in cg\.random_effects"):
        cg.random_effects(FORMULA, separated, cluster="id", penalty="firth")
    with pytest.raises(OptionError, match="one of 'firth'"):
        cg.pooled(FORMULA, separated, penalty="ridge")
    separated.to_parquet(tmp_path / "data.parquet")
    with pytest.raises(OptionError, match="penalty='firth' for rows that are not in memory"):
        cg.pooled(FORMULA, str(tmp_path), engine=cg.engine.Stream(), penalty="firth")
    with pytest.raises(OptionError, match="penalty='firth' for rows that are not in memory"):
        cg.conditional(FORMULA, str(tmp_path), cluster="id", engine=cg.engine.Stream(), penalty="firth")


@pytest.mark.parametrize(("family", "y"), [("binomial", 1), ("binomial", 0), ("poisson", 0)])
def test_responses_may_all_be_equal(separated: pd.DataFrame, family: str, y: int) -> None:
    fit = cg.pooled("y ~ x", separated.assign(y=y), family=family, penalty="firth")
    assert fit.converged
    assert np.isfinite(fit.conf_int()).all().all()


def test_separation_names_the_way_out(separated: pd.DataFrame) -> None:
    """The advice can be followed, each part of it."""
    with pytest.raises(SeparationError) as error:
        cg.pooled(FORMULA, separated)
    assert "a penalty, with finite estimates: penalty='firth' in cg.pooled" in error.value.advice
    assert error.value.advice.startswith(
        "separation='limit' in cg.pooled and cg.random_effects, for the limit of the fit"
    )
    limit = cg.pooled(FORMULA, separated, separation="limit")
    far = separated.assign(far=np.where(separated.g == "c", 30.0, 0.0))
    bounded = cg.pooled("y ~ x + I(1.0 * (g == 'b'))", far, offset="far")
    np.testing.assert_allclose(bounded.params, limit.params[:-1], atol=1e-5)


@pytest.mark.parametrize(("y", "loglik"), [([0, 0, 0, 1, 1, 1], 0.0), ([0, 0, 1, 0, 1, 1], -2.0 * np.log(2.0))])
def test_the_limit_of_ranges_that_touch(y: list[int], loglik: float) -> None:
    d = {"y": y, "x": [1, 2, 3, 3, 4, 5] if loglik else [1, 2, 3, 4, 5, 6]}  # only rows at 3 are left
    with pytest.raises(DesignError, match="penalty='firth'"):
        cg.pooled("y ~ x", d)
    fit = cg.pooled("y ~ x", d, separation="limit")
    assert fit.loglik == pytest.approx(loglik, abs=1e-9)
    assert fit.params["x"] == np.inf


def test_report_and_check(fit: PooledResult, tmp_path: Path) -> None:
    page = fit.report(tmp_path / "fit.html").read_text()
    assert "Penalised likelihood" in page
    assert "Robust s.e." not in page
    assert "far too small" not in page
    assert len(fit.check(seed=1).findings) >= 3


def test_command_line(separated: pd.DataFrame, tmp_path: Path) -> None:
    separated.to_csv(tmp_path / "d.csv", index=False)
    target = tmp_path / "fit.json"
    options = ["fit", str(tmp_path / "d.csv"), FORMULA, "--penalty", "firth", "--json", str(target)]
    ran = CliRunner().invoke(app, [*options, "--model", "pooled"])
    assert ran.exit_code == 0
    assert json.loads(target.read_text())["penalty"] == "firth"
    assert "maximum penalised likelihood" in ran.output
    refused = CliRunner().invoke(app, options)
    assert refused.exit_code == 2
    assert "--penalty soft, which this model can have" in refused.output


def test_conditional_fits(separated: pd.DataFrame, tmp_path: Path) -> None:
    """What holds for pooled ones holds for them."""
    fit = cg.conditional(FORMULA, separated, cluster="id", penalty="firth")
    assert "Conditional maximum penalised likelihood" in str(fit)
    assert f"With the penalty: {fit.penalized_loglik:.4f} (the maximum" in str(fit)
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert str(again) == str(fit)
    assert as_dict(again)["penalized_loglik"] == fit.penalized_loglik
    assert fit.glance()["penalty"].item() == "firth"
    assert np.isfinite(fit.conf_int(method="profile")).all().all()
    assert fit.profile("x", points=3).loglik.max() == pytest.approx(fit.penalized_loglik, rel=1e-12)
    found = fit.bootstrap(10, seed=1)
    assert found.failures == ()
    assert np.isfinite(found.replicates).all()
    with pytest.raises(OptionError, match="far too small"):
        fit.cov("robust")
    with pytest.raises(OptionError, match="the penalty is no sum over clusters"):
        fit.influence()
    exact = fit.influence("exact", clusters=[3])
    other = cg.conditional(FORMULA, separated[separated.id != 3], cluster="id", penalty="firth")
    np.testing.assert_allclose(exact.deleted[0], other.params, atol=1e-6)
    assert exact.displacement is not None
    assert exact.displacement[0] > 0.0
    random = cg.random_effects("y ~ x", separated, cluster="id")
    with pytest.raises(OptionError, match=r"cg\.conditional without penalty="):
        random.hausman(cg.conditional("y ~ x", separated, cluster="id", penalty="firth"))
    plain = cg.conditional("y ~ x", separated, cluster="id")
    assert "one without" in cg.compare(plain, fit).tests[0].reason
    page = fit.report(tmp_path / "fit.html").read_text()
    assert "Penalised likelihood" in page
