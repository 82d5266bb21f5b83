"""The vector of parameters: what stands where, today's and one with more blocks than any model has yet."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.model.parameters import Block, Parameters, coefficients, mass_points, random_intercept

THETA = np.arange(10.0)
MANY = Parameters(
    (
        Block("mean", "", ("(Intercept)", "x", "sd")),
        Block("zero_inflation", "", ("(Intercept)",)),
        Block("random", "school", ("sd",), scale=True),
        Block("random", "class", ("sd", "cor"), "held"),
        Block("dispersion", "", ("alpha",), "boundary", scale=True),
        Block("shape", "", ("df", "skew")),
    )
)


def test_blocks_are_found_by_component_and_group() -> None:
    assert len(MANY) == 10
    assert THETA[MANY.coefficients].tolist() == [0.0, 1.0, 2.0]
    assert THETA[MANY.place("zero_inflation")].tolist() == [3.0]
    assert THETA[MANY.place("random", "class")].tolist() == [5.0, 6.0]
    assert THETA[MANY.shapes].tolist() == [8.0, 9.0]
    assert MANY.scales == (4, 7)
    with pytest.raises(KeyError):
        MANY.place("random", "pupil")
    with pytest.raises(ValueError, match="too many"):
        MANY.scale  # noqa: B018  # of which there are two


def test_a_vector_is_split_and_joined() -> None:
    parts = MANY.split(THETA)
    assert [len(part) for part in parts] == [3, 1, 1, 2, 1, 2]
    np.testing.assert_array_equal(MANY.joined(*parts), THETA)
    np.testing.assert_array_equal(random_intercept(2).joined(np.array([1.0, 2.0]), 3.0), [1.0, 2.0, 3.0])


def test_free_parameters_have_gaps() -> None:
    places = [0, 1, 2, 3, 4, 8, 9]
    assert THETA[MANY.free].tolist() == places
    assert THETA[MANY.estimated].tolist() == [*places[:5], 7.0, 8.0, 9.0]
    moved = MANY.filled(-np.ones(7), THETA)
    assert moved.tolist() == [-1.0] * 5 + [5.0, 6.0, 7.0] + [-1.0] * 2
    assert THETA.tolist() == list(range(10))
    matrix = np.outer(THETA, THETA)
    np.testing.assert_array_equal(MANY.of_free(matrix), np.outer(places, places))
    assert len(MANY.only_free) == 7
    assert len(MANY.only_estimated) == 8
    assert not coefficients(()).split(np.empty(0))[0].size
    assert THETA[random_intercept(0, state="held").free].tolist() == []


def test_what_has_no_standard_error_is_nan_or_taken_as_known() -> None:
    inner = np.outer(np.arange(1.0, 8.0), np.arange(1.0, 8.0))
    whole = MANY.nan_where_not_free(inner)
    np.testing.assert_array_equal(MANY.of_free(whole), inner)
    assert np.isnan(whole[[5, 6, 7], :]).all()
    assert np.isnan(whole[:, [5, 6, 7]]).all()
    known = MANY.zero_where_not_free(whole)
    np.testing.assert_array_equal(known, np.where(np.isnan(whole), 0.0, whole))
    assert np.isnan(whole[5, 5])
    unknown = np.full((3, 3), np.nan)  # is not known by being nan
    assert np.isnan(random_intercept(2).zero_where_not_free(unknown)).all()
    assert np.isnan(random_intercept(2, state="boundary").zero_where_not_free(unknown)).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, False],
    ]


def test_scales_are_reflected() -> None:
    assert MANY.reflected(-THETA).tolist() == [0.0, -1.0, -2.0, -3.0, 4.0, -5.0, -6.0, 7.0, -8.0, -9.0]


def test_other_units_of_the_columns_move_the_coefficients_alone() -> None:
    L = np.array([[1.0, -0.5, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 4.0]])
    moved = MANY.to_user(L) @ THETA
    np.testing.assert_array_equal(moved[:3], L @ THETA[:3])
    np.testing.assert_array_equal(moved[3:], THETA[3:])


def test_names_are_unique_where_a_covariate_is_called_like_a_parameter() -> None:
    assert MANY.names[:3] == ("`(Intercept)`", "x", "`sd`")
    named = random_intercept(("1", "sigma", "(Intercept)"), "id")
    assert named.names == ("1", "`sigma`", "(Intercept)", "sigma")
    assert named.names_of(named.coefficients) == ("1", "`sigma`", "(Intercept)")
    assert named.only_free == named
    assert random_intercept(("sigma",), "id", "held").only_free.names == ("sigma",)
    points = mass_points(("point 2", "x"), [1, 2], 3)
    assert points.names[:4] == ("`point 2`", "x", "point 2", "point 3")
    assert points.names[4:] == ("log(weight 1 / weight 3)", "log(weight 2 / weight 3)")


def test_shapes_come_after_all_others() -> None:
    whole = random_intercept(("x",), state="held").and_shapes(("df",))
    assert whole.shapes == slice(2, 3)
    assert whole.names_of(whole.free) == ("x", "df")
