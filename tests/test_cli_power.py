"""`clusterglm power`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import clusterglm as cg
from clusterglm.cli import app

PLAN = ("--between", "trt=placebo,drug", "--within", "week=0,2", "--sigma", "0.8", "--replicates", "20", "--seed", "3")
VALUES = ("--param", "(Intercept)=0.5", "--param", "trtdrug=-1", "--param", "week=0.1", "--test", "trt")
FORMULA = "y ~ trt + week + (1 | id)"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["power", *arguments])


def test_values_on_a_command_line_are_those_of_the_library(tmp_path: Path) -> None:
    out, picture = tmp_path / "power.csv", tmp_path / "power.png"
    ran = run(
        FORMULA, *PLAN, *VALUES, "--clusters", "20,40", "--size", "2,4", "--json",
        str(tmp_path / "power.json"), "--out", str(out), "--plot", str(picture), "--store",
        str(tmp_path / "all.parquet"),
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    plan = cg.design(40, 4, between={"trt": ["placebo", "drug"]}, within={"week": [0, 2]})
    found = cg.power(
        FORMULA,
        "trt",
        design=plan,
        params=[0.5, -1, 0.1],
        sigma=0.8,
        clusters=[20, 40],
        size=[2, 4],
        replicates=20,
        seed=3,
    )
    table = pd.read_csv(out)
    pd.testing.assert_frame_equal(table, pd.DataFrame(found.to_frame()), check_dtype=False)
    answer = json.loads((tmp_path / "power.json").read_text())
    assert answer["table"][3]["power"] == table["power"].iloc[3]
    assert len(answer["needed"]) == 2
    assert answer["seed"] == 3
    assert picture.stat().st_size > 1000
    assert len(pd.read_parquet(tmp_path / "all.parquet")) == 80


def test_from_a_saved_fit(tmp_path: Path) -> None:
    fit = cg.random_effects("y ~ trt + week", cg.datasets.load("bacteria"), cluster="ID")
    fit.save(tmp_path / "fit.json")
    ran = run(
        str(tmp_path / "fit.json"),
        "--test",
        "week",
        "--test",
        "trt",
        "--clusters",
        "50,100",
        "--replicates",
        "5",
        "--seed",
        "1",
    )
    assert ran.exit_code == 0, ran.output
    assert "from its estimates" in ran.output
    assert "needed" in ran.output
    ran = run(str(tmp_path / "fit.json"), "--test", "week", "--sigma", "1")
    assert ran.exit_code == 2
    assert "--sigma beside a saved fit" in ran.output


def test_every_kind_of_value_is_read() -> None:
    command = (
        "--cluster school --nested class=2 --between m=a:2,b:1 --level m=class --within x=normal(0,1) --size 3 "
        "--clusters 12 --sigma school=1,class=0.5 --family gaussian --family-parameters residual_sd=2 "
        "--param (Intercept)=0 --param mb=1 --param x=0 --test mb --effect 0,1 --replicates 5 --randomise --reml"
    )
    ran = run("y ~ m + x + (1 | school/class)", *command.split())
    assert ran.exit_code == 0, ran.output
    assert "type I error" in ran.output
    command = (
        "--within x=0,1 --clusters 15 --size 8 --sigma 1,0.5 --correlation 0.3 --param (Intercept)=0 --param x=0.5 "
        "--family poisson --quadrature laplace --test x --replicates 2"
    )
    ran = run("y ~ x + (x | id)", *command.split())
    assert ran.exit_code == 0, ran.output
    command = (
        "--within x=0,1 --clusters 15 --size 8 --sigma 1 --param x=0.5 --test x --family ordinal "
        "--family-parameters=-1,0,1 --replicates 2"
    )
    ran = run("y ~ x + (1 | id)", *command.split())
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((FORMULA, *PLAN, *VALUES), "a plan without --clusters"),
        ((FORMULA, *PLAN, *VALUES, "--clusters", "20,many"), "--clusters 20,many"),
        ((FORMULA, *PLAN, *VALUES[:4], "--test", "trt", "--clusters", "20"), "without week"),
        ((FORMULA, *PLAN, *VALUES, "--param", "week", "--clusters", "20"), "--param week"),
        ((FORMULA, *PLAN, *VALUES, "--between", "trt", "--clusters", "20"), "--between trt"),
        ((FORMULA, *PLAN, *VALUES, "--clusters", "20", "--method", "score"), "score"),
        (("none.json", "--test", "x"), "does not exist"),
    ],
)
def test_bad_input_has_status_2(arguments: tuple[str, ...], words: str) -> None:
    ran = run(*arguments)
    assert ran.exit_code == 2, ran.output
    assert words in ran.output
