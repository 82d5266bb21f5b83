"""What the commands share: the application, exit statuses, errors without tracebacks."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from clusterglm.cli.words import in_shell_words

NOT_CONVERGED, BAD_INPUT, STOPPED, UNREAD = 1, 2, 130, 141

app = typer.Typer(
    name="clusterglm",
    help="Generalised linear models for clustered data, by maximum likelihood.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def resume_collections() -> None:
    """Let the garbage collector work again, on what comes after the imports."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def example(*commands: str) -> str:
    """The end of a help text, on lines of its own."""
    return "\b\n" + "\n".join(["Example:", *(f"  {command}" for command in commands)])


@contextmanager
def heard_warnings() -> Iterator[None]:
    """Print the library's warnings to standard error, a line each."""
    import warnings

    from clusterglm.errors import ClusterGLMWarning

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", ClusterGLMWarning)
        try:
            yield
        finally:
            for warning in heard:
                print(f"warning: {in_shell_words(str(warning.message), app)}", file=sys.stderr)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Answer errors that the library raises on purpose, and those of the file system, with their message alone."""
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise typer.Exit(STOPPED) from None
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(UNREAD) from None
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    except Exception as error:
        from clusterglm.errors import ClusterGLMError

        if not isinstance(error, ClusterGLMError):
            raise
        print(f"error: {in_shell_words(str(error), app)}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
