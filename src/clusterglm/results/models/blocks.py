"""Results of fits whose rows are not in memory: all that estimates and sums over the rows can tell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from clusterglm.data.blocks.streamed import StreamedData
from clusterglm.data.repeats import Counts
from clusterglm.errors import OptionError
from clusterglm.fit.conditional import ConditionalEstimates
from clusterglm.fit.fixed_effects import ProfiledEstimates
from clusterglm.fit.within import Informative
from clusterglm.inference.diagnostics.overdispersion import Overdispersion
from clusterglm.inference.uncertainty.covariance import sandwich_of_products
from clusterglm.model.arrays import Array
from clusterglm.results.models.base import Result
from clusterglm.results.models.conditional import ConditionalResult
from clusterglm.results.models.fixed_effects import FixedEffectsResult
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult
from clusterglm.results.tables.table import sizes_in_words

if TYPE_CHECKING:
    from clusterglm.inference.hypotheses.score import ScoreTest
    from clusterglm.inference.uncertainty.replicates import Progress

_UNCHECKED = (
    "The quadrature was not checked against a finer one, as it is where rows are in memory: "
    'quadrature="auto" chooses it by a tolerance.'
)
_SAMPLE = "or fit a sample of whole clusters that memory holds"
_INSTEAD_OF_REPLICATES = f'conf_int(cov="robust"), which does without; {_SAMPLE}, and bootstrap that'
_INSTEAD_OF_TESTS = f'cg.random_effects of the same data and its test_clustering("boundary"); {_SAMPLE}, and test that'


class OverBlocks(Result):
    """What all results here have in common: refusals before work begins that single rows would end, one by one."""

    @property
    def _streamed(self) -> StreamedData:
        return cast(StreamedData, self.data)

    @property
    def _counts(self) -> Counts:
        data = self._streamed
        return data.counts or Counts(data.n_obs, data.n_clusters, data.totals.weights[0], float(data.n_clusters))

    def _sizes(self) -> str:
        return sizes_in_words(self._streamed.sizes)

    def _check_bootstrap(self) -> None:
        self._streamed.refuse("a bootstrap, which draws new responses for every row", _INSTEAD_OF_REPLICATES)

    def report(self, path: str | Path, **options: Any) -> Path:
        """See `Result.report`; most of its parts take the rows, so that it is refused."""
        self._streamed.refuse("a report, most of which takes single rows or clusters")

    def influence(
        self, kind: str = "one_step", clusters: Any = None, n_jobs: int = 1, progress: Progress = None
    ) -> NoReturn:
        """See `ClusterInfluence.influence`; it takes single clusters, so that it is refused."""
        self._streamed.refuse(
            "the influence of single clusters or rows", "a fit to a part of the data that memory holds"
        )


@dataclass(frozen=True, repr=False, eq=False)
class PooledResultOverBlocks(OverBlocks, PooledResult):
    """A pooled model of rows that are not in memory.

    What belongs to single rows raises `OptionError`; predictions take new data.

    Parameters
    ----------
    products : ndarray, shape (p, p), or None
        Sum of the outer products of the clusters' scores (the rows', without clusters); None where it was not taken.
    score : ScoreTest or None
        Of no clustering; None without clusters, and where it was not taken.
    """

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
            self._streamed.refuse(what, "cg.pooled of the same data with cluster=, and its test_clustering()")
        return self.score or super().test_clustering()


@dataclass(frozen=True, repr=False, eq=False)
class RandomEffectsResultOverBlocks(OverBlocks, RandomEffectsResult):
    """A random-intercept model of rows that are not in memory.

    What belongs to single rows or clusters raises `OptionError`; predictions take new data.

    Parameters
    ----------
    products : ndarray, shape (p + 1, p + 1), or (p, p) where sigma is 0
        Sum of the outer products of the clusters' scores.
    """

    products: Array

    def _covariance(self, kind: str) -> Array:
        if kind == "observed":
            return self.fit.covariance
        parameters = self.fit.parameters
        inside = parameters.of_free(self.fit.covariance), parameters.of_free(self.products)
        return parameters.nan_where_not_free(sandwich_of_products(*inside, self.n_clusters))

    def _null(self) -> NoReturn:
        what = "a test of no clustering by simulation or score"
        self._streamed.refuse(what, f'test_clustering("boundary"), which is there; {_SAMPLE}')

    @property
    def _integration_hint(self) -> str:
        return "" if self.quadrature.requested.kind == "auto" else _UNCHECKED

    @property
    def pooled(self) -> PooledResultOverBlocks:
        """The same model without random intercepts."""
        return PooledResultOverBlocks(self.fit.pooled, self.data, self.response, None)


@dataclass(frozen=True, repr=False, eq=False)
class FixedEffectsResultOverBlocks(OverBlocks, FixedEffectsResult):
    """A model with fixed intercepts of rows that are not in memory.

    What belongs to single rows or clusters, intercepts too, raises `OptionError`.

    Parameters
    ----------
    products : ndarray, shape (p, p)
        Sum of the outer products of the informative clusters' scores.
    """

    products: Array

    def _covariance(self, kind: str) -> Array:
        if kind == "observed":
            return self.fit.covariance
        return sandwich_of_products(self.fit.covariance, self.products, self.n_informative)

    @property
    def cluster_effects(self) -> NoReturn:
        """See `FixedEffectsResult.cluster_effects`; refused, as a file takes them."""
        how = "engine=cg.engine.Stream(cluster_effects='effects.parquet'), which writes a file of them"
        self._streamed.refuse("the clusters' intercepts", how)

    @property
    def _informative(self) -> Informative:
        return cast(ProfiledEstimates, self.fit).clusters

    def _null(self) -> NoReturn:
        what = "a test of no clustering, for which other models are fitted to the same rows"
        self._streamed.refuse(what, _INSTEAD_OF_TESTS)


@dataclass(frozen=True, repr=False, eq=False)
class ConditionalResultOverBlocks(OverBlocks, ConditionalResult):
    """A conditional fit of rows that are not in memory.

    What belongs to single rows or clusters raises `OptionError`.

    Parameters
    ----------
    products : ndarray, shape (p, p)
        Sum of the outer products of the scores of the clusters that contribute.
    overdispersion : Overdispersion or None
        Of counts.
    """

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
        return cast(ConditionalEstimates, self.fit).clusters.clusters
