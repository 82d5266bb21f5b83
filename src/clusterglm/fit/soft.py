"""Softly penalised likelihood of models with random effects: estimates are finite, and their covariance not singular.

To the log-likelihood is added c {log det(X'WX) / 2 + h(log sigma)}, with X'WX the expected information of the model
without random effects (Jeffreys' prior), h the negative Huber loss, -t^2/2 up to |t| = 1 and 1/2 - |t| beyond, and
c = 2 root(p/n), so soft that the estimates have the asymptotics of maximum likelihood. With several effects of
covariance L L', L lower triangular, the sum of h(log |l_tt|) and of h(l_st), s > t, takes the place of h(log sigma).
Entries of L that are always equal count once.

References
----------
Sterzinger and Kosmidis, Statistics and Computing 33, 2023, 53.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.engine.base import InMemory
from clusterglm.fit.penalty import JeffreysPenalty, PenalizedSums
from clusterglm.fit.sums import MarginalSums, Sums, added
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.integrator import AnyIntegrator
from clusterglm.likelihood.plan import Choice, Plan
from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance
from clusterglm.model.parameters import random_effects


@dataclass(frozen=True)
class Loss:
    """The negative Huber loss of an entry of L, or of the logarithm of one on the diagonal, such as sigma.

    Parameters
    ----------
    diagonal : bool
    unit : float
        What the entry must be multiplied by for the units of the user's columns.
    times : float
        How often it counts.
    """

    diagonal: bool = True
    unit: float = 1.0
    times: float = 1.0

    def evaluate(self, entry: float) -> tuple[float, float, float]:
        """The loss, and its first two derivatives in the entry; -inf at a diagonal entry of 0."""
        if self.diagonal and entry == 0.0:
            return -np.inf, 0.0, 0.0
        inner = self.unit * entry
        value, slope, curvature = huber(inner) if self.diagonal else negative_huber(inner)
        return self.times * value, self.times * slope * self.unit, self.times * curvature * self.unit**2


@dataclass(frozen=True)
class SoftPenalty:
    """The penalty as a function of the coefficients in the optimiser's columns, and of sigma or of entries of L.

    Parameters
    ----------
    jeffreys : JeffreysPenalty
        Of the model without random effects.
    scale : float
        Factor of the penalty, c.
    losses : tuple of Loss
        Of each entry, row by row.
    """

    jeffreys: JeffreysPenalty
    scale: float
    losses: tuple[Loss, ...] = (Loss(),)

    @classmethod
    def of(cls, jeffreys: JeffreysPenalty, losses: tuple[Loss, ...] = (Loss(),)) -> SoftPenalty:
        """The penalty with its factor from the data; n counts trials, and rows of counts, as often as weights say."""
        return cls(jeffreys, soft_factor(jeffreys.X.shape[1], float(jeffreys.size.sum())), losses)

    def evaluate(self, theta: Array) -> Evaluation:
        """Value, score and Hessian at (gamma, entries); -inf where a diagonal entry is 0."""
        found, (losses, score, hessian) = self.jeffreys.evaluate(theta[self._of_beta]), self._of_entries(theta)
        score[self._of_beta], hessian[self._of_beta, self._of_beta] = found.score, found.hessian
        return Evaluation(self.scale * (found.value + losses), self.scale * score, self.scale * hessian)

    def score_without(self, theta: Array, starts: NDArray[np.int64]) -> Callable[[int, Array, float], Array]:
        """The penalty's score without a share of a cluster.

        A function of the cluster's number, of the information that is left, which has no part here, and of the share.
        """
        beta, penalty = theta[self._of_beta], self.jeffreys
        whole, without = penalty.information(beta), penalty.score_without(beta)
        weights, total = penalty.weights(beta)[0], float(penalty.size.sum())
        found = self._of_entries(theta)[1]

        def score(i: int, _: Array, share: float) -> Array:
            rows = slice(int(starts[i]), int(starts[i + 1]))
            X = penalty.X[rows]
            others = found.copy()
            others[self._of_beta] = without(rows, whole - share * (X * weights[rows, None]).T @ X, share)
            return np.asarray(soft_factor(len(beta), total - share * float(penalty.size[rows].sum())) * others)

        return score

    @property
    def _of_beta(self) -> slice:
        return random_effects(self.jeffreys.X.shape[1], len(self.losses)).coefficients

    def _of_entries(self, theta: Array) -> tuple[float, Array, Array]:
        """Sum of the losses, score and Hessian, of all parameters; 0 for coefficients."""
        places = np.arange(len(theta))[random_effects(self.jeffreys.X.shape[1], len(self.losses)).place("random")]
        total, score, hessian = 0.0, np.zeros(len(theta)), np.zeros((len(theta), len(theta)))
        for k, loss in zip(places.tolist(), self.losses, strict=True):
            value, score[k], hessian[k, k] = loss.evaluate(float(theta[k]))
            total += value
        return total, score, hessian


def losses_of(covariance: Covariance, scale: Array) -> tuple[Loss, ...]:
    """The losses of the entries of L, of effects whose columns were divided by `scale`, shape (q,)."""
    rows, columns = np.nonzero(covariance.pattern)
    times = covariance.counts
    return tuple(
        Loss(i == j, float(1.0 / scale[i]), float(times[i, j]))
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
    )


def soft_factor(p: int, n: float) -> float:
    """What the penalty is multiplied by, for p coefficients and n trials or counts."""
    return 2.0 * float(np.sqrt(p / n))


def negative_huber(t: float) -> tuple[float, float, float]:
    """The negative Huber loss, and its first two derivatives."""
    return (-0.5 * t * t, -t, -1.0) if abs(t) <= 1.0 else (0.5 - abs(t), -float(np.sign(t)), 0.0)


def huber(sigma: float) -> tuple[float, float, float]:
    """The negative Huber loss of log sigma, and its first two derivatives in sigma."""
    value, slope, curvature = negative_huber(float(np.log(abs(sigma))))
    return value, slope / sigma, (curvature - slope) / sigma**2


class SoftMarginal(MarginalSums):
    """The penalised marginal likelihood of data in memory."""

    sampled = False

    def __init__(self, sums: Sums, integrator: AnyIntegrator) -> None:
        assert isinstance(sums.blocks, InMemory)  # nothing else is fitted with a penalty
        plain = sums.marginal(integrator)
        super().__init__(sums.blocks, plain.n_clusters, integrator, sums.weights.unit)
        self.plain = plain
        self.penalty = SoftPenalty.of(PenalizedSums.of(sums).penalty)

    def evaluate(self, theta: Array, plan: Plan) -> Evaluation:
        return added([super().evaluate(theta, plan), self.penalty.evaluate(theta)])

    def choose(self, theta: Array, tolerance: float, moving: bool = False) -> Choice:
        found = super().choose(theta, tolerance, moving)
        there = None if found.there is None else added([found.there, self.penalty.evaluate(theta)])
        return Choice(found.plan, found.error, there)


def marginal_of(sums: Sums, integrator: AnyIntegrator, penalty: str | None) -> MarginalSums:
    """The likelihood that is maximised."""
    return sums.marginal(integrator) if penalty is None else SoftMarginal(sums, integrator)
