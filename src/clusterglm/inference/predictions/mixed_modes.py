"""How posterior modes of several effects depend on the estimates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.mixed_task import effects_of
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


def mode_derivatives(fit: MixedFit, response: Response, data: ModelData, modes: Array) -> Array:
    """Derivatives of the effects b = L u at the modes u of their posterior.

    Parameters
    ----------
    fit : MixedFit
    response : Response
    data : ModelData
        Those of the fit, or of other clusters.
    modes : ndarray, shape (m, q)
        Of u, for each group of rows that have all effects in common: cluster, or child of a cluster.

    Returns
    -------
    ndarray, shape (m, q, k)
        In theta = (beta, phi).

    Notes
    -----
    The mode solves L'Z'G - u = 0, G the first derivatives of log P in the rows' linear predictors, with H their second
    ones. Hence (1 - L'Z'HZL) du = L'Z'H X d beta + (L'Z'HZ dL u + dL'Z'G) d phi, and db = L du + dL u d phi. Of nested
    effects u has a part that the children of a cluster have in common: the sums over them make its equations.
    """
    effects, groups = effects_of(data), data.innermost
    L, slopes = fit.factor, effects.covariance.slopes(fit.phi)
    m, q = modes.shape
    p, r = len(fit.beta), len(fit.phi)
    Z, first = effects.Z, groups[:-1]
    u = np.repeat(modes, np.diff(groups), axis=0)
    eta = data.X @ fit.beta + data.offset + np.einsum("ij,ij->i", Z, u @ L.T)
    G, H = response.derivatives(eta, data.a, data.b)[1:3]

    def by_cluster(values: Array) -> Array:
        return np.add.reduceat(values, first, axis=0)

    ZG = by_cluster(G[:, None] * Z)
    ZHZ = by_cluster(np.einsum("i,ij,ik->ijk", H, Z, Z))
    found = np.empty((m, q, p + r))
    for j in range(p):  # a column of X at a time: no temporary of n x q x p
        found[:, :, j] = by_cluster((H * data.X[:, j])[:, None] * Z) @ L
    for k, slope in enumerate(slopes):
        moved = modes @ slope.T
        found[:, :, p + k] = np.einsum("mij,mj->mi", ZHZ, moved) @ L + ZG @ slope
    curvature = -np.einsum("ia,mij,jb->mab", L, ZHZ, L)
    if effects.children is None:
        du = np.linalg.solve(np.eye(q) + curvature, found)
    else:
        du = _of_two_levels(curvature, found, effects.n_upper, data.innermost_clusters)
    db: Array = np.einsum("ij,mjk->mik", L, du)
    for k, slope in enumerate(slopes):
        db[:, :, p + k] += modes @ slope.T
    return db


def firsts_of(clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first child of each cluster, by the children's clusters, which ascend."""
    return np.flatnonzero(np.append(True, clusters[1:] != clusters[:-1]))


def _of_two_levels(curvature: Array, right: Array, d: int, clusters: NDArray[np.int64]) -> Array:
    """Solutions of children's equations, of which the first d unknowns are those of their cluster.

    Parameters
    ----------
    curvature : ndarray, shape (c, q, q)
        What each child's rows add to the curvature, without that of the effects' distribution.
    right : ndarray, shape (c, q, k)
    d : int
    clusters : ndarray of int64, shape (c,)
        Ascending.

    Returns
    -------
    ndarray, shape (c, q, k)
    """
    first = firsts_of(clusters)
    own = np.eye(curvature.shape[1] - d) + curvature[:, d:, d:]
    across = curvature[:, d:, :d]
    given = np.linalg.solve(own, np.concatenate([across, right[:, d:]], axis=2))
    slopes, alone = given[:, :, :d], given[:, :, d:]
    turned = np.swapaxes(across, 1, 2)
    upper = np.eye(d) + np.add.reduceat(curvature[:, :d, :d] - turned @ slopes, first, axis=0)
    du = np.linalg.solve(upper, np.add.reduceat(right[:, :d] - turned @ alone, first, axis=0))
    du = np.repeat(du, np.diff(np.append(first, len(clusters))), axis=0)
    return np.concatenate([du, alone - slopes @ du], axis=1)
