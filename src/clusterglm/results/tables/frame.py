"""Tables of estimates that print whole, rounded and aligned; otherwise data frames like any other."""

from __future__ import annotations

from html import escape
from typing import Any, TypeAlias

import pandas as pd

from clusterglm.model.printing import fold, terminal_width
from clusterglm.results.tables.table import decimals_of, number, pvalue

Column: TypeAlias = tuple[str, list[str]]
"""A heading and cells."""

_PRINTED = 60  # rows that are printed, as pandas has it
_P_VALUES = ("pvalue", "p.value", "p")
_ESTIMATES = ("estimate", "std_error", "std.error", "conf_low", "conf_high", "conf.low", "conf.high", "low", "high")


class EstimateFrame(pd.DataFrame):
    """A data frame whose text fits a terminal; what pandas makes of it are plain frames."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    @property
    def frame(self) -> pd.DataFrame:
        """The numbers as a plain data frame of pandas."""
        plain = pd.DataFrame(self, copy=True)
        plain.attrs = dict(self.attrs)
        return plain

    def __repr__(self) -> str:
        if self.empty:
            return super().__repr__()
        cells, labels, remark = self._cells()
        if len(self) == 1 and labels < len(cells) and sum(_width(each) + 2 for each in cells) > terminal_width():
            names = max(len(name) for name, _ in cells)
            return "\n".join(f"{name:<{names}}  {texts[0]}" for name, texts in cells)
        lines: list[str] = []
        indexed = not isinstance(self.index, pd.RangeIndex)
        for block, left in _blocks(cells, labels, terminal_width(), indexed=indexed):
            lines += [*([""] if lines else []), *_aligned(block, left)]
        if len(self) > _PRINTED:
            lines.append(f"({len(self)} rows)")
        return "\n".join([*lines, *([fold(f"Note: {remark}")] if remark else [])])

    __str__ = __repr__

    def _repr_html_(self) -> str | None:
        if self.empty:
            return None
        cells, _, remark = self._cells()
        shown = pd.DataFrame(dict(cells)) if len({name for name, _ in cells}) == len(cells) else self.frame
        html: str = shown.to_html(index=False)
        return html + (f"<p>Note: {escape(remark)}</p>" if remark else "")

    def _cells(self) -> tuple[list[Column], int, str]:
        """Columns as text, how many at the left are labels, and a note that all rows share."""
        table = self.frame
        remark = ""
        if "note" in table and table["note"].nunique(dropna=False) == 1:
            remark = str(table.pop("note").iloc[0])
        cut = len(table) > _PRINTED
        if cut:
            table = pd.concat([table.iloc[: _PRINTED // 2], table.iloc[-(_PRINTED // 2) :]])
        columns: list[Column] = []
        if not isinstance(self.index, pd.RangeIndex):
            columns.append((str(table.index.name or ""), [str(value) for value in table.index]))
        labels = len(columns)
        decimals = _decimals(table)
        for name in table.columns:
            values = table[name]
            if values.dtype.kind != "f":
                columns.append((str(name), ["" if value is None else str(value) for value in values]))
                if len(columns) == labels + 1 and values.dtype.kind not in "iub":  # text before all numbers
                    labels += 1
            elif name in _P_VALUES or str(name).endswith("_pvalue"):
                columns.append((str(name), [pvalue(value) for value in values]))
            else:
                digits = 3 if name in ("z", "statistic") else decimals if name in _ESTIMATES else 4
                columns.append((str(name), [number(value, digits) for value in values]))
        if cut:
            columns = [(name, [*texts[: _PRINTED // 2], "...", *texts[_PRINTED // 2 :]]) for name, texts in columns]
        return columns, labels, remark


def _decimals(table: pd.DataFrame) -> int:
    """Decimals of estimates: as many as show their standard errors, or the widths of their intervals."""
    for name in ("std_error", "std.error"):
        if name in table:
            return decimals_of(table[name].to_numpy(float))
    if "low" in table and "high" in table:
        return decimals_of((table["high"].to_numpy(float) - table["low"].to_numpy(float)) / 4.0)
    return 4


def _blocks(cells: list[Column], labels: int, most: int, *, indexed: bool) -> list[tuple[list[Column], int]]:
    """Columns side by side as far as there is room, and how many are labels; below, one is there again."""
    while labels > 1 and sum(_width(each) + 2 for each in cells[:labels]) > most:
        labels -= 1
    blocks, used = [(cells[:labels], labels)], sum(_width(each) + 2 for each in cells[:labels])
    repeated = cells[:1] if indexed else cells[max(labels - 1, 0) : labels]
    for each in cells[labels:]:
        block = blocks[-1][0]
        if used + _width(each) > most and len(block) > len(repeated):
            block = list(repeated)
            blocks.append((block, len(repeated)))
            used = sum(_width(label) + 2 for label in repeated)
        block.append(each)
        used += _width(each) + 2
    return blocks


def _width(column: Column) -> int:
    return max(len(column[0]), *map(len, column[1]))


def _aligned(block: list[Column], labels: int) -> list[str]:
    """Labels at the left, numbers at the right."""
    widths = [_width(column) for column in block]
    lines = []
    for row in zip(*([name, *texts] for name, texts in block), strict=True):
        cells = [f"{text:{'<' if j < labels else '>'}{widths[j]}}" for j, text in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return lines


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """A table as one that prints whole."""
    made = EstimateFrame(table)
    made.attrs = dict(table.attrs)
    return made
