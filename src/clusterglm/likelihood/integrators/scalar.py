"""One random intercept per cluster, by rules in one dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.likelihood.evaluation import ClusterArrays, core_problem
from clusterglm.likelihood.integrator import Integrator, Intercepts
from clusterglm.likelihood.plan import Choice, Goal, Plan
from clusterglm.likelihood.scalar.choice import (
    most_useful,
    moving,
    rules_by_one,
    rules_of_some,
    rules_one_by_one,
    share,
)
from clusterglm.likelihood.scalar.ladders import rough_rule
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood, Memory
from clusterglm.likelihood.scalar.posterior import accurate_intercepts, posterior_intercepts
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import FEW_CLUSTERS
from clusterglm.model.parameters import random_intercept_of
from clusterglm.model.quadrature import SCALES, Quadrature
from clusterglm.model.response.base import Response

_ROUGH_NODES = 8  # while quadrature="auto" looks for the neighbourhood of the maximum
_COARSE_NODES = 4  # while a large fit does
_NEAR_ENOUGH = 1e-3  # change of the estimates, relative, after which rules are not chosen again ...
_NEARER = 1e-6  # ... and those that were chosen for single clusters, and do not follow them


class ScalarIntegrator(Integrator[MarginalLikelihood, Rule]):
    """Rules that follow the clusters or stay where they are, on the normal scale or that of the density."""

    @classmethod
    def serves(cls, distribution: Distribution, scale: str) -> bool:
        return scale in SCALES

    def likelihood(
        self, X: Array, data: ClusterArrays, response: Response, threads: int = 1, modes: Array | None = None
    ) -> MarginalLikelihood:
        memory = None if modes is None else Memory(modes)
        problem = core_problem(X, data, response)
        return MarginalLikelihood(problem, self.distribution, self.scale, threads, memory, response.log_concave)

    def posterior(self, data: ModelData, response: Response, theta: Array, plan: Plan, threads: int = 1) -> Intercepts:
        if any(part.rule.nodes == 1 for part in plan):  # Laplace's approximation, which has no spread
            return self.accurate_posterior(data, response, theta, threads)
        return posterior_intercepts(data, response, self.distribution, theta, plan, self.scale, threads)

    def accurate_posterior(self, data: ModelData, response: Response, theta: Array, threads: int = 1) -> Intercepts:
        return accurate_intercepts(data, response, self.distribution, theta, threads)

    def adapted(self, plan: Plan) -> Plan:
        if not self.distribution.own_scale:
            return plan
        return tuple(
            replace(part, rule=replace(part.rule, own=self.distribution if part.rule.own else None)) for part in plan
        )

    def shape_scores(
        self, data: ModelData, response: Response, theta: Array, plan: Plan, family: Distribution, working: Array
    ) -> Array | None:
        nothing = np.zeros((1, 0))
        if self.scale != "normal" or family.by_shape(working, nothing) is None:
            return None
        likelihood = MarginalLikelihood(core_problem(data.X, data, response), self.distribution, self.scale)

        def slopes(t: Array) -> Array:
            found = family.by_shape(working, t)
            assert found is not None
            return found

        return (likelihood.weights * likelihood.means(theta, plan, slopes)).T

    def first_rule(self, quadrature: Quadrature, least: float, size: float) -> Rule:
        if quadrature.kind == "auto":
            return rough_rule(self.distribution, _ROUGH_NODES, least, size)
        return Rule(1 if quadrature.kind == "laplace" else int(quadrature.nodes or 1))

    def no_rule(self) -> Rule:
        return Rule(1)

    def coarse_rule(self, rule: Rule) -> Rule | None:
        return Rule(_COARSE_NODES) if rule.hermite and rule.nodes > _COARSE_NODES else None

    def settled(self, plan: Plan, n_units: int) -> float:
        """The bound of `Integrator.settled`, which rules that stay make stricter.

        Rules that stay where single clusters' integrals were have the errors of that place, and panels of that very
        point: they may be as narrow as an integral of millions of trials.
        """
        if any(part.rule.laid_for == "theta" for part in plan):
            return 0.0
        return _NEARER if n_units <= FEW_CLUSTERS and not self.distribution.unimodal else _NEAR_ENOUGH

    def by_sample(self, goal: Goal) -> bool:
        return goal.n_units > FEW_CLUSTERS

    def proposals(self, likelihood: MarginalLikelihood, theta: Array, goal: Goal) -> NDArray[np.int64]:
        return rules_of_some(likelihood, theta, goal.n_units, self._each(goal, likelihood), likelihood.unimodal)

    def agreed(self, theta: Array, proposals: Sequence[NDArray[np.int64]]) -> Rule:
        sigma = abs(float(theta[random_intercept_of(theta).scale]))
        return most_useful(self.distribution, sigma, np.concatenate(proposals))

    def choose(self, likelihood: MarginalLikelihood, theta: Array, goal: Goal, shared: Rule | None) -> Choice:
        each, unimodal = self._each(goal, likelihood), likelihood.unimodal
        if shared is None:
            choice = rules_one_by_one(likelihood, theta, each, unimodal)
        else:
            choice = rules_by_one(likelihood, theta, shared, each, unimodal)
        return moving(likelihood, theta, choice, each) if goal.moving else choice

    def _each(self, goal: Goal, likelihood: MarginalLikelihood) -> float:
        return share(goal.tolerance, goal.n_units, likelihood.unimodal)
