"""Scores of clusters in models of normal responses, for robust covariances."""

from __future__ import annotations

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.gaussian import GaussianFit, GaussianPooledFit, responses, row_weights
from clusterglm.inference.predictions.gaussian import Known
from clusterglm.inference.uncertainty.degrees import Degrees, of_several
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


def mixed_degrees(fit: GaussianFit, R: Array) -> Degrees:
    """Satterthwaite's degrees of freedom of combinations of coefficients of a linear mixed model.

    Parameters
    ----------
    fit : GaussianFit
    R : ndarray, shape (k, p)

    Notes
    -----
    The covariance of the coefficients, s^2 (X' V^-1 X)^-1, is a function of the parameters of the effects' covariance
    and the residual standard deviation, whose own covariance is the inverse of their information (Giesbrecht and Burns,
    Biometrics 41, 1985; Kuznetsova, Brockhoff and Christensen, Journal of Statistical Software 82(13), 2017).
    Parameters that are held at zero are taken as known.
    """
    task, s, parameters = fit.task, fit.residual_sd, fit.parameters
    mean = parameters.coefficients
    e = task.exponents
    theta = fit.phi * s**-e
    moments = task.moments(theta)
    jet = task.jet(theta, moments, np.eye(len(moments.S)))
    inverse = np.asarray(np.linalg.inv(moments.S[mean, mean]), dtype=np.float64)
    of_theta = -s * s * inverse @ jet.S_1[:, mean, mean] @ inverse
    of_phi = of_theta * (s**-e)[:, None, None]
    of_s = 2.0 * s * inverse - np.einsum("r,rij->ij", e * fit.phi * s ** (-e - 1.0), of_theta)
    free = np.append(~fit.held, True)
    gradient = np.concatenate([of_phi, of_s[None]])[free]
    own = np.arange(len(parameters))[mean.stop :][free]
    return of_several(R, s * s * inverse, gradient, fit.covariance[np.ix_(own, own)])
