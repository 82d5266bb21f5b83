"""Densities of fitted distributions of intercepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.plot.base import Plot, canvas, legend
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import Fits, named_fits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS_OF_DENSITY = 401


def _words(fit: Result) -> str:
    return fit._intercepts_in_words


@with_alpha
def density(fits: Fits, ax: Axes | None = None, *, level: float = 0.95, theme: str | None = None) -> Plot:
    """Density of the random intercepts, with a pointwise band, of one fit or of several.

    Parameters
    ----------
    fits : RandomEffectsResult, or several of them
    ax : matplotlib Axes, optional
    level : float
        Coverage of the band, by the delta method: in sigma, and in the shape where that was estimated.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `model`, `intercept` (about the model's own, 0 in its middle), `density`, `low`, `high`; as far out as the
        density is above a thousandth of its maximum.

    Raises
    ------
    OptionError
        For models without one random intercept per cluster, and where sigma is zero.
    """
    import pandas as pd

    check_level(level)
    named = named_fits(fits, _words, "cg.plot.density")
    tables = []
    for name, fit in named.items():
        found = fit._density_of_intercepts(_POINTS_OF_DENSITY, level)
        tables.append(
            pd.DataFrame(
                {
                    "model": name,
                    "intercept": found.intercepts,
                    "density": found.density,
                    "low": found.low,
                    "high": found.high,
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    with canvas(ax, theme, (6.4, 3.8)) as (axis, look):
        top = 0.0
        for k, (model, part) in enumerate(table.groupby("model", sort=False)):
            style = look.series(k)
            line = {"color": style["color"], "linestyle": style["linestyle"]}
            axis.fill_between(
                part["intercept"], part["low"], part["high"], color=line["color"], alpha=0.2, linewidth=0.0
            )
            axis.plot(part["intercept"], part["density"], label=str(model), **line)
            top = max(top, float(np.nanmin([part["high"].max(), 3.0 * part["density"].max()])))
        axis.set_ylim(0.0, 1.05 * top)
        axis.set_xlabel("Random intercept of a cluster, on the linear predictor")
        axis.set_ylabel("Density")
        legend(axis)
    return Plot(axis, table)
