"""Where a profile log-likelihood falls by a given amount: the ends of likelihood intervals, and points between them.

The profile of a parameter is the likelihood maximised over all others. Its crossing of a level is found by Newton's
method on all parameters at once, from the exact Hessian (Venzon and Moolgavkar, Applied Statistics 37, 1988), inside a
bracket: an end costs three or four evaluations where the likelihood is nearly quadratic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array

_MOST_EVALUATIONS = 100  # evaluations for one crossing
_LEVEL = 1e-6  # of the log-likelihood, to which a crossing is found
_COLLAPSED = 1e-3  # the same where no parameter lies closer to the crossing
_NEAR_BEST = 1e-3  # standard errors from the best of the other parameters
_NEVER_FALLS = 60.0  # standard errors beyond which a profile is taken never to fall that low


@dataclass(frozen=True)
class Crossing:
    """Where the profile of a parameter crosses a level.

    Parameters
    ----------
    value : float
        Of the parameter, as it is read; -inf or inf where the profile stays above the level, nan where the search
        failed.
    theta : ndarray, shape (q,)
        All parameters there.
    loglik : float
        The objective there.
    evaluations : int
    status : {"found", "bound", "unbounded", "failed"}
        "bound": the profile is above the level up to the limit of what the parameter can be.
    """

    value: float
    theta: Array
    loglik: float
    evaluations: int
    status: str


@dataclass(frozen=True)
class Peak:
    """A log-likelihood at its maximum, and a parameter of interest.

    Parameters
    ----------
    evaluate : callable
        theta -> Evaluation.
    theta : ndarray, shape (q,)
        The maximum.
    evaluation : Evaluation
        There.
    direction : ndarray, shape (q,)
        The parameter is direction @ theta.
    least, most : float
        Between which it can lie; infinite for no limit.
    value_at_least, value_at_most : float
        The objective maximised over the others there; nan where there is no limit.
    read : callable
        The parameter -> what is said of it, which rises with it: intervals and curves are given so.
    """

    evaluate: Callable[[Array], Evaluation]
    theta: Array
    evaluation: Evaluation
    direction: Array
    least: float = -np.inf
    value_at_least: float = np.nan
    most: float = np.inf
    value_at_most: float = np.nan
    read: Callable[[float], float] = float

    @property
    def estimate(self) -> float:
        """The parameter at the maximum."""
        return float(self.direction @ self.theta)

    def limit(self, side: int) -> tuple[float, float]:
        """How far the parameter can go on a side, and the objective there."""
        return (self.least, self.value_at_least) if side < 0 else (self.most, self.value_at_most)


def crossing(peak: Peak, drop: float, side: int, begin: Crossing | None = None) -> Crossing:
    """Find where the profile lies `drop` below the maximum.

    Parameters
    ----------
    peak : Peak
    drop : float
        In log-likelihood, positive: half the quantile of chi-square on one degree of freedom for an interval.
    side : {-1, 1}
        Below or above the estimate.
    begin : Crossing, optional
        One at a smaller drop on the same side, from which to go on.

    Returns
    -------
    Crossing
    """
    top, estimate = peak.evaluation.value, peak.estimate
    level = top - drop
    limit, value_at_limit = peak.limit(side)
    if np.isfinite(limit) and value_at_limit >= level:
        return Crossing(peak.read(limit), peak.theta, value_at_limit, 0, "bound")
    basis = _basis(peak.direction)
    inverse = np.linalg.inv(basis)
    phi, here = inverse @ peak.theta, peak.evaluation
    summit = _Step.of(here, basis)  # further down, near sigma = 0, the profile may be convex, and has no such unit
    if summit is None or not summit.curvature < 0.0:
        return Crossing(np.nan, peak.theta, top, 0, "failed")
    unit = 1.0 / np.sqrt(-summit.curvature)
    if begin is not None and begin.status == "found":
        phi, here = inverse @ begin.theta, peak.evaluate(begin.theta)
    inside, outside = estimate, limit
    evaluations = 0
    while evaluations < _MOST_EVALUATIONS:
        step = _Step.of(here, basis)
        if step is None:
            return Crossing(np.nan, basis @ phi, here.value, evaluations, "failed")
        if evaluations > 0 and abs(step.profile - level) < _LEVEL * (1.0 + drop) and step.off < _NEAR_BEST:
            return Crossing(peak.read(float(phi[0])), basis @ phi, here.value, evaluations, "found")
        if step.profile > level:
            inside = phi[0] if side * phi[0] > side * inside else inside
        elif evaluations > 0:
            outside = phi[0] if side * phi[0] < side * outside else outside
        if abs(inside - estimate) > _NEVER_FALLS * unit:
            return Crossing(peak.read(side * np.inf), basis @ phi, here.value, evaluations, "unbounded")
        target = step.toward(phi[0], level, side)
        reach = 3.0 * unit + 2.0 * abs(inside - estimate)
        if not np.isfinite(target):
            target = inside + side * 0.5 * unit
        if np.isfinite(outside):
            low, high = sorted((inside, outside))
            if not low < target < high:
                target = 0.5 * (inside + outside)
        else:
            target = inside + side * min(max(side * (target - inside), 1e-3 * unit), reach)
        trial = phi + step.along(target - phi[0])
        new = peak.evaluate(basis @ trial)
        evaluations += 1
        tries = 0
        while not _usable(new, basis) and tries < 8:  # too far: halfway back
            trial = 0.5 * (phi + trial)
            new = peak.evaluate(basis @ trial)
            evaluations, tries = evaluations + 1, tries + 1
        if not _usable(new, basis):
            break
        if abs(inside - outside) < 1e-9 * unit:
            last = _Step.of(new, basis)  # a bracket rests on quadratic models, which may have been wrong
            if last is not None and abs(last.profile - level) <= _COLLAPSED * (1.0 + drop) and last.off <= _COLLAPSED:
                return Crossing(peak.read(float(trial[0])), basis @ trial, new.value, evaluations, "found")
            inside, outside = estimate, limit
        phi, here = trial, new
    return Crossing(np.nan, basis @ phi, here.value, evaluations, "failed")


@dataclass(frozen=True)
class _Step:
    """The quadratic model at a point, with the parameter of interest first.

    Parameters
    ----------
    profile : float
        Height of the model maximised over the others, the parameter held.
    slope, curvature : float
        Of that height in the parameter.
    off : float
        Distance from the best others, in standard errors.
    rest, lean : ndarray, shape (q - 1,)
        The others move by rest + lean * (change of the parameter) to stay at their best.
    """

    profile: float
    slope: float
    curvature: float
    off: float
    rest: Array
    lean: Array

    @classmethod
    def of(cls, here: Evaluation, basis: Array) -> _Step | None:
        g, H = basis.T @ here.score, basis.T @ here.hessian @ basis
        if len(g) == 1:
            return cls(here.value, float(g[0]), float(H[0, 0]), 0.0, np.zeros(0), np.zeros(0))
        try:
            factor = cho_factor(-H[1:, 1:])
        except LinAlgError:
            return None
        rest, lean = cho_solve(factor, g[1:]), cho_solve(factor, H[1:, 0])
        gain = float(g[1:] @ rest)
        return cls(
            here.value + 0.5 * gain,
            float(g[0] + H[0, 1:] @ rest),
            float(H[0, 0] + H[0, 1:] @ lean),
            float(np.sqrt(max(gain, 0.0))),
            rest,
            lean,
        )

    def toward(self, at: float, level: float, side: int) -> float:
        """Where the model's profile meets the level, on the side asked for; nan where it does not."""
        a, b, c = 0.5 * self.curvature, self.slope, self.profile - level
        root = b * b - 4.0 * a * c
        if a >= 0.0 or root < 0.0:
            return at - c / b if b != 0.0 else np.nan
        return float(at + (-b - side * np.sqrt(root)) / (2.0 * a))

    def along(self, change: float) -> Array:
        """The step for a change of the parameter."""
        return np.concatenate([[change], self.rest + self.lean * change])


def _basis(direction: Array) -> Array:
    """theta = basis @ phi, where phi[0] = direction @ theta and the others are all but one of theta."""
    q = len(direction)
    pivot = int(np.argmax(np.abs(direction)))
    forward = np.zeros((q, q))
    forward[0] = direction
    forward[np.arange(1, q), [k for k in range(q) if k != pivot]] = 1.0
    return np.asarray(np.linalg.inv(forward))


def _usable(found: Evaluation, basis: Array) -> bool:
    """Whether a next step can be taken from there: near sigma = 0 the likelihood need not be concave in the others."""
    finite = np.isfinite(found.value) and np.isfinite(found.score).all() and np.isfinite(found.hessian).all()
    return bool(finite) and _Step.of(found, basis) is not None
