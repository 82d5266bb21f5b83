"""What the files around the package say of it is what the package says of itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_citation_names_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [PROJECT["project"]["version"]]
    assert f"license: {PROJECT['project']['license']}" in citation


def test_wheels_for_the_oldest_python_and_the_stable_abi() -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=").replace(".", "")
    stable = PROJECT["tool"]["scikit-build"]["wheel"]["py-api"]
    build = PROJECT["tool"]["cibuildwheel"]["build"]
    assert build[:2] == [f"cp{oldest}-*", f"{stable}-*"]
    named = re.findall(r"Python :: 3\.(\d+)", " ".join(PROJECT["project"]["classifiers"]))
    assert build == [f"cp3{minor}-*" for minor in named]  # each is tried, and none is promised that is not


def test_continuous_integration_runs_the_command_of_the_repository() -> None:
    assert "run: bash .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert (ROOT / ".ci" / "run").exists()


def test_hooks_run_what_lint_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for tool in re.findall(r"entry: \.venv/bin/(\w+)", (ROOT / ".pre-commit-config.yaml").read_text()):
        assert f"$(BIN)/{tool}" in makefile
