"""Threads for work of many equal pieces, and how far it has come."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from clusterglm.errors import OptionError
from clusterglm.model.arguments import MOST_THREADS, is_whole, shown

Progress: TypeAlias = bool | Callable[[int, int], object] | None
"""True for a bar on the terminal, or a function of the pieces done and wanted."""


def worker_count(n_jobs: int) -> int:
    """How many threads `n_jobs` asks for; `OptionError` on what is no number of threads."""
    if not is_whole(n_jobs) or not (1 <= n_jobs <= MOST_THREADS or n_jobs == -1):
        needed = f"a number of threads up to {MOST_THREADS}, or -1 for all processors"
        raise OptionError(f"n_jobs={shown(n_jobs)}", needed, "n_jobs=1")
    return int(n_jobs) if n_jobs > 0 else os.cpu_count() or 1


@contextmanager
def reporting(progress: Progress, total: int, pieces: str) -> Iterator[Callable[[int], object]]:
    """A function of the pieces that are done, which shows them as was asked for; `pieces`: what they are called."""
    if progress is None or progress is False:
        yield lambda done: None
    elif progress is True:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn(pieces), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, transient=True) as bar:
            row = bar.add_task(pieces, total=total)
            yield lambda done: bar.update(row, completed=done)
    elif callable(progress):
        function = progress
        yield lambda done: function(done, total)
    else:
        raise OptionError(f"progress={shown(progress)}", "True, False or a function of two numbers", "progress=True")
