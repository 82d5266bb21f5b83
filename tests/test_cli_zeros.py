"""The command line with a second formula."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import clusterglm as cg
from clusterglm.cli import app

FORMULA = "count ~ mined"


@pytest.mark.parametrize(("option", "argument"), [("--zero-inflation", "zero_inflation"), ("--hurdle", "hurdle")])
def test_the_fit(option: str, argument: str, tmp_path: Path) -> None:
    file = tmp_path / "fit.json"
    words = ["fit", "salamanders", FORMULA, "--cluster", "site", "--family", "poisson", option, "~ mined"]
    ran = CliRunner().invoke(app, [*words, "--save", str(file)])
    assert ran.exit_code == 0, ran.output
    data = cg.datasets.load("salamanders")
    fit = cg.random_effects(FORMULA, data, cluster="site", family="poisson", **{argument: "~ mined"})
    assert str(fit) in ran.stdout
    shown = CliRunner().invoke(app, ["show", str(file)])
    assert shown.stdout.rstrip() == str(fit)
    predicted = CliRunner().invoke(app, ["predict", str(file), "--json", "-"])
    assert predicted.exit_code == 0, predicted.output
    picture = str(tmp_path / "rows.svg")
    drawn = CliRunner().invoke(app, ["plot", "rootogram", str(file), "--of", "rows", "--out", picture])
    assert drawn.exit_code == 0, drawn.output


def test_models_without_one_say_so() -> None:
    ran = CliRunner().invoke(app, ["fit", "salamanders", FORMULA, "--model", "fixed_effects", "--hurdle", "~ 1"])
    assert ran.exit_code != 0
    assert "--hurdle belongs to random_effects and pooled" in " ".join(ran.output.split())
