"""How posterior modes of several effects depend on the estimates."""

from __future__ import annotations

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.mixed import MixedFit, effects_of
from clusterglm.model.arrays import Array


def mode_derivatives(fit: MixedFit, data: ModelData, modes: Array) -> Array:
    """Derivatives of the effects b = L u at the modes u of their posterior.

    Parameters
    ----------
    fit : MixedFit
    data : ModelData
        Those of the fit, or of other clusters.
    modes : ndarray, shape (m, q)
        Of u.

    Returns
    -------
    ndarray, shape (m, q, k)
        In theta = (beta, phi).

    Notes
    -----
    The mode solves L'Z'G - u = 0, G the first derivatives of log P in the rows' linear predictors, with H their second
    ones. Hence (1 - L'Z'HZL) du = L'Z'H X d beta + (L'Z'HZ dL u + dL'Z'G) d phi, and db = L du + dL u d phi.
    """
    effects, response = effects_of(data), fit.response
    L, slopes = fit.factor, effects.covariance.slopes(fit.phi)
    m, q = modes.shape
    p, r = len(fit.beta), len(fit.phi)
    Z, first = effects.Z, data.starts[:-1]
    u = np.repeat(modes, np.diff(data.starts), axis=0)
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
    curvature = np.eye(q) - np.einsum("ia,mij,jb->mab", L, ZHZ, L)
    du = np.linalg.solve(curvature, found)
    db: Array = np.einsum("ij,mjk->mik", L, du)
    for k, slope in enumerate(slopes):
        db[:, :, p + k] += modes @ slope.T
    return db
