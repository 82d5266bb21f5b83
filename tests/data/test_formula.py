"""Reading formulas: what comes out, and what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.data.formula import parse_formula
from clusterglm.errors import FormulaError

COLUMNS = ["y", "x", "trt", "n", "s", "id", "Petal.Width", "n k", "cbind_x"]


def test_parts_of_a_full_formula() -> None:
    parsed = parse_formula("cbind(s, n - s) ~ x*trt + offset(log(n)) + (1|id) + bs(x, df=3) - 1", COLUMNS)
    assert [part.text for part in parsed.response] == ["s", "n - s"]
    assert parsed.response_name == "cbind(s, n - s)"
    assert parsed.right == "x * trt + bs(x, df=3) - 1"
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
        ("y ~ -1 + trt", "- 1 + trt", ("trt",)),
        ("y ~ Petal.Width + log(`n k`)", "`Petal.Width` + log(`n k`)", ("Petal.Width", "n k")),
        ("y ~ I(x^2) + np.log(n)", "I(x**2) + np.log(n)", ("x", "n")),
        ('y ~ C(trt, contr.treatment(base="b"))', 'C(trt, contr.treatment(base="b"))', ("trt",)),
        ("y ~ x.clip(0, 2) + factor(trt) + cbind_x", "x.clip(0, 2) + factor(trt) + cbind_x", ("x", "trt", "cbind_x")),
    ],
)
def test_right_hand_side(formula: str, right: str, variables: tuple[str, ...]) -> None:
    parsed = parse_formula(formula, COLUMNS)
    assert parsed.right == right
    assert parsed.variables == variables


def test_expressions_evaluate_on_columns_with_any_name() -> None:
    parsed = parse_formula("cbind(s, `n k` - s) ~ offset(log(Petal.Width) + 2^x)", COLUMNS)
    s, n, p, x = np.array([1.0, 2.0]), np.array([4.0, 3.0]), np.array([1.0, np.e]), np.array([1.0, 3.0])
    columns = {"s": s, "n k": n, "Petal.Width": p, "x": x}
    np.testing.assert_allclose(parsed.response[1].evaluate(columns), [3.0, 1.0])
    np.testing.assert_allclose(parsed.offsets[0].evaluate(columns), [2.0, 9.0])
    assert parsed.response[0].is_column
    assert not parsed.response[1].is_column


def test_an_expression_that_fails_is_named() -> None:
    parsed = parse_formula("y ~ offset(log(trt))", COLUMNS)
    with pytest.raises(FormulaError, match=r"log\(trt\).*cannot be computed"):
        parsed.offsets[0].evaluate({"trt": np.array(["a"], dtype=object)})


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
        ("y ~ C(trt, Treatment('b'))", r"contr.treatment\('reference'\)"),
        ("y ~ ns(x, df=4)", r"cr\(x, df=4, constraints='center'\)"),
        ("y ~ sqr(x)", "did you mean 'sqrt'"),
        ("y ~ lag(x)", r"the function lag\(\)"),
        ("y ~ (x", "never closed"),
        ("y ~ x)", "without its partner"),
        ("y ~ x +", r"ends with '\+'"),
        ("y ~ x + + n", r"'\+' followed by '\+'"),
        ('y ~ x + "a', "at position 9"),
        ("y ~ (x | id)", r"\(x \| id\)"),
        ("y ~ (1 | id/trt)", r"\(1 \| id / trt\)"),
        ("y ~ 1 | id", "'|' in"),
        ("y ~ (1 | id) + (1 | trt)", "2 columns: id, trt"),
        ("y ~ (1 | ident)", "'ident' in the formula"),
        ("y ~ .", "'.' for all other columns"),
        ("y ~ x * offset(n)", "inside another term"),
        ("y ~ x - offset(n)", r"- offset\(n\)"),
        ("y ~ offset(scale(n))", r"the function scale\(\)"),
        ("y ~ offset()", "offset"),
        ("y ~ offset(n +)", "an expression of columns"),
        ("cbind(s) ~ x", r"cbind\(s\)"),
        ("cbind(s, n, y) ~ x", r"cbind\(s, n, y\)"),
        ("y ~ cbind(s, n)", "among the covariates"),
    ],
)
def test_refused(formula: str, named: str) -> None:
    with pytest.raises(FormulaError, match=named):
        parse_formula(formula, COLUMNS)


def test_not_a_string() -> None:
    with pytest.raises(FormulaError, match="type int"):
        parse_formula(3, COLUMNS)  # type: ignore[arg-type]


def test_minus_one_after_a_plus_as_in_r() -> None:
    assert parse_formula("y ~ x + -1", COLUMNS).right == "x - 1"


def test_trials_may_be_a_covariate() -> None:
    assert parse_formula("cbind(s, n - s) ~ n", COLUMNS).variables == ("n",)


def test_columns_called_like_functions() -> None:
    parsed = parse_formula("y ~ C(trt) + offset(log(log))", [*COLUMNS, "C", "log"])
    assert parsed.variables == ("trt",)
    np.testing.assert_allclose(parsed.offsets[0].evaluate({"log": np.array([1.0, np.e])}), [0.0, 1.0])
    with pytest.raises(FormulaError, match="'C' both as a column and as a function"):
        parse_formula("y ~ C(trt) + C", [*COLUMNS, "C"])


def test_columns_whose_names_are_not_strings_do_not_matter() -> None:
    with pytest.raises(FormulaError, match="did you mean 'x'"):
        parse_formula("y ~ xx", [*COLUMNS, 0])  # type: ignore[list-item]
