"""What every likelihood gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class Evaluation:
    """A log-likelihood at one parameter vector.

    Parameters
    ----------
    value : float
        Log-likelihood, without the constants that no parameter enters.
    score : ndarray, shape (q,)
        First derivatives.
    hessian : ndarray, shape (q, q)
        Second derivatives.
    """

    value: float
    score: Array
    hessian: Array


class ClusterArrays(Protocol):
    """The arrays that describe clustered data, rows sorted by cluster."""

    @property
    def starts(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """First row of each cluster and the number of rows, shape (m + 1,)."""

    @property
    def a(self) -> Array:
        """Weighted successes or counts, shape (n,)."""

    @property
    def b(self) -> Array:
        """Weighted failures, or weights, shape (n,)."""

    @property
    def offset(self) -> Array:
        """Known part of the linear predictor, shape (n,)."""

    @property
    def cluster_weights(self) -> Array:
        """Factor of each cluster's log-likelihood, shape (m,)."""


@dataclass(frozen=True)
class OwnArrays:
    """Arrays of a block whose kernel has parameters of its own; see `ClusterArrays`.

    Parameters
    ----------
    starts, a, b, offset, cluster_weights : ndarray
    own : int
        How many parameters.
    groups : ndarray of int64, shape (n,), optional
        Which of them each row has, -1 for none; None without any.
    own_columns : ndarray, shape (n, own), optional
        How much of each parameter there is in a row's own number, where that is not one of them; in place of groups.
    own_numbers : ndarray of int64, shape (own,), optional
        With these: which of the kernel's own numbers each parameter is part of.
    """

    starts: NDArray[np.int64]
    a: Array
    b: Array
    offset: Array
    cluster_weights: Array
    own: int = 0
    groups: NDArray[np.int64] | None = None
    own_columns: Array | None = None
    own_numbers: NDArray[np.int64] | None = None


def core_problem(X: Array, data: ClusterArrays, response: Response) -> _core.Problem:
    """The core's view of the data; it keeps references, no copies, of contiguous float64 arrays.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Design matrix to use with `data`, C-contiguous.
    data : ClusterArrays
        Everything else.
    response : Response
        Family and link.
    """
    known = data.starts, X, data.a, data.b, data.offset, data.cluster_weights, response.code
    if not isinstance(data, OwnArrays):
        return _core.Problem(*known)
    return _core.Problem(*known, data.own, data.groups, data.own_columns, data.own_numbers)
