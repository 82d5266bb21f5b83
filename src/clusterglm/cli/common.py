"""What the commands share: the application, exit statuses, errors without tracebacks."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

NOT_CONVERGED, BAD_INPUT, STOPPED = 1, 2, 130

app = typer.Typer(
    name="clusterglm",
    help="Generalised linear models for clustered data, by exact and fast maximum likelihood.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def check_folders(*files: Path | None) -> None:
    """Refuse files that cannot be written before any work is done."""
    from clusterglm.errors import OptionError

    for file in files:
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            wrong = "it is a folder" if file.is_dir() else "its folder does not exist"
            raise OptionError(
                f"the file {str(file)!r} to write to: {wrong}", "a file in a folder that exists", "another path"
            )


def resume_collections() -> None:
    """Let the garbage collector work again, on what comes after the imports."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


@contextmanager
def readable_errors() -> Iterator[None]:
    """Answer errors that the library raises on purpose, and those of the file system, with their message alone."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise typer.Exit(STOPPED) from None
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    except Exception as error:
        from clusterglm.errors import ClusterGLMError

        if not isinstance(error, ClusterGLMError):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
