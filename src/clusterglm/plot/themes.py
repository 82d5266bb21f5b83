"""How plots look: colours that colour-blind readers tell apart, on light and on dark paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MARKERS = ("o", "s", "^", "D", "v", "P")
LINES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (1, 1)), (0, (9, 3)))


@dataclass(frozen=True)
class Theme:
    """Colours of one kind of paper, all different, so that those of one theme can be replaced by those of another.

    Parameters
    ----------
    name : str
    paper, ink, muted, grid : str
        Background, text, what steps back, grid lines.
    colours : tuple of str
        Of series, in the order of use.
    """

    name: str
    paper: str
    ink: str
    muted: str
    grid: str
    colours: tuple[str, ...]

    def series(self, k: int) -> dict[str, Any]:
        """Colour, marker and line of the k-th series: told apart in black and white; of 36 none alike."""
        n = len(MARKERS)
        turned = (k + k // n) % n
        return {"color": self.colours[k % len(self.colours)], "marker": MARKERS[turned], "linestyle": LINES[turned]}

    def settings(self) -> dict[str, Any]:
        """Settings of matplotlib for one picture."""
        return {
            "figure.facecolor": self.paper,
            "figure.edgecolor": self.paper,
            "figure.dpi": 110.0,
            "figure.constrained_layout.w_pad": 0.1,
            "figure.constrained_layout.h_pad": 0.08,
            "savefig.facecolor": "auto",
            "savefig.edgecolor": "auto",
            "axes.facecolor": self.paper,
            "axes.edgecolor": self.muted,
            "axes.labelcolor": self.ink,
            "axes.labelsize": 10.0,
            "axes.titlecolor": self.ink,
            "axes.titlesize": 11.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.8,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.unicode_minus": True,
            "grid.color": self.grid,
            "grid.linestyle": "-",
            "grid.linewidth": 0.7,
            "grid.alpha": 1.0,
            "text.color": self.ink,
            "xtick.color": self.muted,
            "ytick.color": self.muted,
            "xtick.labelcolor": self.ink,
            "ytick.labelcolor": self.ink,
            "xtick.labelsize": 9.0,
            "ytick.labelsize": 9.0,
            "font.family": ["DejaVu Sans"],
            "font.size": 10.0,
            "legend.frameon": False,
            "legend.fontsize": 9.0,
            "legend.labelcolor": self.ink,
            "lines.linewidth": 1.7,
            "lines.markersize": 5.5,
            "patch.linewidth": 0.8,
        }


# The colours of Okabe and Ito (2008), the darker ones first; on dark paper their lighter kin.
LIGHT = Theme(
    "light",
    "#ffffff",
    "#1c2430",
    "#5b6573",
    "#e3e7ec",
    ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
)
DARK = Theme(
    "dark",
    "#14191f",
    "#e8ecf1",
    "#a3adba",
    "#343d49",
    ("#5ab6ec", "#ff8b4d", "#2cc9a0", "#e79ccb", "#f0e442", "#c3cad3"),
)
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}
