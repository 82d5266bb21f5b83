"""Expressions to text and back, for files: with every column in backticks, no list of columns is needed to read it."""

from __future__ import annotations

from collections.abc import Collection

from clusterglm.data.formulas.check import known_functions
from clusterglm.data.formulas.parse import Parser
from clusterglm.data.formulas.tokens import tokens_of
from clusterglm.data.formulas.tree import Node, text_of


def written(node: Node) -> str:
    """The expression as a file has it."""
    return text_of(node, every_name_quoted=True)


def read(text: str, functions: Collection[str] = ()) -> Node:
    """The expression that `written` gave the text of.

    Raises
    ------
    FormulaError
        When the text is no expression.
    """
    return Parser(tokens_of(text, ()), (), {*known_functions(), *functions}, text).whole()
