"""Conditional maximum likelihood: intercepts drop out, given each cluster's total."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.errors import DesignError, OptionError
from clusterglm.fit.newton import Optimization
from clusterglm.fit.penalty_within import PenalizedWithin
from clusterglm.fit.pooled import on_user_scale
from clusterglm.fit.within import (
    Informative,
    WithinSums,
    WithoutClusters,
    informative_clusters,
    sums_within,
    within_maximum,
)
from clusterglm.likelihood.conditional import ConditionalLikelihood
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.profile import ProfileLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class ConditionalEstimates(WithoutClusters):
    """Conditional maximum likelihood estimates, on the user's scale, without what belongs to single clusters.

    Parameters
    ----------
    beta : ndarray, shape (p,)
    covariance, hessian : ndarray, shape (p, p)
        Inverse of the observed information, and the Hessian of the conditional log-likelihood.
    loglik : float
        Log of the probability of the responses given each cluster's total.
    optimization : Optimization
    clusters : Informative
        How many clusters contribute.
    """

    beta: Array
    covariance: Array
    hessian: Array
    loglik: float
    optimization: Optimization
    clusters: Informative

    penalty: ClassVar[str | None] = None  # which takes all rows at once
    penalized_loglik: ClassVar[float | None] = None


@dataclass(frozen=True)
class ConditionalFit:
    """Conditional maximum likelihood estimates, on the user's scale.

    Parameters
    ----------
    beta : ndarray, shape (p,)
    covariance, hessian : ndarray, shape (p, p)
        Inverse of the observed information, and the Hessian of the conditional log-likelihood.
    loglik : float
        Log of the probability of the responses given each cluster's total.
    optimization : Optimization
    informative : ndarray of bool, shape (m,)
        Clusters that contribute; in others the total leaves nothing to chance.
    penalty : "firth", optional
        What was added to the log-likelihood that was maximised; `loglik` is without it.
    penalized_loglik : float, optional
        The maximum: `loglik` and the penalty.
    """

    beta: Array
    covariance: Array
    hessian: Array
    loglik: float
    optimization: Optimization
    informative: NDArray[np.bool_]
    penalty: str | None = None
    penalized_loglik: float | None = None

    @property
    def by_cluster(self) -> ConditionalFit:
        """The fit with what belongs to single clusters: this one."""
        return self


def check_conditional(response: Response) -> None:
    """Refuse models in which a cluster's total is not sufficient for its intercept.

    Raises
    ------
    OptionError
    """
    if not response.totals_suffice:
        raise OptionError(
            f"a conditional likelihood with family {response.family!r} and link {response.link!r}",
            "a canonical link, for which totals are sufficient: binomial with logit, or Poisson with log",
            "link='logit'; or cg.fixed_effects, which profiles the intercepts for any link",
        )


def fit_conditional(
    data: ModelData, response: Response, start: Array | None, control: Control, penalty: str | None = None
) -> ConditionalFit:
    """Fit by Newton's method on the exact Hessian.

    Raises
    ------
    DataError
        When case weights are not whole numbers: given a total, rows have no likelihoods of their own to weigh.
    ClusterError, DesignError, SeparationError
        As `fit_fixed_effects`; with a penalty nothing separates.
    """
    within = WithinSums(sums_within(data, response, control.threads), conditional=True)
    penalized = None if penalty is None else PenalizedWithin.of(within)
    found, value = _estimates(within, start, control, penalized)
    fit = ConditionalFit(
        found.beta,
        found.covariance,
        found.hessian,
        found.loglik,
        found.optimization,
        informative_clusters(data, response),
    )
    return fit if penalized is None else replace(fit, penalty=penalty, penalized_loglik=value + penalized.constant)


def conditional_estimates(within: WithinSums, start: Array | None, control: Control) -> ConditionalEstimates:
    """Conditional maximum likelihood from sums over blocks, without what belongs to single clusters."""
    return _estimates(within, start, control)[0]


def _estimates(
    within: WithinSums, start: Array | None, control: Control, penalized: PenalizedWithin | None = None
) -> tuple[ConditionalEstimates, float]:
    """The estimates, and the maximum of what was maximised, without its constants."""
    clusters = within.informative()
    if within.p == 0:
        raise DesignError(
            "a conditional likelihood without covariates",
            "a covariate: the intercepts drop out, and nothing else is there to estimate",
            "cg.fixed_effects for the intercepts themselves",
        )
    maximum = within_maximum(within, clusters, start, control, None if penalized is None else penalized.evaluate)
    alone = maximum.evaluation if penalized is None else within.evaluate(maximum.theta)
    L = within.sums.standard.L
    covariance, hessian = on_user_scale(alone.hessian, L)
    loglik = alone.value + within.sums.data.constant + within.constant()
    found = ConditionalEstimates(L @ maximum.theta, covariance, hessian, loglik, maximum.optimization, clusters)
    return found, maximum.evaluation.value


def conditional_scores(data: ModelData, response: Response, beta: Array) -> Array:
    """Each cluster's score at `beta`, times its weight, shape (m, p)."""
    problem = core_problem(data.X, data, response)
    if response.poisson_totals:
        return ProfileLikelihood(problem).clusters(beta).scores
    return ConditionalLikelihood(problem).cluster_scores(beta)
