"""Profiles of models with several random effects, each in coordinates in which its likelihood is smooth.

A singular covariance is an ordinary maximum in the entries of a Cholesky factor whose vanishing pivots come last: the
likelihood is symmetric about zero in each of them. So the profile of a standard deviation is that of the first entry
of the factor, with its effect put first; that of a correlation is followed in an angle, of which it is the sine, with
its two effects put first (`FirstAngle`). Where nothing of that kind helps, as where the standard deviation itself is
zero, the likelihood is maximised again with the parameter held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clusterglm.data.kept import with_effects
from clusterglm.errors import OptionError
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.mixed_task import MixedTask, choose
from clusterglm.inference.uncertainty.correlation_peaks import (
    held_at,
    peak_of_angle,
    peak_of_common_correlation,
    value_at,
)
from clusterglm.inference.uncertainty.mixed import estimates_by_reading, task_by_reading
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.inference.uncertainty.profiling import Crossing, Peak, crossing
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance, CovarianceTerm
from clusterglm.model.quadrature import Quadrature

_ALONG_PROFILES = 1e-5  # of the log-likelihood along profiles
_ENDLESS_Z = 9.0  # Fisher's z of a correlation that cannot be told from 1
_NO_PIVOT = 1e-8  # of the largest pivot
_STEPS_OUT = 40  # steps that look for the far side of a level


@dataclass(frozen=True)
class _Place:
    """A parameter of a term: which effects it is of, and where the term's effects begin."""

    term: int
    first: int
    effects: tuple[int, ...]


def mixed_summit(fit: MixedFit, threads: int = 1) -> Summit:
    """The likelihood around its maximum, for each parameter in coordinates of its own.

    A standard deviation has 0 as its least value, where the profile is the maximum without the effect. A correlation
    lies between -1 and 1, where the profile is the maximum with two effects that move as one.

    Raises
    ------
    OptionError
        Where the maximum is singular and effects are compound symmetric.
    """
    if fit.penalty is not None:
        return _penalized_summit(fit, threads)
    structures = [term.structure for term in fit.effects.terms]
    if fit.held.any() and "cs" in structures:
        raise OptionError(
            "a profile where the covariance of compound symmetric effects is singular",
            "a maximum inside the parameter space",
            'method="wald", or "bootstrap"; or us(x | id) in the place of cs(x | id)',
        )
    whole = _Coordinates.of(fit, None, threads)
    here = whole.evaluate(whole.theta)
    peaks = [
        Peak(whole.evaluate, whole.theta, here, row)
        for row in np.eye(len(whole.theta))[whole.task.parameters.coefficients]
    ]
    without = _Without(fit)
    for place in _places(fit):
        if len(place.effects) == 1:
            peaks.append(_of_deviation(fit, place, without, whole, here, threads))
        else:
            peaks.append(_of_correlation(fit, place, without, whole, here, threads))
    return Summit(tuple(peaks), fit.constant)


def _penalized_summit(fit: MixedFit, threads: int) -> Summit:
    """The penalised likelihood, which depends on the order of the effects, in what is read: it has no singular maxima.

    It falls without end towards a standard deviation of 0 and a correlation of 1.
    """
    task, theta = task_by_reading(fit, threads), estimates_by_reading(fit)
    scales, requested = task.all_and(task.covariance.scales), _along_profiles(fit)

    def evaluate(at: Array) -> Evaluation:
        """nan for standard deviations below 0, which turn the signs of correlations, and what is no covariance."""
        entries = task.entries(at)
        if not np.isfinite(entries).all() or not (at[scales] > 0.0).all():
            return Evaluation(np.nan, np.zeros(len(at)), np.zeros((len(at), len(at))))
        return task.evaluate(at, choose(task.likelihood, entries, requested).plan)

    here = evaluate(theta)
    terms, directions, random = fit.effects.covariance.terms, np.eye(len(theta)), task.parameters.place("random")
    peaks = [Peak(evaluate, theta, here, row) for row in directions[task.parameters.coefficients]]
    for place, row in zip(_places(fit), directions[random], strict=True):
        if len(place.effects) == 1:
            peaks.append(Peak(evaluate, theta, here, row, least=0.0, value_at_least=-np.inf))
        elif terms[place.term].structure == "us":
            peaks.append(_of_fisher_z(Peak(evaluate, theta, here, row, read=_tanh)))
        else:
            d = len(terms[place.term].effects)
            peaks.append(peak_of_common_correlation(evaluate, theta, here, int(np.argmax(row)), d))
    return Summit(tuple(peaks), fit.constant)


def _along_profiles(fit: MixedFit) -> Quadrature:
    requested = fit.integration.requested
    if requested.kind != "auto":
        return requested
    return replace(requested, tolerance=max(requested.tolerance, _ALONG_PROFILES))


def _of_fisher_z(peak: Peak) -> Peak:
    """With ends that are as good as infinite."""
    low, high = (value_at(peak, end) for end in (-_ENDLESS_Z, _ENDLESS_Z))
    return replace(peak, least=-_ENDLESS_Z, value_at_least=low, most=_ENDLESS_Z, value_at_most=high)


def _tanh(z: float) -> float:
    return float(np.tanh(z) if abs(z) < _ENDLESS_Z else np.sign(z))


def mixed_crossing(peak: Peak, drop: float, side: int, begin: Crossing | None = None) -> Crossing:
    """Where a profile has fallen so far, see `crossing`; by maxima with the parameter held where that fails."""
    found = crossing(peak, drop, side, begin)
    return found if found.status != "failed" else _by_held_maxima(peak, drop, side)


def _places(fit: MixedFit) -> list[_Place]:
    """What each parameter is of, in the order in which they are read; of all effects it has the first."""
    found, first = [], 0
    for t, term in enumerate(fit.effects.covariance.terms):
        d = len(term.effects)
        deviations = min(d, term.size)  # one of all effects with one variance
        found += [_Place(t, first, (j,)) for j in range(deviations)]
        pairs = zip(*(places.tolist() for places in np.tril_indices(d, -1)), strict=True)
        found += [_Place(t, first, (j, i)) for i, j in list(pairs)[: term.size - deviations]]
        first += d
    return found


@dataclass(frozen=True)
class _Coordinates:
    """The likelihood with the effects of each unstructured term in some order, and the estimates so.

    Parameters
    ----------
    task : MixedTask
    evaluate : callable
        theta -> Evaluation, with points chosen there.
    theta : ndarray, shape (q,)
    """

    task: MixedTask
    evaluate: Callable[[Array], Evaluation]
    theta: Array

    @classmethod
    def of(cls, fit: MixedFit, ahead: _Place | None, threads: int) -> _Coordinates:
        """Some effects of a term first, the others of each term by falling pivots; see `pivots`."""
        order, terms, phi, first = [], [], [], 0
        parameters = fit.effects.covariance
        S, seen = fit.factor @ fit.factor.T, 0
        for t, term in enumerate(parameters.terms):
            d, size = len(term.effects), term.size
            own = fit.phi[seen : seen + size]
            some: Sequence[int] = range(d)
            if term.structure == "us":
                chosen = ahead.effects if ahead is not None and ahead.term == t else ()
                block = S[first : first + d, first : first + d]
                some, L = pivots(block, chosen)
                structure = "angle" if len(chosen) > 1 else "us"
                term = CovarianceTerm(term.group, tuple(term.effects[j] for j in some), structure)
                own = L[np.tril_indices(d)]
                if structure == "angle":
                    sd = np.sqrt(np.diag(block)[list(chosen)])
                    own[1:3] = sd[1], np.arctan2(L[1, 0], L[1, 1])
            order += [first + j for j in some]
            terms.append(term)
            phi.append(own)
            first, seen = first + d, seen + size
        covariance = Covariance(tuple(terms))
        whole = fit.task(np.ascontiguousarray(fit.effects.Z[:, order]), threads)
        task, requested = replace(whole, covariance=covariance), _along_profiles(fit)

        def evaluate(at: Array) -> Evaluation:
            return task.evaluate(at, choose(task.likelihood, task.entries(at), requested).plan)

        theta = task.parameters.joined(task.parameters.split(fit.searched)[0], np.concatenate(phi))
        outside = fit.integration.outside
        if outside is not None and outside.applied:
            return cls(task, _corrected(evaluate, theta, fit.loglik - fit.constant), theta)
        return cls(task, evaluate, theta)

    def place_of(self, place: _Place, effect: int) -> int:
        """Where in theta the term's standard deviation stands, or its angle (effect 2)."""
        terms = self.task.covariance.terms
        before = sum(term.size for term in terms[: place.term])
        return int(self.task.parameters.place("random").start) + before + effect


def _corrected(evaluate: Callable[[Array], Evaluation], theta: Array, value: float) -> Callable[[Array], Evaluation]:
    """A likelihood and its correction, which is known where it is highest: its value there, and its slope.

    Parameters
    ----------
    evaluate : callable
        The likelihood without the correction.
    theta : ndarray, shape (q,)
        The maximum with it.
    value : float
        There.
    """
    there = evaluate(theta)

    def at(other: Array) -> Evaluation:
        found = evaluate(other)
        higher = value - there.value - float(there.score @ (other - theta))
        return replace(found, value=found.value + higher, score=found.score - there.score)

    return at


def pivots(covariance: Array, ahead: Sequence[int]) -> tuple[list[int], Array]:
    """Effects in the order of a pivoted Cholesky factor, and the factor; pivots that are as good as 0 are 0.

    Parameters
    ----------
    covariance : ndarray, shape (d, d)
        Positive semidefinite.
    ahead : sequence of int
        Effects that come first, whatever their pivots.
    """
    d = len(covariance)
    left, order = covariance.copy(), list(range(d))
    L, largest = np.zeros((d, d)), float(np.diag(covariance).max(initial=0.0))
    for k in range(d):
        at = order.index(ahead[k]) if k < len(ahead) else k + int(np.argmax(np.diag(left)[k:]))
        order[k], order[at] = order[at], order[k]
        swapped = np.arange(d)
        swapped[[k, at]] = at, k
        left, L = left[np.ix_(swapped, swapped)], L[swapped]
        if left[k, k] > _NO_PIVOT**2 * largest:
            L[k, k] = np.sqrt(left[k, k])
            L[k + 1 :, k] = left[k + 1 :, k] / L[k, k]
            left[k + 1 :, k + 1 :] -= np.outer(L[k + 1 :, k], L[k + 1 :, k])
    return order, L


def _of_deviation(
    fit: MixedFit, place: _Place, without: _Without, whole: _Coordinates, here: Evaluation, threads: int
) -> Peak:
    term = fit.effects.covariance.terms[place.term]
    us = term.structure == "us"
    at = _Coordinates.of(fit, place, threads) if us else whole
    evaluation = at.evaluate(at.theta) if us else here
    direction = np.eye(len(at.theta))[at.place_of(place, 0 if us else place.effects[0])]
    gone = range(len(term.effects)) if term.size < len(term.effects) else place.effects
    value = without(place, gone) if direction @ at.theta != 0.0 else evaluation.value
    return Peak(at.evaluate, at.theta, evaluation, direction, least=0.0, value_at_least=value)


def _of_correlation(
    fit: MixedFit, place: _Place, without: _Without, whole: _Coordinates, here: Evaluation, threads: int
) -> Peak:
    term = fit.effects.covariance.terms[place.term]
    if term.structure != "us":
        d = len(term.effects)
        return peak_of_common_correlation(whole.evaluate, whole.theta, here, whole.place_of(place, d), d)
    at = _Coordinates.of(fit, place, threads)
    where = at.place_of(place, 2)
    return peak_of_angle(at.evaluate, at.theta, where, lambda: max(without(place, (j,)) for j in place.effects))


def _by_held_maxima(peak: Peak, drop: float, side: int) -> Crossing:
    """A crossing by bisection of the profile itself, for coordinates in which its curvature says nothing."""
    from scipy.optimize import brentq

    level, (limit, value_at_limit) = peak.evaluation.value - drop, peak.limit(side)
    known = {peak.estimate: drop, limit: value_at_limit - level}
    last, count = peak.theta, 0

    def above(value: float) -> float:
        nonlocal last, count
        if value in known:
            return known[value]
        found = held_at(peak, value, last)
        if found is None:
            raise ArithmeticError
        last, count = found.theta, count + found.optimization.evaluations
        return found.evaluation.value - level

    curvature = float(peak.direction @ peak.evaluation.hessian @ peak.direction)
    near, step = peak.estimate, side / np.sqrt(max(abs(curvature), np.finfo(float).tiny))
    try:
        for _ in range(_STEPS_OUT):
            far = limit if side * (near + step - limit) >= 0.0 else near + step
            if not above(far) > 0.0:
                end = float(brentq(above, near, far, xtol=1e-8, rtol=1e-8))
                return Crossing(peak.read(end), last, level, count, "found")
            near, step = far, 2.0 * step
    except (ArithmeticError, ValueError):  # brentq's, where neighbouring maxima do not agree
        pass
    return Crossing(np.nan, last, np.nan, count, "failed")


class _Without:
    """Maxima of models that lack some effects, each computed once."""

    def __init__(self, fit: MixedFit) -> None:
        self._fit = fit
        self._known: dict[tuple[int, ...], float] = {}

    def __call__(self, place: _Place, effects: Sequence[int]) -> float:
        """The objective without some effects of a term."""
        gone = tuple(place.first + j for j in effects)
        if gone not in self._known:
            self._known[gone] = _without(self._fit, gone) - self._fit.constant
        return self._known[gone]


def _without(fit: MixedFit, gone: Sequence[int]) -> float:
    """The log-likelihood, maximised, of the model that lacks some effects."""
    kept = [k for k in range(fit.effects.Z.shape[1]) if k not in gone]
    if not kept:
        return fit.pooled.loglik
    return fit.again(with_effects(fit.data.rows, kept)).loglik
