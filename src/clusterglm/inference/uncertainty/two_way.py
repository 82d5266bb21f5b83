"""Uncertainty beside the intercepts of two factors: scores, robust covariances, variances of effects, and bias."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.two_way import TwoWay
from clusterglm.errors import OptionError
from clusterglm.fit.two_way import TwoWayFit, covariance_at, crossing_of, information_at, intercepts_at
from clusterglm.inference.uncertainty.bias import solve_bias
from clusterglm.inference.uncertainty.correction import ANALYTICAL, refuse_counts
from clusterglm.inference.uncertainty.covariance import sandwich
from clusterglm.likelihood.two_way import Crossing, Intercepts
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response

_Integers = NDArray[np.int64]

_PREDICTIONS_AT_A_TIME = 4_096


class Joint:
    """The information of coefficients and all intercepts at the estimates.

    Parameters
    ----------
    used : TwoWay
    fit : TwoWayFit
    response : Response
        With the residual standard deviation, if it has one.
    more : ndarray, shape (n, k), optional
        What further parameters are beside the covariates; they do not move linear predictors themselves.
    """

    def __init__(self, used: TwoWay, fit: TwoWayFit, response: Response, more: Array | None = None) -> None:
        rows = used.rows
        self.crossing: Crossing = crossing_of(used)
        self.X, self._beta = rows.X if more is None else np.column_stack([rows.X, more]), fit.beta
        eta = rows.X @ fit.beta + rows.offset + self.crossing.at_rows(fit.intercepts, fit.second)
        self.slope = response.derivatives(eta, rows.a, rows.b)[1]
        self.system = Intercepts(self.crossing, information_at(used, response, eta))

    @cached_property
    def projection(self) -> tuple[Array, Array]:
        """What intercepts of both factors take up of columns: minus their derivatives in beta, (m, p) and (q, p)."""
        return self.system.projection(self.X)

    @cached_property
    def scores(self) -> Array:
        """Each row's score in beta, the intercepts being at their best, shape (n, p)."""
        return np.asarray(self.system.residual(self.X) * self.slope[:, None])

    @cached_property
    def _inverse(self) -> Array:
        """Covariance of the second factor's intercepts at known beta, shape (q, q); 0 at references."""
        found = np.asarray(np.linalg.inv(self.system.reduced), dtype=np.float64)
        pinned = self.crossing.references
        found[pinned, pinned] = 0.0
        return found

    def variances(self, covariance: Array) -> tuple[Array, Array]:
        """Variances of both factors' intercepts, given the covariance of beta, shape (m,) and (q,)."""
        first, second = self.projection
        inverse, D, C = self._inverse, self.system.first, self.system.pairs
        own = np.empty(self.crossing.m)
        for start in range(0, self.crossing.m, _PREDICTIONS_AT_A_TIME):
            part = C[start : start + _PREDICTIONS_AT_A_TIME]
            own[start : start + _PREDICTIONS_AT_A_TIME] = np.asarray(part.multiply(part @ inverse).sum(axis=1)).ravel()
        of_first = 1.0 / D + own / D**2 + np.einsum("ij,jk,ik->i", first, covariance, first)
        return of_first, np.diag(inverse) + np.einsum("ij,jk,ik->i", second, covariance, second)

    def variances_at(self, X: Array, first: _Integers, second: _Integers, covariance: Array) -> Array:
        """Variances of linear predictors, shape (k,).

        Parameters
        ----------
        X : ndarray, shape (k, p)
        first, second : ndarray of int64, shape (k,)
            Levels of both factors.
        covariance : ndarray, shape (p, p)
            Of beta.
        """
        by_first, by_second = self.projection
        inverse, D, C = self._inverse, self.system.first, self.system.pairs
        found = np.empty(len(X))
        for start in range(0, len(X), _PREDICTIONS_AT_A_TIME):
            some = slice(start, start + _PREDICTIONS_AT_A_TIME)
            i, j = first[some], second[some]
            share = -C[i].toarray() / D[i][:, None]
            share[np.arange(len(i)), j] += 1.0
            left = X[some] - by_first[i] - by_second[j]
            found[some] = (
                1.0 / D[i]
                + np.einsum("ij,ij->i", share @ inverse, share)
                + np.einsum("ij,jk,ik->i", left, covariance, left)
            )
        return found

    def noise(self, first: Array, second: Array) -> tuple[Array, Array]:
        """What the intercepts add to averages.

        Parameters
        ----------
        first : ndarray, shape (m, k)
        second : ndarray, shape (q, k)
            Derivatives of k averages in the intercepts.

        Returns
        -------
        covariance : ndarray, shape (k, k)
            Of these averages at known beta.
        gradient : ndarray, shape (k, p)
            In beta, by way of the intercepts.
        """
        u, v = self.system.solve(first, second)
        by_first, by_second = self.projection
        return first.T @ u + second.T @ v, -(first.T @ by_first + second.T @ by_second)


def clustered(covariance: Array, scores: Array, codes: _Integers) -> Array:
    """Robust covariance of clusters, m / (m - 1) included, from scores of rows (n, p) and their clusters (n,)."""
    m = int(codes.max()) + 1
    columns = [np.bincount(codes, scores[:, j], m) for j in range(scores.shape[1])]
    sums = np.column_stack(columns).astype(np.float64, copy=False) if columns else np.zeros((m, 0))
    return sandwich(covariance, sums, np.ones(m))


def clustered_two_way(covariance: Array, scores: Array, first: _Integers, second: _Integers) -> Array:
    """Robust covariance of rows that are dependent where they share a level of either factor.

    Parameters
    ----------
    covariance : ndarray, shape (p, p)
        Inverse of the information.
    scores : ndarray, shape (n, p)
        Of rows.
    first, second : ndarray of int64, shape (n,)

    Notes
    -----
    Cameron, Gelbach and Miller (Journal of Business and Economic Statistics 29, 2011): the sum of the covariances of
    either clustering, less that of the combinations, each with its own m / (m - 1); eigenvalues below 0 become 0.
    """
    pairs = np.unique(first * (int(second.max()) + 1) + second, return_inverse=True)[1].astype(np.int64)
    whole = clustered(covariance, scores, first) + clustered(covariance, scores, second)
    whole = whole - clustered(covariance, scores, pairs)
    size = np.sqrt(np.maximum(np.diag(covariance), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(whole / np.outer(size, size))
    if len(values) == 0 or values[0] >= 0.0:
        return whole
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T * np.outer(size, size))


def corrected_two_way(fit: TwoWayFit, used: TwoWay, response: Response, how: object, control: Control) -> TwoWayFit:
    """The fit less the bias of its coefficients, intercepts and covariance following.

    Parameters
    ----------
    fit : TwoWayFit
    used : TwoWay
        The rows that it rests on.
    response : Response
        Of the binomial family.
    how : "analytical"
    control : Control

    Raises
    ------
    OptionError
        For other responses, which have no such bias, and for other corrections.

    Notes
    -----
    Fernandez-Val and Weidner (Journal of Econometrics 192, 2016), for rows that are independent given all intercepts
    and covariates that do not answer to earlier responses: with x~ what both sets of intercepts leave of x and the
    notation of `bias.analytical_bias`, the bias of beta-hat is J^-1 (sum x~ c / tau_i + sum x~ c / tau_t), tau_i and
    tau_t the sums of v over the levels of either factor.
    """
    if response.continuous:
        raise OptionError(
            f"bias_correction= with family {response.family!r}",
            "a binomial model: estimating intercepts does not bias coefficients of normal responses",
            "bias_correction=None",
        )
    refuse_counts(response)
    if how != "analytical":
        raise OptionError(
            f"bias_correction={how} with two factors, of which halves would have to be taken in both",
            "the correction by formula",
            'bias_correction="analytical"',
        )
    if len(fit.beta) == 0:
        return fit
    rows, crossing = used.rows, crossing_of(used)
    eta = rows.X @ fit.beta + rows.offset + crossing.at_rows(fit.intercepts, fit.second)
    v, c = response.bias_moments(eta)
    size = response.sizes(rows.a, rows.b)
    weight, slope = size * v, size * c
    system = Intercepts(crossing, weight)
    left = system.residual(rows.X)
    each = crossing.at_rows(1.0 / system.first, 1.0 / system.second)
    bias = solve_bias(left.T @ (left * weight[:, None]), left.T @ (slope * each))
    beta = fit.beta - bias
    first, second = intercepts_at(used, crossing, response, beta, control)
    at = information_at(used, response, rows.X @ beta + rows.offset + crossing.at_rows(first, second))
    covariance, hessian = covariance_at(used, crossing, at)
    return replace(
        fit,
        beta=beta,
        intercepts=first,
        second=second,
        covariance=covariance,
        hessian=hessian,
        correction=ANALYTICAL,
    )
