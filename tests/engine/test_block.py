"""Columns in other units."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.engine.block import rescale


@pytest.mark.parametrize("shape", [(1, 1), (7, 0), (5000, 3), (100_000, 2), (20, 9000), (16384, 1)])
def test_rescaled_as_numpy_does(shape) -> None:
    rng = np.random.default_rng(0)
    X, centre, scale = rng.normal(size=shape), rng.normal(size=shape[1]), rng.random(shape[1]) + 0.5
    expected = (X - centre) / scale
    rescale(X, centre, scale)
    np.testing.assert_array_equal(X, expected)
