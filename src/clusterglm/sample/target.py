"""The log-posterior in the parameters that are sampled, with score and Hessian, and its mode."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clusterglm.errors import DesignError
from clusterglm.fit.newton import maximize
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.sample.likelihoods import Points, SampledLikelihood
from clusterglm.sample.prior import JointDensity

_FURTHEST = 50.0  # of logarithms of standard deviations and logits of shapes' places, which nothing can compute beyond
_TIMES_CHOSEN = 4  # times that points are chosen on the way to the mode
_NEAR_MODE = 0.05  # posterior standard deviations from where points were chosen to the mode
_LOOKED_AT = (1.0, 2.0, 4.0)  # standard deviations from the mode where the posterior's width is seen
_STRETCHES = (0.6, 5.0)  # least and most
_POLISH = 3  # Newton's steps at the end, so that equal data have equal modes to the last digits


@dataclass(frozen=True)
class Target:
    """What is sampled.

    Parameters
    ----------
    likelihood : SampledLikelihood
    prior : JointDensity
    points : Points
        Of the likelihood's integrals, the same for all x.
    """

    likelihood: SampledLikelihood
    prior: JointDensity
    points: Points

    def fresh(self) -> Target:
        """The same for a chain of its own."""
        return replace(self, likelihood=self.likelihood.fresh())

    def value(self, x: Array) -> float:
        """Log-posterior without constants; -inf where it cannot be computed."""
        prior = self.prior.evaluate(x).value
        if not np.isfinite(prior) or self._too_far(x):
            return -np.inf
        with np.errstate(all="ignore"):
            found = self.likelihood.value(self.prior.coordinates.theta(x), self.points) + prior
        return float(found) if np.isfinite(found) else -np.inf

    def evaluate(self, x: Array, order: int = 2) -> Evaluation:
        """The same with score and Hessian, by the points that are enough for these."""
        prior, coordinates = self.prior.evaluate(x), self.prior.coordinates
        if self._too_far(x):
            return Evaluation(-np.inf, prior.score, prior.hessian)
        theta = coordinates.theta(x)
        with np.errstate(all="ignore"):
            there = coordinates.in_x(self.likelihood.evaluate(theta, self.points, order), theta)
        return Evaluation(there.value + prior.value, there.score + prior.score, there.hessian + prior.hessian)

    def _too_far(self, x: Array) -> bool:
        of = self.prior.coordinates
        return bool((np.abs(x[of.logs | of.shapes]) > _FURTHEST).any())


@dataclass(frozen=True)
class Mode:
    """The highest point of a posterior.

    Parameters
    ----------
    x : ndarray, shape (q,)
    value : float
        Log-posterior there, as `Target.value` has it.
    root : ndarray, shape (q, q)
        R with R R' the inverse of the negative Hessian.
    stretches : ndarray, shape (2, q)
        By how much the posterior is wider than that curvature says, below and above along each column of R.
    evaluations : int
        Of the likelihood, that the search and the stretches took, a Hessian counted as one.
    """

    x: Array
    value: float
    root: Array
    stretches: Array
    evaluations: int


def mode_of(likelihood: SampledLikelihood, prior: JointDensity) -> tuple[Target, Mode]:
    """The posterior with points chosen at its mode, and that mode.

    Raises
    ------
    DesignError
        Where no mode with a curvature is found.
    """
    x, evaluations = likelihood.start, 0
    for _ in range(_TIMES_CHOSEN):
        points = likelihood.points(prior.coordinates.theta(x))
        target = Target(likelihood, prior, points)
        found = maximize(target.evaluate, x, Control(tol=1e-6))
        evaluations += found.optimization.evaluations
        step = found.theta - x
        moved = max(0.0, -float(step @ found.evaluation.hessian @ step)) ** 0.5
        x, there = found.theta, found.evaluation
        if moved <= _NEAR_MODE:
            break
    for _ in range(_POLISH):
        if np.linalg.eigvalsh(there.hessian).max() >= 0.0:
            raise DesignError(
                "a posterior without a curved mode",
                "a prior or data that bound every parameter",
                'a proper prior of the coefficients, such as "normal(0, 2.5)"',
            )
        x = x - np.linalg.solve(there.hessian, there.score)
        there, evaluations = target.evaluate(x), evaluations + 1
    L = np.linalg.cholesky(-there.hessian)
    root = np.linalg.solve(L.T, np.eye(len(x)))
    top = target.value(x)
    stretches = _stretches(target, x, top, root)
    return target, Mode(x, top, root, stretches, evaluations + 1 + stretches.size * len(_LOOKED_AT))


def _stretches(target: Target, x: Array, top: float, root: Array) -> Array:
    """How wide the posterior is on either side of its mode (Geweke, Econometrica 57, 1989).

    A drop of the log-density by d at a distance of c is that of a normal density c / sqrt(2 d) times as wide; the
    largest is taken.
    """
    found = np.empty((2, len(x)))
    for k, column in enumerate(root.T):
        for side, sign in enumerate((-1.0, 1.0)):
            drops = np.array([top - target.value(x + sign * c * column) for c in _LOOKED_AT])
            with np.errstate(divide="ignore", invalid="ignore"):
                wide = np.nanmax(np.array(_LOOKED_AT) / np.sqrt(2.0 * np.maximum(drops, 0.0)))
            found[side, k] = np.clip(wide, *_STRETCHES)
    return found


def largest_difference(target: Target, x: Array, number: int) -> float:
    """By how much log-likelihoods of some draws differ from those by points that are chosen there.

    Parameters
    ----------
    target : Target
    x : ndarray, shape (chains, draws, q)
    number : int
        Draws that are looked at, evenly spaced.

    Returns
    -------
    float
        nan where points are given by their number alone.
    """
    if not np.isfinite(target.points.error):
        return np.nan
    flat = x.reshape(-1, x.shape[-1])
    found = 0.0
    for one in flat[np.unique(np.linspace(0, len(flat) - 1, number).astype(int))]:
        theta = target.prior.coordinates.theta(one)
        anew = target.likelihood.value(theta, target.likelihood.points(theta))
        found = max(found, abs(anew - target.likelihood.value(theta, target.points)))
    return found


@dataclass(frozen=True)
class Weights:
    """What the likelihood, as well as it can be known, says of draws from one that stands in for it.

    Parameters
    ----------
    share : float
        Effective share of their importance weights; nan where the likelihood is known no better.
    spread : float
        Standard deviation of the logarithms.
    error : float
        The largest standard error of one of these.
    """

    share: float = np.nan
    spread: float = np.nan
    error: float = np.nan


def importance_weights(target: Target, x: Array, number: int) -> Weights:
    """Of some draws x, shape (chains, draws, q), `number` of them, evenly spaced."""
    flat, logs, errors = x.reshape(-1, x.shape[-1]), [], []
    for one in flat[np.unique(np.linspace(0, len(flat) - 1, number).astype(int))]:
        log, error = target.likelihood.weight(target.prior.coordinates.theta(one), target.points)
        if np.isnan(error):
            return Weights()
        logs.append(log)
        errors.append(error)
    weights = np.exp(np.array(logs) - max(logs))
    share = float(weights.sum() ** 2 / (weights @ weights) / len(weights))
    return Weights(share, float(np.std(logs)), max(errors))
