"""Priors: densities with their derivatives, what they say in words, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

import clusterglm as cg
from clusterglm.errors import OptionError, PriorWarning
from clusterglm.model.covariance.compound_symmetry import CompoundSymmetry
from clusterglm.model.covariance.partial import PartialCorrelated
from clusterglm.sample.coordinates import Coordinate, Coordinates
from clusterglm.sample.densities import Exponential, HalfNormal, HalfT, LogisticBeta, Normal, StudentT

DENSITIES = {
    "normal": (Normal(1.0, 2.0), stats.norm(1.0, 2.0)),
    "t": (StudentT(3.0, 1.0, 2.0), stats.t(3.0, 1.0, 2.0)),
    "half-normal": (HalfNormal(1.5), stats.halfnorm(scale=1.5)),
    "half-t": (HalfT(1.0, 0.7), stats.halfcauchy(scale=0.7)),
    "exponential": (Exponential(2.0), stats.expon(scale=0.5)),
    "beta": (LogisticBeta(1.5, 2.5, 2.0, 0.3, ""), None),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_are_those_of_scipy_and_integrate_to_one(name) -> None:
    density, known = DENSITIES[name]
    whole = integrate.quad(lambda x: np.exp(density.terms(x).value), -60.0, 60.0, limit=400, points=[-2.0, 0.0, 2.0])[0]
    assert whole == pytest.approx(1.0, abs=2e-3 if name == "t" else 1e-7)
    if known is not None:
        scale = name in ("half-normal", "half-t", "exponential")
        for x in (-3.0, -0.2, 1.1):
            expected = known.logpdf(np.exp(x)) + x if scale else known.logpdf(x)
            assert density.terms(x).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", DENSITIES)
def test_derivatives_of_densities(name) -> None:
    density, h = DENSITIES[name][0], 1e-5
    for x in (-2.0, -0.3, 0.4, 1.7):
        ahead, here, behind = (density.terms(x + step) for step in (h, 0.0, -h))
        assert here.first == pytest.approx((ahead.value - behind.value) / (2 * h), rel=1e-7, abs=1e-8)
        assert here.second == pytest.approx((ahead.first - behind.first) / (2 * h), rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("name", DENSITIES)
def test_draws_have_the_density(name) -> None:
    density = DENSITIES[name][0]
    x = np.sort(density.draw(np.random.default_rng(1), 4000))
    cut = np.quantile(x, 0.7)
    below = integrate.quad(lambda v: np.exp(density.terms(v).value), -60.0, cut, limit=400)[0]
    assert below == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 4000))


@pytest.mark.parametrize(("kind", "d"), [(PartialCorrelated(), 2), (PartialCorrelated(), 3), (CompoundSymmetry(), 3)])
@pytest.mark.parametrize("eta", [0.7, 2.5])
def test_lkj_is_a_power_of_the_determinant(kind, d, eta) -> None:
    """Differences of log-densities are those of det(R)^(eta - 1), the Jacobian of the correlations included."""
    free = kind.size(d) - d

    def correlations(z):
        R = kind.factor(np.append(np.ones(d), z), d)
        return R @ R.T

    def direct(z):
        R, h = correlations(z), 1e-6
        entries = np.tril_indices(d, -1)
        moved = [(correlations(z + h * e) - correlations(z - h * e))[entries] / (2 * h) for e in np.eye(free)]
        J = np.array(moved) if free > 1 else np.array([[moved[0][0]]])
        return (eta - 1.0) * np.linalg.slogdet(R)[1] + np.linalg.slogdet(J)[1]

    def ours(z):
        each = [LogisticBeta(s.a[0] + eta * s.a[1], s.b[0] + eta * s.b[1], s.slope, s.shift, "") for s in kind.lkj(d)]
        return sum(one.terms(v).value for one, v in zip(each, z, strict=True))

    one, other = np.linspace(-0.6, 0.9, free), np.linspace(0.4, -0.8, free)
    assert ours(one) - ours(other) == pytest.approx(direct(one) - direct(other), abs=1e-7)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_derivatives_of_the_factor(d) -> None:
    kind, rng, h = PartialCorrelated(), np.random.default_rng(3), 1e-6
    phi = np.append(rng.uniform(0.5, 2.0, d), rng.normal(size=d * (d - 1) // 2))
    slopes, bends = kind.slopes(phi, d), kind.bends(phi, d)
    for k, e in enumerate(np.eye(len(phi))):
        first = (kind.factor(phi + h * e, d) - kind.factor(phi - h * e, d)) / (2 * h)
        second = (kind.slopes(phi + h * e, d) - kind.slopes(phi - h * e, d)) / (2 * h)
        np.testing.assert_allclose(slopes[k], first, atol=1e-8)
        np.testing.assert_allclose(bends[k], second, atol=1e-8)
    L = kind.factor(phi, d)
    np.testing.assert_allclose(kind.of(L @ L.T), phi, atol=1e-4)


def _coordinates() -> Coordinates:
    return Coordinates(
        (
            Coordinate("(Intercept)", "intercept"),
            Coordinate("x", "coefficient", 4.0, 3.0),
            Coordinate("sd(id: x)", "sd", 4.0),
        )
    )


def test_scales_follow_the_columns() -> None:
    found = dict(cg.Prior(sd="half_t(3, 2)").of(_coordinates()).lines())
    assert found["x"] == "normal with mean 0 and sd 0.625"
    assert found["sd(id: x)"] == "half-t with 3 df, scale 0.5"
    plain = dict(
        cg.Prior(coefficients={"x": "student_t(4, 1, 2)"}, sd="pc(2, 0.1)", scaled=False).of(_coordinates()).lines()
    )
    assert plain["x"] == "Student-t with 4 df about 1, scale 2"
    assert plain["sd(id: x)"] == "exponential with P(value > 2) = 0.1 (penalised complexity)"


def test_the_intercept_is_at_the_means() -> None:
    density = cg.Prior(scaled=False).of(_coordinates())
    x = np.array([0.5, -1.0, 0.2])
    expected = stats.norm(0, 2.5).logpdf([0.5 - 3.0, -1.0]).sum() + HalfT(3.0, 2.5).terms(0.2).value
    assert density.evaluate(x).value == pytest.approx(expected, rel=1e-12)
    drawn = density.draw(np.random.default_rng(1), 20000)
    assert np.std(drawn[:, 0] + 3.0 * drawn[:, 1]) == pytest.approx(2.5, rel=0.03)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sd": "flat"}, "no integral"),
        ({"sd": "half_t(3)"}, r"half_t\(df, scale\)"),
        ({"sd": "normal(0, 1)"}, "half_normal"),
        ({"coefficients": "normal(0, 1e-320)"}, "from 1e-12 to 1e[+]12, the location of either sign"),
        ({"sd": "half_normal(1e13)"}, "from 1e-12 to 1e[+]12"),
        ({"sd": "pc(1, 2)"}, "probability below 1"),
        ({"coefficients": "normal(0, -1)"}, "above 0"),
        ({"coefficients": "__import__('os')"}, "normal"),
        ({"coefficients": 3}, "as text"),
        ({"correlation": "lkj(0)"}, "above 0"),
        ({"scaled": 1}, "True or False"),
    ],
)
def test_what_is_no_prior_is_refused(arguments, words) -> None:
    with pytest.raises(OptionError, match=words):
        cg.Prior(**arguments)


def test_names_are_checked_and_flat_is_said() -> None:
    with pytest.raises(OptionError, match="of 'z'"):
        cg.Prior(coefficients={"z": "flat"}).of(_coordinates())
    with pytest.warns(PriorWarning, match="prior of x is flat"):
        found = cg.Prior(coefficients={"x": "flat"}).of(_coordinates())
    assert not found.proper
