"""Ratios, and coefficients as a population-averaged model would have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.inference.predictions.marginal_mean import MarginalLink
from clusterglm.inference.uncertainty.intervals import wald_interval
from clusterglm.model.arrays import Array
from clusterglm.model.family import RESPONSES, all_responses, default_link
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class Estimates:
    """Estimates with intervals, shape (k,) each."""

    estimate: Array
    std_error: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class MarginalCoefficients:
    """Coefficients of the averaged mean.

    Parameters
    ----------
    estimate, std_error : ndarray, shape (p,)
    covariance : ndarray, shape (p, p)
    gradient : ndarray, shape (p, q)
        In the parameters, such as (beta, sigma).
    misfit : float
        Root mean square, over the rows, of the link of the averaged mean less what the coefficients give: 0 where the
        averaged mean follows the same link exactly.
    """

    estimate: Array
    std_error: Array
    covariance: Array
    gradient: Array
    misfit: float


def ratio_names(response: Response) -> tuple[str, str]:
    """What the exponential of a coefficient is, and that of the intercept.

    Raises
    ------
    OptionError
        For probit.
    """
    if response.ratio is None:
        *known, last = dict.fromkeys(each.link for each in RESPONSES.values() if each.ratio is not None)
        others = any(each.ratio is not None for each in all_responses() if each.family == response.family)
        raise OptionError(
            f"ratios with link {response.link!r}",
            f"a link whose coefficients are logarithms of ratios: {', '.join(known)} or {last}{response.no_ratio}",
            f'average_effects() for differences of probabilities; or a fit with link="{default_link(response.family)}"'
            if others
            else "tidy(): the coefficients are differences of means",
        )
    return response.ratio


def exponentiated(estimate: Array, se: Array, level: float) -> Estimates:
    """Exponentials of estimates, with intervals computed before and standard errors by the delta method.

    Parameters
    ----------
    estimate, se : ndarray, shape (k,)
        Logarithms.
    level : float
    """
    low, high = wald_interval(estimate, se, level)
    with np.errstate(over="ignore"):
        ratio = np.exp(estimate)
        return Estimates(ratio, ratio * se, np.exp(low), np.exp(high))


def marginal_coefficients(
    X: Array, offset: Array, weights: Array, beta: Array, covariance: Array, link: Callable[[Array], MarginalLink]
) -> MarginalCoefficients:
    """Regress the link of the averaged mean on the covariates.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Of full column rank.
    offset, weights : ndarray, shape (n,)
    beta : ndarray, shape (p,)
    covariance : ndarray, shape (p + 1, p + 1)
        Of (beta, sigma); a sigma that is known has 0.
    link : function
        From linear predictors, shape (n,), to the link of the averaged mean.

    Notes
    -----
    Hedeker, du Toit, Demirtas and Gibbons (Biometrics 74, 2018): beta_M = (X'WX)^-1 X'W (g(E mu) - offset), with
    W = 1 in the paper. Exact for probit with Gaussian intercepts without offset, beta / sqrt(1 + sigma^2), and for
    counts, where only the intercept moves; otherwise the averaged mean follows the link nearly. Standard errors by the
    delta method, the rows' covariates held fixed.
    """
    at = link(X @ beta + offset)
    gradient = np.column_stack([at.by_eta[:, None] * X, at.by_sigma])
    return regressed(X, weights, at.link - offset, gradient, covariance)


def regressed(X: Array, weights: Array, target: Array, slopes: Array, covariance: Array) -> MarginalCoefficients:
    """Coefficients that come closest to a function of the parameters, by weighted least squares.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    weights : ndarray, shape (n,)
    target : ndarray, shape (n,)
        What the coefficients are to give: the link of the averaged mean, less the offset.
    slopes : ndarray, shape (n, q)
        Its derivatives in the parameters.
    covariance : ndarray, shape (q, q)
    """
    root = np.sqrt(weights)[:, None]
    size = np.sqrt(np.sum(np.square(root * X), axis=0))  # columns of one length: units do not matter
    Q, R = np.linalg.qr(root * X / size)
    targets = np.column_stack([target, slopes])
    solved = np.linalg.solve(R, Q.T @ (root * targets)) / size[:, None]
    estimate, gradient = solved[:, 0], solved[:, 1:]
    total = gradient @ covariance @ gradient.T
    residual = targets[:, 0] - X @ estimate
    misfit = float(np.sqrt(weights @ np.square(residual) / weights.sum()))
    return MarginalCoefficients(estimate, np.sqrt(np.diag(total)), total, gradient, misfit)
