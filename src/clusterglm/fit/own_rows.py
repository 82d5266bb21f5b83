"""Data of responses with parameters of their own as rows that the core knows, and their likelihoods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from clusterglm.data.blocks.store import BlockArrays
from clusterglm.data.prepare import ModelData
from clusterglm.engine.base import InMemory
from clusterglm.engine.block import Block, Memory
from clusterglm.fit.start import sigma_moments
from clusterglm.fit.sums import MarginalSums, Sums, sums_in_memory
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.integrator import AnyIntegrator, UnitLikelihood
from clusterglm.likelihood.own import through_coordinates, with_own
from clusterglm.likelihood.plan import Choice, Plan
from clusterglm.likelihood.pooled import cluster_sums, evaluate_pooled
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.own.base import KernelRows, OwnParameters

OnBlock = Callable[[Block, Array, int], Evaluation]
"""A likelihood of a block, at its parameters, with derivatives up to an order."""


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
        self.sums, self.blocks, self.response, self.unit = sums, sums.blocks, response, sums.weights.unit
        self._block, self._memory, self._L = sums.blocks.block, Memory(), sums.standard.L
        data = self._block.data
        # log_terms are proportional to the weights of rows with the same response: one row stands for all of these
        y, place = np.unique(data.a / data.b, return_inverse=True)
        weights = data.b * np.repeat(data.cluster_weights, np.diff(data.starts))
        self._each_b = np.bincount(place, weights=weights).astype(np.float64)
        self._each_a = y * self._each_b
        self._centre = np.zeros(sums.p)
        if response.by_shifts:
            self._centre = self._block.X.mean(axis=0)
            self._shifted = self._with_columns(response.kernel_rows(data.a, data.b))

    def _with_columns(self, rows: KernelRows) -> Block:
        """Kernel rows with columns whose coefficients are `coordinates`."""
        data, columns = self._block.data, rows.columns
        assert columns is not None
        X = np.ascontiguousarray(np.hstack([_of(rows, rows.sign * (self._block.X - self._centre)), columns]))
        starts, offset = kernel_starts(data.starts, rows), _of(rows, rows.sign * data.offset)
        arrays = BlockArrays(starts, rows.a, rows.b, np.ascontiguousarray(offset), data.cluster_weights)
        return Block(X, arrays, rows.response, self._block.threads, self._memory)

    # From the user's parameters and back -----------------------------------------------------------------------------

    def inside(self, beta: Array, others: Sequence[float], psi: Array) -> Array:
        """(gamma, others, psi) for the optimiser's columns."""
        gamma = np.asarray(np.linalg.solve(self._L, beta), dtype=np.float64)
        return np.concatenate([gamma, others, psi - (self._centre @ gamma if self.response.location else 0.0)])

    def to_user(self, others: int) -> Array:
        """The matrix that turns (gamma, others, psi) into (beta, others, psi) of the user's columns."""
        p, k = len(self._L), len(self.response.own)
        whole = block_diag(self._L, np.eye(others + k))
        if self.response.location:
            whole[p + others :, :p] = self._centre
        return np.asarray(whole)

    def to_values(self, theta: Array) -> Array:
        """The same into (beta, others, values of the response), at a theta of the optimiser's."""
        k, p = len(self.response.own), len(self._L)
        whole = self.to_user(len(theta) - k - p)
        psi = (whole @ theta)[-k:]
        whole[-k:] *= self.response.slopes(psi)[:, None]
        return whole

    # The likelihood --------------------------------------------------------------------------------------------------

    def at(self, psi: Array) -> tuple[Block, float]:
        """The rows that the core knows, at working values psi, and the sum of what their kernel leaves out."""
        data, own = self._block.data, self.response
        response = own.at(np.clip(psi, own.lowest - 1.0, own.highest + 1.0))
        rows = response.kernel_rows(data.a, data.b)
        arrays = BlockArrays(data.starts, rows.a, rows.b, data.offset + rows.shift, data.cluster_weights)
        constant = float(np.sum(response.log_terms(self._each_a, self._each_b)))
        return Block(self._block.X, arrays, rows.response, self._block.threads, self._memory), constant

    def for_core(self, theta: Array) -> tuple[Block, Array]:
        """A block and its parameters that have the likelihood at (gamma, others, psi), but for a constant."""
        k, p = len(self.response.own), len(self._L)
        inner, psi = theta[:-k], theta[-k:]
        if not self.response.by_shifts:
            return self.at(psi)[0], inner
        return self._shifted, np.concatenate([inner[:p], self.response.coordinates(psi).value, inner[p:]])

    def whole(self, evaluate: OnBlock, theta: Array) -> Evaluation:
        """A likelihood of kernel rows as one in (gamma, others, psi), normalised."""
        own, p = self.response, len(self._L)
        k = len(own.own)
        if own.by_shifts:
            terms = own.terms(theta[-k:], self._each_a, self._each_b)
            if not np.isfinite(terms.value):
                return Evaluation(-np.inf, np.zeros(len(theta)), np.zeros((len(theta), len(theta))))
            return through_coordinates(evaluate(*self.for_core(theta), 2), p, own.coordinates(theta[-k:]), terms)

        def at(psi: Array, order: int) -> Evaluation:
            block, constant = self.at(psi)
            found = evaluate(block, theta[:-k], order)
            return Evaluation(found.value + constant, found.score, found.hessian)

        return with_own(at, theta[-k:])

    def pooled(self, theta: Array) -> Evaluation:
        """Log-likelihood without cluster effects in (gamma, psi), with score and Hessian; normalised."""
        return self.whole(
            lambda block, inner, order: evaluate_pooled(block.problem, inner, order, block.threads), theta
        )

    def sigma_moments(self, theta: Array) -> tuple[float, float]:
        """See `start.sigma_moments`, at (gamma, psi)."""
        block, inner = self.for_core(theta)
        S1, S2 = cluster_sums(block.problem, inner, block.n_clusters, block.threads)
        return sigma_moments(S1, S2, block.data.cluster_weights)


class OwnMarginal(MarginalSums):
    """The marginal likelihood of such rows in (gamma, sigma, psi), normalised.

    Parameters
    ----------
    rows : OwnRows
    integrator : Integrator
    """

    sampled = False

    def __init__(self, rows: OwnRows, integrator: AnyIntegrator) -> None:
        super().__init__(rows.blocks, rows.blocks.block.n_clusters, integrator, rows.unit)
        self._rows = rows

    def evaluate(self, theta: Array, plan: Plan) -> Evaluation:
        return self._rows.whole(lambda block, inner, order: self._likelihood(block).evaluate(inner, plan, order), theta)

    def choose(self, theta: Array, tolerance: float, moving: bool = False) -> Choice:
        """Rules for the rows as they are at psi; see `MarginalSums.choose`."""
        block, inner = self._rows.for_core(theta)
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
