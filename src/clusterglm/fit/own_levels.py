"""Integrals over several random effects where the response has parameters of its own.

At given working values psi its kernel rows are rows of a plain response, which all integrals of `levels.py` serve:
`entries` are coefficients, psi, and the free entries of L. Shifts of the linear predictor are coefficients of columns,
in which derivatives are exact. Those in psi by which a kernel's numbers move are central differences: of the value
over four steps for the score and for the diagonal of the Hessian, of the exact score for all that is beside it. Points
that count as fine stay meanwhile where they lie, so that nothing but psi moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.blocks.store import BlockArrays
from clusterglm.data.effects import Children, Effects
from clusterglm.fit.levels import AnyPlan, Chosen, PlacedIntegrals, integrals
from clusterglm.fit.own_rows import alike, kernel_starts
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.likelihood.moments import Pairs
from clusterglm.likelihood.own import through_coordinates
from clusterglm.likelihood.vector.vector import VectorPosterior
from clusterglm.model.arrays import Array
from clusterglm.model.response.own.base import Coordinates, KernelRows, OwnParameters, Terms

_STEP_OF_PSI = 2e-3  # of differences in psi, where there is room for four of them
_WEIGHTS_OF_SLOPE = (1.0 / 12.0, -2.0 / 3.0, 0.0, 2.0 / 3.0, -1.0 / 12.0)  # at -2, -1, 0, 1, 2 steps
_WEIGHTS_OF_BEND = (-1.0 / 12.0, 4.0 / 3.0, -2.5, 4.0 / 3.0, -1.0 / 12.0)
_LEAST_ROOM = 1e-6  # of a working value, in which differences may still be taken


class AtPsi(Protocol):
    """Data whose kernel rows depend on k working values psi, and what log-probabilities have besides these rows."""

    by_shifts: bool
    """Whether they do so by shifts of the linear predictor alone, so that their numbers stay."""
    n_working: int
    data: ClusterArrays

    def inside(self, psi: Array) -> Array:
        """Working values no further out than their kernel keeps its digits."""

    def start(self) -> Array:
        """Any working values."""

    def rows(self, psi: Array) -> KernelRows:
        """Kernel rows at psi."""

    def coordinates(self, psi: Array) -> Coordinates:
        """What these depend on at psi, with derivatives."""

    def terms(self, psi: Array) -> Terms:
        """What the log-likelihood has besides that of kernel rows."""

    def of_clusters(self, psi: Array) -> tuple[Array, Array]:
        """The same of each cluster, and its derivatives, shape (m,) and (m, k)."""


class OwnData:
    """Data of a response with parameters of its own, the same of all rows.

    Parameters
    ----------
    data : ClusterArrays
    response : OwnParameters
        Whatever its values.
    """

    def __init__(self, data: ClusterArrays, response: OwnParameters) -> None:
        self.data, self.response = data, response
        self.by_shifts, self.n_working = response.by_shifts, len(response.own)
        self._alike = alike(response, data)

    def inside(self, psi: Array) -> Array:
        return np.clip(psi, self.response.lowest - 1.0, self.response.highest + 1.0)

    def start(self) -> Array:
        own, data = self.response, self.data
        return own.working if own.values else own.start(np.ones(len(data.a)), data.a, data.b)

    def rows(self, psi: Array) -> KernelRows:
        return self.response.at(psi).kernel_rows(self.data.a, self.data.b)

    def coordinates(self, psi: Array) -> Coordinates:
        return self.response.coordinates(psi)

    def terms(self, psi: Array) -> Terms:
        return self.response.terms(psi, *self._alike)

    def of_clusters(self, psi: Array) -> tuple[Array, Array]:
        data, starts = self.data, self.data.starts[:-1]
        values = np.add.reduceat(self.response.at(psi).log_terms(data.a, data.b), starts)
        first = np.add.reduceat(self.response.terms(psi, data.a, data.b).first, starts, axis=0)
        return data.cluster_weights * values, data.cluster_weights[:, None] * first


class OwnIntegrals:
    """Sums of clusters' log-integrals, normalised; see `Integrals`.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    Z : ndarray, shape (n, q)
        In the units in which the effects are.
    effects : Effects
    given : AtPsi
    threads : int
    """

    learned, nearly_quadratic = None, False

    def __init__(self, X: Array, Z: Array, effects: Effects, given: AtPsi, threads: int) -> None:
        self.threads, self.given = threads, given
        self._X, self._Z, self._effects, self._data = X, Z, effects, given.data
        self._p, self._k = int(X.shape[1]), given.n_working
        self._memory: tuple[Array, ...] | None = None
        self._whole: tuple[Array, ...] | None = None  # kernel columns, which stay as they are
        self._last: tuple[Array, PlacedIntegrals] | None = None

    # At given psi ----------------------------------------------------------------------------------------------------

    def at(self, psi: Array) -> PlacedIntegrals:
        """Those of kernel rows at psi, in coefficients, those of the kernel's columns among them, and entries of L."""
        key = psi[:0] if self.given.by_shifts else psi
        if self._last is None or not np.array_equal(self._last[0], key):
            self._last = key.copy(), self.beside(psi)
        return self._last[1]

    def beside(self, psi: Array) -> PlacedIntegrals:
        """Those of kernel rows at psi, new ones, which begin where others have ended."""
        data = self._data
        rows = self.given.rows(psi)
        if self._whole is None:
            X = _of(rows, rows.sign * self._X)
            X = X if rows.columns is None else np.hstack([X, rows.columns])
            self._whole = np.ascontiguousarray(X), np.ascontiguousarray(_of(rows, rows.sign * self._Z))
        X, Z = self._whole
        offset = _of(rows, rows.sign * data.offset) + (rows.shift if rows.columns is None else 0.0)
        starts = kernel_starts(data.starts, rows)
        arrays = BlockArrays(starts, rows.a, rows.b, np.ascontiguousarray(offset), data.cluster_weights)
        made = integrals(X, Z, kernel_effects(self._effects, rows, Z), arrays, rows.response, self.threads)
        if self._memory is not None:
            made.remember(tuple(part.copy() for part in self._memory))
        return made

    def split(self, entries: Array) -> tuple[Array, Array, Array]:
        """Coefficients, psi no further out than their kernel keeps its digits, and the entries of L."""
        beta, psi, free = np.split(entries, [self._p, self._p + self._k])
        return beta, self.given.inside(psi), free

    def inner(self, entries: Array) -> tuple[PlacedIntegrals, Array]:
        """The integrals at the psi of some entries, and what they take in the place of these."""
        beta, psi, free = self.split(entries)
        likelihood = self.at(psi)
        assert self._whole is not None
        shifts = self.given.coordinates(psi).value[: self.n_columns]
        return likelihood, np.concatenate([beta, shifts, free])

    @property
    def n_columns(self) -> int:
        """Columns of the kernel, whose coefficients are the first of its coordinates."""
        assert self._whole is not None
        return int(self._whole[0].shape[1]) - self._p

    def _any(self) -> PlacedIntegrals:
        """The integrals where they are, of which something is asked that does not depend on psi."""
        if self._last is None:
            self.at(self.given.start())
        assert self._last is not None
        return self._last[1]

    # The likelihood --------------------------------------------------------------------------------------------------

    def evaluate(self, entries: Array, plan: AnyPlan, order: int = 2) -> Evaluation:
        return self._evaluated(entries, plan, order, lambda inner, at: inner.evaluate(at, plan, order))

    def similar(self, entries: Array, plan: AnyPlan) -> Evaluation:
        return self._evaluated(entries, plan, 2, lambda inner, at: inner.similar(at, plan))

    def glanced(self, entries: Array, plan: AnyPlan, above: float = -np.inf) -> float:
        return self.evaluate(entries, plan, 0).value

    def _evaluated(
        self, entries: Array, plan: AnyPlan, order: int, evaluate: Callable[[PlacedIntegrals, Array], Evaluation]
    ) -> Evaluation:
        _, psi, _ = self.split(entries)
        terms, nothing = self.terms(psi), (np.zeros(len(entries)), np.zeros((len(entries), len(entries))))
        if not np.isfinite(terms.value):
            return Evaluation(-np.inf, *nothing)
        likelihood, at = self.inner(entries)
        found = evaluate(likelihood, at)
        self._memory = likelihood.remember(None)
        if order == 0:
            return Evaluation(found.value + terms.value, *nothing)
        coordinates = self.given.coordinates(psi)
        if not self.given.by_shifts:
            held = likelihood.held_places(plan)
            found = self._with_differences(found, at, psi, held, order)
            coordinates = _beside(coordinates, self.n_columns, psi)
        return self._in_order(through_coordinates(found, self._p, coordinates, terms))

    def _in_order(self, there: Evaluation) -> Evaluation:
        """In (coefficients, psi, entries of L), from (coefficients, entries of L, psi)."""
        order = self._order(len(there.score))
        return Evaluation(there.value, there.score[order], there.hessian[np.ix_(order, order)])

    def _order(self, q: int) -> NDArray[np.intp]:
        return np.concatenate([np.arange(self._p), np.arange(q - self._k, q), np.arange(self._p, q - self._k)])

    def _with_differences(self, here: Evaluation, at: Array, psi: Array, plan: AnyPlan, order: int) -> Evaluation:
        """With derivatives in psi by which the kernel's numbers move, behind those in the coefficients."""
        k, q = self._k, len(at)
        steps, moves = self.steps(psi), np.eye(k)
        slopes, squares, across = np.zeros(k), np.zeros((k, k)), np.zeros((k, q))
        if order > 0:
            near = np.zeros((k, 2))
            for j in range(k):
                line = [self._at_beside(at, psi + t * steps[j] * moves[j], plan, order - 1) for t in (-2, -1, 1, 2)]
                values = np.array([line[0].value, line[1].value, here.value, line[2].value, line[3].value])
                values -= here.value
                slopes[j] = values @ _WEIGHTS_OF_SLOPE / steps[j]
                squares[j, j] = values @ _WEIGHTS_OF_BEND / steps[j] ** 2
                near[j] = values[[1, 3]]
                if order > 1:
                    scores = [line[0].score, line[1].score, here.score, line[2].score, line[3].score]
                    across[j] = np.array(_WEIGHTS_OF_SLOPE) @ scores / steps[j]
            for i, j in combinations(range(k), 2) if order > 1 else ():
                move = steps[i] * moves[i] + steps[j] * moves[j]
                both = [self._at_beside(at, psi + side * move, plan, 0).value - here.value for side in (-1.0, 1.0)]
                bend = sum(both) - near[i].sum() - near[j].sum()
                squares[i, j] = squares[j, i] = bend / (2.0 * steps[i] * steps[j])
        where = self._p + self.n_columns
        old = np.concatenate([np.arange(where), np.arange(where + k, q + k)])
        new = np.arange(where, where + k)
        score, hessian = np.zeros(q + k), np.zeros((q + k, q + k))
        score[old], score[new] = here.score, slopes
        hessian[np.ix_(old, old)], hessian[np.ix_(new, new)] = here.hessian, squares
        hessian[np.ix_(new, old)], hessian[np.ix_(old, new)] = across, across.T
        return Evaluation(here.value, score, hessian)

    def _at_beside(self, at: Array, psi: Array, plan: AnyPlan, order: int) -> Evaluation:
        """The value, and derivatives in all but psi, with the kernel's numbers at another psi."""
        return self.beside(psi).evaluate(at, plan, order)

    def terms(self, psi: Array) -> Terms:
        """What the log-likelihood has besides that of kernel rows; of all observations."""
        return self.given.terms(psi)

    def steps(self, psi: Array) -> Array:
        """Steps of differences, shape (k,): small beside how far each working value may go."""
        found, moves = np.ones(len(psi)), np.eye(len(psi))
        for j, move in enumerate(moves):
            while found[j] > _LEAST_ROOM and not all(
                np.isfinite(self.terms(psi + side * found[j] * move).value) for side in (-1.0, 1.0)
            ):
                found[j] *= 0.5
        return _STEP_OF_PSI * found

    def cluster_values(self, entries: Array, plan: AnyPlan) -> Array:
        likelihood, at = self.inner(entries)
        return likelihood.cluster_values(at, plan) + self.given.of_clusters(self.split(entries)[1])[0]

    def unit_scores(self, entries: Array, plan: AnyPlan) -> Array:
        likelihood, at = self.inner(entries)
        _, psi, _ = self.split(entries)
        scores, coordinates, p = likelihood.unit_scores(at, plan), self.given.coordinates(psi), self._p
        self._memory = likelihood.remember(None)
        if not self.given.by_shifts:
            held, steps = likelihood.held_places(plan), self.steps(psi)
            columns = []
            for step, move in zip(steps, np.eye(self._k), strict=True):
                line = [self.beside(psi + t * step * move).cluster_values(at, held) for t in (-2, -1, 1, 2)]
                columns.append(
                    np.array([_WEIGHTS_OF_SLOPE[0], _WEIGHTS_OF_SLOPE[1], _WEIGHTS_OF_SLOPE[3], _WEIGHTS_OF_SLOPE[4]])
                    @ line
                    / step
                )
            scores = np.insert(scores, [p + self.n_columns] * self._k, np.array(columns).reshape(self._k, -1).T, axis=1)
            coordinates = _beside(coordinates, self.n_columns, psi)
        before, own, behind = np.split(scores, [p, p + len(coordinates.value)], axis=1)
        return np.hstack([before, own @ coordinates.first + self.given.of_clusters(psi)[1], behind])

    # Points ----------------------------------------------------------------------------------------------------------

    @property
    def dimensions(self) -> int:
        return self._any().dimensions

    @property
    def n_units(self) -> int:
        return self._any().n_units

    def few(self, many: bool | None = None) -> AnyPlan:
        return self._any().few(many)

    def more(self, of_sample: bool = False) -> AnyPlan | None:
        return self._any().more(of_sample)

    def pairs(self, entries: Array) -> Pairs | None:
        likelihood, at = self.inner(entries)
        return likelihood.pairs(at)

    def wide(self, entries: Array) -> AnyPlan | None:
        likelihood, at = self.inner(entries)
        return likelihood.wide(at)

    def held(self, plan: AnyPlan) -> bool:
        return self._any().held(plan)

    def by_nodes(self, nodes: int) -> AnyPlan:
        return self._any().by_nodes(nodes)

    def within(self, entries: Array, tolerance: float, among: int | None = None) -> Chosen:
        likelihood, at = self.inner(entries)
        found = likelihood.within(at, tolerance, among)
        if found.value is None:
            return found
        terms = self.terms(self.split(entries)[1])
        return replace(found, value=found.value + terms.value)

    def of_cluster(self, plan: AnyPlan, i: int) -> NoReturn:
        raise NotImplementedError("what rows have besides integrals is of all of them: see `own_several_deletion`")

    def rules(self, plan: AnyPlan) -> tuple[tuple[str, int], ...]:
        return self._any().rules(plan)

    def most(self, plan: AnyPlan) -> int:
        return self._any().most(plan)

    def remember(self, modes: tuple[Array, ...] | None) -> tuple[Array, ...]:
        found = self._any().remember(modes)
        if modes is not None:
            self._memory = found
        return found

    def at_modes(self, entries: Array) -> Array:
        likelihood, at = self.inner(entries)
        found, of = likelihood.at_modes(at), self.given.rows(self.split(entries)[1]).of
        if of is None or not self._effects.outside:
            return found
        return found[np.searchsorted(of, np.arange(len(self._X)))]  # where factors cross a row is a group of its own

    def given_data(self, entries: Array, plan: AnyPlan) -> VectorPosterior:
        likelihood, at = self.inner(entries)
        return likelihood.given_data(at, plan)


def kernel_effects(effects: Effects, rows: KernelRows, Z: Array) -> Effects:
    """The effects of kernel rows, whose columns are Z: those of the observations that they are of."""
    if rows.of is None:
        return replace(effects, Z=Z)
    of, children = rows.of, effects.children
    groupings, outside = (tuple(each.moved(of) for each in some) for some in (effects.groupings, effects.outside))
    if children is not None:
        children = Children(children.group, kernel_starts(children.starts, rows), children.labels)
    return replace(effects, Z=Z, children=children, groupings=groupings, outside=outside)


def _of(rows: KernelRows, values: Array) -> Array:
    """What observations have, of their kernel rows."""
    return values if rows.of is None else values[rows.of]


def _beside(coordinates: Coordinates, columns: int, psi: Array) -> Coordinates:
    """Coefficients of columns as they are, and psi itself in the place of what the kernel's numbers move with."""
    k = len(psi)
    return Coordinates(
        np.append(coordinates.value[:columns], psi),
        np.vstack([coordinates.first[:columns], np.eye(k)]),
        np.concatenate([coordinates.second[:columns], np.zeros((k, k, k))]),
    )
