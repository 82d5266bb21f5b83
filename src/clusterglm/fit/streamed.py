"""Fits of data whose rows are in blocks elsewhere."""

from __future__ import annotations

import numpy as np

from clusterglm.data.blocks.streamed import StreamedData, describe, moments
from clusterglm.data.request import Request
from clusterglm.data.weighing import weighing
from clusterglm.engine.base import Gathered
from clusterglm.fit.random_effects import refuse_homogeneous
from clusterglm.fit.standardise import rescaling, standardisation
from clusterglm.fit.sums import Sample, Sums
from clusterglm.model.large_data import MANY_ROWS


def sums_of_blocks(gathered: Gathered, request: Request) -> tuple[StreamedData, Sums]:
    """Check the data as a whole, and choose the columns' units.

    Raises
    ------
    DataError
        For what only the whole data show; see `describe`.
    """
    facts, response = gathered.facts, request.response
    data = describe(facts, gathered.learned, gathered.parsed, request, gathered.where)
    centred = data.has_intercept or request.absorb
    total = moments(facts)
    squares = np.diag(total.products) + (0.0 if centred else total.n * total.mean**2)
    mean = total.mean if centred else np.zeros_like(total.mean)
    units = rescaling(mean, np.sqrt(squares / total.n), data.intercept)
    standard = standardisation(np.empty((0, len(mean))), units, data.intercept)
    sample = None
    if data.n_obs >= MANY_ROWS:
        X, a, b, offset = (np.concatenate(parts) for parts in zip(*(each.rows for each in facts), strict=True))
        if units is not None:
            X = (X - units[0]) / units[1]
        sample = Sample(X, a, b, offset, data.n_obs / len(a))
    if units is not None:
        gathered.blocks.rescale(*units)
    successes, other = sum(each.a for each in facts), sum(each.b for each in facts)
    expected, weights = sum(each.expected for each in facts), weighing([each.weights for each in facts])
    overall, raised = response.overall_mean(successes, other, expected), response.raised(other, expected)
    return data, Sums(gathered.blocks, data, standard, response, overall, raised, sample, weights)


def refuse_homogeneous_blocks(gathered: Gathered, request: Request) -> None:
    """See `refuse_homogeneous_clusters`."""
    if not any(each.mixed for each in gathered.facts):
        refuse_homogeneous(sum(each.m for each in gathered.facts), request.response)
