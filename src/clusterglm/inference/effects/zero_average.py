"""Averages over rows of what two linear predictors make: of counts, and of the log odds of a zero.

Clusters have effects on the first alone: with a = L'z its size in a row is |a|, of standard deviation, and everything
that a change of it does follows from derivatives in the linear predictor (`normal_mean.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from clusterglm.inference.diagnostics.design_changes import DesignChange
from clusterglm.inference.effects.average_effects import AverageEffects
from clusterglm.inference.predictions.normal_mean import normal_jet
from clusterglm.model.arrays import Array
from clusterglm.model.response.zeros.inflated import ZeroInflated
from clusterglm.model.response.zeros.parts import Part

_OF_ALPHA = 1e-5  # of a difference in log(alpha)


@dataclass(frozen=True)
class BothParts:
    """Estimates of both linear predictors.

    Parameters
    ----------
    beta, zero : ndarray, shape (p,), (c,)
        Coefficients.
    factor : ndarray, shape (q, q)
        L, where L L' is the covariance of the effects of a cluster; 0 of a typical one.
    slopes : ndarray, shape (r, q, q)
        Derivatives of L in the parameters that it has.
    one_intercept : bool
        Whether there are no columns with effects in the design, as these are a 1.
    alpha : float or None
        The dispersion, where it is a parameter.
    """

    beta: Array
    zero: Array
    factor: Array
    slopes: Array
    one_intercept: bool
    alpha: float | None

    def rows(self, whole: Array, *, moved: bool = False) -> _Rows:
        """Rows of a design: counts' columns, those with effects, those of zeros; `moved`: derivatives of these."""
        p, c = len(self.beta), len(self.zero)
        Z = whole[:, p : whole.shape[1] - c]
        if self.one_intercept:
            Z = np.full((len(whole), 1), 0.0 if moved else 1.0)
        turned = np.einsum("ni,kij->knj", Z, self.slopes)
        return _Rows(whole[:, :p], Z @ self.factor, turned, whole[:, whole.shape[1] - c :])

    def joined(self, of_beta: Array, of_phi: Array, of_alpha: float, of_zero: Array) -> Array:
        """A gradient in all parameters: (beta, those of L, alpha where there is one, zeros)."""
        return np.concatenate([of_beta, of_phi, [] if self.alpha is None else [of_alpha], of_zero])


@dataclass(frozen=True)
class _Rows:
    """Columns of counts, a = L'z with its derivatives in the parameters of L, shape (r, n, q), and columns of zeros."""

    X: Array
    a: Array
    moved: Array
    Z: Array


@dataclass(frozen=True)
class _Jet:
    """An average over effects with its derivatives in both linear predictors, e and w, shape (n,) each."""

    value: Array
    e: Array
    ee: Array
    eee: Array
    eeee: Array
    w: Array
    ww: Array
    ew: Array
    eew: Array
    unresolved: int

    @classmethod
    def of(cls, part: Part, eta: Array, size: Array, w: Array) -> _Jet:
        pi = expit(w)
        first = pi * expit(-w)
        second = first * (1.0 - 2.0 * pi)
        at = normal_jet(eta, size, part.function)
        scale, less = part.rest - part.less * pi, part.certain - part.less * at.mean
        return cls(
            part.certain * pi + scale * at.mean,
            scale * at.first,
            scale * at.second,
            scale * at.third,
            scale * at.fourth,
            less * first,
            less * second,
            -part.less * first * at.first,
            -part.less * first * at.second,
            at.unresolved,
        )


def averages_of_both(
    changes: Collection[DesignChange],
    response: ZeroInflated,
    scale: str,
    at: BothParts,
    offset: Array,
    weights: Array,
    covariance: Array,
) -> AverageEffects:
    """Average effects on, or means of, what both linear predictors make, over the distribution of clusters' effects.

    Parameters
    ----------
    changes : collection of DesignChange
        Of n rows or some of them, the columns as `BothParts.rows` takes them; gone through once.
    response : ZeroInflated
        With its parameters; or with a hurdle.
    scale : str
        What of it is averaged, one of its `scales`.
    at : BothParts
    offset, weights : ndarray, shape (n,)
        The weights sum to one.
    covariance : ndarray, shape (t, t)
        Of all parameters, 0 for those that are taken as known.

    Notes
    -----
    The effect of a numeric variable t is F_e de/dt + F_w dw/dt + F_ee a'da/dt; that of a level is a difference of F.
    Standard errors by the delta method, covariates held fixed; derivatives in alpha are differences.
    """
    names, estimates, gradients, unresolved = list[tuple[str, str]](), [], [], 0
    part, others = response.scales[scale], list[Part]()
    if at.alpha is not None and at.alpha > 0.0 and part.moves_with_alpha:
        for step in (-_OF_ALPHA, _OF_ALPHA):
            moved = (at.alpha * float(np.exp(step)), *response.values[1:])
            others.append(replace(response, values=moved).scales[scale])
    for change in changes:
        names.append((change.variable, change.contrast))
        where, own = change.of_rows(weights)
        estimate, gradient, poor = _average(change, part, at, offset[where], own)
        of_alpha = 0.0
        if others:
            low, high = (_average(change, other, at, offset[where], own)[0] for other in others)
            assert at.alpha is not None
            of_alpha = (high - low) / (2.0 * _OF_ALPHA * at.alpha)
        estimates.append(estimate)
        gradients.append(at.joined(*gradient[:2], of_alpha, gradient[2]))
        unresolved = max(unresolved, poor)
    G = np.array(gradients).reshape(len(estimates), len(covariance))
    total = G @ covariance @ G.T
    terms, contrasts = (tuple(name[side] for name in names) for side in (0, 1))
    se = np.sqrt(np.diag(total))
    return AverageEffects(terms, contrasts, np.array(estimates), se, total, G, unresolved, exists=True)


def _average(
    change: DesignChange, part: Part, at: BothParts, offset: Array, own: Array
) -> tuple[float, tuple[Array, Array, Array], int]:
    """One average, its derivatives in (beta, parameters of L, zeros), and rows that did not settle."""
    if change.low is not None:
        ends = (replace(change, high=end, low=None, slope=None) for end in (change.high, change.low))
        (estimate, more, poor), (base, less, unsettled) = (_average(end, part, at, offset, own) for end in ends)
        return estimate - base, (more[0] - less[0], more[1] - less[1], more[2] - less[2]), max(poor, unsettled)
    high = at.rows(change.high)
    jet = _jet(part, high, at, offset)
    along = np.einsum("knj,nj->kn", high.moved, high.a)
    if change.slope is None:
        gradient = (own * jet.e) @ high.X, along @ (own * jet.ee), (own * jet.w) @ high.Z
        return float(own @ jet.value), gradient, jet.unresolved
    slope = at.rows(change.slope, moved=True)
    steep, odds = slope.X @ at.beta, slope.Z @ at.zero
    wide = np.einsum("nj,nj->n", high.a, slope.a)
    by_e = jet.ee * steep + jet.ew * odds + jet.eee * wide
    by_ee = jet.eee * steep + jet.eew * odds + jet.eeee * wide
    by_w = jet.ew * steep + jet.ww * odds + jet.eew * wide
    turned = np.einsum("knj,nj->kn", high.moved, slope.a) + np.einsum("knj,nj->kn", slope.moved, high.a)
    gradient = (
        (own * by_e) @ high.X + (own * jet.e) @ slope.X,
        along @ (own * by_ee) + turned @ (own * jet.ee),
        (own * by_w) @ high.Z + (own * jet.w) @ slope.Z,
    )
    return float(own @ (jet.e * steep + jet.w * odds + jet.ee * wide)), gradient, jet.unresolved


def _jet(part: Part, rows: _Rows, at: BothParts, offset: Array) -> _Jet:
    size = np.linalg.norm(rows.a, axis=1)
    return _Jet.of(part, rows.X @ at.beta + offset, size, rows.Z @ at.zero)
