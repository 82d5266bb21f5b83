"""The likelihoods once more, in plain NumPy, one cluster at a time: the yardstick of the tests.

Notation of docs/explanation/likelihood.md: cluster rows x_j, lambda_j = x_j'beta + offset_j + m(s, sigma),
r = dm/dsigma and v = d2m/dsigma2, g(s) = a(s) + sum_j kernel(lambda_j); G, H, I, K the first to fourth derivatives of
the kernel, S1 to S4 their sums; theta = (beta, sigma), W = [X, r(s)]. Nothing here is meant to be fast.

All functions take rows in cluster order, with `starts` (m + 1,) the first row of each cluster and the end, `X` (n, p),
`a`, `b`, `offset` (n,), `cluster_weights` (m,). Values are of the kernel: constants free of theta are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import random_intercept
from clusterglm.model.quadrature import check_scale, hermite
from clusterglm.model.response.base import Response
from clusterglm.model.special import log_normal_density

Starts: TypeAlias = NDArray[np.int64]
_SEARCH = np.sinh(np.linspace(-12.0, 12.0, 481))  # where modes are looked for: |s| up to 8e4, fine near 0
_NEGLIGIBLE_LOG = 60.0  # exp(-60) of the maximum


def pooled(
    starts: Starts, X: Array, a: Array, b: Array, offset: Array, cluster_weights: Array, beta: Array, response: Response
) -> tuple[float, Array, Array]:
    """Log-likelihood without cluster effects: value, score (p,) and Hessian (p, p)."""
    weight = np.repeat(cluster_weights, np.diff(starts))
    value, G, H, _, _ = response.derivatives(X @ beta + offset, a, b)
    return float(weight @ value), X.T @ (weight * G), (X.T * (weight * H)) @ X


def marginal(
    starts: Starts,
    X: Array,
    a: Array,
    b: Array,
    offset: Array,
    cluster_weights: Array,
    theta: Array,
    response: Response,
    distribution: Distribution,
    scale: str,
    nodes: int,
) -> tuple[float, Array, Array, Array]:
    """Adaptive Gauss-Hermite log-likelihood, with the exact derivatives of that very approximation.

    Parameters
    ----------
    theta : ndarray, shape (p + 1,)
        (beta, sigma); sigma may be negative or 0.
    scale : {"normal", "density"}
        Scale of integration: what the variable is, see `location_map`.
    nodes : int
        Nodes per cluster, 1 to 200; 1 is the Laplace approximation.

    Returns
    -------
    value : float
    score : ndarray, shape (p + 1,)
    hessian : ndarray, shape (p + 1, p + 1)
    per_cluster : ndarray, shape (m,)
        Log-integral of each cluster, without its weight.
    """
    check_scale(scale)
    q = len(theta)
    value, score, hessian = 0.0, np.zeros(q), np.zeros((q, q))
    per_cluster = np.empty(len(starts) - 1)
    beta, (sigma,) = random_intercept(X.shape[1]).split(theta)
    eta = X @ beta + offset
    for i, rows in _blocks(starts):
        cluster = _Cluster(X[rows], a[rows], b[rows], eta[rows], float(sigma), response, distribution, scale)
        per_cluster[i], d, dd = _adaptive(cluster, nodes)
        weight = cluster_weights[i]
        value += weight * per_cluster[i]
        score += weight * d
        hessian += weight * dd
    return float(value), score, hessian, per_cluster


def modes(
    starts: Starts,
    X: Array,
    a: Array,
    b: Array,
    offset: Array,
    theta: Array,
    response: Response,
    distribution: Distribution,
    scale: str,
) -> Array:
    """Highest mode of g of each cluster, on the variable s of `scale`; shape (m,)."""
    beta, (sigma,) = random_intercept(X.shape[1]).split(theta)
    eta = X @ beta + offset
    return np.array(
        [
            _mode(_Cluster(X[r], a[r], b[r], eta[r], float(sigma), response, distribution, scale))
            for _, r in _blocks(starts)
        ]
    )


def dense(
    starts: Starts,
    X: Array,
    a: Array,
    b: Array,
    offset: Array,
    cluster_weights: Array,
    theta: Array,
    response: Response,
    distribution: Distribution,
    points: int = 4001,
    half_width: float = 37.0,
) -> tuple[float, Array]:
    """Log-likelihood by a trapezoid rule on the normal scale, exact to about 1e-12 relative.

    The rule converges geometrically, because the integrand is analytic and vanishes at both ends. A cluster whose
    integrand is narrower than a few hundred points gets the rule once more, on the part that matters.

    Returns
    -------
    value : float
    per_cluster : ndarray, shape (m,)
        Log-integral of each cluster, without its weight.
    """
    per_cluster = np.array(
        [
            logsumexp(g) + np.log(step)
            for _, g, step in _dense(starts, X, a, b, offset, theta, response, distribution, points, half_width)
        ]
    )
    return float(cluster_weights @ per_cluster), per_cluster


def dense_intercepts(
    starts: Starts,
    X: Array,
    a: Array,
    b: Array,
    offset: Array,
    theta: Array,
    response: Response,
    distribution: Distribution,
    points: int = 4001,
    half_width: float = 37.0,
) -> tuple[Array, Array]:
    """Posterior mean and standard deviation of each cluster's intercept sigma T(s), shapes (m,), by the dense rule."""
    moments, (_, (sigma,)) = [], random_intercept(X.shape[1]).split(theta)
    for s, g, _ in _dense(starts, X, a, b, offset, theta, response, distribution, points, half_width):
        m = _intercepts(distribution, float(sigma), s)
        weight = np.exp(g - logsumexp(g))
        mean = weight @ m
        moments.append((mean, np.sqrt(weight @ (m - mean) ** 2)))
    means, sds = np.array(moments).T
    return means, sds


def _blocks(starts: Starts) -> Iterator[tuple[int, slice]]:
    for i in range(len(starts) - 1):
        yield i, slice(int(starts[i]), int(starts[i + 1]))


def _dense(
    starts: Starts,
    X: Array,
    a: Array,
    b: Array,
    offset: Array,
    theta: Array,
    response: Response,
    distribution: Distribution,
    points: int,
    half_width: float,
) -> Iterator[tuple[Array, Array, float]]:
    """Points, log-integrand and step of the trapezoid rule for each cluster."""
    beta, (scale,) = random_intercept(X.shape[1]).split(theta)
    eta, sigma = X @ beta + offset, float(scale)
    everywhere = np.linspace(-half_width, half_width, points)
    intercepts = _intercepts(distribution, sigma, everywhere)
    for _, rows in _blocks(starts):
        s, m = everywhere, intercepts
        while True:
            g = log_normal_density(s)
            for j in range(rows.start, rows.stop, 64):
                part = slice(j, min(j + 64, rows.stop))
                with np.errstate(over="ignore"):  # heavy tails at the ends: -1e308 and less, of no weight
                    g = g + response.value(eta[part, None] + m, a[part, None], b[part, None]).sum(axis=0)
            inside = np.flatnonzero(g > g.max() - _NEGLIGIBLE_LOG)
            first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, points - 1)
            if last - first > min(200, points // 2):
                break
            s = np.linspace(s[first], s[last], points)
            m = _intercepts(distribution, sigma, s)
        yield s, g, float(s[1] - s[0])


def _intercepts(distribution: Distribution, sigma: float, s: Array) -> Array:
    return times(np.asarray(sigma), distribution.at(sigma if sigma != 0.0 else 1.0).quantile_of_normal(s))


def _in_sigma(distribution: Distribution, sigma: float, s: Array) -> tuple[Array, Array]:
    """First and second derivatives in sigma of m and its four derivatives in s, by differences of eighth order."""
    h = 0.02 * sigma
    at = {k: (sigma + k * h) * np.array(distribution.at(sigma + k * h).normal_map(s)) for k in range(-4, 5)}
    first = sum(w * (at[k] - at[-k]) for k, w in enumerate((4 / 5, -1 / 5, 4 / 105, -1 / 280), 1))
    second = sum(w * (at[k] - 2.0 * at[0] + at[-k]) for k, w in enumerate((8 / 5, -1 / 5, 8 / 315, -1 / 560), 1))
    return np.asarray(first / h), np.asarray(second / h**2)


class _Cluster:
    """One cluster at fixed theta: its rows, and the jets of a(s), m(s), r(s) and v(s)."""

    def __init__(
        self,
        X: Array,
        a: Array,
        b: Array,
        eta: Array,
        sigma: float,
        response: Response,
        distribution: Distribution,
        scale: str,
    ) -> None:
        self.X, self.a, self.b, self.eta, self.sigma = X, a, b, eta, sigma
        self.response, self.distribution, self.scale = response, distribution, scale

    def location(self, s: Array) -> Array:
        """m(s) and its four derivatives, shape (5, ...)."""
        if self.scale == "normal":
            return np.asarray(self.sigma * np.array(self.distribution.at(self.sigma).normal_map(s)))
        zero = np.zeros_like(s)
        return np.stack([self.sigma * s, zero + self.sigma, zero, zero, zero])

    def by_sigma(self, s: Array) -> tuple[Array, Array]:
        """r and v with their derivatives in s, shapes (5, ...)."""
        if self.distribution.scale_family:
            zero = np.zeros_like(s)
            on_density = (s, zero + 1.0, zero, zero, zero)
            r = np.array(self.distribution.normal_map(s) if self.scale == "normal" else on_density)
            return r, np.zeros_like(r)
        return _in_sigma(self.distribution, self.sigma, s)

    def log_density(self, s: Array) -> Jet:
        """a(s) and its derivatives; shapes of `s`."""
        if self.scale == "density":
            return self.distribution.log_density(s)
        zero = np.zeros_like(s)
        return log_normal_density(s), -s, zero - 1.0, zero, zero

    def rows(self, m: Array) -> Jet:
        """Kernel and derivatives of every row at lambda = eta + m; shapes (len(m), n_j)."""
        return self.response.derivatives(self.eta + m[:, None], self.a, self.b)

    def curve(self, s: Array) -> tuple[Array, Array, Array]:
        """g and its first two derivatives in s."""
        with np.errstate(all="ignore"):  # far out on the search grid anything may overflow
            m, m1, m2, _, _ = self.location(s)
            a0, a1, a2, _, _ = self.log_density(s)
            value, G, H, _, _ = self.rows(m)
            S1, S2 = G.sum(axis=1), H.sum(axis=1)
            return a0 + value.sum(axis=1), a1 + m1 * S1, a2 + m2 * S1 + m1**2 * S2


def _mode(cluster: _Cluster) -> float:
    """Highest local maximum of g: each fall of g' through zero on a wide grid, refined by Newton in its bracket."""
    _, slope, _ = cluster.curve(_SEARCH)
    falls = np.flatnonzero((slope[:-1] > 0.0) & (slope[1:] <= 0.0))
    if falls.size == 0:
        raise FloatingPointError("no mode of the integrand within |s| < 8e4")
    low, high = _SEARCH[falls], _SEARCH[falls + 1]
    s = 0.5 * (low + high)
    for _ in range(100):
        _, g_s, g_ss = cluster.curve(s)
        low, high = np.where(g_s > 0.0, s, low), np.where(g_s > 0.0, high, s)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = s - g_s / g_ss
        step = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high)) - s
        s = s + step
        if np.all(np.abs(step) <= 4e-16 * (1.0 + np.abs(s))):
            break
    return float(s[np.argmax(cluster.curve(s)[0])])


def _adaptive(cluster: _Cluster, nodes: int) -> tuple[float, Array, Array]:
    """Log-integral of one cluster, its score (q,) and Hessian (q, q)."""
    s = np.array([_mode(cluster)])
    m, m1, m2, m3, m4 = (float(x[0]) for x in cluster.location(s))
    (r, r1, r2, r3, _), (v, v1, v2, _, _) = (x[:, 0] for x in cluster.by_sigma(s))
    _, _, a2, a3, a4 = (float(x[0]) for x in cluster.log_density(s))
    _, G, H, I, K = (x[0] for x in cluster.rows(np.array([m])))
    S1, S2, S3, S4 = G.sum(), H.sum(), I.sum(), K.sum()
    X = cluster.X
    W = np.column_stack([X, np.full(len(X), r)])
    h, i, k = W.T @ H, W.T @ I, W.T @ K
    WIW, WKW = (W.T * I) @ W, (W.T * K) @ W
    e = np.zeros(W.shape[1])
    e[-1] = 1.0
    ee = np.outer(e, e)

    g_ss = a2 + m2 * S1 + m1**2 * S2
    g_sss = a3 + m3 * S1 + 3 * m1 * m2 * S2 + m1**3 * S3
    g_ssss = a4 + m4 * S1 + (4 * m1 * m3 + 3 * m2**2) * S2 + 6 * m1**2 * m2 * S3 + m1**4 * S4
    g_st = m1 * h + r1 * S1 * e
    g_sst = m2 * h + m1**2 * i + (r2 * S1 + 2 * m1 * r1 * S2) * e
    g_ssst = m3 * h + 3 * m1 * m2 * i + m1**3 * k
    g_ssst = g_ssst + (r3 * S1 + 3 * (m2 * r1 + m1 * r2) * S2 + 3 * m1**2 * r1 * S3) * e
    g_stt = r1 * _sym(h, e) + m1 * WIW + (v1 * S1 + m1 * v * S2) * ee
    g_sstt = r2 * _sym(h, e) + 2 * m1 * r1 * _sym(i, e) + m2 * WIW + m1**2 * WKW
    g_sstt = g_sstt + (2 * r1**2 * S2 + v2 * S1 + (2 * m1 * v1 + m2 * v) * S2 + m1**2 * v * S3) * ee

    tau = -g_ss
    omega = tau**-0.5
    s_t = g_st / tau
    ss = np.outer(s_t, s_t)
    D = g_sss * s_t + g_sst
    s_tt = (g_sss * ss + _sym(s_t, g_sst) + g_stt) / tau
    D_t = g_ssss * ss + _sym(s_t, g_ssst) + g_sss * s_tt + g_sstt
    om_t = 0.5 * omega**3 * D
    om_tt = 0.75 * omega**5 * np.outer(D, D) + 0.5 * omega**3 * D_t

    c, log_w = hermite(nodes)
    q = log_w + cluster.curve(s + c * omega)[0]
    total = float(logsumexp(q))
    matter = q > total - 200.0  # of the rest, exp(q) is nothing and the derivatives may overflow
    pi = np.exp(q[matter] - total)
    dq, ddq = _at_nodes(cluster, s + c[matter] * omega, c[matter], (s_t, s_tt, om_t, om_tt))
    mean = pi @ dq
    value = 0.5 * np.log(2.0) + np.log(omega) + total
    score = mean + 0.5 * omega**2 * D
    hessian = np.einsum("k,kab->ab", pi, ddq) + (dq.T * pi) @ dq - np.outer(mean, mean)
    return value, score, hessian + 0.5 * omega**2 * D_t + 0.5 * omega**4 * np.outer(D, D)


def _at_nodes(cluster: _Cluster, s: Array, c: Array, motion: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
    """Total first and second derivatives of g in theta at nodes that move: (nodes, q), (nodes, q, q)."""
    s_t, s_tt, om_t, om_tt = motion
    m, m1, m2, _, _ = cluster.location(s)
    r, v = cluster.by_sigma(s)
    _, a1, a2, _, _ = cluster.log_density(s)
    _, G, H, _, _ = cluster.rows(m)
    S1, S2 = G.sum(axis=1), H.sum(axis=1)
    g_s, g_ss = a1 + m1 * S1, a2 + m2 * S1 + m1**2 * S2
    X = cluster.X
    dq, ddq = [], []
    for n in range(len(s)):
        W = np.column_stack([X, np.full(len(X), r[0, n])])
        g_t = W.T @ G[n]
        g_st = m1[n] * (W.T @ H[n])
        g_st[-1] += r[1, n] * S1[n]
        g_tt = (W.T * H[n]) @ W
        g_tt[-1, -1] += v[0, n] * S1[n]
        u = s_t + c[n] * om_t
        dq.append(g_s[n] * u + g_t)
        ddq.append(g_ss[n] * np.outer(u, u) + g_s[n] * (s_tt + c[n] * om_tt) + _sym(u, g_st) + g_tt)
    return np.array(dq), np.array(ddq)


def _sym(u: Array, v: Array) -> Array:
    return np.outer(u, v) + np.outer(v, u)
