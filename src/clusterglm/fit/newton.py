"""Maximisation by Newton's method with the exact Hessian inside a trust region (Nocedal and Wright 2006, chapter 4).

One solver for every likelihood of the package. Convergence is judged by the Newton decrement, sqrt(score' (-Hessian)^-1
score): the length of the step that is left, in units of the estimates' standard errors, whatever the covariates' units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import DataError
from clusterglm.fit.surrogate import Surrogate
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control

_DISTRUST = 5.0  # times the error that a surrogate made last is what it is trusted with
_DIGITS = 2e-5  # relative error that a Hessian may have that was not computed, unless the tolerance is larger
_ADVICE = {
    "converged": "converged: the gradient is zero to the tolerance and the Hessian negative definite",
    "expected": "converged: a sample of the data shows the gradient to be zero to the tolerance after the last step; "
    "the Hessian is negative definite",
    "nearly": "converged: Newton's last step is so short that it leaves a gradient of zero to the tolerance; "
    "the Hessian is negative definite",
    "max_iter": "stopped at the iteration limit before converging: raise Control(max_iter=), or give start values",
    "stalled": "stopped where no step raises the log-likelihood but the gradient is above the tolerance: look "
    "for covariates that nearly determine the response, or loosen Control(tol=)",
    "interrupted": "stopped by the progress callback before converging: the estimates are the last iteration's",
}


@dataclass(frozen=True)
class Iteration:
    """One step of the optimiser.

    Parameters
    ----------
    iteration : int
        From 0, the start.
    loglik : float
        Objective (log-likelihood up to a constant).
    gradient_norm : float
        Newton decrement, in standard-error units; nan where the Hessian is not negative definite. After a last step
        that was not evaluated (see `Optimization`), a bound of it.
    step_norm : float
        Euclidean length of the step that led here.
    radius : float
        Trust-region radius.
    """

    iteration: int
    loglik: float
    gradient_norm: float
    step_norm: float
    radius: float


@dataclass(frozen=True)
class Optimization:
    """The optimiser's whole story.

    Parameters
    ----------
    status : {"converged", "max_iter", "stalled", "interrupted"}
        How it ended.
    message : str
        The same in words, with what to do.
    iterations, evaluations : int
        Accepted steps, and evaluations of the likelihood with its derivatives. Large data are fitted with the help of a
        sample of their clusters, whose evaluations do not count; and where these show that the last step leaves a
        gradient below the tolerance, the whole likelihood is not evaluated again.
    gradient_norm : float
        At the end, in standard-error units.
    trace : tuple of Iteration
        Every accepted step.
    """

    status: str
    message: str
    iterations: int
    evaluations: int
    gradient_norm: float
    trace: tuple[Iteration, ...]

    @property
    def converged(self) -> bool:
        """Whether the status is "converged"."""
        return self.status == "converged"


@dataclass(frozen=True)
class Maximum:
    """Where the optimiser stopped: the point, the likelihood there, and how it got there."""

    theta: Array
    evaluation: Evaluation
    optimization: Optimization


@dataclass(frozen=True)
class _Model:
    """The quadratic model at a point, in the eigenvectors of the negative Hessian."""

    curvatures: Array
    vectors: Array
    gradient: Array  # in those eigenvectors

    @classmethod
    def of(cls, evaluation: Evaluation) -> _Model:
        curvatures, vectors = np.linalg.eigh(-evaluation.hessian)
        return cls(curvatures, vectors, vectors.T @ evaluation.score)

    @cached_property
    def concave(self) -> bool:
        return bool(self.curvatures[0] > 1e-13 * max(self.curvatures[-1], 1e-300))

    @cached_property
    def decrement(self) -> float:
        if not self.concave:
            return np.nan
        with np.errstate(over="ignore"):  # of a likelihood as good as flat
            return float(np.sqrt(np.sum(self.gradient**2 / self.curvatures)))

    # A system that is nearly singular may give steps that are no numbers or too long, which are found to be so.
    @np.errstate(divide="ignore", over="ignore", invalid="ignore")
    def step(self, radius: float) -> tuple[Array, float]:
        """The model's maximum within `radius`, and the increase it promises."""
        z = self._solve(0.0) if self.concave else None
        if z is None or np.linalg.norm(z) > radius:
            z = self._on_the_rim(radius)
        promise = float(self.gradient @ z - 0.5 * z @ (self.curvatures * z))
        return self.vectors @ z, promise

    @np.errstate(divide="ignore", over="ignore", invalid="ignore")
    def interior(self, radius: float) -> bool:
        """Whether the model's maximum lies within `radius`."""
        return self.concave and bool(np.linalg.norm(self._solve(0.0)) <= radius)

    def _solve(self, shift: float) -> Array:
        z: Array = self.gradient / (self.curvatures + shift)
        return z

    def _on_the_rim(self, radius: float) -> Array:
        """Solve |z(shift)| = radius by safeguarded Newton on 1/|z|, which is nearly linear in the shift."""
        least = max(0.0, -float(self.curvatures[0]))
        size = float(np.linalg.norm(self.gradient))
        low, high = least, max(least + size / radius, float(np.nextafter(least, np.inf)))
        shift = high
        for _ in range(60):
            z = self._solve(shift)
            norm = float(np.linalg.norm(z))
            if not np.isfinite(norm) or norm > radius:
                low = shift
            else:
                high = shift
            if abs(norm - radius) <= 1e-3 * radius:
                return z
            slope = -float(np.sum(z * z / (self.curvatures + shift))) / norm if norm > 0.0 else 0.0
            proposal = shift - (norm / radius - 1.0) * norm / slope if slope < 0.0 else low
            shift = proposal if low < proposal < high else 0.5 * (low + high)
        z = self._solve(high)
        missing = radius**2 - float(z @ z)
        if not self.concave and missing > 0.0:  # the hard case: fill up along the direction of least curvature
            z[0] += np.copysign(np.sqrt(missing), z[0])
        return z


@dataclass(frozen=True)
class _Proposal:
    """A step, the increase it promises, and what a surrogate says of it.

    Parameters
    ----------
    step : ndarray, shape (q,)
    promise : float
    correction : float
        By how much the surrogate has changed Newton's step, in standard-error units; infinite where it cannot tell.
    ahead : Evaluation or None
        What the surrogate expects after the step.
    """

    step: Array
    promise: float
    correction: float = np.inf
    ahead: Evaluation | None = None


def _usable(evaluation: Evaluation) -> bool:
    return bool(
        np.isfinite(evaluation.value) and np.isfinite(evaluation.score).all() and np.isfinite(evaluation.hessian).all()
    )


def _propose(model: _Model, radius: float, theta: Array, current: Evaluation, surrogate: Surrogate | None) -> _Proposal:
    """Newton's step; inside the trust region followed by one more, on the surrogate."""
    step, promise = model.step(radius)
    if surrogate is None or not model.interior(radius):
        return _Proposal(step, promise)
    known = surrogate.knows(theta, current)
    bent = surrogate.bent(theta, current, step)
    if not all(np.isfinite(part).all() for part in (bent.value, bent.score, bent.hessian)):
        return _Proposal(step, promise)
    there = _Model.of(bent)
    if not there.concave or there.decrement > 0.5 * model.decrement:
        return _Proposal(step, promise)
    more, further = there.step(radius)
    hessian = bent.hessian
    ahead = Evaluation(bent.value + further, bent.score + hessian @ more, hessian)
    correction = there.decrement if known else np.inf
    return _Proposal(step + more, ahead.value - current.value, correction, ahead)


def _quadratic(model: _Model, radius: float, current: Evaluation) -> _Proposal:
    """Newton's step, and what it leads to if third derivatives have no weight."""
    step, promise = model.step(radius)
    ahead = Evaluation(current.value + promise, current.score + current.hessian @ step, current.hessian)
    return _Proposal(step, promise, 0.0, ahead)


def maximize(
    objective: Callable[[Array], Evaluation],
    start: Array,
    control: Control,
    *,
    tolerance: float | None = None,
    max_iter: int | None = None,
    radius: float = 2.0,
    reflect: Callable[[Array], Array] | None = None,
    begin: Evaluation | None = None,
    surrogate: Surrogate | None = None,
    unit: float = 1.0,
    bend: float | None = None,
) -> Maximum:
    """Maximise a log-likelihood.

    Parameters
    ----------
    objective : callable
        theta -> Evaluation.
    start : ndarray, shape (q,)
        First point; the objective must be finite there.
    control : Control
        Limits, tolerance and progress callback.
    tolerance : float, optional
        Instead of `control.tol`.
    max_iter : int, optional
        Instead of `control.max_iter`; 0 only evaluates.
    radius : float
        First trust-region radius, in the units of theta.
    reflect : callable, optional
        Maps a trial point to one of equal likelihood inside the parameter space (sigma to |sigma|).
    begin : Evaluation, optional
        The evaluation at `start`, if it is known.
    surrogate : Surrogate, optional
        The likelihood of a sample, with which steps are improved, and the last of them expected.
    unit : float
        What log-likelihoods are counted in (see `Weighing`): tolerances are for a likelihood over it.
    bend : float, optional
        A bound of what Newton's step leaves over the square of the step, in standard errors: near a maximum third
        derivatives. If that is below the tolerance the step is the last, and not evaluated.

    Returns
    -------
    Maximum

    Raises
    ------
    DataError
        The objective or its derivatives are no numbers at the first point.

    Notes
    -----
    1. Maximise the quadratic model within the radius. 2. Accept the step if the log-likelihood rises by at least 1e-4
    of what the model promised. 3. Widen or narrow the radius by how true the promise was. 4. Stop when the Newton
    decrement is below the tolerance, or when rounding hides any further rise.

    A surrogate adds a Newton step of its own to each, which makes up for the third derivatives. How much of that
    correction was wrong shows after the step; if several times that share of the next correction is below the
    tolerance, so is what the step will leave, and it is the last.
    """
    relative = control.tol if tolerance is None else tolerance
    limit = relative * unit**0.5
    most = control.max_iter if max_iter is None else max_iter
    theta = np.array(start, dtype=np.float64)
    current = objective(theta) if begin is None else begin
    if not _usable(current):
        raise DataError(
            "a log-likelihood that is no number, or has no derivatives, where the search begins",
            "data and start values at which it can be computed",
            "columns and offsets of moderate size, other start values (start=), or a simpler model",
        )
    evaluations = 0 if begin is not None else 1
    model = _Model.of(current)
    trace = [Iteration(0, current.value, model.decrement, 0.0, radius)]
    status = "max_iter"
    iteration = 0
    while True:
        if model.concave and model.decrement <= limit:
            status = "converged"
            break
        if iteration >= most:
            break
        proposal = _propose(model, radius, theta, current, surrogate)
        rest = np.inf if surrogate is None else max(0.1, _DISTRUST * surrogate.error) * proposal.correction
        last = proposal.ahead is not None and rest <= min(limit, max(relative, _DIGITS) * model.decrement)
        if bend is not None and not last and model.interior(radius) and bend * model.decrement**2 <= limit * unit**0.5:
            last, rest, proposal = True, bend * model.decrement**2 / unit**0.5, _quadratic(model, radius, current)
        step, promise = proposal.step, proposal.promise
        trial_theta = theta + step
        trial = proposal.ahead if last and proposal.ahead is not None else objective(trial_theta)
        evaluations += not last
        rise = trial.value - current.value
        noise = 1e-13 * (unit + abs(current.value))
        length = float(np.linalg.norm(step))
        usable = _usable(trial)
        # Near the maximum the rise drowns in rounding: there the gradient decides.
        drowned = usable and promise < 1e3 * noise and rise > -1e3 * noise
        ratio = 1.0 if drowned else (rise / promise if usable and promise > 0.0 else -1.0)
        if not 0.75 < ratio < 1.5:  # the sample is not like the whole, or far off
            surrogate = None
        if ratio < 1e-4:
            radius = 0.25 * length
            if not radius >= 1e-12 * (1.0 + float(np.linalg.norm(theta))):  # nan included
                status = "stalled"
                break
            continue
        if ratio > 0.75 and length > 0.8 * radius:
            radius = min(2.5 * radius, 1e6)
        elif ratio < 0.25:
            radius = 0.5 * length
        previous = model.decrement
        theta, current = (trial_theta if reflect is None else reflect(trial_theta)), trial
        if reflect is not None and not np.array_equal(theta, trial_theta):
            current = objective(theta)
            evaluations += 1
        model = _Model.of(current)
        if surrogate is not None and proposal.ahead is not None and not last:
            surrogate.error = model.decrement / proposal.correction if model.concave else np.inf
        iteration += 1
        trace.append(Iteration(iteration, current.value, rest if last else model.decrement, length, radius))
        if control.progress is not None and control.progress(trace[-1]) is False:
            status = "interrupted"
            break
        if last:
            status = "expected" if surrogate is not None else "nearly"
            break
        if drowned and model.concave and model.decrement >= 0.5 * previous and model.decrement <= 1e-5 * unit**0.5:
            status = "converged"  # as far as the arithmetic goes
            break
    message, norm = _ADVICE[status], trace[-1].gradient_norm
    status = "converged" if status in ("expected", "nearly") else status
    return Maximum(theta, current, Optimization(status, message, iteration, evaluations, norm, tuple(trace)))


def maximize_free(
    objective: Callable[[Array], Evaluation],
    begin: Array,
    control: Control,
    unit: float,
    free: NDArray[np.bool_],
    reflect: Callable[[Array], Array],
    bend: float | None = None,
) -> Maximum:
    """The maximum over the free parameters; value and derivatives there are those of all."""
    if free.all():
        return maximize(objective, begin, control, reflect=reflect, unit=unit, bend=bend)

    def whole(some: Array) -> Array:
        theta = begin.copy()
        theta[free] = some
        return theta

    def at(some: Array) -> Evaluation:
        there = objective(whole(some))
        return Evaluation(there.value, there.score[free], there.hessian[np.ix_(free, free)])

    found = maximize(at, begin[free], control, reflect=lambda some: reflect(whole(some))[free], unit=unit)
    theta = whole(found.theta)
    return Maximum(theta, objective(theta), found.optimization)
