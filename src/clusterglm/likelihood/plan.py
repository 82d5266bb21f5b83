"""Which rule serves which units of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.evaluation import Evaluation


@runtime_checkable
class UnitRule(Protocol):
    """A way to compute the integral of a unit, in as much as a fit must know of it; can be hashed."""

    @property
    def nodes(self) -> int:
        """Points at which the integrand is evaluated."""

    @property
    def adaptive(self) -> bool:
        """Whether the nodes follow the unit."""

    @property
    def laid_for(self) -> Literal["all", "sigma", "theta"]:
        """Parameters that the rule was made for: any, those with about one sigma, or those of one point."""

    def __str__(self) -> str:
        """The kind in words, a comma, the number of nodes."""


R = TypeVar("R", bound=UnitRule)


@dataclass(frozen=True)
class Part(Generic[R]):
    """The clusters that one rule serves.

    Parameters
    ----------
    rule : UnitRule
    clusters : ndarray of int64 or None
        Numbers of the clusters, ascending; None means all.
    """

    rule: R
    clusters: NDArray[np.int64] | None = None

    def count(self, n_clusters: int) -> int:
        """How many clusters that is, of `n_clusters`."""
        return n_clusters if self.clusters is None else len(self.clusters)


@dataclass(frozen=True)
class CountedPart(Part[Any]):
    """A rule of clusters that only their blocks know: how many they are."""

    number: int = 0

    def count(self, n_clusters: int) -> int:
        return self.number


Plan = tuple[Part[Any], ...]
"""Every cluster in exactly one part."""


def spread(plan: Plan, among: NDArray[np.int64]) -> Plan:
    """The plan of clusters of which the k-th has the rule of cluster `among[k]` in `plan`."""
    if plan[0].clusters is None:
        return plan
    owner = np.empty(sum(len(part.clusters) for part in plan if part.clusters is not None), dtype=np.int64)
    for k, part in enumerate(plan):
        owner[part.clusters] = k
    return tuple(Part(part.rule, np.flatnonzero(owner[among] == k)) for k, part in enumerate(plan))


@dataclass(frozen=True)
class Goal:
    """What a choice of rules is to attain.

    Parameters
    ----------
    tolerance : float
        Bound of the error of the log-likelihood.
    n_units : int
        Units in the whole data, of which a block has a part.
    moving : bool
        Whether derivatives must be those of rules that move with the parameters, wherever such rules do as well.
    """

    tolerance: float
    n_units: int
    moving: bool = False


@dataclass(frozen=True)
class Choice:
    """Rules that were chosen at a point.

    Parameters
    ----------
    plan : Plan
    error : float
        Sum over clusters of bounds of the errors.
    there : Evaluation or None
        The likelihood by these rules at the point, where choosing them has computed it already.
    """

    plan: Plan
    error: float
    there: Evaluation | None = None
