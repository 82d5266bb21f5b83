"""Results on mass points whose response has parameters of its own.

What has not been worked out for them is refused by name, as in `own.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.own_npml import OwnNonparametricFit, own_npml_again
from clusterglm.inference.distribution.mass_points import mixture_scores
from clusterglm.inference.predictions.prediction import LinkPrediction
from clusterglm.inference.uncertainty.bootstrap_intervals import converged
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Index, Parameters, mass_points
from clusterglm.results.models.durations import WORK as WORK_OF_TIMES
from clusterglm.results.models.durations import DurationsResult
from clusterglm.results.models.nonparametric import NonparametricResult
from clusterglm.results.models.ordinal import WORK as WORK_OF_CATEGORIES
from clusterglm.results.models.ordinal import OrdinalResult
from clusterglm.results.models.own import WORK, OwnResult
from clusterglm.results.models.refusing import only
from clusterglm.results.tables.table import Summary
from clusterglm.results.topics.kinds import Averaging
from clusterglm.results.topics.mass_points import OnMassPoints
from clusterglm.results.topics.newdata import Rows
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clusterglm.inference.predictions.categories import CumulativeProbabilities
    from clusterglm.inference.predictions.durations import LogHazards, LogTimes
    from clusterglm.inference.predictions.points import PointAverages

_OF_OTHERS = {
    "adjusted_means", "average_effects", "check", "clustering_test", "dispersion_lr_test", "dispersion_test",
    "distribution", "icc", "influence", "parallel_test", "penalized_loglik", "pooled", "profile", "quadrature",
    "sample", "shape", "sigma", "sigma_se", "test_clustering", "zero_inflation_test",
}  # fmt: skip
_OF_POINTS = {"delta_method", "drop_one", "for_maketables", "mass_points", "posterior", "random_effects_mean"}


def work_on_points(work: Collection[str]) -> set[str]:
    """Members that work, of those that do where intercepts have a given distribution, and further ones."""
    return (set(work) - _OF_OTHERS) | _OF_POINTS


def not_on_points(result: Any, name: str) -> tuple[str, str, str]:
    return (
        f"{name} of a fit on mass points with family={result.family!r}",
        "what is worked out for such fits, which this is not",
        f"cg.random_effects with family={result.family!r}; or fit.predict, fit.residuals, fit.simulate, fit.bootstrap",
    )


@only(work_on_points(WORK) | {"augment"}, not_on_points)
@dataclass(frozen=True, repr=False, eq=False)
class OwnNonparametricResult(OwnResult, NonparametricResult):
    """Intercepts of any distribution, and a response with parameters of its own, such as the negative binomial."""

    fit: OwnNonparametricFit

    @property
    def _inner(self) -> Parameters:
        finite = np.flatnonzero(np.isfinite(self.fit.points)).tolist()
        return mass_points(self.data.names, finite, len(self.fit.points))

    @property
    def n_parameters(self) -> int:
        """Coefficients, points, weights but one, and the response's own: p + 2 k - 1 + r.

        One less with thresholds, which take up any shift of all points.
        """
        k, own = len(self.fit.points), self._family
        return len(self.fit.beta) + 2 * k - 1 + len(own.own) - int(own.location)

    # Uncertainty -----------------------------------------------------------------------------------------------------

    @property
    def _estimates(self) -> Array:
        return np.append(self._beta, self._values)

    @property
    def _with_intervals(self) -> Index:
        places = np.arange(len(self._parameters))
        return np.append(places[self._parameters.coefficients], places[self._parameters.own])

    def _free_scores(self) -> tuple[Array, Array]:
        return mixture_scores(self.data, self.response, self.fit), self._repeats.clusters

    def _delta_covariance(self, kind: str) -> Array:
        """In all parameters, as probabilities given the data depend on all of them."""
        return self._parameters.zero_where_not_free(self._covariance(kind))

    def _refuse_profile_at_boundary(self) -> None:
        """Profiles are refused everywhere."""

    def _reestimate(self, new: ModelData) -> Array:
        again = own_npml_again(self.fit, new, Control())
        converged(again)
        own = again.response
        return np.append(again.beta, own.values or np.full(len(own.own), own.at_lower))

    # Predictions -----------------------------------------------------------------------------------------------------

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        at = super()._at_kind(kind, rows, wanted)
        if at.own is None:
            return at
        own = np.zeros((rows.size, len(self._parameters)))  # what the model at the limit does not have moves nothing
        own[:, : at.own.shape[1]] = at.own
        return LinkPrediction(at.estimate, at.slope, at.extra, own=own, cluster=at.cluster)

    # In words --------------------------------------------------------------------------------------------------------

    def _summary(self) -> Summary:
        return self._with_own_facts(super()._summary())

    def _own_facts(self) -> list[tuple[str, str]]:
        return self._values_in_words()

    def _moments_in_words(self) -> str:
        if self._family.location and np.isfinite(self.fit.points).all():
            return f"0 beside the thresholds, {self.random_effects_sd:.4g}"
        return super()._moments_in_words()

    def _notes(self) -> list[str]:
        notes = super()._notes()
        if self._family.location and not np.isfinite(self.fit.points).all():
            notes.insert(0, "Thresholds are those beside which the finite mass points have a mean of 0.")
        return notes

    def _gradient_in_words(self) -> str:
        plain = super()._gradient_in_words()
        return plain.replace("at these coefficients", "at these coefficients and parameters of the response")


@only(work_on_points(WORK_OF_CATEGORIES), not_on_points)
@dataclass(frozen=True, repr=False, eq=False)
class OrdinalNonparametricResult(OnMassPoints, OrdinalResult, OwnNonparametricResult):
    """Intercepts of any distribution, and ordered categories: the mean of the finite points is 0, as thresholds are."""

    def _cumulative_at(
        self, eta: Array, averaged: Averaging, rows: Rows, covariates: Array
    ) -> tuple[CumulativeProbabilities, NDArray[np.int64]]:
        from clusterglm.inference.predictions.points import PointAverages, probabilities_over

        if not averaged:
            return super()._cumulative_at(eta, averaged, rows, covariates)
        known = np.flatnonzero(~np.isnan(eta))
        assert not isinstance(averaged, bool)
        over = PointAverages(self.data, self.fit, averaged).of(known)
        return probabilities_over(self._cumulative, eta[known], over), known

    def _gradients(
        self, found: CumulativeProbabilities, rows: Rows, covariates: Array, known: NDArray[np.int64]
    ) -> Array:
        from clusterglm.inference.predictions.points import OverPointsProbabilities, gradients_over

        if not isinstance(found, OverPointsProbabilities):
            return super()._gradients(found, rows, covariates, known)
        return gradients_over(self._cumulative, found, rows.X[known])


@dataclass(frozen=True)
class PointFrailty:
    """A frailty on mass points, in the place of `Frailty`: `by_sigma` are derivatives in all parameters.

    Parameters
    ----------
    over : PointAverages
    """

    over: PointAverages

    def of(self, rows: NDArray[np.int64]) -> PointFrailty:
        """That of some rows."""
        return PointFrailty(self.over.of(rows))

    def log_hazards(self, x: Array) -> LogHazards:
        """See `log_hazards_over`."""
        from clusterglm.inference.predictions.points import log_hazards_over

        return log_hazards_over(x, self.over)

    def mean_times(self, eta: Array, k: float) -> LogTimes:
        """See `mean_times_over`."""
        from clusterglm.inference.predictions.points import mean_times_over

        return mean_times_over(eta, k, self.over)

    def quantile_times(self, probability: float, eta: Array, k: float) -> LogTimes:
        """See `quantile_times_over`."""
        from clusterglm.inference.predictions.points import quantile_times_over

        return quantile_times_over(probability, eta, k, self.over)

    def moved(self, by_sigma: Array) -> Array:
        """Derivatives in all parameters, shape (n, q)."""
        return by_sigma


@only(work_on_points(WORK_OF_TIMES), not_on_points)
@dataclass(frozen=True, repr=False, eq=False)
class DurationsNonparametricResult(OnMassPoints, DurationsResult, OwnNonparametricResult):
    """Intercepts of any distribution, logarithms of frailties, and survival times."""

    def _frailty(self, rows: Rows, averaged: Averaging) -> PointFrailty:
        from clusterglm.inference.predictions.points import PointAverages

        assert not isinstance(averaged, bool)
        return PointFrailty(PointAverages(self.data, self.fit, averaged))

    def _delta_errors(
        self, X: Array, by_eta: Array, by_frailty: Array, by_k: Array, cov: str, moves: Array | None = None
    ) -> Array:
        gradient = np.zeros((len(X), len(self._parameters)))
        gradient[:, self._parameters.coefficients] = by_eta[:, None] * X
        gradient[:, self._parameters.own] = by_k[:, None]
        if by_frailty.shape[1] > 0:
            gradient = gradient + by_frailty
        V = self._covariance_of_predictions(cov)
        return np.asarray(np.sqrt(np.maximum(np.einsum("ij,ij->i", gradient @ V, gradient), 0.0)))

    def _fitted_eta(self) -> Array:
        """Linear predictor at the mean hazard given the cluster's data."""
        chosen = self._per_cluster_row(self._probabilities)
        with np.errstate(divide="ignore"):
            return np.asarray(self._eta(0.0) + np.log(chosen @ np.exp(self.fit.points)))

    def _draw_new(self, rng: np.random.Generator) -> Array:
        if np.isneginf(self.fit.points).any():
            share = float(self.fit.weights[np.isneginf(self.fit.points)].sum())
            raise OptionError(
                f"times drawn from a fit by which a share of {share:.3g} of the clusters never has an event",
                "mass points that are all finite",
                "cg.random_effects, whose frailties are; or fit.survival",
            )
        return super()._draw_new(rng)


def own_nonparametric_result(fit: OwnNonparametricFit, data: ModelData) -> OwnNonparametricResult:
    """The result of a fit on mass points."""
    response = fit.response
    kind = OwnNonparametricResult
    if response.durations or response.ordered:
        kind = DurationsNonparametricResult if response.durations else OrdinalNonparametricResult
    return kind(fit, data, response.as_fitted)
