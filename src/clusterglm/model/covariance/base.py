"""What a structure of the covariance of a term's effects says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array


class BetaShare(NamedTuple):
    """What an LKJ prior says of a parameter x: that logistic(slope x + shift) has a beta distribution.

    Parameters
    ----------
    slope, shift : float
    a, b : tuple of float
        Its shapes are a[0] + a[1] eta and b[0] + b[1] eta for LKJ(eta).
    """

    slope: float
    shift: float
    a: tuple[float, float]
    b: tuple[float, float]


class Structure(ABC):
    """Covariances of d effects that a term may have."""

    @abstractmethod
    def size(self, d: int) -> int:
        """Number of parameters."""

    @abstractmethod
    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the parameters."""

    @abstractmethod
    def factor(self, phi: Array, d: int) -> Array:
        """L, shape (d, d)."""

    @abstractmethod
    def slopes(self, phi: Array, d: int) -> Array:
        """Derivatives of L, shape (parameters, d, d)."""

    def bends(self, phi: Array, d: int) -> Array | None:
        """Second derivatives of L, shape (parameters, parameters, d, d); None where L is linear."""
        return None

    @abstractmethod
    def canonical(self, phi: Array, d: int) -> Array:
        """Parameters of the same covariance with signs that are the custom."""

    @abstractmethod
    def of(self, covariance: Array) -> Array:
        """Parameters of a covariance, or of one near it that the structure allows; shape (parameters,)."""

    @abstractmethod
    def units(self, scale: Array) -> Array:
        """Factors of the parameters where the d effects are multiplied by `scale`; shape (parameters,)."""

    def scales(self, d: int) -> NDArray[np.bool_]:
        """Which parameters are scales: of either sign, and standard errors hold for their logarithms; shape (size,)."""
        found = np.zeros(self.size(d), dtype=bool)
        found[:d] = True
        return found

    def counts(self, d: int) -> Array:
        """How often a sum over the entries of L counts each, so that equal ones count once; shape (d, d)."""
        return np.ones((d, d))

    def basis(self, d: int) -> Array | None:
        """Symmetric matrices of which all covariances are sums, shape (k, d, d); None where there are none such."""
        return None

    same_unit = False
    """Whether all effects must be multiplied by the same."""

    def read_labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """Names of what `read` gives."""
        return self.labels(effects)

    def read(self, phi: Array, d: int) -> tuple[Array, Array]:
        """Standard deviations and correlations, as many as parameters, and their derivatives in these."""
        return phi, np.eye(len(phi))

    def at_end(self, phi: Array, d: int) -> NDArray[np.bool_]:
        """Which parameters have run to an end that lies at infinity, shape (parameters,)."""
        return np.zeros(len(phi), dtype=bool)

    def correlations(self, followed: Array, d: int) -> Array:
        """Correlations from what stands for them by reading: Fisher's z."""
        return np.tanh(followed)

    def lkj(self, d: int) -> tuple[BetaShare, ...]:
        """What an LKJ prior of the correlations is to the parameters after the scales, independent of one another."""
        return ()

    def pattern(self, d: int) -> NDArray[np.bool_]:
        """Entries of L that may be other than zero, shape (d, d)."""
        return np.tri(d, dtype=bool)
