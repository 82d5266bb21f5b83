"""What the data say of each cluster's intercept, given the estimates."""

from __future__ import annotations

import numpy as np

from clusterglm import _core
from clusterglm.data.prepare import ModelData
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.integrator import Intercepts
from clusterglm.likelihood.plan import Plan
from clusterglm.likelihood.scalar.choice import choose_plan
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response

_EACH = 1e-8  # error of the log-integral of a cluster whose posterior moments are wanted


def accurate_intercepts(
    data: ModelData, response: Response, distribution: Distribution, theta: Array, threads: int = 1
) -> Intercepts:
    """The same as `posterior_intercepts`, by rules chosen for it, whatever quadrature the fit used."""
    plan: Plan = ()
    if theta[random_intercept(data.X.shape[1]).scale] > 0.0:
        problem = core_problem(data.X, data, response)
        likelihood = MarginalLikelihood(problem, distribution, "normal", threads, log_concave=response.log_concave)
        plan = choose_plan(likelihood, theta, data.n_clusters * _EACH, likelihood.unimodal).plan
    return posterior_intercepts(data, response, distribution, theta, plan, "normal", threads)


def posterior_intercepts(
    data: ModelData,
    response: Response,
    distribution: Distribution,
    theta: Array,
    plan: Plan,
    scale: str,
    threads: int = 1,
) -> Intercepts:
    """Mode, mean and standard deviation of every cluster's intercept.

    Parameters
    ----------
    data, response, distribution : ModelData, Response, Distribution
        The model.
    theta : ndarray, shape (p + 1,)
        (beta, sigma) on the user's scale.
    plan, scale : Plan, str
        Quadrature rules of the fit and their scale of integration; they serve the moments too.
    threads : int
        Threads of the core.
    """
    m = data.n_clusters
    if theta[random_intercept(data.X.shape[1]).scale] == 0.0:
        return Intercepts(np.zeros(m), np.zeros(m), np.zeros(m))
    problem = core_problem(data.X, data, response)
    means, sds = MarginalLikelihood(problem, distribution, scale, threads).posterior(theta, plan)
    modes = posterior_modes_of(problem, distribution, theta, threads)
    return Intercepts(modes, *_existing_moments(means, sds, data, distribution))


def posterior_modes_of(problem: _core.Problem, distribution: Distribution, theta: Array, threads: int = 1) -> Array:
    """Mode of every cluster's intercept, shape (m,), at sigma > 0.

    The mode depends on the variable of integration; the intercept's own is that of its density.
    """
    scale = "density" if distribution.density_scale else "own"
    likelihood = MarginalLikelihood(problem, distribution, scale, threads)
    s, sigma = likelihood.modes(theta), likelihood.sigma(theta)
    return np.asarray(sigma * (s if scale == "density" else distribution.at(sigma).quantile_of_normal(s)))


def _existing_moments(means: Array, sds: Array, data: ModelData, distribution: Distribution) -> tuple[Array, Array]:
    """Posterior moments that do not exist become infinite.

    Where the likelihood tends to a constant as the intercept goes to infinity (no failures; on the other side no
    successes or no counts), the posterior has the tail of the distribution and only its moments.
    """
    order = distribution.moment_order
    if order > 2.0:
        return means, sds
    no_upper = np.add.reduceat(data.b, data.starts[:-1]) == 0.0
    no_lower = np.add.reduceat(data.a, data.starts[:-1]) == 0.0
    sds = np.where(no_upper | no_lower, np.inf, sds)
    if order <= 1.0:
        means = np.where(no_upper, np.inf, np.where(no_lower, -np.inf, means))
    return means, sds
