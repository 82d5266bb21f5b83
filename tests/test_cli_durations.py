"""The command line with survival times."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import clusterglm as cg
from clusterglm.cli import app

FORMULA = "Surv(time, infected) ~ age + sex"
MODEL = ("--cluster", "patient", "--family", "weibull")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def good(*arguments: str | Path) -> str:
    ran = run(*arguments)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("durations") / "fit.json"
    good("fit", "catheter", FORMULA, *MODEL, "--save", file)
    return file


def test_the_fit(saved: Path) -> None:
    fit = cg.random_effects(FORMULA, cg.datasets.load("catheter"), cluster="patient", family="weibull")
    assert good("show", saved).rstrip() == str(fit)
    exported = json.loads(
        good("fit", "catheter", FORMULA, "--family", "exponential", "--model", "pooled", "--json", "-")
    )
    pooled = cg.pooled(FORMULA, cg.datasets.load("catheter"), family="exponential")
    assert exported["fit"]["loglik"] == pytest.approx(pooled.loglik)


def test_predictions_and_curves(saved: Path, tmp_path: Path) -> None:
    fit = cg.load(saved)
    new = pd.DataFrame({"age": [30, 60, 60], "sex": ["female", "male", "male"], "day": [50.0, 50.0, 100.0]})
    new.to_csv(tmp_path / "new.csv", index=False)
    found = pd.read_csv(
        io.StringIO(
            good("predict", saved, "--newdata", tmp_path / "new.csv", "--scale", "median", "--kind", "marginal")
        )
    )
    want = fit.predict(new, "marginal", scale="median")
    assert found.iloc[:, -1].to_numpy() == pytest.approx(want.to_numpy(), rel=1e-6)
    picture = tmp_path / "curves.png"
    good("plot", "survival", saved, "--data", tmp_path / "new.csv", "--time", "day", "--by", "sex", "--out", picture)
    assert picture.stat().st_size > 1000


def test_bad_data_in_words(tmp_path: Path) -> None:
    cg.datasets.load("catheter").assign(time=0).to_csv(tmp_path / "bad.csv", index=False)
    ran = run("fit", tmp_path / "bad.csv", FORMULA, *MODEL)
    assert ran.exit_code == 2
    assert "positive numbers for --family weibull" in ran.stderr
