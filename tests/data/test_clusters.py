"""Cluster labels of any type: the same clusters, in sorted order, missing ones apart."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clusterglm as cg
from clusterglm.data.clusters import encode, gather, group
from clusterglm.errors import ClusterError

DAYS = [datetime.date(2021, 3, d) for d in (9, 1, 4)]
TIMES = [datetime.datetime(2021, 3, d, 12) for d in (9, 1, 4)]
IDS = sorted(uuid.UUID(int=i) for i in (5, 6, 7))
# position in each list: 0 is the largest label, 1 the smallest, 2 the middle one
LABELS: dict[str, list[Any]] = {
    "strings": ["zeta", "Alpha", "beta"],
    "unicode": ["ü", "a", "é"],
    "integers": [30, -7, 2],
    "wide integers": [2**62, -(2**62), 0],
    "integers beyond 64 bits": [10**30, -(10**30), 0],
    "floats": [2.5, -1.0, 0.0],
    "dates": DAYS,
    "times": TIMES,
    "durations": [datetime.timedelta(d) for d in (9, 1, 4)],
    "decimals": [decimal.Decimal(x) for x in ("2.5", "-1", "0")],
    "tuples": [("b", 1), ("a", 1), ("a", 2)],
    "uuids": [IDS[2], IDS[0], IDS[1]],
    "bytes": [b"c", b"a", b"b"],
}
PATTERN = [0, 1, 2, 2, 0, 1, 1, 0]
EXPECTED = [2, 0, 1, 1, 2, 0, 0, 2]


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("missing", [False, True])
def test_codes_follow_the_order_of_labels(kind: str, missing: bool) -> None:
    values = np.empty(len(PATTERN), dtype=object)
    values[:] = [LABELS[kind][i] for i in PATTERN]
    expected = np.array(EXPECTED)
    if missing:
        values[[1, 4]], expected[[1, 4]] = None, -1
    for given_values in (values, pd.Series(values, dtype=object), list(values)):
        found = encode(given_values)
        assert found.codes.tolist() == expected.tolist()
        assert found.codes.dtype == np.int64
        assert len(found.labels) == 3


INTS, FLOATS, STRINGS = [3, 1, None, 1, 3], [3.5, 1.0, None, 1.0, 3.5], ["b", "a", None, "a", "b"]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(STRINGS),
        pd.Series(STRINGS, dtype=object),
        pd.Series(STRINGS, dtype="string"),
        pd.Series(STRINGS, dtype="string[pyarrow]"),
        pd.Series(STRINGS, dtype=pd.ArrowDtype(pa.string())),
        pd.Series(STRINGS, dtype="category"),
        pl.Series(STRINGS),
        pl.Series(STRINGS, dtype=pl.Categorical),
        pl.Series(STRINGS, dtype=pl.Enum(["a", "b", "unused"])),
        pa.chunked_array([STRINGS[:2], STRINGS[2:]]),
        pa.DictionaryArray.from_arrays(pa.array([1, 0, None, 0, 1]), pa.array(["a", "b", "unused"])),
        pd.Series(INTS),
        pd.Series(INTS, dtype="Int64"),
        pd.Series(INTS, dtype=pd.ArrowDtype(pa.int32())),
        pl.Series(INTS, dtype=pl.UInt16),
        pa.array(INTS),
        pd.Series(FLOATS),
        pd.Series(FLOATS, dtype="Float64"),
        pl.Series([3.5, 1.0, float("nan"), 1.0, 3.5]),
        np.array([3.5, 1.0, np.nan, 1.0, 3.5]),
        pd.Series([True, False, None, False, True], dtype="boolean"),
        pl.Series([True, False, None, False, True]),
        pd.Series(pd.to_datetime(["2020-02-01", "2020-01-01", None, "2020-01-01", "2020-02-01"])),
        pd.Series(pd.to_datetime(["2020-02-01", "2020-01-01", None, "2020-01-01", "2020-02-01"], utc=True)),
        pl.Series([DAYS[0], DAYS[1], None, DAYS[1], DAYS[0]]),
    ],
    ids=lambda v: f"{type(v).__module__.split('.')[0]}-{getattr(v, 'dtype', getattr(v, 'type', ''))}",
)
def test_column_types_with_a_missing_label(values: Any) -> None:
    found = encode(values)
    assert found.codes.tolist() == [1, 0, -1, 0, 1]
    assert len(found.labels) == 2
    assert not pd.isna(found.labels).any()


def test_categories_keep_their_order_and_lose_unused_ones() -> None:
    values = pd.Categorical(["low", "high", "low"], categories=["low", "never", "high"], ordered=True)
    found = encode(values)
    assert found.labels.tolist() == ["low", "high"]
    assert found.codes.tolist() == [0, 1, 0]


def test_labels_keep_their_type() -> None:
    assert encode(np.array([7, 5], dtype=np.int8)).labels.dtype == np.int8
    assert encode(np.array([127, -128, 0], dtype=np.int8)).labels.tolist() == [-128, 0, 127]
    assert encode(np.array([2**64 - 1, 3], dtype=np.uint64)).labels.tolist() == [3, 2**64 - 1]
    assert encode(pl.Series(DAYS)).labels.dtype == np.dtype("datetime64[D]")
    assert encode([True, False]).labels.dtype == bool
    assert encode(["10", "9"]).labels.tolist() == ["10", "9"]


def test_zero_has_no_sign_and_one_cluster() -> None:
    assert len(encode(np.array([0.0, -0.0, 1.0])).labels) == 2


def test_nothing_present() -> None:
    for values in ([None, None], np.array([np.nan, np.nan]), pl.Series([None, None]), []):
        found = encode(values)
        assert set(found.codes.tolist()) <= {-1}
        assert len(found.labels) == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, "a", 2.0], "different types: float, int, str"),
        ([True, "a"], "different types: bool, str"),
        ([1j, 2j], "cannot be sorted"),
        (pl.Series([[1], [2]]), "join the parts"),
        (np.array([1.0, np.inf]), "infinite"),
        (np.zeros((2, 2)), r"shape \(2, 2\)"),
        ("id", "one value per row"),
    ],
)
def test_refused_labels(values: Any, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        encode(values)


def test_sorted_rows_are_recognised() -> None:
    found = group(np.array([0, 0, 1, 3, 3, 3]), 4)
    assert found.order is None
    assert found.starts.tolist() == [0, 2, 3, 3, 6]


@pytest.mark.parametrize("clusters", [3, 2**16, 2**16 + 1, 200_000])
def test_grouping_is_a_stable_sort(clusters: int) -> None:
    codes = np.random.default_rng(clusters).integers(0, clusters, 5000)
    codes[:2] = clusters - 1, 0
    found = group(codes, clusters)
    assert found.order is not None
    np.testing.assert_array_equal(found.order, np.argsort(codes, kind="stable"))
    np.testing.assert_array_equal(np.diff(found.starts), np.bincount(codes, minlength=clusters))


LABEL_LISTS = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1),
    st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=1),
    st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=3)), min_size=1),
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32)), min_size=1),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=1),
    st.lists(st.one_of(st.none(), st.dates(datetime.date(1700, 1, 1), datetime.date(2200, 1, 1))), min_size=1),
)


@given(LABEL_LISTS, st.randoms(use_true_random=False))
def test_codes_do_not_depend_on_the_order_of_rows(labels: list[Any], random: Any) -> None:
    values = np.empty(len(labels), dtype=object)
    values[:] = labels
    permutation = list(range(len(labels)))
    random.shuffle(permutation)
    one, two = encode(values), encode(values[permutation])
    assert two.codes.tolist() == one.codes[permutation].tolist()
    assert two.labels.tolist() == one.labels.tolist()


@given(LABEL_LISTS)
def test_labels_are_sorted_distinct_and_tell_rows_apart(labels: list[Any]) -> None:
    values = np.empty(len(labels), dtype=object)
    values[:] = labels
    found = encode(values)
    assert np.all(found.labels[1:] > found.labels[:-1])
    for code, label in zip(found.codes, labels, strict=True):
        assert (code == -1) == (label is None)
    present = [(label, code) for label, code in zip(labels, found.codes.tolist(), strict=True) if label is not None]
    assert len(set(present)) == len({label for label, _ in present}) == len(found.labels)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_groups_hold_their_rows(codes: list[int]) -> None:
    array = np.array(codes, dtype=np.int64)
    found = group(array, 10)
    order = np.arange(len(array)) if found.order is None else found.order
    assert sorted(order.tolist()) == list(range(len(array)))
    for k in range(10):
        block = order[found.starts[k] : found.starts[k + 1]]
        assert (array[block] == k).all()
        assert (np.diff(block) > 0).all()


@given(
    st.lists(st.integers(-5, 9), min_size=1, max_size=60),
    st.sampled_from(["int8", "int64", "float64", "str"]),
    st.booleans(),
)
def test_gathering_is_encoding_and_grouping(labels: list[int], kind: str, in_order: bool) -> None:
    array = np.array(sorted(labels) if in_order else labels, dtype=kind)
    values = pd.Series(array.astype(object) if kind == "str" else array)
    coded = encode(values)
    expected = group(coded.codes, len(coded.labels))
    labels_found, found = gather(values)
    assert (labels_found.dtype, labels_found.tolist()) == (coded.labels.dtype, coded.labels.tolist())
    assert (found.order is None) == (expected.order is None)
    if found.order is not None:
        np.testing.assert_array_equal(found.order, expected.order)
    assert found.starts.dtype == np.int64
    np.testing.assert_array_equal(found.starts, expected.starts)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("rows", [1, 2, 3000])
@pytest.mark.parametrize("span", ["narrow", "widest"])
def test_gathered_as_encoded_and_grouped(kind, rows, span) -> None:
    limits = np.iinfo(kind)
    low, high = (limits.min, limits.max) if span == "widest" else (limits.max - 60, limits.max)
    ids = np.random.default_rng(rows).integers(low, high, rows, dtype=kind, endpoint=True)
    ids[0], ids[-1] = high, low
    labels, found = gather(ids)
    coded = encode(ids)
    expected = group(coded.codes, len(coded.labels))
    np.testing.assert_array_equal(labels, coded.labels)
    assert labels.dtype == kind
    np.testing.assert_array_equal(found.starts, expected.starts)
    assert (found.order is None) == (expected.order is None)
    if found.order is not None:
        np.testing.assert_array_equal(found.order, expected.order)


def crossover() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    d = pd.DataFrame({"year": np.repeat([2001, 2002, 2003], 28), "dow": np.tile(np.arange(7), 12)})
    d["x"] = rng.normal(size=84)
    d["y"] = rng.poisson(np.exp(1.0 + 0.3 * d.x + 0.1 * d.dow))
    return d.assign(stratum=d.year.astype(str) + ":" + d.dow.astype(str))


@pytest.mark.parametrize(
    ("formula", "cluster"),
    [("y ~ x", ["year", "dow"]), ("y ~ x", ("year", "dow")), ("y ~ x", "year:dow"), ("y ~ x + (1 | year:dow)", None)],
)
def test_clusters_by_several_columns(formula: str, cluster: Any, tmp_path: Any) -> None:
    """Time-stratified case-crossover: strata are combinations."""
    d = crossover()
    fit = cg.conditional(formula, d, cluster=cluster, family="poisson")
    expected = cg.conditional("y ~ x", d, cluster="stratum", family="poisson")
    assert fit.data.cluster_name == "year:dow"
    assert fit.n_clusters == 21
    assert fit.data.labels.tolist() == expected.data.labels.tolist()
    pd.testing.assert_frame_equal(fit.tidy(), expected.tidy())
    one, other = (cg.random_effects("y ~ x", d, cluster=each, family="poisson") for each in ("year:dow", "stratum"))
    one.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json").predict(d.head(9), kind="conditional")
    pd.testing.assert_series_equal(again, other.predict(d.head(9), kind="conditional"))
    seen = d.tail(20).assign(year=2009)
    known = one.predict(seen, kind="conditional", history=seen)
    assert known.to_numpy() == pytest.approx(
        other.predict(
            seen.assign(stratum=seen.dow), kind="conditional", history=seen.assign(stratum=seen.dow)
        ).to_numpy()
    )
    within = cg.random_effects("y ~ within(x) + between(x)", d, cluster=["year", "dow"], family="poisson")
    assert np.isfinite(within.predict(d.head(3))).all()


def test_rows_whose_part_of_a_cluster_is_missing() -> None:
    d = crossover().astype({"dow": float})
    d.loc[[0, 5], "dow"] = np.nan
    d.loc[11, "year"] = 2007
    fit = cg.conditional("y ~ x", d, cluster=["year", "dow"], family="poisson")
    assert [(each.reason, each.count) for each in fit.data.dropped] == [("missing cluster 'year:dow'", 2)]
    assert "2007:4" in fit.data.labels.tolist()
    assert fit.n_clusters == 22


def test_several_columns_of_files_are_refused(tmp_path: Any) -> None:
    crossover().to_parquet(tmp_path / "one.parquet")
    engine = cg.engine.Stream(folder=tmp_path)
    with pytest.raises(ClusterError, match="clusters by several columns, year:dow"):
        cg.conditional("y ~ x + (1 | year:dow)", tmp_path / "one.parquet", family="poisson", engine=engine)


def test_combinations_of_columns_are_what_they_are() -> None:
    """Whatever colons labels have, and whether a whole number is kept as an integer or not."""
    rng = np.random.default_rng(0)
    d = pd.DataFrame({"a": np.repeat(["x:y", "x", "'p"], 20), "b": np.repeat(["z", "y:z", "q"], 20)})
    d["y"] = rng.integers(0, 2, 60)
    assert cg.random_effects("y ~ 1", d, cluster=["a", "b"]).n_clusters == 3
    e = pd.DataFrame({"a": np.repeat([1, 2, 3], 20), "b": "k", "y": d.y})
    fit = cg.random_effects("y ~ 1", e, cluster=["a", "b"])
    found = fit.predict(pd.DataFrame({"a": [1.0, np.nan], "b": ["k", "k"]}), "conditional", level=0.9)
    assert found.status.to_list() == ["ok", "missing value in 'a:b'"]


def test_probabilities_within_sets_of_several_columns() -> None:
    """Combinations of two columns give the probabilities of one column that says as much."""
    rng = np.random.default_rng(1)
    sets = np.tile(np.repeat(np.arange(10), 3), 2)
    d = pd.DataFrame({"a": np.repeat([1, 2], 30), "b": sets, "x": rng.normal(size=60)})
    d["y"] = np.concatenate([np.eye(3)[k] for k in rng.integers(0, 3, 20)])
    d["set"] = d.a * 100 + d.b
    fits = [cg.conditional("y ~ x", d, cluster=each) for each in (["a", "b"], "set")]
    one, other = (fit.predict(d.sample(frac=1.0, random_state=2), scale="probability") for fit in fits)
    np.testing.assert_allclose(one, other, rtol=1e-9)
