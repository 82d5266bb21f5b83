"""The command line's work on saved fits: predict, simulate, plot, test-clustering."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import clusterglm as cg
from clusterglm.cli import app

FORMULA = "y ~ trt + week"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def good(*arguments: str | Path) -> str:
    ran = run(*arguments)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.fixture(scope="module")
def bacteria() -> pd.DataFrame:
    return cg.datasets.load("bacteria")


@pytest.fixture(scope="module")
def fit(bacteria: pd.DataFrame) -> Any:
    return cg.random_effects(FORMULA, bacteria, cluster="ID")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("saved") / "fit.json"
    good("fit", "bacteria", FORMULA, "--cluster", "ID", "--save", file)
    periods = pd.DataFrame({"week": [0, 2, 4] * 2, "trt": ["drug"] * 3 + ["placebo"] * 3})
    periods.to_csv(file.with_name("periods.csv"), index=False)
    return file


def test_a_saved_fit_loads(saved: Path, fit: Any) -> None:
    assert str(cg.load(saved)) == str(fit)


def test_predictions_of_the_fitted_rows_are_printed_as_csv(saved: Path, fit: Any) -> None:
    table = pd.read_csv(io.StringIO(good("predict", saved)), index_col="row")
    pd.testing.assert_series_equal(table["mean"], fit.predict())


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_predictions_of_new_data(saved: Path, fit: Any, bacteria: pd.DataFrame, tmp_path: Path, ending: str) -> None:
    new, out = tmp_path / "new.csv", tmp_path / f"predicted{ending}"
    bacteria[::7].to_csv(new, index=False)
    options = ("--kind", "marginal", "--scale", "link", "--level", "0.9", "--cov", "robust")
    assert good("predict", saved, "--newdata", new, *options, "--out", out) == ""
    table = pd.read_csv(out) if ending == ".csv" else pd.read_parquet(out)
    wanted = fit.predict(bacteria[::7], "marginal", scale="link", level=0.9, cov="robust").reset_index()
    pd.testing.assert_frame_equal(table, wanted, check_dtype=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([new.name, out.name])


def test_predictions_beside_the_data(saved: Path, fit: Any, bacteria: pd.DataFrame) -> None:
    table = pd.read_csv(io.StringIO(good("predict", saved, "--newdata", "bacteria", "--with-data")))
    assert list(table.columns) == ["row", *bacteria.columns, "mean"]
    np.testing.assert_allclose(table["mean"], fit.predict(bacteria))
    assert "--newdata" in run("predict", saved, "--with-data").stderr


def test_predictions_at_a_number_and_with_a_history(
    saved: Path, fit: Any, bacteria: pd.DataFrame, tmp_path: Path
) -> None:
    content = json.loads(good("predict", saved, "--kind", "-0.5", "--json", "-"))
    np.testing.assert_allclose([row["mean"] for row in content["rows"]], fit.predict(kind=-0.5))
    history = bacteria[:4].assign(ID="new")
    history.to_csv(tmp_path / "history.csv", index=False)
    told = good("predict", saved, "--newdata", tmp_path / "history.csv", "--history", tmp_path / "history.csv")
    table = pd.read_csv(io.StringIO(told))
    np.testing.assert_allclose(table["mean"], fit.predict(history, history=history))


def test_posterior_means_new_clusters_and_sets(saved: Path, fit: Any, bacteria: pd.DataFrame, tmp_path: Path) -> None:
    new = tmp_path / "new.csv"
    table = bacteria[:6].assign(ID=["X01", "X01", "N1", "N1", "N2", "X02"])
    table.to_csv(new, index=False)
    options = ("--newdata", new, "--level", "0.9")
    found = pd.read_csv(io.StringIO(good("predict", saved, *options, "--kind", "posterior", "--unseen", "marginal")))
    wanted = fit.predict(table, "posterior", level=0.9, unseen="marginal").reset_index()
    pd.testing.assert_frame_equal(found, wanted, check_exact=False)
    found = pd.read_csv(io.StringIO(good("predict", saved, *options, "--kind", "marginal", "--interval", "cluster")))
    wanted = fit.predict(table, "marginal", level=0.9, interval="cluster").reset_index()
    pd.testing.assert_frame_equal(found, wanted, check_exact=False)
    matched = tmp_path / "matched.json"
    good("fit", "infert", "case ~ spontaneous", "--cluster", "stratum", "--model", "conditional", "--save", matched)
    told = good("predict", matched, "--newdata", "infert", "--scale", "probability", "--total", "2")
    result = cg.load(matched)
    np.testing.assert_allclose(
        pd.read_csv(io.StringIO(told)).probability,
        result.predict(cg.datasets.load("infert"), scale="probability", total=2),
    )
    good("ratios", matched)
    assert "--cov quasi" in run("ratios", matched, "--cov", "quasi").stderr
    assert "--unseen" in run("predict", matched, "--unseen", "marginal").stderr


def test_rows_that_cannot_be_predicted_are_told(saved: Path, bacteria: pd.DataFrame, tmp_path: Path) -> None:
    bacteria[:3].assign(trt=["drug", "water", "drug"]).to_csv(tmp_path / "new.csv", index=False)
    ran = run("predict", saved, "--newdata", tmp_path / "new.csv", "--json", "-")
    assert ran.exit_code == 0
    assert ran.stderr.startswith("warning: 1 of 3 rows cannot be predicted")
    assert [row["mean"] is None for row in json.loads(ran.stdout)["rows"]] == [False, True, False]


def test_simulated_responses(saved: Path, fit: Any, tmp_path: Path) -> None:
    good("simulate", saved, "-n", "3", "--seed", "1", "--out", tmp_path / "drawn.parquet")
    table = pd.read_parquet(tmp_path / "drawn.parquet")
    assert list(table.columns) == ["row", "draw1", "draw2", "draw3"]
    wanted = fit.simulate(3, 1)
    np.testing.assert_array_equal(table.drop(columns="row"), wanted)
    np.testing.assert_array_equal(table["row"], wanted.index)
    again = json.loads(good("simulate", saved, "--json", "-"))
    repeated = json.loads(good("simulate", saved, "--seed", str(again["seed"]), "--json", "-"))
    assert again == repeated
    assert again["response"] == "y"


@pytest.mark.parametrize("source", ["saved", "data"])
def test_clustering_is_tested(saved: Path, fit: Any, source: str) -> None:
    first = (saved,) if source == "saved" else ("bacteria", FORMULA, "--cluster", "ID")
    options = ("--n-boot", "60", "--seed", "3")
    wanted = fit.test_clustering(n_boot=60, seed=3)
    assert good("test-clustering", *first, *options, "--jobs", "2") == f"{wanted}\n"
    content = json.loads(good("test-clustering", *first, *options, "--json", "-"))
    assert content["pvalue"] == wanted.pvalue
    assert content["replicates"] == list(wanted.replicates)
    assert good("test-clustering", *first, "--method", "score") == f"{fit.test_clustering('score')}\n"
    assert json.loads(good("test-clustering", *first, "--method", "boundary", "--json", "-"))["reason"] == ""


PLOTS = {
    "bootstrap": ("--n-boot", "40", "--seed", "1"),
    "calibration": ("--groups", "5"),
    "caterpillar": ("--level", "0.9", "--theme", "dark"),
    "coefficients": ("--exponentiate", "--cov", "robust"),
    "density": ("--level", "0.9"),
    "gradient": (),
    "influence": ("--parameter", "sigma"),
    "integration": (),
    "predictions": ("--variable", "week", "--at", "trt=drug", "--kind", "typical"),
    "profile": ("--parameter", "week"),
    "qq": ("--n-sim", "19", "--seed", "1"),
    "residuals": ("--n-sim", "19", "--seed", "1"),
    "rootogram": ("--cells", "10"),
    "survival": ("--data", "PERIODS", "--time", "week", "--by", "trt"),
}


def test_every_plot_has_a_command() -> None:
    of_several_effects = {"random_effects"}  # see test_cli_slopes.py
    of_means = {"adjusted_means", "contrasts"}  # `clusterglm adjusted-means --plot`
    of_posteriors = {"predictive_check", "trace"}  # which no command draws
    of_simulations = {"power"}  # `clusterglm power --plot`
    left_out = of_several_effects | of_means | of_posteriors | of_simulations
    assert set(PLOTS) == set(cg.plot.__all__) - {"Plot"} - left_out


@pytest.mark.parametrize("name", PLOTS)
def test_plots(saved: Path, tmp_path: Path, name: str) -> None:
    from matplotlib.image import imread

    out, data = tmp_path / f"{name}.png", tmp_path / "data.json"
    options = [saved.with_name("periods.csv") if each == "PERIODS" else each for each in PLOTS[name]]
    told = good("plot", name, saved, *options, "--width", "5", "--dpi", "80", "--out", out, "--json", data)
    assert told == f"{out} written\n"
    picture = imread(out)
    assert picture.shape[1] == 400
    assert picture[..., :3].std() > 0.01
    assert json.loads(data.read_text())["data"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, data.name])


def test_clusters_are_drawn(saved: Path, fit: Any, tmp_path: Path) -> None:
    options = ("--parameter", "week", "--n-boot", "20", "--seed", "1", "--resample", "clusters")
    good("plot", "bootstrap", saved, *options, "--out", tmp_path / "b.png", "--json", tmp_path / "b.json")
    drawn = [row["replicate"] for row in json.loads((tmp_path / "b.json").read_text())["data"]]
    found = fit.bootstrap(20, seed=1, resample="clusters")
    assert drawn == pytest.approx(found.replicates[:, found.names.index("week")].tolist(), rel=1e-6)


def test_adjusted_means(saved: Path, fit: Any, tmp_path: Path) -> None:
    means = fit.adjusted_means("trt", by="week", at={"week": [0, 11]})
    options = ("trt", "--by", "week", "--at", "week=0,11")
    assert good("adjusted-means", saved, *options) == f"{means}\n"
    compared = means.contrasts("reference", comparison="ratio", adjust="mvt", reference="drug")
    more = ("--contrasts", "reference", "--reference", "drug", "--comparison", "ratio", "--adjust", "mvt")
    drawn = tmp_path / "contrasts.png"
    content = json.loads(good("adjusted-means", saved, *options, *more, "--json", "-", "--plot", drawn))
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert [row["estimate"] for row in content["rows"]] == compared.to_frame()["estimate"].tolist()
    np.testing.assert_array_equal(content["covariance"], compared.covariance)
    good("adjusted-means", saved, "trt", "--out", tmp_path / "means.csv", "--plot", tmp_path / "means.svg")
    table = pd.read_csv(tmp_path / "means.csv")
    np.testing.assert_allclose(table["estimate"], fit.adjusted_means("trt").estimate)
    ran = run("adjusted-means", saved, "trt", "--at", "week")
    assert ran.exit_code == 2
    assert "--at week=0,11" in " ".join(ran.output.split())


def test_predictions_by_groups(saved: Path, fit: Any, tmp_path: Path) -> None:
    options = ("--variable", "week", "--by", "trt", "--at", "trt=drug", "--at", "trt=placebo")
    content = json.loads(good("plot", "predictions", saved, *options, "--out", tmp_path / "a.png", "--json", "-"))
    wanted = fit.plot.predictions("week", at={"trt": ["drug", "placebo"]}).data
    assert [row["curve"] for row in content["data"]] == wanted["curve"].tolist()
    assert [row["estimate"] for row in content["data"]] == wanted["estimate"].tolist()


def test_several_fits_in_one_plot(saved: Path, tmp_path: Path) -> None:
    pooled = tmp_path / "pooled.json.gz"
    good("fit", "bacteria", FORMULA, "--model", "pooled", "--save", pooled)
    content = json.loads(good("plot", "coefficients", saved, pooled, "--out", tmp_path / "both.svg", "--json", "-"))
    assert {row["model"] for row in content["data"]} == {"fit", "pooled"}
    assert (tmp_path / "both.svg").read_text().startswith("<?xml")


def test_tables_of_several_fits(saved: Path, fit: Any, bacteria: pd.DataFrame, tmp_path: Path) -> None:
    pooled = tmp_path / "pooled.json"
    other = cg.pooled(FORMULA, bacteria)
    other.save(pooled)
    wanted = cg.table({"fit": fit, "pooled": other}, exponentiate=True, spread="interval", stars=True, digits=2)
    options = ("--exponentiate", "--spread", "interval", "--stars", "--digits", "2")
    assert good("table", saved, pooled, *options) == f"{wanted}\n"
    assert good("table", saved, pooled, *options, "--out", tmp_path / "table.md") == ""
    assert (tmp_path / "table.md").read_text() == wanted.to_markdown() + "\n"
    content = json.loads(good("table", saved, pooled, *options, "--json", "-"))
    assert [row["pooled"] for row in content["rows"]] == list(wanted.frame["pooled"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "nowhere.json"), "does not exist"),
        (("predict", "FIT", "--newdata", "nowhere.csv"), "nowhere.csv"),
        (("predict", "FIT", "--kind", "usual"), "'typical'"),
        (("predict", "FIT", "--level", "95"), "level"),
        (("predict", "FIT", "--scale", "ratio"), "'response', 'link'"),
        (("predict", "FIT", "--out", "table.xlsx"), ".csv or .parquet"),
        (("predict", "FIT", "--out", "no/such/folder/table.csv"), "folder"),
        (("predict", "POOLED", "--history", "bacteria"), "--history with a pooled fit"),
        (("predict", "TEXT"), "not complete JSON"),
        (("simulate", "FIT", "--out", "table"), ".csv or .parquet"),
        (("test-clustering", "FIT", "--cluster", "ID"), "without a formula"),
        (("test-clustering", "FIT", "--method", "wald"), "'permutation'"),
        (("test-clustering", "FIT", "--n-boot", "0"), "replicates"),
        (("test-clustering", "POOLED"), "a model with cluster effects"),
        (("test-clustering", "bacteria"), "does not exist"),
        (("test-clustering", "bacteria", "y ~ weak", "--cluster", "ID"), "did you mean 'week'?"),
        (("table", "FIT", "--out", "table.rtf"), ".docx"),
        (("table", "FIT", "--spread", "se"), "'std_error'"),
        (("plot", "caterpillar", "FIT", "--out", "plot.xyz"), "png"),
        (("plot", "caterpillar", "POOLED", "--out", "plot.png"), "caterpillar plot of a pooled fit"),
        (("plot", "profile", "FIT", "--parameter", "wek", "--out", "plot.png"), "week"),
        (("plot", "predictions", "FIT", "--at", "week", "--out", "plot.png"), "COLUMN=VALUE"),
        (("plot", "predictions", "FIT", "--at", "trt=Placebo", "--out", "plot.png"), "'placebo', 'drug', 'drug+'"),
        (("plot", "predictions", "FIT", "--by", "trtt", "--out", "plot.png"), "'trt'"),
    ],
)
def test_bad_input_has_status_2_and_leaves_nothing(
    arguments: tuple[str, ...],
    words: str,
    saved: Path,
    bacteria: pd.DataFrame,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    pooled, text = elsewhere / "pooled.json", elsewhere / "text.json"
    cg.pooled(FORMULA, bacteria).save(pooled)
    text.write_text("id,y\n")
    names = {"FIT": str(saved), "POOLED": str(pooled), "TEXT": str(text)}
    monkeypatch.chdir(tmp_path)
    ran = run(*(names.get(each, each) for each in arguments))
    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: ")
    assert words in ran.stderr
    assert "needed:" in ran.stderr
    assert "try:" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_plot_whose_simulation_was_stopped_is_not_drawn(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = cg.plot.qq

    def stopped(fit: Any, *, progress: Any, **options: Any) -> Any:
        progress(3, 10)  # as when Ctrl-C ends it
        return drawn(fit, n_sim=19, seed=1)

    monkeypatch.setattr(cg.plot, "qq", stopped)
    ran = run("plot", "qq", saved, "--out", tmp_path / "plot.png")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (130, "", "stopped\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals and terminals")
def test_an_interrupted_simulation_gives_what_was_done_and_status_130(saved: Path) -> None:
    """On a terminal, whose bar shows that replicates are under way; the answer goes to a pipe."""
    import pty

    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "clusterglm.cli", "test-clustering", str(saved), "--n-boot", "1000000"]
    running = subprocess.Popen([*command, "--seed", "1"], stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = b""
    while b"/1000000" not in shown:
        shown += os.read(terminal, 4096)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    os.close(terminal)
    assert running.returncode == 130
    assert "interrupted: the p-value is from the replicates that were done" in output
    assert "\x1b" not in output
