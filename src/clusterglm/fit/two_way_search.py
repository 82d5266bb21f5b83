"""Newton's method on coefficients and the intercepts of two factors together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from clusterglm.data.prepare import ModelData
from clusterglm.fit.newton import Iteration, Optimization
from clusterglm.likelihood.two_way import Crossing, Intercepts
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response

_NO_INFORMATION_LEFT = 1e-8  # of a trial or count: its row is certain, ...
_MOVING = 0.1  # ... if the last step moved its linear predictor so far
_RESTING = 1e-2  # Newton decrement below which it is asked which rows still move
_SHORTEST_STEP = 1e-10
_VALUE_DIGITS = 1e-13


@dataclass(frozen=True)
class Maximum:
    """Where Newton's method ended.

    Parameters
    ----------
    beta, first, second : ndarray
        Coefficients and intercepts.
    value : float
        Log-likelihood without constants.
    optimization : Optimization
    moving : ndarray of bool, shape (n,)
        Rows that are certain, and whose linear predictor the last step still moved.
    covariance : ndarray, shape (p, p), optional
        Of the coefficients, where it came with the maximum.
    """

    beta: Array
    first: Array
    second: Array
    value: float
    optimization: Optimization
    moving: NDArray[np.bool_]
    covariance: Array | None = None


def newton(
    X: Array,
    rows: ModelData,
    crossing: Crossing,
    response: Response,
    beta: Array,
    control: Control,
    near: tuple[Array, Array] | None = None,
) -> Maximum:
    """Newton's method on coefficients and all intercepts, steps halved until they raise the log-likelihood.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Columns; best without what intercepts of both factors take up of them.
    rows : ModelData
        All else of the rows.
    crossing : Crossing
    response : Response
    beta : ndarray, shape (p,)
        Where to begin.
    control : Control
    near : pair of ndarray, optional
        Intercepts to begin at.

    Notes
    -----
    Converged when the Newton decrement in coefficients and intercepts together is below the tolerance; the last step,
    which squares it, is taken too.
    """
    a, b, offset = rows.a, rows.b, rows.offset
    first, second = (_beginning(rows, crossing, response), np.zeros(crossing.q)) if near is None else near
    eta = X @ beta + offset + crossing.at_rows(first, second)
    value, g, w = _row_derivatives(response, eta, a, b)
    sizes = response.sizes(a, b)
    trace, status, decrement, evaluations, moved = [], "max_iter", np.inf, 1, np.zeros(rows.n_obs)
    for iteration in range(control.max_iter):
        step_beta, step_first, step_second, decrement = _newton_step(X, crossing, g, w)
        trace.append(Iteration(iteration, value, decrement, float(np.linalg.norm(step_beta)), np.inf))
        if control.progress is not None and control.progress(trace[-1]) is False:
            status = "interrupted"
            break
        moved = X @ step_beta + crossing.at_rows(step_first, step_second)
        length = 1.0
        while True:
            after, g_after, w_after = _row_derivatives(response, eta + length * moved, a, b)
            evaluations += 1
            enough = value + 1e-4 * length * decrement**2 - _VALUE_DIGITS * (abs(value) + len(a))
            if np.isfinite(after) and after >= enough:
                break
            length *= 0.5
            if length < _SHORTEST_STEP:
                break
        if length < _SHORTEST_STEP:
            status = "stalled" if decrement > control.tol else "converged"
            break
        beta, first, second = beta + length * step_beta, first + length * step_first, second + length * step_second
        eta, value, g, w = eta + length * moved, after, g_after, w_after
        if decrement < control.tol:
            status = "converged"
            break
        if decrement < _RESTING and _certain(w, moved, sizes).any():
            break
    moving = _certain(w, moved, sizes)
    story = Optimization(status, _ENDS_IN_WORDS[status], len(trace), evaluations, float(decrement), tuple(trace))
    return Maximum(beta, first, second, value, story, moving)


def _certain(information: Array, moved: Array, sizes: Array) -> NDArray[np.bool_]:
    """Rows on their way to a probability of 0 or 1, or a mean of 0: each step takes them as far as the last one."""
    return (information < _NO_INFORMATION_LEFT * sizes) & (np.abs(moved) > _MOVING)


_ENDS_IN_WORDS = {
    "converged": "converged: the gradient in coefficients and intercepts is zero to the tolerance",
    "max_iter": "stopped at the iteration limit before converging: raise Control(max_iter=)",
    "stalled": "stopped where no step raises the log-likelihood but the gradient is above the tolerance: look for "
    "covariates that nearly determine the response, or loosen Control(tol=)",
    "interrupted": "stopped by the progress callback before converging: the estimates are the last iteration's",
}


def _beginning(rows: ModelData, crossing: Crossing, response: Response) -> Array:
    """Intercepts of the first factor alone that come near the mean of their rows, offsets aside, shape (m,)."""
    a = crossing.over_first(rows.a)
    sizes = crossing.over_first(response.sizes(rows.a, rows.b))
    # half an event more on either side, so that no mean is at its end
    mean = (a + 0.5) / (sizes + 1.0) if response.bounded else (a + 0.25) / sizes
    shift = crossing.over_first(rows.offset) / np.diff(crossing.starts)
    return response.link_function(mean) - shift


def _row_derivatives(response: Response, eta: Array, a: Array, b: Array) -> tuple[float, Array, Array]:
    """Log-likelihood without constants, first derivatives of rows in the linear predictor, and minus the second."""
    with np.errstate(over="ignore", invalid="ignore"):
        jet = response.derivatives(eta, a, b)
        value = float(np.sum(jet[0]))
    return value, jet[1], -jet[2]


def _newton_step(X: Array, crossing: Crossing, g: Array, w: Array) -> tuple[Array, Array, Array, float]:
    """The step in beta and both sets of intercepts, and its decrement."""
    system = Intercepts(crossing, w)
    weighted = X * system.weights[:, None]
    of_first = crossing.over_first(np.column_stack([weighted, g]))
    of_second = crossing.over_second(np.column_stack([weighted, g]))
    u, v = system.solve(of_first, of_second, rough=True)
    p = X.shape[1]
    information = X.T @ weighted - of_first[:, :p].T @ u[:, :p] - of_second[:, :p].T @ v[:, :p]
    score = X.T @ g - u[:, :p].T @ of_first[:, p] - v[:, :p].T @ of_second[:, p]
    step = np.zeros(0)
    if p:
        size = np.sqrt(np.maximum(np.diag(information), np.finfo(float).tiny))
        scaled = information / np.outer(size, size) + 1e-14 * np.eye(p)
        try:
            step = cho_solve(cho_factor(scaled), score / size) / size
        except LinAlgError:
            step = np.linalg.lstsq(scaled, score / size, rcond=1e-10)[0] / size
    first, second = u[:, p] - u[:, :p] @ step, v[:, p] - v[:, :p] @ step
    squared = score @ step + of_first[:, p] @ u[:, p] + of_second[:, p] @ v[:, p]
    return step, first, second, float(np.sqrt(np.maximum(squared, 0.0)))
