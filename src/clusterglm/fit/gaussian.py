"""Normal responses: least squares, and mixed models by ML or REML, without a single integral.

The search is over theta, the parameters of the effects' covariance relative to the residual, with coefficients and the
residual standard deviation at their best for each (`likelihood/gaussian`). In it covariates are standardised, and
columns of effects have unit mean square, and are orthogonal where any covariance is allowed; responses are what least
squares leave, in units of its standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from clusterglm.data.clusters import rows_of, spread_out
from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.errors import ClusterError, ClusterGLMError, DesignError, ResponseError
from clusterglm.fit.boundary import vanishing
from clusterglm.fit.gaussian_search import CLOSED, maximum_of, starts_of
from clusterglm.fit.mixed_looks import one_in
from clusterglm.fit.newton import Optimization, maximize
from clusterglm.fit.standardise import Standardisation, standardise
from clusterglm.likelihood.gaussian.layout import Factor
from clusterglm.likelihood.gaussian.objective import Task, factors_in
from clusterglm.likelihood.gaussian.statistics import Statistics, statistics_of
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.covariance import Covariance
from clusterglm.model.large_data import NORMAL_CLUSTERS_AT_ONCE
from clusterglm.model.parameters import Block, Parameters, coefficients, random_effects
from clusterglm.model.response.continuous.gaussian import GaussianIdentity

RESIDUAL = "residual_sd"
_HARDLY_ANY = 0.01  # times the standard deviations, where it is asked whether the data want any
_LEAST_LEFT = 1e-24  # of the responses' sum of squares: covariates that leave less leave nothing
_MANY_ROWS = 5_000  # from which least squares are not by an SVD
_LOG_2PI = float(np.log(2.0 * np.pi))
_FEW_STEPS = 12  # of a search by a sample, ...
_BY_A_SAMPLE = 0.5  # ... and its standard errors from the sample's maximum at which it ends


@dataclass(frozen=True)
class GaussianPooledFit:
    """Least squares.

    Parameters
    ----------
    beta : ndarray, shape (p,)
    residual_sd : float
        Of maximum likelihood, root(RSS / n); with `reml` root(RSS / (n - p)).
    covariance, hessian : ndarray, shape (p + 1, p + 1)
        Inverse of the observed information of (beta, residual_sd), and the Hessian of the log-likelihood.
    loglik : float
    rss : float
        Weighted sum of squared residuals.
    reml : bool
        Whether the likelihood is the restricted one.
    optimization : Optimization
    """

    beta: Array
    residual_sd: float
    covariance: Array
    hessian: Array
    loglik: float
    rss: float
    reml: bool
    optimization: Optimization

    penalty: ClassVar[None] = None
    penalized_loglik: ClassVar[None] = None


@dataclass(frozen=True)
class GaussianFit:
    """Estimates of a linear mixed model, on the user's scale.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Regression coefficients.
    phi : ndarray, shape (r,)
        Parameters of the effects' covariance; see `Covariance`.
    residual_sd : float
    covariance : ndarray, shape (p + r + 1, p + r + 1)
        Inverse observed information of (beta, phi, residual_sd); nan in rows of parameters that are held at zero. With
        `reml` coefficients are generalised least squares at the estimated covariance, and the others have the
        information of the restricted likelihood.
    hessian : ndarray, shape (p + r + 1, p + r + 1)
        Of the log-likelihood at the estimate.
    held : ndarray of bool, shape (r,)
        Parameters of the covariance that are zero because the maximum is singular.
    loglik : float
        Full, normalised log-likelihood, restricted with `reml`.
    reml : bool
    optimization : Optimization
    pooled : GaussianPooledFit
        The same model without random effects.
    data : ModelData
    """

    beta: Array
    phi: Array
    residual_sd: float
    covariance: Array
    hessian: Array
    held: NDArray[np.bool_]
    loglik: float
    reml: bool
    optimization: Optimization
    pooled: GaussianPooledFit
    data: ModelData

    penalty: ClassVar[None] = None
    penalized_loglik: ClassVar[None] = None

    @property
    def effects(self) -> Effects:
        """What varies over clusters."""
        assert self.data.effects is not None
        return self.data.effects

    @property
    def parameters(self) -> Parameters:
        """What (beta, phi, residual_sd) are."""
        own = Block("random", str(self.data.cluster_name), self.effects.covariance.labels)
        return Parameters((*coefficients(self.data.names).blocks, own)).and_own((RESIDUAL,))

    @property
    def factor(self) -> Array:
        """L, the lower-triangular factor of the effects' covariance, shape (q, q)."""
        return self.effects.covariance.factor(self.phi)

    @property
    def theta(self) -> Array:
        """(beta, phi, residual_sd)."""
        return self.parameters.joined(self.beta, self.phi, self.residual_sd)

    @property
    def response(self) -> GaussianIdentity:
        """Normal about the linear predictor."""
        return GaussianIdentity(self.residual_sd)

    @cached_property
    def task(self) -> Task:
        """The likelihood in the user's units, of what the estimated coefficients leave of the responses."""
        return task_of(self.data, self.reml, self.beta)


def factors_of(effects: Effects) -> list[Factor]:
    """The grouping factors of effects."""
    columns = factors_in(effects.covariance, [levels.group for levels in effects.groupings])
    return [
        Factor(levels.codes, len(levels.labels), own) for levels, own in zip(effects.groupings, columns, strict=True)
    ]


def responses(data: ModelData) -> Array:
    """The responses less their offsets, shape (n,)."""
    y = data.a if _ones(data.weights) else data.a / data.weights
    return np.asarray(y - data.offset) if data.offset.any() else np.asarray(y)


def _ones(weights: Array) -> bool:
    """Whether all are one, known without a look at each where one stands for all."""
    return bool(weights[0] == 1.0) if weights.strides == (0,) else bool((weights == 1.0).all())


def row_weights(data: ModelData) -> Array:
    """Those of each row's cluster, shape (n,)."""
    if (data.cluster_weights == 1.0).all():
        return np.broadcast_to(1.0, data.n_obs)
    return np.repeat(data.cluster_weights, np.diff(data.starts))


def task_of(data: ModelData, reml: bool, beta: Array, covariance: Covariance | None = None) -> Task:
    """The likelihood of what some coefficients leave of the responses, in the user's units.

    A difference of large numbers has lost its digits before it is squared, unless it is taken first.
    """
    assert data.effects is not None
    left = responses(data) - data.X @ beta
    found = _statistics(data.X, left, data, np.eye(data.effects.Z.shape[1]))
    return Task(found, data.effects.covariance if covariance is None else covariance, reml)


def _statistics(X: Array, y: Array, data: ModelData, columns: Array) -> Statistics:
    effects = data.effects
    assert effects is not None
    Z = effects.Z if np.array_equal(columns, np.eye(len(columns))) else effects.Z @ columns
    return statistics_of(X, y, Z, factors_of(effects), data.weights, row_weights(data))


# Least squares --------------------------------------------------------------------------------------------------------


def fit_gaussian_pooled(data: ModelData, reml: bool = False) -> GaussianPooledFit:
    """Least squares, and the residual standard deviation of maximum likelihood (or of the restricted one).

    Raises
    ------
    ResponseError
        When all responses are equal.
    DesignError
        When covariates leave nothing of the responses.
    """
    return _least_squares(data, standardise(data.X, data.intercept), reml)[0]


def _least_squares(data: ModelData, standard: Standardisation, reml: bool) -> tuple[GaussianPooledFit, Array, Array]:
    """The fit, the standardised coefficients, and what they leave of the responses."""
    y, w = responses(data), data.weights * row_weights(data)
    n, p = float(w.sum()), data.X.shape[1]
    weighted = standard.X if (w == 1.0).all() else standard.X * w[:, None]
    gram = weighted.T @ standard.X
    gamma = _solved(gram, standard.X, weighted, y, w)
    left = y - standard.X @ gamma
    rss = float(w @ left**2)
    total = float(w @ y**2)
    _refuse_perfect(data, y, rss, total, n, p)
    nu = n - p * reml
    s2 = rss / nu
    own = coefficients(data.names).and_own((RESIDUAL,))
    covariance, hessian = np.zeros((len(own),) * 2), np.zeros((len(own),) * 2)
    L = standard.L
    inverse = L @ np.linalg.inv(gram) @ L.T if p else np.zeros((0, 0))
    mean, last = own.coefficients, own.own.start
    covariance[mean, mean], covariance[last, last] = s2 * inverse, s2 / (2.0 * nu)
    back = np.linalg.inv(L)
    hessian[mean, mean], hessian[last, last] = -(back.T @ gram @ back) / s2, -2.0 * nu / s2
    loglik = -0.5 * nu * (_LOG_2PI + np.log(s2) + 1.0)
    if reml and p:
        loglik -= 0.5 * (np.linalg.slogdet(gram)[1] - 2.0 * np.linalg.slogdet(L)[1])
    story = Optimization("converged", CLOSED, 0, 1, 0.0, ())
    fit = GaussianPooledFit(L @ gamma, float(np.sqrt(s2)), covariance, hessian, float(loglik), rss, reml, story)
    return fit, gamma, left


def _solved(gram: Array, X: Array, weighted: Array, y: Array, w: Array) -> Array:
    """Coefficients of least squares: of many rows by normal equations, refined once; of few by their SVD."""
    if len(y) < _MANY_ROWS or not X.shape[1]:
        root = np.sqrt(w)
        return np.asarray(np.linalg.lstsq(X * root[:, None], y * root, rcond=None)[0]) if X.shape[1] else np.zeros(0)
    factor = cho_factor(gram)
    gamma = cho_solve(factor, weighted.T @ y)
    return np.asarray(gamma + cho_solve(factor, weighted.T @ (y - X @ gamma)))


def _refuse_perfect(data: ModelData, y: Array, rss: float, total: float, n: float, p: int) -> None:
    name = data.response_name
    if float(np.ptp(y)) == 0.0 and data.has_intercept:
        raise ResponseError(
            f"all responses in {name!r} are equal", "responses that differ", "check subset= and the data"
        )
    if n <= p or rss <= _LEAST_LEFT * total:
        raise DesignError(
            f"covariates that leave nothing of {name!r} ({p} coefficients, {data.n_obs} rows)",
            "more rows than coefficients, and something left over for the residual standard deviation",
            "fewer covariates; check that the response is not computed from them",
        )


# Mixed models ---------------------------------------------------------------------------------------------------------


def fit_gaussian(data: ModelData, reml: bool, control: Control, begin: Array | None = None) -> GaussianFit:
    """Fit a linear mixed model by Newton's method on the exact Hessian of the profiled likelihood.

    Parameters
    ----------
    data : ModelData
        With effects that have `groupings`.
    reml : bool
        Maximise the restricted likelihood.
    control : Control
    begin : ndarray, shape (r + 1,), optional
        (phi, residual_sd) from which to search; by default from the best of a few.

    Raises
    ------
    ClusterError
        When a factor has one level, or has no level with two rows; or when clusters that cross have weights.
    ResponseError, DesignError
        As `fit_gaussian_pooled`; and when the information matrix is singular at the end.
    OptionError
        When crossed factors have too many levels.
    """
    effects = data.effects
    assert effects is not None
    check_levels(data)
    standard = standardise(data.X, data.intercept)
    pooled, gamma, left = _least_squares(data, standard, reml)
    covariance = effects.covariance
    columns, inside = units(effects)
    unit = pooled.residual_sd
    left /= unit
    task = Task(_statistics(standard.X, left, data, columns), covariance, reml)
    first = None if begin is None else inside @ (begin[:-1] / begin[-1] ** task.exponents)
    quick = task.statistics.packed is not None and data.n_clusters <= NORMAL_CLUSTERS_AT_ONCE
    one_of = one_in(data.n_clusters) if _independent(data) and not quick else None
    if first is None and one_of is not None:
        first = _of_a_sample(data, one_of, standard.X, left, columns, reml)
    found, held = maximum_of(task, control, first)
    moments = task.moments(found.theta)
    best = task.best(moments.S)
    sd = float(np.sqrt(best.Q / task.nu))
    phi: Array = np.linalg.inv(inside) @ (found.theta * (sd * unit) ** task.exponents)
    beta = standard.L @ (gamma + unit * best.beta)
    hessian = task.whole(best.beta, found.theta * sd**task.exponents, sd).hessian
    places = random_effects(data.names, covariance.labels).and_own((RESIDUAL,))
    mean, random, last = places.coefficients, places.place("random"), places.own
    T = np.zeros(hessian.shape)
    T[mean, mean], T[last, last] = unit * standard.L, unit
    T[random, random] = np.linalg.inv(inside) * unit**task.exponents
    every = np.zeros(len(places), dtype=bool)
    every[random] = held
    shift = -task.nu * np.log(unit) + (np.linalg.slogdet(standard.L)[1] if reml else 0.0)
    value = found.evaluation.value + float(shift)
    return GaussianFit(
        beta,
        phi,
        sd * unit,
        *on_user_scale(hessian, T, every),
        held,
        value,
        reml,
        found.optimization,
        pooled,
        data,
    )


def _independent(data: ModelData) -> bool:
    """Whether all levels lie in clusters."""
    effects = data.effects
    assert effects is not None
    return all(levels.nested for levels in effects.groupings)


def _of_a_sample(data: ModelData, every: int, X: Array, y: Array, columns: Array, reml: bool) -> Array | None:
    """The maximum by one cluster in so many, from which to search; None where it is singular."""
    effects = data.effects
    assert effects is not None
    chosen = spread_out(data.n_clusters, every)
    rows, starts = rows_of(data.starts, chosen)
    some = effects.taken(rows, starts)
    weights = np.repeat(data.cluster_weights[chosen], np.diff(starts))
    found = statistics_of(X[rows], y[rows], some.Z @ columns, factors_of(some), data.weights[rows], weights)
    task = Task(found, some.covariance, reml)
    start = max(starts_of(task), key=task.value)
    try:
        theta = maximize(task.evaluate, start, Control(max_iter=_FEW_STEPS), tolerance=_BY_A_SAMPLE).theta
    except ClusterGLMError:
        return None
    theta = task.covariance.canonical(theta)
    return None if vanishing(task.covariance, theta, _HARDLY_ANY).any() else theta


def units(effects: Effects) -> tuple[Array, Array]:
    """Columns W, shape (q, q), such that those of Z W have unit mean square, and phi as these have it, A phi.

    Where any covariance is allowed the columns of a term are made orthogonal too, last to first: Z = Z W T with T lower
    triangular, so that L becomes T L.
    """
    covariance = effects.covariance
    squares = effects.Z.T @ effects.Z / len(effects.Z)
    scale = covariance.common(np.sqrt(np.diag(squares)))
    W, A, first = np.diag(1.0 / scale), np.diag(covariance.units(scale)), 0
    for term, where in covariance.blocks():
        some, d = slice(first, first + term.size), len(term.effects)
        first = some.stop
        if term.structure != "us" or d == 1:
            continue
        gram = squares[where, where] / np.outer(scale[where], scale[where])
        try:
            T = np.linalg.cholesky(gram[::-1, ::-1]).T[::-1, ::-1] * scale[where]
        except np.linalg.LinAlgError:  # as good as collinear
            continue
        W[where, where] = np.linalg.inv(T)
        rows, places = np.tril_indices(d)
        A[some, some] = T[np.ix_(rows, rows)] * (places[:, None] == places)
    return W, A


def check_levels(data: ModelData, *, own_scale: bool = True) -> None:
    """Refuse factors whose variance cannot be told, from the residual one where that is estimated (`own_scale`)."""
    effects, n = data.effects, data.n_obs
    assert effects is not None
    for levels in effects.groupings:
        name, count = levels.group, len(levels.labels)
        if count < 2:
            raise ClusterError(
                f"only one level of {name!r}",
                "at least two levels, and better ten or more, to estimate the spread between them",
                "the formula without its random effects",
            )
        weighted = not _ones(data.weights)
        most = np.bincount(levels.codes, data.weights if weighted else None).max()
        if own_scale and (most <= 1.0 or count >= n):
            raise ClusterError(
                f"{count} levels of {name!r} in {n} rows: none with two responses",
                "levels with several responses: with one each, their spread cannot be told from the residual one",
                f"the formula without the random effects of {name!r}; or check that it names the group and not the row",
            )
    crossed = not all(levels.nested for levels in effects.groupings)
    if crossed and not (data.cluster_weights == 1.0).all():
        raise ClusterError(
            "cluster_weights= with crossed random effects, whose levels lie in no cluster",
            "weights of rows",
            "weights=, or factors that are nested",
        )


def on_user_scale(hessian: Array, T: Array, held: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Covariance and Hessian of T theta; nan in rows of the former that are held."""
    free = np.flatnonzero(~held)
    some = np.ix_(free, free)
    covariance = np.full_like(hessian, np.nan)
    # in units in which the information has a diagonal of ones
    information = -hessian[some]
    scale = np.sqrt(np.abs(np.diag(information)))
    scale = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    if not values[0] > 1e-12:
        raise DesignError(
            "the observed information matrix is not positive definite where the optimiser stopped",
            "a log-likelihood with a single, curved maximum",
            "fewer random effects, such as (x || id) for (x | id), or fewer covariates",
        )
    inverse = (vectors / values) @ vectors.T / np.outer(scale, scale)
    found = T[some] @ inverse @ T[some].T
    covariance[some] = 0.5 * (found + found.T)
    back = np.linalg.inv(T)
    user = back.T @ hessian @ back
    return covariance, 0.5 * (user + user.T)
