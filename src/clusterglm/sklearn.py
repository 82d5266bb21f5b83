"""Estimators with the interface of scikit-learn, for pipelines and cross-validation.

Groups (clusters) come by metadata routing::

    import sklearn
    from sklearn.model_selection import GroupKFold, cross_validate
    from clusterglm.sklearn import RandomEffectsClassifier

    sklearn.set_config(enable_metadata_routing=True)
    model = RandomEffectsClassifier().set_fit_request(groups=True)
    cross_validate(model, X, y, params={"groups": ids}, cv=GroupKFold())

They need the extra `clusterglm[sklearn]`. `result_` holds the result of the verb with everything that it can tell.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.api.arguments import warn_unless_accurate, warn_unless_converged
from clusterglm.api.mixed import refuse_with_slopes
from clusterglm.data.constants import log_constants
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.data.response import ResponseValues, to_kernel
from clusterglm.errors import GroupsWarning, OptionError, ResponseError, check_option
from clusterglm.fit.mixed import fit_mixed
from clusterglm.fit.pooled import fit_pooled
from clusterglm.fit.random_effects import fit_random_effects
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution import Distribution, distribution
from clusterglm.model.family import response
from clusterglm.model.quadrature import Quadrature, check_scale, quadrature
from clusterglm.model.response.base import Response
from clusterglm.results.models.mixed import MixedEffectsResult
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.metrics import accuracy_score, d2_tweedie_score
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data
except ModuleNotFoundError as problem:
    raise ModuleNotFoundError(
        f"{problem}: clusterglm.sklearn needs scikit-learn 1.6 or later; pip install 'clusterglm[sklearn]'"
    ) from problem

__all__ = ["PooledClassifier", "PooledPoissonRegressor", "RandomEffectsClassifier", "RandomEffectsPoissonRegressor"]

KINDS = ("marginal", "posterior", "conditional", "typical")
_OF_GROUPS = ("posterior", "conditional")
_RESPONSE, _GROUP = "(response)", "(group)"


class _GLM(BaseEstimator):
    """Pooled models: what all estimators share."""

    result_: PooledResult | RandomEffectsResult | MixedEffectsResult

    def _response(self) -> Response:
        raise NotImplementedError

    def _fit(self, X: Array, y: Array, groups: Any, sample_weight: Array | None) -> None:
        """Fit to features, weights and responses that have been validated: 0/1, or not negative."""
        labels = None if groups is None else _labels(groups, len(y))
        table = self._table(X, labels) | {_RESPONSE: np.ceil(y)}
        varies = "" if labels is None else self._varies()
        terms = [f"`{name}`" for name in self._names()] + ([f"({varies} | `{_GROUP}`)"] if varies else [])
        data = prepare(
            f"`{_RESPONSE}` ~ " + " + ".join(terms),
            table,
            Request(
                self._response(),
                cluster=None if labels is None or varies else _GROUP,
                weights=sample_weight,
                need_cluster=False,
                effects=True,
            ),
        )
        if (y % 1.0).any():
            data = _with_responses(data, y, self._response())
        self.result_ = self._fitted(data)
        self.n_iter_ = max(1, self.result_.optimization.iterations)

    def _varies(self) -> str:
        """What varies over groups besides an intercept, or more than that; nothing in a pooled model."""
        return ""

    def _fitted(self, data: ModelData) -> PooledResult | RandomEffectsResult | MixedEffectsResult:
        fit = fit_pooled(data, self._response(), self._control())
        warn_unless_converged(fit.optimization, 3)
        return PooledResult(fit, data, self._response())

    def _control(self) -> Control:
        return Control(max_iter=self.max_iter, tol=self.tol, n_threads=self.n_threads)

    def _mean(self, X: Any, groups: Any) -> Array:
        """Predicted means of new rows, shape (n,)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(self.result_.predict(self._table(X, None)), dtype=np.float64)

    def _names(self) -> list[str]:
        """The features' own names where a formula can hold them."""
        names = [str(name) for name in getattr(self, "feature_names_in_", ())]
        plain = names and len(set(names)) == len(names) and all(name.isidentifier() for name in names)
        return names if plain else [f"x{j}" for j in range(self.n_features_in_)]

    def _table(self, X: Array, labels: Any) -> dict[str, Any]:
        columns = dict(zip(self._names(), X.T, strict=True))
        return columns if labels is None else columns | {_GROUP: labels}

    @property
    def _beta(self) -> Array:
        return np.asarray(self.result_.params, dtype=np.float64)


class _RandomEffects(_GLM):
    """Random effects of each group."""

    result_: RandomEffectsResult | MixedEffectsResult | PooledResult

    def _varies(self) -> str:
        if not isinstance(self.random, str) or not self.random.strip():
            raise OptionError(
                f"random={self.random!r}", "what varies over groups, as a formula has it", "'1', 'x0' or '0 + x0'"
            )
        return "" if self.random.strip() == "1" else self.random

    def _fitted(self, data: ModelData) -> PooledResult | RandomEffectsResult | MixedEffectsResult:
        check_option("kind", self.kind, KINDS)
        check_scale(self.scale)
        intercept, rule = distribution(self.distribution), quadrature(self.quadrature)
        if data.cluster_name is None:
            warnings.warn(
                f"{type(self).__name__} fitted without groups: rows are taken to be independent, and sigma to be 0. "
                "Pass fit(X, y, groups=...), or ask for groups by set_fit_request(groups=True) in cross-validation "
                "and pipelines",
                GroupsWarning,
                stacklevel=4,
            )
            return super()._fitted(data)
        if data.effects is not None:
            refuse_with_slopes(intercept, self.scale, None, False, False)
            mixed = fit_mixed(data, self._response(), rule, self._control())
            warn_unless_converged(mixed.optimization, 3)
            warn_unless_accurate(mixed.integration, 3)
            return MixedEffectsResult(mixed, data)
        fit = fit_random_effects(data, self._response(), intercept, rule, self.scale, control=self._control())
        warn_unless_converged(fit.optimization, 3)
        warn_unless_accurate(fit.integration, 3)
        return RandomEffectsResult(fit, data)

    def _mean(self, X: Any, groups: Any) -> Array:
        check_is_fitted(self)
        kind = check_option("kind", self.kind, KINDS)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        table = self._table(X, None)
        if self.result_.data.cluster_name is None:
            return np.asarray(self.result_.predict(table), dtype=np.float64)
        if kind not in _OF_GROUPS:
            return np.asarray(self.result_.predict(table, kind), dtype=np.float64)
        if groups is None:
            raise OptionError(
                f"kind={kind!r} without groups",
                "the group of each row, to find its effects",
                "predict(X, groups=...), with set_predict_request(groups=True) where metadata are routed",
            )
        labels = _labels(groups, len(X))
        seen = np.isin(labels, self.result_.data.rows.labels)
        mean = np.array(self.result_.predict(table, "marginal"), dtype=np.float64)
        if seen.any():
            mean[seen] = self.result_.predict(self._table(X[seen], labels[seen]), kind)
        return mean

    @property
    def sigma_(self) -> float:
        """Scale of the random intercept; 0 without groups. Several effects have `result_.variance_components`."""
        check_is_fitted(self)
        return getattr(self.result_, "sigma", 0.0)


class _Classifier(ClassifierMixin, _GLM):
    """Two classes, of which the second in sorted order is the success."""

    classes_: NDArray[Any]

    def _response(self) -> Response:
        return response("binomial", self.link)

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Any:
        """Fit by maximum likelihood.

        Parameters
        ----------
        X : array-like, shape (n, p)
        y : array-like, shape (n,)
            Of two classes.
        groups : array-like, shape (n,), optional
            The cluster of each row.
        sample_weight : array-like, shape (n,), optional
            Factors of the rows' log-likelihoods; rows with weight zero are left out.

        Returns
        -------
        self

        Raises
        ------
        ClusterGLMError
            A subclass, which is a ValueError: `SeparationError` where covariates separate the classes.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(f"Only binary classification is supported. y has {len(self.classes_)} classes.")
        weights = _weights(sample_weight, X)
        used = codes if weights is None else codes[weights > 0.0]
        if len(np.unique(used)) < 2:
            raise ResponseError("y with one class in the rows in use", "two classes", "data in which both occur")
        self._fit(X, codes.astype(np.float64), groups, weights)
        return self

    def predict_proba(self, X: Any, groups: ArrayLike | None = None) -> Array:
        """Probabilities of the two classes, shape (n, 2); `groups` matter only to kinds that are of a group."""
        mean = self._mean(X, groups)
        return np.column_stack([1.0 - mean, mean])

    def predict(self, X: Any, groups: ArrayLike | None = None) -> NDArray[Any]:
        """The more probable class, shape (n,)."""
        mean = self._mean(X, groups)
        return np.asarray(self.classes_[(mean > 0.5).astype(int)])

    def score(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Share of the rows whose class is predicted."""
        return float(accuracy_score(y, self.predict(X, groups), sample_weight=sample_weight))

    @property
    def coef_(self) -> Array:
        """Coefficients of the features, shape (1, p), as scikit-learn's classifiers have them."""
        check_is_fitted(self)
        return self._beta[None, 1:]

    @property
    def intercept_(self) -> Array:
        """Intercept, shape (1,)."""
        check_is_fitted(self)
        return self._beta[:1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class _PoissonRegressor(RegressorMixin, _GLM):
    """Counts, with a logarithmic link."""

    def _response(self) -> Response:
        return response("poisson")

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Any:
        """Fit by maximum likelihood.

        Parameters
        ----------
        X : array-like, shape (n, p)
        y : array-like, shape (n,)
            Counts, or rates: counts over exposures, with the exposures as `sample_weight`. The estimates are those of
            the counts with the logarithm of the exposure as an offset.
        groups : array-like, shape (n,), optional
            The cluster of each row.
        sample_weight : array-like, shape (n,), optional
            Factors of the rows' log-likelihoods, or exposures; rows with weight zero are left out.

        Returns
        -------
        self

        Raises
        ------
        ClusterGLMError
            A subclass, which is a ValueError.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        if (y < 0.0).any():
            raise ResponseError(f"y with {y.min():g}", "counts, or rates, from 0 on", "check the column")
        self._fit(X, y, groups, _weights(sample_weight, X))
        return self

    def predict(self, X: Any, groups: ArrayLike | None = None) -> Array:
        """Means, shape (n,); `groups` matter only to kinds that are of a group."""
        return self._mean(X, groups)

    def score(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Share of the Poisson deviance that is explained, D^2, as of scikit-learn's PoissonRegressor."""
        return float(d2_tweedie_score(y, self.predict(X, groups), sample_weight=sample_weight, power=1))

    @property
    def coef_(self) -> Array:
        """Coefficients of the features, shape (p,)."""
        check_is_fitted(self)
        return self._beta[1:]

    @property
    def intercept_(self) -> float:
        """Intercept."""
        check_is_fitted(self)
        return float(self._beta[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags


class PooledClassifier(_Classifier):
    """A binary regression without group effects.

    Parameters
    ----------
    link : {"logit", "probit", "cloglog"}
    max_iter, tol, n_threads
        As in `clusterglm.Control`.

    Attributes
    ----------
    result_ : PooledResult
        With `groups` in `fit`, its `cov("robust")` is clustered by them.
    coef_, intercept_, classes_, n_features_in_, feature_names_in_, n_iter_
    """

    def __init__(self, link: str = "logit", *, max_iter: int = 100, tol: float = 1e-6, n_threads: int = 1) -> None:
        self.link = link
        self.max_iter = max_iter
        self.tol = tol
        self.n_threads = n_threads


class PooledPoissonRegressor(_PoissonRegressor):
    """A Poisson regression without group effects.

    Parameters
    ----------
    max_iter, tol, n_threads
        As in `clusterglm.Control`.

    Attributes
    ----------
    result_ : PooledResult
        With `groups` in `fit`, its `cov("robust")` is clustered by them.
    coef_, intercept_, n_features_in_, feature_names_in_, n_iter_
    """

    def __init__(self, *, max_iter: int = 100, tol: float = 1e-6, n_threads: int = 1) -> None:
        self.max_iter = max_iter
        self.tol = tol
        self.n_threads = n_threads


class RandomEffectsClassifier(_RandomEffects, _Classifier):
    """A binary regression with random effects of each group.

    Parameters
    ----------
    link : {"logit", "probit", "cloglog"}
    random : str
        What varies over groups, in the words of a formula and the names of the features (x0, x1, ... of an array):
        "1", an intercept; "x0", an intercept and a slope; "0 + x0", the slope alone. Several effects are gaussian.
    distribution, quadrature, scale
        As in `clusterglm.random_effects`.
    kind : {"marginal", "posterior", "conditional", "typical"}
        What predictions are: averaged over the effects of all groups; averaged over what is known of the group's
        effects, or at their posterior mode, where `fit` has seen the group, and over all where it has not; or at
        effects of zero.
    max_iter, tol, n_threads
        As in `clusterglm.Control`.

    Attributes
    ----------
    result_ : RandomEffectsResult, or MixedEffectsResult with several effects
    sigma_ : float
    coef_, intercept_, classes_, n_features_in_, feature_names_in_, n_iter_
    """

    def __init__(
        self,
        link: str = "logit",
        *,
        random: str = "1",
        distribution: str | Distribution = "gaussian",
        quadrature: str | int | Quadrature = "auto",
        scale: str = "normal",
        kind: str = "marginal",
        max_iter: int = 100,
        tol: float = 1e-6,
        n_threads: int = 1,
    ) -> None:
        self.link = link
        self.random = random
        self.distribution = distribution
        self.quadrature = quadrature
        self.scale = scale
        self.kind = kind
        self.max_iter = max_iter
        self.tol = tol
        self.n_threads = n_threads


class RandomEffectsPoissonRegressor(_RandomEffects, _PoissonRegressor):
    """A Poisson regression with random effects of each group.

    Parameters
    ----------
    random : str
        What varies over groups, in the words of a formula and the names of the features (x0, x1, ... of an array):
        "1", an intercept; "x0", an intercept and a slope; "0 + x0", the slope alone. Several effects are gaussian.
    distribution, quadrature, scale
        As in `clusterglm.random_effects`.
    kind : {"marginal", "conditional", "typical"}
        As for `RandomEffectsClassifier`.
    max_iter, tol, n_threads
        As in `clusterglm.Control`.

    Attributes
    ----------
    result_ : RandomEffectsResult, or MixedEffectsResult with several effects
    sigma_ : float
    coef_, intercept_, n_features_in_, feature_names_in_, n_iter_
    """

    def __init__(
        self,
        *,
        random: str = "1",
        distribution: str | Distribution = "gaussian",
        quadrature: str | int | Quadrature = "auto",
        scale: str = "normal",
        kind: str = "marginal",
        max_iter: int = 100,
        tol: float = 1e-6,
        n_threads: int = 1,
    ) -> None:
        self.random = random
        self.distribution = distribution
        self.quadrature = quadrature
        self.scale = scale
        self.kind = kind
        self.max_iter = max_iter
        self.tol = tol
        self.n_threads = n_threads


def _weights(sample_weight: Any, X: Array) -> Array | None:
    if sample_weight is None:
        return None
    weights: Array = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise OptionError("sample_weight with nothing but zeros", "some positive weights", "leave sample_weight out")
    return weights


def _labels(groups: Any, rows: int) -> NDArray[Any]:
    labels = column_or_1d(groups)
    if len(labels) != rows:
        raise OptionError(f"{len(labels)} groups for {rows} rows", "one group for each row", "groups of the same rows")
    return np.asarray(labels)


def _with_responses(data: ModelData, y: Array, family_response: Response) -> ModelData:
    """The data with responses that need not be whole: rates, which `prepare` does not take."""
    values = ResponseValues(y[data.row_index], np.ones(data.n_obs), None)
    weights = np.asarray(data.weights)
    a, b = to_kernel(values, weights, family_response)
    constant = float(log_constants(values, weights, family_response).sum())
    saturated = float(family_response.saturated(a, b).sum()) + constant
    return replace(data, a=a, b=b, constant=constant, saturated=saturated)
