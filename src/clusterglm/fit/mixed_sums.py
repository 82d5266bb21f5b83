"""The data of a fit of several random effects, wherever they are; in blocks elsewhere: `mixed_blocks.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.fit.mixed_looks import sampled
from clusterglm.fit.mixed_task import MixedTask, effects_of
from clusterglm.fit.penalty import jeffreys
from clusterglm.fit.pooled import PooledFit, penalized_estimates, pooled_estimates, sums_of
from clusterglm.fit.random_effects import refuse_homogeneous_clusters
from clusterglm.fit.soft import SoftPenalty, losses_of
from clusterglm.fit.standardise import Standardisation, standardise
from clusterglm.fit.sums import Sums
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response


class MixedSums(Protocol):
    """What a fit of several random effects asks of its data."""

    @property
    def data(self) -> FittedData:
        """What results keep of them."""

    @property
    def sums(self) -> Sums:
        """What a fit without random effects asks of them."""

    @property
    def penalty(self) -> str | None:
        """What is added to the log-likelihood."""

    @property
    def standard(self) -> Standardisation:
        """The units of the optimiser's columns."""

    @property
    def mean_squares(self) -> Array:
        """Of the columns whose coefficients vary, shape (q,)."""

    def pooled(self, control: Control) -> PooledFit:
        """The model without random effects; with a penalty its estimates are Firth's."""

    def refuse_homogeneous(self) -> None:
        """Raise `ClusterError` where every cluster's responses are equal."""

    def task(self, scale: Array) -> MixedTask:
        """The likelihood, and the penalty, with those columns over `scale`."""

    def sample(self, task: MixedTask, scale: Array) -> MixedTask | None:
        """The likelihood of some of the clusters where they are many."""


@dataclass(frozen=True)
class InMemorySums:
    """A table in memory; see `MixedSums`."""

    data: ModelData
    response: Response
    control: Control
    penalty: str | None = None

    @cached_property
    def sums(self) -> Sums:
        return sums_of(self.data, self.response, self.control)

    @cached_property
    def standard(self) -> Standardisation:
        """That of every row, where `sums` are of fewer because some became one."""
        found = self.sums.standard
        return found if len(found.X) == self.data.n_obs else standardise(self.data.X, self.data.intercept)

    @property
    def mean_squares(self) -> Array:
        return np.asarray(np.mean(effects_of(self.data).Z ** 2, axis=0))

    def pooled(self, control: Control) -> PooledFit:
        if self.penalty is None:
            return pooled_estimates(self.sums, control)
        return penalized_estimates(self.sums, control, "firth")

    def refuse_homogeneous(self) -> None:
        refuse_homogeneous_clusters(self.data, self.response)

    def task(self, scale: Array, basis: Array | None = None) -> MixedTask:
        """See `MixedSums`; of orthonormal combinations of the standardised columns, `basis`, if they are given."""
        X = self.standard.X if basis is None else np.ascontiguousarray(self.standard.X @ basis)
        task = MixedTask.of(self.data, self.response, X, scale, self.control.threads)
        if self.penalty is None:
            return task
        units = float(np.linalg.slogdet(self.standard.L)[1])
        prior = jeffreys(X, self.data, self.response, -units)
        return replace(task, penalty=SoftPenalty.of(prior, losses_of(task.covariance, scale)))

    def sample(self, task: MixedTask, scale: Array) -> MixedTask | None:
        if self.penalty is not None:  # it weighs as much as it does for all clusters
            return None
        return sampled(task, self.data, self.response, self.standard.X, scale)
