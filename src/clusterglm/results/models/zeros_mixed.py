"""Results of counts whose zeros have a linear predictor, with several random effects in that of counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.fit.hurdle_mixed import HurdleMixedFit
from clusterglm.fit.zero_mixed import ZeroMixedFit
from clusterglm.model.arrays import Array
from clusterglm.results.models.hurdle import WORK_WITH_HURDLE, HurdlePooledResult, HurdleResult
from clusterglm.results.models.own_mixed import OF_ONE_SUM, OF_SEVERAL, OwnCrossed, OwnSeveral
from clusterglm.results.models.refusing import only
from clusterglm.results.models.zeros import WORK, ZeroPooledResult, ZeroResult, no_inflation
from clusterglm.results.topics.newdata import Rows, columns_with_effects
from clusterglm.results.topics.zero_clustering import ZeroClustering
from clusterglm.results.topics.zero_prediction import ZerosAtModes
from clusterglm.results.topics.zero_sampling import (
    HurdleCrossedSampling,
    HurdleSeveralSampling,
    ZeroCrossedSampling,
    ZeroSeveralSampling,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.effects.zero_average import BothParts
    from clusterglm.inference.uncertainty.peaks import Summit

WORK_OF_SEVERAL = WORK | OF_SEVERAL
"""Members that work with zero inflation."""
WORK_WITH_HURDLE_OF_SEVERAL = WORK_WITH_HURDLE | OF_SEVERAL
"""The same with a hurdle."""


class ZeroSeveral(ZeroSeveralSampling, ZerosAtModes, ZeroClustering, ZeroResult, OwnSeveral):  # type: ignore[misc]
    """What such results share."""

    fit: ZeroMixedFit

    @property
    def pooled(self) -> ZeroPooledResult:
        """The fit of this model without its random effects."""
        fit = self.fit.pooled
        return ZeroPooledResult(fit, replace(self.data.rows, effects=None), fit.inflated)

    @property
    def _own_at_ends(self) -> NDArray[np.bool_]:
        c = len(self._zero.names)
        return np.repeat([self.fit.alpha_state != "free", self.fit.zero_state != "free"], [self._k, c])

    def _again(self, new: ModelData) -> ZeroMixedFit:
        return self.fit.again(new)

    def _fitted_to(self, new: ModelData) -> ZeroSeveral:
        return replace(self, fit=self._again(new), data=new)

    def _reestimate(self, new: ModelData) -> Array:
        again = self._again(new)
        return self._found_again(again, np.append(again.beta, self._covariance_of.read(again.phi)[0]))

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.zeros import zero_several_deletion

        return zero_several_deletion(self.fit, self._as_shown)

    def _predictor(self) -> Callable[[ModelData], Array]:
        from clusterglm.inference.diagnostics.mixed import effects_at_modes

        return effects_at_modes(self.fit, self.fit.given_with)

    @property
    def _both(self) -> BothParts:
        fit = self.fit
        return self._parts_with(fit.factor, fit.effects.covariance.slopes(fit.phi), one_intercept=False)

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.zeros_several import zero_several_summit

        return zero_several_summit(self.fit, threads)

    # Predictions -----------------------------------------------------------------------------------------------------

    @property
    def _theta(self) -> Array:
        """All parameters: (beta, phi, the response's)."""
        return np.concatenate([self.fit.theta, np.where(np.isinf(self._values), -700.0, self._values)])

    def _split(self, theta: Array, rows: Rows) -> tuple[Array, float | Array, Array]:
        beta, phi = self.fit.parameters.split(theta[: len(self.fit.theta)])
        Z = np.nan_to_num(columns_with_effects(self.fit.effects, rows))
        spread = np.linalg.norm(Z @ self.fit.effects.covariance.factor(phi), axis=1)
        return beta, spread, theta[len(theta) - len(self._zero.names) :]

    def _named_shift(self, kind: str, rows: Rows) -> tuple[Array, bool]:
        if kind == "marginal":
            columns_with_effects(self.fit.effects, rows)  # refuses rows without them
        return super()._named_shift(kind, rows)


class _OfClusters(ZeroSeveral):
    """Of effects of clusters, and of what is nested in them."""

    @property
    def _silent_clusters(self) -> int:
        rows = self.data.rows
        return int(np.count_nonzero(np.add.reduceat(rows.a, rows.starts[:-1]) == 0.0))


class _OfFactors(ZeroCrossedSampling, ZeroSeveral, OwnCrossed):  # type: ignore[misc, override]
    """Of factors that cross."""

    def _deletion(self) -> Deletion:
        return OwnCrossed._deletion(self)

    def _report_parts(self) -> list[str]:
        return [part for part in super()._report_parts() if part != "integrals"]


class _Passed(HurdleResult, ZeroSeveral):  # type: ignore[misc]
    """With a hurdle."""

    fit: HurdleMixedFit

    @property
    def pooled(self) -> HurdlePooledResult:
        """The fit of this model without its random effects."""
        fit = self.fit.pooled
        return HurdlePooledResult(fit, replace(self.data.rows, effects=None), fit.inflated)

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.zeros import hurdle_several_deletion

        return hurdle_several_deletion(self.fit, self._as_shown)

    @property
    def _log_concave(self) -> bool:
        return self.fit.of_counts.response.log_concave

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.hurdle import hurdle_several_summit

        return hurdle_several_summit(self.fit, threads)


@only(WORK_OF_SEVERAL, no_inflation)
@dataclass(frozen=True, repr=False, eq=False)
class ZeroMixedResult(_OfClusters):
    """A model of zero-inflated counts with several random effects of each cluster in their linear predictor."""

    fit: ZeroMixedFit


@only(WORK_OF_SEVERAL - OF_ONE_SUM, no_inflation)
@dataclass(frozen=True, repr=False, eq=False)
class ZeroCrossedResult(_OfFactors):
    """A model of zero-inflated counts with random effects of factors that cross."""

    fit: ZeroMixedFit


@only(WORK_WITH_HURDLE_OF_SEVERAL, no_inflation)
@dataclass(frozen=True, repr=False, eq=False)
class HurdleMixedResult(HurdleSeveralSampling, _Passed, _OfClusters):  # type: ignore[misc]
    """A model of counts with a hurdle, and several random effects of each cluster in the counts that are not 0."""

    fit: HurdleMixedFit

    @cached_property
    def _scores(self) -> Array:
        from clusterglm.inference.uncertainty.hurdle import hurdle_several_scores

        return self._aligned(*hurdle_several_scores(self.fit), False)


@only(WORK_WITH_HURDLE_OF_SEVERAL - OF_ONE_SUM, no_inflation)
@dataclass(frozen=True, repr=False, eq=False)
class HurdleCrossedResult(HurdleCrossedSampling, _Passed, _OfFactors):  # type: ignore[misc, override]
    """A model of counts with a hurdle, and random effects of factors that cross in the counts that are not 0."""

    fit: HurdleMixedFit

    def _deletion(self) -> Deletion:
        return OwnCrossed._deletion(self)
