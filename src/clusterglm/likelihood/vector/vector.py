"""The marginal likelihood of a model with several normal effects of one grouping factor.

theta = (beta, free entries of L row by row) -> value, score, Hessian. Linear predictor of row j of a cluster:
x_j'beta + offset_j + z_j'L u, u standard normal (d,).

A plan gives every cluster a point set (`points.py`). Points either follow the cluster, laid about its mode by the
curvature there, or stay where `Places` puts them. The value is a sum over the points; the score is the exact derivative
of that sum, motion of the points included. The Hessian is exact for points that stay and for a single one, which is
Laplace's approximation, and as exact as the sum for fine ones that follow; for few that follow it is the differences of
the score.
Formulas: docs/explanation/likelihood.md, "Several effects".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation, core_problem
from clusterglm.likelihood.vector.points import PointSet, hermite_points
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_ROWS_SEEN_FIRST = 32  # rows in which columns that differ mostly differ
_SCORE_STEP = 3e-5  # of differences of the score, relative to parameters above 1
_FURTHEST_MODE = 1e4  # in standard deviations of effects; further out integrands overflow


def unstructured(d: int) -> NDArray[np.bool_]:
    """Free entries of L where effects have any covariance: the lower triangle."""
    return np.tri(d, dtype=np.bool_)


def diagonal(d: int) -> NDArray[np.bool_]:
    """Free entries of L where effects are independent."""
    return np.eye(d, dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Places:
    """Where points lie: u = centres + factors @ c.

    Parameters
    ----------
    centres : ndarray, shape (c, d)
    factors : ndarray, shape (c, d, d)
        Triangular.
    """

    centres: Array
    factors: Array


@dataclass(frozen=True, eq=False)
class VectorPart:
    """The clusters that one point set serves.

    Parameters
    ----------
    points : PointSet
    clusters : ndarray of int64, shape (c,), or None
        Numbers of the clusters, ascending; None means all.
    places : Places or None
        Where the points lie, in the order of `clusters`; None: about the modes.
    """

    points: PointSet
    clusters: NDArray[np.int64] | None = None
    places: Places | None = None

    @property
    def second_derivatives(self) -> bool:
        """Whether there are formulas for them: points that stay or might as well, or Laplace's approximation."""
        return self.points.fine or self.places is not None or len(self.points) == 1


VectorPlan = tuple[VectorPart, ...]
"""Every cluster in exactly one part."""


@dataclass(frozen=True, eq=False)
class VectorPosterior:
    """What the data say of each cluster's standard normal effects u; those of the model are L u.

    Parameters
    ----------
    modes, means : ndarray, shape (m, d)
    covariances : ndarray, shape (m, d, d)
    """

    modes: Array
    means: Array
    covariances: Array

    @property
    def about_modes(self) -> Array:
        """Mean squares and products of the distance from the mode, shape (m, d, d)."""
        away = self.means - self.modes
        return np.asarray(self.covariances + away[:, :, None] * away[:, None, :])


@dataclass(frozen=True, eq=False)
class ClusterSums:
    """One point set's sums, cluster by cluster, in the order in which clusters were asked for.

    Parameters
    ----------
    values : ndarray, shape (c,)
        Log-integrals, without the clusters' weights.
    means : ndarray, shape (c, d)
        Posterior means of u.
    covariances : ndarray, shape (c, d, d)
    shares : ndarray, shape (c, kinds)
        Shares of the integral at the points of each kind.
    places : Places
        Where the points were.
    """

    values: Array
    means: Array
    covariances: Array
    shares: Array
    places: Places


class VectorLikelihood:
    """Sums of the clusters' log-integrals, each over points of its own.

    An instance remembers where each cluster's mode was last found, which makes the next search short.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Columns with coefficients.
    Z : ndarray, shape (n, d)
        Columns with effects; those that are columns of `X` too are kept once.
    data : ClusterArrays
        Everything else; rows in the same order.
    response : Response
    free : ndarray of bool, shape (d, d), optional
        Which entries of L, of its lower triangle, are parameters; the others are 0. By default all of them.
    threads : int
        Threads of the core; results are the same bits for any number.
    """

    def __init__(
        self,
        X: Array,
        Z: Array,
        data: ClusterArrays,
        response: Response,
        free: NDArray[np.bool_] | None = None,
        threads: int = 1,
    ) -> None:
        self.n_clusters, self.n_effects = len(data.starts) - 1, Z.shape[1]
        self.free = unstructured(self.n_effects) if free is None else free
        self.n_coefficients = X.shape[1]
        self.n_parameters = self.n_coefficients + int(self.free.sum())
        self.threads = threads
        self.weights = data.cluster_weights
        columns, self._effects = joined_columns(X, Z)
        self._problem = core_problem(columns, data, response)
        row, col = np.nonzero(self.free)
        self._row, self._col = row.astype(np.int64), col.astype(np.int64)
        m, d = self.n_clusters, self.n_effects
        self._modes, self._factors = np.zeros((m, d)), np.zeros((m, d, d))

    def factor(self, theta: Array) -> Array:
        """L, shape (d, d)."""
        L = np.zeros((self.n_effects, self.n_effects))
        L[self.free] = theta[self.n_coefficients :]
        return L

    def evaluate(self, theta: Array, plan: VectorPlan, order: int = 2) -> Evaluation:
        """Log-likelihood (without constants), and derivatives up to `order`, at `theta`, shape (q,)."""
        theta = np.ascontiguousarray(theta, dtype=np.float64)
        found = [self._part(theta, part, order) for part in plan]
        hessian = np.sum([e.hessian for e in found], axis=0)
        return Evaluation(sum(e.value for e in found), np.sum([e.score for e in found], axis=0), hessian)

    def unit_scores(self, theta: Array, plan: VectorPlan) -> Array:
        """Each cluster's (weighted) score, shape (m, q)."""
        scores = np.zeros((self.n_clusters, self.n_parameters))
        for part in plan:
            self._call(theta, part, 1, scores=scores)
        return scores

    def cluster_values(self, theta: Array, plan: VectorPlan) -> Array:
        """Each cluster's (weighted) log-likelihood, shape (m,)."""
        values = np.zeros(self.n_clusters)
        for part in plan:
            self._call(theta, part, 0, values=values)
        return values

    def posterior(self, theta: Array, plan: VectorPlan) -> VectorPosterior:
        """Mode, mean and covariance of each cluster's effects given its data."""
        m, d = self.n_clusters, self.n_effects
        means, covariances = np.zeros((m, d)), np.zeros((m, d, d))
        for part in plan:
            self._call(theta, part, 0, means=means, covariances=covariances)
        return VectorPosterior(self.modes(theta, None).centres, means, covariances)

    def modes(self, theta: Array, clusters: NDArray[np.int64] | None) -> Places:
        """Each cluster's mode, and C^-T of its curvature C C' there."""
        self._call(theta, VectorPart(hermite_points(1, self.n_effects), clusters), 0, precise=True)
        chosen = slice(None) if clusters is None else clusters
        return Places(self._modes[chosen].copy(), self._factors[chosen].copy())

    def log_integrals(self, theta: Array, part: VectorPart, again: bool = False) -> Array:
        """Log-integrals of a part's clusters, without their weights, in the order of `clusters`.

        `again`: at the same `theta` as the last time, so that their modes are known, and not sought.
        """
        values = np.zeros(self.n_clusters)
        self._call(theta, part, 0, again=again, values=values)
        return self._unweighted(values, part)

    def _unweighted(self, values: Array, part: VectorPart) -> Array:
        at = slice(None) if part.clusters is None else part.clusters
        values, weights = values[at], self.weights[at]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(weights == 0.0, 0.0, values / weights))

    def sums(self, theta: Array, part: VectorPart) -> ClusterSums:
        """What a part's points say of each of its clusters."""
        m, d = self.n_clusters, self.n_effects
        values, means, covariances = np.zeros(m), np.zeros((m, d)), np.zeros((m, d, d))
        shares = np.zeros((m, part.points.core.kinds))
        self._call(theta, part, 0, values=values, means=means, covariances=covariances, shares=shares)
        at = slice(None) if part.clusters is None else part.clusters
        places = part.places or Places(self._modes[at].copy(), self._factors[at].copy())
        return ClusterSums(self._unweighted(values, part), means[at], covariances[at], shares[at], places)

    def _part(self, theta: Array, part: VectorPart, order: int) -> Evaluation:
        follows = part.places is None
        if order < 2 or part.second_derivatives:
            return self._call(theta, part, order, precise=follows and not part.points.fine)
        at = self._call(theta, part, 1, precise=True)
        rows = []
        for k in range(self.n_parameters):
            move = np.zeros(self.n_parameters)
            move[k] = _SCORE_STEP * max(1.0, abs(float(theta[k])))
            ahead, behind = (self._call(theta + side * move, part, 1, precise=True).score for side in (1.0, -1.0))
            rows.append((ahead - behind) / (2.0 * move[k]))
        hessian = np.array(rows)
        return replace(at, hessian=0.5 * (hessian + hessian.T))

    def _call(
        self,
        theta: Array,
        part: VectorPart,
        order: int,
        *,
        precise: bool = False,
        again: bool = False,
        **found: Array,
    ) -> Evaluation:
        """What the core says; once more from where nothing is known, where the last modes were no place to begin."""
        before = {name: array.copy() for name, array in found.items()}
        at = self._called(theta, part, order, precise=precise, again=again, **found)
        if part.places is not None or again or is_place(at.value, self._modes):
            return at
        for name, array in found.items():
            array[...] = before[name]
        self._modes[...] = self._factors[...] = 0.0
        at = self._called(theta, part, order, precise=precise, again=False, **found)
        if not is_place(at.value, self._modes):
            self._modes[...] = self._factors[...] = 0.0
        return at

    def _called(
        self,
        theta: Array,
        part: VectorPart,
        order: int,
        *,
        precise: bool,
        again: bool,
        values: Array | None = None,
        scores: Array | None = None,
        means: Array | None = None,
        covariances: Array | None = None,
        shares: Array | None = None,
    ) -> Evaluation:
        q = self.n_parameters
        score, hessian = np.zeros(q), np.zeros((q, q))
        centres, factors = self._modes, self._factors
        if part.places is not None:
            at = slice(None) if part.clusters is None else part.clusters
            centres, factors = np.zeros_like(centres), np.zeros_like(factors)
            centres[at], factors[at] = part.places.centres, part.places.factors
        value = _core.vector(
            self._problem,
            self.n_coefficients,
            self._effects,
            self._row,
            self._col,
            np.ascontiguousarray(theta, dtype=np.float64),
            part.points.core,
            part.places is None and not again,
            precise,
            centres,
            factors,
            order,
            part.clusters,
            score,
            hessian,
            values,
            scores,
            means,
            covariances,
            shares,
            self.threads,
        )
        return Evaluation(value, score, hessian)


def is_place(value: float, *modes: Array) -> bool:
    """Whether searches for modes may begin where the last have ended; where integrands overflow they end anywhere."""
    furthest = max(np.abs(each).max(initial=0.0) for each in modes)
    return bool(np.isfinite(value) and furthest <= _FURTHEST_MODE)


def joined_columns(X: Array, Z: Array) -> tuple[Array, NDArray[np.int64]]:
    """The columns of X, and those of Z that are not among them; and where the columns of Z are."""
    columns, places = [X[:, k] for k in range(X.shape[1])], []
    for k in range(Z.shape[1]):
        same = [i for i, column in enumerate(columns) if _same(column, Z[:, k])]
        if not same:
            columns.append(Z[:, k])
        places.append(same[0] if same else len(columns) - 1)
    joined = np.empty((len(X), len(columns))) if len(columns) > X.shape[1] else X
    if joined is not X:
        joined[:, : X.shape[1]] = X
        for k in range(X.shape[1], len(columns)):
            joined[:, k] = columns[k]
    return np.ascontiguousarray(joined, dtype=np.float64), np.array(places, dtype=np.int64)


def _same(one: Array, other: Array) -> bool:
    return np.array_equal(one[:_ROWS_SEEN_FIRST], other[:_ROWS_SEEN_FIRST]) and np.array_equal(one, other)
