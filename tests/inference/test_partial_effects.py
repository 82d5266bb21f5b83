"""Average partial effects: against finite differences, dummies in statsmodels, exact enumeration and simulation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import mpmath as mp
import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import binom

from clusterglm.inference.diagnostics.design_changes import DesignChange
from clusterglm.inference.effects.average_effects import (
    AverageEffects,
    average_effects,
    bias_corrected,
    expected_intercepts,
    uncorrected,
)
from clusterglm.inference.predictions.averaged_mean import mean_jet
from clusterglm.inference.uncertainty.bias import cluster_sums
from clusterglm.model.family import response

LINKS = ("logit", "probit", "cloglog")
EACH_LINK = pytest.mark.parametrize("link", LINKS)
BETA = np.array([0.6, -0.8, 0.3])
NAMES = ("x", "treated", "z")


@dataclass(frozen=True)
class Panel:
    """Grouped rows in clusters of 3 to 6: two continuous columns about a 0/1 column."""

    X: np.ndarray
    starts: np.ndarray
    cluster_weights: np.ndarray
    weights: np.ndarray
    size: np.ndarray
    gamma: np.ndarray

    @property
    def cluster(self) -> np.ndarray:
        return np.arange(len(self.gamma)).repeat(np.diff(self.starts))

    @property
    def eta(self) -> np.ndarray:
        return self.X @ BETA + self.gamma[self.cluster]

    def effects(
        self,
        link: str,
        V: np.ndarray,
        eta: np.ndarray | None = None,
        beta: np.ndarray = BETA,
        corrected: bool = False,
        total_weight: float = 50.0,
    ) -> AverageEffects:
        """Effects of the columns, at intercepts that were estimated."""
        model, eta = response("binomial", link), self.eta if eta is None else eta
        weights = self.weights * self.cluster_weights[self.cluster] / total_weight
        at = expected_intercepts(
            self.X, self.starts, self.cluster_weights, eta, self.size, np.zeros(len(self.gamma)), model
        )
        intercepts = (
            bias_corrected(at, self.starts, eta, self.size, model) if corrected else uncorrected(at, self.cluster)
        )
        changes = column_changes(self.X)
        return average_effects(
            changes, beta, eta - self.X @ beta, weights, V, partial(mean_jet, response=model), intercepts
        )

    def average(self, link: str, beta: np.ndarray, gamma: np.ndarray) -> np.ndarray:
        """The averages, by moving the columns."""
        model = response("binomial", link)
        means = []
        for k, step in enumerate([1e-4, None, 1e-4]):
            low, high = self.X.copy(), self.X.copy()
            if step is None:
                low[:, k], high[:, k] = 0.0, 1.0
            else:
                low[:, k] -= step
                high[:, k] += step
            change = model.mean(high @ beta + gamma[self.cluster]) - model.mean(low @ beta + gamma[self.cluster])
            means.append(change / (1.0 if step is None else 2.0 * step))
        return self.weights * self.cluster_weights[self.cluster] @ np.array(means).T / 50.0


def column_changes(X: np.ndarray) -> list[DesignChange]:
    """Columns of zeros and ones from 0 to 1, others by derivatives."""
    changes = []
    for k, unit in enumerate(np.eye(X.shape[1])):
        if np.isin(X[:, k], (0.0, 1.0)).all():
            low = X * (1.0 - unit)
            changes.append(DesignChange(NAMES[k], "1 - 0", low + unit, low, X[:, :0]))
        else:
            changes.append(DesignChange(NAMES[k], "derivative", X, None, np.tile(unit, (len(X), 1))))
    return changes


@pytest.fixture(scope="module")
def panel() -> Panel:
    rng = np.random.default_rng(8)
    counts = rng.integers(3, 7, 10)
    n = int(counts.sum())
    X = np.column_stack([rng.normal(size=n), rng.uniform(size=n) < 0.4, rng.normal(size=n) + 5.0])
    return Panel(
        X,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rng.uniform(0.5, 2.0, 10),
        rng.uniform(0.5, 1.5, n),
        rng.integers(1, 6, n).astype(float),
        rng.normal(size=10) - 1.5,
    )


def solve_intercepts(link: str, eta: np.ndarray, a: np.ndarray, b: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """What to add to each cluster's `eta` for the likelihood to be largest; a and b may have leading axes."""
    model = response("binomial", link)
    counts = np.diff(starts)
    shift = np.zeros((*a.shape[:-1], len(counts)))
    for _ in range(100):
        _, g, h, _, _ = model.derivatives(eta + shift.repeat(counts, axis=-1), a, b)
        step = -np.add.reduceat(g, starts[:-1], axis=-1) / np.add.reduceat(h, starts[:-1], axis=-1)
        shift = shift + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-12:
            return shift
    raise AssertionError("Newton did not converge")


@EACH_LINK
@pytest.mark.parametrize("eta", [-20.0, -5.1, -1.7, 0.3, 1.2, 2.9, 4.7, 8.3])
def test_derivatives_of_the_mean(link: str, eta: float) -> None:
    """Relative accuracy in both tails, where a difference of means would have none."""
    mean = {
        "logit": lambda x: 1 / (1 + mp.exp(-x)),
        "probit": mp.ncdf,
        "cloglog": lambda x: -mp.expm1(-mp.exp(x)),
    }[link]
    with mp.workdps(400):
        want = [float(d) for d in mp.diffs(mean, mp.mpf(eta), 3)]
    got = [float(d[0]) for d in response("binomial", link).mean_derivatives(np.array([eta]))]
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-300)


@EACH_LINK
def test_estimates_are_averages_of_changes(link: str, panel: Panel) -> None:
    got = panel.effects(link, np.eye(3))
    np.testing.assert_allclose(got.estimate, panel.average(link, BETA, panel.gamma), rtol=1e-7)
    assert got.terms == NAMES
    assert got.contrasts == ("derivative", "1 - 0", "derivative")
    np.testing.assert_array_equal(got.std_error, np.sqrt(np.diag(got.covariance)))


@EACH_LINK
def test_covariance_by_finite_differences_with_intercepts_solved_again(link: str, panel: Panel) -> None:
    """Responses equal to their means, so that observed and expected information are one."""
    mean = response("binomial", link).mean(panel.eta)
    a, b = panel.size * mean, panel.size * (1.0 - mean)

    def at(beta: np.ndarray) -> np.ndarray:
        eta = panel.X @ beta + panel.gamma[panel.cluster]
        return panel.average(link, beta, panel.gamma + solve_intercepts(link, eta, a, b, panel.starts))

    h = 1e-4
    jacobian = np.column_stack([(at(BETA + step) - at(BETA - step)) / (2 * h) for step in h * np.eye(3)])
    by_intercept = np.column_stack(
        [
            (panel.average(link, BETA, panel.gamma + step) - panel.average(link, BETA, panel.gamma - step)) / (2 * h)
            for step in h * np.eye(len(panel.gamma))
        ]
    )
    second = response("binomial", link).derivatives(panel.eta, a, b)[2]
    noise = by_intercept / -(panel.cluster_weights * cluster_sums(second, panel.starts)) @ by_intercept.T
    factor = np.random.default_rng(2).normal(size=(3, 3))
    V = factor @ factor.T
    np.testing.assert_allclose(panel.effects(link, 0.0 * V).covariance, noise, rtol=1e-6)
    np.testing.assert_allclose(panel.effects(link, V).covariance, jacobian @ V @ jacobian.T + noise, rtol=1e-6)


def with_dummies(panel: Panel) -> np.ndarray:
    return np.column_stack([panel.X, panel.cluster[:, None] == np.arange(len(panel.gamma))]).astype(float)


def single_trials(link: str, panel: Panel) -> tuple[Panel, np.ndarray]:
    """Rows of one trial and weight one, in clusters with successes and failures."""
    ones, split = np.ones(len(panel.gamma)), np.arange(len(panel.X)).repeat(4)
    y = np.random.default_rng(5).uniform(size=len(split)) < response("binomial", link).mean(panel.eta[split])
    X = panel.X[split] + [[0.1, 0.0, 0.1]] * np.random.default_rng(6).normal(size=(len(split), 1))
    rows = Panel(X, 4 * panel.starts, ones, np.ones(len(split)), np.ones(len(split)), panel.gamma)
    y[rows.starts[:-1]], y[rows.starts[1:] - 1] = True, False
    return rows, y.astype(float)


def test_logit_with_dummies_by_statsmodels(panel: Panel) -> None:
    rows, y = single_trials("logit", panel)
    fit = sm.Logit(y, with_dummies(rows)).fit(disp=False, method="newton", tol=1e-12)
    want = fit.get_margeff(at="overall", dummy=True)
    got = rows.effects(
        "logit", fit.cov_params()[:3, :3], eta=fit.fittedvalues, beta=fit.params[:3], total_weight=len(y)
    )
    np.testing.assert_allclose(got.estimate, want.margeff[:3], rtol=1e-6)
    np.testing.assert_allclose(got.std_error, want.margeff_se[:3], rtol=1e-6)


@EACH_LINK
def test_dummies_in_statsmodels_and_the_delta_method_by_hand(link: str, panel: Panel) -> None:
    """GLM's covariance is the inverse of the joint expected information of coefficients and intercepts."""
    rows, y = single_trials(link, panel)
    family = sm.families.Binomial(
        getattr(sm.families.links, {"logit": "Logit", "probit": "Probit"}.get(link, "CLogLog"))()
    )
    fit = sm.GLM(y, with_dummies(rows), family=family).fit(tol=1e-13, maxiter=200)
    beta, gamma = fit.params[:3], fit.params[3:]
    h = 1e-4
    gradient = np.column_stack(
        [
            (
                rows.average(link, beta + step[:3], gamma + step[3:])
                - rows.average(link, beta - step[:3], gamma - step[3:])
            )
            / (2 * h)
            for step in h * np.eye(len(fit.params))
        ]
    )
    eta = rows.X @ beta + gamma[rows.cluster]
    got = rows.effects(link, fit.cov_params()[:3, :3], eta=eta, beta=beta)
    np.testing.assert_allclose(got.estimate, rows.average(link, beta, gamma), rtol=1e-6)
    np.testing.assert_allclose(got.covariance, gradient @ fit.cov_params() @ gradient.T, rtol=1e-5)


@EACH_LINK
def test_correction_against_exact_enumeration(link: str) -> None:
    """One cluster of three rows, beta known: the error of the predicted bias halves when the trials double."""
    gamma = np.array([-0.8])
    x = np.array([[-0.9, 1.0, 0.2], [0.1, 0.0, 0.5], [1.3, 1.0, 0.3]])
    starts, one = np.array([0, 3]), np.ones(1)
    cluster = Panel(x, starts, one, np.array([1.0, 2.0, 0.5]), np.ones(3), gamma)
    eta = cluster.eta
    errors = []
    for trials in (20, 40):
        a = np.array(list(product(range(trials + 1), repeat=3)), dtype=float)
        probability = binom.pmf(a, trials, response("binomial", link).mean(eta)).prod(axis=1)
        kept = (probability > 1e-13) & (a.sum(axis=1) > 0) & (a.sum(axis=1) < 3 * trials)
        a, probability = a[kept], probability[kept]
        shift = solve_intercepts(link, eta, a, trials - a, starts)[:, 0]
        # the average at every intercept that may be estimated
        at = np.array([cluster.average(link, BETA, gamma + s) for s in np.linspace(-3.0, 3.0, 601)])
        expected = [probability @ np.interp(shift, np.linspace(-3.0, 3.0, 601), column) for column in at.T]
        bias = expected - cluster.average(link, BETA, gamma)
        sized = replace(cluster, size=np.full(3, float(trials)))
        plain, corrected = (sized.effects(link, np.zeros((3, 3)), corrected=c) for c in (False, True))
        np.testing.assert_array_equal(plain.covariance, corrected.covariance)
        errors.append((plain.estimate - corrected.estimate) / bias - 1.0)
    errors = np.abs(errors)
    assert errors[1].max() < 0.1
    np.testing.assert_allclose(errors[1] / errors[0], 0.5, atol=0.12)


def test_correction_in_a_simulation() -> None:
    """Probit, 6000 clusters of eight, beta known: what is left of the bias of the average effects is below a third."""
    rng = np.random.default_rng(12)
    m, T = 6000, 8
    gamma = 0.5 * rng.normal(size=m)
    X = np.column_stack([0.5 * gamma.repeat(T) + rng.normal(size=m * T), rng.uniform(size=m * T) < 0.5])
    beta, model = np.array([0.7, -0.5]), response("binomial", "probit")
    eta = X @ beta + gamma.repeat(T)
    y = (rng.uniform(size=m * T) < model.mean(eta)).astype(float)
    base = eta - X[:, 1] * beta[1]
    truth = np.array(
        [beta[0] * model.mean_derivative(eta).mean(), (model.mean(base + beta[1]) - model.mean(base)).mean()]
    )
    successes = cluster_sums(y, np.arange(m + 1) * T)
    kept = (successes > 0) & (successes < T)
    rows, starts = kept.repeat(T), np.arange(kept.sum() + 1) * T
    X, y = X[rows], y[rows]
    eta = X @ beta
    eta = eta + solve_intercepts("probit", eta, y, 1.0 - y, starts).repeat(T)
    ones = np.ones(len(y))
    rows_left = Panel(X, starts, np.ones(kept.sum()), ones, ones, np.zeros(kept.sum()))
    plain, corrected = (
        rows_left.effects("probit", np.zeros((2, 2)), eta, beta, corrected=c, total_weight=float(m * T))
        for c in (False, True)
    )
    assert (np.abs(plain.estimate / truth - 1.0) > 0.08).all()
    assert (np.abs(corrected.estimate - truth) < np.abs(plain.estimate - truth) / 3.0).all()


@EACH_LINK
def test_a_cluster_weight_of_two_is_the_cluster_twice(link: str, panel: Panel) -> None:
    last = slice(panel.starts[-2], None)
    m = len(panel.gamma)
    twice = Panel(
        np.vstack([panel.X, panel.X[last]]),
        np.append(panel.starts, 2 * panel.starts[-1] - panel.starts[-2]),
        np.ones(m + 1),
        np.append(panel.weights, panel.weights[last]),
        np.append(panel.size, panel.size[last]),
        np.append(panel.gamma, panel.gamma[-1]),
    )
    weighted = replace(panel, cluster_weights=np.append(np.ones(m - 1), 2.0))
    got, want = (rows.effects(link, 0.01 * np.eye(3), corrected=True) for rows in (weighted, twice))
    np.testing.assert_allclose(got.estimate, want.estimate, rtol=1e-12)
    np.testing.assert_allclose(got.covariance, want.covariance, rtol=1e-12)


@EACH_LINK
def test_uninformative_clusters_dilute_the_average(link: str, panel: Panel) -> None:
    got, half = (panel.effects(link, np.eye(3), corrected=True, total_weight=w) for w in (50.0, 100.0))
    np.testing.assert_allclose(half.estimate, 0.5 * got.estimate, rtol=1e-12)
    np.testing.assert_allclose(half.std_error, 0.5 * got.std_error, rtol=1e-12)


@EACH_LINK
@pytest.mark.parametrize("far", [40.0, 700.0, 742.0, 800.0])
def test_extreme_predictors_stay_finite(link: str, far: float, panel: Panel) -> None:
    """Also in a cluster all of whose means are 0 or 1; warnings are errors in tests."""
    eta = panel.eta.copy()
    eta[: panel.starts[1]] = np.resize([far, -far], panel.starts[1])
    eta[panel.starts[1]] = far
    got = panel.effects(link, np.eye(3), eta=eta, corrected=True)
    assert np.isfinite(got.estimate).all()
    assert np.isfinite(got.covariance).all()
