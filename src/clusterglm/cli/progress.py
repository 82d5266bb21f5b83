"""A bar on standard error, where it is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Show(Protocol):
    """Draws a bar."""

    def __call__(self, done: int, wanted: int, note: str = "") -> None: ...


@contextmanager
def bar(name: str) -> Iterator[Show]:
    """A function of what is done, what is wanted, and a note, which draws the bar; elsewhere it does nothing."""
    if not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True) as shown:
        row = shown.add_task(name, total=None, note="")

        def show(done: int, wanted: int, note: str = "") -> None:
            shown.update(row, completed=done, total=wanted, note=note)

        yield show


def _nothing(done: int, wanted: int, note: str = "") -> None:
    pass
