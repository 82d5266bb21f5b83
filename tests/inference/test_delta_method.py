"""Functions of estimates: derivatives against differences, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.errors import FormulaError, OptionError
from clusterglm.inference.effects.delta_method import functions_of

NAMES = ("a", "b", "trt[T.x]", "(Intercept)", "x:z", "sigma", "p.q")
VALUES = np.array([0.7, -1.3, 0.4, 0.25, 2.1, 0.9, 0.6])
EXPRESSIONS = (
    "a", "a + b", "a - 2*b", "exp(a) / b", "a * b * sigma", "-a", "+a", "-log(2) / b", "a^2", "a ** b", "2^a",
    "sigma^-1", "(a + sigma)^(b + 1)", "`(Intercept)` + `x:z`", "`trt[T.x]` / `x:z`", "p.q * a", "exp(2)",
    "log(a)", "log(a, 2)", "log(a, sigma)", "log(a, base=10)", "log2(a)", "log10(a)", "log1p(a)", "expm1(a)", "exp2(a)",
    "exp10(a)", "sqrt(a)", "cbrt(a)", "square(b)", "abs(b)", "sin(a)", "cos(a)", "tan(a)", "asin(a)", "arccos(a)",
    "atan(a)", "sinh(a)", "cosh(b)", "tanh(a)", "asinh(b)", "acosh(`x:z`)", "atanh(a)", "plogis(b)", "expit(b)",
    "qlogis(a)", "logit(a)", "pnorm(b)", "qnorm(a)", "np.exp(a)", "power(a, 3)", "I(a)", "negative(a)", "reciprocal(a)",
    "plogis(`(Intercept)` + a) - plogis(`(Intercept)`)", "pi * a", "exp(a / sqrt(1 + sigma^2))",
)  # fmt: skip


def of(values: np.ndarray, expressions: object = EXPRESSIONS) -> np.ndarray:
    return functions_of(expressions, NAMES, values, {}).value


def test_gradients_are_differences() -> None:
    found = functions_of(EXPRESSIONS, NAMES, VALUES, {})
    numeric = np.empty_like(found.gradient)
    for j in range(len(VALUES)):
        step = np.zeros(len(VALUES))
        step[j] = 1e-4
        one, two = (of(VALUES + k * step) - of(VALUES - k * step) for k in (1, 2))
        numeric[:, j] = (8.0 * one - two) / (12.0 * 1e-4)
    np.testing.assert_allclose(found.gradient, numeric, rtol=1e-7, atol=1e-9)


def test_values_are_pythons() -> None:
    a, b, _, one, xz, s, _ = VALUES
    wanted = [np.exp(a) / b, one + xz, (a + s) ** (b + 1.0), np.log(a) / np.log(2.0), 1.0 / (1.0 + np.exp(-b))]
    found = of(VALUES, ["exp(a) / b", "`(Intercept)` + `x:z`", "(a + sigma)^(b + 1)", "log(a, 2)", "plogis(b)"])
    np.testing.assert_allclose(found, wanted, rtol=1e-15)


def test_names_and_aliases() -> None:
    found = functions_of({"half": "a / 2", "other": "alias"}, NAMES, VALUES, {"alias": "b", "a": "sigma"})
    assert found.names == ("half", "other")
    np.testing.assert_allclose(found.value, [0.35, -1.3])  # a name wins over an alias


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exp(aa)", "nearest|did you mean|no estimate"),
        ("floor(a)", "derivative is not known"),
        ("a > 1", "derivative is not known"),
        ("ifelse(a > 0, a, b)", "derivative is not known"),
        ("pmax(a, b)", "derivative is not known"),
        ("a // b", "derivative is not known"),
        ("__import__('os')", "no|derivative"),
        ("a.__class__", "a"),
        ("scale(a)", "."),
        ("'a'", "no number"),
        ("c(a, b)", "no number"),
        ("", "nothing"),
        ("a +", "."),
        ("a b", "operator"),
    ],
)
def test_what_is_not_an_expression_is_refused(text: str, words: str) -> None:
    with pytest.raises((OptionError, FormulaError), match=words):
        functions_of(text, NAMES, VALUES, {})


@pytest.mark.parametrize("given", [3, [], [3], {"x": 3}, None])
def test_what_is_no_text_is_refused(given: object) -> None:
    with pytest.raises(OptionError, match="delta_method"):
        functions_of(given, NAMES, VALUES, {})


def test_a_value_without_a_number_says_so() -> None:
    found = functions_of("log(b)", NAMES, VALUES, {})
    assert np.isnan(found.value[0])
