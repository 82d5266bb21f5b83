"""Contrasts: their coefficients, and p-values of many at once against scipy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import chi, chi2, multivariate_normal, norm, studentized_range
from scipy.stats import t as student

from clusterglm.errors import OptionError
from clusterglm.inference.effects.contrasts import (
    adjusted,
    check_comparison,
    coefficients_of,
    range_tail,
    transformed,
)
from clusterglm.model.family import response


def test_pairwise_and_reference() -> None:
    pairs = coefficients_of("pairwise", ["a", "b", "c"])
    assert pairs.names == ("a - b", "a - c", "b - c")
    np.testing.assert_array_equal(pairs.matrix, [[1, -1, 0], [1, 0, -1], [0, 1, -1]])
    others = coefficients_of("reference", ["a", "b", "c"], reference="b", sign="/")
    assert others.names == ("a / b", "c / b")
    np.testing.assert_array_equal(others.matrix, [[1, -1, 0], [0, -1, 1]])
    assert coefficients_of("reference", ["1", "2"], reference=2).names == ("1 - 2",)


@pytest.mark.parametrize(
    ("k", "whole"),
    [
        (3, [[-1, 0, 1], [1, -2, 1]]),
        (4, [[-3, -1, 1, 3], [1, -1, -1, 1], [-1, 3, -3, 1]]),
        (5, [[-2, -1, 0, 1, 2], [2, -1, -2, -1, 2], [-1, 2, 0, -2, 1], [1, -4, 6, -4, 1]]),
    ],
)
def test_polynomials_are_those_of_tables(k: int, whole: list[list[int]]) -> None:
    """Fisher and Yates' tables, which R's emmeans prints too."""
    found = coefficients_of("polynomial", [str(j) for j in range(k)])
    np.testing.assert_allclose(found.matrix, whole, atol=1e-9)
    assert found.names[:2] == ("linear", "quadratic")


def test_polynomials_follow_the_values() -> None:
    x = np.array([0.0, 2.0, 4.0, 6.0, 11.0])
    found = coefficients_of("polynomial", list("abcde"), x.tolist()).matrix
    np.testing.assert_allclose(found @ found.T, np.diag(np.diag(found @ found.T)), atol=1e-9)
    for degree in range(1, 5):
        np.testing.assert_allclose(found[degree - 1] @ np.vander(x, degree, increasing=True), 0.0, atol=1e-6)
        assert found[degree - 1] @ x**degree > 0.0
    np.testing.assert_allclose(found[0] / found[0][0], (x - x.mean()) / (x - x.mean())[0])


def test_coefficients_of_ones_own() -> None:
    named = coefficients_of({"ends": [1, 0, -1]}, ["a", "b", "c"])
    assert named.names == ("ends",)
    assert not named.pairwise
    assert coefficients_of(np.eye(3), ["a", "b", "c"]).names[2] == "contrast 3"
    for wrong in ([1, 2], "tukey", {"x": "y"}, [[np.nan, 1, 0]], []):
        with pytest.raises(OptionError, match="method="):
            coefficients_of(wrong, ["a", "b", "c"])
    with pytest.raises(OptionError, match="reference='d'"):
        coefficients_of("reference", ["a", "b"], reference="d")
    with pytest.raises(OptionError, match="reference= with other"):
        coefficients_of("pairwise", ["a", "b"], reference="a")
    with pytest.raises(OptionError, match="one mean"):
        coefficients_of("pairwise", ["a"])


@pytest.mark.parametrize("k", [2, 3, 5, 12])
@pytest.mark.parametrize("q", [0.0, 0.7, 2.0, 3.3, 5.0, 9.0])
def test_ranges_are_scipys(k: int, q: float) -> None:
    assert range_tail(q, k) == pytest.approx(studentized_range.sf(q, k, np.inf), abs=2e-10, rel=1e-8)


def test_far_ranges_keep_their_digits() -> None:
    """Of two, a range is a normal difference, whose tail is known however far out."""
    assert range_tail(20.0, 2) == pytest.approx(2.0 * norm.sf(20.0 / np.sqrt(2.0)), rel=1e-10)
    assert np.isnan(range_tail(np.nan, 3))


CORRELATED = np.array([[1.0, 0.3, -0.2, 0.1], [0.3, 2.0, 0.5, 0.0], [-0.2, 0.5, 1.5, 0.4], [0.1, 0.0, 0.4, 0.7]])


def _contrasts(method: str, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    C = coefficients_of(method, [str(j) for j in range(len(V))]).matrix
    total = C @ V @ C.T
    se = np.sqrt(np.diag(total))
    return se, total / np.outer(se, se)


@pytest.mark.parametrize("V", [CORRELATED[:2, :2], CORRELATED[:3, :3], CORRELATED])
def test_largest_of_correlated_ones_is_the_multivariate_normal(V: np.ndarray) -> None:
    """Against scipy's (Genz's) probability of a box; all pairs, whose covariance is singular, against grids below."""
    _, R = _contrasts("reference", V)
    for c in (0.5, 1.7, 2.4):
        ends, center = np.full(len(R), c), np.zeros(len(R))
        box = multivariate_normal(center, R, allow_singular=True, maxpts=50_000, abseps=1e-7, releps=1e-7, seed=1)
        if len(R) == 1:
            inside = norm.cdf(c) - norm.cdf(-c)
        else:
            inside = np.mean([box.cdf(ends, lower_limit=-ends) for _ in range(3)])
        found = adjusted(ends, R, "mvt", 0.95, len(V), pairwise=False)
        assert found.pvalues == pytest.approx(1.0 - inside, abs=1e-4)


def test_pairs_of_three_against_a_grid() -> None:
    """In the plane, where the density can be added up."""
    _, R = _contrasts("pairwise", CORRELATED[:3, :3])
    values, vectors = np.linalg.eigh(R)
    L = vectors[:, 1:] * np.sqrt(values[1:])
    x = np.linspace(-9.0, 9.0, 3001)
    density = np.exp(-0.5 * (x[:, None] ** 2 + x**2)) / (2.0 * np.pi) * (x[1] - x[0]) ** 2
    reach = np.abs(L[:, 0, None, None] * x[:, None] + L[:, 1, None, None] * x).max(axis=0)
    for c in (1.0, 2.4, 3.1):
        found = adjusted(np.full(3, c), R, "mvt", 0.95, 3, pairwise=False)
        assert found.pvalues == pytest.approx(density[reach > c].sum(), rel=3e-4)


def test_pairs_of_four_against_a_grid() -> None:
    """On the sphere, by an even grid of heights and angles."""
    _, R = _contrasts("pairwise", CORRELATED)
    values, vectors = np.linalg.eigh(R)
    L = vectors[:, -3:] * np.sqrt(values[-3:])
    height, angle = (np.arange(400) + 0.5) / 400.0, 2.0 * np.pi * (np.arange(800) + 0.5) / 800.0
    radius = np.sqrt(1.0 - height**2)
    points = [np.outer(radius, np.cos(angle)), np.outer(radius, np.sin(angle)), np.outer(height, np.ones(800))]
    reach = np.abs(np.tensordot(L, points, 1)).max(axis=0)
    for c in (1.0, 2.4, 3.1):
        found = adjusted(np.full(6, c), R, "mvt", 0.95, 4, pairwise=False)
        assert found.pvalues == pytest.approx(chi.sf(c / reach, 3).mean(), rel=2e-5)


@pytest.mark.parametrize("k", [3, 4, 6])
def test_independent_means_of_one_variance_have_tukeys_distribution(k: int) -> None:
    _, R = _contrasts("pairwise", np.eye(k))
    z = np.array([0.3, 1.9, 2.6, 3.4] * len(R))[: len(R)]
    by_range = adjusted(z, R, "tukey", 0.95, k, pairwise=True)
    exact = adjusted(z, R, "mvt", 0.95, k, pairwise=True)
    np.testing.assert_allclose(exact.pvalues, by_range.pvalues, rtol=3e-3, atol=2e-5)
    assert exact.critical == pytest.approx(by_range.critical, abs=2e-3)
    assert by_range.critical == pytest.approx(studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2.0), abs=1e-7)


def test_tukey_is_conservative_where_means_are_correlated_or_vary() -> None:
    _, R = _contrasts("pairwise", CORRELATED)
    z = np.linspace(1.0, 3.5, len(R))
    assert (
        adjusted(z, R, "mvt", 0.95, 4, pairwise=True).pvalues < adjusted(z, R, "tukey", 0.95, 4, pairwise=True).pvalues
    ).all()


def test_steps_of_holm_and_bonferroni() -> None:
    """Holm, Scandinavian Journal of Statistics 6, 1979: multiply by 3, 2, 1 and never decrease."""
    p = np.array([0.01, 0.04, 0.03])
    z = norm.isf(p / 2.0)
    R = np.eye(3)
    np.testing.assert_allclose(adjusted(z, R, "holm", 0.95, 3, pairwise=False).pvalues, [0.03, 0.06, 0.06])
    found = adjusted(z, R, "bonferroni", 0.95, 3, pairwise=False)
    np.testing.assert_allclose(found.pvalues, [0.03, 0.12, 0.09])
    assert found.critical == pytest.approx(norm.isf(0.05 / 6.0))
    plain = adjusted(z, R, None, 0.9, 3, pairwise=False)
    np.testing.assert_allclose(plain.pvalues, p)
    assert plain.critical == pytest.approx(norm.isf(0.05))
    assert "Bonferroni" in adjusted(z, R, "holm", 0.95, 3, pairwise=False).note


def test_one_contrast_needs_no_adjustment() -> None:
    for adjust in ("holm", "tukey", "mvt", "bonferroni"):
        assert adjusted(np.array([2.0]), np.eye(1), adjust, 0.95, 2, pairwise=False).pvalues == pytest.approx(
            2.0 * norm.sf(2.0)
        )


def test_critical_values_have_the_level() -> None:
    _, R = _contrasts("reference", CORRELATED)
    found = adjusted(np.zeros(3), R, "mvt", 0.9, 4, pairwise=False)

    def tail(c: float) -> float:
        return float(adjusted(np.full(3, c), R, "mvt", 0.9, 4, pairwise=False).pvalues[0])

    assert found.critical == pytest.approx(brentq(lambda c: tail(c) - 0.1, 0.5, 5.0), abs=1e-8)


def test_refusals() -> None:
    with pytest.raises(OptionError, match="tukey"):
        adjusted(np.ones(2), np.eye(2), "tukey", 0.95, 3, pairwise=False)
    with pytest.raises(OptionError, match="adjust"):
        adjusted(np.ones(2), np.eye(2), "scheffe", 0.95, 3, pairwise=False)
    with pytest.raises(OptionError, match="no probabilities"):
        check_comparison("lnor", response("poisson", "log"))


@pytest.mark.parametrize("comparison", ["difference", "ratio", "lnor"])
def test_slopes_of_scales(comparison: str) -> None:
    m, h = np.array([0.02, 0.4, 0.97]), 1e-6
    slopes = (transformed(m + h, comparison)[0] - transformed(m - h, comparison)[0]) / (2.0 * h)
    np.testing.assert_allclose(transformed(m, comparison)[1], slopes, rtol=1e-7)


# Degrees of freedom ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("df", [2.5, 9.8, 48.0, 300.0])
@pytest.mark.parametrize("k", [2, 3, 6])
def test_studentized_ranges_are_those_of_scipy(k: int, df: float) -> None:
    for q in (0.5, 2.0, 3.7, 6.0):
        assert range_tail(q, k, df) == pytest.approx(studentized_range.sf(q, k, df), rel=1e-7, abs=1e-11)


def test_two_means_have_student_s_distribution() -> None:
    """Of one degree of freedom too, where SciPy's range is good to 1e-6."""
    for df in (1.0, 1.5, 12.0, 1e5):
        for t in (0.3, 2.0, 8.0):
            assert range_tail(np.sqrt(2.0) * t, 2, df) == pytest.approx(2.0 * student.sf(t, df), rel=1e-9)
    assert range_tail(3.0, 4, 1e9) == pytest.approx(range_tail(3.0, 4), rel=1e-7)


def test_adjustments_by_t_distributions() -> None:
    z, df = np.array([2.0, -2.6, 1.1]), np.array([5.0, 8.0, 30.0])
    plain = 2.0 * student.sf(np.abs(z), df)
    R = np.eye(3)
    none = adjusted(z, R, None, 0.95, 3, pairwise=False, df=df)
    np.testing.assert_allclose(none.pvalues, plain, rtol=1e-12)
    np.testing.assert_allclose(none.critical, student.ppf(0.975, df), rtol=1e-12)
    three = adjusted(z, R, "bonferroni", 0.95, 3, pairwise=False, df=df)
    np.testing.assert_allclose(three.pvalues, np.minimum(1.0, 3.0 * plain), rtol=1e-12)
    np.testing.assert_allclose(three.critical, student.ppf(1.0 - 0.05 / 6.0, df), rtol=1e-12)
    ranges = adjusted(z, R, "tukey", 0.95, 3, pairwise=True, df=df)
    expected = [studentized_range.sf(np.sqrt(2.0) * abs(a), 3, b) for a, b in zip(z, df, strict=True)]
    np.testing.assert_allclose(ranges.pvalues, expected, rtol=1e-7)
    ends = [studentized_range.ppf(0.95, 3, each) / np.sqrt(2.0) for each in df]
    np.testing.assert_allclose(ranges.critical, ends, rtol=1e-6)
    missing = adjusted(z, R, "bonferroni", 0.95, 3, pairwise=False, df=np.full(3, np.nan))
    np.testing.assert_array_equal(missing.pvalues, adjusted(z, R, "bonferroni", 0.95, 3, pairwise=False).pvalues)


@pytest.mark.parametrize("df", [4.0, 25.0])
def test_correlated_t_variables_are_averages_over_their_common_scale(df: float) -> None:
    """The largest of them, given the scale, is the largest of normal ones."""
    L = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.5, np.sqrt(0.66)]])
    R, c = L @ L.T, 2.2
    found = adjusted(np.full(3, c), R, "mvt", 0.95, 3, pairwise=False, df=np.full(3, df))
    u, weights = np.polynomial.legendre.leggauss(12)
    scales = np.sqrt(chi2.ppf(0.5 + 0.5 * u, df) / df)
    given = [adjusted(np.full(3, c * s), R, "mvt", 0.95, 3, pairwise=False).pvalues[0] for s in scales]
    assert found.pvalues[0] == pytest.approx(0.5 * weights @ given, abs=2e-3)
    assert found.note == ""
    uneven = adjusted(np.full(3, c), R, "mvt", 0.95, 3, pairwise=False, df=np.array([df, df + 9.0, df + 3.0]))
    np.testing.assert_allclose(uneven.pvalues, found.pvalues, rtol=1e-12)
    assert f"smallest df of all, {df:g}" in uneven.note
