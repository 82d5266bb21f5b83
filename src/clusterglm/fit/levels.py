"""Integrals over random effects of one grouping factor, or of two that are nested, as a search for the maximum asks.

`entries` are coefficients and the free entries of L row by row: of one L for all effects, those of clusters and of
their children, which stand in blocks of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.likelihood.nested.choice import choose_points as choose_nested
from clusterglm.likelihood.nested.nested import NestedLikelihood, NestedPart, NestedPlan
from clusterglm.likelihood.vector.choice import choose_points
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import Places, VectorLikelihood, VectorPart, VectorPlan, VectorPosterior
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_FEW = {1: 9, 2: 7, 3: 5, 4: 3, 5: 3}  # nodes a dimension for a first look, 2 with more effects

AnyPlan: TypeAlias = tuple[Any, ...]
"""Points of each cluster, as one kind of integrals has them."""


@dataclass(frozen=True)
class Chosen:
    """Points of each cluster, and what the log-likelihood may be wrong by; nan where nobody has looked.

    Parameters
    ----------
    plan : tuple
    error : float
    slopes : tuple
        Points that are enough for derivatives.
    value : float or None
        The log-likelihood where they were chosen, if it is known.
    """

    plan: AnyPlan
    error: float
    slopes: AnyPlan
    value: float | None = None

    @property
    def value_apart(self) -> bool:
        """Whether values need other points than derivatives."""
        return self.slopes is not self.plan


class Integrals(Protocol):
    """Sums of clusters' log-integrals over their random effects."""

    threads: int

    @property
    def dimensions(self) -> int:
        """Effects over which a cluster's integrals go, those of one child counted."""

    def evaluate(self, entries: Array, plan: AnyPlan, order: int = 2) -> Evaluation:
        """Log-likelihood without constants, and derivatives up to `order`."""

    def unit_scores(self, entries: Array, plan: AnyPlan) -> Array:
        """Each cluster's score, shape (m, q)."""

    def cluster_values(self, entries: Array, plan: AnyPlan) -> Array:
        """Each cluster's log-likelihood, shape (m,)."""

    def few(self) -> AnyPlan:
        """Points for a first look, whose second derivatives are those of points held: they show the way."""

    def held(self, plan: AnyPlan) -> bool:
        """Whether second derivatives are those of points held; otherwise they are differences, and dear."""

    def by_nodes(self, nodes: int) -> AnyPlan:
        """So many adaptive Gauss-Hermite nodes in each dimension."""

    def within(self, entries: Array, tolerance: float, among: int | None = None) -> Chosen:
        """Points for errors whose sum is within a tolerance.

        Where these clusters are a part of so many, `among`, the tolerance is for all of them, and each cluster has
        points that do not depend on the others.
        """

    def of_cluster(self, plan: AnyPlan, i: int) -> AnyPlan:
        """The points of one cluster."""

    def rules(self, plan: AnyPlan) -> tuple[tuple[str, int], ...]:
        """Each rule in words, and the number of clusters that it serves."""

    def most(self, plan: AnyPlan) -> int:
        """The largest number of points of a row."""

    def remember(self, modes: tuple[Array, ...] | None) -> tuple[Array, ...]:
        """Begin searches for modes where others have ended; and where those to come will have ended."""

    def at_modes(self, entries: Array) -> Array:
        """Modes of the effects of each innermost group of rows, standard normal ones, shape (g, d)."""

    def given_data(self, entries: Array, plan: AnyPlan) -> VectorPosterior:
        """What the data say of the effects of each innermost group of rows."""


def integrals(
    X: Array, Z: Array, effects: Effects, data: ClusterArrays, response: Response, threads: int
) -> OneLevel | TwoLevels:
    """Integrals of the columns X and Z, whatever units they have, over what `effects` says is random."""
    pattern = effects.covariance.pattern
    if effects.children is None:
        return OneLevel(X, Z, data, response, pattern, threads)
    d, starts = effects.n_upper, effects.children.starts
    upper, lower = np.ascontiguousarray(Z[:, :d]), np.ascontiguousarray(Z[:, d:])
    return TwoLevels(X, upper, lower, data, starts, response, pattern[:d, :d], pattern[d:, d:], threads)


class OneLevel(VectorLikelihood):
    """Integrals over the effects of one grouping factor."""

    @property
    def dimensions(self) -> int:
        found: int = self.n_effects
        return found

    def few(self) -> VectorPlan:
        return (VectorPart(hermite_points(_FEW.get(self.n_effects, 2), self.n_effects, True)),)

    def held(self, plan: VectorPlan) -> bool:
        return all(part.points.fine or part.places is not None for part in plan)

    def by_nodes(self, nodes: int) -> VectorPlan:
        return (VectorPart(hermite_points(nodes, self.n_effects)),)

    def within(self, entries: Array, tolerance: float, among: int | None = None) -> Chosen:
        found = choose_points(self, entries, tolerance, among)
        return Chosen(found.plan, found.error, found.slopes, float(found.values.sum()))

    def of_cluster(self, plan: VectorPlan, i: int) -> VectorPlan:
        for part in plan:
            k = _place(part.clusters, i)
            if k is not None:
                at = part.places
                places = None if at is None else Places(at.centres[k : k + 1], at.factors[k : k + 1])
                return (VectorPart(part.points, np.array([i], dtype=np.int64), places),)
        raise KeyError(i)

    def rules(self, plan: VectorPlan) -> tuple[tuple[str, int], ...]:
        return tuple((str(part.points), _count(part.clusters, self.n_clusters)) for part in plan)

    def most(self, plan: VectorPlan) -> int:
        return max(len(part.points) for part in plan)

    def remember(self, modes: tuple[Array, ...] | None) -> tuple[Array, ...]:
        if modes is not None:
            (self._modes,) = modes
        return (self._modes,)

    def at_modes(self, entries: Array) -> Array:
        return self.modes(entries, None).centres

    def given_data(self, entries: Array, plan: VectorPlan) -> VectorPosterior:
        return self.posterior(entries, plan)


class TwoLevels(NestedLikelihood):
    """Integrals over the effects of clusters and of the children nested in them.

    An innermost group of rows is a child; its effects are those of its cluster, and then its own.
    """

    @property
    def dimensions(self) -> int:
        return sum(self.n_effects)

    def few(self) -> NestedPlan:
        (d1, d2), nodes = self.n_effects, _FEW.get(self.dimensions, 2)
        return (NestedPart(hermite_points(nodes, d1, True), hermite_points(nodes, d2, True)),)

    def held(self, plan: NestedPlan) -> bool:
        return all(part.fine or part.places is not None for part in plan)

    def by_nodes(self, nodes: int) -> NestedPlan:
        d1, d2 = self.n_effects
        return (NestedPart(hermite_points(nodes, d1), hermite_points(nodes, d2)),)

    def within(self, entries: Array, tolerance: float, among: int | None = None) -> Chosen:
        found = choose_nested(self, entries, tolerance, among)
        return Chosen(found.plan, found.error, found.plan)

    def of_cluster(self, plan: NestedPlan, i: int) -> NestedPlan:
        for part in plan:
            if _place(part.units, i) is not None:
                return (replace(part, units=np.array([i], dtype=np.int64)),)
        raise KeyError(i)

    def rules(self, plan: NestedPlan) -> tuple[tuple[str, int], ...]:
        return tuple((_in_words(part), _count(part.units, self.n_units)) for part in plan)

    def most(self, plan: NestedPlan) -> int:
        return max(map(len, plan))

    def remember(self, modes: tuple[Array, ...] | None) -> tuple[Array, ...]:
        if modes is not None:
            self._memory = replace(self._memory, centres1=modes[0], centres2=modes[1])
        return self._memory.centres1, self._memory.centres2

    def at_modes(self, entries: Array) -> Array:
        places = self.modes(entries, None)
        return np.hstack([places.centres1[self.units_of_children()], places.centres2])

    def given_data(self, entries: Array, plan: NestedPlan) -> VectorPosterior:
        found, of = self.posterior(entries, plan), self.units_of_children()
        upper, lower, across = found.covariances1[of], found.covariances2, found.across
        return VectorPosterior(
            np.hstack([found.modes1[of], found.modes2]),
            np.hstack([found.means1[of], found.means2]),
            np.concatenate(
                [
                    np.concatenate([upper, np.swapaxes(across, 1, 2)], axis=2),
                    np.concatenate([across, lower], axis=2),
                ],
                axis=1,
            ),
        )


def _in_words(part: NestedPart) -> str:
    upper, lower = str(part.upper), str(part.lower)
    return f"{upper}, at both levels" if upper == lower else f"{upper}, with {lower} within"


def _place(clusters: NDArray[np.int64] | None, i: int) -> int | None:
    """Where cluster i stands in an ascending list, None meaning all; None where it is not there."""
    if clusters is None:
        return i
    k = int(np.searchsorted(clusters, i))
    return k if k < len(clusters) and clusters[k] == i else None


def _count(clusters: NDArray[np.int64] | None, n: int) -> int:
    return n if clusters is None else len(clusters)
