"""Rows in parts by cluster: none lost, none twice, every cluster in one part, in the order of the data."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clusterglm.data.blocks.parquet import open_files
from clusterglm.data.blocks.regroup import Parts, hashed

DAY = datetime.date(2020, 1, 1)


def _files(folder, labels, extra=None) -> pa.Table:
    """Three files, of row groups of 70 rows."""
    n = len(labels)
    table = pa.table({"id": labels, "row": pa.array(np.arange(n)), **(extra or {})})
    for k in range(3):
        first, end = k * n // 3, (k + 1) * n // 3
        pq.write_table(table.slice(first, end - first), folder / f"{k}.parquet", row_group_size=70)
    return table


def _parts(folder, names, parts=5, rows=100, threads=1) -> list[pa.Table]:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    made = Parts([scratch / str(k) for k in range(parts)])
    told = list(made.fill(open_files(folder / "*.parquet"), names, "id", rows, threads))
    assert told == sorted(told)
    tasks = [*made.reads()]
    assert sorted(path for path, _ in tasks) == sorted(scratch.iterdir())
    found = [read() for _, read in tasks]
    for path, _ in tasks:
        path.unlink()
    assert sum(map(len, found)) == told[-1]
    return found


NUMBERS = np.random.default_rng(0).integers(0, 150, 1000)
LABELS = {
    "empty": pa.array([""] * 1000),
    "int64": pa.array(NUMBERS - 70),
    "uint8": pa.array(NUMBERS.astype(np.uint8)),
    "float": pa.array(NUMBERS / 7.0),
    "bool": pa.array(NUMBERS > 75),
    "string": pa.array([f"cluster {k}" if k else "" for k in NUMBERS]),
    "categorical": pa.array([f"c{k}" for k in NUMBERS]).dictionary_encode(),
    "date": pa.array([DAY + datetime.timedelta(int(k)) for k in NUMBERS]),
    "time": pa.array([datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=int(k)) for k in NUMBERS]),
    "decimal": pa.array([Decimal(int(k)) / 4 for k in NUMBERS]),
    "missing": pa.array([None if k < 40 else int(k) for k in NUMBERS]),
    "not a number": pa.array(np.where(NUMBERS < 40, np.nan, NUMBERS)),
}


@pytest.mark.parametrize("kind", LABELS)
def test_every_row_once_and_clusters_whole(tmp_path, kind) -> None:
    extra = {
        "text": pa.array([None if k % 7 == 0 else "x" * (k % 11) for k in range(1000)]),
        "flag": pa.array([None if k % 5 == 0 else k % 2 == 0 for k in range(1000)]),
        "small": pa.array(np.arange(1000).astype(np.float32)),
    }
    whole = _files(tmp_path, LABELS[kind], extra).to_pandas()
    found = [part.to_pandas() for part in _parts(tmp_path, whole.columns)]
    for part in found:
        assert part.row.is_monotonic_increasing
        assert part.small.dtype == np.float32
    everything = pd.concat(found).sort_values("row").reset_index(drop=True)
    pd.testing.assert_frame_equal(everything, whole, check_dtype=False, check_categorical=False)
    labels = pd.concat([part.id.drop_duplicates().dropna() for part in found])
    assert not labels.duplicated().any()
    if whole.id.nunique() > 2:
        assert max(len(part) for part in found) < 400


def test_rows_without_a_cluster_go_to_all_parts(tmp_path) -> None:
    _files(tmp_path, pa.array([None] * 999, pa.int64()))
    assert [len(part) for part in _parts(tmp_path, ["id", "row"])] == pytest.approx([200] * 5, abs=20)


@pytest.mark.parametrize("rows", [10, 100, 10_000])
def test_the_same_parts_by_any_number_of_threads(tmp_path, rows) -> None:
    _files(tmp_path, LABELS["int64"])
    one, four = (_parts(tmp_path, ["id", "row"], rows=rows, threads=k) for k in (1, 4))
    for a, b in zip(one, four, strict=True):
        assert a.equals(b)


def test_whole_numbers_of_any_size(tmp_path) -> None:
    edges = [0, -1, 127, -128, 128, -129, 32767, -32769, 2**31 - 1, 2**31, -(2**63), 2**63 - 1, None]
    rng = np.random.default_rng(1)
    extra = {
        "big": pa.array([edges[k] for k in rng.integers(0, len(edges), 1000)], pa.int64()),
        "grows": pa.array(2.0 ** (np.arange(1000) / 16.5)).cast(pa.int64(), safe=False),
        "unsigned": pa.array(rng.integers(0, 2**64, 1000, dtype=np.uint64)),
        "none": pa.array([None] * 1000, pa.int16()),
    }
    whole = _files(tmp_path, LABELS["int64"], extra)
    for part in _parts(tmp_path, whole.column_names, rows=50):
        assert part.schema == whole.schema
        assert part.equals(whole.take(part["row"]))


def test_only_the_columns_that_are_named(tmp_path) -> None:
    _files(tmp_path, LABELS["int64"], {"other": pa.array(np.zeros(1000))})
    assert _parts(tmp_path, ["id", "row"])[0].column_names == ["id", "row"]


def test_files_without_rows(tmp_path) -> None:
    _files(tmp_path, LABELS["int64"])
    pq.write_table(pq.read_table(tmp_path / "0.parquet")[:0], tmp_path / "nothing.parquet")
    assert sum(map(len, _parts(tmp_path, ["id", "row"]))) == 1000


def test_equal_labels_meet_whatever_their_type() -> None:
    whole = hashed(pa.chunked_array([pa.array([1, 2, 3])]))
    broken = hashed(pa.chunked_array([pa.array([1.0, 2.0, None, -0.0])]))
    assert list(whole[:2]) == list(broken[:2])
    assert len(set(whole)) == 3
    assert broken[3] == hashed(pa.chunked_array([pa.array([0])]))[0]


@pytest.mark.parametrize("others", [[], [""], ["x" * 1000], ["né" * 33, None]])
def test_texts_meet_whatever_texts_they_are_with(others) -> None:
    labels = ["b", "a", "", "a much longer label: " + "z" * 100, "Grüße", None]
    labels += [f"{k:08d}-{m}" for k in range(30) for m in range(30)]
    alone = hashed(pa.chunked_array([pa.array(labels, pa.string())]))
    beside = hashed(pa.chunked_array([pa.array([*labels, *others], pa.large_string())]))
    assert alone.tolist() == beside[: len(labels)].tolist()
    assert len(set(alone.tolist())) == len(labels) - 1  # None is as "" is
    assert np.bincount((alone % np.uint64(10)).astype(int)).min() > 60
