"""No copy of the covariates beyond the design matrix, whatever the table and however narrow its numbers."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.model.family import response

N, P = 100_000, 40
FRAMES = {
    "pandas": lambda columns: pd.DataFrame(columns, copy=False),
    "pandas, a matrix": lambda columns: pd.DataFrame(np.column_stack([*columns.values()]), columns=[*columns]),
    "dict": dict,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
}


@pytest.mark.parametrize("kind", ["float64", "float32", "int8"])
@pytest.mark.parametrize("frame", FRAMES)
def test_no_copy_but_the_design_matrix(frame, kind) -> None:
    rng = np.random.default_rng(0)
    columns = {f"x{k}": (20.0 * rng.normal(size=N)).astype(kind) for k in range(P)}
    columns |= {"y": rng.integers(0, 2, N), "id": np.repeat(np.arange(N // 5), 5)}
    table, formula = FRAMES[frame](columns), "y ~ " + " + ".join(f"x{k}" for k in range(P))

    def read():
        return prepare(formula, table, Request(response("binomial"), cluster="id"))

    read()
    gc.collect()
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        data = read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pa.total_allocated_bytes() <= before
    np.testing.assert_array_equal(data.X[:, 1:], np.column_stack([columns[f"x{k}"] for k in range(P)]).astype(float))
    assert peak < data.X.nbytes + 16 * 8 * N  # the response, weights, clusters; a copy of float32 is 20


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.float16, np.float32])
def test_narrow_numbers_are_widened_before_they_are_computed_with(frame, kind) -> None:
    rng = np.random.default_rng(0)
    columns = {"x": rng.integers(1, 100, 500).astype(kind), "z": rng.integers(1, 100, 500).astype(kind)}
    if frame == "polars" and kind is np.float16:
        pytest.skip("polars has none")
    columns |= {"y": rng.integers(0, 2, 500), "id": np.repeat(np.arange(100), 5)}
    request = Request(response("binomial"), cluster="id")
    found = prepare("y ~ x:z + I(x**3) + I(x / 7)", FRAMES[frame](columns), request)
    x, z = columns["x"].astype(float), columns["z"].astype(float)
    by_name = dict(zip(found.names, found.X.T, strict=True))
    np.testing.assert_array_equal(by_name["x:z"], x * z)
    np.testing.assert_array_equal(by_name["I(x ** 3)"], x**3)
    np.testing.assert_array_equal(by_name["I(x / 7)"], x / 7.0)
