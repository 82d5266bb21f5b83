"""A block: whole clusters whose rows lie in memory together."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from clusterglm import _core
from clusterglm.data.effects import Effects
from clusterglm.likelihood.evaluation import ClusterArrays, core_problem
from clusterglm.likelihood.plan import Plan
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_NUMBERS = 8192  # that NumPy works on at a time


@dataclass
class Memory:
    """What one visit to a block leaves for the next, nothing before the first; it outlives a block whose rows go.

    Parameters
    ----------
    modes : ndarray, shape (m,), optional
        Of the clusters' random intercepts.
    profiled, conditioned : ndarray, shape (m,), optional
        Their intercepts at their best, and those from which conditional likelihoods go on.
    plan : Plan, optional
        The rules that were chosen last for the clusters.
    joint_modes : tuple of ndarray, optional
        Of the clusters' several effects; see `Integrals.remember`.
    points : dict
        Points of several effects that were chosen last, by what they were chosen for.
    """

    modes: Array | None = None
    profiled: Array | None = None
    conditioned: Array | None = None
    plan: Plan | None = None
    joint_modes: tuple[Array, ...] | None = None
    points: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> Plan:
        """The rules that were chosen last."""
        assert self.plan is not None  # choosing comes first
        return self.plan


class Block:
    """Arrays of some clusters, as a likelihood takes them.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Design matrix in the optimiser's columns, C order.
    data : ClusterArrays
        Everything else.
    response : Response
    threads : int
        Threads of the core.
    memory : Memory, optional
        Of earlier visits to the same clusters.
    """

    def __init__(
        self,
        X: Array,
        data: ClusterArrays,
        response: Response,
        threads: int = 1,
        memory: Memory | None = None,
    ) -> None:
        self.X = X
        self.data = data
        self.response = response
        self.threads = threads
        self.memory = Memory() if memory is None else memory
        self.likelihood: tuple[object, Any] = None, None  # a model, and its likelihood on these very arrays

    @property
    def n_obs(self) -> int:
        """Rows."""
        return len(self.X)

    @property
    def n_clusters(self) -> int:
        """Clusters."""
        return len(self.data.starts) - 1

    @property
    def effects(self) -> Effects:
        """What varies over the clusters, of a block that has more than intercepts."""
        found: Effects | None = getattr(self.data, "effects", None)
        assert found is not None  # of a model that has them
        return found

    @cached_property
    def problem(self) -> _core.Problem:
        """The core's view of the block."""
        return core_problem(self.X, self.data, self.response)

    def rescaled(self, centre: Array, scale: Array) -> Block:
        """This block with its columns less `centre`, over `scale`."""
        X = self.X.copy()
        rescale(X, centre, scale)
        return Block(X, self.data, self.response, self.threads, self.memory)


def rescale(X: Array, centre: Array, scale: Array) -> None:
    """Columns less `centre`, over `scale`, in place; X in C order.

    NumPy is slow with rows of a few numbers: many of them are taken for one, which takes a fourth of the time.
    """
    n, p = X.shape
    many = _NUMBERS // p if p > 0 else 0
    first = 0
    if many > 1:
        first = n // many * many
        together = X[:first].reshape(-1, many * p)
        together -= np.tile(centre, many)
        together /= np.tile(scale, many)
    X[first:] -= centre
    X[first:] /= scale
