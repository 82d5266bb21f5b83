"""Expressions are computed as plain float64 arithmetic has it, whatever library and types the columns come in."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import clusterglm as cg
from clusterglm.data.blocks.parts import learn, survey
from clusterglm.data.design import Design, make_design
from clusterglm.data.formulas.check import known_functions
from clusterglm.data.formulas.formula import parse_formula
from clusterglm.data.prepare import assemble
from clusterglm.data.request import Request
from clusterglm.data.tables.columns import model_columns
from clusterglm.data.tables.table import read_table
from clusterglm.errors import DataError, FormulaError
from clusterglm.model.family import response

ROWS = 12
Columns = dict[str, np.ndarray]
Made = tuple[str, Callable[[Columns], np.ndarray]]
"""A formula's text, and the same by NumPy from columns of float64."""

TYPES = {
    "a": ["int8", "uint8", "int16", "uint32", "int64", "float32", "float64", "Int64", "Int8"],
    "b": ["int8", "uint16", "uint64", "float64", "Float64"],
    "flag": ["bool", "boolean", "int8", "uint8", "float32"],
    "k": ["uint8", "int64", "float64", "Int16"],
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y, "/": lambda x, y: x / y,
    "%%": np.mod, "%/%": np.floor_divide, "%": np.mod, "//": np.floor_divide,
}  # fmt: skip
EXTREME: dict[str, Callable[[Any, Any], Any]] = {
    "pmin": np.minimum, "pmax": np.maximum, "minimum": np.minimum, "np.maximum": np.maximum,
}  # fmt: skip
JOINED: dict[str, Callable[[Any, Any], Any]] = {"&": np.logical_and, "|": np.logical_or}
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
}  # fmt: skip
UNARY: dict[str, Callable[[Any], Any]] = {
    "sqrt(abs({}))": lambda x: np.sqrt(np.abs(x)), "log1p(abs({}))": lambda x: np.log1p(np.abs(x)),
    "np.exp(-abs({}))": lambda x: np.exp(-np.abs(x)), "floor({})": np.floor, "ceiling({})": np.ceil,
    "-({})": np.negative, "({})^2": np.square, "({})**3": lambda x: np.power(x, 3.0), "sin({})": np.sin,
    "round({}, 1)": lambda x: np.round(x, 1), "({}).clip(-1, 5)": lambda x: np.clip(x, -1, 5), "np.sign({})": np.sign,
}  # fmt: skip
# Functions of a whole column: what they learn must be that of all rows, also for one row alone.
WHOLE: dict[str, Callable[[Any], Any]] = {
    "mean({})": np.mean, "np.std({})": np.std, "sd({})": lambda x: np.std(x, ddof=1), "max({})": np.max,
    "np.min({})": np.min, "median({})": np.median, "center({})": lambda x: x - np.mean(x), "sum({})": np.sum,
}  # fmt: skip


class OddError(Exception):
    """A value on the way is not finite; what R and NumPy make of it differs in places, and is tested by itself."""


def finite(values: Any) -> Any:
    if not np.isfinite(np.asarray(values, dtype=np.float64)).all() or np.abs(np.asarray(values, float)).max() > 1e100:
        raise OddError
    return values


def made(text: str, function: Callable[..., Any], *parts: Made) -> Made:
    return text.format(*(part[0] for part in parts)), lambda c: finite(function(*(part[1](c) for part in parts)))


def arithmetic(inner: st.SearchStrategy[Made]) -> st.SearchStrategy[Made]:
    """Expressions of one operation more."""
    two = st.builds(
        lambda o, x, y: made(f"({{}}) {o} ({{}})", BINARY[o], x, y), st.sampled_from(sorted(BINARY)), inner, inner
    )
    one = st.builds(lambda text, x: made(text, UNARY[text], x), st.sampled_from(sorted(UNARY)), inner)
    whole = st.builds(lambda text, x: made(text, WHOLE[text], x), st.sampled_from(sorted(WHOLE)), inner)
    most = st.builds(
        lambda f, x, y: made(f"{f}({{}}, {{}})", EXTREME[f], x, y), st.sampled_from(sorted(EXTREME)), inner, inner
    )
    truth = st.builds(
        lambda o, x, y: made(f"({{}}) {o} ({{}})", COMPARED[o], x, y), st.sampled_from(sorted(COMPARED)), inner, inner
    )
    joined = st.builds(lambda o, x, y: made(f"{{}} {o} {{}}", JOINED[o], x, y), st.sampled_from("&|"), truth, truth)
    tests = st.one_of(truth, joined, truth.map(lambda x: made("!({})", np.logical_not, x)))
    chosen = st.builds(lambda t, x, y: made("ifelse({}, {}, {})", np.where, t, x, y), tests, inner, inner)
    return st.one_of(two, one, whole, most, chosen, tests.map(lambda x: made("({}) * 1", lambda v: v.astype(float), x)))


def leaf(name: str) -> Made:
    return name, lambda c: c[name]


def number(value: float) -> Made:
    return repr(value), lambda c: np.full(ROWS, float(value))


LEAVES = st.one_of(st.sampled_from(sorted(TYPES)).map(leaf), st.sampled_from([1, 2, 3, 0.5, 7.25]).map(number))
EXPRESSIONS = st.recursive(LEAVES, arithmetic, max_leaves=8)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    columns: dict[str, Any] = {"y": [0, 1] * (ROWS // 2)}
    for name, kinds in TYPES.items():
        kind = draw(st.sampled_from(kinds))
        most = 1 if name == "flag" else 100 if "8" in kind else 250
        low = 0 if kind.lower().startswith("u") or name == "flag" else -most
        values = draw(st.lists(st.integers(low, most), min_size=ROWS, max_size=ROWS))
        columns[name] = (
            pd.array(values, dtype=kind) if kind[0].isupper() or kind == "boolean" else np.array(values, dtype=kind)
        )
    return pd.DataFrame(columns)


def pieces(data: pd.DataFrame, formula: str) -> np.ndarray:
    """The matrix as files that are read block by block have it: learned from parts, applied to each."""
    table = pa.Table.from_pandas(data)
    request = Request(response("binomial", None), need_cluster=False)
    parsed = parse_formula(formula, table.column_names)
    parts = [table.slice(0, 5), table.slice(5)]
    learned = learn([survey(part, parsed, request) for part in parts], parsed, request, {})
    return np.concatenate([assemble(read_table(part), parsed, request, learned).X for part in parts])


def design_of(table: Any, formula: str) -> tuple[Design, np.ndarray]:
    frame = read_table(table)
    parsed = parse_formula(formula, frame.columns)
    design, matrix = make_design(parsed, model_columns(frame, parsed.variables, None), len(frame), None)
    return design, matrix.X


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS, tables())
def test_random_expressions_on_random_types(
    tmp_path_factory: pytest.TempPathFactory, made_up: Made, data: pd.DataFrame
) -> None:
    text, by_hand = made_up
    formula = f"y ~ {{k + ({text})}}"
    columns = {name: data[name].to_numpy(dtype=np.float64) for name in TYPES}
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of sd(max(a)), which formulas refuse below
            expected = columns["k"] + by_hand(columns)
    except OddError:
        assume(False)
    folder = tmp_path_factory.getbasetemp()
    data.to_csv(folder / "rows.csv", index=False)
    pq.write_table(pa.Table.from_pandas(data), folder / "rows.parquet")
    libraries = {
        "pandas": data, "polars": pl.from_pandas(data), "pyarrow": pa.Table.from_pandas(data),
        "dict": {name: data[name].tolist() for name in data}, "csv": folder / "rows.csv",
        "parquet": folder / "rows.parquet",
    }  # fmt: skip
    for name, table in libraries.items():
        try:
            design, X = design_of(table, formula)
        except FormulaError as problem:  # mean(2), for instance
            assume(not re.search("of a single value", str(problem)))
            raise
        np.testing.assert_array_equal(X[:, 1], expected, err_msg=name)
        for row in (0, ROWS - 1):
            alone = read_table(data.iloc[[row]].reset_index(drop=True))
            np.testing.assert_array_equal(design.build(alone), X[[row]], err_msg=f"{name}, row {row} alone")
    np.testing.assert_array_equal(pieces(data, formula)[:, 1], expected)


LEVELS = {
    "text": ["b", "a", "c", "a", "b", "c", "a", "b", "c", "a", "b", "c"],
    "whole": [2**53 + 1, 2**53, 7, 2**53, 2**53 + 1, 7, 2**53, 2**53 + 1, 7, 2**53, 2**53 + 1, 7],
    "numbered": ["01", "1", "2", "1", "01", "2", "1", "01", "2", "1", "01", "2"],
    "truth": [True, False] * 6,
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels_stay_exact(name: str) -> None:
    """Text as text and whole numbers as whole numbers: "01" is not 1, and 2^53 + 1 is itself."""
    data = pd.DataFrame({"y": [0, 1] * 6, "f": LEVELS[name]})
    levels = sorted(set(LEVELS[name]))
    expected = np.array([[1.0] + [float(value == level) for level in levels[1:]] for value in LEVELS[name]])
    for table in (data, pl.from_pandas(data), pa.Table.from_pandas(data), {"y": data.y.tolist(), "f": LEVELS[name]}):
        design, X = design_of(table, "y ~ C(f)")
        np.testing.assert_array_equal(X, expected)
        assert design.names == ("(Intercept)", *(f"C(f){level}" for level in levels[1:]))
    np.testing.assert_array_equal(pieces(data, "y ~ C(f)"), expected)


SAME = [[0, 1], [0.0, 1.0], [False, True], ["0", "1"], pd.Categorical([0, 1]), pd.Categorical(["0", "1"]),
        pd.array([0, 1], dtype="Int64"), np.array([0, 1], dtype="uint8")]  # fmt: skip


@pytest.mark.parametrize("fitted", SAME, ids=str)
@pytest.mark.parametrize("new", SAME, ids=str)
def test_number_text_and_category_of_the_same_level(fitted: Any, new: Any) -> None:
    """`C(f)` of numbers, bools, texts and categories knows the levels of the others, but texts of numbers for truth."""
    rows = pd.DataFrame(
        {"y": [0, 1, 1, 0, 1, 0], "f": pd.Series(fitted).iloc[[0, 1, 0, 1, 1, 0]].reset_index(drop=True)}
    )
    design, _ = design_of(rows, "y ~ C(f)")
    found = design.build(read_table(pd.DataFrame({"f": new})))
    np.testing.assert_array_equal(found, [[1.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("I(g + 1)", "g holds categories"),
        ("I(g > 'a')", "== or !="),
        ("I(x == 'a')", "text beside numbers"),
        ("log(day)", "holds categories"),
        ("day", "holds dates"),
        ("ifelse(x > 1, 'a', 2)", "numbers and of text"),
        ("I(x %in% c('a'))", "numbers %in% a list of texts"),
        ("mean(x)", "a single value"),
        ("bs(g, df=4)", "holds categories"),
        ("C(g, levels=['a', 'b'])", "the data have also 'c'"),
        ("relevel(g, ref='z')", "the reference level 'z'"),
        ("poly(x, 3)", "3 different values"),
        ("cut(x, 1)", "a whole number from 2"),
        ("scale(I(x * 0))", "does not vary"),
        ("C(g, contr.sum(2))", "no arguments but none"),
        ("bs(x, df=4, knots=[2])", "one of them"),
        ("log(x, 2, 3)", "3 arguments"),
        ("clip(x, below=1)", "the argument 'below'"),
        ("ifelse(x > 1, x)", "test, yes, no"),
    ],
)
def test_what_cannot_be_computed_is_named(term: str, words: str) -> None:
    data = pd.DataFrame(
        {"y": [0, 1] * 3, "x": [1, 2, 3] * 2, "g": list("abcabc"), "day": pd.date_range("2020", periods=6)}
    )
    with pytest.raises(DataError, match=words):
        design_of(data, f"y ~ {term}")


def test_a_column_of_numbers_stays_one() -> None:
    data = pd.DataFrame({"y": [0, 1] * 3, "x": [1, 2, 3] * 2})
    design, _ = design_of(data, "y ~ x")
    with pytest.raises(DataError, match="which was fitted as numbers"):
        design.build(read_table(data.assign(x=list("abcabc"))))


def test_missing_values_are_seen_where_a_formula_looks_for_them() -> None:
    """As in R, `is.na` and what is made of it keep rows; anything else of a missing value is missing."""
    data = pd.DataFrame(
        {"y": [0, 1, 1, 0, 1, 0, 1, 0], "x": [1, np.nan, 3, 4, np.nan, 2, 5, 1], "z": [1, 2, 3, 4, 5, 6, np.nan, 8.0]}
    )
    for table in (data, pl.from_pandas(data), pa.Table.from_pandas(data), data.astype({"x": "Int64"})):
        fit = cg.pooled("y ~ is.na(x) + ifelse(is.na(x), 0, x) + z", table, family="poisson")
        assert fit.n_obs == 7
        np.testing.assert_array_equal(fit.data.X[:, 1], [0, 1, 0, 0, 1, 0, 0])
        np.testing.assert_array_equal(fit.data.X[:, 2], [1, 0, 3, 4, 0, 2, 1])
        assert [(each.reason, each.count) for each in fit.data.dropped] == [("missing 'z'", 1)]
        assert cg.pooled("y ~ I(2 * x)", table, family="poisson").n_obs == 6
        assert cg.pooled("y ~ coalesce(x, mean(x))", table, family="poisson").n_obs == 8
        imputed = cg.pooled("y ~ ifelse(is.na(x), mean(x), x)", table, family="poisson")
        np.testing.assert_allclose(imputed.data.X[1, 1], np.nanmean(data.x))
        np.testing.assert_allclose(imputed.predict(data.head(2)), imputed.predict()[:2])
    status = cg.pooled("y ~ x + ifelse(is.na(z), 0, z)", data, family="poisson")
    assert [(each.reason, each.count) for each in status.data.dropped] == [("missing 'x'", 2)]


def test_three_valued_logic() -> None:
    data = pd.DataFrame({"y": [0, 1, 1, 0], "x": [np.nan, np.nan, 1.0, 3.0], "z": [0.0, 1.0, 1.0, 0.0]})
    _, X = design_of(data, "y ~ I((x > 2) & (z > 0)) + I((x > 2) | (z > 0)) + I(!(x > 2))")
    np.testing.assert_array_equal(X[:, 1], [0, np.nan, 0, 0])
    np.testing.assert_array_equal(X[:, 2], [np.nan, 1, 1, 1])
    np.testing.assert_array_equal(X[:, 3], [np.nan, np.nan, 1, 0])


def test_unseen_levels_of_any_factor_are_a_status_of_their_rows() -> None:
    data = pd.DataFrame({"y": [0, 1, 1, 0, 1, 0] * 2, "k": [1, 2, 3] * 4, "g": list("ab") * 6})
    fit = cg.pooled("n ~ C(k + 1) + g", data.assign(n=[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]), family="poisson")
    new = pd.DataFrame({"k": [1, 7, 2, None], "g": ["a", "b", "z", "a"]})
    with pytest.warns(cg.errors.PredictionWarning, match="3 of 4 rows"):
        answer = fit.predict(new)
    assert answer.isna().tolist() == [False, True, True, True]


def test_weights_offsets_and_subsets_may_be_expressions(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    data = pd.DataFrame(
        {"y": rng.poisson(2.0, 60), "x": rng.normal(size=60), "t": rng.uniform(1, 3, 60), "id": np.repeat(range(12), 5)}
    )
    plain = cg.pooled("y ~ x + offset(log(t))", data, family="poisson", weights=2.0 * data.t, subset=data.x > -1)
    written = {"offset": "log(t)", "weights": "2 * t", "subset": "x > -1"}
    fit = cg.pooled("y ~ x", data, family="poisson", **written)
    assert fit.params.to_dict() == plain.params.to_dict()
    np.testing.assert_array_equal(fit.predict(data.head(3)), plain.predict(data.head(3)))
    exposed = cg.pooled("y ~ x", data, family="poisson", exposure="2 * t")
    np.testing.assert_allclose(exposed.params, cg.pooled("y ~ x + offset(log(2 * t))", data, family="poisson").params)
    data.to_parquet(tmp_path / "rows.parquet")
    streamed = cg.pooled("y ~ x", tmp_path / "rows.parquet", family="poisson", engine=cg.engine.Stream(), **written)
    np.testing.assert_allclose(streamed.params, plain.params, rtol=1e-8)
    with pytest.raises(DataError, match=r"'tt'.*not a column"):
        cg.pooled("y ~ x", data, family="poisson", offset="tt")
    with pytest.raises(FormulaError, match="'tt' in the formula, which is not a column"):
        cg.pooled("y ~ x", data, family="poisson", offset="log(tt)")


def test_every_column_but() -> None:
    data = pd.DataFrame(
        {"y": [0, 1, 1, 0] * 3, "n": 3, "a": range(12), "b": [2, 1] * 6, "id": [1, 2, 3] * 4, "w": 1.0, "o": 0.1}
    )
    fit = cg.random_effects("y ~ . - n", data, cluster="id", weights="w", offset="o", sigma=0.5, fix_sigma=True)
    assert list(fit.params.index) == ["(Intercept)", "a", "b"]
    fit = cg.pooled("cbind(y, n - y) ~ .^2 + (1 | id) + offset(o) - w", data.assign(w=data.a % 5))
    assert list(fit.params.index) == ["(Intercept)", "a", "b", "a:b", "a:w", "b:w"]


def test_the_documentation_lists_all_functions() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "formulas.md").read_text()
    plain = {name for name in known_functions() if not name.startswith((".", "np.", "{"))}
    assert sorted(name for name in plain if f"`{name}`" not in page and f"{name}(" not in page) == []


def test_golden_matrices_hold_for_streams_too() -> None:
    """Of functions of whole columns, files in parts learn what the table in memory does."""
    golden = json.loads((Path(__file__).parents[1] / "golden" / "model_matrix.json").read_text())["matrices"]
    x = next(np.array(entry["X"])[:, 1] for entry in golden if entry["formula"] == "~ x:z")
    data = pd.DataFrame({"y": [0, 1] * 6, "x": x, "z": np.arange(12.0)})
    for term in (
        "bs(x, df=4)",
        "ns(x, df=3)",
        "cr(x, df=4)",
        "poly(x, 3)",
        "scale(x)",
        "cut(x, 3)",
        "bs(center(x), df=5)",
    ):
        _, whole = design_of(data, f"y ~ {term} + z")
        np.testing.assert_array_equal(pieces(data, f"y ~ {term} + z"), whole)
