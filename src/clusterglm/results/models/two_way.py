"""The result of `fixed_effects` with two factors.

What is not worked out for two factors is refused by name (`_WORK` lists what works).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.groupings import Levels
from clusterglm.data.prepare import ModelData
from clusterglm.data.two_way import TwoWay
from clusterglm.errors import DataError, OptionError, check_option
from clusterglm.fit.newton import Optimization
from clusterglm.fit.two_way import TwoWayFit, fit_two_way
from clusterglm.inference.diagnostics.residuals import KINDS as RESIDUALS
from clusterglm.inference.uncertainty.bootstrap_intervals import converged
from clusterglm.inference.uncertainty.two_way import Joint, clustered, clustered_two_way, corrected_two_way
from clusterglm.likelihood.two_way import MOST_JOINT
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import Result, freeze
from clusterglm.results.models.refusing import only
from clusterglm.results.tables.table import Summary, counted
from clusterglm.results.topics.caveats import Caveat
from clusterglm.results.topics.two_way import TwoWayEffects, TwoWayPredictions

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.uncertainty.peaks import Summit

_WORK = {
    "aic", "augment", "average_effects", "bias_correction", "bic", "bootstrap", "bse", "cluster_effects", "conf_int",
    "converged", "cov", "cov_params", "data", "delta_method", "deviance", "df_resid", "factors", "family",
    "family_response", "fit", "for_maketables", "formula", "glance", "kind", "levels", "link", "llf", "loglik",
    "n_clusters", "n_components", "n_effects", "n_obs", "n_parameters", "nobs", "optimization", "params", "penalty",
    "predict", "pvalues", "ratios", "residual_sd", "residuals", "response", "save", "simulate", "summary", "term_tests",
    "tidy", "tvalues", "wald_test", "zvalues",
}  # fmt: skip
_SHORT = 20  # rows an effect, below which the bias from estimating all effects is worth a sentence
EITHER_WAY = "two-way"


def _not_yet(result: Any, name: str) -> tuple[str, str, str]:
    return (
        f"{name} of a fit with effects of two factors",
        "what is worked out for two factors, which this is not",
        "fit.tidy, fit.predict, fit.average_effects or fit.cluster_effects; or cluster= one of the factors",
    )


@only(_WORK, _not_yet)
@dataclass(frozen=True, repr=False, eq=False)
class TwoWayResult(TwoWayPredictions, TwoWayEffects, Result):
    """A generalised linear model with a fixed intercept for every level of two factors.

    Parameters
    ----------
    fit : TwoWayFit
        The estimates, with all intercepts.
    data : ModelData
        What was fitted, in the order of the factor with more levels.
    levels : Levels
        Each row's level of the other factor.
    factors : tuple of two str
        Both, as they were given.
    family_response : Response
        Family and link.
    """

    fit: TwoWayFit
    data: ModelData
    levels: Levels
    factors: tuple[str, str]
    family_response: Response

    kind: ClassVar[str] = "fixed_effects"
    _named_predictors = ("conditional",)
    _own_intercepts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        codes, q = self.levels.codes, len(self.levels.labels)
        if (
            codes.shape != (self.data.n_obs,)
            or self.fit.second.shape != (q,)
            or not 0 <= codes.min() <= codes.max() < q
        ):
            raise DataError("levels of a second factor that are not those of the rows", "one for each row", "fit again")
        freeze(self.fit)

    # The estimates ---------------------------------------------------------------------------------------------------

    @property
    def response(self) -> Response:
        return self.family_response

    @property
    def loglik(self) -> float:
        """Maximised log-likelihood of the rows in use, normalised."""
        return float(self.fit.loglik)

    @property
    def optimization(self) -> Optimization:
        return self.fit.optimization

    @property
    def n_components(self) -> int:
        """Sets of levels of both factors that hang together: in each, one effect is a matter of choice."""
        return self.fit.components

    @property
    def n_effects(self) -> dict[str, int]:
        """How many effects each factor has among the rows in use."""
        known = {str(self.data.cluster_name): self.data.n_clusters, self.levels.group: len(self.levels.labels)}
        return {name: known[name] for name in self.factors}

    @property
    def n_parameters(self) -> int:
        """Coefficients and effects that are identified, and the residual standard deviation of normal responses."""
        effects = sum(self.n_effects.values()) - self.n_components
        return len(self.fit.beta) + effects + (not np.isnan(self.fit.residual_sd))

    @property
    def residual_sd(self) -> float:
        """Of normal responses: root(RSS / (rows - coefficients - effects)); nan of others."""
        return self.fit.residual_sd

    @property
    def deviance(self) -> float:
        """Twice what a parameter for each row adds to the log-likelihood; of normal responses the RSS."""
        if not np.isnan(self.fit.residual_sd):
            return self.fit.residual_sd**2 * (self.df_resid + 1)
        return super().deviance

    @property
    def bias_correction(self) -> str:
        """How the bias from the intercepts was corrected; empty if it was not."""
        return self.fit.correction

    @property
    def cluster_effects(self) -> pd.DataFrame:
        """The effects of both factors.

        Returns
        -------
        DataFrame
            A row for each level: `factor`, `label`, `estimate`, `std_error`, `n_obs` (rows) and `component`, the set of
            levels that hang together. In each set the first level of the factor with fewer levels has effect 0, and
            its effects are differences from that level. No `std_error` where that factor has thousands of levels.
        """
        import pandas as pd

        fit, crossing = self.fit, self._joint.crossing
        small = crossing.q <= MOST_JOINT
        errors = [np.sqrt(np.maximum(each, 0.0)) for each in self._effects_variances()] if small else [None, None]
        parts = {
            str(self.data.cluster_name): (
                self.data.labels,
                fit.intercepts,
                np.diff(self.data.starts),
                crossing.of_first,
            ),
            self.levels.group: (self.levels.labels, fit.second, np.bincount(self.levels.codes), crossing.of_second),
        }
        tables = {}
        for (name, (labels, estimate, rows, component)), error in zip(parts.items(), errors, strict=True):
            known = {"factor": name, "label": labels, "estimate": estimate}
            if error is not None:
                known["std_error"] = error
            tables[name] = pd.DataFrame(known | {"n_obs": rows, "component": component}, copy=True)
        return pd.concat([tables[name] for name in self.factors], ignore_index=True)

    def _effects_variances(self) -> tuple[Array, Array]:
        """Variances of both factors' effects."""
        return self._joint.variances(self.fit.covariance)

    @property
    def _beta(self) -> Array:
        return self.fit.beta

    @property
    def _used(self) -> TwoWay:
        return TwoWay(self.data, self.levels)

    @cached_property
    def _joint(self) -> Joint:
        return Joint(self._used, self.fit, self.response)

    @property
    def _codes_by_name(self) -> dict[str, NDArray[np.int64]]:
        used = self._used
        return dict(zip(used.factors, (used.first_codes, used.second.codes), strict=True))

    @property
    def _covariances(self) -> tuple[str, ...]:
        return ("observed", "robust", *(f"robust:{name}" for name in self.factors), EITHER_WAY)

    def cov(self, kind: str = "observed") -> pd.DataFrame:
        """Covariance matrix of the coefficients.

        Parameters
        ----------
        kind : {"observed", "robust", "robust:NAME", "two-way"}
            Inverse of the observed information; the sandwich of scores that are summed over the levels of the factor
            that was named first, or of the one with that name; or of rows that depend on each other where they share a
            level of either (Cameron, Gelbach and Miller 2011). Each m/(m - 1) is included.

        Returns
        -------
        DataFrame
            Rows and columns by coefficient.
        """
        return super().cov(kind)

    def _covariance(self, kind: str) -> Array:
        if kind == "observed":
            return self.fit.covariance
        codes, scores, inverse = self._codes_by_name, self._joint.scores, self.fit.covariance
        if kind == EITHER_WAY:
            return clustered_two_way(inverse, scores, *codes.values())
        return clustered(inverse, scores, codes[self.factors[0] if kind == "robust" else kind.partition(":")[2]])

    def _intercepts(self) -> Array:
        return self.fit.intercepts

    def _fitted_eta(self) -> Array:
        return self._eta(self.fit.intercepts) + self.fit.second[self.levels.codes]

    # Again -----------------------------------------------------------------------------------------------------------

    def _summit(self, threads: int) -> Summit:
        raise OptionError(
            "a profile of coefficients beside effects of two factors",
            "what is worked out for two factors, which this is not",
            'method="wald" or method="bootstrap"',
        )

    def _written_out(self, what: str) -> TwoWayResult:
        if (self.data.weights != 1.0).any():
            raise OptionError(
                f"{what} of a fit with weights and effects of two factors",
                "rows without weights",
                "each row written out",
            )
        return self

    def _check_units(self, what: str) -> None:
        self._refuse_crossed(what, "effects of two factors", 'bootstrap(), which draws responses; or cov="robust"')

    def _draw_new(self, rng: np.random.Generator) -> Array:
        return self._draw(self._fitted_eta(), rng)

    def _reestimate(self, new: ModelData) -> Array:
        control = Control()
        fit, used = fit_two_way(TwoWay(new, self.levels), self.response, None, control)
        fit = converged(fit)
        if self.fit.correction:
            fit = corrected_two_way(fit, used, self.response, "analytical", control)
        return fit.beta

    def residuals(self, kind: str = "response") -> pd.Series[float]:
        """Residuals of the rows that were used.

        Parameters
        ----------
        kind : {"response", "pearson", "deviance"}
            Observed minus mean; the same over its standard deviation; or the signed root of the row's deviance.

        Returns
        -------
        Series
            Index `row`: position in the user's table.
        """
        from clusterglm.inference.diagnostics.residuals import residuals

        check_option("kind", kind, RESIDUALS)
        values = residuals(kind, self.response, self._fitted_eta(), *self._single)
        return self._in_user_order(values, "residual")

    # In words --------------------------------------------------------------------------------------------------------

    @property
    def _intercepts_in_words(self) -> str:
        return "fixed, of two factors"

    @property
    def _in_words(self) -> str:
        return "two-way fixed effects"

    def _augmented(self) -> dict[str, NDArray[Any]]:
        found = super()._augmented()
        rest = {name: values for name, values in found.items() if name != "cluster"}
        labels = {
            str(self.data.cluster_name): found["cluster"],
            self.levels.group: self.levels.labels[self.levels.codes],
        }
        return {name: labels[name] for name in self.factors} | rest

    def _caveats_of_robust(self) -> list[Caveat]:
        return []

    def _glance(self) -> dict[str, Any]:
        sizes = {f"n_{name}": size for name, size in self.n_effects.items()}
        return super()._glance() | sizes | {
            "n_components": self.n_components, "residual_sd": self.fit.residual_sd,
            "bias_correction": self.fit.correction,
        }  # fmt: skip

    def _export(self) -> dict[str, Any]:
        return super()._export() | {
            "factors": list(self.factors),
            "n_effects": self.n_effects,
            "bias_correction": self.fit.correction or None,
            "cluster_effects": self.cluster_effects.to_dict(orient="records"),
        }

    def _summary(self) -> Summary:
        sizes = " and ".join(f"{size} of {name!r}" for name, size in self.n_effects.items())
        model = (
            ("Formula", self.formula),
            *self._response_facts(),
            ("Intercepts", f"fixed, {sizes}"),
            ("Observations", counted(self.n_obs, "row")),
            *self._weight_facts(),
        )
        facts = []
        if not np.isnan(self.fit.residual_sd):
            facts.append(("residual_sd", f"{self.fit.residual_sd:.5g}"))
        if self.n_components > 1:
            facts.append(("Levels", f"in {self.n_components} sets that have no rows in common"))
        if self.fit.correction:
            facts.append(("Bias", f"corrected: {self.fit.correction}"))
        return Summary(
            "Fixed effects of two factors, "
            + ("least squares" if not np.isnan(self.fit.residual_sd) else "maximum likelihood"),
            model,
            self._coefficients(),
            (*facts, *self._likelihood_facts(), *self._closing_facts()),
            tuple(self._notes()),
        )

    @property
    def _short(self) -> bool:
        """Whether so few rows belong to each effect that the bias of binomial coefficients is worth a sentence."""
        return self.response.intercepts_bias and self._few_rows

    @property
    def _few_rows(self) -> bool:
        return self.n_obs < _SHORT * self.data.n_clusters

    def _notes(self) -> list[str]:
        notes = list(self.data.notes)
        if self._short and not self.fit.correction and len(self.fit.beta) > 0:
            each = self.n_obs / self.data.n_clusters
            notes.insert(
                0,
                f"With {each:.3g} rows for each effect of {self.data.cluster_name!r}, coefficients are biased away "
                'from zero: bias_correction="analytical" takes off most of it.',
            )
        return notes


def with_fit(result: TwoWayResult, fit: TwoWayFit) -> TwoWayResult:
    """The result with other estimates of the same rows."""
    return replace(result, fit=fit)
