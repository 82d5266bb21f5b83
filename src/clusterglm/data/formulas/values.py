"""What an expression can be: numbers, categories, or several columns at once; and which levels are the same level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import FormulaError
from clusterglm.model.arrays import Array

MISSING, UNSEEN = -1, -2


@dataclass(frozen=True, eq=False)
class Categories:
    """A column of categories.

    Parameters
    ----------
    levels : tuple
        Text, whole numbers, floats, bools, dates, in the order of the coding.
    codes : ndarray of int64, shape (n,)
        Position of each row's level; -1 where missing, -2 where a fit has not seen it.
    contrast : Contrast or None
        How it is coded; None for treatment contrasts against the first level.
    """

    levels: tuple[Any, ...]
    codes: NDArray[np.int64]
    contrast: Any = None


@dataclass(frozen=True, eq=False)
class Basis:
    """Columns that belong together, such as a spline's.

    Parameters
    ----------
    matrix : ndarray, shape (n, k)
    fields : tuple of str, length k
        What names of the columns end with.
    spans_intercept : bool
        Whether a column of ones is a combination of them; next to an intercept the first is left out then.
    """

    matrix: Array
    fields: tuple[str, ...]
    spans_intercept: bool = False


Value: TypeAlias = "NDArray[Any] | np.float64 | Categories | Basis | str | tuple[Any, ...] | None"
"""Numbers or bools per row, one number, categories, a basis, or an argument of a function."""


def is_numbers(value: Any) -> bool:
    """Whether it is numbers or bools, per row or one."""
    return isinstance(value, (np.ndarray, np.floating, np.bool_)) and value.dtype.kind in "biuf"


def as_numbers(value: Any, text: str) -> Any:
    """Numbers as float64, bools as 0 and 1.

    Raises
    ------
    FormulaError
        When it is something else; `text` says what.
    """
    if is_numbers(value):
        return value if value.dtype == np.float64 else value.astype(np.float64)
    if isinstance(value, Categories):
        shown = ", ".join(repr(level) for level in value.levels[:3])
        raise FormulaError(
            f"{text} holds categories ({shown}{', ...' if len(value.levels) > 3 else ''})",
            "numbers",
            "compare it, as in g == 'a'; or convert the column to numbers",
        )
    what = "several columns" if isinstance(value, Basis) else "a list" if isinstance(value, tuple) else "text"
    raise FormulaError(f"{text}, which is {what}", "numbers", "an expression of columns of numbers")


def as_categories(value: Any, text: str) -> Categories:
    """Categories as they are; numbers and bools by their values, ascending."""
    if isinstance(value, Categories):
        return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise FormulaError(f"{text} as categories", "a column", "C(column)")
    gone = np.isnan(value) if value.dtype.kind == "f" else np.zeros(len(value), dtype=bool)
    found, inverse = np.unique(value[~gone], return_inverse=True)
    codes = np.full(len(value), MISSING, dtype=np.int64)
    codes[~gone] = inverse
    return Categories(tuple(found.tolist()), codes)


def names_of(level: Any) -> tuple[str, ...]:
    """Texts by which a level is known: the same number is the same level whatever its type, and so is its text.

    `1`, `1.0`, `True` and `"1"` are one level; `"01"` is another.
    """
    if isinstance(level, (bool, np.bool_)):
        return str(bool(level)), str(int(level))
    if isinstance(level, str):
        return (level,)
    if isinstance(level, (int, np.integer)):
        return (str(int(level)),)
    if isinstance(level, (float, np.floating, Decimal)):
        whole = level == level and -(2**63) < level < 2**63 and level == int(level)
        return (str(int(level)),) if whole else (repr(float(level)),)
    if hasattr(level, "isoformat"):
        text = level.isoformat()
        return (text[:10] if text[10:] in ("T00:00:00", "") else text,)
    return (str(level),)


def positions(levels: Sequence[Any], wanted: Iterable[Any]) -> NDArray[np.int64]:
    """Position of each wanted level among the known ones, -2 where it is none of them."""
    known: dict[str, int] = {}
    for k, level in enumerate(levels):
        for name in names_of(level):
            known.setdefault(name, k)
    found = [next((known[name] for name in names_of(level) if name in known), UNSEEN) for level in wanted]
    return np.array(found, dtype=np.int64)


def recoded(value: Categories, levels: Sequence[Any]) -> Categories:
    """Categories coded by the levels of a fit; rows of other levels get the code -2."""
    if value.levels == tuple(levels) and [*map(type, value.levels)] == [*map(type, levels)]:
        return Categories(tuple(levels), value.codes, value.contrast)
    places = np.append(positions(levels, value.levels), [UNSEEN, MISSING])  # the last ones serve the codes -2 and -1
    return Categories(tuple(levels), places[value.codes], value.contrast)


def used(value: Categories) -> Categories:
    """Categories without the levels that no row has."""
    present = np.zeros(len(value.levels), dtype=bool)
    present[value.codes[value.codes >= 0]] = True
    if present.all():
        return value
    places = np.append(np.cumsum(present) - 1, [UNSEEN, MISSING])
    kept = tuple(level for level, there in zip(value.levels, present.tolist(), strict=True) if there)
    return Categories(kept, places[value.codes], value.contrast)


def any_missing(columns: Iterable[Any]) -> NDArray[np.bool_]:
    """Where one of several columns has no value, shape (n,)."""
    absent = [each for each in map(missing, columns) if each is not None]
    return np.asarray(np.logical_or.reduce(absent))


def missing(value: Any) -> NDArray[np.bool_] | None:
    """Where it has no value, shape (n,); None for what is no column."""
    if isinstance(value, Categories):
        return np.asarray(value.codes == MISSING)
    if isinstance(value, Basis):
        return np.asarray(np.isnan(value.matrix).any(axis=1))
    if isinstance(value, np.ndarray):
        return np.isnan(value) if value.dtype.kind == "f" else np.zeros(len(value), dtype=bool)
    return None
