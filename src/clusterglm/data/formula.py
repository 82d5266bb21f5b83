"""Reads the parts of a formula that formulaic does not know: response, `offset(...)`, `(1 | id)`, and checks all names.

What is left of the right-hand side goes to formulaic (see `design`).
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from clusterglm.errors import FormulaError, nearest

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>"[^"]*"|'[^']*')
      | (?P<quoted>`[^`]+`)
      | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)
      | (?P<name>[^\W\d][\w.]*)
      | (?P<operator>%in%|\*\*|//|==|!=|<=|>=|&&|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_WHOLE = "a formula such as 'y ~ x1 + x2'"

_HINTS = {
    "Treatment": "C(x, contr.treatment('reference')), or ",
    "relevel": "C(x, contr.treatment('reference')), or ",
    "ns": "cr(x, df=4, constraints='center') for a natural spline, or ",
    "ordered": "C(x, contr.poly), or ",
}
"""What to write in place of functions of R and of other packages."""

STATELESS: dict[str, Callable[..., Any]] = {
    "log": np.log, "log10": np.log10, "log2": np.log2, "log1p": np.log1p,
    "exp": np.exp, "expm1": np.expm1, "sqrt": np.sqrt, "abs": np.abs,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "floor": np.floor, "ceil": np.ceil,
    "minimum": np.minimum, "maximum": np.maximum, "where": np.where,
}  # fmt: skip
"""Functions that work row by row; all that a response or an offset may use, besides those of `np` and `I`."""


class Token(NamedTuple):
    """A piece of a formula: its kind (string, quoted, number, name, operator) and its text."""

    kind: str
    text: str


@dataclass(frozen=True)
class Expression:
    """An expression of columns, evaluated row by row.

    Parameters
    ----------
    text : str
        As the user wrote it.
    code : str
        Python, with the column names replaced by placeholders.
    placeholders : tuple of (str, str)
        Placeholder and column.
    """

    text: str
    code: str
    placeholders: tuple[tuple[str, str], ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns that are used."""
        return tuple(column for _, column in self.placeholders)

    @property
    def is_column(self) -> bool:
        """Whether the expression is a bare column."""
        return len(self.placeholders) == 1 and self.code == self.placeholders[0][0]

    def evaluate(self, columns: Mapping[str, Any]) -> Any:
        """The value, given the columns (arrays or Series of one length).

        Raises
        ------
        FormulaError
            When Python cannot compute it.
        """
        names = {placeholder: columns[column] for placeholder, column in self.placeholders}
        try:
            with np.errstate(all="ignore"):  # infinite and NaN results are reported with their column later
                return eval(self.code, {"__builtins__": {}, "np": np, "I": lambda x: x, **STATELESS}, names)
        except Exception as error:
            raise FormulaError(
                f"{self.text!r} cannot be computed: {type(error).__name__}: {error}",
                "an expression that numpy can compute from the columns",
                "compute it as a column of the data first",
            ) from error


class ClusterTerm(NamedTuple):
    """`within(...)` or `between(...)`: an expression less the mean of its cluster, or that mean; `name` as written."""

    name: str
    kind: str
    expression: Expression


@dataclass(frozen=True)
class ParsedFormula:
    """The parts of a formula.

    Parameters
    ----------
    text : str
        The whole formula.
    response : tuple of Expression
        One, or two from `cbind(successes, failures)`.
    response_name : str
        The left-hand side as written.
    right : str
        The right-hand side for formulaic, without offsets and `(1 | id)`.
    offsets : tuple of Expression
        Arguments of the `offset(...)` terms.
    cluster : str or None
        Column in `(1 | column)`.
    variables : tuple of str
        Columns that `right` uses, in order of appearance.
    cluster_terms : tuple of ClusterTerm
        `within(...)` and `between(...)`, which stand in `right` as columns of those names.
    """

    text: str
    response: tuple[Expression, ...]
    response_name: str
    right: str
    offsets: tuple[Expression, ...]
    cluster: str | None
    variables: tuple[str, ...]
    cluster_terms: tuple[ClusterTerm, ...] = ()


def parse_formula(formula: str, columns: Sequence[str]) -> ParsedFormula:
    """Take a formula apart and check every name in it against the columns of the data.

    Parameters
    ----------
    formula : str
        `y ~ x`, `cbind(successes, failures) ~ x + offset(log(n)) + (1 | id)`, and so on.
    columns : sequence of str
        Names of the user's columns.

    Raises
    ------
    FormulaError
        It names the part of the formula that cannot be read, the unknown column (with the nearest name), or the
        unknown function.
    """
    if not isinstance(formula, str):
        raise FormulaError(f"a formula of type {type(formula).__name__}", f"a string: {_WHOLE}", "put it in quotes")
    tokens = _tokens(formula, columns)
    tildes = [i for i, token in enumerate(tokens) if token == Token("operator", "~")]
    if len(tildes) != 1:
        found = "no '~'" if not tildes else f"{len(tildes)} times '~'"
        raise FormulaError(f"{found} in the formula {formula!r}", _WHOLE, "'response ~ covariates'")
    left, right = tokens[: tildes[0]], tokens[tildes[0] + 1 :]
    if not left or not right:
        side = "left (the response)" if not left else "right (the covariates)"
        raise FormulaError(f"nothing on the {side} of '~' in {formula!r}", _WHOLE, "'y ~ 1' for an intercept alone")
    columns = [name for name in columns if isinstance(name, str)]
    response = _response(left, columns)
    offsets: list[Expression] = []
    clusters: list[str] = []
    rest: list[Token] = []
    for sign, term in _terms(right, formula):
        if term[0] == Token("name", "offset") and _is_bracketed(term[1:]):
            _refuse_minus(sign, term)
            offsets.append(_expression(term[2:-1], columns))
        elif _is_bracketed(term) and _has_bar(term[1:-1]):
            _refuse_minus(sign, term)
            clusters.append(_cluster(term, columns))
        else:
            if sign:
                rest.append(Token("operator", sign))
            rest.extend(term)
    _check_rest(rest)
    if len(clusters) > 1:
        raise FormulaError(
            f"random intercepts for {len(clusters)} columns: {', '.join(clusters)}",
            "one: clusters nested or crossed within others are not available",
            f"keep (1 | {clusters[0]})",
        )
    while rest and rest[0] == Token("operator", "+"):
        rest = rest[1:]
    rest, of_clusters = _cluster_terms(rest, columns)
    made = {term.name: term.expression.variables for term in of_clusters}
    functions = _functions() if any(t.text == "(" or "." in t.text for t in rest) else set()  # their import is slow
    used = (made.get(name, (name,)) for name in _names(rest, [*columns, *made], functions))
    variables = tuple(dict.fromkeys(name for names in used for name in names))
    if len(response) == 1 and response[0].is_column and response[0].variables[0] in variables:
        name = response[0].variables[0]
        raise FormulaError(f"{name!r} on both sides of '~'", "covariates other than the response", f"drop {name!r}")
    _refuse_ambiguous(rest, variables, functions)
    return ParsedFormula(
        text=formula,
        response=response,
        response_name=_text(left),
        right=_text(_power(rest)) or "1",
        offsets=tuple(offsets),
        cluster=clusters[0] if clusters else None,
        variables=variables,
        cluster_terms=of_clusters,
    )


def _tokens(formula: str, columns: Sequence[str]) -> list[Token]:
    """Tokens without white space, brackets balanced; columns with a dot in their name get backticks."""
    found: list[Token] = []
    open_brackets: list[str] = []
    known = set(columns)
    for match in _TOKEN.finditer(formula):
        kind, text = str(match.lastgroup), match.group()
        if kind == "space":
            continue
        if kind == "operator" and text in ("'", '"', "`", "\\", ";", "?", "$", "&&", "||", "@"):
            raise FormulaError(
                f"{text!r} at position {match.start() + 1} of the formula {formula!r}",
                "names, numbers, functions and the operators + - * : / ^ ( )",
                "close every quote; put column names that are not plain words in `backticks`",
            )
        if kind == "operator" and text in _PAIRS:
            open_brackets.append(_PAIRS[text])
        elif kind == "operator" and text in _PAIRS.values() and (not open_brackets or open_brackets.pop() != text):
            raise FormulaError(
                f"{text!r} without its partner in {formula!r}", "balanced brackets", f"drop the {text!r}"
            )
        if kind == "name" and "." in text and text in known:
            kind, text = "quoted", f"`{text}`"
        found.append(Token(kind, text))
    if open_brackets:
        raise FormulaError(
            f"a bracket that is never closed in {formula!r}", "balanced brackets", f"add {open_brackets[-1]!r}"
        )
    return found


def _terms(tokens: list[Token], formula: str) -> list[tuple[str, list[Token]]]:
    """The right-hand side cut at its outermost + and -: (sign, tokens); the sign of a first term may be empty."""
    terms: list[tuple[str, list[Token]]] = [("", [])]
    depth = 0
    for token in tokens:
        depth += _depth(token)
        if depth == 0 and token.kind == "operator" and token.text in "+-":
            if not terms[-1][1]:
                if terms[-1][0] and (terms[-1][0], token.text) != ("+", "-"):  # R knows x + -1
                    raise FormulaError(
                        f"{terms[-1][0]!r} followed by {token.text!r} in {formula!r}", _WHOLE, f"drop a {token.text!r}"
                    )
                terms.pop()
            terms.append((token.text, []))
        else:
            terms[-1][1].append(token)
    if not terms[-1][1]:
        raise FormulaError(f"{formula!r} ends with {terms[-1][0]!r}", _WHOLE, "add a term, or drop the sign")
    return terms


def _depth(token: Token) -> int:
    if token.kind != "operator":
        return 0
    return 1 if token.text in _PAIRS else -1 if token.text in _PAIRS.values() else 0


def _is_bracketed(tokens: list[Token]) -> bool:
    """Whether the tokens are `( ... )`, the first bracket closing with the last token."""
    if len(tokens) < 2 or tokens[0].text != "(":
        return False
    depth = 0
    for i, token in enumerate(tokens):
        depth += _depth(token)
        if depth == 0:
            return i == len(tokens) - 1
    return False


def _has_bar(tokens: list[Token]) -> bool:
    depth = 0
    for token in tokens:
        depth += _depth(token)
        if depth == 0 and token == Token("operator", "|"):
            return True
    return False


def _refuse_minus(sign: str, term: list[Token]) -> None:
    if sign == "-":
        raise FormulaError(f"- {_text(term)}", f"'+ {_text(term)}'", "leave the term out, or add it")


def _cluster(term: list[Token], columns: Sequence[str]) -> str:
    inner = term[1:-1]
    if len(inner) == 3 and inner[0].text == "1" and inner[2].kind in ("name", "quoted"):
        return _column(inner[2], columns)
    raise FormulaError(
        _text(term),
        "(1 | column): one random intercept per cluster; slopes and nested clusters are not available",
        "(1 | id), or cluster='id'",
    )


def _cluster_terms(tokens: list[Token], columns: Sequence[str]) -> tuple[list[Token], tuple[ClusterTerm, ...]]:
    """`within(...)` and `between(...)` taken out, a column of that name in their place."""
    found: dict[str, ClusterTerm] = {}
    rest: list[Token] = []
    end = 0
    for i, token in enumerate(tokens):
        if i >= end and _is_call(tokens, i, {"within", "between"}):
            end = next(k for k in range(i + 3, len(tokens) + 1) if _is_bracketed(tokens[i + 1 : k]))
            name = _text(tokens[i:end]).replace("`", "")
            if name in columns:
                raise FormulaError(f"{name}, also a column of the data", "one meaning", "rename the column")
            found[name] = ClusterTerm(name, token.text, _expression(tokens[i + 2 : end - 1], columns))
            rest.append(Token("quoted", f"`{name}`"))
        elif i >= end:
            rest.append(token)
    return rest, tuple(found.values())


def _check_rest(rest: list[Token]) -> None:
    """Refuse what would mean something else to formulaic than the user thinks."""
    for i, token in enumerate(rest):
        called = i + 1 < len(rest) and rest[i + 1].text == "("
        if token == Token("name", "offset") and called:
            raise FormulaError(
                f"offset(...) inside another term: {_text(rest)!r}",
                "offset(...) as a term of its own",
                "y ~ x + offset(z)",
            )
        if token == Token("name", "cbind") and called:
            raise FormulaError(
                "cbind(...) among the covariates", "cbind(successes, failures) left of '~'", "list the columns with '+'"
            )
        if token == Token("operator", "|"):
            raise FormulaError(
                f"'|' in {_text(rest)!r}",
                "(1 | column), in brackets, as a term of its own",
                "(1 | id), or cluster='id'",
            )
        if token == Token("operator", "."):
            raise FormulaError("'.' for all other columns", "the names of the covariates", "y ~ x1 + x2")


def _response(left: list[Token], columns: Sequence[str]) -> tuple[Expression, ...]:
    if left[0] == Token("name", "cbind") and _is_bracketed(left[1:]):
        parts: list[list[Token]] = [[]]
        depth = 0
        for token in left[2:-1]:
            depth += _depth(token)
            if depth == 0 and token == Token("operator", ","):
                parts.append([])
            else:
                parts[-1].append(token)
        if len(parts) != 2 or not all(parts):
            raise FormulaError(_text(left), "cbind(successes, failures)", "cbind(s, n - s) from successes and trials")
        return tuple(_expression(part, columns) for part in parts)
    return (_expression(left, columns),)


def _expression(tokens: list[Token], columns: Sequence[str]) -> Expression:
    """An `Expression` from its tokens, all names checked."""
    text = _text(tokens)
    if not tokens:
        raise FormulaError("a function of nothing in the formula", "an expression", "offset(log(n)), or within(x)")
    names = _names(tokens, columns, {*STATELESS, "np", "I"})
    placeholders = {column: f"_column{i}" for i, column in enumerate(names)}
    pieces: list[str] = []
    for i, token in enumerate(_power(tokens)):
        name, rest = token.text.strip("`") if token.kind == "quoted" else token.text, ""
        if token.kind == "name" and name not in placeholders and "." in name:
            name, dot, rest = name.partition(".")  # a method of a column
            rest = dot + rest
        called = _is_call(tokens, i, {*STATELESS, "np", "I"})
        known = token.kind in ("name", "quoted") and name in placeholders and not called
        pieces.append(placeholders[name] + rest if known else token.text)
    code = " ".join(pieces)
    try:
        ast.parse(code, mode="eval")
    except SyntaxError:
        raise FormulaError(f"{text!r} in the formula", "an expression of columns", "log(n), or n - s") from None
    return Expression(text, code, tuple((placeholder, column) for column, placeholder in placeholders.items()))


def _names(tokens: list[Token], columns: Sequence[str], functions: set[str]) -> tuple[str, ...]:
    """Columns among the tokens, in order of appearance.

    Raises
    ------
    FormulaError
        On a name that is neither a column nor, where one is called, a known function.
    """
    found: dict[str, None] = {}
    known = set(columns)
    depth = 0
    for i, token in enumerate(tokens):
        depth += _depth(token)
        if token.kind not in ("name", "quoted"):
            continue
        following = tokens[i + 1].text if i + 1 < len(tokens) else ""
        if i > 0 and tokens[i - 1].text == ".":  # a method of something in brackets
            continue
        root = token.text.split(".")[0]
        if _is_call(tokens, i, functions):
            continue
        if token.kind == "name" and token.text not in known:
            if depth > 0 and following == "=":
                continue  # the name of an argument
            if root in known:  # a column's method
                found[root] = None
                continue
            if root in ("np", "contr") and root in functions:
                continue
            if keyword.iskeyword(token.text):  # True, None, and, ...
                continue
            if following == "(":
                raise FormulaError(
                    f"the function {token.text}() in the formula",
                    f"one of {', '.join(sorted(functions))}",
                    _HINTS.get(token.text, nearest(token.text, functions)) + "compute it as a column of the data first",
                )
        found[_column(token, columns)] = None
    return tuple(found)


def _is_call(tokens: Sequence[Token], i: int, functions: set[str]) -> bool:
    """Whether token i names a function that is called; a column of the same name does not matter then."""
    text = tokens[i].text
    if tokens[i].kind != "name" or i + 1 == len(tokens):
        return False
    return text.split(".")[0] in functions and tokens[i + 1].text == "("


def _refuse_ambiguous(tokens: Sequence[Token], variables: Sequence[str], functions: set[str]) -> None:
    """Refuse a formula that uses one name for a column and for a function: formulaic knows only one."""
    roots = {token.text.split(".")[0] for i, token in enumerate(tokens) if _is_call(tokens, i, functions)}
    for name in variables:
        if name in roots:
            raise FormulaError(
                f"{name!r} both as a column and as a function in the formula", "one meaning", "rename the column"
            )


def _column(token: Token, columns: Sequence[str]) -> str:
    name = token.text.strip("`") if token.kind == "quoted" else token.text
    if name not in columns:
        raise FormulaError(
            f"{name!r} in the formula, which is not a column of the data",
            f"one of the columns {_listed(columns)}",
            f"{nearest(name, columns)}check the spelling, or add the column",
        )
    return name


def _listed(names: Iterable[str], most: int = 20) -> str:
    every = list(names)
    return ", ".join(map(repr, every[:most])) + (f" and {len(every) - most} more" if len(every) > most else "")


def _power(tokens: list[Token]) -> list[Token]:
    """R's `^` inside brackets of a call is Python's `**`; outside, formulaic knows it."""
    return [Token("operator", "**") if token == Token("operator", "^") else token for token in tokens]


def _text(tokens: Sequence[Token]) -> str:
    """Readable text of the tokens."""
    text = " ".join(token.text for token in tokens)
    text = re.sub(r"\s*([(\[{])\s*", r"\1", text)
    text = re.sub(r"\s+([)\]},])", r"\1", text)
    text = re.sub(r"\s*(\*\*|:)\s*", r"\1", text)
    text = re.sub(r"(?<=[\w)\]])\s*(=)\s*(?=[^=])", r"\1", text)
    return re.sub(r"([+\-*/|~,=])([(\[{])", r"\1 \2", text)


@cache
def _functions() -> set[str]:
    from formulaic.transforms import TRANSFORMS

    # Q hides a name in a string; lag would reach across clusters
    unwanted = {"Treatment", "Poly", "Sum", "Helmert", "Diff", "Q", "lag"}
    return {*TRANSFORMS, *context()} - unwanted | {"np", "contr", "within", "between"}


@cache
def context() -> dict[str, Any]:
    """Functions that a formula may use beyond formulaic's own; `factor` is R's name for `C`."""
    from formulaic.transforms import TRANSFORMS

    return {**{name: f for name, f in STATELESS.items() if name not in TRANSFORMS}, "factor": TRANSFORMS["C"]}
