"""Data of responses with parameters of their own as rows that the core knows, and their likelihoods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.blocks.store import BlockArrays
from clusterglm.data.prepare import ModelData
from clusterglm.engine.base import InMemory
from clusterglm.engine.block import Block, Memory
from clusterglm.fit.standardise import standardise
from clusterglm.fit.start import sigma_moments
from clusterglm.fit.sums import MarginalSums, Sums, sums_in_memory
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation, OwnArrays
from clusterglm.likelihood.integrator import AnyIntegrator, UnitLikelihood
from clusterglm.likelihood.own import through_coordinates
from clusterglm.likelihood.plan import Choice, Plan
from clusterglm.likelihood.pooled import cluster_sums, evaluate_pooled, evaluate_pooled_with_own
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.own.base import KernelRows, OwnParameters, Terms

OnBlock = Callable[[Block, Array], Evaluation]
"""A likelihood of a block at its parameters, with derivatives in its kernel's own ones too."""


def standardised(data: ModelData, response: OwnParameters, control: Control) -> Sums:
    """The data in the optimiser's columns; rows are no sums of others, so that none are merged, and none sampled."""
    return sums_in_memory(data, response, control.threads, data.n_obs + 1)


def kernel_data(data: ModelData, rows: KernelRows) -> ModelData:
    """Data with kernel rows in place of observations, for likelihoods: other arrays of observations are left alone."""
    offset = _of(rows, rows.sign * data.offset) + rows.shift
    return replace(
        data,
        X=_of(rows, rows.sign * data.X),
        a=rows.a,
        b=rows.b,
        offset=offset,
        starts=kernel_starts(data.starts, rows),
    )


def kernel_starts(starts: NDArray[np.int64], rows: KernelRows) -> NDArray[np.int64]:
    """First kernel row of each cluster, and their number, from the same of observations."""
    return starts if rows.of is None else np.asarray(np.searchsorted(rows.of, starts), dtype=np.int64)


def _of(rows: KernelRows, values: Array) -> Array:
    """What observations have, of their kernel rows."""
    return values if rows.of is None else values[rows.of]


class OwnRows:
    """The rows of a response with parameters of its own, of data in memory.

    Parameters
    ----------
    sums : Sums
        The data in the optimiser's columns, nothing merged.
    response : OwnParameters
    """

    def __init__(self, sums: Sums, response: OwnParameters) -> None:
        assert isinstance(sums.blocks, InMemory)
        self.sums = sums
        self.response, self._unit_of_psi = response.standard()
        self.blocks: InMemory = sums.blocks
        self.unit: float = sums.weights.unit
        self._block, self._memory, self._L = sums.blocks.block, Memory(), sums.standard.L
        data = self._block.data
        self._alike = alike(response, data)
        self._columns, self._centre = self._block.X, np.zeros(sums.p)
        if response.location:  # thresholds make up for what is taken off the columns
            standard = standardise(np.ascontiguousarray(self._columns / np.diag(self._L)), None, centred=True)
            self._columns, self._L = standard.X, standard.L
            self._centre = standard.centre @ standard.L
        self._X: Array | None = None  # of kernel rows, which stays as it is
        self._stays = self._kernel_block(self.response.kernel_rows(data.a, data.b)) if response.by_shifts else None

    def _kernel_block(self, rows: KernelRows) -> Block:
        """Kernel rows, with columns whose coefficients are the first of `coordinates`."""
        data = self._block.data
        if self._X is None:
            X = self._columns
            X = X if rows.sign == 1.0 and rows.of is None else _of(rows, rows.sign * X)
            self._X = X if rows.columns is None else np.ascontiguousarray(np.hstack([X, rows.columns]))
        offset = data.offset if rows.sign == 1.0 else rows.sign * data.offset
        offset = _of(rows, offset) + (rows.shift if rows.columns is None else 0.0)
        arrays = OwnArrays(
            kernel_starts(data.starts, rows), rows.a, rows.b, offset, data.cluster_weights, rows.own, rows.groups
        )
        return Block(self._X, arrays, rows.response, self._block.threads, self._memory)

    # From the user's parameters and back -----------------------------------------------------------------------------

    def inside(self, beta: Array, others: Sequence[float], psi: Array) -> Array:
        """(gamma, others, psi) for the optimiser's columns."""
        gamma, psi = np.asarray(np.linalg.solve(self._L, beta), dtype=np.float64), np.array(psi)
        if self.response.location:
            psi[: self.response.n_thresholds] -= self._centre @ gamma
        return np.concatenate([gamma, others, psi if self._unit_of_psi is None else _solved(self._unit_of_psi, psi)])

    def to_user(self, others: int) -> Array:
        """The matrix that turns (gamma, others, psi) into (beta, others, psi) of the user's columns."""
        p, k = len(self._L), len(self.response.own)
        whole = np.eye(p + others + k)
        whole[:p, :p] = self._L
        if self._unit_of_psi is not None:
            whole[p + others :, p + others :] = self._unit_of_psi
        if self.response.location:
            whole[p + others : p + others + self.response.n_thresholds, :p] = self._centre
        return whole

    def to_values(self, theta: Array) -> Array:
        """The same into (beta, others, values of the response), at a theta of the optimiser's."""
        k, p = len(self.response.own), len(self._L)
        whole = self.to_user(len(theta) - k - p)
        psi = (whole @ theta)[len(theta) - k :]
        whole[len(theta) - k :] *= self.response.slopes(psi)[:, None]
        return whole

    # The likelihood --------------------------------------------------------------------------------------------------

    def _psi(self, theta: Array) -> Array:
        """Working values, no further out than their kernel keeps its digits."""
        own = self.response
        return np.clip(theta[len(theta) - len(own.own) :], own.lowest - 1.0, own.highest + 1.0)

    def for_core(self, theta: Array) -> tuple[Block, Array]:
        """A block and its parameters that have the likelihood at (gamma, others, psi), but for a constant."""
        own, p = self.response, len(self._L)
        inner, psi = theta[: len(theta) - len(own.own)], self._psi(theta)
        block = self._stays
        if block is None:
            block = self._kernel_block(own.at(psi).kernel_rows(self._block.data.a, self._block.data.b))
        shifts = own.coordinates(psi).value[: block.X.shape[1] - p]
        return block, np.concatenate([inner[:p], shifts, inner[p:]])

    def whole(self, evaluate: OnBlock, theta: Array) -> Evaluation:
        """A likelihood of kernel rows as one in (gamma, others, psi), normalised."""
        own, p = self.response, len(self._L)
        psi = self._psi(theta)
        terms = own.terms(psi, *self._alike)
        if not np.isfinite(terms.value):
            return Evaluation(-np.inf, np.zeros(len(theta)), np.zeros((len(theta), len(theta))))
        return through_coordinates(evaluate(*self.for_core(theta)), p, own.coordinates(psi), terms)

    def pooled(self, theta: Array) -> Evaluation:
        """Log-likelihood without cluster effects in (gamma, psi), with score and Hessian; normalised."""

        def evaluate(block: Block, inner: Array) -> Evaluation:
            data = block.data
            if isinstance(data, OwnArrays) and data.own > 0:
                return evaluate_pooled_with_own(block.X, data, block.response, inner, block.threads)
            return evaluate_pooled(block.problem, inner, 2, block.threads)

        return self.whole(evaluate, theta)

    def sigma_moments(self, theta: Array) -> tuple[float, float]:
        """See `start.sigma_moments`, at (gamma, psi)."""
        block, inner = self.for_core(theta)
        S1, S2 = cluster_sums(block.problem, inner, block.n_clusters, block.threads)
        return sigma_moments(S1, S2, block.data.cluster_weights)


def _solved(matrix: Array, values: Array) -> Array:
    return np.asarray(np.linalg.solve(matrix, values), dtype=np.float64)


def alike(response: OwnParameters, data: ClusterArrays) -> tuple[Array, ...]:
    """Fewer rows that have the same terms in sum, as `OwnParameters.terms` takes them: one for each response."""
    weights = np.repeat(data.cluster_weights, np.diff(data.starts))
    return _alike(data, weights) if response.alike_by_ratio else _equal(data, weights)


def weighted_terms(response: OwnParameters, psi: Array, a: Array, b: Array, weights: Array) -> Terms:
    """`OwnParameters.terms` of rows that count as often as `weights` says, shape (n,)."""
    if response.alike_by_ratio:
        return response.terms(psi, a * weights, b * weights)
    return response.terms(psi, a, b, weights)


def _alike(data: ClusterArrays, weights: Array) -> tuple[Array, Array]:
    """Fewer rows that have the same terms in sum, as these are proportional to weights."""
    y, place = np.unique(data.a / data.b, return_inverse=True)
    b = np.bincount(place, weights=data.b * weights).astype(np.float64)
    return y * b, b


def _equal(data: ClusterArrays, weights: Array) -> tuple[Array, Array, Array]:
    """Different rows, and how many there are of each."""
    different, place = np.unique(np.column_stack([data.a, data.b]), axis=0, return_inverse=True)
    return (
        different[:, 0].copy(),
        different[:, 1].copy(),
        np.bincount(place.ravel(), weights=weights).astype(np.float64),
    )


class RowsWithOwn(Protocol):
    """What a marginal likelihood asks of rows whose response has parameters of its own."""

    @property
    def blocks(self) -> InMemory: ...
    @property
    def unit(self) -> float: ...

    def for_core(self, theta: Array) -> tuple[Block, Array]:
        """A block and its parameters that have the likelihood at (gamma, others, psi), but for a constant."""

    def whole(self, evaluate: OnBlock, theta: Array) -> Evaluation:
        """A likelihood of kernel rows as one in (gamma, others, psi), normalised."""


class OwnMarginal(MarginalSums):
    """The marginal likelihood of such rows in (gamma, sigma, psi), normalised.

    Parameters
    ----------
    rows : RowsWithOwn
    integrator : Integrator
    """

    sampled = False

    def __init__(self, rows: RowsWithOwn, integrator: AnyIntegrator) -> None:
        super().__init__(rows.blocks, rows.blocks.block.n_clusters, integrator, rows.unit)
        self._rows = rows

    def evaluate(self, theta: Array, plan: Plan, order: int = 2) -> Evaluation:
        return self._rows.whole(lambda block, inner: self._likelihood(block).evaluate(inner, plan, order), theta)

    def unit_values(self, theta: Array, plan: Plan) -> Array:
        """Each cluster's log-likelihood by its kernel rows alone, times its weight, shape (m,)."""
        block, inner = self._rows.for_core(theta)
        return self._likelihood(block).unit_values(inner, plan)

    def choose(self, theta: Array, tolerance: float, moving: bool = False) -> Choice:
        """Rules for the rows as they are at psi; see `MarginalSums.choose`."""
        block, inner = self._rows.for_core(theta)
        data = block.data
        plain = BlockArrays(data.starts, data.a, data.b, data.offset, data.cluster_weights)
        block = Block(block.X, plain, block.response, block.threads, block.memory)
        return replace(self._of(block).choose(inner, tolerance, moving), there=None)

    def outer_products(self, theta: Array, plan: Plan, whole: tuple[bool, bool]) -> Array:
        raise NotImplementedError("scores of clusters are not known for responses with parameters of their own")

    def _likelihood(self, block: Block) -> UnitLikelihood:
        modes = block.memory.modes
        if modes is None:
            modes = block.memory.modes = np.zeros(block.n_clusters)
        return self.integrator.likelihood(block.X, block.data, block.response, block.threads, modes)

    def _of(self, block: Block) -> MarginalSums:
        return MarginalSums(InMemory(block), self.n_clusters, self.integrator, self._unit)


def bordered(
    found: Evaluation,
    X: Array,
    own: int,
    groups: NDArray[np.int64],
    weights: Array,
    derivatives: tuple[Array, Array, Array],
) -> Evaluation:
    """A pooled likelihood with derivatives in the kernel's own parameters behind those in the coefficients."""
    of_each = [weights * (derivatives if own == 1 and not groups.any() else np.where(groups == c, derivatives, 0.0))
               for c in range(own)]  # fmt: skip
    # not as matrix products, which would wake the threads of a BLAS
    cross = np.array([np.einsum("rp,r->p", X, Gg) for _, Gg, _ in of_each]).reshape(own, X.shape[1])
    score, squares = np.array([[g.sum(), gg.sum()] for g, _, gg in of_each]).reshape(own, 2).T
    hessian = np.block([[found.hessian, cross.T], [cross, np.diag(squares)]])
    return Evaluation(found.value, np.append(found.score, score), hessian)
