"""Reading formulas: what comes out, and what is refused by name."""

from __future__ import annotations

from time import process_time
from typing import Any

import numpy as np
import pytest

from clusterglm.data.design import make_design
from clusterglm.data.formulas.check import known_functions
from clusterglm.data.formulas.evaluate import Evaluator
from clusterglm.data.formulas.formula import parse_expression, parse_formula
from clusterglm.data.formulas.text import read, written
from clusterglm.data.formulas.values import Categories
from clusterglm.errors import DataError, FormulaError

COLUMNS = ["y", "x", "trt", "n", "s", "id", "Petal.Width", "n k", "cbind_x"]


def test_parts_of_a_full_formula() -> None:
    parsed = parse_formula("cbind(s, n - s) ~ x*trt + offset(log(n)) + (1|id) + bs(x, df=3) - 1", COLUMNS)
    assert [part.text for part in parsed.response] == ["s", "n - s"]
    assert parsed.response_name == "cbind(s, n - s)"
    assert parsed.right == "0 + x + trt + bs(x, df=3) + x:trt"
    assert [term.name for term in parsed.terms] == ["x", "trt", "bs(x, df=3)", "x:trt"]
    assert not parsed.has_intercept
    assert [term.text for term in parsed.offsets] == ["log(n)"]
    assert parsed.cluster == "id"
    assert parsed.variables == ("x", "trt")


@pytest.mark.parametrize(
    ("formula", "right", "variables"),
    [
        ("y ~ 1", "1", ()),
        ("y ~ (1 | id)", "1", ()),
        ("y ~ offset(n)", "1", ()),
        ("y ~ (1 | id) + x", "x", ("x",)),
        ("y ~ 0 + trt", "0 + trt", ("trt",)),
        ("y ~ -1 + trt", "0 + trt", ("trt",)),
        ("y ~ Petal.Width + log(`n k`)", "Petal.Width + log(`n k`)", ("Petal.Width", "n k")),
        ("y ~ I(x^2) + np.log(n)", "I(x ** 2) + np.log(n)", ("x", "n")),
        ('y ~ C(trt, contr.treatment(base="b"))', "C(trt, contr.treatment(base='b'))", ("trt",)),
        (
            "y ~ . - x - id",
            "trt + n + s + Petal.Width + `n k` + cbind_x",
            ("trt", "n", "s", "Petal.Width", "n k", "cbind_x"),
        ),
        (
            "cbind(s, n - s) ~ . - y - trt - `n k` + (1 | id)",
            "x + Petal.Width + cbind_x",
            ("x", "Petal.Width", "cbind_x"),
        ),
        ("y ~ (x + n)^9", "x + n + x:n", ("x", "n")),
        ("y ~ (x + n + s)**2 - x:s", "x + n + s + x:n + n:s", ("x", "n", "s")),
        ("y ~ (x + n)/trt", "x + n + x:n:trt", ("x", "n", "trt")),
        ("y ~ x %in% trt", "x:trt", ("x", "trt")),
        ("y ~ n:x + x:n", "n:x", ("n", "x")),
        ("y ~ x + 0 + 1", "x", ("x",)),
        ("y ~ x.clip(0, 2) + factor(trt) + cbind_x", "x.clip(0, 2) + factor(trt) + cbind_x", ("x", "trt", "cbind_x")),
    ],
)
def test_right_hand_side(formula: str, right: str, variables: tuple[str, ...]) -> None:
    parsed = parse_formula(formula, COLUMNS)
    assert parsed.right == right
    assert parsed.variables == variables


def value(expression: Any, columns: dict[str, Any]) -> Any:
    return Evaluator(columns, 2, {}, {}).column(expression.node)


def test_expressions_evaluate_on_columns_with_any_name() -> None:
    parsed = parse_formula("cbind(s, `n k` - s) ~ offset(log(Petal.Width) + 2^x)", COLUMNS)
    s, n, p, x = np.array([1.0, 2.0]), np.array([4.0, 3.0]), np.array([1.0, np.e]), np.array([1.0, 3.0])
    columns = {"s": s, "n k": n, "Petal.Width": p, "x": x}
    np.testing.assert_allclose(value(parsed.response[1], columns), [3.0, 1.0])
    np.testing.assert_allclose(value(parsed.offsets[0], columns), [2.0, 9.0])
    assert parsed.response[0].is_column
    assert not parsed.response[1].is_column


def test_text_is_no_number() -> None:
    parsed = parse_formula("y ~ offset(log(trt))", COLUMNS)
    with pytest.raises(FormulaError, match=r"log\(\) holds categories \('a', 'b'\)"):
        value(parsed.offsets[0], {"trt": Categories(("a", "b"), np.array([0, 1]))})


@pytest.mark.parametrize(
    ("formula", "named"),
    [
        ("y", "no '~'"),
        ("y ~ x ~ n", "2 times '~'"),
        ("y ~", "nothing on the right"),
        ("~ x", "nothing on the left"),
        ("y ~ Petal_Width", "did you mean 'Petal.Width'"),
        ("z ~ x", "'z' in the formula"),
        ("y ~ foo(x)", r"the function foo\(\)"),
        ("y ~ x + y", "'y' on both sides of '~'"),
        ("y ~ sqr(x)", "did you mean 'sqrt'"),
        ("y ~ lag(x)", r"the function lag\(\)"),
        ("y ~ (x", "never closed"),
        ("y ~ x)", "without its partner"),
        ("y ~ x +", r"ends with '\+'"),
        ("y ~ x + + n", r"'\+' followed by '\+'"),
        ('y ~ x + "a', "at position 9"),
        ("y ~ 1 | id", "'|' in"),
        ("y ~ (1 | ident)", "'ident' in the formula"),
        ("y ~ x * offset(n)", "inside another term"),
        ("y ~ x - offset(n)", r"- offset\(n\)"),
        ("y ~ offset(scale(n))", r"scale\(n\) in an offset, which takes a whole column"),
        ("y > mean(y) ~ x", r"mean\(y\) in the response, which takes a whole column"),
        ("y ~ offset()", "offset"),
        ("y ~ offset(n +)", "'\\)' where an expression should stand"),
        ("cbind(s) ~ x", r"cbind\(s\)"),
        ("cbind(s, n, y) ~ x", r"cbind\(s, n, y\)"),
        ("y ~ cbind(s, n)", "among the covariates"),
        ("y ~ x > 2", r"I\(x > 2\)"),
        ("y ~ I(0 < x < 2)", r"\(0 < x\) & \(x < 2\)"),
        ("y ~ I(x and n)", "a & b"),
        ("y ~ I(x if n else 0)", r"ifelse\(condition, a, b\)"),
        ("y ~ I(x:n)", r"\* for products"),
        ("y ~ I(x[0])", "after x"),
        ("y ~ x.rank()", r"the method .rank\(\) in the formula, which gives a row its rank"),
        ("y ~ x.to_csv('out.csv')", r"the method .to_csv\(\)"),
        ("y ~ __import__('os')", r"the function __import__\(\)"),
        ("y ~ x.__class__", "something of the column 'x'"),
        ("y ~ np.cumsum(x)", "a running sum"),
        ("y ~ Surv(x, n)", r"left of '~', as in Surv\(time, event\)"),
        ("Surv(x, n, y) ~ trt", "with a start of the time at risk"),
        ("y ~ log(x, base=2, 3)", "named arguments last"),
        ("y ~ bs(x, df=4, df=5)", "'df' twice"),
        ("y ~ lambda x: x", "functions={'f': f}"),
        ("y ~ (" + "(" * 3000 + "x" + ")" * 3000 + ")", "more than 100 brackets"),
        ("y ~ x + " + "-" * 100_000 + "x", "a formula of more than 50,000"),
        ("y ~ I(" + "-" * 5_000 + "x)", "more than 200 operations"),
        ("y ~ I(" + " + ".join(["x"] * 500) + ")", "more than 200 operations"),
        ("y ~ " + " + ".join(f"I(x + {k})" for k in range(12_000)), "a formula of more than"),
        ("y ~ (" + " + ".join(f"I(x + {k})" for k in range(25)) + ")**25", "more than 10,000 terms"),
    ],
)
def test_refused(formula: str, named: str) -> None:
    started = process_time()
    with pytest.raises(FormulaError, match=named):
        parse_formula(formula, COLUMNS)
    assert process_time() - started < 1.0


@pytest.mark.parametrize("formula", ["y ~ (x + n)**999999", "y ~ I(9**9**9 * x)", "y ~ " + " + ".join(["x"] * 9000)])
def test_what_looks_large_and_is_not(formula: str) -> None:
    started = process_time()
    parse_formula(formula, COLUMNS)
    assert process_time() - started < 1.0


def test_not_a_string() -> None:
    with pytest.raises(FormulaError, match="type int"):
        parse_formula(3, COLUMNS)  # type: ignore[arg-type]


def test_minus_one_after_a_plus_as_in_r() -> None:
    assert parse_formula("y ~ x + -1", COLUMNS).right == "0 + x"


def test_trials_may_be_a_covariate() -> None:
    assert parse_formula("cbind(s, n - s) ~ n", COLUMNS).variables == ("n",)


def test_columns_called_like_functions() -> None:
    parsed = parse_formula("y ~ C(trt) + C + offset(log(log))", [*COLUMNS, "C", "log"])
    assert parsed.variables == ("trt", "C")
    np.testing.assert_allclose(value(parsed.offsets[0], {"log": np.array([1.0, np.e])}), [0.0, 1.0])


NAMES = [
    "1",
    "~",
    ".",
    "(Intercept)",
    "Age (years)",
    "BMI [kg/m2]",
    "True",
    "a:b",
    "x + y",
    "é",
    "np.log",
    "a.b",
    "{",
    "0",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_in_backticks(name: str) -> None:
    parsed = parse_formula(f"y ~ x:`{name}` + log(`{name}`)", [*COLUMNS, name])
    assert parsed.variables == ("x", name)
    assert [term.name for term in parsed.terms][::-1][0] == f"x:{name}"
    again = parse_formula(f"y ~ {parsed.right}", [*COLUMNS, name])
    assert again.terms == parsed.terms


def test_columns_whose_names_are_not_strings_do_not_matter() -> None:
    with pytest.raises(FormulaError, match="did you mean 'x'"):
        parse_formula("y ~ xx", [*COLUMNS, 0])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x>2&n", "(x > 2) & n"), ("x%%2", "x %% 2"), ("-x^2", "-x ** 2"), ("(-x)^2", "(-x) ** 2"), ("x^-1", "x ** -1"),
        ("2^3^x", "2 ** 3 ** x"), ("(2^3)^x", "(2 ** 3) ** x"), ("x-(n-s)", "x - (n - s)"), ("x/(n*s)", "x / (n * s)"),
        ("!x&n", "!x & n"), ("!(x&n)", "!(x & n)"), ("-x%%n", "-x %% n"), ("-(x%%n)", "-(x %% n)"),
        ("x*n%%s", "x * n %% s"), ("(x*n)%%s", "(x * n) %% s"), ("x %in% c(1, 2)", "x %in% c(1, 2)"),
        ("1e6*x", "1000000.0 * x"), ("x.clip(0,2)", "x.clip(0, 2)"), ("(x+n).clip(0)", "(x + n).clip(0)"),
        ("x|n&s", "x | n & s"), ("(x|n)&s", "(x | n) & s"), ("log(`n k`)", "log(`n k`)"), ("TRUE", "TRUE"),
    ],
)  # fmt: skip
def test_text_has_the_brackets_that_it_needs(text: str, shown: str) -> None:
    """And the text is read as the same expression, also with every name in backticks, as files have it."""
    expression = parse_expression(text, COLUMNS, {}, "a test")
    assert expression.text == shown
    assert parse_expression(shown, COLUMNS, {}, "a test").node == expression.node
    assert read(written(expression.node)) == expression.node


PIECES = [
    "x", "trt", "s", "`n k`", "Petal.Width", "+", "-", "*", ":", "/", "^", "%in%", "%%", "(", ")", ",", "==", "<", "&",
    "|", "!", "1", "0", "2.5", "'a'", "TRUE", "NULL", "c(1, 2)", "df=3", "contr.sum", "ref='b'", "=", "~", ".", "{",
    "}", "np.log", "1e400", "offset(x)", "(1 | id)", "within(x)", "C(", "I(",
]  # fmt: skip


def test_any_pieces_make_a_formula_or_an_error_in_words() -> None:
    """And what can be read can be computed, or not, in words; it is the same when it is read again."""
    rng = np.random.default_rng(1)
    calls = sorted(known_functions())
    columns: dict[str, Any] = {
        "x": np.arange(9.0), "n": np.ones(9), "n k": np.arange(9) > 3, "id": np.arange(9) % 3,
        "Petal.Width": np.arange(9) % 2,
        "trt": Categories(("a", "b", "c"), np.arange(9) % 3), "s": np.arange(9, dtype=np.uint8),
        "cbind_x": np.zeros(9),
    }  # fmt: skip
    read_again = computed = 0
    for _ in range(4000):
        some = [
            f"{calls[rng.integers(len(calls))]}({['x', 'trt', 'x, 2', 'x, trt', '', 's'][rng.integers(6)]})"
            if rng.random() < 0.4
            else PIECES[rng.integers(len(PIECES))]
            for _ in range(rng.integers(1, 6))
        ]
        try:
            parsed = parse_formula("y ~ " + " ".join(some), COLUMNS)
            if "{" not in parsed.text:
                assert parse_formula(f"y ~ {parsed.right}", COLUMNS).terms == parsed.terms
                read_again += 1
            if not parsed.cluster_terms:
                make_design(parsed, columns, 9, None)
                computed += 1
        except DataError:
            pass
    assert read_again > 150
    assert computed > 100
