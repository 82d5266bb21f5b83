"""Formulas mean what they mean in R: design matrices beside those of R's own model.matrix (golden/model_matrix.R)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from clusterglm.data.design import make_design
from clusterglm.data.formulas.formula import parse_formula
from clusterglm.data.tables.columns import model_columns

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "model_matrix.json").read_text())["matrices"]
DATA = pd.DataFrame(
    {
        "y": [0, 1] * 6,
        "x": [-1.2, 0.3, 2.5, 0.9, -0.4, 1.7, 3.1, -2.2, 0.05, 1.1, 2.9, -0.7],
        "z": [4, 1, 3, 2, 8, 5, 7, 6, 9, 12, 10, 11],
        "n": range(1, 13),
        "w": [0, 1, 2, 3, 4, 5] * 2,
        "flag": [True, False, True, True, False, True, False, True, True, False, False, True],
        "a": list("pqrpqrpqrqpr"),
        "b": list("uvvuuvuvuvvu"),
        "k": [1, 2, 3, 4] * 3,
        "o": pd.Categorical(["low", "mid", "high"] * 3 + ["mid", "low", "high"], ["low", "mid", "high"]),
    }
)
# R numbers columns of contrasts where ours name levels, counts a whole basis from 1 and ours from 0 as ever, and puts
# the factors of a term in the order of the variables.
OTHER_LABELS = (
    "contr.sum",
    "contr.helmert",
    "contr.SAS",
    "contr.treatment",
    "intercept = TRUE) - 1",
    "a:x + b:x",
    "+ x)^2",
)


def plain(name: str) -> str:
    """A name without the differences of writing: blanks, quotes, `^`, and R's TRUE for what is a number here."""
    for old, new in ((" ", ""), ('"', "'"), ("^", "**")):
        name = name.replace(old, new)
    name = name.replace("((w>2)&flag)", "(w>2&flag)").replace("((w>2)|flag&(x>0))", "(w>2|flag&x>0)")
    name = name.replace("(!flag&(w==1))", "(!flag&w==1)")
    return re.sub(r"(?<=[\w)])TRUE$", "", name)


def as_polars(data: pd.DataFrame) -> pl.DataFrame:
    """A polars frame whose ordered categories keep their order: plain ones are sorted."""
    return pl.from_pandas(data).with_columns(pl.col("o").cast(pl.Enum(["low", "mid", "high"])))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("entry", GOLDEN, ids=[entry["formula"] for entry in GOLDEN])
def test_matrices_are_those_of_r(entry: dict, library: str) -> None:
    native = {"pandas": lambda d: d, "polars": as_polars, "pyarrow": pa.Table.from_pandas}[library](DATA)
    table = nw.from_native(native, eager_only=True)
    parsed = parse_formula("y " + entry["formula"], table.columns)
    design, matrix = make_design(parsed, model_columns(table, parsed.variables, None), len(table), None)
    expected = np.array(entry["X"])
    X = matrix.X[~np.isnan(matrix.X).any(axis=1)]  # R leaves out rows beyond the ends of cut()
    assert X.shape == expected.shape
    np.testing.assert_allclose(X, expected, rtol=1e-12, atol=1e-13)
    if not any(each in entry["formula"] for each in OTHER_LABELS):
        assert [*map(plain, design.names)] == [*map(plain, entry["names"])]
    np.testing.assert_array_equal(design.build(table), matrix.X)


def test_r_leaves_columns_that_ours_do_not() -> None:
    """`a:b` without its margins has a column too many in R, whose coefficient is NA; ours span the same space."""
    table = nw.from_native(DATA, eager_only=True)
    parsed = parse_formula("y ~ a:b", table.columns)
    _, matrix = make_design(parsed, model_columns(table, parsed.variables, None), len(table), None)
    cells = pd.get_dummies(DATA.a + DATA.b).to_numpy(dtype=float)
    assert matrix.X.shape[1] == np.linalg.matrix_rank(matrix.X) == cells.shape[1]
    assert np.linalg.matrix_rank(np.column_stack([matrix.X, cells])) == cells.shape[1]
