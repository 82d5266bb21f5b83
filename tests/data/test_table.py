"""Reading tables: every accepted kind, and a clear error for everything else."""

from __future__ import annotations

import datetime
import decimal
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from clusterglm.data.tables.table import as_series, column, float_array, numeric, read_table, to_pandas_columns
from clusterglm.errors import ClusterGLMError, DataError

COLUMNS: dict[str, list[Any]] = {"x": [1.5, None, 3.0], "k": [1, 2, 3], "s": ["b", None, "a"], "t": [True, None, False]}


@pytest.mark.parametrize(
    "data",
    [COLUMNS, pd.DataFrame(COLUMNS), pl.DataFrame(COLUMNS), pa.table(COLUMNS), read_table(pl.DataFrame(COLUMNS))],
    ids=["dict", "pandas", "polars", "pyarrow", "narwhals"],
)
def test_frames_in_memory(data: Any) -> None:
    table = read_table(data)
    assert table.columns == ["x", "k", "s", "t"]
    assert table.get_column("s").to_list()[::2] == ["b", "a"]
    np.testing.assert_array_equal(float_array(table.get_column("x")), [1.5, np.nan, 3.0])
    truth = numeric(table.get_column("t"))
    assert truth is not None
    np.testing.assert_array_equal(truth, [1.0, np.nan, 0.0])


def test_a_frame_is_not_copied() -> None:
    data = pd.DataFrame({"x": np.arange(5.0)})
    assert read_table(data).to_native() is data
    assert np.shares_memory(float_array(read_table(data).get_column("x")), data["x"].to_numpy())


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".CSV"])
@pytest.mark.parametrize("as_text", [False, True])
def test_files(suffix: str, as_text: bool, tmp_path: Path) -> None:
    path = tmp_path / f"table{suffix}"
    data = pd.DataFrame({"y": [0, 1, 1], "x": [0.5, np.nan, 2.0], "s": ["u", None, "NA?"]})
    if suffix == ".parquet":
        data.to_parquet(path)
    else:
        text = data.to_csv(index=False)
        path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    table = read_table(str(path) if as_text else path)
    assert table.get_column("y").to_list() == [0, 1, 1]
    assert table.get_column("s").to_list() == ["u", None, "NA?"]
    assert np.isnan(float_array(table.get_column("x"))).tolist() == [False, True, False]


def test_a_csv_column_that_turns_fractional_late(tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    n = 400_000
    path.write_text("x\n" + "1\n" * n + "0.5\n")
    values = float_array(read_table(path).get_column("x"))
    assert (len(values), values[-1]) == (n + 1, 0.5)


def _file(folder: Path, name: str, content: bytes = b"") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda d: d / "bacterai.csv", r"does not exist[\s\S]*did you mean 'bacteria.csv'"),
        (lambda d: d / "nowhere" / "a.csv", r"does not exist[\s\S]*no folder"),
        (lambda d: d, "the folder"),
        (lambda d: _file(d, "a.xlsx"), r"\.csv, \.csv\.gz, \.parquet"),
        (lambda d: _file(d, "a.csv"), "cannot be read as CSV"),
        (lambda d: _file(d, "a.csv", b"a,b\n1\n2,3,4\n"), "cannot be read as CSV"),
        (lambda d: _file(d, "a.csv", b"a,a\n1,2\n"), "two columns named 'a'"),
        (lambda d: _file(d, "a.csv.gz", b"a,b\n1,2\n"), "cannot be read as CSV"),
        (lambda d: _file(d, "a.csv", "s\n\x93M\xfcnchen\x94\n".encode("latin-1")), "which encoding is in doubt"),
        (lambda d: _file(d, "a.parquet", b"PAR1 not really"), "cannot be read as Parquet"),
    ],
)
def test_bad_files(make: Any, said: str, tmp_path: Path) -> None:
    _file(tmp_path, "bacteria.csv", b"y\n1\n")
    with pytest.raises(DataError, match=said):
        read_table(make(tmp_path))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "NoneType"),
        (3, "type int"),
        ([1, 2], "type list"),
        (np.zeros((2, 2)), "numpy.ndarray"),
        (pd.Series([1.0]), "pandas.Series"),
        (pl.LazyFrame({"a": [1]}), "lazy"),
        (pd.DataFrame(), "without columns"),
        ({}, "without columns"),
        ({"a": [1, 2], "b": [1]}, "different lengths: 'a' has 2, 'b' has 1"),
        ({"a": 3}, "column 'a' of type int"),
        ({"a": np.zeros((2, 2))}, r"column 'a' of type numpy.ndarray and shape \(2, 2\)"),
        ({1: [1]}, "a column named 1"),
        ({"a": pd.Series([1, 2]), "b": pd.Series([3, 4], index=[1, 0])}, "'b' with another index"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns named 'a'"),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])), "several levels"),
        (pd.DataFrame([[1, 2]]), "not strings: 0, 1"),
    ],
)
def test_what_is_no_table(data: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_table(data)
    assert all((caught.value.got, caught.value.needed, caught.value.advice))


def test_unknown_columns() -> None:
    table = read_table(pd.DataFrame({"weight": [1.0], "x": [2.0]}).set_index("x"))
    with pytest.raises(DataError, match=r"weights='wieght', which is not a column[\s\S]*did you mean 'weight'"):
        column(table, "wieght", "weights=")
    with pytest.raises(DataError, match="index of the data frame"):
        column(table, "x", "covariate")
    with pytest.raises(DataError, match="cluster=7"):
        column(table, 7, "cluster=")  # type: ignore[arg-type]


def test_plain_pandas_columns() -> None:
    day = datetime.date(2020, 1, 2)
    table = read_table(
        pa.table(
            {
                "money": [decimal.Decimal("1.5"), None],
                "day": [day, day],
                "s": ["a", "b"],
                "flag": [True, None],
                "int": pa.array([1, None]),
            }
        )
    )
    frame = to_pandas_columns(table, ["money", "day", "s", "flag", "int", "s"])
    assert frame.columns.tolist() == ["money", "day", "s", "flag", "int"]
    np.testing.assert_array_equal(frame["money"], [1.5, np.nan])
    np.testing.assert_array_equal(frame["int"], [1.0, np.nan])
    assert frame["day"].tolist() == [pd.Timestamp(day)] * 2
    assert frame["flag"].tolist() == [True, None]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, None, 0], dtype="boolean"),
        pd.Series([1, None, 0], dtype="Int64"),
        pd.Series([1, None, 0], dtype="Float64"),
        pd.Series([1, None, 0], dtype=pd.ArrowDtype(pa.int8())),
        pd.Series([True, None, False], dtype=object),
        pd.Series([decimal.Decimal(1), None, decimal.Decimal(0)], dtype=object),
        pd.Series(pd.arrays.SparseArray([1.0, np.nan, 0.0])),
        pd.Series(np.array([1, np.nan, 0], dtype=np.longdouble)),
        pl.Series([1, None, 0], dtype=pl.UInt8),
        pl.Series([1.0, float("nan"), 0.0]),
        pl.Series([decimal.Decimal(1), None, decimal.Decimal(0)]),
        pa.array([True, None, False]),
        pa.chunked_array([[1], [None, 0]]),
        [1, None, 0],
        np.array([1.0, np.nan, 0.0], dtype=np.float16),
    ],
    ids=lambda v: f"{type(v).__module__.split('.')[0]}-{getattr(v, 'dtype', getattr(v, 'type', 'list'))}",
)
def test_numbers_of_every_type(values: Any) -> None:
    found = numeric(as_series(values, "x"))
    assert found is not None
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [1.0, np.nan, 0.0])


@pytest.mark.parametrize(
    "values", [["a", "b"], pd.Categorical(["a"]), pd.date_range("2020", periods=2), [1j, 2j], [1, "a"], [[1], [2]]]
)
def test_what_is_not_numeric(values: Any) -> None:
    assert numeric(as_series(values, "x")) is None


@pytest.mark.parametrize("values", ["text", 3.0, {"a": 1}, np.zeros((2, 3)), iter([1])])
def test_what_is_no_column(values: Any) -> None:
    with pytest.raises(ClusterGLMError, match="weights= of type"):
        as_series(values, "weights=")
