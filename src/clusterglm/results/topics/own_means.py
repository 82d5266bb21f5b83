"""Averages of means that depend on the response's parameters, which have errors of their own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.model.arrays import Array

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects
    from clusterglm.model.parameters import Parameters
    from clusterglm.model.response.own.base import OwnParameters
    from clusterglm.results.topics.effect_rows import EffectRows

_MEAN_STEP = 1e-4  # of differences in working values


class OwnMeans:
    """Where the mean of counts moves with them, such as that of counts above 0 with the dispersion."""

    if TYPE_CHECKING:
        fit: Any

        @property
        def _family(self) -> OwnParameters: ...
        @property
        def _parameters(self) -> Parameters: ...
        def _covariance(self, kind: str) -> Array: ...

    def _whole_delta_covariance(self, cov: str) -> Array:
        """Of all parameters, the response's own the last; 0 for what has no standard error."""
        return self._parameters.zero_where_not_free(self._covariance(cov))

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "response"
    ) -> AverageEffects:
        own, each = self._family, list(changes)
        found: AverageEffects = super()._averaged(each, rows, kind, cov, scale=scale)  # type: ignore[misc]
        if scale == "link" or not (own.mean_moves and own.values):
            return found

        def estimate(psi: Array) -> Array:
            moved: AverageEffects = super(OwnMeans, self._with_family(own.at(psi)))._averaged(  # type: ignore[misc]
                each, rows, kind, cov, scale=scale
            )
            return moved.estimate

        psi = own.working
        steps = _MEAN_STEP * np.eye(len(psi))
        by_psi = np.column_stack([(estimate(psi + h) - estimate(psi - h)) / (2.0 * _MEAN_STEP) for h in steps])
        G = np.hstack([found.gradient, by_psi / own.slopes(psi)])
        V, inner = self._whole_delta_covariance(cov), found.gradient.shape[1]
        more = G @ V @ G.T - found.gradient @ V[:inner, :inner] @ found.gradient.T
        covariance = found.covariance + more
        return replace(found, covariance=covariance, std_error=np.sqrt(np.diag(covariance)), gradient=G)

    def _with_family(self, response: OwnParameters) -> Any:
        """The same with other parameters of the response."""
        known: dict[str, Any] = {"fit": replace(self.fit, response=response)}
        if "family_response" in {field.name for field in fields(self)}:  # type: ignore[arg-type]  # results are dataclasses
            known["family_response"] = response.as_fitted
        return replace(self, **known)  # type: ignore[type-var]
