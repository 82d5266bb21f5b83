"""Computes expressions: a walk over the tree, every operation from a fixed list, in float64 or on categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.formulas.check import FACTORS
from clusterglm.data.formulas.columnwise import COLUMNWISE, State
from clusterglm.data.formulas.contrasts import KINDS, Contrast, contrast_of
from clusterglm.data.formulas.rowwise import ROWWISE, VARIADIC, both, compared, contained, either, negation, power
from clusterglm.data.formulas.tree import COMPARISONS, Binary, Call, Constant, Listed, Name, Node, Unary, text_of
from clusterglm.data.formulas.values import (
    UNSEEN,
    Basis,
    Categories,
    Value,
    as_categories,
    as_numbers,
    positions,
    used,
)
from clusterglm.errors import DataError, FormulaError

_ALIASES = {"intercept": "include_intercept", "include.lowest": "include_lowest"}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "//": np.floor_divide, "%/%": np.floor_divide,
    "%": np.mod, "%%": np.mod, "**": power,
}  # fmt: skip


class Evaluator:
    """Values of expressions.

    Parameters
    ----------
    columns : mapping of str to ndarray or Categories
        Numbers or bools, or categories, n rows each.
    rows : int
        n.
    memory : dict of str to State
        What functions of whole columns have learned, by the text of their call.
    own : mapping of str to callable
        The user's functions.
    learning : bool
        Whether these are the fitted rows, from which is learned what the memory lacks.
    times : ndarray of int64, shape (n,), optional
        How often each of them is there, for what is learned.
    """

    def __init__(
        self,
        columns: Mapping[str, Any],
        rows: int,
        memory: dict[str, State],
        own: Mapping[str, Callable[..., Any]],
        *,
        learning: bool = False,
        times: NDArray[np.int64] | None = None,
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._memory = memory
        self._own = own
        self._learning = learning
        self._times = times

    def column(self, node: Node) -> Any:
        """An expression as a column: numbers, bools, categories or a basis, n rows.

        Raises
        ------
        FormulaError
            When it cannot be computed, or is a single value.
        """
        with np.errstate(all="ignore"):  # infinite and NaN results are reported with their column later
            value = self._value(node)
        if isinstance(value, (Categories, Basis)) or (isinstance(value, np.ndarray) and value.ndim == 1):
            return value
        raise FormulaError(f"{text_of(node)!r}, a single value", "a value for each row", "an expression of columns")

    def single(self, node: Node) -> Any:
        """An expression without columns."""
        with np.errstate(all="ignore"):
            return self._value(node)

    def _value(self, node: Node) -> Any:
        if isinstance(node, Name):
            return self._columns[node.name]
        if isinstance(node, Constant):
            return np.float64(node.value) if type(node.value) is float else node.value
        if isinstance(node, Listed):
            return tuple(self._value(item) for item in node.items)
        if isinstance(node, Unary):
            if node.operator == "!":
                return negation(self._value(node.operand))
            number = as_numbers(self._value(node.operand), text_of(node.operand))
            return -number if node.operator == "-" else number
        if isinstance(node, Binary):
            return self._binary(node)
        return self._call(node)

    def _binary(self, node: Binary) -> Any:
        left, right = self._value(node.left), self._value(node.right)
        if node.operator in COMPARISONS:
            return compared(node.operator, left, right, text_of(node))
        if node.operator == "%in%":
            return contained(left, right)
        if node.operator in ("&", "|"):
            return (both if node.operator == "&" else either)(left, right)
        compute = _ARITHMETIC[node.operator]
        return compute(as_numbers(left, text_of(node.left)), as_numbers(right, text_of(node.right)))

    def _call(self, node: Call) -> Any:
        name = node.function
        if name in self._own:
            return self._own_function(node)
        if name in COLUMNWISE:
            return self._columnwise(node)
        if name in FACTORS:
            return self._factor(node)
        arguments, keywords = self._arguments(node)
        function = ROWWISE[name]
        if name not in VARIADIC:
            arguments = bound(node, function.names, arguments, keywords, function.needed)
        elif keywords or len(arguments) < function.needed:
            raise FormulaError(f"{text_of(node)}", f"{function.needed} columns or more, without names", f"{name}(x, z)")
        return _computed(node, function.compute, *arguments)

    def _arguments(self, node: Call) -> tuple[list[Any], dict[str, Any]]:
        return [self._value(a) for a in node.arguments], {key: self._value(value) for key, value in node.keywords}

    def _columnwise(self, node: Call) -> Value:
        function, key = COLUMNWISE[node.function], text_of(node)
        arguments, keywords = self._arguments(node)
        if not arguments:
            raise FormulaError(f"{key} of nothing", "a column", f"{node.function.lstrip('.')}(x)")
        if any(_is_column(each) for each in (*arguments[1:], *keywords.values())):
            raise FormulaError(f"{key} of several columns", "one column", "a call for each")
        x = as_numbers(arguments[0], text_of(node.arguments[0]))
        if np.ndim(x) != 1:
            raise FormulaError(f"{key} of a single value", "a column", "the value itself")
        if key not in self._memory:
            if not self._learning:
                raise DataError(
                    f"{key}, of which the fit has kept nothing", "what it learned from the fitted rows", "fit again"
                )
            ends = keywords.pop("Boundary.knots", None)
            if isinstance(ends, tuple) and len(ends) == 2:
                keywords["lower_bound"], keywords["upper_bound"] = ends
            named = {_ALIASES.get(name, name): _plain(value) for name, value in keywords.items()}
            others = bound(node, function.names, [_plain(each) for each in arguments[1:]], named, 0)
            present = ~np.isnan(x)
            there = x[present] if self._times is None else np.repeat(x[present], self._times[present])
            if len(there) == 0:
                raise FormulaError(f"{key} of a column without a value", "some values", "look at the column")
            given = {k: v for k, v in zip(function.names, others, strict=False) if v is not _NOT_GIVEN}
            self._memory[key] = _computed(node, function.learn, there, **given)
        return function.apply(self._memory[key], x)

    def _factor(self, node: Call) -> Categories:
        name, key = node.function, text_of(node)
        if not node.arguments:
            raise FormulaError(f"{key} of nothing", "a column", "C(g)")
        value = as_categories(self._value(node.arguments[0]), text_of(node.arguments[0]))
        parts = dict(
            zip(("contrasts", "levels") if name == "C" else ("levels", "labels"), node.arguments[1:], strict=False)
        )
        if name == "relevel":
            parts = dict(zip(("ref",), node.arguments[1:], strict=False))
        parts |= dict(node.keywords)
        known = {"relevel": {"ref"}, "C": {"contrasts", "levels", "contr"}}.get(name, {"levels", "contrasts"})
        odd = sorted(set(parts) - known)
        if odd or len(node.arguments) > 3:
            meant = next((text_of(parts[each]) for each in ("ref", "reference", "base") if each in odd), None)
            raise FormulaError(
                f"{key} with {odd[0] if odd else 'so many arguments'!r}",
                f"{', '.join(sorted(known))}",
                f"{name}(g)" if meant is None else f"relevel({text_of(node.arguments[0])}, ref={meant})",
            )
        if name == "as.character":
            return _as_text(value)
        if "levels" in parts:
            value = self._with_levels(value, parts["levels"], key)
        contrast = parts.get("contrasts", parts.get("contr"))
        if contrast is not None:
            value = Categories(value.levels, value.codes, self._contrast(contrast, key))
        if name == "relevel":
            value = self._relevelled(value, parts.get("ref"), key)
        return value

    def _with_levels(self, value: Categories, listed: Node, key: str) -> Categories:
        levels = self._value(listed)
        if not isinstance(levels, tuple) or not levels:
            raise FormulaError(f"levels of {key}", "a list of levels", "C(g, levels=['a', 'b'])")
        wanted = tuple(_plain(level) for level in levels)
        places = positions(wanted, value.levels)
        if self._learning:
            seen = {value.levels[code] for code in np.unique(value.codes[value.codes >= 0]).tolist()}
            left = [value.levels[k] for k in np.flatnonzero(places == UNSEEN) if value.levels[k] in seen]
            if left:
                shown = ", ".join(map(repr, left[:5]))
                raise FormulaError(
                    f"{key}, of which the data have also {shown}",
                    "every level that the rows in use have",
                    f"add {shown} to levels=, or leave these rows out by subset=",
                )
        return Categories(wanted, np.append(places, [UNSEEN, -1])[value.codes], value.contrast)

    def _relevelled(self, value: Categories, reference: Node | None, key: str) -> Categories:
        wanted = None if reference is None else _plain(self._value(reference))
        if wanted is None:
            raise FormulaError(f"{key} without a level", "the level to compare with", "relevel(g, ref='a')")
        value = used(value) if self._learning else value
        (place,) = positions(value.levels, [wanted]).tolist()
        if place == UNSEEN:
            if not self._learning:
                return value  # levels are put into the fitted order later
            shown = ", ".join(map(repr, value.levels[:20]))
            raise FormulaError(f"the reference level {wanted!r} of {key}", f"one of {shown}", "check the spelling")
        order = [place, *(k for k in range(len(value.levels)) if k != place)]
        back = np.append(np.argsort(order), [UNSEEN, -1])
        return Categories(tuple(value.levels[k] for k in order), back[value.codes], value.contrast)

    def _contrast(self, node: Node, key: str) -> Contrast | None:
        if isinstance(node, Name) and node.name in KINDS:
            return contrast_of(node.name, (), {})
        if isinstance(node, Call) and node.function in KINDS:
            arguments, keywords = self._arguments(node)
            plain = {name: _plain(value) for name, value in keywords.items()}
            return contrast_of(node.function, [_plain(value) for value in arguments], plain)
        value = self._value(node)
        if value is None:
            return None
        if isinstance(value, str):
            return contrast_of(value, (), {})
        if isinstance(value, tuple):
            return Contrast("matrix", (("matrix", tuple(map(_plain, value))),))
        raise FormulaError(f"the contrasts {text_of(node)} of {key}", "contr.treatment and the like", "C(g, contr.sum)")

    def _own_function(self, node: Call) -> Value:
        arguments, keywords = self._arguments(node)
        given = [_for_the_user(value) for value in arguments]
        try:
            found = np.asarray(self._own[node.function](*given, **{k: _for_the_user(v) for k, v in keywords.items()}))
        except Exception as problem:
            raise FormulaError(
                f"{text_of(node)} cannot be computed: {type(problem).__name__}: {problem}",
                "a function of arrays that gives each row a number",
                "try it on columns of the data by itself",
            ) from problem
        if found.shape != (self._rows,) or found.dtype.kind not in "biuf":
            raise FormulaError(
                f"{text_of(node)}, which gave {found.dtype} of shape {found.shape}",
                f"numbers of shape ({self._rows},)",
                "a function that works on arrays, element by element",
            )
        return found.astype(np.float64) if found.dtype.kind != "b" else found


def _computed(node: Call, compute: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a function makes of arguments, which may be of kinds that it does not take."""
    try:
        return compute(*arguments, **named)
    except (TypeError, ValueError, OverflowError) as problem:
        if isinstance(problem, DataError):
            raise
        raise FormulaError(
            f"{text_of(node)} cannot be computed: {problem}", "arguments as R's or NumPy's function takes them", "fewer"
        ) from problem


def _is_column(value: Any) -> bool:
    return isinstance(value, (Categories, Basis)) or (isinstance(value, np.ndarray) and value.ndim > 0)


class _NotGiven:
    pass


_NOT_GIVEN: Any = _NotGiven()


def bound(node: Call, names: Sequence[str], arguments: list[Any], keywords: dict[str, Any], needed: int) -> list[Any]:
    """Arguments in the order of their names.

    Raises
    ------
    FormulaError
        When there are too few, too many, or unknown ones.
    """
    odd = next((name for name in keywords if name not in names), None)
    twice = next((name for name in names[: len(arguments)] if name in keywords), None)
    if odd is not None or twice is not None or len(arguments) > len(names):
        what = f"the argument {odd!r}" if odd else f"{twice!r} twice" if twice else f"{len(arguments)} arguments"
        raise FormulaError(
            f"{text_of(node)} with {what}", f"the arguments {', '.join(names) or 'of a column alone'}", "drop it"
        )
    found = [*arguments, *(keywords.get(name, _NOT_GIVEN) for name in names[len(arguments) :])]
    while found and found[-1] is _NOT_GIVEN:
        found.pop()
    if len(found) < needed or (needed and any(value is _NOT_GIVEN for value in found[:needed])):
        raise FormulaError(f"{text_of(node)}", f"the arguments {', '.join(names[:needed])}", "give them all")
    return [None if value is _NOT_GIVEN and needed else value for value in found]


def _plain(value: Any) -> Any:
    """Numbers as Python's, whole ones as int; lists too."""
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, np.floating):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return value


def _as_text(value: Categories) -> Categories:
    texts = [str(level) for level in value.levels]
    levels = sorted(set(texts))
    return Categories(tuple(levels), np.append(positions(levels, texts), [UNSEEN, -1])[value.codes])


def _for_the_user(value: Any) -> Any:
    if isinstance(value, Categories):
        return np.array([*value.levels, None, None], dtype=object)[value.codes]
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if value.dtype.kind != "b" else value.copy()
    return _plain(value)
