"""The response column of a model, checked against its family, and the two numbers (a, b) that each row becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import encode
from clusterglm.data.ordered import ordered_codes
from clusterglm.data.tables.success import level_name, ordered
from clusterglm.data.tables.table import as_series, numeric
from clusterglm.errors import OptionError, ResponseError
from clusterglm.model.arguments import shown
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_CBIND = "cbind(successes, failures) ~ ... for grouped data"
_LARGEST_TOTAL = 1e9  # beyond, a row pins its intercept so closely that rounding drowns the likelihood
_LARGEST_MEASURE = 1e100  # whose squares float64 still holds
_ROUNDING = 1e-8  # of a count that was computed
_SHOWN = 5  # levels that an error names


@dataclass(frozen=True)
class ResponseValues:
    """A response before weights.

    Attributes
    ----------
    successes : ndarray, shape (n,)
        Binomial: number of successes; Poisson: count. NaN where missing.
    trials : ndarray, shape (n,)
        Binomial: number of trials, 1 for a single column; Poisson: 1. NaN where a part of cbind is missing.
    levels : tuple of str, or None
        For a column of two levels: (failure, success); of ordered categories, from the lowest to the highest, of which
        `successes` are numbers from 0 on.
    """

    successes: Array
    trials: Array
    levels: tuple[str, ...] | None


def parse_response(
    values: object,
    response: Response,
    name: str,
    rows: NDArray[np.int64] | None = None,
    levels: tuple[str, ...] | None = None,
    success: Any = None,
) -> ResponseValues:
    """Read a response of one column.

    Parameters
    ----------
    values : narwhals Series or array-like, shape (n,)
        Binomial: 0/1, bool, or two levels (strings in sorted order, categories in their own): the second is the
        success. Poisson: whole numbers from 0 on.
    response : Response
    name : str
        What errors call it.
    rows : ndarray of int64, shape (n,), optional
        Where each value stands in the user's table, for errors; its own position by default.
    levels : tuple of str, optional
        (failure, success), or the categories, where they are known already: then a column may show only some of them.
    success : optional
        The level that is the success, of text, of bools or of any two numbers.

    Raises
    ------
    OptionError
        When `success` is no level, or the family knows none.
    ResponseError
        When a value does not fit the family; it names the value and its row, counted from 0.
    """
    series = as_series(values, f"the response {name!r}", ResponseError)
    if response.ordered:
        refuse_success(success, f"family={response.family!r}")
        codes, names = ordered_codes(series, name, levels, rows)
        return ResponseValues(codes, _ones(len(codes)), names)
    numbers = numeric(series)
    if not response.two_levels:
        refuse_success(success, f"family={response.family!r}")
        if response.continuous:
            return ResponseValues(_measured(series, numbers, name, response, rows), _ones(len(series)), None)
        if numbers is None:
            raise _wrong_type(series, name, "counts", _count_advice(series), rows)
        _check_counts(numbers, name, f"whole numbers from {response.least:.0f} on for family={response.family!r}", rows)
        _check_least(numbers, name, response, rows)
        return ResponseValues(numbers, _ones(len(numbers)), None)
    if numbers is None:
        if not _is_text(series):
            raise _wrong_type(series, name, "0/1, bools or two levels", "recode it, or name the column you mean", rows)
        return _of_levels(series, name, levels, success, rows)
    if success is not None or (levels is not None and not _text_alone(levels)):
        return _of_levels(_named(series, numbers), name, levels, success, rows)
    _check_zero_one(numbers, name, response.family, rows)
    return ResponseValues(numbers, _ones(len(numbers)), None)


def _measured(
    series: nw.Series[Any], numbers: Array | None, name: str, response: Response, rows: NDArray[np.int64] | None
) -> Array:
    """Finite numbers, or NaN where there is none."""
    if numbers is None:
        advice = "family='binomial' for two levels, or convert the column to numbers"
        raise _wrong_type(series, name, "numbers", advice, rows)
    bad = np.abs(numbers) > _LARGEST_MEASURE
    if bad.any():
        advice = "correct these rows, or make them missing to have them dropped"
        raise _wrong_value(numbers, bad, name, f"finite numbers, up to {_LARGEST_MEASURE:.0e} in size", advice, rows)
    if response.positive:
        refuse_not_positive(numbers, name, response, rows)
    return numbers


def refuse_not_positive(y: Array, name: str, response: Response, rows: NDArray[np.int64] | None) -> None:
    """Raise `ResponseError` where a number is not positive, or so small that its square is 0."""
    small = y < 1.0 / _LARGEST_MEASURE
    if small.any():
        instead = "" if response.durations else "; or family='gaussian', which takes any numbers"
        advice = f"correct these rows, or make them missing to have them dropped{instead}"
        needed = f"positive numbers for family={response.family!r}"
        needed += f", not below {1.0 / _LARGEST_MEASURE:.0e}" if y[small].max() > 0.0 else ""
        raise _wrong_value(y, small, name, needed, advice, rows)


def refuse_success(success: Any, what: str) -> None:
    """Raise `OptionError` where there are no two levels to choose from."""
    if success is not None:
        raise OptionError(
            f"success={shown(success)} with {what}",
            "a response of one column with two levels",
            "leave success= out",
        )


def parse_cbind(
    successes: object, failures: object, names: Sequence[str], rows: NDArray[np.int64] | None = None
) -> ResponseValues:
    """Read `cbind(successes, failures)`.

    Parameters
    ----------
    successes, failures : narwhals Series or array-like, shape (n,)
        Whole numbers from 0 on, as nearly as arithmetic leaves them; bools count as 0/1. Rows without trials are
        allowed.
    names : sequence of two str
        What errors call them.
    rows : ndarray of int64, shape (n,), optional
        As in `parse_response`.

    Raises
    ------
    ResponseError
        When a value is not a count, or the lengths differ.
    """
    parts = []
    for values, name, part in zip((successes, failures), names, ("successes", "failures"), strict=True):
        series = as_series(values, f"the response {name!r}", ResponseError)
        numbers = numeric(series)
        if numbers is None:
            raise _wrong_type(series, name, f"whole numbers of {part}", _CBIND, rows)
        numbers = _whole(numbers)
        _check_counts(numbers, name, f"whole numbers of {part} from 0 on", rows, second=part == "failures")
        parts.append(numbers)
    good, bad = parts
    if len(good) != len(bad):
        raise ResponseError(
            f"{len(good)} values of {names[0]!r} and {len(bad)} of {names[1]!r}", "one of each per row", "check both"
        )
    trials = good + bad
    return ResponseValues(np.where(np.isnan(trials), np.nan, good), trials, None)


def to_kernel(values: ResponseValues, weights: Array, response: Response) -> tuple[Array, Array]:
    """The numbers that the likelihood knows a row by; what it leaves out is in `constants`.

    Parameters
    ----------
    values : ResponseValues
    weights : ndarray, shape (n,)
        Case weights.
    response : Response

    Returns
    -------
    a, b : ndarray, shape (n,)
        Binomial: w successes, w failures; Poisson: w count, w. Arrays of their own.
    """
    return response.rows(values.successes, values.trials, weights)


def _whole(y: Array) -> Array:
    """Counts that were computed, as in `size - share * size`, without what rounding has left them off by."""
    near = np.rint(y)
    if (near == y).all():
        return y
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(y - near) <= _ROUNDING * np.maximum(1.0, near), near + 0.0, y)


def _ones(n: int) -> Array:
    """Ones that take no memory; read-only."""
    return np.broadcast_to(1.0, n)


def _is_text(series: nw.Series[Any]) -> bool:
    if isinstance(series.dtype, (nw.String, nw.Categorical, nw.Enum)):
        return True
    if not isinstance(series.dtype, nw.Object):
        return False
    import pandas as pd

    return bool(pd.api.types.infer_dtype(series.to_list(), skipna=True) in ("string", "empty"))


def _text_alone(levels: tuple[str, ...]) -> bool:
    """Whether they are no names of numbers or bools, for which 0 and 1 may then stand."""
    return not any(level in ("True", "False") or _is_number(level) for level in levels)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _named(series: nw.Series[Any], numbers: Array) -> nw.Series[Any]:
    """Numbers or bools as categories with the names of levels."""
    import pandas as pd

    found, codes = np.unique(numbers, return_inverse=True)
    values = found.astype(bool) if isinstance(series.dtype, nw.Boolean) else found
    known = len(found) - int(np.isnan(found).any())
    names = pd.Index([level_name(value) for value in values[:known].tolist()], dtype=object)
    codes = np.where(codes < known, codes, -1)
    return nw.from_native(pd.Series(pd.Categorical.from_codes(codes, categories=names)), series_only=True)


def _of_levels(
    series: nw.Series[Any],
    name: str,
    levels: tuple[str, ...] | None,
    success: Any,
    where: NDArray[np.int64] | None,
) -> ResponseValues:
    return _known_levels(series, name, _two_levels(series, name, success, where) if levels is None else levels, where)


def _two_levels(series: nw.Series[Any], name: str, success: Any, where: NDArray[np.int64] | None) -> tuple[str, str]:
    found = encode(series)
    codes, levels = found.codes, [str(label) for label in found.labels]
    if len(levels) != 2:
        rows = [_row(int(np.argmax(codes == k)), where) for k in range(min(len(levels), _SHOWN))]
        shown = ", ".join(f"{levels[k]!r} (row {row})" for k, row in enumerate(rows))
        more = f" and {len(levels) - _SHOWN} more" if len(levels) > _SHOWN else ""
        if len(levels) > 2:
            level = levels[-1] if success is None else level_name(success)
            advice = f"make it 0/1 first: a column that says whether {name} is {level!r}"
            if len({" ".join(each.lower().split()) for each in levels}) == 2:
                advice = f"data[{name!r}].str.strip().str.lower(): some differ in blanks or capitals alone"
        elif len(levels) == 1:
            advice = f"check the data and the subset: with every response {levels[0]!r} there is nothing to explain"
        else:
            advice = "check the column: every value is missing"
        count = f"{len(levels)} level{'' if len(levels) == 1 else 's'}" if levels else "no value at all"
        raise ResponseError(
            f"the response {name!r} with {count}" + (f": {shown}{more}" if levels else ""),
            "two levels, the second of them the success, or 0/1",
            advice,
        )
    return ordered((levels[0], levels[1]), success, name)


def _known_levels(
    series: nw.Series[Any], name: str, levels: tuple[str, ...], where: NDArray[np.int64] | None
) -> ResponseValues:
    found = encode(series)
    number = np.array(
        [levels.index(str(v)) if str(v) in levels else 2 for v in found.labels.tolist()] + [-1], dtype=float
    )
    codes = number[found.codes]
    if (codes == 2.0).any():
        first = int(np.argmax(codes == 2.0))
        raise ResponseError(
            f"the response {name!r} with {str(found.labels[found.codes[first]])!r} (row {_row(first, where)})",
            f"{levels[0]!r} or {levels[1]!r}, as in the fit",
            "correct these rows, or make them missing to have them dropped",
        )
    return ResponseValues(np.where(codes < 0.0, np.nan, codes), _ones(len(codes)), levels)


def _check_zero_one(y: Array, name: str, family: str, rows: NDArray[np.int64] | None) -> None:
    if ((y == 0.0) | (y == 1.0)).all():
        return
    bad = ~((y == 0.0) | (y == 1.0) | np.isnan(y))
    if not bad.any():
        return
    present = np.unique(y[~np.isnan(y)])
    wrong = y[bad]
    if not np.isfinite(wrong).all():
        bad = np.isinf(y)
        advice = "correct these rows, or make them missing to have them dropped"
    elif wrong.min() < 0:
        bad = y < 0
        advice = f"recode it, for instance ({name} > 0)" if len(present) == 2 else "correct these rows"
    elif np.any(wrong % 1 != 0):
        bad = bad & (y % 1 != 0)
        share = name if name.replace(".", "_").isidentifier() else f"({name})"
        counts = f"round({share} * n)"
        advice = f"cbind({counts}, n - {counts}) ~ ..., with the column n of trials, which R takes as weights"
    elif len(present) == 2:
        advice = f"make it 0/1 first: {name} - {present[0]:g}" if present[1] - present[0] == 1 else "make it 0/1 first"
    else:
        advice = f"{_CBIND}, or family='poisson' for counts"
    raise _wrong_value(y, bad, name, f"0 or 1 for family={family!r}", advice, rows)


def _check_counts(y: Array, name: str, needed: str, rows: NDArray[np.int64] | None, *, second: bool = False) -> None:
    if len(y) == 0 or (y.min() >= 0.0 and y.max() < _LARGEST_TOTAL and (np.rint(y) == y).all()):
        return
    infinite, negative = np.isinf(y), y < 0
    large = (y >= _LARGEST_TOTAL) & ~infinite
    if large.any():
        advice = "check the column: is it an id, or a count in too small a unit?"
        raise _wrong_value(y, large, name, f"{needed}, below {_LARGEST_TOTAL:.0e}", advice, rows)
    with np.errstate(invalid="ignore"):
        fractional = ~(infinite | np.isnan(y)) & (y != np.floor(y))
    if infinite.any():
        advice = "correct these rows, or make them missing to have them dropped"
        raise _wrong_value(y, infinite, name, needed, advice, rows)
    if negative.any():
        advice = "the failures, not the trials: cbind(s, n - s)" if second else "check the column; counts have no sign"
        raise _wrong_value(y, negative, name, needed, advice, rows)
    if fractional.any():
        rate = "counts themselves; a rate per exposure is a count with offset(log(exposure))"
        advice = _CBIND if "whole numbers of" in needed else rate
        raise _wrong_value(y, fractional, name, needed, advice, rows)


def _check_least(y: Array, name: str, response: Response, rows: NDArray[np.int64] | None) -> None:
    small = y < response.least
    if small.any():
        first = int(np.flatnonzero(small)[0])
        raise ResponseError(
            f"{int(np.count_nonzero(small))} of {len(y)} values of {name!r} below {response.least:.0f} (row "
            f"{_row(first, rows)}: {y[first]:g}) with family={response.family!r}",
            f"counts from {response.least:.0f} on: what is truncated has no zeros",
            f"family={response.family.removeprefix('truncated_')!r} where zeros are counts like others, or subset= to "
            "leave them out",
        )


def _row(position: int, rows: NDArray[np.int64] | None) -> int:
    return position if rows is None else int(rows[position])


def _wrong_value(
    y: Array, bad: NDArray[np.bool_], name: str, needed: str, advice: str, rows: NDArray[np.int64] | None
) -> ResponseError:
    first, count = int(np.argmax(bad)), int(np.count_nonzero(bad))
    more = f", and {count - 1} more such row{'' if count == 2 else 's'}" if count > 1 else ""
    got = f"the response {name!r} is {y[first]:.10g} in row {_row(first, rows)} (counted from 0){more}"
    return ResponseError(got, needed, advice)


def _wrong_type(
    series: nw.Series[Any], name: str, needed: str, advice: str, rows: NDArray[np.int64] | None
) -> ResponseError:
    present = np.flatnonzero(~np.asarray(series.is_null().to_numpy(), dtype=bool))
    example = ""
    if len(present) > 0:
        first = int(present[0])
        value = series.to_list()[first] if isinstance(series.dtype, nw.Object) else series[first]
        example = f", such as {value!r} in row {_row(first, rows)} (counted from 0)"
    return ResponseError(f"the response {name!r} of type {series.dtype}{example}", needed, advice)


def _count_advice(series: nw.Series[Any]) -> str:
    if _is_text(series):
        return "family='binomial' for a column of two levels, or convert the column to numbers"
    return "convert the column to numbers, or name the column you mean"
