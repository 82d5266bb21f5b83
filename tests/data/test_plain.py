"""Designs of plain columns are those that formulaic makes, and are made where nothing else is asked for."""

from __future__ import annotations

import copy
import pickle

import formulaic
import numpy as np
import pandas as pd
import pytest

from clusterglm.data import design
from clusterglm.data.columns import as_frame, model_columns
from clusterglm.data.design_state import spec_state
from clusterglm.data.formula import parse_formula
from clusterglm.data.plain import PlainSpec, matrix_of_terms, plain_matrix, plain_spec
from clusterglm.data.table import read_table
from clusterglm.errors import ClusterGLMError

ROWS = 40_000  # more than are written at a time


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "x": rng.normal(size=ROWS),
            "small": rng.normal(size=ROWS).astype(np.float32),
            "n": rng.integers(-3, 3, size=ROWS),
            "my x": np.where(rng.random(ROWS) < 0.1, np.inf, 1.0),
            "yes": rng.random(ROWS) < 0.5,
            "g": pd.Categorical(rng.choice(["a", "b"], size=ROWS)),
        }
    )


@pytest.mark.parametrize("formula", ["x + n", "n + x - 1", "`my x` + x", "0 + n", "1", "small + x", "x + x"])
def test_plain_columns_are_what_formulaic_makes_of_them(formula, frame):
    terms = formulaic.Formula(formula)
    whole = formulaic.model_matrix(terms, frame, output="numpy", na_action="ignore")
    X = matrix_of_terms(terms, frame).X
    assert X.dtype == np.float64
    assert X.flags.c_contiguous
    np.testing.assert_array_equal(X, np.asarray(whole, dtype=float))
    first = formulaic.model_matrix(terms, frame.head(2), output="numpy", na_action="ignore").model_spec
    assert first.column_names == whole.model_spec.column_names
    assert first.encoder_state == whole.model_spec.encoder_state
    np.testing.assert_array_equal(np.asarray(first.get_model_matrix(frame), dtype=float), X)


@pytest.mark.parametrize(
    "formula", ["g", "yes", "x + g", "x:n", "x*n", "np.log(n)", "C(n)", "{x + 1}", "x + bs(x, df=4)", "0"]
)
def test_anything_else_is_left_to_formulaic(formula, frame):
    assert matrix_of_terms(formulaic.Formula(formula), frame) is None


def designs(formula, table, monkeypatch, absorb=False):
    """As `prepare` makes it, and by formulaic."""
    parsed = parse_formula(formula, list(table.columns))
    read = read_table(table)
    columns = model_columns(read, parsed.variables, None)
    spec = design.spec_of(parsed, absorb=absorb)
    matrix = plain_matrix(spec, columns, len(table))
    np.testing.assert_array_equal(matrix.ranges, np.column_stack([matrix.X.min(axis=0), matrix.X.max(axis=0)]))
    plain = design.listed_design(parsed, spec, None), matrix.X
    monkeypatch.setattr(design, "plain_spec", lambda *_, **__: None)
    made = design.make_design(parsed, as_frame(columns, len(table)), None, absorb=absorb)
    monkeypatch.undo()
    return plain, made


@pytest.mark.parametrize(
    "formula", ["y ~ x + n", "y ~ n + x + n", "y ~ 1", "y ~ small", "y ~ x + (1 | g)", "y ~ n + offset(x)"]
)
@pytest.mark.parametrize("absorb", [False, True])
def test_lists_of_columns_need_no_formulaic(formula, absorb, frame, monkeypatch):
    table = frame.assign(y=1)
    plain, (expected, X) = designs(formula, table, monkeypatch, absorb)
    found, matrix = plain
    assert isinstance(found.spec, PlainSpec)
    assert matrix.flags.c_contiguous
    np.testing.assert_array_equal(matrix, X)
    assert spec_state(found.spec.formulaic) == spec_state(expected.spec)
    assert found.spec.column_names == expected.spec.column_names
    for name in (
        "formula",
        "names",
        "intercept",
        "variables",
        "factors",
        "offsets",
        "offset_argument",
        "cluster_means",
    ):
        assert getattr(found, name) == getattr(expected, name), name
    some = read_table(table[:100])
    np.testing.assert_array_equal(found.build(some), expected.build(some))
    for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found), copy.copy(found)):
        assert again == found
        np.testing.assert_array_equal(again.build(some), X[:100])


@pytest.mark.parametrize(
    "right", ["x - 1", "0 + x", "x:n", "x*n", "np.log(n)", "`my x`", "x + 1", "C(n)", "-1", "x + 2", "(x + n)", "x^2"]
)
def test_other_formulas_are_read_by_formulaic(right):
    assert plain_spec(right, ["x", "n", "my x"], intercept=True) is None


@pytest.mark.parametrize("name", ["g", "yes"])
def test_columns_of_anything_but_numbers_are_read_by_formulaic(name, frame):
    assert plain_matrix(PlainSpec(("x", name), True), frame, len(frame)) is None
    parsed = parse_formula(f"y ~ x + {name}", [*frame.columns, "y"])
    made, _ = design.make_design(parsed, frame[["x", name]], None)
    assert not isinstance(made.spec, PlainSpec)


@pytest.mark.parametrize("other", [["a", "b", "c"], [True, False, True], pd.to_datetime(["2020-01-01"] * 3)])
def test_new_data_of_another_type_are_judged_as_by_formulaic(other, frame, monkeypatch):
    plain, (expected, _) = designs("y ~ x + n", frame.assign(y=1), monkeypatch)
    new = read_table(pd.DataFrame({"x": [0.5, np.nan, 1.0], "n": other}))

    def outcome(of):
        try:
            return of.build(new).tolist()
        except ClusterGLMError as error:
            return str(error)

    assert str(outcome(plain[0])) == str(outcome(expected))


@pytest.mark.parametrize("rows", [0, 1, 5, 70_000])
@pytest.mark.parametrize("broken", [None, np.nan, np.inf, -np.inf])
def test_ranges_are_of_all_rows(rows, broken):
    rng = np.random.default_rng(rows)
    columns = {"x": rng.normal(size=rows), "n": rng.integers(-9, 9, rows), "s": rng.normal(size=2 * rows)[::2]}
    if broken is not None and rows > 0:
        columns["x"][rows - 1] = broken
    found = plain_matrix(PlainSpec(("x", "n", "s"), True), columns, rows)
    np.testing.assert_array_equal(found.X, np.column_stack([np.ones(rows), *columns.values()]))
    if rows == 0:
        assert found.ranges is None
    else:
        np.testing.assert_array_equal(found.ranges, np.column_stack([found.X.min(axis=0), found.X.max(axis=0)]))
