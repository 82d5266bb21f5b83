"""Covariates next to an intercept for every cluster: what is not identified, and separation."""

from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from clusterglm.data import within as within_clusters
from clusterglm.data.within import find_separation_within, refuse_unidentified
from clusterglm.errors import DesignError
from clusterglm.model.family import response

CLUSTERS, SIZE = 40, 5
N = CLUSTERS * SIZE
RNG = np.random.default_rng(8)
STARTS = np.arange(CLUSTERS + 1) * SIZE
ID = np.repeat(np.arange(CLUSTERS), SIZE)
X, Z = RNG.normal(size=N), RNG.normal(size=N)
CONSTANT = RNG.normal(size=CLUSTERS)[ID]
COIN = RNG.integers(0, 2, N).astype(float)
EVERY = np.ones(CLUSTERS, dtype=bool)
SOME = RNG.random(CLUSTERS) < 0.7
RARE, OTHER = (RNG.random((2, N)) < 0.12).astype(float)
COUNTS = RNG.poisson(0.8, N).astype(float)
BIRTH = RNG.integers(1940, 1990, CLUSTERS)[ID]


def refused(columns, names, informative=EVERY, starts=STARTS) -> DesignError:
    with pytest.raises(DesignError) as caught:
        refuse_unidentified(np.column_stack(columns), starts, names, informative)
    return caught.value


# What is not identified ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_units_do_not_matter(scale, shift):
    x, constant = (X + shift) * scale, (CONSTANT + shift) * scale
    refuse_unidentified(np.column_stack([x, Z]), STARTS, ["x", "z"], EVERY)
    assert "'c' is constant" in refused([x, constant], ["x", "c"]).got
    assert "'again' is a combination of 'x'" in refused([x, Z, 7.0 * x + 1.0], ["x", "z", "again"]).got


def test_constant_within_every_cluster():
    error = refused([X, CONSTANT], ["x", "sex"])
    assert "'sex' is constant within every cluster" in error.got
    assert "'x'" not in str(error)
    assert "drop 'sex' from the formula; or cg.random_effects" in error.advice
    assert "'sex' and 'centre' are constant" in refused([CONSTANT, X, CONSTANT**2], ["sex", "x", "centre"]).got


def test_varying_only_where_responses_do_not():
    hidden = np.where(SOME[ID], CONSTANT, X)
    refuse_unidentified(np.column_stack([X, hidden]), STARTS, ["x", "h"], EVERY)
    error = refused([X, hidden], ["x", "h"], SOME)
    assert "'h' varies only within clusters that drop out because their responses do not vary" in error.got
    assert "constant" not in error.got


def test_combinations_within_clusters():
    error = refused([X, Z, X - 2.0 * Z + CONSTANT], ["x", "z", "s"])
    assert "within clusters, 's' is a combination of 'x' and 'z'" in error.got
    assert "intercept" not in error.got.split(":")[1]
    # age and year, in people who are seen every year
    year = 2000.0 + np.tile(np.arange(SIZE), CLUSTERS)
    age = year - BIRTH
    assert "'age' is a combination of 'year'" in refused([year, X, age], ["year", "x", "age"]).got


def test_combination_only_in_informative_clusters():
    twice = np.where(SOME[ID], 2.0 * X, Z)
    refuse_unidentified(np.column_stack([X, twice]), STARTS, ["x", "t"], EVERY)
    assert "'t' is a combination of 'x'" in refused([X, twice], ["x", "t"], SOME).got


def test_all_reasons_at_once():
    hidden = np.where(SOME[ID], CONSTANT, X)
    error = refused([X, CONSTANT, hidden, 2.0 * X], ["x", "c", "h", "t"], SOME)
    assert [name in error.got for name in ("'c' is", "'h' varies", "'t' is")] == [True] * 3
    assert "drop 'c', 'h' and 't'" in error.advice


def test_more_columns_than_differences():
    error = refused([X[:4], Z[:4], (X * Z)[:4]], ["x", "z", "xz"], np.ones(2, dtype=bool), np.array([0, 2, 4]))
    assert "'xz' is a combination of 'x' and 'z'" in error.got


def test_values_computed_in_two_ways_are_constant():
    a = np.where(np.arange(N) % 2 == 0, 0.1 * 3.0, 0.3)  # they differ in the last bit
    assert "'a' is constant" in refused([X, a], ["x", "a"]).got


def test_timestamps_pass():
    seconds = 1.7e9 + np.arange(N) * 3600.0
    refuse_unidentified(np.column_stack([seconds, X]), STARTS, ["t", "x"], EVERY)


def test_no_columns():
    refuse_unidentified(np.empty((N, 0)), STARTS, [], EVERY)


@pytest.mark.parametrize("sizes", [[1], [30_000], [1, 20_000, 1, 3, 9_000, 2], [8192, 8192], [8193, 1, 4]])
def test_cluster_sizes_around_the_chunks(sizes):
    """The judgement is that of a dense decomposition of the centred columns."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    of = np.repeat(np.arange(len(sizes)), sizes)
    x = np.random.default_rng(1).normal(size=(len(of), 2))
    informative = np.ones(len(sizes), dtype=bool)
    names = ["x", "z", "s"]
    if len(of) == 1:
        assert "'x' and 'z' are constant" in refused([x], names[:2], informative, starts).got
        return
    refuse_unidentified(x, starts, names[:2], informative)
    shifted = x.sum(axis=1) + np.random.default_rng(2).normal(size=len(sizes))[of]
    assert "'s' is a combination of 'x' and 'z'" in refused([x, shifted], names, informative, starts).got
    if len(sizes) > 1:  # within clusters only
        refuse_unidentified(np.column_stack([x, x.sum(axis=1) + of * x[:, 0]]), starts, names, informative)


@pytest.mark.parametrize("clusters", [1, 100_000])
def test_large_designs(clusters):
    n = 500_000
    x = np.random.default_rng(1).normal(size=(n, 5))
    starts = np.arange(clusters + 1) * (n // clusters)
    tracemalloc.start()
    refuse_unidentified(x, starts, list("abcde"), np.ones(clusters, dtype=bool))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes / 2


# Separation ----------------------------------------------------------------------------------------------------------


def informative(a, b, starts, family):
    some = np.add.reduceat(a, starts[:-1]) > 0
    return some & (np.add.reduceat(b, starts[:-1]) > 0) if family == "binomial" else some


def separation(columns, a, names, family="binomial", starts=STARTS, b=None):
    a = np.asarray(a, dtype=float)
    if b is None:
        b = 1.0 - a if family == "binomial" else np.ones(len(a))
    x = np.column_stack(columns)
    return find_separation_within(x, a, b, starts, names, response(family), informative(a, b, starts, family))


def within(x, starts=STARTS):
    return x - np.repeat(np.add.reduceat(x, starts[:-1]) / np.diff(starts), np.diff(starts))


def differences(x, a, b, starts) -> np.ndarray:
    """x_s - x_f of all pairs of different rows."""
    rows = [np.empty((0, x.shape[1]))]
    for begin, end in pairwise(starts):
        each = range(begin, end)
        rows += [x[None, s] - x[None, f] for s in each for f in each if s != f and a[s] > 0 and b[f] > 0]
    return np.vstack(rows)


def brute_force(x, a, b, starts, family) -> tuple[bool, bool]:
    """Whether a direction separates, and whether completely, from linear programs over all pairs."""
    rows = differences(x, a, b, starts)
    p = x.shape[1]
    if len(rows) == 0:
        return False, False
    best = linprog(-rows.mean(axis=0), A_ub=-rows, b_ub=np.zeros(len(rows)), bounds=(-1, 1))
    smallest = linprog(
        np.append(np.zeros(p), -1.0),
        A_ub=np.hstack([-rows, np.ones((len(rows), 1))]),
        b_ub=np.zeros(len(rows)),
        bounds=[(-1, 1)] * p + [(0, 1)],
    )
    both = family == "binomial" and bool(((a > 0) & (b > 0)).any())
    return -best.fun > 1e-6, -smallest.fun > 1e-6 and not both


@st.composite
def small_data(draw):
    """Rows of integer covariates, so that ties and degenerate directions abound."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    family = draw(st.sampled_from(["binomial", "poisson"]))
    sizes = rng.integers(1, draw(st.integers(2, 7)), draw(st.integers(1, 12)))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    n, p, top = int(starts[-1]), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    x = rng.integers(0, top + 1, (n, p)).astype(float)
    eta = within(x @ rng.integers(-3, 4, p), starts) * draw(st.sampled_from([0.0, 1.0, 100.0]))
    if family == "poisson":
        return family, x, rng.poisson(np.exp(np.minimum(eta - 0.5, 2.0))).astype(float), np.ones(n), starts
    trials = rng.integers(0, draw(st.integers(1, 3)) + 1, n)
    a = rng.binomial(trials, 0.5 + 0.5 * np.tanh(eta / 2.0)).astype(float)
    return family, x, a, trials - a, starts


@pytest.mark.parametrize("rows", [1000, 1])
@settings(max_examples=200, deadline=None)
@given(small_data())
def test_all_pairs_agree(rows, data):
    """Also when pairs enter the linear programs one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(within_clusters, "ROWS", rows)
        patch.setattr(within_clusters, "_FEWEST_PAIRS", min(rows, within_clusters._FEWEST_PAIRS))
        agree(*data)


def agree(family, x, a, b, starts):
    names = [f"x{j}" for j in range(x.shape[1])]
    each = informative(a, b, starts, family)
    found = find_separation_within(x, a, b, starts, names, response(family), each)
    rows = np.repeat(each, np.diff(starts))
    a, b = np.where(rows, a, 0.0), np.where(rows, b, 0.0)
    separates, complete = brute_force(x, a, b, starts, family)
    assert (found is not None) == separates
    if found is None:
        return
    assert found.complete == complete
    margins = differences(x, a, b, starts) @ found.direction
    assert margins.min() > -1e-6
    assert margins.max() > 1e-6
    assert {names[j] for j in np.flatnonzero(found.direction)} <= set(found.columns)


def test_no_separation():
    names = ["x", "z"]
    assert separation([X, Z], COIN, names) is None
    assert separation([X, Z], COUNTS, names, "poisson") is None
    almost = (within(X) > 0.0).astype(float)
    cluster = int(np.argmax(np.ptp(X.reshape(-1, SIZE), axis=1)))
    worst = cluster * SIZE + np.argmax(X[cluster * SIZE : (cluster + 1) * SIZE])
    almost[worst] = 0.0
    assert separation([X], almost, ["x"]) is None


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-8, 0.0), (1e6, 0.0), (1.0, 1.6e9)])
def test_complete_separation(scale, shift):
    """By x within clusters, which says nothing across them."""
    y = (within(X) > 0.0).astype(float)
    found = separation([(X + 5.0 * CONSTANT) * scale + shift, Z], y, ["x", "z"])
    assert found is not None
    assert found.complete
    assert found.columns == ("x",)
    assert found.direction[0] > 0.0 == found.direction[1]
    assert found.got.startswith("'x' separates successes from failures completely within every cluster")
    assert "the maximum lies at infinity" in found.got
    assert "drop 'x'" in found.advice
    assert "cg.random_effects" in found.advice


def test_separation_in_part():
    """A covariate in some rows, of which all are successes."""
    found = separation([X, RARE], np.where(RARE == 1.0, 1.0, COIN), ["x", "rare"])
    assert found is not None
    assert (found.columns, found.complete) == (("rare",), False)
    assert "'rare' separates successes from failures within clusters in part" in found.got


def test_two_directions_one_after_the_other():
    """What the first direction leaves open may separate in its turn: all columns are reported."""
    y = np.where(OTHER == 1.0, 0.0, np.where(RARE == 1.0, 1.0, COIN))
    found = separation([RARE, X, OTHER], y, ["first", "x", "second"])
    assert found is not None
    assert found.columns == ("first", "second")


def test_counts():
    found = separation([X, RARE], np.where(RARE == 1.0, 0.0, COUNTS), ["x", "rare"], "poisson")
    assert found is not None
    assert found.columns == ("rare",)
    assert found.direction[1] < 0.0
    assert "'rare' separates zero counts from the others within clusters in part" in found.got
    # a positive count sets no limit from above: where others of the cluster are positive, the coefficient is finite
    assert separation([X, RARE], 1.0 + COUNTS, ["x", "rare"], "poisson") is None


def test_one_event_in_every_cluster():
    """As in risk sets: the event's row is the one of the largest x."""
    event = np.zeros(N)
    event[STARTS[:-1] + np.argmax(X.reshape(-1, SIZE), axis=1)] = 1.0
    for family in ("binomial", "poisson"):
        found = separation([X, Z], event, ["x", "z"], family)
        assert found is not None
        assert (found.columns, found.complete) == (("x",), True)


def test_differences_that_are_all_one():
    """Matched pairs in which x is 1 for cases and 0 for controls: not a column of ones."""
    starts = np.arange(0, 41, 2)
    y = np.tile([1.0, 0.0], 20)
    found = separation([y, X[:40]], y, ["x", "z"], starts=starts)
    assert found is not None
    assert (found.columns, found.complete) == (("x",), True)


def test_grouped_rows_with_both_outcomes_hold_the_direction():
    starts = np.array([0, 3, 6])
    a, b = np.array([3.0, 2.0, 5.0, 1.0, 2.0, 4.0]), np.array([2.0, 3.0, 0.0, 4.0, 1.0, 0.0])
    second, third = np.tile([0.0, 1.0, 0.0], 2), np.tile([0.0, 0.0, 1.0], 2)
    found = separation([second, third], a, ["g2", "g3"], starts=starts, b=b)
    assert found is not None
    assert (found.columns, found.complete) == (("g3",), False)
    assert separation([second], a, ["g2"], starts=starts, b=b) is None


def test_other_clusters_say_nothing():
    """Rows without weight and clusters that are not informative neither separate nor prevent it."""
    y = (within(X) > 0.0).astype(float)
    a, b = np.where(ID < 3, 1.0, y), np.where(ID < 3, 0.0, 1.0 - y)
    found = separation([X, Z], a, ["x", "z"], b=b)
    assert found is not None
    assert found.complete
    wrong = np.flatnonzero(ID == 10)
    a[wrong], b[wrong] = b[wrong], a[wrong]
    assert separation([X, Z * 0.0 + CONSTANT], a, ["x", "c"], b=b) is None
    a[wrong], b[wrong] = 0.0, 0.0
    assert separation([X, Z], a, ["x", "z"], b=b) is not None


def test_columns_that_are_not_identified_are_not_blamed():
    found = separation([CONSTANT, X, 2.0 * Z, Z], (within(X) > 0.0).astype(float), ["c", "x", "z2", "z"])
    assert found is not None
    assert found.columns == ("x",)


def test_rare_and_extreme_values():
    """Where a column hardly varies but in one cluster, its pairs are found."""
    spike = np.where(np.arange(N) == 17, 1e4, X)
    y = COIN.copy()
    y[15:20] = [0.0, 0.0, 1.0, 0.0, 0.0]
    assert separation([spike, Z], y, ["spike", "z"]) is None
    only = (np.arange(N) == 17).astype(float)
    found = separation([only, Z], y, ["only", "z"])
    assert found is not None
    assert found.columns == ("only",)


@pytest.mark.parametrize(("clusters", "size"), [(100_000, 5), (1, 20_000)])
@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_large_data(clusters, size, family):
    n = clusters * size
    rng = np.random.default_rng(4)
    starts = np.arange(clusters + 1) * size
    x = rng.normal(size=(n, 4))
    x[:, 3] = rng.random(n) < 0.01
    names = ["a", "b", "c", "d"]
    y = rng.poisson(0.5, n) if family == "poisson" else (rng.random(n) < 0.5).astype(float)
    began = time.perf_counter()
    assert separation([x], y, names, family, starts) is None
    found = separation([x], np.where(x[:, 3] == 1.0, 0.0, y), names, family, starts)
    assert found is not None
    assert found.columns == ("d",)
    z = x @ [1.0, -2.0, 0.0, 0.5]
    largest = np.repeat(np.maximum.reduceat(z, starts[:-1]), size)
    y = within(z, starts) > 0.0 if family == "binomial" else z == largest
    found = separation([x], y, names, family, starts)
    assert found is not None
    assert found.complete
    u = x @ found.direction
    low = np.minimum.reduceat(np.where(y, u, np.inf), starts[:-1])
    high = np.maximum.reduceat(np.where(y, -np.inf, u), starts[:-1])
    assert (low - high).min() > -1e-6
    assert time.perf_counter() - began < 60.0
