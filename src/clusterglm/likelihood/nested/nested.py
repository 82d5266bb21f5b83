"""The marginal likelihood of a model with normal effects of upper clusters, the units, and of their children.

theta = (beta, free entries of L1 row by row, free entries of L2 row by row) -> value, score, Hessian.

A plan gives every unit a point set for itself and one for each of its children. With points c, C of both sets,

    u = centre of u + F1 c,    v = centre of v + T (u - centre of u) + F2 C

either about the joint mode, with factors of the joint curvature and T = dv/du, or where `NestedPlaces` puts them. The
cost is rows times the product of the points. The value is a sum over the points; the score is the exact derivative of
that sum, motion of the points included. The Hessian is exact for points that stay, and as exact as the sum for fine
ones that follow; for few points that follow (Laplace's approximation among them) it is the differences of the score.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation, core_problem
from clusterglm.likelihood.moments import NestedPairs
from clusterglm.likelihood.vector.points import PointSet, hermite_points
from clusterglm.likelihood.vector.vector import is_place, joined_columns, unstructured
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import MANY_FOR_POINTS
from clusterglm.model.parameters import nested_effects
from clusterglm.model.response.base import Response

_MANY_UNITS = 100  # in which many children lie: third derivatives of sums over both have little weight
_SCORE_STEP = 3e-5  # of differences of the score, relative to parameters above 1


@dataclass(frozen=True, eq=False)
class NestedPlaces:
    """Where points lie, of m units and their C children; factors are triangular.

    Parameters
    ----------
    centres1 : ndarray, shape (m, d1)
    factors1 : ndarray, shape (m, d1, d1)
    centres2 : ndarray, shape (C, d2)
        Where the centre of u is.
    slopes2 : ndarray, shape (C, d2, d1)
        dv/du.
    factors2 : ndarray, shape (C, d2, d2)
    """

    centres1: Array
    factors1: Array
    centres2: Array
    slopes2: Array
    factors2: Array


@dataclass(frozen=True, eq=False)
class NestedPart:
    """The units that a pair of point sets serves.

    Parameters
    ----------
    upper, lower : PointSet
        Of the unit, and of each of its children.
    units : ndarray of int64 or None
        Numbers of the units, ascending; None means all.
    places : NestedPlaces or None
        Where the points lie, for all units of the data; None: about the modes.
    """

    upper: PointSet
    lower: PointSet
    units: NDArray[np.int64] | None = None
    places: NestedPlaces | None = None

    def __len__(self) -> int:
        """Points at which the rows are computed."""
        return len(self.upper) * len(self.lower)

    @property
    def fine(self) -> bool:
        """Whether second derivatives need not know that points move."""
        return self.upper.fine and self.lower.fine


NestedPlan = tuple[NestedPart, ...]
"""Every unit in exactly one part."""


@dataclass(frozen=True, eq=False)
class NestedPosterior:
    """What the data say of the standard normal effects u of units and v of children; those of the model are L1 u, L2 v.

    Parameters
    ----------
    modes1 : ndarray, shape (m, d1)
    modes2 : ndarray, shape (C, d2)
    means1 : ndarray, shape (m, d1)
    covariances1 : ndarray, shape (m, d1, d1)
    means2 : ndarray, shape (C, d2)
    covariances2 : ndarray, shape (C, d2, d2)
    across : ndarray, shape (C, d2, d1)
        Covariances of v with the u of its unit.
    """

    modes1: Array
    modes2: Array
    means1: Array
    covariances1: Array
    means2: Array
    covariances2: Array
    across: Array


class NestedLikelihood:
    """Sums of the units' log-integrals, each over points of its own.

    An instance remembers where the joint modes were last found, which makes the next search short.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Columns with coefficients.
    Z1, Z2 : ndarray, shape (n, d1), (n, d2)
        Columns with effects of units and of children.
    data : ClusterArrays
        Everything else; its clusters are the units, rows sorted by unit and then by child.
    child_starts : ndarray of int64, shape (C + 1,)
        First row of each child and the number of rows; the first row of every unit is among them.
    response : Response
    free1, free2 : ndarray of bool, shape (d1, d1), (d2, d2), optional
        Which entries of L1 and L2, of their lower triangles, are parameters; the others are 0. By default all of them.
    threads : int
        Threads of the core; results are the same bits for any number.
    """

    def __init__(
        self,
        X: Array,
        Z1: Array,
        Z2: Array,
        data: ClusterArrays,
        child_starts: NDArray[np.int64],
        response: Response,
        free1: NDArray[np.bool_] | None = None,
        free2: NDArray[np.bool_] | None = None,
        threads: int = 1,
    ) -> None:
        self.n_units, self.n_children = len(data.starts) - 1, len(child_starts) - 1
        self.n_effects = (Z1.shape[1], Z2.shape[1])
        self.free = (
            unstructured(Z1.shape[1]) if free1 is None else free1,
            unstructured(Z2.shape[1]) if free2 is None else free2,
        )
        self.parameters = nested_effects(X.shape[1], *(int(free.sum()) for free in self.free))
        self.threads = threads
        self.weights = data.cluster_weights
        self.child_starts = np.ascontiguousarray(child_starts, dtype=np.int64)
        self.first_child = np.searchsorted(self.child_starts, data.starts).astype(np.int64)
        self._rows = X, (Z1, Z2), data, response
        columns, upper = joined_columns(X, Z1)
        columns, lower = joined_columns(columns, Z2)
        self._problem = core_problem(columns, data, response)
        (row1, col1), (row2, col2) = (np.nonzero(free) for free in self.free)
        self._upper = upper, row1.astype(np.int64), col1.astype(np.int64)
        self._lower = lower, row2.astype(np.int64), col2.astype(np.int64)
        self._memory = self._no_places()

    @property
    def nearly_quadratic(self) -> bool:
        """Whether units and children are so many that the log-likelihood is, near its maximum."""
        return self.n_units >= _MANY_UNITS and self.n_children >= MANY_FOR_POINTS

    def factors(self, theta: Array) -> tuple[Array, Array]:
        """L1 and L2."""
        found = []
        for free, entries in zip(self.free, self.parameters.split(theta)[1:], strict=True):
            L = np.zeros(free.shape)
            L[free] = entries
            found.append(L)
        return found[0], found[1]

    def units_of_children(self) -> NDArray[np.int64]:
        """Each child's unit, shape (C,)."""
        return np.repeat(np.arange(self.n_units), np.diff(self.first_child))

    def pairs(self, theta: Array) -> NestedPairs:
        """What pairs of rows say of the effects' variances, at the coefficients of theta and effects of 0."""
        X, columns, data, response = self._rows
        eta = X @ self.parameters.split(theta)[0] + data.offset
        _, scores, curvatures, *_ = response.derivatives(eta, data.a, data.b)
        units = np.repeat(np.arange(self.n_units), np.diff(data.starts))
        children = np.repeat(np.arange(self.n_children), np.diff(self.child_starts))
        return NestedPairs.of(columns, (units, children), scores, curvatures)

    def evaluate(self, theta: Array, plan: NestedPlan, order: int = 2) -> Evaluation:
        """Log-likelihood (without constants), and derivatives up to `order`, at `theta`, shape (q,)."""
        found = [self._part(theta, part, order) for part in plan]
        hessian = np.sum([e.hessian for e in found], axis=0)
        return Evaluation(sum(e.value for e in found), np.sum([e.score for e in found], axis=0), hessian)

    def unit_scores(self, theta: Array, plan: NestedPlan) -> Array:
        """Each unit's (weighted) score, shape (m, q)."""
        scores = np.zeros((self.n_units, len(self.parameters)))
        for part in plan:
            self._call(theta, part, 1, scores=scores)
        return scores

    def cluster_values(self, theta: Array, plan: NestedPlan) -> Array:
        """Each unit's (weighted) log-likelihood, shape (m,)."""
        values = np.zeros(self.n_units)
        for part in plan:
            self._call(theta, part, 0, values=values)
        return values

    def posterior(self, theta: Array, plan: NestedPlan) -> NestedPosterior:
        """Mode, mean and covariance of the effects of both levels given the data."""
        found = [self.moments(theta, part) for part in plan]
        means = [np.sum(arrays, axis=0) for arrays in zip(*found, strict=True)]
        modes = self.modes(theta, None)
        return NestedPosterior(modes.centres1, modes.centres2, *means)

    def moments(self, theta: Array, part: NestedPart) -> tuple[Array, Array, Array, Array, Array]:
        """What a part's points say of its units: the fields of `NestedPosterior` from means1 on, 0 for other units."""
        m, children, (d1, d2) = self.n_units, self.n_children, self.n_effects
        means1, covariances1 = np.zeros((m, d1)), np.zeros((m, d1, d1))
        means2, covariances2 = np.zeros((children, d2)), np.zeros((children, d2, d2))
        across = np.zeros((children, d2, d1))
        self._call(
            theta,
            part,
            0,
            means1=means1,
            covariances1=covariances1,
            means2=means2,
            covariances2=covariances2,
            across=across,
        )
        return means1, covariances1, means2, covariances2, across

    def modes(self, theta: Array, units: NDArray[np.int64] | None) -> NestedPlaces:
        """Places about the joint modes of some units; those of other units mean nothing."""
        d1, d2 = self.n_effects
        self._call(theta, NestedPart(hermite_points(1, d1), hermite_points(1, d2), units), 0, precise=True)
        return NestedPlaces(*(getattr(self._memory, field.name).copy() for field in fields(NestedPlaces)))

    def values_of(self, theta: Array, part: NestedPart) -> Array:
        """Log-integrals of a part's units, without their weights, in the order of `units`."""
        values = np.zeros(self.n_units)
        self._call(theta, part, 0, values=values)
        at = slice(None) if part.units is None else part.units
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(self.weights == 0.0, 0.0, values / self.weights)[at])

    def _no_places(self) -> NestedPlaces:
        m, children, (d1, d2) = self.n_units, self.n_children, self.n_effects
        return NestedPlaces(
            np.zeros((m, d1)),
            np.zeros((m, d1, d1)),
            np.zeros((children, d2)),
            np.zeros((children, d2, d1)),
            np.zeros((children, d2, d2)),
        )

    def _part(self, theta: Array, part: NestedPart, order: int) -> Evaluation:
        follows = part.places is None
        if order < 2 or part.fine or not follows:
            return self._call(theta, part, order, precise=follows and not part.fine)
        at = self._call(theta, part, 1, precise=True)
        rows = []
        for k, entry in enumerate(theta.tolist()):
            move = np.zeros(len(theta))
            move[k] = _SCORE_STEP * max(1.0, abs(entry))
            ahead, behind = (self._call(theta + side * move, part, 1, precise=True).score for side in (1.0, -1.0))
            rows.append((ahead - behind) / (2.0 * move[k]))
        hessian = np.array(rows)
        return replace(at, hessian=0.5 * (hessian + hessian.T))

    def _call(self, theta: Array, part: NestedPart, order: int, *, precise: bool = False, **found: Array) -> Evaluation:
        """What the core says; once more from where nothing is known, where the last modes were no place to begin."""
        before = {name: array.copy() for name, array in found.items()}
        at = self._called(theta, part, order, precise=precise, **found)
        if part.places is not None or is_place(at.value, self._memory.centres1, self._memory.centres2):
            return at
        self._memory = self._no_places()
        for name, array in found.items():
            array[...] = before[name]
        at = self._called(theta, part, order, precise=precise, **found)
        if not is_place(at.value, self._memory.centres1, self._memory.centres2):
            self._memory = self._no_places()
        return at

    def _called(
        self,
        theta: Array,
        part: NestedPart,
        order: int,
        *,
        precise: bool,
        values: Array | None = None,
        scores: Array | None = None,
        means1: Array | None = None,
        covariances1: Array | None = None,
        means2: Array | None = None,
        covariances2: Array | None = None,
        across: Array | None = None,
    ) -> Evaluation:
        size = len(self.parameters)
        score, hessian = np.zeros(size), np.zeros((size, size))
        places = part.places or self._memory
        value = _core.nested(
            self._problem,
            self.first_child,
            self.child_starts,
            len(self.parameters.split(np.arange(float(size)))[0]),
            *self._upper,
            *self._lower,
            np.ascontiguousarray(theta, dtype=np.float64),
            part.upper.core,
            part.lower.core,
            part.places is None,
            precise,
            places.centres1,
            places.factors1,
            places.centres2,
            places.slopes2,
            places.factors2,
            order,
            part.units,
            score,
            hessian,
            values,
            scores,
            means1,
            covariances1,
            means2,
            covariances2,
            across,
            self.threads,
        )
        return Evaluation(value, score, hessian)
