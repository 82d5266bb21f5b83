"""Array types and the product that every kernel needs."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Jet: TypeAlias = tuple[Array, Array, Array, Array, Array]
"""A function's value and its first four derivatives, arrays of one shape."""


def times(weight: Array, value: Array) -> Array:
    """`weight * value`, with 0 wherever `weight` is 0, even where `value` is infinite.

    A row without failures has no share in log(1 - F), however far out the predictor lies.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        product: Array = np.where(weight == 0.0, 0.0, weight * value)
    return product
