"""The clusters' intercepts, in ascending order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clusterglm.errors import OptionError, nearest
from clusterglm.inference.uncertainty.intervals import wald_interval, with_alpha
from clusterglm.model.arguments import whole_number
from clusterglm.model.large_data import CLUSTERS_DRAWN
from clusterglm.plot.base import Plot, canvas, legend, panels, wrapped
from clusterglm.plot.themes import Theme
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import check_fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_NAMED = 60  # clusters that still have room for their labels
_LETTERS_BELOW = 24  # letters in a line below one of several panels


@with_alpha
def caterpillar(
    fit: Result,
    ax: Axes | None = None,
    *,
    effect: str | None = None,
    level: float = 0.95,
    named: int = _NAMED,
    theme: str | None = None,
) -> Plot:
    """Each cluster's intercept with its interval, in ascending order; with several random effects, of each effect.

    Parameters
    ----------
    fit : RandomEffectsResult, MixedEffectsResult or FixedEffectsResult
        Posterior modes with standard deviations; or estimates with standard errors, where all responses are alike
        infinite and shown as arrows at the edge.
    ax : matplotlib Axes, optional
    effect : str, optional
        One of several random effects, by its name in `random_effects`; by default all, in panels side by side, or the
        first where an axis is given.
    level : float
        Coverage of the intervals, normal ones.
    named : int
        Most clusters that are shown by name, one a line; more of them are shown by rank, and above 2,000 as many at
        even distances.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `label`, `estimate`, `low`, `high`, one row per cluster in ascending order. Of several random effects
        those of each, after a column `effect`.

    Raises
    ------
    OptionError
        For models without cluster effects, and an effect that there is not.
    """
    import pandas as pd

    whole_number("named", named, 0)
    check_fit(fit, "cg.plot.caterpillar")
    found = _effects(fit, effect, level, alone=ax is not None)
    longest = max(len(table) for _, _, table in found.values())
    wide = 7.0 if len(found) == 1 else min(3.6 * len(found), 14.0)
    interval = f"with {100 * level:g}% interval"
    with canvas(ax, theme, (wide, 4.2 if longest > named else max(2.2, 1.2 + 0.2 * longest))) as (axis, look):
        axes = [axis] if len(found) == 1 else panels(axis, len(found))
        for each, (words, factor, table) in zip(axes, found.values(), strict=True):
            _draw(each, look, table, named, factor, f"{words}, {interval}", 72 if len(found) == 1 else _LETTERS_BELOW)
    if len(fit._cluster_effects()) == 1:
        return Plot(axes[0], next(iter(found.values()))[-1])
    tables = [table.assign(effect=name) for name, (_, _, table) in found.items()]
    whole = pd.concat(tables, ignore_index=True)
    return Plot(axes[0], whole[["effect", *(name for name in whole if name != "effect")]])


def _draw(axis: Axes, look: Theme, table: pd.DataFrame, named: int, cluster: str, name: str, letters: int) -> None:
    """One effect of the clusters, by name or by rank; below the axis lines have so many letters."""
    many = len(table) > named
    finite = table[np.isfinite(table["estimate"])]
    ends = finite[["low", "high", "estimate"]].to_numpy()
    ends = ends[np.isfinite(ends)]
    bottom, top = (ends.min(), ends.max()) if len(ends) > 0 else (-1.0, 1.0)
    room = 0.04 * (top - bottom) or 1.0
    shown = table.iloc[np.unique(np.linspace(0, len(table) - 1, CLUSTERS_DRAWN).astype(int))] if many else table
    rank = shown.index.to_numpy() + 1.0
    value = np.clip(shown["estimate"].to_numpy(), bottom - room, top + room)
    known = np.isfinite(shown[["low", "high"]].to_numpy()).all(axis=1)
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
    if many:
        axis.axhline(0.0, color=look.muted, linewidth=1.0, zorder=1)
        axis.set_xlabel(wrapped(f"Rank among {len(table):,} clusters of {cluster}", letters))
        axis.set_ylabel(wrapped(name, 34))
        axis.set_ylim(*limits)
    else:
        axis.axvline(0.0, color=look.muted, linewidth=1.0, zorder=1)
        size_of_text = 9.0 if len(table) <= 30 else 7.5
        axis.set_yticks(rank, [wrapped(label, 24, 1) for label in shown["label"]], fontsize=size_of_text)
        axis.set_ylim(0.3, len(table) + 0.7)
        axis.set_ylabel(wrapped(cluster, 30))
        axis.set_xlabel(wrapped(name, letters, 4))
        axis.set_xlim(*limits)
        axis.grid(visible=False, axis="y")
    legend(axis)


def _effects(fit: Result, effect: str | None, level: float, *, alone: bool) -> dict[str, tuple[str, str, pd.DataFrame]]:
    """Effects to show, each with words, its grouping factor, and a table in ascending order."""
    import pandas as pd

    known = fit._cluster_effects()
    if not known:
        raise OptionError(
            f"a caterpillar plot of a {fit.kind} fit",
            "a model that estimates or predicts cluster effects",
            "cg.random_effects(...) or cg.fixed_effects(...)",
        )
    if effect is not None and (not isinstance(effect, str) or effect not in known):
        names = ", ".join(map(repr, known))
        raise OptionError(f"effect={effect!r}", f"one of {names}", f"{nearest(str(effect), known)}effect=None for all")
    chosen = [effect] if effect is not None else list(known)[:1] if alone else list(known)
    found: dict[str, tuple[str, str, pd.DataFrame]] = {}
    for name in chosen:
        words, values = known[name]
        estimate = values["estimate"].to_numpy()
        low, high = wald_interval(estimate, values["std_error"].to_numpy(), level)
        table = pd.DataFrame({"label": values["label"].to_numpy(), "estimate": estimate, "low": low, "high": high})
        factor = str(values["group"].iloc[0] if "group" in values else fit.data.cluster_name)
        found[name] = (words, factor, table.sort_values("estimate", kind="stable", ignore_index=True))
    return found


def _count(table: pd.DataFrame, label: str) -> int:
    infinite = np.isneginf(table["estimate"]) if label == "at −∞" else np.isposinf(table["estimate"])
    return int(np.count_nonzero(infinite))
