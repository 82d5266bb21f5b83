"""Runs the command line of the pages, in this process, so that what they show can be compared."""

from __future__ import annotations

import shlex
from pathlib import Path

from typer.testing import CliRunner

from clusterglm.cli import app


def shell(page: str, first_words: str) -> None:
    """Run the command of a page that begins with these words, and print what it prints.

    Parameters
    ----------
    page : str
        Path of the page within the documentation.
    first_words : str
        Beginning of one line in a `sh` block, `clusterglm` included.

    Raises
    ------
    RuntimeError
        When the page has no such command, or several; or when the command fails.
    """
    text = (Path(__file__).parents[1] / page).read_text()
    found = [line for line in text.replace("\\\n", " ").splitlines() if line.startswith(first_words)]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} commands begin with {first_words!r} in {page}")
    words = shlex.split(found[0], comments=True)[1:]
    ran = CliRunner().invoke(app, words)
    if ran.exit_code != 0:
        raise RuntimeError(f"{found[0]}\n{ran.output}")
    print(ran.stdout, end="")
