"""Probabilities within the sets of conditional models."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from statsmodels.discrete.conditional_models import ConditionalLogit

import clusterglm as cg
from clusterglm.errors import ClusterError, OptionError, PredictionWarning
from clusterglm.results.models.conditional import ConditionalResult


@pytest.fixture(scope="module")
def infert() -> pd.DataFrame:
    return cg.datasets.load("infert")


@pytest.fixture(scope="module")
def fit(infert: pd.DataFrame) -> ConditionalResult:
    return cg.conditional("case ~ spontaneous + induced", infert, cluster="stratum")


NEW = pd.DataFrame({"stratum": ["b", "a", "a", "b", "a"], "spontaneous": [0, 1, 2, 1, 0], "induced": [0, 0, 1, 1, 0]})


def test_a_matched_set_is_a_softmax(fit: ConditionalResult, infert: pd.DataFrame) -> None:
    peer = ConditionalLogit(infert.case, infert[["spontaneous", "induced"]], groups=infert.stratum).fit(disp=False)
    odds = np.exp(infert[["spontaneous", "induced"]] @ peer.params)
    found = fit.predict(scale="probability")
    np.testing.assert_allclose(found, odds / odds.groupby(infert.stratum).transform("sum"), rtol=1e-5)
    assert found.name == "probability"
    observed = infert.groupby("spontaneous").case.sum()  # the score equations
    np.testing.assert_allclose((found * infert.spontaneous).sum(), (observed.index * observed).sum(), rtol=1e-6)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
@pytest.mark.parametrize("cov", ["observed", "robust"])
def test_standard_errors_by_differences(family: str, cov: str) -> None:
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"id": np.repeat(np.arange(30), 5), "x": rng.normal(size=150), "z": rng.normal(size=150)})
    data["y"] = rng.poisson(np.exp(0.5 * data.x)) if family == "poisson" else (rng.random(150) < 0.5).astype(int)
    data = data.sample(frac=1.0, random_state=1).reset_index(drop=True)
    result = cg.conditional("y ~ x + z", data, cluster="id", family=family)

    def at(beta: np.ndarray) -> np.ndarray:
        other = ConditionalResult(replace(result.fit, beta=beta.copy()), result.data, result.response)
        return other.predict(scale="probability").to_numpy()

    h, beta = 1e-5, result.fit.beta
    slopes = np.column_stack([(at(beta + e) - at(beta - e)) / (2 * h) for e in h * np.eye(2)])
    found = result.predict(scale="probability", level=0.9, cov=cov)
    want = np.sqrt(np.einsum("ij,jk,ik->i", slopes, result.cov(cov), slopes))
    np.testing.assert_allclose(found.std_error.dropna(), want[found.std_error.notna()], rtol=1e-6)
    certain = found.status != "ok"
    assert found.status[certain].str.contains("nothing to chance").all()
    assert found.estimate[certain].isin([0.0, 1.0]).all()
    ok = found[~certain]
    reach = ok.std_error / (ok.estimate * (1.0 - ok.estimate)) * 1.6448536269514722
    np.testing.assert_allclose(logit(ok.high), logit(ok.estimate) + reach, rtol=1e-9)


def test_new_sets(fit: ConditionalResult) -> None:
    found = fit.predict(NEW, scale="probability", level=0.95)
    eta = fit.predict(NEW, scale="link")
    want = np.exp(eta) / np.exp(eta).groupby(NEW.stratum).transform("sum")
    np.testing.assert_allclose(found.estimate, want, rtol=1e-12)
    pd.testing.assert_frame_equal(found, fit.predict(NEW, scale="probability", level=0.95, total=1))
    two = fit.predict(NEW, scale="probability", total=[1, 2, 2, 1, 2])
    np.testing.assert_allclose(two[[0, 3]], found.estimate[[0, 3]])
    pair = np.exp(eta[[1, 2, 4]].to_numpy())  # two of three: all but one
    without = np.prod(pair) / pair
    np.testing.assert_allclose(two[[1, 2, 4]], 1.0 - without / without.sum(), rtol=1e-12)


def test_sets_that_are_not_complete(fit: ConditionalResult) -> None:
    odd = pd.concat([NEW, pd.DataFrame({"stratum": ["b", None], "spontaneous": [None, 1.0], "induced": [0, 0]})])
    found = fit.predict(odd, scale="probability", level=0.95)
    other = "another row of its set cannot be predicted"
    assert found.status.to_list() == [
        other,
        "ok",
        "ok",
        other,
        "ok",
        "missing value in 'spontaneous'",
        "missing value in 'stratum'",
    ]
    assert found.estimate.notna().to_list() == [False, True, True, False, True, False, False]
    with pytest.warns(PredictionWarning, match="4 of 7 rows"):
        fit.predict(odd, scale="probability")
    short = fit.predict(NEW, scale="probability", level=0.95, total=3)
    assert short.status.str.contains("fewer trials").to_list() == [True, False, False, True, False]
    assert (short.estimate.dropna() == 1.0).all()
    assert fit.predict(NEW.iloc[:0], scale="probability", level=0.95).shape == (0, 5)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"total": 1}, OptionError, 'scale="probability"'),
        ({"scale": "probability", "total": 0.5}, OptionError, "differ within a set, or are not whole"),
        ({"scale": "probability", "total": [1, 1, 2, 1, 1]}, OptionError, "differ within a set"),
        ({"scale": "probability", "total": [1, 1]}, OptionError, "one for each of the 5 rows"),
        ({"scale": "response"}, OptionError, "'probability'"),
    ],
)
def test_refusals(fit: ConditionalResult, options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        fit.predict(NEW, **options)
    with pytest.raises(ClusterError, match="stratum"):
        fit.predict(NEW.drop(columns="stratum"), scale="probability")


def test_trials_and_weights_are_rows(infert: pd.DataFrame) -> None:
    """Grouped rows and case weights give what the rows one by one give."""
    rng = np.random.default_rng(5)
    grouped = pd.DataFrame({"id": np.repeat(np.arange(20), 3), "x": rng.normal(size=60), "n": rng.integers(1, 6, 60)})
    grouped["s"] = rng.binomial(grouped.n, 0.4)
    grouped["f"] = grouped.n - grouped.s
    single = grouped.loc[grouped.index.repeat(grouped.n)]
    single = single.assign(y=(single.groupby(level=0).cumcount() < single.s).astype(int))
    weighted = single.groupby(["id", "x", "y"]).size().rename("w").reset_index()
    fits = {
        "grouped": cg.conditional("cbind(s, f) ~ x", grouped, cluster="id"),
        "single": cg.conditional("y ~ x", single, cluster="id"),
        "weighted": cg.conditional("y ~ x", weighted, cluster="id", weights="w"),
    }
    tables = {"grouped": grouped, "single": single, "weighted": weighted}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = {
            name: pd.Series(fit.predict(scale="probability").to_numpy(), index=tables[name].x.to_numpy())
            for name, fit in fits.items()
        }
    want = found["grouped"]
    for name in ("single", "weighted"):
        np.testing.assert_allclose(found[name], want.loc[found[name].index], rtol=1e-6)


def test_events_fall_to_rows_by_their_rates() -> None:
    rng = np.random.default_rng(6)
    data = pd.DataFrame({"id": np.repeat(np.arange(15), 4), "x": rng.normal(size=60), "t": rng.uniform(1, 3, 60)})
    data["y"] = rng.poisson(data.t * np.exp(0.5 * data.x))
    result = cg.conditional("y ~ x", data, cluster="id", family="poisson", exposure="t")
    rate = data.t * np.exp(result.params["x"] * data.x)
    share = rate / rate.groupby(data.id).transform("sum")
    np.testing.assert_allclose(result.predict(scale="probability"), share, rtol=1e-12)
    np.testing.assert_allclose(result.predict(data, scale="probability"), share, rtol=1e-12)
    with pytest.raises(OptionError, match="total="):
        result.predict(data, scale="probability", total=2)
