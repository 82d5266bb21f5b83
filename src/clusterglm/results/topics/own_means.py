"""What the parameters of a response move, which have errors of their own: means, and what data say of clusters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from clusterglm.errors import PredictionWarning
from clusterglm.model.arrays import Array

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects
    from clusterglm.inference.predictions.prediction import LinkPrediction
    from clusterglm.model.parameters import Parameters
    from clusterglm.model.response.base import Response
    from clusterglm.model.response.own.base import OwnParameters
    from clusterglm.results.topics.effect_rows import EffectRows
    from clusterglm.results.topics.newdata import Rows
    from clusterglm.results.topics.prediction import Wanted

_OWN_STEP = 1e-4  # of differences in working values
_GIVEN_DATA = ("conditional", "posterior")  # kinds of predictions whose effects are what the data say of clusters


class OwnMeans:
    """Averages and predictions, with what the response's parameters move: by differences, for they move all at once."""

    if TYPE_CHECKING:
        fit: Any

        @property
        def response(self) -> Response: ...
        @property
        def _family(self) -> OwnParameters: ...
        @property
        def _parameters(self) -> Parameters: ...
        def _covariance(self, kind: str) -> Array: ...
        def _at(self, kind: Any, rows: Rows, scale: str, wanted: Wanted) -> LinkPrediction: ...

    def _covariance_of_predictions(self, cov: str) -> Array:
        """Of all parameters, the response's own the last; 0 for what has no standard error."""
        return self._parameters.zero_where_not_free(self._covariance(cov))

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "response"
    ) -> AverageEffects:
        own, each = self._family, list(changes)
        found: AverageEffects = super()._averaged(each, rows, kind, cov, scale=scale)  # type: ignore[misc]
        if not own.values or not (kind in _GIVEN_DATA or (own.mean_moves and scale != "link")):
            return found
        if found.gradient.shape[1] == len(self._parameters):  # where they move clusters too
            return found

        def estimate(at: Self) -> Array:
            moved: AverageEffects = super()._averaged(each, rows, kind, cov, scale=scale)  # type: ignore[misc]
            return moved.estimate

        G = np.hstack([found.gradient, self._by_own(estimate)])
        V, inner = self._covariance_of_predictions(cov), found.gradient.shape[1]
        more = G @ V @ G.T - found.gradient @ V[:inner, :inner] @ found.gradient.T
        covariance = found.covariance + more
        return replace(found, covariance=covariance, std_error=np.sqrt(np.diag(covariance)), gradient=G)

    def _moved_by_response(
        self, at: LinkPrediction, kind: Any, rows: Rows, scale: str, wanted: Wanted
    ) -> LinkPrediction:
        own, given_data = self._family, isinstance(kind, str) and kind in _GIVEN_DATA
        if not own.values or not (own.mean_moves or given_data):
            return at
        if at.own is not None and at.own.shape[1] == len(self._parameters):  # where they move clusters too
            return at
        without, of_mean = replace(wanted, level=None), own.mean_moves and scale != "link"

        def predicted(there: Self) -> Array:
            link = there._at(kind, rows.unmarked(), scale, without).estimate
            return there.response.mean(link) if of_mean else link

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PredictionWarning)  # of rows, which are marked already
            by_own = self._by_own(predicted)
        if of_mean:
            by_own /= self.response.mean_derivative(at.estimate)[:, None]
        return replace(at, by_response=by_own)

    def _by_own(self, of: Callable[[Self], Array]) -> Array:
        """Derivatives of n numbers in the response's parameters, shape (n, k)."""
        own = self._family
        psi = own.working

        def at(moved: Array) -> Array:
            return of(self._with_family(own.at(moved)))

        steps = _OWN_STEP * np.eye(len(psi))
        return np.column_stack([(at(psi + h) - at(psi - h)) / (2.0 * _OWN_STEP) for h in steps]) / own.slopes(psi)

    def _with_family(self, response: OwnParameters) -> Self:
        """The same with other parameters of the response."""
        known: dict[str, Any] = {"fit": replace(self.fit, response=response)}
        if "family_response" in {field.name for field in fields(self)}:  # type: ignore[arg-type]  # results are dataclasses
            known["family_response"] = response.as_fitted
        return replace(self, **known)  # type: ignore[type-var]
