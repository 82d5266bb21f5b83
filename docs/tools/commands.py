"""The page of the command line: what each command says of itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import typer
from typer.testing import CliRunner

from clusterglm.cli import app

WIDTH = 88


def names(group: Any = None, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command, those that have commands of their own before these."""
    group = typer.main.get_command(app) if group is None else group
    for name, command in group.commands.items():
        yield (*before, name)
        if hasattr(command, "commands"):
            yield from names(command, (*before, name))


def help_of(name: tuple[str, ...]) -> str:
    """What `clusterglm NAME --help` prints."""
    with mock.patch.dict(os.environ, {"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH)}):
        answer = CliRunner().invoke(app, [*name, "--help"], prog_name="clusterglm")
    assert answer.exit_code == 0, answer.output
    return answer.output.strip()


def page() -> str:
    """The page in Markdown."""
    text = "# Command line\n\nEach command with `--help`, as the terminal shows it.\n"
    for name in names():
        text += f"\n## clusterglm {' '.join(name)}\n\n```text\n{help_of(name)}\n```\n"
    return text
