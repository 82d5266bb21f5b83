"""The result of `fixed_effects`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clusterglm.data.formulas.coding import INTERCEPT
from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.data.repeats import rows_of_clusters
from clusterglm.errors import OptionError
from clusterglm.fit.fixed_effects import (
    FixedEffectsFit,
    ProfiledEstimates,
    cluster_profile,
    effects_of_clusters,
    fit_fixed_effects,
)
from clusterglm.fit.newton import Optimization
from clusterglm.fit.penalty_fixed import penalized_profile
from clusterglm.fit.pooled import PooledFit, fit_pooled, with_intercept
from clusterglm.fit.within import Informative
from clusterglm.inference.diagnostics.dispersion import at_best_intercepts
from clusterglm.inference.hypotheses.bootstrap import Refit, fixed_effects_refit
from clusterglm.inference.uncertainty.bootstrap_intervals import converged
from clusterglm.inference.uncertainty.correction import corrected
from clusterglm.inference.uncertainty.peaks import Summit, penalized_fixed_summit, within_summit
from clusterglm.likelihood.profile import ClusterProfile
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import freeze
from clusterglm.results.models.penalized import Penalized
from clusterglm.results.tables.table import Summary, counted
from clusterglm.results.topics.caveats import Caveat, without_a_say
from clusterglm.results.topics.clustering import ClusteredResult
from clusterglm.results.topics.diagnostics import Diagnostics
from clusterglm.results.topics.effects import FixedEffectsEffects
from clusterglm.results.topics.prediction import FixedEffectsPredictions

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.inference.hypotheses.hausman import Estimates

FEW_TRIALS = 20  # a cluster, below which the bias from the intercepts is worth a sentence


@dataclass(frozen=True, repr=False, eq=False)
class FixedEffectsResult(Penalized, FixedEffectsPredictions, FixedEffectsEffects, Diagnostics, ClusteredResult):
    """A generalised linear model with a fixed intercept for every cluster.

    Parameters
    ----------
    fit : FixedEffectsFit or ProfiledEstimates
        The estimates, with the clusters' intercepts where the rows are in memory.
    data : FittedData
        What was fitted.
    family_response : Response
        Family and link.
    """

    fit: FixedEffectsFit | ProfiledEstimates
    data: FittedData
    family_response: Response

    kind: ClassVar[str] = "fixed_effects"
    _named_predictors = ("conditional",)
    _own_intercepts: ClassVar[bool] = True
    _untested: ClassVar[str] = ""

    def __post_init__(self) -> None:
        freeze(self.fit)

    # The estimates ---------------------------------------------------------------------------------------------------

    @property
    def response(self) -> Response:
        return self.family_response

    @property
    def loglik(self) -> float:
        """Maximised log-likelihood, normalised; clusters with infinite intercepts are predicted perfectly and add 0."""
        return float(self.fit.loglik)

    @property
    def optimization(self) -> Optimization:
        return self.fit.optimization

    @property
    def n_parameters(self) -> float:
        """Coefficients and intercepts, the infinite ones too: those clusters' rows count among the data as well."""
        return len(self.fit.beta) + self.n_clusters

    @property
    def n_informative(self) -> int:
        """Clusters with a finite intercept; only they say something of the coefficients."""
        return self._informative.clusters

    @property
    def n_obs_informative(self) -> int:
        """Rows in clusters with a finite intercept."""
        return self._informative.rows

    @cached_property
    def _informative(self) -> Informative:
        data, repeats, at = self.data.rows, self._repeats, self.fit.by_cluster.intercepts
        known = self.fit.by_cluster.informative
        sizes = rows_of_clusters(data, repeats) * repeats.clusters
        rows = int((sizes if self._counts.whole else np.diff(data.starts))[known].sum())
        trials = np.add.reduceat(data.a + data.b, data.starts[:-1]) * repeats.clusters
        clusters, low, high = (int(repeats.clusters[each].sum()) for each in (known, np.isneginf(at), np.isposinf(at)))
        return Informative(clusters, rows, low, high, float(trials[known].sum()))

    @property
    def bias_correction(self) -> str:
        """How the bias from the intercepts was corrected; empty if it was not."""
        return self.fit.correction

    @property
    def cluster_effects(self) -> pd.DataFrame:
        """The clusters' intercepts.

        Returns
        -------
        DataFrame
            One row per cluster in the order of the labels: `label`, `estimate`, `std_error`, `n_obs`, `status`. Where
            all responses are failures (zero counts) the estimate is -inf, where all are successes inf, without a
            standard error, and `status` says so.
        """
        import pandas as pd

        fit, data = self.fit.by_cluster, self.data.rows
        profile = replace(self._profile, intercepts=fit.intercepts)
        repeats = self._repeats
        sizes = rows_of_clusters(data, repeats).astype(np.int64)
        weights = data.cluster_weights / repeats.clusters
        columns = effects_of_clusters(
            profile, fit.informative, self._delta_covariance("observed"), weights, sizes, self.response
        )
        return pd.DataFrame({"label": data.labels, **columns}, copy=True)

    @cached_property
    def _pooled(self) -> tuple[ModelData, PooledFit]:
        data = with_intercept(self.data.rows)
        return data, fit_pooled(data, self.response, Control())

    def _null(self) -> tuple[ModelData, PooledFit]:
        self._refuse_test_of_no_clustering()
        return self._pooled

    def _refit(self, pooled: PooledFit) -> Refit:
        return fixed_effects_refit(self.data.rows, self.response, pooled)

    @property
    def _beta(self) -> Array:
        return self.fit.beta

    @cached_property
    def _profile(self) -> ClusterProfile:
        if self.penalty is not None:
            return penalized_profile(self.data.rows, self.data.rows.X, self.response, self.fit.beta)
        return cluster_profile(self.data.rows, self.response, self.fit.beta)

    def _covariance(self, kind: str) -> Array:
        """The robust one counts the clusters that say something of the coefficients."""
        if kind == "observed":
            return self.fit.covariance
        self._refuse_robust()
        known = self.fit.by_cluster.informative
        return self._sandwich(self.fit.covariance, self._profile.scores[known], known)

    def _summit(self, threads: int) -> Summit:
        if self.fit.correction:
            raise OptionError(
                "a profile of coefficients that were corrected for bias",
                "estimates at the maximum of the likelihood",
                'method="wald"; or a fit without bias_correction=',
            )
        if self.penalty is not None:
            return penalized_fixed_summit(self.data.rows, self.response, self.fit.beta, threads)
        beta, loglik = self.fit.beta, self.loglik
        return within_summit(self.data.rows, self.response, beta, loglik, conditional=False, threads=threads)

    def _check_again(self) -> None:
        if self.fit.correction and not self.fit.correction.startswith("analytical"):
            raise OptionError(
                f"a bootstrap of estimates corrected by {self.fit.correction}",
                "no correction, or the analytical one",
                'bias_correction="analytical"',
            )

    @property
    def _intercepts_in_words(self) -> str:
        return "fixed"

    def _caveats(self) -> list[Caveat]:
        return [*super()._caveats(), *without_a_say(self.n_informative, self.n_clusters)]

    def _export(self) -> dict[str, Any]:
        return super()._export() | {
            "n_informative": self.n_informative,
            "bias_correction": self.bias_correction or None,
            "cluster_effects": self.cluster_effects.to_dict(orient="records"),
        }

    def _penalized_ratio(self, top: float, inner: Array, smaller: Candidate) -> float:
        from clusterglm.inference.hypotheses.penalized import within_ratio

        return within_ratio(self.data.rows, self.response, top, inner, conditional=False)

    def _comparison_notes(self, name: str) -> list[str]:
        notes = super()._comparison_notes(name)
        if self.bias_correction:
            notes.append(f"The log-likelihood of {name} is the maximum, not that at its corrected coefficients.")
        return notes

    def _cluster_effects(self) -> dict[str, tuple[str, pd.DataFrame]]:
        return {INTERCEPT: ("Intercept of the cluster", self.cluster_effects)}

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.influence import fixed_effects_deletion

        return fixed_effects_deletion(self.fit.by_cluster, self.data.rows, self.response)

    @property
    def _one_step(self) -> bool:
        return self.penalty is None

    def _within_estimates(self, left_out: tuple[str, ...]) -> Estimates:
        """What a Hausman test compares, without the columns that were left out."""
        from clusterglm.inference.hypotheses.hausman import fixed_effects_estimates

        return fixed_effects_estimates(self.fit.by_cluster, self.data.rows, self.response, left_out)

    def _draw_new(self, rng: np.random.Generator) -> Array:
        return self._draw(self._eta(self.fit.by_cluster.intercepts), rng)

    def _call(self) -> tuple[str, dict[str, Any]]:
        if self.fit.correction:
            raise OptionError(
                f"an update of a fit whose bias was corrected ({self.fit.correction})",
                "one without",
                "cg.fixed_effects(..., bias_correction=...) with the new formula",
            )
        return super()._call()

    def _fitted_to(self, new: ModelData) -> FixedEffectsResult:
        """Without a correction of the bias, which the likelihood knows nothing of."""
        return replace(self, fit=fit_fixed_effects(new, self.response, None, Control(), self.penalty), data=new)

    def _reestimate(self, new: ModelData) -> Array:
        control = Control()
        again = converged(fit_fixed_effects(new, self.response, self.fit.uncorrected, control, self.penalty))
        if self.fit.correction:
            again = corrected(again, new, self.response, "analytical", control, None)
        return again.beta

    def _intercepts(self) -> Array:
        return self.fit.by_cluster.intercepts

    def _predictor(self) -> Callable[[ModelData], Array]:
        return at_best_intercepts(self.fit.beta, self.response)

    @property
    def _axis(self) -> Array | None:
        return None

    def _glance(self) -> dict[str, Any]:
        return {
            **super()._glance(),
            "n_informative": self.n_informative,
            "n_obs_informative": self.n_obs_informative,
            "bias_correction": self.bias_correction,
        }

    # Printing --------------------------------------------------------------------------------------------------------

    def _summary(self) -> Summary:
        seen = f"{counted(self.n_obs, 'row')} in {counted(self.n_clusters, 'cluster')} of {self.data.cluster_name!r}"
        model = (
            ("Formula", self.formula),
            *self._response_facts(),
            ("Intercepts", "fixed, one for each cluster, profiled out"),
            ("Observations", f"{seen} ({self._sizes()})"),
            *self._weight_facts(),
            *self._penalty_facts(),
        )
        facts = [("Clusters", self._clusters_in_words())]
        if self.fit.correction:
            facts.append(("Bias", f"corrected: {self.fit.correction}"))
        return Summary(
            f"Fixed cluster effects, maximum {self._penalized}likelihood",
            model,
            self._coefficients(),
            (*facts, *self._likelihood_facts(), *self._penalized_facts(), *self._closing_facts()),
            tuple(self._notes()),
        )

    def _clusters_in_words(self) -> str:
        low, high = self._informative.low, self._informative.high
        words = f"{counted(self.n_informative, 'finite intercept')} ({counted(self.n_obs_informative, 'row')})"
        if low > 0:
            words += f"; {low} at -inf ({self.response.words.only_low})"
        if high > 0:
            words += f"; {high} at inf (only {self.response.words.high})"
        return words

    @property
    def _short(self) -> bool:
        """Whether so few trials belong to each intercept that the bias of binomial coefficients is worth a sentence."""
        return self.response.intercepts_bias and self._trials < FEW_TRIALS * self.n_informative

    @property
    def _trials(self) -> float:
        trials = self._informative.trials
        return self.n_obs_informative if np.isnan(trials) else trials

    @property
    def _per_intercept(self) -> str:
        unit = "rows" if self._trials == self.n_obs_informative else "trials"
        return f"{self._trials / self.n_informative:.3g} {unit}"

    def _notes(self) -> list[str]:
        notes = list(self.data.notes)
        corrected_for = self.fit.correction or self.penalty
        if self._short and not corrected_for and len(self.fit.beta) > 0:
            other = "cg.conditional is free of it, " if self.response.totals_suffice else ""
            notes.insert(
                0,
                f"With {self._per_intercept} for each intercept, coefficients are biased away from zero (for clusters "
                f'of two, logit is off by a factor of two): {other}bias_correction="analytical" takes off most of it.',
            )
        return notes
