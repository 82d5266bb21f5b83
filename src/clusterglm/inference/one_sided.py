"""The finite end of a likelihood interval whose other end is infinite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clusterglm.errors import ClusterGLMError

_DOUBLINGS = 40  # of the steps that look for the end


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
        for _ in range(_DOUBLINGS):
            far, reached = near + step, above(near + step)
            if (reached > 0.0) != (value > 0.0):
                end = brentq(above, min(near, far), max(near, far), xtol=1e-9, rtol=1e-10)
                return float(toward * unit * end)
            near, step = far, 2.0 * step
    except ClusterGLMError:
        return np.nan
    return -toward * np.inf if value > 0.0 else np.nan
