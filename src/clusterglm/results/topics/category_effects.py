"""Average effects on the probability of each ordered category, and adjusted probabilities."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clusterglm.data.prepare import FittedData
from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects
    from clusterglm.inference.effects.categories import Average
    from clusterglm.model.parameters import Parameters
    from clusterglm.model.response.own.cumulative import Cumulative
    from clusterglm.results.topics.effect_rows import Beside, EffectRows
    from clusterglm.results.topics.newdata import Rows


class CategoryEffects:
    """In the place of averages of a mean, averages of the probabilities of all categories."""

    _mean_scales: ClassVar[tuple[str, ...]] = ("probability", "link")

    if TYPE_CHECKING:
        data: FittedData
        _marginal_differs: ClassVar[bool]

        @property
        def response(self) -> Response: ...
        @property
        def categories(self) -> tuple[str, ...]: ...
        @property
        def _cumulative(self) -> Cumulative: ...
        @property
        def _beta(self) -> Array: ...
        @property
        def _inner(self) -> Parameters: ...
        @property
        def _spread_of_intercepts(self) -> tuple[float, Any]: ...
        def _covariance_of_predictions(self, cov: str) -> Array: ...
        def _covariates_of(self, rows: Rows) -> Array: ...

    @property
    def _outcomes(self) -> tuple[str, ...]:
        return self.categories

    @property
    def _beside(self) -> Beside | None:
        from clusterglm.results.topics.effect_rows import Beside
        from clusterglm.results.topics.newdata import fitted_rows

        data = self.data.rows
        if data.by_threshold is None:
            return None
        of_fit = partial(self._covariates_of, fitted_rows(data))
        return Beside(data.by_threshold, of_fit, lambda rows, frame: self._covariates_of(rows))

    def _response_on(self, scale: str) -> Response:
        from clusterglm.model.family import response

        return self.response if scale == "link" else response("binomial")

    def _words_on(self, scale: str) -> str:
        return "linear predictor" if scale == "link" else self.response.words.expectation.lower()

    def _mean_rows(self, table: Any, kind: str) -> EffectRows:
        from clusterglm.results.topics.effect_rows import effect_rows

        return effect_rows(self.data, table, clusters=False, beside=self._beside)

    def _check_means(
        self, wanted: list[str], within: list[str], slope: str | None, kind: str, scale: str, over: str
    ) -> None:
        super()._check_means(wanted, within, slope, kind, scale, over)  # type: ignore[misc]
        if scale != "link":
            return
        if self._cumulative.nonparallel:
            raise OptionError(
                "scale='link' of a fit with coefficients at each threshold",
                "probabilities: there is a linear predictor for each threshold",
                "scale='probability'; or fit.nonparallel, for the coefficients",
            )
        if kind == "marginal" and self._marginal_differs:
            raise OptionError(
                "scale='link' with kind='marginal'",
                "a linear predictor at an intercept",
                "kind='typical'; or scale='probability'",
            )

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "probability"
    ) -> AverageEffects:
        from clusterglm.inference.effects.categories import Thresholds, effects_on_categories

        if scale == "link":
            found: AverageEffects = super()._averaged(changes, rows, "typical", cov, scale=scale)  # type: ignore[misc]
            return found
        at, effects = Thresholds.of(self._cumulative, self._beta), self.data.rows.effects
        varying = 0 if effects is None else effects.Z.shape[1]
        average = self._average_at_threshold(rows, kind)
        return effects_on_categories(changes, at, varying, average, self._covariance_of_predictions(cov))

    def _average_at_threshold(self, rows: EffectRows, kind: str) -> Average:
        """Averages of being on one side of a threshold, at an intercept of zero or over the intercepts."""
        from clusterglm.inference.effects.average_effects import average_effects
        from clusterglm.inference.predictions.averaged_mean import averaged_jet, mean_jet

        more, binary = len(self._inner) - len(self._beta), self._cumulative.binary
        sigma, distribution = self._spread_of_intercepts if kind == "marginal" else (0.0, None)
        jet = partial(mean_jet, response=binary)
        if distribution is not None:
            jet = partial(averaged_jet, sigma=sigma, response=binary, distribution=distribution)

        def average(changes: Any, coefficients: Array, sign: float) -> AverageEffects:
            known = np.zeros((len(coefficients) + more,) * 2)  # errors are those of all thresholds together
            at = changes, coefficients, sign * rows.offset, rows.weights, known, jet
            return average_effects(*at, times=rows.times)

        return average
