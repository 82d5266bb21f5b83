"""The report of a simulation study: one HTML page, with all that made it."""

from __future__ import annotations

from typing import Any

import numpy as np

from clusterglm.report.page import jinja
from clusterglm.report.study_figures import DARK, LIGHT, palette, svg
from clusterglm.results.findings import Findings


def study_report(findings: Findings, runs: list[dict[str, Any]]) -> str:
    """An HTML page that needs no other file.

    Parameters
    ----------
    findings : Findings
    runs : list of dict
        What made the numbers: "command", "file", "replicates", "seed", "factors", "versions", and "run" with
        "cpu_seconds", "machine" and "finished" where they are known.

    Returns
    -------
    str
    """
    styles = palette(findings.figures)
    drawn = {figure.name: svg(figure, styles) for figure in findings.figures}
    places = {name: number for number, name in enumerate(drawn, 1)}
    tables = {table.name: number for number, table in enumerate(findings.tables, 1)}
    text: str = (
        jinja()
        .get_template("study.html")
        .render(
            findings=findings,
            runs=runs,
            drawn=drawn,
            places=places,
            tables=tables,
            shade=_shade,
            duration=_duration,
            light=_variables(LIGHT),
            dark=_variables(DARK),
        )
    )
    return text


def _variables(theme: dict[str, str]) -> str:
    return " ".join(f"{name}: {colour};" for name, colour in theme.items())


def _shade(value: float) -> str:
    """Background of a cell that shows a share."""
    return f"background: rgba(0, 114, 178, {0.55 * value:.2f})" if np.isfinite(value) else ""


def _duration(seconds: float) -> str:
    return f"{seconds / 60.0:.1f} minutes" if seconds >= 60.0 else f"{seconds:.1f} seconds"
