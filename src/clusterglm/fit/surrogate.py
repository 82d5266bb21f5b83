"""A sample's likelihood that stands in for the whole one from one evaluation of it to the next.

Scaled up, and bent by a quadratic so that value, score and Hessian are those of the whole likelihood at a point, it is
wrong only by the sampling error of third and higher derivatives (the idea is that of Jordan, Lee and Yang, JASA 114,
2019, who match the score alone). Newton's method on it costs little, and gets much further than one step on the whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import LinAlgError, eigvalsh

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array

_SAMPLING_NOISE = 5.0  # over the root of the sample's size: sampling error of third derivatives, on data of many kinds
_LITTLE_KNOWN = 0.3  # of the information that it should have on any combination of coefficients


class Surrogate:
    """The likelihood of a sample.

    Parameters
    ----------
    sample : callable
        theta -> Evaluation of the sample's likelihood.
    factor : float
        How many times as large the whole is.
    size : int
        Independent terms of the sample's likelihood: rows, or clusters.

    Attributes
    ----------
    error : float
        What was left to do after its last correction of a step (see `newton.maximize`), as a share of that correction;
        before the first, what is to be expected.
    """

    def __init__(self, sample: Callable[[Array], Evaluation], factor: float, size: int) -> None:
        self.error = _SAMPLING_NOISE / size**0.5
        self._sample = sample
        self._factor = factor
        self._last: tuple[Array, Evaluation] | None = None

    def __call__(self, theta: Array) -> Evaluation:
        """The sample's likelihood, scaled up."""
        if self._last is None or not np.array_equal(self._last[0], theta):
            found, k = self._sample(theta), self._factor
            self._last = theta.copy(), Evaluation(k * found.value, k * found.score, k * found.hessian)
        return self._last[1]

    def bent(self, theta: Array, whole: Evaluation, step: Array) -> Evaluation:
        """What is to be expected at `theta + step`, given the whole likelihood at `theta`."""
        here, there = self(theta), self(theta + step)
        slope, curvature = whole.score - here.score, whole.hessian - here.hessian
        bend = curvature @ step
        value = whole.value - here.value + there.value + float(step @ (slope + 0.5 * bend))
        return Evaluation(value, there.score + slope + bend, there.hessian + curvature)

    def knows(self, theta: Array, whole: Evaluation) -> bool:
        """Whether the sample has about its share of the information on every combination of coefficients."""
        try:
            shares = eigvalsh(-self(theta).hessian, -whole.hessian)
        except (LinAlgError, ValueError):  # the whole is not concave, or something is not a number
            return False
        return bool(shares[0] > _LITTLE_KNOWN and shares[-1] < 1.0 / _LITTLE_KNOWN)
