"""Results of ordered categories with several random effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.fit.mixed_task import MixedTask, choose
from clusterglm.fit.own_mixed import OwnMixedFit
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.results.models.ordinal import WORK, OrdinalPooledResult, OrdinalResult, no_mean, ordinal_pooled
from clusterglm.results.models.own_mixed import OF_ONE_SUM, OF_SEVERAL, OwnCrossed, OwnSeveral
from clusterglm.results.models.refusing import only
from clusterglm.results.topics.kinds import AtModes, Averaging
from clusterglm.results.topics.newdata import Rows, columns_with_effects
from clusterglm.results.topics.own_sampling import OrdinalSampling

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects
    from clusterglm.inference.effects.categories import Average
    from clusterglm.inference.hypotheses.parallel import Wider
    from clusterglm.inference.predictions.categories import CumulativeProbabilities
    from clusterglm.results.topics.effect_rows import EffectRows

WORK_OF_SEVERAL = WORK | OF_SEVERAL
"""Members that work."""


class OrdinalSeveral(OrdinalSampling, AtModes, OrdinalResult, OwnSeveral):  # type: ignore[misc]
    """What such results share."""

    _mean_kinds = ("marginal", "typical")

    def _cumulative_at(
        self, eta: Array, averaged: Averaging, rows: Rows, covariates: Array
    ) -> tuple[CumulativeProbabilities, NDArray[np.int64]]:
        from clusterglm.inference.predictions.categories import over_normal

        if not averaged:
            return super()._cumulative_at(eta, averaged, rows, covariates)
        Z = columns_with_effects(self.fit.effects, rows)
        known = np.flatnonzero(~np.isnan(eta) & ~np.isnan(Z).any(axis=1))
        size = np.linalg.norm(Z[known] @ self.fit.factor, axis=1)
        return over_normal(self._cumulative, self._thresholds_of(covariates, known), eta[known], size), known

    def _of_effects(self, rows: Rows, known: NDArray[np.int64]) -> Array:
        Z = np.nan_to_num(columns_with_effects(self.fit.effects, rows)[known])
        slopes = self.fit.effects.covariance.slopes(self.fit.phi)
        return np.asarray(np.einsum("ni,kij,nj->nk", Z, slopes, Z @ self.fit.factor))

    def _average_at_threshold(self, rows: EffectRows, kind: str) -> Average:
        from clusterglm.inference.effects.categories import AtThreshold
        from clusterglm.inference.effects.mixed_average import effects_in_clusters, effects_over_clusters

        averaged = effects_over_clusters if kind == "marginal" else effects_in_clusters
        phi, effects, binary = self.fit.phi, self.fit.effects, self._cumulative.binary

        def average(changes: Sequence[DesignChange], coefficients: Array, sign: float) -> AverageEffects:
            at = AtThreshold(coefficients, phi, effects, binary)
            known = np.zeros((len(at.parameters),) * 2)  # errors are those of all thresholds together
            return averaged(changes, at, sign * rows.offset, rows.weights, known)

        return average

    def _wider(self, data: ModelData, beta: Array) -> Wider:
        """At points chosen for the kernel rows as they are."""
        from clusterglm.inference.hypotheses.parallel import At, Wider

        given = self.fit.given
        moved = replace(data, effects=given.effects)
        task = MixedTask.of(moved, given.response, data.X, np.ones(given.effects.Z.shape[1]), 1)
        known = task.parameters.joined(beta, self.fit.phi)
        free = ~task.all_and(self.fit.held)

        def laid_at(at: Array) -> At:
            plan = choose(task.likelihood, task.entries(whole(at)), self.quadrature.requested).plan

            def evaluate(theta: Array) -> Evaluation:
                found = task.evaluate(whole(theta), plan)
                return Evaluation(found.value, found.score[free], found.hessian[np.ix_(free, free)])

            return evaluate

        def whole(some: Array) -> Array:
            theta = known.copy()
            theta[free] = some
            return theta

        return Wider(laid_at(known[free]), known[free][len(beta) :], laid_at)


@only(WORK_OF_SEVERAL, no_mean)
@dataclass(frozen=True, repr=False, eq=False)
class OrdinalMixedResult(OrdinalSeveral):
    """A model of ordered categories with several random effects of each cluster."""

    fit: OwnMixedFit

    @property
    def pooled(self) -> OrdinalPooledResult:
        """The fit of this model without its random effects."""
        return ordinal_pooled(self.fit.pooled, replace(self.data.rows, effects=None))


@only(WORK_OF_SEVERAL - OF_ONE_SUM, no_mean)
@dataclass(frozen=True, repr=False, eq=False)
class OrdinalCrossedResult(OrdinalSeveral, OwnCrossed):  # type: ignore[misc]
    """A model of ordered categories with random effects of factors that cross."""

    fit: OwnMixedFit

    @property
    def pooled(self) -> OrdinalPooledResult:
        """The fit of this model without its random effects."""
        return ordinal_pooled(self.fit.pooled, replace(self.data.rows, effects=None))
