"""The likelihood with several random effects as a search has it: columns in some units, theta = (coefficients, phi)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.errors import IntegrationError, OptionError
from clusterglm.fit.levels import AnyPlan, Chosen, Integrals, integrals
from clusterglm.fit.soft import SoftPenalty
from clusterglm.fit.sums import added
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance
from clusterglm.model.parameters import Parameters, random_effects
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response

_MOST = 100_000  # points of a cluster
_LARGEST_SD = 1e6  # standard deviation with which float64 can compute

BOUNDLESS = 200.0
"""A standard deviation of which no data set on a logit scale can tell."""


class WithEffects(Protocol):
    """Data of which it is known what varies over clusters."""

    @property
    def effects(self) -> Effects | None: ...


class EffectArrays(ClusterArrays, WithEffects, Protocol):
    """The arrays of clusters, and what varies over these."""


def effects_of(data: WithEffects) -> Effects:
    """The random part of data that have one."""
    assert data.effects is not None, "data of a model with one intercept"
    return data.effects


def choose(likelihood: Integrals, theta: Array, requested: Quadrature, unit: float = 1.0) -> Chosen:
    """Points as they were asked for, at `theta`.

    Raises
    ------
    OptionError
        When a number of nodes, with so many effects, makes too many points.
    """
    if requested.kind == "auto":
        return likelihood.within(theta, requested.tolerance * unit)
    nodes, d = 1 if requested.kind == "laplace" else int(requested.nodes or 1), likelihood.dimensions
    if not points_within_reach(nodes, d):
        raise OptionError(
            f"{nodes} nodes for each of {d} effects: {nodes**d:,} points of every cluster",
            f"at most {_MOST:,}",
            f"quadrature={int(_MOST ** (1.0 / d) + 1e-9)}, 'auto', or fewer random effects",
        )
    return Chosen(plan := likelihood.by_nodes(nodes), float("nan"), plan)


def points_within_reach(nodes: int, d: int) -> bool:
    """Whether so many nodes for each of d effects make no more points than can be."""
    return bool(nodes**d <= _MOST)


@dataclass(frozen=True)
class MixedTask:
    """The likelihood in theta = (coefficients, phi), of columns in some units, with a penalty where there is one."""

    likelihood: Integrals
    covariance: Covariance
    parameters: Parameters
    squares: Array
    bounded: bool
    penalty: SoftPenalty | None = None

    @classmethod
    def of(cls, data: EffectArrays, response: Response, X: Array, scale: Array, threads: int) -> MixedTask:
        effects = effects_of(data)
        covariance = effects.covariance
        Z = effects.Z if (scale == 1.0).all() else np.ascontiguousarray(effects.Z / scale)
        likelihood = integrals(X, Z, effects, data, response, threads)
        own, squares = random_effects(X.shape[1], covariance.n_parameters), Z.T @ Z / len(Z)
        return cls(likelihood, covariance, own, squares, response.bounded)

    @cached_property
    def _n_coefficients(self) -> int:
        return len(self.parameters) - self.covariance.n_parameters

    @cached_property
    def inner(self) -> Parameters:
        """Parameters of the likelihood: coefficients, and the entries of L that may be other than zero."""
        return random_effects(self._n_coefficients, int(self.covariance.pattern.sum()))

    def entries(self, theta: Array) -> Array:
        """(coefficients, entries of L row by row), as the likelihood takes them."""
        beta, phi = self.parameters.split(theta)
        return np.append(beta, self.covariance.factor(phi)[self.covariance.pattern])

    def evaluate(self, theta: Array, plan: AnyPlan, order: int = 2) -> Evaluation:
        """Value and derivatives in theta, from those in the entries of L by the chain rule."""
        there = self.likelihood.evaluate(self.entries(theta), plan, order)
        if self.penalty is not None:
            there = added([there, self.penalty.evaluate(self.entries(theta))])
        return self._in_theta(there, theta)

    def similar(self, theta: Array, plan: AnyPlan) -> Evaluation:
        """See `Integrals.similar`."""
        there = self.likelihood.similar(self.entries(theta), plan)
        if self.penalty is not None:
            there = added([there, self.penalty.evaluate(self.entries(theta))])
        return self._in_theta(there, theta)

    def value(self, theta: Array, plan: AnyPlan) -> float:
        """The value alone."""
        return self.likelihood.evaluate(self.entries(theta), plan, 0).value + self.penalty_at(theta).value

    def glanced(self, theta: Array, plan: AnyPlan, above: float = -np.inf) -> float:
        """The value alone, as accurate as it takes to see whether it is `above`, if that is given."""
        penalty = self.penalty_at(theta).value
        return self.likelihood.glanced(self.entries(theta), plan, above - penalty) + penalty

    def penalty_at(self, theta: Array) -> Evaluation:
        """The penalty's part of the value and the derivatives; 0 where there is none."""
        q = len(self.parameters)
        if self.penalty is None:
            return Evaluation(0.0, np.zeros(q), np.zeros((q, q)))
        return self._in_theta(self.penalty.evaluate(self.entries(theta)), theta)

    def _in_theta(self, there: Evaluation, theta: Array) -> Evaluation:
        """Derivatives in theta from those in the entries of L."""
        if not (there.score.any() or there.hessian.any()):  # of a value alone
            q = len(self.parameters)
            return Evaluation(there.value, np.zeros(q), np.zeros((q, q)))
        J = self.slopes(theta)
        hessian = J @ there.hessian @ J.T
        random, pattern = self.parameters.place("random"), self.covariance.pattern
        weights = np.zeros(pattern.shape)
        weights[pattern] = self.inner.split(there.score)[1]
        hessian[random, random] += self.covariance.bends(theta[random], weights)
        return Evaluation(there.value, J @ there.score, hessian)

    def slopes(self, theta: Array) -> Array:
        """Derivatives of the likelihood's parameters in theta, shape (q, parameters of the likelihood)."""
        own, inner = self.parameters, self.inner
        J = np.zeros((len(own), len(inner)))
        J[own.coefficients, inner.coefficients] = np.eye(self._n_coefficients)
        random = own.place("random")
        J[random, inner.place("random")] = self.covariance.slopes(theta[random])[:, self.covariance.pattern]
        return J

    def all_and(self, of_covariance: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Marks of parameters of the covariance as marks of all: none of a coefficient."""
        found = np.zeros(len(self.parameters), dtype=bool)
        found[self.parameters.place("random")] = of_covariance
        return found

    def spread(self, theta: Array) -> float:
        """Standard deviation of the random part of the linear predictor."""
        L = self.covariance.factor(theta[self.parameters.place("random")])
        return float(np.sqrt(np.trace(L.T @ self.squares @ L)))

    def reflect(self, theta: Array) -> Array:
        """Parameters of the model at theta with the customary signs of L.

        Raises
        ------
        IntegrationError
            On spreads of the linear predictor with which nothing can be computed, or that stand for infinity: a search
            that has come so far need not go on.
        """
        beta, phi = self.parameters.split(theta)
        spread = self.spread(theta)
        if spread > (BOUNDLESS if self.bounded and self.penalty is None else _LARGEST_SD):
            raise IntegrationError(
                f"random effects whose standard deviation on the linear predictor is {spread:.3g}, and still growing",
                "data in which effects of finite size explain the differences between clusters",
                "look for covariates that determine the response within clusters; penalty='soft', whose estimates are "
                "finite; or fewer random effects",
            )
        return np.append(beta, self.covariance.canonical(phi))
