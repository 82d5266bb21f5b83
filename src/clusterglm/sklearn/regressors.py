"""Regressors: counts, and measured responses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_tweedie_score, r2_score
from sklearn.utils.validation import check_is_fitted, validate_data

from clusterglm.errors import ResponseError, check_option
from clusterglm.model.arrays import Array
from clusterglm.model.distribution import Distribution
from clusterglm.model.family import CONTINUOUS, all_responses, response
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response
from clusterglm.sklearn.base import GLM, KINDS_OF_OWN, RandomEffects, weights_of

COUNTS = tuple(
    dict.fromkeys(
        r.family for r in all_responses() if not (r.trials or r.ordered or r.durations or r.continuous or r.positive)
    )
)
MEASURED = tuple(
    dict.fromkeys(r.family for r in (*CONTINUOUS.values(), *all_responses()) if r.continuous and not r.durations)
)


class _Regressor(RegressorMixin, GLM):
    """What regressors share."""

    def _checked(self, y: Array) -> Array:
        """Responses, of which none is refused."""
        raise NotImplementedError

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Any:
        """Fit by maximum likelihood.

        Parameters
        ----------
        X : array-like, shape (n, p)
        y : array-like, shape (n,)
            Of a Poisson regression counts, or rates: counts over exposures, with the exposures as `sample_weight`. The
            estimates are those of the counts with the logarithm of the exposure as an offset. Otherwise counts, or
            measured responses.
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
        y = self._checked(np.asarray(y, dtype=np.float64))
        self._fit(X, y, groups, weights_of(sample_weight, X))
        return self

    def predict(self, X: Any, groups: ArrayLike | None = None) -> Array:
        """Means, shape (n,); `groups` matter only to kinds that are of a group."""
        return self._mean(X, groups)

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


class _Counts(_Regressor):
    """Counts, with a logarithmic link."""

    def score(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Share of the Poisson deviance that is explained, D^2, as of scikit-learn's PoissonRegressor."""
        return float(d2_tweedie_score(y, self.predict(X, groups), sample_weight=sample_weight, power=1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags


class _PoissonRegressor(_Counts):
    def _response(self) -> Response:
        return response("poisson")

    def _checked(self, y: Array) -> Array:
        if (y < 0.0).any():
            raise ResponseError(f"y with {y.min():g}", "counts, or rates, from 0 on", "check the column")
        return y


class _CountRegressor(_Counts):
    """Counts of any family."""

    _kinds = KINDS_OF_OWN

    def _checked(self, y: Array) -> Array:
        odd = (y < 0.0) | (y % 1.0 != 0.0)
        if odd.any():
            advice = "PooledPoissonRegressor or RandomEffectsPoissonRegressor, which take rates"
            raise ResponseError(f"y with {y[odd][0]:g}", "counts: whole numbers from 0 on", advice)
        return y

    def _fit(self, X: Array, y: Array, groups: Any, sample_weight: Array | None) -> None:
        family = check_option("family", self.family, COUNTS)
        self._by_verb(X, y, groups, sample_weight, family=family)


class _ContinuousRegressor(_Regressor):
    """Measured responses."""

    _kinds = KINDS_OF_OWN

    @property
    def _positive(self) -> bool:
        family = check_option("family", self.family, MEASURED)
        return any(r.positive for r in all_responses() if r.family == family)

    def _checked(self, y: Array) -> Array:
        if self._positive and (y <= 0.0).any():
            raise ResponseError(f"y with {y.min():g}", "positive responses", "another family=; or check the column")
        return y

    def _fit(self, X: Array, y: Array, groups: Any, sample_weight: Array | None) -> None:
        family = check_option("family", self.family, MEASURED)
        self._by_verb(X, y, groups, sample_weight, family=family)

    def score(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """R^2; of positive responses the share of the gamma deviance that is explained, D^2."""
        mean = self.predict(X, groups)
        if self._positive:
            return float(d2_tweedie_score(y, mean, sample_weight=sample_weight, power=2))
        return float(r2_score(y, mean, sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        known = any(r.family == self.family and r.positive for r in all_responses())
        tags.target_tags.positive_only = known
        return tags


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


class RandomEffectsPoissonRegressor(RandomEffects, _PoissonRegressor):
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


class PooledCountRegressor(_CountRegressor):
    """A regression of counts of any family without group effects.

    Parameters
    ----------
    family : {"poisson", "negative_binomial", "negative_binomial1", "truncated_poisson", "truncated_negative_binomial"}
        Of the counts, which are whole numbers. Means of truncated counts are those of counts above 0.
    max_iter, tol, n_threads
        As in `clusterglm.Control`.

    Attributes
    ----------
    result_ : PooledResult
        Of the family; with `groups` in `fit`, its `cov("robust")` is clustered by them.
    coef_, intercept_, n_features_in_, feature_names_in_, n_iter_
    """

    def __init__(
        self, family: str = "negative_binomial", *, max_iter: int = 100, tol: float = 1e-6, n_threads: int = 1
    ) -> None:
        self.family = family
        self.max_iter = max_iter
        self.tol = tol
        self.n_threads = n_threads


class RandomEffectsCountRegressor(RandomEffects, _CountRegressor):
    """A regression of counts of any family with random effects of each group.

    Parameters
    ----------
    family : {"poisson", "negative_binomial", "negative_binomial1", "truncated_poisson", "truncated_negative_binomial"}
        Of the counts, which are whole numbers. Means of truncated counts are those of counts above 0.
    random : str
        As for `RandomEffectsClassifier`.
    distribution, quadrature, scale
        As in `clusterglm.random_effects`.
    kind : {"marginal", "conditional", "typical"}
        As for `RandomEffectsOrdinalClassifier`, of means.
    max_iter, tol, n_threads
        As in `clusterglm.Control`.

    Attributes
    ----------
    result_ : RandomEffectsResult, or MixedEffectsResult with several effects
        Of the family.
    sigma_ : float
    coef_, intercept_, n_features_in_, feature_names_in_, n_iter_
    """

    def __init__(
        self,
        family: str = "negative_binomial",
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
        self.family = family
        self.random = random
        self.distribution = distribution
        self.quadrature = quadrature
        self.scale = scale
        self.kind = kind
        self.max_iter = max_iter
        self.tol = tol
        self.n_threads = n_threads


class PooledContinuousRegressor(_ContinuousRegressor):
    """A regression of measured responses without group effects.

    Parameters
    ----------
    family : {"gaussian", "gamma"}
        Measured responses, or positive ones with a logarithmic link. Survival times, some of them censored, have no
        place in scikit-learn's interface: `clusterglm.random_effects` has them.
    max_iter, tol, n_threads
        As in `clusterglm.Control`.

    Attributes
    ----------
    result_ : PooledResult
        Of the family; with `groups` in `fit`, its `cov("robust")` is clustered by them.
    coef_, intercept_, n_features_in_, feature_names_in_, n_iter_
    """

    def __init__(self, family: str = "gaussian", *, max_iter: int = 100, tol: float = 1e-6, n_threads: int = 1) -> None:
        self.family = family
        self.max_iter = max_iter
        self.tol = tol
        self.n_threads = n_threads


class RandomEffectsContinuousRegressor(RandomEffects, _ContinuousRegressor):
    """A regression of measured responses with random effects of each group.

    Parameters
    ----------
    family : {"gaussian", "gamma"}
        Measured responses, or positive ones with a logarithmic link. Survival times, some of them censored, have no
        place in scikit-learn's interface: `clusterglm.random_effects` has them.
    random : str
        As for `RandomEffectsClassifier`.
    reml : bool
        Restricted maximum likelihood, of `family="gaussian"`.
    distribution, quadrature, scale
        As in `clusterglm.random_effects`.
    kind : {"marginal", "conditional", "typical"}
        As for `RandomEffectsOrdinalClassifier`, of means.
    max_iter, tol, n_threads
        As in `clusterglm.Control`.

    Attributes
    ----------
    result_ : RandomEffectsResult, or MixedEffectsResult with several effects
        Of the family.
    sigma_ : float
    coef_, intercept_, n_features_in_, feature_names_in_, n_iter_
    """

    def __init__(
        self,
        family: str = "gaussian",
        *,
        random: str = "1",
        reml: bool = False,
        distribution: str | Distribution = "gaussian",
        quadrature: str | int | Quadrature = "auto",
        scale: str = "normal",
        kind: str = "marginal",
        max_iter: int = 100,
        tol: float = 1e-6,
        n_threads: int = 1,
    ) -> None:
        self.family = family
        self.random = random
        self.reml = reml
        self.distribution = distribution
        self.quadrature = quadrature
        self.scale = scale
        self.kind = kind
        self.max_iter = max_iter
        self.tol = tol
        self.n_threads = n_threads

    def _of_groups(self) -> dict[str, Any]:
        return {**super()._of_groups(), "reml": self.reml}
