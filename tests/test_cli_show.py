"""Saved fits on the command line, data from standard input and of other programs, errors in the words of a shell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import clusterglm as cg
from clusterglm.cli import app
from clusterglm.cli.words import command, in_shell_words

FORMULA = "y ~ trt + week"


@pytest.fixture(scope="module")
def bacteria() -> pd.DataFrame:
    return cg.datasets.load("bacteria")


@pytest.fixture(scope="module")
def fit(bacteria: pd.DataFrame) -> Any:
    return cg.random_effects(FORMULA, bacteria, cluster="ID")


@pytest.fixture(scope="module")
def saved(fit: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("saved") / "fit.json"
    fit.save(file)
    return file


def run(*words: object, given: bytes | None = None) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], input=given)


def good(*words: object, given: bytes | None = None) -> str:
    ran = run(*words, given=given)
    assert ran.exit_code == 0, ran.output
    return str(ran.stdout)


def bad(*words: object, given: bytes | None = None) -> str:
    ran = run(*words, given=given)
    assert ran.exit_code == 2, ran.output
    return str(ran.stderr)


def test_a_saved_fit_is_shown(saved: Path, fit: Any) -> None:
    assert good("show", saved) == f"{fit}\n"
    shown = good("show", saved, "--robust", "--level", "0.9")
    assert shown.startswith(f"{fit}\n")
    assert shown.endswith(f"{fit.tidy(cov='robust', level=0.9)}\n")
    assert "robust standard errors and 90% intervals" in shown
    assert json.loads(good("show", saved, "--json", "-"))["fit"]["loglik"] == fit.loglik


def test_a_saved_fit_is_checked(saved: Path, fit: Any) -> None:
    assert good("check", saved, "--seed", "1", "--n-sim", "30") == f"{fit.check(seed=1, n_sim=30)}\n"
    content = json.loads(good("check", saved, "--seed", "1", "--n-sim", "30", "--json", "-"))
    assert content["seed"] == 1
    assert "Influence" in {each["name"] for each in content["findings"]}


def test_ratios_and_effects_of_a_saved_fit(saved: Path, fit: Any, bacteria: pd.DataFrame, tmp_path: Path) -> None:
    assert good("ratios", saved, "--level", "0.9") == f"{fit.ratios(level=0.9)}\n"
    good("ratios", saved, "--cov", "robust", "--out", tmp_path / "r.csv")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "r.csv")["conf_low"], fit.ratios(cov="robust")["conf_low"])
    assert (
        good("effects", saved, "--variable", "trt", "--kind", "typical") == f"{fit.average_effects('trt', 'typical')}\n"
    )
    rows = json.loads(good("effects", saved, "--data", "bacteria", "--json", "-"))
    assert [row["estimate"] for row in rows] == fit.average_effects(data=bacteria)["estimate"].tolist()


def test_a_report_of_a_saved_fit(tmp_path: Path) -> None:
    pooled = tmp_path / "pooled.json"
    good("fit", "bacteria", "y ~ week", "--model", "pooled", "--save", pooled)
    assert good("report", pooled, "--out", tmp_path / "a.html", "--title", "Ours") == ""
    assert "<h1>Ours</h1>" in (tmp_path / "a.html").read_text()
    words = ("report", pooled, "--out", tmp_path / "b.html", "--n-sim", "0", "--json")
    found = json.loads(good(*words, "-"))
    assert found["page"] == str(tmp_path / "b.html")
    assert found["fit"]["loglik"] == cg.load(pooled).loglik
    assert found["caveats"] == []
    assert "were left out (n_sim=0)" in (tmp_path / "b.html").read_text()
    assert good(*words, tmp_path / "c.json") == ""
    assert json.loads((tmp_path / "c.json").read_text())["seed"] == 1


def test_every_command_that_answers_writes_json() -> None:
    import typer

    from clusterglm.cli import plot

    for each in (*app.registered_commands, *plot.group.registered_commands):
        command = typer.main.get_command_from_info(each, pretty_exceptions_short=False, rich_markup_mode=None)
        assert "json" in {parameter.name for parameter in command.params}, command.name


def test_a_report_lists_the_caveats_as_json(tmp_path: Path) -> None:
    few = tmp_path / "few.json"
    good("fit", "cbpp", "cbind(incidence, size - incidence) ~ period", "--cluster", "herd", "--save", few)
    found = json.loads(
        good("report", few, "--out", tmp_path / "a.html", "--n-boot", "0", "--n-sim", "0", "--json", "-")
    )
    assert "Few clusters" in {each["title"] for each in found["caveats"]}


def test_robust_errors_intervals_and_rows_of_a_new_fit(bacteria: pd.DataFrame, tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    arguments = ("fit", "bacteria", FORMULA, "--cluster", "ID", "--subset", "week > 0", "--robust", "--csv", table)
    said = good(*arguments)
    wanted = cg.random_effects(FORMULA, bacteria, cluster="ID", subset="week > 0")
    assert (
        said == f"{wanted}\n\nEstimates with robust standard errors and 95% intervals\n\n{wanted.tidy(cov='robust')}\n"
    )
    np.testing.assert_allclose(pd.read_csv(table)["std_error"], wanted.tidy(cov="robust")["std_error"])
    assert "--level 0.95" in bad("fit", "bacteria", FORMULA, "--cluster", "ID", "--level", "0.05")


def test_success_is_an_option(bacteria: pd.DataFrame) -> None:
    options = ("--cluster", "ID", "--success", "n")
    found = json.loads(good("fit", "bacteria", FORMULA, *options, "--json", "-"))
    assert found["model"]["success"] == "n"
    assert found["fit"]["loglik"] == cg.random_effects(FORMULA, bacteria, cluster="ID", success="n").loglik
    assert "one of the two levels" in bad("fit", "bacteria", FORMULA, "--cluster", "ID", "--success", "x")
    assert good("test-clustering", "bacteria", FORMULA, *options, "--method", "score")
    assert good("compare", "bacteria", "y ~ week", FORMULA, *options, "--model", "pooled")


def test_data_from_standard_input_in_any_form(bacteria: pd.DataFrame, fit: Any) -> None:
    plain = bacteria.to_csv(index=False).encode()
    assert good("fit", "-", FORMULA, "--cluster", "ID", given=plain)
    halves = bacteria.assign(week=bacteria["week"] + 0.5, trt=bacteria["trt"].astype(str).replace("drug", "Präparat"))
    content = halves.to_csv(index=False, sep=";", decimal=",").encode("latin-1")
    words = ("fit", "-", FORMULA, "--cluster", "ID", "--json", "-")
    found = {row["term"]: row["estimate"] for row in json.loads(good(*words, given=content))["coefficients"]}
    assert found["week"] == pytest.approx(fit.params["week"], rel=1e-6)
    assert {"trtdrug+", "trtplacebo"} < set(found)  # against Präparat
    odd = content.replace(b";", b"#")
    assert "--sep" in bad(*words, given=odd)
    assert json.loads(good(*words, "--sep", "#", "--decimal", ",", given=odd))
    assert "standard input" in bad(*words, given=b"")
    tabs = halves.to_csv(index=False, sep="\t").encode("cp1252")
    assert json.loads(good(*words, "--sep", "\\t", "--encoding", "cp1252", given=tabs))
    assert "--decimal" in bad(*words, "--decimal", "x", given=tabs)


def test_predictions_of_rows_from_standard_input(saved: Path, fit: Any, bacteria: pd.DataFrame) -> None:
    rows = bacteria.iloc[:3]
    said = good("predict", saved, "--newdata", "-", given=rows.to_csv(index=False).encode())
    assert len(said.splitlines()) == 4


def test_a_mistyped_data_set_is_recognised() -> None:
    said = bad("fit", "bacterio", FORMULA, "--cluster", "ID")
    assert "did you mean 'bacteria'?" in said
    assert "guatemala" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((FORMULA,), "try:    --cluster id"),
        ((FORMULA, "--cluster", "id"), "did you mean 'ID'"),
        (("week ~ trt", "--cluster", "ID"), "--family poisson"),
        ((FORMULA, "--cluster", "ID", "--weights", "w"), "--weights w"),
        ((FORMULA, "--cluster", "ID", "--family", "tweedie"), "--family tweedie"),
    ],
)
def test_errors_name_options(words: tuple[str, ...], said: str) -> None:
    told = bad("fit", "bacteria", *words)
    assert said in told
    assert "cluster=" not in told
    assert "family=" not in told


@pytest.mark.parametrize(
    ("library", "shell"),
    [
        ("cluster='id'", "--cluster id"),
        ("raise Control(max_iter=), or", "raise --max-iter, or"),
        ("control=cg.Control(max_iter=200)", "--max-iter 200"),
        ("cg.random_effects(...) or cg.pooled", "--model random_effects or --model pooled"),
        ("distribution='student_t(4)'", "--distribution 'student_t(4)'"),
        ("level=0.95, or alpha=0.05, which says the same", "--level 0.95"),
        ("did you mean 'drug'? at={'trt': 'drug'}", "did you mean 'drug'? --at trt=drug"),
        ("at={'week': 0}", "--at week=0"),
        ("n_jobs=2, and fix_sigma=True", "--jobs 2, and --fix-sigma"),
        ("x == 2 and theta=3", "x == 2 and theta=3"),
    ],
)
def test_the_words_of_a_shell(library: str, shell: str) -> None:
    command.set(None)
    assert in_shell_words(library, app) == shell


def test_words_that_a_command_does_not_have_stay() -> None:
    command.set("ratios")
    assert in_shell_words("distribution='normal', level=95", app) == "distribution='normal', --level 95"


def test_models_by_the_names_of_other_software() -> None:
    said = bad("fit", "infert", "case ~ spontaneous", "--model", "clogit", "--cluster", "stratum")
    assert "--model clogit" in said
    assert "try:    --model conditional" in said
    said = bad("fit", "infert", "case ~ spontaneous", "--model", "conditonal", "--cluster", "stratum")
    assert "error: --model conditonal" in said
    assert "did you mean 'conditional'? pass one of the allowed values as --model\n" in said


def test_the_formula_before_the_data() -> None:
    said = bad("fit", "y ~ week", "bacteria", "--cluster", "ID")
    assert "the data first, then the formula" in said


def test_the_package_runs_as_a_module() -> None:
    ran = subprocess.run([sys.executable, "-m", "clusterglm", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"clusterglm {cg.__version__}\n"


def test_degrees_of_freedom_are_shown(tmp_path: Path) -> None:
    sleep = Path(__file__).parent / "golden" / "data" / "sleepstudy.csv"
    words = (sleep, "Reaction ~ Days + (Days | Subject)", "--family", "gaussian", "--reml")
    file, table, page = tmp_path / "fit.json", tmp_path / "fit.csv", tmp_path / "fit.html"
    text = good("fit", *words, "--df", "kenward_roger", "--save", file, "--csv", table, "--report", page)
    fit = cg.load(file)
    assert text == f"{fit.summary(df='kenward_roger')}\n"
    assert pd.read_csv(table)["df"][:2].round(6).to_list() == [17.0, 17.0]
    html = page.read_text()
    assert "Coefficients with t intervals" in html
    assert "F tests of whole terms" in html
    assert "could not be made" not in html
    assert good("show", file, "--df", "satterthwaite") == f"{fit.summary(df='satterthwaite')}\n"
    assert "--cov robust" in bad("show", file, "--robust", "--df", "satterthwaite")
    assert "--df welch" in bad("show", file, "--df", "welch")
    chicks = Path(__file__).parent / "golden" / "data" / "chickweight.csv"
    few = (chicks, "weight ~ C(Diet) * Time", "--model", "pooled", "--family", "gaussian", "--cluster", "Chick")
    robust = good("fit", *few, "--cov", "CR2", "--df", "satterthwaite", "--save", file)
    assert "CR2; t with Satterthwaite's degrees of freedom" in robust
    means = good("adjusted-means", file, "Diet", "--cov", "CR2", "--df", "satterthwaite", "--contrasts", "pairwise")
    assert " df " in means
    assert "--robust with --cov CR2" in bad("fit", *few, "--robust", "--cov", "CR2")
