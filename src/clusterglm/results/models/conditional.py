"""The result of `conditional`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.fit.conditional import ConditionalEstimates, ConditionalFit, conditional_scores, fit_conditional
from clusterglm.fit.newton import Optimization
from clusterglm.inference.diagnostics.conditional_draws import ConditionalDraws
from clusterglm.inference.diagnostics.overdispersion import Overdispersion, conditional_overdispersion
from clusterglm.inference.uncertainty.bootstrap_intervals import converged
from clusterglm.inference.uncertainty.peaks import Summit, penalized_within_summit, within_summit
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import freeze
from clusterglm.results.models.penalized import Penalized
from clusterglm.results.tables.table import Summary, counted
from clusterglm.results.topics.adjusted_means import Averages
from clusterglm.results.topics.caveats import Caveat, without_a_say
from clusterglm.results.topics.diagnostics import ClusterInfluence
from clusterglm.results.topics.set_prediction import SetPredictions

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.inference.hypotheses.hausman import Estimates


@dataclass(frozen=True, repr=False, eq=False)
class ConditionalResult(Penalized, SetPredictions, Averages, ClusterInfluence):
    """Coefficients from the likelihood given each cluster's total, in which intercepts have no part.

    Parameters
    ----------
    fit : ConditionalFit or ConditionalEstimates
        The estimates, with what belongs to clusters where the rows are in memory.
    data : FittedData
        What was fitted.
    family_response : Response
        Family and link.
    """

    fit: ConditionalFit | ConditionalEstimates
    data: FittedData
    family_response: Response

    kind: ClassVar[str] = "conditional"
    _own_intercepts: ClassVar[bool] = True
    _given_totals: ClassVar[bool] = True
    _untested: ClassVar[str] = ""
    _mean_kinds = ("typical",)
    _mean_scales = ("link",)

    def __post_init__(self) -> None:
        freeze(self.fit)

    @property
    def response(self) -> Response:
        return self.family_response

    @property
    def loglik(self) -> float:
        """Log of the probability of the responses given each cluster's total, maximised; without any penalty."""
        return float(self.fit.loglik)

    @property
    def deviance(self) -> float:
        """-2 loglik, as for R's clogit and for Cox regression."""
        return -2.0 * self.loglik

    @property
    def df_resid(self) -> float:
        """Rows less clusters less coefficients."""
        return self.n_obs - self.n_clusters - self.n_parameters

    @property
    def optimization(self) -> Optimization:
        return self.fit.optimization

    @property
    def n_parameters(self) -> float:
        return len(self.fit.beta)

    @property
    def n_informative(self) -> int:
        """Clusters that contribute: given its total, the others' responses are certain."""
        return int(self._repeats.clusters[self.fit.by_cluster.informative].sum())

    @property
    def _beta(self) -> Array:
        return self.fit.beta

    @property
    def _covariances(self) -> tuple[str, ...]:
        return super()._covariances if self.dispersion is None else (*super()._covariances, "quasi")

    @property
    def dispersion(self) -> float | None:
        """Pearson's statistic over its degrees of freedom, by which cov="quasi" multiplies; None but for counts.

        1 where counts given their cluster's sum are multinomial; larger where they vary more. Standard errors of
        cov="quasi" are those of quasi-Poisson regression (Armstrong, Gasparrini and Tobias, BMC Medical Research
        Methodology 14:122, 2014). Clusters without events are not counted in the degrees of freedom.
        """
        found = self._overdispersion
        return None if found is None else found.dispersion

    @cached_property
    def _overdispersion(self) -> Overdispersion | None:
        if not self.response.poisson_totals:
            return None
        return conditional_overdispersion(self.data.rows, self.response, self.fit.beta)

    def _covariance(self, kind: str) -> Array:
        """The robust one counts the clusters that contribute."""
        if kind == "observed":
            return self.fit.covariance
        if kind == "quasi" and self.dispersion is not None:
            return self.fit.covariance * self.dispersion
        self._refuse_robust()
        scores = conditional_scores(self.data.rows, self.response, self.fit.beta)
        known = self.fit.by_cluster.informative
        return self._sandwich(self.fit.covariance, scores[known], known)

    def _summit(self, threads: int) -> Summit:
        if self.penalty is not None:
            return penalized_within_summit(self.data.rows, self.response, self.fit.beta, threads)
        beta, loglik = self.fit.beta, self.loglik
        return within_summit(self.data.rows, self.response, beta, loglik, conditional=True, threads=threads)

    @cached_property
    def _draws(self) -> ConditionalDraws:
        return ConditionalDraws(self.data.rows, self.response, self.fit.beta)

    def _draw_new(self, rng: np.random.Generator) -> Array:
        return self._draws(rng)

    def _fitted_to(self, new: ModelData) -> ConditionalResult:
        return replace(self, fit=fit_conditional(new, self.response, None, Control(), self.penalty), data=new)

    def _reestimate(self, new: ModelData) -> Array:
        return converged(fit_conditional(new, self.response, self.fit.beta, Control(), self.penalty)).beta

    @property
    def _intercepts_in_words(self) -> str:
        return "conditioned out"

    @property
    def _said_of_means(self) -> list[str]:
        return ["without the clusters' intercepts: only differences mean something"]

    def _caveats(self) -> list[Caveat]:
        return [*super()._caveats(), *without_a_say(self.n_informative, self.n_clusters)]

    def _export(self) -> dict[str, Any]:
        return super()._export() | {"n_informative": self.n_informative}

    def _penalized_ratio(self, top: float, inner: Array, smaller: Candidate) -> float:
        from clusterglm.inference.hypotheses.penalized import within_ratio

        return within_ratio(self.data.rows, self.response, top, inner, conditional=True)

    def _report_parts(self) -> list[str]:
        return [*super()._report_parts(), "no residuals"]

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.influence import conditional_deletion

        return conditional_deletion(self.fit.by_cluster, self.data.rows, self.response)

    def _within_estimates(self, left_out: tuple[str, ...]) -> Estimates:
        """What a Hausman test compares, without the columns that were left out."""
        from clusterglm.inference.hypotheses.hausman import conditional_estimates

        return conditional_estimates(self.fit.by_cluster, self.data.rows, self.response, left_out)

    def _intercepts(self) -> Array:
        return np.full(self.data.n_clusters, np.nan)

    def _glance(self) -> dict[str, Any]:
        known = {**super()._glance(), "n_informative": self.n_informative}
        return known if self.dispersion is None else {**known, "dispersion": self.dispersion}

    def _augmented(self) -> dict[str, NDArray[Any]]:
        known = super()._augmented()
        return {name: known[name] for name in ("cluster", "observed")} | {"linear_predictor": self._eta(0.0)}

    def _summary(self) -> Summary:
        seen = f"{counted(self.n_obs, 'row')} in {counted(self.n_clusters, 'cluster')} of {self.data.cluster_name!r}"
        model = (
            ("Formula", self.formula),
            *self._response_facts(),
            ("Intercepts", f"conditioned out: the likelihood given each cluster's {self.response.words.total}"),
            ("Observations", f"{seen} ({self._sizes()})"),
            *self._weight_facts(),
            *self._penalty_facts(),
        )
        silent = self.n_clusters - self.n_informative
        clusters = f"{self.n_informative} contribute"
        if silent > 0:
            clusters += f"; {silent} do not, their responses being certain given their total"
        return Summary(
            f"Conditional maximum {self._penalized}likelihood",
            model,
            self._coefficients(),
            (
                ("Clusters", clusters),
                *self._likelihood_facts(),
                *self._dispersion_facts(),
                *self._penalized_facts(),
                *self._closing_facts(),
            ),
            tuple(self.data.notes),
        )

    def _dispersion_facts(self) -> list[tuple[str, str]]:
        found = self._overdispersion
        if found is None:
            return []
        if np.isnan(found.dispersion):
            return [("Dispersion", "not known without degrees of freedom")]
        words = f'cov="quasi" multiplies standard errors by its root, {np.sqrt(found.dispersion):.4g}'
        statistic = f"{found.dispersion:.4g} (Pearson {found.statistic:.5g} on {found.df:g} degrees of freedom)"
        return [("Dispersion", f"{statistic}; standard errors above are without it, {words}")]
