"""Points in d dimensions on which the integral over a cluster's effects is a sum.

With phi the density of d standard normal effects, and points laid at u_k = centre + F c_k, the integral of phi(u) f(u)
is about |det F| times the sum of exp(log_weights_k - u_k'u_k / 2) f(u_k). A set knows neither centre nor F.

Three kinds. *Product Gauss-Hermite rules* are exact for polynomials about a normal density: for clusters that are
nearly normal about their mode. *Lattices cut to a ball* are trapezoid rules, whose error falls faster than any power of
their step once they are finer than what they sum; every other of their points is a coarser lattice, free of charge, and
the outermost tell what lies beyond. *Quasi-random points* serve many dimensions; replicates that are shifted at random
tell their error (docs/explanation/likelihood.md, "Points and their errors").
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from clusterglm import _core
from clusterglm.model.arrays import Array
from clusterglm.model.quadrature import hermite

MOST_EFFECTS = 8
"""Dimensions for which the core is compiled (`kMostEffects`)."""
_RING = 1.0  # width of the outermost part of a ball
_HELD = 8  # Gauss-Hermite nodes a dimension from which derivatives need not know that nodes move


@dataclass(frozen=True, eq=False)
class PointSet:
    """Points and the logs of their weights.

    Parameters
    ----------
    name : str
        In words.
    positions : ndarray, shape (k, d)
        The points c_k. Points that share all coordinates but the last follow one another, so that the core finds them.
    log_weights : ndarray, shape (k,)
    fine : bool
        Whether the sum depends so little on where points lie that second derivatives need not know that they move.
    kinds : ndarray of int64, shape (k,), optional
        Number of a part of the points, whose share of the sum is to be known.
    coarser : ndarray, shape (h, kinds)
        What h coarser sets, of the points of some kinds, make of the shares: 1 where they agree with the whole.
    outermost : ndarray of bool, shape (kinds,)
        Which kinds are at the edge.
    """

    name: str
    positions: Array
    log_weights: Array
    fine: bool = True
    kinds: NDArray[np.int64] | None = None
    coarser: Array | None = None
    outermost: NDArray[np.bool_] | None = None

    @property
    def d(self) -> int:
        """Dimensions."""
        return int(self.positions.shape[1])

    def __len__(self) -> int:
        return len(self.positions)

    def __str__(self) -> str:
        return self.name

    @cached_property
    def core(self) -> _core.PointSet:
        """The core's form of it."""
        return _core.PointSet(self.positions, self.log_weights, self.kinds)


def _product(line: Array, d: int) -> Array:
    """All points with coordinates out of `line`, the last running fastest, shape (len(line) ** d, d)."""
    return np.stack(np.meshgrid(*[line] * d, indexing="ij"), axis=-1).reshape(-1, d)


@lru_cache(maxsize=64)
def hermite_points(nodes: int, d: int, accurate: bool = False) -> PointSet:
    """The product rule of `nodes` Gauss-Hermite nodes a dimension; one of them is Laplace's approximation.

    `accurate`: for clusters of which it is known that more nodes change nothing, so that it counts as fine.
    """
    c, log_w = hermite(nodes)
    log_w = log_w - 0.5 * np.log(np.pi)  # sqrt(2), as c = sqrt(2) x, over the density's sqrt(2 pi)
    return PointSet(
        f"Gauss-Hermite, {nodes} nodes a dimension" if nodes > 1 else "Laplace",
        np.ascontiguousarray(_product(c, d)),
        _product(log_w, d).sum(axis=1),
        fine=accurate or nodes >= _HELD,
    )


@lru_cache(maxsize=64)
def lattice(step: float, radius: float, d: int) -> PointSet:
    """The trapezoid rule on the multiples of `step` within `radius` of the centre.

    Coarser sets: the checkerboard and every other layer along each coordinate. Outermost is what lies within 1 of the
    edge.
    """
    reach = int(radius / step + 1e-9)
    index = _product(np.arange(-reach, reach + 1, dtype=np.float64), d)
    length = step * np.sqrt((index**2).sum(axis=1))
    inside = length <= radius * (1.0 + 1e-12)
    index, length = index[inside], length[inside]
    odd = index.astype(np.int64) % 2
    kinds = odd @ (1 << np.arange(d)) + (length > radius - _RING) * (1 << d)
    bits = np.arange(1 << (d + 1))[:, None] >> np.arange(d + 1) & 1
    even = [bits[:, t] == 0 for t in range(d)] + ([bits[:, :d].sum(axis=1) % 2 == 0] if d > 1 else [])
    return PointSet(
        f"lattice of step {step:g} in a ball of radius {radius:g}",
        np.ascontiguousarray(step * index),
        np.full(len(index), d * np.log(step) - 0.5 * d * np.log(2.0 * np.pi)),
        kinds=np.ascontiguousarray(kinds),
        coarser=2.0 * np.array(even, dtype=np.float64),
        outermost=bits[:, d] == 1,
    )


@lru_cache(maxsize=16)
def quasi_random(points: int, d: int, replicates: int = 16, scale: float = 1.15) -> PointSet:
    """A Kronecker sequence, shifted at random `replicates` times, as draws of a normal density of sd `scale`.

    Every replicate is a set by itself; the shifts are the same at each call. A little wider than the posterior, as
    tails that are heavier than those of the draws would be seen by chance alone.
    """
    ratio = 1.0
    for _ in range(60):  # the root of x^(d + 1) = x + 1
        ratio = (1.0 + ratio) ** (1.0 / (d + 1.0))
    steps = ratio ** -np.arange(1.0, d + 1.0)
    shifts = np.random.default_rng(20111).random((replicates, 1, d))
    uniform = (shifts + np.arange(points)[:, None] * steps) % 1.0
    folded = 1.0 - np.abs(2.0 * uniform - 1.0)  # periodic, so that the error falls faster
    z = ndtri(np.clip(folded, 1e-15, 1.0 - 1e-15)).reshape(-1, d)
    count = len(z)
    return PointSet(
        f"{count} quasi-random points",
        np.ascontiguousarray(scale * z),
        0.5 * (z**2).sum(axis=1) + d * np.log(scale) - np.log(count),
        kinds=np.repeat(np.arange(replicates), points),
        coarser=replicates * np.eye(replicates),
    )
