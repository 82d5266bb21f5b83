"""Survival curves of person-period fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import DataError, OptionError
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.plot.base import Plot, canvas, legend, wrapped
from clusterglm.results.topics.survival import curve_columns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from clusterglm.results.models.random_effects import RandomEffectsResult

_SURVIVAL_BANDS = 4  # curves that still have room for their intervals
_KINDS = {
    "marginal": "averaged over frailties",
    "typical": "at a frailty of zero",
    "conditional": "at the frailty of the cluster",
}


@with_alpha
def survival(
    fit: RandomEffectsResult,
    data: Any,
    time: str,
    by: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    kind: str = "marginal",
    level: float = 0.95,
    theme: str | None = None,
) -> Plot:
    """Survival by period, of which each curve steps down at the end.

    Parameters
    ----------
    fit : RandomEffectsResult
    data, time, by, kind, level
        As `fit.survival` takes them.
    ax : matplotlib Axes, optional
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: what `fit.survival` gives. Intervals are drawn for up to four curves.

    Raises
    ------
    OptionError
        For models without random intercepts.
    DataError
        When no curve is known, and as `fit.survival`.
    """
    if not hasattr(fit, "survival"):
        kind_of = getattr(fit, "kind", type(fit).__name__)
        raise OptionError(f"survival curves of a {kind_of} fit", "random intercepts", "cg.random_effects(...)")
    table = fit.survival(data, time, by, kind, level=level)
    if not table["survival"].notna().any():
        reason = table["status"].iloc[0] if len(table) > 0 else "there are no rows"
        raise DataError(f"survival curves none of which is known: {reason}", "one at least", "other rows in data=")
    names, smooth = curve_columns(time, by), getattr(fit, "_smooth_survival", False)
    curves = [("", table)] if not names else [(_words(key), own) for key, own in table.groupby(names, sort=False)]
    with canvas(ax, theme, (6.4, 4.0)) as (axis, look):
        for k, (name, own) in enumerate(curves):
            style, x = look.series(k), _with_start(own[time])
            line = {"color": style["color"], "linestyle": style["linestyle"]}
            if smooth:
                axis.plot(own[time], own["survival"], label=name, **line)
                if len(curves) <= _SURVIVAL_BANDS:
                    axis.fill_between(own[time], own["low"], own["high"], color=style["color"], alpha=0.16, linewidth=0)
                continue
            axis.step(x, _after_one(own["survival"]), where="post", label=name, **line)
            if len(curves) <= _SURVIVAL_BANDS:
                low, high = _after_one(own["low"]), _after_one(own["high"])
                axis.fill_between(x, low, high, step="post", color=style["color"], alpha=0.16, linewidth=0.0)
        axis.set_ylim(0.0, 1.02)
        axis.set_xlabel(wrapped(time, 72))
        drawn = f", with {100 * level:g}% interval" if table["low"].notna().any() else ""
        axis.set_ylabel(wrapped(f"Survival {_KINDS[kind]}{drawn}", 40))
        if names:
            legend(axis, title=", ".join(names), alignment="left")
    return Plot(axis, table)


def _words(key: Any) -> str:
    return ", ".join(str(value) for value in key) if isinstance(key, tuple) else str(key)


def _with_start(time: pd.Series[Any]) -> Any:
    """Ends of periods, and where the first begins: as far before its end as the next is after it, but not before 0."""
    x = time.to_numpy()
    gap = x[1] - x[0] if len(x) > 1 else x[0] - x[0] + 1 if x.dtype.kind != "M" else np.timedelta64(1, "D")
    begin = x[0] - gap
    return np.concatenate([[begin if x.dtype.kind == "M" or x[0] < 0 else max(begin, 0)], x])


def _after_one(values: pd.Series[float]) -> Any:
    return np.append(1.0, values.to_numpy(dtype=np.float64))
