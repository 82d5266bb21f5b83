"""Average effects with several random effects: a variable moves the columns whose coefficients vary, too.

A row's linear predictor is x'beta + z'b with b = L u, u standard normal; with a = L'z its mean averaged over b is
m(x'beta, |a|).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.inference.diagnostics.design_changes import DesignChange
from clusterglm.inference.effects.average_effects import AverageEffects
from clusterglm.inference.predictions.normal_mean import NormalJet, normal_jet
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters
from clusterglm.model.response.base import Response


class Estimates(Protocol):
    """Coefficients and a covariance of effects; of a dispersion means know nothing."""

    @property
    def beta(self) -> Array:
        """Coefficients, shape (p,)."""

    @property
    def phi(self) -> Array:
        """Parameters of the effects' covariance, shape (r,)."""

    @property
    def factor(self) -> Array:
        """The lower-triangular factor of this covariance, shape (q, q)."""

    @property
    def effects(self) -> Effects:
        """What varies over clusters."""

    @property
    def parameters(self) -> Parameters:
        """What (beta, phi) are."""

    @property
    def response(self) -> Response:
        """Whose mean is averaged."""


@dataclass(frozen=True)
class _Rows:
    """Rows at a value of a variable, and the derivatives of a = L'z in phi, shape (r, n, q)."""

    X: Array
    a: Array
    moved: Array

    @classmethod
    def of(cls, whole: Array, fit: Estimates) -> _Rows:
        p = len(fit.beta)
        Z = whole[:, p:]
        slopes = fit.effects.covariance.slopes(fit.phi)
        return cls(whole[:, :p], Z @ fit.factor, np.einsum("ni,kij->knj", Z, slopes))

    def jet(self, fit: Estimates, offset: Array, *, link: bool) -> NormalJet:
        found = normal_jet(self.X @ fit.beta + offset, np.linalg.norm(self.a, axis=1), fit.response)
        return found.on_link(fit.response) if link else found


def effects_over_clusters(
    changes: Collection[DesignChange],
    fit: Estimates,
    offset: Array,
    weights: Array,
    covariance: Array,
    *,
    link: bool = False,
) -> AverageEffects:
    """Average effects on the mean over the distribution of the random effects.

    Parameters
    ----------
    changes : collection of DesignChange
        Of n rows or some of them, columns with coefficients and those with random effects side by side; gone through
        once.
    fit : Estimates
    offset, weights : ndarray, shape (n,)
        The weights sum to one.
    covariance : ndarray, shape (q, q)
        Of (beta, phi).
    link : bool
        Average the link of each row's mean instead; there are no derivatives of that.

    Notes
    -----
    The effect of a numeric variable t is m' dx'beta/dt + m'' a'da/dt, derivatives of m in the linear predictor; that of
    a level is a difference of m. Standard errors by the delta method, covariates held fixed.
    """
    estimate, gradient, unresolved = np.zeros(len(changes)), np.zeros((len(changes), len(covariance))), 0
    names = []
    for j, change in enumerate(changes):
        names.append((change.variable, change.contrast))
        where, own = change.of_rows(weights)
        high = _Rows.of(change.high, fit)
        at = high.jet(fit, offset[where], link=link)
        along = np.einsum("knj,nj->kn", high.moved, high.a)
        unresolved = max(unresolved, at.unresolved)
        if change.low is not None:
            low = _Rows.of(change.low, fit)
            base = low.jet(fit, offset[where], link=link)
            unresolved = max(unresolved, base.unresolved)
            estimate[j] = own @ (at.mean - base.mean)
            of_beta = (own * at.first) @ high.X - (own * base.first) @ low.X
            of_phi = along @ (own * at.second) - np.einsum("knj,nj->kn", low.moved, low.a) @ (own * base.second)
        elif change.slope is not None:
            slope = _Rows.of(change.slope, fit)
            steep, wide = slope.X @ fit.beta, np.einsum("nj,nj->n", high.a, slope.a)
            estimate[j] = own @ (at.first * steep + at.second * wide)
            of_beta = (own * (at.second * steep + at.third * wide)) @ high.X + (own * at.first) @ slope.X
            turned = np.einsum("knj,nj->kn", high.moved, slope.a) + np.einsum("knj,nj->kn", slope.moved, high.a)
            of_phi = along @ (own * (at.third * steep + at.fourth * wide)) + turned @ (own * at.second)
        else:
            estimate[j] = own @ at.mean
            of_beta, of_phi = (own * at.first) @ high.X, along @ (own * at.second)
        gradient[j] = fit.parameters.joined(of_beta, of_phi)
    total = gradient @ covariance @ gradient.T
    return _found(names, estimate, total, gradient, unresolved)


@dataclass(frozen=True)
class KnownEffects:
    """What is taken for each cluster's random effects.

    Parameters
    ----------
    values : ndarray, shape (m, q)
    derivatives : ndarray, shape (m, q, k)
        In (beta, phi).
    covariances : ndarray, shape (m, q, q)
        Of their noise.
    cluster : ndarray of int64, shape (n,)
        Cluster of each row.
    """

    values: Array
    derivatives: Array
    covariances: Array
    cluster: NDArray[np.int64]


def effects_in_clusters(
    changes: Collection[DesignChange],
    fit: Estimates,
    offset: Array,
    weights: Array,
    covariance: Array,
    known: KnownEffects | None = None,
    *,
    link: bool = False,
) -> AverageEffects:
    """Average effects on the mean at random effects of zero, or those that are known of each row's cluster.

    Parameters
    ----------
    changes, fit, offset, weights, covariance, link
        As in `effects_over_clusters`.
    known : KnownEffects, optional
        Without it, effects of zero.
    """
    p, k = len(fit.beta), len(changes)
    estimate, gradient = np.zeros(k), np.zeros((k, len(covariance)))
    m, q = (0, 0) if known is None else known.values.shape
    noise = np.zeros((k, m, q))

    names: list[tuple[str, str]] = []
    means: Callable[[Array], tuple[Array, ...]] = _themselves if link else fit.response.mean_derivatives

    def line(whole: Array, where: slice | NDArray[np.int64]) -> Array:
        found: Array = whole[:, :p] @ fit.beta
        if known is not None:
            found = found + np.einsum("ni,ni->n", whole[:, p:], known.values[known.cluster[where]])
        return found

    def add(j: int, whole: Array, factor: Array, where: slice | NDArray[np.int64]) -> None:
        """The derivatives of a linear predictor times `factor`, added to those of an estimate."""
        gradient[j, fit.parameters.coefficients] += factor @ whole[:, :p]
        if known is not None:
            for i in range(q):
                noise[j, :, i] += np.bincount(known.cluster[where], factor * whole[:, p + i], m)

    for j, change in enumerate(changes):
        names.append((change.variable, change.contrast))
        where, own = change.of_rows(weights)
        mean, first, second, _ = means(line(change.high, where) + offset[where])
        if change.low is not None:
            base, base_first, *_ = means(line(change.low, where) + offset[where])
            estimate[j] = own @ (mean - base)
            add(j, change.high, own * first, where)
            add(j, change.low, -own * base_first, where)
        elif change.slope is not None:
            steep = line(change.slope, where)
            estimate[j] = own @ (first * steep)
            add(j, change.high, own * second * steep, where)
            add(j, change.slope, own * first, where)
        else:
            estimate[j] = own @ mean
            add(j, change.high, own * first, where)
    if known is not None:
        gradient += np.einsum("jmi,mik->jk", noise, known.derivatives)
    total = gradient @ covariance @ gradient.T
    if known is not None:
        total = total + np.einsum("jmi,mih,lmh->jl", noise, known.covariances, noise)
    return _found(names, estimate, total, gradient, 0)


def _themselves(eta: Array) -> tuple[Array, ...]:
    """Linear predictors and their derivatives in themselves."""
    zero = np.zeros_like(eta)
    return eta, np.ones_like(eta), zero, zero


def _found(
    names: list[tuple[str, str]], estimate: Array, total: Array, gradient: Array, unresolved: int
) -> AverageEffects:
    terms, contrasts = (tuple(name[side] for name in names) for side in (0, 1))
    se = np.sqrt(np.diag(total))
    return AverageEffects(terms, contrasts, estimate, se, total, gradient, unresolved, exists=True)
