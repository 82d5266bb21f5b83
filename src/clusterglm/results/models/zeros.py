"""Results of zero-inflated counts: coefficients of counts, and of the probability that a zero is one for certain.

They are of their verb's class. What has not been worked out for them is refused by name (`WORK` lists what has).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.data.repeats import written_out
from clusterglm.data.resampled import clusters_taken, identified
from clusterglm.errors import OptionError
from clusterglm.fit.zero_estimates import ZeroPooledFit, ZeroRandomEffectsFit, with_zeros
from clusterglm.fit.zeros import zero_again, zero_pooled_again
from clusterglm.inference.hypotheses.clustering import at_boundary_in_words, likelihood_ratio
from clusterglm.inference.uncertainty.intervals import (
    wald_interval,
    wald_interval_of_scale,
    wald_p_values,
)
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters
from clusterglm.results.models.own import DispersionTest, OwnPooledResult, OwnRandomEffectsResult, OwnResult
from clusterglm.results.models.refusing import only
from clusterglm.results.tables.table import Coefficients, Summary, counted
from clusterglm.results.tables.tidy import as_coefficients
from clusterglm.results.topics.diagnostics import Diagnostics
from clusterglm.results.topics.newdata import Rows
from clusterglm.results.topics.resampling import Refit, as_units
from clusterglm.results.topics.zero_clustering import ZeroClustering
from clusterglm.results.topics.zero_diagnostics import ZeroDiagnostics
from clusterglm.results.topics.zero_effects import ZeroEffects
from clusterglm.results.topics.zero_prediction import ZeroPredictions, ZerosAtModes
from clusterglm.results.topics.zero_sampling import ZeroInterceptSampling

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.effects.zero_average import BothParts
    from clusterglm.inference.uncertainty.degrees import Degrees
    from clusterglm.inference.uncertainty.peaks import Summit

WORK = {
    "adjusted_means", "aic", "augment", "average_effects", "bic", "bootstrap", "bse", "calibration", "check",
    "clustering_test", "conf_int", "converged", "cov", "cov_params", "data", "delta_method", "deviance", "df_resid",
    "dispersion_lr_test", "dispersion_test", "distribution", "drop_one", "family", "family_parameters",
    "family_response", "fit", "formula", "glance", "icc", "influence", "integration_check", "integration_curve",
    "jackknife", "kind", "link", "llf", "loglik", "median_odds_ratio", "n_clusters", "n_obs", "n_parameters", "nobs",
    "optimization", "params", "penalized_loglik", "penalty", "plot", "pooled", "predict", "profile", "pvalues",
    "quadrature", "random_effects", "random_effects_sd", "ratios", "report", "residual_envelope", "residuals",
    "response", "sample", "save", "shape", "sigma", "sigma_se", "simulate", "summary", "term_tests", "test_clustering",
    "tidy", "tvalues", "wald_test", "zero_inflation", "zero_inflation_lr_test", "zero_inflation_test", "zvalues",
}  # fmt: skip
"""Members that work."""
_PARTS = (
    "coefficients", "terms", "average effects", "adjusted means", "intercepts", "intercepts at zero", "random effects",
    "sigma", "checks", "residuals", "calibration", "influence", "predictions", "integrals",
)  # fmt: skip
_ENDED = "a parameter of the response lies at the end of its range, where the reference is not known"


@dataclass(frozen=True)
class InflationTest:
    """Likelihood-ratio test of counts without inflation against zero-inflated ones.

    Parameters
    ----------
    statistic : float
        Twice the difference of the log-likelihoods, never negative.
    df : int
        Coefficients of zeros.
    pvalue : float
        P(T >= statistic) where there is one coefficient: T is 0 or chi-square on one degree of freedom with probability
        one half each, as P(a zero for certain) is 0, the end of its range. nan with more: the reference is not known.
    """

    statistic: float
    df: int
    pvalue: float

    def __str__(self) -> str:
        if np.isnan(self.pvalue):
            where = f"{self.df} coefficients; on the boundary, where the reference is not known: compare AIC"
            return f"likelihood ratio {self.statistic:.4g} ({where})"
        return at_boundary_in_words(self.statistic, self.pvalue)


_SUMS = "the distribution of a cluster's sum of counts, which no formula gives where zeros have a linear predictor"
_ONE_PREDICTOR = "one linear predictor, by which alone a row's mean moves"
_WHY = {
    "chi_squared": (_SUMS, "fit.plot.rootogram(), of the counts of single rows; fit.check()"),
    "event_counts": (_SUMS, "fit.plot.rootogram(), of the counts of single rows"),
    "gradient_function": ("intercepts of another distribution than the Gaussian, of which such counts have none yet",
                          "fit.residuals('quantile', 'marginal'), fit.check()"),
    "hausman": ("the same model with an intercept for every cluster, which there is not", "means of clusters as "
                "covariates, made before"),
    "integration_check": ("factors that do not cross: where they do, the summary has the error of the integrals",
        "quadrature='auto', which estimates it"),
    "integration_curve": ("factors that do not cross: where they do, the summary has the error of the integrals",
        "quadrature='auto', which estimates it"),
    "interval_odds_ratio": (_ONE_PREDICTOR, "fit.average_effects(), or fit.median_odds_ratio() of the counts"),
    "intraclass_correlation": ("a latent scale, which counts do not have",
                               "fit.median_odds_ratio(), the median ratio of two clusters' means of counts"),
    "marginal_coefficients": (_ONE_PREDICTOR, "fit.average_effects(), on the mean or with scale='zero'"),
    "r2": ("a variance on the scale of one linear predictor, of which shares could be explained",
           "fit.calibration(), or fit.predict() against the counts"),
    "survival": ("durations", "fit.predict(scale='zero')"),
    "to_marginaleffects": (_ONE_PREDICTOR, "fit.average_effects() and fit.adjusted_means(), which know both"),
    "for_maketables": ("a table of one block of coefficients", "cg.table, or fit.tidy()"),
}  # fmt: skip
"""Members without a meaning for such counts: what they would need, and what there is instead."""


def no_inflation(result: Any, name: str) -> tuple[str, str, str]:
    needed, instead = _WHY.get(name, ("what allows for a second linear predictor", "fit.predict, fit.simulate"))
    return f"{name} of a fit with {result._argument}=", needed, instead


class ZeroResult(ZeroEffects, ZeroPredictions, ZeroDiagnostics, OwnResult, Diagnostics):
    """What results of zero-inflated counts share."""

    _component: ClassVar[str] = "response"
    _headings: ClassVar[tuple[str, str]] = ("Counts (log of the mean)", "Zeros (log odds of a zero for certain)")
    _poisson_in_words: ClassVar[str] = "zero-inflated Poisson counts"
    _parts_known: ClassVar[tuple[str, ...]] = _PARTS
    _argument: ClassVar[str] = "zero_inflation"
    """Of the verb, that gives the second formula."""
    _silence: ClassVar[str] = "zeros alone: they say little of their intercepts"

    @property
    def _at_boundary(self) -> bool:
        """Whether no zero is for certain."""
        return bool(self.fit.zero_state == "boundary")

    @property
    def zero_inflation(self) -> str:
        """The formula of zeros, without the response."""
        return self._second_formula

    @property
    def _second_formula(self) -> str:
        return f"~{self._zero.formula.partition('~')[2]}"

    @property
    def _parameters(self) -> Parameters:
        return with_zeros(self._inner, self._inflated, self.fit.alpha_state, self.fit.zero_state)

    @property
    def family_parameters(self) -> pd.Series[float]:
        """Alpha of negative binomial counts, of the variance mean + alpha mean^2; nothing for Poisson counts."""
        import pandas as pd

        names = list(self._inflated.own[: self._k])
        return pd.Series(self._values[: self._k], index=names, name="estimate", dtype=np.float64)

    @property
    def dispersion_lr_test(self) -> DispersionTest:
        """Likelihood-ratio test against zero-inflated Poisson counts (alpha = 0), of negative binomial ones."""
        if self._k == 0:
            raise OptionError(
                f"a test of the dispersion of {self._poisson_in_words}",
                "counts with a dispersion",
                "the same model with family='negative_binomial'",
            )
        found = likelihood_ratio(self.loglik, float(self.fit.loglik_at_limit))
        return DispersionTest(self._poisson_in_words, found.statistic, found.pvalue)

    @property
    def zero_inflation_lr_test(self) -> InflationTest:
        """Likelihood-ratio test against the same model without inflation."""
        found = likelihood_ratio(self.loglik, float(self.fit.loglik_plain))
        df = len(self._zero.names)
        known = df == 1 and self._zero.has_intercept
        return InflationTest(found.statistic, df, found.pvalue if known else float("nan"))

    @property
    def deviance(self) -> float:
        """Minus twice the log-likelihood: no model with a mean for each row is there to compare with."""
        return -2.0 * float(self.loglik)

    # Coefficients of both --------------------------------------------------------------------------------------------

    def _with_zeros(self, ofcounts: pd.Series[float], values: Array) -> pd.Series[float]:
        import pandas as pd

        index = [*ofcounts.index, *self._inflated.own[self._k :]]
        return pd.Series(np.append(ofcounts.to_numpy(), values), index=index, name=ofcounts.name)

    @property
    def _zero_table(self) -> tuple[Array, Array, Array]:
        """Estimates, standard errors and z of the coefficients of zeros."""
        values, errors = self._values[self._k :], self._own_errors()[self._k :]
        with np.errstate(invalid="ignore"):
            return values, errors, values / errors

    @property
    def params(self) -> pd.Series[float]:
        """Coefficients by name: those of counts, and those of zeros, whose names begin with `zero: `."""
        return self._with_zeros(super().params, self._zero_table[0])

    @property
    def bse(self) -> pd.Series[float]:
        """Standard errors of these coefficients, from the observed information."""
        return self._with_zeros(super().bse, self._zero_table[1])

    @property
    def tvalues(self) -> pd.Series[float]:
        """These coefficients over their standard errors; normal in large samples."""
        return self._with_zeros(super().tvalues, self._zero_table[2])

    @property
    def pvalues(self) -> pd.Series[float]:
        """Two-sided p-values of the Wald tests that a coefficient is zero."""
        return self._with_zeros(super().pvalues, wald_p_values(self._zero_table[2]))

    def _covariance(self, kind: str) -> Array:
        if kind != "observed" and "boundary" in (self.fit.zero_state, self.fit.alpha_state):
            raise OptionError(
                "a robust covariance where the maximum lies at the end of a parameter's range",
                "a maximum inside",
                "the model that it is there, such as family='poisson'",
            )
        return super()._covariance(kind)

    def _own_errors(self, cov: str = "observed") -> Array:
        errors: Array = np.sqrt(np.diag(self._covariance(cov)))[len(self._inner) :]
        return errors

    def _own_intervals(self, level: float, cov: str) -> list[tuple[float, float]]:
        values, errors = self._values, self._own_errors(cov)
        ends = [
            wald_interval_of_scale(value, se, level)
            for value, se in zip(values[: self._k].tolist(), errors[: self._k].tolist(), strict=True)
        ]
        with np.errstate(invalid="ignore"):
            low, high = wald_interval(values[self._k :], errors[self._k :], level)
        return [*ends, *zip(low.tolist(), high.tolist(), strict=True)]

    def _refuse_profile_at_boundary(self) -> None:
        lost = [
            *(["sigma"] if getattr(self.fit, "boundary", False) else []),
            *(["alpha"] if self.fit.alpha_state == "boundary" and self._k else []),
            *(["P(a zero for certain)"] if self._at_boundary else []),
        ]
        if lost:
            raise OptionError(
                f"a profile where the maximum lies at {', '.join(lost)} = 0",
                "a maximum inside, where no parameter is at the end of its range",
                "the model that it is there; or Wald intervals",
            )

    @property
    def _untested_at_ends(self) -> str:
        return _ENDED if "boundary" in (self.fit.zero_state, self.fit.alpha_state if self._k else "free") else ""

    def _call(self) -> tuple[str, dict[str, Any]]:
        verb, known = super()._call()
        return verb, known | {self._argument: self._second_formula}

    def _export(self) -> dict[str, Any]:
        own = {self._argument: self._second_formula, "family_parameters": self.family_parameters.to_dict()}
        return super()._export() | own

    def _written_out(self, what: str) -> Any:
        found = super()._written_out(what)
        if found is self:
            return self
        fit = replace(found.fit, zero=written_out(self._zero, what))
        return replace(found, fit=fit)  # type: ignore[type-var]  # all results are dataclasses

    def _refit_of_clusters(self) -> Refit:
        data, zero = as_units(self.data.rows), as_units(self._zero)

        def refit(times: Array) -> Array:
            fit = replace(self.fit, zero=identified(clusters_taken(zero, times)))
            again: ZeroResult = replace(self, fit=fit)  # type: ignore[type-var]  # all results are dataclasses
            return again._reestimate(identified(clusters_taken(data, times)))

        return refit

    # Tables ----------------------------------------------------------------------------------------------------------

    @property
    def _in_words(self) -> str:
        return f"zero-inflated {super()._in_words}"

    def _tidy(self, level: float, exponentiate: bool, cov: str) -> pd.DataFrame:
        return as_coefficients(super()._tidy(level, exponentiate, cov), len(self._zero.names), "zero", exponentiate)

    def _glance(self) -> dict[str, Any]:
        zeros = {name for each in self._inflated.own[self._k :] for name in (each, f"{each}_se")}
        found = {name: value for name, value in super()._glance().items() if name not in zeros}
        return {**found, "zero_inflation": self._second_formula}

    def _response_facts(self) -> list[tuple[str, str]]:
        words = f"{self.family}, {self.link}"
        if self._k:
            words += f" ({self._inflated.meaning})"
        return [
            ("Family, link", words),
            ("Zero inflation", f"{self.zero_inflation}, logit of P(a zero for certain): positive means more zeros"),
        ]

    def _likelihood_facts(self) -> list[tuple[str, str]]:
        return [fact for fact in super()._likelihood_facts() if fact[0] != "Deviance"]

    def _own_facts(self) -> list[tuple[str, str]]:
        return [*self._alpha_facts(), ("No inflation", str(self.zero_inflation_lr_test))]

    def _alpha_facts(self) -> list[tuple[str, str]]:
        if self._k == 0:
            return []
        value, se = self._values[0], self._own_errors()[0]
        error = f" (Std. Error {se:.4g})" if np.isfinite(se) else " (the maximum lies at Poisson counts)"
        return [("alpha", f"{value:.5g}{error}"), ("No dispersion", str(self.dispersion_lr_test))]

    def _with_own_facts(self, plain: Summary) -> Summary:
        values, errors, z = self._zero_table
        names, notes = tuple(self._zero.names), plain.notes
        if self._at_boundary:
            words = (
                "The maximum lies where no zero is one for certain: the data have no more zeros than these counts "
                "explain. Coefficients of counts and their standard errors are those of the model without "
                "zero_inflation=, and coefficients of zeros have none."
            )
            notes = (words, *notes)
        if self._k and self.fit.alpha_state == "boundary":
            notes = ("The maximum lies at alpha = 0, Poisson counts: alpha has no standard error there.", *notes)
        silent = self._silent_clusters
        if silent:
            have = "has" if silent == 1 else "have"
            notes = (*notes, f"{counted(silent, 'cluster')} {have} {self._silence}.")
        zeros = Coefficients(names, values, errors, z, wald_p_values(z))
        return replace(
            plain,
            facts=(*self._own_facts(), *plain.facts),
            notes=notes,
            heading=self._headings[0],
            others=((self._headings[1], zeros),),
        )

    def _with_errors(self, found: Summary, kind: str, degrees: Degrees | None) -> Summary:
        table = self.tidy(cov=kind)
        own = table[table["component"] == "zero"]
        columns = (own[name].to_numpy() for name in ("estimate", "std_error", "z", "pvalue"))
        zeros = Coefficients(tuple(self._zero.names), *columns)
        return replace(super()._with_errors(found, kind, degrees), others=((self._headings[1], zeros),))

    @property
    def _silent_clusters(self) -> int:
        """Clusters with zeros alone, of random intercepts."""
        return 0


zero_inflated_only = only(WORK, no_inflation)


@zero_inflated_only
@dataclass(frozen=True, repr=False, eq=False)
class ZeroPooledResult(ZeroResult, OwnPooledResult):  # type: ignore[misc]
    """A model of zero-inflated counts without cluster effects."""

    fit: ZeroPooledFit

    @property
    def _spread(self) -> float:
        return 0.0

    def _fitted_to(self, new: ModelData) -> Any:
        again = self._again(new)
        return replace(self, fit=again, data=new, family_response=again.inflated)

    def _again(self, new: ModelData) -> ZeroPooledFit:
        return zero_pooled_again(self.fit, new)

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.zeros import zero_pooled_deletion

        return zero_pooled_deletion(self.fit, self.data.rows)

    def _reestimate(self, new: ModelData) -> Array:
        again = self._again(new)
        return self._found_again(again, again.beta)

    def _free_scores(self) -> tuple[Array, Array]:
        from clusterglm.inference.uncertainty.zeros import zero_pooled_scores

        repeats = self._repeats.clusters
        repeats = repeats if self._clustered else self._repeats.rows * self._per_row(repeats)
        return zero_pooled_scores(self.data.rows, self.fit, by_row=not self._clustered), repeats

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.zeros import zero_pooled_summit

        return zero_pooled_summit(self.data.rows, self.fit, threads)


@zero_inflated_only
@dataclass(frozen=True, repr=False, eq=False)
class ZeroRandomEffectsResult(  # type: ignore[misc]
    ZeroInterceptSampling, ZerosAtModes, ZeroClustering, ZeroResult, OwnRandomEffectsResult
):
    """A model of zero-inflated counts with a random intercept for each cluster in their linear predictor."""

    fit: ZeroRandomEffectsFit

    @property
    def pooled(self) -> ZeroPooledResult:
        """The fit of this model without its random intercepts."""
        fit = self.fit.pooled
        return ZeroPooledResult(fit, self.data, fit.inflated)

    def _fitted_to(self, new: ModelData) -> Any:
        return replace(self, fit=self._again(new), data=new)

    def _again(self, new: ModelData) -> ZeroRandomEffectsFit:
        return zero_again(self.fit, new)

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.zeros import zero_marginal_deletion

        return zero_marginal_deletion(self.fit, self.data.rows)

    def _predictor(self) -> Callable[[ModelData], Array]:
        from clusterglm.inference.diagnostics.zeros import zero_at_modes

        return zero_at_modes(self.fit)

    @property
    def _both(self) -> BothParts:
        return self._parts_with(np.array([[self.sigma]]), np.ones((1, 1, 1)), one_intercept=True)

    def _reestimate(self, new: ModelData) -> Array:
        again = self._again(new)
        return self._found_again(again, again.theta)

    def _free_scores(self) -> tuple[Array, Array]:
        from clusterglm.inference.uncertainty.zeros import zero_marginal_scores

        return zero_marginal_scores(self.data.rows, self.fit), self._repeats.clusters

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.zeros import zero_marginal_summit

        return zero_marginal_summit(self.data.rows, self.fit, threads)

    def _left_open(self, rows: Rows) -> Array:
        found = self.fit.accurate_intercepts(self.data.rows)
        return (found.sds**2 + (found.means - found.modes) ** 2)[self._codes(rows.unmarked())]

    @property
    def _silent_clusters(self) -> int:
        rows = self.data.rows
        return int(np.count_nonzero(np.add.reduceat(rows.a, rows.starts[:-1]) == 0.0))
