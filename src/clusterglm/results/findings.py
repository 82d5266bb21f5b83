"""What a simulation study found, as plain data: claims with their evidence, figures, tables. A report draws them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SUPPORTED, IN_PART, CONTRADICTED = "supported", "supported in part", "contradicted"
UNDECIDED, NOT_RUN = "undecided", "not in this run"


@dataclass(frozen=True)
class Estimate:
    """A number with its Monte Carlo standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "–"
        if not np.isfinite(self.error):
            return f"{self.value:.3g}"
        digits = int(np.clip(1 - np.floor(np.log10(self.error)), 0, 6)) if self.error > 0.0 else 3
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"

    def percent(self) -> str:
        """The value and its error as percentages."""
        return f"{100.0 * self.value:.1f} ± {100.0 * self.error:.1f}%" if np.isfinite(self.value) else "–"

    def beyond(self, limit: float) -> int:
        """1 or -1 where the value lies above or below `limit` by more than two standard errors, else 0."""
        if not abs(self.value - limit) > 2.0 * self.error:
            return 0
        return 1 if self.value > limit else -1


@dataclass(frozen=True)
class Claim:
    """A sentence of the literature, and what this study says of it.

    Parameters
    ----------
    text, source : str
    verdict : str
        `SUPPORTED`, `IN_PART` (in some cells), `CONTRADICTED`, `UNDECIDED` (for Monte Carlo error), `NOT_RUN`.
    evidence : tuple of str
        Sentences with the numbers.
    figure : str
        Name of the figure or table to look at.
    """

    text: str
    source: str
    verdict: str
    evidence: tuple[str, ...]
    figure: str = ""


def verdict(votes: list[int]) -> str:
    """From each cell's vote: 1 for the claim, -1 against it, 0 where Monte Carlo error hides the answer."""
    if not votes:
        return NOT_RUN
    if all(vote > 0 for vote in votes):
        return SUPPORTED
    if any(vote > 0 for vote in votes):
        return IN_PART
    return CONTRADICTED if sum(vote < 0 for vote in votes) > len(votes) / 2 else UNDECIDED


@dataclass(frozen=True)
class Series:
    """A line of a panel: values at the panel's ticks, nan where there is none, with Monte Carlo standard errors."""

    label: str
    values: tuple[float, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """One set of axes; `ticks` name the equally spaced positions."""

    title: str
    ticks: tuple[str, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Figure:
    """Panels that share their axes.

    Parameters
    ----------
    name : str
        By which claims refer to it.
    title, caption, x_label, y_label : str
    panels : tuple of Panel
    columns : int
        Panels in a row.
    reference : float, optional
        Where a horizontal line is drawn: a nominal level, or no bias.
    percent : bool
        Values are shares.
    """

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    panels: tuple[Panel, ...]
    columns: int
    reference: float | None = None
    percent: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under headings.

    Parameters
    ----------
    name, title, caption : str
    columns : tuple of str
    rows : tuple of tuple of str
    shades : tuple of tuple of float, optional
        For each cell from 0 to 1, nan for none: the share that it shows.
    folded : bool
        Long tables are folded in a report.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shades: tuple[tuple[float, ...], ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Findings:
    """All of a study.

    Parameters
    ----------
    title : str
    model : tuple of str
        Paragraphs: what was simulated and fitted.
    claims : tuple of Claim
    figures : tuple of Figure
    tables : tuple of Table
    """

    title: str
    model: tuple[str, ...]
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...] = field(default=())
    tables: tuple[Table, ...] = field(default=())

    def __str__(self) -> str:
        lines = [self.title, ""]
        for claim in self.claims:
            lines += [f"{claim.text} ({claim.source}): {claim.verdict}", *(f"    {each}" for each in claim.evidence)]
        for table in self.tables:
            if not table.folded:
                lines += ["", table.title, *_aligned(table)]
        return "\n".join(lines)


def _aligned(table: Table) -> list[str]:
    rows = [table.columns, *table.rows]
    widths = [max(len(row[j]) for row in rows) for j in range(len(table.columns))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
