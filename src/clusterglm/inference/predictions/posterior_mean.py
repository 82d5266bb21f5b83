"""The mean of a response given what is known of its cluster: averaged over the posterior of the cluster's intercept.

The mean of h(eta + v) over the posterior of v is the probability of one more success, given the cluster's data. So its
logarithm is a difference of two log-integrals, of the cluster with a success more and of the cluster as it is, and its
derivatives are differences of their scores. The same for a failure; and for Poisson counts, with exp(eta + v) for h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from clusterglm.data.clusters import rows_of
from clusterglm.data.prepare import ModelData
from clusterglm.inference.distribution.mass_points import scores_at
from clusterglm.inference.predictions.integrals import log_integrals
from clusterglm.inference.predictions.marginal_mean import link_of_rarer
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.scalar.choice import choose_plan
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import Plan, Rule
from clusterglm.model.arrays import Array, times
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import NUMBERS_AT_A_TIME, ROWS_MADE_UP
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response

_EACH = 1e-8  # error of the log-integral of a cluster by its rule; there is a finer one besides
_EACH_ALONE = 1e-11  # that where no rule can be chosen for a row's own integral
_SETTLED = 1e-9  # change of the mean from rule to rule, and share at a rule's ends, relative, that are believed
_FAR = 1e4  # a linear predictor beyond is as good as infinite
_STEEP = 600.0  # up to where slopes of log-likelihoods are numbers

_Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Posterior:
    """What the data of m clusters say of their intercepts, ready for questions.

    Parameters
    ----------
    data : ModelData
    response : Response
    distribution : Distribution
    theta : ndarray, shape (p + 1,)
        (beta, sigma).
    plan : Plan
        Rules that serve the clusters' integrals to 1e-8 each, or 1e-11.
    kernel : tuple of ModelData and Response
        The data as rows that the core knows: themselves, unless the response has parameters of its own.
    """

    data: ModelData
    response: Response
    distribution: Distribution
    theta: Array
    plan: Plan
    kernel: tuple[ModelData, Response]

    def likelihood(self) -> MarginalLikelihood:
        """The clusters' likelihoods, on the normal scale."""
        return _likelihood(*self.kernel, self.distribution)

    @property
    def takes_a_row_more(self) -> bool:
        """Whether a row with a = 1 and b = 0 is the logarithm of a mean, to the core."""
        known = self.kernel[1] is self.response
        return known and (self.response.trials or self.response.poisson_totals)


@dataclass(frozen=True)
class PosteriorMean:
    """Means given the data of clusters, on the scale of the link.

    Parameters
    ----------
    link : ndarray, shape (n,)
    gradient : ndarray, shape (n, p + 1), or None
        Derivatives in (beta, sigma); None where they were not asked for.
    resolved : ndarray of bool, shape (n,)
        Rows whose integrals are known accurately.
    """

    link: Array
    gradient: Array | None
    resolved: NDArray[np.bool_]


def posterior_of(
    data: ModelData,
    response: Response,
    distribution: Distribution,
    theta: Array,
    kernel: tuple[ModelData, Response] | None = None,
) -> Posterior:
    """Choose rules for the posteriors of all clusters of `data`, whatever quadrature a fit used; see `Posterior`."""
    kernel = (data, response) if kernel is None else kernel
    found = Posterior(data, response, distribution, theta, (), kernel)
    if theta[random_intercept(data.X.shape[1]).scale] > 0.0:
        likelihood, each = found.likelihood(), _EACH if found.takes_a_row_more else _EACH_ALONE
        found = replace(found, plan=choose_plan(likelihood, theta, data.n_clusters * each, likelihood.unimodal).plan)
    return found


def _likelihood(data: ModelData, response: Response, distribution: Distribution) -> MarginalLikelihood:
    problem = core_problem(data.X, data, response)
    return MarginalLikelihood(problem, distribution, "normal", log_concave=response.log_concave)


def posterior_mean(
    posterior: Posterior, X: Array, offset: Array, cluster: NDArray[np.int64], gradient: bool
) -> PosteriorMean:
    """The mean of each row over the posterior of its cluster's intercept.

    Parameters
    ----------
    posterior : Posterior
    X : ndarray, shape (n, p)
        Of rows, which need not be among the cluster's data.
    offset : ndarray, shape (n,)
    cluster : ndarray of int64, shape (n,)
        Numbers in the posterior's data.
    gradient : bool
        Whether derivatives are wanted.

    Notes
    -----
    By a cluster's rule and by one of twice its nodes; where these differ, or much of the mean lies at the ends of the
    rule, by rules chosen for the row's own integral.
    """
    theta, response = posterior.theta, posterior.response
    n, parameters = len(X), random_intercept(X.shape[1])
    eta = X @ theta[parameters.coefficients] + offset
    if theta[parameters.scale] == 0.0:
        by_theta = np.column_stack([X, np.zeros(n)]) if gradient else None
        return PosteriorMean(eta, by_theta, np.ones(n, dtype=bool))
    log_mean, own = np.empty(n), np.empty((n, len(theta))) if gradient else None
    success, settled = np.ones(n), np.zeros(n, dtype=bool)
    order, likelihood = np.argsort(cluster, kind="stable"), posterior.likelihood()
    for rule, chosen in _by_rule(posterior, cluster[order]):
        for rows in _blocks(order[chosen], rule.finer.nodes):
            found = _at_nodes(posterior, likelihood, rule, X, eta, cluster, rows, gradient)
            log_mean[rows], success[rows], settled[rows] = found.log_mean, found.success, found.settled
            if own is not None:
                own[rows] = found.gradient
    rest = np.flatnonzero(~settled & posterior.takes_a_row_more)
    for rows in _extended_blocks(rest, np.diff(posterior.data.starts)[cluster]):
        log_mean[rows], by_theta, settled[rows] = _extended(posterior, X, offset, cluster, rows, success)
        if own is not None:
            own[rows] = by_theta
    link, per_log = _on_link(log_mean, success, response)
    if own is not None:
        with np.errstate(invalid="ignore", over="ignore"):
            own *= per_log[:, None]
    return PosteriorMean(link, own, settled & np.isfinite(link))


def _on_link(log_mean: Array, success: Array, response: Response) -> tuple[Array, Array]:
    """The link of the mean, from the logarithm of the probability of a success or failure; and its derivative in it."""
    if response.exponential_mean:
        return log_mean, np.ones(len(log_mean))
    if not response.trials:
        mean = np.exp(log_mean)
        link = response.link_function(mean)
        return link, mean / response.mean_derivative(link)
    rarer = np.exp(log_mean)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # probabilities that are 0 in float64
        link = link_of_rarer(rarer, success, response)
        return link, rarer / ((2.0 * success - 1.0) * response.mean_derivative(link))


def _by_rule(posterior: Posterior, cluster: NDArray[np.int64]) -> Iterator[tuple[Rule, _Rows]]:
    """Each rule and the positions in `cluster` of those that it serves."""
    for part in posterior.plan:
        if part.clusters is None:
            yield part.rule, np.arange(len(cluster))
        else:
            yield part.rule, np.flatnonzero(np.isin(cluster, part.clusters))


def _blocks(rows: _Rows, nodes: int) -> Iterator[_Rows]:
    size = max(1, NUMBERS_AT_A_TIME // nodes)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _extended_blocks(rows: _Rows, sizes: NDArray[np.int64]) -> Iterator[_Rows]:
    """Parts whose made-up clusters have about so many rows as memory may hold."""
    if len(rows) > 0:
        part = np.cumsum(2 * sizes[rows] + 1) // ROWS_MADE_UP
        yield from np.split(rows, np.flatnonzero(np.diff(part)) + 1)


@dataclass(frozen=True)
class _Found:
    """Some rows' log-means of the rarer outcome, which that is, their derivatives, and whether rules agree."""

    log_mean: Array
    success: Array
    settled: NDArray[np.bool_]
    gradient: Array


def _at_nodes(
    posterior: Posterior,
    likelihood: MarginalLikelihood,
    rule: Rule,
    X: Array,
    eta: Array,
    cluster: NDArray[np.int64],
    rows: _Rows,
    gradient: bool,
) -> _Found:
    """Log-means by rules of twice a cluster's nodes, derivatives by the cluster's own, which is to give equal means."""
    members, which = np.unique(cluster[rows], return_inverse=True)
    response, theta, eta = posterior.response, posterior.theta, eta[rows, None]
    fine, success = np.zeros(0), np.ones((len(rows), 1))
    for each in (rule.finer, rule):
        s, terms = likelihood.terms(theta, each, members)
        log_weights = terms - logsumexp(terms, axis=1, keepdims=True)
        v, by_sigma = likelihood.intercepts(theta, s)
        at = np.clip(eta + v[which], -_FAR, _FAR)
        if len(fine) == 0 and response.trials:
            likely = np.take_along_axis(at, log_weights.argmax(axis=1)[which, None], axis=1)
            success = (likely <= response.link_function(np.array([0.5]))).astype(np.float64)
        log_means, slopes = _log_means(response, at, success)
        joint = log_weights[which] + log_means
        found = logsumexp(joint, axis=1)
        fine = found if len(fine) == 0 else fine
    believed = not (rule.panels or rule.hermite)  # laid for the cluster's own integral, or for want of better
    ends = np.exp(np.logaddexp(joint[:, 0], joint[:, -1]) - found)
    settled = (np.abs(found - fine) <= _SETTLED) & (rule.heavy | (ends <= _SETTLED)) & believed
    derivatives = np.empty((0, 0))
    if gradient:
        tilted = np.exp(joint - found[:, None])
        change_of_weights = tilted - np.exp(log_weights)[which]
        slope = times(tilted, slopes())
        derivatives, at_theta = np.empty((len(rows), len(theta))), random_intercept(X.shape[1])
        by_beta, by_v = scores_at(posterior.data, response, theta[at_theta.coefficients], members, v)
        for j, score in enumerate(by_beta):
            derivatives[:, j] = times(change_of_weights, score[which]).sum(axis=1)
        derivatives[:, at_theta.coefficients] += slope.sum(axis=1)[:, None] * X[rows]
        by_intercept = times(change_of_weights, by_v[which]) + slope
        derivatives[:, at_theta.scale] = times(by_intercept, by_sigma[which]).sum(axis=1)
    return _Found(fine, success[:, 0], settled, derivatives)


def _log_means(response: Response, at: Array, success: Array) -> tuple[Array, Callable[[], Array]]:
    """Logarithms of means, of failures where `success` is 0; and their derivatives, once they are wanted."""
    if response.trials:
        near = np.clip(at, -_STEEP, _STEEP)  # further out slopes are no numbers, and have no weight
        values = response.value(at, success, 1.0 - success)
        return values, lambda: response.derivatives(near, success, 1.0 - success)[1]
    if response.exponential_mean:
        return at, lambda: np.ones_like(at)
    with np.errstate(divide="ignore"):
        mean = response.mean(at)
        return np.log(mean), lambda: response.mean_derivative(at) / mean


def _extended(
    posterior: Posterior, X: Array, offset: Array, cluster: NDArray[np.int64], rows: _Rows, success: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Log-means by two integrals a row: of its cluster as it is, and with the row as one more success or failure."""
    data = posterior.data
    old, begin = rows_of(data.starts, cluster[rows])
    where = begin[1:]  # the rows' places, each after its cluster
    found = []
    for more in (False, True):
        design, known, a, b = (
            np.insert(own[old], where, new[rows], axis=0) if more else own[old]
            for own, new in ((data.X, X), (data.offset, offset), (data.a, success), (data.b, 1.0 - success))
        )
        starts = begin + (np.arange(len(begin)) if more else 0)
        found.append(
            log_integrals(design, known, a, b, starts, posterior.theta, posterior.response, posterior.distribution)
        )
    before, after = found
    return after.values - before.values, after.scores - before.scores, before.accurate & after.accurate
