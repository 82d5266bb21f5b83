"""Average effects at the estimated intercepts of two factors."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from clusterglm.inference.diagnostics.design_changes import DesignChange
from clusterglm.inference.effects.average_effects import AverageEffects
from clusterglm.inference.predictions.averaged_mean import MeanJet
from clusterglm.inference.uncertainty.two_way import Joint
from clusterglm.model.arrays import Array

_Integers = NDArray[np.int64]


def two_way_effects(
    changes: Collection[DesignChange],
    beta: Array,
    known: Array,
    weights: Array,
    covariance: Array,
    jet: Callable[[Array], MeanJet],
    joint: Joint,
    levels: tuple[_Integers, _Integers],
) -> AverageEffects:
    """Average the effects of changes of the design, or means, over rows with intercepts of two factors.

    Parameters
    ----------
    changes : collection of DesignChange
        Of n rows.
    beta : ndarray, shape (p,)
    known : ndarray, shape (n,)
        What the linear predictor has besides X beta.
    weights : ndarray, shape (n,)
        They sum to one.
    covariance : ndarray, shape (p, p)
        Of beta.
    jet : function
        Means and derivatives of linear predictors.
    joint : Joint
        The information of all estimates.
    levels : pair of ndarray of int64, shape (n,)
        Of both factors.

    Notes
    -----
    As `average_effects`, the intercepts of both factors moving with beta and having noise of their own.
    """
    k, p = len(changes), len(beta)
    estimate, gradient = np.zeros(k), np.zeros((k, p))
    sizes = joint.crossing.m, joint.crossing.q
    in_first, in_second = np.zeros((sizes[0], k)), np.zeros((sizes[1], k))
    names = []
    for j, change in enumerate(changes):
        names.append((change.variable, change.contrast))
        where, own = change.of_rows(weights)
        high = jet(change.high @ beta + known[where])
        if change.low is not None:
            low = jet(change.low @ beta + known[where])
            effect, first = high.mean - low.mean, high.first - low.first
            gradient[j] = (own * high.first) @ change.high - (own * low.first) @ change.low
        elif change.slope is not None:
            slope = change.slope @ beta
            effect, first = high.first * slope, high.second * slope
            gradient[j] = (own * first) @ change.high + (own * high.first) @ change.slope
        else:
            effect, first = high.mean, high.first
            gradient[j] = (own * first) @ change.high
        estimate[j] = own @ effect
        in_first[:, j] = np.bincount(levels[0][where], own * first, sizes[0])
        in_second[:, j] = np.bincount(levels[1][where], own * first, sizes[1])
    noise, by_way = joint.noise(in_first, in_second)
    gradient += by_way
    total = gradient @ covariance @ gradient.T + noise
    terms, contrasts = (tuple(name[side] for name in names) for side in (0, 1))
    return AverageEffects(terms, contrasts, estimate, np.sqrt(np.diag(total)), total, gradient, 0, True)
