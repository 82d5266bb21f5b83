"""Softly penalised likelihood of random-intercept models: estimates are finite, and sigma is not 0.

To the log-likelihood is added c {log det(X'WX) / 2 + h(log sigma)}, with X'WX the expected information of the model
without random effects (Jeffreys' prior), h the negative Huber loss, -t^2/2 up to |t| = 1 and 1/2 - |t| beyond, and
c = 2 root(p/n), so soft that the estimates have the asymptotics of maximum likelihood.

References
----------
Sterzinger and Kosmidis, Statistics and Computing 33, 2023, 53.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.engine.base import InMemory
from clusterglm.fit.penalty import JeffreysPenalty, PenalizedSums, jeffreys
from clusterglm.fit.sums import MarginalSums, Sums, added
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.integrator import AnyIntegrator
from clusterglm.likelihood.plan import Choice, Plan
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters, random_intercept
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class SoftPenalty:
    """The penalty as a function of the coefficients in the optimiser's columns, and sigma.

    Parameters
    ----------
    jeffreys : JeffreysPenalty
        Of the model without random effects.
    scale : float
        Factor of the penalty, c.
    """

    jeffreys: JeffreysPenalty
    scale: float

    @classmethod
    def of(cls, jeffreys: JeffreysPenalty) -> SoftPenalty:
        """The penalty with its factor from the data; n counts trials, and rows of counts, as often as weights say."""
        return cls(jeffreys, soft_factor(jeffreys.X.shape[1], float(jeffreys.size.sum())))

    def evaluate(self, theta: Array) -> Evaluation:
        """Value, score and Hessian at (gamma, sigma); -inf at sigma = 0."""
        parameters, q = random_intercept(self.jeffreys.X.shape[1]), len(theta)
        of_beta, of_sigma = parameters.coefficients, parameters.scale
        found, sigma = self.jeffreys.evaluate(theta[of_beta]), float(theta[of_sigma])
        score, hessian = np.zeros(q), np.zeros((q, q))
        score[of_beta], hessian[of_beta, of_beta] = found.score, found.hessian
        if sigma == 0.0:
            return Evaluation(-np.inf, score, hessian)
        value, score[of_sigma], hessian[of_sigma, of_sigma] = huber(sigma)
        return Evaluation(self.scale * (found.value + value), self.scale * score, self.scale * hessian)


def soft_factor(p: int, n: float) -> float:
    """What the penalty is multiplied by, for p coefficients and n trials or counts."""
    return 2.0 * float(np.sqrt(p / n))


def huber(sigma: float) -> tuple[float, float, float]:
    """The negative Huber loss of log sigma, and its first two derivatives in sigma."""
    t = float(np.log(abs(sigma)))
    value, slope, curvature = (-0.5 * t * t, -t, -1.0) if abs(t) <= 1.0 else (0.5 - abs(t), -float(np.sign(t)), 0.0)
    return value, slope / sigma, (curvature - slope) / sigma**2


def soft_score_without(
    data: ModelData, response: Response, theta: Array, parameters: Parameters
) -> Callable[[int, Array, float], Array]:
    """The penalty's score without a share of a cluster, in those of (beta, sigma) that are free.

    A function of the cluster's number, of the information that is left, which has no part here, and of the share.
    """
    beta, sigma = theta[parameters.coefficients], float(theta[parameters.scale])
    penalty = jeffreys(data.X, data, response)
    whole, without = penalty.information(beta), penalty.score_without(beta)
    weights, total = penalty.weights(beta)[0], float(penalty.size.sum())

    def score(i: int, _: Array, share: float) -> Array:
        rows = slice(int(data.starts[i]), int(data.starts[i + 1]))
        X = data.X[rows]
        others = without(rows, whole - share * (X * weights[rows, None]).T @ X, share)
        factor = soft_factor(len(beta), total - share * float(penalty.size[rows].sum()))
        return np.asarray(factor * parameters.joined(others, huber(sigma)[1])[parameters.free])

    return score


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
