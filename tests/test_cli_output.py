"""What the command line writes: JSON, plain text in pipes, whole files; help and completion."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import clusterglm as cg
import clusterglm.cli.options as opt
from clusterglm.cli import app
from clusterglm.data.files import whole

BACTERIA = ("bacteria", "y ~ week", "--cluster", "ID")


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clusterglm.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def answer(*arguments: str) -> Any:
    """What a command prints as JSON, and nothing else with it."""
    ran = CliRunner().invoke(app, [*arguments, "--json", "-"])
    assert ran.exit_code == 0, ran.output

    def refuse(token: str) -> None:
        raise AssertionError(token)

    return json.loads(ran.stdout, parse_constant=refuse)


def commands(group: typer.Typer = app, *before: str) -> list[tuple[str, ...]]:
    found = [(*before, info.name or info.callback.__name__) for info in group.registered_commands if info.callback]
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        found += commands(inner.typer_instance, *before, str(inner.name))
    return found


def test_json_of_each_command(tmp_path: Path) -> None:
    fit = cg.pooled("y ~ week", cg.datasets.load("bacteria"), cluster="ID")
    assert answer("fit", *BACTERIA, "--model", "pooled")["fit"]["loglik"] == fit.loglik
    both = answer("compare", *BACTERIA[:2], "y ~ week + trt", *BACTERIA[2:], "--model", "pooled")
    assert [row["df"] for row in both["fits"]] == [2, 4]
    assert both["fits"][0]["loglik"] == fit.loglik
    assert both["fits"][0]["lr_pvalue"] is None
    assert [each["name"] for each in answer("datasets")] == list(cg.datasets.names())
    out = tmp_path / "timing.parquet"
    done = answer("study", "timing", "--out", str(out), "--set", "clusters=20")
    assert done["run"]["replicates"] > 0
    assert done["run"]["failed"] == 0
    assert set(done["findings"]) >= {"claims"}


@pytest.mark.parametrize("model", opt.MODELS)
def test_json_of_each_model(model: str) -> None:
    """Of a bundled data set in which some clusters have infinite intercepts."""
    content = answer("fit", "bacteria", "y ~ I(week > 2)", "--cluster", "ID", "--model", model)
    fit = getattr(cg, model)("y ~ I(week > 2)", cg.datasets.load("bacteria"), cluster="ID")
    assert content["model"]["kind"] == model
    assert [row["estimate"] for row in content["coefficients"]] == list(fit.params)
    assert content["fit"]["aic"] == fit.aic


def test_json_goes_to_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "compared.json"
    ran = CliRunner().invoke(app, ["compare", *BACTERIA[:2], "y ~ trt", *BACTERIA[2:], "--json", str(file)])
    assert ran.exit_code == 0, ran.output
    assert "Akaike" in ran.stdout or "AIC" in ran.stdout
    assert len(json.loads(file.read_text())["fits"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("fit", "--help"), ("fit", *BACTERIA), ("compare", *BACTERIA[:2], "y ~ trt", *BACTERIA[2:]),
     ("datasets",), ("fit", "bacteria"), ("test-clustering", *BACTERIA, "--n-boot", "20", "--seed", "1")],
    ids=" ".join,
)  # fmt: skip
def test_output_to_a_pipe_is_plain(arguments: tuple[str, ...]) -> None:
    """No colours, no boxes, no bars: not even where a terminal would have them forced upon it."""
    ran = process(*arguments, env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"})
    text = ran.stdout + ran.stderr
    assert text
    assert "\x1b" not in text
    assert "\r" not in text
    assert not any("─" <= letter <= "▟" for letter in text)


@pytest.mark.skipif(os.name == "nt", reason="pipes")
def test_a_reader_that_stops_early_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "fit.json"
    cg.pooled("y ~ week", cg.datasets.load("bacteria")).save(file)
    command = f"{shlex.quote(sys.executable)} -m clusterglm.cli simulate {shlex.quote(str(file))} -n 2000 | head -n 1"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("row,draw1")
    assert ran.stderr == ""


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    with whole(file) as part:
        part.write_text("old")
    with pytest.raises(RuntimeError), whole(file) as part:  # noqa: PT012
        part.write_text("ne")
        raise RuntimeError
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
    link = tmp_path / "link.csv"
    link.symlink_to(file)
    with whole(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    with whole(Path(os.devnull)) as part:
        part.write_text("gone")
    assert not Path(os.devnull).is_file()


def test_a_fit_that_cannot_be_saved_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(part: Path, target: Path) -> None:
        assert part.exists()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("clusterglm.data.files._put", fail)
    ran = CliRunner().invoke(app, ["fit", *BACTERIA, "--save", str(tmp_path / "fit.json")])
    assert ran.exit_code == 2
    assert "cannot be written: No space left on device" in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_has_an_example_that_can_be_parsed(command: tuple[str, ...]) -> None:
    ran = CliRunner().invoke(app, [*command, "--help"], terminal_width=400)
    assert ran.exit_code == 0
    _, _, example = ran.stdout.partition("Example:\n")
    lines = [line.strip() for line in example.splitlines() if line.strip()]
    assert lines
    for line in lines:
        assert line.startswith(" ".join(("clusterglm", *command, "")))
        _parse(shlex.split(line)[1:])


def _parse(words: list[str]) -> None:
    """Let the command line read the words without running the command."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("clusterglm", list(words))
    while True:
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
        if not hasattr(command, "resolve_command"):
            return


def test_words_to_complete_are_those_of_the_library() -> None:
    from clusterglm.model.distribution import distribution
    from clusterglm.model.family import all_families, families, links

    assert all_families() == tuple(opt.families(""))
    assert set(opt.links("")) == {link for family in families() for link in links(family)}
    for name in opt.DISTRIBUTIONS:
        distribution(f"student_{name}" if name.startswith("t(") else name)
    assert all(callable(getattr(cg, name)) for name in opt.MODELS)


def complete(text: str, shell: str = "bash") -> subprocess.CompletedProcess[str]:
    program = shutil.which("clusterglm", path=os.fspath(Path(sys.executable).parent))
    assert program is not None
    words = text.split(" ")
    environment = {
        **os.environ,
        "_CLUSTERGLM_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": text,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": text,
    }
    return subprocess.run([program], capture_output=True, text=True, check=True, env=environment)


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("clusterglm test", ["test-clustering"]),
        ("clusterglm fit bac", ["bacteria"]),
        ("clusterglm fit bacteria y --fam", ["--family"]),
        ("clusterglm fit bacteria y --family po", ["poisson"]),
        ("clusterglm compare bacteria y --distribution log", ["logistic", "log_gamma"]),
        ("clusterglm plot ca", ["caterpillar", "calibration"]),
    ],
)
def test_completion(text: str, offered: list[str]) -> None:
    assert complete(text).stdout.split() == offered


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom clusterglm.cli import app\n"
        "try:\n    app(prog_name='clusterglm')\nexcept SystemExit:\n    pass\n"
        "heavy = ('numpy', 'scipy', 'pandas', 'narwhals', 'formulaic')\n"
        "print(*[m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    environment = {
        **os.environ,
        "_CLUSTERGLM_COMPLETE": "complete_bash",
        "COMP_WORDS": "clusterglm fit bac",
        "COMP_CWORD": "2",
    }
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout.split() == ["bacteria"]
    assert ran.stderr.split() == []


def test_completion_can_be_shown() -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    ran = process("--show-completion", "bash", env=environment)
    assert ran.returncode == 0
    assert "complete" in ran.stdout
