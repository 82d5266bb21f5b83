"""Whether the formula of a stored result could do more than compute columns.

Terms of a formula are Python expressions, evaluated when new data are predicted. A user's own formula may do what the
user likes; one from a file may compute, and nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

import numpy as np

from clusterglm.data.design import Design
from clusterglm.data.formula import STATELESS, _functions, _tokens
from clusterglm.errors import StorageError

_NODES = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.keyword, ast.Name,
    ast.Attribute, ast.Constant, ast.Subscript, ast.Slice, ast.Tuple, ast.List, ast.Dict,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip
_MODULES = {"np", "contr"}
_OF_NUMPY = {"where", "clip", "round", "around", "isin", "digitize", "select", "nan_to_num", "pi", "e", "nan", "inf"}
_METHODS = {
    "abs", "astype", "between", "cat", "clip", "codes", "contains", "day", "dayofyear", "days", "diff", "dt",
    "endswith", "eq", "fillna", "ge", "gt", "hour", "isin", "isna", "isnull", "le", "len", "lower", "lt", "map", "max",
    "mean", "median", "min", "mod", "month", "ne", "notna", "pow", "quarter", "rank", "replace", "round", "slice",
    "startswith", "std", "str", "strip", "sum", "upper", "weekday", "year",
}  # fmt: skip


def refuse_unsafe(design: Design, formula: str) -> None:
    """Refuse expressions that could reach beyond the columns of a table.

    Parameters
    ----------
    design : Design
    formula : str
        The whole formula; its left-hand side is read again when a history is predicted from.

    Raises
    ------
    StorageError
        On the first such expression.
    """
    columns = {
        *design.variables,
        *(() if design.cluster_means is None else (t.name for t in design.cluster_means.terms)),
    }
    for part in design.spec.structure:
        for factor in part.term.factors:
            if factor.eval_method.value == "python":
                _check(factor.expr, formula, columns)
    terms = () if design.cluster_means is None else design.cluster_means.terms
    for expression in (*design.offsets, *(term.expression for term in terms)):
        _check(expression.code, formula, None)
    _check(formula.partition("~")[0], formula, None)


def _check(text: str, formula: str, columns: Collection[str] | None) -> None:
    """Refuse an expression; `columns` None: any name may be a column, for the evaluation knows no others."""
    guilty = next(_unsafe(text, columns), None)
    if guilty is not None:
        raise StorageError(
            f"the formula {formula!r} with {guilty}, which may do more than compute a column",
            "columns, operators, and functions that compute from them",
            "cg.load(path, trusted=True), if you know who made the file",
        )


def _unsafe(text: str, columns: Collection[str] | None) -> Iterator[str]:
    code = " ".join("_quoted" if token.kind == "quoted" else token.text for token in _tokens(text, ()))
    try:
        tree = ast.parse(code.strip(), mode="eval")
    except SyntaxError:
        yield repr(text)
        return
    functions = {*_functions(), *STATELESS, "I", "cbind"} - _MODULES
    known = None if columns is None else {*columns, *functions, "_quoted"}
    # `_allowed` speaks of them; by themselves they are no value
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    modules = [node.value for node in attributes if isinstance(node.value, ast.Name) and node.value.id in _MODULES]
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            yield type(node).__name__.lower()
        elif isinstance(node, ast.Attribute) and not _allowed(node):
            yield repr(ast.unparse(node))
        elif isinstance(node, ast.Call) and not (
            isinstance(node.func, ast.Attribute) or (isinstance(node.func, ast.Name) and node.func.id in functions)
        ):
            yield f"{ast.unparse(node.func)}()"
        elif isinstance(node, ast.Name) and not (known is None or node.id in known or node in modules):
            yield repr(node.id)


def _allowed(node: ast.Attribute) -> bool:
    if isinstance(node.value, ast.Name) and node.value.id == "np":
        return node.attr in _OF_NUMPY or isinstance(getattr(np, node.attr, None), np.ufunc)
    if isinstance(node.value, ast.Name) and node.value.id == "contr":
        return not node.attr.startswith("_")
    return node.attr in _METHODS
