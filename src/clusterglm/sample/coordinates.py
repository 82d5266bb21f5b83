"""The parameters that are sampled: each any real number, and what the model has in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.covariance.base import BetaShare

Kind: TypeAlias = Literal["intercept", "coefficient", "sd", "correlation", "own", "threshold"]


@dataclass(frozen=True)
class Coordinate:
    """One of them.

    Parameters
    ----------
    name : str
    kind : {"intercept", "coefficient", "sd", "correlation", "own", "threshold"}
        A standard deviation (or the scale of a distribution that has none) and a positive parameter of the response's
        own are sampled by their logarithms; of a correlation see `Covariance.unconstrained`.
    unit, centre : float
        Standard deviation and mean of the column that it belongs to; in a linear model the former over that of the
        response, and of the intercept the response's mean.
    share : BetaShare, optional
        What an LKJ prior is to it, of a correlation.
    prior : str
        Of a parameter of the response's own, where none is given.
    against : str
        The threshold at which alone a coefficient counts; empty of those that count at all.
    """

    name: str
    kind: Kind
    unit: float = 1.0
    centre: float = 0.0
    share: BetaShare | None = None
    prior: str = ""
    against: str = ""


@dataclass(frozen=True)
class Coordinates:
    """The vector x of a model's q parameters; theta has what is positive where x has its logarithm."""

    each: tuple[Coordinate, ...]

    def __len__(self) -> int:
        return len(self.each)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters as people read them."""
        return tuple(one.name for one in self.each)

    @cached_property
    def logs(self) -> NDArray[np.bool_]:
        """Which are logarithms, shape (q,)."""
        return np.array([one.kind in ("sd", "own") for one in self.each], dtype=bool)

    def theta(self, x: Array) -> Array:
        """What the model has for x, shape (..., q)."""
        with np.errstate(over="ignore"):
            return np.where(self.logs, np.exp(np.where(self.logs, x, 0.0)), x)

    def in_x(self, there: Evaluation, theta: Array) -> Evaluation:
        """Derivatives in x, of those in theta."""
        slope = np.where(self.logs, theta, 1.0)
        score = there.score * slope
        hessian = there.hessian * np.outer(slope, slope) + np.diag(np.where(self.logs, score, 0.0))
        return Evaluation(there.value, score, hessian)

    def centring(self) -> Array:
        """The matrix that turns x into what priors are of, shape (q, q): an intercept at the columns' means."""
        A = np.eye(len(self))
        for k, one in enumerate(self.each):
            if one.kind in ("intercept", "threshold"):
                sign = 1.0 if one.kind == "intercept" else -1.0  # thresholds stand against the linear predictor
                counts = [other.kind == "coefficient" and other.against in ("", one.name) for other in self.each]
                A[k] += sign * np.where(counts, [other.centre for other in self.each], 0.0)
        return A


def spread(column: Array, weights: Array) -> tuple[float, float]:
    """Standard deviation and mean of a column; of a constant one its size, for then nothing else says its unit."""
    mean = float(np.average(column, weights=weights))
    sd = float(np.sqrt(np.average((column - mean) ** 2, weights=weights)))
    if sd <= 1e-12 * max(abs(mean), 1e-300):
        sd = abs(mean) or 1.0
    return sd, mean


def of_columns(names: Sequence[str], X: Array, intercept: int | None, weights: Array) -> list[Coordinate]:
    """The coefficients of columns, shape (n, p)."""
    found: list[Coordinate] = []
    for k, name in enumerate(names):
        unit, centre = spread(X[:, k], weights)
        found.append(Coordinate(name, "intercept") if k == intercept else Coordinate(name, "coefficient", unit, centre))
    return found
