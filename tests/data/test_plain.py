"""Designs of plain columns are those that formulaic makes, and are made where nothing else is asked for."""

from __future__ import annotations

import formulaic
import numpy as np
import pandas as pd
import pytest

from clusterglm.data.plain import plain_matrix

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
    X = plain_matrix(terms, frame)
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
    assert plain_matrix(formulaic.Formula(formula), frame) is None
