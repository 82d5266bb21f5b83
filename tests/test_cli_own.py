"""The command line with negative binomial counts and an intercept for every cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import clusterglm as cg
from clusterglm.cli import app

MODEL = ("epil", "y ~ V4", "--cluster", "subject", "--family", "negative_binomial", "--model", "fixed_effects")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def good(*arguments: str | Path) -> str:
    ran = run(*arguments)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_a_fit_with_its_bias_taken_off(tmp_path: Path) -> None:
    file = tmp_path / "fit.json"
    text = good("fit", *MODEL, "--bias-correction", "analytical", "--save", file)
    options = {"cluster": "subject", "family": "negative_binomial", "bias_correction": "analytical"}
    fit = cg.fixed_effects("y ~ V4", cg.datasets.load("epil"), **options)
    assert text.rstrip() == str(fit)
    assert good("show", file).rstrip() == str(fit)
    exported = json.loads(good("fit", *MODEL, "--json", "-"))
    assert exported["fit"]["loglik"] == pytest.approx(fit.loglik)
    assert len(exported["cluster_effects"]) == 59


def test_no_clustering() -> None:
    assert "likelihood ratio" in good("test-clustering", *MODEL, "--n-boot", "5", "--seed", "1")
    assert "--method score" in run("test-clustering", *MODEL, "--method", "score").output
