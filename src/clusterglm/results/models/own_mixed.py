"""Results with several random effects whose response has parameters of its own.

They are of their structure's class; what has not been worked out for such responses is refused by name, as in `own.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.own_mixed import OwnMixedFit, own_mixed_again, own_of
from clusterglm.inference.predictions.normal_mean import normal_jet
from clusterglm.inference.predictions.prediction import LinkPrediction
from clusterglm.inference.uncertainty.mixed import standardised_covariance
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters, random_effects
from clusterglm.model.response.base import Response
from clusterglm.results.models.crossed import CrossedEffectsResult
from clusterglm.results.models.mixed import MixedEffectsResult
from clusterglm.results.models.own import WORK, OwnPooledResult, OwnResult, not_yet, pooled_result
from clusterglm.results.models.refusing import no_profile, only
from clusterglm.results.tables.table import Summary
from clusterglm.results.topics.caveats import Caveat
from clusterglm.results.topics.newdata import Rows
from clusterglm.results.topics.own_sampling import OwnCrossedSampling, OwnSeveralSampling
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.adequacy import Finding
    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.hypotheses.bootstrap import Refit
    from clusterglm.inference.uncertainty.peaks import Summit

_OF_ONE_INTERCEPT = {"interval_odds_ratio", "marginal_coefficients"}
OF_SEVERAL = {
    "effects_covariance", "intraclass_correlation", "median_odds_ratio", "random_effects_covariance", "singular",
    "variance_components",
}  # fmt: skip
"""Members that several effects have more; those of one intercept refuse in words of their own."""
OF_ONE_SUM = {"integration_check", "integration_curve"}
"""Members that take likelihoods of crossed factors as they are, which allow for no parameters of the response."""
WORK_OF_SEVERAL = (WORK - _OF_ONE_INTERCEPT) | OF_SEVERAL
"""Members that work."""


class OwnSeveral(OwnSeveralSampling, OwnResult, MixedEffectsResult):
    """What such results share."""

    fit: OwnMixedFit
    _by_ratio = ("bootstrap", "permutation")
    _kinds = ("typical", "conditional", "marginal")

    @property
    def _inner(self) -> Parameters:
        return random_effects(self.data.names, self._covariance_of.read_labels())

    @property
    def response(self) -> Response:
        return own_of(self.fit).as_fitted

    @property
    @abstractmethod
    def pooled(self) -> OwnPooledResult:
        """The fit of this model without its random effects."""

    # Uncertainty -----------------------------------------------------------------------------------------------------

    def _whole_covariance(self, kind: str) -> Array:
        """Covariance of (beta, phi, the response's parameters), 0 for what has no standard error."""
        whole = self.fit.whole_covariance
        assert whole is not None
        free = np.flatnonzero(np.isfinite(np.diag(whole)))
        some, found = np.ix_(free, free), np.zeros_like(whole)
        found[some] = whole[some] if kind == "observed" else self._sandwich(whole[some], self._scores[:, free])
        return found

    @cached_property
    def _scores(self) -> Array:
        from clusterglm.inference.uncertainty.own_several import own_several_scores

        return own_several_scores(self.fit)

    def _covariance(self, kind: str) -> Array:
        """Covariance of coefficients, standard deviations, correlations and the response's parameters."""
        if kind == "robust":
            self._refuse_robust()
        k, J = len(self._family.own), self._read[1]
        whole = np.eye(len(J) + k)
        whole[: len(J), : len(J)] = J
        nowhere = np.append(self._on_boundary, self._own_at_ends)
        return standardised_covariance(whole, self._whole_covariance(kind), nowhere)

    @property
    def _own_at_ends(self) -> NDArray[np.bool_]:
        """Which of the response's parameters lie at the end of their range, shape (k,)."""
        return np.full(len(self._family.own), self._own_state != "free")

    def _covariance_of_predictions(self, cov: str) -> Array:
        return self._whole_covariance(cov)

    def _delta_covariance(self, kind: str) -> Array:
        inner = slice(0, len(self._inner))
        return self._whole_covariance(kind)[inner, inner]

    @property
    def _estimates(self) -> Array:
        return np.concatenate([self.fit.beta, self._read[0], self._values])[self._parameters.estimated]

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.own_several import own_several_summit

        return own_several_summit(self.fit, threads)

    def _refuse_profile_at_boundary(self) -> None:
        if self._own_state == "boundary":
            raise no_profile(f"{', '.join(self._family.own)} = {self._family.at_lower:g}", self._family.at_limit)

    @property
    def _integrated(self) -> MixedFit:
        return self.fit.given

    def _fitted_to(self, new: ModelData) -> OwnSeveral:
        return replace(self, fit=own_mixed_again(self.fit, new), data=new)

    def _reestimate(self, new: ModelData) -> Array:
        again = own_mixed_again(self.fit, new)
        return self._found_again(again, np.append(again.beta, self._covariance_of.read(again.phi)[0]))

    def _refit(self, pooled: Any) -> Refit:
        from clusterglm.inference.hypotheses.bootstrap import refit_by

        return refit_by(lambda new: own_mixed_again(self.fit, new))

    @property
    def _null_response(self) -> Response:
        return self.pooled.response

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.own_several import own_several_deletion

        return own_several_deletion(self.fit, self._as_shown)

    # Predictions -----------------------------------------------------------------------------------------------------

    def _marginal(self, rows: Rows, Z: Array, where: NDArray[np.bool_], wanted: Wanted) -> LinkPrediction:
        """The mean averaged over z'b, which is normal, by derivatives in the linear predictor alone."""
        fit, link = self.fit, np.full(rows.size, np.nan)
        which, own = np.flatnonzero(rows.status.ok & where), np.zeros((rows.size, len(fit.theta)))
        scaled = Z[which] @ fit.factor
        eta = rows.X[which] @ fit.beta + rows.offset[which]
        at = normal_jet(eta, np.linalg.norm(scaled, axis=1), self.response).on_link(self.response)
        link[which] = at.mean
        moved = np.einsum("ni,kij,nj->nk", Z[which], fit.effects.covariance.slopes(fit.phi), scaled)
        own[which] = np.hstack([at.first[:, None] * rows.X[which], at.second[:, None] * moved])
        nothing = np.zeros(rows.size)
        found = LinkPrediction(link, nothing, nothing, own=own, cluster=np.arange(rows.size))
        return replace(found, of_new=where) if wanted.interval == "cluster" else found

    # In words --------------------------------------------------------------------------------------------------------

    def _caveats_of_integration(self) -> list[Caveat]:
        if self.quadrature.requested.kind == "auto" or not self.fit.factor.any():
            return self._caveats_of_summits()
        words = f'The integrals are by {self.quadrature.requested}, with an error that was not estimated; "auto" does.'
        return [Caveat("Integrals by a fixed rule", words)]

    @property
    def _log_concave(self) -> bool:
        """Whether what is integrated is, so that it has one mode."""
        return self.response.log_concave

    def _caveats_of_summits(self) -> list[Caveat]:
        """Integrals are laid about one mode of each cluster, and their errors found from there."""
        if self._log_concave or not self.fit.factor.any():
            return []
        words = (
            f"With family={self.family!r} clusters may have several modes, of which one is looked at: the error of the "
            "log-likelihood is an estimate. quadrature= with more and more nodes shows how far that goes."
        )
        return [Caveat("Several modes", words)]

    def _summary(self) -> Summary:
        return self._with_own_facts(super()._summary())


class OwnCrossed(OwnCrossedSampling, OwnSeveral, CrossedEffectsResult):
    """What such results share where factors cross."""

    @property
    def _scores(self) -> NoReturn:
        self._of_clusters('a "robust" covariance', 'bootstrap(), which draws all effects anew; or cov("observed")')

    def _own_findings(self) -> list[Finding]:
        from clusterglm.inference.diagnostics.adequacy import Finding

        return [Finding("Integration", None, self._integration_in_words())]

    def _deletion(self) -> Deletion:
        return CrossedEffectsResult._deletion(self)

    def _caveats_of_integration(self) -> list[Caveat]:
        return CrossedEffectsResult._caveats_of_integration(self) if self.quadrature.outside is not None else []


@only(WORK_OF_SEVERAL, not_yet)
@dataclass(frozen=True, repr=False, eq=False)
class OwnMixedResult(OwnSeveral):
    """Several random effects of each cluster, and a response with parameters of its own."""

    fit: OwnMixedFit

    @property
    def pooled(self) -> OwnPooledResult:
        """The fit of this model without its random effects."""
        return pooled_result(self.fit.pooled, replace(self.data.rows, effects=None))


@only(WORK_OF_SEVERAL - OF_ONE_SUM, not_yet)
@dataclass(frozen=True, repr=False, eq=False)
class OwnCrossedResult(OwnCrossed):
    """Random effects of factors that cross, and a response with parameters of its own."""

    fit: OwnMixedFit

    @property
    def pooled(self) -> OwnPooledResult:
        """The fit of this model without its random effects."""
        return pooled_result(self.fit.pooled, replace(self.data.rows, effects=None))
