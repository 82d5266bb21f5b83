"""The gradient function: where the distribution of the intercept could do better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.inference.goodness import gradient_function
from clusterglm.plot.base import Plot, canvas, legend
from clusterglm.results.random_effects import RandomEffectsResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_POINTS = 121


def gradient(
    fit: RandomEffectsResult | pd.DataFrame | Any,
    ax: Axes | None = None,
    *,
    n_boot: int = 0,
    seed: int | np.random.SeedSequence | None = None,
    theme: str | None = None,
) -> Plot:
    """Gradient function of the fitted distribution of intercepts.

    Where it is above zero, the likelihood would gain from more probability there; for the best of all distributions it
    is nowhere above (Verbeke and Molenberghs, Biostatistics 14, 2013).

    Parameters
    ----------
    fit : RandomEffectsResult, or a gradient function
        The latter as a data frame with columns `intercept`, `value` and, for the band, `lower` and `upper`; or an
        object whose `to_frame()` gives one.
    ax : matplotlib Axes, optional
    n_boot : int
        Replicates behind the band, where the fit can make one; 0 for none.
    seed : int or SeedSequence, optional
        Of the replicates.
    theme : {"light", "dark"}, optional

    Returns
    -------
    Plot
        Data: `intercept`, `value`, and `lower` and `upper` if there is a band.

    Raises
    ------
    OptionError
        For models without random intercepts.
    """
    table = _table(fit, n_boot, seed)
    with canvas(ax, theme, (6.4, 3.8)) as (axis, look):
        axis.axhline(0.0, color=look.muted, linewidth=1.0)
        if "lower" in table and table["lower"].notna().any():
            axis.fill_between(
                table["intercept"],
                table["lower"],
                table["upper"],
                color=look.colours[0],
                alpha=0.2,
                linewidth=0.0,
                label="under the fitted model",
            )
        axis.plot(table["intercept"], table["value"], color=look.colours[0], label="gradient function")
        above = table["value"] > 0.0
        axis.fill_between(
            table["intercept"],
            0.0,
            table["value"],
            where=above.to_numpy(),
            color=look.colours[1],
            alpha=0.45,
            linewidth=0.0,
            label="more probability wanted",
        )
        axis.set_xlabel("Intercept of a cluster, on the linear predictor")
        axis.set_ylabel("Gradient function")
        legend(axis)
    return Plot(axis, table)


def _table(fit: Any, n_boot: int, seed: Any) -> pd.DataFrame:
    import pandas as pd

    if hasattr(fit, "to_frame"):
        fit = fit.to_frame()
    if isinstance(fit, pd.DataFrame):
        missing = {"intercept", "value"} - set(fit.columns)
        if missing:
            raise OptionError(
                f"a gradient function with columns {list(fit.columns)}", "intercept and value", "lower, upper: the band"
            )
        return fit.sort_values("intercept", ignore_index=True)
    if not isinstance(fit, RandomEffectsResult):
        kind = getattr(fit, "kind", type(fit).__name__)
        raise OptionError(f"a gradient function of a {kind} fit", "random intercepts", "cg.random_effects(...)")
    if hasattr(fit, "gradient_function"):
        frame: pd.DataFrame = fit.gradient_function(n_boot=n_boot, seed=seed).to_frame()
        return frame.sort_values("intercept", ignore_index=True)
    reach = max(1.3 * float(np.abs(fit.fit.modes).max()), 3.0 * fit.sigma, 1.0)
    found = gradient_function(fit.data, fit.fit, np.linspace(-reach, reach, _POINTS))
    return pd.DataFrame({"intercept": found.intercept, "value": found.gradient})
