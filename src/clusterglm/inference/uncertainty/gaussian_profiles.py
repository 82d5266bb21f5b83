"""Profiles of models of normal responses, in the coordinates in which their likelihoods are smooth.

As for other responses (`mixed_profiles.py`): the profile of a standard deviation is that of the first entry of a
Cholesky factor, with its effect put first; that of a correlation is followed in an angle, of which it is the sine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.gaussian import RESIDUAL, GaussianFit, GaussianPooledFit, fit_gaussian, row_weights, task_of
from clusterglm.inference.uncertainty.correlation_peaks import peak_of_angle, peak_of_common_correlation
from clusterglm.inference.uncertainty.mixed_profiles import pivots
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.inference.uncertainty.profiling import Peak
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.gaussian.objective import Task
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.covariance import Covariance, CovarianceTerm
from clusterglm.model.parameters import Parameters, coefficients

_LOG_2PI = float(np.log(2.0 * np.pi))


def least_squares_summit(data: ModelData, fit: GaussianPooledFit) -> Summit:
    """The likelihood of least squares around its maximum, in (beta, residual_sd)."""
    w = data.weights * row_weights(data)
    gram, n = data.X.T @ (data.X * w[:, None]), float(w.sum())
    own = coefficients(data.names).and_own((RESIDUAL,))
    mean, last = own.coefficients, own.own.start

    def evaluate(theta: Array) -> Evaluation:
        moved, s = theta[mean] - fit.beta, float(theta[last])
        if not s > 0.0:
            return _nowhere(theta)
        slope = gram @ moved
        Q = fit.rss + float(moved @ slope)
        hessian = np.zeros((len(own),) * 2)
        hessian[mean, mean], hessian[last, last] = -gram / s**2, n / s**2 - 3.0 * Q / s**4
        hessian[mean, last] = hessian[last, mean] = 2.0 * slope / s**3
        value = -0.5 * n * _LOG_2PI - n * np.log(s) - 0.5 * Q / s**2
        return Evaluation(float(value), own.joined(-slope / s**2, -n / s + Q / s**3), hessian)

    theta = own.joined(fit.beta, fit.residual_sd)
    return _summit(evaluate, theta, own, [_of_residual(evaluate, theta, own)])


def _nowhere(theta: Array) -> Evaluation:
    """Outside what the parameters can be."""
    return Evaluation(np.nan, np.full(len(theta), np.nan), np.full((len(theta),) * 2, np.nan))


def mixed_summit(fit: GaussianFit) -> Summit:
    """The likelihood of a mixed model around its maximum, for each parameter in coordinates of its own.

    Raises
    ------
    OptionError
        Where the maximum is singular and effects are compound symmetric.
    """
    if fit.held.any() and any(term.structure == "cs" for term in fit.effects.terms):
        raise OptionError(
            "a profile where the covariance of compound symmetric effects is singular",
            "a maximum inside the parameter space",
            'method="wald", or "bootstrap"; or us(x | id) in the place of cs(x | id)',
        )
    whole, without, peaks = _Coordinates.of(fit, None), _Without(fit), []
    for place in _places(fit):
        make = _of_deviation if len(place.effects) == 1 else _of_correlation
        peaks.append(make(fit, place, without, whole))
    peaks.append(_of_residual(whole.evaluate, whole.theta, fit.parameters))
    return _summit(whole.evaluate, whole.theta, fit.parameters, peaks)


def _summit(
    evaluate: Callable[[Array], Evaluation], theta: Array, parameters: Parameters, others: list[Peak]
) -> Summit:
    here, rows = evaluate(theta), np.eye(len(theta))[parameters.coefficients]
    return Summit((*(Peak(evaluate, theta, here, row) for row in rows), *others), 0.0)


def _of_residual(evaluate: Callable[[Array], Evaluation], theta: Array, parameters: Parameters) -> Peak:
    row = np.eye(len(theta))[parameters.own.start]
    return Peak(evaluate, theta, evaluate(theta), row, least=0.0, value_at_least=-np.inf)


@dataclass(frozen=True)
class _Place:
    """A parameter of a term: which effects it is of, and where the term's effects begin."""

    term: int
    first: int
    effects: tuple[int, ...]


def _places(fit: GaussianFit) -> list[_Place]:
    """What each parameter is of, in the order in which they are read; of all effects it has the first."""
    found, first = [], 0
    for t, term in enumerate(fit.effects.covariance.terms):
        d = len(term.effects)
        deviations = min(d, term.size)
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
    task : Task
        With the residuals of the estimates for responses.
    parameters : Parameters
    beta : ndarray, shape (p,)
        The estimates.
    theta : ndarray, shape (p + r + 1,)
        (beta, phi, residual_sd).
    """

    task: Task
    parameters: Parameters
    beta: Array
    theta: Array

    @classmethod
    def of(cls, fit: GaussianFit, ahead: _Place | None) -> _Coordinates:
        """Some effects of a term first, the others of each term by falling pivots; see `pivots`."""
        order, terms, phi, first, seen = [], [], [], 0, 0
        S = fit.factor @ fit.factor.T
        for t, term in enumerate(fit.effects.covariance.terms):
            d, own = len(term.effects), fit.phi[seen : seen + term.size]
            seen += term.size
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
            first += d
        effects = replace(fit.effects, Z=np.ascontiguousarray(fit.effects.Z[:, order]))
        data = replace(fit.data, effects=effects)
        task = task_of(data, fit.reml, fit.beta, Covariance(tuple(terms)))
        return cls(
            task, fit.parameters, fit.beta, fit.parameters.joined(fit.beta, np.concatenate(phi), fit.residual_sd)
        )

    def evaluate(self, theta: Array) -> Evaluation:
        """The log-likelihood; no number at a residual standard deviation of 0, or below."""
        beta, phi, residual = self.parameters.split(theta)
        sd = float(residual[0])
        return self.task.whole(beta - self.beta, phi, sd) if sd > 0.0 else _nowhere(theta)

    def place_of(self, place: _Place, effect: int) -> int:
        """Where in theta the term's standard deviation stands, or its angle (effect 2)."""
        before = sum(term.size for term in self.task.covariance.terms[: place.term])
        return int(self.parameters.place("random").start) + before + effect


def _of_deviation(fit: GaussianFit, place: _Place, without: _Without, whole: _Coordinates) -> Peak:
    term = fit.effects.covariance.terms[place.term]
    us = term.structure == "us"
    at = _Coordinates.of(fit, place) if us else whole
    evaluation = at.evaluate(at.theta)
    direction = np.eye(len(at.theta))[at.place_of(place, 0 if us else place.effects[0])]
    gone = range(len(term.effects)) if term.size < len(term.effects) else place.effects
    value = without(place, gone) if direction @ at.theta != 0.0 else evaluation.value
    return Peak(at.evaluate, at.theta, evaluation, direction, least=0.0, value_at_least=value)


def _of_correlation(fit: GaussianFit, place: _Place, without: _Without, whole: _Coordinates) -> Peak:
    term = fit.effects.covariance.terms[place.term]
    if term.structure != "us":
        d, here = len(term.effects), whole.evaluate(whole.theta)
        return peak_of_common_correlation(whole.evaluate, whole.theta, here, whole.place_of(place, d), d)
    at = _Coordinates.of(fit, place)
    where = at.place_of(place, 2)
    return peak_of_angle(at.evaluate, at.theta, where, lambda: max(without(place, (j,)) for j in place.effects))


class _Without:
    """Maxima of models that lack some effects, each computed once."""

    def __init__(self, fit: GaussianFit) -> None:
        self._fit = fit
        self._known: dict[tuple[int, ...], float] = {}

    def __call__(self, place: _Place, effects: Sequence[int]) -> float:
        """The log-likelihood, maximised, without some effects of a term."""
        gone = tuple(place.first + j for j in effects)
        if gone not in self._known:
            self._known[gone] = _without(self._fit, gone)
        return self._known[gone]


def _without(fit: GaussianFit, gone: Sequence[int]) -> float:
    effects, first, terms = fit.effects, 0, []
    for term in effects.terms:
        own = [j for j in range(len(term.design.names)) if first + j in gone]
        if len(own) < len(term.design.names):
            terms.append(replace(term, design=term.design.without(own)) if own else term)
        first += len(term.design.names)
    if not terms:
        return fit.pooled.loglik
    kept = [k for k in range(first) if k not in gone]
    groups = {term.group for term in terms}
    left = tuple(levels for levels in effects.groupings if levels.group in groups)
    smaller = Effects(np.ascontiguousarray(effects.Z[:, kept]), tuple(terms), groupings=left)
    return fit_gaussian(replace(fit.data, effects=smaller), fit.reml, Control()).loglik
