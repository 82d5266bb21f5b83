"""Firth's penalty: the log-likelihood is maximised with half the log-determinant of the expected information added.

The maximum is that of a posterior density with Jeffreys' prior. It is finite whatever the responses: where a
coefficient goes to infinity, rows stop telling anything of it, and the determinant goes to 0. With the logit and the
log, the estimates also lack the bias of order 1/n that maximum likelihood has.

References
----------
Firth, Biometrika 80, 1993; Heinze and Schemper, Statistics in Medicine 21, 2002; Kosmidis and Firth, Biometrika 108,
2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from clusterglm.engine.base import InMemory
from clusterglm.fit.sums import Sums, added
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_ELEMENTS = 1_000_000  # of a temporary


@dataclass(frozen=True)
class JeffreysPenalty:
    """Half the log-determinant of the expected information X'WX, as a function of the coefficients.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    size : ndarray, shape (n,)
        What multiplies a row's information: its trials (of counts, 1) times its weights.
    offset : ndarray, shape (n,)
    response : Response
    constant : float
        Added to the value, such as what the units of the columns make of the determinant.
    """

    X: Array
    size: Array
    offset: Array
    response: Response
    constant: float = 0.0

    def information(self, gamma: Array) -> Array:
        """X'WX, shape (p, p)."""
        return self._cross(self.weights(gamma)[0])

    def evaluate(self, gamma: Array) -> Evaluation:
        """Value, score and Hessian; -inf where the information is singular.

        Notes
        -----
        With w_i the weight of row i, w_i' and w_i'' its derivatives in the linear predictor, and z_i = C^-1 x_i where
        C C' = X'WX, the score is 1/2 sum w_i' |z_i|^2 x_i, and the Hessian
        1/2 sum w_i'' |z_i|^2 x_i x_i' - 1/2 sum_ik w_i' w_k' (z_i'z_k)^2 x_i x_k'.
        """
        p = len(gamma)
        w, w1, w2 = self.weights(gamma)
        root = cholesky(self._cross(w))
        if root is None:
            return Evaluation(-np.inf, np.zeros(p), np.zeros((p, p)))
        Z = np.ascontiguousarray(solve_triangular(root, self.X.T, lower=True).T)
        leverage = np.einsum("ij,ij->i", Z, Z)
        hessian = self._cross(w2 * leverage) - _squared_products(self.X * w1[:, None], Z)
        value = float(np.log(np.diag(root)).sum()) + self.constant
        return Evaluation(value, 0.5 * (self.X.T @ (w1 * leverage)), 0.5 * hessian)

    def score_without(self, gamma: Array) -> Callable[..., Array]:
        """The penalty's score when some rows are left out: a function of these, of the information that is left, and of
        the share of these rows' weight that is left out.

        With G the inverse of that information, the score is 1/2 sum w_i' (x_i'G x_i) x_i over the others.
        """
        w1 = self.weights(gamma)[1]
        whole = np.stack([self._cross(w1 * column) for column in self.X.T])

        def score(rows: slice, information: Array, share: float = 1.0) -> Array:
            inverse, own = np.linalg.inv(information), self.X[rows]
            less = share * (w1[rows] * np.einsum("ij,jk,ik->i", own, inverse, own)) @ own
            return np.asarray(0.5 * (np.tensordot(whole, inverse, 2) - less))

        return score

    def weights(self, gamma: Array) -> tuple[Array, Array, Array]:
        """The rows' weights W in the information, and their first two derivatives, shape (n,) each."""
        w, w1, w2 = self.response.expected_information(self.X @ gamma + self.offset)
        return self.size * w, self.size * w1, self.size * w2

    def _cross(self, weights: Array) -> Array:
        return np.asarray((self.X * weights[:, None]).T @ self.X)


def jeffreys(X: Array, data: ClusterArrays, response: Response, constant: float = 0.0) -> JeffreysPenalty:
    """The penalty for rows as the likelihood takes them."""
    size = response.sizes(data.a, data.b)
    return JeffreysPenalty(
        X, size * np.repeat(data.cluster_weights, np.diff(data.starts)), data.offset, response, constant
    )


@dataclass(frozen=True)
class PenalizedSums:
    """The penalised log-likelihood of data in memory, in the optimiser's columns.

    Parameters
    ----------
    sums : Sums
    penalty : JeffreysPenalty
        Of the information on the coefficients of the user's columns: the units of columns move it by a constant.
    """

    sums: Sums
    penalty: JeffreysPenalty

    @classmethod
    def of(cls, sums: Sums) -> PenalizedSums:
        assert isinstance(sums.blocks, InMemory)  # nothing else is fitted with a penalty
        block = sums.blocks.block
        units = float(np.linalg.slogdet(sums.standard.L)[1])
        return cls(sums, jeffreys(block.X, block.data, sums.response, -units))

    def evaluate(self, gamma: Array) -> Evaluation:
        """Value (without the likelihood's constants), score and Hessian."""
        return added([self.sums.pooled(gamma), self.penalty.evaluate(gamma)])

    @property
    def start(self) -> Array:
        """An intercept near the overall mean, which half an event in one more trial keeps off its ends; else zeros."""
        start = np.zeros(self.sums.p)
        if self.sums.data.intercept is not None:
            total = float(self.penalty.size.sum())
            mean = (self.sums.mean * total + 0.5) / (total + 1.0)
            start[self.sums.data.intercept] = self.sums.response.link_function(np.array(mean)) - self.sums.raised
        return start


def _squared_products(X: Array, Z: Array) -> Array:
    """Sum over pairs of rows of (z_i'z_k)^2 x_i x_k', shape (p, p), in the cheaper of two orders."""
    n, p = X.shape
    total = np.zeros((p, p))
    if 2 * n > p * p:
        for z in Z.T:  # the square is a sum over pairs of columns of Z: with one of them at a time
            part = (X * z[:, None]).T @ Z
            total += part @ part.T
        return total
    step = max(1, _ELEMENTS // n)
    for first in range(0, n, step):
        rows = slice(first, first + step)
        total += X[rows].T @ ((Z[rows] @ Z.T) ** 2 @ X)
    return total


def cholesky(information: Array) -> Array | None:
    """Lower triangle; None where the information is singular or no number."""
    if not np.isfinite(information).all():
        return None
    try:
        return np.asarray(np.linalg.cholesky(information))
    except np.linalg.LinAlgError:
        return None
