"""Average effects on the probabilities of ordered categories, with delta-method standard errors.

Being above a threshold is an outcome of two, at the linear predictor x'beta + n'gamma_c - kappa_c: averages of its
probability are those of such a response, with coefficients (beta, gamma_c, -kappa_c) of the columns x, n and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clusterglm.data.effects import Effects
from clusterglm.errors import DataError
from clusterglm.inference.diagnostics.design_changes import DesignChange
from clusterglm.inference.effects.average_effects import AverageEffects
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters, random_effects
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.cumulative import Cumulative

Average = Callable[[Sequence[DesignChange], Array, float], AverageEffects]
"""Changes of columns [x n 1 z], their coefficients, and the sign of offsets -> averages of an outcome of two.

Their gradients are in (coefficients, what the effects' distribution has)."""


@dataclass(frozen=True)
class AtThreshold:
    """Estimates at one threshold, for averages over several random effects.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients of x, n and 1.
    phi : ndarray, shape (r,)
        Parameters of the effects' covariance.
    effects : Effects
    response : Response
        The outcome of two.
    """

    beta: Array
    phi: Array
    effects: Effects
    response: Response

    @property
    def parameters(self) -> Parameters:
        return random_effects(len(self.beta), len(self.phi))

    @property
    def factor(self) -> Array:
        """The lower-triangular factor of the effects' covariance."""
        return self.effects.covariance.factor(self.phi)


@dataclass(frozen=True)
class Thresholds:
    """k thresholds as linear functions of q columns n, with their derivatives in the response's m parameters.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients that all thresholds share.
    cuts : ndarray, shape (k,)
    cuts_by_own : ndarray, shape (k, m)
    slopes : ndarray, shape (k, q)
        Coefficients of n at each threshold: it lies at kappa_c - n'gamma_c.
    slopes_by_own : ndarray, shape (k, q, m)
    below : bool
        Whether the outcome of two is to lie below a threshold, so that all coefficients change their signs.
    """

    beta: Array
    cuts: Array
    cuts_by_own: Array
    slopes: Array
    slopes_by_own: Array
    below: bool

    @classmethod
    def of(cls, response: Cumulative, beta: Array) -> Thresholds:
        q = len(response.nonparallel)
        none, each = np.zeros((1, q)), np.eye(q)
        cuts, cuts_by_own = (np.atleast_2d(response.thresholds_at(none))[0], _whole(response.by_covariates(none))[0])
        slopes, by_own = np.zeros((len(cuts), 0)), np.zeros((len(cuts), 0, cuts_by_own.shape[1]))
        if q > 0:
            slopes = (cuts - response.thresholds_at(each)).T
            by_own = np.swapaxes(cuts_by_own - response.by_covariates(each), 0, 1)
        return cls(beta, cuts, cuts_by_own, slopes, by_own, response.reversed)

    @property
    def sign(self) -> float:
        """Of coefficients and offsets in the linear predictor of the outcome."""
        return -1.0 if self.below else 1.0

    def coefficients(self, c: int) -> Array:
        """Of x, n and 1 at a threshold, shape (p + q + 1,)."""
        return self.sign * np.concatenate([self.beta, self.slopes[c], [-self.cuts[c]]])

    def in_parameters(self, c: int, gradient: Array) -> Array:
        """A gradient in (coefficients, what effects have) as one in (beta, what effects have, the response's)."""
        p, q = len(self.beta), self.slopes.shape[1]
        of_beta, of_slopes, (of_cut,), rest = np.split(gradient, [p, p + q, p + q + 1])
        own = of_slopes @ self.slopes_by_own[c] - of_cut * self.cuts_by_own[c]
        return np.concatenate([self.sign * of_beta, rest, self.sign * own])

    def moved(self, change: DesignChange, effects: int) -> DesignChange:
        """A change of columns [x z n], of which z are as many as effects, as one of [x n 1 z]."""
        p = len(self.beta)

        def columns(whole: Array | None, one: float) -> Array | None:
            if whole is None:
                return None
            parts = whole[:, :p], whole[:, p + effects :], np.full((len(whole), 1), one), whole[:, p : p + effects]
            return np.hstack(parts)

        high = columns(change.high, 1.0)
        assert high is not None
        slope = columns(change.slope, 0.0) if change.low is None else change.slope
        return replace(change, high=high, low=columns(change.low, 1.0), slope=slope)

    def refuse_crossing(self, change: DesignChange, effects: int) -> None:
        """Raise `DataError` where a change takes rows to where thresholds are out of order."""
        ends = [end[:, len(self.beta) + effects :] for end in (change.high, change.low) if end is not None]
        if self.slopes.shape[1] == 0:
            return
        crossing = np.zeros(len(change.high), dtype=bool)
        for n in ends:
            crossing |= (np.diff(self.cuts - n @ self.slopes.T, axis=1) <= 0.0).any(axis=1)
        if crossing.any():
            raise DataError(
                f"{change.variable!r} ({change.contrast}): thresholds of {int(crossing.sum())} of {len(crossing)} rows "
                "cross there, and a category between them has a negative probability",
                "rows whose thresholds are in order at both ends of the change",
                "data= with rows near those that were observed; or fewer terms in nonparallel=",
            )


def effects_on_categories(
    changes: Collection[DesignChange], at: Thresholds, effects: int, average: Average, covariance: Array
) -> AverageEffects:
    """Average the effects of changes of the design, or probabilities, for each category in turn.

    Parameters
    ----------
    changes : collection of DesignChange
        Of columns [x z n]; gone through once.
    at : Thresholds
    effects : int
        Columns z, whose coefficients vary over clusters.
    average : callable
        See `Average`.
    covariance : ndarray, shape (q, q)
        Of (beta, what the effects' distribution has, the response's parameters).

    Returns
    -------
    AverageEffects
        For each change the k + 1 categories from the lowest on: effects on them sum to 0, probabilities to 1.
    """
    k, names = len(at.cuts), list[tuple[str, str]]()
    estimates, gradients, unresolved = list[Array](), list[Array](), 0
    for change in changes:
        at.refuse_crossing(change, effects)
        moved, whole = [at.moved(change, effects)], 1.0 if change.low is None and change.slope is None else 0.0
        found = [average(moved, at.coefficients(c), at.sign) for c in range(k)]
        unresolved = max(unresolved, *(each.unresolved for each in found))
        below = np.array([each.estimate[0] for each in found])
        slopes = np.array([at.in_parameters(c, each.gradient[0]) for c, each in enumerate(found)])
        if not at.below:
            below, slopes = whole - below, -slopes
        none = np.zeros((1, slopes.shape[1]))
        estimates.append(np.diff(below, prepend=0.0, append=whole))
        gradients.append(np.diff(np.vstack([none, slopes, none]), axis=0))
        names += [(change.variable, change.contrast)] * (k + 1)
    gradient = np.vstack(gradients)
    total = gradient @ covariance @ gradient.T
    terms, contrasts = (tuple(name[side] for name in names) for side in (0, 1))
    se = np.sqrt(np.maximum(np.diag(total), 0.0))
    return AverageEffects(terms, contrasts, np.concatenate(estimates), se, total, gradient, unresolved, exists=True)


def _whole(derivatives: Array) -> Array:
    """Derivatives of thresholds, shape (n, k, m), where all rows may have the same."""
    return derivatives if derivatives.ndim == 3 else derivatives[None]
