"""Observed and fitted numbers of events per cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clusterglm.errors import OptionError, check_option
from clusterglm.inference.distribution.event_counts import EventCounts, totals_known
from clusterglm.model.arguments import whole_number
from clusterglm.plot.base import Plot, canvas, legend
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import Fits, named_fits
from clusterglm.results.tables.comparison import model_words
from clusterglm.results.tables.selection import DistributionSelection

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def rootogram(
    fits: Fits | DistributionSelection,
    ax: Axes | None = None,
    *,
    of: str | None = None,
    cells: int = 30,
    theme: str | None = None,
) -> Plot:
    """How many clusters have how many events, or how many rows which count, on a square-root scale.

    Observed as bars, fitted by each model as points.

    On that scale deviations of the same size are as surprising wherever they are (Tukey; Kleiber and Zeileis, American
    Statistician 70, 2016).

    Parameters
    ----------
    fits : RandomEffectsResult or PooledResult, several of them, or DistributionSelection
        Fits to the same data.
    ax : matplotlib Axes, optional
    of : "clusters" or "rows", optional
        Clusters by their number of events; or rows by their count, which the whole response of any model of counts
        has, zeros of their own linear predictor among them. By default the first where all the fits know it.
    cells : int
        Most bars; larger numbers of events are put together in cells of equal width, counts of rows in the last one.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `model`, `first`, `last` (events in the cell, both included; the last cell of counts holds all larger
        numbers), `observed`, `expected`: clusters, or rows, their weights counted.

    Raises
    ------
    OptionError
        For models that give no distribution of events, or fits to different clusters.
    DataError
        When responses are not whole numbers of events.
    """
    if isinstance(fits, DistributionSelection):
        named: dict[str, Result] = dict(fits.fits)
    else:
        named = named_fits(fits, model_words, "cg.plot.rootogram")
    if of is None:
        of = "clusters" if all(totals_known(fit.response) for fit in named.values()) else "rows"
    check_option("of", of, _COUNTED)
    counts = {name: _COUNTED[of](fit) for name, fit in named.items()}
    if len({tuple(each.observed) for each in counts.values()}) > 1:
        raise OptionError("fits to different data", "the same responses and clusters", "one plot for each data set")
    table = _table(counts, cells, single=of == "rows")
    any_counts = next(iter(counts.values()))
    bars = table[table["model"] == next(iter(counts))]
    names = _cell_names(bars["first"].tolist(), bars["last"].tolist(), any_counts.open_ended)
    with canvas(ax, theme, (7.0, 4.0)) as (axis, look):
        at = np.arange(len(bars))
        axis.bar(at, bars["observed"], 0.82, color=look.grid, edgecolor=look.muted, label="observed", zorder=2)
        for k, name in enumerate(counts):
            expected = table.loc[table["model"] == name, "expected"]
            axis.plot(at, expected, **look.series(k), linewidth=1.2, label=f"fitted, {name}", zorder=3 + k)
        axis.set_yscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0.0)), np.square))
        top = float(max(table["observed"].max(), table["expected"].max()))
        axis.set_ylim(0.0, 1.06 * top)
        axis.set_yticks(_square_ticks(top))
        every = int(np.ceil(max(len(n) for n in names) * len(names) / 62.0))
        ticked = np.unique([*at[: len(at) - every : every], at[-1]]) if every > 1 else at  # the last cell is special
        axis.set_xticks(ticked, [names[k] for k in ticked])
        axis.set_xlim(-0.7, len(bars) - 0.3)
        axis.grid(visible=False, axis="x")
        any_fit = next(iter(named.values()))
        axis.set_xlabel(any_fit.response.words.totals if of == "clusters" else any_fit.data.response_name)
        axis.set_ylabel(f"{of.capitalize()} (square-root scale)")
        legend(axis)
    return Plot(axis, table)


def _counts(fit: Result) -> EventCounts:
    found = fit._clusters_by_events()
    if found is not None:
        return found
    raise OptionError(
        f"numbers of events per cluster of a {fit.kind} fit",
        "a model that gives their distribution: random intercepts, or a pooled model with cluster=",
        "cg.random_effects(...); of counts, of='rows'",
    )


def _rows(fit: Result) -> EventCounts:
    found = fit._rows_by_count()
    if found is not None:
        return found
    raise OptionError(f"counts of the rows of a {fit.family} fit", "counts", "of='clusters'")


_COUNTED = {"clusters": _counts, "rows": _rows}


def _table(counts: dict[str, EventCounts], cells: int, *, single: bool) -> pd.DataFrame:
    import pandas as pd

    whole_number("cells", cells, 2, advice="cells=30")
    parts = []
    for name, each in counts.items():
        many = len(each.events)
        width = 1 if single else int(np.ceil(many / cells))  # zeros are not to be put together with others
        first = np.arange(0, min(many, cells) if single else many, width)
        parts.append(
            pd.DataFrame(
                {
                    "model": name,
                    "first": first,
                    "last": np.append(first[1:], many) - 1,
                    "observed": np.add.reduceat(each.observed, first),
                    "expected": np.add.reduceat(each.expected, first),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _cell_names(first: list[int], last: list[int], open_ended: bool) -> list[str]:
    names = [str(a) if a == b else f"{a}–{b}" for a, b in zip(first, last, strict=True)]
    if open_ended:
        names[-1] = f"{first[-1]}+"
    return names


def _square_ticks(top: float) -> list[float]:
    """Ticks that are even on the square-root scale, rounded to whole clusters."""
    steps = np.linspace(0.0, np.sqrt(top), 6) ** 2
    digits = 10.0 ** np.maximum(np.floor(np.log10(np.maximum(steps, 1.0))) - 1.0, 0.0)
    return sorted(set((np.round(steps / digits) * digits).tolist()))
