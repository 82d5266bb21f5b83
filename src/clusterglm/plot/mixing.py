"""The gradient function: where the distribution of the intercept could do better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clusterglm.errors import OptionError
from clusterglm.inference.distribution.gradient_function import GradientTest
from clusterglm.plot.base import Plot, canvas, legend

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from clusterglm.results.models.random_effects import RandomEffectsResult


def gradient(
    fit: RandomEffectsResult | GradientTest,
    ax: Axes | None = None,
    *,
    n_boot: int = 0,
    seed: int | np.random.SeedSequence | None = None,
    n_jobs: int = 1,
    theme: str | None = None,
) -> Plot:
    """Gradient function of the fitted distribution of intercepts.

    Where it is above zero, the likelihood would gain from more probability there; for the best of all distributions it
    is nowhere above (Verbeke and Molenberghs, Biostatistics 14, 2013).

    Parameters
    ----------
    fit : RandomEffectsResult or GradientTest
        The latter is what `fit.gradient_function` gives.
    ax : matplotlib Axes, optional
    n_boot : int
        Replicates behind the bands, pointwise and simultaneous; 0 for none.
    seed, n_jobs
        Of the replicates.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `intercept`, `gradient`, and the ends of both bands, nan without replicates.

    Raises
    ------
    OptionError
        For models without random intercepts, and where sigma is zero.
    """
    if not isinstance(fit, GradientTest) and not hasattr(type(fit), "gradient_function"):
        kind = getattr(fit, "kind", type(fit).__name__)
        raise OptionError(f"a gradient function of a {kind} fit", "random intercepts", "cg.random_effects(...)")
    found = fit if isinstance(fit, GradientTest) else fit.gradient_function(n_boot=n_boot, seed=seed, n_jobs=n_jobs)
    table = found.to_frame()
    with canvas(ax, theme, (6.4, 3.8)) as (axis, look):
        axis.axhline(0.0, color=look.muted, linewidth=1.0)
        for suffix, alpha, words in (
            ("_simultaneous", 0.12, "under the fitted model, everywhere at once"),
            ("", 0.25, "under the fitted model, point by point"),
        ):
            low, high = table[f"lower{suffix}"], table[f"upper{suffix}"]
            if low.notna().any():
                axis.fill_between(
                    table["intercept"], low, high, color=look.colours[0], alpha=alpha, linewidth=0.0, label=words
                )
        axis.plot(table["intercept"], table["gradient"], color=look.colours[0], label="gradient function")
        axis.fill_between(
            table["intercept"],
            0.0,
            table["gradient"],
            where=(table["gradient"] > 0.0).to_numpy(),
            color=look.colours[1],
            alpha=0.45,
            linewidth=0.0,
            label="more probability wanted",
        )
        axis.set_xlabel("Intercept of a cluster, on the linear predictor")
        axis.set_ylabel("Gradient function")
        legend(axis)
    return Plot(axis, table)
