"""What all plots share: an axis in, an axis and its data out, a look of ours that leaves the user's settings alone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterglm.data.files import check_writable, whole
from clusterglm.errors import MissingPackageError, OptionError, check_option
from clusterglm.model.arguments import number, shown
from clusterglm.plot.themes import DARK, LIGHT, THEMES, Theme

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_width: ContextVar[float | None] = ContextVar("width", default=None)
_FINEST_PICTURE = 2400.0  # dots an inch, of a picture that memory holds


@dataclass(frozen=True)
class Plot:
    """A picture and what it shows.

    Parameters
    ----------
    ax : matplotlib Axes
        To change as one likes. The legend lies above it: `figure.suptitle(...)` makes room for a title.
    data : DataFrame
        What was drawn, and what was left out of the picture for lack of room.
    """

    ax: Axes
    data: pd.DataFrame

    def __repr__(self) -> str:
        """What is shown, and how to get at it: not the table, which may be long."""
        axes = " against ".join(" ".join(text.split()) for text in (self.ax.get_ylabel(), self.ax.get_xlabel()) if text)
        shape = f"{len(self.data)} rows of {', '.join(map(str, self.data.columns))}"
        return f"Plot of {axes or 'values'}\n  .data: {shape}\n  .ax and .figure of matplotlib; .save('plot.png')"

    @property
    def figure(self) -> Figure:
        """The figure that holds the axis."""
        from matplotlib.figure import Figure

        found = self.ax.get_figure(root=True)
        assert isinstance(found, Figure)
        return found

    def save(self, path: str | Path, dpi: float = 200.0) -> Path:
        """Write the picture to a file, whose ending says in which format.

        Parameters
        ----------
        path : str or Path
        dpi : float
            Dots an inch, for formats that have dots; from 10 to 2,400.

        Raises
        ------
        OptionError
            On another ending, or a path that cannot be that of a file.
        StorageError
            When the file system refuses.
        """
        number("dpi", dpi, 10.0, _FINEST_PICTURE, advice="dpi=200")
        from matplotlib.backend_bases import FigureCanvasBase

        file, figure = check_writable(path), self.figure
        # matplotlib changes to the backend that a format needs, whichever is in use
        known = sorted({**FigureCanvasBase.get_supported_filetypes(), **figure.canvas.get_supported_filetypes()})
        ending = file.suffix.lower().removeprefix(".")
        if ending not in known:
            endings = ", ".join(f".{each}" for each in known)
            raise OptionError(
                f"a picture in {str(path)!r}", f"a name that ends in one of {endings}", f"{file.stem}.png"
            )
        with whole(file) as part:
            figure.savefig(part, dpi=dpi, format=ending)
        return file


@contextmanager
def canvas(ax: Axes | None, theme: str | None, size: tuple[float, float]) -> Iterator[tuple[Axes, Theme]]:
    """An axis to draw on under our settings, which end with the block.

    Parameters
    ----------
    ax : matplotlib Axes or None
        None makes a figure of `size` inches.
    theme : {"light", "dark"} or None
        None: that which suits the axis given, otherwise light.

    Raises
    ------
    MissingPackageError
        Without matplotlib.
    OptionError
        On another theme.
    """
    try:
        import matplotlib as mpl
    except ImportError as problem:
        raise MissingPackageError(
            f"plots, and matplotlib cannot be imported ({problem})",
            "matplotlib 3.8 or later",
            "pip install 'clusterglm[plot]'",
        ) from problem

    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise OptionError(f"ax={shown(ax)}", "an axis of matplotlib, or None", "fig, ax = plt.subplots()")
    if theme is not None:
        look = THEMES[check_option("theme", theme, THEMES)]
    else:
        look = LIGHT if ax is None or not _is_dark(ax) else DARK
    settings: Any = look.settings()
    with mpl.rc_context(settings):
        yield _new_axes(size) if ax is None else ax, look


def panels(ax: Axes, number_of: int) -> list[Axes]:
    """Axes side by side in the place of one that `canvas` made."""
    figure, place = ax.get_figure(), ax.get_subplotspec()
    assert figure is not None
    assert place is not None
    ax.remove()
    grid = place.subgridspec(1, number_of)
    return [figure.add_subplot(grid[0, k]) for k in range(number_of)]


@contextmanager
def off_screen(width: float) -> Iterator[None]:
    """New figures are so many inches wide and belong to nobody but the caller: no window shows them."""
    token = _width.set(width)
    try:
        yield
    finally:
        _width.reset(token)


def legend(ax: Axes, **options: Any) -> None:
    """A legend above the axis, where it hides nothing, in as many columns as fit; long names are broken."""
    handles, labels = ax.get_legend_handles_labels()
    if not labels:
        return
    short = [wrapped(label, 44) for label in labels]
    longest = max(len(line) for label in short for line in label.split("\n"))
    figure = ax.get_figure(root=True)
    assert figure is not None
    width = ax.get_position().width * figure.get_figwidth()
    columns = max(1, min(len(labels), int(width * 72.0 / (5.4 * longest + 46.0))))
    placed = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": columns, "borderaxespad": 0.3, **options}
    ax.legend(handles, short, **placed)


def ratio_axis(axis: Any) -> None:
    """A logarithmic axis whose marks are plain numbers, few enough to be read."""
    import numpy as np
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    low, high = axis.get_xlim()
    decades = np.log10(high / low)
    subs: tuple[float, ...] = (1.0,) if decades > 3.0 else (1.0, 3.0) if decades > 1.6 else (1.0, 2.0, 5.0)
    if decades < 0.5:
        subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    axis.xaxis.set_major_locator(LogLocator(10.0, subs))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def wrapped(text: object, width: int, lines: int = 3) -> str:
    """Text broken into lines of at most so many characters; what is still too long ends in dots."""
    parts = textwrap.wrap(str(text), width, break_long_words=True, break_on_hyphens=False) or [""]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: width - 1] + "…"]
    return "\n".join(parts)


def _new_axes(size: tuple[float, float]) -> Axes:
    width = _width.get()
    if width is not None:
        from matplotlib.figure import Figure

        return Figure(figsize=(width, size[1]), layout="constrained").add_subplot()
    import matplotlib.pyplot as plt

    ax: Axes = plt.subplots(figsize=size, layout="constrained")[1]
    return ax


def _is_dark(ax: Axes) -> bool:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(ax.get_facecolor())
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
