"""The result of `pooled`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.errors import ClusterError, OptionError
from clusterglm.fit.newton import Optimization
from clusterglm.fit.pooled import PooledFit, fit_pooled
from clusterglm.inference.uncertainty.bias_reduced import KINDS as FEW_CLUSTERS
from clusterglm.inference.uncertainty.covariance import pooled_scores, sandwich
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import freeze
from clusterglm.results.models.penalized import Penalized
from clusterglm.results.tables.table import Summary, counted
from clusterglm.results.topics.caveats import Caveat
from clusterglm.results.topics.diagnostics import Diagnostics
from clusterglm.results.topics.effects import Effects
from clusterglm.results.topics.prediction import PooledPredictions

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.distribution.event_counts import EventCounts
    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.inference.hypotheses.score_test import ScoreTest
    from clusterglm.inference.uncertainty.bias_reduced import BiasReduced
    from clusterglm.inference.uncertainty.degrees import Degrees
    from clusterglm.inference.uncertainty.peaks import Summit


@dataclass(frozen=True, repr=False, eq=False)
class PooledResult(Penalized, PooledPredictions, Effects, Diagnostics):
    """A generalised linear model without cluster effects.

    Parameters
    ----------
    fit : PooledFit
        The estimates.
    data : FittedData
        What was fitted.
    family_response : Response
        Family and link.
    """

    fit: PooledFit
    data: FittedData
    family_response: Response

    kind: ClassVar[str] = "pooled"
    _untested: ClassVar[str] = ""
    _of_few_clusters: ClassVar[bool] = True
    """Whether there are robust covariances with small-sample corrections."""

    def __post_init__(self) -> None:
        freeze(self.fit)

    @property
    def response(self) -> Response:
        return self.family_response

    @property
    def loglik(self) -> float:
        return float(self.fit.loglik)

    @property
    def optimization(self) -> Optimization:
        return self.fit.optimization

    @property
    def n_parameters(self) -> float:
        return len(self.fit.beta)

    @property
    def _beta(self) -> Array:
        return self.fit.beta

    def _covariance(self, kind: str) -> Array:
        """The robust one sums scores over clusters; without `cluster=`, rows are taken to be independent."""
        if kind == "observed":
            return self.fit.covariance
        self._refuse_robust()
        if kind in FEW_CLUSTERS:
            return self._bias_reduced.covariance(kind)
        scores = pooled_scores(self.data.rows, self.response, self.fit.beta, by_row=not self._clustered)
        if self._clustered:
            return self._sandwich(self.fit.covariance, scores)
        return sandwich(self.fit.covariance, scores, self._repeats.rows * self._per_row(self._repeats.clusters))

    def cov(self, kind: str = "observed") -> pd.DataFrame:
        """Covariance matrix of all estimates.

        Parameters
        ----------
        kind : {"observed", "robust", "CR0", "CR1", "CR2", "CR3"}
            Inverse of the observed information; the sandwich of per-cluster scores (of rows, without `cluster=`),
            m/(m - 1) included; or the same around the expected information for few clusters: plain (CR0), times
            m/(m - 1) (CR1), without bias if the model's variances are right (CR2: Bell and McCaffrey, Survey
            Methodology 28, 2002; Pustejovsky and Tipton, Journal of Business and Economic Statistics 36, 2018), or each
            cluster's residuals as if it had been left out (CR3). Not with weights. `df="satterthwaite"` of `tidy`,
            `conf_int`, `wald_test` and `term_tests` gives the degrees of freedom that go with them.

        Returns
        -------
        DataFrame
            Rows and columns by parameter.
        """
        return super().cov(kind)

    @property
    def _covariances(self) -> tuple[str, ...]:
        return (*super()._covariances, *(FEW_CLUSTERS if self._of_few_clusters else ()))

    @cached_property
    def _bias_reduced(self) -> BiasReduced:
        """Working rows; without `cluster=`, each is a cluster of its own."""
        from clusterglm.inference.uncertainty.bias_reduced import BiasReduced, refuse_weights

        data, response = self.data.rows, self.response
        refuse_weights(data.weights, data.cluster_weights)
        eta = data.X @ self._beta + data.offset
        weights = response.sizes(data.a, data.b) * response.expected_information(eta)[0]
        root = np.sqrt(weights)
        slope = response.derivatives(eta, data.a, data.b)[1]
        starts = data.starts if self._clustered else np.arange(data.n_obs + 1)
        return BiasReduced(data.X * root[:, None], slope / root, weights, starts)

    def _degrees(self, R: Array, cov: str, together: bool = False) -> Degrees:
        if cov not in FEW_CLUSTERS:
            return super()._degrees(R, cov, together)
        return self._bias_reduced.degrees(cov, R, together)

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.peaks import pooled_summit

        return pooled_summit(self.data.rows, self.response, self.fit.beta, threads, self.penalty)

    def _draw_new(self, rng: np.random.Generator) -> Array:
        return self._draw(self._eta(0.0), rng)

    def _fitted_to(self, new: ModelData) -> PooledResult:
        return replace(self, fit=fit_pooled(new, self.response, Control(), self.penalty), data=new)

    def _reestimate(self, new: ModelData) -> Array:
        from clusterglm.inference.uncertainty.bootstrap_intervals import converged

        return converged(fit_pooled(new, self.response, Control(), self.penalty)).beta

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.influence import pooled_deletion

        return pooled_deletion(self.fit, self.data.rows, self.response)

    def test_clustering(self) -> ScoreTest:
        """Score test of no clustering, which needs no other fit.

        Raises
        ------
        ClusterError
            Without `cluster=`.
        OptionError
            After a fit with a penalty.
        """
        from clusterglm.inference.hypotheses.score_test import score_test

        if not self._clustered:
            raise ClusterError(
                "a test of no clustering without clusters", "cluster labels", "cg.pooled(..., cluster='id')"
            )
        if self.penalty is not None:
            raise OptionError(
                f"a score test of no clustering after a fit with penalty={self.penalty!r}",
                "coefficients at the maximum of the likelihood alone",
                "cg.pooled without penalty=, or without the covariates that separate the responses",
            )
        return score_test(self.data.rows, self.response, self.fit.beta)

    @property
    def _intercepts_in_words(self) -> str:
        return ""

    def _caveats(self) -> list[Caveat]:
        found = super()._caveats()
        if not self._clustered:
            return found
        words = (
            "This model has no cluster effects, and its standard errors take rows to be independent. If clusters "
            "differ, they are too small for covariates that vary between clusters: use "
            f"{'the robust ones, or ' if self.penalty is None else ''}a model with cluster effects."
        )
        return [*found, Caveat("Clusters are not in the model", words)]

    def _penalized_ratio(self, top: float, inner: Array, smaller: Candidate) -> float:
        from clusterglm.inference.hypotheses.penalized import pooled_ratio

        return pooled_ratio(self.data.rows, self.response, top, inner)

    def _clusters_by_events(self) -> EventCounts | None:
        from clusterglm.inference.distribution.event_counts import event_counts

        if not self._clustered:
            return None
        rows = self._written_out("a count of events per cluster").data.rows
        return event_counts(rows, self.response, self.fit.beta, 0.0, Gaussian())

    def _report_parts(self) -> list[str]:
        return [*super()._report_parts(), *(["score test"] if self._clustered else [])]

    def _intercepts(self) -> Array:
        return np.zeros(self.data.n_clusters)

    @property
    def _clustered(self) -> bool:
        return self.data.cluster_name is not None

    def _summary(self) -> Summary:
        model = [("Formula", self.formula), *self._response_facts()]
        seen = counted(self.n_obs, "row")
        if self._clustered:
            seen += f" in {counted(self.n_clusters, 'cluster')} of {self.data.cluster_name!r} ({self._sizes()})"
        model += [("Observations", seen), *self._weight_facts()]
        return Summary(
            f"Pooled model without cluster effects, maximum {self._penalized}likelihood",
            (*model, *self._penalty_facts()),
            self._coefficients(),
            (*self._likelihood_facts(), *self._penalized_facts(), *self._closing_facts()),
            tuple(self.data.notes),
        )
