"""Checks of designs, responses and clusters; separation by linear programming."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.data.checks import check_clusters, check_design, check_response, find_separation
from clusterglm.errors import ClusterError, DesignError, ResponseError
from clusterglm.model.family import response

N = 200
RNG = np.random.default_rng(3)
ONE, X, Z = np.ones(N), RNG.normal(size=N), RNG.normal(size=N)
G = RNG.integers(0, 4, N)
D = (G[:, None] == np.array([1, 2, 3])).astype(float)
COIN = RNG.integers(0, 2, N).astype(float)
I = "(Intercept)"


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_units_do_not_matter(scale: float, shift: float) -> None:
    columns = np.column_stack([ONE, (X + shift) * scale, Z])
    check_design(columns, [I, "x", "z"], 0)
    with pytest.raises(DesignError, match="'again' is a combination of 'x'"):
        check_design(np.column_stack([columns, columns[:, 1] * 7.0]), [I, "x", "z", "again"], 0)


def test_polynomials_of_a_year_pass() -> None:
    year = 2000.0 + np.arange(N) % 10
    check_design(np.column_stack([ONE, year, year**2, year**3]), [I, "year", "year2", "year3"], 0)


def test_collinear_columns_are_named() -> None:
    with pytest.raises(DesignError, match="'s' is a combination of 'x' and 'z' and the intercept") as caught:
        check_design(np.column_stack([ONE, X, D[:, 0], Z, 1.0 + X - 2.0 * Z]), [I, "x", "d", "z", "s"], 0)
    assert "'d'" not in str(caught.value)
    with pytest.raises(DesignError, match="'g0' is a combination of 'g1', 'g2' and 'g3' and the intercept"):
        check_design(np.column_stack([ONE, D, 1.0 - D.sum(axis=1)]), [I, "g1", "g2", "g3", "g0"], 0)
    check_design(np.column_stack([D, 1.0 - D.sum(axis=1)]), ["g1", "g2", "g3", "g0"], None)


def test_constant_columns_are_named() -> None:
    with pytest.raises(DesignError, match=r"'c' \(always 3\)"):
        check_design(np.column_stack([ONE, X, 3.0 * ONE]), [I, "x", "c"], 0)
    check_design(np.column_stack([X, 3.0 * ONE]), ["x", "c"], None)
    with pytest.raises(DesignError, match="'c'"):
        check_design(np.column_stack([X, 0.0 * ONE]), ["x", "c"], None)


@pytest.mark.parametrize(("value", "word"), [(np.inf, "1 infinite"), (-np.inf, "1 infinite"), (np.nan, "1 NaN")])
def test_values_that_are_not_finite_are_named(value: float, word: str) -> None:
    bad = Z.copy()
    bad[5] = value
    with pytest.raises(DesignError, match=rf"'log\(z\)' \({word}\)"):
        check_design(np.column_stack([ONE, X, bad]), [I, "x", "log(z)"], 0)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_values_whose_squares_cannot_be_held_are_named(scale: float) -> None:
    with pytest.raises(DesignError, match=r"'x' \(up to[\s\S]*change the units of 'x'"):
        check_design(np.column_stack([ONE, X * scale, Z]), [I, "x", "z"], 0)


def test_more_columns_than_rows() -> None:
    with pytest.raises(DesignError, match="3 columns in the design matrix and only 2"):
        check_design(np.column_stack([ONE, X, Z])[:2], [I, "x", "z"], 0)


def test_equal_responses() -> None:
    with pytest.raises(ResponseError, match="only failures"):
        check_response(0 * ONE, ONE, response("binomial"), "y")
    with pytest.raises(ResponseError, match="only successes"):
        check_response(ONE, 0 * ONE, response("binomial"), "y")
    with pytest.raises(ResponseError, match="every count is 0"):
        check_response(0 * ONE, ONE, response("poisson"), "y")
    check_response(ONE, ONE, response("poisson"), "y")
    check_response(COIN, 1 - COIN, response("binomial"), "y")


def test_clusters_that_do_not_identify_sigma() -> None:
    with pytest.raises(ClusterError, match="only one cluster"):
        check_clusters(ONE, np.array([0, N]), response("poisson"), "id")
    each = np.arange(N + 1)
    with pytest.raises(ClusterError, match="none with more than one"):
        check_clusters(ONE, each, response("binomial"), "id")
    check_clusters(ONE, each, response("binomial"), "id", sigma_known=True)
    check_clusters(ONE, each, response("poisson"), "id")
    check_clusters(2 * ONE, each, response("binomial"), "id")


def separation(columns: list[np.ndarray], y: np.ndarray, names: list[str], family: str = "binomial"):
    b = 1.0 - y if family == "binomial" else np.ones(len(y))
    return find_separation(np.column_stack(columns), y, b, names, response(family))


def test_no_separation() -> None:
    assert separation([ONE, X, Z, D], COIN, [I, "x", "z", "g1", "g2", "g3"]) is None
    almost = (X > 0.3).astype(float)
    almost[np.argmax(X)] = 0.0
    assert separation([ONE, X, Z], almost, [I, "x", "z"]) is None


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-8, 0.0), (1e6, 0.0), (1.0, 1.6e9)])
def test_complete_separation(scale: float, shift: float) -> None:
    found = separation([ONE, X * scale + shift, Z], (X > 0.3).astype(float), [I, "x", "z"])
    assert found is not None
    assert found.complete
    assert found.columns == ("x",)
    assert "'x' separates successes from failures completely" in found.got


def test_direction_separates() -> None:
    columns = np.column_stack([ONE, X, Z])
    y = (X + Z > 0.3).astype(float)
    found = find_separation(columns, y, 1.0 - y, [I, "x", "z"], response("binomial"))
    assert found is not None
    assert found.columns == ("x", "z")
    assert ((columns @ found.direction) * (2.0 * y - 1.0)).min() > -1e-6


def test_levels_with_equal_responses() -> None:
    names = [I, "g1", "g2", "g3", "x"]
    y = np.where(G == 2, 1.0, COIN)
    found = separation([ONE, D, X], y, names)
    assert found is not None
    assert (found.columns, found.complete) == (("g2",), False)
    found = separation([ONE, D, X], np.where(G == 3, 0.0, y), names)
    assert found is not None
    assert found.columns == ("g2", "g3")
    found = separation([ONE, D, X], np.where(G == 0, 0.0, COIN), names)  # the reference level: all others move away
    assert found is not None
    assert found.columns == ("g1", "g2", "g3")


def test_without_an_intercept() -> None:
    found = separation([X, Z], (X > 0).astype(float), ["x", "z"])
    assert found is not None
    assert found.columns == ("x",)


def test_grouped_rows_with_both_outcomes_hold_the_direction() -> None:
    a, b = np.array([3.0, 2.0, 5.0]), np.array([2.0, 3.0, 0.0])
    columns = np.column_stack([np.ones(3), [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = find_separation(columns, a, b, [I, "g1", "g2"], response("binomial"))
    assert found is not None
    assert found.columns == ("g2",)
    assert find_separation(columns[:, :2], a, b, [I, "g1"], response("binomial")) is None


def test_counts() -> None:
    names = [I, "g1", "g2", "g3", "x"]
    counts = RNG.poisson(1.0, N).astype(float)
    assert separation([ONE, D, X], counts, names, "poisson") is None
    found = separation([ONE, D, X], np.where(G == 2, 0.0, counts), names, "poisson")
    assert found is not None
    assert found.columns == ("g2",)
    # a level with only positive counts has a finite coefficient
    assert separation([ONE, D, X], np.where(G == 2, 1.0 + counts, counts), names, "poisson") is None


def test_large_data() -> None:
    n = 100_000
    rng = np.random.default_rng(4)
    columns = [np.ones(n), *rng.normal(size=(3, n)), (rng.integers(0, 5, n) == 3).astype(float)]
    names = [I, "a", "b", "c", "d"]
    y = (rng.random(n) < 0.5).astype(float)
    assert separation(columns, y, names) is None
    found = separation(columns, np.where(columns[4] == 1.0, 1.0, y), names)
    assert found is not None
    assert found.columns == ("d",)
    found = separation(columns, (0.1 + columns[1] + columns[2] > 0.0).astype(float), names)
    assert found is not None
    assert found.complete


def test_large_designs_are_judged_like_small_ones() -> None:
    rng = np.random.default_rng(4)
    n = 200_000  # some of the rows are enough for a good one
    x, z = rng.normal(size=n), rng.normal(size=n)
    one, rare = np.ones(n), np.zeros(n)
    rare[7] = 1.0  # not among them
    check_design(np.column_stack([one, x, z, rare]), [I, "x", "z", "rare"], 0)
    with pytest.raises(DesignError, match="collinear"):
        check_design(np.column_stack([one, x, z, x - z]), [I, "x", "z", "d"], 0)
    with pytest.raises(DesignError, match="'c'"):
        check_design(np.column_stack([one, x, 3.0 * one]), [I, "x", "c"], 0)
    for bad, words in ((np.inf, "infinite"), (np.nan, "NaN"), (1e120, "squares")):
        broken = x.copy()
        broken[11] = bad
        with pytest.raises(DesignError, match=words):
            check_design(np.column_stack([one, broken, z]), [I, "x", "z"], 0)
