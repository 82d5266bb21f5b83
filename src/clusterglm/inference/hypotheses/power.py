"""Shares of replicates that reject, and a line through them that says how much is needed for a wanted power."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, chdtrc, log_ndtr, ndtri

from clusterglm.data.prepare import ModelData
from clusterglm.data.within import constant_within_clusters
from clusterglm.errors import OptionError
from clusterglm.inference.uncertainty.intervals import check_level
from clusterglm.model.arrays import Array

_STEPS_OF_A_LINE = 50
_LAST_STEP_OF_A_LINE = 1e-10
_IN_SPAN = 1e-9  # of a column's largest value: what is left of it by the columns of effects


def share_interval(k: Array, n: Array, level: float) -> tuple[Array, Array]:
    """Exact intervals of probabilities from k of n (Clopper and Pearson, Biometrika 26, 1934).

    Parameters
    ----------
    k, n : ndarray, shape (c,)
        Successes and trials; nan without trials.
    level : float

    Returns
    -------
    low, high : ndarray, shape (c,)
    """
    tail = 0.5 * (1.0 - check_level(level))
    k, n = np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        low = np.where(k <= 0.0, 0.0, betaincinv(np.maximum(k, 0.5), n - k + 1.0, tail))
        high = np.where(k >= n, 1.0, betaincinv(k + 1.0, np.maximum(n - k, 0.5), 1.0 - tail))
    return np.where(n > 0.0, low, np.nan), np.where(n > 0.0, high, np.nan)


@dataclass(frozen=True)
class PowerLine:
    """Power along something that grows: probit(power) = a + b x, by maximum likelihood from counts.

    Parameters
    ----------
    a, b : float
    covariance : ndarray, shape (2, 2)
    low, high : float
        Smallest and largest x.
    deviance : float
        Twice the log-likelihood that a power of its own for each x has more.
    df : int
        Points less two.
    """

    a: float
    b: float
    covariance: Array
    low: float
    high: float
    deviance: float
    df: int

    @property
    def misfit_pvalue(self) -> float:
        """P(chi-square on `df` degrees of freedom > deviance); nan without degrees of freedom."""
        return float(chdtrc(self.df, self.deviance)) if self.df > 0 else float("nan")

    def at(self, power: float) -> float:
        """x with this power."""
        return (float(ndtri(power)) - self.a) / self.b

    def interval(self, power: float, level: float) -> tuple[float, float]:
        """Interval of x with this power: all x at which a + b x may be its probit (Fieller, 1954).

        -inf or inf where the slope is not known well enough.
        """
        z, c = float(ndtri(power)), float(ndtri(0.5 + 0.5 * level)) ** 2
        V = self.covariance
        # (a - z + b x)^2 <= c (V00 + 2 V01 x + V11 x^2)
        A = self.b**2 - c * V[1, 1]
        B = 2.0 * ((self.a - z) * self.b - c * V[0, 1])
        C = (self.a - z) ** 2 - c * V[0, 0]
        inside = B * B - 4.0 * A * C
        if A <= 0.0 or inside < 0.0:
            return -np.inf, np.inf
        root = float(np.sqrt(inside))
        return (-B - root) / (2.0 * A), (-B + root) / (2.0 * A)


def power_line(x: Array, rejections: Array, replicates: Array) -> PowerLine | None:
    """The line through some points; None where they do not say how power grows.

    Parameters
    ----------
    x : ndarray, shape (c,)
        Root of the number of clusters, or size of the effect: of a Wald test probit(power) is linear in these but for
        rejections on the wrong side.
    rejections, replicates : ndarray, shape (c,)

    Notes
    -----
    None where there are fewer than two different x, or where some x has no rejections below it and nothing else above,
    so that any steep line fits.
    """
    x, k, n = (np.asarray(each, dtype=np.float64) for each in (x, rejections, replicates))
    used = n > 0
    x, k, n = x[used], k[used], n[used]
    some, all_but = (k > 0.0), (k < n)
    if len(np.unique(x)) < 2 or not some.any() or not all_but.any() or x[some].min() >= x[all_but].max():
        return None
    X = np.column_stack([np.ones_like(x), x])
    centre = X.copy()
    shift, unit = float(x.mean()), float(np.ptp(x))
    centre[:, 1] = (x - shift) / unit
    theta = np.array([float(ndtri((k.sum() + 0.5) / (n.sum() + 1.0))), 0.0])
    information = np.eye(2)
    value = -np.inf
    for _ in range(_STEPS_OF_A_LINE):
        eta = centre @ theta
        upper, lower = _mills(eta), _mills(-eta)
        score = centre.T @ (k * upper - (n - k) * lower)
        information = (centre * (n * upper * lower)[:, None]).T @ centre
        step = np.linalg.solve(information, score)
        for _ in range(_STEPS_OF_A_LINE):
            new = _binomial(centre @ (theta + step), k, n)
            if new >= value:
                break
            step = 0.5 * step
        theta, value = theta + step, new
        if np.abs(step).max() < _LAST_STEP_OF_A_LINE:
            break
    b = theta[1] / unit
    J = np.array([[1.0, -shift / unit], [0.0, 1.0 / unit]])
    with np.errstate(divide="ignore", invalid="ignore"):
        own = float(np.sum(np.where(k > 0, k * np.log(k / n), 0.0) + np.where(k < n, (n - k) * np.log1p(-k / n), 0.0)))
    covariance = J @ np.linalg.inv(information) @ J.T
    points = len(np.unique(x))
    return PowerLine(
        float(theta[0] - b * shift), float(b), covariance, float(x.min()), float(x.max()), 2.0 * max(0.0, own - value),
        points - 2,
    )  # fmt: skip


def _mills(eta: Array) -> Array:
    """phi(eta) / Phi(eta)."""
    return np.asarray(np.exp(-0.5 * eta * eta - 0.5 * np.log(2.0 * np.pi) - log_ndtr(eta)))


def _binomial(eta: Array, k: Array, n: Array) -> float:
    return float(k @ log_ndtr(eta) + (n - k) @ log_ndtr(-eta))


def contained_dof(data: ModelData) -> Array:
    """Denominator degrees of freedom of coefficients, by containment in the clusters' effects; shape (p,).

    Parameters
    ----------
    data : ModelData
        With clusters, and no other grouping factor.

    Returns
    -------
    ndarray
        Of a column that is, in every cluster, a combination of the columns of effects (constant, where only an
        intercept varies): clusters less such columns for each effect, rounded up. Of any other: rows less clusters
        times effects, less the other columns. At least 1.

    Raises
    ------
    OptionError
        With nested or crossed factors, or without clusters.

    Notes
    -----
    The containment method of mixed-model software (SAS/STAT User's Guide, PROC MIXED, DDFM=CONTAIN; "between-within"
    for a random intercept). In balanced designs with normal responses, REML and a covariate that is constant in
    clusters, or varies in the same way in all, t statistics then have exactly t distributions.
    """
    effects = data.effects
    if data.cluster_name is None:
        raise OptionError("method='t' of a model without clusters", "clusters", "method='wald'")
    if effects is not None and len(effects.groups) > 1:
        raise OptionError(
            f"method='t' with the grouping factors {', '.join(map(repr, effects.groups))}",
            "one grouping factor, whose degrees of freedom can be counted",
            "method='wald' or 'lr'",
        )
    n, m = data.X.shape[0], data.n_clusters
    if effects is None:
        contained, q = constant_within_clusters(data.X, data.starts), 1
    else:
        contained, q = _contained(data.X, effects.Z, data), effects.Z.shape[1]
    inside = int(contained.sum())
    between, within = m - -(-inside // q), n - m * q - (data.X.shape[1] - inside)
    return np.maximum(np.where(contained, between, within), 1).astype(np.float64)


def _contained(X: Array, Z: Array, data: ModelData) -> NDArray[np.bool_]:
    """Columns of X that are combinations of Z's in every cluster, shape (p,)."""
    left = np.zeros(X.shape[1])
    for first, last in zip(data.starts[:-1].tolist(), data.starts[1:].tolist(), strict=True):
        some = X[first:last]
        fitted = Z[first:last] @ np.linalg.lstsq(Z[first:last], some, rcond=None)[0]
        left = np.maximum(left, np.abs(some - fitted).max(axis=0))
    return np.asarray(left <= _IN_SPAN * np.abs(X).max(axis=0), dtype=bool)
