"""Integrals over several effects where the response has parameters of its own: values, derivatives, scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, gammaln, logsumexp
from scipy.stats import norm

from clusterglm.api.own import read_own
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.data.zero_part import read_zero_part
from clusterglm.fit.mixed_task import MixedTask, choose
from clusterglm.fit.own_levels import OwnData, OwnIntegrals
from clusterglm.fit.own_mixed import own_task
from clusterglm.fit.zero_data import ZeroData
from clusterglm.model.control import Control
from clusterglm.model.family import with_own
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.own.base import Coordinates, KernelRows, Terms
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.poisson_log import PoissonLog
from clusterglm.model.response.zeros.inflated import ZeroInflated

KINDS = {
    "nb2": ("negative_binomial", None, [np.log(0.6)]),
    "logit": ("ordinal", "logit", [-1.1, 0.2, 1.3]),
    "probit": ("ordinal", "probit", [-0.8, 0.1, 0.9]),
    "cloglog": ("ordinal", "cloglog", [-1.2, 0.0, 0.9]),
    "weibull": ("weibull", None, [np.log(1.3)]),
    "zip": ("poisson", None, [-0.5, 0.4]),
    "zinb": ("negative_binomial", None, [np.log(0.6), -0.5, 0.4]),
}
COUNTS, INFLATED = ("nb2", "zip", "zinb"), ("zip", "zinb")
FORMS = {
    "slopes": ("y ~ x + (x | a)", [0.7, 0.2, 0.4]),
    "nested": ("y ~ x + (1 | a/b)", [0.7, 0.5]),
    "crossed": ("y ~ x + (1 | a) + (1 | item)", [0.6, 0.5]),
}
RULES = {"auto": Quadrature("auto", tolerance=1e-9), "laplace": Quadrature("laplace"), "few": Quadrature("fixed", 5)}


def drawn(kind: str, m: int = 6, n: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    a = np.repeat(np.arange(m), n)
    data = pd.DataFrame({"a": a, "b": np.arange(m * n) // 3, "item": np.arange(m * n) % 4, "x": rng.normal(size=m * n)})
    eta = 0.4 * data["x"] + 0.7 * rng.normal(size=m)[a]
    if kind in COUNTS:
        data["y"] = rng.poisson(np.exp(0.5 + eta) * rng.gamma(2.0, 0.5, m * n))
        data["z"] = rng.normal(size=m * n)
        if kind in INFLATED:
            data["y"] *= rng.binomial(1, 0.7, m * n)
    elif kind == "weibull":
        data["y"] = (rng.exponential(size=m * n) / np.exp(0.5 + eta)) ** (1.0 / 1.3)
        data["e"] = rng.binomial(1, 0.8, m * n)
    else:
        codes = np.digitize(eta + rng.logistic(size=m * n), [-1.0, 0.2, 1.2])
        data["y"] = pd.Categorical.from_codes(codes, list("pqrs"), ordered=True)
    return data


def task_of(kind: str, form: str, data: pd.DataFrame) -> tuple[MixedTask, np.ndarray]:
    family, link, psi = KINDS[kind]
    formula, phi = FORMS[form]
    if kind == "weibull":
        formula = formula.replace("y ~", "Surv(y, e) ~")
    if kind in INFLATED:
        rows, zero = read_zero_part(formula, "~ z", data, Request(PoissonLog(), effects=True), "zero_inflation")
        inflated = ZeroInflated(names=zero.names, dispersed=family != "poisson")
        task = own_task(rows, ZeroData(rows, zero.X, inflated), rows.X, None, Control().threads)
        return task, np.array([0.3, 0.5, *psi, *phi])
    response = with_own(family, link)
    assert response is not None
    rows, response = read_own(formula, data, Request(response.reads, effects=True), response)
    task = own_task(rows, OwnData(rows, response), rows.X, None, Control().threads)
    beta = [0.5] if response.ordered else [0.3, 0.5]
    return task, np.array([*beta, *psi, *phi])


def differences(values: Any, theta: np.ndarray, h: float) -> np.ndarray:
    """Central ones, over four steps: their error is that of the fifth derivative."""
    found = []
    for move in np.eye(len(theta)) * h:
        near, far = values(theta + move) - values(theta - move), values(theta + 2 * move) - values(theta - 2 * move)
        found.append((8.0 * near - far) / (12.0 * h))
    return np.array(found)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_the_value(kind: str, form: str, rule: str) -> None:
    """By steps of another size than those of the code."""
    task, theta = task_of(kind, form, drawn(kind))
    plan = choose(task.likelihood, task.entries(theta), RULES[rule]).plan
    at = task.evaluate(theta, plan)
    score = differences(lambda there: task.value(there, plan), theta, 5e-3)
    hessian = differences(lambda there: task.evaluate(there, plan, 1).score, theta, 5e-3)
    sd = 1.0 / np.sqrt(np.abs(np.diag(hessian)))
    assert np.abs((at.score - score) * sd).max() < 2e-7
    within = 1e-5 if kind in INFLATED and form == "crossed" else 3e-6  # by one-sided differences where factors cross
    assert np.abs((at.hessian - hessian) * np.outer(sd, sd)).max() < within
    assert np.abs((task.evaluate(theta, plan, 1).score - at.score) * sd).max() < 1e-10


@pytest.mark.parametrize("form", ["slopes", "nested"])
@pytest.mark.parametrize("kind", KINDS)
def test_clusters_add_up(kind: str, form: str) -> None:
    task, theta = task_of(kind, form, drawn(kind))
    entries = task.entries(theta)
    plan = choose(task.likelihood, entries, RULES["auto"]).plan
    at = task.likelihood.evaluate(entries, plan, 1)
    assert task.likelihood.cluster_values(entries, plan).sum() == pytest.approx(at.value, rel=1e-12)
    scores = task.likelihood.unit_scores(entries, plan)
    assert scores.shape == (6, len(entries))
    assert scores.sum(axis=0) == pytest.approx(at.score, rel=1e-7, abs=1e-7)


def log_probability(kind: str, y: np.ndarray, eta: np.ndarray, more: np.ndarray) -> np.ndarray:
    """By formulas that share nothing with kernel rows; `more`: events of times, the covariate of zeros."""
    psi, mu = np.array(KINDS[kind][2]), np.exp(eta)
    if kind == "weibull":
        k = np.exp(psi[0])
        return np.asarray(more * (np.log(k) + (k - 1.0) * np.log(y) + eta) - y**k * mu)
    if kind in COUNTS:
        if kind == "zip":
            counts = y * eta - mu - gammaln(y + 1.0)
        else:
            r = np.exp(-psi[0])
            counts = gammaln(y + r) - gammaln(r) - gammaln(y + 1.0) + r * np.log(r / (r + mu))
            counts = counts + y * (eta - np.log(r + mu))
        if kind == "nb2":
            return np.asarray(counts)
        pi = expit(psi[-2] + psi[-1] * more)
        with np.errstate(divide="ignore", over="ignore"):  # far out on the grid
            return np.asarray(np.log(np.where(y == 0, pi, 0.0) + (1.0 - pi) * np.exp(counts)))
    F = {"logit": expit, "probit": norm.cdf, "cloglog": lambda x: -np.expm1(-np.exp(x))}[kind]
    ends = np.concatenate([[-np.inf], psi, [np.inf]])
    with np.errstate(divide="ignore", over="ignore"):  # far out on the grid
        return np.asarray(np.log(F(ends[y + 1] - eta) - F(ends[y] - eta)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_are_sums_over_a_grid(kind: str, form: str) -> None:
    """A dense trapezoid rule over all effects of tiny data."""
    data = drawn(kind, m=2, n=4) if form == "crossed" else drawn(kind, m=3, n=4)
    if form == "crossed":
        data["item"] = np.arange(8) % 2
    if kind in ("logit", "probit", "cloglog"):  # every category has to be there
        data["y"] = pd.Categorical.from_codes(np.arange(len(data)) % 4, list("pqrs"), ordered=True)
    task, theta = task_of(kind, form, data)
    ordered = kind in ("logit", "probit", "cloglog")
    phi, y = FORMS[form][1], np.asarray(data["y"].cat.codes, dtype=np.int64) if ordered else data["y"].to_numpy()
    x = data["x"].to_numpy()
    more = data["e" if kind == "weibull" else "z"].to_numpy() if not ordered else x
    eta = 0.5 * x if ordered else 0.3 + 0.5 * x
    step = 0.15 if kind in INFLATED and form != "crossed" else 0.3  # clusters know their effects well
    grid = np.arange(-7.2, 7.2 + 0.5 * step, step)
    log_w = norm.logpdf(grid) + np.log(step)
    total = 0.0
    if form == "slopes":
        for a in range(3):
            own = np.flatnonzero(data["a"] == a)
            u, v = np.meshgrid(grid, grid, indexing="ij")
            line = eta[own] + phi[0] * u[..., None] + (phi[1] * u + phi[2] * v)[..., None] * x[own]
            total += logsumexp(log_probability(kind, y[own], line, more[own]).sum(axis=-1) + log_w[:, None] + log_w)
    elif form == "nested":
        for a in range(3):
            inside = log_w.copy()
            for b in np.unique(data["b"][data["a"] == a]):
                own = np.flatnonzero((data["a"] == a) & (data["b"] == b))
                line = eta[own] + phi[0] * grid[:, None, None] + phi[1] * grid[None, :, None]
                inside += logsumexp(log_probability(kind, y[own], line, more[own]).sum(axis=-1) + log_w, axis=1)
            total += logsumexp(inside)
    else:
        u, v = np.meshgrid(grid, grid, indexing="ij")  # of the two items; clusters are independent given these
        joint = log_w[:, None] + log_w
        for a in range(2):
            own = np.flatnonzero(data["a"] == a)
            item = np.stack([u, v], axis=-1)[..., data["item"].to_numpy()[own]]
            line = eta[own] + phi[1] * item[..., None, :] + phi[0] * grid[:, None]
            joint = joint + logsumexp(log_probability(kind, y[own], line, more[own]).sum(axis=-1) + log_w, axis=-1)
        total = logsumexp(joint)
    plan = choose(task.likelihood, task.entries(theta), Quadrature("auto", tolerance=1e-9)).plan
    if form != "crossed":
        assert task.value(theta, plan) == pytest.approx(total, abs=1e-7)
        return
    from clusterglm.fit.corrected import draws_of

    draws = draws_of(task.likelihood, 1)
    found = draws.estimate(task.entries(theta), plan, 512)
    assert found.value == pytest.approx(total, abs=4.0 * found.standard_error + 1e-8)
    assert abs(found.value - total) < abs(found.laplace - total)


@pytest.mark.parametrize("kind", ["nb2", "logit", "probit", "zip"])
def test_scores_of_draws_are_differences(kind: str) -> None:
    from clusterglm.fit.corrected import draws_of

    task, theta = task_of(kind, "crossed", drawn(kind))
    plan = choose(task.likelihood, task.entries(theta), RULES["auto"]).plan
    draws = draws_of(task.likelihood, 1)
    entries = task.entries(theta)
    few = draws.estimate(entries, plan, 8)
    scores = differences(lambda there: draws.estimate(there, plan, 8).value, entries, 1e-3)
    assert few.score == pytest.approx(scores, rel=1e-4, abs=1e-4)
    found = draws.estimate(entries, plan, 64)
    assert found.scores.mean(axis=0) == pytest.approx(found.score, rel=0.1, abs=0.1)


class Known(NegativeBinomial):
    """Counts of known dispersion: a response without parameters to estimate."""

    own = ()

    @property
    def alpha(self) -> float:
        return 0.6

    @property
    def working(self) -> Any:
        return np.zeros(0)

    def at(self, psi: Any) -> Any:
        return self

    def kernel_rows(self, a: Any, b: Any) -> KernelRows:
        return KernelRows(BinomialLogit(), a, b / 0.6, float(np.log(0.6)))

    def coordinates(self, psi: Any) -> Coordinates:
        return Coordinates(np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0, 0)))

    def terms(self, psi: Any, a: Any, b: Any) -> Terms:
        return Terms(float(self.log_terms(a, b).sum()), np.zeros((len(a), 0)), np.zeros((0, 0)))


@pytest.mark.parametrize("form", FORMS)
def test_a_response_may_have_no_parameters(form: str) -> None:
    """Then it is the other at a given one."""
    task, theta = task_of("nb2", form, drawn("nb2"))
    likelihood = task.likelihood
    assert isinstance(likelihood, OwnIntegrals)
    rows = prepare(FORMS[form][0], drawn("nb2"), Request(NegativeBinomial().reads, effects=True))
    known = own_task(rows, OwnData(rows, Known()), rows.X, None, 1)
    plan = choose(task.likelihood, task.entries(theta), RULES["auto"]).plan
    others = np.delete(np.arange(len(theta)), 2)
    here, there = task.evaluate(theta, plan), known.evaluate(theta[others], plan)
    assert there.value == pytest.approx(here.value, rel=1e-12)
    assert there.score == pytest.approx(here.score[others], rel=1e-8, abs=1e-8)
    assert there.hessian == pytest.approx(here.hessian[np.ix_(others, others)], rel=1e-6, abs=1e-6)
