"""Integrals over random effects of one grouping factor, of two that are nested, or of factors that cross.

`entries` are coefficients and the free entries of L row by row: of one L for all effects, those of clusters, and of
their children or of other factors, which stand in blocks of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.errors import IntegrationError, OptionError
from clusterglm.fit.chords import Learned
from clusterglm.likelihood.crossed.alone import variances as moments
from clusterglm.likelihood.crossed.crossed import CrossedLikelihood
from clusterglm.likelihood.crossed.layout import OutsideTerm
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.likelihood.moments import OneByOne, Pairs
from clusterglm.likelihood.nested.choice import choose_points as choose_nested
from clusterglm.likelihood.nested.nested import NestedLikelihood, NestedPart, NestedPlaces, NestedPlan
from clusterglm.likelihood.report import IntegrationReport
from clusterglm.likelihood.vector.choice import choose_points, settled
from clusterglm.likelihood.vector.points import hermite_points, lattice
from clusterglm.likelihood.vector.vector import Places, VectorLikelihood, VectorPart, VectorPlan, VectorPosterior
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import MANY_FOR_POINTS
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response

_FEW = {1: 9, 2: 7, 3: 5, 4: 3, 5: 3}  # nodes a dimension for a first look, 2 with more effects
_AT_MANY = {1: 8, 2: 8, 3: 4, 4: 4}  # the same at many clusters, as many as the core takes at once, ...
_AT_MANY_CHILDREN = 4  # the same at many clusters that lie in others
_SECOND = {1: (8, 16), 2: (8, 12), 3: (8, 12), 4: (8, 12), 5: (4, 8)}  # ... and for a second look: at all, at a sample
_WIDE_LATTICE, _LATTICES_UP_TO = (0.35, 8.0), 3  # step and radius; dimensions

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
    def learned(self) -> Learned | None:
        """What searches learn of a Hessian, where that of `similar` stays another however near the maximum is."""

    @property
    def nearly_quadratic(self) -> bool:
        """Whether the log-likelihood is, near its maximum, as its terms are many, and no sample need say so."""

    @property
    def dimensions(self) -> int:
        """Effects over which a cluster's integrals go, those of one child counted."""

    @property
    def n_units(self) -> int:
        """Independent terms of the log-likelihood."""

    def evaluate(self, entries: Array, plan: AnyPlan, order: int = 2) -> Evaluation:
        """Log-likelihood without constants, and derivatives up to `order`."""

    def unit_scores(self, entries: Array, plan: AnyPlan) -> Array:
        """Each cluster's score, shape (m, q)."""

    def cluster_values(self, entries: Array, plan: AnyPlan) -> Array:
        """Each cluster's log-likelihood, shape (m,)."""

    def few(self, many: bool | None = None) -> AnyPlan:
        """Points for a first look, whose second derivatives are those of points held: they show the way.

        `many`: whether clusters are many; by default if these are.
        """

    def similar(self, entries: Array, plan: AnyPlan) -> Evaluation:
        """A likelihood about that of `plan` whose second derivatives, where those are dear, show the way cheaply."""

    def glanced(self, entries: Array, plan: AnyPlan, above: float = -np.inf) -> float:
        """The log-likelihood to a few hundredths, where it costs less so: to see which of some places is higher.

        Where it is far below `above`, it may be anything below; without `above` it is exact.
        """

    def pairs(self, entries: Array) -> Pairs | None:
        """What moments say of the variances of effects, where that is cheaper than to try some."""

    def more(self, of_sample: bool = False) -> AnyPlan | None:
        """Points for a second look, if there are some for many clusters, or for all data where `learned` is.

        `of_sample`: those by which a sample of many clusters corrects what the others say.
        """

    def wide(self, entries: Array) -> AnyPlan | None:
        """Points for a first look where effects are very large, if there are some."""

    def held(self, plan: AnyPlan) -> bool:
        """Whether there are formulas for second derivatives; otherwise they are differences, and dear."""

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


class PlacedIntegrals(Integrals, Protocol):
    """Integrals that know where points were last laid."""

    def held_places(self, plan: AnyPlan) -> AnyPlan:
        """The same points, of which those that follow effects and might as well stay are held where they were last."""


def integrals(
    X: Array, Z: Array, effects: Effects, data: ClusterArrays, response: Response, threads: int
) -> PlacedIntegrals:
    """Integrals of the columns X and Z, whatever units they have, over what `effects` says is random."""
    pattern = effects.covariance.pattern
    if effects.outside:
        return CrossedFactors(X, Z, effects, data, response, threads)
    if effects.children is None:
        return OneLevel(X, Z, data, response, pattern, threads)
    d, starts = effects.n_upper, effects.children.starts
    upper, lower = np.ascontiguousarray(Z[:, :d]), np.ascontiguousarray(Z[:, d:])
    return TwoLevels(X, upper, lower, data, starts, response, pattern[:d, :d], pattern[d:, d:], threads)


class OneLevel(VectorLikelihood):
    """Integrals over the effects of one grouping factor."""

    learned, nearly_quadratic = None, False

    @property
    def dimensions(self) -> int:
        return int(self.n_effects)

    @property
    def n_units(self) -> int:
        found: int = self.n_clusters
        return found

    def few(self, many: bool | None = None) -> VectorPlan:
        nodes = _FEW.get(self.n_effects, 2)
        if self.n_clusters >= MANY_FOR_POINTS if many is None else many:
            nodes = _AT_MANY.get(self.n_effects, nodes)
        return (VectorPart(hermite_points(nodes, self.n_effects, True)),)

    def similar(self, entries: Array, plan: VectorPlan) -> Evaluation:
        return self.evaluate(entries, self.few())

    def glanced(self, entries: Array, plan: VectorPlan, above: float = -np.inf) -> float:
        return self.evaluate(entries, plan, 0).value

    def pairs(self, entries: Array) -> None:
        return None

    def more(self, of_sample: bool = False) -> VectorPlan | None:
        nodes = _SECOND.get(self.n_effects)
        return None if nodes is None else (VectorPart(hermite_points(nodes[of_sample], self.n_effects, True)),)

    def wide(self, entries: Array) -> VectorPlan | None:
        if self.n_effects > _LATTICES_UP_TO:
            return None
        every = np.arange(self.n_clusters, dtype=np.int64)
        return (VectorPart(lattice(*_WIDE_LATTICE, self.n_effects), every, settled(self, entries, every)),)

    def held(self, plan: VectorPlan) -> bool:
        return all(part.second_derivatives for part in plan)

    def held_places(self, plan: VectorPlan) -> VectorPlan:
        return _held(plan, self._modes, self._factors)

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

    learned = None

    @property
    def dimensions(self) -> int:
        return sum(self.n_effects)

    def few(self, many: bool | None = None) -> NestedPlan:
        (d1, d2), nodes = self.n_effects, _FEW.get(self.dimensions, 2)
        if self.n_children >= MANY_FOR_POINTS if many is None else many:
            nodes = min(nodes, _AT_MANY_CHILDREN)
        return (NestedPart(hermite_points(nodes, d1, True), hermite_points(nodes, d2, True)),)

    def similar(self, entries: Array, plan: NestedPlan) -> Evaluation:
        return self.evaluate(entries, self.few())

    def glanced(self, entries: Array, plan: NestedPlan, above: float = -np.inf) -> float:
        return self.evaluate(entries, plan, 0).value

    def more(self, of_sample: bool = False) -> None:
        return None

    def wide(self, entries: Array) -> None:
        return None

    def held(self, plan: NestedPlan) -> bool:
        return all(part.fine or part.places is not None for part in plan)

    def held_places(self, plan: NestedPlan) -> NestedPlan:
        there = NestedPlaces(*(getattr(self._memory, field.name).copy() for field in fields(NestedPlaces)))
        return tuple(replace(part, places=there) if part.fine and part.places is None else part for part in plan)

    def by_nodes(self, nodes: int) -> NestedPlan:
        d1, d2 = self.n_effects
        return (NestedPart(hermite_points(nodes, d1), hermite_points(nodes, d2)),)

    def within(self, entries: Array, tolerance: float, among: int | None = None) -> Chosen:
        found = choose_nested(self, entries, tolerance, among)
        return Chosen(found.plan, found.error, found.slopes, float(found.values.sum()))

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


class CrossedFactors(CrossedLikelihood):
    """Integrals over the effects of clusters, and Laplace's approximation over those of factors that cross them.

    An innermost group is a row: its effects are those of its cluster, and then of its levels of the other factors.
    """

    def __init__(
        self, X: Array, Z: Array, effects: Effects, data: ClusterArrays, response: Response, threads: int
    ) -> None:
        pattern, d, terms = effects.covariance.pattern, effects.n_upper, []
        every = np.arange(Z.shape[1])
        self._places = [every[:d]]
        for factor in effects.outside:
            where = effects.places_of(factor.group)
            self._places.append(every[where])
            terms.append(OutsideTerm(np.ascontiguousarray(Z[:, where]), factor.codes, pattern[where, where]))
        own = np.ascontiguousarray(Z[:, :d])
        super().__init__(X, own, data, terms, response, np.ascontiguousarray(pattern[:d, :d]), threads)
        self.threads, self.learned, self.nearly_quadratic = threads, Learned(), False

    @property
    def dimensions(self) -> int:
        found: int = self.inside.n_effects
        return found

    @property
    def n_units(self) -> int:
        """One, however many clusters there are: they have effects in common."""
        return 1

    def evaluate(self, theta: Array, plan: VectorPlan, order: int = 2) -> Evaluation:
        """As `CrossedLikelihood`, but no number where the effects have no most likely value: a search steps back."""
        try:
            return super().evaluate(theta, plan, order)
        except IntegrationError:
            self.forget()
            q = len(theta)
            return Evaluation(np.nan, np.full(q, np.nan), np.full((q, q), np.nan))

    def forget(self) -> None:
        """Begin the next search for modes at 0."""
        self._v, self._factors = np.zeros(self.layout.size), []

    def remember(self, modes: tuple[Array, ...] | None) -> tuple[Array, ...]:
        if modes is not None:
            self._v, self._factors = modes[0], []
        return (self._v,)

    def few(self, many: bool | None = None) -> VectorPlan:
        return self.laplace_plan()

    def similar(self, entries: Array, plan: VectorPlan) -> Evaluation:
        """With the average information; see `CrossedLikelihood.roughly`."""
        return self.roughly(entries, plan)

    def glanced(self, theta: Array, plan: VectorPlan, above: float = -np.inf) -> float:
        try:
            return super().glanced(theta, plan, above)
        except IntegrationError:
            self.forget()
            return np.nan

    def pairs(self, entries: Array) -> OneByOne:
        found = np.empty(sum(map(len, self._places)))
        found[np.concatenate(self._places)] = moments(self.inside, entries[: self.inside.X.shape[1]])
        return OneByOne(found)

    def more(self, of_sample: bool = False) -> VectorPlan | None:
        nodes = _AT_MANY.get(self.inside.n_effects)
        return None if nodes is None else (VectorPart(hermite_points(nodes, self.inside.n_effects, True)),)

    def wide(self, entries: Array) -> None:
        return None

    def held(self, plan: VectorPlan) -> bool:
        return False

    def held_places(self, plan: VectorPlan) -> VectorPlan:
        return _held(plan, *self.inside.last_places)

    def by_nodes(self, nodes: int) -> VectorPlan:
        return self.laplace_plan() if nodes == 1 else (VectorPart(hermite_points(nodes, self.inside.n_effects)),)

    def within(self, entries: Array, tolerance: float, among: int | None = None) -> Chosen:
        assert among is None, "crossed factors of data in blocks"
        found = self.choose(entries, tolerance)
        return Chosen(found.plan, found.error, found.slopes)

    def rules(self, plan: VectorPlan) -> tuple[tuple[str, int], ...]:
        return tuple((str(part.points), _count(part.clusters, self.inside.n_units)) for part in plan)

    def most(self, plan: VectorPlan) -> int:
        return max(len(part.points) for part in plan)

    def at_modes(self, entries: Array) -> Array:
        v, u = self.joint_modes(entries)
        return np.hstack([np.repeat(u, np.diff(self.inside.data.starts), axis=0), v[self.layout.columns]])

    def joint_modes(self, entries: Array) -> tuple[Array, Array]:
        """The effects outside, and those of the clusters, shape (m, d), that are most likely jointly."""
        v = self.mode(entries, self.laplace_plan()).v
        self.inside.move(entries, v)
        return v, self.inside.given.modes(self.inside.own(entries), None).centres

    def given_data(self, entries: Array, plan: VectorPlan) -> VectorPosterior:
        """Not of single rows: see `posterior`, which has all effects."""
        raise _of_single_clusters("posteriors")

    def unit_scores(self, entries: Array, plan: VectorPlan) -> Array:
        """There are none: all clusters have effects in common."""
        raise _of_single_clusters("scores")

    def cluster_values(self, entries: Array, plan: VectorPlan) -> Array:
        """There are none: all clusters have effects in common."""
        raise _of_single_clusters("log-likelihoods")

    def of_cluster(self, plan: VectorPlan, i: int) -> VectorPlan:
        """There are none: all clusters have effects in common."""
        raise _of_single_clusters("points")


def report(likelihood: Integrals, chosen: Chosen, requested: Quadrature, unit: float) -> IntegrationReport:
    """Describe how the integrals were computed."""
    rules, most = likelihood.rules(chosen.plan), likelihood.most(chosen.plan)
    return IntegrationReport(requested, "normal", most, rules, chosen.error, unit)


def _of_single_clusters(what: str) -> OptionError:
    return OptionError(
        f"{what} of single clusters in a model with crossed random effects, whose clusters are not independent",
        "one grouping factor, or two of which one is nested in the other",
        "what all data together tell",
    )


def _held(plan: VectorPlan, modes: Array, factors: Array) -> VectorPlan:
    """Points that follow clusters and might as well stay, where those are that the core has left."""
    found = []
    for part in plan:
        if part.points.fine and part.places is None:
            at = slice(None) if part.clusters is None else part.clusters
            part = replace(part, places=Places(modes[at].copy(), factors[at].copy()))
        found.append(part)
    return tuple(found)


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
