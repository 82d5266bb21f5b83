"""Row groups that share no labels, as files state them."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clusterglm.data.blocks.order import apart, read_spans
from clusterglm.data.blocks.parquet import open_files

RNG = np.random.default_rng(0)
# row groups of labels: 3 and 4 overlap, and so do 0 and 6
GROUPS = [RNG.integers(low, high, 10, endpoint=True) for low, high in [(0, 9), (50, 59), (20, 29), (30, 39), (36, 44)]]
GROUPS += [np.full(10, 45), np.array([9, 0] * 5), RNG.integers(60, 69, 10)]
KINDS = {
    "int64": lambda k: pa.array(k - 35),
    "uint64": lambda k: pa.array(k.astype(np.uint64) + np.uint64(2**63 - 35)),
    "float": lambda k: pa.array(np.where(RNG.random(10) < 0.1, np.nan, k / 3.0)),
    "text": lambda k: pa.array([None if x == 33 else f"{x:02d}" for x in k]),
    "categorical": lambda k: pa.array([f"{x:02d}" for x in k]).dictionary_encode(),
    "date": lambda k: pa.array([datetime.date(2020, 1, 1) + datetime.timedelta(int(x)) for x in k]),
    "time": lambda k: pa.array([datetime.datetime(2020, 1, 1, int(x) % 24) + datetime.timedelta(int(x)) for x in k]),
}


@pytest.fixture(params=KINDS)
def files(request, tmp_path):
    tables = [pa.table({"x": np.arange(10), "id": KINDS[request.param](each)}) for each in GROUPS]
    schema = tables[0].schema
    for name, which in (("b", range(0, 5)), ("a", range(5, 8))):
        with pq.ParquetWriter(tmp_path / f"{name}.parquet", schema) as writer:
            for k in which:
                writer.write_table(tables[k])
    return open_files(tmp_path)


@pytest.mark.parametrize(("rows", "expected"), [(20, 5), (40, 3), (100, 1)])
def test_whole_clusters_in_few_tables(files, rows, expected) -> None:
    tables = [read_spans(spans, ["id", "x"]).to_pandas() for spans in apart(files, "id", rows)]
    assert len(tables) == expected
    assert max(map(len, tables)) <= rows
    assert sum(map(len, tables)) == 80
    labels = [set(each.id.dropna()) for each in tables]
    assert sum(map(len, labels)) == len(set().union(*labels))


def test_too_many_rows_share_labels(files) -> None:
    assert apart(files, "id", 19) is None


def test_types_whose_statistics_have_another_order(tmp_path) -> None:
    halves = np.array([1.0, -1.0, 256.0], np.float16)
    pq.write_table(pa.table({"id": halves}), tmp_path / "one.parquet")
    assert apart(open_files(tmp_path), "id", 100) is None
