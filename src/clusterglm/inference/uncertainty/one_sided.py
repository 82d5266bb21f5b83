"""Ends of likelihood intervals from fits that hold the parameter: where a quadratic likelihood is far from true."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clusterglm.errors import ClusterGLMError

_MOST_DOUBLINGS = 40  # of the steps that look for the end
_OCTAVES = 12


def finite_end(loglik: Callable[[float], float], top: float, drop: float, toward: float, unit: float) -> float:
    """Where a profile log-likelihood that rises towards infinity lies so much below its limit.

    Parameters
    ----------
    loglik : callable
        The profile at a value of the parameter.
    top : float
        Its limit.
    drop : float
    toward : {1, -1}
        On which side of the axis the limit is.
    unit : float
        What the parameter is looked for in, such as one over the range of its covariate.

    Returns
    -------
    float
        Infinite where it never falls as far; nan where the profile cannot be followed.
    """
    from scipy.optimize import brentq

    def above(t: float) -> float:
        return loglik(toward * unit * t) - (top - drop)

    try:
        near, value = 0.0, above(0.0)
        step = -1.0 if value > 0.0 else 1.0
        for _ in range(_MOST_DOUBLINGS):
            far, reached = near + step, above(near + step)
            if (reached > 0.0) != (value > 0.0):
                end = brentq(above, min(near, far), max(near, far), xtol=1e-9, rtol=1e-10)
                return float(toward * unit * end)
            near, step = far, 2.0 * step
    except ClusterGLMError:
        return np.nan
    return -toward * np.inf if value > 0.0 else np.nan


def upper_end(loglik: Callable[[float], float], top: float, drop: float, start: float) -> float:
    """Where the profile of a positive parameter has fallen so far above its maximum.

    Parameters
    ----------
    loglik : callable
        The profile at a value of the parameter.
    top : float
        Its maximum.
    drop : float
    start : float
        At the maximum or above it, where the profile has not fallen as far.

    Returns
    -------
    float
        inf where it does not fall as far within 2^12 times the start; nan where it cannot be followed.
    """
    from scipy.optimize import brentq

    def above(log: float) -> float:
        return loglik(float(np.exp(log))) - (top - drop)

    near = float(np.log(start))
    try:
        for _ in range(_OCTAVES):
            far = near + float(np.log(2.0))
            if np.isnan(value := above(far)):
                return np.nan
            if value <= 0.0:
                return float(np.exp(brentq(above, near, far, xtol=1e-6)))
            near = far
    except (ClusterGLMError, ValueError):  # brentq's, of a profile that is no number between
        return np.nan
    return np.inf
