"""What rows say of effects one by one, without the units' integrals: how much these vary, and how lopsided."""

from __future__ import annotations

import numpy as np

from clusterglm.likelihood.crossed.inside import Inside
from clusterglm.likelihood.moments import variances_of
from clusterglm.likelihood.vector.vector import VectorPlan
from clusterglm.model.arrays import Array

_STEP_OF_PREDICTORS = 0.05  # of differences of second derivatives, in linear predictors


def variances(inside: Inside, beta: Array) -> Array:
    """What products of rows' scores without effects say of the effects' variances, shape (d + d of each term,)."""
    scores, curved = inside.of_rows(inside.data.offset + inside.X @ beta)
    units = np.repeat(np.arange(inside.n_units), np.diff(inside.data.starts))
    terms = [(inside.Z, units), *((term.Z, term.levels) for term in inside.terms)]
    return np.concatenate([variances_of(Z, levels, scores, curved) for Z, levels in terms])


def higher(inside: Inside, theta: Array, v: Array, plan: VectorPlan) -> tuple[Array, Array]:
    """Third and fourth derivatives of f in each effect outside alone, the units' effects held, shape (size of v,)."""
    slopes, at = inside.slopes(theta), inside.predictor(theta, v, plan)
    below, here, above = (inside.of_rows(at + step)[1] for step in (-_STEP_OF_PREDICTORS, 0.0, _STEP_OF_PREDICTORS))
    third, fourth = (above - below) / (2.0 * _STEP_OF_PREDICTORS), (above - 2.0 * here + below) / _STEP_OF_PREDICTORS**2
    return inside.layout.gather(slopes**3, third), inside.layout.gather(slopes**4, fourth)
