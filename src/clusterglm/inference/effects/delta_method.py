"""Functions of estimates, with standard errors by the delta method; a formula is read, never run as Python.

Values come from the evaluator of formulas, derivatives from the rules of calculus applied to the same tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, ndtri

from clusterglm.data.formulas.check import check_expression, known_functions
from clusterglm.data.formulas.evaluate import Evaluator
from clusterglm.data.formulas.parse import Parser
from clusterglm.data.formulas.tokens import shortened, tokens_of
from clusterglm.data.formulas.tree import Binary, Call, Constant, Name, Node, Unary, text_of, walk
from clusterglm.errors import FormulaError, OptionError, nearest
from clusterglm.model.arguments import shown
from clusterglm.model.arrays import Array
from clusterglm.model.special import log_normal_density

_EXAMPLE = "'exp(a) / b', of names of coefficients, those that are not plain words in `backquotes`"

_SLOPES: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp, "exp2": lambda x: np.log(2.0) * np.exp2(x), "exp10": lambda x: np.log(10.0) * 10.0**x,
    "expm1": np.exp, "log2": lambda x: 1.0 / (x * np.log(2.0)), "log10": lambda x: 1.0 / (x * np.log(10.0)),
    "log1p": lambda x: 1.0 / (1.0 + x), "sqrt": lambda x: 0.5 / np.sqrt(x),
    "cbrt": lambda x: 1.0 / (3.0 * np.cbrt(x) ** 2), "square": lambda x: 2.0 * x, "negative": lambda x: -1.0,
    "reciprocal": lambda x: -1.0 / x**2, "abs": np.sign,
    "sin": np.cos, "cos": lambda x: -np.sin(x), "tan": lambda x: 1.0 / np.cos(x) ** 2,
    "arcsin": lambda x: 1.0 / np.sqrt(1.0 - x**2), "arccos": lambda x: -1.0 / np.sqrt(1.0 - x**2),
    "arctan": lambda x: 1.0 / (1.0 + x**2), "sinh": np.cosh, "cosh": np.sinh, "tanh": lambda x: 1.0 / np.cosh(x) ** 2,
    "arcsinh": lambda x: 1.0 / np.hypot(1.0, x), "arccosh": lambda x: 1.0 / np.sqrt(x**2 - 1.0),
    "arctanh": lambda x: 1.0 / (1.0 - x**2), "plogis": lambda x: expit(x) * expit(-x),
    "qlogis": lambda x: 1.0 / (x * (1.0 - x)), "pnorm": lambda x: np.exp(log_normal_density(x)),
    "qnorm": lambda x: np.exp(-log_normal_density(ndtri(x))), "I": lambda x: 1.0, "{": lambda x: 1.0,
}  # fmt: skip
"""Derivatives of functions of one number."""
_ALSO = {
    "expit": "plogis", "logit": "qlogis", "absolute": "abs", "fabs": "abs", "asin": "arcsin", "acos": "arccos",
    "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip


@dataclass(frozen=True)
class Function:
    """Functions of q estimates at their values; k of them.

    Parameters
    ----------
    names : tuple of str
    value : ndarray, shape (k,)
    gradient : ndarray, shape (k, q)
    """

    names: tuple[str, ...]
    value: Array
    gradient: Array


def functions_of(expressions: Any, names: Sequence[str], values: Array, aliases: Mapping[str, str]) -> Function:
    """Functions that are written as formulas.

    Parameters
    ----------
    expressions : str, sequence of str, or mapping of str to str
        `exp(a) / b`; a mapping names them.
    names : sequence of str, length q
    values : ndarray, shape (q,)
    aliases : mapping of str to str
        Other names.

    Raises
    ------
    OptionError
        On a name that is no estimate.
    FormulaError
        On what cannot be read, or has no derivative.
    """
    if isinstance(expressions, str):
        expressions = [expressions]
    titles = list(expressions) if isinstance(expressions, Mapping) else None
    texts = list(expressions.values()) if isinstance(expressions, Mapping) else expressions
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise OptionError(f"delta_method({shown(expressions)})", f"expressions such as {_EXAMPLE}", "'exp(x)'")
    place = {name: j for j, name in enumerate(names)}
    place |= {alias: place[name] for alias, name in aliases.items() if alias not in place}
    found = [_Slopes(place, values).of(_read(text, place)) for text in texts]
    shown_as = tuple(" ".join(str(title).split()) for title in (titles or texts))
    return Function(shown_as, np.array([value for value, _ in found]), np.array([slope for _, slope in found]))


def _read(text: str, place: Mapping[str, int]) -> Node:
    tokens = tokens_of(text, place)
    if not tokens:
        raise FormulaError("an expression of nothing", _EXAMPLE, "'exp(x)'")
    node = Parser(tokens, place, known_functions(), text).whole()
    for part in walk(node):
        if isinstance(part, Name) and part.name not in place:
            raise OptionError(
                f"{part.name!r} in the expression {shortened(text)}, which is no estimate",
                f"one of {', '.join(map(repr, place))}",
                f"{nearest(part.name, list(place))}names that are not plain words may be put in `backquotes`",
            )
    check_expression(node, list(place), {}, whole_columns="an expression of estimates")
    return node


class _Slopes:
    """Values and gradients of expressions of some estimates."""

    def __init__(self, place: Mapping[str, int], values: Array) -> None:
        self._place = place
        self._size = len(values)
        self._values = Evaluator({name: np.float64(values[j]) for name, j in place.items()}, 1, {}, {})

    def of(self, node: Node) -> tuple[float, Array]:
        """Value and gradient, shape (q,)."""
        value = self._number(node)
        with np.errstate(all="ignore"):
            return value, self._slope(node)

    def _number(self, node: Node) -> float:
        value = self._values.single(node)
        if np.ndim(value) != 0 or isinstance(value, str | None):
            raise FormulaError(f"{text_of(node)}, which is no number", _EXAMPLE, "a function of numbers")
        return float(value)

    def _slope(self, node: Node) -> Array:
        nothing = np.zeros(self._size)
        if isinstance(node, Name):
            nothing[self._place[node.name]] = 1.0
            return nothing
        if isinstance(node, Constant) or not any(isinstance(part, Name) for part in walk(node)):
            return nothing
        if isinstance(node, Unary) and node.operator in ("-", "+"):
            return -self._slope(node.operand) if node.operator == "-" else self._slope(node.operand)
        if isinstance(node, Binary):
            return self._binary(node)
        if isinstance(node, Call):
            return self._call(node)
        raise _no_derivative(node)

    def _binary(self, node: Binary) -> Array:
        if node.operator not in ("+", "-", "*", "/", "**"):
            raise _no_derivative(node)
        x, y = self._number(node.left), self._number(node.right)
        dx, dy = self._slope(node.left), self._slope(node.right)
        if node.operator in ("+", "-"):
            return dx + dy if node.operator == "+" else dx - dy
        if node.operator == "*":
            return y * dx + x * dy
        if node.operator == "/":
            return dx / y - (x / y**2) * dy
        return self._power(x, y, dx, dy)

    @staticmethod
    def _power(x: float, y: float, dx: Array, dy: Array) -> Array:
        base, exponent = np.float64(x), np.float64(y)
        found: Array = (exponent * base ** (exponent - 1.0)) * dx if dx.any() else np.zeros_like(dx)
        if dy.any():
            found = found + (base**exponent * np.log(base)) * dy
        return found

    def _call(self, node: Call) -> Array:
        name = node.function.removeprefix("np.")
        name = _ALSO.get(name, name)
        arguments = [*node.arguments, *(value for _, value in node.keywords)]
        if name == "log" and len(arguments) <= 2:
            x, dx = self._number(arguments[0]), self._slope(arguments[0])
            if len(arguments) == 1:
                return dx / x
            base, value = self._number(arguments[1]), self._number(node)
            found: Array = (dx / x - value * self._slope(arguments[1]) / base) / np.log(base)
            return found
        if name == "power" and len(arguments) == 2:
            (x, dx), (y, dy) = ((self._number(each), self._slope(each)) for each in arguments)
            return self._power(x, y, dx, dy)
        if name not in _SLOPES or len(arguments) != 1:
            raise _no_derivative(node)
        factor = float(_SLOPES[name](np.float64(self._number(arguments[0]))))
        return factor * self._slope(arguments[0])


def _no_derivative(node: Node) -> FormulaError:
    functions = ", ".join(name for name in [*_SLOPES, "log"] if name.isalnum() and name != "I")
    return FormulaError(
        f"{text_of(node)}, whose derivative is not known", f"+ - * / ^ and functions among {functions}", "exp(x)"
    )
