"""A summary as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def as_html(
    title: str,
    model: Iterable[tuple[str, str]],
    headings: Sequence[str],
    rows: Iterable[tuple[str, Sequence[str]]],
    facts: Iterable[tuple[str, str]],
    notes: Iterable[str],
    first: Iterable[str] = (),
) -> str:
    """Tables without any style but alignment, so that the notebook's own theme applies.

    Parameters
    ----------
    title : str
    model, facts : iterable of (str, str)
        Labelled lines above and below the coefficients.
    headings, rows
        The table of coefficients: column headings, and for each row its name and cells.
    notes, first : iterable of str
        Remarks below everything, and above it.
    """
    head = "".join(f"<th>{escape(heading)}</th>" for heading in ("", *headings))
    body = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        + "".join(f'<td style="text-align:right">{escape(cell)}</td>' for cell in cells)
        + "</tr>"
        for name, cells in rows
    )
    remarks, before = ("".join(f"<p>Note: {escape(note)}</p>" for note in each) for each in (notes, first))
    return (
        f"<div><strong>{escape(title)}</strong>"
        f"{before}{_pairs(model)}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"{_pairs(facts)}{remarks}</div>"
    )


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(label)}</th><td style="text-align:left">{escape(text)}</td></tr>'
        for label, text in pairs
    )
    return f"<table><tbody>{rows}</tbody></table>"
