"""Adjusted means with intervals, and contrasts of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.model.arguments import shown
from clusterglm.plot.base import Plot, canvas, legend, ratio_axis, wrapped
from clusterglm.results.models.base import Result
from clusterglm.results.tables.adjusted_means import AdjustedMeans, Contrasts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_OF_LABELS = 16  # characters of a mean's label in one line
_WIDTH_OF_CONTRASTS = 34


@with_alpha
def adjusted_means(
    fit: Result | AdjustedMeans,
    variables: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    slope: str | None = None,
    kind: str | None = None,
    scale: str | None = None,
    over: str = "observed",
    level: float = 0.95,
    data: Any = None,
    cov: str = "observed",
    theme: str | None = None,
) -> Plot:
    """Adjusted means with intervals, a colour for each group of `by`.

    Parameters
    ----------
    fit : Result or AdjustedMeans
        What `fit.adjusted_means(...)` gave, which takes no other argument but `ax` and `theme`; or a fit.
    variables, by, at, slope, kind, scale, over, level, data, cov
        As `fit.adjusted_means` takes them.
    ax : matplotlib Axes, optional
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: the table of the means.

    Raises
    ------
    OptionError
        For a fit without adjusted means, or as `fit.adjusted_means`.
    """
    means = _means_of(
        fit,
        variables,
        {
            "by": by, "at": at, "slope": slope, "kind": kind, "scale": scale, "over": over, "level": level,
            "data": data, "cov": cov,
        },
    )  # fmt: skip
    table = means.to_frame()
    names = [name for name in means.values if name not in means.by]
    labels = [", ".join(map(str, row)) for row in zip(*(means.values[name] for name in names), strict=True)]
    numeric = len(names) == 1 and table[names[0]].dtype.kind in "if"
    ticks = list(dict.fromkeys(labels))
    places = table[names[0]].to_numpy(float) if numeric else np.array([ticks.index(each) for each in labels], float)
    groups = list(zip(*(means.values[name] for name in means.by), strict=True)) or [()] * len(table)
    series = list(dict.fromkeys(groups))
    room = np.diff(np.unique(places)).min() if len(np.unique(places)) > 1 else 1.0
    with canvas(ax, theme, (max(4.0, 1.2 + 0.9 * len(ticks)), 4.0)) as (axis, look):
        for k, group in enumerate(series):
            own = np.array([each == group for each in groups])
            style = look.series(k)
            x = places[own] + 0.12 * room * (k - 0.5 * (len(series) - 1))
            axis.vlines(x, table["conf_low"][own], table["conf_high"][own], color=style["color"], linewidth=1.7)
            line = {"linestyle": style["linestyle"]} if numeric else {"linestyle": ""}
            axis.plot(
                x, table["estimate"][own], marker=style["marker"], color=style["color"], label=_words(group), **line
            )
        if means.slopes:
            axis.axhline(0.0, color=look.muted, linewidth=1.0, zorder=1)
        if not numeric:
            axis.set_xticks(range(len(ticks)), [wrapped(tick, _WIDTH_OF_LABELS) for tick in ticks])
            axis.set_xlim(-0.5, len(ticks) - 0.5)
            axis.grid(visible=False, axis="x")
        axis.set_xlabel(wrapped(", ".join(names), 72))
        axis.set_ylabel(wrapped(f"{means.what.split(',')[0]}, with {100 * means.level:g}% interval", 44))
        if means.by:
            legend(axis, title=", ".join(means.by), alignment="left")
    return Plot(axis, table)


def contrasts(found: Contrasts, ax: Axes | None = None, *, theme: str | None = None) -> Plot:
    """Contrasts with their simultaneous intervals.

    Parameters
    ----------
    found : Contrasts
        What `contrasts(...)` of adjusted means gave.
    ax : matplotlib Axes, optional
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: the table of the contrasts. Ratios are on a logarithmic axis.

    Raises
    ------
    OptionError
        On something else.
    """
    if not hasattr(found, "critical"):
        raise OptionError(
            f"contrasts({shown(found)})", "contrasts of adjusted means", 'fit.adjusted_means("x").contrasts()'
        )
    table = found.to_frame()
    groups = [_words(group) for group in zip(*found.by.values(), strict=True)] or [""] * len(table)
    labels = [f"{group}: {name}" if group else name for group, name in zip(groups, found.names, strict=True)]
    height = max(1.2 + 0.36 * len(labels), 2.0)
    with canvas(ax, theme, (7.0, height)) as (axis, look):
        axis.axvline(1.0 if found.exponentiate else 0.0, color=look.muted, linewidth=1.0, zorder=1)
        y, style = np.arange(len(labels)), look.series(0)
        axis.hlines(y, table["conf_low"], table["conf_high"], color=style["color"], linewidth=1.7)
        axis.plot(table["estimate"], y, style["marker"], color=style["color"])
        axis.set_yticks(y, [wrapped(label, _WIDTH_OF_CONTRASTS) for label in labels])
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.grid(visible=False, axis="y")
        if found.exponentiate:
            ratio_axis(axis)
        how = "" if found.adjust is None else f", adjusted ({found.adjust})"
        axis.set_xlabel(wrapped(f"{found.what.capitalize()}, with {100 * found.level:g}% interval{how}", 72))
    return Plot(axis, table)


def _means_of(fit: Any, variables: Any, options: dict[str, Any]) -> AdjustedMeans:
    if hasattr(fit, "contrasts"):  # they are there already
        if variables is not None:
            raise OptionError("variables of adjusted means that are there already", "a fit", "adjusted_means(means)")
        given: AdjustedMeans = fit
        return given
    if not hasattr(fit, "adjusted_means"):
        kind = getattr(fit, "kind", type(fit).__name__)
        raise OptionError(f"adjusted means of a {kind} fit", "a model that has them", "cg.random_effects(...)")
    if variables is None:
        raise OptionError("a picture of adjusted means of no variable", "variables", 'fit.plot.adjusted_means("x")')
    found: AdjustedMeans = fit.adjusted_means(variables, **options)
    return found


def _words(group: tuple[Any, ...]) -> str:
    return ", ".join(map(str, group))
