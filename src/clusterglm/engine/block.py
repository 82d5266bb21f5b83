"""A block: whole clusters whose rows lie in memory together."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from clusterglm import _core
from clusterglm.likelihood.evaluation import ClusterArrays, core_problem
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_NUMBERS = 8192  # that NumPy works on at a time


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
    memory : dict, optional
        What one visit leaves for the next: the clusters' modes, the rules that were chosen for them. It outlives the
        block where rows come and go.
    """

    def __init__(
        self,
        X: Array,
        data: ClusterArrays,
        response: Response,
        threads: int = 1,
        memory: dict[str, Any] | None = None,
    ) -> None:
        self.X = X
        self.data = data
        self.response = response
        self.threads = threads
        self.memory: dict[str, Any] = {} if memory is None else memory
        self.likelihood: tuple[Any, Any] = None, None  # a model, and its likelihood on these very arrays

    @property
    def n_obs(self) -> int:
        """Rows."""
        return len(self.X)

    @property
    def n_clusters(self) -> int:
        """Clusters."""
        return len(self.data.starts) - 1

    @cached_property
    def problem(self) -> _core.Problem:
        """The core's view of the block."""
        return core_problem(self.X, self.data, self.response)

    def rescaled(self, centre: Array, scale: Array) -> Block:
        """The same clusters in columns less `centre`, over `scale`."""
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
