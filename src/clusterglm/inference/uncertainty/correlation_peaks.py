"""Profiles of correlations of random effects, in coordinates in which their likelihoods are smooth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clusterglm.errors import ClusterGLMError
from clusterglm.fit.newton import Maximum, maximize_free
from clusterglm.inference.uncertainty.profiling import Peak
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.covariance.compound_symmetry import ENDLESS, CompoundSymmetry

RIGHT_ANGLE = 0.5 * np.pi


def peak_of_angle(
    evaluate: Callable[[Array], Evaluation], theta: Array, where: int, least: Callable[[], float]
) -> Peak:
    """The peak of an angle whose sine is a correlation.

    Parameters
    ----------
    evaluate : callable
    theta : ndarray, shape (q,)
        The maximum.
    where : int
        Of the angle in theta; before it stand the standard deviations of its two effects.
    least : callable
        What the log-likelihood is without one of the effects: it can be had with any correlation.
    """
    two = slice(where - 2, where)

    def unturned(there: Array) -> Evaluation:
        """The likelihood, which knows no standard deviations below 0: these turn the correlation's sign."""
        found = evaluate(there)
        return found if (there[two] >= 0.0).all() else replace(found, value=np.nan)

    here, direction = evaluate(theta), np.eye(len(theta))[where]
    peak = Peak(unturned, theta, here, direction, read=_sine, least=-RIGHT_ANGLE, most=RIGHT_ANGLE)
    if (theta[two] == 0.0).any():  # one of the effects does not vary: any correlation is as good
        return replace(peak, value_at_least=here.value, value_at_most=here.value)
    lowest = least()
    values = [max(value_at(peak, end), lowest) for end in (-RIGHT_ANGLE, RIGHT_ANGLE)]
    return replace(peak, value_at_least=values[0], value_at_most=values[1])


def _sine(angle: float) -> float:
    return float(np.sin(np.clip(angle, -RIGHT_ANGLE, RIGHT_ANGLE)))


def peak_of_common_correlation(
    evaluate: Callable[[Array], Evaluation], theta: Array, here: Evaluation, where: int, d: int
) -> Peak:
    """The correlation of d compound symmetric effects, in a number whose ends are as good as infinite."""
    low, high = np.log(d - 1) - ENDLESS, np.log(d - 1) + ENDLESS

    def read(t: float) -> float:
        inner = t if low < t < high else np.copysign(np.inf, t - low)
        return float(CompoundSymmetry.correlation(inner, d)[0])

    peak = Peak(evaluate, theta, here, np.eye(len(theta))[where], low, most=high, read=read)
    return replace(peak, value_at_least=value_at(peak, low), value_at_most=value_at(peak, high))


def value_at(peak: Peak, end: float) -> float:
    """The profile at a value, -inf where it cannot be found."""
    if abs(peak.estimate - end) < 1e-9:
        return peak.evaluation.value
    found = held_at(peak, end, peak.theta)
    return -np.inf if found is None else found.evaluation.value


def held_at(peak: Peak, value: float, begin: Array) -> Maximum | None:
    """The maximum over all parameters but the peak's, which has a value; None where there is none to be found."""
    others = peak.direction == 0.0
    try:
        found = maximize_free(
            peak.evaluate, np.where(others, begin, value), Control(), 1.0, others, lambda theta: theta
        )
    except ClusterGLMError:
        return None
    return found if found.optimization.status in ("converged", "stalled") else None
