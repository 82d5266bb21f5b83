"""Survival times as a response: `Surv(time, event)`, or `Surv(time)` where every time is an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.response import ResponseValues, parse_response, refuse_not_positive, refuse_success
from clusterglm.data.tables.table import as_series, numeric
from clusterglm.errors import FormulaError, ResponseError
from clusterglm.model.arrays import Array
from clusterglm.model.family import response as family
from clusterglm.model.response.base import Response

_SURV = "Surv(time, event) ~ ..., or Surv(time) where every time is an event"
_LATEST = 1e100  # whose square float64 still holds


def parse_durations(
    parts: Sequence[object],
    names: Sequence[str],
    response: Response,
    survival: bool,
    rows: NDArray[np.int64] | None = None,
    levels: tuple[str, ...] | None = None,
    success: Any = None,
) -> ResponseValues:
    """Read survival times.

    Parameters
    ----------
    parts : sequence of one or two Series or array-like, shape (n,) each
        Times, and whether the event came then: 0/1, bools, or text of two levels, of which the second, or `success`, is
        the event.
    names : sequence of str
        What errors call them.
    response : Response
    survival : bool
        Whether the formula says `Surv`.
    rows, levels, success
        As in `parse_response`; of the event.

    Returns
    -------
    ResponseValues
        `successes` are times, with a minus where the event had not come yet.

    Raises
    ------
    FormulaError
        Where the formula says `Surv` for another family, or does not for this one.
    ResponseError
        On times that are not positive and events that are not 0/1, with the first such row.
    """
    if not response.durations:
        raise FormulaError(
            f"Surv({', '.join(names)}) with family={response.family!r}",
            "family='weibull' or 'exponential', in cg.pooled and cg.random_effects",
            "for times that are known by period, a row for each of them and the event as a 0/1 response with "
            "family='binomial', link='cloglog'",
        )
    if not survival:
        shown = names[0] if len(names) == 1 else f"cbind({', '.join(names)})"
        raise FormulaError(
            f"the response {shown} with family={response.family!r}", _SURV, f"Surv({names[0]}) if no time is censored"
        )
    series = as_series(parts[0], f"the time {names[0]!r}", ResponseError)
    times = numeric(series)
    if times is None:
        raise ResponseError(
            f"the time {names[0]!r} of type {series.dtype}", "positive numbers", "the length of time as a number"
        )
    refuse_not_positive(times, names[0], response, rows)
    _refuse_endless(times, names[0], rows)
    if len(parts) == 1:
        refuse_success(success, f"{names[0]}, times that are all events")
        return ResponseValues(times, np.broadcast_to(1.0, len(times)), None)
    event, found = _events(parts[1], names[1], rows, levels, success)
    return ResponseValues(np.where(event == 0.0, -times, times + 0.0 * event), np.broadcast_to(1.0, len(times)), found)


def refuse_boundless_times(y: Array, name: str, *, shape: bool) -> None:
    """Raise `ResponseError` where the hazard, or the shape of its rise, has no finite estimate.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Times, with a minus where they are censored.
    name : str
        Of the response.
    shape : bool
        Whether the hazard's shape is estimated.
    """
    events = y[y > 0.0]
    if len(events) == 0:
        raise ResponseError(
            f"{name}, of which every time is censored", "some events", "check subset= and the coding of the event"
        )
    if shape and events.min() == np.abs(y).max():
        raise ResponseError(
            f"{name}, in which all events come at {events[0]:g} and no time is longer",
            "events at different times: otherwise the shape grows without end",
            "family='exponential'; or check the times",
        )


def _refuse_endless(times: Array, name: str, rows: NDArray[np.int64] | None) -> None:
    endless = times > _LATEST
    if endless.any():
        first = int(np.argmax(endless))
        raise ResponseError(
            f"the time {name!r} is {times[first]:.10g} in row {first if rows is None else int(rows[first])} "
            "(counted from 0)",
            "finite times",
            "the time up to which the row was seen, with an event of 0",
        )


def _events(
    values: object, name: str, rows: NDArray[np.int64] | None, levels: tuple[str, ...] | None, success: Any
) -> tuple[Array, tuple[str, ...] | None]:
    """1 where the event came, 0 where the time is censored, NaN where it is not known; and levels of text."""
    series = as_series(values, f"the event {name!r}", ResponseError)
    numbers = numeric(series)
    if numbers is None or success is not None or levels is not None:
        found = parse_response(series, family("binomial"), name, rows, levels, success)
        return found.successes, found.levels
    bad = ~((numbers == 0.0) | (numbers == 1.0) | np.isnan(numbers))
    if bad.any():
        first = int(np.argmax(bad))
        present = np.unique(numbers[~np.isnan(numbers)])
        advice = f"({name} == {present[-1]:g}) in its place, if {present[-1]:g} is the event"
        if len(present) == 2:
            advice += f"; or success={present[-1]:g}"
        raise ResponseError(
            f"the event {name!r} is {numbers[first]:.10g} in row {first if rows is None else int(rows[first])} "
            "(counted from 0)",
            "1 where the event came, 0 where the time is censored",
            advice,
        )
    return numbers, None
