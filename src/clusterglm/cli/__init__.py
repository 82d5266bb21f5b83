"""The command line, a file for each command. Arguments are parsed before anything heavy is imported."""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import typer

from clusterglm.cli import (
    adjusted_means,
    clustering,
    compare,
    datasets,
    fit,
    plot,
    power,
    predict,
    show,
    simulate,
    study,
    table,
)
from clusterglm.cli.common import STOPPED, app
from clusterglm.cli.words import command

__all__ = [
    "adjusted_means",
    "app",
    "clustering",
    "compare",
    "datasets",
    "fit",
    "main",
    "plot",
    "power",
    "predict",
    "show",
    "simulate",
    "study",
    "table",
]


def main() -> None:
    """Run the command line of this process.

    Exit status: 0; 1 when a fit did not converge; 2 when the input cannot be used; 130 when the user stopped it.
    """
    gc.disable()  # imports make many objects and no garbage: collections would take a fifth of their time
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    finally:
        gc.enable()


def _show_version(wanted: bool) -> None:
    if wanted:
        from clusterglm import __version__

        print(f"clusterglm {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""
    command.set(context.invoked_subcommand)
