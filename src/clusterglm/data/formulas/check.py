"""Whether an expression names only columns and functions that there are, before anything is computed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from clusterglm.data.formulas.columnwise import COLUMNWISE, FORGETFUL
from clusterglm.data.formulas.contrasts import KINDS
from clusterglm.data.formulas.rowwise import ROWWISE, SEES_MISSING
from clusterglm.data.formulas.tree import EVERYTHING, Binary, Call, Name, Node, children, text_of, walk
from clusterglm.errors import FormulaError, nearest

FACTORS = ("C", "factor", "as.factor", "ordered", "as.ordered", "relevel", "droplevels", "as.character")
"""Functions that make categories of a column."""

CLUSTERS = ("within", "between")
_ELSEWHERE = {
    "offset": ("a term of its own", "y ~ x + offset(z)"),
    "cbind": ("left of '~', as in cbind(successes, failures)", "list the columns with '+'"),
    "Surv": ("left of '~', as in Surv(time, event)", "list the columns with '+'"),
    "s": ("a spline of a fixed basis", "ns(x, df=4), or cr(x, df=4)"),
    "strata": ("a term of its own, in cg.conditional and cg.fixed_effects", "y ~ x + strata(id), or cluster='id'"),
    "exp10": ("", ""),
}
_INSTEAD = {
    "lag": "as.numeric() of a column made before", "hashed": "C(x)", "Q": "backticks around the name",
    "log.odds": "qlogis", "as.logical": "I(x != 0)", "toupper": "a column made before", "paste": "x:z",
    "interaction": "x:z", "cases": "ifelse(test, yes, no)", "case_when": "ifelse(test, yes, no)",
    "rcs": "ns(x, df=4)", "nsk": "ns(x, df=4)", "te": "ns(x, df=3):ns(z, df=3)", "rms": "sqrt(mean(x**2))",
}  # fmt: skip
_WHERE = "the documentation's page on formulas lists them all"


def known_functions(own: Mapping[str, Any] | None = None) -> set[str]:
    """Names of all functions that a formula may call, the user's own included."""
    return {*ROWWISE, *COLUMNWISE, *FACTORS, *CLUSTERS, *KINDS, "c", *(own or ())}


def check_expression(
    node: Node, columns: Collection[str], own: Mapping[str, Any], *, whole_columns: str | None = None
) -> None:
    """Refuse names that are no columns and functions that are not known.

    Parameters
    ----------
    node : Node
    columns : collection of str
    own : mapping of str to callable
        The user's functions.
    whole_columns : str, optional
        Where functions of a whole column may not stand, in words.

    Raises
    ------
    FormulaError
        It names the part, and the nearest that is known.
    """
    if isinstance(node, Name):
        _check_column(node.name, columns)
    elif isinstance(node, Call):
        _check_call(node, own, whole_columns)
        contrasts = node.function in ("C", "factor", "as.factor", "ordered")
        for k, child in enumerate(children(node)):
            if contrasts and k > 0 and _is_contrast(child):
                continue
            check_expression(child, columns, own, whole_columns=whole_columns)
    else:
        if isinstance(node, Binary) and node.operator == ":":
            raise FormulaError(f"{text_of(node)} inside an expression", "* for products", "x:z as a term of its own")
        for child in children(node):
            check_expression(child, columns, own, whole_columns=whole_columns)


def variables_of(nodes: Iterable[Node], columns: Collection[str]) -> tuple[str, ...]:
    """Columns that expressions use, in order of appearance."""
    names = (part.name for node in nodes for part in walk(node) if isinstance(part, Name))
    return tuple(dict.fromkeys(name for name in names if name in columns))


def calls(node: Node) -> set[str]:
    """Functions that an expression calls, and `%in%`."""
    found = {part.function for part in walk(node) if isinstance(part, Call)}
    return found | {part.operator for part in walk(node) if isinstance(part, Binary) and part.operator == "%in%"}


def sees_missing(node: Node) -> bool:
    """Whether a row with a missing column may have a value."""
    return not calls(node).isdisjoint(SEES_MISSING)


def has_memory(node: Node) -> bool:
    """Whether a row's value depends on other rows."""
    return not calls(node).isdisjoint(COLUMNWISE)


def _is_contrast(node: Node) -> bool:
    return (isinstance(node, Name) and node.name in KINDS) or (isinstance(node, Call) and node.function in KINDS)


def _check_column(name: str, columns: Collection[str]) -> None:
    if name not in columns:
        every = list(columns)
        shown = ", ".join(map(repr, every[:20])) + (f" and {len(every) - 20} more" if len(every) > 20 else "")
        raise FormulaError(
            f"{name!r} in the formula, which is not a column of the data",
            f"one of the columns {shown}",
            f"{nearest(name, every)}check the spelling, or add the column",
        )


def _check_call(node: Call, own: Mapping[str, Any], whole_columns: str | None) -> None:
    name = node.function
    if name in own or name in ROWWISE or name in FACTORS:
        return
    if name in KINDS:
        raise FormulaError(f"{text_of(node)} by itself", "contrasts in C()", f"C(g, {text_of(node)})")
    if name in COLUMNWISE:
        if whole_columns is not None:
            raise FormulaError(
                f"{text_of(node)} in {whole_columns}, which takes a whole column",
                "what each row gives by itself",
                "a number in its place; or compute it as a column of the data first",
            )
        return
    if node == EVERYTHING:
        raise FormulaError("'.' inside an expression", "'.' as a term, for all other columns", "the column's name")
    shown = f"the method {name}()" if name.startswith(".") else f"the function {name}()"
    bare = name.removeprefix("np.").removeprefix(".").split(".")[-1]
    if name in _ELSEWHERE and name != "exp10":
        needed, advice = _ELSEWHERE[name]
        raise FormulaError(f"{text_of(node)} inside another term or among the covariates", needed, advice)
    if name in CLUSTERS:
        raise FormulaError(f"{text_of(node)} inside within() or between(), or left of '~'", "columns there", "a column")
    if bare in FORGETFUL:
        raise FormulaError(
            f"{shown} in the formula, which gives a row {FORGETFUL[bare]}",
            "functions that give new rows a value too",
            "compute it as a column of the data first",
        )
    choices = {each for each in known_functions(own) if each.startswith(".") == name.startswith(".")}
    hint = f"{_INSTEAD[name]}, or " if name in _INSTEAD else nearest(name, choices)
    raise FormulaError(
        f"{shown} in the formula",
        f"a function that formulas know: {_WHERE}",
        f"{hint}compute it as a column of the data first; a function of your own by functions={{'f': f}}",
    )
