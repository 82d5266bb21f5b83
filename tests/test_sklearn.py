"""The estimators: scikit-learn's own checks, the same numbers as the verbs, and groups by metadata routing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.special import gammaln
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.metrics import d2_tweedie_score
from sklearn.model_selection import GridSearchCV, GroupKFold, PredefinedSplit, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import clusterglm as cg
from clusterglm.errors import GroupsWarning, OptionError, ResponseError, SeparationError
from clusterglm.sklearn import (
    PooledClassifier,
    PooledPoissonRegressor,
    RandomEffectsClassifier,
    RandomEffectsPoissonRegressor,
)

SEPARABLE = (
    "the check's classes can be separated: the maximum of the likelihood lies at infinity, and SeparationError says so"
)
TOO_WIDE = {
    "check_sample_weight_equivalence_on_dense_data": "30 columns, 27 rows: no unique estimate; DesignError says so"
}
EXPECTED = TOO_WIDE | dict.fromkeys(
    (
        "check_dict_unchanged", "check_classifiers_classes", "check_dont_overwrite_parameters",
        "check_estimators_fit_returns_self", "check_estimators_overwrite_params", "check_estimators_pickle",
        "check_f_contiguous_array_estimator", "check_fit2d_1feature", "check_fit2d_predict1d",
        "check_methods_sample_order_invariance", "check_methods_subset_invariance",
        "check_non_transformer_estimators_n_iter", "check_pipeline_consistency", "check_positive_only_tag_during_fit",
        "check_readonly_memmap_input", "check_sample_weights_not_overwritten", "check_sample_weights_shape",
    ),
    SEPARABLE,
)  # fmt: skip


class WithPseudoRows(RandomEffectsClassifier):
    """Each row once more with the other class and a small weight, so that nothing can be separated."""

    def _fit(self, X: Any, y: Any, groups: Any, sample_weight: Any) -> None:
        w = np.ones(len(y)) if sample_weight is None else sample_weight
        super()._fit(np.vstack([X, X]), np.concatenate([y, 1.0 - y]), groups, np.concatenate([w, 0.02 * w]))


def expected(estimator: Any) -> dict[str, str]:
    if isinstance(estimator, WithPseudoRows) or not hasattr(estimator, "link"):
        return TOO_WIDE
    return EXPECTED


# without groups these take the pooled estimators' way, so that those need no checks of their own
ESTIMATORS = (RandomEffectsClassifier(), RandomEffectsPoissonRegressor(), WithPseudoRows())


@parametrize_with_checks(list(ESTIMATORS), expected_failed_checks=expected)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no groups, as many warnings as checks
        check(estimator)


@pytest.fixture(scope="module")
def bacteria(golden_frame: Any) -> pd.DataFrame:
    d: pd.DataFrame = golden_frame("bacteria").copy()
    return d.assign(drug=(d.trt == "drug") * 1.0, plus=(d.trt == "drug+") * 1.0)


@pytest.fixture(scope="module")
def epil(golden_frame: Any) -> pd.DataFrame:
    return golden_frame("epil")


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


X_COLUMNS = ["drug", "plus", "week"]


def test_the_same_numbers_as_the_verb(bacteria: pd.DataFrame) -> None:
    X, y = bacteria[X_COLUMNS], bacteria.y
    model = RandomEffectsClassifier(distribution="logistic").fit(X, y, groups=bacteria.ID)
    fit = cg.random_effects("y ~ drug + plus + week", bacteria, cluster="ID", distribution="logistic")
    assert model.result_.loglik == fit.loglik
    np.testing.assert_array_equal(model.coef_[0], fit.params[1:])
    assert (model.intercept_[0], model.sigma_) == (fit.params.iloc[0], fit.sigma)
    assert list(model.classes_) == ["n", "y"]
    assert list(model.result_.params.index) == ["(Intercept)", *X_COLUMNS]
    np.testing.assert_array_equal(model.predict_proba(X)[:, 1], fit.predict(bacteria, "marginal"))
    np.testing.assert_array_equal(model.predict(X), np.where(fit.predict(bacteria, "marginal") > 0.5, "y", "n"))
    pooled = PooledClassifier(link="probit").fit(X, y, groups=bacteria.ID)
    same = cg.pooled("y ~ drug + plus + week", bacteria, link="probit", cluster="ID")
    np.testing.assert_array_equal(pooled.result_.cov("robust"), same.cov("robust"))


def test_slopes_are_those_of_the_verb(bacteria: pd.DataFrame) -> None:
    X, y = bacteria[X_COLUMNS], bacteria.y
    model = RandomEffectsClassifier(random="week", quadrature=5).fit(X, y, groups=bacteria.ID)
    fit = cg.random_effects("y ~ drug + plus + week + (week | ID)", bacteria, quadrature=5)
    assert model.result_.loglik == fit.loglik
    np.testing.assert_array_equal(model.coef_[0], fit.params[1:])
    np.testing.assert_array_equal(model.predict_proba(X)[:, 1], fit.predict(bacteria, "marginal"))
    for kind in ("conditional", "posterior"):
        found = clone(model).set_params(kind=kind).fit(X, y, groups=bacteria.ID)
        groups = np.where(bacteria.ID.iloc[0] == bacteria.ID, "nobody", bacteria.ID)
        p, seen = found.predict_proba(X, groups=groups)[:, 1], groups != "nobody"
        np.testing.assert_allclose(p[seen], fit.predict(bacteria, kind)[seen], rtol=1e-10)
        np.testing.assert_array_equal(p[~seen], fit.predict(bacteria, "marginal")[~seen])
    with pytest.raises(OptionError, match="variance_components"):
        _ = model.sigma_
    alone = RandomEffectsClassifier(random="0 + x2", quadrature=5).fit(X.to_numpy(), y, groups=bacteria.ID)
    one = cg.random_effects("y ~ drug + plus + week + (0 + week | ID)", bacteria, quadrature=5)
    assert alone.result_.loglik == one.loglik
    for wrong in (1, "", "1 | ID"):
        with pytest.raises(cg.errors.ClusterGLMError):
            RandomEffectsClassifier(random=wrong).fit(X, y, groups=bacteria.ID)
    with pytest.raises(OptionError, match="several random effects"):
        RandomEffectsClassifier(random="week", distribution="logistic").fit(X, y, groups=bacteria.ID)


def test_slopes_of_counts_in_cross_validation(epil: pd.DataFrame, routing: None) -> None:
    X, y, groups = epil[["lage", "V4"]].astype(float), epil.y, epil.subject
    model = RandomEffectsPoissonRegressor(random="V4", quadrature=3).set_fit_request(groups=True)
    model.set_score_request(groups=False)
    scores = cross_val_score(model, X, y, cv=GroupKFold(2), params={"groups": groups})
    intercepts = clone(model).set_params(random="1")
    assert np.isfinite(scores).all()
    assert (scores != cross_val_score(intercepts, X, y, cv=GroupKFold(2), params={"groups": groups})).all()


@pytest.mark.parametrize(("kind", "rtol"), [("conditional", 1e-14), ("posterior", 1e-11)])
def test_predictions_for_groups_that_were_seen(bacteria: pd.DataFrame, kind: str, rtol: float) -> None:
    X, ids = bacteria[X_COLUMNS], bacteria.ID.to_numpy()
    model = RandomEffectsClassifier(kind=kind).fit(X, bacteria.y, groups=ids)
    groups = np.where(np.arange(len(ids)) % 3 == 0, "nobody", ids)
    found = model.predict_proba(X, groups=groups)[:, 1]
    fit, seen = model.result_, groups != "nobody"
    np.testing.assert_array_equal(found[~seen], fit.predict(X, "marginal")[~seen])
    np.testing.assert_allclose(found[seen], fit.predict(kind=kind)[seen], rtol=rtol)
    assert model.score(X, bacteria.y, groups=ids) == np.mean((fit.predict(kind=kind) > 0.5) == (bacteria.y == "y"))
    with pytest.raises(OptionError, match="without groups"):
        model.predict(X)
    with pytest.raises(OptionError, match="one group for each row"):
        model.predict(X, groups=ids[:5])


def test_rates_with_exposures_as_weights(epil: pd.DataFrame) -> None:
    """The estimates of counts with an offset: w (y/w eta - exp(eta)) is the kernel of y with exposure w."""
    exposure = np.random.default_rng(1).uniform(0.5, 4.0, len(epil))
    X = epil[["lbase", "lage", "V4"]]
    data = epil.assign(exposure=exposure)
    formula = "y ~ lbase + lage + V4 + offset(log(exposure))"
    pooled = cg.pooled(formula, data, family="poisson")
    model = PooledPoissonRegressor().fit(X, epil.y / exposure, sample_weight=exposure)
    np.testing.assert_allclose(model.coef_, pooled.params[1:], rtol=1e-9)
    np.testing.assert_allclose(model.intercept_, pooled.params.iloc[0], rtol=1e-9)
    np.testing.assert_allclose(model.predict(X) * exposure, pooled.predict(), rtol=1e-8)
    random = cg.random_effects(formula, data, family="poisson", cluster="subject")
    model = RandomEffectsPoissonRegressor().fit(X, epil.y / exposure, groups=epil.subject, sample_weight=exposure)
    np.testing.assert_allclose(model.coef_, random.params[1:], rtol=1e-5)
    assert model.sigma_ == pytest.approx(random.sigma, rel=1e-5)
    assert model.score(X, epil.y / exposure, sample_weight=exposure) > 0.4


def test_the_log_likelihood_of_rates_is_normalised_by_the_gamma_function(epil: pd.DataFrame) -> None:
    rates = np.minimum(epil.y, 20) + 0.5  # none of them whole
    found = PooledPoissonRegressor().fit(epil[["lage"]], rates).result_
    eta = np.log(found.predict().to_numpy())
    assert found.loglik == pytest.approx((rates * eta - np.exp(eta) - gammaln(rates + 1.0)).sum(), rel=1e-12)


def test_groups_in_cross_validation(bacteria: pd.DataFrame, routing: None) -> None:
    X, y, groups = bacteria[X_COLUMNS], bacteria.y, bacteria.ID
    model = RandomEffectsClassifier(quadrature=5).set_fit_request(groups=True, sample_weight=False)
    model.set_score_request(groups=False, sample_weight=False)
    scores = cross_val_score(model, X, y, cv=GroupKFold(3), params={"groups": groups}, scoring="neg_log_loss")
    by_hand = []
    for train, test in GroupKFold(3).split(X, y, groups):
        fit = cg.random_effects("y ~ drug + plus + week", bacteria.iloc[train], cluster="ID", quadrature=5)
        p = fit.predict(bacteria.iloc[test], "marginal").to_numpy()
        by_hand.append(np.mean(np.log(np.where(y.iloc[test] == "y", p, 1.0 - p))))
    np.testing.assert_allclose(scores, by_hand, rtol=1e-10)
    with pytest.raises(UnsetMetadataPassedError):
        cross_val_score(RandomEffectsClassifier(), X, y, cv=GroupKFold(3), params={"groups": groups})


def test_groups_in_a_pipeline(bacteria: pd.DataFrame, routing: None) -> None:
    X, y, groups = bacteria[X_COLUMNS], bacteria.y, bacteria.ID
    model = RandomEffectsClassifier(kind="conditional").set_fit_request(groups=True)
    model.set_predict_proba_request(groups=True)
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y, groups=groups)
    plain = RandomEffectsClassifier(kind="conditional").fit(X, y, groups=groups)
    np.testing.assert_allclose(
        pipeline.predict_proba(X, groups=groups), plain.predict_proba(X, groups=groups), rtol=1e-5
    )
    name = "randomeffectsclassifier__distribution"
    pipeline.set_params(randomeffectsclassifier__kind="marginal", randomeffectsclassifier__quadrature=3)
    search = GridSearchCV(pipeline, {name: ["gaussian", "logistic"]}, cv=GroupKFold(2), scoring="neg_log_loss")
    search.fit(X, y, groups=groups)
    assert search.best_estimator_[-1].sigma_ > 0.0
    proba = cross_val_predict(pipeline, X, y, cv=GroupKFold(2), params={"groups": groups}, method="predict")
    assert set(proba) <= {"n", "y"}


def test_without_groups_it_says_so(bacteria: pd.DataFrame) -> None:
    X = bacteria[X_COLUMNS]
    with pytest.warns(GroupsWarning, match=r"set_fit_request\(groups=True\)") as caught:
        model = RandomEffectsClassifier().fit(X, bacteria.y)
    assert caught[0].filename == __file__
    assert model.sigma_ == 0.0
    np.testing.assert_array_equal(model.coef_, PooledClassifier().fit(X, bacteria.y).coef_)


def test_names_and_errors(bacteria: pd.DataFrame) -> None:
    odd = bacteria[X_COLUMNS].set_axis(["a b", "(response)", "np"], axis=1)
    model = PooledClassifier().fit(odd, bacteria.y)
    assert list(model.result_.params.index) == ["(Intercept)", "x0", "x1", "x2"]
    words = bacteria[X_COLUMNS].set_axis(["log", "C", "np"], axis=1)
    np.testing.assert_array_equal(PooledClassifier().fit(words, bacteria.y).coef_, model.coef_)
    with pytest.raises(SeparationError, match="'drug'"):
        PooledClassifier().fit(bacteria[["drug"]], bacteria.drug)
    with pytest.raises(ResponseError, match="one class"):
        PooledClassifier().fit(odd, np.ones(len(odd)))
    with pytest.raises(ResponseError, match="y with -1"):
        PooledPoissonRegressor().fit(odd, -np.ones(len(odd)))
    with pytest.raises(OptionError, match="kind"):
        RandomEffectsClassifier(kind="average").fit(odd, bacteria.y, groups=bacteria.ID)
    assert clone(RandomEffectsClassifier(distribution=cg.StudentT(4))).distribution == cg.StudentT(4)


def test_intercepts_of_known_groups_count_in_cross_validation(epil: pd.DataFrame, routing: None) -> None:
    """Rows of a group on both sides: its own intercept, found through the routed groups, explains more."""
    X, y, groups = epil[["age"]], epil.y, epil.subject
    folds = PredefinedSplit(epil.groupby("subject").cumcount())
    scores, by_hand = {}, []
    for kind in ("conditional", "marginal"):
        model = RandomEffectsPoissonRegressor(kind=kind).set_fit_request(groups=True, sample_weight=False)
        model.set_score_request(groups=True, sample_weight=False)
        scores[kind] = cross_val_score(model, X, y, cv=folds, params={"groups": groups})
    assert scores["conditional"].min() > scores["marginal"].max() + 0.2
    for train, test in folds.split():
        fit = cg.random_effects("y ~ age", epil.iloc[train], cluster="subject", family="poisson")
        mean = fit.predict(epil.iloc[test], "conditional")
        by_hand.append(d2_tweedie_score(y.iloc[test], mean, power=1))
    np.testing.assert_allclose(scores["conditional"], by_hand, rtol=1e-4)
