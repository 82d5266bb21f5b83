"""The result of `fixed_effects` with two factors and counts with a dispersion of their own.

What is not worked out for these is refused by name (`_WORK` lists what works).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.fit.two_way import crossing_of
from clusterglm.fit.two_way_own import OwnTwoWayFit, profile_at
from clusterglm.inference.predictions.prediction import LinkPrediction
from clusterglm.inference.uncertainty.two_way import Joint, clustered, clustered_two_way
from clusterglm.likelihood.two_way import Intercepts
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters, coefficients
from clusterglm.results.models.own import OwnResult
from clusterglm.results.models.refusing import only
from clusterglm.results.models.two_way import EITHER_WAY, TwoWayResult
from clusterglm.results.tables.table import Summary
from clusterglm.results.topics.newdata import Rows
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    from clusterglm.data.prepare import ModelData

_WORK = {
    "aic", "augment", "bic", "bse", "cluster_effects", "conf_int", "converged", "cov", "cov_params", "data",
    "delta_method", "deviance", "df_resid", "dispersion_lr_test", "factors", "family", "family_parameters",
    "family_response", "fit", "for_maketables", "formula", "glance", "kind", "levels", "link", "llf", "loglik",
    "n_clusters", "n_components", "n_effects", "n_obs", "n_parameters", "nobs", "optimization", "params", "penalty",
    "predict", "pvalues", "ratios", "residuals", "response", "save", "simulate", "summary", "term_tests", "tidy",
    "tvalues", "wald_test", "zvalues",
}  # fmt: skip


def _not_yet(result: Any, name: str) -> tuple[str, str, str]:
    return (
        f"{name} of a fit with family={result.family!r} and effects of two factors",
        "what allows for the estimation of the dispersion, which this does not yet",
        "family='poisson' with cov('robust'); or fit.tidy, fit.predict or fit.cluster_effects",
    )


@only(_WORK, _not_yet)
@dataclass(frozen=True, repr=False, eq=False)
class OwnTwoWayResult(OwnResult, TwoWayResult):
    """Counts with a dispersion of their own and a fixed intercept for every level of two factors."""

    fit: OwnTwoWayFit

    @property
    def _inner(self) -> Parameters:
        return coefficients(self.data.names)

    @property
    def n_parameters(self) -> int:
        """Coefficients, effects that are identified, and the dispersion."""
        effects = sum(self.n_effects.values()) - self.n_components
        return len(self.fit.beta) + effects + (self._own_state == "free")

    # Uncertainty: the dispersion is one more column -------------------------------------------------------------------

    @cached_property
    def _joint(self) -> Joint:
        if self._own_state == "boundary":
            return Joint(self._used, self.fit, self.response)
        return Joint(self._used, self.fit, self.response, profile_at(self._used, self.fit).column[:, None])

    def _covariance(self, kind: str) -> Array:
        assert self.fit.whole_covariance is not None
        free = self._parameters.of_free(self.fit.whole_covariance)
        if kind != "observed":
            codes = self._codes_by_name
            if kind == EITHER_WAY:
                free = clustered_two_way(free, self._free_rows, *codes.values())
            else:
                name = self.factors[0] if kind == "robust" else kind.partition(":")[2]
                free = clustered(free, self._free_rows, codes[name])
        return self._parameters.nan_where_not_free(free)

    @cached_property
    def _free_rows(self) -> Array:
        """Scores of rows in coefficients and the dispersion, the intercepts being at their best, shape (n, p + 1)."""
        if self._own_state == "boundary":
            return self._joint.scores
        place, used = profile_at(self._used, self.fit), self._used
        columns = np.column_stack([used.rows.X, place.column])
        left = Intercepts(crossing_of(used), self._joint.system.weights).residual(columns)
        scores = left * place.slopes[:, None]
        scores[:, self._parameters.own] += (place.own - place.column * place.slopes)[:, None]
        return np.asarray(scores / self._per_column)

    @property
    def _per_column(self) -> Array:
        """Derivatives of parameters in what stands for them as columns: the dispersion's in its working value."""
        found = np.ones(len(self._parameters))
        found[self._parameters.own] = self._family.slopes(self._family.working)
        return found

    def _covariance_of_columns(self, kind: str) -> Array:
        """Of coefficients and the working value of the dispersion, where that is free."""
        found = self._covariance(kind)
        if self._own_state == "boundary":
            return found[self._inner.coefficients, self._inner.coefficients]
        return np.asarray(found / np.outer(self._per_column, self._per_column))

    def _effects_variances(self) -> tuple[Array, Array]:
        return self._joint.variances(self._covariance_of_columns("observed"))

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        found = TwoWayResult._at_kind(self, kind, rows, Wanted(None, wanted.cov))
        if wanted.level is None:
            return found
        first, second = self._levels_of(rows)
        columns = np.pad(rows.X, ((0, 0), (0, self._joint.X.shape[1] - rows.X.shape[1])))
        variance = self._joint.variances_at(columns, first, second, self._covariance_of_columns(wanted.cov))
        return LinkPrediction(found.estimate, np.zeros(rows.size), variance)

    def _reestimate(self, new: ModelData) -> NoReturn:
        raise OptionError(*_not_yet(self, "bootstrap"))

    def _refuse_profile_at_boundary(self) -> NoReturn:
        raise OptionError(*_not_yet(self, "a profile"))

    # In words ---------------------------------------------------------------------------------------------------------

    def _glance(self) -> dict[str, Any]:
        found = super()._glance()
        return {name: value for name, value in found.items() if name not in ("residual_sd", "bias_correction")}

    def _notes(self) -> list[str]:
        notes = list(self.data.notes)
        if self._few_rows and self._own_state == "free":
            each = self.n_obs / self.data.n_clusters
            notes.insert(
                0,
                f"With {each:.3g} rows for each effect of {self.data.cluster_name!r}, which are all estimated, alpha "
                'is too small, and with it the standard errors: compare those of cov("robust").',
            )
        return notes

    def _summary(self) -> Summary:
        return self._with_own_facts(super()._summary())
