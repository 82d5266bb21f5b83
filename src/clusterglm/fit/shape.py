"""Shape parameters of the intercept's distribution, estimated with the rest by maximising the profile likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from clusterglm.data.weighing import weighing, weight_sum
from clusterglm.errors import ClusterGLMError
from clusterglm.fit.estimates import RandomEffectsFit, ShapeEstimate
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution

_SHAPE_STEP = 1e-3  # of differences in a working value
_AT_END = 1e-5  # share of the range of a working value
_MAX_STEPS = 60
_FLAT_GRADIENT = 1e-3  # gradient of the log-likelihood in a working value that is as good as zero


@dataclass
class _Search:
    """The profile log-likelihood of the shape, each fit beginning where the best one so far ended."""

    fit_at: Callable[[Distribution, Array | None, float | None], RandomEffectsFit]
    family: Distribution
    best: RandomEffectsFit | None = None
    at: Array = field(default_factory=lambda: np.empty(0))
    fits: int = 0

    def __call__(self, working: Array) -> tuple[float, Array]:
        """Minus the profile log-likelihood over weights' unit; its gradient, by differences at given (beta, sigma)."""
        working = np.clip(working, *_range(self.family))
        start, sigma = (None, None) if self.best is None else (self.best.beta, self.best.sigma or None)
        fit = self.fit_at(self.family.with_shape(working), start, sigma)
        self.fits += 1
        if self.best is None or fit.loglik > self.best.loglik:
            self.best, self.at = fit, working.copy()
        unit = weighing([weight_sum(fit.data.rows)]).unit
        if fit.sigma == 0.0:
            return -fit.loglik / unit, np.zeros(len(working))
        at = shape_likelihood(fit, self.family)
        return -fit.loglik / unit, -_slopes(lambda shape: at(shape)[0], self.family, working) / unit


def fit_with_shape(
    fit_at: Callable[[Distribution, Array | None, float | None], RandomEffectsFit], family: Distribution
) -> RandomEffectsFit:
    """Maximise over the free shape parameters of `family`, and beta and sigma with them.

    Parameters
    ----------
    fit_at : callable
        Takes a distribution without free parameters and starting values of beta and sigma; returns the fit.
    family : Distribution

    Returns
    -------
    RandomEffectsFit
        Of the most likely member, with `shape`; its covariance allows for the estimation of the shape.

    Raises
    ------
    ClusterGLMError
        When no member can be fitted from any starting value.

    Notes
    -----
    A bounded quasi-Newton search (L-BFGS-B) of the profile log-likelihood from each combination of the starting
    values. The gradient in the shape is that at fixed (beta, sigma), which are at their maximum; differences give it to
    six digits in the time of two evaluations. Uncertainty is that of the joint observed information: the exact Hessian
    in (beta, sigma), differences of scores across shapes. The score in the shape is exact, the posterior mean of the
    derivative of the log-density, where the distribution has that and rules follow a tolerance.
    """
    from scipy.optimize import minimize

    free = family.free
    search, failure, converged = _Search(fit_at, family), None, False
    for start in product(*(parameter.starts for parameter in free)):
        before = search.best.loglik if search.best is not None else -np.inf
        try:
            found = minimize(
                search,
                np.array(start),
                jac=True,
                method="L-BFGS-B",
                bounds=[(parameter.low, parameter.high) for parameter in free],
                options={"maxiter": _MAX_STEPS, "ftol": 1e-12, "gtol": _FLAT_GRADIENT},
            )
        except ClusterGLMError as error:
            failure = error
            continue
        if search.best is not None and search.best.loglik > before:
            converged = bool(found.success)
        if search.best is not None and search.best.optimization.status == "interrupted":
            converged = False
            break
    if search.best is None:
        assert failure is not None
        raise failure
    return _with_estimate(search, converged)


def shape_likelihood(fit: RandomEffectsFit, family: Distribution) -> Callable[[Array], tuple[float, Array]]:
    """At the estimates of `fit`, the log-likelihood and its score in (beta, sigma) as functions of the shape."""
    data = fit.data.rows

    def value(working: Array) -> tuple[float, Array]:
        integrator = replace(fit.integrator, distribution=family.with_shape(working))
        there = integrator.likelihood(data.X, data, fit.response).evaluate(fit.theta, integrator.adapted(fit.plan), 1)
        return there.value, there.score

    return value


def shape_scores(fit: RandomEffectsFit, shape: ShapeEstimate) -> Array:
    """Each cluster's score in the working values at the estimates, shape (m, k)."""
    data, exact = fit.data.rows, _exact_scores(fit, shape.family, shape.working)
    if exact is not None:
        return exact

    def values(working: Array) -> Array:
        integrator = replace(fit.integrator, distribution=shape.family.with_shape(working))
        return integrator.likelihood(data.X, data, fit.response).unit_values(fit.theta, integrator.adapted(fit.plan))

    return _slopes(values, shape.family, shape.working).T


def _exact_scores(fit: RandomEffectsFit, family: Distribution, working: Array) -> Array | None:
    """Clusters' scores in the working values, at the (beta, sigma) of a fit; None where they are not to be had.

    Rules of a given number of nodes maximise what they give, which has other derivatives than the integral.
    """
    if fit.integration.requested.kind != "auto":
        return None
    integrator = replace(fit.integrator, distribution=family.with_shape(working))
    plan = integrator.adapted(fit.plan)
    return integrator.shape_scores(fit.data.rows, fit.response, fit.theta, plan, family, working)


def _slopes(of: Callable[[Array], Array | float], family: Distribution, working: Array) -> Array:
    """Derivatives in the working values by differences, central ones but at the ends of ranges, shape (k, ...)."""
    low, high = _range(family)
    slopes = []
    for j, step in enumerate(np.eye(len(working)) * _SHAPE_STEP):
        up, down = np.minimum(working + step, high), np.maximum(working - step, low)
        slopes.append((of(up) - of(down)) / (up - down)[j])
    return np.array(slopes)


def _range(family: Distribution) -> tuple[Array, Array]:
    """Ends of the ranges of the working values."""
    return np.array([each.low for each in family.free]), np.array([each.high for each in family.free])


def _with_estimate(search: _Search, converged: bool) -> RandomEffectsFit:
    fit, family, working = search.best, search.family, search.at
    assert fit is not None
    free = family.free
    values, slopes = family.shape(working)
    notes = [] if converged else ["the search for the shape stopped before it converged"]
    inside = np.ones(len(free), dtype=bool)
    for j, parameter in enumerate(free):
        margin = _AT_END * (parameter.high - parameter.low)
        if working[j] <= parameter.low + margin:
            notes.append(f"{parameter.name} is at the end of its range: {parameter.at_low}")
            inside[j] = False
        elif working[j] >= parameter.high - margin:
            notes.append(f"{parameter.name} is at the end of its range: {parameter.at_high}")
            inside[j] = False
    names = tuple(parameter.name for parameter in free)
    given, parameters = slice(0, len(fit.parameters)), fit.parameters.and_shapes(names)
    covariance = np.full((len(parameters), len(parameters)), np.nan)
    covariance[given, given] = fit.covariance
    if fit.sigma > 0.0 and inside.all():
        information = -parameters.of_free(_joint_hessian(fit, family, working))
        scale = 1.0 / np.sqrt(np.abs(np.diag(information)))
        scaled = information * np.outer(scale, scale)
        if np.isfinite(scaled).all() and np.linalg.eigvalsh(scaled)[0] > 1e-8:
            covariance = parameters.nan_where_not_free(np.linalg.inv(scaled) * np.outer(scale, scale))
        else:
            notes.append("the information on the shape is not positive definite: no standard error")
    with np.errstate(invalid="ignore"):
        std_errors = np.abs(slopes) * np.sqrt(np.diag(covariance)[parameters.shapes])
    shape = ShapeEstimate(
        family,
        names,
        values,
        std_errors,
        working,
        covariance,
        tuple(notes),
        search.fits,
    )
    return replace(fit, covariance=covariance[given, given].copy(), shape=shape)


def _joint_hessian(fit: RandomEffectsFit, family: Distribution, working: Array) -> Array:
    """In (beta, sigma, working values): exact in the first two, differences of exact scores or values otherwise."""
    at, k = shape_likelihood(fit, family), len(working)
    if _exact_scores(fit, family, working) is not None:

        def score(shape: Array) -> Array:
            scores = _exact_scores(fit, family, shape)
            assert scores is not None
            return np.asarray(scores.sum(axis=0))

        across = _slopes(lambda shape: at(shape)[1], family, working).T
        within = _slopes(score, family, working)
        return np.block([[fit.hessian, across], [across.T, 0.5 * (within + within.T)]])
    across, within = np.empty((len(fit.parameters), k)), np.empty((k, k))
    steps = np.eye(k) * _SHAPE_STEP
    middle = at(working)[0]
    for i in range(k):
        (up, score_up), (down, score_down) = at(working + steps[i]), at(working - steps[i])
        across[:, i] = (score_up - score_down) / (2.0 * _SHAPE_STEP)
        within[i, i] = (up - 2.0 * middle + down) / _SHAPE_STEP**2
        for j in range(i):
            corners = [at(working + a * steps[i] + b * steps[j])[0] for a, b in ((1, 1), (-1, -1), (1, -1), (-1, 1))]
            mixed = (corners[0] + corners[1] - corners[2] - corners[3]) / (4.0 * _SHAPE_STEP**2)
            within[i, j] = within[j, i] = mixed
    return np.block([[fit.hessian, across], [across.T, within]])
