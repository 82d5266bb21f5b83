"""Figures of a study as SVG text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.results.findings import Figure, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 3.4, 2.5  # of a panel, in inches
# Okabe and Ito's colours, which colour-blind readers tell apart, and markers for print
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#777777", "#8A5A00")
_MARKERS = "osD^vPX*"  # one fewer than colours, so that no two labels have both in common
LIGHT = {"--paper": "#ffffff", "--ink": "#000000", "--grid": "#ebebeb", "--muted": "#595959", "--code": "#f5f5f5",
         "--blue": "#0072b2", "--brown": "#8a5a00"}  # fmt: skip
"""Variables of the page, and what they are in a light theme; a figure is drawn in these."""
DARK = {"--paper": "#14181f", "--ink": "#e8eaee", "--grid": "#343a46", "--muted": "#a4abb8", "--code": "#222833",
        "--blue": "#5a8cf0", "--brown": "#c08a30"}  # fmt: skip
_STRETCH = 1.5  # times the distance from the median within which 95% of a figure's values lie: axes reach no further


def palette(figures: Sequence[Figure]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each label, the same in all figures."""
    labels = dict.fromkeys(s.label for figure in figures for panel in figure.panels for s in panel.series)
    return {name: (_COLOURS[k % len(_COLOURS)], _MARKERS[k % len(_MARKERS)]) for k, name in enumerate(labels)}


def svg(figure: Figure, styles: dict[str, tuple[str, str]]) -> str:
    """A figure with its legend, as an `<svg>` element.

    Parameters
    ----------
    figure : Figure
    styles : dict
        From `palette`.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    columns = min(figure.columns, len(figure.panels))
    rows = -(-len(figure.panels) // columns)
    labels = list(dict.fromkeys(s.label for panel in figure.panels for s in panel.series))
    legend_rows = -(-len(labels) // max(columns, 2))
    settings: Any = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": figure.name, "axes.spines.top": False}
    with matplotlib.rc_context({**settings, "axes.spines.right": False}):
        canvas = Canvas(
            figsize=(_WIDTH * max(columns, 2), _HEIGHT * rows + 0.22 * legend_rows + 0.3), layout="constrained"
        )
        FigureCanvasSVG(canvas)
        axes = canvas.subplots(rows, columns, sharey=True, squeeze=False)
        # side by side, so that bars do not hide each other
        shifts = {name: 0.5 * (k - (len(labels) - 1) / 2.0) / len(labels) for k, name in enumerate(labels)}
        drawn: dict[str, Any] = {}
        for k, axis in enumerate(axes.flat):
            if k >= len(figure.panels):
                axis.set_visible(False)
                continue
            _panel(axis, figure.panels[k], figure, styles, shifts, drawn)
            if k % columns == 0:
                axis.set_ylabel(figure.y_label)
        low, high = _limits(figure)
        axes[0, 0].set_ylim(low, high)
        handles = [drawn[name] for name in labels]
        canvas.legend(handles, labels, loc="outside lower center", ncols=max(columns, 2), frameon=False)
        text = StringIO()
        canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    whole = text.getvalue()
    whole = whole[whole.index("<svg") :]
    for variable, colour in LIGHT.items():
        whole = re.sub(re.escape(colour), f"var({variable})", whole, flags=re.IGNORECASE)
    return whole


def _panel(
    axis: Axes,
    panel: Panel,
    figure: Figure,
    styles: dict[str, tuple[str, str]],
    shifts: dict[str, float],
    drawn: dict[str, Any],
) -> None:
    positions = np.arange(len(panel.ticks), dtype=np.float64)
    for series in panel.series:
        colour, marker = styles[series.label]
        at = positions + shifts[series.label]
        drawn[series.label] = axis.errorbar(
            at, series.values, yerr=2.0 * np.array(series.errors), color=colour, marker=marker, markersize=4,
            linewidth=1.0, elinewidth=0.8, alpha=0.9,
        )  # fmt: skip
    if figure.reference is not None:
        axis.axhline(figure.reference, color="0.5", linewidth=0.8, linestyle="--", zorder=0)
    axis.set_title(panel.title, fontsize=9)
    axis.set_xlabel(figure.x_label)
    axis.set_xticks(positions, panel.ticks)
    axis.set_xlim(-0.5, len(panel.ticks) - 0.5)
    axis.grid(axis="y", color="0.92", linewidth=0.6)
    axis.set_axisbelow(True)
    if figure.percent:
        from matplotlib.ticker import PercentFormatter

        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _limits(figure: Figure) -> tuple[float, float]:
    """Axes that hold all values but those so far out that the rest could not be told apart."""
    values = np.array([v for panel in figure.panels for s in panel.series for v in s.values if np.isfinite(v)])
    ends = [
        v + side * 2.0 * e
        for panel in figure.panels
        for s in panel.series
        for v, e in zip(s.values, s.errors, strict=True)
        for side in (-1.0, 1.0)
        if np.isfinite(v) and np.isfinite(e)
    ]
    if len(values) == 0:
        return 0.0, 1.0
    middle = float(np.median(values))
    reach = max(_STRETCH * float(np.quantile(np.abs(values - middle), 0.95)), 1e-6)
    low = max(min(*ends, *values), middle - reach)
    high = min(max(*ends, *values), middle + reach)
    if figure.reference is not None:
        low, high = min(low, figure.reference), max(high, figure.reference)
    if figure.percent:
        return -0.02, min(1.05, max(high, 0.1) * 1.1)
    margin = 0.05 * (high - low)
    return low - margin, high + margin
