"""Benchmarks: what was measured is kept and not measured twice, and page and README state it."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "docs" / "tools")]

import benchmarks  # noqa: E402  # docs/tools/benchmarks.py
import record  # noqa: E402
import run  # noqa: E402

SECONDS = record.timed("logit, 8 nodes", "logit, 8 nodes", [0.2, 0.25, 0.3])
SECONDS_OF_OURS = [1.0, 1.0, 1.0]


@pytest.fixture
def part() -> record.Part:
    return record.Part(
        (SECONDS,), (record.Missing("R's fixest", "not installed"),), "abc", "2026-01-02", "here", 0.1, 3.0
    )


@pytest.fixture
def script(tmp_path, monkeypatch) -> Callable[..., list[str]]:
    """Runs a script of two parts at a commit; returns the parts that were measured."""

    def call(*arguments: str, commit: str = "abc", second: Callable[..., object] | None = None) -> list[str]:
        done = []

        def measure(name: str) -> Callable[..., object]:
            return lambda options: done.append(name) or [SECONDS]

        monkeypatch.setattr(sys, "argv", ["script.py", "--out", str(tmp_path), *arguments])
        monkeypatch.setattr(record, "commit", lambda: commit)
        record.run("script", "Words.", {"first": measure("first"), "second": second or measure("second")}, size=3)
        return done

    return call


def test_a_part_comes_back_from_its_file_as_it_was(part, tmp_path):
    record.write(tmp_path / "x.json", "one", part)
    record.write(tmp_path / "x.json", "two", dataclasses.replace(part, commit="def"))
    assert record.read(tmp_path / "x.json") == {"one": part, "two": dataclasses.replace(part, commit="def")}


def test_what_the_commit_has_measured_is_not_measured_again(script):
    assert script() == ["first", "second"]
    assert script() == []
    assert script("--again", "--only", "second") == ["second"]
    assert script("--size", "4") == ["first", "second"]
    assert script("--size", "4", commit="def") == ["first", "second"]


def test_figures_of_a_changed_tree_are_measured_again(script):
    assert script(commit="abc, changed") == ["first", "second"]
    assert script(commit="abc, changed") == ["first", "second"]


def test_an_interrupted_run_goes_on_where_it_was(script):
    def stopped(options: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        script(second=stopped)
    assert script() == ["second"]


def test_a_part_that_fails_is_named_and_the_others_are_kept(script, capsys):
    def broken(options: object) -> None:
        raise ValueError("no disk")

    with pytest.raises(SystemExit, match="failed: second"):
        script(second=broken)
    assert "no disk" in capsys.readouterr().err
    assert script() == ["second"]


def test_runs_of_other_options_do_not_touch_what_is_published(monkeypatch, tmp_path):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(record, "ASIDE", tmp_path / "aside")
    for arguments in ([], ["--size", "4"]):
        monkeypatch.setattr(sys, "argv", ["script.py", *arguments])
        record.run("script", "Words.", {"first": lambda options: [SECONDS]}, size=3)
    assert record.read(tmp_path / "results" / "script.json")["first"].options == {"size": 3}
    assert record.read(tmp_path / "aside" / "script.json")["first"].options == {"size": 4}


def test_turns_are_taken_one_after_the_other_and_the_slow_are_not_repeated():
    order, now = [], [0.0]

    def work(name: str, takes: float) -> Callable[[], None]:
        def one() -> None:
            order.append(name)
            now[0] += takes

        return one

    found = record.in_turns({"a": work("a", 1.0), "slow": work("slow", 9.0)}, 2, budget=5.0, clock=lambda: now[0])
    assert order == ["a", "slow", "a", "a"]
    assert found == {"a": [1.0, 1.0], "slow": [9.0]}


def test_ratios_are_of_the_same_turn():
    figure = record.ratio("x", "x", [2.0, 8.0, 3.0], [1.0, 2.0, 2.0], at_most=1.5)
    assert (figure.low, figure.value, figure.high, figure.kept) == (1.5, 2.0, 4.0, False)
    assert record.ratio("x", "x", [6.0], [1.0, 2.0, 4.0], at_least=3.0).kept is True


def test_the_page_states_what_was_measured():
    assert benchmarks.PAGE.read_text() == benchmarks.page(benchmarks.results())


def test_readme_states_what_was_measured():
    text = benchmarks.README.read_text()
    assert benchmarks.readme(text, benchmarks.results()) == text


def test_the_scripts_that_readme_names_are_there():
    named = set(re.findall(r"`(benchmarks/[^`]*)`", benchmarks.README.read_text()))
    assert len(named) > 3
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_rows_of_readme_follow_the_results_and_are_on_the_page():
    def first(path: Path) -> list[str]:
        lines = path.read_text().partition("| measured | figure |")[2].partition("\n\n")[0].splitlines()[2:]
        return [line.strip("|").split("|")[0].strip() for line in lines]

    on_page, in_readme = first(benchmarks.PAGE), first(benchmarks.README)
    assert len(in_readme) > 3
    assert on_page == [row for row in benchmarks.ROWS if row in on_page]
    assert in_readme == [row for row in on_page if row in in_readme]


def test_readme_follows_new_figures_and_keeps_those_without(part):
    lines = [
        "| Poisson, the same size, 8 nodes | 9 s | `benchmarks/random_effects.py` |",
        "| peak memory beyond the input | 7 | `x` |",
        "| other | 1 | 2 |",
    ]
    text = "\n".join(lines)
    figures = (dataclasses.replace(SECONDS, claim="Poisson, 8 nodes"),)
    found = {"random_effects": {"large": dataclasses.replace(part, figures=figures)}}
    assert benchmarks.readme(text, found) == text.replace("9 s", "0.25 s")


def test_broken_promises_and_what_is_missing_are_on_the_page(part):
    slow = dataclasses.replace(SECONDS, at_most=0.1)
    parts = {"everything": dataclasses.replace(part, figures=(slow, SECONDS), others=1.5)}
    page = benchmarks.page({"kernels": parts}).replace("\u00a0", " ")
    assert "0 of 1 promises are kept" in page
    assert "- logit, 8 nodes: 0.25 s, promised at most 0.1 ([One evaluation" in page
    assert "| logit, 8 nodes | 0.25 s | 0.2 to 0.3, 3 turns |  | at most 0.1: **broken** |" in page
    assert "R's fixest (not installed)" in page
    assert "other processes kept 1.5 cores busy" in page
    assert "`benchmarks/memory.py` has not been run" in page


def test_a_peer_has_one_line_with_its_time_and_how_many_times_ours_that_is(part):
    time = record.timed("time glmm", "glmm", [2.0, 3.0, 4.0], against="glmm 1.0", note="the same estimates")
    ratio = record.ratio("ratio glmm", "glmm / ours", [2.0, 3.0, 4.0], SECONDS_OF_OURS)
    parts = {"few": dataclasses.replace(part, figures=(SECONDS, time, ratio))}
    page = benchmarks.page({"random_effects": parts}).replace("\u00a0", " ")
    assert "| glmm | 3 s | 2 to 4, 3 turns | 3 (2 to 4) | glmm 1.0 |  |\n" in page
    assert "| logit, 8 nodes | 0.25 s | 0.2 to 0.3, 3 turns |  |  |  |\n" in page
    assert "glmm / ours" not in page
    assert "- glmm: the same estimates" in page


def test_every_script_has_its_place_on_the_page_and_in_the_run():
    shared = {"record", "run", "simulate", "from_prior", "conftest", "test_fit", "fingerprint"}
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - shared
    assert set(run.SCRIPTS) == scripts == set(benchmarks.TITLES)
