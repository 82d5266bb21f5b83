"""Offsets, the known part of a linear predictor: given as they are, or as exposures whose logarithm they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import DataError, OptionError
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_SPAN = 50.0  # exp(50) is 5e21: no two exposures lie so far apart
_OUTERMOST = 1e6  # of an offset beside which float64 keeps the digits of coefficients
_LARGEST_LOG = 600.0  # of an offset whose exponential float64 holds


@dataclass(frozen=True)
class Exposure:
    """What `exposure=` was: a column's name or an array. It stands where `offset=` would."""

    given: Any


def one_offset(offset: Any, exposure: Any) -> Any:
    """What `offset=` and `exposure=` come to: the first, or an `Exposure`; `OptionError` on both."""
    if exposure is None:
        return offset
    if offset is not None:
        raise OptionError(
            "offset= and exposure=, which is an offset too",
            "one of the two",
            "exposure='time', and offset(...) in the formula for the rest",
        )
    return Exposure(exposure)


def given_in(offset: Any) -> tuple[str, Any]:
    """Name of the argument, and what it was."""
    return ("exposure", offset.given) if isinstance(offset, Exposure) else ("offset", offset)


def described(offset: Any) -> str | None:
    """What a design keeps of the argument: "column:x", "exposure:x", "array" or None."""
    argument, given = given_in(offset)
    if given is None or not isinstance(given, str):
        return None if given is None else "array"
    return f"{'column' if argument == 'offset' else argument}:{given}"


def column_of(description: str | None) -> str | None:
    """The column in what `described` gives."""
    return None if description is None or ":" not in description else description.partition(":")[2]


def as_offset(values: Array, description: str | None) -> Array:
    """A column's values as an offset: their logarithm where it holds exposures; nan for those that are not positive."""
    if description is None or not description.startswith("exposure:"):
        return values
    return log_exposure(values)


def log_exposure(values: Array) -> Array:
    """Logarithms; nan for values that are not positive."""
    return np.log(np.where(values > 0.0, values, np.nan))


def refuse_bad_exposure(values: Array, keep: NDArray[np.bool_], name: str) -> None:
    """Raise `DataError` unless all exposures in use are positive and finite."""
    bad = keep & ~((values > 0.0) & (values < np.inf))
    if bad.any():
        first, given = int(np.flatnonzero(bad)[0]), "" if name == "exposure" else repr(name)
        raise DataError(
            f"exposure={given} is {values[first]:g} in row {first} ({int(bad.sum())} such rows)",
            "positive, finite exposures: times, areas, or persons at risk",
            "drop rows without exposure, or replace it by a missing value",
        )


def refuse_bad_offset(total: Array, keep: NDArray[np.bool_], label: str, response: Response) -> None:
    """Raise `DataError` on offsets with which float64 cannot compute."""
    most = _LARGEST_LOG if response.exponential_mean or response.exponential_tail else _OUTERMOST
    bad = keep & ~((total >= -_OUTERMOST) & (total <= most))
    if not bad.any():
        return
    first = int(np.flatnonzero(bad)[0])
    infinite = not np.isfinite(total[first])
    raise DataError(
        f"{_named(label)} is {total[first]:g} in row {first} ({int(bad.sum())} such rows)",
        "finite offsets" if infinite else f"offsets from {-_OUTERMOST:g} to {most:g}, with which float64 can compute",
        "drop rows without exposure, or replace their offset by a missing value"
        if infinite
        else "the logarithm of an exposure: exposure='...', or offset(log(...)) in the formula",
    )


def _named(label: str) -> str:
    """An array has no name but that of its argument."""
    return "the offset" if label == "offset" else f"the offset {label}"


def offset_notes(low: float, middle: float, high: float, label: str) -> tuple[str, ...]:
    """What a reader of results should know of offsets from `low` to `high` with a median of `middle`."""
    if max(high - middle, middle - low) <= _SPAN:
        return ()
    return (
        f"{_named(label)} runs from {low:.6g} to {high:.6g}, as no logarithm of an exposure does; an exposure is "
        "given as exposure='...', or as offset(log(...)) in the formula",
    )
