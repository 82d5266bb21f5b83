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

_A_LOT = 1.0  # a Cook's distance


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
        for k in most[known[most]]:
            above = values[k] >= 0.0
            axis.annotate(
                wrapped(found.labels[k], 24, 1), (at[k], values[k]), xytext=(0, 5 if above else -5),
                textcoords="offset points", ha="center", va="bottom" if above else "top", fontsize=8.0,
            )  # fmt: skip
        axis.margins(y=0.14)
        axis.set_xlabel(f"{factor.capitalize() if factor == 'row' else factor}, in the order of the labels")
        how = "one step" if found.kind == "one_step" else "fitted again"
        words = "Cook's distance" if parameter is None else f"{parameter}: change in standard errors"
        axis.set_ylabel(wrapped(f"{words} ({how})", 40))
        axis.grid(visible=False, axis="x")
    return Plot(axis, table)


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
