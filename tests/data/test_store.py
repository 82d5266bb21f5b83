"""Blocks on disk: read back as they were written, in fewer bytes where fewer hold them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clusterglm.data.arrays import from_arrays
from clusterglm.data.blocks.store import Space, page_aligned, store
from clusterglm.model.family import response


def _data(n, X=None, y=None):
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, 3)) if X is None else X
    y = rng.integers(0, 2, n) if y is None else y
    return from_arrays(y, X, np.array([n - n // 3, n // 3]), response("poisson"))


def _same(data, path, bytes_a_number) -> None:
    block = store(data, path)
    X, arrays = block.read(Space([block]))
    np.testing.assert_array_equal(X, data.X)
    for name in ("a", "b", "offset", "cluster_weights", "starts"):
        found = getattr(arrays, name)
        np.testing.assert_array_equal(found, getattr(data, name))
        assert found.dtype == getattr(data, name).dtype
    assert path.stat().st_size == block.length
    assert block.kinds["X"].itemsize == bytes_a_number


@pytest.mark.parametrize("n", [5, 1001])
@pytest.mark.parametrize(("kind", "size"), [("dummies", 1), ("float32", 4), ("float64", 8), ("a single number", 8)])
def test_read_back(tmp_path, n, kind, size) -> None:
    X = np.random.default_rng(0).normal(size=(n, 3))
    if kind == "dummies":
        X = (X > 0.0).astype(float)
    elif kind != "float64":
        X = X.astype(np.float32).astype(float)
    if kind == "a single number":
        X[-1, -1] += 1e-12
    _same(_data(n, X), tmp_path / "block", size)


@pytest.mark.parametrize("value", [-1.0, 0.5, 255.0, 256.0, 1e9 - 1.0, 1e300, np.nan, np.inf])
def test_counts_and_weights_of_any_size(tmp_path, value) -> None:
    data = _data(1001)
    a, b, weights = data.a.copy(), data.b.copy(), data.cluster_weights.copy()
    a[-1] = b[5] = weights[0] = value
    _same(replace(data, a=a, b=b, offset=a / 3.0, cluster_weights=weights), tmp_path / "block", 8)


def test_over_a_longer_file(tmp_path) -> None:
    (tmp_path / "block").write_bytes(b"x" * 100_000)
    _same(_data(40), tmp_path / "block", 8)


def test_one_space_for_blocks_of_several_sizes(tmp_path) -> None:
    every = [_data(n) for n in (30, 2000, 7)]
    blocks = [store(data, tmp_path / str(k)) for k, data in enumerate(every)]
    space = Space(blocks)
    for data, block in zip(every, blocks, strict=True):
        np.testing.assert_array_equal(block.read(space)[0], data.X)


def test_memory_begins_with_a_page() -> None:
    for length in (1, 5000):
        found = page_aligned(length)
        assert len(found) == length
        assert found.ctypes.data % 4096 == 0
