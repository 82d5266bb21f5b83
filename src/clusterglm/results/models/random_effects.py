"""The result of `random_effects`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.estimates import RandomEffectsFit, ShapeEstimate
from clusterglm.fit.newton import Optimization
from clusterglm.fit.pooled import PooledFit
from clusterglm.fit.random_effects import fit_again, loglik_at
from clusterglm.fit.shape import shape_scores
from clusterglm.inference.hypotheses.clustering import ClusteringTest, likelihood_ratio, no_test
from clusterglm.inference.uncertainty.covariance import free_scores
from clusterglm.inference.uncertainty.intervals import wald_interval_of_scale
from clusterglm.likelihood.plan import Part, Plan
from clusterglm.likelihood.report import IntegrationReport
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import Index, Parameters, random_intercept
from clusterglm.model.printing import unfolded
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import freeze
from clusterglm.results.models.penalized import Penalized
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.sampled import Sampled
from clusterglm.results.tables.table import Summary, counted
from clusterglm.results.topics.clustering import ClusteredResult
from clusterglm.results.topics.effects import RandomEffectsEffects
from clusterglm.results.topics.goodness import RandomEffectsGoodness
from clusterglm.results.topics.hausman import RandomEffectsHypotheses
from clusterglm.results.topics.r_squared import ExplainedVariance
from clusterglm.results.topics.random_diagnostics import RandomEffectsDiagnostics
from clusterglm.results.topics.random_pieces import RandomEffectsPieces
from clusterglm.results.topics.random_prediction import RandomEffectsPredictions
from clusterglm.results.topics.sampling import InterceptSampling
from clusterglm.results.topics.survival import RandomEffectsSurvival

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.hypotheses.bootstrap import Refit
    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.inference.uncertainty.peaks import Summit
    from clusterglm.inference.uncertainty.profiling import Crossing, Peak

_AT_ZERO = (
    "The maximum lies at sigma = 0: the data show no more variation between clusters than the pooled model explains. "
    "Coefficients and standard errors are those of the pooled model, and sigma has no standard error on the boundary."
)


_FEW_DISCORDANT = 3  # clusters, with which an interval of sigma ends at twice the estimate or beyond
_BY_FIXED_RULE = ' A fixed quadrature can be too coarse to see sigma; quadrature="auto" can tell.'


@dataclass(frozen=True, repr=False, eq=False)
class RandomEffectsResult(
    Penalized,
    RandomEffectsPieces,
    RandomEffectsPredictions,
    InterceptSampling,
    Sampled,
    RandomEffectsSurvival,
    RandomEffectsHypotheses,
    RandomEffectsEffects,
    RandomEffectsDiagnostics,
    RandomEffectsGoodness,
    ExplainedVariance,
    ClusteredResult,
):
    """A generalised linear model with a random intercept for each cluster.

    Parameters
    ----------
    fit : RandomEffectsFit
        The estimates.
    data : FittedData
        What was fitted.
    """

    fit: RandomEffectsFit
    data: FittedData

    kind: ClassVar[str] = "random_effects"
    _named_predictors = ("typical", "conditional")

    def __post_init__(self) -> None:
        freeze(self.fit)
        freeze(self.fit.pooled)

    # The estimates ---------------------------------------------------------------------------------------------------

    @property
    def response(self) -> Response:
        return self.fit.response

    @property
    def distribution(self) -> Distribution:
        """Distribution of the random intercept; where its shape was estimated, with the estimates."""
        return self.fit.distribution

    @property
    def loglik(self) -> float:
        return float(self.fit.loglik)

    @property
    def optimization(self) -> Optimization:
        return self.fit.optimization

    @property
    def quadrature(self) -> IntegrationReport:
        """How the integrals were computed: rules, nodes, scale, and the estimated error of the log-likelihood."""
        return self.fit.integration

    @property
    def n_parameters(self) -> float:
        """Number of estimated parameters; sigma counts unless it was held fixed, and shape parameters do.

        A smooth density counts as its effective parameters, which need not be a whole number.
        """
        given = len(self.fit.parameters.only_estimated)
        return given if self.shape is None else given + self.shape.count

    @property
    def sigma(self) -> float:
        """Scale of the random intercept on the linear predictor.

        Its standard deviation if Gaussian; for other distributions see `random_effects_sd`.
        """
        return float(self.fit.sigma)

    @property
    def sigma_se(self) -> float:
        """Standard error of sigma; nan where sigma was held fixed, and where the maximum lies at sigma = 0."""
        at = self.fit.parameters.scale
        return float(np.sqrt(self.fit.covariance[at, at]))

    @property
    def random_effects_sd(self) -> float:
        """Standard deviation of the random intercept: inf where the distribution has none."""
        return self.distribution.sd_at(self.sigma)

    @property
    def shape(self) -> ShapeEstimate | None:
        """Shape parameters of the distribution, where they were estimated; None where they were given."""
        return self.fit.shape

    @property
    def icc(self) -> float | None:
        """Intraclass correlation on the latent scale.

        The share of the intercept's variance where the latent error has variance pi^2/3 (logit), 1 (probit) or pi^2/6
        (cloglog). None for Poisson responses, which have no latent scale; nan where the intercept has no variance.
        """
        from clusterglm.inference.effects.icc import intraclass_correlation

        return intraclass_correlation(self.response, self.random_effects_sd).value

    @property
    def pooled(self) -> PooledResult:
        """The fit of this model without its random intercepts."""
        return PooledResult(self.fit.pooled, self.data, self.response)

    @property
    def clustering_test(self) -> ClusteringTest:
        """Likelihood-ratio test of sigma = 0, with the boundary's mixture of chi-squares."""
        if self.fit.sigma_fixed:
            return no_test("sigma was held fixed, not estimated")
        if self.penalty is not None:
            return no_test("the penalty keeps sigma from 0")
        if self.shape is not None:
            return no_test("the shape, estimated too, means nothing at sigma = 0, so that no chi-square holds")
        return likelihood_ratio(self.loglik, float(self.fit.pooled.loglik))

    def _boundary_test(self) -> ClusteringTest:
        return self.clustering_test

    def _null(self) -> tuple[ModelData, PooledFit]:
        if self.fit.sigma_fixed:
            raise OptionError(
                "a test of no clustering where sigma was held fixed",
                "a model in which sigma was estimated",
                "fit again without fix_sigma=True",
            )
        self._refuse_test_of_no_clustering()
        return self.data.rows, self.fit.pooled

    def _refit(self, pooled: PooledFit) -> Refit:
        from clusterglm.inference.hypotheses.bootstrap import random_effects_refit

        return random_effects_refit(self.fit)

    @property
    def random_effects(self) -> pd.DataFrame:
        """What the data say of each cluster's intercept.

        Returns
        -------
        DataFrame
            One row per cluster in the order of the labels: `label`, and `mode`, `mean`, `sd` of the intercept (on the
            linear predictor's scale) given the cluster's data and the estimates.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "label": self.data.rows.labels,
                "mode": self.fit.modes,
                "mean": self.fit.means,
                "sd": self.fit.sds,
            },
            copy=True,
        )

    @property
    def _beta(self) -> Array:
        return self.fit.beta

    @property
    def _parameters(self) -> Parameters:
        return random_intercept(self.data.names, self.data.cluster_name, self.fit.sigma_state)

    def _covariance(self, kind: str) -> Array:
        if kind == "observed":
            return self.fit.covariance
        self._refuse_robust()
        parameters, covariance, shape = self.fit.parameters, self.fit.covariance, self.shape
        scores, whole = free_scores(self.data.rows, self.fit), self.fit.all_parameters
        if shape is not None and np.isfinite(shape.covariance[whole.shapes, whole.shapes]).all():
            parameters, covariance = whole, shape.covariance
            scores = np.column_stack([scores, shape_scores(self.fit, shape)])
        robust = parameters.nan_where_not_free(self._sandwich(parameters.of_free(covariance), scores))
        given = slice(0, len(self.fit.parameters))
        return robust[given, given]

    @property
    def _estimates(self) -> Array:
        return self.fit.theta[self.fit.parameters.estimated]

    @property
    def _with_intervals(self) -> Index:
        return self._parameters.estimated

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.peaks import marginal_summit

        if self.shape is not None:
            raise OptionError(
                f"a profile where the shape of the intercept's distribution was estimated ({self.shape})",
                "a distribution of given shape, or intervals that allow for its estimation",
                f"Wald or bootstrap intervals; or fit again with distribution={self._known_distribution}",
            )
        return marginal_summit(self.data.rows, self.fit, threads)

    @property
    def _known_distribution(self) -> str:
        """How to name the distribution with the shape that it has here."""
        return "fit.distribution" if self.distribution.smoothed else f'"{self.distribution.name}"'

    def _end(self, peak: Peak, drop: float, side: int) -> Crossing:
        """An end of an interval; of sigma an upper end that lies too far out is found by fits that hold sigma."""
        from clusterglm.inference.uncertainty.one_sided import upper_end

        found = super()._end(peak, drop, side)
        if peak.least != 0.0 or side < 0 or found.status == "found":
            return found
        top = self.loglik if self.fit.penalized_loglik is None else self.fit.penalized_loglik
        value = upper_end(lambda sigma: loglik_at(self.fit, sigma), top, drop, max(self.sigma, 1.0))
        return replace(found, value=value, status="failed" if np.isnan(value) else "found")

    def _penalized_ratio(self, top: float, inner: Array, smaller: Candidate) -> float:
        from clusterglm.inference.hypotheses.penalized import soft_ratio

        return soft_ratio(self.fit, top, inner, None if smaller.sigma_estimated else smaller.sigma)

    def _draw_new(self, rng: np.random.Generator) -> Array:
        return self._draw(self._eta(self._draws(rng)), rng)

    def _fitted_to(self, new: ModelData) -> RandomEffectsResult:
        return replace(self, fit=fit_again(self.fit, new), data=new)

    def _call(self) -> tuple[str, dict[str, Any]]:
        verb, known = super()._call()
        asked, sigma = self.fit.integration, {"sigma": self.sigma, "fix_sigma": True} if self.fit.sigma_fixed else {}
        own = {"distribution": self.fit.free_distribution, "quadrature": asked.requested, "scale": asked.scale}
        return verb, known | own | sigma

    def _effects_variances(self) -> dict[str, Array]:
        return {str(self.data.cluster_name): np.full(self.data.n_obs, self.random_effects_sd**2)}

    def _reestimate(self, new: ModelData) -> Array:
        from clusterglm.inference.uncertainty.bootstrap_intervals import converged

        again = fit_again(self.fit, new)
        return (again if self.fit.sigma_fixed else converged(again)).theta[again.parameters.estimated]

    def _intercepts(self) -> Array:
        return self.fit.modes

    def _draws(self, rng: np.random.Generator) -> Array:
        """An intercept for each cluster."""
        return self.distribution.draw(rng, self.data.n_clusters, self.sigma)

    # Tables ----------------------------------------------------------------------------------------------------------

    def _tidy(self, level: float, exponentiate: bool, cov: str) -> pd.DataFrame:
        import pandas as pd

        table = super()._tidy(level, exponentiate, cov)
        table.insert(0, "component", "coefficient")
        at = self._parameters.scale
        se = float(np.sqrt(self._covariance(cov)[at, at]))
        low, high = wald_interval_of_scale(self.sigma, se, level)
        rows: list[list[Any]] = [["random_intercept", "sigma", self.sigma, se, np.nan, np.nan, low, high]]
        if self.shape is not None:
            errors = self.shape.std_errors if cov == "observed" else np.full(len(self.shape.names), np.nan)
            for name, estimate, error in zip(self.shape.names, self.shape.estimates, errors, strict=True):
                rows.append(["random_intercept", name, estimate, error, np.nan, np.nan, np.nan, np.nan])
        return pd.concat([table, pd.DataFrame(rows, columns=table.columns)], ignore_index=True)

    def _without_random_intercepts(self) -> dict[str, NDArray[Any]]:
        return {".fixed": self._eta(0.0)}

    def _glance(self) -> dict[str, Any]:
        test = self.clustering_test
        return {
            **super()._glance(),
            "distribution": self.distribution.name,
            "sigma": self.sigma,
            "sigma_se": self.sigma_se,
            "sigma_fixed": self.fit.sigma_fixed,
            "random_effects_sd": self.random_effects_sd,
            "icc": self.icc,
            "clustering_statistic": test.statistic,
            "clustering_p_value": test.pvalue,
            "nodes": self.quadrature.nodes,
            "integration_error": self.quadrature.error,
        }

    # Printing --------------------------------------------------------------------------------------------------------

    def _summary(self) -> Summary:
        seen = f"{counted(self.n_obs, 'row')} in {counted(self.n_clusters, 'cluster')} of {self.data.cluster_name!r}"
        model = (
            ("Formula", self.formula),
            *self._response_facts(),
            ("Random intercept", f"{self.distribution.name}, one for each cluster"),
            ("Observations", f"{seen} ({self._sizes()})"),
            *self._weight_facts(),
            *self._penalty_facts(),
        )
        facts = [("sigma", self._sigma_in_words())]
        if self.shape is not None:
            facts.append(("Shape", str(self.shape)))
        if self.icc is not None and np.isfinite(self.icc):
            facts.append(("ICC", f"{self.icc:.4f} on the latent scale"))
        facts += [
            ("No clustering", unfolded(self.clustering_test)),
            *self._likelihood_facts(),
            *self._penalized_facts(),
            ("Integration", self._integration_in_words()),
            *self._closing_facts(),
        ]
        return Summary(
            f"Random-intercept model, maximum {self._maximised}likelihood",
            model,
            self._coefficients(),
            tuple(facts),
            tuple(self._notes()),
        )

    @property
    def _maximised(self) -> str:
        return "penalised " if self.shape is not None and self.distribution.smoothed else self._penalized

    def _notes(self) -> list[str]:
        if not self.fit.boundary:
            shape = [f"{note[0].upper()}{note[1:]}." for note in self.shape.notes] if self.shape else []
            return [*filter(None, [self._integration_hint, self._few_discordant()]), *shape, *self.data.notes]
        doubt = "" if self.quadrature.requested.kind == "auto" else _BY_FIXED_RULE
        return [_AT_ZERO + doubt, *self.data.notes]

    def _few_discordant(self) -> str | None:
        """What to know of a sigma that few clusters keep from infinity.

        As sigma grows, a cluster in which all responses are equal has a constant probability in the limit, and one with
        both successes and failures a probability that falls as 1 / sigma.
        """
        data, m = self.data, self.n_clusters
        if not self.response.bounded or self.fit.sigma_fixed or self.penalty or not isinstance(data, ModelData):
            return None
        a, b = (np.add.reduceat(each, data.starts[:-1]) for each in (data.a, data.b))
        mixed = self.response.rises_towards(a, b) == 0.0
        k = int(self._repeats.clusters[mixed].sum())
        if k > _FEW_DISCORDANT or 2 * k >= m:
            return None
        have, them = ("has", "it") if k == 1 else ("have", "them")
        return (
            f"Only {k} of {m} clusters {have} both successes and failures, and sigma rests on {them}: beyond the "
            f'estimate the likelihood falls no faster than sigma^-{k}. conf_int(method="profile") shows how large '
            'sigma, and with it the coefficients, could be; penalty="soft" keeps them in bounds.'
        )

    def _sigma_in_words(self) -> str:
        if self.fit.sigma_fixed:
            words = f"{self.sigma:.5g} (held fixed)"
        elif self.fit.boundary:
            return "0 (the maximum lies at sigma = 0)"
        else:
            words = f"{self.sigma:.5g} (Std. Error {self.sigma_se:.4g})"
        sd = self.random_effects_sd
        if np.isinf(sd):
            return f"{words}, the scale of a distribution without a standard deviation"
        return words if sd == self.sigma else f"{words}; standard deviation of the intercept {sd:.5g}"

    def _integration_in_words(self) -> str:
        report = self.quadrature
        if self.sigma == 0.0:
            return "none needed at sigma = 0"
        words = _plan_in_words(self.fit.plan, self.data.n_clusters)
        if report.requested.kind == "auto":
            words += f", chosen for a tolerance of {report.requested.tolerance:g}"
        elif report.scale != "normal":
            words += f" on the {report.scale} scale"
        if np.isnan(report.error):
            return f'{words}; error not estimated (quadrature="auto" does)'
        return f"{words}; estimated error of the log-likelihood {report.error:.1e}"


def _plan_in_words(plan: Plan, n_clusters: int) -> str:
    """Kinds of rule with the range of their nodes, and how many clusters each kind served."""
    kinds: dict[str, list[Part[Any]]] = {}
    for part in plan:
        name = "Laplace" if part.rule.nodes == 1 else str(part.rule).split(",")[0]
        kinds.setdefault(name, []).append(part)
    words = []
    for name, parts in kinds.items():
        least, most = (f(part.rule.nodes for part in parts) for f in (min, max))
        text = name
        if name != "Laplace":
            text += f" with {least} nodes" if least == most else f" with {least} to {most} nodes"
        if len(kinds) > 1:
            text += f" for {counted(sum(part.count(n_clusters) for part in parts), 'cluster')}"
        words.append(text)
    return ", ".join(words)
