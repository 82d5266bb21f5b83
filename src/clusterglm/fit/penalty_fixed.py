"""Firth's penalty next to an intercept for every cluster: Jeffreys' prior of coefficients and intercepts together.

The expected information of m intercepts and p coefficients is an arrow: its determinant is the product of the clusters'
sums of weights and of the determinant of what is left for the coefficients. A cluster of weight k is k clusters with an
intercept each. With the intercepts at their best given the coefficients, the maximum is found in these alone, at the
cost of the plain profile likelihood times a few.

References
----------
Firth, Biometrika 80, 1993; Kosmidis and Firth, Biometrika 108, 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.engine.base import InMemory
from clusterglm.fit.penalty import cholesky, jeffreys
from clusterglm.fit.within import WithinSums
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.likelihood.profile import ClusterProfile
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_MOST_STEPS = 200  # steps towards the best intercepts
_STRIDE = 1.5  # longest of such steps, in an intercept
_AT_BEST = 1e-18  # squared distance from them, in standard errors


@dataclass(frozen=True)
class At:
    """The penalised likelihood at intercepts and coefficients.

    Parameters
    ----------
    value, loglik : float
        With the penalty, without constants, and without it.
    slopes : ndarray, shape (n,)
        Derivatives in the rows' linear predictors, of either part.
    curvatures : ndarray, shape (n,)
        What rows alone have in second derivatives.
    turns : ndarray, shape (n,)
        Derivatives of the rows' weights in the expected information.
    apart : ndarray, shape (n, p)
        Columns less their weighted means in the cluster, in units in which the information on coefficients is 1.
    sums : ndarray, shape (m,)
        Of the weights over clusters.
    means : ndarray, shape (m, p)
        Of the columns, weighted.
    inside : ndarray, shape (p, p)
        The expected information on the coefficients, intercepts allowed for.
    """

    value: float
    loglik: float
    slopes: Array
    curvatures: Array
    turns: Array
    apart: Array
    sums: Array
    means: Array
    inside: Array


class PenalizedFixed:
    """The penalised likelihood, each intercept at its best, in the optimiser's columns.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    data : ClusterArrays
    response : Response
    units : float
        What the units of the user's columns add to half the log-determinant.
    """

    def __init__(self, X: Array, data: ClusterArrays, response: Response, units: float = 0.0) -> None:
        self.X, self.data, self.response, self.units = X, data, response, units
        self._first: NDArray[np.int64] = data.starts[:-1]
        self._of = np.repeat(np.arange(len(self._first)), np.diff(data.starts))
        self._size = jeffreys(X, data, response).size
        self._clusters = np.asarray(data.cluster_weights)
        self._factor = self._clusters[self._of]
        self._alpha = self._start()

    @classmethod
    def of(cls, within: WithinSums) -> PenalizedFixed:
        """The penalised likelihood of data in memory."""
        assert isinstance(within.sums.blocks, InMemory)  # nothing else is fitted with a penalty
        block, standard = within.sums.blocks.block, within.sums.standard
        return cls(block.X, block.data, block.response, -float(np.linalg.slogdet(standard.L)[1]))

    def evaluate(self, gamma: Array) -> Evaluation:
        """Value, score and Hessian of the profile; -inf where the information is singular.

        Notes
        -----
        With k_c clusters of sum of weights D_c each, and S the information on the coefficients, the penalty is half of
        sum k_c log D_c + log det S. Its Hessian is an arrow, but for -1/2 v_j'v_k between every two parameters, where
        v_j is the derivative of S over S: of rank p (p + 1) / 2, which Woodbury's formula takes into account.
        """
        p = len(gamma)
        at = self.at(self.intercepts(gamma), gamma)
        if at is None:
            return Evaluation(-np.inf, np.zeros(p), np.zeros((p, p)))
        own, (turn, bend) = self._curvature(at), self._bends(at)
        by_beta = np.stack([self._rows(at.turns * x, at.apart) for x in self.X.T], axis=1).reshape(len(own), p, -1)
        turns, k = self._rows(at.turns), self._clusters
        cross = self._rows(at.curvatures) - 0.5 * (k * turn / at.sums**2)[:, None] * turns
        cross -= np.einsum("cjk,ck->cj", by_beta, bend) / at.sums[:, None]
        hessian = (self.X * at.curvatures[:, None]).T @ self.X - 0.5 * (turns * (k / at.sums**2)[:, None]).T @ turns
        hessian -= np.einsum("cjk,clk->jl", by_beta / at.sums[:, None, None], by_beta)
        pairs = self._pairs(at.apart)
        v, v_beta = self._rows(at.turns, pairs), np.stack([(at.turns * x) @ pairs for x in self.X.T]).reshape(p, -1)
        cross -= 0.5 * v @ v_beta.T
        hessian -= 0.5 * v_beta @ v_beta.T
        scaled = v / own[:, None]
        solved = cross / own[:, None]
        solved += scaled @ np.linalg.solve(2.0 * np.eye(v.shape[1]) - v.T @ scaled, v.T @ solved)
        return Evaluation(at.value, self.X.T @ at.slopes, hessian - cross.T @ solved)

    def intercepts(self, gamma: Array) -> Array:
        """The best intercepts, shape (m,), by Newton's method from those of the last visit."""
        alpha = self._alpha.copy()
        at = self.at(alpha, gamma)
        if at is None:
            alpha = self._start()
            at = self.at(alpha, gamma)
        for _ in range(_MOST_STEPS):
            if at is None:
                break
            slope, own = self._sum(at.slopes), self._curvature(at)
            # far out a cluster's weights vanish, and with them its units
            step = np.clip(-slope / own, -_STRIDE, _STRIDE)
            if float(slope @ step) < _AT_BEST * len(step):
                break
            length, new = 1.0, None
            while length > 1e-6:
                new = self.at(alpha + length * step, gamma)
                if new is not None and new.value >= at.value - 1e-12 * (1.0 + abs(at.value)):
                    break
                length *= 0.5
            if new is None or length <= 1e-6:
                break
            alpha, at = alpha + length * step, new
        if at is not None:
            self._alpha = alpha
        return alpha

    def at(self, alpha: Array, gamma: Array) -> At | None:
        """The penalised likelihood at intercepts, shape (m,), and coefficients; None where it is no number."""
        eta = self.X @ gamma + self.data.offset + alpha[self._of]
        value, slope, curvature = self.response.derivatives(eta, self.data.a, self.data.b)[:3]
        w, w1, w2 = (self._size * each for each in self.response.expected_information(eta))
        sums = self._sum(w)
        if not (np.isfinite(sums).all() and (sums > 0.0).all()):
            return None
        means = self._rows(w) / sums[:, None]
        apart: Array = self.X - means[self._of]
        inside = (apart * w[:, None]).T @ apart
        root = cholesky(inside)
        if root is None:
            return None
        apart = np.asarray(np.linalg.solve(root, apart.T).T, dtype=np.float64)
        leverage = (self._clusters / sums)[self._of] + np.square(apart).sum(axis=1)
        loglik = float(self._factor @ value)
        penalty = (
            0.5 * float(self._clusters @ np.log(sums / self._clusters))
            + float(np.log(np.diag(root)).sum())
            + self.units
        )
        slopes, curvatures = self._factor * slope + 0.5 * w1 * leverage, self._factor * curvature + 0.5 * w2 * leverage
        return At(loglik + penalty, loglik, slopes, curvatures, w1, apart, sums, means, inside)

    def profile(self, alpha: Array, at: At) -> ClusterProfile:
        """What predictions and tables of intercepts need, from the expected information."""
        return ClusterProfile(alpha, at.sums / self._clusters, at.means, self._rows(at.slopes))

    def _curvature(self, at: At) -> Array:
        """Second derivatives in single intercepts; where these are not clearly negative, those of Fisher's scoring."""
        turn, bend = self._bends(at)
        own = (
            self._sum(at.curvatures)
            - 0.5 * self._clusters * np.square(turn / at.sums)
            - np.square(bend).sum(axis=1) / at.sums
        )
        return np.where(own < -0.1 * at.sums, own, -at.sums)

    def _bends(self, at: At) -> tuple[Array, Array]:
        """Derivatives in the intercepts of the clusters' sums of weights, (m,), and of means times these, (m, p)."""
        return self._sum(at.turns), self._rows(at.turns, at.apart)

    @staticmethod
    def _pairs(Z: Array) -> Array:
        """Products of two columns, those of different ones counting twice in a sum of squares, (n, p (p + 1) / 2)."""
        j, k = np.triu_indices(Z.shape[1])
        return np.asarray(Z[:, j] * Z[:, k] * np.where(j == k, 1.0, np.sqrt(2.0)))

    def _start(self) -> Array:
        """Intercepts that fit the clusters' means, half an event in one more trial keeping them off their ends."""
        a, b = self._sum(self.data.a), self._sum(self.data.b)
        return np.asarray(self.response.link_function((a + 0.5) / (self.response.sizes(a, b) + 1.0)))

    def _sum(self, values: Array) -> Array:
        return np.asarray(np.add.reduceat(values, self._first))

    def _rows(self, weights: Array, columns: Array | None = None) -> Array:
        """Sums over clusters of weighted rows, of X by default, shape (m, columns)."""
        Z = self.X if columns is None else columns
        return np.asarray(np.add.reduceat(Z * weights[:, None], self._first, axis=0))


def penalized_profile(data: ClusterArrays, X: Array, response: Response, beta: Array) -> ClusterProfile:
    """Intercepts, information and means of all clusters at `beta`, in the user's columns."""
    penalized = PenalizedFixed(X, data, response)
    alpha = penalized.intercepts(beta)
    at = penalized.at(alpha, beta)
    assert at is not None
    return penalized.profile(alpha, at)
