"""The nodes of an expression, and the text of an expression in one canonical form, by which equal terms are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, text, truth value or None; `written` is how it is shown."""

    value: float | int | str | bool | None
    written: str


@dataclass(frozen=True, slots=True)
class Name:
    """A column of the data, or a word that a function knows, such as `contr.sum`."""

    name: str


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `+x` or `!x`."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands and what stands between them, as written."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments.

    Parameters
    ----------
    function : str
        As written, without the column of `x.clip(0, 2)`: then `.clip`, and the column is the first argument.
    arguments : tuple of Node
    keywords : tuple of (str, Node)
    """

    function: str
    arguments: tuple[Node, ...]
    keywords: tuple[tuple[str, Node], ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """`[a, b]`, `(a, b)` or `c(a, b)`; `opening` is how it begins."""

    opening: str
    items: tuple[Node, ...]


Node: TypeAlias = Constant | Name | Unary | Binary | Call | Listed

EVERYTHING = Call(".", ())
"""`.`, which stands for all other columns."""

# How tightly operators bind, as R has it (?Syntax); `//` and `%` as in Python.
BINDING = {
    "~": 1, "|": 2, "||": 2, "&": 3, "&&": 3, "==": 5, "!=": 5, "<": 5, ">": 5, "<=": 5, ">=": 5,
    "+": 6, "-": 6, "*": 7, "/": 7, "//": 7, "%": 7, "%%": 8, "%/%": 8, "%in%": 8, ":": 9, "**": 11, "^": 11,
}  # fmt: skip
NOT, SIGN = 4, 10
COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
RESERVED: dict[str, bool | None] = {
    "True": True, "False": False, "TRUE": True, "FALSE": False, "None": None, "NULL": None,
}  # fmt: skip
"""Words that are values; a column of such a name needs backticks."""

_POWERS = ("**", "^")
_ALL = 100


def text_of(node: Node, *, every_name_quoted: bool = False) -> str:
    """The expression as it is shown, with no more brackets than needed; columns in backticks where they must be."""
    return _text(node, every_name_quoted)[0]


def children(node: Node) -> tuple[Node, ...]:
    """What a node is made of."""
    if isinstance(node, Unary):
        return (node.operand,)
    if isinstance(node, Binary):
        return node.left, node.right
    if isinstance(node, Call):
        return *node.arguments, *(value for _, value in node.keywords)
    return node.items if isinstance(node, Listed) else ()


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, in order of appearance."""
    yield node
    for child in children(node):
        yield from walk(child)


def quoted(name: str) -> str:
    """A column as a formula has it: in backticks unless it is a plain word."""
    if name.startswith(("within(", "between(")) and name.endswith(")"):
        return name  # stands for the call itself
    plain = name.isidentifier() or all(part.isidentifier() for part in name.split("."))
    return name if plain and name not in RESERVED else f"`{name}`"


def _text(node: Node, every: bool) -> tuple[str, int]:
    """Text, and how tightly its outermost operator binds; `every` name in backticks, or those that need it."""
    if isinstance(node, Constant):
        return node.written, _ALL
    if isinstance(node, Name):
        return (f"`{node.name}`" if every else quoted(node.name)), _ALL
    if isinstance(node, Listed):
        inner = ", ".join(_text(item, every)[0] for item in node.items)
        if node.opening == "(" and len(node.items) == 1:
            inner += ","
        return f"{node.opening}{inner}{']' if node.opening == '[' else ')'}", _ALL
    if isinstance(node, Call):
        return _call(node, every), _ALL
    if isinstance(node, Unary):
        binding = NOT if node.operator == "!" else SIGN
        return f"{node.operator}{_within(node.operand, binding, every)}", binding
    binding = BINDING[node.operator]
    to_the_right = node.operator in _POWERS
    left = _within(node.left, binding + to_the_right, every, node.operator)
    right = _within(node.right, binding + (not to_the_right), every, node.operator)
    between = node.operator if node.operator == ":" else f" {node.operator} "
    return f"{left}{between}{right}", binding


def _within(node: Node, binding: int, every: bool, operator: str = "") -> str:
    text, own = _text(node, every)
    if operator in _POWERS and isinstance(node, Unary) and binding == BINDING[operator]:
        return text  # the exponent of x ** -1
    # brackets also where R and Python read it differently
    unclear = operator in ("&", "|") and isinstance(node, Binary) and node.operator in COMPARISONS
    return f"({text})" if own < binding or unclear else text


def _call(node: Call, every: bool) -> str:
    if node == EVERYTHING:
        return "."
    arguments = [_text(item, every)[0] for item in node.arguments]
    arguments += [f"{name}={_text(value, every)[0]}" for name, value in node.keywords]
    if node.function.startswith("."):
        owner = _within(node.arguments[0], _ALL, every)
        return f"{owner}{node.function}({', '.join(arguments[1:])})"
    if node.function == "{":
        return arguments[0]
    return f"{node.function}({', '.join(arguments)})"
