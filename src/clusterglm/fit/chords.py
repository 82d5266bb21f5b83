"""Newton's method where second derivatives are dear: those of another likelihood far off, one Hessian near the end.

The Hessian of a sum over few points that follow the clusters is the differences of its score, two evaluations for each
parameter. Far from the maximum that of an accurate rule shows the way as well; near it one Hessian serves all steps,
as it hardly changes over a small part of a standard error (Ortega and Rheinboldt 1970, section 7.1: the chord method).
Where that other Hessian is a different matrix however near the maximum is, as average information is not observed
information, it learns from the scores on the way (Broyden, Fletcher, Goldfarb and Shanno's update; Nocedal and Wright
2006, section 6.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array

_NEAR_ITS_END = 3e-4  # standard errors from the maximum at which the Hessian is computed
_SAME_HESSIAN = 1e-3  # standard errors over which it is taken to be the same
_ALL_DIGITS = 1e-7  # standard errors: whoever seeks the maximum within less is to have all its digits
_ROUGHLY_SAME = 1.0  # the same of the other likelihood's, which is not exact anyway
_STILL_USEFUL = 0.4  # of the way before a step, above which the other's Hessian is not good enough for the next
_PATIENCE = 4  # steps of a Hessian that learns which may be no better than that, one after another
_LEAST_CURVED = 0.2  # of what is known: a curvature along a step below which the update is damped


@dataclass
class Learned:
    """A Hessian that learns from scores, and where it was computed; searches that follow one another may share it.

    Parameters
    ----------
    place : ndarray, shape (q,), or None
    hessian : ndarray, shape (q, q), or None
    """

    place: Array | None = None
    hessian: Array | None = None

    def learn(self, step: Array, change: Array) -> None:
        """Update by the change of the score over a step, so that the Hessian stays negative definite."""
        assert self.hessian is not None
        B = -self.hessian
        known = B @ step
        curved, seen = float(step @ known), -float(step @ change)
        if not (np.isfinite(seen) and curved > 0.0):
            return
        share = 1.0 if seen >= _LEAST_CURVED * curved else (1.0 - _LEAST_CURVED) * curved / (curved - seen)
        y = -share * change + (1.0 - share) * known
        self.hessian = np.outer(known, known) / curved - np.outer(y, y) / float(step @ y) - B


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
        Standard errors within which the maximum is sought. Below 1e-7 every Hessian near it is the likelihood's own;
        above 3e-4, with `learned`, none is.
    learned : Learned, optional
        What is known of the Hessian; it is that of `similar` to begin with, and after steps of a standard error.
    """

    def __init__(
        self,
        scored: Callable[[Array], Evaluation],
        own: Callable[[Array], Evaluation],
        similar: Callable[[Array], Evaluation],
        unit: float = 1.0,
        tolerance: float = 1e-6,
        learned: Learned | None = None,
    ) -> None:
        self._learned, self._patience = learned, _PATIENCE
        self._before: tuple[Array, Array] | None = None
        self._rough_will_do = learned is not None and tolerance > _NEAR_ITS_END
        self._reach = _SAME_HESSIAN if tolerance >= _ALL_DIGITS else 0.0
        self._scored, self._own, self._similar = scored, own, similar
        self._size = float(np.sqrt(unit))
        self._exact: tuple[Array, Array] | None = None
        self._rough: tuple[Array, Array] | None = None
        if learned is not None and learned.place is not None and learned.hessian is not None:
            self._rough = learned.place, learned.hessian
        self._left = np.inf

    def __call__(self, theta: Array) -> Evaluation:
        """Value and score at `theta`, and a Hessian."""
        if self._known(self._exact, theta, self._reach):
            return self._with(theta, self._exact)
        anew = not self._known(self._rough, theta, _ROUGHLY_SAME)
        if anew:
            self._rough = theta.copy(), self._similar(theta).hessian
        there = self._with(theta, self._rough)
        if self._learned is not None:
            there = self._taught(theta, there, anew)
        left = self._length(there.hessian, there.score)
        useful, self._left = left < _STILL_USEFUL * self._left, left
        if self._learned is not None:
            self._patience = _PATIENCE if useful else self._patience - 1
            useful = useful or (bool(np.isfinite(left)) and self._patience > 0)
        if self._rough_will_do or (useful and left > _NEAR_ITS_END):
            return there
        self._left = np.inf
        there = self._own(theta)
        self._exact = theta.copy(), there.hessian
        return there

    def _with(self, theta: Array, known: tuple[Array, Array] | None) -> Evaluation:
        assert known is not None
        return replace(self._scored(theta), hessian=known[1])

    def _taught(self, theta: Array, there: Evaluation, anew: bool) -> Evaluation:
        """With the Hessian after what the score here tells of the step that led here; not of one just computed."""
        learned, rough, before = self._learned, self._rough, self._before
        assert learned is not None
        assert rough is not None
        learned.place, learned.hessian = rough
        if not np.isfinite(there.score).all():
            return there
        if before is not None and not anew and not np.array_equal(before[0], theta):
            learned.learn(theta - before[0], there.score - before[1])
        self._before, self._rough = (theta.copy(), there.score), (rough[0], learned.hessian)
        return replace(there, hessian=learned.hessian)

    def _known(self, known: tuple[Array, Array] | None, theta: Array, reach: float) -> bool:
        if known is None:
            return False
        step = theta - known[0]
        return bool(-float(step @ known[1] @ step) <= (reach * self._size) ** 2) and _concave(known[1])

    def _length(self, hessian: Array, score: Array) -> float:
        """Newton's step in standard errors; nan where the Hessian has no maximum."""
        if not (np.isfinite(hessian).all() and np.isfinite(score).all() and _concave(hessian)):
            return np.nan
        square = float(score @ np.linalg.solve(-hessian, score))
        return float(np.sqrt(square)) / self._size if square >= 0.0 else np.nan  # singular but for rounding


def _concave(hessian: Array) -> bool:
    return bool(np.linalg.eigvalsh(hessian).max() < 0.0)
