"""The log-integral of one cluster over two or three normal effects, by rules that are refined until they agree.

Two effects in polar coordinates: the integrand is log-concave, so that along each ray from the mode it falls, and where
it has fallen by e^-60 the ray ends. The trapezoid rule over angles, Gauss-Legendre rules on panels of each ray, both
doubled until two in a row agree. Three effects on lattices about the mode, scaled by its curvature, ever
finer and larger. Log-probabilities are those of `two_effects.py`; nothing is shared with the package.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oracle.two_effects import log_probability

Array = NDArray[np.float64]
FALLEN = 60.0  # log of what is left out at the end of a ray
SETTLED = 2e-12  # difference of log-integrals that two rules in a row may show, next to that of rounding
MOST = 3e8  # terms of one rule


def _slope(link: str, y: Array, eta: Array, A: Array, u: Array) -> Array:
    return np.asarray(A.T @ log_probability(link, eta + A @ u, y)[1] - u)


def _values(link: str, y: Array, eta: Array, A: Array, points: Array) -> Array:
    """Logs of the integrand without its constant at points, shape (d, k)."""
    found = np.empty(points.shape[1])
    size = max(1, 4_000_000 // len(y))
    for first in range(0, len(found), size):
        some = points[:, first : first + size]
        logs = log_probability(link, eta[:, None] + A @ some, y[:, None])[0]
        found[first : first + size] = logs.sum(axis=0) - 0.5 * (some**2).sum(axis=0)
    return found


def _mode(link: str, y: Array, eta: Array, A: Array) -> tuple[Array, Array]:
    """The mode, and a matrix that makes the curvature there 1; by Newton steps that are halved till they rise."""
    d = A.shape[1]
    u, best = np.zeros(d), float(_values(link, y, eta, A, np.zeros((d, 1)))[0])
    for _ in range(400):
        small = 1e-6 / max(1.0, float(np.abs(A).max()))
        columns = [_slope(link, y, eta, A, u - small * e) - _slope(link, y, eta, A, u + small * e) for e in np.eye(d)]
        curvature = np.array(columns) / (2.0 * small)
        curvature = 0.5 * (curvature + curvature.T)
        slope = _slope(link, y, eta, A, u)
        move = np.linalg.solve(curvature, slope)
        share = 1.0
        while share > 1e-12:
            value = float(_values(link, y, eta, A, (u + share * move)[:, None])[0])
            if value >= best - 1e-13 * abs(best):
                break
            share *= 0.5
        u, best = u + share * move, max(best, value)
        if np.abs(share * move).max() < 1e-8:
            break
    return u, np.linalg.inv(np.linalg.cholesky(curvature)).T


def two(link: str, y: Array, eta: Array, A: Array) -> tuple[float, bool]:
    """Log of the integral, and whether rules agreed; A has a row's derivatives in the standard normal effects."""
    mode, F = _mode(link, y, eta, A)
    top = float(_values(link, y, eta, A, mode[:, None])[0])
    before, log_det = np.nan, float(np.log(np.abs(np.linalg.det(F))))
    for angles, panels in ((64, 4), (128, 8), (256, 16), (512, 32), (1024, 64), (2048, 128), (4096, 256)):
        if angles * panels * 12.0 * len(y) > MOST:
            return before, False
        turn = 2.0 * np.pi * np.arange(angles) / angles
        rays = F @ np.array([np.cos(turn), np.sin(turn)])
        low, high = np.zeros(angles), np.full(angles, 1.0)
        far = np.ones(angles, dtype=bool)
        while far.any():  # doubled until the ray has fallen
            far = top - _values(link, y, eta, A, mode[:, None] + rays * high) < FALLEN
            high[far] *= 2.0
        for _ in range(30):
            middle = 0.5 * (low + high)
            fallen = top - _values(link, y, eta, A, mode[:, None] + rays * middle) >= FALLEN
            low, high = np.where(fallen, low, middle), np.where(fallen, middle, high)
        x, w = np.polynomial.legendre.leggauss(12)
        edges = np.arange(panels) / panels
        share = (edges[:, None] + 0.5 * (x + 1.0) / panels).ravel()
        weights = np.tile(0.5 * w / panels, panels)
        r = share[:, None] * high
        points = mode[:, None] + (rays[:, None, :] * r).reshape(2, -1)
        terms = _values(link, y, eta, A, points).reshape(r.shape) - top
        total = float((np.exp(terms) * r * high * weights[:, None]).sum() * 2.0 * np.pi / angles)
        now = top + np.log(total) + log_det - np.log(2.0 * np.pi)
        if abs(now - before) <= SETTLED + 1e-15 * abs(now):
            return now, True
        before = now
    return before, False


def three(link: str, y: Array, eta: Array, A: Array) -> tuple[float, bool]:
    """Log of the integral over three effects, and whether two lattices in a row agreed."""
    mode, F = _mode(link, y, eta, A)
    constant = float(np.log(np.abs(np.linalg.det(F)))) - 1.5 * np.log(2.0 * np.pi)
    before = np.nan
    for step, reach in ((0.35, 10.0), (0.27, 11.5), (0.2, 13.0), (0.14, 15.0)):
        axis = np.arange(-reach, reach + 1e-9, step)
        lattice = np.array(np.meshgrid(axis, axis, axis)).reshape(3, -1)
        lattice = lattice[:, (lattice**2).sum(axis=0) <= reach**2]
        terms = _values(link, y, eta, A, mode[:, None] + F @ lattice)
        now = float(np.logaddexp.reduce(terms)) + 3.0 * np.log(step) + constant
        if abs(now - before) <= SETTLED + 1e-14 * abs(now):
            return now, True
        before = now
    return before, False
