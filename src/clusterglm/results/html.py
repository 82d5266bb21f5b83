"""A summary as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clusterglm.results.table import Summary


def as_html(summary: Summary) -> str:
    """Tables without any style but alignment, so that the notebook's own theme applies."""
    from clusterglm.results.table import HEADINGS

    head = "".join(f"<th>{escape(heading)}</th>" for heading in ("", *HEADINGS))
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        + "".join(f'<td style="text-align:right">{escape(cell)}</td>' for cell in cells)
        + "</tr>"
        for name, cells in zip(summary.coefficients.names, summary.coefficients.cells(), strict=True)
    )
    notes = "".join(f"<p>Note: {escape(note)}</p>" for note in summary.notes)
    return (
        f"<div><strong>{escape(summary.title)}</strong>"
        f"{_pairs(summary.model)}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"{_pairs(summary.facts)}{notes}</div>"
    )


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(label)}</th><td style="text-align:left">{escape(text)}</td></tr>'
        for label, text in pairs
    )
    return f"<table><tbody>{rows}</tbody></table>"
