"""Maximum likelihood with an intercept for every level of two factors.

Two routes to the same maximum. Where the second factor has few levels and the core knows the response, they are columns
beside the covariates, and the intercepts of the first are profiled out as with one factor. Otherwise Newton's method on
coefficients and all intercepts together, of which each step is solved by blocks (`likelihood/two_way.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from clusterglm.data.prepare import ModelData
from clusterglm.data.rows import Dropped
from clusterglm.data.two_way import TwoWay, informative, without_rows
from clusterglm.errors import ClusterError, DesignError, OptionError, ResponseError, SeparationError
from clusterglm.fit.fixed_effects import profiled_estimates
from clusterglm.fit.newton import Optimization
from clusterglm.fit.two_way_search import Maximum, newton
from clusterglm.fit.within import WithinSums, checked_start, sums_within
from clusterglm.likelihood.two_way import Crossing, Intercepts
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response

_FEW_COLUMNS = 40  # with the levels of the second factor, up to which these are columns for the core
_LEFT_OF_A_COLUMN = 1e-9  # of a column's variance within levels of one factor is what the other has to leave of it
_NO_INFORMATION_LEFT, _MOVING = (
    1e-8,
    0.1,
)  # information of a trial or count, and step of its linear predictor, that make it certain
_RESTING = 1e-2  # Newton decrement below which it is asked which rows still move
_SHORTEST_STEP = 1e-10
_VALUE_DIGITS = 1e-13
_NOTHING_LEFT = 1e-20  # of the responses' sum of squares
_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class TwoWayFit:
    """Estimates of a model with intercepts of two factors, on the user's scale.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients; the corrected ones if a correction was made.
    intercepts : ndarray, shape (m,)
        Of the clusters, the levels of the first factor, at `beta`.
    second : ndarray, shape (q,)
        Of the levels of the second factor, relative to the first one of those that hang together.
    covariance, hessian : ndarray, shape (p, p)
        Inverse of the information of beta, all intercepts being estimated too, and minus that information.
    loglik : float
        Normalised log-likelihood at its maximum (not at corrected coefficients).
    optimization : Optimization
    components : int
        Sets of levels that hang together.
    residual_sd : float
        Of normal responses, root(RSS / (n - parameters)), n the sum of weights; nan of others.
    uncorrected : ndarray, shape (p,)
        The coefficients that maximise the likelihood.
    correction : str
        How the bias from the intercepts was corrected; empty if it was not.
    """

    beta: Array
    intercepts: Array
    second: Array
    covariance: Array
    hessian: Array
    loglik: float
    optimization: Optimization
    components: int
    residual_sd: float
    uncorrected: Array
    correction: str = ""

    @property
    def by_cluster(self) -> TwoWayFit:
        """The fit with what belongs to single clusters: this one."""
        return self


def fit_two_way(whole: TwoWay, response: Response, start: Array | None, control: Control) -> tuple[TwoWayFit, TwoWay]:
    """The fit, and the rows that it rests on.

    Raises
    ------
    ClusterError
        When no rows are left that say something of coefficients, or one factor lies in the other.
    DesignError
        When intercepts of both factors take up a column.
    SeparationError
        When covariates separate the responses.
    """
    used, near, taken = informative(whole, response), None, 0
    while True:
        crossing = crossing_of(used)
        _refuse_nested(used, crossing)
        found = None if near is not None else _by_columns(used, crossing, response, start, control)
        if found is None:
            found = _by_newton(used, crossing, response, start, control, near)
        taken += found.optimization.iterations
        found = replace(found, optimization=replace(found.optimization, iterations=taken))
        if not found.moving.any():
            return _estimates(used, crossing, response, found), used
        left = _without_certain(used, found.moving, response)
        start = found.beta
        near = (
            found.first[_still(used.rows.labels, left.rows.labels)],
            found.second[_still(used.second.labels, left.second.labels)],
        )
        used = left


def _still(before: NDArray[Any], now: NDArray[Any]) -> NDArray[np.int64]:
    """Where labels that are left were, both in one order."""
    place = {label: k for k, label in enumerate(before.tolist())}
    return np.array([place[label] for label in now.tolist()], dtype=np.int64)


def crossing_of(used: TwoWay) -> Crossing:
    """Which levels of both factors meet."""
    return Crossing(used.rows.starts, used.second.codes, len(used.second.labels))


def information_at(used: TwoWay, response: Response, eta: Array) -> Array:
    """Observed information of each row in its linear predictor, shape (n,)."""
    return -response.derivatives(eta, used.rows.a, used.rows.b)[2]


def covariance_at(used: TwoWay, crossing: Crossing, weights: Array) -> tuple[Array, Array]:
    """Inverse of the information of coefficients beside all intercepts, and minus it; of weights of rows."""
    left = Intercepts(crossing, weights).residual(used.rows.X)
    information = left.T @ (left * weights[:, None])
    return _inverse(information, used.rows), -information


def intercepts_at(
    used: TwoWay, crossing: Crossing, response: Response, beta: Array, control: Control
) -> tuple[Array, Array]:
    """Both factors' intercepts that maximise the likelihood at given coefficients."""
    rows = used.rows
    known = replace(rows, X=np.empty((rows.n_obs, 0)), offset=rows.offset + rows.X @ beta, names=())
    found = newton(known.X, known, crossing, response, np.zeros(0), control)
    return crossing.identified(found.first, found.second)


def _refuse_nested(used: TwoWay, crossing: Crossing) -> None:
    one, two = used.factors
    for outer, inner, size in ((one, two, crossing.m), (two, one, crossing.q)):
        if crossing.n_components == size:
            raise ClusterError(
                f"two-way fixed effects of {inner!r} and {outer!r}, where every level of {inner!r} lies in one level "
                f"of {outer!r}",
                "factors that cross: the inner one's effects take up those of the outer one",
                f"cluster={inner!r} alone, which is the same model",
            )


# Levels as columns ----------------------------------------------------------------------------------------------------


def _by_columns(
    used: TwoWay, crossing: Crossing, response: Response, start: Array | None, control: Control
) -> Maximum | None:
    """The maximum by the core, the second factor's levels being columns; None where that is not its way."""
    rows, p = used.rows, used.rows.X.shape[1]
    levels = np.delete(np.arange(crossing.q), crossing.references)
    if response.continuous or p + len(levels) > _FEW_COLUMNS:
        return None
    X = np.zeros((rows.n_obs, p + len(levels)))
    X[:, :p] = rows.X
    place = np.full(crossing.q, -1)
    place[levels] = p + np.arange(len(levels))
    column = place[used.second.codes]
    which = np.flatnonzero(column >= 0)
    X[which, column[which]] = 1.0
    names = (*rows.names, *(f"{used.second.group}[{used.second.labels[k]}]" for k in levels.tolist()))
    wide = replace(rows, X=X, names=names)
    begin = None
    if start is not None:
        begin = np.append(checked_start(start, rows.names), np.zeros(len(levels)))
    within = WithinSums(sums_within(wide, response, control.threads), conditional=False)
    try:
        found = profiled_estimates(within, begin, control)
    except (SeparationError, DesignError):  # the other way has words of its own, and may leave rows out
        return None
    second = np.zeros(crossing.q)
    second[levels] = found.beta[p:]
    first = within.intercepts(within.sums.standard.inside(found.beta))
    moving = np.zeros(rows.n_obs, dtype=bool)
    columns = slice(0, p)
    value, covariance = found.loglik - rows.constant, found.covariance[columns, columns]
    return Maximum(found.beta[:p], first, second, value, found.optimization, moving, covariance)


# All together ---------------------------------------------------------------------------------------------------------


def _by_newton(
    used: TwoWay,
    crossing: Crossing,
    response: Response,
    start: Array | None,
    control: Control,
    near: tuple[Array, Array] | None,
) -> Maximum:
    rows = used.rows
    if response.continuous:
        return _least_squares(used, crossing)
    plain = Intercepts(crossing, np.ones(rows.n_obs))
    centred = plain.residual(rows.X)
    _refuse_taken_up(used, crossing, centred)
    begin = np.zeros(len(rows.names)) if start is None else checked_start(start, rows.names)
    # intercepts beside the user's columns
    first, second = plain.projection(rows.X - centred)
    if near is not None:
        near = near[0] + first @ begin, near[1] + second @ begin
    found = newton(centred, rows, crossing, response, begin, control, near)
    beside = crossing.identified(found.first - first @ found.beta, found.second - second @ found.beta)
    return replace(found, first=beside[0], second=beside[1])


def _least_squares(used: TwoWay, crossing: Crossing) -> Maximum:
    """The maximum of normal responses of variance one: everything without what the intercepts take up."""
    rows, p = used.rows, len(used.rows.names)
    weights = np.array(rows.weights)
    system, y = Intercepts(crossing, weights), rows.a / rows.b - rows.offset
    left = system.residual(np.column_stack([rows.X, y]))
    _refuse_taken_up(used, crossing, left[:, :p])
    information = left[:, :p].T @ (left[:, :p] * weights[:, None])
    covariance = _inverse(information, rows)
    beta = covariance @ (left[:, :p].T @ (left[:, p] * weights))
    beta = beta + covariance @ (left[:, :p].T @ ((left[:, p] - left[:, :p] @ beta) * weights))
    last = left[:, p] - left[:, :p] @ beta
    first, second = system.projection((y - rows.X @ beta - last)[:, None])
    rss = float(weights @ last**2)
    if rss <= _NOTHING_LEFT * float(weights @ (y - np.average(y, weights=weights)) ** 2):
        raise ResponseError(
            "responses of which covariates and the effects of both factors leave nothing",
            "responses with noise",
            "fewer covariates or effects",
        )
    none = np.zeros(rows.n_obs, dtype=bool)
    story = Optimization("converged", "least squares, without iterations", 0, 1, 0.0, ())
    return Maximum(beta, first[:, 0], second[:, 0], -0.5 * rss, story, none, covariance)


# What both end with ---------------------------------------------------------------------------------------------------


def _estimates(used: TwoWay, crossing: Crossing, response: Response, found: Maximum) -> TwoWayFit:
    rows = used.rows
    first, second = crossing.identified(found.first, found.second)
    residual_sd, loglik = float("nan"), found.value + rows.constant
    if found.covariance is not None:
        covariance, hessian = found.covariance, np.asarray(-np.linalg.inv(found.covariance), np.float64)
    else:
        eta = rows.X @ found.beta + rows.offset + crossing.at_rows(first, second)
        covariance, hessian = covariance_at(used, crossing, information_at(used, response, eta))
    if response.continuous:
        residual_sd, loglik = _normal(used, crossing, found.value)
        covariance, hessian = covariance * residual_sd**2, hessian / residual_sd**2
    return TwoWayFit(
        found.beta,
        first,
        second,
        covariance,
        hessian,
        loglik,
        found.optimization,
        crossing.n_components,
        residual_sd,
        uncorrected=found.beta,
    )


def n_parameters(crossing: Crossing, p: int) -> int:
    """Coefficients and intercepts that are identified."""
    return p + crossing.m + crossing.q - crossing.n_components


def _normal(used: TwoWay, crossing: Crossing, value: float) -> tuple[float, float]:
    """Residual standard deviation, and the log-likelihood at that of maximum likelihood; from minus half the RSS."""
    n, rss, k = float(np.sum(used.rows.weights)), -2.0 * value, n_parameters(crossing, len(used.rows.names))
    if n <= k:
        raise OptionError(
            f"{n:g} measured responses for {k} coefficients and effects", "more responses", "fewer effects"
        )
    return float(np.sqrt(rss / (n - k))), -0.5 * n * (_LOG_2PI + float(np.log(rss / n)) + 1.0)


def _inverse(information: Array, rows: ModelData) -> Array:
    p = len(information)
    if p == 0:
        return np.zeros((0, 0))
    size = np.sqrt(np.maximum(np.diag(information), np.finfo(float).tiny))
    try:
        inside = cho_solve(cho_factor(information / np.outer(size, size)), np.eye(p))
    except LinAlgError:
        raise DesignError(
            f"coefficients of {', '.join(rows.names)} that the data do not tell apart beside the effects of both "
            "factors",
            "columns that vary within levels of both, and independently",
            "leave one of them out",
        ) from None
    return np.asarray(inside / np.outer(size, size))


def _refuse_taken_up(used: TwoWay, crossing: Crossing, left: Array) -> None:
    """Refuse columns, or combinations of them, of which the effects of both factors leave nothing.

    Parameters
    ----------
    left : ndarray, shape (n, p)
        What they leave.

    Raises
    ------
    DesignError
    """
    rows = used.rows
    sizes = np.diff(crossing.starts)[:, None]
    within = rows.X - np.repeat(crossing.over_first(rows.X) / sizes, sizes[:, 0], axis=0)
    variation = np.sum(within**2, axis=0)
    gone = np.flatnonzero(np.sum(left**2, axis=0) <= _LEFT_OF_A_COLUMN * variation)
    names = tuple(rows.names[j] for j in gone.tolist()) or tuple(_combined(rows.names, left))
    if not names:
        return
    one, two = used.factors
    plural = "s" if len(names) > 1 else ""
    raise DesignError(
        f"column{plural} {', '.join(map(repr, names))}, of which the effects of {one!r} and {two!r} "
        + ("leave nothing" if len(gone) else "leave fewer dimensions than there are columns"),
        "columns that vary within levels of both factors, and independently",
        f"leave {names[0]!r} out; age, period and cohort are an example",
    )


def _combined(names: tuple[str, ...], left: Array) -> Iterator[str]:
    """Columns in a combination that is 0."""
    size = np.linalg.norm(left, axis=0)
    if len(size) < 2:
        return
    values, vectors = np.linalg.eigh((left / size).T @ (left / size))
    for j in np.flatnonzero(np.abs(vectors[:, 0]) > 1e-4).tolist() if values[0] < _LEFT_OF_A_COLUMN else []:
        yield names[j]


def _without_certain(used: TwoWay, certain: NDArray[np.bool_], response: Response) -> TwoWay:
    """Without rows whose responses the model predicts for certain in the limit; they say nothing of what is finite.

    Correia, Guimaraes and Zylkin (arXiv:1903.01633): the estimates that exist are those without them.

    Raises
    ------
    SeparationError
        When a coefficient is infinite.
    """
    count, names = int(certain.sum()), used.rows.names
    refused = SeparationError(
        f"covariates ({', '.join(names)}) that separate {response.words.separated} beside the effects of "
        f"{used.factors[0]!r} and {used.factors[1]!r}: {count} of {used.rows.n_obs} rows are certain in the limit",
        "coefficients with a finite maximum",
        "leave out the covariate that is constant wherever responses vary, or combine rare levels",
    )
    if certain.all():
        raise refused
    reason = Dropped("certain given the effects of both factors", count)
    try:
        left = informative(without_rows(used, ~certain, (reason,), response), response)
        crossing = crossing_of(left)
        _refuse_taken_up(left, crossing, Intercepts(crossing, np.ones(left.rows.n_obs)).residual(left.rows.X))
    except (DesignError, ClusterError):
        raise refused from None
    return left
