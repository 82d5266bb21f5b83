"""The parameters of a model: one vector made of named blocks.

What stands where in a vector of parameters, in a score, a Hessian or a covariance is asked here, and counted nowhere
else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array

State: TypeAlias = Literal["free", "held", "boundary"]
Index: TypeAlias = slice | NDArray[np.intp]


@dataclass(frozen=True)
class Block:
    """Parameters that belong together; component, group and name are the key of each.

    Parameters
    ----------
    component : str
        What they are of: "mean" (coefficients of its linear predictor), "random" (scales of random terms), "shape" (of
        the distribution of these), or whatever else a model has.
    group : str
        The grouping factor of a random term; empty for others.
    names : tuple of str
    state : {"free", "held", "boundary"}
        Estimated; held at a given value; or estimated to lie at its bound, where it has no standard error.
    scale : bool
        Whether they are scales: bounded by 0, their sign a symmetry of the likelihood, and their intervals those of the
        logarithm.
    """

    component: str
    group: str
    names: tuple[str, ...]
    state: State = "free"
    scale: bool = False


@dataclass(frozen=True)
class Parameters:
    """A vector of parameters.

    Parameters
    ----------
    blocks : tuple of Block
        In the order of the vector.
    """

    blocks: tuple[Block, ...]

    def __len__(self) -> int:
        return self._size

    @cached_property
    def _size(self) -> int:
        return sum(len(block.names) for block in self.blocks)

    # Where what is ----------------------------------------------------------------------------------------------------

    def place(self, component: str, group: str | None = None) -> slice:
        """Where the block of a component is (of several, that of a group); KeyError without one."""
        start = 0
        for block in self.blocks:
            if block.component == component and group in (None, block.group):
                return slice(start, start + len(block.names))
            start += len(block.names)
        raise KeyError((component, group))

    @cached_property
    def coefficients(self) -> slice:
        """Place of the coefficients of the linear predictor of the mean."""
        return self.place("mean")

    @cached_property
    def scale(self) -> int:
        """Place of the scale of the only random term."""
        (scale,) = self.scales
        return scale

    @cached_property
    def shapes(self) -> slice:
        """Place of the shape parameters of the intercept's distribution."""
        return self.place("shape")

    @cached_property
    def scales(self) -> tuple[int, ...]:
        """All scales."""
        return tuple(np.flatnonzero(self.are_scales).tolist())

    @cached_property
    def are_scales(self) -> NDArray[np.bool_]:
        """Which are scales, shape (q,)."""
        return self._marked([block.scale for block in self.blocks])

    @cached_property
    def free(self) -> Index:
        """Places of parameters with a standard error: neither held nor at a bound."""
        return _index(self._marked([block.state == "free" for block in self.blocks]))

    @cached_property
    def all_free(self) -> bool:
        """Whether every parameter has a standard error."""
        return all(block.state == "free" for block in self.blocks)

    @cached_property
    def estimated(self) -> Index:
        """Places of parameters that are not held, at a bound or not."""
        return _index(self._marked([block.state != "held" for block in self.blocks]))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """For people: the last part of each key; a coefficient that is called like anything else is in backticks."""
        taken = {name for block in self.blocks if block.component != "mean" for name in block.names}
        return tuple(
            f"`{name}`" if block.component == "mean" and name in taken else name
            for block in self.blocks
            for name in block.names
        )

    def names_of(self, which: Index) -> tuple[str, ...]:
        """Names of some of the parameters."""
        return tuple(np.array(self.names, dtype=object)[which])

    # Vectors and matrices ---------------------------------------------------------------------------------------------

    def joined(self, *parts: Array | float) -> Array:
        """The vector of its blocks' values, in their order."""
        return np.hstack(parts)

    @cached_property
    def _each(self) -> tuple[slice, ...]:
        """The blocks' places."""
        ends = np.cumsum([0, *(len(block.names) for block in self.blocks)]).tolist()
        return tuple(slice(begin, end) for begin, end in pairwise(ends))

    def split(self, theta: Array) -> tuple[Array, ...]:
        """The blocks' values."""
        return tuple(theta[place] for place in self._each)

    def filled(self, free: Array, theta: Array) -> Array:
        """`theta` with other values of the free parameters."""
        if self.all_free:
            return free
        whole = theta.copy()
        whole[self.free] = free
        return whole

    def reflected(self, theta: Array) -> Array:
        """The vector among those of equal likelihood whose scales are not negative."""
        if not np.signbit(theta[self.are_scales]).any():
            return theta
        whole, scales = theta.copy(), self.are_scales
        whole[scales] = np.abs(whole[scales])
        return whole

    def of_free(self, matrix: Array) -> Array:
        """The part of a matrix that belongs to the free parameters."""
        return _square(matrix, self.free)

    def nan_where_not_free(self, matrix: Array) -> Array:
        """A matrix of the free parameters as one of all: nan in the rows and columns of the others."""
        if self.all_free:
            return matrix
        whole = np.full((len(self), len(self)), np.nan)
        free = np.arange(len(self))[self.free]
        whole[np.ix_(free, free)] = matrix
        return whole

    def zero_where_not_free(self, covariance: Array) -> Array:
        """A covariance for the delta method: 0 in the rows and columns of parameters that are taken as known."""
        known = np.ones(len(self), dtype=bool)
        known[self.free] = False
        covariance = covariance.copy()
        covariance[known, :] = covariance[:, known] = 0.0
        return covariance

    def to_user(self, L: Array) -> Array:
        """The matrix that turns parameters of standardised columns into those of the user's, beta = L gamma."""
        whole = np.eye(len(self))
        whole[self.coefficients, self.coefficients] = L
        return whole

    # Other vectors ----------------------------------------------------------------------------------------------------

    @cached_property
    def only_free(self) -> Parameters:
        """Parameters of the free blocks."""
        return Parameters(tuple(block for block in self.blocks if block.state == "free"))

    @cached_property
    def only_estimated(self) -> Parameters:
        """Parameters of the blocks that are not held."""
        return Parameters(tuple(block for block in self.blocks if block.state != "held"))

    def and_shapes(self, names: Sequence[str]) -> Parameters:
        """These parameters with shape parameters after them."""
        return Parameters((*self.blocks, Block("shape", "", tuple(names))))

    def and_own(self, names: Sequence[str], state: State = "free") -> Parameters:
        """These parameters with those of the response after them."""
        return Parameters((*self.blocks, Block("response", "", tuple(names), state)))

    @cached_property
    def own(self) -> slice:
        """Place of the parameters of the response."""
        return self.place("response")

    def and_zeros(self, names: Sequence[str], state: State = "free") -> Parameters:
        """These parameters with the coefficients of a linear predictor of zeros after them."""
        return Parameters((*self.blocks, Block("zero", "", tuple(names), state)))

    @cached_property
    def zeros(self) -> slice:
        """Place of the coefficients of zeros."""
        return self.place("zero")

    def _marked(self, blocks: Sequence[bool]) -> NDArray[np.bool_]:
        return np.repeat(np.array(blocks, dtype=bool), [len(block.names) for block in self.blocks])


def coefficients(names: Sequence[str]) -> Parameters:
    """Parameters of a model that has none but those of its linear predictor."""
    return Parameters((_of_columns(names),))


def random_effects(columns: Sequence[str] | int, covariance: Sequence[str] | int) -> Parameters:
    """Parameters of a model with several random effects: coefficients, and what their covariance is made of.

    Parameters
    ----------
    columns, covariance : sequence of str, or int
        Names, or numbers where names do not matter.
    """
    names = ("",) * covariance if isinstance(covariance, int) else tuple(covariance)
    return Parameters((_of_columns(columns), Block("random", "", names)))


def nested_effects(columns: Sequence[str] | int, upper: int, lower: int) -> Parameters:
    """Of a model with effects of clusters and of their children: coefficients, and the factors of two covariances.

    Parameters
    ----------
    columns : sequence of str, or int
        Names, or their number where names do not matter.
    upper, lower : int
        Numbers of free entries of the factors.
    """
    levels = (Block("random", "upper", ("",) * upper), Block("random", "lower", ("",) * lower))
    return Parameters((_of_columns(columns), *levels))


def crossed_effects(columns: Sequence[str] | int, inside: int, outside: Sequence[int]) -> Parameters:
    """Of a model whose factors cross: coefficients, and the factors of the covariances inside units and outside.

    Parameters
    ----------
    columns : sequence of str, or int
        Names, or their number where names do not matter.
    inside : int
        Number of free entries of the units' factor.
    outside : sequence of int
        Numbers of free entries of the factor of each term outside.
    """
    terms = [Block("random", f"outside {t + 1}", ("",) * count) for t, count in enumerate(outside)]
    return Parameters((_of_columns(columns), Block("random", "inside", ("",) * inside), *terms))


def random_intercept(columns: Sequence[str] | int, group: str | None = None, state: State = "free") -> Parameters:
    """Parameters of a model with a random intercept: the coefficients of some columns, and sigma.

    Parameters
    ----------
    columns : sequence of str, or int
        Names, or the number of columns where names do not matter.
    group : str, optional
        The grouping factor.
    state : {"free", "held", "boundary"}
        Of sigma.
    """
    if isinstance(columns, int):  # asked for over and over, and its places need not be found anew
        return _unnamed_intercept(columns, group or "", state)
    return _with_intercept(columns, group or "", state)


def _with_intercept(columns: Sequence[str] | int, group: str, state: State) -> Parameters:
    return Parameters((_of_columns(columns), Block("random", group, ("sigma",), state, scale=True)))


_unnamed_intercept = lru_cache(maxsize=64)(_with_intercept)


def random_intercept_of(theta: Array) -> Parameters:
    """Parameters of a vector (beta, sigma)."""
    return random_intercept(len(theta) - 1)


def mass_points(columns: Sequence[str] | int, points: Sequence[int], number: int) -> Parameters:
    """Parameters of a model whose intercept has some values with a probability each.

    Parameters
    ----------
    columns : sequence of str, or int
        As in `random_intercept`.
    points : sequence of int
        Which of the values are parameters.
    number : int
        How many values there are; parameters are the logs of all probabilities but the last, relative to it.
    """
    return Parameters(
        (
            _of_columns(columns),
            Block("points", "", tuple(f"point {j + 1}" for j in points)),
            Block("weights", "", tuple(f"log(weight {j} / weight {number})" for j in range(1, number))),
        )
    )


def _of_columns(columns: Sequence[str] | int) -> Block:
    return Block("mean", "", ("",) * columns if isinstance(columns, int) else tuple(columns))


def _index(mask: NDArray[np.bool_]) -> Index:
    """A slice, which makes views, where there are no gaps."""
    places = np.flatnonzero(mask)
    if len(places) == 0:
        return slice(0, 0)
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else places


def _square(matrix: Array, which: Index) -> Array:
    return matrix[which, which] if isinstance(which, slice) else matrix[np.ix_(which, which)]
