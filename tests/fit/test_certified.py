"""Automatic integration where two rules agree and are both wrong: a sharp cluster far out, heavy tails, a corner.

What is compared with is a dense rule of the intercept itself, written here: Gauss-Legendre on panels that are graded
about zero, in units of sigma, and about the place where the cluster's likelihood is highest.
"""

from __future__ import annotations

import warnings

import mpmath as mp
import numpy as np
import pytest
from scipy.special import expit, gammaln, log_ndtr, logsumexp
from scipy.stats import cauchy, laplace, norm, t

import clusterglm as cg
from clusterglm import _core
from clusterglm.errors import AccuracyWarning
from clusterglm.likelihood.scalar.choice import rules_one_by_one
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.outside import Summits
from clusterglm.likelihood.scalar.panels import lay_panels
from clusterglm.model.distribution import Gaussian
from clusterglm.model.family import RESPONSES

X, W = np.polynomial.legendre.leggauss(20)
PRIORS = {
    "gaussian": norm.logpdf,
    "laplace": laplace.logpdf,
    "cauchy": cauchy.logpdf,
    "student_t(3)": t(3).logpdf,
    "student_t(1)": t(1).logpdf,
}


def log_p(link: str, successes: np.ndarray, failures: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Kernel of the binomial log-likelihood."""
    if link == "logit":
        up, down = -np.logaddexp(0.0, -eta), -np.logaddexp(0.0, eta)
    elif link == "probit":
        up, down = log_ndtr(eta), log_ndtr(-eta)
    else:
        down = -np.exp(np.minimum(eta, 700.0))
        up = np.where(eta < -30.0, eta, np.log(-np.expm1(np.minimum(down, -1e-300))))
    with np.errstate(invalid="ignore"):
        return np.where(successes > 0.0, successes * up, 0.0) + np.where(failures > 0.0, failures * down, 0.0)


def dense(link: str, prior: str, sigma: float, successes: np.ndarray, failures: np.ndarray, eta: np.ndarray) -> float:
    """Log of the integral of one cluster, with its constants."""

    def kernel(b: np.ndarray) -> np.ndarray:
        return log_p(link, successes[:, None], failures[:, None], eta[:, None] + b).sum(axis=0)

    low, high = -60.0, 60.0
    for _ in range(14):
        grid = np.linspace(low, high, 401)
        best = int(np.argmax(kernel(grid)))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 400)]
    away = np.append(0.0, np.geomspace(1e-9, 1e4, 140))
    far = np.geomspace(1e4, 1e250, 200)
    corners = np.concatenate([grid[best] + away, grid[best] - away, 1e3 * sigma * away, -1e3 * sigma * away, far, -far])
    edges = np.unique(np.concatenate([corners, np.linspace(-60.0, 60.0, 241), sigma * np.linspace(-45.0, 45.0, 181)]))
    half = 0.5 * np.diff(edges)[:, None]
    b = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * X).ravel()
    with np.errstate(all="ignore"):
        terms = kernel(b) + PRIORS[prior](b / sigma) - np.log(sigma) + np.log(half * W).ravel()
    n = successes + failures
    return float(
        logsumexp(terms[np.isfinite(terms)]) + (gammaln(n + 1) - gammaln(successes + 1) - gammaln(failures + 1)).sum()
    )


def twelve_and_one(trials: float, share: float) -> dict[str, np.ndarray]:
    """Twelve clusters of two rows of ten trials, and one of a single row of very many."""
    rng = np.random.default_rng(3)
    n = np.append(np.full(24, 10.0), trials)
    y = np.append(rng.binomial(10, 0.4, size=24).astype(float), round(share * trials))
    return {"y": y, "f": n - y, "id": np.append(np.repeat(np.arange(12), 2), 12)}


def exact(fit: object, data: dict[str, np.ndarray], link: str, prior: str) -> float:
    """The log-likelihood at the estimates of a fit by the dense rule."""
    eta = np.full(len(data["y"]), float(fit.params.iloc[0]))  # type: ignore[attr-defined]
    rows = [data["id"] == i for i in np.unique(data["id"])]
    return sum(dense(link, prior, fit.sigma, data["y"][r], data["f"][r], eta[r]) for r in rows)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("prior", "link", "sigma", "trials", "share"),
    [
        ("laplace", "probit", 0.03, 1e5, 0.01),
        ("student_t(3)", "logit", 1e-6, 1e3, 0.01),
        ("cauchy", "probit", 1e-6, 1e5, 0.99),
        ("cauchy", "logit", 0.01, 2e6, 0.001),
        ("laplace", "cloglog", 1e-4, 1e3, 0.5),
        ("gaussian", "probit", 0.05, 1e6, 0.01),
        ("student_t(1)", "cloglog", None, 1e5, 0.5),
        ("laplace", "logit", None, 1e6, 0.999),
    ],
)
def test_a_sharp_cluster_far_out(prior: str, link: str, sigma: float | None, trials: float, share: float) -> None:
    data = twelve_and_one(trials, share)
    held = {} if sigma is None else {"sigma": sigma, "fix_sigma": True}
    fit = cg.random_effects("cbind(y, f) ~ 1", data, cluster="id", link=link, distribution=prior, **held)
    assert fit.quadrature.error <= 1e-6
    assert abs(fit.loglik - exact(fit, data, link, prior)) <= fit.quadrature.error


@pytest.mark.parametrize("prior", ["laplace", "cauchy", "student_t(3)", "student_t(1)"])
@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_reported_errors_are_bounds(prior: str, link: str) -> None:
    """Clusters of one trial to a million, sigma over seven decades, some clusters far from the rest."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        ids = np.repeat(np.arange(6), rng.integers(1, 4, size=6))
        n = np.round(10.0 ** rng.uniform(0.0, 6.0, size=len(ids)))
        eta = rng.uniform(-3.0, 1.0) + rng.choice([-3.0, 0.0, 3.0], size=6)[ids]
        y = rng.binomial(n.astype(int), expit(eta)).astype(float)
        data = {"y": y, "f": n - y, "id": ids}
        sigma = 10.0 ** rng.uniform(-6.0, 1.0)
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            fit = cg.random_effects(
                "cbind(y, f) ~ 1", data, cluster="id", link=link, distribution=prior, sigma=sigma, fix_sigma=True
            )
        warned = any(warning.category is AccuracyWarning for warning in given)
        assert warned or abs(fit.loglik - exact(fit, data, link, prior)) <= fit.quadrature.error + 1e-13 * abs(
            fit.loglik
        )


def test_rounding_is_reported() -> None:
    """Counts of tens of millions: the terms of the log-likelihood have more digits than a double holds."""
    rng = np.random.default_rng(3)
    ids = np.repeat(np.arange(8), 2)
    y = rng.poisson(6e7 * np.exp(0.3 * rng.normal(size=8))[ids]).astype(float)
    control = cg.Control(tol=1e-4)  # rounding leaves no more of the gradient
    with pytest.warns(AccuracyWarning, match="rounding included"):
        fit = cg.random_effects(
            "y ~ 1", {"y": y, "id": ids}, cluster="id", family="poisson", sigma=0.3, fix_sigma=True, control=control
        )
    with mp.workdps(40):
        beta = mp.mpf(float(fit.params.iloc[0]))
        total = mp.fsum(poisson_integral([mp.mpf(count) for count in y[ids == i]], beta, mp.mpf(0.3)) for i in range(8))
        error = abs(total - mp.mpf(fit.loglik))
    assert 1e-8 < error <= fit.quadrature.error < 1e-3


def poisson_integral(counts: list[mp.mpf], beta: mp.mpf, sigma: mp.mpf) -> mp.mpf:
    """Log of the integral of a cluster with a Gaussian intercept, to the digits at work."""

    def g(b: mp.mpf) -> mp.mpf:
        rows = mp.fsum(count * (beta + b) - mp.e ** (beta + b) - mp.loggamma(count + 1) for count in counts)
        return rows - b * b / (2 * sigma**2) - mp.log(sigma * mp.sqrt(2 * mp.pi))

    peak = mp.findroot(lambda b: mp.diff(g, b), mp.log(mp.fsum(counts) / len(counts)) - beta)
    width, top = 1 / mp.sqrt(mp.fsum(counts)), g(peak)
    return top + mp.log(mp.quad(lambda b: mp.e ** (g(b) - top), [peak + k * width for k in range(-14, 15, 2)]))


@pytest.mark.parametrize("width", [3e-2, 3e-3, 3e-4])
def test_a_rise_at_the_end_of_a_panel_is_seen(width):
    """Where the halves and the whole both have their last node before it (benchmark model (1, 1564))."""
    forever = Summits(np.array([np.inf]), np.array([np.inf]), 37.0, np.zeros(1))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    for place in np.linspace(4.73, 4.77, 41):

        def log_integrands(_, points, place=place):
            with np.errstate(over="ignore"):
                return -np.exp(-(points - place) / width) + norm.logpdf(points)

        edges = place + width * np.linspace(-8.0, 40.0, 200)
        half = 0.5 * np.diff(edges)[:, None]
        points = 0.5 * (edges[:-1] + edges[1:])[:, None] + half * nodes
        rise = logsumexp(log_integrands(None, points), b=half * weights)
        exact = np.logaddexp(rise, norm.logsf(edges[-1]))
        (laid,) = lay_panels(log_integrands, forever, (), np.array([1e-7]))
        assert abs(laid.value - exact) <= laid.error + 1e-14
        assert laid.error <= 1e-7


@pytest.mark.parametrize("weight", [1.0, 3.0, 40.0])
@pytest.mark.parametrize("each", [1e-7, 3e-9, 1e-10])
def test_what_lies_beyond_the_ends_of_a_rule_is_bounded(weight: float, each: float) -> None:
    """The posterior falls on one side as the intercept's density alone does, far out, where it is narrow otherwise."""
    successes, eta, sigma = 10.0 ** np.arange(1.0, 6.0), 0.545344819, 0.3722760609
    model, m = RESPONSES["binomial_cloglog"], len(successes)
    X, none, weights = np.ones((m, 1)), np.zeros(m), np.full(m, weight)
    problem = _core.Problem(np.arange(m + 1), X, successes, none, none, weights, model.code)
    likelihood = MarginalLikelihood(problem, Gaussian(), "normal")
    choice = rules_one_by_one(likelihood, np.array([eta, sigma]), each, unimodal=True)
    found = likelihood.evaluate(np.array([eta, sigma]), choice.plan, 0).value
    s, step = np.linspace(-12.0, 14.0, 1_000_001, retstep=True)
    rate = np.exp(eta + sigma * s)
    log_success = np.where(rate < 1.0, np.log(-np.expm1(-rate)), np.log1p(-np.exp(-rate)))
    logs = successes[:, None] * log_success + norm.logpdf(s)
    exact = weight * float((logsumexp(logs, axis=1) + np.log(step)).sum())
    assert abs(found - exact) <= choice.error + 1e-13 * abs(exact)
    assert choice.error <= m * each
