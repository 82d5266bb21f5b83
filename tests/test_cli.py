"""The command line."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import clusterglm as cg
from clusterglm.cli import app

BACTERIA = ("fit", "bacteria", "y ~ trt + week", "--cluster", "ID")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clusterglm.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def strict(text: str) -> Any:
    """Read JSON that has no NaN or Infinity in it."""

    def refuse(token: str) -> None:
        raise AssertionError(token)

    return json.loads(text, parse_constant=refuse)


def test_fit_prints_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    ran = process(*BACTERIA)
    fit = cg.random_effects("y ~ trt + week", cg.datasets.load("bacteria"), cluster="ID")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"{fit}\n"


def test_fit_of_a_nonparametric_model(tmp_path: Path) -> None:
    file = tmp_path / "fit.json"
    ran = run(*BACTERIA, "--model", "nonparametric", "--points", "2", "--json", str(file))
    fit = cg.nonparametric("y ~ trt + week", cg.datasets.load("bacteria"), cluster="ID", points=2)
    assert (ran.exit_code, ran.stdout) == (0, f"{fit}\n")
    assert len(strict(file.read_text())["mass_points"]["weight"]) == 2
    assert "belongs to nonparametric" in run(*BACTERIA, "--points", "2").stderr
    wine = "wine", "rating ~ temp", "--cluster", "judge", "--family", "ordinal"
    ratings = cg.nonparametric("rating ~ temp", cg.datasets.load("wine"), cluster="judge", family="ordinal")
    assert run("fit", *wine, "--model", "nonparametric").stdout == f"{ratings}\n"
    assert (
        run(
            "compare", "bacteria", "y ~ week", "--cluster", "ID", "--model", "pooled", "--model", "nonparametric"
        ).exit_code
        == 0
    )


def test_compare_prints_the_comparison(tmp_path: Path) -> None:
    formulas, file = ("y ~ week", "y ~ week + trt"), tmp_path / "comparison.csv"
    several = ("--model", "pooled", "--model", "random_effects", "--distribution", "gaussian", "--distribution", "t(4)")
    ran = run("compare", "bacteria", *formulas, "--cluster", "ID", *several, "--csv", str(file))
    bacteria = cg.datasets.load("bacteria")
    fits: list[Any] = []
    for formula in formulas:
        fits.append(cg.pooled(formula, bacteria, cluster="ID"))
        fits += [
            cg.random_effects(formula, bacteria, cluster="ID", distribution=d) for d in ("gaussian", cg.StudentT(4))
        ]
    assert ran.exit_code == 0, ran.output
    assert ran.output == f"{cg.compare(*fits)}\n"
    with file.open() as lines:
        assert [row["df"] for row in csv.DictReader(lines)] == ["2", "3", "3", "4", "5", "5"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("y ~ week",), "two results or more"),
        (("y ~ week", "y ~ trt", "--model", "pooled", "--quadrature", "3"), "these belong to random_effects"),
        (("y ~ week", "y ~ trt", "--model", "mixed"), "one of 'random_effects'"),
        (("y ~ week", "y ~ hilo + wek"), "did you mean 'week'?"),
    ],
)
def test_compare_refuses_what_it_cannot_do(arguments: tuple[str, ...], words: str) -> None:
    ran = run("compare", "bacteria", *arguments, "--cluster", "ID")
    assert ran.exit_code == 2
    assert words in ran.output


def test_options_reach_the_fit(tmp_path: Path) -> None:
    options = ("--link", "cloglog", "--distribution", "t(5)", "--quadrature", "12", "--scale", "density")
    ran = run(*BACTERIA, *options, "--sigma", "0.7", "--fix-sigma", "--json", str(tmp_path / "fit.json"))
    assert ran.exit_code == 0, ran.output
    content = strict((tmp_path / "fit.json").read_text())
    fit = cg.random_effects(
        "y ~ trt + week",
        cg.datasets.load("bacteria"),
        cluster="ID",
        link="cloglog",
        distribution=cg.StudentT(5),
        quadrature=12,
        scale="density",
        sigma=0.7,
        fix_sigma=True,
    )
    assert content["model"] == {
        "kind": "random_effects",
        "formula": "y ~ trt + week",
        "family": "binomial",
        "link": "cloglog",
        "success": "y",
        "cluster": "ID",
    }
    assert content["fit"]["loglik"] == fit.loglik
    assert content["random_intercept"]["sigma"] == 0.7
    assert content["random_intercept"]["std_error"] is None
    assert content["random_intercept"]["distribution"] == "student_t(5)"
    assert content["clustering_test"]["pvalue"] is None
    assert content["clustering_test"]["reason"]
    assert content["integration"]["nodes"] == 12
    assert content["integration"]["error"] is None
    assert content["covariance"]["matrix"][-1][-1] is None
    assert [row["term"] for row in content["coefficients"]] == list(fit.params.index)
    assert [row["estimate"] for row in content["coefficients"]] == list(fit.params)


def test_infinite_spread_is_null_in_json(tmp_path: Path) -> None:
    target = tmp_path / "fit.json"
    assert run(*BACTERIA, "--distribution", "cauchy", "--json", str(target)).exit_code == 0
    content = strict(target.read_text())
    assert content["random_intercept"]["sd"] is None
    assert content["random_intercept"]["icc"] is None
    assert content["random_intercept"]["sigma"] > 0
    assert content["integration"]["error"] < 1e-6


def test_csv_is_the_tidy_table(tmp_path: Path) -> None:
    target = tmp_path / "fit.csv"
    assert run(*BACTERIA, "--csv", str(target)).exit_code == 0
    rows = list(csv.DictReader(target.read_text().splitlines()))
    tidy = cg.random_effects("y ~ trt + week", cg.datasets.load("bacteria"), cluster="ID").tidy()
    assert [row["term"] for row in rows] == list(tidy.term)
    np.testing.assert_allclose([float(row["estimate"]) for row in rows], tidy.estimate)


def test_fixed_effects_model(tmp_path: Path) -> None:
    target = tmp_path / "fit.json"
    command = ("fit", "bacteria", "y ~ I(week > 2)", "--cluster", "ID", "--model", "fixed_effects")
    ran = run(*command, "--bias-correction", "analytical", "--json", str(target))
    assert ran.exit_code == 0, ran.output
    content = strict(target.read_text())
    assert content["model"]["kind"] == "fixed_effects"
    assert content["n_informative"] == 24
    assert content["bias_correction"].startswith("analytical")
    effects = content["cluster_effects"]
    assert len(effects) == 50
    assert sum(effect["estimate"] is None for effect in effects) == 26
    assert run(*command, "--distribution", "cauchy").exit_code == 2


def test_conditional_model() -> None:
    ran = run("fit", "infert", "case ~ spontaneous + induced", "--cluster", "stratum", "--model", "conditional")
    assert ran.exit_code == 0, ran.output
    assert "Conditional maximum likelihood" in ran.stdout
    assert "1.9859" in ran.stdout


def test_pooled_model(tmp_path: Path) -> None:
    target = tmp_path / "fit.json"
    ran = run("fit", "epil", "y ~ trt", "--model", "pooled", "--family", "poisson", "--json", str(target))
    assert ran.exit_code == 0, ran.output
    content = strict(target.read_text())
    assert content["model"]["kind"] == "pooled"
    assert "random_intercept" not in content


def test_file_with_weights_and_offset(tmp_path: Path) -> None:
    data = cg.datasets.load("epil").assign(w=2.0, v=0.5, o=0.25)
    data.to_csv(tmp_path / "data.csv", index=False)
    columns = ("--weights", "w", "--cluster-weights", "v", "--offset", "o")
    target = tmp_path / "fit.json"
    arguments = ("y ~ trt", "--cluster", "subject", "--family", "poisson", *columns, "--json", str(target))
    ran = run("fit", str(tmp_path / "data.csv"), *arguments, "--threads", "2", "--tol", "1e-9")
    assert ran.exit_code == 0, ran.output
    fit = cg.random_effects(
        "y ~ trt", data, cluster="subject", family="poisson", weights="w", cluster_weights="v", offset="o"
    )
    assert strict(target.read_text())["fit"]["loglik"] == pytest.approx(fit.loglik, abs=1e-6)


def test_exposure(tmp_path: Path) -> None:
    data = cg.datasets.load("epil").assign(time=lambda d: 1.0 + d.index % 3)
    data.to_csv(tmp_path / "data.csv", index=False)
    target = tmp_path / "fit.json"
    ran = run(
        "fit", str(tmp_path / "data.csv"), "y ~ trt", "--model", "pooled", "--family", "poisson",
        "--exposure", "time", "--json", str(target),
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    fit = cg.pooled("y ~ trt", data, family="poisson", offset=np.log(data.time))
    assert strict(target.read_text())["fit"]["loglik"] == pytest.approx(fit.loglik, rel=1e-12)


def test_progress_goes_to_standard_error() -> None:
    ran = process(*BACTERIA, "--progress")
    assert ran.returncode == 0
    assert ran.stderr.startswith("iteration   1")
    assert "iteration   1" not in ran.stdout


def test_no_convergence_has_status_1() -> None:
    ran = process(*BACTERIA, "--max-iter", "1")
    assert ran.returncode == 1
    assert "warning: stopped at the iteration limit" in ran.stderr
    assert "Random-intercept model" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "bacteria", "y ~ weak", "--cluster", "ID"), "week"),
        (("fit", "bacteria", "y ~ week", "--cluster", "id"), "ID"),
        (("fit", "bacteria", "y ~ week"), "cluster"),
        (("fit", "bakteria", "y ~ week", "--cluster", "ID"), "bakteria"),
        (("fit", "nowhere.csv", "y ~ week", "--cluster", "ID"), "nowhere.csv"),
        ((*BACTERIA, "--family", "tweedie"), "'binomial', 'poisson'"),
        ((*BACTERIA, "--distribution", "t(x)"), "student_t"),
        ((*BACTERIA, "--quadrature", "many"), "'laplace', 'auto'"),
        (
            (*BACTERIA, "--model", "mixed"),
            "'random_effects', 'nonparametric', 'fixed_effects', 'conditional', 'pooled'",
        ),
        ((*BACTERIA, "--model", "pooled", "--fix-sigma"), "--fix-sigma"),
        ((*BACTERIA, "--tol", "2"), "tol"),
        ((*BACTERIA, "--json", "no/such/folder/fit.json"), "folder"),
        (("datasets", "iris", "--write", "iris.csv"), "bacteria"),
        (("datasets", "bakteria"), "did you mean 'bacteria'"),
        (("datasets", "--write", "iris.csv"), "bacteria"),
    ],
)
def test_bad_input_has_status_2_and_three_parts(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*arguments)
    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: ")
    assert words in ran.stderr
    assert "needed:" in ran.stderr
    assert "try:" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_errors_of_a_process_show_no_traceback() -> None:
    for arguments in (("fit", "bacteria", "y ~ weak", "--cluster", "ID"), ("fit", "bacteria"), ("fitt",)):
        ran = process(*arguments)
        assert ran.returncode == 2
        assert "Traceback" not in ran.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_interrupt_has_status_130(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    n = 400_000
    table = tmp_path / "big.csv"
    cg.datasets  # noqa: B018
    import pandas as pd

    frame = pd.DataFrame({"id": np.arange(n) // 4, "y": rng.integers(0, 2, n), "x": rng.normal(size=n)})
    frame.to_csv(table, index=False)
    command = [sys.executable, "-m", "clusterglm.cli", "fit", str(table), "y ~ x", "--cluster", "id", "--progress"]
    running = subprocess.Popen(
        [*command, "--distribution", "cauchy"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    assert running.stderr.readline().startswith("iteration")
    started = time.monotonic()
    running.send_signal(signal.SIGINT)
    output, rest = running.communicate(timeout=60)
    assert time.monotonic() - started < 5
    assert running.returncode == 130
    assert output == ""
    assert rest.endswith("stopped\n")


def test_datasets(tmp_path: Path) -> None:
    listed = run("datasets")
    assert listed.exit_code == 0
    for name in cg.datasets.names():
        assert name in listed.stdout
    one = run("datasets", "epil").stdout
    assert "--family poisson" in one
    assert "bacteria" not in one
    for shown in re.findall(r"^    clusterglm (fit .*)$", listed.stdout, re.MULTILINE):
        assert run(*shlex.split(shown)).exit_code == 0, shown
    assert (
        "sigma:            0.2"
        in run(*shlex.split(re.findall(r"clusterglm (fit geissler .*)", listed.stdout)[0])).stdout
    )
    target = tmp_path / "epil.csv"
    assert run("datasets", "epil", "--write", str(target)).exit_code == 0
    assert len(target.read_text().splitlines()) == len(cg.datasets.load("epil")) + 1


def test_a_file_goes_before_a_bundled_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bacteria").mkdir()  # a folder of that name changes nothing
    assert run(*BACTERIA).exit_code == 0


def test_version() -> None:
    assert run("--version").stdout == f"clusterglm {cg.__version__}\n"


def test_arguments_are_read_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys\nfrom clusterglm.cli import app\n"
        "try:\n    app(['fit', '--no-such-option'])\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "print(*[m for m in ('numpy', 'scipy', 'pandas', 'narwhals', 'formulaic') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
