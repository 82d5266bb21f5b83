"""Posterior means, what is predicted where nothing is known of a cluster, and intervals of new clusters."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

import clusterglm as cg
from clusterglm.errors import OptionError, PredictionWarning
from clusterglm.results.models.nonparametric import NonparametricResult
from clusterglm.results.models.random_effects import RandomEffectsResult


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"id": np.repeat(np.arange(40), 6), "x": rng.normal(size=240)})
    data["o"] = 0.3 * rng.normal(size=240)
    eta = -0.2 + 0.7 * data.x + data.o + 0.8 * rng.normal(size=40)[data.id]
    data["y"] = (rng.random(240) < expit(eta)).astype(int)
    return data.sample(frac=1.0, random_state=2).reset_index(drop=True)


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> RandomEffectsResult:
    return cg.random_effects("y ~ x + offset(o)", data, cluster="id")


NEW = {"x": [0.1, -0.4, None, 0.2, 0.3], "o": [0.0, 0.2, 0.0, 0.0, 0.1], "id": [3, 77, 5, 78, None]}


# Calibration ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_the_posterior_mean_is_what_happens_whatever_was_seen(link: str) -> None:
    """40,000 clusters of 3 rows, and a fourth: by the number of successes seen, within two errors of its frequency."""
    rng = np.random.default_rng(5)
    m, truth = 40_000, cg.random_effects
    u = rng.normal(0.0, 2.0, m)
    table = pd.DataFrame({"id": np.repeat(np.arange(m), 4)})
    eta = -2.0 + u[table.id]
    p = expit(eta) if link == "logit" else -np.expm1(-np.exp(eta))
    table["y"] = (rng.random(4 * m) < p).astype(int)
    last = np.arange(4 * m) % 4 == 3
    new, seen = table[last], table[~last].groupby("id").y.sum().to_numpy()
    result = truth("y ~ 1", table[~last], cluster="id", link=link)
    predicted, mode = (result.predict(new, kind=kind).to_numpy() for kind in ("posterior", "conditional"))
    happened = new.y.to_numpy()
    for k in range(4):
        of = seen == k
        error = happened[of].std() / np.sqrt(of.sum())
        assert abs(predicted[of].mean() - happened[of].mean()) < 2.0 * error
    nothing = seen == 0
    assert happened[nothing].mean() - mode[nothing].mean() > 0.02  # the mode is no mean


# Standard errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["response", "link"])
@pytest.mark.parametrize("distribution", ["gaussian", "student_t(4)", "laplace"])
@pytest.mark.parametrize("cov", ["observed", "robust"])
def test_standard_errors_are_those_of_the_mean(data: pd.DataFrame, scale: str, distribution: str, cov: str) -> None:
    result = cg.random_effects("y ~ x + offset(o)", data, cluster="id", distribution=distribution)
    theta, h = result.fit.theta, 1e-4

    def at(theta: np.ndarray) -> np.ndarray:
        other = replace(result.fit, beta=theta[:-1].copy(), sigma=float(theta[-1]))
        return RandomEffectsResult(other, result.data).predict(kind="posterior", scale=scale).to_numpy()

    slopes = np.column_stack([(at(theta + e) - at(theta - e)) / (2 * h) for e in h * np.eye(len(theta))])
    found = result.predict(kind="posterior", scale=scale, level=0.9, cov=cov)
    want = np.sqrt(np.einsum("ij,jk,ik->i", slopes, result.cov(cov), slopes))
    np.testing.assert_allclose(found.std_error, want, rtol=1e-5)
    np.testing.assert_allclose(found.estimate, result.predict(kind="posterior", scale=scale), rtol=1e-12)
    assert (found.low < found.estimate).all()
    assert (found.estimate < found.high).all()


def test_without_differences_between_clusters_all_kinds_are_one(data: pd.DataFrame) -> None:
    table = data.assign(y=data.groupby("id").cumcount() % 2)
    result = cg.random_effects("y ~ x", table, cluster="id")
    assert result.sigma == 0.0
    found, typical = (result.predict(kind=kind, level=0.95) for kind in ("posterior", "typical"))
    pd.testing.assert_frame_equal(found, typical, rtol=1e-12)
    interval = result.predict(kind="marginal", level=0.95, interval="cluster")
    np.testing.assert_allclose(interval.low, typical.low, rtol=1e-8)
    assert interval.status.str.contains("sigma is estimated as 0").all()
    unseen = pd.DataFrame({"x": [0.0], "id": [99]})
    found = result.predict(unseen, kind="conditional", level=0.95, interval="cluster", unseen="marginal")
    assert found.status[0].startswith("cluster 99 not seen: the mean over all clusters; sigma is estimated as 0")


def test_expected_counts_exceed_counts_at_the_mode(data: pd.DataFrame) -> None:
    rng = np.random.default_rng(3)
    table = data.assign(y=rng.poisson(np.exp(0.3 * data.x + 0.7 * rng.normal(size=40)[data.id])))
    result = cg.random_effects("y ~ x", table, cluster="id", family="poisson")
    means, modes = result.predict(kind="posterior"), result.predict(kind="conditional")
    assert (means > modes).all()  # of a convex function


def test_a_result_that_has_predicted_can_be_pickled(fit: RandomEffectsResult) -> None:
    found = fit.predict(kind="posterior")
    pd.testing.assert_series_equal(pickle.loads(pickle.dumps(fit)).predict(kind="posterior"), found, rtol=1e-12)


# Histories and unseen clusters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [None, 0.95])
def test_a_history_says_the_same_as_the_fit(data: pd.DataFrame, fit: RandomEffectsResult, level: float | None) -> None:
    renamed = data.assign(id=data.id + 1000)
    want: Any = fit.predict(kind="posterior", level=level)
    found: Any = fit.predict(renamed, kind="posterior", history=renamed, level=level)
    both: Any = fit.predict(pd.concat([renamed, data]), kind="posterior", history=renamed, level=level)
    compare = pd.testing.assert_series_equal if level is None else pd.testing.assert_frame_equal
    compare(found, want, rtol=1e-8)
    compare(both.iloc[len(data) :].reset_index(drop=True), want.reset_index(drop=True), check_names=False, rtol=1e-8)
    compare(both.iloc[: len(data)], found if level is None else found.frame, rtol=1e-8)


@pytest.mark.parametrize("kind", ["conditional", "posterior"])
def test_unseen_clusters_fall_back_on_request(fit: RandomEffectsResult, kind: str) -> None:
    refused = fit.predict(NEW, kind, level=0.9)
    assert refused.estimate.notna().to_list() == [True, False, False, False, False]
    found = fit.predict(NEW, kind, level=0.9, unseen="marginal")
    marginal = fit.predict(NEW, "marginal", level=0.9)
    assert found.status.to_list() == [
        "ok",
        "cluster 77.0 not seen: the mean over all clusters",
        "missing value in 'x'",
        "cluster 78.0 not seen: the mean over all clusters",
        "missing value in 'id'",
    ]
    columns = ["estimate", "std_error", "low", "high"]
    pd.testing.assert_frame_equal(found.loc[[1, 3], columns], marginal.loc[[1, 3], columns])
    pd.testing.assert_frame_equal(found.loc[[0], columns], refused.loc[[0], columns])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain = fit.predict(NEW, kind, unseen="marginal")
    assert [str(each.message) for each in caught] == [
        "2 of 5 rows cannot be predicted (1: missing value in 'x'; 1: missing value in 'id')"
    ]
    np.testing.assert_allclose(plain, found.estimate, rtol=1e-12)
    history = pd.DataFrame({"x": [0.0, 0.0], "o": 0.0, "id": [77, 77], "y": [0, 0]})
    given = fit.predict(NEW, kind, level=0.9, unseen="marginal", history=history)
    assert given.status.to_list()[:4] == ["ok", "ok", *found.status.to_list()[2:4]]
    assert given.estimate[1] < found.estimate[1]


def test_the_interval_of_a_new_cluster(fit: RandomEffectsResult) -> None:
    mean = fit.predict(NEW, "marginal", level=0.9)
    found = fit.predict(NEW, "marginal", level=0.9, interval="cluster")
    link = fit.predict(NEW, "marginal", level=0.9, interval="cluster", scale="link")
    pd.testing.assert_frame_equal(mean.drop(columns=["low", "high"]), found.drop(columns=["low", "high"]))
    ok = [0, 1, 3, 4]
    np.testing.assert_allclose(logit(found.loc[ok, "low"]), link.loc[ok, "low"])
    assert (found.low[ok] < mean.low[ok]).all()
    assert (found.high[ok] > mean.high[ok]).all()
    middle = fit.predict(NEW, "typical", level=0.9, scale="link")  # symmetric about that, but for sigma's share
    np.testing.assert_allclose(0.5 * (link.low + link.high)[ok], middle.estimate[ok], atol=0.05)
    assert found.loc[2, ["low", "high"]].isna().all()
    both = fit.predict(NEW, "conditional", level=0.9, interval="cluster", unseen="marginal")
    np.testing.assert_array_equal(both.loc[[1, 3], "low"], found.loc[[1, 3], "low"])
    np.testing.assert_array_equal(both.loc[0], fit.predict(NEW, "conditional", level=0.9).loc[0])


def test_a_mean_that_is_not_known_says_so(fit: RandomEffectsResult) -> None:
    far = {"x": [1e4, 0.0], "o": [0.0, 0.0], "id": [3, 3]}
    found = fit.predict(far, "posterior", level=0.95)
    assert found.status.to_list() == ["the mean given the cluster's data is not known accurately", "ok"]
    with pytest.warns(PredictionWarning, match="1 of 2 rows: the mean given") as caught:
        fit.predict(far, "posterior")
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "marginal", "interval": "cluster"}, "level=0.95"),
        ({"kind": "marginal", "interval": "new", "level": 0.9}, "interval='new'"),
        ({"kind": "posterior", "interval": "cluster", "level": 0.9}, 'kind="conditional"'),
        ({"kind": "typical", "interval": "cluster", "level": 0.9}, 'kind="marginal"'),
        ({"kind": 0.3, "interval": "cluster", "level": 0.9}, 'kind="marginal"'),
        ({"kind": "conditional", "interval": "cluster", "level": 0.9}, 'kind="marginal"'),
        ({"unseen": "marginal"}, 'kind="posterior"'),
        ({"kind": "marginal", "unseen": "marginal"}, 'kind="posterior"'),
        ({"kind": "conditional", "unseen": "typical"}, "unseen='typical'"),
    ],
)
def test_questions_that_say_nothing_are_refused(fit: RandomEffectsResult, options: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words.replace("(", r"\(")):
        fit.predict(NEW, **options)
    with pytest.raises(OptionError, match='kind="posterior" or "conditional"'):
        fit.predict(NEW, kind="marginal", history=NEW)


# Mass points ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["gaussian", "separated"])
def points(request: pytest.FixtureRequest, data: pd.DataFrame) -> NonparametricResult:
    table = data
    if request.param == "separated":  # many clusters without successes: a point at -inf
        table = data.assign(y=np.where(data.id < 15, 0, data.y))
    return cg.nonparametric("y ~ x", table, cluster="id")


@pytest.mark.parametrize("kind", ["conditional", "posterior"])
def test_intervals_over_mass_points(points: NonparametricResult, kind: str) -> None:
    fit = points.fit
    finite, p, k = np.isfinite(fit.points), len(fit.beta), len(fit.points)
    theta = np.concatenate([fit.beta, fit.points[finite], np.log(fit.weights[:-1] / fit.weights[-1])])

    def at(theta: np.ndarray) -> np.ndarray:
        places, weights = fit.points.copy(), np.exp(np.append(theta[len(theta) - k + 1 :], 0.0))
        places[finite] = theta[p : p + int(finite.sum())]
        other = replace(fit, beta=theta[:p].copy(), points=places, weights=weights / weights.sum())
        return NonparametricResult(other, points.data, points.response).predict(kind=kind).to_numpy()

    h = 1e-5
    slopes = np.column_stack([(at(theta + e) - at(theta - e)) / (2 * h) for e in h * np.eye(len(theta))])
    found = points.predict(kind=kind, level=0.95)
    variance = np.einsum("ij,jk,ik->i", slopes, fit.covariance, slopes)
    known = np.isfinite(variance)
    assert known.any()
    np.testing.assert_allclose(found.std_error[known], np.sqrt(variance[known]), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.estimate, points.predict(), rtol=1e-12)
