"""Penalised quasi-likelihood: linear mixed models of working responses, until these no longer move.

At a linear predictor eta, with means mu and their variances V(mu) but for a dispersion phi, a row's working response is
eta + (y - mu) d eta / d mu, its variance phi / w with w = (d mu / d eta)^2 / V(mu). A linear mixed model of the working
responses gives coefficients, effects and so the next eta (Breslow and Clayton, Journal of the American Statistical
Association 88, 1993; Schall, Biometrika 78, 1991). "pql" has phi = 1 and REML, "pql-ml" an estimated phi and ML. No
likelihood of the responses is maximised: the working models' are of other data at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.errors import DesignError
from clusterglm.fit.gaussian import (
    RESIDUAL,
    check_levels,
    factors_of,
    on_user_scale,
    row_weights,
    units,
)
from clusterglm.fit.gaussian_search import maximum_of
from clusterglm.fit.newton import Iteration, Optimization
from clusterglm.fit.pooled import PooledFit, fit_pooled
from clusterglm.fit.standardise import Standardisation, standardise
from clusterglm.likelihood.gaussian.moments import Moments
from clusterglm.likelihood.gaussian.objective import Task
from clusterglm.likelihood.gaussian.statistics import statistics_of
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Block, Parameters, coefficients, random_effects
from clusterglm.model.quasi import QUASI, QuasiLikelihood
from clusterglm.model.response.base import Response

_LEAST_INFORMATION = float(np.finfo(np.float64).eps)  # of a trial: further out a working response is not computed
_INNER = 1e-3  # times the tolerance is that of each working model
_SLOWEST = 0.995  # rate at which steps are taken to shrink at most
_LENGTHENED = 4.0  # of the way between the last two places, that a step is lengthened by
_AT_REST, _MOST_STEPS = 1e-10, 200  # of effects at given parameters
_OF_VALUE, _SHORTEST = 1e-14, 1e-6  # of the value that they maximise, and share of a step


@dataclass(frozen=True)
class Working:
    """Working responses of the rows at some linear predictor.

    Parameters
    ----------
    responses : ndarray, shape (n,)
        Less their offsets.
    weights : ndarray, shape (n,)
        Inverse variances, but for the dispersion; case weights and trials are in them.
    """

    responses: Array
    weights: Array


def working(data: ModelData, response: Response, eta: Array) -> Working:
    """Working responses and weights: the score of a row over its expected information, which no tail loses."""
    information = np.maximum(response.expected_information(eta)[0], _LEAST_INFORMATION)
    weights = response.sizes(data.a, data.b) * information
    score = response.derivatives(eta, data.a, data.b)[1]
    return Working(eta - data.offset + score / weights, weights)


@dataclass(frozen=True)
class PqlFit:
    """Estimates by penalised quasi-likelihood, on the user's scale.

    Parameters
    ----------
    beta : ndarray, shape (p,)
    phi : ndarray, shape (r,)
        Parameters of the effects' covariance; see `Covariance`.
    residual_sd : float
        Root of the dispersion: 1, or estimated.
    covariance : ndarray, shape (q, q)
        Of (beta, phi), and of residual_sd where that is estimated, in the last working model, its weights taken as
        known: of generalised least squares, and the inverse observed information of the others. nan in rows of
        parameters that are held at zero.
    held : ndarray of bool, shape (r,)
        Parameters of the covariance that are zero because the maximum is singular.
    quasi : {"pql", "pql-ml"}
    optimization : Optimization
        Its iterations are working models; its norms are those of changes of the linear predictor, in units of the
        working responses' standard deviations, root(sum w (change)^2 / phi).
    pooled : PooledFit
        The same model without random effects, by maximum likelihood.
    response : Response
    data : ModelData
    """

    beta: Array
    phi: Array
    residual_sd: float
    covariance: Array
    held: NDArray[np.bool_]
    quasi: str
    optimization: Optimization
    pooled: PooledFit
    response: Response
    data: ModelData

    penalty: ClassVar[None] = None
    penalized_loglik: ClassVar[None] = None

    @property
    def form(self) -> QuasiLikelihood:
        """Which of the two."""
        return QUASI[self.quasi]

    @property
    def effects(self) -> Effects:
        """What varies over clusters."""
        assert self.data.effects is not None
        return self.data.effects

    @property
    def parameters(self) -> Parameters:
        """What (beta, phi) are, and residual_sd where it is estimated."""
        own = Block("random", str(self.data.cluster_name), self.effects.covariance.labels)
        found = Parameters((*coefficients(self.data.names).blocks, own))
        return found.and_own((RESIDUAL,)) if self.form.known_sd is None else found

    @property
    def without_dispersion(self) -> PqlFit:
        """The same as if the dispersion were known, on which no mean depends; its covariance is still that of all."""
        return self if self.form.known_sd is not None else replace(self, quasi="pql")

    @property
    def factor(self) -> Array:
        """L, the lower-triangular factor of the effects' covariance, shape (q, q)."""
        return self.effects.covariance.factor(self.phi)

    @property
    def theta(self) -> Array:
        """(beta, phi), and residual_sd where it is estimated."""
        own = () if self.form.known_sd is not None else (self.residual_sd,)
        return self.parameters.joined(self.beta, self.phi, *own)

    @cached_property
    def task(self) -> Task:
        """The working model in the user's units, of what the estimated coefficients leave of the working responses."""
        data, Z = self.data, self.effects.Z
        found = working(data, self.response, self.eta)
        left = found.responses - data.X @ self.beta
        return _task(data, data.X, left, Z, found.weights, self.form)

    @cached_property
    def eta(self) -> Array:
        """Linear predictor of the rows at the effects given the data, shape (n,)."""
        return _predictor(self)


def fit_pql(
    data: ModelData, response: Response, form: QuasiLikelihood, control: Control, start: Array | None = None
) -> PqlFit:
    """Fit working models until the linear predictor no longer moves.

    Parameters
    ----------
    data : ModelData
        With effects that have `groupings`.
    response : Response
    form : QuasiLikelihood
    control : Control
        `max_iter` counts working models; `tol` is the distance of the linear predictor from where it settles, judged
        by the rate at which steps shrink, in units of the working responses' standard deviations.
    start : ndarray, shape (p,), optional
        Coefficients at which to begin, without effects; by default those of the pooled fit.

    Raises
    ------
    ClusterError
        When a factor has one level; where the dispersion is estimated, when none has a level with two rows; or when
        clusters that cross have weights.
    SeparationError
        When covariates separate the responses.
    DesignError
        When effects grow without end, or the information matrix of a working model is singular.
    OptionError
        When crossed factors have too many levels.
    """
    effects = data.effects
    assert effects is not None
    check_levels(data, own_scale=form.known_sd is None)
    pooled = fit_pooled(data, response, replace(control, progress=None))
    standard = standardise(data.X, data.intercept)
    steps = _Steps(data, response, form, control, standard, standard.inside(pooled.beta if start is None else start))
    eta = standard.X @ steps.gamma + data.offset
    return steps.fit(pooled, _settled(steps.advance, eta, control))


# One working model after another --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Moved:
    """Where a step leads, in what units its length is judged, and whether there is no higher maximum elsewhere."""

    eta: Array
    weights: Array
    sd: float
    sure: bool


class _Steps:
    """Working models of standardised columns; each begins where the last ended."""

    def __init__(
        self,
        data: ModelData,
        response: Response,
        form: QuasiLikelihood,
        control: Control,
        standard: Standardisation,
        gamma: Array,
    ) -> None:
        effects = data.effects
        assert effects is not None
        self.data, self.response, self.form, self.standard, self.effects = data, response, form, standard, effects
        self.columns, self.inside = units(effects)
        self.Z = effects.Z @ self.columns
        self.control = Control(control.max_iter, control.tol * _INNER)
        self.gamma, self.sd = gamma, 1.0
        self.theta: Array | None = None

    def advance(self, eta: Array, widely: bool) -> _Moved:
        """The linear predictor of the working model at another one, whose maximum is near the last one or anywhere."""
        found = working(self.data, self.response, eta)
        # what is left of the responses: a difference of large numbers is taken before it is squared
        left = found.responses - self.standard.X @ self.gamma
        self.task = _task(self.data, self.standard.X, left, self.Z, found.weights, self.form)
        try:
            maximum, self.held = maximum_of(self.task, self.control, self.theta, widely=widely)
        except (DesignError, np.linalg.LinAlgError) as problem:
            raise DesignError(
                f"working responses that no linear mixed model fits: {getattr(problem, 'got', problem)}",
                "penalised quasi-likelihood that settles, which it does not for all data",
                'quadrature="auto", fewer random effects, or other start values',
            ) from None
        self.theta = maximum.theta
        moments = self.task.moments(self.theta)
        best = self.task.best(moments.S)
        self.gamma = self.gamma + best.beta
        self.sd = float(np.sqrt(self.task.variance(best.Q)))
        b = _effects(self.task, moments, self.theta, best.v)
        moved = self.standard.X @ self.gamma + self.data.offset + _of_rows(b, self.Z, self.effects)
        self._squares, self.best = moments.S[:-1, :-1], best
        sure = widely or not (self.held.any() or (self.task.exponents == 0.0).any())
        return _Moved(moved, found.weights, self.sd, sure)

    def fit(self, pooled: PooledFit, story: Optimization) -> PqlFit:
        """The estimates of the last working model."""
        assert self.theta is not None
        e, back = self.task.exponents, np.linalg.inv(self.inside)
        inside = self.theta * self.sd**e
        whole = self.task.whole(self.best.beta, inside, self.sd).hessian
        places = random_effects(self.data.names, self.effects.covariance.labels).and_own((RESIDUAL,))
        mean, random = places.coefficients, places.place("random")
        T, held = np.eye(len(places)), np.zeros(len(places), dtype=bool)
        T[mean, mean], T[random, random] = self.standard.L, back
        held[random] = self.held
        free = np.ones(len(places), dtype=bool)
        free[places.own] = self.form.known_sd is None
        some = np.ix_(free, free)
        covariance = np.full_like(whole, np.nan)
        covariance[some], _ = on_user_scale(whole[some], T[some], held[free])
        # coefficients are those of generalised least squares at this covariance of the working responses
        of_mean = np.linalg.inv(self._squares) if len(self.gamma) else self._squares
        for where in (random, places.own):
            covariance[mean, where] = np.where(np.isnan(np.diag(covariance)[where]), np.nan, 0.0)
            covariance[where, mean] = covariance[mean, where].T
        covariance[mean, mean] = self.sd**2 * self.standard.L @ of_mean @ self.standard.L.T
        return PqlFit(
            self.standard.L @ self.gamma,
            back @ inside,
            self.sd,
            covariance[some],
            self.held,
            self.form.name,
            story,
            pooled,
            self.response,
            self.data,
        )


def _settled(advance: Callable[[Array, bool], _Moved], eta: Array, control: Control) -> Optimization:
    """Advance the linear predictor until a step leaves it where it is, and tell how.

    Where a working model may have several maxima, all are looked for at first and once no step is left.

    Each step but the first two begins where a line through the last two places and their steps says that none is left
    (Anderson, Journal of the ACM 12, 1965): slow steps are lengthened, those that go to and fro shortened.
    """
    trace: list[Iteration] = []
    before: tuple[Array, Array] | None = None
    status, left, share, near = "max_iter", np.inf, 0.0, False
    for k in range(1, control.max_iter + 1):
        moved = advance(eta, near or k == 1)
        change = moved.eta - eta
        step = float(np.sqrt(moved.weights @ change**2)) / moved.sd
        new = moved.eta
        if before is not None:
            bend, way = change - before[1], eta - before[0]
            size, gone = float(moved.weights @ bend**2), float(moved.weights @ way**2)
            if size > 0.0 and gone > 0.0:
                rate = float(np.sqrt(moved.weights @ (bend + way) ** 2 / gone))
                left = step / (1.0 - min(rate, _SLOWEST))
                share = float(np.clip((moved.weights * bend) @ change / size, -_LENGTHENED, _LENGTHENED))
                new = moved.eta - share * (bend + way)
        before, eta = (eta, change), new
        trace.append(Iteration(k, np.nan, left if np.isfinite(left) else step, step, share))
        near = left < control.tol or step == 0.0
        if near and moved.sure:
            left, status = min(left, step), "converged"
            break
        if control.progress is not None and control.progress(trace[-1]) is False:
            status = "interrupted"
            break
    return Optimization(status, _STORIES[status], len(trace), len(trace), left, tuple(trace))


_STORIES = {
    "converged": "converged: working models no longer move the linear predictor",
    "max_iter": "stopped at the iteration limit while working models still moved the linear predictor: raise "
    "Control(max_iter=), or take quadrature='auto', the likelihood itself",
    "interrupted": "stopped by the progress callback before converging: the estimates are the last working model's",
}


def _task(data: ModelData, X: Array, y: Array, Z: Array, weights: Array, form: QuasiLikelihood) -> Task:
    """A working model of some rows; a row counts once, or as often as its case weight says, whatever its precision."""
    effects = data.effects
    assert effects is not None
    of_clusters = row_weights(data)
    found = statistics_of(X, y, Z, factors_of(effects), weights, of_clusters)
    return Task(replace(found, n=float(data.weights @ of_clusters)), effects.covariance, form.reml, form.known_sd)


def _effects(task: Task, moments: Moments, theta: Array, v: Array) -> list[Array]:
    """Effects of the levels given the working responses U v, (levels, d) for each factor."""
    return [(t @ v) @ (root @ root.T) for t, root in zip(moments.by_level(), task.roots(theta), strict=True)]


def _of_rows(b: list[Array], Z: Array, effects: Effects) -> Array:
    """z'b of the rows, shape (n,)."""
    found = np.zeros(len(Z))
    for mean, levels, factor in zip(b, effects.groupings, factors_of(effects), strict=True):
        found += np.einsum("ij,ij->i", Z[:, factor.columns], mean[levels.codes])
    return found


# At given parameters --------------------------------------------------------------------------------------------------


def _predictor(fit: PqlFit) -> Array:
    """The linear predictor with the effects that working models no longer move.

    These maximise sum q - b'M^-1 b / 2, q the rows' log-likelihoods and M the effects' covariance over the dispersion:
    a step that lowers it is halved. With b = M t the covariance may be singular.
    """
    data, effects = fit.data, fit.effects
    known, each = data.X @ fit.beta + data.offset, row_weights(data)
    factors = factors_of(effects)
    roots = [fit.factor[np.ix_(own.columns, own.columns)] / fit.residual_sd for own in factors]
    of_levels = [np.bincount(own.codes, each) / np.bincount(own.codes) for own in factors]

    def at(T: list[Array]) -> tuple[Array, float]:
        b = [t @ root @ root.T for t, root in zip(T, roots, strict=True)]
        eta = known + _of_rows(b, effects.Z, effects)
        squares = sum(float(w @ np.einsum("la,la->l", t, own)) for w, t, own in zip(of_levels, T, b, strict=True))
        return eta, float(each @ fit.response.value(eta, data.a, data.b)) - 0.5 * squares

    T = [np.zeros((own.levels, own.n_effects)) for own in factors]
    eta, height = at(T)
    for _ in range(_MOST_STEPS):
        found = working(data, fit.response, eta)
        task = _task(data, data.X, found.responses + data.offset - known, effects.Z, found.weights, fit.form)
        way = [t[..., -1] - old for t, old in zip(Moments(task.statistics, roots).by_level(), T, strict=True)]
        share = 2.0
        there = -np.inf
        while not there >= height - _OF_VALUE * abs(height) and share > _SHORTEST:
            share *= 0.5
            new, there = at([old + share * step for old, step in zip(T, way, strict=True)])
        T = [old + share * step for old, step in zip(T, way, strict=True)]
        moved = float(np.sqrt(found.weights @ (new - eta) ** 2)) / fit.residual_sd
        eta, height = new, there
        if moved < _AT_REST:
            break
    return eta
