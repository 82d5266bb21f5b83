"""What all estimators share: from features, responses and groups to a result, and predictions of new rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.api.arguments import warn_unless_accurate, warn_unless_converged
from clusterglm.api.mixed import refuse_with_slopes
from clusterglm.api.verbs import pooled, random_effects
from clusterglm.data.constants import log_constants
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.data.response import ResponseValues, to_kernel
from clusterglm.errors import GroupsWarning, OptionError, check_option
from clusterglm.fit.mixed import fit_mixed
from clusterglm.fit.pooled import fit_pooled
from clusterglm.fit.random_effects import fit_random_effects
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution import distribution
from clusterglm.model.quadrature import check_scale, quadrature
from clusterglm.model.response.base import Response
from clusterglm.results.models.mixed import MixedEffectsResult
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data
except ModuleNotFoundError as problem:
    raise ModuleNotFoundError(
        f"{problem}: clusterglm.sklearn needs scikit-learn 1.6 or later; pip install 'clusterglm[sklearn]'"
    ) from problem

KINDS = ("marginal", "posterior", "conditional", "typical")
KINDS_OF_OWN = ("marginal", "conditional", "typical")
_OF_GROUPS = ("posterior", "conditional")
_RESPONSE, _GROUP, _WEIGHT = "(response)", "(group)", "(weight)"
_SAID_FROM = 4  # frames from where a warning is made to the user's call of fit


class GLM(BaseEstimator):
    """Pooled models: what all estimators share."""

    _kinds: ClassVar[tuple[str, ...]] = KINDS
    """What predictions may be, where groups have effects."""
    result_: Any

    def _response(self) -> Response:
        raise NotImplementedError

    def _fit(self, X: Array, y: Array, groups: Any, sample_weight: Array | None) -> None:
        """Fit to features, weights and responses that have been validated: 0/1, or not negative."""
        labels = None if groups is None else labels_of(groups, len(y))
        table = self._table(X, labels) | {_RESPONSE: np.ceil(y)}
        formula, varies = self._formula(labels)
        data = prepare(
            formula,
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
            data = with_responses(data, y, self._response())
        self.result_ = self._fitted(data)
        self.n_iter_ = max(1, self.result_.optimization.iterations)

    def _formula(self, labels: Any) -> tuple[str, str]:
        """The formula, and what varies over groups in it."""
        varies = "" if labels is None else self._varies()
        terms = [f"`{name}`" for name in self._names()] + ([f"({varies} | `{_GROUP}`)"] if varies else [])
        return f"`{_RESPONSE}` ~ " + " + ".join(terms), varies

    def _varies(self) -> str:
        """What varies over groups besides an intercept, or more than that; nothing in a pooled model."""
        return ""

    def _by_verb(self, X: Array, response: NDArray[Any], groups: Any, weights: Array | None, **options: Any) -> None:
        """Fit by the verb, as a response of any family is; `response` is a column of the table."""
        labels = None if groups is None else labels_of(groups, len(response))
        table = self._table(X, labels) | {_RESPONSE: response}
        formula, varies = self._formula(labels)
        options["cluster"] = None if labels is None or varies else _GROUP
        if weights is not None:
            table, options["weights"] = table | {_WEIGHT: weights}, _WEIGHT
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            self.result_ = self._asked(labels)(formula, table, control=self._control(), **options)
        for each in said:  # at the line of the call of fit
            warnings.warn(each.message, stacklevel=_SAID_FROM)
        story = getattr(self.result_.fit, "optimization", None)
        self.n_iter_ = 1 if story is None else max(1, story.iterations)

    def _asked(self, labels: Any) -> Callable[..., Any]:
        """The verb, with what it is asked beside formula and data."""
        return pooled

    def _fitted(self, data: ModelData) -> PooledResult | RandomEffectsResult | MixedEffectsResult:
        fit = fit_pooled(data, self._response(), self._control())
        warn_unless_converged(fit.optimization, 3)
        return PooledResult(fit, data, self._response())

    def _control(self) -> Control:
        return Control(max_iter=self.max_iter, tol=self.tol, n_threads=self.n_threads)

    def _mean(self, X: Any, groups: Any) -> Array:
        """Predicted means of new rows, shape (n,), or probabilities of k categories, shape (n, k)."""
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


class RandomEffects(GLM):
    """Random effects of each group."""

    def _varies(self) -> str:
        if not isinstance(self.random, str) or not self.random.strip():
            raise OptionError(
                f"random={self.random!r}", "what varies over groups, as a formula has it", "'1', 'x0' or '0 + x0'"
            )
        return "" if self.random.strip() == "1" else self.random

    def _fitted(self, data: ModelData) -> PooledResult | RandomEffectsResult | MixedEffectsResult:
        check_option("kind", self.kind, self._kinds)
        check_scale(self.scale)
        intercept, rule = distribution(self.distribution), quadrature(self.quadrature)
        if data.cluster_name is None:
            self._warn_of_no_groups(stacklevel=5)
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

    def _asked(self, labels: Any) -> Callable[..., Any]:
        check_option("kind", self.kind, self._kinds)
        if labels is None:
            self._warn_of_no_groups(stacklevel=5)
            return super()._asked(labels)
        return partial(random_effects, **self._of_groups())

    def _of_groups(self) -> dict[str, Any]:
        """Options that models with effects of groups have more."""
        return {"distribution": self.distribution, "quadrature": self.quadrature, "scale": self.scale}

    def _warn_of_no_groups(self, stacklevel: int) -> None:
        warnings.warn(
            f"{type(self).__name__} fitted without groups: rows are taken to be independent, and sigma to be 0. "
            "Pass fit(X, y, groups=...), or ask for groups by set_fit_request(groups=True) in cross-validation "
            "and pipelines",
            GroupsWarning,
            stacklevel=stacklevel,
        )

    def _mean(self, X: Any, groups: Any) -> Array:
        check_is_fitted(self)
        kind = check_option("kind", self.kind, self._kinds)
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
        labels = labels_of(groups, len(X))
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


def weights_of(sample_weight: Any, X: Array) -> Array | None:
    if sample_weight is None:
        return None
    weights: Array = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise OptionError("sample_weight with nothing but zeros", "some positive weights", "leave sample_weight out")
    return weights


def labels_of(groups: Any, rows: int) -> NDArray[Any]:
    labels = column_or_1d(groups)
    if len(labels) != rows:
        raise OptionError(f"{len(labels)} groups for {rows} rows", "one group for each row", "groups of the same rows")
    return np.asarray(labels)


def with_responses(data: ModelData, y: Array, family_response: Response) -> ModelData:
    """The data with responses that need not be whole: rates, which `prepare` does not take."""
    values = ResponseValues(y[data.row_index], np.ones(data.n_obs), None)
    weights = np.asarray(data.weights)
    a, b = to_kernel(values, weights, family_response)
    constant = float(log_constants(values, weights, family_response).sum())
    saturated = float(family_response.saturated(a, b).sum()) + constant
    return replace(data, a=a, b=b, constant=constant, saturated=saturated)
