"""Responses: what is understood, what is refused, and the numbers (a, b) that a likelihood takes."""

from __future__ import annotations

import re
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.stats import binom, poisson

from clusterglm.data.constants import log_constants
from clusterglm.data.response import ResponseValues, parse_cbind, parse_response, to_kernel
from clusterglm.errors import ResponseError
from clusterglm.model.family import response

BINOMIAL, POISSON = response("binomial"), response("poisson")
GAP = [0.0, 1.0, np.nan, 1.0]


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, None, 1],
        np.array(GAP),
        pd.Series([False, True, None, True], dtype=object),
        pd.Series([False, True, None, True], dtype="boolean"),
        pd.Series([0, 1, None, 1], dtype="Int8"),
        pl.Series([False, True, None, True]),
        pl.Series([0, 1, None, 1]),
        pa.array([False, True, None, True]),
    ],
    ids=lambda v: f"{type(v).__module__.split('.')[0]}-{getattr(v, 'dtype', getattr(v, 'type', 'list'))}",
)
def test_zero_one(values: Any) -> None:
    found = parse_response(values, BINOMIAL, "y")
    np.testing.assert_array_equal(found.successes, GAP)
    assert found.successes.dtype == np.float64
    assert (found.trials == 1.0).all()
    assert found.levels is None


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (["no", "yes", None, "yes"], ("no", "yes")),
        (pd.Series(["no", "yes", None, "yes"], dtype="string"), ("no", "yes")),
        (pd.Categorical(["well", "ill", None, "ill"], ["well", "ill"]), ("well", "ill")),
        (pd.Categorical(["well", "ill", None, "ill"], ["well", "unused", "ill"]), ("well", "ill")),
        (pl.Series(["b", "c", None, "c"], dtype=pl.Categorical), ("b", "c")),
        (pl.Series(["b", "a", None, "a"], dtype=pl.Enum(["b", "a"])), ("b", "a")),
        (pa.array(["n", "y", None, "y"]).dictionary_encode(), ("n", "y")),
    ],
)
def test_two_levels_and_the_second_is_success(values: Any, levels: tuple[str, str]) -> None:
    found = parse_response(values, BINOMIAL, "y")
    np.testing.assert_array_equal(found.successes, GAP)
    assert found.levels == levels


@pytest.mark.parametrize(
    ("values", "said", "advice"),
    [
        ([0, 1, 2], "'y' is 2 in row 2", "family='poisson'"),
        ([1, 2, 1], "'y' is 2 in row 1", "y - 1"),
        ([0, 1, -1], "'y' is -1 in row 2", "correct"),
        ([-1, 1, -1], r"'y' is -1 in row 0 \(counted from 0\), and 1 more such row$", r"y > 0"),
        ([0.5, 1, 0], "'y' is 0.5 in row 0", "cbind"),
        ([0, np.inf, 1], "'y' is inf in row 1", "missing"),
        (["a", "b", "c"], "3 levels: 'a' .row 0., 'b' .row 1., 'c' .row 2.", "make it 0/1"),
        (["a", "a"], "1 level: 'a'", "nothing to explain"),
        ([None, None], "no value at all", "every value is missing"),
        (pd.date_range("2020", periods=2), "of type Datetime", "recode"),
        ([1, "a"], "of type Object, such as 1 in row 0", "recode"),
        ([[1], [0]], "such as", "recode"),
        ([1j, 0j], "such as", "recode"),
    ],
)
def test_refused_binomial(values: Any, said: str, advice: str) -> None:
    with pytest.raises(ResponseError) as caught:
        parse_response(values, BINOMIAL, "y")
    assert re.search(said, caught.value.got)
    assert advice in caught.value.advice


@pytest.mark.parametrize(
    ("values", "said", "advice"),
    [
        ([3, -1], "'y' is -1 in row 1", "no sign"),
        ([3, 0.5], "'y' is 0.5 in row 1", r"offset(log(exposure))"),
        ([3, np.inf], "'y' is inf", "missing"),
        ([3, 2.0**53], "'y' is 9.007199255e+15", "id"),
        (["a", "b"], "of type String, such as 'a'", "family='binomial'"),
        (pd.Categorical([1, 2]), "of type", "convert the column to numbers"),
    ],
)
def test_refused_counts(values: Any, said: str, advice: str) -> None:
    with pytest.raises(ResponseError) as caught:
        parse_response(values, POISSON, "y")
    assert said in caught.value.got
    assert advice in caught.value.advice


def test_rows_are_named_as_in_the_users_table() -> None:
    rows = np.array([4, 9, 11])
    for values, family in (([0, 1, 2], BINOMIAL), ([0, 1, -2], POISSON)):
        with pytest.raises(ResponseError, match="in row 11"):
            parse_response(values, family, "y", rows)
    with pytest.raises(ResponseError, match=r"'c' \(row 11\)"):
        parse_response(["a", "b", "c"], BINOMIAL, "y", rows)
    with pytest.raises(ResponseError, match="'a' in row 4"):
        parse_response(["a", "b", "c"], POISSON, "y", rows)


def test_cbind() -> None:
    found = parse_cbind([1, 2, None, 0], pl.Series([3, 0, 1, 0]), ("s", "f"))
    np.testing.assert_array_equal(found.successes, [1.0, 2.0, np.nan, 0.0])
    np.testing.assert_array_equal(found.trials, [4.0, 2.0, np.nan, 0.0])


@pytest.mark.parametrize(
    ("s", "f", "said"),
    [
        ([1, -1], [0, 0], "'s' is -1"),
        ([1, 1], [0, -2], r"'f' is -2 in row 1[\s\S]*not the trials: cbind\(s, n - s\)"),
        ([1, 0.5], [0, 1], "'s' is 0.5"),
        (["a", "b"], [0, 1], "'s' of type String"),
        ([1, 2], [1], "2 values of 's' and 1 of 'f'"),
    ],
)
def test_refused_cbind(s: Any, f: Any, said: str) -> None:
    with pytest.raises(ResponseError, match=said):
        parse_cbind(s, f, ("s", "f"))


def test_kernel_and_constant_make_the_log_probability() -> None:
    weights = np.array([1.0, 2.5, 0.3, 1.0])
    trials = np.array([1.0, 7.0, 1000.0, 12.0])
    k = np.array([1.0, 3.0, 400.0, 0.0])
    values = ResponseValues(k, trials, None)
    (a, b), constants = to_kernel(values, weights, BINOMIAL), log_constants(values, weights, BINOMIAL)
    p = 0.37
    expected = weights * binom.logpmf(k, trials, p)
    np.testing.assert_allclose(a * np.log(p) + b * np.log1p(-p) + constants, expected, rtol=1e-12)
    assert constants[0] == 0.0
    assert constants[3] == 0.0
    values = ResponseValues(k, np.ones(4), None)
    (a, b), constants = to_kernel(values, weights, POISSON), log_constants(values, weights, POISSON)
    expected = weights * poisson.logpmf(k, 2.2)
    np.testing.assert_allclose(a * np.log(2.2) - b * 2.2 + constants, expected, rtol=1e-12)


def test_nothing_of_the_users_is_shared() -> None:
    y = np.array([0.0, 1.0, 1.0])
    found = parse_response(nw.from_native(pd.Series(y, copy=False), series_only=True), POISSON, "y")
    a, b = to_kernel(found, np.ones(3), POISSON)
    a[:], b[:] = 9.0, 9.0
    a, b = to_kernel(parse_response(pd.Series(y, copy=False), BINOMIAL, "y"), np.broadcast_to(1.0, 3), BINOMIAL)
    a[:], b[:] = 9.0, 9.0
    assert y.tolist() == [0.0, 1.0, 1.0]
