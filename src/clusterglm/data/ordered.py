"""A response of ordered categories: which there are, in which order, and the number of each row's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.tables.success import level_name
from clusterglm.data.tables.table import numeric
from clusterglm.errors import OptionError, ResponseError
from clusterglm.model.arguments import shown
from clusterglm.model.arrays import Array

_MOST_NUMBERS = 100  # different numbers that are taken for categories
_SHOWN = 5  # levels that an error names
_SAY = "levels=[...] with the categories from the lowest to the highest"


def read_levels(levels: Any, response_is_ordered: bool, family: str) -> tuple[str, ...] | None:
    """The argument `levels=` of a verb, as text.

    Raises
    ------
    OptionError
        When it is no list of different values, or the family has no ordered categories.
    """
    if levels is None:
        return None
    if not response_is_ordered:
        raise OptionError(
            f"levels= with family={family!r}", "family='ordinal', whose categories have an order", "leave levels= out"
        )
    listed = not isinstance(levels, str) and isinstance(levels, Sequence | np.ndarray)
    names = tuple(level_name(value) for value in np.asarray(levels, dtype=object).tolist()) if listed else ()
    if len(names) < 2 or len(set(names)) < len(names):
        raise OptionError(
            f"levels={shown(levels)}",
            "at least two different categories in a list, the lowest first",
            "levels=['a', 'b', 'c']",
        )
    return names


def ordered_codes(
    series: nw.Series[Any], name: str, levels: tuple[str, ...] | None, rows: NDArray[np.int64] | None
) -> tuple[Array, tuple[str, ...]]:
    """Numbers of categories from 0 on, nan where missing, and the categories' names.

    Parameters
    ----------
    series : narwhals Series
        An ordered categorical; whole numbers or bools, whose order is their own; with `levels` anything that has them.
    name : str
        What errors call it.
    levels : tuple of str, optional
        The categories in order.
    rows : ndarray of int64, optional
        Where each value stands in the user's table, for errors.

    Raises
    ------
    ResponseError
        When the order is not known, or a value is none of the levels.
    """
    missing = np.asarray(series.is_null().to_numpy(), dtype=bool)
    numbers = numeric(series) if levels is None or not isinstance(series.dtype, nw.Categorical | nw.Enum) else None
    nan = np.zeros(len(missing), dtype=bool) if numbers is None else np.isnan(numbers)
    words, which = _words(series, numbers, nan | missing)
    if numbers is not None and levels is None:
        levels = _of_numbers(numbers[~nan], name, isinstance(series.dtype, nw.Boolean))
    elif levels is None:
        levels = _declared(series, name, words, rows)
    place = {level: float(j) for j, level in enumerate(levels)}
    codes = np.array([*(place.get(word, -1.0) for word in words), np.nan], dtype=np.float64)[which]
    if (codes == -1.0).any():
        first = int(np.argmax(codes == -1.0))
        at = first if rows is None else int(rows[first])
        raise ResponseError(
            f"the response {name!r} is {words[which[first]]!r} in row {at} (counted from 0)",
            f"one of the levels {_named(levels)}",
            "correct these rows, make them missing to have them dropped, or name all categories in levels=",
        )
    return codes, levels


def refuse_empty(empty: tuple[str, ...], levels: tuple[str, ...], name: str) -> None:
    """Raise `ResponseError` where a category has no responses: its thresholds would have no finite estimate.

    Parameters
    ----------
    empty, levels : tuple of str
        Categories without responses, and all of them.
    name : str
        Of the response.
    """
    if empty or len(levels) < 2:
        what = f"no response in {_named(empty)}" if empty else f"only the category {levels[0]!r}"
        raise ResponseError(
            f"the response {name!r} with {what} in the rows in use",
            "responses in each of at least two categories",
            "leave the empty categories out (levels=[...], or .cat.remove_unused_categories()), or merge them with "
            "their neighbours; check subset=",
        )


def _words(
    series: nw.Series[Any], numbers: Array | None, gone: NDArray[np.bool_]
) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the different values, in the order in which they appear where they are no numbers; and which each has.

    That is -1 where the value is gone.
    """
    which = np.full(len(gone), -1, dtype=np.int64)
    if numbers is not None and not isinstance(series.dtype, nw.Object | nw.Unknown):
        different, which[~gone] = np.unique(numbers[~gone], return_inverse=True)
        logical = isinstance(series.dtype, nw.Boolean)
        return [level_name(bool(value) if logical else value) for value in different.tolist()], which
    words: list[str] = []
    known: dict[tuple[type, Any], int] = {}
    for row, (value, lost) in enumerate(zip(series.to_list(), gone.tolist(), strict=True)):
        if lost:
            continue
        key = type(value), value  # True is not 1
        try:
            number = known.get(key)
        except TypeError:  # a value that cannot be a key, as in columns of objects
            which[row] = len(words)
            words.append(level_name(value))
            continue
        if number is None:
            number = known[key] = len(words)
            words.append(level_name(value))
        which[row] = number
    return words, which


def _of_numbers(values: Array, name: str, logical: bool) -> tuple[str, ...]:
    found = np.unique(values)
    if len(found) > _MOST_NUMBERS or not (found == np.rint(found)).all():
        raise ResponseError(
            f"the response {name!r} with {len(found)} different numbers, such as {found[0]:g}",
            f"ordered categories: an ordered categorical, or at most {_MOST_NUMBERS} whole numbers",
            "cut the numbers into an ordered categorical first, such as by pandas.cut; or another family",
        )
    return tuple(level_name(bool(value)) if logical else level_name(int(value)) for value in found.tolist())


def _declared(series: nw.Series[Any], name: str, words: list[str], rows: NDArray[np.int64] | None) -> tuple[str, ...]:
    """Categories of a column that says their order."""
    known = _order_of(series)
    if known is not None:
        return tuple(level_name(level) for level in known)
    present = list(dict.fromkeys(words))
    kind = "an unordered categorical" if isinstance(series.dtype, nw.Categorical) else f"of type {series.dtype}"
    raise ResponseError(
        f"the response {name!r}, {kind}, whose categories {_named(tuple(present))} have no order",
        "categories in their order: an ordered categorical, or levels=",
        _SAY,
    )


def _order_of(series: nw.Series[Any]) -> list[Any] | None:
    """Categories in their order; None where the column does not know it."""
    import pandas as pd

    if isinstance(series.dtype, nw.Enum):
        return list(series.dtype.categories)
    native = series.to_native()
    dtype = getattr(native, "dtype", None)
    if isinstance(dtype, pd.CategoricalDtype):
        return list(dtype.categories) if dtype.ordered else None
    if isinstance(series.dtype, nw.Categorical) and getattr(getattr(native, "type", None), "ordered", False):
        return list(native.combine_chunks().dictionary.to_pylist())
    return None


def _named(levels: tuple[str, ...]) -> str:
    more = f" and {len(levels) - _SHOWN} more" if len(levels) > _SHOWN else ""
    return ", ".join(repr(level) for level in levels[:_SHOWN]) + more
