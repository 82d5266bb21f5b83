"""The bias of fixed-effects estimates: against hand derivations, exact enumeration, simulation and invariances."""

from __future__ import annotations

from functools import cache
from itertools import product

import mpmath as mp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom, norm

from clusterglm.errors import DesignError, OptionError
from clusterglm.inference.uncertainty.bias import (
    AnalyticalBias,
    analytical_bias,
    cluster_sums,
    half_panels,
    jackknife,
)
from clusterglm.model.bias import SplitPanel, bias_correction
from clusterglm.model.family import response
from clusterglm.model.response.base import Response

LINKS = ("logit", "probit", "cloglog")
EACH_LINK = pytest.mark.parametrize("link", LINKS)


class Rows:
    """Grouped rows in clusters of 3 to 6, with weights."""

    def __init__(self, seed: int = 3, m: int = 12) -> None:
        rng = np.random.default_rng(seed)
        counts = rng.integers(3, 7, m)
        n = int(counts.sum())
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.X = rng.normal(size=(n, 2)) + rng.normal(size=m).repeat(counts)[:, None]
        self.cluster_weights = rng.uniform(0.5, 2.0, m)
        self.size = rng.integers(1, 5, n).astype(float)
        self.eta = self.X @ [0.8, -0.5] + rng.normal(size=m).repeat(counts)

    def bias(self, link: str, **changes: np.ndarray) -> AnalyticalBias:
        names = ("X", "starts", "cluster_weights", "eta", "size")
        return analytical_bias(*(changes.get(name, getattr(self, name)) for name in names), response("binomial", link))


def assert_same(got: AnalyticalBias, want: AnalyticalBias, clusters: np.ndarray | slice = slice(None)) -> None:
    np.testing.assert_allclose(got.beta, want.beta, rtol=1e-10)
    np.testing.assert_allclose(got.intercepts, want.intercepts[clusters], rtol=1e-10)


def by_hand(rows: Rows, v: np.ndarray, c: np.ndarray) -> AnalyticalBias:
    """The formula cluster by cluster, with given moments of a trial."""
    score, information, intercepts = np.zeros(2), np.zeros((2, 2)), []
    for i, w in enumerate(rows.cluster_weights):
        part = slice(rows.starts[i], rows.starts[i + 1])
        x, weight, slope = rows.X[part], rows.size[part] * v[part], rows.size[part] * c[part]
        tau = weight.sum()
        x = x - weight @ x / tau
        score += w * slope @ x / tau
        information += w * (x.T * weight) @ x
        intercepts.append(slope.sum() / tau**2)
    return AnalyticalBias(np.linalg.solve(information, score), np.array(intercepts))


def fit(X: np.ndarray, y: np.ndarray, starts: np.ndarray, model: Response) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Newton on the likelihood of coefficients and intercepts: beta, eta and the inverse of the profile's Hessian."""
    counts = np.diff(starts)
    beta, gamma = np.zeros(X.shape[1]), model.link_function(cluster_sums(y, starts) / counts)
    for _ in range(100):
        eta = X @ beta + gamma.repeat(counts)
        _, g, h, _, _ = model.derivatives(eta, y, 1.0 - y)
        second = cluster_sums(h, starts)
        mean = cluster_sums(X * h[:, None], starts) / second[:, None]
        centred = X - mean.repeat(counts, axis=0)
        information = -(centred.T * h) @ centred
        step = np.linalg.solve(information, centred.T @ g)
        shift = -cluster_sums(g, starts) / second - mean @ step
        beta, gamma = beta + step, gamma + np.clip(shift, -1.5, 1.5)
        if max(np.abs(step).max(), np.abs(shift).max()) < 1e-9:
            return beta, eta, np.linalg.inv(information)
    raise AssertionError("Newton did not converge")


def informative(y: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the clusters with successes and failures, and where these clusters start."""
    successes, counts = np.bincount(cluster, y), np.bincount(cluster)
    kept = (successes > 0) & (successes < counts)
    return kept[cluster], np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int64)


@cache
def panel(link: str, m: int = 4000, T: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients, and rows and responses of m clusters of T, the covariates related to the intercepts."""
    rng = np.random.default_rng(20)
    beta = np.array([0.7, -0.5]) if link == "probit" else np.array([1.0, -0.7])
    gamma = rng.normal(size=m).repeat(T)
    X = np.column_stack([0.5 * gamma + rng.normal(size=m * T), 0.3 * gamma + rng.normal(size=m * T) > 0.0])
    y = (rng.uniform(size=m * T) < response("binomial", link).mean(X @ beta + gamma)).astype(float)
    return beta, X, y, np.arange(m).repeat(T)


@EACH_LINK
def test_moments_are_expectations_over_the_two_outcomes(link: str) -> None:
    eta = np.linspace(-4.0, 2.0, 25)
    model = response("binomial", link)
    p = model.mean(eta)
    v, c = np.zeros_like(eta), np.zeros_like(eta)
    for a, probability in ((1.0, p), (0.0, 1.0 - p)):
        _, g, h, i, _ = model.derivatives(eta, np.full_like(eta, a), np.full_like(eta, 1.0 - a))
        v += probability * g * g
        c += probability * (g * h + 0.5 * i)
    got = model.bias_moments(eta)
    np.testing.assert_allclose(got[0], v, rtol=1e-10)
    np.testing.assert_allclose(got[1], c, rtol=1e-9, atol=1e-12)


@EACH_LINK
@pytest.mark.parametrize("eta", [-300.0, -36.5, -9.0, -3.0, 2.5, 3.4, 6.1])
def test_moments_keep_relative_accuracy_in_the_tails(link: str, eta: float) -> None:
    with mp.workdps(60):
        x = mp.mpf(eta)
        success, failure = {
            "logit": (1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))),
            "probit": (mp.ncdf(x), mp.ncdf(-x)),
            "cloglog": (-mp.expm1(-mp.exp(x)), mp.exp(-mp.exp(x))),
        }[link]
        first, ratio = {
            "logit": (success * failure, failure - success),
            "probit": (mp.npdf(x), -x),
            "cloglog": (mp.exp(x - mp.exp(x)), 1 - mp.exp(x)),
        }[link]
        v = first**2 / (success * failure)
        want = [float(v), float(-v * ratio / 2)]  # ratio: second over first derivative of the mean
    got = np.array(response("binomial", link).bias_moments(np.array([eta])))[:, 0]
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-300)


def test_logit_by_hand() -> None:
    rows = Rows()
    p = expit(rows.eta)
    assert_same(rows.bias("logit"), by_hand(rows, p * (1 - p), -0.5 * p * (1 - p) * (1 - 2 * p)))


def test_probit_by_hand() -> None:
    """c = eta v / 2, from phi' = -eta phi."""
    rows = Rows()
    v = norm.pdf(rows.eta) ** 2 / (norm.cdf(rows.eta) * norm.sf(rows.eta))
    assert_same(rows.bias("probit"), by_hand(rows, v, 0.5 * rows.eta * v))


def test_cloglog_by_hand() -> None:
    """With lambda = exp(eta): v = lambda^2 / (exp(lambda) - 1) and mu'' / mu' = 1 - lambda."""
    rows = Rows()
    rate = np.exp(rows.eta)
    v = rate**2 / np.expm1(rate)
    assert_same(rows.bias("cloglog"), by_hand(rows, v, -0.5 * v * (1.0 - rate)))


@EACH_LINK
def test_order_of_rows_and_clusters_does_not_matter(link: str) -> None:
    rows = Rows()
    rng = np.random.default_rng(0)
    counts = np.diff(rows.starts)
    clusters = rng.permutation(len(counts))
    order = np.concatenate([rng.permutation(np.arange(rows.starts[i], rows.starts[i + 1])) for i in clusters])
    moved = rows.bias(
        link,
        X=rows.X[order],
        starts=np.concatenate([[0], np.cumsum(counts[clusters])]).astype(np.int64),
        cluster_weights=rows.cluster_weights[clusters],
        eta=rows.eta[order],
        size=rows.size[order],
    )
    assert_same(moved, rows.bias(link), clusters)


@EACH_LINK
def test_a_grouped_row_is_as_many_rows_of_one_trial(link: str) -> None:
    rows = Rows()
    split = np.arange(len(rows.eta)).repeat(rows.size.astype(int))
    starts = np.concatenate([[0], np.cumsum(cluster_sums(rows.size, rows.starts))]).astype(np.int64)
    single = rows.bias(link, X=rows.X[split], starts=starts, eta=rows.eta[split], size=np.ones(len(split)))
    assert_same(single, rows.bias(link))


@EACH_LINK
def test_levels_and_units_of_covariates_do_not_matter(link: str) -> None:
    rows = Rows()
    level = np.random.default_rng(1).normal(size=(len(rows.cluster_weights), 2)) * 1e3
    want = rows.bias(link)
    assert_same(rows.bias(link, X=rows.X + level.repeat(np.diff(rows.starts), axis=0)), want)
    assert_same(rows.bias(link, X=rows.X * [1e9, 1e-9]), AnalyticalBias(want.beta / [1e9, 1e-9], want.intercepts))


@EACH_LINK
def test_a_cluster_weight_of_two_is_the_cluster_twice(link: str) -> None:
    rows = Rows()
    m, last = len(rows.cluster_weights), slice(rows.starts[-2], None)
    ones, two = np.ones(m + 1), np.append(np.ones(m - 1), 2.0)
    twice = rows.bias(
        link,
        X=np.vstack([rows.X, rows.X[last]]),
        starts=np.append(rows.starts, 2 * rows.starts[-1] - rows.starts[-2]),
        cluster_weights=ones,
        eta=np.append(rows.eta, rows.eta[last]),
        size=np.append(rows.size, rows.size[last]),
    )
    weighted = rows.bias(link, cluster_weights=two)
    np.testing.assert_allclose(weighted.beta, twice.beta, rtol=1e-10)
    np.testing.assert_allclose(weighted.intercepts, twice.intercepts[:-1], rtol=1e-10)


@EACH_LINK
@pytest.mark.parametrize("far", [40.0, 700.0, 742.0, 800.0])
def test_extreme_predictors_stay_finite(link: str, far: float) -> None:
    """Warnings are errors in tests, so that none is given either."""
    rows = Rows()
    eta = rows.eta.copy()
    eta[rows.starts[0]], eta[rows.starts[1]] = far, -far
    for moment in response("binomial", link).bias_moments(np.array([-far, far])):
        assert np.isfinite(moment).all()
    got = rows.bias(link, eta=eta)
    assert np.isfinite(got.beta).all()
    assert np.isfinite(got.intercepts).all()


@pytest.mark.parametrize("far", [300.0, 600.0, 709.0])
def test_a_cluster_of_next_to_no_information_has_its_share_in_the_bias(far: float) -> None:
    """Down to where float64 ends (subnormal tau): the quotient of sums is of order one."""
    rows = Rows()
    eta = rows.eta.copy()
    eta[: rows.starts[1]] = np.resize([far, -far], rows.starts[1])
    got = rows.bias("logit", eta=eta)
    eta[: rows.starts[1]] = np.resize([100.0, -100.0], rows.starts[1])
    np.testing.assert_allclose(got.beta, rows.bias("logit", eta=eta).beta, rtol=1e-10)


@EACH_LINK
def test_a_cluster_without_information_adds_nothing(link: str) -> None:
    rows = Rows()
    eta = rows.eta.copy()
    eta[: rows.starts[1]] = np.resize([800.0, -800.0], rows.starts[1])
    got = rows.bias(link, eta=eta)
    rest = rows.starts[1]
    want = rows.bias(
        link,
        X=rows.X[rest:],
        starts=rows.starts[1:] - rest,
        cluster_weights=rows.cluster_weights[1:],
        eta=rows.eta[rest:],
        size=rows.size[rest:],
    )
    np.testing.assert_allclose(got.beta, want.beta, rtol=1e-10)
    assert np.isnan(got.intercepts[0])
    np.testing.assert_allclose(got.intercepts[1:], want.intercepts, rtol=1e-10)


def test_a_covariate_that_does_not_vary_within_clusters_is_refused() -> None:
    rows = Rows()
    counts = np.diff(rows.starts)
    X = np.column_stack([rows.X[:, 0], np.arange(len(counts)).repeat(counts)])
    with pytest.raises(DesignError, match="within the clusters"):
        rows.bias("logit", X=X)
    assert rows.bias("logit", X=rows.X[:, :0]).beta.shape == (0,)


@cache
def exact_bias(link: str, trials: int) -> tuple[float, float]:
    """Expected profile score, and bias of the intercept, of one cluster: a sum over all its responses.

    Three rows of `trials` each; responses without a finite intercept are left out, and have no probability to speak of.
    """
    model = response("binomial", link)
    x, eta = np.array([-0.9, 0.1, 1.3]), np.array([-1.5, -0.8, -0.2])
    a = np.array(list(product(range(trials + 1), repeat=3)), dtype=float)
    probability = binom.pmf(a, trials, model.mean(eta)).prod(axis=1)
    kept = (probability > 1e-14) & (a.sum(axis=1) > 0) & (a.sum(axis=1) < 3 * trials)
    a, probability = a[kept], probability[kept]
    shift = np.zeros((len(a), 1))
    for _ in range(60):
        _, g, h, _, _ = model.derivatives(eta + shift, a, trials - a)
        shift = shift + np.clip(-g.sum(axis=1) / h.sum(axis=1), -1.0, 1.0)[:, None]
    g = model.derivatives(eta + shift, a, trials - a)[1]
    return float(probability @ (g @ x)), float(probability @ shift[:, 0])


@EACH_LINK
def test_exact_expectations_approach_the_formula_as_trials_grow(link: str) -> None:
    """What is left is of the next order: halved when the trials are doubled."""
    starts, w, x = np.array([0, 3]), np.ones(1), np.array([[-0.9], [0.1], [1.3]])
    eta, model = np.array([-1.5, -0.8, -0.2]), response("binomial", link)
    errors = []
    for trials in (20, 40):
        size = np.full(3, float(trials))
        got = analytical_bias(x, starts, w, eta, size, model)
        v = size * model.bias_moments(eta)[0]
        centred = x[:, 0] - v @ x[:, 0] / v.sum()
        score, intercept = exact_bias(link, trials)
        errors.append([got.beta[0] * (v @ centred**2) / score - 1.0, got.intercepts[0] / intercept - 1.0])
    errors = np.abs(errors)
    assert errors[1].max() < 0.05
    np.testing.assert_allclose(errors[1] / errors[0], 0.5, atol=0.08)


@EACH_LINK
def test_correction_in_clusters_of_eight(link: str) -> None:
    """4000 clusters: the bias is more than six standard errors, and less than three are left."""
    beta, X, y, cluster = panel(link)
    rows, starts = informative(y, cluster)
    model = response("binomial", link)
    estimate, eta, covariance = fit(X[rows], y[rows], starts, model)
    se = np.sqrt(np.diag(covariance))
    bias = analytical_bias(X[rows], starts, np.ones(len(starts) - 1), eta, np.ones(len(eta)), model)
    before, after = (estimate - beta) / se, (estimate - bias.beta - beta) / se
    assert before[0] > 6.0
    assert np.abs(after).max() < 3.0
    assert np.abs(after[0]) < 0.25 * before[0]


@EACH_LINK
def test_jackknife_in_clusters_of_sixteen(link: str) -> None:
    """It takes off most of the bias, where halves have eight rows."""
    beta, X, y, cluster = panel(link, 3000, 16)
    rows, starts = informative(y, cluster)
    X, y, cluster = X[rows], y[rows], cluster[rows]
    model = response("binomial", link)
    full = fit(X, y, starts, model)[0]
    panels = half_panels(starts, np.arange(len(y)))
    halves = []
    for pair in panels:
        estimates = []
        for half in pair:
            kept, begin = informative(y[half], np.unique(cluster[half], return_inverse=True)[1])
            estimates.append(fit(X[half][kept], y[half][kept], begin, model)[0])
        halves.append((estimates[0], estimates[1]))
    assert len(panels) == 1
    corrected = jackknife(full, halves, panels)
    assert np.abs(corrected - beta)[0] < 0.5 * np.abs(full - beta)[0]


def test_halves_of_even_clusters() -> None:
    panels = half_panels(np.array([0, 4, 6]), np.array([1, 2, 3, 4, 1, 2]))
    assert len(panels) == 1
    assert [half.tolist() for half in panels[0]] == [[0, 1, 4], [2, 3, 5]]
    assert all(half.dtype == np.int64 for half in panels[0])


def test_halves_of_odd_clusters() -> None:
    panels = half_panels(np.array([0, 5, 7, 8]), np.arange(8))
    assert [[half.tolist() for half in pair] for pair in panels] == [
        [[0, 1, 2, 5], [3, 4, 6]],
        [[0, 1, 5], [2, 3, 4, 6]],
    ]


def test_halves_follow_the_order_given_and_ties_the_order_of_rows() -> None:
    by_time = half_panels(np.array([0, 4, 8]), np.array([2003.5, 2001, 2004, 2000, 7, 7, 7, 7]))
    assert [half.tolist() for half in by_time[0]] == [[1, 3, 4, 5], [0, 2, 6, 7]]
    dates = np.array(["2001-05-01", "2000-01-01"], dtype="datetime64[D]")
    assert [half.tolist() for half in half_panels(np.array([0, 2]), dates)[0]] == [[1], [0]]


def test_a_cluster_of_one_row_is_in_no_half() -> None:
    panels = half_panels(np.array([0, 1, 3]), np.zeros(3))
    assert [[half.tolist() for half in pair] for pair in panels] == [[[1], [2]]]


@pytest.mark.parametrize("counts", [[4, 6, 8], [3, 5, 7], [4, 5, 9, 12]])
def test_jackknife_removes_a_bias_of_one_over_the_rows(counts: list[int]) -> None:
    """Also when halves differ in length."""
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    theta, b = np.array([1.0, -2.0]), np.array([3.0, 0.5])
    panels = half_panels(starts, np.zeros(starts[-1]))
    halves = [(theta + b / len(first), theta + b / len(second)) for first, second in panels]
    np.testing.assert_allclose(jackknife(theta + b / starts[-1], halves, panels), theta, rtol=1e-13)


def test_the_argument_bias_correction() -> None:
    assert bias_correction(None) is None
    assert bias_correction("analytical") == "analytical"
    assert bias_correction("jackknife") == SplitPanel()
    assert bias_correction(SplitPanel(order="year")) == SplitPanel("year")
    assert str(SplitPanel("year")) == "half-panel jackknife, rows by 'year'"
    assert str(SplitPanel()) == "half-panel jackknife, rows in the order of the table"


@pytest.mark.parametrize("value", ["jacknife", True, 1, SplitPanel])
def test_other_values_of_bias_correction_are_answered_with_the_allowed_ones(value: object) -> None:
    with pytest.raises(OptionError, match=r"one of 'analytical', 'jackknife'") as caught:
        bias_correction(value)
    if value == "jacknife":
        assert "did you mean 'jackknife'?" in str(caught.value)


@pytest.mark.parametrize("order", ["", 3, ["year"]])
def test_order_of_a_split_panel_is_a_column(order: object) -> None:
    with pytest.raises(OptionError, match="name of a column"):
        SplitPanel(order)  # type: ignore[arg-type]
