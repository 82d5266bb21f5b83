"""How far clusters differ, as odds, rate or hazard ratios: the median ratio and the interval ratio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from clusterglm.inference.effects.ratios import Estimates, exponentiated
from clusterglm.inference.uncertainty.intervals import wald_interval
from clusterglm.likelihood.scalar.rules import averaging_rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.printing import printed
from clusterglm.model.special import log_normal_density

_NORMAL_END = 12.0  # the standard normal leaves 2e-33 below its negative
_PANELS, _ORDER = 48, 16  # of the Gauss-Legendre rules
_AVERAGING = 1025  # nodes for distributions without symmetry
_AT_ZERO = "the maximum lies at sigma = 0: no standard error on the boundary"
_FIXED = "sigma was held fixed and is taken as known"


@printed
@dataclass(frozen=True)
class ScalarEstimate:
    """One number with an interval.

    Parameters
    ----------
    name : str
        What it is.
    estimate, std_error, conf_low, conf_high : float
        nan where there is none; `note` says why.
    level : float
        Coverage of the interval.
    note : str
        Empty when there is nothing to say.
    """

    name: str
    estimate: float
    std_error: float
    conf_low: float
    conf_high: float
    level: float
    note: str = ""

    def __str__(self) -> str:
        words = f"{self.name}: {self.estimate:.5g}"
        if np.isfinite(self.std_error):
            words += f" (Std. Error {self.std_error:.4g}; {100 * self.level:g}% {self.conf_low:.5g}"
            words += f" to {self.conf_high:.5g})"
        return words + (f"; {self.note}" if self.note else "")


def sigma_note(sigma: float, se: float, fixed: bool) -> tuple[str, float]:
    """What to say of a sigma that was not estimated freely, and the standard error to use.

    Parameters
    ----------
    sigma, se : float
    fixed : bool
        Whether sigma was held fixed: then its standard error is 0.

    Returns
    -------
    note : str
    se : float
        nan on the boundary.
    """
    if fixed:
        return _FIXED, 0.0
    return (_AT_ZERO, float("nan")) if sigma == 0.0 else ("", se)


def elasticity(of: Callable[[float], float], distribution: Distribution, sigma: float) -> float:
    """d log of(sigma) / d log sigma of a quantity in proportion to a scale family's sigma: 1, or by differences."""
    if distribution.scale_family:
        return 1.0
    step = 1e-4
    return float(np.log(of(sigma * (1.0 + step)) / of(sigma * (1.0 - step))) / np.log((1.0 + step) / (1.0 - step)))


def difference_quantile(distribution: Distribution, probability: float) -> float:
    """Quantile of the difference of two draws of a standard member.

    Parameters
    ----------
    distribution : Distribution
        A scale family, or a member `at` a sigma.
    probability : float
        In (1/2, 1).

    Notes
    -----
    The distribution's own closed form; where it has none, the root of `difference_tail`.
    """
    known = distribution.difference_quantile(probability)
    if known is not None:
        return known
    from scipy.optimize import brentq

    tail = 1.0 - probability

    def excess(d: float) -> float:
        return float(np.log(difference_tail(distribution, d)) - np.log(tail))

    high = 1.0
    while excess(high) > 0.0:
        high *= 2.0
    return float(brentq(excess, 0.0, high, xtol=1e-14 * high, rtol=1e-13))


def difference_tail(distribution: Distribution, d: float) -> float:
    """P(Z_1 - Z_2 > d) for two draws of a standard member, d not negative.

    Notes
    -----
    Of symmetric draws, with A and B = -Z_2 and S = 1 - F: both exceed d / 2, or one does not and the other makes up for
    it: S(d/2)^2 + 2 E[S(d - B); B <= d/2]. The second term never sees the steep middle of S, so that Gauss-Legendre
    rules on the normal scale of B give it to about 1e-12. Otherwise E S(d + Z_2), by rules that suit the distribution.
    """
    if not distribution.symmetric:
        s, weights = averaging_rule(distribution, _AVERAGING, _NORMAL_END)
        return float(weights @ distribution.sf(distribution.quantile_of_normal(s) + d))
    half = float(distribution.cdf(np.array([-0.5 * d]))[0])
    top = float(-ndtri(half))
    x, w = np.polynomial.legendre.leggauss(_ORDER)
    kinks = [kink for kink in distribution.kinks if kink < top]
    edges = np.sort(np.append(np.linspace(-_NORMAL_END, top, _PANELS + 1), kinks))
    width = 0.5 * np.diff(edges)[:, None]
    s = (0.5 * (edges[:-1] + edges[1:])[:, None] + width * x).ravel()
    weights = (width * w).ravel() * np.exp(log_normal_density(s))
    with np.errstate(over="ignore"):
        return half**2 + 2.0 * float(weights @ distribution.cdf(distribution.quantile_of_normal(s) - d))


def median_ratio(
    sigma: float, se: float, distribution: Distribution, level: float, *, name: str, fixed: bool
) -> ScalarEstimate:
    """Median, over pairs of clusters, of the ratio of the higher to the lower of two rows with the same covariates.

    Parameters
    ----------
    sigma, se : float
        Scale of the intercept with its standard error.
    distribution : Distribution
    level : float
    name : str
        "median odds ratio", for instance.
    fixed : bool
        Whether sigma was held fixed.

    Notes
    -----
    Larsen and Merlo (Am. J. Epidemiology 161, 2005): exp of the median of |u_1 - u_2|, sigma times the 75% point of the
    difference of two draws: exp(sqrt(2) sigma Phi^-1(0.75)) for the Gaussian. The interval is that of log sigma,
    transformed, so that it stays above 1.
    """
    note, se = sigma_note(sigma, se, fixed)

    def log_median(at: float) -> float:
        return at * difference_quantile(distribution.at(at), 0.75)

    log_ratio = log_median(sigma) if sigma > 0.0 else 0.0
    with np.errstate(over="ignore"):
        estimate = float(np.exp(log_ratio))
        if sigma == 0.0:
            return ScalarEstimate(name, 1.0, se, se if not fixed else 1.0, se if not fixed else 1.0, level, note)
        relative = se / sigma * elasticity(log_median, distribution, sigma)
        low, high = wald_interval(np.log([log_ratio]), np.array([relative]), level)
        ends = float(np.exp(np.exp(low[0]))), float(np.exp(np.exp(high[0])))
        return ScalarEstimate(name, estimate, estimate * log_ratio * relative, *ends, level, note)


@dataclass(frozen=True)
class IntervalRatio:
    """The middle of the distribution of ratios between rows of two clusters that differ by a contrast.

    Parameters
    ----------
    ends : Estimates
        Shape (2,): the lower and the upper end with their own intervals.
    gradient : ndarray, shape (2, p + 1)
        Of the logarithms of the ends in (beta, sigma).
    opposed : float
        Share of pairs whose ratio lies on the other side of 1 than exp(contrast).
    note : str
    """

    ends: Estimates
    gradient: Array
    opposed: float
    note: str


def interval_ratio(
    contrast: Array,
    coverage: float,
    beta: Array,
    sigma: float,
    covariance: Array,
    distribution: Distribution,
    level: float,
    *,
    fixed: bool,
) -> IntervalRatio:
    """Interval of ratios between two clusters that differ in their covariates.

    Parameters
    ----------
    contrast : ndarray, shape (p,)
        Difference of the rows' covariates.
    coverage : float
        Share of ratios inside.
    beta : ndarray, shape (p,)
    sigma : float
    covariance : ndarray, shape (p + 1, p + 1)
        Of (beta, sigma); a sigma that is known has 0.
    distribution : Distribution
    level : float
        Of the intervals of the ends.
    fixed : bool
        Whether sigma was held fixed.

    Notes
    -----
    Larsen and Merlo (2005): exp(contrast'beta -+ sigma q), q the (1 + coverage) / 2 quantile of the difference of two
    standard intercepts, sqrt(2) Phi^-1 for the Gaussian. The share of opposed ratios is P(sigma D > |contrast'beta|),
    D that difference (Merlo and others, J. Epidemiol. Community Health 60, 2006).
    """
    note, _ = sigma_note(sigma, 0.0, fixed)

    def reach(at: float) -> float:
        return at * difference_quantile(distribution.at(at), 0.5 * (1.0 + coverage))

    half = reach(sigma) if sigma > 0.0 else 0.0
    slope = half / sigma * elasticity(reach, distribution, sigma) if sigma > 0.0 else reach(1.0)
    middle = float(contrast @ beta)
    gradient = np.array([[*contrast, -slope], [*contrast, slope]])
    se = np.sqrt(np.einsum("ij,jk,ik->i", gradient, covariance, gradient))
    if sigma == 0.0 and not fixed:
        se = np.full(2, np.nan)
    ends = exponentiated(np.array([middle - half, middle + half]), se, level)
    opposed = difference_tail(distribution.at(sigma), abs(middle) / sigma) if sigma > 0.0 else 0.0
    return IntervalRatio(ends, gradient, opposed, note)
