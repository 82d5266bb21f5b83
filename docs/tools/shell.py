"""Runs the command line of the pages, so that what they show can be compared."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from clusterglm.cli import app

_SHELL = {"|", "||", "&&", "<", ">", "2>&1"}


def lines(page: str) -> list[str]:
    """All commands in `sh` blocks of a page of the documentation, each in one line."""
    text = (Path(__file__).parents[1] / page).read_text()
    found = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for block in found for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def shell(page: str, first_words: str) -> None:
    """Run the command of a page that begins with these words, and print what it prints.

    Parameters
    ----------
    page : str
        Path of the page within the documentation.
    first_words : str
        Beginning of one line in a `sh` block. What takes more than `clusterglm` and its arguments is run by bash, and
        its errors are printed too.

    Raises
    ------
    RuntimeError
        When the page has no such command, or several; or when the command fails.
    """
    found = [line for line in lines(page) if line.startswith(first_words)]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} commands begin with {first_words!r} in {page}")
    words = shlex.split(found[0], comments=True)
    if words[0] != "clusterglm" or not _SHELL.isdisjoint(words):
        print(_bash(found[0]), end="")
        return
    ran = CliRunner().invoke(app, words[1:])
    if ran.exit_code != 0:
        raise RuntimeError(f"{found[0]}\n{ran.output}")
    print(ran.stdout, end="")


def _bash(line: str) -> str:
    ours = f'clusterglm() {{ {shlex.quote(sys.executable)} -m clusterglm "$@"; }}; set -o pipefail; '
    ran = subprocess.run(
        ["bash", "-c", ours + line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    if ran.returncode != 0:
        raise RuntimeError(f"{line}\n{ran.stdout}")
    return ran.stdout
