"""Coefficients with intervals, of several models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError, nearest
from clusterglm.inference.effects.ratios import ratio_names
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.model.arguments import several, yes_or_no
from clusterglm.plot.base import Plot, canvas, legend, ratio_axis, wrapped
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import Fits, named_fits
from clusterglm.results.tables.comparison import model_words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_TERM_WIDTH = 30  # characters of a term in one line


@with_alpha
def coefficients(
    fits: Fits,
    ax: Axes | None = None,
    *,
    level: float = 0.95,
    method: str = "wald",
    cov: str = "observed",
    df: str | None = None,
    terms: Sequence[str] | None = None,
    exponentiate: bool = False,
    theme: str | None = None,
) -> Plot:
    """Coefficients with intervals, of one model or of several side by side.

    Parameters
    ----------
    fits : Result, sequence of Result, or mapping of str to Result
        A mapping names them.
    ax : matplotlib Axes, optional
    level : float
        Coverage of the intervals.
    method : {"wald", "profile"}
        Of the intervals, see `conf_int`. One with a single finite end, as of an infinite coefficient at the limit of a
        separated fit, is an arrow from there.
    cov : {"observed", "robust"}
        Covariance of Wald intervals.
    df : "satterthwaite" or "kenward_roger", optional
        Student's intervals in the place of normal ones; see `conf_int`.
    terms : sequence of str, optional
        Coefficients to show, in this order; by default all but the intercept (the intercept, if there is no other).
        Those of a second linear predictor, such as that of zeros, stand under a heading of their own.
    exponentiate : bool
        Odds (rate, hazard) ratios, on a logarithmic axis.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `model`, `term`, `estimate`, `low`, `high`.

    Raises
    ------
    OptionError
        When a term is in no model, or no model has coefficients; with `exponentiate` for probit, whose coefficients are
        not logarithms of ratios.
    """
    named = named_fits(fits, model_words, "cg.plot.coefficients")
    if not any(fit._term_names for fit in named.values()):
        raise OptionError("a picture of the coefficients of a model without coefficients", "some", "add a covariate")
    table = _table(named, level, method, cov, df, terms)
    yes_or_no("exponentiate", exponentiate)
    label = f"Coefficient, with {100 * level:g}% interval"
    if exponentiate:
        kinds = {ratio_names(fit.response)[0] for fit in named.values()} | _ratios_under_headings(named)
        columns = ["estimate", "low", "high"]
        table[columns] = np.exp(table[columns])
        label = f"{' or '.join(sorted(kinds)).capitalize()}, with {100 * level:g}% interval"
    shown = list(dict.fromkeys(table["term"]))
    place, headings, names = _lines(shown, named)
    labels = [wrapped(names[term], _TERM_WIDTH) for term in place]
    lines = sum(0.36 + 0.15 * name.count("\n") for name in labels) + 0.36 * len(headings)
    height = max(1.3 + lines + 0.17 * len(shown) * (len(named) - 1), 2.0)
    with canvas(ax, theme, (7.0, height)) as (axis, look):
        axis.axvline(1.0 if exponentiate else 0.0, color=look.muted, linewidth=1.0, zorder=1)
        step = 0.62 / len(named)
        for k, name in enumerate(named):
            part = table[table["model"] == name]
            at = np.array([place[term] for term in part["term"]]) + step * (k - 0.5 * (len(named) - 1))
            style = look.series(k)
            ends = part[["estimate", "low", "high"]].to_numpy()
            with np.errstate(divide="ignore"):
                placed = np.isfinite(np.log(ends) if exponentiate else ends)
            drawn = placed.all(axis=1)
            axis.hlines(
                at[drawn],
                part["low"][drawn],
                part["high"][drawn],
                color=style["color"],
                linestyle=style["linestyle"],
                linewidth=1.7,
            )
            axis.plot(part["estimate"], at, style["marker"], color=style["color"], label=name)
            for (_, low, high), (_, from_low, from_high), y in zip(ends, placed, at, strict=True):
                if from_low != from_high:  # of an infinite estimate: from its finite end on
                    _arrow(axis, low if from_low else high, float(from_low), y, style["color"])
        axis.set_yticks(list(place.values()), labels)
        axis.set_ylim(len(place) + len(headings) - 0.5, -0.5)
        for y, heading in headings:
            across = axis.get_yaxis_transform()
            free = {"facecolor": look.paper, "edgecolor": "none", "pad": 1.5}  # of the line at 0
            words: dict[str, Any] = {
                "ha": "left",
                "va": "center",
                "color": look.muted,
                "fontweight": "bold",
                "bbox": free,
            }
            axis.text(0.01, y, heading, transform=across, **words)
        axis.grid(visible=False, axis="y")
        axis.set_xlabel(label)
        if exponentiate:
            ratio_axis(axis)
        if len(named) > 1:
            legend(axis)
    return Plot(axis, table)


def _lines(terms: list[str], named: dict[str, Result]) -> tuple[dict[str, int], list[tuple[int, str]], dict[str, str]]:
    """In which line each term stands, where headings do, and what terms are called there."""
    known = dict[str, tuple[str, str]]()
    for fit in named.values():
        known |= {term: under for term, under in fit._term_headings.items() if term not in known}
    place, headings, y = dict[str, int](), list[tuple[int, str]](), 0
    for heading in dict.fromkeys(known.get(term, ("", term))[0] for term in terms):
        if heading:
            headings.append((y, heading))
            y += 1
        for term in terms:
            if known.get(term, ("", term))[0] == heading:
                place[term] = y
                y += 1
    return place, headings, {term: known.get(term, ("", term))[1] for term in terms}


def _ratios_under_headings(named: dict[str, Result]) -> set[str]:
    """What exponentials of coefficients of second linear predictors are."""
    tables = [fit.ratios() for fit in named.values() if fit._term_headings]
    return {kind for table in tables for kind in table["kind"] if kind.endswith("ratio")}


def _arrow(axis: Any, start: float, edge: float, y: float, colour: str) -> None:
    """From a value to the left or right edge of the axis, 0 or 1."""
    axis.plot([start], [y], "|", color=colour)
    axis.annotate(
        "",
        xy=(edge, y),
        xycoords=axis.get_yaxis_transform(),
        xytext=(start, y),
        textcoords="data",
        arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.7, "shrinkA": 0.0, "shrinkB": 0.0},
    )


def _table(
    named: dict[str, Result], level: float, method: str, cov: str, df: str | None, terms: Sequence[str] | None
) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for name, fit in named.items():
        ends = fit._rows_of_terms(fit.conf_int(level=level, method=method, cov=cov, df=df))
        parts.append(
            pd.DataFrame(
                {
                    "model": name,
                    "term": list(fit._term_names),
                    "estimate": fit.params.to_numpy(),
                    "low": ends["low"].to_numpy(),
                    "high": ends["high"].to_numpy(),
                }
            )
        )
    table = pd.concat(parts, ignore_index=True)
    known = list(dict.fromkeys(table["term"]))
    if terms is None:
        headings: dict[str, str] = {}
        for fit in named.values():
            headings |= {term: heading for term, (heading, _) in fit._term_headings.items()}
        chosen = []
        for heading in dict.fromkeys(headings.get(term, "") for term in known):
            some = [term for term in known if headings.get(term, "") == heading]
            chosen += [term for term in some if term not in _intercepts(named)] or some
    else:
        chosen = several("terms", terms, f"names among {', '.join(known)}", "terms=None for all")
    for term in chosen:
        if term not in known:
            raise OptionError(
                f"terms= with {term!r}", f"one of {', '.join(known)}", f"{nearest(str(term), known)}a name from params"
            )
    order = table["term"].map({term: k for k, term in enumerate(chosen)})
    table = table.assign(_order=order)[order.notna()]
    return table.sort_values("_order", kind="stable").drop(columns="_order").reset_index(drop=True)


def _intercepts(named: dict[str, Result]) -> set[str]:
    """What the intercepts of the fits are called."""
    return {name for fit in named.values() for name in fit._intercept_names}
