"""How many clusters have how many events: what a fitted model expects, what the data show, and how far they are apart.

The chi-squared criterion of Holmberg's thesis (section 4.2.3), there for clusters of one size without covariates, where
the number of events is over-dispersed binomial; here for any covariates and sizes, where it is Poisson-binomial given
the intercept (for counts, Poisson), mixed over the fitted distribution and added over clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from clusterglm.data.prepare import ModelData
from clusterglm.errors import DataError, OptionError
from clusterglm.likelihood.scalar.rules import averaging_rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import NUMBERS_OF_COUNTS
from clusterglm.model.response.base import Response

if TYPE_CHECKING:
    import pandas as pd

_NODES, _COUNTS_HALF_WIDTH = 129, 8.6  # trapezoid rule on the normal scale
_MOST_COUNTED = 100_000  # of a sum of counts: heavy-tailed intercepts may lead to billions
_MOST_TRIALS = 20_000  # of a cluster: each is added to the sum of those before


@dataclass(frozen=True)
class EventCounts:
    """Clusters by their number of events.

    Parameters
    ----------
    events : ndarray of int64, shape (k,)
        0, 1, ..., the last cell of a count model being "that many or more"; 100,000 at most.
    observed : ndarray, shape (k,)
        Clusters with so many.
    expected : ndarray, shape (k,)
        Under the fitted model; sums to the number of clusters.
    open_ended : bool
        Whether the last cell holds all larger numbers too.
    """

    events: NDArray[np.int64]
    observed: Array
    expected: Array
    open_ended: bool

    def to_frame(self) -> pd.DataFrame:
        """Columns `events`, `observed`, `expected`."""
        import pandas as pd

        return pd.DataFrame({"events": self.events, "observed": self.observed, "expected": self.expected})


@dataclass(frozen=True)
class Discrepancy:
    """Chi-squared distance between observed and expected numbers, sparse cells pooled.

    Parameters
    ----------
    statistic : float
    first, last : ndarray of int64, shape (c,)
        Events in each pooled cell, both included.
    observed, expected : ndarray, shape (c,)
    """

    statistic: float
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    observed: Array
    expected: Array

    def to_frame(self) -> pd.DataFrame:
        """A row per pooled cell: columns `first`, `last` (events), `observed`, `expected`."""
        import pandas as pd

        cells = {"first": self.first, "last": self.last, "observed": self.observed, "expected": self.expected}
        return pd.DataFrame(cells)


def totals_known(response: Response) -> bool:
    """Whether the distribution of a cluster's sum, given its intercept, is known: Poisson-binomial or Poisson."""
    return response.trials or response.poisson_totals


def event_counts(
    data: ModelData, response: Response, beta: Array, sigma: float, distribution: Distribution
) -> EventCounts:
    """Observed and expected numbers of clusters by their number of events.

    Parameters
    ----------
    data : ModelData
        Without weights: each row and cluster written out.
    response : Response
    beta : ndarray, shape (p,)
    sigma : float
        0 for a model without clusters.
    distribution : Distribution
        Of the intercept.

    Raises
    ------
    DataError
        When responses are not whole numbers of events.
    OptionError
        When the distribution of a cluster's sum is not known, or would take hours.

    Notes
    -----
    The probabilities of a sum of unequal Bernoulli variables follow by adding one variable after another (Hong 2013);
    all terms are positive, so that nothing cancels.
    """
    if not totals_known(response):
        raise OptionError(
            f"numbers of events in clusters, of family {response.family!r}",
            "responses whose sum over a cluster has a known distribution",
            "residual_envelope() or dispersion_test(), which simulate",
        )
    successes = data.a / data.weights
    if np.any(successes != np.round(successes)) or np.any(data.trials != np.round(data.trials)):
        raise DataError(
            "responses that are not whole numbers of events", "whole numbers", "look at the response and its trials"
        )
    starts = data.starts[:-1]
    totals = np.add.reduceat(np.round(successes), starts).astype(np.int64)
    eta = data.X @ beta + data.offset
    m, weights = _nodes(sigma, distribution)
    if response.trials:
        trials = np.round(data.trials).astype(np.int64)
        most = int(np.add.reduceat(trials, starts).max())
        if most > _MOST_TRIALS:
            raise OptionError(
                f"numbers of events in clusters of up to {most:,} trials",
                f"at most {_MOST_TRIALS:,} trials in a cluster, each of which is added to a sum's distribution",
                "residual_envelope() or dispersion_test(), which simulate",
            )
        expected = _binomial(data, response, eta, trials, m, weights, most)
    else:
        most = min(int(totals.max()), _MOST_COUNTED)
        totals = np.minimum(totals, most)
        expected = _poisson(data, response, eta, m, weights, most)
    observed: Array = np.bincount(totals, weights=data.cluster_weights, minlength=most + 1).astype(np.float64)
    return EventCounts(np.arange(most + 1), observed, expected, not response.bounded)


def discrepancy(counts: EventCounts, least: float = 1.0) -> Discrepancy:
    """Chi-squared distance.

    Parameters
    ----------
    counts : EventCounts
    least : float
        Neighbouring cells are pooled, from 0 events upwards, until each expects at least so many clusters; what is left
        at the end joins the last cell.

    Raises
    ------
    OptionError
        When `least` is not a finite number, zero or positive.
    """
    if isinstance(least, bool) or not isinstance(least, int | float) or not 0.0 <= least < np.inf:
        raise OptionError(f"least_expected={least!r}", "a finite number, zero or positive", "least_expected=1.0")
    borders = [0]
    sum_of = 0.0
    for k, expected in enumerate(counts.expected.tolist()):
        sum_of += expected
        if sum_of >= least:
            borders.append(k + 1)
            sum_of = 0.0
    if len(borders) == 1:
        borders.append(len(counts.expected))
    borders[-1] = len(counts.expected)
    first = np.array(borders[:-1], dtype=np.int64)
    observed, expected = (np.add.reduceat(v, first) for v in (counts.observed, counts.expected))
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    return Discrepancy(statistic, first, np.array(borders[1:], dtype=np.int64) - 1, observed, expected)


def _nodes(sigma: float, distribution: Distribution) -> tuple[Array, Array]:
    """Intercepts and their probabilities, which sum to one."""
    if sigma == 0.0:
        return np.zeros(1), np.ones(1)
    s, weights = averaging_rule(distribution, _NODES, _COUNTS_HALF_WIDTH)
    return sigma * distribution.at(sigma).quantile_of_normal(s), weights / weights.sum()


def _binomial(
    data: ModelData, response: Response, eta: Array, trials: NDArray[np.int64], m: Array, weights: Array, most: int
) -> Array:
    expected = np.zeros(most + 1)
    per_cluster = np.add.reduceat(trials, data.starts[:-1])
    single = np.repeat(eta, trials)  # one a trial
    begins = np.concatenate([[0], np.cumsum(per_cluster)])
    for size in np.unique(per_cluster).tolist():
        clusters = np.flatnonzero(per_cluster == size)
        every = single[begins[clusters][:, None] + np.arange(size)]  # clusters by trials
        distinct, which = np.unique(every, axis=0, return_inverse=True)  # without covariates they are all alike
        share = np.bincount(which, weights=data.cluster_weights[clusters])
        chunk = max(1, NUMBERS_OF_COUNTS // (len(m) * (size + 1)))
        for first in range(0, len(distinct), chunk):
            rows = distinct[first : first + chunk]
            P = np.zeros((len(rows), len(m), size + 1))
            P[:, :, 0] = 1.0
            for j in range(size):
                at = rows[:, j, None] + m
                p = response.mean(at)[:, :, None]
                q = failure_probability(response, at)[:, :, None]
                P[:, :, 1 : j + 2] = q * P[:, :, 1 : j + 2] + p * P[:, :, : j + 1]
                P[:, :, :1] *= q
            expected[: size + 1] += np.einsum("ckn,k,c->n", P, weights, share[first : first + chunk])
    return expected


def failure_probability(response: Response, eta: Array) -> Array:
    """1 - mean, without cancellation."""
    with np.errstate(over="ignore"):
        q: Array = np.exp(response.value(eta, np.zeros_like(eta), np.ones_like(eta)))
    return q


def _poisson(data: ModelData, response: Response, eta: Array, m: Array, weights: Array, most: int) -> Array:
    rate = np.add.reduceat(response.mean(eta), data.starts[:-1])
    expected = np.zeros(most + 1)
    k = np.arange(most)
    chunk = max(1, NUMBERS_OF_COUNTS // (len(m) * max(most, 1)))
    for first in range(0, len(rate), chunk):
        with np.errstate(over="ignore"):
            mu = rate[first : first + chunk, None] * np.exp(m)
        mu = np.minimum(mu, 1e300)[:, :, None]
        P = np.exp(xlogy(k, mu) - mu - gammaln(k + 1.0))
        below = np.einsum("ckn,k->cn", P, weights)
        share = data.cluster_weights[first : first + chunk]
        expected[:most] += share @ below
        expected[most] += share @ (1.0 - below.sum(axis=1))
    return expected
