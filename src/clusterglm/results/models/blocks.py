"""Results of fits whose rows are not in memory: all that estimates and sums over the rows can tell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.blocks.streamed import INSTEAD, StreamedData
from clusterglm.data.repeats import Counts
from clusterglm.errors import AbsentError, OptionError
from clusterglm.fit.conditional import ConditionalEstimates
from clusterglm.fit.fixed_effects import ProfiledEstimates
from clusterglm.fit.within import Informative
from clusterglm.inference.diagnostics.overdispersion import Overdispersion
from clusterglm.inference.uncertainty.covariance import sandwich_of_products
from clusterglm.model.arrays import Array
from clusterglm.results.models.base import Result
from clusterglm.results.models.conditional import ConditionalResult
from clusterglm.results.models.fixed_effects import FixedEffectsResult
from clusterglm.results.models.mixed import MixedEffectsResult
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult
from clusterglm.results.tables.table import sizes_in_words

if TYPE_CHECKING:
    from clusterglm.inference.hypotheses.score_test import ScoreTest

_UNCHECKED = (
    "The quadrature was not checked against a finer one, as it is where rows are in memory: "
    'quadrature="auto" chooses it by a tolerance.'
)
_SAMPLE = "or fit a sample of whole clusters that memory holds"
_OF_ROWS = (
    "augment bootstrap calibration check chi_squared cluster_effects dispersion_test drop_one event_counts "
    "gradient_function hausman influence integration_check integration_curve jackknife marginal_coefficients profile "
    "r2 random_effects report residual_envelope residuals sample simulate to_marginaleffects zero_inflation_test"
)
"""What takes single rows or clusters."""
_WORDS = {
    "bootstrap": (
        "a bootstrap, which draws new responses for every row",
        f'conf_int(cov="robust"), which does without; {_SAMPLE}, and bootstrap that',
    ),
    "cluster_effects": (
        "the clusters' intercepts",
        "engine=cg.engine.Stream(cluster_effects='effects.parquet'), which writes a file of them",
    ),
    "influence": ("the influence of single clusters or rows", "a fit to a part of the data that memory holds"),
    "jackknife": (
        "a jackknife, which fits again without each cluster",
        f'conf_int(cov="robust"), which does without; {_SAMPLE}, and that has one',
    ),
    "profile": (
        "a profile, for which the same rows are fitted again and again",
        f"conf_int(), whose Wald intervals do without; {_SAMPLE}, and profile that",
    ),
    "sample": (
        "a posterior, for which the likelihood of the same rows is computed thousands of times",
        f"conf_int(), of the estimates; {_SAMPLE}, and draw from the posterior of that",
    ),
    "report": ("a report, most of which takes single rows or clusters",),
    "test_clustering": (
        "a test of no clustering, for which other models are fitted to the same rows",
        f'cg.random_effects of the same data and its test_clustering("boundary"); {_SAMPLE}, and test that',
    ),
}
"""What some of it is, and what to try instead."""


class Absent:
    """In the place of what a class of results would inherit, and does not have.

    Parameters
    ----------
    what : str
        In words.
    instead : str, optional
        What to try.
    """

    def __init__(self, what: str, instead: str = INSTEAD) -> None:
        self.what = what
        self.instead = instead

    def __get__(self, result: OverBlocks | None, owner: type) -> Absent:
        if result is not None:
            result.data.refuse(self.what, self.instead, AbsentError)
        return self

    def __repr__(self) -> str:
        return f"<absent: {self.what}, of a fit whose rows are not in memory>"


class OverBlocks(Result):
    """What all results here have in common: they lack what takes single rows or clusters.

    A name that is `Absent` is no attribute, and not in `dir()`; whoever asks for it is told what to try instead.
    """

    data: StreamedData
    _absent: ClassVar[frozenset[str]]

    def __init_subclass__(cls, lacks: str = "") -> None:
        super().__init_subclass__()
        cls._absent = frozenset(name for name in f"{_OF_ROWS} {lacks}".split() if hasattr(cls, name))
        for name in cls._absent:
            setattr(cls, name, Absent(*_WORDS.get(name, (f"{name}, which takes single rows or clusters",))))

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in self._absent]

    @property
    def _counts(self) -> Counts:
        data = self.data
        return data.counts or Counts(data.n_obs, data.n_clusters, data.totals.weights[0], float(data.n_clusters))

    def _sizes(self) -> str:
        return sizes_in_words(self.data.sizes)


@dataclass(frozen=True, repr=False, eq=False)
class PooledResultOverBlocks(OverBlocks, PooledResult):
    """A pooled model of rows that are not in memory.

    It lacks what belongs to single rows; predictions take new data.

    Parameters
    ----------
    products : ndarray, shape (p, p), or None
        Sum of the outer products of the clusters' scores (the rows', without clusters); None where it was not taken.
    score : ScoreTest or None
        Of no clustering; None without clusters, and where it was not taken.
    """

    _of_few_clusters: ClassVar[bool] = False
    data: StreamedData
    products: Array | None
    score: ScoreTest | None = None

    def _covariance(self, kind: str) -> Array:
        if kind == "observed":
            return self.fit.covariance
        if self.products is None:
            raise OptionError(
                "the robust covariance of a null model, whose rows are not in memory any more",
                "a fit that has summed up its clusters' scores",
                "cg.pooled of the same data",
            )
        units = self.n_clusters if self._clustered else self.n_obs
        return sandwich_of_products(self.fit.covariance, self.products, units)

    def test_clustering(self) -> ScoreTest:
        """See `PooledResult.test_clustering`; taken with the fit."""
        if self._clustered and self.score is None:
            what = "a score test of no clustering, which this fit has not taken"
            self.data.refuse(what, "cg.pooled of the same data with cluster=, and its test_clustering()")
        return self.score or super().test_clustering()


@dataclass(frozen=True, repr=False, eq=False)
class RandomEffectsResultOverBlocks(OverBlocks, RandomEffectsResult):
    """A random-intercept model of rows that are not in memory.

    It lacks what belongs to single rows or clusters; predictions take new data.

    Parameters
    ----------
    products : ndarray, shape (p + 1, p + 1), or (p, p) where sigma is 0
        Sum of the outer products of the clusters' scores.
    """

    data: StreamedData
    products: Array

    def _covariance(self, kind: str) -> Array:
        if kind == "observed":
            return self.fit.covariance
        parameters = self.fit.parameters
        inside = parameters.of_free(self.fit.covariance), parameters.of_free(self.products)
        return parameters.nan_where_not_free(sandwich_of_products(*inside, self.n_clusters))

    def _null(self) -> NoReturn:
        what = "a test of no clustering by simulation or score"
        self.data.refuse(what, f'test_clustering("boundary"), which is there; {_SAMPLE}')

    @property
    def _integration_hint(self) -> str:
        return "" if self.quadrature.requested.kind == "auto" else _UNCHECKED

    @property
    def pooled(self) -> PooledResultOverBlocks:
        """The fit of this model without its random intercepts."""
        return PooledResultOverBlocks(self.fit.pooled, self.data, self.response, None)


@dataclass(frozen=True, repr=False, eq=False)
class MixedEffectsResultOverBlocks(OverBlocks, MixedEffectsResult, lacks="random_effects_covariance"):
    """A model with several random effects of rows that are not in memory.

    It lacks what belongs to single rows or clusters; predictions take new data.

    Parameters
    ----------
    products : ndarray, shape (k, k)
        Sum of the outer products of the clusters' scores in coefficients and parameters of the effects' covariance.
    """

    data: StreamedData
    products: Array

    def _robust(self, covariance: Array, free: NDArray[np.int64]) -> Array:
        return sandwich_of_products(covariance, self.products[np.ix_(free, free)], self.n_clusters)

    def _null(self) -> NoReturn:
        what = "a test of no clustering by simulation or score"
        self.data.refuse(what, f'test_clustering("boundary"), where one variance is; {_SAMPLE}')

    @property
    def _n_children(self) -> int:
        return self.data.n_children

    @property
    def pooled(self) -> PooledResultOverBlocks:
        """The fit of this model without its random effects."""
        return PooledResultOverBlocks(self.fit.pooled, replace(self.data, effects=None), self.response, None)


@dataclass(frozen=True, repr=False, eq=False)
class FixedEffectsResultOverBlocks(
    OverBlocks, FixedEffectsResult, lacks="adjusted_means average_effects predict test_clustering"
):
    """A model with fixed intercepts of rows that are not in memory.

    It lacks what belongs to single rows or clusters, intercepts too.

    Parameters
    ----------
    products : ndarray, shape (p, p)
        Sum of the outer products of the informative clusters' scores.
    """

    fit: ProfiledEstimates
    data: StreamedData
    products: Array

    def _covariance(self, kind: str) -> Array:
        if kind == "observed":
            return self.fit.covariance
        return sandwich_of_products(self.fit.covariance, self.products, self.n_informative)

    @property
    def _informative(self) -> Informative:
        return self.fit.clusters


@dataclass(frozen=True, repr=False, eq=False)
class ConditionalResultOverBlocks(OverBlocks, ConditionalResult):
    """A conditional fit of rows that are not in memory.

    It lacks what belongs to single rows or clusters.

    Parameters
    ----------
    products : ndarray, shape (p, p)
        Sum of the outer products of the scores of the clusters that contribute.
    overdispersion : Overdispersion or None
        Of counts.
    """

    fit: ConditionalEstimates
    data: StreamedData
    products: Array
    overdispersion: Overdispersion | None = None

    @cached_property
    def _overdispersion(self) -> Overdispersion | None:
        return self.overdispersion

    def _covariance(self, kind: str) -> Array:
        if kind != "robust":
            return super()._covariance(kind)
        return sandwich_of_products(self.fit.covariance, self.products, self.n_informative)

    @property
    def n_informative(self) -> int:
        """Clusters that contribute: given its total, the others' responses are certain."""
        return self.fit.clusters.clusters
