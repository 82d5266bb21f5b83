"""Plots as SVG inside a page, in colours that follow the page's theme."""

from __future__ import annotations

import io
import re

from clusterglm.plot.base import Plot
from clusterglm.plot.themes import LIGHT, Theme

WIDTH = 5.4  # inches: on a telephone's screen letters are still large enough


def inline_svg(plot: Plot, name: str, label: str) -> str:
    """The picture as an SVG element.

    Parameters
    ----------
    plot : Plot
        Drawn in the light theme, whose colours become variables of the style sheet: see `colours`.
    name : str
        Prefix of the ids inside, which must be different for every picture of a page.
    label : str
        What the picture shows, for those who cannot see it.
    """
    import matplotlib as mpl

    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        plot.figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].strip()
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', text)[1])  # type: ignore[index]  # matplotlib always writes one
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1))
    text = re.sub(r"<path(?![^>]*\sd=)[^>]*/>", "", text)  # lines that lie wholly outside
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    for variable, colour in colours(LIGHT).items():
        text = re.sub(re.escape(colour), f"var({variable})", text, flags=re.IGNORECASE)
    safe = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    size = f"max-width: {width * 96 / 72:.0f}px"
    return text.replace("<svg", f'<svg role="img" aria-label="{safe}" style="{size}"', 1)


def colours(theme: Theme) -> dict[str, str]:
    """Variables of the style sheet and what they are in a theme."""
    fixed = {"--paper": theme.paper, "--ink": theme.ink, "--muted": theme.muted, "--grid": theme.grid}
    return fixed | {f"--series-{k}": colour for k, colour in enumerate(theme.colours)}
