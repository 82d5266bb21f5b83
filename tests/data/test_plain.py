"""Formulas that list columns of numbers have their matrix written in one pass, the same as the other way."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

from clusterglm.data import design
from clusterglm.data.formulas.formula import parse_formula
from clusterglm.data.tables.columns import model_columns
from clusterglm.data.tables.plain import plain_matrix
from clusterglm.data.tables.table import read_table
from clusterglm.errors import ClusterGLMError

ROWS = 40_000  # more than are written at a time


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": 1,
            "x": rng.normal(size=ROWS),
            "small": rng.normal(size=ROWS).astype(np.float32),
            "n": rng.integers(-3, 3, size=ROWS),
            "my x": np.where(rng.random(ROWS) < 0.1, np.inf, 1.0),
            "yes": rng.random(ROWS) < 0.5,
            "1": rng.normal(size=ROWS),
            "g": pd.Categorical(rng.choice(["a", "b"], size=ROWS)),
        }
    )


def designs(formula, table, monkeypatch, absorb=False):
    """In one pass, and factor by factor."""
    parsed = parse_formula(formula, list(table.columns))
    columns = model_columns(read_table(table), parsed.variables, None)
    plain = design.make_design(parsed, columns, len(table), None, absorb=absorb)
    monkeypatch.setattr(design, "listed_design", lambda *_, **__: None)
    made = design.make_design(parsed, columns, len(table), None, absorb=absorb)
    monkeypatch.undo()
    return plain, made


LISTS = [
    "y ~ x + n", "y ~ n + x + n", "y ~ 1", "y ~ small", "y ~ x + (1 | g)", "y ~ n + offset(x)", "y ~ `my x` + `1`",
    "y ~ yes + x", "y ~ 0 + n", "y ~ x - 1",
]  # fmt: skip


@pytest.mark.parametrize("formula", LISTS)
@pytest.mark.parametrize("absorb", [False, True])
def test_both_ways_give_the_same_design(formula, absorb, frame, monkeypatch):
    (found, matrix), (expected, other) = designs(formula, frame, monkeypatch, absorb)
    assert matrix.ranges is not None or matrix.X.shape[1] == 0
    assert other.ranges is None
    assert matrix.X.flags.c_contiguous
    np.testing.assert_array_equal(matrix.X, other.X)
    assert found == expected
    some = read_table(frame[:100])
    np.testing.assert_array_equal(found.build(some), matrix.X[:100])
    for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found), copy.copy(found)):
        assert again == found
        np.testing.assert_array_equal(again.build(some), matrix.X[:100])


@pytest.mark.parametrize("right", ["x:n", "x*n", "np.log(n)", "C(n)", "x^2 + I(x^2)", "within(x)", "g", "x + g"])
def test_other_formulas_are_not_lists_of_columns(right, frame):
    parsed = parse_formula(f"y ~ {right}", list(frame.columns))
    listed = design.listed_design(parsed, None, absorb=False)
    if listed is not None:  # that `g` holds categories only its values tell
        columns = model_columns(read_table(frame), parsed.variables, None)
        assert plain_matrix(listed.coding.plain, True, columns, ROWS) is None


@pytest.mark.parametrize("other", [["a", "b", "c"], [True, False, True], pd.to_datetime(["2020-01-01"] * 3)])
def test_new_data_of_another_type_are_judged_alike(other, frame, monkeypatch):
    (plain, _), (expected, _) = designs("y ~ x + n", frame, monkeypatch)
    new = read_table(pd.DataFrame({"x": [0.5, np.nan, 1.0], "n": other}))

    def outcome(of):
        try:
            return of.build(new).tolist()
        except ClusterGLMError as error:
            return str(error)

    assert str(outcome(plain)) == str(outcome(expected))


@pytest.mark.parametrize("rows", [0, 1, 5, 70_000])
@pytest.mark.parametrize("broken", [None, np.nan, np.inf, -np.inf])
def test_ranges_are_of_all_rows(rows, broken):
    rng = np.random.default_rng(rows)
    columns = {"x": rng.normal(size=rows), "n": rng.integers(-9, 9, rows), "s": rng.normal(size=2 * rows)[::2]}
    if broken is not None and rows > 0:
        columns["x"][rows - 1] = broken
    found = plain_matrix(("x", "n", "s"), True, columns, rows)
    np.testing.assert_array_equal(found.X, np.column_stack([np.ones(rows), *columns.values()]))
    if rows == 0:
        assert found.ranges is None
    else:
        np.testing.assert_array_equal(found.ranges, np.column_stack([found.X.min(axis=0), found.X.max(axis=0)]))
