"""The command line with factors that cross: fitting, and commands on the saved fit."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import clusterglm as cg
from clusterglm.cli import app

FORMULA = "mating ~ female_type * male_type + (1 | female) + (1 | male)"
ROWS = Path(__file__).parent / "golden" / "data" / "salamander1.csv"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def good(*arguments: str | Path) -> str:
    ran = run(*arguments)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("crossed") / "fit.json"
    good("fit", ROWS, FORMULA, "--inside", "female", "--save", file)
    return file


def test_the_fit(saved: Path) -> None:
    fit = cg.random_effects(FORMULA, pd.read_csv(ROWS), inside="female")
    assert str(cg.load(saved)) == str(fit)
    assert good("show", saved).rstrip() == str(fit)
    exported = json.loads(good("fit", ROWS, FORMULA, "--inside", "female", "--json", "-"))
    assert exported["integration"]["outside"]["correction"] == fit.quadrature.outside.correction
    refused = run("fit", ROWS, FORMULA, "--model", "pooled", "--inside", "female")
    assert refused.exit_code != 0
    assert "--inside belongs to random_effects" in " ".join(refused.output.split())


def test_predictions_and_tables(saved: Path, tmp_path: Path) -> None:
    fit, rows = cg.load(saved), pd.read_csv(ROWS)
    new = tmp_path / "new.csv"
    rows.head(4).assign(male=[*rows["male"].head(3), 999]).to_csv(new, index=False)
    shown = pd.read_csv(
        io.StringIO(good("predict", saved, "--newdata", new, "--kind", "posterior", "--unseen", "marginal"))
    )
    expected = fit.predict(pd.read_csv(new), kind="posterior", unseen="marginal")
    assert shown["mean"].to_list() == pytest.approx(expected.to_list(), rel=1e-4)
    assert "corrected" in good("show", saved)
    table = good("table", saved)
    assert "sd(male: (Intercept))" in table
    drawn = tmp_path / "effects.png"
    good("plot", "caterpillar", saved, "--out", drawn)
    assert drawn.stat().st_size > 1000
