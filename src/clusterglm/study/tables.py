"""The rows of a study by cell and method, and what figures and tables are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.results.findings import Estimate, Panel, Series, Table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Grid:
    """Some cells of a study.

    Parameters
    ----------
    table : DataFrame
        Rows of Parquet files, with `run`, `replicate`, `cell`, `method`, `failure` and the factors.
    methods : tuple of str
        In the order in which they are shown.
    """

    table: pd.DataFrame
    methods: tuple[str, ...]

    def at(self, **levels: Any) -> Grid:
        """Cells in which factors have these levels."""
        keep = np.ones(len(self.table), dtype=bool)
        for name, level in levels.items():
            keep &= (self.table[name] == level).to_numpy()
        return Grid(self.table[keep], self.methods)

    def of(self, method: str) -> pd.DataFrame:
        """Rows of one method, failures included (as nan)."""
        return self.table[self.table.method == method]

    def levels(self, factor: str) -> list[Any]:
        """The levels of a factor that occur: numbers ascending, texts as they come."""
        found = self.table[factor].unique().tolist()
        return found if found and isinstance(found[0], str) else sorted(found)

    def cells(self, *factors: str) -> Iterator[tuple[str, Grid]]:
        """Name and rows of each combination of factors that occurs."""
        for levels in product(*(self.levels(factor) for factor in factors)):
            found = self.at(**dict(zip(factors, levels, strict=True)))
            if len(found.table) > 0:
                yield ", ".join(label(f, v) for f, v in zip(factors, levels, strict=True)), found

    def wide(self, column: str, methods: Sequence[str]) -> pd.DataFrame:
        """One column of several methods side by side, replicates in which all have it: for paired differences."""
        rows = self.table[self.table.method.isin(methods)]
        wide = rows.pivot(index=["run", "cell", "replicate"], columns="method", values=column)
        return wide.reindex(columns=list(methods)).dropna()


def label(factor: str, level: Any) -> str:
    """A level in words."""
    if factor == "clusters":
        return f"{level} clusters"
    if isinstance(level, float):
        level = f"{level:g}"
    return f"{factor} {level}" if factor in ("size", "truth") else f"{factor} = {level}"


def panels(
    grids: Sequence[tuple[str, Grid]],
    across: str,
    methods: Sequence[str],
    measure: Callable[[pd.DataFrame], Estimate],
) -> tuple[Panel, ...]:
    """A panel for each grid, with a line for each method over the levels of one factor."""
    drawn = []
    for title, grid in grids:
        if len(grid.table) == 0:
            continue
        levels = grid.levels(across)
        lines = []
        for method in methods:
            found = [measure(grid.at(**{across: level}).of(method)) for level in levels]
            if any(np.isfinite(each.value) for each in found):
                lines.append(Series(method, tuple(e.value for e in found), tuple(e.error for e in found)))
        ticks = tuple(f"{level:g}" if isinstance(level, float) else str(level) for level in levels)
        drawn.append(Panel(title, ticks, tuple(lines)))
    return tuple(drawn)


def failures_table(table: pd.DataFrame) -> Table:
    """Every reason why a method gave no result, with how often."""
    failed = table[table.failure.notna()]
    columns = ("method", "reason", "times", "of")
    rows = []
    if len(failed) > 0:
        methods = failed.method if "method" in failed else failed.failure
        names = methods.fillna("whole replicate")
        counts = failed.groupby([names, _shortened(failed.failure)]).size().sort_values(ascending=False)
        of = table.groupby("method").size()
        for (method, why), count in zip(counts.index.to_list(), counts.to_list(), strict=True):
            rows.append((method, why, str(count), str(of.get(method, len(table)))))
    caption = "Results that are missing from the numbers above." if rows else "No method failed in any replicate."
    return Table("failures", "Failures", caption, columns, tuple(rows))


def _shortened(reasons: pd.Series[Any]) -> pd.Series[Any]:
    """Reasons without their numbers, which differ from replicate to replicate."""
    return reasons.str.replace(r"-?\d+(\.\d+)?(e[+-]?\d+)?", "#", regex=True).str.slice(0, 160)
