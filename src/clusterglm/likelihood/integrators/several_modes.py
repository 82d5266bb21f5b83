"""One Gaussian intercept per cluster, where rows are not log-concave: a cluster's integrand may have several modes.

Rules of `choice.py` rest on one summit of each cluster's likelihood; none of what they promise holds here. Trapezoid
rules on the normal scale that stay where they are see every mode, if they are fine enough: with s standard normal, no
mode of a zero-inflated cluster is narrower than (1 + sigma^2 (sum of its counts) + sigma |s|)^-1/2. For at a mode the
slopes of the positive counts, of the zeros and of the density add up to zero, so that the zeros' part of the curvature
that adds to the positive counts' own is at most their slopes', which is what the counts leave; the rest of the zeros'
curvature makes modes wider. With a step of so many widths the error of a trapezoid rule falls like that of a normal
density's, exp(-2 pi^2 (width / step)^2). What is said of the error is the change from a rule of longer steps: an
estimate, and no bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.likelihood.evaluation import ClusterArrays, core_problem
from clusterglm.likelihood.integrator import Intercepts
from clusterglm.likelihood.integrators.scalar import ScalarIntegrator
from clusterglm.likelihood.plan import Choice, Goal, Part, Plan
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood, Memory
from clusterglm.likelihood.scalar.posterior import posterior_intercepts
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import random_intercept_of
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response
from clusterglm.model.response.zeros.kernels import ZeroInflatedKernel

_HALF_WIDTH, _WIDER = 9.0, 18.0  # the standard normal leaves 2e-19 outside; for clusters whose intercept lies far out
_LADDER = (25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097)
_WIDTHS = 0.75  # widths of the narrowest mode; a third longer, the error is still 1e-7 of the integral
_TO_BEGIN = 65  # nodes of the rule that a search begins with
_AT_ENDS = 1e-13  # share of the integral at the ends of a rule that is believed to hold it
_ABOUT_MODE = (Rule(41, 10.0, about_mode=True), Rule(61, 10.0, about_mode=True))  # of clusters too sharp for the others
_NEARER = 1e-6  # change of the estimates, relative, after which rules are not chosen again


class SeveralModesLikelihood(MarginalLikelihood):
    """A marginal likelihood that knows the sums of its clusters' counts, shape (m,)."""

    totals: Array


class SeveralModes(ScalarIntegrator):
    """Rules that stay where they are, as fine as the narrowest mode that a cluster can have."""

    several_modes = True

    @classmethod
    def serves(cls, distribution: Distribution, scale: str) -> bool:
        return distribution.normal and scale == "normal"

    def likelihood(
        self, X: Array, data: ClusterArrays, response: Response, threads: int = 1, modes: Array | None = None
    ) -> SeveralModesLikelihood:
        memory = None if modes is None else Memory(modes)
        problem = core_problem(X, data, response)
        found = SeveralModesLikelihood(problem, self.distribution, self.scale, threads, memory)
        assert isinstance(response, ZeroInflatedKernel)
        counts = np.where(response.zeros(data.a, data.b), 0.0, data.a)
        found.totals = np.add.reduceat(counts, data.starts[:-1])
        return found

    def posterior(self, data: ModelData, response: Response, theta: Array, plan: Plan, threads: int = 1) -> Intercepts:
        sigma = theta[random_intercept_of(theta).scale]
        if any(part.rule.nodes == 1 for part in plan) and sigma > 0.0:  # Laplace's approximation has no spread
            return self.accurate_posterior(data, response, theta, threads)
        return posterior_intercepts(data, response, self.distribution, theta, plan, self.scale, threads)

    def first_rule(self, quadrature: Quadrature, least: float, size: float) -> Rule:
        if quadrature.kind == "auto":
            return Rule(_TO_BEGIN, _HALF_WIDTH)
        return super().first_rule(quadrature, least, size)

    def coarse_rule(self, rule: Rule) -> Rule | None:
        return None

    def settled(self, plan: Plan, n_units: int) -> float:
        return _NEARER

    def by_sample(self, goal: Goal) -> bool:
        return False

    def proposals(self, likelihood: MarginalLikelihood, theta: Array, goal: Goal) -> NDArray[np.int64]:
        raise NotImplementedError("rules of clusters with several modes are chosen one by one")

    def agreed(self, theta: Array, proposals: Sequence[NDArray[np.int64]]) -> Rule:
        raise NotImplementedError("rules of clusters with several modes are chosen one by one")

    def choose(self, likelihood: MarginalLikelihood, theta: Array, goal: Goal, shared: Rule | None) -> Choice:
        assert isinstance(likelihood, SeveralModesLikelihood)
        sigma, m = likelihood.sigma(theta), likelihood.n_clusters
        each = min(goal.tolerance / m, 1e-7)
        width = 1.0 / np.sqrt(1.0 + sigma * sigma * likelihood.totals + sigma * _HALF_WIDTH)
        wanted = 1.0 + 2.0 * _HALF_WIDTH / (_WIDTHS * width)
        first = np.searchsorted(_LADDER, wanted)
        served: dict[Rule, list[NDArray[np.int64]]] = {}
        errors = np.zeros(m)
        sharp = np.flatnonzero(first >= len(_LADDER))
        for number in np.unique(first[first < len(_LADDER)]).tolist():
            open_ = np.flatnonzero(first == number)
            before = likelihood.cluster_values(theta, _rule(max(number - 1, 0)), open_)[0] if number > 0 else None
            for k in range(number, len(_LADDER)):
                for wide in (False, True):
                    rule = _rule(k, wide)
                    values, ends = likelihood.cluster_values(theta, rule, open_)
                    if not (ends > _AT_ENDS).any():
                        break
                change = np.full(len(open_), np.inf) if before is None else np.abs(values - before)
                last = k == len(_LADDER) - 1
                done = (change <= np.maximum(each, 2e-14 * (1.0 + np.abs(values)))) | last
                served.setdefault(rule, []).append(open_[done])
                errors[open_[done]] = change[done]
                open_, before = open_[~done], values[~done]
                if len(open_) == 0:
                    break
        if len(sharp) > 0:
            coarse, fine = (likelihood.cluster_values(theta, rule, sharp)[0] for rule in _ABOUT_MODE)
            errors[sharp] = np.abs(fine - coarse)
            served.setdefault(_ABOUT_MODE[1], []).append(sharp)
        parts = [(rule, np.sort(np.concatenate(some))) for rule, some in served.items()]
        parts = [(rule, some) for rule, some in parts if len(some) > 0]
        if len(parts) == 1:
            return Choice((Part(parts[0][0]),), float(errors.sum()))
        return Choice(tuple(Part(rule, some) for rule, some in parts), float(errors.sum()))


def _rule(number: int, wide: bool = False) -> Rule:
    nodes = _LADDER[number]
    return Rule(2 * nodes - 1, _WIDER) if wide else Rule(nodes, _HALF_WIDTH)
