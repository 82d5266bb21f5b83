"""The soft penalty of random-intercept models: derivatives, maxima found without them, and what results say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.fit.penalty import JeffreysPenalty
from clusterglm.fit.soft import SoftPenalty
from clusterglm.model.family import RESPONSES
from clusterglm.results.models.random_effects import RandomEffectsResult

GOLDEN = Path(__file__).parent.parent / "golden"
EXACT = cg.Control(tol=1e-9)
HALF = 0.5 * 3.841458820694124
# Table 2 of the authors' draft (their repository softpen_supplementary, CC BY 4.0): estimates and standard errors for
# the culcita data without one row, last of log sigma. They are those of Jeffreys' part alone; with the loss of log
# sigma, which the paper adds, no figures are known to us but those of the objective written out below.
DRAFT = [(8.41, 3.43), (-7.22, 3.21), (-8.26, 3.48), (-10.10, 3.84), (1.80, 0.45)]
LEVELS = ["none", "crabs", "shrimp", "both"]
MEANS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "logit": lambda eta: 1 / (1 + np.exp(-eta)),
    "probit": norm.cdf,
    "cloglog": lambda eta: 1 - np.exp(-np.exp(np.clip(eta, -700, 30))),
    "log": np.exp,
}
INFORMATION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "logit": lambda eta: 1 / (1 + np.exp(-eta)) / (1 + np.exp(eta)),
    "probit": lambda eta: norm.pdf(eta) ** 2 / norm.cdf(eta) / norm.sf(eta),
    "cloglog": lambda eta: np.exp(2 * eta) / np.expm1(np.exp(eta)),
    "log": np.exp,
}


def culcita() -> pd.DataFrame:
    d = pd.read_csv(GOLDEN / "data" / "culcita.csv")
    d["ttt"] = pd.Categorical(d.ttt, LEVELS)
    return d[~((d.block == 10) & (d.ttt == "none") & (d.predation == 0))]


class Objective:
    """Log-likelihood over a dense grid of the intercept, and the penalty, at (beta, log sigma)."""

    def __init__(self, X: np.ndarray, y: np.ndarray, cluster: np.ndarray, link: str = "logit") -> None:
        self.X, self.y, self.link = X, y, link
        self.rows = [np.flatnonzero(cluster == k) for k in np.unique(cluster)]
        self.z = np.linspace(-9.0, 9.0, 601)
        self.density = norm.pdf(self.z) * (self.z[1] - self.z[0])

    def loglik(self, theta: np.ndarray) -> float:
        eta, sigma, total = self.X @ theta[:-1], np.exp(theta[-1]), 0.0
        for own in self.rows:
            at, y = eta[own][:, None] + sigma * self.z, self.y[own][:, None]
            if self.link == "logit":
                terms = -np.logaddexp(0.0, np.where(y == 1, -at, at))
            elif self.link == "log":
                terms = y * at - np.exp(at)
            else:
                mean = np.clip(MEANS[self.link](at), 1e-300, 1 - 1e-16)
                terms = np.where(y == 1, np.log(mean), np.log1p(-mean))
            whole = terms.sum(axis=0)
            total += whole.max() + np.log(np.exp(whole - whole.max()) @ self.density)
        return float(total)

    def penalty(self, theta: np.ndarray, loss: float = 1.0) -> float:
        eta, t, (n, p) = self.X @ theta[:-1], abs(theta[-1]), self.X.shape
        weights = INFORMATION[self.link](eta)
        jeffreys = 0.5 * np.linalg.slogdet((self.X * weights[:, None]).T @ self.X)[1]
        return float(2 * np.sqrt(p / n) * (jeffreys + loss * (-0.5 * t * t if t <= 1 else 0.5 - t)))

    def maximum(self, start: np.ndarray, loss: float = 1.0) -> np.ndarray:
        found = minimize(
            lambda t: -self.loglik(t) - self.penalty(t, loss), start, method="BFGS", options={"gtol": 1e-7}
        )
        return np.asarray(found.x)

    def std_errors(self, theta: np.ndarray) -> np.ndarray:
        """From second differences of the log-likelihood alone."""
        h, unit = 1e-3, np.eye(len(theta)) * 1e-3
        hessian = [[(self.loglik(theta + a + b) - self.loglik(theta + a - b) - self.loglik(theta - a + b)
                     + self.loglik(theta - a - b)) / (4 * h * h) for b in unit] for a in unit]  # fmt: skip
        return np.asarray(np.sqrt(np.diag(np.linalg.inv(-np.array(hessian)))))


@pytest.fixture(scope="module")
def objective() -> Objective:
    d = culcita()
    X = np.column_stack([np.ones(79), *((d.ttt == level) * 1.0 for level in LEVELS[1:])])
    return Objective(X, d.predation.to_numpy(), d.block.to_numpy())


@pytest.fixture(scope="module")
def fit() -> RandomEffectsResult:
    return cg.random_effects("predation ~ ttt", culcita(), cluster="block", penalty="soft", control=EXACT)


def test_the_objective_gives_the_digits_of_the_draft(objective: Objective) -> None:
    theta = objective.maximum(np.array([5.0, -4.0, -5.0, -6.0, 1.5]), loss=0.0)
    for value, error, (estimate, se) in zip(theta, objective.std_errors(theta), DRAFT, strict=True):
        assert value == pytest.approx(estimate, abs=0.0055)
        assert error == pytest.approx(se, abs=0.0051)


def test_maximum_of_the_objective(objective: Objective, fit: RandomEffectsResult) -> None:
    theta = objective.maximum(np.array([5.0, -4.0, -5.0, -6.0, 1.5]))
    np.testing.assert_allclose([*fit.params, np.log(fit.sigma)], theta, atol=1e-4)
    errors = objective.std_errors(theta)
    np.testing.assert_allclose([*fit.bse, fit.sigma_se / fit.sigma], errors, rtol=1e-4)
    ours = np.array([*fit.params, np.log(fit.sigma)])
    assert fit.loglik == pytest.approx(objective.loglik(ours), abs=1e-6)
    assert fit.penalized_loglik == pytest.approx(objective.loglik(theta) + objective.penalty(theta), abs=1e-6)
    assert fit.aic == pytest.approx(10 - 2 * fit.loglik)


def test_other_contrasts_say_the_same(fit: RandomEffectsResult) -> None:
    """Estimates are equivariant under linear maps of the coefficients, unlike those of independent priors."""
    d = culcita()
    d["ttt"] = pd.Categorical(d.ttt.astype(str), LEVELS[::-1])
    other = cg.random_effects("predation ~ ttt", d, cluster="block", penalty="soft", control=EXACT)
    assert other.params["tttnone"] == pytest.approx(-fit.params["tttboth"], abs=1e-6)
    assert other.params["(Intercept)"] == pytest.approx(fit.params["(Intercept)"] + fit.params["tttboth"], abs=1e-6)
    assert other.sigma == pytest.approx(fit.sigma, abs=1e-6)


@pytest.mark.parametrize("link", MEANS)
def test_links_where_a_level_has_no_events(link: str) -> None:
    rng = np.random.default_rng(4)
    cluster, x = np.repeat(range(12), 5), rng.normal(size=60)
    level = np.tile([0, 1, 0, 1, 0], 12)
    u = rng.normal(size=12)[cluster]
    y = rng.poisson(np.exp(0.3 * x + u)) if link == "log" else (0.5 * x + u + rng.normal(size=60) > 0.3) * 1
    y[level == 1] = 0
    d = pd.DataFrame({"y": y, "x": x, "level": level, "id": cluster})
    family = "poisson" if link == "log" else "binomial"
    options: dict[str, Any] = {"cluster": "id", "family": family, "link": link, "penalty": "soft", "control": EXACT}
    fit = cg.random_effects("y ~ x + level", d, **options)
    found = Objective(np.column_stack([np.ones(60), x, level]), y, cluster, link).maximum(
        np.array([0.0, 0.3, -2.0, -0.3])
    )
    np.testing.assert_allclose([*fit.params, np.log(fit.sigma)], found, atol=5e-5)


def test_penalty_derivatives() -> None:
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(25), rng.normal(size=(25, 2))])
    penalty = SoftPenalty(JeffreysPenalty(X, np.ones(25), np.zeros(25), RESPONSES["binomial_logit"]), 0.7)
    for sigma in (0.1, 0.9, 1.3, 5.0, -0.4):
        theta, h = np.array([0.2, -0.5, 0.8, sigma]), 1e-5
        here = penalty.evaluate(theta)
        ends = [(penalty.evaluate(theta + h * e), penalty.evaluate(theta - h * e)) for e in np.eye(4)]
        np.testing.assert_allclose(here.score, [(a.value - b.value) / (2 * h) for a, b in ends], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(here.hessian, [(a.score - b.score) / (2 * h) for a, b in ends], rtol=1e-5, atol=1e-7)
    assert penalty.evaluate(np.array([0.0, 0.0, 0.0, 0.0])).value == -np.inf


def test_profile_ends_lie_where_the_penalised_likelihood_has_fallen(
    fit: RandomEffectsResult, objective: Objective
) -> None:
    ends = fit.conf_int(method="profile")
    top = fit.penalized_loglik

    def fallen(j: int, value: float) -> float:
        def lost(rest: np.ndarray) -> float:
            theta = np.insert(rest, j, value)
            return -objective.loglik(theta) - objective.penalty(theta)

        start = np.delete([*fit.params, np.log(fit.sigma)], j)
        near = minimize(lost, start, method="BFGS", options={"gtol": 1e-6}).x
        precise = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000, "maxfev": 4000}
        return top + minimize(lost, near, method="Nelder-Mead", options=precise).fun

    assert fallen(1, ends.loc["tttcrabs", "low"]) == pytest.approx(HALF, abs=1e-4)
    # by the rules of the fit, at a sigma 2.5 times as large
    assert fallen(4, np.log(ends.loc["sigma", "high"])) == pytest.approx(HALF, abs=1e-3)


def test_ratio_is_of_the_larger_penalty(fit: RandomEffectsResult, objective: Objective) -> None:
    small = cg.random_effects("predation ~ 1", culcita(), cluster="block", penalty="soft")
    test = cg.compare(small, fit).tests[0]

    def lost(theta: np.ndarray) -> float:
        full = np.array([theta[0], 0.0, 0.0, 0.0, theta[1]])
        return -objective.loglik(full) - objective.penalty(full)

    statistic = 2 * (fit.penalized_loglik + minimize(lost, [0.5, 0.5], method="BFGS").fun)
    assert test.statistic == pytest.approx(statistic, abs=1e-5)
    assert (test.df, test.penalized) == (3, True)
    held = cg.random_effects("predation ~ 1", culcita(), cluster="block", penalty="soft", sigma=2.0, fix_sigma=True)
    both = cg.compare(held, fit).tests[0]
    statistic = 2 * (
        fit.penalized_loglik + minimize(lambda b: lost(np.append(b, np.log(2.0))), [0.5], method="BFGS").fun
    )
    assert (both.df, both.statistic) == (4, pytest.approx(statistic, abs=1e-5))
    assert cg.compare(fit, cg.random_effects("predation ~ 1", culcita(), cluster="block")).tests[0].reason


def test_with_many_rows_it_is_maximum_likelihood() -> None:
    rng = np.random.default_rng(8)
    d = pd.DataFrame({"id": np.repeat(range(2000), 5), "x": rng.normal(size=10_000)})
    d["y"] = (rng.random(10_000) < 1 / (1 + np.exp(-0.5 - d.x - rng.normal(size=2000)[d.id]))) * 1
    soft, plain = (cg.random_effects("y ~ x", d, cluster="id", **o) for o in ({"penalty": "soft"}, {}))
    np.testing.assert_allclose((soft.params - plain.params) / plain.bse, 0.0, atol=0.02)
    assert soft.sigma == pytest.approx(plain.sigma, abs=0.02 * plain.sigma_se)


@pytest.mark.parametrize("y", [0, 1])
def test_responses_may_all_be_equal(y: int) -> None:
    fit = cg.random_effects("predation ~ ttt", culcita().assign(predation=y), cluster="block", penalty="soft")
    assert fit.converged
    assert np.isfinite(fit.conf_int()).all().all()


def test_grouped_rows_and_weights_count_trials(fit: RandomEffectsResult) -> None:
    d = culcita().assign(n=1)
    cells = d.groupby(["block", "ttt"], observed=True).agg(s=("predation", "sum"), n=("n", "sum")).reset_index()
    cells["f"] = cells.n - cells.s
    grouped = cg.random_effects("cbind(s, f) ~ ttt", cells, cluster="block", penalty="soft", control=EXACT)
    np.testing.assert_allclose(grouped.params, fit.params, rtol=1e-7)
    assert grouped.sigma == pytest.approx(fit.sigma, rel=1e-7)
    once = d.groupby(["block", "ttt", "predation"], observed=True).n.sum().reset_index()
    weighted = cg.random_effects("predation ~ ttt", once, cluster="block", weights="n", penalty="soft", control=EXACT)
    np.testing.assert_allclose(weighted.params, fit.params, rtol=1e-7)


def test_results_name_the_penalty(fit: RandomEffectsResult, tmp_path: Path) -> None:
    text = " ".join(str(fit).split())
    assert "maximum penalised likelihood" in text
    assert "Penalty: soft: 2 root(p/n)" in text
    assert "no test: the penalty keeps sigma from 0" in text
    row = fit.glance().iloc[0]
    assert (row.penalty, row.penalized_loglik) == ("soft", fit.penalized_loglik)
    fit.save(tmp_path / "fit.json")
    assert str(cg.load(tmp_path / "fit.json")) == str(fit)
    for refused in (fit.test_clustering, fit.hausman, lambda: fit.cov("robust")):
        with pytest.raises(OptionError, match="penalty='soft'"):
            refused()
    assert len(fit.bootstrap(3, seed=1).replicates) == 3
    assert np.isfinite(fit.average_effects().frame.std_error).all()
    assert abs(fit.integration_check().shift).max() < 1e-3
    page = fit.report(tmp_path / "fit.html").read_text()
    assert "Penalised likelihood" in page


def test_deletion_of_clusters() -> None:
    fit = cg.random_effects("y ~ trt + week", cg.datasets.load("bacteria"), cluster="ID", penalty="soft")
    step, exact = fit.influence(), fit.influence("exact")
    assert np.corrcoef(step.cook, exact.cook)[0, 1] > 0.95
    np.testing.assert_allclose(step.dfbetas, exact.dfbetas, atol=0.15)


def test_what_the_penalty_does_not_go_with() -> None:
    d = culcita()
    for options, words in (
        ({"penalty": "firth"}, "penalty='firth'"),
        ({"penalty": "soft", "distribution": "student_t"}, "shape of"),
        ({"penalty": "soft", "sigma": 0.0, "fix_sigma": True}, "sigma held at 0"),
        ({"penalty": "soft", "separation": "limit"}, "separation='limit' with penalty='soft'"),
    ):
        with pytest.raises(OptionError, match=words):
            cg.random_effects("predation ~ ttt", d, cluster="block", **options)
