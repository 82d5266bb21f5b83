"""Conditional maximum likelihood: intercepts drop out, given each cluster's total."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from clusterglm.data.prepare import ModelData
from clusterglm.errors import DataError, DesignError, OptionError
from clusterglm.fit.fixed_effects import informative_clusters, within_maximum
from clusterglm.fit.newton import Optimization
from clusterglm.fit.pooled import on_user_scale
from clusterglm.fit.standardise import standardise
from clusterglm.likelihood.conditional import ConditionalLikelihood
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.profile import ProfileLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response

_KNOWN = ("binomial_logit", "poisson_log")


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
    """

    beta: Array
    covariance: Array
    hessian: Array
    loglik: float
    optimization: Optimization
    informative: NDArray[np.bool_]


def check_conditional(response: Response) -> None:
    """Refuse models in which a cluster's total is not sufficient for its intercept.

    Raises
    ------
    OptionError
    """
    if response.code not in _KNOWN:
        raise OptionError(
            f"a conditional likelihood with family {response.family!r} and link {response.link!r}",
            "a canonical link, for which totals are sufficient: binomial with logit, or Poisson with log",
            "link='logit'; or cg.fixed_effects, which profiles the intercepts for any link",
        )


def fit_conditional(data: ModelData, response: Response, start: Array | None, control: Control) -> ConditionalFit:
    """Fit by Newton's method on the exact Hessian.

    Raises
    ------
    DataError
        When case weights are not whole numbers: given a total, rows have no likelihoods of their own to weigh.
    ClusterError, DesignError, SeparationError
        As `fit_fixed_effects`.
    """
    _check_counts(data, response)
    if data.X.shape[1] == 0:
        raise DesignError(
            "a conditional likelihood without covariates",
            "a covariate: the intercepts drop out, and nothing else is there to estimate",
            "cg.fixed_effects for the intercepts themselves",
        )
    informative = informative_clusters(data, response)
    if response.family == "binomial":
        trials = np.add.reduceat(data.a + data.b, data.starts[:-1])
        informative &= trials > 1.0
    standard = standardise(data.X, None, fixed_effects=True)
    problem = core_problem(standard.X, data, response)
    kind = ConditionalLikelihood if response.family == "binomial" else ProfileLikelihood
    likelihood = kind(problem, data.n_clusters, data.X.shape[1], control.threads)
    maximum = within_maximum(likelihood, data, response, standard, informative, start, control)
    covariance, hessian = on_user_scale(maximum.evaluation.hessian, standard.L)
    loglik = maximum.evaluation.value + data.constant
    if response.family == "poisson":
        loglik += _multinomial(data)
    beta = standard.L @ maximum.theta
    return ConditionalFit(beta, covariance, hessian, loglik, maximum.optimization, informative)


def conditional_scores(data: ModelData, response: Response, beta: Array) -> Array:
    """Each cluster's score at `beta`, times its weight, shape (m, p)."""
    problem, m, p = core_problem(data.X, data, response), data.n_clusters, len(beta)
    if response.family == "binomial":
        return ConditionalLikelihood(problem, m, p).cluster_scores(beta)
    return ProfileLikelihood(problem, m, p).clusters(beta).scores


def _multinomial(data: ModelData) -> float:
    """From Poisson probabilities at the best intercepts to probabilities given the clusters' totals."""
    total = np.add.reduceat(data.a, data.starts[:-1])
    return float(data.cluster_weights @ (gammaln(total + 1.0) - xlogy(total, total) + total))


def _check_counts(data: ModelData, response: Response) -> None:
    counts = (data.a, data.b) if response.family == "binomial" else (data.weights,)
    if any(np.any(values != np.round(values)) for values in counts):
        raise DataError(
            "case weights that are not whole numbers, in a conditional likelihood",
            "weights that count repeated rows: given a cluster's total, a row has no likelihood of its own to weigh",
            "cluster_weights= for weights of whole clusters; or cg.fixed_effects, which takes any case weights",
        )
