"""The command line with random slopes: fitting, and all commands on the saved fit."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from typer.testing import CliRunner, Result

import clusterglm as cg
from clusterglm.cli import app
from clusterglm.results.models.mixed import MixedEffectsResult

FORMULA = "y ~ x + w + (x | g)"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def good(*arguments: str | Path) -> str:
    ran = run(*arguments)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(40), 10)
    u = rng.normal(size=(40, 2)) @ np.array([[1.0, 0.0], [0.3, 0.9]]).T
    x, w = rng.normal(size=400).round(1), rng.normal(size=400).round(1)
    y = rng.binomial(1, expit(-0.2 + 0.5 * x + u[g, 0] + u[g, 1] * x))
    file = tmp_path_factory.mktemp("slopes") / "fit.json"
    pd.DataFrame({"y": y, "x": x, "w": w, "g": g}).to_csv(file.with_name("rows.csv"), index=False)
    good("fit", file.with_name("rows.csv"), FORMULA, "--save", file)
    return file


@pytest.fixture(scope="module")
def rows(saved: Path) -> Path:
    return saved.with_name("rows.csv")


@pytest.fixture(scope="module")
def fit(rows: Path) -> MixedEffectsResult:
    return cg.random_effects(FORMULA, pd.read_csv(rows))


def test_the_fit(saved: Path, rows: Path, fit: MixedEffectsResult) -> None:
    assert str(cg.load(saved)) == str(fit)
    assert good("show", saved).rstrip() == str(fit)
    exported = json.loads(good("fit", rows, FORMULA, "--json", "-"))
    assert exported["random_effects"][1]["estimate"] == pytest.approx(fit.variance_components["estimate"][1])
    refused = run("fit", rows, FORMULA, "--distribution", "cauchy")
    assert refused.exit_code != 0
    assert "several random effects" in refused.output


def test_predictions(saved: Path, rows: Path, fit: MixedEffectsResult, tmp_path: Path) -> None:
    table = pd.read_csv(rows)
    options = ("--kind", "marginal", "--level", "0.9", "--interval", "cluster")
    found = pd.read_csv(io.StringIO(good("predict", saved, *options)), index_col="row")
    expected = pd.DataFrame(fit.predict(kind="marginal", level=0.9, interval="cluster"))
    pd.testing.assert_frame_equal(found, expected)
    history = table[table["g"] == 3].assign(g=99)
    history.to_csv(tmp_path / "history.csv", index=False)
    options = ("--newdata", tmp_path / "history.csv", "--history", tmp_path / "history.csv", "--kind", "posterior")
    found = pd.read_csv(io.StringIO(good("predict", saved, *options)), index_col="row")
    known = fit.predict(table[table["g"] == 3], "posterior")
    np.testing.assert_allclose(found["mean"], known, rtol=1e-6)


def test_what_else_follows(saved: Path, fit: MixedEffectsResult) -> None:
    effects = json.loads(good("effects", saved, "--json", "-"))
    assert effects[0]["estimate"] == pytest.approx(fit.average_effects()["estimate"][0])
    assert "odds ratio" in good("ratios", saved)
    assert "Integration" in good("check", saved, "--n-sim", "9", "--seed", "1")
    assert "9 replicates of 9" in good("test-clustering", saved, "--n-boot", "9", "--seed", "1")
    assert "no known distribution" in run("test-clustering", saved, "--method", "boundary").output.replace("\n", " ")
    assert len(good("simulate", saved, "--seed", "1").splitlines()) == 401
    assert "sd(g: x)" in good("table", saved)


def test_comparison(rows: Path) -> None:
    text = good("compare", rows, "y ~ x + w + (1 | g)", FORMULA)
    assert "half chi2 on 1 and half chi2 on 2 df" in text


@pytest.mark.parametrize("name", ["caterpillar", "random-effects", "profile", "coefficients", "predictions"])
def test_pictures(saved: Path, tmp_path: Path, name: str) -> None:
    more = ("--clusters", "3") if name == "predictions" else ()
    good("plot", name, saved, "--out", tmp_path / "plot.png", *more)
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_one_effect_of_a_caterpillar(saved: Path, tmp_path: Path) -> None:
    drawn = json.loads(good("plot", "caterpillar", saved, "--effect", "x", "--out", tmp_path / "x.png", "--json", "-"))
    assert "x" in json.dumps(drawn)
    assert "(Intercept)" not in json.dumps(drawn)
    pair = ("--effect", "x", "--effect", "(Intercept)")
    good("plot", "random-effects", saved, *pair, "--out", tmp_path / "pair.png")
    assert run("plot", "caterpillar", saved, "--effect", "y", "--out", tmp_path / "y.png").exit_code != 0


def test_report(saved: Path, rows: Path, tmp_path: Path) -> None:
    good("report", saved, "--out", tmp_path / "fit.html", "--data", rows, "--n-boot", "9", "--n-sim", "9")
    assert "95% ellipses" in (tmp_path / "fit.html").read_text()


def test_effects_of_some_factors(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    room = np.repeat(np.arange(60), 6)
    eta = rng.normal(size=20)[room // 3] + rng.normal(size=60)[room]
    table = pd.DataFrame({"y": rng.binomial(1, expit(eta)), "school": room // 3, "room": room})
    table.to_csv(tmp_path / "rows.csv", index=False)
    file, new = tmp_path / "fit.json", tmp_path / "new.csv"
    good("fit", tmp_path / "rows.csv", "y ~ 1 + (1 | school) + (1 | room)", "--save", file)
    pd.DataFrame({"school": [3, 7]}).to_csv(new, index=False)
    found = pd.read_csv(
        io.StringIO(good("predict", file, "--newdata", new, "--kind", "posterior", "--effects", "school"))
    )
    expected = cg.load(file).predict(pd.read_csv(new), kind="posterior", effects=["school"])
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-12)
    assert "one of 'school', 'room'" in run("predict", file, "--kind", "posterior", "--effects", "scool").output
