"""Passes over units at given effects outside: what each adds to f, its derivatives, and contractions of these.

Row by row the core gives derivatives in the linear predictor; here they become derivatives in theta and in v. A row of
B has z' L of each term in the places of its level, so that d lambda / dv = B and d lambda / dL_ab = z_a v_b.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.likelihood.crossed.layout import Layout, OutsideTerm, free_entries, laid_out
from clusterglm.likelihood.crossed.posterior import UnitMoments
from clusterglm.likelihood.evaluation import ClusterArrays, core_problem
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorLikelihood, VectorPart, VectorPlan, joined_columns
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import crossed_effects
from clusterglm.model.response.base import Response

_CELLS_AT_ONCE = 120_000  # numbers of blocks of second derivatives
_FAR_FROM_IT = 8.0  # what squares of effects may be times their mean, or the other way about, for a step
_MOST_PIECES = 16  # parts whose pieces are remembered
_VALUE, _SCORE, _CURVATURE, _CONTRACT, _DIRECTION = range(5)  # `CrossedTask` of the core


def is_summit(part: VectorPart) -> bool:
    """Whether a part takes Laplace's approximation for its units' own effects too."""
    return len(part.points) == 1 and part.places is None


@dataclass(frozen=True, eq=False)
class Gradient:
    """First derivatives of the units' sum.

    Parameters
    ----------
    place : ndarray, shape (size of v,)
        Where they are.
    values : ndarray, shape (m,)
        Units' log-integrals, weighted.
    v : ndarray, shape (size of v,)
        With those of -v'v / 2.
    rows : ndarray, shape (n,)
        Derivatives in the rows' linear predictors.
    entries : ndarray, shape (m, k)
        Units' derivatives in the free entries of their factor.
    """

    place: Array
    values: Array
    v: Array
    rows: Array
    entries: Array


@dataclass(frozen=True, eq=False)
class Contraction:
    """Minus half the derivative of tr(T (-f_vv)), T held, for symmetric T.

    Parameters
    ----------
    theta : ndarray, shape (q,)
        In theta, v held.
    v : ndarray, shape (size of v,)
        In v.
    kappa : ndarray, shape (n,)
        In the rows' linear predictors.
    first : ndarray, shape (n,)
        Derivatives of the units' sum there, for comparison.
    """

    theta: Array
    v: Array
    kappa: Array
    first: Array


class Inside:
    """Units, and the terms outside that cross them.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Columns with coefficients.
    Z : ndarray, shape (n, d)
        Columns with effects of the units.
    data : ClusterArrays
        Everything else; its clusters are the units.
    response : Response
    free : ndarray of bool, shape (d, d)
        Free entries of the units' factor.
    terms : sequence of OutsideTerm
    threads : int
    """

    def __init__(
        self,
        X: Array,
        Z: Array,
        data: ClusterArrays,
        response: Response,
        free: NDArray[np.bool_],
        terms: Sequence[OutsideTerm],
        threads: int,
    ) -> None:
        self.X, self.Z, self.data, self.terms, self.threads = X, Z, data, tuple(terms), threads
        self.n_units, self.n_rows, self.n_effects = len(data.starts) - 1, len(X), Z.shape[1]
        self.layout: Layout = laid_out(data.starts, terms)
        self.parameters = crossed_effects(X.shape[1], int(free.sum()), [int(term.free.sum()) for term in terms])
        self.n_own = X.shape[1] + int(free.sum())
        # The core and the choice of points look at this array, which holds what v adds.
        self._offset = np.ascontiguousarray(data.offset, dtype=np.float64)
        self._moved = _Moved(data, self._offset.copy())
        self._where: tuple[Array, Array] | None = None  # theta and v that it is of
        self._kept: tuple[Array, tuple[Array, Array] | None] = np.zeros(2 * self.n_rows), None  # of summits, and where
        self.given = VectorLikelihood(X, Z, self._moved, response, free, threads)
        self.summit: VectorPlan = (VectorPart(hermite_points(1, self.n_effects)),)
        columns, self._effects = joined_columns(X, Z)
        self._problem = core_problem(columns, self._moved, response)
        row, col = np.nonzero(free)
        self._row, self._col = row.astype(np.int64), col.astype(np.int64)
        self._outer = free_entries(self.layout.columns, terms)
        m, d = self.n_units, self.n_effects
        self._modes, self._factors = np.zeros((m, d)), np.zeros((m, d, d))
        self._slopes: tuple[Array, Array] | None = None
        self._pieces: dict[int, tuple[VectorPart, list[VectorPart]]] = {}

    @property
    def last_places(self) -> tuple[Array, Array]:
        """Where points that follow the units were last laid: modes, shape (m, d), and factors, shape (m, d, d)."""
        return self._modes, self._factors

    def factors(self, theta: Array) -> list[Array]:
        """L of each term outside."""
        found = []
        for term, entries in zip(self.terms, self.parameters.split(theta)[2:], strict=True):
            L = np.zeros(term.free.shape)
            L[term.free] = entries
            found.append(L)
        return found

    def slopes(self, theta: Array) -> Array:
        """Rows of B, shape (n, w), which many passes at one theta share."""
        if self._slopes is None or not np.array_equal(self._slopes[0], theta):
            pairs = zip(self.terms, self.factors(theta), strict=True)
            found = np.ascontiguousarray(np.concatenate([term.Z @ L for term, L in pairs], axis=1))
            self._slopes = theta.copy(), found
        return self._slopes[1]

    def own(self, theta: Array) -> Array:
        """The parameters of the units alone."""
        return np.ascontiguousarray(theta[: self.n_own], dtype=np.float64)

    def move(self, theta: Array, v: Array) -> Array:
        """Set the rows' offsets to what they are at v; returns the rows of B."""
        slopes, last = self.slopes(theta), self._where
        if last is None or not (np.array_equal(last[0], theta) and np.array_equal(last[1], v)):
            self.layout.spread(slopes, v, self._offset, self._moved.offset)
            self._where = theta.copy(), v.copy()
        return slopes

    def of_rows(self, predictor: Array) -> tuple[Array, Array]:
        """First and second derivatives of the rows' weighted log-probabilities at linear predictors, shape (n,)."""
        modes, nothing, slopes = self._modes.copy(), np.zeros(len(self.parameters)), np.zeros(self.layout.columns.shape)
        first, second, flat = np.zeros((3, self.n_rows))
        entries = self._no_entries()
        self._moved.offset[:], self._where = predictor, None
        at = nothing, slopes, self.summit
        self._pass(_SCORE, *at, row_results=first, entries=entries)
        self._pass(_DIRECTION, *at, direction=flat + 1.0, kappa=flat, row_results=second, entries=entries)
        self._modes[:] = modes
        return first, second

    def predictor(self, theta: Array, v: Array, plan: VectorPlan) -> Array:
        """Linear predictors of the rows at v and about the modes of the units' effects there, shape (n,)."""
        self.gradient(theta, v, plan)
        u = np.repeat(self._centres(plan) @ self.given.factor(self.own(theta)).T, np.diff(self.data.starts), axis=0)
        return np.asarray(self._moved.offset + self.X @ theta[: self.X.shape[1]] + (self.Z * u).sum(axis=1))

    def values(self, theta: Array, v: Array, plan: VectorPlan) -> Array:
        """Units' (weighted) log-integrals, shape (m,)."""
        slopes, values = self.move(theta, v), np.zeros(self.n_units)
        self._pass(_VALUE, theta, slopes, plan, values=values)
        return values

    def gradient(self, theta: Array, v: Array, plan: VectorPlan, valued: bool = True) -> Gradient:
        """First derivatives at v; `valued`: with values, which of units at their summits take as long again."""
        slopes = self.move(theta, v)
        values, rows, entries = np.zeros(self.n_units), np.zeros(self.n_rows), self._no_entries()
        wanted = values if valued else None
        self._pass(_SCORE, theta, slopes, plan, values=wanted, row_results=rows, entries=entries)
        return Gradient(v, values, self.layout.gather(slopes, rows) - v, rows, entries)

    def in_theta(self, at: Gradient) -> Array:
        """A gradient in theta, shape (q,)."""
        return self._in_theta(at.rows, at.entries.sum(axis=0), at.place)

    def by_component(self, at: Gradient) -> Array:
        """A gradient in theta component by component, shape (C, q)."""
        count = len(self.layout.components)
        if count == 1:
            return self.in_theta(at)[None]
        of_rows = np.repeat(self.layout.of_units, np.diff(self.data.starts))
        parts = [self.X * at.rows[:, None]]
        outside = [(of.term.Z[:, of.a] * at.rows) * at.place[of.places] for of in self._outer]
        whole = np.column_stack([*parts, *outside]) if outside else parts[0]
        sums = np.stack([np.bincount(of_rows, weights=column, minlength=count) for column in whole.T], axis=1)
        own = np.zeros((count, at.entries.shape[1]))
        np.add.at(own, self.layout.of_units, at.entries)
        p = self.X.shape[1]
        return np.concatenate([sums[:, :p], own, sums[:, p:]], axis=1)

    def curvature(self, theta: Array, v: Array, plan: VectorPlan) -> tuple[Array, Array]:
        """-f_vv, the lower triangles of all components' matrices, one after another; logs of the units' integrals.

        The latter, shape (m,), are what Laplace's approximation over their own effects takes from their log-integrals.
        """
        slopes, flat, logs = self.move(theta, v), np.zeros(int(self.layout.cells[-1])), np.zeros(self.n_units)
        for matrix in self.layout.matrices(flat):
            np.fill_diagonal(matrix, 1.0)
        for part in plan:
            for some in self._at_once(part):
                self._pass(_CURVATURE, theta, slopes, (some,), matrices=flat, logs=logs)
        return flat, logs

    def _at_once(self, part: VectorPart) -> list[VectorPart]:
        """A part in pieces whose units' blocks of second derivatives fit into a processor's memory, where it is one's.

        The core keeps blocks until all are there, and adds them up in the order of the units: pieces change no bit.
        """
        if self.threads > 1 or part.places is not None or is_summit(part):
            return [part]
        known = self._pieces.get(id(part))
        if known is None or known[0] is not part:
            units = np.arange(self.n_units) if part.clusters is None else part.clusters
            cells = np.cumsum(np.diff(self.layout.touched_starts)[units] ** 2)
            ends = np.flatnonzero(np.diff(cells // _CELLS_AT_ONCE)) + 1
            known = part, [replace(part, clusters=some) for some in np.split(units, ends)]
            self._pieces = {id(part): known} if len(self._pieces) > _MOST_PIECES else {**self._pieces, id(part): known}
        return known[1]

    def contract(
        self, theta: Array, v: Array, plan: VectorPlan, T: Array, moments: UnitMoments | None = None
    ) -> Contraction:
        """Minus half the derivative of tr(T (-f_vv)) (of log-determinants of units' own too, where T is the inverse).

        Parameters
        ----------
        T : ndarray
            Symmetric, matrices of all components one after another, of which lower triangles are looked at.
        moments : UnitMoments, optional
            Is filled.
        """
        slopes = self.move(theta, v)
        (kappa, pulls, first), direct = np.zeros((3, self.n_rows)), np.zeros_like(slopes)
        entries = self._no_entries()
        for part in plan:
            self._pass(
                _CONTRACT,
                theta,
                slopes,
                (part,),
                matrices=T,
                row_results=kappa,
                pulls=pulls,
                entries=entries,
                direct=direct,
                first=first,
                moments=moments,
            )
            if not is_summit(part):
                at = self._rows_of(part)
                pulls[at] = kappa[at]
        in_theta = self._in_theta(kappa, entries.sum(axis=0), v, direct)
        return Contraction(in_theta, self.layout.gather(slopes, pulls), kappa, first)

    def along(self, theta: Array, v: Array, plan: VectorPlan, y: Array, kappa: Array, first: Array) -> Array:
        """y'f_v,theta; of units of which only the summit counts also what `kappa` of a contraction pulls them by.

        `first`: first derivatives of the rows there.
        """
        slopes = self.move(theta, v)
        rows, entries = np.zeros(self.n_rows), self._no_entries()
        direction = self.layout.spread(slopes, y)
        self._pass(_DIRECTION, theta, slopes, plan, direction=direction, kappa=kappa, row_results=rows, entries=entries)
        found = self._in_theta(rows, entries.sum(axis=0), v)
        return found + self._in_outer(first, y)

    def information(
        self, theta: Array, v: Array, plan: VectorPlan, rows: Array, solve: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """Average information: what observed and expected information of a linear mixed model have in common.

        With the weights of the rows that there are at v, derivatives x of the predictor in a coefficient, and working
        variates q, half the derivative of the covariance of all rows times their scores, in an entry of a factor, it is
        made of x'Px, 2 x'Pq and 2 q'Pq, P the inverse of that covariance (Gilmour, Thompson and Cullis 1995).

        Parameters
        ----------
        rows : ndarray, shape (n,)
            First derivatives of the rows, of `gradient`.
        solve : callable
            g -> (-f_vv)^-1 g.

        Returns
        -------
        information : ndarray, shape (q, q)
        follows : ndarray, shape (size of v, q)
            dv^/dtheta where v is the mode v^, exact but for the units' own factor where these have points.
        """
        slopes, columns, p = self.move(theta, v), self._working(theta, v, plan, rows), self.X.shape[1]
        along, seen, kappa = np.zeros_like(columns), np.zeros((self.layout.size, len(columns))), np.zeros(self.n_rows)
        for k, column in enumerate(columns):
            entries = self._no_entries()
            self._pass(
                _DIRECTION, theta, slopes, plan, direction=column, kappa=kappa, row_results=along[k], entries=entries
            )
            seen[:, k] = self.layout.gather(slopes, along[k])
        solved = solve(seen)
        found = -(columns @ along.T + seen.T @ solved)
        found[p:] *= 2.0
        found[:p, p:] *= 2.0
        solved[:, p:] *= 2.0
        for k, of in enumerate(self._outer, self.n_own):
            solved[:, k] += np.bincount(of.places, of.term.Z[:, of.a] * rows, self.layout.size)
        return 0.5 * (found + found.T), solved

    def towards_expected(self, theta: Array, v: Array, plan: VectorPlan, score: Array) -> Array:
        """What the average information is to be multiplied by, shape (q,), for steps that end near the maximum.

        Of effects s e, e standard normal, of which the data tell a share w, the likelihood is that of squares whose
        mean is proportional to s^2 + c: the step by the expected information in s^2 leads to its maximum, but that by
        the average information in s ends short of it, or beyond. The score says what the squares are beside their
        mean; entries of a factor count as those of the effect of their column.
        """
        weights, p = self.data.cluster_weights, self.X.shape[1]
        groups = [(self._col, weights @ self._centres(plan) ** 2, float(weights.sum()))]
        first = 0
        for term in self.terms:
            last = first + term.n_levels * term.n_effects
            squares = np.square(v[first:last]).reshape(-1, term.n_effects).sum(axis=0)
            groups.append((np.nonzero(term.free)[1], squares, float(term.n_levels)))
            first = last
        found, first = np.ones(len(score)), p
        for columns, squares, count in groups:
            at = slice(first, first + len(columns))
            told = np.maximum(squares - np.bincount(columns, theta[at] * score[at], len(squares)), 1e-3 * count)
            ratio = np.clip(squares / told, 1.0 / _FAR_FROM_IT, _FAR_FROM_IT)
            ahead = np.maximum(1.0 + (ratio - 1.0) * np.maximum(count / told, 1.0), 1.0 / _FAR_FROM_IT)
            found[at] = ((1.0 + np.sqrt(ahead)) / (2.0 * ratio))[columns]
            first = at.stop
        return found

    def growth(self, before: Array, after: Array) -> Array:
        """By what each effect's own entry of its factor is multiplied from one theta to another, shape (size of v,)."""
        found = []
        for term, old, new in zip(self.terms, self.factors(before), self.factors(after), strict=True):
            a, b = np.diagonal(old), np.diagonal(new)
            found.append(np.tile(np.divide(b, a, out=np.ones_like(a), where=a != 0.0), term.n_levels))
        return np.concatenate(found)

    def _working(self, theta: Array, v: Array, plan: VectorPlan, rows: Array) -> Array:
        """Columns of X, and the working variates, shape (q, n)."""
        starts, L = self.data.starts, self.given.factor(self.own(theta))
        with np.errstate(divide="ignore", invalid="ignore"):
            own = np.where(rows == 0.0, 0.0, rows / np.repeat(self.data.cluster_weights, np.diff(starts)))
        u, found = np.repeat(self._centres(plan), np.diff(starts), axis=0), [*self.X.T]
        slopes = self.Z @ L
        for row, col in zip(self._row, self._col, strict=True):
            pulls = np.repeat(np.add.reduceat(self.Z[:, row] * own, starts[:-1]), np.diff(starts))
            found.append(0.5 * (self.Z[:, row] * u[:, col] + slopes[:, col] * pulls))
        factors = dict(zip(self.terms, self.factors(theta), strict=True))
        for of in self._outer:
            z, levels = of.term.Z[:, of.a], of.term.levels
            pulls = np.bincount(levels, weights=z * rows)[levels]
            found.append(0.5 * (z * v[of.places] + (of.term.Z @ factors[of.term])[:, of.b] * pulls))
        return np.ascontiguousarray(found)

    def _centres(self, plan: VectorPlan) -> Array:
        """About where each unit's effects are, shape (m, d)."""
        found = self._modes.copy()
        for part in plan:
            if part.places is not None:
                found[slice(None) if part.clusters is None else part.clusters] = part.places.centres
        return found

    def _rows_of(self, part: VectorPart) -> NDArray[np.intp] | slice:
        if part.clusters is None:
            return slice(None)
        chosen = np.zeros(self.n_units, dtype=np.bool_)
        chosen[part.clusters] = True
        return np.flatnonzero(np.repeat(chosen, np.diff(self.data.starts)))

    def no_moments(self) -> UnitMoments:
        """Of no unit yet."""
        m, d, touched = self.n_units, self.n_effects, len(self.layout.touched)
        return UnitMoments(*(np.zeros(s) for s in ((m, d), (m, d, d), (m, d, d), (touched, d), (m, d))))

    def _no_entries(self) -> Array:
        return np.zeros((self.n_units, len(self._row)))

    def _in_outer(self, rows: Array, v: Array, direct: Array | None = None) -> Array:
        """Derivatives in the factors outside: sums of z_a (rows v_b + direct_b); those in other parameters are 0."""
        found = np.zeros(self.n_own + len(self._outer))
        for k, of in enumerate(self._outer, self.n_own):
            by = v.take(of.places)
            by *= rows
            if direct is not None:
                by += direct[:, of.column]
            found[k] = of.term.Z[:, of.a] @ by
        return found

    def _in_theta(self, rows: Array, entries: Array, v: Array, direct: Array | None = None) -> Array:
        found = self._in_outer(rows, v, direct)
        found[: self.n_own] = np.concatenate([self.X.T @ rows, entries])
        return found

    def _pass(
        self,
        task: int,
        theta: Array,
        slopes: Array,
        plan: VectorPlan,
        moments: UnitMoments | None = None,
        **arrays: Array | None,
    ) -> None:
        own, (kept, at_last) = self.own(theta), self._kept
        keeps = task in (_CONTRACT, _DIRECTION) and len(plan) == 1 and is_summit(plan[0])
        known = task == _DIRECTION and keeps and self._where is not None and self._where is at_last
        self._kept = kept, None  # passes leave modes of their own
        for part in plan:
            centres, factors, follow = self._modes, self._factors, part.places is None
            if part.places is not None:
                at = slice(None) if part.clusters is None else part.clusters
                centres, factors = np.zeros_like(centres), np.zeros_like(factors)
                centres[at], factors[at] = part.places.centres, part.places.factors
            _core.crossed(
                self._problem,
                self.layout.outside,
                slopes,
                self.X.shape[1],
                self._effects,
                self._row,
                self._col,
                own,
                None if is_summit(part) else part.points.core,
                follow,
                follow and not part.points.fine,
                centres,
                factors,
                task,
                part.clusters,
                kept=kept if keeps else None,
                known=known,
                **arrays,
                **({} if moments is None else vars(moments)),
                threads=self.threads,
            )
        self._kept = kept, self._where if keeps else None


@dataclass(frozen=True, eq=False)
class _Moved:
    """Data whose offsets are an array of their own."""

    data: ClusterArrays
    offset: Array

    @property
    def starts(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return self.data.starts

    @property
    def a(self) -> Array:
        return self.data.a

    @property
    def b(self) -> Array:
        return self.data.b

    @property
    def cluster_weights(self) -> Array:
        return self.data.cluster_weights
