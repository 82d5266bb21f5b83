"""Closed forms of normal responses against densities written out, and derivatives against differences."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from clusterglm.errors import OptionError
from clusterglm.likelihood.gaussian import statistics
from clusterglm.likelihood.gaussian.layout import Factor, layout_of
from clusterglm.likelihood.gaussian.small import inverse_and_logdet, product
from clusterglm.likelihood.gaussian.statistics import statistics_of

from .conftest import STRUCTURES, Case, case_of

BETA, SD = np.array([0.8, 0.4]), 1.3


def phi_of(case: Case, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=case.covariance.n_parameters) * 0.7 + 0.4


def differences(f: Callable[[np.ndarray], np.ndarray | float], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    rows = []
    for j in range(len(x)):
        step = np.zeros(len(x))
        step[j] = h
        rows.append((np.asarray(f(x + step)) - np.asarray(f(x - step))) / (2.0 * h))
    return np.array(rows)


def restricted(case: Case, phi: np.ndarray, sd: float) -> float:
    """REML's log-likelihood by its definition: the density of contrasts, in the scale of lme4."""
    (rows,) = case.written_out()
    V, X, y = case.marginal(phi, sd, rows), case.X[rows], case.y[rows]
    inverse = np.linalg.inv(V)
    A = X.T @ inverse @ X
    left = y - X @ np.linalg.solve(A, X.T @ inverse @ y)
    logs = np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1]
    return float(-0.5 * (len(y) - X.shape[1]) * np.log(2.0 * np.pi) - 0.5 * logs - 0.5 * left @ inverse @ left)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", STRUCTURES)
def test_the_density_is_that_of_a_multivariate_normal(name: str, weighted: bool) -> None:
    case = case_of(name, weighted=weighted)
    phi = phi_of(case)
    expected = sum(
        multivariate_normal(case.X[rows] @ BETA, case.marginal(phi, SD, rows)).logpdf(case.y[rows])
        for rows in case.written_out()
    )
    assert case.task().whole(BETA, phi, SD).value == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_restricted_likelihood_is_that_of_contrasts(name: str) -> None:
    case = case_of(name)
    phi = phi_of(case)
    assert case.task(reml=True).whole(BETA, phi, SD).value == pytest.approx(restricted(case, phi, SD), rel=1e-11)


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", STRUCTURES)
def test_derivatives_are_those_of_the_value(name: str, weighted: bool, reml: bool) -> None:
    case = case_of(name, weighted=weighted)
    task, p = case.task(reml), len(BETA)
    x = np.concatenate([BETA, phi_of(case), [SD]])

    def at(z: np.ndarray) -> tuple[float, np.ndarray]:
        found = task.whole(z[:p], z[p:-1], float(z[-1]))
        return found.value, found.score

    here = task.whole(x[:p], x[p:-1], SD)
    some = slice(p if reml else 0, None)  # restricted likelihoods have no coefficients
    scale = np.abs(here.hessian).max()
    np.testing.assert_allclose(differences(lambda z: at(z)[0], x)[some], here.score[some], atol=1e-9 * scale)
    np.testing.assert_allclose(
        differences(lambda z: at(z)[1], x)[some, some], here.hessian[some, some], atol=1e-8 * scale
    )
    theta = phi_of(case, 6)
    profiled = task.evaluate(theta)
    scale = max(1.0, np.abs(profiled.hessian).max())
    assert profiled.value == task.value(theta)
    np.testing.assert_allclose(differences(task.value, theta), profiled.score, atol=1e-8 * scale)
    np.testing.assert_allclose(
        differences(lambda z: task.evaluate(z).score, theta), profiled.hessian, atol=1e-7 * scale
    )


@pytest.mark.parametrize("name", ["us", "nested", "crossed"])
def test_the_profiled_likelihood_is_the_best_over_coefficients_and_residual(name: str) -> None:
    case = case_of(name)
    task, theta = case.task(), phi_of(case)
    best = task.best(task.moments(theta).S)
    sd = float(np.sqrt(best.Q / task.nu))
    there = task.whole(best.beta, theta * sd**task.exponents, sd)
    assert there.value == pytest.approx(task.value(theta), rel=1e-13)
    np.testing.assert_allclose(there.score[:2], 0.0, atol=1e-10)


def test_no_digits_are_lost_where_effects_are_a_thousand_times_the_residual() -> None:
    """Against 60 digits."""
    case = case_of("us")
    phi = 1000.0 * phi_of(case)
    V, y = case.marginal(phi, SD, np.arange(len(case.y))), case.y - case.X @ BETA
    with mpmath.workdps(60):
        L = mpmath.cholesky(mpmath.matrix(V.tolist()))
        z = mpmath.lu_solve(L, mpmath.matrix(y.tolist()))
        logdet = 2 * mpmath.fsum(mpmath.log(L[j, j]) for j in range(len(y)))
        exact = -(len(y) * mpmath.log(2 * mpmath.pi) + logdet + mpmath.fsum(each**2 for each in z)) / 2
    assert case.task().whole(BETA, phi, SD).value == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("name", ["crossed", "three crossed"])
def test_entries_stored_apart_are_the_same_likelihood(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(name)
    theta = phi_of(case)
    whole = case.task().evaluate(theta)
    monkeypatch.setattr(statistics, "_STORED_WHOLE", 2.0)
    monkeypatch.setattr(statistics, "_NUMBERS_AT_ONCE", 40)  # and work in several parts
    apart = case.task().evaluate(theta)
    np.testing.assert_allclose(apart.hessian, whole.hessian, rtol=1e-10)
    assert apart.value == pytest.approx(whole.value, rel=1e-13)


def test_components_of_different_sizes_are_filled_up() -> None:
    """Districts with 1 to 5 schools, with children in classes, some of which are no factor's only row."""
    rng = np.random.default_rng(3)
    n = 300
    district = rng.integers(0, 12, n)
    school = district * 5 + rng.integers(0, 1 + district % 5, n)
    classes = school * 3 + rng.integers(0, 3, n)
    base = case_of("three nested", n=n)
    case = Case(
        base.X, base.Z, base.y, {"a": district, "b": school, "c": classes}, base.covariance, base.weights,
        base.cluster_weights,
    )  # fmt: skip
    phi = phi_of(case)
    V = case.marginal(phi, SD, np.arange(n))
    expected = multivariate_normal(case.X @ BETA, V).logpdf(case.y)
    assert case.task().whole(BETA, phi, SD).value == pytest.approx(expected, rel=1e-11)
    groups = case.task().statistics.layout.groups
    assert any((levels == -1).any() for group in groups for levels in group.levels)


def test_the_factor_with_most_effects_is_eliminated_first() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.permutation(np.arange(200) % 4), rng.permutation(np.arange(200) % 50)
    factors = [Factor(small, 4, np.array([0])), Factor(large, 50, np.array([1]))]
    layout = layout_of(factors)
    assert (layout.inner, layout.outer) == (1, (0,))
    assert sorted(layout.units.tolist()) == list(range(50))


def test_too_many_crossed_levels_are_refused_with_their_gigabytes() -> None:
    n = 120_000
    rng = np.random.default_rng(0)
    factors = [
        Factor(rng.permutation(np.arange(n) % k).astype(np.int64), k, np.array([j]))
        for j, k in enumerate((30_000, 29_000))
    ]
    with pytest.raises(OptionError, match="81 gigabytes"):
        statistics_of(np.ones((n, 1)), np.ones(n), np.ones((n, 2)), factors, np.ones(n), np.ones(n))


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_many_small_matrices(d: int) -> None:
    rng = np.random.default_rng(d)
    A = rng.normal(size=(7, d, d + 2))
    squares = A @ np.swapaxes(A, 1, 2)
    inverse, logdet = inverse_and_logdet(squares)
    np.testing.assert_allclose(product(squares, inverse), np.broadcast_to(np.eye(d), (7, d, d)), atol=1e-9)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(squares)[1], rtol=1e-10)
