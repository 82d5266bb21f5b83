"""The design matrix: values, R's names, new data."""

from __future__ import annotations

import pickle
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest

import clusterglm as cg
from clusterglm.data.design import Design, make_design
from clusterglm.data.formulas.formula import parse_formula
from clusterglm.data.tables.columns import model_columns
from clusterglm.errors import DataError, DesignError, FormulaError, UnseenLevelError


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": rng.integers(0, 2, 12),
            "x": rng.normal(size=12),
            "trt": ["placebo", "drug", "other"] * 4,
            "k": [1, 2, 3, 4] * 3,
            "n": np.arange(1.0, 13.0),
            "b": [True, False] * 6,
            "when": pd.date_range("2020-01-01", periods=12),
            "two words": rng.normal(size=12),
        }
    )


def design(formula: str, data: Any) -> tuple[Design, np.ndarray]:
    table = nw.from_native(data, eager_only=True)
    parsed = parse_formula(formula, table.columns)
    made, matrix = make_design(parsed, model_columns(table, parsed.variables, None), len(table), None)
    return made, matrix.X


@pytest.mark.parametrize(
    ("formula", "names"),
    [
        ("y ~ 1", ["(Intercept)"]),
        ("y ~ x + trt", ["(Intercept)", "x", "trtother", "trtplacebo"]),
        ("y ~ 0 + trt", ["trtdrug", "trtother", "trtplacebo"]),
        ("y ~ x*trt", ["(Intercept)", "x", "trtother", "trtplacebo", "x:trtother", "x:trtplacebo"]),
        ("y ~ C(k)", ["(Intercept)", "C(k)2", "C(k)3", "C(k)4"]),
        ("y ~ factor(k) - 1", ["factor(k)1", "factor(k)2", "factor(k)3", "factor(k)4"]),
        ("y ~ bs(x, df=4)", ["(Intercept)", *(f"bs(x, df=4){i}" for i in (1, 2, 3, 4))]),
        ("y ~ poly(x, 2) + log(n)", ["(Intercept)", "poly(x, 2)1", "poly(x, 2)2", "log(n)"]),
        ("y ~ I(x^2) + `two words` + b", ["(Intercept)", "I(x ** 2)", "two words", "b"]),
        ("y ~ sqrt(n)", ["(Intercept)", "sqrt(n)"]),
    ],
)
def test_names(formula: str, names: list[str]) -> None:
    built, X = design(formula, frame())
    assert list(built.names) == names
    assert X.shape == (12, len(names))
    assert X.dtype == np.float64
    assert X.flags.c_contiguous
    assert built.intercept == (names.index("(Intercept)") if "(Intercept)" in names else None)


def test_values() -> None:
    data = frame()
    built, X = design("y ~ x*trt + I(n^2)", data)
    columns = dict(zip(built.names, X.T, strict=True))
    np.testing.assert_array_equal(columns["(Intercept)"], 1.0)
    np.testing.assert_array_equal(columns["x"], data.x)
    np.testing.assert_array_equal(columns["trtplacebo"], data.trt == "placebo")
    np.testing.assert_array_equal(columns["x:trtother"], data.x * (data.trt == "other"))
    np.testing.assert_array_equal(columns["I(n ** 2)"], data.n**2)


def test_order_of_categories_is_kept_and_unused_ones_go() -> None:
    data = frame()
    data["trt"] = pd.Categorical(data.trt, ["placebo", "never", "other", "drug"])
    assert design("y ~ trt", data)[0].names == ("(Intercept)", "trtother", "trtdrug")


def test_polars_categories_are_sorted_but_an_enum_keeps_its_order() -> None:
    plain = pl.from_pandas(frame()[["y", "trt"]])
    assert design("y ~ trt", plain.with_columns(pl.col("trt").cast(pl.Categorical)))[0].names[1:] == (
        "trtother",
        "trtplacebo",
    )
    enum = plain.with_columns(pl.col("trt").cast(pl.Enum(["placebo", "other", "drug"])))
    assert design("y ~ trt", enum)[0].names[1:] == ("trtother", "trtdrug")


@pytest.mark.parametrize("formula", ["y ~ bs(x, df=5) + trt", "y ~ poly(x, 2)*trt", "y ~ scale(x) + C(k) + b", "y ~ 1"])
def test_new_data_repeat_the_fitted_rows(formula: str) -> None:
    data = frame()
    built, X = design(formula, data)
    again: Design = pickle.loads(pickle.dumps(built))
    some = nw.from_native(data.iloc[[7, 2]].reset_index(drop=True), eager_only=True)
    np.testing.assert_allclose(again.build(some), X[[7, 2]], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(again.build(nw.from_native(pl.from_pandas(data.drop(columns="when")))), X, atol=1e-13)


def test_new_data_with_missing_values_give_nan_rows() -> None:
    data = frame()
    built, X = design("y ~ x + trt", data)
    data.loc[3, "x"] = np.nan
    data.loc[5, "trt"] = None
    new = built.build(nw.from_native(data, eager_only=True))
    gone = np.isin(np.arange(12), [3, 5])
    assert np.isnan(new[gone]).all()
    np.testing.assert_array_equal(new[~gone], X[~gone])
    assert np.isnan(built.build(nw.from_native(data.iloc[[3]], eager_only=True))).all()


@pytest.mark.parametrize(("formula", "column", "level"), [("y ~ trt", "trt", "'new'"), ("y ~ x + C(k)", "k", "7")])
def test_unseen_levels_are_named(formula: str, column: str, level: str) -> None:
    data = frame()
    built, _ = design(formula, data)
    data.loc[0, column] = "new" if column == "trt" else 7
    with pytest.raises(UnseenLevelError, match=f"{column!r} that the fit has not seen: {level}"):
        built.build(nw.from_native(data, eager_only=True))


def test_unseen_level_of_an_expression() -> None:
    data = frame()
    built, _ = design("y ~ C(k + 1)", data)
    data.loc[0, "k"] = 9
    with pytest.raises(UnseenLevelError, match=r"levels of 'C\(k \+ 1\)' that the fit has not seen: 10"):
        built.build(nw.from_native(data, eager_only=True))


def test_new_data_without_a_column() -> None:
    built, _ = design("y ~ x + trt", frame())
    with pytest.raises(DataError, match="'trt'"):
        built.build(nw.from_native(frame().rename(columns={"trt": "trat"}), eager_only=True))


def test_new_data_beyond_the_knots() -> None:
    built, _ = design("y ~ bs(x, df=4)", frame())
    with pytest.raises(DataError, match="bs"):
        built.build(nw.from_native(frame().assign(x=99.0), eager_only=True))


def test_new_data_of_another_type() -> None:
    built, _ = design("y ~ x", frame())
    with pytest.raises(DataError):
        built.build(nw.from_native(frame().assign(x="high"), eager_only=True))


def test_offsets_of_new_data() -> None:
    data = frame()
    built, _ = design("y ~ x + offset(log(n)) + offset(2*x)", data)
    data.loc[4, "n"] = np.nan
    expected = np.log(data.n) + 2 * data.x
    np.testing.assert_allclose(built.offset(nw.from_native(data, eager_only=True)), expected)
    with pytest.raises(DataError, match="'n'"):
        built.offset(nw.from_native(data.drop(columns="n"), eager_only=True))


@pytest.mark.parametrize(
    ("formula", "kind", "named"),
    [
        ("y ~ x trt", FormulaError, "missing operator"),
        ("y ~ x + 2", FormulaError, "0 and 1 alone"),
        ("y ~ bs(x, degree=4, df=1)", FormulaError, "bs"),
        ("y ~ np.nosuch(x)", FormulaError, "nosuch"),
        ("y ~ when", DesignError, "'when' holds dates"),
        ("y ~ 0", DesignError, "no coefficient"),
    ],
)
def test_refused(formula: str, kind: type[Exception], named: str) -> None:
    with pytest.raises(kind, match=named):
        design(formula, frame())


def test_a_column_of_mixed_types_is_named() -> None:
    data = frame().assign(mixed=[1, "a"] * 6)
    with pytest.raises(DataError, match="'mixed' with values of type int, str"):
        design("y ~ mixed", data)


def test_levels_that_need_more_columns_than_rows_are_refused_before_memory_is_asked_for() -> None:
    n = 20_000
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"y": 0, "a": rng.integers(0, 500, n).astype(str), "b": rng.integers(0, 500, n)})
    with pytest.raises(DesignError, match=r"'a:C\(b\)' with 250000 levels for 20000 rows"):
        design("y ~ a:C(b)", data)


@pytest.mark.parametrize("kind", [np.uint64, np.float16, np.longdouble, np.int8, bool])
def test_numbers_of_every_width(kind: Any) -> None:
    values = np.array([0, 1, 1, 0, 1] * 4).astype(kind)
    if kind is np.uint64:
        values[0] = 2**64 - 1
    _, X = design("y ~ v", pd.DataFrame({"y": 0, "v": values}))
    np.testing.assert_array_equal(X[:, 1], values.astype(np.float64))


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        (np.arange(12) * 1j, DataError, "'v' with values of type complex"),
        (pd.period_range("2020", periods=12, freq="M"), DesignError, "'v' holds dates"),
        (pd.timedelta_range("1D", periods=12), DesignError, "'v' holds dates"),
        ([[1]] * 12, DataError, "'v' with values of type list"),
    ],
)
def test_covariates_that_are_neither_numbers_nor_categories(values: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        design("y ~ v", frame().assign(v=values))


def test_a_column_may_be_called_like_a_function() -> None:
    data = frame().rename(columns={"k": "C", "x": "log"})
    assert design("y ~ C(trt) + log", data)[0].names == ("(Intercept)", "C(trt)other", "C(trt)placebo", "log")
    np.testing.assert_array_equal(design("y ~ log(n) + C", data)[1][:, 1:], np.column_stack([np.log(data.n), data.C]))
    np.testing.assert_array_equal(
        design("y ~ log + log(n)", data)[1][:, 1:], np.column_stack([data.log, np.log(data.n)])
    )


def test_contrasts() -> None:
    built, X = design("y ~ C(trt, contr.treatment('placebo'))", frame())
    np.testing.assert_array_equal(X[:, 1], frame().trt == "drug")
    assert built.names[1].endswith("drug")


def test_columns_in_words_and_reference_levels():
    """What reports say of a coefficient; levels as they are spelled, whatever the coding."""
    data = pd.DataFrame(
        {"y": [0, 1, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1], "x": [1.0, 2, 3, 5, 4, 7] * 2, "g": ["St. A", "B", "c"] * 4}
    )

    def design(formula):
        return cg.pooled(formula, data).data.design

    crossed = design("y ~ g * x")
    assert [crossed.in_words(name) for name in crossed.names] == [
        "the intercept", "g = St. A", "g = c", "x", "g = St. A × x", "g = c × x",
    ]  # fmt: skip
    assert crossed.references == {"g": "B"}
    assert crossed.in_words("sigma") == "sigma"
    whole = design("y ~ 0 + g")
    assert [whole.in_words(name) for name in whole.names] == ["g = B", "g = St. A", "g = c"]
    assert whole.references == {}
    for coding in ("contr.sum", "contr.poly", "contr.helmert"):
        other = design(f"y ~ C(g, {coding})")
        assert tuple(other.in_words(name) for name in other.names[1:]) == other.aliases[1:]
        assert other.references == {}
    assert design("y ~ C(g, contr.treatment(base='c'))").references == {"g": "c"}
