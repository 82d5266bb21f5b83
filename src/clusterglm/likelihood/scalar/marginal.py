"""The marginal likelihood of a random-intercept model: theta = (beta, sigma) -> value, score, exact Hessian.

Formulas: docs/explanation/likelihood.md, "The marginal likelihood" to "Moving nodes".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from clusterglm import _core
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.scalar.location import location_map, reach
from clusterglm.likelihood.scalar.outside import Summits, summits
from clusterglm.likelihood.scalar.rules import Plan, Rule, rule_for_logs, rule_for_moments
from clusterglm.model.arrays import Array, times
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import NUMBERS_AT_A_TIME
from clusterglm.model.parameters import random_intercept
from clusterglm.model.special import log_normal_density


class Memory:
    """What a likelihood remembers from one call to the next, of one model and its data.

    Results depend on it by no more than the tolerance of the search for modes: a fresh one costs time, and that is all.

    Parameters
    ----------
    modes : ndarray, shape (m,)
        Where each cluster's mode was last found, on the scale of integration: the next search starts there.

    Attributes
    ----------
    omegas : ndarray, shape (m,)
        Inverse roots of the curvature at the modes, by the last call of a rule that follows them.
    sigma : float
        At which the maps below were made; of no account for scale families.
    maps : tuple of LocationMap
        The map m(s, sigma) that adaptive rules use, and that of fixed rules.
    summits : tuple of (ndarray, Summits), optional
        The last theta whose summits were asked for, and these.
    """

    def __init__(self, modes: Array) -> None:
        self.modes = modes
        self.omegas = np.zeros(len(modes))
        self.sigma = 1.0
        self.maps: tuple[_core.LocationMap, _core.LocationMap] | None = None
        self.summits: tuple[Array, Summits] | None = None


class MarginalLikelihood:
    """Sums of the clusters' log-integrals, each by a quadrature rule of its own.

    The derivatives are those of the approximation itself, not approximations of derivatives.

    Parameters
    ----------
    problem : Problem
        The data.
    distribution : Distribution
        Of the random intercept.
    scale : {"normal", "density", "own"}
        Scale of integration of adaptive rules ("own": see `location_map`); fixed rules always use the normal scale.
    threads : int
        Threads of the core; results are the same bits for any number.
    memory : Memory, optional
        By default a fresh one.
    log_concave : bool
        Whether the rows' log-probabilities are concave in the linear predictor; see `Response.log_concave`.
    """

    def __init__(
        self,
        problem: _core.Problem,
        distribution: Distribution,
        scale: str,
        threads: int = 1,
        memory: Memory | None = None,
        log_concave: bool = True,
    ) -> None:
        self.n_clusters = problem.n_clusters
        self.parameters = random_intercept(problem.n_coefficients)
        # derivatives are in the kernel's own parameters too, which stand behind the coefficients
        self._derived = random_intercept(problem.n_coefficients + problem.n_own)
        self.n_parameters = len(self._derived)
        self.weights = problem.cluster_weights
        self.threads = threads
        self.distribution, self.scale = distribution, scale
        self.unimodal = distribution.unimodal and log_concave
        self.memory = Memory(np.zeros(self.n_clusters)) if memory is None else memory
        self._problem = problem
        # A symmetric scale family's likelihood is even in sigma by itself; others are made so.
        self._folded = not (distribution.symmetric and distribution.scale_family)
        self._maps(self.memory.sigma)

    def evaluate(self, theta: Array, plan: Plan, order: int = 2) -> Evaluation:
        """Log-likelihood (without constants) at `theta`, shape (p + 1,), of (beta, sigma).

        The derivatives are in (beta, sigma), or (beta, the kernel's own parameters, sigma) where the problem has some.
        """
        value, score = 0.0, np.zeros(self.n_parameters)
        hessian = np.zeros((self.n_parameters, self.n_parameters))
        for part in plan:
            more = self._call(theta, part.rule, part.clusters, order)
            value, score, hessian = value + more.value, score + more.score, hessian + more.hessian
        return Evaluation(value, score, hessian)

    def cluster_values(self, theta: Array, rule: Rule, clusters: NDArray[np.int64] | None) -> tuple[Array, Array]:
        """Log-likelihoods of single clusters by one rule, and the share of each integral that lies at the rule's ends.

        Returns
        -------
        values, ends : ndarray
            As many as `clusters`; `ends` is zero for Gauss-Hermite rules, whose ends carry no meaning.
        """
        values, ends = np.zeros(self.n_clusters), np.zeros(self.n_clusters)
        self._call(theta, rule, clusters, 0, values=values, ends=None if rule.hermite else ends)
        return (values, ends) if clusters is None else (values[clusters], ends[clusters])

    def unit_values(self, theta: Array, plan: Plan) -> Array:
        """Each cluster's (weighted) log-likelihood, shape (m,)."""
        values = np.empty(self.n_clusters)
        for part in plan:
            chosen = slice(None) if part.clusters is None else part.clusters
            values[chosen] = self.cluster_values(theta, part.rule, part.clusters)[0]
        return values

    def evaluate_by_cluster(self, theta: Array, rule: Rule) -> tuple[Evaluation, Array, Array]:
        """What `evaluate` and `cluster_values` give of all clusters under one rule, in one pass."""
        values, ends = np.zeros(self.n_clusters), np.zeros(self.n_clusters)
        whole = self._call(theta, rule, None, 2, values=values, ends=None if rule.hermite else ends)
        return whole, values, ends

    def unit_scores(self, theta: Array, plan: Plan) -> Array:
        """Each cluster's (weighted) score, shape (m, p + 1)."""
        scores = np.zeros((self.n_clusters, self.n_parameters))
        for part in plan:
            self._call(theta, part.rule, part.clusters, 1, scores=scores)
        return scores

    def posterior(self, theta: Array, plan: Plan) -> tuple[Array, Array]:
        """Mean and standard deviation of each cluster's intercept given its data, shape (m,) each."""
        posterior = np.zeros((self.n_clusters, 2))
        for part in plan:
            self._call(theta, rule_for_moments(part.rule), part.clusters, 0, posterior=posterior)
        return posterior[:, 0], posterior[:, 1]

    def terms(self, theta: Array, rule: Rule, clusters: NDArray[np.int64]) -> tuple[Array, Array]:
        """A rule's nodes on the normal scale, and logs of what each adds to clusters' integrals, without their weights.

        Parameters
        ----------
        theta : ndarray, shape (p + 1,)
        rule : Rule
        clusters : ndarray of int64, shape (c,)

        Returns
        -------
        nodes, terms : ndarray, shape (c, k)
            Of an instance whose scale is the normal one.
        """
        nodes, log_weights = rule.points
        s = np.broadcast_to(nodes, (len(clusters), len(nodes)))
        if rule.adaptive:
            self._call(theta, rule, clusters, 0)
            unit = self.memory.omegas[clusters, None]
            s, log_weights = self.memory.modes[clusters, None] + unit * nodes, log_weights + np.log(unit)
        found = self.log_integrands(theta, clusters, s) + log_weights
        return s, np.where(np.isnan(found), -np.inf, found)

    def means(self, theta: Array, plan: Plan, of: Callable[[Array], Array]) -> Array:
        """Posterior means of functions of each cluster's intercept over sigma, shape (k, m).

        Parameters
        ----------
        theta : ndarray, shape (p + 1,)
            At sigma > 0.
        plan : Plan
        of : callable
            Takes intercepts, shape (c, j), and gives the k functions there, shape (k, c, j), which far out grow no
            faster than logarithms. Of rules that do not follow clusters, c = 1.

        Notes
        -----
        Of an instance whose scale is the normal one.
        """
        found, order = [], []
        for part in plan:
            clusters = np.arange(self.n_clusters) if part.clusters is None else part.clusters
            rule = rule_for_logs(part.rule)
            size = max(1, NUMBERS_AT_A_TIME // rule.nodes)
            for first in range(0, len(clusters), size):
                some = clusters[first : first + size]
                s, terms = self.terms(theta, rule, some)
                weights = np.exp(terms - logsumexp(terms, axis=1, keepdims=True))
                t = self.intercepts(theta, s if rule.adaptive else s[:1])[0] / self.sigma(theta)
                found.append(times(weights, of(t)).sum(axis=2))
                order.append(some)
        whole = np.empty((len(found[0]), self.n_clusters))
        whole[:, np.concatenate(order)] = np.hstack(found)
        return whole

    def intercepts(self, theta: Array, s: Array) -> tuple[Array, Array]:
        """Intercepts at points of the normal scale and their derivatives in sigma, as integrands have them."""
        theta, out = self._prepared(theta)[0], np.empty((s.size, 17))
        sigma = float(theta[self.parameters.scale])
        _core.locate(self._maps(sigma)[1], np.ascontiguousarray(s).ravel(), sigma, out)
        return out[:, 0].reshape(s.shape), out[:, 5].reshape(s.shape)

    def spans(self, rule: Rule, clusters: NDArray[np.int64]) -> tuple[Array, Array, Array]:
        """Which part of the normal scale a rule covered when it last served clusters.

        Returns
        -------
        low, high, unit : ndarray, shape (c,)
            Ends of that part, and the length in which distances of nodes are given: infinite for a fixed rule, which
            has none. Not of Gauss-Hermite rules.
        """
        nodes, c = rule.points[0], len(clusters)
        if not rule.about_mode:
            inside = slice(1, -1) if rule.kinks else slice(None)  # the outermost nodes show what lies beyond
            low, high = nodes[inside][[0, -1]]
            return np.full(c, low), np.full(c, high), np.full(c, np.inf)
        modes, unit = self.memory.modes[clusters], self.memory.omegas[clusters]
        return modes + nodes[0] * unit, modes + nodes[-1] * unit, unit

    def log_integrands(self, theta: Array, clusters: NDArray[np.int64] | None, points: Array) -> Array:
        """Logs of clusters' integrands on the normal scale, without their weights, at points of each.

        Parameters
        ----------
        theta : ndarray, shape (p + 1,)
        clusters : ndarray of int64, shape (c,), or None
            Numbers, any of them more than once; None means all.
        points : ndarray, shape (c, k)
        """
        out = np.empty(points.shape)
        folded = self._prepared(theta)[0]
        points = np.ascontiguousarray(points)
        _core.integrands(self._problem, self._maps(folded[-1])[1], folded, clusters, points, out, self.threads)
        return out

    def summits(self, theta: Array) -> Summits:
        """Where each cluster's likelihood is highest as a function of its intercept; remembered for the last theta."""
        known = self.memory.summits
        if known is None or not np.array_equal(known[0], theta):
            known = self.memory.summits = theta.copy(), self._found_summits(theta)
        return known[1]

    def _found_summits(self, theta: Array) -> Summits:
        m, beta = self.n_clusters, np.ascontiguousarray(theta[self.parameters.coefficients])
        intercepts, information = np.full(m, np.nan), np.zeros(m)
        nothing = np.zeros(len(beta)), np.zeros((len(beta), len(beta)))
        _core.profile(self._problem, beta, 0, intercepts, *nothing, information, None, None, self.threads)

        def log_likelihood(clusters: NDArray[np.int64], b: Array) -> Array:
            found = np.empty((len(b), 1))
            linear = self.parameters.joined(beta, 1.0)  # a Gaussian intercept can be any number
            _core.integrands(self._problem, _core.gaussian(), linear, clusters, b[:, None].copy(), found, self.threads)
            return np.asarray(found[:, 0] - log_normal_density(b))

        far = reach(self.distribution)
        return summits(self.distribution, self.sigma(theta), intercepts, information, far, log_likelihood)

    def sigma(self, theta: Array) -> float:
        """The scale of the intercept at `theta`, whatever its sign there."""
        return abs(float(theta[self.parameters.scale]))

    def modes(self, theta: Array) -> Array:
        """Mode on the scale of integration of every cluster, as found by the Laplace rule at `theta`, shape (m,)."""
        self._call(theta, Rule(1), None, 0)
        return self.memory.modes.copy()

    def _call(
        self,
        theta: Array,
        rule: Rule,
        clusters: NDArray[np.int64] | None,
        order: int,
        values: Array | None = None,
        ends: Array | None = None,
        scores: Array | None = None,
        posterior: Array | None = None,
    ) -> Evaluation:
        score, hessian = np.zeros(self.n_parameters), np.zeros((self.n_parameters, self.n_parameters))
        theta, mirrored = self._prepared(theta)
        value = _core.marginal(
            self._problem,
            self._maps(theta[self.parameters.scale])[0 if rule.adaptive else 1],
            rule.core,
            theta,
            order,
            clusters,
            self.memory.modes,
            score,
            hessian,
            values,
            ends,
            scores,
            posterior,
            self.memory.omegas,
            self.threads,
        )
        if mirrored:
            of_beta, of_sigma = self._derived.coefficients, self._derived.scale
            score[of_sigma] *= -1.0
            hessian[of_sigma, of_beta] *= -1.0
            hessian[of_beta, of_sigma] *= -1.0
            if scores is not None:
                scores[slice(None) if clusters is None else clusters, of_sigma] *= -1.0
        return Evaluation(value, score, hessian)

    def _prepared(self, theta: Array) -> tuple[Array, bool]:
        """theta as the core takes it, and whether the sign of its sigma was changed for that."""
        mirrored = bool(self._folded and theta[self.parameters.scale] < 0.0)
        if mirrored:
            theta = self.parameters.reflected(theta)
        return np.ascontiguousarray(theta), mirrored

    def _maps(self, sigma: float) -> tuple[_core.LocationMap, _core.LocationMap]:
        """The map that adaptive rules use, and that of fixed rules."""
        memory = self.memory
        if memory.maps is None or not (self.distribution.scale_family or sigma == memory.sigma):
            memory.sigma = float(sigma)
            fixed = location_map(self.distribution, "normal", memory.sigma)
            own = fixed if self.scale == "normal" else location_map(self.distribution, self.scale, memory.sigma)
            memory.maps = own, fixed
        return memory.maps
