"""Structures of covariance: derivatives against differences, and parameters of a covariance and back."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.model.covariance import STRUCTURES, Covariance, CovarianceTerm

CASES = [(name, d) for name in STRUCTURES for d in (1, 2, 3, 4)]


ANGLES = [("angle", d) for d in (2, 3, 4)]  # where a profile follows a correlation


def term(name: str, d: int, group: str = "id") -> CovarianceTerm:
    return CovarianceTerm(group, tuple("abcd"[:d]), name)


@pytest.mark.parametrize(("name", "d"), CASES + ANGLES)
def test_derivatives_against_differences(name: str, d: int) -> None:
    whole = Covariance((term(name, d), term("us", 2, "other")))
    rng = np.random.default_rng(d)
    phi, weights, h = rng.normal(size=whole.n_parameters), rng.normal(size=(d + 2, d + 2)), 1e-5
    steps = h * np.eye(len(phi))
    slopes = np.array([(whole.factor(phi + step) - whole.factor(phi - step)) / (2 * h) for step in steps])
    np.testing.assert_allclose(whole.slopes(phi), slopes, atol=1e-9)
    bends = np.array(
        [np.einsum("aij,ij->a", whole.slopes(phi + s) - whole.slopes(phi - s), weights) / (2 * h) for s in steps]
    )
    np.testing.assert_allclose(whole.bends(phi, weights), bends, atol=1e-8)
    outside = ~whole.pattern
    assert not whole.factor(phi)[outside].any()
    assert not whole.slopes(phi)[:, outside].any()


@pytest.mark.parametrize(("name", "d"), CASES)
def test_parameters_of_a_covariance_and_back(name: str, d: int) -> None:
    whole = Covariance((term(name, d),))
    phi = np.random.default_rng(d).normal(size=whole.n_parameters)
    phi[:d] = np.abs(phi[:d])  # one sign for all: a compound symmetry has no other
    L = whole.factor(phi)
    again = whole.factor(whole.of(L @ L.T))
    np.testing.assert_allclose(again @ again.T, L @ L.T, rtol=1e-9, atol=1e-12)
    turned = whole.factor(whole.canonical(-phi if name != "cs" else np.append(-phi[:d], phi[d:])))
    assert (np.diag(turned) >= 0.0).all()
    if name != "us":  # whose rows cannot be turned one by one
        np.testing.assert_allclose(turned @ turned.T, L @ L.T, rtol=1e-12)


@pytest.mark.parametrize(("name", "d"), ANGLES)
def test_the_correlation_of_an_angle(name: str, d: int) -> None:
    whole = Covariance((term(name, d),))
    phi = np.random.default_rng(d).normal(size=whole.n_parameters)
    phi[:3] = 1.3, 0.7, -0.4
    L = whole.factor(phi)
    S = L @ L.T
    np.testing.assert_allclose(np.sqrt(np.diag(S))[:2], phi[:2])
    assert S[1, 0] / (phi[0] * phi[1]) == pytest.approx(np.sin(phi[2]))
    again = whole.factor(whole.of(S))
    np.testing.assert_allclose(again @ again.T, S, rtol=1e-9, atol=1e-12)


def test_signs_of_columns_are_symmetries() -> None:
    whole = Covariance((term("us", 3),))
    phi = np.random.default_rng(0).normal(size=6)
    L, turned = whole.factor(phi), whole.factor(whole.canonical(phi))
    np.testing.assert_allclose(turned @ turned.T, L @ L.T, rtol=1e-14)
    assert (np.diag(turned) >= 0.0).all()


@pytest.mark.parametrize("d", [2, 3, 6])
def test_compound_symmetry_is_a_covariance_whatever_its_parameter(d: int) -> None:
    whole = Covariance((CovarianceTerm("id", tuple(f"f{k}" for k in range(d)), "cs"),))
    for t in (-8.0, -1.0, 0.0, 2.0, 8.0):
        L = whole.factor(np.append(np.ones(d), t))
        R = L @ L.T
        np.testing.assert_allclose(np.diag(R), 1.0)
        off = R[~np.eye(d, dtype=bool)]
        np.testing.assert_allclose(off, off[0], atol=1e-12)
        assert -1.0 / (d - 1) < off[0] < 1.0


def test_names_have_the_grouping_factor() -> None:
    whole = Covariance((CovarianceTerm("id", ("(Intercept)", "x"), "us"), CovarianceTerm("id", ("z",), "diag")))
    assert whole.labels == ("id: L[(Intercept),(Intercept)]", "id: L[x,(Intercept)]", "id: L[x,x]", "id: sd(z)")
    assert (whole.n_effects, whole.n_parameters) == (3, 4)


@pytest.mark.parametrize(("name", "d"), CASES)
def test_units_of_effects(name: str, d: int) -> None:
    whole = Covariance((term(name, d), term("us", 2, "other")))
    rng = np.random.default_rng(d)
    phi, scale = rng.normal(size=whole.n_parameters), whole.common(rng.uniform(0.1, 3.0, size=d + 2))
    expected = scale[:, None] * whole.factor(phi)
    np.testing.assert_allclose(whole.factor(whole.units(scale) * phi), expected, rtol=1e-12)


@pytest.mark.parametrize(("name", "d"), CASES)
def test_standard_deviations_and_correlations(name: str, d: int) -> None:
    whole = Covariance((term(name, d), term("us", 2, "other")))
    rng = np.random.default_rng(d)
    phi = whole.canonical(rng.normal(size=whole.n_parameters))
    phi[:d] = np.abs(phi[:d]) if name in ("diag", "homdiag", "cs") else phi[:d]
    values, slopes = whole.read(phi)
    L = whole.factor(phi)
    S = L @ L.T
    sd = np.sqrt(np.diag(S))
    R = S / np.outer(sd, sd)
    np.testing.assert_allclose(values[-3:], [sd[-2], sd[-1], R[-1, -2]], rtol=1e-12)
    if name == "us":
        np.testing.assert_allclose(values[:d], sd[:d], rtol=1e-12)
        np.testing.assert_allclose(values[d:-3], R[:d, :d][np.tril_indices(d, -1)], rtol=1e-12)
    if name == "cs" and d > 1:
        np.testing.assert_allclose(values[d], R[1, 0], rtol=1e-12)
    h = 1e-6
    steps = [(whole.read(phi + step)[0] - whole.read(phi - step)[0]) / (2 * h) for step in h * np.eye(len(phi))]
    np.testing.assert_allclose(slopes, np.array(steps).T, atol=1e-8)
    assert len(whole.read_labels()) == len(values)


@pytest.mark.parametrize("fisher", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_same_covariance_by_what_is_read(d: int, fisher: bool) -> None:
    """Derivatives by standard deviations and correlations, which profiles follow."""
    from clusterglm.model.covariance.correlated import Correlated, FisherCorrelated

    rng, kind, h = np.random.default_rng(d), FisherCorrelated() if fisher else Correlated(), 1e-5
    A = rng.normal(size=(d, d + 2))
    phi = kind.of(A @ A.T)
    L = kind.factor(phi, d)
    np.testing.assert_allclose(L @ L.T, A @ A.T, rtol=1e-10)
    steps = h * np.eye(len(phi))
    slopes = [(kind.factor(phi + s, d) - kind.factor(phi - s, d)) / (2 * h) for s in steps]
    np.testing.assert_allclose(kind.slopes(phi, d), slopes, atol=1e-7)
    bends = [(kind.slopes(phi + s, d) - kind.slopes(phi - s, d)) / (2 * h) for s in steps]
    np.testing.assert_allclose(kind.bends(phi, d), bends, atol=1e-6)


def test_correlations_of_no_covariance_give_no_number() -> None:
    from clusterglm.model.covariance.correlated import Correlated

    assert np.isnan(Correlated().factor(np.array([1.0, 1.0, 1.0, 0.9, 0.9, -0.9]), 3)).all()


def test_names_of_standard_deviations() -> None:
    whole = Covariance((CovarianceTerm("id", ("(Intercept)", "x"), "us"), CovarianceTerm("g", ("a", "b"), "homdiag")))
    assert whole.read_labels() == ("sd(id: (Intercept))", "sd(id: x)", "cor(id: (Intercept),x)", "sd(g)")
