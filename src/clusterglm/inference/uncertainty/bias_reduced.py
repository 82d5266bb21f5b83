"""Robust covariances of generalised linear models from few clusters: CR0 to CR3, and their degrees of freedom.

Bell and McCaffrey (Survey Methodology 28, 2002); Pustejovsky and Tipton (Journal of Business and Economic Statistics
36, 2018), as in R's clubSandwich. In working rows W^(1/2) X and W^(1/2) e, H is the hat matrix, and the residuals of a
cluster become A_i e_i: with CR2 such that the covariance has the right mean if the model's variances are right (rows
independent), with CR3 as if the cluster had been left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import ClusterError, OptionError
from clusterglm.inference.uncertainty.degrees import Degrees
from clusterglm.model.arrays import Array

KINDS = ("CR0", "CR1", "CR2", "CR3")
_LARGEST_HAT = 3_000  # of a cluster, whose hat matrix has the square of it
_NOTHING_LEFT_OVER = 1e-10  # of the largest eigenvalue: what a cluster's own coefficients leave of it


@dataclass(frozen=True)
class BiasReduced:
    """Working rows of a generalised linear model, in clusters.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Covariates times the root of the expected information, `weights`.
    residuals : ndarray, shape (n,)
        Slope of the log-likelihood in the linear predictor over that root.
    weights : ndarray, shape (n,)
    starts : ndarray of int64, shape (m + 1,)
    """

    X: Array
    residuals: Array
    weights: Array
    starts: NDArray[np.int64]

    @property
    def m(self) -> int:
        """Clusters."""
        return len(self.starts) - 1

    @cached_property
    def bread(self) -> Array:
        """Inverse of the expected information, shape (p, p)."""
        return np.asarray(np.linalg.inv(self.X.T @ self.X), dtype=np.float64)

    def adjusted(self, kind: str) -> Array:
        """X_i' A_i of each cluster, side by side: transposed, shape (n, p).

        Raises
        ------
        ClusterError
            When a cluster has so many rows that its hat matrix does not fit.
        """
        if kind in ("CR0", "CR1"):
            return self.X
        found = np.empty_like(self.X)
        largest = int(np.diff(self.starts).max())
        if largest > _LARGEST_HAT:
            raise ClusterError(
                f"{kind} of a cluster of {largest:,} rows, whose hat matrix has the square of it",
                f"clusters of at most {_LARGEST_HAT:,} rows",
                'cov="robust"',
            )
        for first, last in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            rows = slice(first, last)
            X = self.X[rows]
            left = np.eye(last - first) - X @ self.bread @ X.T
            if kind == "CR3":
                found[rows] = np.linalg.pinv(left, rcond=_NOTHING_LEFT_OVER, hermitian=True) @ X
                continue
            w = self.weights[rows] / self.weights[rows].mean()
            values, vectors = np.linalg.eigh(left / np.outer(w, w))
            root = np.where(values > _NOTHING_LEFT_OVER * values[-1], values, np.inf) ** -0.5
            found[rows] = ((vectors * root) @ (vectors.T @ X)) / w[:, None]
        return found

    def covariance(self, kind: str) -> Array:
        """Of the coefficients, shape (p, p).

        Raises
        ------
        ClusterError
            When there is only one cluster.
        """
        m = self.m
        if m < 2:
            raise ClusterError(
                f"a {kind} covariance of a single cluster",
                "two clusters or more, independent of each other",
                'cov="observed"',
            )
        scores = np.add.reduceat(self.adjusted(kind) * self.residuals[:, None], self.starts[:-1], axis=0)
        half = scores @ self.bread
        return np.asarray(half.T @ half * (m / (m - 1.0) if kind == "CR1" else 1.0))

    def degrees(self, kind: str, R: Array, together: bool) -> Degrees:
        """Of k combinations of coefficients, (k, p), under the working model of independent rows.

        Parameters
        ----------
        kind : str
        R : ndarray, shape (k, p)
        together : bool
            Whether their joint test is asked for.

        Notes
        -----
        With v_i = A_i X_i (X'X)^-1 c, a variance is sum (v_i'(I - H) e)^2, whose mean and variance are sums over pairs
        of clusters that fall apart into sums over clusters. Of several combinations: Hotelling's T^2 whose degrees of
        freedom match the total variance of their covariance (Pustejovsky and Tipton, section 3.2).
        """
        k, bread = len(R), self.bread
        adjusted = self.adjusted(kind)
        root = np.linalg.cholesky(bread)

        def pieces(C: Array) -> tuple[Array, Array]:
            """Products of v over each cluster, (m, k, k), and of X'v, whitened, (m, p, k)."""
            v = adjusted @ (bread @ C.T)
            products = np.add.reduceat(v[:, :, None] * v[:, None, :], self.starts[:-1], axis=0)
            g = np.add.reduceat(self.X[:, :, None] * v[:, None, :], self.starts[:-1], axis=0)
            return products, np.einsum("ab,mak->mbk", root, g)

        single = np.empty(k)
        for s in range(k):
            mean, variance = _moments(*pieces(R[s : s + 1]))
            # nothing is left of what clusters' own coefficients fit
            single[s] = 2.0 * mean[0, 0] ** 2 / variance if variance > 0.0 else np.nan
        if k == 1 or not together:
            return Degrees(single, float(single[0]) if k == 1 else np.nan, 1.0)
        mean = _moments(*pieces(R))[0]
        values, vectors = np.linalg.eigh(mean)
        if not values[0] > _NOTHING_LEFT_OVER * values[-1]:
            return Degrees(single, np.nan, np.nan)
        turned = ((vectors / np.sqrt(values)) @ vectors.T) @ R
        eta = k * (k + 1.0) / _moments(*pieces(turned))[1]
        return Degrees(single, float(eta - k + 1.0), float((eta - k + 1.0) / (eta * k)))


def _moments(products: Array, g: Array) -> tuple[Array, float]:
    """Mean of the covariance of k combinations, and the sum of the variances of its elements.

    Parameters
    ----------
    products : ndarray, shape (m, k, k)
    g : ndarray, shape (m, p, k)
        Rows' residuals have covariances products[i] - g[i]'g[i] within, and -g[i]'g[j] between clusters.
    """
    own = np.einsum("mas,mat->mst", g, g)
    mean = np.sum(products - own, axis=0)
    outer = np.einsum("mas,mbt->stab", g, g)
    d, h = np.einsum("mss->ms", products), np.einsum("mss->ms", own)
    first = np.einsum("ms,mt->", d, d) - 2.0 * np.einsum("ms,mt->", d, h) + np.sum(outer**2)
    second = np.sum(products**2) - 2.0 * np.sum(products * own) + np.einsum("stab,stba->", outer, outer)
    return mean, float(first + second)


def refuse_weights(weights: Array, cluster_weights: Array) -> None:
    """Refuse what a row with a weight would mean to a hat matrix.

    Raises
    ------
    OptionError
    """
    if (weights != 1.0).any() or (cluster_weights != 1.0).any():
        raise OptionError(
            "small-sample corrections of a robust covariance with weights",
            "rows without weights: a repeated row and a precise one are not the same to them",
            'each row written out, or cov="robust"',
        )
