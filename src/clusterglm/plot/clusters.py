"""The clusters' intercepts, in ascending order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.inference.uncertainty.intervals import wald_interval, with_alpha
from clusterglm.model.arguments import whole_number
from clusterglm.model.large_data import CLUSTERS_DRAWN
from clusterglm.plot.base import Plot, canvas, legend, wrapped
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import check_fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_NAMED = 60  # clusters that still have room for their labels


@with_alpha
def caterpillar(
    fit: Result, ax: Axes | None = None, *, level: float = 0.95, named: int = _NAMED, theme: str | None = None
) -> Plot:
    """Each cluster's intercept with its interval, in ascending order.

    Parameters
    ----------
    fit : RandomEffectsResult or FixedEffectsResult
        Posterior modes with standard deviations; or estimates with standard errors, where all responses are alike
        infinite and shown as arrows at the edge.
    ax : matplotlib Axes, optional
    level : float
        Coverage of the intervals, normal ones.
    named : int
        Most clusters that are shown by name, one a line; more of them are shown by rank, and above 2,000 as many at
        even distances.
    theme : {"light", "dark"}, optional

    Returns
    -------
    Plot
        Data: `label`, `estimate`, `low`, `high`, one row per cluster in ascending order.

    Raises
    ------
    OptionError
        For models without cluster effects.
    """
    whole_number("named", named, 0)
    check_fit(fit, "cg.plot.caterpillar")
    table, words = _effects(fit, level)
    many = len(table) > named
    size = (7.0, 4.2) if many else (7.0, max(2.2, 1.2 + 0.2 * len(table)))
    finite = table[np.isfinite(table["estimate"])]
    ends = finite[["low", "high", "estimate"]].to_numpy()
    ends = ends[np.isfinite(ends)]
    bottom, top = (ends.min(), ends.max()) if len(ends) > 0 else (-1.0, 1.0)
    room = 0.04 * (top - bottom) or 1.0
    shown = table.iloc[np.unique(np.linspace(0, len(table) - 1, CLUSTERS_DRAWN).astype(int))] if many else table
    rank = shown.index.to_numpy() + 1.0
    value = np.clip(shown["estimate"].to_numpy(), bottom - room, top + room)
    known = np.isfinite(shown[["low", "high"]].to_numpy()).all(axis=1)
    with canvas(ax, theme, size) as (axis, look):
        colour = look.colours[0]
        size_of = float(np.clip(160.0 / len(shown), 1.2, 4.5)) if many else 4.5
        width = float(np.clip(150.0 / len(shown), 0.35, 1.4)) if many else 1.4
        line = axis.vlines if many else axis.hlines
        alpha = 0.55 if many else 1.0
        line(rank[known], shown["low"][known], shown["high"][known], color=colour, linewidth=width, alpha=alpha)
        for where, marker, label in (
            (np.isfinite(shown["estimate"]), "o", ""),
            (np.isneginf(shown["estimate"]), "v" if many else "<", "at −∞"),
            (np.isposinf(shown["estimate"]), "^" if many else ">", "at +∞"),
        ):
            if where.any():
                xy = (rank[where], value[where]) if many else (value[where], rank[where])
                infinite = label != ""
                axis.plot(
                    *xy,
                    marker,
                    color=look.colours[1] if infinite else look.ink if many else colour,
                    markersize=4.0 if infinite else size_of,
                    label=f"{int(_count(table, label))} {label}, all responses alike" if infinite else None,
                )
        limits = (bottom - 2.0 * room, top + 2.0 * room)
        name = f"{words}, with {100 * level:g}% interval"
        if many:
            axis.axhline(0.0, color=look.muted, linewidth=1.0, zorder=1)
            axis.set_xlabel(f"Rank among {len(table):,} clusters of {fit.data.cluster_name}")
            axis.set_ylabel(wrapped(name, 34))
            axis.set_ylim(*limits)
        else:
            axis.axvline(0.0, color=look.muted, linewidth=1.0, zorder=1)
            size_of_text = 9.0 if len(table) <= 30 else 7.5
            axis.set_yticks(rank, [wrapped(label, 24, 1) for label in shown["label"]], fontsize=size_of_text)
            axis.set_ylim(0.3, len(table) + 0.7)
            axis.set_ylabel(wrapped(fit.data.cluster_name, 30))
            axis.set_xlabel(name)
            axis.set_xlim(*limits)
            axis.grid(visible=False, axis="y")
        legend(axis)
    return Plot(axis, table)


def _effects(fit: Result, level: float) -> tuple[pd.DataFrame, str]:
    import pandas as pd

    found = fit._cluster_intercepts()
    if found is None:
        raise OptionError(
            f"a caterpillar plot of a {fit.kind} fit",
            "a model that estimates or predicts cluster effects",
            "cg.random_effects(...) or cg.fixed_effects(...)",
        )
    words, known = found
    estimate = known["estimate"].to_numpy()
    low, high = wald_interval(estimate, known["std_error"].to_numpy(), level)
    table = pd.DataFrame({"label": known["label"].to_numpy(), "estimate": estimate, "low": low, "high": high})
    return table.sort_values("estimate", kind="stable", ignore_index=True), words


def _count(table: pd.DataFrame, label: str) -> int:
    infinite = np.isneginf(table["estimate"]) if label == "at −∞" else np.isposinf(table["estimate"])
    return int(np.count_nonzero(infinite))
