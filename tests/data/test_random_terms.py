"""Random terms of formulas: what they mean, what is refused, and their columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from clusterglm.data.formulas.formula import parse_formula
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.errors import DesignError, FormulaError
from clusterglm.model.family import response

COLUMNS = ["y", "x", "z", "f", "id", "a", "b", "my group"]


def meant(formula: str) -> list[tuple[str, list[str], str]]:
    found = parse_formula(formula, COLUMNS).random
    return [(term.structure, [part.name for part in term.terms], term.factor) for term in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(1 | id)", [("us", ["1"], "id")]),
        ("(x | id)", [("us", ["1", "x"], "id")]),
        ("(1 + x | id)", [("us", ["1", "x"], "id")]),
        ("(x || id)", [("diag", ["1", "x"], "id")]),
        ("(0 + x | id)", [("us", ["x"], "id")]),
        ("(x - 1 | id)", [("us", ["x"], "id")]),
        ("(-1 + x | id)", [("us", ["x"], "id")]),
        ("(x * z | id)", [("us", ["1", "x", "z", "x:z"], "id")]),
        ("(x | a:b)", [("us", ["1", "x"], "a:b")]),
        ("(x | `my group`)", [("us", ["1", "x"], "my group")]),
        ("us(x | id)", [("us", ["1", "x"], "id")]),
        ("diag(x | id)", [("diag", ["1", "x"], "id")]),
        ("homdiag(0 + f | id)", [("homdiag", ["f"], "id")]),
        ("cs(0 + f | id)", [("cs", ["f"], "id")]),
        ("(1 | id) + (0 + x | id)", [("us", ["1"], "id"), ("us", ["x"], "id")]),
        ("(poly(x, 2) + I(z^2) | id)", [("us", ["1", "poly(x, 2)", "I(z ** 2)"], "id")]),
    ],
)
def test_meant(text: str, expected: list[tuple[str, list[str], str]]) -> None:
    assert meant(f"y ~ x + {text}") == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("(x | id) + (1 | id)", "an intercept that varies over 'id' twice"),
        ("(x | id) + (0 + x | id)", "x that varies over 'id' twice"),
        ("(x | a:b) + (1 | b:a)", "an intercept that varies over 'b:a' twice"),
        ("(0 | id)", "no effect"),
        ("(x | 1)", "without a grouping factor"),
        ("(x | log(id))", "right of the bar"),
        ("(x | nothing)", "'nothing'"),
        ("(nothing | id)", "'nothing'"),
        ("(. | id)", "'.'"),
        ("(offset(x) | id)", "more than effects"),
        ("x | id", "in brackets"),
        ("- (x | id)", r"- \(x \| id\)"),
        ("(exec('a') | id)", "exec"),
    ],
)
def test_refused(text: str, named: str) -> None:
    with pytest.raises(FormulaError, match=named):
        parse_formula(f"y ~ x + {text}" if text[0] != "-" else f"y ~ x {text}", COLUMNS)


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 60
    return pd.DataFrame(
        {
            "y": rng.integers(0, 2, n),
            "x": rng.normal(size=n),
            "z": rng.normal(size=n),
            "f": rng.choice(["u", "v", "w"], n),
            "id": rng.permutation(np.repeat(np.arange(12), 5)),
        }
    )


def prepared(formula: str, table: pd.DataFrame) -> ModelData:
    return prepare(formula, table, Request(response("binomial", None), effects=True))


def test_columns_are_those_of_a_design(table: pd.DataFrame) -> None:
    data = prepared("y ~ x + (0 + f + scale(z) | id)", table)
    assert data.effects is not None
    rows = table.iloc[data.row_index]
    expected = np.column_stack(
        [*(rows["f"] == level for level in "uvw"), (rows["z"] - table["z"].mean()) / table["z"].std()]
    )
    np.testing.assert_allclose(data.effects.Z, expected, atol=1e-14)
    assert data.effects.covariance.labels[0] == "id: L[fu,fu]"


def test_columns_of_new_rows_are_those_of_the_fit(table: pd.DataFrame) -> None:
    import narwhals.stable.v2 as nw

    data = prepared("y ~ x + (bs(x, df=4) + within(z) | id)", table)
    assert data.effects is not None
    again = data.effects.rows(nw.from_native(table.iloc[data.row_index[:7]], eager_only=True))
    np.testing.assert_allclose(again[:, :5], data.effects.Z[:7, :5], atol=1e-14)
    assert again.shape[1] == 6


def test_rows_without_an_effect_are_left_out(table: pd.DataFrame) -> None:
    table.loc[3, "z"] = np.nan
    data = prepared("y ~ x + (z | id)", table)
    assert data.n_obs == 59
    assert [(each.reason, each.count) for each in data.dropped] == [("missing 'z'", 1)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("(x + I(2 * x) | id)", "collinear"),
        ("(f | id) + (0 + I(f == 'v') | id)", "combinations"),
        ("(I(0 * x) | id)", "I"),
    ],
)
def test_effects_that_cannot_be_told_apart(text: str, named: str, table: pd.DataFrame) -> None:
    with pytest.raises(DesignError, match=named):
        prepared(f"y ~ x + {text}", table)


def test_other_models_say_where_slopes_belong(table: pd.DataFrame) -> None:
    import clusterglm as cg

    for verb in (cg.pooled, cg.fixed_effects, cg.conditional, cg.nonparametric):
        with pytest.raises(FormulaError, match="more than an intercept varies over 'id'"):
            verb("y ~ x + (x | id)", table)
