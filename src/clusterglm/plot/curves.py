"""Predicted means against one covariate, the others held fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.table import read_table, to_pandas_columns
from clusterglm.errors import OptionError, nearest
from clusterglm.inference.design_changes import check_variables, recovered_frame
from clusterglm.inference.intervals import check_level, with_alpha
from clusterglm.model.arguments import is_whole, mapping, several, shown, whole_number
from clusterglm.plot.base import Plot, canvas, legend, wrapped
from clusterglm.results.base import Result
from clusterglm.results.conditional import ConditionalResult
from clusterglm.results.fixed_effects import FixedEffectsResult
from clusterglm.results.nonparametric import NonparametricResult
from clusterglm.results.pooled import PooledResult
from clusterglm.results.random_effects import RandomEffectsResult
from clusterglm.results.several import check_fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_BANDS = 3  # curves that still have room for their intervals
_KINDS = {"typical": "typical cluster", "marginal": "average over clusters"}
_USUAL: dict[type[Result], tuple[str, ...]] = {
    RandomEffectsResult: ("typical", "marginal"),
    NonparametricResult: ("marginal",),
    FixedEffectsResult: (),
}
_FEW = 2  # numbers that are shown as points, not as a curve


@with_alpha
def predictions(
    fit: Result,
    variable: str | None = None,
    ax: Axes | None = None,
    *,
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
    variable : str, optional
        Column of the data that the formula uses; by default its first one.
    ax : matplotlib Axes, optional
    data : table, optional
        The table that was fitted; needed where the values of a covariate cannot be read off the design, as with
        I(week > 2), and for models with an offset.
    at : mapping, optional
        Values of other columns; by default medians and most frequent levels.
    kinds : sequence of str, optional
        Of predictions for which the cluster is not named: by default "typical" and "marginal" with random effects,
        "marginal" with nonparametric ones, none with fixed ones.
    clusters : int or sequence, optional
        Labels of clusters to show; or how many, at even ranks of their intercepts. By default none, with fixed
        effects 3.
    level : float
        Coverage of the intervals, which are drawn for up to three curves, of more not those of clusters.
    scale : str, optional
        Of `fit.predict`: "response" or "link"; "link" or "ratio" for conditional models.
    points : int
        On a curve.
    theme : {"light", "dark"}, optional

    Returns
    -------
    Plot
        Data: `curve`, the variable, `estimate`, `std_error`, `low`, `high`, `status`.

    Raises
    ------
    OptionError
        On a variable that is not in the formula.
    DataError
        When the table is needed.
    """
    whole_number("points", points, 2, advice="points=60")
    check_level(level)
    check_fit(fit, "cg.plot.predictions")
    import pandas as pd

    if variable is not None and not isinstance(variable, str):
        raise OptionError(f"variable={shown(variable)}", "the name of a variable, or None", "variable='x'")
    wanted = check_variables(fit.data.design, variable)[0]
    frame, held = _grid(fit, wanted, data, mapping("at", at), points)
    if scale is None:
        scale = "link" if isinstance(fit, ConditionalResult) else "response"
    parts = []
    for name, rows, options in _curves(fit, frame, kinds, clusters):
        found = fit.predict(rows, scale=scale, level=level, **options)  # type: ignore[attr-defined]  # every kind has it
        found.insert(0, wanted, frame[wanted].to_numpy())
        found.insert(0, "curve", name)
        parts.append(found)
    table = pd.concat(parts, ignore_index=True)
    discrete = not pd.api.types.is_numeric_dtype(frame[wanted]) or len(frame) <= _FEW
    with canvas(ax, theme, (6.6, 4.2)) as (axis, look):
        _draw(axis, look, table, wanted, parts, discrete)
        note = wrapped("others: " + ", ".join(held), 84) if held else ""
        axis.set_xlabel(wrapped(wanted, 72) + (f"\n{note}" if note else ""))
        axis.set_ylabel(_scale_words(fit, scale) + f", with {100 * level:g}% interval")
        if len(parts) > 1 or parts[0]["curve"].iloc[0] != "":
            legend(axis)
    return Plot(axis, table)


def _draw(axis: Axes, look: Any, table: pd.DataFrame, wanted: str, parts: list[pd.DataFrame], discrete: bool) -> None:
    for k, part in enumerate(parts):
        style, name = look.series(k), str(part["curve"].iloc[0])
        y = part["estimate"].to_numpy(float)
        low, high = part["low"].to_numpy(float), part["high"].to_numpy(float)
        if not np.isfinite(y).any():
            name += ": " + str(part["status"].iloc[0])
        if discrete:
            x = np.arange(len(part)) + 0.14 * (k - 0.5 * (len(parts) - 1))
            known = np.isfinite(low) & np.isfinite(high)
            axis.vlines(x[known], low[known], high[known], color=style["color"], linewidth=1.6)
            axis.plot(x, y, style["marker"], color=style["color"], label=name)
        else:
            x = part[wanted].to_numpy(float)
            axis.plot(x, y, color=style["color"], linestyle=style["linestyle"], label=name)
            if len(parts) <= _BANDS or part["curve"].iloc[0] in _KINDS.values():
                axis.fill_between(x, low, high, color=style["color"], alpha=0.16, linewidth=0.0)
    if discrete:
        labels = [wrapped(value, 16) for value in parts[0][wanted]]
        crowded = sum(max(map(len, label.split("\n"))) for label in labels) > 60
        axis.set_xticks(range(len(labels)), labels, rotation=45 if crowded else 0, ha="right" if crowded else "center")
        axis.set_xlim(-0.5, len(labels) - 0.5)
        axis.grid(visible=False, axis="x")


def _curves(
    fit: Result, frame: pd.DataFrame, kinds: Sequence[str] | None, clusters: int | Sequence[Any] | None
) -> list[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Name, rows and options of `predict` for each curve."""
    if isinstance(fit, ConditionalResult):
        return [("", frame, {})]
    has_effects = isinstance(fit, FixedEffectsResult | RandomEffectsResult)
    if clusters is not None and not has_effects:
        raise OptionError(f"clusters= of a {fit.kind} fit", "fixed effects or random intercepts", "leave it out")
    if kinds is None:
        kinds = next((kinds for kind, kinds in _USUAL.items() if isinstance(fit, kind)), ("typical",))
    found: list[tuple[str, pd.DataFrame, dict[str, Any]]] = []
    for kind in several(
        "kinds", [kinds] if isinstance(kinds, str) else kinds, "kinds of predictions", "kinds=['typical']"
    ):
        name = _KINDS.get(kind, kind)
        found.append(("" if isinstance(fit, PooledResult) else name, frame, {"kind": kind}))
    if has_effects:
        column = str(fit.data.cluster_name)
        for label in _chosen(fit, clusters):
            rows = frame.assign(**{column: np.repeat(np.asarray([label]), len(frame))})
            found.append((f"{column} {label}", rows, {"kind": "conditional"}))
    if not found:
        raise OptionError("neither kinds= nor clusters=", "a curve at least", 'kinds=["typical"], or clusters=3')
    return found


def _chosen(fit: Result, clusters: int | Sequence[Any] | None) -> list[Any]:
    """Labels of the clusters to show."""
    if clusters is None:
        clusters = 3 if isinstance(fit, FixedEffectsResult) else 0
    labels = fit.data.labels
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
    intercepts = fit._intercepts()
    order = np.argsort(intercepts, kind="stable")
    order = order[np.isfinite(intercepts[order])]
    if number_of == 0 or len(order) == 0:
        return []
    at = np.unique(np.linspace(0, len(order) - 1, min(number_of, len(order))).round().astype(int))
    return [labels[k] for k in order[at]]


def _grid(fit: Result, wanted: str, data: Any, at: dict[str, Any], points: int) -> tuple[pd.DataFrame, list[str]]:
    """Rows along the variable, and where the others are held, in words."""
    import pandas as pd

    design = fit.data.design
    known = _known(fit, data, at)
    levels = {factor.column: list(factor.levels) for factor in design.factors if factor.column is not None}
    if wanted in levels:
        x: Any = np.array(levels[wanted], dtype=object)
    else:
        values = np.unique(known[wanted].dropna().to_numpy())
        x = values if len(values) <= _FEW or values.dtype.kind not in "fiu" else np.linspace(*_range(values), points)
    frame, held = pd.DataFrame({wanted: x}), []
    for name in [*design.variables, *design.offset_columns]:
        if name == wanted or name in frame.columns:
            continue
        value = at.get(name) if name in at else _middle(known[name], name in levels)
        frame[name] = pd.Series([value] * len(frame), index=frame.index)
        held.append(f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}")
    for name in at:
        if name not in frame.columns:
            raise OptionError(
                f"at= with {name!r}",
                f"columns that the formula uses: {', '.join(map(repr, frame.columns))}",
                f"{nearest(name, frame.columns)}predictions(..., at={{{frame.columns[0]!r}: ...}})",
            )
    return frame, held


def _known(fit: Result, data: Any, at: Mapping[str, Any]) -> pd.DataFrame:
    """Values of the covariates in the rows that were used."""
    design = fit.data.design
    if data is not None:
        table = read_table(data)
        names = [*design.variables, *design.offset_columns]
        frame: pd.DataFrame = to_pandas_columns(table, names)
        return frame.iloc[fit.data.row_index]
    lost = [name for name in design.offset_columns if name not in at]
    if lost:
        raise OptionError(
            f"a model with the offset {', '.join(lost)}",
            "its value, or the table",
            f"at={{{lost[0]!r}: ...}}, or data=",
        )
    return recovered_frame(fit.data)


def _middle(values: pd.Series[Any], factor: bool) -> Any:
    if factor or values.dtype.kind not in "fiu":
        return values.mode().iloc[0]
    numbers = values.to_numpy(float)
    distinct = np.unique(numbers)
    # the median of zeros and ones, if it lay between them, would be nobody's value
    return float(values.mode().iloc[0]) if len(distinct) <= _FEW else float(np.nanmedian(numbers))


def _range(values: NDArray[Any]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _scale_words(fit: Result, scale: str) -> str:
    if scale == "response":
        return "Probability" if fit.family == "binomial" else "Mean count"
    return "Ratio to a linear predictor of 0" if scale == "ratio" else "Linear predictor"
