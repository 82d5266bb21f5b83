"""Columns in other units, and what blocks remember."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.data.blocks.store import BlockArrays
from clusterglm.engine.block import Block, rescale
from clusterglm.fit.within import likelihood_of
from clusterglm.model.family import response


@pytest.mark.parametrize("shape", [(1, 1), (7, 0), (5000, 3), (100_000, 2), (20, 9000), (16384, 1)])
def test_rescaled_as_numpy_does(shape) -> None:
    rng = np.random.default_rng(0)
    X, centre, scale = rng.normal(size=shape), rng.normal(size=shape[1]), rng.random(shape[1]) + 0.5
    expected = (X - centre) / scale
    rescale(X, centre, scale)
    np.testing.assert_array_equal(X, expected)


def test_visits_remember_what_they_found() -> None:
    rng = np.random.default_rng(1)
    arrays = BlockArrays(np.arange(0, 41, 4), rng.integers(0, 2, 40) * 1.0, np.ones(40), np.zeros(40), np.ones(10))
    block = Block(rng.normal(size=(40, 2)), arrays, response("binomial", None))
    for exact, name in ((False, "profiled"), (True, "conditioned")):
        assert getattr(block.memory, name) is None
        likelihood_of(block, exact).evaluate(np.array([0.1, -0.2]))
        kept = getattr(block.memory, name)
        assert np.isfinite(kept).any()
        assert getattr(block.rescaled(np.zeros(2), np.ones(2)).memory, name) is kept
    with pytest.raises(AssertionError):
        _ = block.memory.chosen  # rules are asked for before any were chosen
