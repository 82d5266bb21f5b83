"""Estimators of ordered classes, counts and measured responses: the verbs' numbers, and what scikit-learn expects."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.metrics import d2_tweedie_score, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, GroupsWarning, OptionError, ResponseError
from clusterglm.sklearn import (
    PooledContinuousRegressor,
    PooledCountRegressor,
    PooledOrdinalClassifier,
    RandomEffectsContinuousRegressor,
    RandomEffectsCountRegressor,
    RandomEffectsOrdinalClassifier,
    RandomEffectsPoissonRegressor,
)

TOO_WIDE = {
    "check_sample_weight_equivalence_on_dense_data": "30 columns, 27 rows: no unique estimate; DesignError says so"
}


EXACT = dict.fromkeys(
    ("check_sample_weights_shape", "check_sample_weights_not_overwritten", "check_regressors_no_decision_function"),
    "the check's responses are functions of its features: nothing is left over, and DesignError says so",
)


def expected(estimator: Any) -> dict[str, str]:
    return TOO_WIDE | (EXACT if isinstance(estimator, RandomEffectsContinuousRegressor) else {})


class WithPseudoRows(RandomEffectsOrdinalClassifier):
    """Each row once more with every class and a small weight, so that nothing can be separated."""

    def _fit(self, X: Any, y: Any, groups: Any, sample_weight: Any) -> None:
        k, w = len(self.classes_), np.ones(len(y)) if sample_weight is None else sample_weight
        more = np.repeat(np.arange(float(k)), len(y))
        weights = np.concatenate([w, np.tile(0.02 * w, k)])
        super()._fit(np.vstack([X] * (k + 1)), np.concatenate([y, more]), groups, weights)


class Rounded(RandomEffectsCountRegressor):
    """The checks' responses are no whole numbers, which counts are."""

    def _checked(self, y: Any) -> Any:
        return super()._checked(np.rint(y))


# without groups these take the pooled estimators' way, so that those need no checks of their own
ESTIMATORS = (WithPseudoRows(), Rounded("poisson"), RandomEffectsContinuousRegressor())


@parametrize_with_checks(list(ESTIMATORS), expected_failed_checks=expected)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no groups, as many warnings as checks
        check(estimator)


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def table() -> pd.DataFrame:
    """Groups of eight rows with a response of each kind."""
    rng = np.random.default_rng(3)
    group, x, z = np.repeat(np.arange(25), 8), rng.normal(size=200), rng.integers(0, 2, 200)
    eta = 0.5 * x - 0.4 * z + 0.7 * rng.normal(size=25)[group]
    k = rng.poisson(np.exp(0.6 + eta) * rng.gamma(2.0, 0.5, 200))
    grade = np.digitize(eta + rng.logistic(size=200), [-1.0, 0.3, 1.4])
    t = np.exp(eta) * rng.gamma(3.0, 0.4, 200)
    return pd.DataFrame(
        {
            "x": x,
            "z": z * 1.0,
            "g": group,
            "k": k,
            "above": k + 1,
            "grade": np.array(["A", "B", "C", "D"])[grade],
            "t": t,
        }
    )


X_COLUMNS = ["x", "z"]


# Ordered classes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_ordered_classes_are_the_verbs(link: str) -> None:
    data = table()
    model = RandomEffectsOrdinalClassifier(link).fit(data[X_COLUMNS], data["grade"], groups=data["g"])
    levels = ["A", "B", "C", "D"]
    fit = cg.random_effects("grade ~ x + z", data, cluster="g", family="ordinal", link=link, levels=levels)
    assert (model.result_.loglik, model.sigma_) == (fit.loglik, fit.sigma)
    np.testing.assert_array_equal(model.coef_, fit.params)
    np.testing.assert_array_equal(model.thresholds_, fit.thresholds)
    assert list(model.classes_) == levels
    proba = model.predict_proba(data[X_COLUMNS])
    np.testing.assert_array_equal(proba, fit.predict(kind="marginal"))
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    hit = fit.predict(kind="marginal").idxmax(axis=1) == data["grade"]
    assert model.score(data[X_COLUMNS], data["grade"]) == np.mean(hit)
    pooled = PooledOrdinalClassifier(link).fit(data[X_COLUMNS], data["grade"], groups=data["g"])
    same = cg.pooled("grade ~ x + z", data, cluster="g", family="ordinal", link=link, levels=levels)
    np.testing.assert_array_equal(pooled.result_.cov("robust"), same.cov("robust"))


def test_ordered_classes_of_known_groups_and_with_slopes() -> None:
    data = table()
    model = RandomEffectsOrdinalClassifier(random="x", quadrature=3, kind="conditional")
    model.fit(data[X_COLUMNS], data["grade"], groups=data["g"])
    fit = cg.random_effects("grade ~ x + z + (x | g)", data, family="ordinal", levels=list("ABCD"), quadrature=3)
    assert model.result_.loglik == fit.loglik
    groups = np.where(data["g"] == 2, 99, data["g"])
    proba, new = model.predict_proba(data[X_COLUMNS], groups=groups), groups == 99
    np.testing.assert_allclose(proba[~new], fit.predict(kind="conditional")[~new], rtol=1e-9)
    np.testing.assert_array_equal(proba[new], fit.predict(kind="marginal")[new])
    with pytest.raises(OptionError, match="without groups"):
        model.predict(data[X_COLUMNS])
    with pytest.raises(OptionError, match="kind"):
        clone(model).set_params(kind="posterior").fit(data[X_COLUMNS], data["grade"], groups=data["g"])


def test_numbers_are_classes_in_their_order() -> None:
    data = table()
    y = data["grade"].map({"A": 2, "B": 5, "C": 10, "D": 11})
    words, numbers = (PooledOrdinalClassifier().fit(data[X_COLUMNS], each) for each in (data["grade"], y))
    np.testing.assert_array_equal(numbers.coef_, words.coef_)
    assert numbers.classes_.tolist() == [2, 5, 10, 11]
    assert set(numbers.predict(data[X_COLUMNS])) <= {2, 5, 10, 11}
    two = PooledOrdinalClassifier().fit(data[X_COLUMNS], data["k"] > 1)
    binary = cg.pooled("(k > 1) ~ x + z", data)
    np.testing.assert_allclose(two.coef_, binary.params[1:], rtol=1e-6)
    with pytest.raises(ResponseError, match="one class"):
        two.fit(data[X_COLUMNS], np.ones(200))


# Counts and measured responses ----------------------------------------------------------------------------------------


REGRESSIONS = [
    ("poisson", "k"), ("negative_binomial", "k"), ("negative_binomial1", "k"), ("truncated_poisson", "above"),
    ("truncated_negative_binomial", "above"), ("gaussian", "t"), ("gamma", "t"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "y"), REGRESSIONS)
def test_regressions_are_the_verbs(family: str, y: str) -> None:
    data, measured = table(), y == "t"
    kind, alone = (
        (RandomEffectsContinuousRegressor, PooledContinuousRegressor)
        if measured
        else (RandomEffectsCountRegressor, PooledCountRegressor)
    )
    model = kind(family).fit(data[X_COLUMNS], data[y], groups=data["g"])
    fit = cg.random_effects(f"{y} ~ x + z", data, cluster="g", family=family)
    assert model.result_.loglik == fit.loglik
    np.testing.assert_array_equal(model.coef_, fit.params[1:])
    assert model.intercept_ == fit.params.iloc[0]
    assert model.sigma_ == fit.sigma > 0.0
    mean = model.predict(data[X_COLUMNS])
    np.testing.assert_array_equal(mean, fit.predict(kind="marginal"))
    power = 2 if family == "gamma" else 1
    expected = r2_score(data[y], mean) if family == "gaussian" else d2_tweedie_score(data[y], mean, power=power)
    assert model.score(data[X_COLUMNS], data[y]) == pytest.approx(expected, rel=1e-12)
    pooled = alone(family).fit(data[X_COLUMNS], data[y])
    np.testing.assert_array_equal(pooled.coef_, cg.pooled(f"{y} ~ x + z", data, family=family).params[1:])
    known = clone(model).set_params(kind="conditional").fit(data[X_COLUMNS], data[y], groups=data["g"])
    found = known.predict(data[X_COLUMNS], groups=data["g"])
    np.testing.assert_allclose(found, fit.predict(kind="conditional"), rtol=1e-9)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(data[X_COLUMNS]), mean)


def test_poisson_is_the_estimator_of_its_own_name_and_reml_that_of_the_verb() -> None:
    data = table()
    one = RandomEffectsCountRegressor("poisson").fit(data[X_COLUMNS], data["k"], groups=data["g"])
    other = RandomEffectsPoissonRegressor().fit(data[X_COLUMNS], data["k"], groups=data["g"])
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-12)
    model = RandomEffectsContinuousRegressor(reml=True).fit(data[X_COLUMNS], data["t"], groups=data["g"])
    fit = cg.random_effects("t ~ x + z", data, cluster="g", family="gaussian", reml=True)
    assert model.result_.loglik == fit.loglik


def test_weights_are_those_of_the_verb() -> None:
    data = table().assign(w=lambda d: 1.0 + d.index % 3)
    model = PooledCountRegressor().fit(data[X_COLUMNS], data["k"], sample_weight=data["w"])
    fit = cg.pooled("k ~ x + z", data, family="negative_binomial", weights="w")
    np.testing.assert_array_equal(model.coef_, fit.params[1:])
    graded = PooledOrdinalClassifier().fit(data[X_COLUMNS], data["grade"], sample_weight=data["w"])
    repeated = data.loc[data.index.repeat(data["w"].astype(int))]
    np.testing.assert_allclose(
        graded.coef_, PooledOrdinalClassifier().fit(repeated[X_COLUMNS], repeated["grade"]).coef_, rtol=1e-6
    )


# In scikit-learn ------------------------------------------------------------------------------------------------------


def test_in_cross_validation_pipelines_and_searches(routing: None) -> None:
    data = table()
    X, groups, cv = data[X_COLUMNS], data["g"], GroupKFold(2)
    model = RandomEffectsOrdinalClassifier(quadrature=3).set_fit_request(groups=True)
    scores = cross_val_score(model, X, data["grade"], cv=cv, params={"groups": groups}, scoring="neg_log_loss")
    by_hand = []
    for train, test in cv.split(X, groups=groups):
        fit = cg.random_effects(
            "grade ~ x + z", data.iloc[train], cluster="g", family="ordinal", levels=list("ABCD"), quadrature=3
        )
        p = fit.predict(data.iloc[test], "marginal").to_numpy()
        codes = data["grade"].iloc[test].map(dict(zip("ABCD", range(4), strict=True))).to_numpy()
        by_hand.append(np.mean(np.log(p[np.arange(len(test)), codes])))
    np.testing.assert_allclose(scores, by_hand, rtol=1e-9)
    counts = RandomEffectsCountRegressor(quadrature=3).set_fit_request(groups=True).set_score_request(groups=False)
    pipeline = make_pipeline(StandardScaler(), counts).fit(X, data["k"], groups=groups)
    name = "randomeffectscountregressor__family"
    search = GridSearchCV(pipeline, {name: ["poisson", "negative_binomial"]}, cv=cv, error_score="raise")
    search.fit(X, data["k"], groups=groups)
    assert search.best_params_[name] in {"poisson", "negative_binomial"}


def test_words() -> None:
    data = table()
    X = data[X_COLUMNS]
    for model, y, words in (
        (PooledCountRegressor(), data["t"], "whole numbers"),
        (PooledCountRegressor("truncated_poisson"), data["k"], "0"),
        (PooledCountRegressor("gaussian"), data["k"], "family"),
        (PooledContinuousRegressor("weibull"), data["t"], "family"),
        (PooledContinuousRegressor("gamma"), data["t"] - 1.0, "positive"),
        (PooledOrdinalClassifier("loglog"), data["grade"], "link"),
    ):
        with pytest.raises(ClusterGLMError, match=words):
            model.fit(X, y)
    for model, y in ((RandomEffectsCountRegressor(), data["k"]), (RandomEffectsOrdinalClassifier(), data["grade"])):
        with pytest.warns(GroupsWarning, match="without groups") as caught:
            model.fit(X, y)
        assert caught[0].filename == __file__
        assert model.sigma_ == 0.0
