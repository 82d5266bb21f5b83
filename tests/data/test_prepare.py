"""From any table to the same arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.errors import (
    ClusterError,
    DataError,
    DesignError,
    FormulaError,
    ResponseError,
)
from clusterglm.model.family import response

BINOMIAL, POISSON = response("binomial"), response("poisson")
FORMULA = "y ~ x*trt + offset(log(n))"


def frame(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "y": rng.integers(0, 2, n),
            "x": rng.normal(size=n),
            "trt": rng.choice(["a", "b", "c"], n),
            "n": rng.integers(1, 9, n),
            "id": rng.choice([f"c{i}" for i in range(12)], n),
            "w": rng.uniform(1.0, 2.0, n),
            "count": rng.poisson(2.0, n),
        }
    )


def build(data: Any, formula: str = FORMULA, cluster: Any = "id", family: Any = BINOMIAL, **options: Any) -> ModelData:
    return prepare(formula, data, Request(family, cluster=cluster, **options))


def assert_same(one: ModelData, two: ModelData) -> None:
    assert one.names == two.names
    for field in ("X", "a", "b", "offset", "weights", "trials", "starts", "cluster_weights"):
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field), err_msg=field)
    assert one.labels.tolist() == two.labels.tolist()
    assert (one.constant, one.saturated, one.dropped) == (two.constant, two.saturated, two.dropped)


def test_arrays_by_hand() -> None:
    data = frame()
    built = build(data, weights="w")
    order = np.argsort(data.id.to_numpy(), kind="stable")
    by_cluster = data.iloc[order]
    assert built.names == ("(Intercept)", "x", "trtb", "trtc", "x:trtb", "x:trtc")
    np.testing.assert_array_equal(built.row_index, order)
    np.testing.assert_array_equal(built.X[:, 1], by_cluster.x)
    np.testing.assert_array_equal(built.X[:, 4], by_cluster.x * (by_cluster.trt == "b"))
    np.testing.assert_array_equal(built.a, by_cluster.w * by_cluster.y)
    np.testing.assert_array_equal(built.b, by_cluster.w * (1 - by_cluster.y))
    np.testing.assert_allclose(built.offset, np.log(by_cluster.n))
    assert built.labels.tolist() == sorted(data.id.unique())
    np.testing.assert_array_equal(np.diff(built.starts), data.id.value_counts().sort_index())
    assert (built.n_obs, built.n_clusters, built.intercept) == (60, 12, 0)
    assert (built.constant, built.saturated) == (0.0, 0.0)
    assert built.X.flags.c_contiguous
    assert (built.starts.dtype, built.row_index.dtype) == (np.int64, np.int64)


TABLES: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "polars": lambda d, _: pl.from_pandas(d),
    "pyarrow": lambda d, _: pa.Table.from_pandas(d, preserve_index=False),
    "dict": lambda d, _: {name: d[name].to_numpy() for name in d},
    "dict of lists": lambda d, _: d.to_dict("list"),
    "objects": lambda d, _: d.astype({"trt": object, "id": object}),
    "nullable": lambda d, _: d.convert_dtypes(),
    "strange index": lambda d, _: d.set_index(pd.Index(np.arange(len(d))[::-1] * 7)),
    "csv": lambda d, folder: _written(d, folder / "t.csv"),
    "csv.gz": lambda d, folder: str(_written(d, folder / "t.csv.gz")),
    "parquet": lambda d, folder: _written(d, folder / "t.parquet"),
}


def _written(data: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        data.to_parquet(path)
    else:
        data.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("holes", [False, True])
def test_every_kind_of_table_gives_the_same(kind: str, holes: bool, tmp_path: Path) -> None:
    data = frame()
    if holes:
        data = data.astype({"y": float})
        data.loc[3, "y"] = data.loc[[4, 5], "x"] = data.loc[6, "w"] = np.nan
        data.loc[7, "trt"] = data.loc[8, "id"] = None
    expected = build(data, weights="w")
    assert_same(build(TABLES[kind](data, tmp_path), weights="w"), expected)
    assert sum(d.count for d in expected.dropped) == (6 if holes else 0)


def test_row_order_never_matters() -> None:
    data = frame()
    data.loc[4, "x"] = np.nan
    shuffled = data.sample(frac=1.0, random_state=2)
    one, two = build(data, "y ~ bs(x, df=4) + trt"), build(shuffled, "y ~ bs(x, df=4) + trt")
    np.testing.assert_array_equal(one.starts, two.starts)
    back = np.empty(len(two.a), dtype=int)
    position = {row: i for i, row in enumerate(one.row_index)}
    for i, row in enumerate(two.row_index):
        back[position[shuffled.index[row]]] = i
    np.testing.assert_allclose(two.X[back], one.X, atol=1e-14)
    np.testing.assert_array_equal(two.a[back], one.a)


def test_sorted_rows_are_left_in_place() -> None:
    data = frame().sort_values("id", ignore_index=True)
    np.testing.assert_array_equal(build(data).row_index, np.arange(60))


def test_each_dropped_row_counts_once_under_the_first_reason() -> None:
    data = frame().astype({"y": float, "n": float})
    data["keep"] = True
    data.loc[[0, 1], "keep"] = False
    data.loc[[1, 2], "y"] = np.nan
    data.loc[[2, 3], "x"] = np.nan
    data.loc[[3, 4], "trt"] = None
    data.loc[[4, 5], "id"] = None
    data.loc[[5, 6], "w"] = np.nan
    data.loc[[6, 7], "n"] = np.nan
    data.loc[[7, 8], "w"] = 0.0
    built = build(data, weights="w", subset="keep")
    assert [(d.reason, d.count) for d in built.dropped] == [
        ("outside subset", 2),
        ("missing response 'y'", 1),
        ("missing 'x'", 1),
        ("missing 'trt'", 1),
        ("missing cluster 'id'", 1),
        ("missing weight", 1),
        ("missing offset", 1),
        ("zero weight", 1),
    ]
    assert sorted(built.row_index) == list(range(9, 60))


def test_dropping_equals_leaving_out() -> None:
    data = frame()
    data.loc[[4, 9, 30], "x"] = np.nan
    one, two = build(data), build(data.dropna().reset_index(drop=True))
    np.testing.assert_array_equal(one.X, two.X)
    assert one.labels.tolist() == two.labels.tolist()
    np.testing.assert_array_equal(one.starts, two.starts)


def test_nothing_left() -> None:
    with pytest.raises(DataError, match=r"no row is left of 60 \(60: outside subset\)"):
        build(frame(), subset=np.zeros(60, dtype=bool))


def test_column_or_array() -> None:
    data = frame()
    by_name = build(data, "y ~ x", weights="w", offset="x")
    by_array = build(data, "y ~ x", data.id.to_list(), weights=data.w.to_numpy(), offset=pl.Series(data.x))
    assert_same(by_name, by_array)
    assert (by_name.cluster_name, by_array.cluster_name) == ("id", "cluster")
    assert_same(by_name, build(data, "y ~ x + (1 | id) + offset(x)", None, weights="w"))


def test_subset_drops_levels_clusters_and_responses_that_are_set_aside() -> None:
    data = frame()
    data["answer"] = np.where(data.trt == "c", "unknown", np.where(data.y == 1, "yes", "no"))
    built = build(data, "answer ~ trt", subset=data.trt != "c")
    assert built.names == ("(Intercept)", "trtb")
    assert built.notes == ("success is answer = 'yes', failure 'no', by their order; success='no' turns it round",)
    inside = data[data.trt != "c"]
    assert built.a.sum() == inside.y.sum()
    assert built.labels.tolist() == sorted(inside.id.unique())


def test_cbind(golden_frame: Callable[[str], pd.DataFrame]) -> None:
    data = golden_frame("cbpp_grouped")
    built = build(data, "cbind(incidence, size - incidence) ~ period", "herd")
    assert built.names == ("(Intercept)", "period2", "period3", "period4")
    assert built.a.sum() == data.incidence.sum()
    assert (built.a + built.b).sum() == data["size"].sum()
    np.testing.assert_array_equal(built.trials, built.a + built.b)
    with pytest.raises(FormulaError, match="poisson"):
        build(data, "cbind(incidence, size) ~ period", "herd", POISSON)


@pytest.mark.parametrize("name", ["bacteria", "cbpp_grouped", "epil"])
def test_golden_designs(name: str, golden_frame: Any, golden_arrays: Any, r_reference: Any) -> None:
    formula, cluster, family = {
        "bacteria": ("yy ~ trt + late", "ID", BINOMIAL),
        "cbpp_grouped": ("cbind(incidence, size - incidence) ~ period", "herd", BINOMIAL),
        "epil": ("y ~ lbase*trt + lage + V4", "subject", POISSON),
    }[name]
    built, expected = build(golden_frame(name), formula, cluster, family), golden_arrays(name)
    assert built.names == expected.names
    for got, wanted in zip((built.starts, built.X, built.a, built.b), expected.block, strict=False):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_allclose(built.constant, expected.constant)
    np.testing.assert_allclose(built.saturated, r_reference[name]["ll_sat"], atol=1e-8)


def test_rows_without_trials_are_dropped() -> None:
    data = frame().assign(s=1, f=1)
    data.loc[[3, 4], ["s", "f"]] = 0
    built = build(data, "cbind(s, f) ~ x")
    assert [(d.reason, d.count) for d in built.dropped] == [("no trials", 2)]


def test_response_from_an_expression() -> None:
    data = frame()
    built = build(data, "count > 2 ~ x")
    assert built.a.sum() == (data["count"] > 2).sum()


def test_cluster_weights_as_column_and_mapping() -> None:
    data = frame()
    weights = {label: i % 3 for i, label in enumerate(sorted(data.id.unique()))}
    data["cw"] = data.id.map(weights)
    one, two = build(data, "y ~ x", cluster_weights="cw"), build(data, "y ~ x", cluster_weights=weights)
    assert_same(one, two)
    assert one.cluster_weights.tolist() == [weights[label] for label in one.labels]
    assert 0.0 not in one.cluster_weights
    assert [d.reason for d in one.dropped] == ["zero weight"]
    with pytest.raises(ClusterError, match="'c3'"):
        build(data, "y ~ x", cluster_weights={k: v for k, v in weights.items() if k != "c3"})
    with pytest.raises(ClusterError, match="vary within"):
        build(data, "y ~ x", cluster_weights="w")


def test_constant_and_saturated_carry_weights() -> None:
    data = frame()
    heavy = dict.fromkeys(data.id.unique(), 2.0)
    plain = build(data, "count ~ x", family=POISSON)
    twice = build(data, "count ~ x", family=POISSON, cluster_weights=heavy)
    assert plain.constant < 0.0
    assert twice.constant == pytest.approx(2.0 * plain.constant)
    assert twice.saturated == pytest.approx(2.0 * plain.saturated)
    case = build(data.assign(w=2.0), "count ~ x", family=POISSON, weights="w")
    assert case.constant == pytest.approx(2.0 * plain.constant)


def test_without_clusters_all_rows_are_one_block() -> None:
    built = build(frame(), cluster=None, need_cluster=False)
    assert built.starts.tolist() == [0, 60]
    assert (built.labels.tolist(), built.cluster_name) == ([0], None)
    np.testing.assert_array_equal(built.row_index, np.arange(60))


@pytest.mark.parametrize(
    ("change", "options", "kind", "named"),
    [
        ({}, {"formula": "y ~ xx"}, FormulaError, "did you mean 'x'"),
        ({}, {"cluster": "idd"}, DataError, "did you mean 'id'"),
        ({}, {"cluster": None}, ClusterError, "no clusters"),
        ({}, {"formula": "y ~ x + (1 | trt)"}, ClusterError, r"\(1 \| trt\) in the formula and cluster='id'"),
        ({"y": 2}, {}, ResponseError, "'y'"),
        ({"y": 0.5}, {}, ResponseError, "'y'"),
        ({"y": 1}, {}, ResponseError, "only successes"),
        ({"count": -1}, {"formula": "count ~ x", "family": POISSON}, ResponseError, "'count'"),
        ({"count": 0}, {"formula": "count ~ x", "family": POISSON}, ResponseError, "every count is 0"),
        ({"id": "one"}, {}, ClusterError, "only one cluster"),
        ({"x": 4.0}, {}, DesignError, "'x' .always 4."),
        ({"x": np.inf}, {}, DesignError, "'x' .60 infinite"),
        ({"w": -1.0}, {"weights": "w"}, DataError, "'w' is -1 in row 0"),
        ({"w": np.inf}, {"weights": "w"}, DataError, "'w' is inf in row 0"),
        ({"w": "heavy"}, {"weights": "w"}, DataError, "'w'"),
        ({"n": 0}, {}, DataError, r"the offset offset\(log\(n\)\) is -inf in row 0 .60"),
        ({}, {"weights": [-1.0] * 60}, DataError, "weights= is -1 in row 0"),
        ({}, {"formula": "y ~ x", "offset": [np.inf] * 60}, DataError, "the offset is inf in row 0"),
        ({}, {"formula": "y ~ None"}, FormulaError, r"None as a term[\s\S]*`None`, in backticks, for a column"),
        ({}, {"formula": "y ~ x + 2"}, FormulaError, r"2 as a term[\s\S]*offset\(2\), or drop it"),
        ({}, {"weights": [1.0, 2.0]}, DataError, "2 elements for 60 rows"),
        ({}, {"weights": 3.0}, DataError, "weights= of type float"),
        ({"w": 1e200}, {"weights": "w"}, DataError, "zero or from 1e-100 to 1e.100"),
        ({"w": 1j}, {"weights": "w"}, DataError, "the weight 'w' of type"),
        ({}, {"weights": frame().w[::-1]}, DataError, "weights= with another index than the data"),
        ({}, {"cluster": frame().id.sort_values()}, DataError, "cluster= with another index than the data"),
        ({"y": float("nan")}, {}, DataError, "no row is left of 60 .60: missing response 'y'"),
        ({"id": None}, {}, DataError, "no row is left of 60 .60: missing cluster 'id'"),
        ({"x": None}, {}, DataError, "no row is left of 60 .60: missing 'x'"),
        ({}, {"formula": "y ~ x + y"}, FormulaError, "'y' on both sides"),
        ({}, {"formula": "y ~ x + I(3 * x)"}, DesignError, "'I.3 . x.' is a combination of 'x'"),
        ({"count": 2.0**60}, {"formula": "count ~ x", "family": POISSON}, ResponseError, r"below 1e\+09"),
        ({}, {"subset": "x"}, DataError, "true or false"),
        ({}, {"cluster": None, "need_cluster": False, "cluster_weights": "w"}, ClusterError, "without clusters"),
    ],
)
def test_bad_input(change: dict[str, Any], options: dict[str, Any], kind: type[Exception], named: str) -> None:
    with pytest.raises(kind, match=named):
        build(frame().assign(**change), **options)


def test_one_response_per_cluster() -> None:
    data = frame().assign(id=range(60))
    with pytest.raises(ClusterError, match="none with more than one binary response"):
        build(data)
    assert build(data, sigma_known=True).n_clusters == 60
    assert build(data, need_cluster=False).n_clusters == 60


def test_undefined_transforms_are_named() -> None:
    with pytest.raises(DesignError, match=r"'log\(x\)' \(\d+ NaN\)"):
        build(frame(), "y ~ log(x)")


def test_the_users_table_is_untouched() -> None:
    data = frame()
    before = data.copy(deep=True)
    built = build(data, "y ~ x", weights="w", offset="x")
    built.X[:], built.offset[:], built.weights[:], built.a[:], built.b[:] = 0.0, 0.0, 0.0, 0.0, 0.0
    pd.testing.assert_frame_equal(data, before)


def test_offset_argument_in_new_data() -> None:
    import narwhals.stable.v2 as nw

    data = frame()
    table = nw.from_native(data, eager_only=True)
    np.testing.assert_allclose(build(data, offset="x").design.offset(table), np.log(data.n) + data.x)
    with pytest.raises(DataError, match="offset= or exposure= was an array"):
        build(data, offset=data.x.to_numpy()).design.offset(table)


def test_empty_data() -> None:
    with pytest.raises(DataError, match="data without rows"):
        build(frame().iloc[:0])


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([True, False, None] * 20, dtype="boolean"),
        pd.Series([True, False, None] * 20, dtype=object),
        pl.Series([True, False, None] * 20),
        [True, False, None] * 20,
        np.array([True, False, False] * 20),
    ],
)
def test_subset_of_any_type(values: Any) -> None:
    built = build(frame(), subset=values)
    assert sorted(built.row_index) == list(range(0, 60, 3))
    assert [(d.reason, d.count) for d in built.dropped] == [("outside subset", 40)]


def test_a_fault_outside_the_first_rows_of_a_subset_is_named_by_its_row_in_the_table() -> None:
    data = frame()
    data.loc[41, "y"] = 2
    with pytest.raises(ResponseError, match="'y' is 2 in row 41"):
        build(data, subset=np.arange(60) > 29)


def test_missing_ids_are_not_a_cluster() -> None:
    data = frame().assign(id=np.repeat([1.0, 2.0, np.nan, 4.0], 15))
    built = build(data)
    assert built.labels.tolist() == [1.0, 2.0, 4.0]
    assert [(d.reason, d.count) for d in built.dropped] == [("missing cluster 'id'", 15)]


def test_a_file_gives_dates_and_numbers_as_clusters(tmp_path: Path) -> None:
    data = frame().assign(day=pd.date_range("2020-01-01", periods=6).repeat(10).strftime("%Y-%m-%d"))
    built = build(_written(data, tmp_path / "t.csv"), cluster="day")
    assert built.n_clusters == 6
    assert str(built.labels[0]).startswith("2020-01-01")


def test_memory() -> None:
    """At most three times the design matrix, rows shuffled or not."""
    import tracemalloc

    n = 60_000
    rng = np.random.default_rng(1)
    data = pd.DataFrame({f"x{k}": rng.normal(size=n) for k in range(5)}).assign(y=rng.integers(0, 2, n))
    for ids in (np.repeat(np.arange(n // 5), 5), rng.integers(0, n // 5, n)):
        data["id"] = ids
        build(data.iloc[:1000], "y ~ x0 + x1 + x2 + x3 + x4")  # imports are not counted
        tracemalloc.start()
        built = build(data, "y ~ x0 + x1 + x2 + x3 + x4")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3.0 * built.X.nbytes
