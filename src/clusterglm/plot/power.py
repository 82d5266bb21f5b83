"""Curves of power by simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from clusterglm.errors import OptionError
from clusterglm.inference.hypotheses.power import power_line
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.model.arguments import number, shown
from clusterglm.plot.base import Plot, canvas, legend, wrapped
from clusterglm.results.tables.power import ALONG, Power

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS_OF_A_CURVE = 200


@with_alpha
def power(
    found: Power,
    ax: Axes | None = None,
    *,
    along: str | None = None,
    target: float | None = 0.8,
    level: float = 0.95,
    theme: str | None = None,
) -> Plot:
    """Power with its Monte Carlo intervals, a curve for each test and each combination of the other factors.

    Parameters
    ----------
    found : Power
        What `cg.power(...)` gave.
    ax : matplotlib Axes, optional
    along : "clusters", "size", "effect" or "multiple", optional
        What lies along the axis; by default the first of them that varies.
    target : float, optional
        A wanted power, at which a line is drawn; None for none.
    level : float
        Coverage of the intervals.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: the table. Curves are those on which `found.needed()` rests; cells in which the hypothesis is true lie at
        the significance level and belong to none.

    Raises
    ------
    OptionError
        On something else, or where nothing varies.
    """
    if not hasattr(found, "needed"):
        raise OptionError(f"power({shown(found)})", "what cg.power gave", "cg.plot.power(cg.power(...))")
    chosen, table = found._along(along), found.to_frame(level=level)
    if target is not None:
        number("target", target, 0.05, 0.999, advice="target=0.8")
    import pandas as pd

    plain = pd.DataFrame(table)
    others = [name for name in found.factors if name != chosen and plain[name].nunique() > 1]
    series = [*others, *(["test"] if plain["test"].nunique() > 1 else [])]
    counts = chosen in ("clusters", "size")
    groups = list(plain.groupby(series, sort=False)) if series else [((), plain)]
    with canvas(ax, theme, (6.4, 4.2)) as (axis, look):
        for line_at in (found.alpha, target):
            if line_at is not None:
                axis.axhline(line_at, color=look.muted, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        spread = float(np.ptp(plain[chosen].to_numpy(float)))
        for k, (key, some) in enumerate(groups):
            style, label = look.series(k), _label(series, key)
            x = some[chosen].to_numpy(float)
            at = x + 0.006 * spread * (k - 0.5 * (len(groups) - 1))
            axis.vlines(at, some["conf_low"], some["conf_high"], color=style["color"], linewidth=1.7)
            axis.plot(at, some["power"], style["marker"], color=style["color"], label=label)
            real = some[some["what"] == "power"]
            own = real[chosen].to_numpy(float)
            turned = np.sqrt(own) if counts else np.abs(own)
            line = power_line(turned, real["rejected"].to_numpy(float), real["replicates"].to_numpy(float))
            if line is not None:
                grid = np.linspace(own.min(), own.max(), _POINTS_OF_A_CURVE)
                curve = ndtr(line.a + line.b * (np.sqrt(grid) if counts else np.abs(grid)))
                axis.plot(grid, curve, color=style["color"], linewidth=1.3, linestyle=style["linestyle"])
        axis.set_ylim(0.0, 1.02)
        axis.set_xlabel(ALONG[chosen].capitalize())
        axis.set_ylabel(wrapped(f"Power at alpha = {found.alpha:g}, with {100 * level:g}% interval", 44))
        if series:
            legend(axis)
    return Plot(axis, plain)


def _label(names: list[str], key: object) -> str:
    values = key if isinstance(key, tuple) else (key,)
    return ", ".join(
        str(value) if name == "test" else f"{name} {value:g}" for name, value in zip(names, values, strict=True)
    )
