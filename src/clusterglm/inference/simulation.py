"""Responses drawn from a model whose parameters are assumed, not estimated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class Truth:
    """A model with the values of its parameters.

    Parameters
    ----------
    response : Response
        With the values of its own parameters, where it has some.
    beta : ndarray, shape (p,)
    distribution : Distribution or None
        Of one random intercept per cluster; None without one.
    sigma : float
        Its scale.
    factor : ndarray, shape (q, q), or None
        Of several random effects: L with covariance L L', block by block for the grouping factors.
    """

    response: Response
    beta: Array
    distribution: Distribution | None = None
    sigma: float = 0.0
    factor: Array | None = None

    def draw(self, data: ModelData, rng: np.random.Generator) -> Array:
        """New responses of every row in cluster order, shape (n,): successes, counts, numbers of categories, values."""
        eta = data.X @ self.beta + data.offset
        if self.factor is not None and data.effects is not None:
            eta = eta + drawn_effects(data, data.effects, self.factor, rng)
        elif self.distribution is not None:
            drawn = self.distribution.draw(rng, data.n_clusters, self.sigma)
            eta = eta + np.repeat(drawn, np.diff(data.starts))
        return self.response.draw(rng, eta, self.response.known(data.a, data.b, data.trials))


def drawn_effects(data: ModelData, effects: Effects, factor: Array, rng: np.random.Generator) -> Array:
    """What normal effects of all grouping factors add to each row's linear predictor, shape (n,)."""
    added = np.zeros(data.n_obs)
    for group, codes, count in levels_in(data, effects):
        where = effects.places_of(group)
        of_level = rng.standard_normal((count, where.stop - where.start)) @ factor[where, where].T
        added += np.einsum("ij,ij->i", effects.Z[:, where], of_level[codes])
    return added


def levels_in(data: ModelData, effects: Effects) -> Iterator[tuple[str, NDArray[np.int64], int]]:
    """Each grouping factor with effects: its name, each row's level, and how many levels there are."""
    known = {each.group: (each.codes, len(each.labels)) for each in (*effects.groupings, *effects.outside)}
    if effects.children is not None:
        starts = effects.children.starts
        known[effects.children.group] = np.repeat(np.arange(len(starts) - 1), np.diff(starts)), len(starts) - 1
    of_clusters = np.repeat(np.arange(data.n_clusters), np.diff(data.starts)), data.n_clusters
    for group in effects.groups:
        yield (group, *known.get(group, of_clusters))
