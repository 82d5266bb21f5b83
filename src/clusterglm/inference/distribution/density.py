"""The density of a fitted distribution of intercepts, with a band for what is not known of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.model.arrays import Array

_STEP_OF_SHAPE = 1e-4  # relative, of differences in sigma and in shape parameters
_DENSITY_SEEN = 1e-3  # of the highest density: as far out as a picture goes ...
_SIGMAS_DRAWN = 12.0  # ... and no further than so many sigma
_POINTS_LOOKED_AT = 4001


@dataclass(frozen=True)
class DensityBand:
    """A density at some intercepts.

    Parameters
    ----------
    intercepts : ndarray, shape (k,)
        Of the random intercept, whose centre is 0.
    density : ndarray, shape (k,)
    low, high : ndarray, shape (k,)
        Ends of pointwise intervals; nan where there is no covariance of the parameters.
    """

    intercepts: Array
    density: Array
    low: Array
    high: Array


def density_band(fit: RandomEffectsFit, points: int, level: float) -> DensityBand:
    """The density of the intercepts where it can be seen.

    Parameters
    ----------
    fit : RandomEffectsFit
        With sigma > 0.
    points : int
    level : float
        Coverage of the pointwise intervals.

    Notes
    -----
    Delta method on the scale of the density, in sigma and the shape parameters that were estimated, held at 0 below: in
    logarithms a band would be widest where there are hardly any clusters. Of a smooth density with the inverse of the
    penalised information, in which the penalty is a prior.
    """
    sigma = fit.sigma
    t = np.linspace(-_SIGMAS_DRAWN, _SIGMAS_DRAWN, _POINTS_LOOKED_AT)
    f = fit.distribution.at(sigma).log_density(t)[0]
    seen = t[f > f.max() + np.log(_DENSITY_SEEN)]
    b = sigma * np.linspace(seen[0], seen[-1], points)
    log_f, slopes = _log_density(fit, b)
    parameters = fit.parameters if fit.shape is None else fit.all_parameters
    covariance = fit.covariance if fit.shape is None else fit.shape.covariance
    which = np.arange(fit.parameters.scale, len(parameters))  # sigma, and the shape after it
    inner = parameters.zero_where_not_free(covariance)[np.ix_(which, which)]
    error = float(ndtri(0.5 + 0.5 * level)) * np.sqrt(np.einsum("ik,ij,jk->k", slopes, inner, slopes))
    f = np.exp(log_f)
    return DensityBand(b, f, np.maximum(f - f * error, 0.0), f + f * error)


def _log_density(fit: RandomEffectsFit, b: Array) -> tuple[Array, Array]:
    """The log-density at intercepts, and its derivatives in sigma and the shape's working values, shape (1 + k, n)."""
    distribution, sigma = fit.distribution, fit.sigma
    member = distribution.at(sigma)
    value, slope, *_ = member.log_density(b / sigma)
    if distribution.scale_family:
        by_sigma = -(1.0 + slope * b / sigma) / sigma
    else:
        step = _STEP_OF_SHAPE * sigma
        up, down = (distribution.at(s).log_density(b / s)[0] - np.log(s) for s in (sigma + step, sigma - step))
        by_sigma = (up - down) / (2.0 * step)
    found, shape = [by_sigma], fit.shape
    if shape is not None:
        family, working = shape.family, shape.working
        by_shape = family.by_shape(working, b / sigma)
        if by_shape is None:
            steps = _STEP_OF_SHAPE * np.diag(1.0 + np.abs(working))
            both = [
                [family.with_shape(working + s * each).log_density(b / sigma)[0] for s in (1.0, -1.0)] for each in steps
            ]
            by_shape = np.array(
                [(up - down) / (2.0 * each.sum()) for (up, down), each in zip(both, steps, strict=True)]
            )
        found += list(by_shape)
    return value - np.log(sigma), np.array(found)
