"""Results of survival times with several random effects: frailties that differ between the rows of a cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clusterglm.fit.own_mixed import OwnMixedFit
from clusterglm.model.distribution import Gaussian
from clusterglm.results.models.durations import (
    WORK,
    DurationsPooledResult,
    DurationsResult,
    durations_pooled,
    no_durations,
)
from clusterglm.results.models.own_mixed import OF_ONE_SUM, OF_SEVERAL, OwnCrossed, OwnSeveral
from clusterglm.results.models.refusing import only
from clusterglm.results.topics.kinds import AtModes, Averaging
from clusterglm.results.topics.newdata import Rows, columns_with_effects
from clusterglm.results.topics.own_sampling import DurationsSampling
from clusterglm.results.topics.survival_times import Frailty

WORK_OF_SEVERAL = WORK | OF_SEVERAL
"""Members that work."""


class DurationsSeveral(DurationsSampling, AtModes, DurationsResult, OwnSeveral):  # type: ignore[misc]
    """What such results share."""

    def _frailty(self, rows: Rows, averaged: Averaging) -> Frailty:
        """z'b, of standard deviation |L'z|, whose square has twice the derivatives z' dL L'z."""
        Z = np.nan_to_num(columns_with_effects(self.fit.effects, rows))
        scaled = Z @ self.fit.factor
        sd = np.linalg.norm(scaled, axis=1)
        moved = np.einsum("ni,kij,nj->nk", Z, self.fit.effects.covariance.slopes(self.fit.phi), scaled)
        slopes = np.divide(moved, sd[:, None], out=np.zeros_like(moved), where=sd[:, None] > 0.0)
        return Frailty(sd, Gaussian(), slopes)


@only(WORK_OF_SEVERAL, no_durations)
@dataclass(frozen=True, repr=False, eq=False)
class DurationsMixedResult(DurationsSeveral):
    """A model of survival times with several random effects of each cluster: frailties, on the log hazard."""

    fit: OwnMixedFit

    @property
    def pooled(self) -> DurationsPooledResult:
        """The fit of this model without its random effects."""
        return durations_pooled(self.fit.pooled, replace(self.data.rows, effects=None))


@only(WORK_OF_SEVERAL - OF_ONE_SUM, no_durations)
@dataclass(frozen=True, repr=False, eq=False)
class DurationsCrossedResult(DurationsSeveral, OwnCrossed):  # type: ignore[misc, override]
    """A model of survival times with random effects of factors that cross."""

    fit: OwnMixedFit

    @property
    def pooled(self) -> DurationsPooledResult:
        """The fit of this model without its random effects."""
        return durations_pooled(self.fit.pooled, replace(self.data.rows, effects=None))
