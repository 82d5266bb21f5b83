"""Maximum likelihood of the random-intercept model."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import ClusterError, IntegrationError, OptionError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.newton import Maximum
from clusterglm.fit.pooled import PooledFit, on_user_scale, penalized_estimates, pooled_estimates, sums_of
from clusterglm.fit.search import Found, Task, find_maximum
from clusterglm.fit.shape import fit_with_shape
from clusterglm.fit.smooth import fit_smooth
from clusterglm.fit.soft import SoftMarginal, marginal_of
from clusterglm.fit.sums import Sums
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.report import IntegrationReport, report
from clusterglm.model.arguments import number, yes_or_no
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import CLUSTERS_LOOKED_AT
from clusterglm.model.parameters import random_intercept
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response

_DEFAULT = Control()
_NEGLIGIBLE = 1e-3  # sigma below this is compared with sigma = 0
_LARGEST_SIGMA = 1e6  # sigma with which float64 can compute
_BOUNDLESS = 200.0  # a sigma of which no data set on a logit scale can tell


def fit_random_effects(
    data: ModelData,
    response: Response,
    distribution: Distribution,
    quadrature: Quadrature,
    scale: str = "normal",
    start: Array | None = None,
    sigma: float | None = None,
    fix_sigma: bool = False,
    control: Control = _DEFAULT,
    penalty: str | None = None,
) -> RandomEffectsFit:
    """Fit by full Newton steps on the exact Hessian of the approximated likelihood.

    Parameters
    ----------
    data : ModelData
    response, distribution, quadrature, scale, control
        The model and how to fit it.
    start : ndarray, shape (p,), optional
        Starting coefficients; by default from the pooled fit.
    sigma : float, optional
        Starting value of sigma, or its value if `fix_sigma`.
    fix_sigma : bool
        Hold sigma at the value given.
    penalty : "soft", optional

    Raises
    ------
    ClusterError
        When sigma is not identified or has no finite maximum; never with a penalty.
    SeparationError
        When covariates separate the responses; never with a penalty.
    """
    check_sigma(sigma, fix_sigma)
    if penalty is not None:
        _refuse_beside_penalty(penalty, distribution, fix_sigma and sigma == 0.0)
    if distribution.free:

        def fit_at(member: Distribution, beta: Array | None, scale_of_it: float | None) -> RandomEffectsFit:
            first = start if beta is None else beta
            held = sigma if fix_sigma or scale_of_it is None else scale_of_it
            return fit_random_effects(data, response, member, quadrature, scale, first, held, fix_sigma, control)

        if distribution.smoothed:
            if not fix_sigma:
                refuse_homogeneous_clusters(data, response)
            sums = sums_of(data, response, control)

            def fit_to_sums(member: Distribution, at: tuple[Array, float] | None) -> RandomEffectsFit:
                first, held = (start, sigma) if at is None else at
                return fit_sums(sums, member, quadrature, "normal", first, held, fix_sigma, control)

            return fit_smooth(sums, distribution, quadrature, scale, fit_to_sums, control)
        return fit_with_shape(fit_at, distribution)
    if not fix_sigma and penalty is None:
        refuse_homogeneous_clusters(data, response)
    sums = sums_of(data, response, control)
    return fit_sums(sums, distribution, quadrature, scale, start, sigma, fix_sigma, control, penalty)


def fit_again(
    fit: RandomEffectsFit, data: ModelData, start: Array | None = None, control: Control = _DEFAULT
) -> RandomEffectsFit:
    """Fit the model of `fit` to other data: a shape that was estimated is estimated again, a sigma that was held stays.

    Parameters
    ----------
    fit : RandomEffectsFit
    data : ModelData
    start : ndarray, shape (p + 1,), optional
        (beta, sigma) from which to start.
    control : Control
    """
    asked = fit.integration
    beta, sigma = None, None
    if start is not None:
        beta, sigma = start[fit.parameters.coefficients], float(start[fit.parameters.scale])
    if fit.sigma_fixed:
        sigma = fit.sigma
    return fit_random_effects(
        data,
        fit.response,
        fit.free_distribution,
        asked.requested,
        asked.scale,
        beta,
        sigma,
        fix_sigma=fit.sigma_fixed,
        control=control,
        penalty=fit.penalty,
    )


def loglik_at(fit: RandomEffectsFit, sigma: float) -> float:
    """What is maximised, at another sigma; nan where its maximum is not found.

    From the coefficients of the fit, which grow with sigma where this is large.
    """
    asked, start = fit.integration, fit.beta * (sigma / max(fit.sigma, 1.0) if sigma > 1.0 else 1.0)
    again = fit_random_effects(
        fit.data.rows,
        fit.response,
        fit.distribution,
        asked.requested,
        asked.scale,
        start,
        sigma,
        True,
        penalty=fit.penalty,
    )
    if not again.optimization.converged:
        return np.nan
    return again.loglik if again.penalized_loglik is None else again.penalized_loglik


def fit_sums(
    sums: Sums,
    distribution: Distribution,
    quadrature: Quadrature,
    scale: str,
    start: Array | None,
    sigma: float | None,
    fix_sigma: bool,
    control: Control,
    penalty: str | None = None,
) -> RandomEffectsFit:
    """Fit a random-intercept model to sums over blocks, some cluster of which is known to have responses that vary."""
    check_sigma(sigma, fix_sigma)
    data, response = sums.data, sums.response
    quiet = replace(control, progress=None)
    pooled = pooled_estimates(sums, quiet) if penalty is None else penalized_estimates(sums, quiet, "firth")
    if fix_sigma and sigma == 0.0:
        return _without_intercepts(pooled, sums, distribution, quadrature, scale, fixed=True)
    likelihood = marginal_of(sums, integrator_for(distribution, scale), penalty)
    parameters = random_intercept(data.names, data.cluster_name, "held" if fix_sigma else "free")
    task = Task(sums, likelihood, quadrature, parameters, control)
    found = find_maximum(task, pooled.beta, start, sigma)
    if isinstance(likelihood, SoftMarginal):
        return _penalized(task, likelihood, found, pooled)
    maximum = found.maximum
    loglik = maximum.evaluation.value + data.constant
    reached = task.sigma(maximum.theta)
    if not fix_sigma and _at_boundary(reached, loglik, pooled.loglik, sums.weights.unit):
        return _without_intercepts(pooled, sums, distribution, quadrature, scale, fixed=False)
    if reached > _BOUNDLESS and not fix_sigma and response.bounded:
        raise ClusterError(
            f"sigma grew to {reached:.3g} while the log-likelihood still rose",
            "clusters in which responses vary, and offsets as small as linear predictors, so that a finite sigma is "
            "most likely",
            "penalty='soft', whose estimates are finite; or hold sigma with sigma=..., fix_sigma=True",
        )
    return _finish(task, found, pooled, loglik)


def refuse_homogeneous_clusters(data: ModelData, response: Response) -> None:
    """Raise `ClusterError` when every cluster's responses are equal: the likelihood then rises with sigma for ever."""
    for m in (min(CLUSTERS_LOOKED_AT, data.n_clusters), data.n_clusters):  # mostly the first few show it
        starts, n = data.starts[:m], data.starts[m]
        a, b = np.add.reduceat(data.a[:n], starts), np.add.reduceat(data.b[:n], starts)
        if np.any(response.rises_towards(a, b) == 0.0):
            return
    refuse_homogeneous(data.n_clusters, response)


def refuse_homogeneous(n_clusters: int, response: Response) -> NoReturn:
    """The error for clusters none of which has both successes and failures."""
    raise ClusterError(
        f"none of the {n_clusters} clusters has {response.words.varied}",
        "responses that vary within some clusters; otherwise the likelihood rises with sigma for ever",
        "check that cluster= names the right column; or analyse one row per cluster with cg.pooled",
    )


def check_sigma(sigma: float | None, fix_sigma: bool) -> None:
    """Raise `OptionError` unless sigma is a scale, and given where it is fixed."""
    if sigma is not None:
        needed = f"a number, not negative, and at most {_LARGEST_SIGMA:g}"
        number("sigma", sigma, 0.0, _LARGEST_SIGMA, needed=needed, advice="sigma=0.5, or leave it out")
    yes_or_no("fix_sigma", fix_sigma)
    if fix_sigma and sigma is None:
        raise OptionError(
            "fix_sigma=True without sigma=", "the value at which to hold sigma", "sigma=1.0, fix_sigma=True"
        )


def _at_boundary(sigma: float, loglik: float, pooled: float, unit: float) -> bool:
    """Whether the model without intercepts is as likely: sigma = 0 is then no worse than what was found."""
    noise = 1e-9 * (unit + abs(pooled)) if sigma < _NEGLIGIBLE else 0.0
    return loglik <= pooled + noise


def _without_intercepts(
    pooled: PooledFit,
    sums: Sums,
    distribution: Distribution,
    quadrature: Quadrature,
    scale: str,
    *,
    fixed: bool,
) -> RandomEffectsFit:
    plan = (Part(integrator_for(distribution, scale).no_rule()),)
    parameters = random_intercept(sums.p, state="held" if fixed else "boundary")
    return RandomEffectsFit(
        beta=pooled.beta,
        sigma=0.0,
        covariance=parameters.nan_where_not_free(pooled.covariance),
        hessian=parameters.nan_where_not_free(pooled.hessian),
        loglik=pooled.loglik,
        optimization=pooled.optimization,
        integration=report(plan, sums.rounding(), quadrature, scale, sums.data.n_clusters, sums.weights.unit),
        pooled=pooled,
        boundary=not fixed,
        sigma_fixed=fixed,
        data=sums.data,
        distribution=distribution,
        response=sums.response,
        plan=plan,
    )


def _refuse_improper_maximum(task: Task, maximum: Maximum, integration: IntegrationReport) -> None:
    """A coarse rule's likelihood may rise without end: where a cluster's curvature vanishes, or as sigma grows."""
    if integration.requested.kind != "auto" and not np.isfinite(maximum.optimization.gradient_norm):
        raise IntegrationError(
            f"the log-likelihood by {integration.requested} has no proper maximum: the search ended at sigma = "
            f"{task.sigma(maximum.theta):.4g}, where its Hessian is not negative definite",
            "an integration fine enough for this distribution and these data",
            'quadrature="auto", or more nodes',
        )


def _refuse_beside_penalty(penalty: str, distribution: Distribution, without: bool) -> None:
    if distribution.free:
        raise OptionError(
            f"penalty={penalty!r} with the shape of {distribution.name} to be estimated",
            "a distribution of given shape: the penalty holds sigma and the coefficients alone",
            'a shape, such as "student_t(4)"; or penalty=None',
        )
    if without:
        raise OptionError(
            f"penalty={penalty!r} with sigma held at 0",
            "a random intercept that varies: the penalty is infinite at sigma = 0",
            "cg.pooled(..., penalty='firth')",
        )


def _penalized(task: Task, likelihood: SoftMarginal, found: Found, pooled: PooledFit) -> RandomEffectsFit:
    """The estimates, with the observed information of the responses alone in (beta, log sigma).

    Where that is not positive definite it is that of the penalised likelihood.
    """
    maximum = found.maximum
    plain = likelihood.plain.evaluate(maximum.theta, task.sums.by_block(found.plan))
    hessian, at = plain.hessian.copy(), task.parameters.scale
    hessian[at, at] += plain.score[at] / task.sigma(maximum.theta)  # far from a maximum curvature depends on the scale
    if np.linalg.eigvalsh(task.parameters.of_free(hessian)).max() >= 0.0:
        hessian = maximum.evaluation.hessian
    informed = replace(maximum, evaluation=Evaluation(plain.value, plain.score, hessian))
    fit = _finish(task, replace(found, maximum=informed), pooled, plain.value + task.sums.data.constant)
    value = maximum.evaluation.value + task.sums.data.constant
    return replace(fit, penalty="soft", penalized_loglik=value)


def _finish(task: Task, found: Found, pooled: PooledFit, loglik: float) -> RandomEffectsFit:
    maximum, parameters, L = found.maximum, task.parameters, task.sums.standard.L
    if task.all_free:
        _refuse_improper_maximum(task, maximum, found.integration)
    inner = parameters.of_free(maximum.evaluation.hessian)
    covariance, hessian = on_user_scale(inner, parameters.of_free(parameters.to_user(L)))
    return RandomEffectsFit(
        beta=L @ maximum.theta[parameters.coefficients],
        sigma=task.sigma(maximum.theta),
        covariance=parameters.nan_where_not_free(covariance),
        hessian=parameters.nan_where_not_free(hessian),
        loglik=loglik,
        optimization=maximum.optimization,
        integration=found.integration,
        pooled=pooled,
        boundary=False,
        sigma_fixed=not task.all_free,
        data=task.sums.data,
        distribution=task.distribution,
        response=task.sums.response,
        plan=found.plan,
    )
