"""Residuals that are standard normal, or uniform, if the model holds, however discrete the responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, kolmogorov, ndtri

from clusterglm.likelihood.scalar.rules import averaging_rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import NUMBERS_AT_A_TIME
from clusterglm.model.printing import printed
from clusterglm.model.response.base import Response
from clusterglm.model.special import log_normal_density

_HALF_WIDTH = 9.0  # the standard normal leaves 2e-19 outside
_FEWEST_NODES, _MOST_NODES = 65, 16_385  # nodes
_LIMIT_TOLERANCE = 1e-10
_EXACT = 100  # values up to which the p-value is exact
_BEYOND = 3.0  # from here on p-values are below 1e-7, and limits good enough


@dataclass(frozen=True)
class Ends:
    """Where each row's response lies in its distribution.

    Parameters
    ----------
    below, upto : ndarray, shape (n,)
        P(Y < y) and P(Y <= y).
    above, from_ : ndarray, shape (n,)
        P(Y > y) and P(Y >= y), which keep their accuracy in the upper tail.
    unresolved : int
        Rows whose integral over the intercept did not settle to 1e-10.
    """

    below: Array
    upto: Array
    above: Array
    from_: Array
    unresolved: int = 0

    @property
    def certain(self) -> NDArray[np.bool_]:
        """Rows in which nothing was left to chance, shape (n,)."""
        return np.asarray((self.below == 0.0) & (self.above == 0.0))


def conditional_ends(response: Response, y: Array, eta: Array, trials: Array) -> Ends:
    """Where responses lie in their distributions given the linear predictor.

    Parameters
    ----------
    response : Response
    y : ndarray, shape (n,)
        Successes or counts.
    eta, trials : ndarray, shape (n,)
    """
    upto, above = response.tails(y, eta, trials)
    below, from_ = response.tails(response.before(y), eta, trials)
    return Ends(below, upto, above, from_)


def marginal_ends(
    response: Response, y: Array, eta: Array, trials: Array, distribution: Distribution, sigma: float | Array
) -> Ends:
    """Where responses lie in their distributions averaged over the row's intercept.

    Parameters
    ----------
    response : Response
    y : ndarray, shape (n,)
    eta, trials : ndarray, shape (n,)
        Linear predictor at an intercept of zero; trials.
    distribution : Distribution
    sigma : float, or ndarray of shape (n,)
        Scale of the intercept; see `over_intercepts`.
    """
    if response.is_binary(trials):
        return _binary_ends(response, y, eta, distribution, sigma)

    before = response.before(y)

    def at(rows: NDArray[np.int64], shift: Array) -> Array:
        predictor, size, some = eta[rows, None] + shift, trials[rows, None], response.of_rows(rows)
        upto, above = some.tails(y[rows, None], predictor, size)
        below, from_ = some.tails(before[rows, None], predictor, size)
        return np.stack([below, upto, above, from_])

    parts, unresolved = over_intercepts(at, len(eta), distribution, sigma)
    below, upto, above, from_ = parts
    return Ends(below, upto, above, from_, unresolved)


def ends_over_points(
    response: Response, y: Array, eta: Array, trials: Array, points: Array, probabilities: Array
) -> Ends:
    """Where responses lie in their distributions averaged over values of the row's intercept.

    Parameters
    ----------
    response : Response
    y, eta, trials : ndarray, shape (n,)
        Linear predictor at an intercept of zero.
    points : ndarray, shape (k,)
    probabilities : ndarray, shape (n, k)
        Of the points; rows sum to one.
    """
    at = [conditional_ends(response, y, eta + point, trials) for point in points]
    parts = np.array([[each.below, each.upto, each.above, each.from_] for each in at])
    below, upto, above, from_ = np.einsum("jpn,nj->pn", parts, probabilities)
    return Ends(below, upto, above, from_)


def _binary_ends(response: Response, y: Array, eta: Array, distribution: Distribution, sigma: float | Array) -> Ends:
    """`marginal_ends` of single trials, for which two integrals will do."""
    zero, one = np.zeros((1, 1)), np.ones((1, 1))

    def at(rows: NDArray[np.int64], shift: Array) -> Array:
        return np.stack(response.tails(zero, eta[rows, None] + shift, one))

    (failure, success), unresolved = over_intercepts(at, len(eta), distribution, sigma)
    was = y > 0.0
    return Ends(
        np.where(was, failure, 0.0),
        np.where(was, 1.0, failure),
        np.where(was, 0.0, success),
        np.where(was, success, 1.0),
        unresolved,
    )


def randomised(ends: Ends, rng: np.random.Generator) -> Array:
    """Randomised quantile residuals, shape (n,): standard normal if the model holds.

    A normal quantile of a uniform draw between P(Y < y) and P(Y <= y) (Dunn and Smyth, Journal of Computational and
    Graphical Statistics 5, 1996). nan where the response was certain.
    """
    v = rng.random(len(ends.below))
    low = ends.below + v * np.maximum(ends.upto - ends.below, 0.0)
    high = ends.above + (1.0 - v) * np.maximum(ends.from_ - ends.above, 0.0)
    with np.errstate(divide="ignore"):
        z = np.where(low < high, ndtri(low), -ndtri(high))
    return np.asarray(np.where(ends.certain, np.nan, z))


def simulated(y: Array, draw: Callable[[np.random.Generator], Array], n_sim: int, rng: np.random.Generator) -> Array:
    """Rank of each response among simulated ones, ties broken at random, shape (n,): uniform if the model holds.

    Parameters
    ----------
    y : ndarray, shape (n,)
    draw : callable
        New responses, shape (n,).
    n_sim : int
        Simulated data sets.
    rng : Generator

    Returns
    -------
    ndarray, shape (n,)
        In (0, 1): (less + V (equal + 1)) / (n_sim + 1), V uniform, which is exactly uniform when the data are one more
        draw (the scaled residuals of R's DHARMa, without its noise added to responses).
    """
    less, equal = np.zeros(len(y)), np.zeros(len(y))
    for _ in range(n_sim):
        new = draw(rng)
        less += new < y
        equal += new == y
    return np.asarray((less + rng.random(len(y)) * (equal + 1.0)) / (n_sim + 1.0))


@printed
@dataclass(frozen=True)
class UniformityTest:
    """Kolmogorov and Smirnov's test.

    Parameters
    ----------
    statistic : float
        Largest distance between the distribution functions.
    pvalue : float
    n : int
        Values.
    """

    statistic: float
    pvalue: float
    n: int

    def __str__(self) -> str:
        return f"Kolmogorov-Smirnov D = {self.statistic:.4g}, p = {self.pvalue:.4g} ({self.n} values)"


def uniformity(u: Array) -> UniformityTest:
    """Test that independent values are uniform on (0, 1); nan are left out.

    The p-value is exact up to 100 values (Marsaglia, Tsang and Wang, Journal of Statistical Software 8(18), 2003), from
    there on Kolmogorov's limit with Vrbik's correction (Pioneer Journal of Theoretical and Applied Statistics 15,
    2018), within 0.0002.
    """
    u = np.sort(u[~np.isnan(u)])
    n = len(u)
    if n == 0:
        return UniformityTest(float("nan"), float("nan"), 0)
    steps = np.arange(n + 1) / n
    distance = float(max((steps[1:] - u).max(), (u - steps[:-1]).max()))
    root = np.sqrt(n)
    if n <= _EXACT and root * distance < _BEYOND:
        return UniformityTest(distance, _exact_p_value(n, distance), n)
    limit = kolmogorov(root * distance + 1.0 / (6.0 * root) + (root * distance - 1.0) / (4.0 * n))
    return UniformityTest(distance, float(limit), n)


def _exact_p_value(n: int, distance: float) -> float:
    """P(D_n > distance), from Durbin's matrix to the power n."""
    k = int(n * distance) + 1
    m, h = 2 * k - 1, k - n * distance
    lag = np.arange(m)[:, None] - np.arange(m)[None, :] + 1
    matrix = np.where(lag >= 0, 1.0, 0.0)
    powers = h ** np.arange(1, m + 1)
    matrix[:, 0] -= powers
    matrix[-1] -= powers[::-1]
    matrix[-1, 0] += max(2.0 * h - 1.0, 0.0) ** m
    matrix *= np.exp(-gammaln(np.maximum(lag, 0) + 1.0))
    inside = np.linalg.matrix_power(matrix, n)[k - 1, k - 1] * np.exp(gammaln(n + 1.0) - n * np.log(n))
    return float(np.clip(1.0 - inside, 0.0, 1.0))


def over_intercepts(
    function: Callable[[NDArray[np.int64], Array], Array], n: int, distribution: Distribution, sigma: float | Array
) -> tuple[Array, int]:
    """Averages over the distribution of the intercept, row by row.

    Parameters
    ----------
    function : callable
        Takes numbers of r rows and k intercepts, shape (1, k) or (r, k); returns bounded values, shape (c, r, k).
    n : int
        Rows.
    distribution : Distribution
    sigma : float, or ndarray of shape (n,)
        Scale of the intercept; or, of a scale family, what it is multiplied by in each row.

    Returns
    -------
    averages : ndarray, shape (c, n)
    unresolved : int
        Rows whose averages still changed by more than 1e-10 at the last doubling.

    Notes
    -----
    The trapezoid rule on the normal scale, its nodes doubled (and all old ones used again) until nothing changes; where
    the distribution asks for other rules, these, from the start each time.
    """
    if not np.any(sigma):
        return _in_blocks(function, np.arange(n), 0.0, np.zeros((1, 1)), np.ones(1)), 0
    if distribution.kinks or distribution.own_scale:
        return _by_other_rules(function, n, distribution, sigma)
    s = np.linspace(-_HALF_WIDTH, _HALF_WIDTH, _FEWEST_NODES)
    open_, step = np.arange(n), float(s[1] - s[0])
    averages = _in_blocks(function, open_, sigma, *_nodes(s, step, distribution, sigma))
    while len(open_) > 0 and len(s) < _MOST_NODES:
        between = s[:-1] + 0.5 * step
        more = _in_blocks(function, open_, sigma, *_nodes(between, step, distribution, sigma))
        change = np.abs(more - averages[:, open_]).max(axis=0)  # twice the change, in fact
        averages[:, open_] = 0.5 * (averages[:, open_] + more)
        open_ = open_[~(change <= _LIMIT_TOLERANCE)]
        s, step = np.linspace(-_HALF_WIDTH, _HALF_WIDTH, 2 * len(s) - 1), 0.5 * step
    return averages, len(open_)


def _by_other_rules(
    function: Callable[[NDArray[np.int64], Array], Array], n: int, distribution: Distribution, sigma: float | Array
) -> tuple[Array, int]:
    open_, nodes = np.arange(n), _FEWEST_NODES
    averages = np.empty((0, n))
    while len(open_) > 0 and nodes <= _MOST_NODES:
        s, weights = averaging_rule(distribution, nodes, _HALF_WIDTH)
        more = _in_blocks(function, open_, sigma, _standard(s, distribution, sigma), weights)
        if averages.size == 0:
            averages = more
        else:
            change = np.abs(more - averages[:, open_]).max(axis=0)
            averages[:, open_] = more
            open_ = open_[~(change <= _LIMIT_TOLERANCE)]
        nodes = 2 * nodes - 1
    return averages, len(open_)


def _nodes(s: Array, step: float, distribution: Distribution, sigma: float | Array) -> tuple[Array, Array]:
    return _standard(s, distribution, sigma), step * np.exp(log_normal_density(s))


def _standard(s: Array, distribution: Distribution, sigma: float | Array) -> Array:
    """Intercepts over sigma, shape (1, k); the distribution of a scale family is the same at every sigma."""
    member = distribution if isinstance(sigma, np.ndarray) else distribution.at(sigma)
    return member.quantile_of_normal(s)[None, :]


def _in_blocks(
    function: Callable[[NDArray[np.int64], Array], Array],
    rows: NDArray[np.int64],
    sigma: float | Array,
    standard: Array,
    weights: Array,
) -> Array:
    def block(some: NDArray[np.int64]) -> Array:
        scale = sigma[some, None] if isinstance(sigma, np.ndarray) else sigma
        return np.asarray(function(some, scale * standard) @ weights)

    size = max(1, NUMBERS_AT_A_TIME // len(weights))
    return np.concatenate([block(rows[k : k + size]) for k in range(0, max(len(rows), 1), size)], axis=1)
