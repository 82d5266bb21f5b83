"""What single clusters, or rows, do to the estimates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError, nearest
from clusterglm.inference.diagnostics.influence import Influence
from clusterglm.model.arguments import shown, whole_number
from clusterglm.plot.base import Plot, canvas, wrapped
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import check_fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clusterglm.model.arrays import Array

_A_LOT = 1.0  # a Cook's distance
_SIZE = 8.0  # of labels, in points


def influence(
    fit: Result | Influence,
    ax: Axes | None = None,
    *,
    parameter: str | None = None,
    kind: str = "one_step",
    named: int = 5,
    theme: str | None = None,
) -> Plot:
    """Cook's distance of each cluster (each row, without clusters), or how far it moves one parameter.

    Parameters
    ----------
    fit : Result or Influence
        A fit, or what its `influence` gave.
    ax : matplotlib Axes, optional
    parameter : str, optional
        In the place of Cook's distance the change of this parameter that the cluster makes, in standard errors.
    kind : {"one_step", "exact"}
        Of `fit.influence`.
    named : int
        Clusters that are shown by name: those that move the estimates most.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `Influence.table()`, a row for each cluster.

    Raises
    ------
    OptionError
        For a fit without influence of clusters, or a parameter that there is not.
    """
    whole_number("named", named, 0)
    check_fit(fit, "cg.plot.influence", Influence)
    found, factor = (fit, "cluster") if isinstance(fit, Influence) else (_of(fit, kind), _unit(fit))
    if not (parameter is None or (isinstance(parameter, str) and parameter in found.parameters)):
        known = list(found.parameters)
        raise OptionError(
            f"parameter={shown(parameter)}",
            f"one of {', '.join(known)}",
            f"{nearest(str(parameter), known)}parameter=None for Cook's distance",
        )
    table = found.table()
    values = (table["cook_distance"] if parameter is None else table[f"dfbetas_{parameter}"]).to_numpy(float)
    at, known = np.arange(1, len(values) + 1), np.isfinite(values)
    most = np.argsort(-np.where(known, np.abs(values), -1.0), kind="stable")[:named]
    with canvas(ax, theme, (7.0, 3.8)) as (axis, look):
        axis.vlines(
            at[known], 0.0, values[known], color=look.colours[0], linewidth=float(np.clip(150.0 / len(at), 0.5, 1.8))
        )
        axis.plot(
            at[known], values[known], "o", color=look.colours[0], markersize=float(np.clip(160.0 / len(at), 1.5, 4.5))
        )
        axis.axhline(0.0, color=look.muted, linewidth=1.0, zorder=1)
        bounds = [_A_LOT] if parameter is None else [-_A_LOT, _A_LOT]
        for bound in bounds:
            if np.abs(values[known]).max(initial=0.0) > 0.6 * _A_LOT:
                axis.axhline(bound, color=look.muted, linewidth=1.0, linestyle=":")
        axis.margins(y=0.14)
        chosen = most[known[most]]
        names = [wrapped(found.labels[k], 24, 1) for k in chosen]
        for k, name, off in zip(chosen, names, _apart(axis, at[chosen], values[chosen], names), strict=True):
            axis.annotate(
                name, (at[k], values[k]), xytext=(0, off), textcoords="offset points", ha="center",
                va="bottom" if off > 0.0 else "top", fontsize=_SIZE,
            )  # fmt: skip
        axis.set_xlabel(f"{factor.capitalize() if factor == 'row' else factor}, in the order of the labels")
        how = "one step" if found.kind == "one_step" else "fitted again"
        words = "Cook's distance" if parameter is None else f"{parameter}: change in standard errors"
        axis.set_ylabel(wrapped(f"{words} ({how})", 40))
        axis.grid(visible=False, axis="x")
    return Plot(axis, table)


def _apart(axis: Axes, x: Array, y: Array, words: list[str]) -> list[float]:
    """How many points from its own each word is written, so that none is over another, to the height of a letter."""
    box, inch = axis.get_window_extent(), axis.figure.dpi
    wide, high = box.width * 72.0 / inch, box.height * 72.0 / inch
    (left, right), (low, up) = axis.get_xlim(), axis.get_ylim()
    taken: list[tuple[float, float, float]] = []
    offsets = []
    for place, value, word in zip(x * wide / (right - left), y * high / (up - low), words, strict=True):
        off, half = (5.0 if value >= 0.0 else -5.0), 0.3 * _SIZE * len(word) + 2.0
        while any(abs(place - a) < half + b and abs(value + off - c) < 1.2 * _SIZE for a, b, c in taken):
            off += np.copysign(1.3 * _SIZE, off)
        taken.append((place, half, value + off))
        offsets.append(off)
    return offsets


def _of(fit: Result, kind: str) -> Influence:
    member: Any = getattr(fit, "influence", None)
    if member is None:
        raise OptionError(
            f"the influence of clusters on a {fit.kind} fit",
            "a likelihood that is a sum over clusters",
            "cg.random_effects",
        )
    found: Influence = member(kind)
    return found


def _unit(fit: Result) -> str:
    return "row" if fit.data.cluster_name is None else f"Clusters of {fit.data.cluster_name}"
