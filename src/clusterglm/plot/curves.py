"""Predicted means against one covariate, by groups of others, the rest held fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import DataError, OptionError
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arguments import is_whole, mapping, several, whole_number
from clusterglm.plot.base import Plot, canvas, legend, wrapped
from clusterglm.plot.grid import FEW, make_grid
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import check_fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_BANDS = 3  # curves that still have room for their intervals
_SCALES_IN_WORDS = {
    "ratio": "Ratio to a linear predictor of 0",
    "probability": "Probability",
    "cumulative": "Probability of this category or a lower one",
}
_KINDS = {"typical": "typical cluster", "marginal": "average over clusters"}


@with_alpha
def predictions(
    fit: Result,
    variable: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    by: str | None = None,
    data: Any = None,
    at: Mapping[str, Any] | None = None,
    kinds: Sequence[str] | None = None,
    clusters: int | Sequence[Any] | None = None,
    level: float = 0.95,
    scale: str | None = None,
    points: int = 60,
    theme: str | None = None,
) -> Plot:
    """Predictions with intervals along one covariate, the others held where the data have their middle.

    Parameters
    ----------
    fit : Result
    variable : str or two of them, optional
        Column of the data that the formula uses; by default its first one. Of two, the second is `by`.
    ax : matplotlib Axes, optional
    by : str, optional
        Another column, for each of whose values there is a curve (of numbers with more than 6 values: for the
        quartiles). By default the categorical ones of which the formula has an interaction with the variable.
    data : table, optional
        The table that was fitted; needed where the values of a covariate cannot be read off the design, as with
        I(week > 2), and for models with an offset.
    at : mapping, optional
        Values of other columns, by default medians and most frequent levels; several values of a column are groups
        with a curve each. Of the variable itself: where to predict.
    kinds : sequence of str, optional
        Of predictions for which the cluster is not named: by default "typical" and "marginal" with random effects,
        "marginal" with nonparametric ones, none with fixed ones. With groups, or curves for each category of an
        ordinal response, the first of these alone.
    clusters : int or sequence, optional
        Labels of clusters to show; or how many, at even ranks of their intercepts. By default none, with fixed
        effects 3, or with groups the one in the middle.
    level : float
        Coverage of the intervals, which are drawn for up to three curves, of more not those of clusters.
    scale : str, optional
        Scale of the predictions, as of `fit.predict`: "response" or "link"; "link" or "ratio" for conditional models;
        "probability" or "cumulative" of each category for ordinal ones; "zero" and the like where zeros have a linear
        predictor.
    points : int
        On a curve.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `curve`, the variable, those of the groups, `category` of ordinal responses, `estimate`, `std_error`,
        `low`, `high`, `status`.

    Raises
    ------
    OptionError
        On variables that are not in the formula, or levels that the fit has not seen; it names those that there are.
    DataError
        When the table is needed, or when no curve exists.
    """
    whole_number("points", points, 2, advice="points=60")
    check_level(level)
    check_fit(fit, "cg.plot.predictions")
    import pandas as pd

    grid = make_grid(fit, variable, by, data, mapping("at", at), points)
    wanted, frame = grid.variable, grid.groups[0][1]
    if scale is None:
        scale = fit._scales[0]
    parts = []
    kinds_shown = list[str]()
    several_of_a_row = fit._drawn_outcomes is not None
    for group, own in grid.groups:
        curves = _curves(fit, own, kinds, clusters, grouped=several_of_a_row or len(grid.groups) > 1)
        kinds_shown = [name for name, _, _ in curves]
        for name, rows, options in curves:
            shown = name if not group else group if len(curves) == 1 else f"{group}, {name}"
            for outcome, found in fit._by_outcome(fit.predict(rows, scale=scale, level=level, **options)):
                for column in reversed((wanted, *grid.by)):
                    found.insert(0, column, own[column].to_numpy())
                alone = several_of_a_row and len(curves) == 1 and not group
                named = [str(each) for each in ("" if alone else shown, outcome) if each != ""]
                found.insert(0, "curve", ", ".join(named))
                parts.append(found)
    table = pd.concat(parts, ignore_index=True)
    _refuse_nothing(table)
    discrete = not pd.api.types.is_numeric_dtype(frame[wanted]) or len(frame) <= FEW
    with canvas(ax, theme, (6.6, 4.2)) as (axis, look):
        _draw(axis, look, table, wanted, parts, discrete)
        note = wrapped("others: " + ", ".join(grid.held), 84) if grid.held else ""
        axis.set_xlabel(wrapped(wanted, 72) + (f"\n{note}" if note else ""))
        words = _scale_words(fit, scale)
        if (grid.by or several_of_a_row) and len(kinds_shown) == 1 and kinds_shown[0]:
            words += f" ({kinds_shown[0]})"
        axis.set_ylabel(wrapped(f"{words}, with {100 * level:g}% interval", 48))
        if len(parts) > 1 or parts[0]["curve"].iloc[0] != "":
            titles = [*grid.by, *([] if fit._drawn_outcomes is None else [fit._drawn_outcomes])]
            legend(axis, **({"title": titles[0], "alignment": "left"} if len(titles) == 1 else {}))
    return Plot(axis, table)


def _draw(axis: Axes, look: Any, table: pd.DataFrame, wanted: str, parts: list[pd.DataFrame], discrete: bool) -> None:
    for k, part in enumerate(parts):
        style, name = look.series(k), str(part["curve"].iloc[0])
        y = part["estimate"].to_numpy(float)
        low, high = part["low"].to_numpy(float), part["high"].to_numpy(float)
        if not np.isfinite(y).any():
            name += ": " + str(part["status"].iloc[0])
        if discrete:
            x = np.arange(len(part)) + min(0.14, 0.8 / len(parts)) * (k - 0.5 * (len(parts) - 1))
            known = np.isfinite(low) & np.isfinite(high)
            axis.vlines(x[known], low[known], high[known], color=style["color"], linewidth=1.6)
            axis.plot(x, y, style["marker"], color=style["color"], label=name)
        else:
            x = part[wanted].to_numpy(float)
            axis.plot(x, y, color=style["color"], linestyle=style["linestyle"], label=name)
            if len(parts) <= _BANDS or name in _KINDS.values():
                axis.fill_between(x, low, high, color=style["color"], alpha=0.16, linewidth=0.0)
    if discrete:
        labels = [wrapped(value, 16) for value in parts[0][wanted]]
        crowded = sum(max(map(len, label.split("\n"))) for label in labels) > 60
        axis.set_xticks(range(len(labels)), labels, rotation=45 if crowded else 0, ha="right" if crowded else "center")
        axis.set_xlim(-0.5, len(labels) - 0.5)
        axis.grid(visible=False, axis="x")


def _curves(
    fit: Result,
    rows: pd.DataFrame,
    kinds: Sequence[str] | None,
    clusters: int | Sequence[Any] | None,
    *,
    grouped: bool,
) -> list[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Name, rows and options of `predict` for each curve."""
    if not fit._takes_kind:
        return [("", rows, {})]
    if clusters is not None and fit._drawn_clusters is None:
        raise OptionError(f"clusters= of a {fit.kind} fit", "fixed effects or random intercepts", "leave it out")
    if kinds is None:
        kinds = fit._drawn_kinds[:1] if grouped else fit._drawn_kinds
    if clusters is None and fit._drawn_clusters is not None:
        clusters = min(fit._drawn_clusters, 1) if grouped else fit._drawn_clusters
    found: list[tuple[str, pd.DataFrame, dict[str, Any]]] = []
    for kind in several(
        "kinds", [kinds] if isinstance(kinds, str) else kinds, "kinds of predictions", "kinds=['typical']"
    ):
        name = _KINDS.get(kind, kind)
        found.append((name if fit._curves_differ else "", rows, {"kind": kind}))
    if clusters is not None:
        column = str(fit.data.cluster_name)
        for label in _chosen(fit, clusters):
            own = rows.assign(**{column: np.repeat(np.asarray([label]), len(rows))})
            found.append((f"{column} {label}", own, {"kind": "conditional"}))
    if not found:
        raise OptionError("neither kinds= nor clusters=", "a curve at least", 'kinds=["typical"], or clusters=3')
    return found


def _chosen(fit: Result, clusters: int | Sequence[Any]) -> list[Any]:
    """Labels of the clusters to show."""
    labels = fit.data.rows.labels
    if not is_whole(clusters):
        clusters = several("clusters", clusters, "a number, or labels of clusters", "clusters=3")
        known = set(labels.tolist())
        for label in clusters:
            if label not in known:
                raise OptionError(
                    f"clusters= with {label!r}", f"labels of {fit.data.cluster_name!r}", "clusters=3 takes some"
                )
        return list(clusters)
    number_of = whole_number("clusters", clusters, 0)
    levels = fit._cluster_levels()
    order = np.argsort(levels, kind="stable")
    order = order[np.isfinite(levels[order])]
    if number_of == 0 or len(order) == 0:
        return []
    if number_of == 1:
        return [labels[order[(len(order) - 1) // 2]]]
    at = np.unique(np.linspace(0, len(order) - 1, min(number_of, len(order))).round().astype(int))
    return [labels[k] for k in order[at]]


def _refuse_nothing(table: pd.DataFrame) -> None:
    """A picture shows something."""
    if not np.isfinite(table["estimate"].to_numpy(float)).any():
        raise DataError(
            f"predictions none of which exists: {table['status'].iloc[0]}",
            "one at least",
            'another of kinds=["typical", "marginal"]; or other values in at=',
        )


def _scale_words(fit: Result, scale: str) -> str:
    if scale in fit._scale_words:
        return fit._scale_words[scale]
    if scale == "response":
        success = "" if fit._success is None else f" of {fit._success!r}"
        return f"{fit.response.words.expectation}{success}"
    return _SCALES_IN_WORDS.get(scale, "Linear predictor")
