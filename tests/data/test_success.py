"""Which level of a two-level response is the success: said, shown, kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.data.tables.success import event_comes_first
from clusterglm.errors import DataError, OptionError, ResponseError

VERBS = {"pooled": {}, "random_effects": {"cluster": "id"}, "fixed_effects": {"cluster": "id"},
         "conditional": {"cluster": "id"}, "nonparametric": {"cluster": "id"}}  # fmt: skip


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(60), 6)
    x = rng.normal(size=360)
    ill = rng.random(360) < 1.0 / (1.0 + np.exp(-0.8 * x - rng.normal(size=60)[g]))
    return pd.DataFrame(
        {"id": g, "x": x, "ill": ill.astype(int), "outcome": np.where(ill, "case", "control"), "sas": 2 - ill,
         "flag": ill}
    )  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_the_level_that_counts(frame: pd.DataFrame, verb: str) -> None:
    def fit(formula: str, **given: object) -> pd.Series:
        return getattr(cg, verb)(formula, frame, **VERBS[verb], **given).params

    expected = fit("ill ~ x")
    pd.testing.assert_series_equal(fit("outcome ~ x", success="case"), expected)
    pd.testing.assert_series_equal(fit("outcome ~ x", success="control"), fit("outcome ~ x"))
    pd.testing.assert_series_equal(fit("sas ~ x", success=1), expected)
    pd.testing.assert_series_equal(fit("flag ~ x", success=True), expected)
    assert fit("ill ~ x", success=0)["x"] == pytest.approx(-expected["x"], rel=1e-5)


def test_the_alphabets_choice_is_said_before_all_else(frame: pd.DataFrame) -> None:
    fit = cg.pooled("outcome ~ x", frame)
    top = str(fit).split("Formula:")[0]
    assert "success is outcome = 'control'" in top
    assert "success='case'" in top
    assert "Success:" in str(fit).split("Estimate")[0]
    assert fit._repr_html_().index("success is outcome") < fit._repr_html_().index("Formula")
    said = cg.pooled("outcome ~ x", frame, success="case")
    assert "Note: success" not in str(said)
    assert "Success:          'case' (failure 'control')" in str(cg.random_effects(
        "outcome ~ x", frame, cluster="id", success="case"))  # fmt: skip
    assert "Success: outcome = 'case'." in str(cg.table(said))
    assert not any("uccess" in text for text in (str(cg.pooled("ill ~ x", frame)), str(cg.table(fit)).split("Succ")[0]))


@pytest.mark.parametrize(
    ("first", "second", "odd"),
    [("case", "control", True), ("ill", "well", True), ("Died", "Survived", True), ("disease", "healthy", True),
     ("event", "none", True), ("event", "no event", True), ("cured", "not-cured", True), ("alive", "dead", False),
     ("no", "yes", False), ("negative", "positive", False), ("fail", "pass", False), ("a", "b", False)],
)  # fmt: skip
def test_events_that_come_first_in_the_alphabet_are_known(first: str, second: str, odd: bool) -> None:
    assert event_comes_first(first, second) == odd
    note = cg.pooled("y ~ x", {"y": [first, second] * 4, "x": [0.0, 1, 2, 2, 1, 0, 1, 3]}).data.notes[0]
    assert ("event that you mean" in note) == odd
    assert f"success={first!r}" in note


def test_refusals_name_the_levels(frame: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match="'case' or 'control'") as refusal:
        cg.pooled("outcome ~ x", frame, success="Case")
    assert "did you mean 'case'" in refusal.value.advice
    with pytest.raises(OptionError, match="'0' or '1'"):
        cg.pooled("ill ~ x", frame, success="yes")
    with pytest.raises(OptionError, match="family='poisson'"):
        cg.pooled("ill ~ x", frame, family="poisson", success=1)
    with pytest.raises(OptionError, match="of which the first"):
        cg.pooled("cbind(ill, 1 - ill) ~ x", frame, success=1)
    with pytest.raises(ResponseError, match="3 levels"):
        cg.pooled("y ~ x", {"y": [1, 2, 3, 1], "x": [1.0, 2, 3, 4]}, success=2)


def test_files_histories_and_saved_fits_keep_the_choice(frame: pd.DataFrame, tmp_path: Path) -> None:
    for column, level in (("outcome", "case"), ("sas", 1), ("flag", False)):
        whole = cg.random_effects(f"{column} ~ x", frame, cluster="id", success=level)
        for k in range(3):
            frame.iloc[120 * k : 120 * (k + 1)].to_parquet(tmp_path / f"{k}.parquet")
        read = cg.random_effects(f"{column} ~ x", str(tmp_path / "*.parquet"), cluster="id", success=level)
        np.testing.assert_allclose(read.params, whole.params, rtol=1e-6)
        assert read.data.levels == whole.data.levels
        whole.save(tmp_path / "fit.json")
        again = cg.load(tmp_path / "fit.json")
        assert str(again) == str(whole)
        some = frame.iloc[:60]
        pd.testing.assert_series_equal(
            again.predict(some, history=some), whole.predict(some, kind="conditional"), rtol=1e-6
        )


def test_missing_responses_stay_missing(frame: pd.DataFrame) -> None:
    some = frame.assign(sas=frame["sas"].astype(float).where(frame.index % 7 > 0))
    fit = cg.pooled("sas ~ x", some, success=1)
    pd.testing.assert_series_equal(fit.params, cg.pooled("ill ~ x", frame[frame.index % 7 > 0]).params)


def test_every_table_and_picture_says_what_counts(frame: pd.DataFrame) -> None:
    fit = cg.random_effects("outcome ~ x", frame, cluster="id", success="case")
    pooled = cg.pooled("outcome ~ x", frame, cluster="id", success="case")
    assert "response outcome (success 'case')" in str(cg.compare(pooled, fit))
    chosen = cg.select_distribution("outcome ~ x", frame, cluster="id", success="case", distributions=["gaussian"])
    assert "Success:   'case' (failure 'control')" in str(chosen)
    assert "Probability of 'case'" in fit.plot.predictions("x", points=3).ax.get_ylabel()
    other = cg.pooled("outcome ~ x", frame, cluster="id")
    with pytest.raises(DataError, match="different data"):
        cg.compare(other, fit)
