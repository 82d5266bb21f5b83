"""Log-posteriors by product rules in NumPy, which share no code with the package, and draws from them by importance."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln, log_expit, logsumexp

# Log-probabilities of responses at linear predictors, whatever shape these have behind that of y ----------------------


def poisson(y, eta):
    return y * eta - np.exp(eta) - gammaln(y + 1.0)


def nb2(y, eta, alpha):
    r, mu = 1.0 / alpha, np.exp(eta)
    return gammaln(y + r) - gammaln(r) - gammaln(y + 1.0) + r * np.log(r / (r + mu)) + y * np.log(mu / (r + mu))


def nb1(y, eta, alpha):
    """Variance mean (1 + alpha)."""
    r = np.exp(eta) / alpha
    return gammaln(y + r) - gammaln(r) - gammaln(y + 1.0) - r * np.log1p(alpha) + y * np.log(alpha / (1.0 + alpha))


def beta_binomial(k, eta, phi, n):
    p = expit(eta)
    choose = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return choose + betaln(k + p * phi, n - k + (1.0 - p) * phi) - betaln(p * phi, (1.0 - p) * phi)


def gamma(t, eta, shape):
    rate = shape * np.exp(-eta)
    return shape * np.log(rate) - gammaln(shape) + (shape - 1.0) * np.log(t) - rate * t


def weibull(t, eta, k, event):
    """Hazard k t^(k - 1) exp(eta)."""
    return event * (np.log(k) + (k - 1.0) * np.log(t) + eta) - t**k * np.exp(eta)


def cumulative_logit(o, eta, cuts):
    ends = np.concatenate([[-np.inf], cuts, [np.inf]])
    upper, lower = ends[o.astype(int) + 1] - eta, ends[o.astype(int)] - eta
    return np.log(expit(upper) - expit(lower))


def truncated(log_p, log_p0):
    return log_p - np.log1p(-np.exp(log_p0))


def inflated(y, log_p, w):
    inside = log_expit(-w) + log_p
    return np.where(y == 0.0, np.logaddexp(log_expit(w), inside), inside)


# Integrals ------------------------------------------------------------------------------------------------------------


def evenly(n: int, d: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Points of standard normal effects, shape (n^d, d), and logs of their weights, by the trapezoid rule.

    Its error falls as exp(-2 (pi s / h)^2) where the integrand is as wide as s and points are h apart: not by a rule
    laid for the normal density, which is coarse for clusters that say much of their effects.
    """
    x = np.linspace(-6.0, 6.0, n)
    log_w = -0.5 * x**2 - logsumexp(-0.5 * x**2)
    each = np.array(list(product(range(n), repeat=d)))
    return x[each], log_w[each].sum(axis=1)


def of_clusters(log_p, eta, Z, L, starts, n=41):
    """One grouping factor: log_p(eta[:, None] + ...) summed over rows of clusters."""
    points, log_w = evenly(n, L.shape[0])
    rows = log_p(eta[:, None] + Z @ L @ points.T)
    return logsumexp(np.add.reduceat(rows, starts, axis=0) + log_w, axis=1)


def of_nested(log_p, eta, sds, starts, children, n=(81, 31)):
    """Intercepts of clusters and of children, whose first rows are these."""
    (z, log_w), (v, log_v) = evenly(n[0]), evenly(n[1])
    rows = log_p(eta[:, None, None] + sds[0] * z + sds[1] * v.ravel())
    inside = logsumexp(np.add.reduceat(rows, children, axis=0) + log_v, axis=2)
    return logsumexp(np.add.reduceat(inside, np.searchsorted(children, starts), axis=0) + log_w, axis=1)


def of_crossed(log_p, eta, codes, sds, n=(41, 31)):
    """Intercepts of two factors, the second of few levels."""
    first, second = codes
    z, log_w = evenly(n[0])
    v, log_v = evenly(n[1], int(second.max()) + 1)
    order = np.argsort(first, kind="stable")
    starts = np.searchsorted(first[order], np.arange(int(first.max()) + 1))
    total = np.empty(len(v))
    for k, own in enumerate(v):
        rows = log_p(eta[:, None] + sds[1] * own[second][:, None] + sds[0] * z.ravel())[order]
        total[k] = logsumexp(np.add.reduceat(rows, starts, axis=0) + log_w, axis=1).sum()
    return logsumexp(total + log_v)


# Priors ---------------------------------------------------------------------------------------------------------------


def normal(x, scale):
    return -0.5 * (x / scale) ** 2


def half_t(value, scale=2.5, df=3.0):
    """Of the logarithm of a value, without constants."""
    return np.log(value) - 0.5 * (df + 1.0) * np.log1p((value / scale) ** 2 / df)


# Draws ----------------------------------------------------------------------------------------------------------------


def importance(asked: Callable[[np.ndarray], float], start: np.ndarray, n: int, seed: int = 1):
    """Draws of x from a t about the mode, and their weights, which sum to 1; nan is as good as nothing."""

    def log_posterior(x: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            found = asked(x)
        return float(found) if np.isfinite(found) else -1e10

    found = minimize(lambda x: -log_posterior(x), start, method="BFGS", options={"gtol": 1e-4})
    q, h = len(start), 1e-3
    moves = h * np.eye(q)
    H = np.empty((q, q))
    for i in range(q):
        for j in range(q):
            corners = [log_posterior(found.x + a * moves[i] + b * moves[j]) for a, b in product((1, -1), repeat=2)]
            H[i, j] = (corners[0] - corners[1] - corners[2] + corners[3]) / (4.0 * h * h)
    L = np.linalg.cholesky(np.linalg.inv(-0.5 * (H + H.T)))
    rng, df = np.random.default_rng(seed), 4.0
    z = rng.standard_normal((n, q)) / np.sqrt(rng.chisquare(df, (n, 1)) / df)
    x = found.x + 1.4 * z @ L.T
    log_t = -0.5 * (df + q) * np.log1p((z**2).sum(axis=1) / df)
    logs = np.array([log_posterior(one) for one in x]) - log_t
    weights = np.exp(logs - logs.max())
    return x, weights / weights.sum()


def refute(drawn: np.ndarray, values: np.ndarray, weights: np.ndarray) -> list[str]:
    """Which means, standard deviations and quantiles of draws, shape (chains, draws, q), differ by more than chance.

    `values`, shape (n, q), with `weights` say what they should be.
    """
    from clusterglm.sample.diagnostics import worth

    found, size = [], 1.0 / float(weights @ weights)
    for k, exact in enumerate(values.T):
        x, known = drawn[:, :, k], worth(drawn[:, :, k])
        mean = float(weights @ exact)
        sd = float(np.sqrt(weights @ (exact - mean) ** 2))
        bulk, tail = 1.0 / known.ess_bulk + 1.0 / size, 1.0 / known.ess_tail + 1.0 / size
        if abs(x.mean() - mean) > 4.0 * sd * np.sqrt(bulk):
            found.append(f"{k}: mean {x.mean():.4f} for {mean:.4f}")
        if abs(x.std() / sd - 1.0) > 4.0 * np.sqrt(1.5 * bulk):
            found.append(f"{k}: sd {x.std():.4f} for {sd:.4f}")
        order = np.argsort(exact)
        for level in (0.025, 0.975):
            end = exact[order][np.searchsorted(np.cumsum(weights[order]), level)]
            if abs((x <= end).mean() - level) > 4.0 * np.sqrt(level * (1.0 - level) * tail) + 1e-3:
                found.append(f"{k}: {(x <= end).mean():.4f} below the quantile of {level}")
    return found
