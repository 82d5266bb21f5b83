"""What a look at some rows may and may not say of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterglm.data.checks import check_columns, check_design
from clusterglm.data.tables.glance import plainly_fine, step_through, tame
from clusterglm.errors import DesignError

I = "(Intercept)"


@pytest.mark.parametrize("n", [9_000, 20_000, 140_000, 500_000])
def test_a_look_is_enough_for_a_good_design(n: int) -> None:
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 3)) * [1e-6, 1.0, 1e6], rng.random(n) < 0.01])
    assert plainly_fine(X, 0)
    assert tame(X)


@pytest.mark.parametrize("n", [20_000, 500_000])
@pytest.mark.parametrize("cycle", [2, 3, 4, 5, 7, 10, 12, 30])
def test_cycles_of_rows_are_seen(n: int, cycle: int) -> None:
    """Such as a time within clusters of equal size."""
    X = np.column_stack([np.ones(n), np.arange(n) % cycle])
    assert plainly_fine(X, 0)


@given(st.integers(1, 10**7), st.integers(1, 40_000))
def test_steps(n: int, rows: int) -> None:
    step = step_through(n, rows)
    assert step == 1 or all(step % cycle for cycle in (2, 3, 5, 7))
    assert len(range(0, n, step)) <= max(rows + 1, 2 * rows)


@pytest.mark.parametrize("n", [9_000, 140_000])
@pytest.mark.parametrize("wrong", ["constant", "zero", "collinear", "infinite", "undefined", "huge", "tiny"])
def test_nothing_wrong_passes(n: int, wrong: str) -> None:
    rng = np.random.default_rng(2)
    x, z = rng.normal(size=(2, n))
    last = x.copy()
    if wrong in ("infinite", "undefined", "huge"):
        last[n - 3] = {"infinite": -np.inf, "undefined": np.nan, "huge": -1e101}[wrong]
    else:
        last = {"constant": np.full(n, 3.3), "zero": np.zeros(n), "collinear": x - 2 * z, "tiny": 1e-101 * x}[wrong]
    X = np.column_stack([np.ones(n), x + z, z, last])
    assert not plainly_fine(X, 0)
    with pytest.raises(DesignError, match="'d'"):
        check_design(X, [I, "b", "c", "d"], 0)
    if wrong in ("infinite", "undefined", "huge", "tiny"):
        with pytest.raises(DesignError, match="'d'"):
            check_columns(X, [I, "b", "c", "d"])


def test_what_only_many_rows_show() -> None:
    """A rare level is no constant."""
    n = 200_000
    x = np.random.default_rng(3).normal(size=n)
    rare = np.zeros(n)
    rare[:: 13 * 17] = 1.0
    rare[0] = 0.0
    X = np.column_stack([np.ones(n), x, rare])
    check_design(X, [I, "x", "rare"], 0)
    rare[:] = 0.0
    rare[n - 1] = 1.0
    check_design(np.column_stack([np.ones(n), x, rare]), [I, "x", "rare"], 0)
