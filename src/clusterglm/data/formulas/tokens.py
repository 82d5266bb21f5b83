"""Text to tokens, with limits on how much of them a formula may have."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from clusterglm.errors import FormulaError

MOST_TOKENS = 50_000
MOST_NESTED = 100

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>"[^"]*"|'[^']*')
      | (?P<quoted>`[^`]+`)
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[^\W\d][\w.]*)
      | (?P<operator>%in%|%%|%/%|\*\*|//|==|!=|<=|>=|&&|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_KNOWN = {*"+-*/:^~|&!%<>=,.()[]{}", "%in%", "%%", "%/%", "**", "//", "==", "!=", "<=", ">=", "&&", "||"}


class Token(NamedTuple):
    """A piece of a formula: its kind (string, quoted, number, name, operator), its text, and where it starts."""

    kind: str
    text: str
    start: int

    def is_(self, *operators: str) -> bool:
        """Whether it is one of these operators."""
        return self.kind == "operator" and self.text in operators


def tokens_of(formula: str, columns: Collection[str]) -> list[Token]:
    """Tokens without white space, brackets balanced; a name with dots that is a column is one name.

    Raises
    ------
    FormulaError
        On characters that no formula has, brackets without partner, or too much of anything.
    """
    found: list[Token] = []
    open_brackets: list[str] = []
    for match in _TOKEN.finditer(formula):
        kind, text = str(match.lastgroup), match.group()
        if kind == "space":
            continue
        if kind == "operator" and text not in _KNOWN:
            raise FormulaError(
                f"{text!r} at position {match.start() + 1} of the formula {shortened(formula)}",
                "names, numbers, functions and operators",
                "close every quote; put column names that are not plain words in `backticks`",
            )
        if kind == "operator" and text in _PAIRS:
            open_brackets.append(_PAIRS[text])
            if len(open_brackets) > MOST_NESTED:
                raise FormulaError(
                    f"more than {MOST_NESTED} brackets inside each other in {shortened(formula)}",
                    f"at most {MOST_NESTED}",
                    "compute parts of it as columns of the data first",
                )
        elif kind == "operator" and text in _PAIRS.values() and (not open_brackets or open_brackets.pop() != text):
            raise FormulaError(
                f"{text!r} without its partner in {shortened(formula)}", "balanced brackets", f"drop the {text!r}"
            )
        if kind == "name" and "." in text and text in columns:
            kind, text = "quoted", f"`{text}`"
        found.append(Token(kind, text, match.start()))
        if len(found) > MOST_TOKENS:
            raise FormulaError(
                f"a formula of more than {MOST_TOKENS:,} names and operators",
                f"at most {MOST_TOKENS:,}",
                "fewer terms; columns that belong together can be a spline or a category",
            )
    if open_brackets:
        raise FormulaError(
            f"a bracket that is never closed in {shortened(formula)}", "balanced brackets", f"add {open_brackets[-1]!r}"
        )
    return found


def depth_after(token: Token) -> int:
    """What a token adds to the depth of brackets: 1, -1 or 0."""
    if token.kind != "operator":
        return 0
    return 1 if token.text in _PAIRS else -1 if token.text in _PAIRS.values() else 0


def shortened(text: str, most: int = 120) -> str:
    """A text as errors show it."""
    return repr(text) if len(text) <= most else f"{text[:most]!r} and {len(text) - most:,} characters more"
