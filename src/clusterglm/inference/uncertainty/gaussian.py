"""Scores of clusters in models of normal responses, for robust covariances."""

from __future__ import annotations

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.gaussian import GaussianFit, GaussianPooledFit, responses, row_weights
from clusterglm.inference.predictions.gaussian import Known
from clusterglm.model.arrays import Array


def least_squares_scores(data: ModelData, fit: GaussianPooledFit, *, by_row: bool) -> Array:
    """Scores in (beta, residual_sd) of clusters, shape (m, p + 1), or of rows."""
    left, s = responses(data) - data.X @ fit.beta, fit.residual_sd
    w = data.weights * row_weights(data)
    scores = np.column_stack([data.X * (w * left / s**2)[:, None], w * (left**2 / s**3 - 1.0 / s)])
    return scores if by_row else np.add.reduceat(scores, data.starts[:-1], axis=0)


def mixed_scores(fit: GaussianFit, known: Known) -> Array:
    """Scores in (beta, phi, residual_sd) of clusters in which every factor's levels lie, shape (m, p + r + 1).

    With V^-1 r = r - Z b, b the effects given the data, the sums of squares of a cluster are sums over its rows; the
    derivatives in the covariance are sums over its levels.
    """
    data, task, s = fit.data, known.task, fit.residual_sd
    s2, e = s * s, task.exponents
    theta = fit.phi * s**-e
    groupings, m = fit.effects.groupings, data.n_clusters
    residual = responses(data) - data.X @ fit.beta
    left = residual - known.effects(fit.effects.Z, [levels.codes for levels in groupings])
    w = data.weights * row_weights(data)
    first = data.starts[:-1]
    beta = np.add.reduceat(data.X * (w * left / s2)[:, None], first, axis=0).reshape(m, -1)
    log_s = np.add.reduceat(w * (residual * left / s2 - 1.0), first)
    cluster = np.repeat(np.arange(m), np.diff(data.starts))
    H, T = known.moments.within_levels(), known.moments.by_level()
    of_theta = np.zeros((m, len(theta)))
    for k, direction in enumerate(task.directions(theta)):
        f = direction.factor
        t, levels = T[f][..., -1], groupings[f]
        own = np.empty(len(levels.labels), dtype=np.int64)
        own[levels.codes] = cluster
        each = 0.5 * np.einsum("la,ab,lb->l", t, direction.E, t) / s2
        each -= 0.5 * np.einsum("ab,lab->l", direction.E, H[f])
        of_theta[:, k] = np.bincount(own, each * data.cluster_weights[own], m)
    of_phi = of_theta * s**-e
    of_s = (log_s - of_theta @ (e * theta)) / s
    return np.column_stack([beta, of_phi, of_s])
