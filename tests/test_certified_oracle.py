"""The oracle of `benchmarks/certified.py` against closed forms and mpmath; it shares no code with the package."""

from __future__ import annotations

import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

if np.finfo(np.longdouble).eps > 1e-18:
    pytest.skip("a long double has no more digits than a double here", allow_module_level=True)
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from oracle import INTERCEPTS, Rows, exact, intercept, log_integral, loglik
from oracle.integral import GAUSS, KRONROD, NODES
from oracle.models import LINKS, NAMES, model
from oracle.response import KERNELS, Long, constants, log_factorial

SHAPES = {"student_t": (3.0,), "gaussian_mixture": (0.3, 3.0)}


def rows(eta: object, y: object, n: object = None, weight: float = 1.0) -> Rows:
    """A cluster of binomial rows, or of counts where there is no n."""
    eta, y = (np.atleast_1d(np.asarray(x, dtype=Long)) for x in (eta, y))
    family = "poisson" if n is None else "binomial"
    n = y if n is None else np.atleast_1d(np.asarray(n, dtype=Long))
    w = Long(weight)
    b = w * np.ones_like(y) if family == "poisson" else w * (n - y)
    return Rows(eta, w * y, b, constants(family, y, n, w).sum())


def agrees(cluster: Rows, link: str, name: str, sigma: float, shape: tuple[float, ...], log: mpf) -> bool:
    """Whether the oracle is within its error of `log`, and claims more than a double can hold."""
    found = log_integral(cluster, link, intercept(name, sigma, *shape))
    assert found.error < 1e-14 + 1e-17 * float(found.size)
    return exact.distance(found.value, log) <= found.error


def test_the_rules_of_gauss_and_kronrod_are_exact_for_the_powers_they_should_be():
    for weights, degree in ((KRONROD, 31), (GAUSS, 19)):
        for power in range(degree + 1):
            wanted = Long(2 - 2 * (power % 2)) / (power + 1)
            assert abs((weights * NODES**power).sum() - wanted) < 1e-18
        assert abs((weights * NODES ** (degree + 1)).sum() - 2 / Long(degree + 2)) > 1e-13


@pytest.mark.parametrize("link", LINKS)
def test_log_probabilities_and_their_slopes(link):
    eta = np.array([-45, -8.3, -0.7, 0, 0.3, 2.5, 7, 9], dtype=Long)
    kernel, wanted = KERNELS[link], exact._kernel(link)
    for a, b in ((3, 0), (0, 2), (4, 5)):
        if link == "log" and b == 0:
            continue
        value, slope = (f(eta, Long(a), Long(b)) for f in (kernel.value, kernel.slope))
        with mp.workdps(60):
            for k, e in enumerate(eta):
                at = exact._exact(e)
                true = wanted(at, mpf(a), mpf(b))
                assert exact.distance(value[k], true) <= 1e-18 * max(1, abs(true))
                steep = mp.diff(lambda x, a=a, b=b: wanted(x, mpf(a), mpf(b)), at)
                assert exact.distance(slope[k], steep) <= 1e-16 * max(1, abs(steep))


def test_factorials():
    n = np.array([0, 1, 39, 40, 1000, 6e7])
    with mp.workdps(40):
        for found, k in zip(log_factorial(n), n.tolist(), strict=True):
            true = mp.loggamma(k + 1)
            assert exact.distance(found, true) <= 2e-19 * max(1, true)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sigma", [1e-6, 0.03, 1.0, 4.0])
def test_every_density_integrates_to_one(name, sigma):
    shapes = {"student_t": [(0.5,), (3.0,), (1e4,)], "gaussian_mixture": [(0.3, 3.0), (0.02, 10.0)]}.get(name, [()])
    for shape in shapes:
        assert agrees(rows(0, 0, 0), "logit", name, sigma, shape, mpf(0))


@pytest.mark.parametrize("name", NAMES)
def test_what_bounds_a_density_bounds_it(name):
    rng = np.random.default_rng(1)
    density = intercept(name, 0.7, *SHAPES.get(name, ()))
    u = rng.normal(size=200).astype(Long)
    v = u + 10 ** rng.uniform(-3, 1, 200)
    inside = density.log_density(u[:, None] + (v - u)[:, None] * np.linspace(0, 1, 101))
    assert np.all(inside.max(1) <= density.highest(u, v) + 1e-17)
    assert np.all(inside.min(1) >= density.lowest(u, v) - 1e-17)
    if name != "laplace":  # its corner is a breakpoint
        lost = -np.diff(inside, 2, axis=1) / ((v - u) / 100)[:, None]
        assert np.all(np.maximum(lost, 0).sum(1) <= density.bend(u, v) * (1 + 1e-6) + 1e-9)


@pytest.mark.parametrize("sigma", [0.001, 0.4, 2.0, 20.0])
@pytest.mark.parametrize("counts", [[0], [3, 0, 1], [60_000_000], [50_000_000, 7]])
def test_counts_with_a_gamma_factor_are_negative_multinomial(sigma, counts):
    eta = np.linspace(-1, 2, len(counts)).astype(Long)
    with mp.workdps(60):
        k, mu = 1 / mpf(sigma) ** 2, [mp.exp(exact._exact(e)) for e in eta]
        log = k * mp.log(k) - mp.loggamma(k) + mp.loggamma(k + sum(counts)) - (k + sum(counts)) * mp.log(k + sum(mu))
        log += sum(y * mp.log(m) - mp.loggamma(y + 1) for y, m in zip(counts, mu, strict=True))
    assert agrees(rows(eta, counts), "log", "log_gamma", sigma, (), log)


@pytest.mark.parametrize(("y", "n"), [(0, 1), (3, 7), (0, 1e5), (1e5, 1e5), (59_999_999, 6e7), (3e7, 6e7)])
def test_a_logistic_intercept_makes_every_number_of_successes_as_likely(y, n):
    with mp.workdps(40):
        log = -mp.log(mpf(n) + 1)
    assert agrees(rows(0, y, n), "logit", "logistic", 1.0, (), log)


@pytest.mark.parametrize("sigma", [1e-4, 0.5, 8.0])
def test_probits_with_a_gaussian_intercept(sigma):
    with mp.workdps(40):
        s = mpf(sigma)
        one = mp.log(mp.ncdf(mpf(1.25) / mp.sqrt(1 + s * s)))
        two = mp.log(mpf(1) / 4 + mp.asin(s * s / (1 + s * s)) / (2 * mp.pi))
    assert agrees(rows(1.25, 1, 1), "probit", "gaussian", sigma, (), one)
    assert agrees(rows([0, 0], [1, 1], [1, 1]), "probit", "gaussian", sigma, (), two)


@pytest.mark.parametrize("sigma", [1e-5, 0.5, 12.0])
def test_links_that_stay_what_they_are(sigma):
    with mp.workdps(50):
        s = mpf(sigma)
        phi = 1 / mp.sqrt(1 + 3 * s * s / mp.pi**2)
        bridge = -mp.log1p(mp.exp(-phi * mpf(2.5)))
        gamma = -mp.log1p(s * s * mp.exp(mpf(0.75))) / s**2
    assert agrees(rows(2.5, 1, 1), "logit", "bridge", sigma, (), bridge)
    assert agrees(rows(0.75, 0, 1), "cloglog", "log_gamma", sigma, (), gamma)


@pytest.mark.parametrize(
    ("link", "name", "sigma", "eta", "y", "n"),
    [
        ("probit", "laplace", 0.03, -0.25, 1000, 1e5),
        ("probit", "cauchy", 1e-3, -0.25, 99_000, 1e5),
        ("logit", "student_t", 1e-6, -0.4, 10, 1000),
        ("cloglog", "gaussian_mixture", 0.1, -3.0, 59_940_000, 6e7),
        ("logit", "bridge", 1e-3, 7.5, 3e5, 6e7),
        ("cloglog", "secant", 26.0, [-8.0, -7.0], [2e4, 2e4], [2e4, 2e4]),
        ("log", "gumbel", 0.3, [15.0, 14.0], [3, 0], None),
        ("log", "sinh_normal", 2.0, -3.0, 6e7, None),
        ("logit", "gaussian", 1e-6, 8.0, 0, 2e6),
        ("probit", "logistic", 0.2, 6.0, [0], [2e6]),
    ],
)
def test_outlying_clusters_by_mpmath(link, name, sigma, eta, y, n):
    cluster, shape = rows(eta, y, n), SHAPES.get(name, ())
    log, error = exact.log_integral(cluster, link, name, sigma, shape)
    assert error < 1e-16
    assert agrees(cluster, link, name, sigma, shape, log)


def test_weights_and_equal_clusters():
    density = intercept("student_t", 0.8, 3.0)
    first, second = rows([0.5, 0.5, -1], [1, 0, 1], [1, 1, 1]), rows([-1, 0.5], [1, 1], [1, 2])
    one = log_integral(first, "logit", density)
    difference = constants("binomial", Long(1), Long(2), Long(1))
    assert abs(log_integral(second, "logit", density).value - difference - one.value) < 1e-17
    heavier = Rows(first.eta, first.a, first.b, first.constant, 2.5)
    assert abs(loglik([first, heavier], "logit", density).value - 3.5 * one.value) < 1e-16
    twice = rows([0.5, -1], [1, 1], [1, 1], weight=2.0)
    again = rows([0.5, -1, 0.5, -1], [1, 1, 1, 1], [1, 1, 1, 1])
    assert log_integral(twice, "logit", density).value == log_integral(again, "logit", density).value


def test_models_follow_from_their_numbers_and_meet_every_distribution_with_every_link():
    assert {(m.name, m.link) for m in (model(1, number) for number in range(len(NAMES) * len(LINKS)))} == {
        (name, link) for name in INTERCEPTS for link in LINKS
    }
    one, again = model(3, 17), model(3, 17)
    assert one.traits == again.traits
    assert all(np.array_equal(one.columns[key], again.columns[key]) for key in one.columns)
    assert not np.array_equal(one.columns["y"], model(4, 17).columns["y"])


def test_without_an_intercept_of_its_own_a_cluster_is_its_rows():
    found = loglik([rows([0.5, -1], [2, 0], [3, 1])], "logit", None)
    p = 1 / (1 + mpmath.exp(-0.5))
    true = mpmath.log(3 * p**2 * (1 - p)) - mpmath.log1p(mpmath.exp(-1))
    assert exact.distance(found.value, true) < 1e-15
