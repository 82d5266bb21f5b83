"""Tokens to trees, by operator precedence (Pratt, POPL 1973) with R's rules of which operator binds tighter."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from clusterglm.data.formulas.tokens import MOST_NESTED, Token, shortened
from clusterglm.data.formulas.tree import (
    BINDING,
    COMPARISONS,
    EVERYTHING,
    NOT,
    RESERVED,
    SIGN,
    Binary,
    Call,
    Constant,
    Listed,
    Name,
    Node,
    Unary,
    text_of,
)
from clusterglm.errors import FormulaError, nearest

_DEEPEST_TREE = 2 * MOST_NESTED  # nodes above each other
_INSTEAD = {
    "and": "a & b", "or": "a | b", "not": "!a", "if": "ifelse(condition, a, b)", "in": "x %in% c('a', 'b')",
    "is": "x == 1", "lambda": "a function of your own by functions={'f': f}",
}  # fmt: skip
_CONSTANTS = {"np.pi": math.pi, "np.e": math.e, "np.inf": math.inf, "np.nan": math.nan, "pi": math.pi, "Inf": math.inf}


class Parser:
    """Reads one expression.

    Parameters
    ----------
    tokens : sequence of Token
    columns, functions : collection of str
        Names that the data and the functions have: they tell what a name with a dot is, such as `x.clip` or `is.na`.
    formula : str
        The whole formula, for errors.
    """

    def __init__(
        self, tokens: Sequence[Token], columns: Collection[str], functions: Collection[str], formula: str
    ) -> None:
        self._tokens = tokens
        self._columns = columns
        self._functions = functions
        self._formula = formula
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        """The expression that all tokens make.

        Raises
        ------
        FormulaError
            When they do not make one; it says where.
        """
        node = self._expression(0)
        if self._at < len(self._tokens):
            raise self._unexpected()
        return node

    def _peek(self, ahead: int = 0) -> Token | None:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else None

    def _take(self, *operators: str) -> bool:
        token = self._peek()
        if token is None or not token.is_(*operators):
            return False
        self._at += 1
        return True

    def _expression(self, binding: int) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST_TREE:
            raise self._too_deep()
        node, links = self._operand(), 0
        while (token := self._peek()) is not None and token.kind == "operator" and token.text in BINDING:
            operator, own = "**" if token.text == "^" else token.text, BINDING[token.text]
            if own <= binding:
                break
            links += 1
            if links > _DEEPEST_TREE:
                raise self._too_deep()
            self._at += 1
            if operator in ("&&", "~"):
                raise self._error(f"{operator!r}", "& and | for conditions", "one & or one |")
            right = self._expression(own - (operator == "**"))
            if operator in COMPARISONS and isinstance(node, Binary) and node.operator in COMPARISONS:
                both = f"({text_of(node)}) & ({text_of(node.right)} {operator} {text_of(right)})"
                raise self._error(f"{text_of(node)} {operator} {text_of(right)}", "one comparison at a time", both)
            node = Binary(operator, node, right)
        self._depth -= 1
        return node

    def _operand(self) -> Node:
        token = self._peek()
        if token is None:
            raise self._error("an operator at the end of an expression", "an expression of columns", "log(n), or n - s")
        if token.is_("-", "+"):
            self._at += 1
            return Unary(token.text, self._expression(SIGN))
        if token.is_("!"):
            self._at += 1
            return Unary("!", self._expression(NOT))
        return self._methods(self._primary(token))

    def _primary(self, token: Token) -> Node:
        self._at += 1
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "string":
            return Constant(token.text[1:-1], repr(token.text[1:-1]))
        if token.kind == "quoted":
            return Name(token.text[1:-1])
        if token.kind == "name":
            return self._named(token.text)
        if token.is_("("):
            return self._bracket()
        if token.is_("["):
            return Listed("[", self._items("]"))
        if token.is_("."):
            return EVERYTHING
        if token.is_("{"):
            inner = self._expression(0)
            if not self._take("}"):
                raise self._unexpected()
            return Call("{", (inner,))
        self._at -= 1
        raise self._unexpected()

    def _bracket(self) -> Node:
        if self._take(")"):
            return Listed("(", ())
        first = self._expression(0)
        if self._take(")"):
            return first
        if not self._take(","):
            raise self._unexpected()
        return Listed("(", (first, *self._items(")")))

    def _items(self, closing: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._take(closing):
            items.append(self._expression(0))
            if not self._take(","):
                if self._take(closing):
                    break
                raise self._unexpected()
        return tuple(items)

    def _named(self, text: str) -> Node:
        following = self._peek()
        if following is None or not following.is_("("):
            return self._word(text)
        self._at += 1
        arguments, keywords = self._arguments()
        if text == "c" and not keywords and text not in self._columns:
            return Listed("c(", arguments)
        if text in self._functions or "." not in text:
            return Call(text, arguments, keywords)
        owner, dot, method = text.rpartition(".")
        while dot and owner not in self._columns:
            owner, dot, rest = owner.rpartition(".")
            method = f"{rest}.{method}"
        return Call(f".{method}", (Name(owner), *arguments), keywords) if dot else Call(text, arguments, keywords)

    def _word(self, text: str) -> Node:
        if text in RESERVED:
            return Constant(RESERVED[text], text)
        if text in self._columns or text.startswith("contr."):
            return Name(text)
        if text in _CONSTANTS:
            return Constant(_CONSTANTS[text], text)
        if text in _INSTEAD:
            raise self._error(f"the word {text!r}", "operators of R", _INSTEAD[text])
        root = text.split(".")[0]
        if root in self._columns and root != text:
            raise self._error(
                f"{text!r}, something of the column {root!r}",
                "a column, or a method that is called, as x.clip(0, 2)",
                "compute it as a column of the data first",
            )
        return Name(text)

    def _methods(self, node: Node) -> Node:
        """`.name(...)` after what was read."""
        while True:
            dot, name, bracket = (self._peek(ahead) for ahead in (0, 1, 2))
            if dot is not None and dot.is_("[", "("):
                raise self._error(
                    f"{dot.text!r} after {text_of(node)}", "an operator", "ifelse(condition, a, b) to choose rows"
                )
            if dot is None or not dot.is_(".") or name is None or name.kind != "name":
                return node
            if bracket is None or not bracket.is_("("):
                raise self._error(f".{name.text} of {text_of(node)}", "a method that is called", "a column of the data")
            self._at += 3
            arguments, keywords = self._arguments()
            node = Call(f".{name.text}", (node, *arguments), keywords)

    def _arguments(self) -> tuple[tuple[Node, ...], tuple[tuple[str, Node], ...]]:
        positional: list[Node] = []
        keywords: dict[str, Node] = {}
        while not self._take(")"):
            name, equals = self._peek(), self._peek(1)
            if name is not None and name.kind == "name" and equals is not None and equals.is_("="):
                self._at += 2
                if name.text in keywords:
                    raise self._error(f"the argument {name.text!r} twice", "each once", "drop one")
                keywords[name.text] = self._expression(0)
            elif keywords:
                raise self._error(
                    "an argument without a name after named ones", "named arguments last", "change places"
                )
            else:
                positional.append(self._expression(0))
            if not self._take(","):
                if self._take(")"):
                    break
                raise self._unexpected()
        return tuple(positional), tuple(keywords.items())

    def _unexpected(self) -> FormulaError:
        token, before = self._peek(), self._tokens[self._at - 1] if self._at > 0 else None
        if token is None:
            return self._error("an expression that stops early", "an expression of columns", "complete it")
        word = token.text if token.kind == "name" else ""
        if word in _INSTEAD:
            return self._error(f"the word {word!r}", "operators of R", _INSTEAD[word])
        if token.kind != "operator" and before is not None:
            return self._error(
                f"{before.text!r} followed by {token.text!r}",
                "an operator between them: missing operator",
                f"{before.text} + {token.text}; or backticks around a name of several words",
            )
        hint = nearest(before.text, self._columns) if before is not None and before.kind == "name" else ""
        return self._error(
            f"{token.text!r} where an expression should stand", "an expression of columns", hint + "log(n), or n - s"
        )

    def _too_deep(self) -> FormulaError:
        return self._error(
            f"an expression of more than {_DEEPEST_TREE} operations inside each other",
            f"at most {_DEEPEST_TREE}",
            "compute parts of it as columns of the data first",
        )

    def _error(self, got: str, needed: str, advice: str) -> FormulaError:
        return FormulaError(f"{got} in the formula {shortened(self._formula)}", needed, advice)


def _number(text: str) -> Constant:
    """Whole numbers are shown as they are, others as Python shows them."""
    value = float(text)
    if text.isdigit() and len(text) < 300:
        return Constant(value, text.lstrip("0") or "0")
    return Constant(value, repr(value))
