"""Classifiers: of two classes, and of ordered ones."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from clusterglm.errors import ResponseError
from clusterglm.model.arrays import Array
from clusterglm.model.distribution import Distribution
from clusterglm.model.family import response
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response
from clusterglm.sklearn.base import GLM, KINDS_OF_OWN, RandomEffects, weights_of


class _Classes(ClassifierMixin, GLM):
    """What classifiers share."""

    classes_: NDArray[Any]
    _most: ClassVar[int | None] = None
    """Classes that there may be."""

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Any:
        """Fit by maximum likelihood.

        Parameters
        ----------
        X : array-like, shape (n, p)
        y : array-like, shape (n,)
            Of two classes; of two or more that are ordered as they sort, where the estimator is for these.
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
        if self._most is not None and len(self.classes_) > self._most:
            raise ValueError(f"Only binary classification is supported. y has {len(self.classes_)} classes.")
        weights = weights_of(sample_weight, X)
        used = codes if weights is None else codes[weights > 0.0]
        if len(np.unique(used)) < 2:
            raise ResponseError("y with one class in the rows in use", "two classes", "data in which two occur")
        self._fit(X, codes.astype(np.float64), groups, weights)
        return self

    def predict_proba(self, X: Any, groups: ArrayLike | None = None) -> Array:
        """Probabilities of the classes, shape (n, k); `groups` matter only to kinds that are of a group."""
        return self._mean(X, groups)

    def predict(self, X: Any, groups: ArrayLike | None = None) -> NDArray[Any]:
        """The most probable class, shape (n,)."""
        most = np.argmax(self.predict_proba(X, groups), axis=1)
        return np.asarray(self.classes_[most])

    def score(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Share of the rows whose class is predicted."""
        return float(accuracy_score(y, self.predict(X, groups), sample_weight=sample_weight))


class _Classifier(_Classes):
    """Two classes, of which the second in sorted order is the success."""

    _most = 2

    def _response(self) -> Response:
        return response("binomial", self.link)

    def predict_proba(self, X: Any, groups: ArrayLike | None = None) -> Array:
        """Probabilities of the two classes, shape (n, 2); `groups` matter only to kinds that are of a group."""
        mean = self._mean(X, groups)
        return np.column_stack([1.0 - mean, mean])

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


class _OrdinalClassifier(_Classes):
    """Classes in their sorted order."""

    _kinds = KINDS_OF_OWN

    def _fit(self, X: Array, y: Array, groups: Any, sample_weight: Array | None) -> None:
        names = [str(each) for each in self.classes_]
        column = np.array(names, dtype=object)[y.astype(int)]
        self._by_verb(X, column, groups, sample_weight, family="ordinal", link=self.link, levels=names)

    @property
    def coef_(self) -> Array:
        """Coefficients of the features, shape (p,): a positive one means higher classes."""
        check_is_fitted(self)
        return self._beta

    @property
    def thresholds_(self) -> Array:
        """The thresholds between classes, shape (k - 1,): P(y <= c) = F(threshold_c - X coef)."""
        check_is_fitted(self)
        return np.asarray(self.result_.thresholds, dtype=np.float64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # on classes without an order
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


class RandomEffectsClassifier(RandomEffects, _Classifier):
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


class PooledOrdinalClassifier(_OrdinalClassifier):
    """A regression of ordered classes without group effects.

    The classes are in the order in which they sort: code answers as numbers, or as words that sort so.

    Parameters
    ----------
    link : {"logit", "probit", "cloglog"}
    max_iter, tol, n_threads
        As in `clusterglm.Control`.

    Attributes
    ----------
    result_ : OrdinalPooledResult
        With `groups` in `fit`, its `cov("robust")` is clustered by them.
    coef_, thresholds_, classes_, n_features_in_, feature_names_in_, n_iter_
    """

    def __init__(self, link: str = "logit", *, max_iter: int = 100, tol: float = 1e-6, n_threads: int = 1) -> None:
        self.link = link
        self.max_iter = max_iter
        self.tol = tol
        self.n_threads = n_threads


class RandomEffectsOrdinalClassifier(RandomEffects, _OrdinalClassifier):
    """A regression of ordered classes with random effects of each group.

    The classes are in the order in which they sort: code answers as numbers, or as words that sort so.

    Parameters
    ----------
    link, random, distribution, quadrature, scale, max_iter, tol, n_threads
        As for `RandomEffectsClassifier`.
    kind : {"marginal", "conditional", "typical"}
        What probabilities are: averaged over the effects of all groups; at the posterior mode of the group's effects,
        where `fit` has seen the group, and over all where it has not; or at effects of zero.

    Attributes
    ----------
    result_ : OrdinalRandomEffectsResult, or OrdinalMixedResult with several effects
    sigma_ : float
    coef_, thresholds_, classes_, n_features_in_, feature_names_in_, n_iter_
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
