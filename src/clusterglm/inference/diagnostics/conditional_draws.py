"""Responses drawn given each cluster's total, as a conditional likelihood has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.fixed_effects import cluster_profile
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


class ConditionalDraws:
    """Draws of the responses of all rows; each cluster keeps its number of successes, or its sum of counts.

    Parameters
    ----------
    data : ModelData
        Case weights play no part.
    response : Response
        With a canonical link, so that the totals are sufficient.
    beta : ndarray, shape (p,)

    Notes
    -----
    Counts given their sum are multinomial. Binomial rows are drawn independently, at the intercept that makes their
    mean sum the total, until they add up to it: about one draw in sqrt(2 pi times their variance) does.
    """

    def __init__(self, data: ModelData, response: Response, beta: Array) -> None:
        ones = np.ones(data.n_obs)
        y = np.round(data.a / data.weights)
        a, b = response.rows(y, data.trials, ones)
        unweighted = replace(data, a=a, b=b, weights=ones, cluster_weights=np.ones(data.n_clusters))
        intercepts = cluster_profile(unweighted, response, beta).intercepts
        self._mean = response.mean(data.X @ beta + data.offset + np.repeat(intercepts, np.diff(data.starts)))
        self._totals = np.add.reduceat(y, data.starts[:-1]).astype(np.int64)
        self._starts = data.starts
        self._trials = None if response.poisson_totals else data.trials.astype(np.int64)

    def __call__(self, rng: np.random.Generator) -> Array:
        """Responses of every row, shape (n,)."""
        return self._counts(rng) if self._trials is None else self._successes(rng, self._trials)

    def _counts(self, rng: np.random.Generator) -> Array:
        y = np.zeros(len(self._mean))
        for i in np.flatnonzero(self._totals):
            rows = slice(self._starts[i], self._starts[i + 1])
            y[rows] = rng.multinomial(self._totals[i], self._mean[rows] / self._mean[rows].sum())
        return y

    def _successes(self, rng: np.random.Generator, trials: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Array:
        y, sizes = np.zeros(len(self._mean)), np.diff(self._starts)
        open_ = np.ones(len(sizes), dtype=bool)
        while open_.any():
            rows = np.flatnonzero(np.repeat(open_, sizes))
            y[rows] = rng.binomial(trials[rows], self._mean[rows])
            open_ = np.add.reduceat(y, self._starts[:-1]) != self._totals
        return y
