"""Functions that give each row its value from that row alone: all that a response or an offset may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from clusterglm.data.formulas.values import (
    Categories,
    Value,
    as_numbers,
    is_numbers,
    missing,
    names_of,
    positions,
)
from clusterglm.errors import FormulaError

_MANY = 1000


@dataclass(frozen=True)
class RowFunction:
    """A function of columns.

    Parameters
    ----------
    compute : callable
        From values to a value.
    names : tuple of str
        Of its arguments, as R and NumPy have them, the ones without which it cannot be called first.
    needed : int
        How many of them must be given.
    sees_missing : bool
        Whether a missing argument may give a value.
    """

    compute: Callable[..., Value]
    names: tuple[str, ...] = ("x",)
    needed: int = 1
    sees_missing: bool = False


def power(x: Any, y: Any) -> Any:
    """x to the power y; squares and roots as such, which are exact or nearly so."""
    if np.ndim(y) == 0:
        simple = {2.0: np.square, 1.0: np.positive, 0.5: np.sqrt, -1.0: np.reciprocal}.get(float(y))
        if simple is not None:
            return simple(x)
    return np.power(x, y)


def _numeric(function: Callable[..., Any], arguments: int = 1) -> RowFunction:
    def compute(*values: Any) -> Any:
        return function(*(as_numbers(value, "an argument") for value in values))

    return RowFunction(compute, ("x", "y", "z")[:arguments], arguments)


def _log(x: Any, base: Any = None) -> Any:
    x = as_numbers(x, "the argument of log()")
    return np.log(x) if base is None else np.log(x) / np.log(as_numbers(base, "the base of log()"))


def _round(x: Any, digits: Any = 0) -> Any:
    places = as_numbers(digits, "the digits of round()") if is_numbers(digits) else digits
    if np.ndim(places) != 0 or isinstance(places, str | None) or not -300 <= float(places) <= 300:
        raise FormulaError("round() to digits that are not one number", "a whole number", "round(x, 1)")
    return np.round(as_numbers(x, "the argument of round()"), int(places))


def _extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(*values: Any) -> Any:
        found = as_numbers(values[0], "an argument")
        for value in values[1:]:
            found = function(found, as_numbers(value, "an argument"))
        return found

    return compute


def condition(value: Any, text: str) -> Any:
    """1 where true, 0 where false, NaN where missing; any number but 0 is true."""
    if is_numbers(value) and value.dtype == bool:
        return value.astype(np.float64)
    found = as_numbers(value, text)
    return np.where(np.isnan(found), np.nan, (found != 0.0).astype(np.float64))


def truth(value: Any) -> Any:
    """Three-valued truth as bools where nothing is missing."""
    return value if np.isnan(value).any() else value != 0.0


def both(left: Any, right: Any) -> Any:
    """`&`: false where one is false, whatever the other."""
    a, b = condition(left, "what stands left of &"), condition(right, "what stands right of &")
    return truth(np.where((a == 0.0) | (b == 0.0), 0.0, a * b))


def either(left: Any, right: Any) -> Any:
    """`|`: true where one is true, whatever the other."""
    a, b = condition(left, "what stands left of |"), condition(right, "what stands right of |")
    return truth(np.where((a == 1.0) | (b == 1.0), 1.0, a + b))


def negation(value: Any) -> Any:
    """`!`."""
    return truth(1.0 - condition(value, "what stands after !"))


def _choose(test: Any, yes: Any, no: Any) -> Any:
    """`ifelse`: of numbers, or of text and categories, which makes categories."""
    chosen = condition(test, "the condition of ifelse()")
    if is_numbers(yes) and is_numbers(no):
        both_bool = yes.dtype == bool and no.dtype == bool
        found = np.where(np.isnan(chosen), np.nan, np.where(chosen == 1.0, yes, no))
        return truth(found) if both_bool else found
    sides = [_labelled(side) for side in (yes, no)]
    levels = tuple(dict.fromkeys(level for side in sides for level in side.levels))
    if all(isinstance(side, str) for side in (yes, no)):
        levels = tuple(sorted(levels))
    codes = [np.append(positions(levels, side.levels), [-2, -1])[side.codes] for side in sides]
    return Categories(
        levels, np.where(np.isnan(chosen), -1, np.where(chosen == 1.0, codes[0], codes[1])).astype(np.int64)
    )


def _labelled(side: Any) -> Categories:
    if isinstance(side, str):
        return Categories((side,), np.zeros((), dtype=np.int64))
    if isinstance(side, Categories):
        return side
    raise FormulaError("ifelse() of numbers and of text", "both of one kind", "two numbers, or two texts")


def compared(operator: str, left: Any, right: Any, text: str) -> Any:
    """A comparison: numbers by size, text and categories by `==` and `!=`; NaN where a side is missing."""
    if isinstance(left, Categories) or isinstance(right, Categories) or isinstance(left, str) or isinstance(right, str):
        if operator not in ("==", "!="):
            raise FormulaError(f"{text} of text or categories", "== or !=", "numbers, where the order matters")
        same, gone = _same(left, right, text)
        return truth(np.where(gone, np.nan, same == (operator == "==")))
    a, b = as_numbers(left, text), as_numbers(right, text)
    functions: dict[str, Any] = {
        "==": np.equal, "!=": np.not_equal, "<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal,
    }  # fmt: skip
    found = functions[operator](a, b)
    gone = np.isnan(a) | np.isnan(b)
    return np.where(gone, np.nan, found) if gone.any() else found


def _same(left: Any, right: Any, text: str) -> tuple[Any, Any]:
    if not isinstance(left, Categories):
        left, right = right, left
    if not isinstance(left, Categories):
        raise FormulaError(
            f"{text}: text beside {'text' if isinstance(right, str) else 'numbers'}", "a column", "g == 'a'"
        )
    gone = left.codes < 0
    if isinstance(right, Categories):
        places = np.append(positions(right.levels, left.levels), [-2, -2])[left.codes]
        return places == right.codes, gone | (right.codes < 0)
    if isinstance(right, str) or np.ndim(right) == 0:
        wanted = right if isinstance(right, str) else float(right)
        return np.append(positions([wanted], left.levels) == 0, [False, False])[left.codes], gone
    raise FormulaError(f"{text}: categories beside numbers", "a level, or another column of categories", "g == 'a'")


def contained(value: Any, listed: Any) -> Any:
    """`%in%`: whether it is one of a list; a missing value is not."""
    items = listed if isinstance(listed, tuple) else (listed,)
    if any(not (isinstance(item, str) or (is_numbers(item) and np.ndim(item) == 0)) for item in items):
        raise FormulaError("%in% something else than a list of values", "values", "x %in% c('a', 'b')")
    plain = [item if isinstance(item, str) else float(item) for item in items]
    if isinstance(value, Categories):
        known = {name for item in plain for name in names_of(item)}
        hit = [not known.isdisjoint(names_of(level)) for level in value.levels]
        return np.array([*hit, False, False])[value.codes]
    if any(isinstance(item, str) for item in plain):
        raise FormulaError("numbers %in% a list of texts", "numbers", "x %in% c(1, 2)")
    return np.isin(as_numbers(value, "what stands before %in%"), plain)


def is_missing(value: Any) -> Any:
    """`is.na`."""
    found = missing(value)
    if found is None:
        raise FormulaError("is.na() of a single value", "a column", "is.na(x)")
    return found


def _filled(value: Any, *others: Any) -> Any:
    """The first of its arguments that is not missing."""
    found = as_numbers(value, "what is filled")
    for other in others:
        found = np.where(np.isnan(found), as_numbers(other, "what fills"), found)
    return found


def _clip(x: Any, low: Any = None, high: Any = None) -> Any:
    bounds = [None if bound is None else as_numbers(bound, "a bound of clip()") for bound in (low, high)]
    return np.clip(as_numbers(x, "what is clipped"), *bounds)


def _between(x: Any, low: Any, high: Any, inclusive: Any = "both") -> Any:
    if not isinstance(inclusive, str) or inclusive not in ("both", "neither", "left", "right"):
        raise FormulaError(f"inclusive={inclusive!r}", "'both', 'neither', 'left' or 'right'", "'both', the default")
    x, low, high = (as_numbers(value, "an argument of between()") for value in (x, low, high))
    above = x >= low if inclusive in ("both", "left") else x > low
    return above & (x <= high if inclusive in ("both", "right") else x < high)


def _integer(x: Any) -> Any:
    return np.trunc(as_numbers(x, "the argument of as.integer()"))


def _finite(x: Any) -> Any:
    return np.isfinite(as_numbers(x, "the argument of is.finite()"))


def _as_numeric(x: Any) -> Any:
    """Numbers as they are; categories whose levels are numbers by these, which is what people mean."""
    if not isinstance(x, Categories):
        return as_numbers(x, "the argument of as.numeric()")
    try:
        values = [float(str(level)) for level in x.levels]
    except ValueError:
        raise FormulaError("as.numeric() of text that is no number", "text such as '1.5'", "as.factor(x)") from None
    return np.array([*values, np.nan, np.nan])[x.codes]


def _logarithm_of_odds(x: Any) -> Any:
    return logit(x)


_UNARY = (
    "log10", "log2", "log1p", "exp", "exp2", "expm1", "sqrt", "cbrt", "square", "abs", "sign", "sin", "cos", "tan",
    "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "floor", "ceil", "trunc",
    "rint", "negative", "reciprocal", "absolute", "fabs", "deg2rad", "rad2deg",
)  # fmt: skip
_BINARY = ("minimum", "maximum", "fmin", "fmax", "arctan2", "hypot", "logaddexp", "add", "subtract", "multiply",
           "divide", "floor_divide", "mod", "remainder", "copysign")  # fmt: skip
_OF_R = {
    "ceiling": "ceil", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2",
    "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip


def _functions() -> dict[str, RowFunction]:
    choose = RowFunction(_choose, ("test", "yes", "no"), 3, sees_missing=False)
    gone = RowFunction(is_missing, sees_missing=True)
    there = RowFunction(lambda x: ~is_missing(x), sees_missing=True)
    isin = RowFunction(contained, ("x", "values"), 2)
    found = {name: _numeric(getattr(np, name)) for name in _UNARY}
    found |= {name: _numeric(getattr(np, name), 2) for name in _BINARY}
    found |= {"log": RowFunction(_log, ("x", "base")), "power": _numeric(power, 2)}
    found |= {"round": RowFunction(_round, ("x", "digits")), "clip": RowFunction(_clip, ("x", "lower", "upper"))}
    found |= {"where": choose, "isin": isin, "isnan": gone, "isfinite": RowFunction(_finite)}
    found |= {"around": found["round"], "logical_and": RowFunction(both, ("x", "y"), 2)}
    found |= {"logical_or": RowFunction(either, ("x", "y"), 2), "logical_not": RowFunction(negation)}
    of_numpy = {f"np.{name}": function for name, function in found.items()}
    found |= {name: found[other] for name, other in _OF_R.items()}
    most, least = (RowFunction(_extreme(f), ("x",)) for f in (np.maximum, np.minimum))
    return {
        **found, **of_numpy, "pmax": most, "pmin": least, "ifelse": choose, "if_else": choose, "is.na": gone,
        "is.nan": gone, "isna": gone, "isnull": gone, "notna": there, "notnull": there,
        "is.finite": RowFunction(_finite), "exp10": _numeric(lambda x: np.power(10.0, x)), "plogis": _numeric(expit),
        "qlogis": _numeric(_logarithm_of_odds), "expit": _numeric(expit), "logit": _numeric(_logarithm_of_odds),
        "pnorm": _numeric(ndtr), "qnorm": _numeric(ndtri),
        "coalesce": RowFunction(_filled, ("x",), 2, sees_missing=True),
        "as.numeric": RowFunction(_as_numeric), "as.integer": RowFunction(_integer),
        "I": RowFunction(lambda x: x), "{": RowFunction(lambda x: x),
    }  # fmt: skip


def _methods(functions: dict[str, RowFunction]) -> dict[str, RowFunction]:
    """Methods of a column, as pandas and polars have them."""
    same = ("abs", "clip", "round", "isin", "isna", "isnull", "notna", "notnull", "between")
    found = {f".{name}": functions[name] for name in same if name in functions}
    found[".between"] = RowFunction(_between, ("x", "left", "right", "inclusive"), 3)
    found[".fillna"] = RowFunction(_filled, ("x", "value"), 2, sees_missing=True)
    for name, operator in (("eq", "=="), ("ne", "!="), ("lt", "<"), ("gt", ">"), ("le", "<="), ("ge", ">=")):
        found[f".{name}"] = RowFunction(_comparing(operator), ("x", "other"), 2)
    found[".mod"], found[".pow"] = _numeric(np.mod, 2), _numeric(power, 2)
    return found


def _comparing(operator: str) -> Callable[..., Any]:
    return lambda left, right: compared(operator, left, right, f".{operator}")


ROWWISE: dict[str, RowFunction] = _functions()
ROWWISE |= _methods(ROWWISE)
SEES_MISSING = {name for name, function in ROWWISE.items() if function.sees_missing} | {"%in%"}
VARIADIC = {"pmin", "pmax", "coalesce"}
"""Functions of any number of columns."""
