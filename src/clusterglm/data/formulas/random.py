"""Random terms of a formula: `(x | id)`, `(1 | a:b)`, `(1 | a/b)`, `diag(x | id)`, and what makes them unidentified.

The grammar is lme4's (Bates, Maechler, Bolker and Walker, Journal of Statistical Software 67, 2015, section 2.1); the
structures are named as glmmTMB names them. `(f || id)` of a factor is diagonal here, which it is not in lme4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clusterglm.data.formulas.algebra import INTERCEPT, Term, right_side
from clusterglm.data.formulas.check import check_expression
from clusterglm.data.formulas.tree import Binary, Call, Constant, Name, Node, Unary, text_of
from clusterglm.errors import FormulaError

_EXAMPLE = "(1 | id), (x | id), (x || id), (0 + x | id), (1 | a:b) or (1 | a/b)"


@dataclass(frozen=True)
class RandomTerm:
    """Effects that vary over the levels of one grouping factor.

    Parameters
    ----------
    text : str
        As written, without brackets.
    terms : tuple of Term
        What varies: the intercept first, if there is one.
    group : tuple of str
        Columns whose combinations are the levels.
    structure : {"us", "diag", "homdiag", "cs"}
        Of the effects' covariance: any, no correlations, one variance without correlations, one correlation.
    """

    text: str
    terms: tuple[Term, ...]
    group: tuple[str, ...]
    structure: str = "us"

    @property
    def factor(self) -> str:
        """The grouping factor's name, with colons between columns."""
        return ":".join(self.group)

    @property
    def is_intercept(self) -> bool:
        """Whether nothing but the intercept varies."""
        return self.terms == (INTERCEPT,)


def random_terms(nodes: Sequence[Node], columns: Sequence[str], own: Mapping[str, Any]) -> tuple[RandomTerm, ...]:
    """What stands in `( | )`, a term for each grouping factor of each.

    Parameters
    ----------
    nodes : sequence of Node
        As `RightSide.random` has them.
    columns : sequence of str
        Of the data, and those that `within(...)` and `between(...)` stand for.
    own : mapping of str to callable
        The user's functions.

    Raises
    ------
    FormulaError
        On a term that cannot be read, and on effects that are there twice.
    """
    found = [term for node in nodes for term in _read(node, columns, own)]
    seen: set[tuple[frozenset[str], frozenset[Node]]] = set()
    for term in found:
        for effect in term.terms:
            key = frozenset(term.group), frozenset(effect.factors)
            if key in seen:
                what = "an intercept" if effect == INTERCEPT else effect.name
                raise FormulaError(
                    f"{what} that varies over {term.factor!r} twice, in {', '.join(f'({t.text})' for t in found)}",
                    "each effect once a grouping factor: two of them cannot be told apart",
                    "(x | id) alone has an intercept already; (1 | id) + (0 + x | id) for uncorrelated effects",
                )
            seen.add(key)
    return tuple(found)


def _read(node: Node, columns: Sequence[str], own: Mapping[str, Any]) -> Iterator[RandomTerm]:
    structure, inner = "us", node
    if isinstance(node, Call):
        structure, inner = node.function, node.arguments[0]
    if not isinstance(inner, Binary):
        raise FormulaError(f"({text_of(node)})", _EXAMPLE, "(1 | id), or cluster='id'")
    if inner.operator == "||":
        structure = "diag"
    effects = right_side(list(summands(inner.left)), lambda: _refuse_dot(inner))
    if effects.offsets or effects.random or not effects.terms:
        raise FormulaError(
            f"({text_of(inner)}), whose left-hand side has {'no effect' if not effects.terms else 'more than effects'}",
            _EXAMPLE,
            "(x | id)",
        )
    for effect in effects.terms:
        for factor in effect.factors:
            check_expression(factor, columns, own)
    for group in _groups(inner, columns):
        yield RandomTerm(text_of(inner), tuple(effects.terms), group, structure)


def summands(node: Node, sign: str = "+") -> Iterator[tuple[str, Node]]:
    """The parts of a sum with their signs, as `right_side` takes them."""
    if isinstance(node, Binary) and node.operator in ("+", "-"):
        yield from summands(node.left, sign)
        yield from summands(node.right, sign if node.operator == "+" else _other(sign))
    elif isinstance(node, Unary) and node.operator in ("+", "-"):
        yield from summands(node.operand, sign if node.operator == "+" else _other(sign))
    else:
        yield sign, node


def _other(sign: str) -> str:
    return "-" if sign == "+" else "+"


def _groups(term: Binary, columns: Collection[str]) -> list[tuple[str, ...]]:
    """The grouping factors right of the bar: a and a:b for `a/b`."""
    grouping = right_side([("+", term.right)], lambda: _refuse_dot(term))
    found = []
    for part in grouping.terms:
        names = [factor.name for factor in part.factors if isinstance(factor, Name)]
        if len(names) < len(part.factors):
            wrong = next(factor for factor in part.factors if not isinstance(factor, Name))
            raise FormulaError(
                f"{text_of(wrong)} right of the bar in ({text_of(term)})",
                "columns there, with : and / between them",
                "make it a column of the data first",
            )
        for factor in part.factors:
            check_expression(factor, columns, {})
        if names:
            found.append(tuple(names))
    if not found or grouping.offsets or grouping.random or _has_number(term.right):
        raise FormulaError(f"({text_of(term)}) without a grouping factor", _EXAMPLE, "(1 | id), or cluster='id'")
    return found


def _has_number(node: Node) -> bool:
    return isinstance(node, Constant) or (
        isinstance(node, Binary) and (_has_number(node.left) or _has_number(node.right))
    )


def _refuse_dot(term: Binary) -> list[str]:
    raise FormulaError(f"'.' in ({text_of(term)})", _EXAMPLE, "the columns by their names")
