"""A summary as text, no wider than the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clusterglm.data.tables.success import NOTE as SUCCESS_NOTE
from clusterglm.model.arrays import Array
from clusterglm.model.printing import count, terminal_width
from clusterglm.results.tables.html import as_html

_NAME_WIDTH = 44  # longer names are broken over lines
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"), (0.1, "."))
_LEGEND = "Signif. codes:  0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1"
HEADINGS = ("Estimate", "Std. Error", "z value", "Pr(>|z|)", "")
_HEADINGS_OF_T = ("Estimate", "Std. Error", "df", "t value", "Pr(>|t|)", "")


@dataclass(frozen=True)
class Coefficients:
    """A coefficient table.

    Parameters
    ----------
    names : tuple of str, length k
    estimate, se, z, p : ndarray, shape (k,)
    df : ndarray, shape (k,), optional
        Degrees of freedom, where `z` are t statistics; nan where there are none.
    """

    names: tuple[str, ...]
    estimate: Array
    se: Array
    z: Array
    p: Array
    df: Array | None = None

    @property
    def headings(self) -> tuple[str, ...]:
        """Of the columns, that of the stars empty."""
        return HEADINGS if self.df is None else _HEADINGS_OF_T

    def cells(self) -> list[tuple[str, ...]]:
        """The numbers of each row as text: estimate, standard error, degrees of freedom if any, z or t, p, stars."""
        decimals = decimals_of(self.se)
        degrees = [()] * len(self.se) if self.df is None else [(number(df, 2),) for df in self.df]
        return [
            (number(b, decimals), number(s, decimals), *df, number(z, 3), pvalue(p), stars(p))
            for b, s, df, z, p in zip(self.estimate, self.se, degrees, self.z, self.p, strict=True)
        ]


@dataclass(frozen=True)
class Summary:
    """What a result has to say, in the order in which it is printed.

    Parameters
    ----------
    title : str
    model : tuple of (label, text)
        What was fitted.
    coefficients : Coefficients
    facts : tuple of (label, text)
        What came out.
    notes : tuple of str
        What the reader should know besides.
    heading : str
        Of the coefficients, where there are others.
    others : tuple of (str, Coefficients)
        Those of other linear predictors, each with its heading.
    """

    title: str
    model: tuple[tuple[str, str], ...]
    coefficients: Coefficients
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    heading: str = ""
    others: tuple[tuple[str, Coefficients], ...] = ()

    @property
    def first_notes(self) -> list[str]:
        """Notes without which the signs of coefficients may be misread; they stand before all else."""
        return [note for note in self.notes if note.startswith(SUCCESS_NOTE)]

    @property
    def last_notes(self) -> list[str]:
        """Notes that follow the numbers."""
        return [note for note in self.notes if not note.startswith(SUCCESS_NOTE)]

    def __str__(self) -> str:
        labels = max(len(label) for label, _ in (*self.model, *self.facts)) + 2
        parts = [self.title]
        for note in self.first_notes:
            parts += ["", *wrapped(f"Note: {note}", "", " " * 6)]
        parts += ["", *listed(self.model, labels), ""]
        if self.heading:
            parts += [f"{self.heading}:"]
        if self.coefficients.names:
            parts += _table(self.coefficients)
        for heading, coefficients in self.others:
            parts += ["", f"{heading}:", *_table(coefficients)]
        if self.coefficients.names or self.others:
            parts += ["", _LEGEND, ""]
        parts += listed(self.facts, labels)
        for note in self.last_notes:
            parts += ["", *wrapped(f"Note: {note}", "", " " * 6)]
        return "\n".join(parts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        every = ((self.heading, self.coefficients), *self.others)
        headings = self.coefficients.headings
        rows = [
            row
            for heading, table in every
            for row in (
                *([(heading, [""] * len(headings))] if heading else []),
                *zip(table.names, table.cells(), strict=True),
            )
        ]
        return as_html(self.title, self.model, headings, rows, self.facts, self.last_notes, self.first_notes)


def number(value: float, decimals: int) -> str:
    """A number with so many decimals, or in scientific notation where these would not show it."""
    if not np.isfinite(value):
        return "nan" if np.isnan(value) else ("inf" if value > 0 else "-inf")
    if value != 0.0 and not 0.5 * 10.0**-decimals <= abs(value) < 1e7:
        return f"{value:.4e}"
    return f"{value:.{decimals}f}"


def pvalue(p: float) -> str:
    """A p-value in R's manner."""
    if np.isnan(p):
        return "nan"
    if p < 2e-16:
        return "<2e-16"
    return f"{p:.2e}" if p < 1e-4 else f"{p:.5f}"


def stars(p: float) -> str:
    """Significance stars."""
    return next((mark for limit, mark in _STARS if p < limit), "")


def counted(n: float, singular: str, plural: str | None = None) -> str:
    """'1 row', '2 rows'."""
    return f"{count(n)} {singular if n == 1 else plural or singular + 's'}"


def decimals_of(se: Array) -> int:
    """Decimals that show three significant digits of the smallest ordinary standard error, 4 to 7."""
    ordinary = se[np.isfinite(se) & (se > 1e-6)]
    if len(ordinary) == 0:
        return 4
    return int(np.clip(2 - np.floor(np.log10(ordinary.min())), 4, 7))


def wrapped(text: str, first: str, later: str, most: int | None = None) -> list[str]:
    """Lines no wider than the terminal, or `most`; textwrap, which takes its time, only for more than one."""
    most = terminal_width() if most is None else most
    if len(first) + len(text) <= most and text.isprintable() and text and text == text.strip():
        return [first + text]
    return textwrap.wrap(text, most, initial_indent=first, subsequent_indent=later)


def listed(pairs: Sequence[tuple[str, str]], labels: int) -> list[str]:
    """Lines of labels and what belongs to them, the latter in a column that begins after so many letters."""
    lines: list[str] = []
    for label, text in pairs:
        lines += wrapped(text, f"{label + ':':<{labels}}", " " * labels)
    return lines


def _table(coefficients: Coefficients) -> list[str]:
    cells = [coefficients.headings, *coefficients.cells()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    broken = [wrapped(name, "", "", _NAME_WIDTH) or [""] for name in coefficients.names]
    name_width = max((len(line) for lines in broken for line in lines), default=0)
    table = []
    for lines, row in zip([[""], *broken], cells, strict=True):
        table += lines[:-1]
        numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(row[:-1], widths, strict=False))
        table.append(f"{lines[-1]:<{name_width}}  {numbers} {row[-1]}".rstrip())
    return table


def sizes_in_words(sizes: dict[int, int]) -> str:
    """Sizes of clusters from the number of clusters of each size, in ascending order."""
    each, count = np.array([*sizes]), np.array([*sizes.values()])
    if len(each) == 1:
        return f"{counted(int(each[0]), 'row')} each"
    upto, m = np.cumsum(count), int(count.sum())
    middle = [each[np.searchsorted(upto, rank, side="right")] for rank in ((m - 1) // 2, m // 2)]
    return f"{each[0]} to {each[-1]} rows, median {np.mean(middle):g}"
