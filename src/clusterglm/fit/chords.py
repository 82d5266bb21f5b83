"""Newton's method where second derivatives are dear: those of another likelihood far off, one Hessian near the end.

The Hessian of a sum over few points that follow the clusters is the differences of its score, two evaluations for each
parameter. Far from the maximum that of an accurate rule shows the way as well; near it one Hessian serves all steps,
as it hardly changes over a small part of a standard error (Ortega and Rheinboldt 1970, section 7.1: the chord method).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array

_NEAR_ITS_END = 3e-4  # standard errors from the maximum at which the Hessian is computed
_SAME_HESSIAN = 1e-3  # standard errors over which it is taken to be the same
_ALL_DIGITS = 1e-7  # standard errors: whoever seeks the maximum within less is to have all its digits
_ROUGHLY_SAME = 1.0  # the same of the other likelihood's, which is not exact anyway
_STILL_USEFUL = 0.4  # of the way before a step, above which the other's Hessian is not good enough for the next


class Chords:
    """A log-likelihood with the Hessian that is good enough where it is asked for.

    Where the score is zero to a tolerance below 3e-4 standard errors, it is the likelihood's own, computed within 1e-3
    standard errors of there.

    Parameters
    ----------
    scored : callable
        theta -> Evaluation, whose Hessian is not looked at.
    own : callable
        theta -> Evaluation with the Hessian.
    similar : callable
        theta -> Evaluation of a likelihood that is about the same, and cheap.
    unit : float
        What log-likelihoods are counted in (see `Weighing`).
    tolerance : float
        Standard errors within which the maximum is sought. Below 1e-7 every Hessian near it is the likelihood's own.
    """

    def __init__(
        self,
        scored: Callable[[Array], Evaluation],
        own: Callable[[Array], Evaluation],
        similar: Callable[[Array], Evaluation],
        unit: float = 1.0,
        tolerance: float = 1e-6,
    ) -> None:
        self._reach = _SAME_HESSIAN if tolerance >= _ALL_DIGITS else 0.0
        self._scored, self._own, self._similar = scored, own, similar
        self._size = float(np.sqrt(unit))
        self._exact: tuple[Array, Array] | None = None
        self._rough: tuple[Array, Array] | None = None
        self._left = np.inf

    def __call__(self, theta: Array) -> Evaluation:
        """Value and score at `theta`, and a Hessian."""
        if self._known(self._exact, theta, self._reach):
            return self._with(theta, self._exact)
        if not self._known(self._rough, theta, _ROUGHLY_SAME):
            self._rough = theta.copy(), self._similar(theta).hessian
        there = self._with(theta, self._rough)
        left = self._length(there.hessian, there.score)
        useful = _NEAR_ITS_END < left < _STILL_USEFUL * self._left
        self._left = left
        if useful:
            return there
        self._left = np.inf
        there = self._own(theta)
        self._exact = theta.copy(), there.hessian
        return there

    def _with(self, theta: Array, known: tuple[Array, Array] | None) -> Evaluation:
        assert known is not None
        return replace(self._scored(theta), hessian=known[1])

    def _known(self, known: tuple[Array, Array] | None, theta: Array, reach: float) -> bool:
        if known is None:
            return False
        step = theta - known[0]
        return bool(-float(step @ known[1] @ step) <= (reach * self._size) ** 2) and _concave(known[1])

    def _length(self, hessian: Array, score: Array) -> float:
        """Newton's step in standard errors; nan where the Hessian has no maximum."""
        if not (np.isfinite(hessian).all() and np.isfinite(score).all() and _concave(hessian)):
            return np.nan
        return float(np.sqrt(score @ np.linalg.solve(-hessian, score))) / self._size


def _concave(hessian: Array) -> bool:
    return bool(np.linalg.eigvalsh(hessian).max() < 0.0)
