"""The command line with ordered categories."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import clusterglm as cg
from clusterglm.cli import app

FORMULA = "rating ~ temp + contact"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def good(*arguments: str | Path) -> str:
    ran = run(*arguments)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ordinal") / "fit.json"
    good("fit", "wine", FORMULA, "--cluster", "judge", "--family", "ordinal", "--save", file)
    return file


def test_the_fit(saved: Path) -> None:
    fit = cg.random_effects(FORMULA, cg.datasets.load("wine"), cluster="judge", family="ordinal")
    assert good("show", saved).rstrip() == str(fit)
    exported = json.loads(good("fit", "wine", FORMULA, "--family", "ordinal", "--model", "pooled", "--json", "-"))
    assert exported["model"]["success"] is None
    assert exported["fit"]["loglik"] == pytest.approx(fit.pooled.loglik)


def test_levels(tmp_path: Path) -> None:
    words = cg.datasets.load("wine").assign(rating=lambda d: d["rating"].map(dict(enumerate("abcde", 1))).astype(str))
    words.to_csv(tmp_path / "words.csv", index=False)
    asked = ("fit", tmp_path / "words.csv", FORMULA, "--model", "pooled", "--family", "ordinal")
    assert "Threshold a|b" in good(*asked, "--levels", "a, b, c, d, e")
    assert "have no order" in run(*asked).output
    assert "--levels with --family binomial" in run(*asked[:-2], "--levels", "a,b").output


def test_levels_of_fits_that_are_compared(tmp_path: Path) -> None:
    words = cg.datasets.load("wine").assign(rating=lambda d: d["rating"].map(dict(enumerate("ebcda", 1))).astype(str))
    words.to_csv(tmp_path / "words.csv", index=False)
    asked = ("compare", tmp_path / "words.csv", "rating ~ temp", FORMULA, "--model", "pooled", "--family", "ordinal")
    found = json.loads(good(*asked, "--levels", "e, b, c, d, a", "--json", "-"))["fits"]
    fits = [cg.pooled(each, cg.datasets.load("wine"), family="ordinal") for each in ("rating ~ temp", FORMULA)]
    assert [row["loglik"] for row in found] == pytest.approx([fit.loglik for fit in fits])
    assert "have no order" in run(*asked).output


def test_what_follows(saved: Path, tmp_path: Path) -> None:
    fit = cg.load(saved)
    wide = pd.read_csv(io.StringIO(good("predict", saved, "--kind", "marginal")), index_col="row")
    assert wide.to_numpy() == pytest.approx(fit.predict(kind="marginal").to_numpy())
    long = pd.read_csv(io.StringIO(good("predict", saved, "--level", "0.9")))
    assert list(long.columns) == ["row", "category", "estimate", "std_error", "low", "high", "status"]
    assert len(long) == 72 * 5
    new = tmp_path / "new.csv"
    cg.datasets.load("wine").head(3).to_csv(new, index=False)
    assert len(good("predict", saved, "--newdata", new, "--with-data").splitlines()) == 4
    assert "leave --level out" in run("predict", saved, "--newdata", new, "--with-data", "--level", "0.9").output
    drawn = pd.read_csv(io.StringIO(good("simulate", saved, "--n", "2", "--seed", "3")))
    assert drawn["draw2"].astype(str).to_list() == fit.simulate(2, seed=3)[1].astype(str).to_list()
    assert "Threshold" in good("fit", "wine", FORMULA, "--cluster", "judge", "--family", "ordinal", "--robust")


def test_coefficients_at_thresholds(tmp_path: Path) -> None:
    asked = ("fit", "wine", FORMULA, "--cluster", "judge", "--family", "ordinal", "--nonparallel", "contact")
    fit = cg.random_effects(FORMULA, cg.datasets.load("wine"), cluster="judge", family="ordinal", nonparallel="contact")
    assert good(*asked, "--save", tmp_path / "fit.json").rstrip() == str(fit)
    exported = json.loads(good(*asked, "--json", "-"))
    assert [row["term"] for row in exported["coefficients"]] == fit.params.index.to_list()
    assert exported["nonparallel"]["contactyes"]["4|5"] == pytest.approx(fit.nonparallel.loc["contactyes", "4|5"])
    wide = pd.read_csv(io.StringIO(good("predict", tmp_path / "fit.json")), index_col="row")
    assert wide.to_numpy() == pytest.approx(fit.predict().to_numpy())
    assert "--nonparallel with --model conditional" in run(*asked, "--model", "conditional").output
