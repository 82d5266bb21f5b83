"""Distributions by simulation, with what was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError, check_option, nearest
from clusterglm.inference.diagnostics.dispersion import SimulationTest
from clusterglm.inference.distribution.goodness import GoodnessOfFit
from clusterglm.inference.hypotheses.bootstrap import SimulatedTest
from clusterglm.inference.uncertainty.bootstrap_intervals import BootstrapEstimates
from clusterglm.inference.uncertainty.intervals import RESAMPLES, with_alpha
from clusterglm.model.arguments import shown
from clusterglm.model.arrays import Array
from clusterglm.model.workers import Progress
from clusterglm.plot.base import Plot, canvas, legend, wrapped
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import is_result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OFF_AXIS = 5.0  # ranges of the replicates from the nearest of them, from where an observed value lies beyond the axis
_ROOM = 0.6  # ranges that the axis then leaves on that side

Simulated = SimulatedTest | SimulationTest | GoodnessOfFit | BootstrapEstimates


@with_alpha
def bootstrap(
    found: Result | Simulated,
    parameter: str | None = None,
    ax: Axes | None = None,
    *,
    n_boot: int = 999,
    level: float = 0.95,
    seed: int | np.random.SeedSequence | None = None,
    n_jobs: int = 1,
    progress: Progress = None,
    resample: str = "model",
    theme: str | None = None,
) -> Plot:
    """Simulated values of a statistic or an estimate, with the observed one.

    Parameters
    ----------
    found : test, BootstrapEstimates or Result
        A test by simulation (`test_clustering`, `dispersion_test`, the `goodness` of a distribution), what
        `fit.bootstrap` gave; or a fit: then the bootstrap of `parameter` or, without one, its test of no clustering.
    parameter : str, optional
        Of bootstrapped estimates: a coefficient, or "sigma".
    ax : matplotlib Axes, optional
    n_boot, seed, n_jobs, progress
        Of the simulation, where `found` is a fit.
    resample : {"model", "clusters"}
        What the bootstrap of a fit's parameter draws; with "clusters", `parameter` is by default the last one.
    level : float
        Of the percentile interval marked for estimates.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `replicate`, one row for each value.

    Raises
    ------
    OptionError
        When there is no such parameter, or no successful replicate.
    """
    if not is_result(found) and not hasattr(found, "replicates"):
        raise OptionError(
            f"cg.plot.bootstrap({shown(found)}, ...)",
            "a fit, a test by simulation, or its bootstrap",
            "fit.bootstrap()",
        )
    if parameter is not None and not isinstance(parameter, str):
        raise OptionError(f"parameter={shown(parameter)}", "the name of a coefficient, or 'sigma'", "parameter=None")
    import pandas as pd

    if is_result(found):
        found = _run(found, parameter, n_boot, seed, n_jobs, progress, resample)
    interval: tuple[float, float] | None = None
    if isinstance(found, BootstrapEstimates):
        j = _position(found, parameter)
        values, observed = found.replicates[:, j] if len(found.replicates) > 0 else np.empty(0), found.estimate[j]
        low, high = found.interval(level=level)
        interval = float(low[j]), float(high[j])
        label, marked = wrapped(f"{found.names[j]}, estimates from {found._drawn}", 70), f"estimate {observed:.4g}"
    else:
        values, observed = found.replicates, found.statistic
        label, marked = found._replicated, f"observed {observed:.4g}, p = {found.pvalue:.3g}"
    values = values[np.isfinite(values)]
    if len(values) == 0:
        raise OptionError("no successful replicate", "one at least", "a larger n_boot, and a look at `failures`")
    table = pd.DataFrame({"replicate": values})
    with canvas(ax, theme, (6.2, 3.6)) as (axis, look):
        axis.hist(
            values,
            bins=_bins(values),
            color=look.colours[0],
            alpha=0.6,
            edgecolor=look.paper,
            label=f"{len(values)} replicates",
        )
        _mark(axis, values, float(observed), marked, look.colours[1])
        if interval is not None:
            for k, end in enumerate(interval):
                name = f"{100 * level:g}% percentile interval" if k == 0 else None
                axis.axvline(end, color=look.ink, linewidth=1.1, linestyle=":", label=name)
        axis.grid(visible=False, axis="x")
        axis.set_xlabel(label)
        axis.set_ylabel("Replicates")
        legend(axis)
    return Plot(axis, table)


def _mark(axis: Axes, values: Array, observed: float, label: str, colour: str) -> None:
    """The observed value as a line; where it lies so far out that the replicates would shrink to one, as an arrow."""
    low, high = float(values.min()), float(values.max())
    spread = high - low or max(abs(high), 1.0)
    left, right = (low - observed) / spread > _OFF_AXIS, (observed - high) / spread > _OFF_AXIS
    if not (left or right):
        axis.axvline(observed, color=colour, linewidth=2.0, linestyle="-", label=label)
        return
    axis.set_xlim(low - (_ROOM if left else 0.05) * spread, high + (_ROOM if right else 0.05) * spread)
    end = 0.99 if right else 0.01
    arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.0}
    axis.annotate(
        "", (end, 0.5), (0.8 if right else 0.2, 0.5), xycoords="axes fraction", textcoords="axes fraction",
        arrowprops=arrow,
    )  # fmt: skip
    axis.text(end, 0.54, f"{observed:.4g}", transform=axis.transAxes, color=colour, ha="right" if right else "left")
    axis.plot([], [], color=colour, linewidth=2.0, marker=">" if right else "<", label=f"{label}, beyond the axis")


def _run(
    fit: Any, parameter: str | None, n_boot: int, seed: Any, n_jobs: int, progress: Progress, resample: str
) -> Simulated:
    check_option("resample", resample, RESAMPLES)
    if parameter is not None or resample != "model":
        of_estimates: BootstrapEstimates = fit.bootstrap(n_boot, seed, n_jobs, progress, resample=resample)
        return of_estimates
    if not fit._simulates_no_clustering:
        raise OptionError(
            f"a bootstrap test of no clustering of a {fit.kind} fit",
            "a model with cluster effects, or a parameter",
            "parameter= with the name of a coefficient",
        )
    of_ratio: SimulatedTest = fit.test_clustering(
        "bootstrap", n_boot=n_boot, seed=seed, n_jobs=n_jobs, progress=progress
    )
    return of_ratio


def _position(found: BootstrapEstimates, parameter: str | None) -> int:
    name = found.names[-1] if parameter is None else parameter
    if name not in found.names:
        raise OptionError(
            f"parameter={name!r}", f"one of {', '.join(found.names)}", f"{nearest(name, found.names)}a name of these"
        )
    return found.names.index(name)


def _bins(values: Array) -> int:
    return int(np.clip(np.ceil(2.0 * len(values) ** (1.0 / 3.0)), 8, 50))
