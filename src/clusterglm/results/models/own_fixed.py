"""Results with an intercept for every cluster whose response has parameters of its own.

What has not been worked out for them is refused by name, as in `own.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.own import OwnPooledFit, fit_own_pooled
from clusterglm.fit.own_fixed import OwnFixedEffectsFit, own_cluster_profile, own_fixed_again, own_of
from clusterglm.fit.pooled import with_intercept
from clusterglm.likelihood.profile import ClusterProfile
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters, coefficients
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.results.models.fixed_effects import FEW_TRIALS, FixedEffectsResult
from clusterglm.results.models.own import WORK, OwnResult, not_yet
from clusterglm.results.models.refusing import no_profile, only
from clusterglm.results.tables.table import Summary

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.hypotheses.bootstrap import Refit
    from clusterglm.inference.uncertainty.peaks import Summit

_OF_OTHERS = {
    "adjusted_means", "average_effects", "clustering_test", "distribution", "icc", "integration_check",
    "integration_curve", "interval_odds_ratio", "marginal_coefficients", "median_odds_ratio", "pooled", "quadrature",
    "random_effects", "random_effects_sd", "shape", "sigma", "sigma_se",
}  # fmt: skip
WORK_OF_FIXED = (WORK - _OF_OTHERS) | {"bias_correction", "cluster_effects", "n_informative", "n_obs_informative"}
"""Members that work."""


@only(WORK_OF_FIXED, not_yet)
@dataclass(frozen=True, repr=False, eq=False)
class OwnFixedEffectsResult(OwnResult, FixedEffectsResult):
    """A fixed intercept for every cluster, and a response with parameters of its own, such as the negative binomial."""

    fit: OwnFixedEffectsFit
    _by_ratio = ("bootstrap", "permutation")

    @property
    def _inner(self) -> Parameters:
        return coefficients(self.data.names)

    @property
    def _family(self) -> OwnParameters:
        return own_of(self.fit)

    @property
    def response(self) -> Response:
        return self._family.as_fitted

    @property
    def n_parameters(self) -> int:
        """Coefficients, the response's parameters and intercepts, the infinite ones too; see `FixedEffectsResult`."""
        return super().n_parameters + self.n_clusters

    @property
    def deviance(self) -> float:
        """See `OwnPooledResult.deviance`: at the maximum of the likelihood, also where the bias was corrected."""
        if not self.fit.correction:
            return super().deviance
        return replace(self, fit=replace(self.fit, response=self.fit.likeliest, correction="")).deviance

    @cached_property
    def _profile(self) -> ClusterProfile:
        """With means and scores in (beta, values of the response)."""
        own, p = self._family, len(self._beta)
        found = own_cluster_profile(self.data.rows, own, self._beta)
        if own.at_end:
            return found
        slopes = np.append(np.ones(p), own.slopes(own.working))
        return replace(found, means=found.means / slopes, scores=found.scores / slopes)

    def _delta_covariance(self, kind: str) -> Array:
        """In all parameters, as intercepts depend on all of them."""
        return self._parameters.zero_where_not_free(self._covariance(kind))

    def _free_scores(self) -> tuple[Array, Array]:
        known = self.fit.informative
        return self._profile.scores[known][:, self._parameters.free], self._repeats.clusters[known]

    # Refits ----------------------------------------------------------------------------------------------------------

    def _again(self, new: ModelData) -> OwnFixedEffectsFit:
        from clusterglm.inference.uncertainty.bootstrap_intervals import converged
        from clusterglm.inference.uncertainty.correction import corrected_own

        again = converged(own_fixed_again(self.fit, new))
        return corrected_own(again, new, "analytical") if self.fit.correction and again.own_state == "free" else again

    def _fitted_to(self, new: ModelData) -> OwnFixedEffectsResult:
        """Without a correction of the bias, which the likelihood knows nothing of."""
        return replace(self, fit=own_fixed_again(self.fit, new), data=new)

    def _reestimate(self, new: ModelData) -> Array:
        again = self._again(new)
        return self._found_again(again, again.beta)

    @cached_property
    def _pooled(self) -> tuple[ModelData, OwnPooledFit]:
        data = with_intercept(self.data.rows)
        return data, fit_own_pooled(data, replace(self._family, values=()))

    @property
    def _null_response(self) -> Response:
        pooled = self._pooled[1].response
        assert pooled is not None
        return pooled.as_fitted

    def _refit(self, pooled: Any) -> Refit:
        from clusterglm.inference.hypotheses.bootstrap import own_fixed_refit

        return own_fixed_refit(self.fit)

    def _predictor(self) -> Callable[[ModelData], Array]:
        own, beta = self._family, self._beta

        def predictor(data: ModelData) -> Array:
            found = own_cluster_profile(data, own, beta).intercepts
            return np.asarray(data.X @ beta + data.offset + np.repeat(found, np.diff(data.starts)))

        return predictor

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.own import own_fixed_deletion

        return own_fixed_deletion(self.fit, self.data.rows)

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.own import own_fixed_summit

        if self.fit.correction:
            raise OptionError(
                "a profile of estimates that were corrected for bias",
                "estimates at the maximum of the likelihood",
                'method="wald"; or a fit without bias_correction=',
            )
        return own_fixed_summit(self.data.rows, self.fit, threads)

    def _refuse_profile_at_boundary(self) -> None:
        if self._own_state == "boundary":
            raise no_profile(f"{', '.join(self._family.own)} = {self._family.at_lower:g}", self._family.at_limit)

    def _report_parts(self) -> list[str]:
        return [part for part in super()._report_parts() if part not in ("average effects", "adjusted means")]

    # In words --------------------------------------------------------------------------------------------------------

    def _summary(self) -> Summary:
        return self._with_own_facts(super()._summary())

    def _notes(self) -> list[str]:
        notes, names = super()._notes(), ", ".join(self._family.own)
        rows = self.n_obs_informative / self.n_informative
        if rows >= FEW_TRIALS or self.fit.correction or self._own_state != "free":
            return notes
        words = (
            f"With {rows:.3g} rows for each intercept, {names} is too small, and standard errors with it: "
            'bias_correction="analytical" takes off most of that. Coefficients have no such bias.'
        )
        return [words, *notes]
