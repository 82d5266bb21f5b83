"""Data of zero-inflated counts as rows that the core knows, and their likelihoods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import block_diag

from clusterglm.data.prepare import ModelData
from clusterglm.engine.base import InMemory
from clusterglm.engine.block import Block, Memory
from clusterglm.fit.own_rows import OnBlock, kernel_starts
from clusterglm.fit.own_rows import kernel_data as of_kernel
from clusterglm.fit.standardise import standardise
from clusterglm.fit.start import sigma_moments
from clusterglm.fit.sums import Sums, sums_in_memory
from clusterglm.fit.zero_data import ZeroData
from clusterglm.likelihood.evaluation import Evaluation, OwnArrays
from clusterglm.likelihood.own import through_coordinates
from clusterglm.likelihood.pooled import cluster_sums, evaluate_pooled_with_own
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.own.base import Terms
from clusterglm.model.response.zeros.inflated import ZeroInflated
from clusterglm.model.response.zeros.kernels import ZeroInflatedKernel


class ZeroRows:
    """Rows of zero-inflated counts, of data in memory, in (gamma, others, psi) of the optimiser's columns.

    Parameters
    ----------
    blocks : InMemory
        The data in the optimiser's columns, nothing merged.
    Z : ndarray, shape (n, c)
        Its columns of the linear predictor of zeros.
    response : ZeroInflated
        With its parameters or without.
    scales : tuple of ndarray
        The matrices that take coefficients of both to the user's columns.
    unit : float
    """

    def __init__(
        self, blocks: InMemory, Z: Array, response: ZeroInflated, scales: tuple[Array, Array], unit: float = 1.0
    ) -> None:
        self.blocks, self.response, self.unit = blocks, response, unit
        self._block, self._memory, (self._L, self._M) = blocks.block, Memory(), scales
        self._own = ZeroData(self._block.data, Z, response)
        self._k = self._own.k

    # From the user's parameters and back -----------------------------------------------------------------------------

    def inside(self, beta: Array, others: Sequence[float], psi: Array) -> Array:
        """(gamma, others, psi) for the optimiser's columns."""
        gamma = np.linalg.solve(self._L, beta)
        return np.concatenate([gamma, others, psi[: self._k], np.linalg.solve(self._M, psi[self._k :])])

    def to_user(self, others: int) -> Array:
        """The matrix that turns (gamma, others, psi) into (beta, others, psi) of the user's columns."""
        return np.asarray(block_diag(self._L, np.eye(others + self._k), self._M))

    def to_values(self, theta: Array) -> Array:
        """The same into (beta, others, values of the response), at a theta of the optimiser's."""
        whole = self.to_user(len(theta) - len(self._L) - self._k - len(self._M))
        if self._k:
            at = len(theta) - len(self._M) - 1
            whole[at] *= np.exp(theta[at])
        return whole

    def w(self, psi: Array) -> Array:
        """Linear predictor of zeros, of psi as it stands in theta, shape (n,)."""
        return self._own.w(psi)

    # The likelihood --------------------------------------------------------------------------------------------------

    def _psi(self, theta: Array) -> Array:
        """Working values, alpha no further out than its kernel keeps its digits."""
        return self._own.inside(theta[len(theta) - self._k - len(self._M) :])

    def for_core(self, theta: Array) -> tuple[Block, Array]:
        """A block and its parameters that have the likelihood at (gamma, others, psi), but for a constant."""
        psi, data, own = self._psi(theta), self._block.data, self._own
        rows, kernel = own.rows(psi), own.response.at(psi).kernel
        of = slice(None) if rows.of is None else rows.of
        Z = np.where(own.is_zero[:, None], own.Z, 0.0)
        if self._k:
            Z = np.column_stack([np.ones(len(Z)), Z])
        numbers = np.minimum(np.arange(Z.shape[1]), kernel.numbers - 1)
        arrays = OwnArrays(
            kernel_starts(data.starts, rows), rows.a, rows.b, data.offset[of] + rows.shift, data.cluster_weights,
            Z.shape[1], None, np.ascontiguousarray(Z[of]), numbers,
        )  # fmt: skip
        X = np.ascontiguousarray(self._block.X[of])
        inner = np.concatenate([theta[: len(self._L)], theta[len(self._L) : len(theta) - len(psi)]])
        return Block(X, arrays, kernel, self._block.threads, self._memory), inner

    def whole(self, evaluate: OnBlock, theta: Array) -> Evaluation:
        """A likelihood of kernel rows as one in (gamma, others, psi), normalised."""
        psi = self._psi(theta)
        found = evaluate(*self.for_core(theta))
        return through_coordinates(found, len(self._L), self.response.coordinates(psi), self.terms(psi))

    def terms(self, psi: Array) -> Terms:
        """See `ZeroData.terms`."""
        return self._own.terms(psi)

    def zero_terms(self, psi: Array) -> Array:
        """See `ZeroData.first`."""
        return self._own.first(psi)

    def pooled(self, theta: Array) -> Evaluation:
        """Log-likelihood without cluster effects in (gamma, psi), with score and Hessian; normalised."""

        def evaluate(block: Block, inner: Array) -> Evaluation:
            assert isinstance(block.data, OwnArrays)
            return evaluate_pooled_with_own(block.X, block.data, block.response, inner, block.threads)

        return self.whole(evaluate, theta)

    def row_scores(self, theta: Array) -> Array:
        """Scores of rows without cluster effects in (gamma, psi), shape (n, p + k), cluster weights included."""
        block, inner = self.for_core(theta)
        data, kernel = block.data, block.response
        assert isinstance(data, OwnArrays)
        assert isinstance(kernel, ZeroInflatedKernel)
        x = block.X @ inner + data.offset
        own = kernel.own_derivatives(x, data.a, data.b)
        assert data.own_columns is not None
        assert data.own_numbers is not None
        weights = np.repeat(data.cluster_weights, np.diff(data.starts))
        G = (weights * kernel.derivatives(x, data.a, data.b)[1])[:, None] * block.X
        found = np.column_stack([G, weights[:, None] * data.own_columns * own.first[data.own_numbers].T])
        if self._own.of is not None:
            found = np.add.reduceat(found, np.searchsorted(self._own.of, np.arange(len(self._own.Z))), axis=0)
        found[:, len(self._L) :] += self.zero_terms(self._psi(theta))
        return found

    def sigma_moments(self, theta: Array) -> tuple[float, float]:
        """See `start.sigma_moments`, at (gamma, psi)."""
        block, inner = self.for_core(theta)
        S1, S2 = cluster_sums(block.problem, inner, block.n_clusters, block.threads)
        return sigma_moments(S1, S2, block.data.cluster_weights)


class StandardRows(ZeroRows):
    """The same with what a search asks of sums over them.

    Parameters
    ----------
    sums : Sums
    zero : ModelData
        The same rows with the columns of the linear predictor of zeros.
    response : ZeroInflated
    """

    def __init__(self, sums: Sums, zero: ModelData, response: ZeroInflated) -> None:
        assert isinstance(sums.blocks, InMemory)
        standard = standardise(zero.X, zero.intercept)
        super().__init__(sums.blocks, standard.X, response, (sums.standard.L, standard.L), sums.weights.unit)
        self.sums = sums


def zero_rows(data: ModelData, zero: ModelData, response: ZeroInflated, control: Control) -> StandardRows:
    """The rows of some data: none are merged, and none sampled."""
    return StandardRows(sums_in_memory(data, response, control.threads, data.n_obs + 1), zero, response)


def rows_as_they_are(data: ModelData, zero: ModelData, response: ZeroInflated) -> ZeroRows:
    """The rows of some data in the user's columns, in which gamma is beta."""
    scales = np.eye(data.X.shape[1]), np.eye(zero.X.shape[1])
    return ZeroRows(InMemory(Block(data.X, data, response)), zero.X, response, scales)


def kernel_data(data: ModelData, Z: Array, response: ZeroInflated) -> tuple[ModelData, ZeroInflatedKernel]:
    """Data with kernel rows in place of observations, for likelihoods, and what these are rows of.

    Parameters
    ----------
    data : ModelData
    Z : ndarray, shape (n, c)
        The user's columns of zeros.
    response : ZeroInflated
        With its parameters.
    """
    rows = ZeroData(data, Z, response).at_estimates()
    assert isinstance(rows.response, ZeroInflatedKernel)
    return of_kernel(data, rows), rows.response
