"""Covariance of coefficients and degrees of freedom of linear mixed models by REML, after Kenward and Roger.

Kenward and Roger (Biometrics 53, 1997). With V = s^2 A a linear function of its parameters sigma_i, G_i its slopes,
Phi = (X' V^-1 X)^-1, P_i = -X' V^-1 G_i V^-1 X, Q_ij = X' V^-1 G_i V^-1 G_j V^-1 X and W the inverse of the expected
information of sigma,

    Phi_A = Phi + 2 Phi (sum W_ij (Q_ij - P_i Phi P_j)) Phi

has less bias, and F = (lambda / k) (R b)' (R Phi_A R')^-1 (R b) has nearly an F distribution on k and m degrees of
freedom. All matrices are log|A| and S = X' A^-1 X with their derivatives in the relative covariance (`moments.py`): the
slopes may be along any directions that span those of sigma, of which V itself is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.fit.gaussian import GaussianFit
from clusterglm.inference.uncertainty.degrees import Degrees
from clusterglm.likelihood.gaussian.moments import Direction
from clusterglm.model.arrays import Array


@dataclass(frozen=True)
class KenwardRoger:
    """What a fit by REML says of its coefficients; p coefficients, r parameters of the variances.

    Parameters
    ----------
    plain : ndarray, shape (p, p)
        Phi, the covariance at known variances.
    covariance : ndarray, shape (p, p)
        Phi_A.
    P : ndarray, shape (r, p, p)
    W : ndarray, shape (r, r)
    """

    plain: Array
    covariance: Array
    P: Array
    W: Array

    def degrees(self, R: Array) -> Degrees:
        """Degrees of freedom of k combinations of coefficients, (k, p), and of their F statistic."""
        along = R @ self.plain
        variance = np.einsum("ij,ij->i", along, R)
        g = np.einsum("ia,rab,ib->ri", along, self.P, along) / variance
        single = 2.0 / np.einsum("ri,rs,si->i", g, self.W, g)
        k = int(
            np.linalg.matrix_rank(R)
        )  # of combinations some of which are others combined, as all pairs of means are
        if len(R) == 1:
            return Degrees(single, float(single[0]), 1.0)
        together = along @ R.T
        inverse = np.linalg.inv(together) if k == len(R) else np.linalg.pinv(together, hermitian=True)
        C = inverse @ np.einsum("ia,rab,jb->rij", along, self.P, along)
        A1 = float(np.einsum("rii,rs,sjj->", C, self.W, C))
        A2 = float(np.einsum("rij,rs,sji->", C, self.W, C))
        return Degrees(single, *_matched(k, A1, A2))


def _matched(k: int, A1: float, A2: float) -> tuple[float, float]:
    """Denominator m and lambda / k, from the mean and the variance of F; exact in balanced cases."""
    B = (A1 + 6.0 * A2) / (2.0 * k)
    g = ((k + 1.0) * A1 - (k + 4.0) * A2) / ((k + 2.0) * A2)
    below = 3.0 * k + 2.0 * (1.0 - g)
    c1, c2, c3 = g / below, (k - g) / below, (k + 2.0 - g) / below
    mean = 1.0 / (1.0 - A2 / k)
    variance = 2.0 / k * (1.0 + c1 * B) / ((1.0 - c2 * B) ** 2 * (1.0 - c3 * B))
    rho = variance / (2.0 * mean**2)
    m = 4.0 + (k + 2.0) / (k * rho - 1.0)
    if not m > 2.0:
        return np.nan, np.nan
    return m, m / (mean * (m - 2.0)) / k


def kenward_roger(fit: GaussianFit) -> KenwardRoger:
    """The covariance and what its degrees of freedom rest on.

    Raises
    ------
    OptionError
        Where the covariance of the effects is no linear function of its parameters.
    """
    task, s = fit.task, fit.residual_sd
    p, s2 = task.p, s * s
    moments = task.moments(fit.phi * s**-task.exponents)
    directions = _directions(fit)
    unit = np.vstack([np.eye(p), np.zeros((1, p))])  # of [X y], X
    S = moments.S[:p, :p]
    of_logdet, _ = moments.gradients(unit)
    first = np.array([float((d.E * of_logdet[d.factor]).sum()) for d in directions])
    S_1 = moments.slopes(directions, unit)[:, :p]
    second, S_2 = moments.bends(directions, unit)
    # The first direction is V / s^2 = A, along which all have one scale.
    r = len(directions) + 1
    traces = np.empty((r, r))
    traces[0, 0] = task.statistics.n
    traces[0, 1:] = traces[1:, 0] = first
    traces[1:, 1:] = -second
    traces /= s2**2
    P = np.concatenate([-S[None], S_1]) / s2**2
    Q = np.empty((r, r, p, p))
    Q[0, 0], Q[0, 1:], Q[1:, 0], Q[1:, 1:] = S, -S_1, -S_1, 0.5 * S_2
    Q /= s2**3
    plain = np.asarray(s2 * np.linalg.inv(S), dtype=np.float64)
    scaled = plain @ P
    products = np.einsum("iab,jbc->ijac", scaled, scaled)
    information = traces - 2.0 * np.einsum("ab,ijba->ij", plain, Q) + np.einsum("ijaa->ij", products)
    W = 2.0 * np.linalg.pinv(information, hermitian=True)
    adjusted = np.einsum("ij,ijab->ab", W, plain @ Q @ plain - products @ plain)
    found = plain + (adjusted + adjusted.T)
    return KenwardRoger(plain, found, P, W)


def _directions(fit: GaussianFit) -> list[Direction]:
    """Changes of the relative covariances that span all that their structures allow."""
    covariance, found = fit.effects.covariance, []
    factors = [factor.columns for factor in fit.task.statistics.factors]
    for term, where in covariance.blocks():
        basis = term.kind.basis(len(term.effects))
        if basis is None:
            raise OptionError(
                f"Kenward and Roger's covariance with effects of {term.group!r} whose covariance is {term.structure!r}",
                "covariances that are sums of fixed matrices: us, diag or homdiag",
                'df="satterthwaite"',
            )
        f, some = next((f, some) for f, some in enumerate(factors) if where.start in some)
        for each in basis:
            whole = np.zeros((covariance.n_effects, covariance.n_effects))
            whole[where, where] = each
            found.append(Direction(f, whole[np.ix_(some, some)]))
    return found
