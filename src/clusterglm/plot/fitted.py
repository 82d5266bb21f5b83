"""Whether the responses look as the model says: residuals with simulation envelopes, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.inference.diagnostics.calibration import Calibration
from clusterglm.inference.diagnostics.envelopes import ResidualEnvelope
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.model.large_data import POINTS_DRAWN
from clusterglm.model.workers import Progress
from clusterglm.plot.base import Plot, canvas, legend
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import check_fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@with_alpha
def qq(
    fit: Result | ResidualEnvelope,
    ax: Axes | None = None,
    *,
    n_sim: int = 99,
    level: float = 0.95,
    seed: int | np.random.SeedSequence | None = None,
    n_jobs: int = 1,
    progress: Progress = None,
    theme: str | None = None,
) -> Plot:
    """Quantile residuals against those of the standard normal, with an envelope from simulations.

    Parameters
    ----------
    fit : Result, or ResidualEnvelope
        A fit with a mean for each row, or what its `residual_envelope` gave.
    ax : matplotlib Axes, optional
    n_sim : int
        Simulations behind the envelope.
    level : float
        Share of them within it, point by point: one point in twenty may well lie outside.
    seed, n_jobs, progress
        Of the simulations, and of the residuals' own randomisation.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `theoretical`, `residual`, `low`, `high`.

    Raises
    ------
    OptionError
        For conditional models, which have no means.
    """
    check_fit(fit, "cg.plot.qq", ResidualEnvelope)
    import pandas as pd

    found = _envelope(fit, n_sim, level, seed, n_jobs, progress)
    table = pd.DataFrame(
        {"theoretical": found.theoretical, "residual": found.ordered, "low": found.low, "high": found.high}
    )
    with canvas(ax, theme, (5.2, 4.6)) as (axis, look):
        axis.fill_between(
            table["theoretical"],
            table["low"],
            table["high"],
            color=look.colours[0],
            alpha=0.2,
            linewidth=0.0,
            label=_in_words(found),
        )
        ends = np.array([found.theoretical[0], found.theoretical[-1]])
        axis.plot(ends, ends, color=look.muted, linewidth=1.0, linestyle="--")
        inside = ((table["residual"] >= table["low"]) & (table["residual"] <= table["high"])).to_numpy()
        for where, marker, colour, name in (
            (inside, "o", look.colours[0], None),
            (~inside, "D", look.colours[1], "outside"),
        ):
            if where.any():
                xy = table.loc[where, ["theoretical", "residual"]].to_numpy().T
                axis.plot(*xy, marker, color=colour, markersize=3.2, label=name)
        axis.set_xlabel("Standard normal quantile")
        axis.set_ylabel("Quantile residual")
        legend(axis)
    return Plot(axis, table)


@with_alpha
def residuals(
    fit: Result | ResidualEnvelope,
    ax: Axes | None = None,
    *,
    n_sim: int = 99,
    level: float = 0.95,
    seed: int | np.random.SeedSequence | None = None,
    n_jobs: int = 1,
    progress: Progress = None,
    theme: str | None = None,
) -> Plot:
    """Quantile residuals against the linear predictor: means of groups of rows, with an envelope from simulations.

    Parameters
    ----------
    fit, ax, n_sim, level, seed, n_jobs, progress, theme
        As in `qq`.

    Returns
    -------
    Plot
        Data: `predictor`, `mean`, `low`, `high`, a row for each group. Of many rows only some are drawn.
    """
    check_fit(fit, "cg.plot.residuals", ResidualEnvelope)
    import pandas as pd

    found = _envelope(fit, n_sim, level, seed, n_jobs, progress)
    table = pd.DataFrame(
        {"predictor": found.centre, "mean": found.mean, "low": found.mean_low, "high": found.mean_high}
    )
    known = np.flatnonzero(~np.isnan(found.residual))
    some = known[:: max(1, int(np.ceil(len(known) / POINTS_DRAWN)))]
    with canvas(ax, theme, (6.4, 4.0)) as (axis, look):
        part = "rows" if len(some) == len(known) else f"{len(some):,} of {len(known):,} rows"
        size = 3.0 if len(some) < 1000 else 1.8
        axis.plot(
            found.predictor[some], found.residual[some], ".", color=look.muted, alpha=0.45, markersize=size, label=part
        )
        axis.axhline(0.0, color=look.muted, linewidth=1.0)
        axis.fill_between(
            table["predictor"],
            table["low"],
            table["high"],
            color=look.colours[0],
            alpha=0.3,
            linewidth=0.0,
            label=_in_words(found),
        )
        axis.plot(table["predictor"], table["mean"], "o-", color=look.colours[1], markersize=4.5, label="mean")
        axis.set_xlabel("Linear predictor")
        axis.set_ylabel("Quantile residual")
        legend(axis)
    return Plot(axis, table)


@with_alpha
def calibration(
    fit: Result | Calibration,
    ax: Axes | None = None,
    *,
    groups: int = 10,
    kind: str | None = None,
    level: float = 0.95,
    theme: str | None = None,
) -> Plot:
    """Observed against predicted means, in groups of ascending predictions.

    Parameters
    ----------
    fit : Result, or Calibration
        A fit with a mean for each row, or what its `calibration` gave.
    ax : matplotlib Axes, optional
    groups, kind, level
        Of `fit.calibration`.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: as `Calibration.table`.
    """
    check_fit(fit, "cg.plot.calibration", Calibration)
    found = fit if isinstance(fit, Calibration) else _with_means(fit).calibration(groups, kind, level=level)
    table = found.table()
    with canvas(ax, theme, (4.8, 4.4)) as (axis, look):
        ends = [float(table[["predicted", "low"]].min().min()), float(table[["predicted", "high"]].max().max())]
        axis.plot(ends, ends, color=look.muted, linewidth=1.0, linestyle="--", label="as predicted")
        colour = look.colours[0]
        axis.vlines(table["predicted"], table["low"], table["high"], color=colour, linewidth=1.4)
        axis.plot(
            table["predicted"],
            table["observed"],
            "o",
            color=colour,
            label=f"observed, with {100 * found.level:g}% interval",
        )
        what = found.response.words.mean
        axis.set_xlabel(f"Predicted {what} ({found.kind})")
        axis.set_ylabel(f"Observed {what}")
        legend(axis)
    return Plot(axis, table)


def _in_words(found: ResidualEnvelope) -> str:
    done = found.n_sim - sum(count for _, count in found.failures)
    return f"{100 * found.level:g}% of {done} simulations" + ("" if done == found.n_sim else f" ({found.n_sim} tried)")


def _with_means(fit: Result) -> Any:
    """The fit itself, whose class has `residual_envelope` and `calibration`."""
    if hasattr(type(fit), "residual_envelope") and hasattr(type(fit), "calibration"):
        return fit
    raise OptionError(
        f"residuals of a {fit.kind} fit",
        "a model with a mean for each row",
        "cg.fixed_effects(...) or cg.random_effects(...)",
    )


def _envelope(
    fit: Result | ResidualEnvelope,
    n_sim: int,
    level: float,
    seed: int | np.random.SeedSequence | None,
    n_jobs: int,
    progress: Progress,
) -> ResidualEnvelope:
    if isinstance(fit, ResidualEnvelope):
        return fit
    found: ResidualEnvelope = _with_means(fit).residual_envelope(
        n_sim, level=level, seed=seed, n_jobs=n_jobs, progress=progress
    )
    return found
