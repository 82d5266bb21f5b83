"""Where covariances of several effects end: no variance of an effect, standard deviations that have turned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance

_MEANS_NOTHING = 1e-12  # of what the entries of L change by, where their products do not
_APART, _FAR_APART = 1.5, 4.0  # where such a correlation begins again, as a number on the real line


def vanishing(covariance: Covariance, phi: Array, below: float) -> NDArray[np.bool_]:
    """Parameters that are zero, or might as well be, where the covariance is singular.

    They are those without which a diagonal entry of L is exactly 0 and L hardly different; and where a diagonal entry
    is as good as 0, `below` so much, all that its column depends on alone: turned into the columns that follow, it adds
    nothing. And without these, correlations of what does not vary.
    """
    L, slopes = covariance.factor(phi), covariance.slopes(phi)
    found = np.zeros(len(phi), dtype=bool)
    for k in range(len(phi)):
        moved = covariance.factor(np.where(np.arange(len(phi)) == k, 0.0, phi)) - L
        found[k] = np.abs(moved).max() < below and bool((np.diag(L + moved) == 0.0).any())
    for k in np.flatnonzero(np.abs(np.diag(L)) < below).tolist():
        in_column, outside = slopes[:, :, k].any(axis=1), np.delete(slopes, k, axis=2).any(axis=(1, 2))
        found |= in_column & ~outside
    return found | _without_meaning(covariance, np.where(found, 0.0, phi)) if found.any() else found


def _without_meaning(covariance: Covariance, phi: Array) -> NDArray[np.bool_]:
    """Parameters that the covariance does not depend on, as correlations where hardly an effect varies."""
    L, slopes = covariance.factor(phi), covariance.slopes(phi)
    half = slopes @ L.T
    size = np.abs(slopes).max(axis=(1, 2)) * np.abs(L).max()
    return np.asarray(np.abs(half + half.transpose(0, 2, 1)).max(axis=(1, 2)) <= _MEANS_NOTHING * size)


def below_zero(covariance: Covariance, phi: Array) -> NDArray[np.bool_]:
    """Standard deviations of which some but not all have been turned, which no covariance of the structure has."""
    values, labels = covariance.read(phi)[0], covariance.read_labels()
    return np.array([label.startswith("sd") for label in labels]) & (values < 0.0)


def beside(covariance: Covariance, phi: Array) -> list[Array]:
    """Parameters on either side of correlations that are parameters themselves, as those of `cs`.

    Their likelihood may have a maximum towards either end.
    """
    own = covariance.units(np.full(covariance.n_effects, 2.0)) == 1.0  # whatever the effects' units
    scales = np.abs(phi), np.ones_like(phi)
    return [np.where(own, side, sds) for side in (-_APART, _APART, _FAR_APART) for sds in scales] if own.any() else []


def has_little(covariance: Covariance, phi: Array, below: float) -> bool:
    """Whether a diagonal entry of L is small."""
    return bool(np.abs(np.diag(covariance.factor(phi))).min() < below)
