"""A response is one Python file: one that the package does not have, put beside the others, does all that they do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import clusterglm as cg
from clusterglm.data.identical import merge_identical
from clusterglm.errors import ClusterGLMError, OptionError
from clusterglm.inference.diagnostics.residuals import marginal_moments
from clusterglm.inference.effects.icc import response_correlation
from clusterglm.model import family
from clusterglm.model import response as folder
from clusterglm.model.distribution import Gaussian
from clusterglm.model.response.base import Response
from clusterglm.model.response.poisson_log import PoissonLog

# Counts y with P(y) = F^y (1 - F), F = mu / (1 + mu): the kernel of a logit with a = w y and b = w, and mean exp(eta).
GEOMETRIC = '''
"""Geometric response, log link."""

from dataclasses import replace

import numpy as np
from scipy.special import expit, log_expit

from clusterglm.model.response.base import ScoreTerms
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.count import Count

ROWS = BinomialLogit()


class GeometricLog(Count):
    """Failures before the first success."""

    family = "geometric"
    link = "log"
    code = "binomial_logit"
    default = True
    ratio = ("ratio of waits", "wait")
    words = replace(Count.words, mean="wait", expectation="Mean wait", total="sum of waits")
    additive = True
    variance_curvature = 1.0

    def variance(self, mean):
        return mean + mean * mean

    def value(self, eta, a, b):
        return ROWS.value(eta, a, b)

    def derivatives(self, eta, a, b):
        return ROWS.derivatives(eta, a, b)

    def saturated(self, a, b):
        return ROWS.saturated(a, b)

    def log_constants(self, y, trials, weights):
        return np.zeros(len(y))

    def magnitude(self, a, b):
        eta = np.log((a + 0.5) / b)
        return np.abs(self.value(eta, a, 0.0 * b)) + np.abs(self.value(eta, 0.0 * a, b))

    def tails(self, y, eta, trials):
        beyond = (np.maximum(y, -1.0) + 1.0) * log_expit(eta)
        return -np.expm1(beyond), np.exp(beyond)

    def simulate(self, rng, mu, trials=None):
        return rng.geometric(1.0 / (1.0 + mu)) - 1.0

    def expected_information(self, eta):
        p, q = expit(eta), expit(-eta)
        return p, p * q, p * q * (q - p)

    def bias_moments(self, eta):
        p = expit(eta)
        return p, -0.5 * p

    def score_terms(self, eta, a, b):
        p = expit(eta)
        return ScoreTerms(*self.derivatives(eta, a, b)[1:3], p, p + 4.0 * p * p, p)
'''

CONTEST = '''
"""Logistic regression under another name."""

from dataclasses import replace

from clusterglm.model.response.binomial_logit import BinomialLogit


class Contest(BinomialLogit):
    """Matches won and lost."""

    family = "contest"
    link = "log-odds"
    ratio = ("chance ratio", "chances")
    words = replace(BinomialLogit.words, mean="share won", expectation="Chance of winning", low="defeats", high="wins",
                    only_low="only defeats", all_low="all lost", all_high="all won", varied="both wins and defeats",
                    separated="wins from defeats")
'''

PACKAGED = dict(family.RESPONSES)


@pytest.fixture(scope="module", autouse=True)
def added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Response]]:
    """Two files in the folder of responses, and the registry made anew."""
    place = tmp_path_factory.mktemp("response")
    for name, text in (("geometric_log", GEOMETRIC), ("contest", CONTEST)):
        (place / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "__path__", [*folder.__path__, str(place)])
        new = family.registered()
        for name, model in new.items():
            patch.setitem(family.RESPONSES, name, model)
        yield {name: model for name, model in new.items() if name not in PACKAGED}
    for name in ("geometric_log", "contest"):
        sys.modules.pop(f"{folder.__name__}.{name}")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    ids = np.repeat(np.arange(60), 5)
    frame = pd.DataFrame({"id": ids, "x": rng.normal(size=300), "half": rng.integers(0, 2, 300)})
    eta = 0.4 + 0.6 * frame.x - 0.3 * frame.half + 0.7 * rng.normal(size=60)[ids]
    frame["wait"] = rng.geometric(1.0 / (1.0 + np.exp(eta))) - 1.0
    frame["won"] = (rng.random(300) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    return frame


FORMULAS = {"geometric": "wait ~ x + half", "contest": "won ~ x + half"}
EACH_FAMILY = pytest.mark.parametrize("name", FORMULAS)


def waits(eta: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Log-probabilities of a geometric distribution with mean exp(eta)."""
    return y * eta - (y + 1.0) * np.logaddexp(0.0, eta)


def design(table: pd.DataFrame) -> np.ndarray:
    return np.column_stack([np.ones(len(table)), table.x, table.half])


def averaged(table: pd.DataFrame, theta: np.ndarray) -> float:
    """Log-likelihood with Gaussian intercepts, by a dense rule."""
    s = np.linspace(-9.0, 9.0, 1201)
    weights = np.exp(-0.5 * s * s) / np.sqrt(2.0 * np.pi) * (s[1] - s[0])
    eta = design(table) @ theta[:3]
    rows = waits(eta[:, None] + theta[3] * s, table.wait.to_numpy()[:, None])
    clusters = np.add.reduceat(rows, np.arange(0, len(table), 5), axis=0)
    top = clusters.max(axis=1)
    return float(np.sum(top + np.log(np.exp(clusters - top[:, None]) @ weights)))


def test_a_file_is_all_that_it_takes(added: dict[str, Response]) -> None:
    assert {model.family for model in added.values()} == {"geometric", "contest"}
    assert set(family.families()) == {"binomial", "contest", "geometric", "poisson", "truncated_poisson"}
    assert {name: model for name, model in family.RESPONSES.items() if name not in added} == PACKAGED
    assert family.response("geometric") == added["geometric_log"]


def test_the_pooled_fit_is_the_maximum(table: pd.DataFrame) -> None:
    fit = cg.pooled("wait ~ x + half", table, family="geometric")
    X, y = design(table), table.wait.to_numpy()
    found = minimize(lambda beta: -waits(X @ beta, y).sum(), np.zeros(3), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(fit.params, found.x, atol=1e-6)
    assert fit.loglik == pytest.approx(-found.fun, abs=1e-9)
    saturated = waits(np.log(np.maximum(y, 1e-300)), y).sum()
    assert fit.deviance == pytest.approx(2.0 * (saturated - fit.loglik), rel=1e-10)


def test_the_random_intercept_fit_is_the_maximum(table: pd.DataFrame) -> None:
    fit = cg.random_effects("wait ~ x + half", table, cluster="id", family="geometric")
    theta = np.append(fit.fit.beta, fit.sigma)
    assert fit.loglik == pytest.approx(averaged(table, theta), abs=1e-6)
    start = theta + np.array([0.05, -0.05, 0.05, 0.1])
    found = minimize(lambda at: -averaged(table, at), start, method="BFGS", options={"gtol": 1e-4})
    np.testing.assert_allclose(theta, found.x, atol=2e-4)


def test_moments_over_clusters_are_those_of_the_distribution(added: dict[str, Response]) -> None:
    model, eta, sigma = added["geometric_log"], np.array([-0.5, 0.8]), 0.6
    s = np.linspace(-9.0, 9.0, 2001)
    weights = np.exp(-0.5 * s * s) / np.sqrt(2.0 * np.pi) * (s[1] - s[0])
    means = np.exp(eta[:, None] + sigma * s)
    mean, square = means @ weights, means**2 @ weights
    found = marginal_moments(model, eta, Gaussian(), sigma)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found.between, square - mean**2, rtol=1e-11)
    np.testing.assert_allclose(found.within, mean + square, rtol=1e-12)
    shares = (square - mean**2) / (square - mean**2 + mean + square)
    for at, share in zip(eta, shares, strict=True):
        one = response_correlation(float(at), sigma, model, Gaussian())
        assert one.value == pytest.approx(share, rel=1e-11)
        h = 1e-5
        up, down = (response_correlation(float(at) + d, sigma, model, Gaussian()).value for d in (h, -h))
        assert one.by_eta == pytest.approx((up - down) / (2 * h), rel=1e-8)
        up, down = (response_correlation(float(at), sigma + d, model, Gaussian()).value for d in (h, -h))
        assert one.by_sigma == pytest.approx((up - down) / (2 * h), rel=1e-8)


def test_expectations_are_sums_over_the_distribution(added: dict[str, Response]) -> None:
    model, y = added["geometric_log"], np.arange(3000.0)
    for eta in (-2.0, 0.3, 2.0):
        p = np.exp(waits(np.full(len(y), eta), y))
        _, G, H, third, _ = model.derivatives(np.full(len(y), eta), y, np.ones(len(y)))
        A, at = G * G + H, np.array([eta])
        assert model.bias_moments(at)[0][0] == pytest.approx(p @ G**2, rel=1e-10)
        assert model.bias_moments(at)[1][0] == pytest.approx(p @ (G * H + 0.5 * third), rel=1e-10)
        terms = model.score_terms(at, np.ones(1), np.ones(1))
        np.testing.assert_allclose(
            [float(each[0]) for each in terms[2:]], [p @ G**2, p @ A**2, p @ (A * G)], rtol=1e-10
        )
        assert model.variance(model.mean(at))[0] == pytest.approx(p @ y**2 - (p @ y) ** 2, rel=1e-9)


@EACH_FAMILY
def test_every_method_works(name: str, table: pd.DataFrame, tmp_path: Path) -> None:
    formula, model = FORMULAS[name], family.response(name)
    fit = cg.random_effects(formula, table, cluster="id", family=name)
    summary = str(fit)
    assert f"{name}, {model.link}" in summary
    for kind in ("typical", "marginal", "conditional"):
        assert np.isfinite(fit.predict(kind=kind, level=0.95)[["estimate", "std_error", "low", "high"]]).all(axis=None)
    for kind in ("response", "pearson", "deviance", "quantile", "simulated"):
        assert np.isfinite(fit.residuals(kind, seed=1, n_sim=20)).all()
    for kind in ("response", "pearson", "quantile"):
        assert np.isfinite(fit.residuals(kind, "marginal", seed=1)).all()
    assert fit.simulate(200, seed=2).to_numpy().mean() == pytest.approx(fit.predict(kind="marginal").mean(), rel=0.05)
    assert np.isfinite(fit.average_effects()[["estimate", "std_error"]]).all(axis=None)
    assert set(fit.ratios()["kind"]) == set(model.ratio)
    assert np.isfinite(fit.intraclass_correlation("response", at=0.2).estimate)
    assert np.isfinite(fit.influence().table()["cook_distance"]).all()
    assert str(fit.calibration())
    assert str(fit.check(seed=1, n_sim=30))
    assert np.isfinite(fit.bootstrap(3, seed=1).replicates).all()
    assert 0.0 <= fit.test_clustering(n_boot=19, seed=1).pvalue <= 1.0
    page = fit.report(tmp_path / "report.html").read_text()
    assert model.ratio[0] in page
    fit.save(tmp_path / "fit.json")
    assert str(cg.load(tmp_path / "fit.json")) == summary
    assert fit.plot.calibration().ax.get_xlabel().startswith(f"Predicted {model.words.mean}")
    assert model.words.expectation in fit.plot.predictions("x").ax.get_ylabel()


@EACH_FAMILY
def test_rows_may_be_elsewhere(name: str, table: pd.DataFrame, tmp_path: Path) -> None:
    formula = FORMULAS[name].replace(" + half", "")
    for k, part in table.groupby(table.id // 20):
        part.to_parquet(tmp_path / f"part{k}.parquet")
    for verb in (cg.pooled, cg.random_effects, cg.fixed_effects):
        streamed = verb(formula, tmp_path, cluster="id", family=name)
        memory = verb(formula, table, cluster="id", family=name)
        np.testing.assert_allclose(streamed.params, memory.params, rtol=1e-7)
        assert streamed.loglik == pytest.approx(memory.loglik, rel=1e-12)


@EACH_FAMILY
def test_every_verb_works(name: str, table: pd.DataFrame) -> None:
    formula, data = FORMULAS[name], {"data": table, "cluster": "id", "family": name}
    pooled = cg.pooled(formula, **data)
    assert 0.0 < pooled.test_clustering().pvalue < 0.1
    assert cg.pooled(formula, **data, penalty="firth").converged
    fixed = cg.fixed_effects(formula.replace(" + half", ""), **data)
    assert (fixed.cluster_effects["status"] != "estimated").any()
    assert np.isfinite(fixed.average_effects()["estimate"]).all()
    assert np.isfinite(cg.fixed_effects(formula, **data, bias_correction="analytical").params).all()
    assert cg.nonparametric(formula, **data).loglik > pooled.loglik
    random = cg.random_effects(formula, **data)
    assert list(cg.compare(pooled, random).to_frame()["loglik"]) == [pooled.loglik, random.loglik]
    bounds = random.conf_int(method="profile")
    assert np.isfinite(bounds).all(axis=None)
    assert list(cg.select_distribution(formula, **data, distributions=("gaussian", "logistic")).fits) == [
        "gaussian",
        "logistic",
    ]
    with pytest.raises(ClusterGLMError, match="separate"):
        cg.pooled(formula + " + sure", **data | {"data": table.assign(sure=table.iloc[:, [3, 4]].sum(axis=1) > 0)})


def test_what_a_response_does_not_claim_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match="a canonical link, for which totals are sufficient"):
        cg.conditional("wait ~ x", table, cluster="id", family="geometric")
    fit = cg.random_effects("wait ~ x", table, cluster="id", family="geometric")
    with pytest.raises(OptionError, match="whose sum over a cluster has a known distribution"):
        fit.event_counts()
    with pytest.raises(OptionError, match="whose sum over a cluster has a known distribution"):
        cg.select_distribution("wait ~ x", table, cluster="id", family="geometric", n_boot=3)
    assert fit.icc is None


def test_another_name_changes_words_alone(table: pd.DataFrame) -> None:
    for verb in (cg.random_effects, cg.fixed_effects, cg.conditional):
        own = verb("won ~ x + half", table, cluster="id", family="contest")
        binomial = verb("won ~ x + half", table, cluster="id")
        np.testing.assert_array_equal(own.params, binomial.params)
        assert own.loglik == binomial.loglik
    assert set(cg.fixed_effects("won ~ x", table, cluster="id", family="contest").cluster_effects["status"]) > {
        "all won"
    }


def test_rows_are_merged_only_where_they_add_up(table: pd.DataFrame) -> None:
    class Alone(PoissonLog):
        additive = False

    data = cg.pooled("wait ~ half", table, cluster="id", family="poisson").data
    repeated = replace(data, X=np.ones_like(data.X))
    assert merge_identical(repeated, PoissonLog(), always=True).n_obs < data.n_obs
    assert merge_identical(repeated, Alone(), always=True).X is repeated.X
