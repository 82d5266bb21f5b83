"""The parameters that are sampled: each any real number, and what the model has in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.covariance.base import BetaShare

Kind: TypeAlias = Literal["intercept", "coefficient", "sd", "correlation", "own", "threshold", "shape"]


@dataclass(frozen=True)
class Coordinate:
    """One of them.

    Parameters
    ----------
    name : str
    kind : {"intercept", "coefficient", "sd", "correlation", "own", "threshold", "shape"}
        A standard deviation (or the scale of a distribution that has none) and a positive parameter of the response's
        own are sampled by their logarithms, the working value of a distribution's shape by the logit of its place in
        its range; of a correlation see `Covariance.unconstrained`.
    unit, centre : float
        Standard deviation and mean of the column that it belongs to; in a linear model the former over that of the
        response, and of the intercept the response's mean.
    share : BetaShare, optional
        What an LKJ prior is to it, of a correlation.
    prior : str
        Of a parameter of the response's own, or of a shape, where none is given.
    ends : tuple of float
        Of a shape's working value.
    inverse : bool
        Whether this is 1 over what people know.
    part : str
        Which linear predictor an intercept or a coefficient belongs to, where there are several.
    against : str
        The threshold at which alone a coefficient counts; empty of those that count at all.
    """

    name: str
    kind: Kind
    unit: float = 1.0
    centre: float = 0.0
    share: BetaShare | None = None
    prior: str = ""
    ends: tuple[float, float] = (0.0, 0.0)
    inverse: bool = False
    part: str = ""
    against: str = ""


@dataclass(frozen=True)
class Coordinates:
    """The vector x of q parameters; theta has those themselves of which x has logarithms and logits."""

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

    @cached_property
    def shapes(self) -> NDArray[np.bool_]:
        """Which are logits, shape (q,)."""
        return np.array([one.kind == "shape" for one in self.each], dtype=bool)

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        low, high = np.array([one.ends for one in self.each]).reshape(-1, 2).T
        return low, high

    def theta(self, x: Array) -> Array:
        """What the model has for x, shape (..., q)."""
        low, high = self._ends
        with np.errstate(over="ignore"):
            positive = np.where(self.logs, np.exp(np.where(self.logs, x, 0.0)), x)
            return np.where(self.shapes, low + (high - low) * expit(np.where(self.shapes, x, 0.0)), positive)

    def in_x(self, there: Evaluation, theta: Array) -> Evaluation:
        """Derivatives in x, of those in theta."""
        low, high = self._ends
        place = np.where(self.shapes, (theta - low) / np.where(self.shapes, high - low, 1.0), 0.0)
        slope = np.where(self.shapes, (high - low) * place * (1.0 - place), np.where(self.logs, theta, 1.0))
        score = there.score * slope
        bend = np.where(self.shapes, 1.0 - 2.0 * place, np.where(self.logs, 1.0, 0.0))
        hessian = there.hessian * np.outer(slope, slope) + np.diag(score * bend)
        return Evaluation(there.value, score, hessian)

    def centring(self) -> Array:
        """The matrix that turns x into what priors are of, shape (q, q): an intercept at the columns' means."""
        A = np.eye(len(self))
        for k, one in enumerate(self.each):
            if one.kind in ("intercept", "threshold"):
                sign = 1.0 if one.kind == "intercept" else -1.0  # thresholds stand against the linear predictor
                counts = [
                    other.kind == "coefficient" and other.part == one.part and other.against in ("", one.name)
                    for other in self.each
                ]
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
