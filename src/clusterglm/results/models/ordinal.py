"""Results of models of ordered categories: thresholds, and probabilities in place of a mean.

What asks for a mean of the response is refused by name (`WORK` lists what works).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, check_option
from clusterglm.fit.own import OwnPooledFit
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.model.response.own.cumulative import Cumulative
from clusterglm.results.models.base import Seed
from clusterglm.results.models.own import OwnPooledResult, OwnRandomEffectsResult, OwnResult
from clusterglm.results.models.reasons import OF_CATEGORIES
from clusterglm.results.models.refusing import only
from clusterglm.results.topics.by_threshold import ByThreshold
from clusterglm.results.topics.category_effects import CategoryEffects
from clusterglm.results.topics.diagnostics import Diagnostics
from clusterglm.results.topics.kinds import AtModes, Averaging, KindsInWords, with_moves
from clusterglm.results.topics.newdata import Rows, fitted_rows, new_rows
from clusterglm.results.topics.own_sampling import OrdinalSampling
from clusterglm.results.topics.testing import formula_terms

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.adequacy import Finding
    from clusterglm.inference.hypotheses.parallel import ParallelTest, Wider
    from clusterglm.inference.predictions.categories import CumulativeProbabilities
    from clusterglm.likelihood.plan import Plan
    from clusterglm.model.response.base import Response

WORK = {
    "adjusted_means", "aic", "average_effects", "bic", "bootstrap", "bse", "categories", "check", "clustering_test",
    "conf_int", "converged", "cov", "cov_params", "data", "delta_method", "deviance", "df_resid", "distribution",
    "drop_one", "family", "family_parameters", "family_response", "fit", "for_maketables", "formula", "glance", "icc",
    "influence", "integration_check", "integration_curve", "jackknife", "kind", "link", "llf", "loglik",
    "median_odds_ratio", "n_clusters", "n_obs", "n_parameters", "nobs", "nonparallel", "optimization",
    "parallel_test", "params", "penalized_loglik", "penalty", "plot", "pooled", "predict", "profile", "pvalues",
    "quadrature", "random_effects", "random_effects_sd", "ratios", "report", "residual_envelope", "residuals",
    "response", "sample", "save", "shape", "sigma", "sigma_se", "simulate", "summary", "term_tests",
    "test_clustering", "thresholds", "tidy", "tvalues", "wald_test", "zvalues",
}  # fmt: skip
"""Members that work."""
_SCALES = ("probability", "cumulative", "link")
_DRAWN = ("quantile", "simulated")
_UNRESOLVED = "the average over the intercept is not known accurately"
_PARTS = (
    "coefficients", "terms", "average effects", "adjusted means", "sigma", "random effects", "intercepts",
    "intercepts at zero", "checks", "residuals", "influence", "predictions", "integrals",
)  # of a report  # fmt: skip


def no_mean(result: Any, name: str) -> tuple[str, str, str]:
    otherwise = "a response with a mean", "fit.predict for the probability of each category, fit.ratios, fit.residuals"
    return f"{name} of a fit with family={result.family!r}", *OF_CATEGORIES.get(name, otherwise)


class OrdinalResult(CategoryEffects, ByThreshold, KindsInWords, OwnResult, Diagnostics):
    """What results of ordered categories share."""

    _component: ClassVar[str] = "threshold"
    _scales = _SCALES

    @property
    def _cumulative(self) -> Cumulative:
        found = self._family
        assert isinstance(found, Cumulative)
        return found

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, from the lowest to the highest."""
        return self._cumulative.levels

    @property
    def thresholds(self) -> pd.Series[float]:
        """The thresholds, by the categories on their two sides: P(Y <= c) = F(threshold - linear predictor)."""
        return self.family_parameters.iloc[: self._cumulative.n_thresholds]

    # Predictions -----------------------------------------------------------------------------------------------------

    @property
    def _drawn_outcomes(self) -> str:  # type: ignore[override]
        return self.data.response_name

    def _by_outcome(self, predicted: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
        return [
            (str(name), part.reset_index("category"))
            for name, part in predicted.groupby(level="category", sort=False, observed=True)
        ]

    @with_alpha
    def predict(
        self,
        data: Any = None,
        kind: str | ArrayLike | None = None,
        *,
        scale: str = "probability",
        level: float | None = None,
        cov: str = "observed",
    ) -> pd.Series[float] | pd.DataFrame:
        """Probabilities of the categories, of rows of the fitted data or of new data.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
        kind : {"typical", "conditional", "marginal"} or array_like, optional
            At an intercept of zero, that of a typical cluster (the default); at the posterior mode of the row's own
            cluster; averaged over the distribution of intercepts; or a number, or one for each row of the answer. In a
            pooled model the words mean the same. On mass points "conditional" (or "posterior") averages over them with
            their probabilities given the data of the row's cluster, and is the default; there is no "typical".
        scale : {"probability", "cumulative", "link"}
            Of each category; of being at most in each category but the last; or the linear predictor, thresholds left
            out, offsets included.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.

        Returns
        -------
        DataFrame or Series
            Index `row`: position in the table; a column for each category. With `level`, a row for each row and
            category, with `estimate`, `std_error` (delta method), `low`, `high` (an interval of log odds, transformed)
            and `status`: "ok", or what is missing. A Series for the linear predictor.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance.
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted: they are nan.
        """
        import pandas as pd

        from clusterglm.inference.predictions.categories import of_categories

        check_option("scale", scale, _SCALES)
        check_option("cov", cov, self._covariances)
        rows = fitted_rows(self.data.rows) if data is None else new_rows(self.data, data)
        covariates = self._covariates_of(rows)
        eta, averaged = self._eta_of(rows, kind)
        order = np.argsort(rows.index, kind="stable")
        index = pd.Index(rows.index[order], name="row")
        if scale == "link":
            if averaged or level is not None:
                raise OptionError(
                    f"scale='link' with {'kind=' + repr(kind) if averaged else f'level={level!r}'}",
                    "a linear predictor at an intercept, without an interval",
                    "scale='cumulative' or 'probability'",
                )
            rows.status.warn(stacklevel=3)
            return pd.Series(eta[order], index=index, name="linear_predictor")
        found, known = self._cumulative_at(eta, averaged, rows, covariates)
        rows.status.note(_at(known, ~found.resolved, rows.size), _UNRESOLVED)
        names = list(self.categories if scale == "probability" else self.categories[:-1])
        if level is not None:
            moves = self._moves(rows, kind, cov)
            return self._with_levels(found, known, (rows, covariates, moves), scale, check_level(level), cov)
        rows.status.warn(stacklevel=3)
        values = found.value
        if scale == "probability":
            at = self._thresholds_of(covariates, known)
            values = of_categories(values) if averaged else self._cumulative.probabilities(eta[known], at)
        whole = np.full((rows.size, len(names)), np.nan)
        whole[known] = values
        return pd.DataFrame(whole[order], index=index, columns=pd.Index(names, name=self.data.response_name))

    def _thresholds_of(self, covariates: Array, known: NDArray[np.int64]) -> Array:
        """Of the rows that can be predicted; shape (k,) where all have the same."""
        return self._cumulative.thresholds_at(covariates[known])

    def _cumulative_at(
        self, eta: Array, averaged: Averaging, rows: Rows, covariates: Array
    ) -> tuple[CumulativeProbabilities, NDArray[np.int64]]:
        """Cumulative probabilities of the rows that can be predicted, and which these are."""
        from clusterglm.inference.predictions.categories import cumulative_probabilities

        known = np.flatnonzero(~np.isnan(eta))
        sigma, distribution = self._spread_of_intercepts if averaged else (0.0, None)
        at = self._thresholds_of(covariates, known)
        return cumulative_probabilities(self._cumulative, at, eta[known], sigma, distribution), known

    @property
    def _spread_of_intercepts(self) -> tuple[float, Any]:
        return 0.0, None

    def _with_levels(
        self,
        found: CumulativeProbabilities,
        known: NDArray[np.int64],
        of: tuple[Rows, Array, Array | None],
        scale: str,
        level: float,
        cov: str,
    ) -> pd.DataFrame:
        import pandas as pd

        from clusterglm.inference.predictions.categories import (
            gradients_of_categories,
            of_categories,
            with_intervals,
        )
        from clusterglm.results.tables.frame import shown

        rows, covariates, moves = of
        moves = None if moves is None else moves[known]
        gradient, estimate = self._gradients(found, rows, covariates, known), found.value
        gradient, V = with_moves(gradient, -found.by_threshold, moves, self._covariance_of_predictions(cov))
        names = self.categories[:-1]
        if scale == "probability":
            gradient, estimate, names = gradients_of_categories(gradient), of_categories(estimate), self.categories
        at = with_intervals(estimate, gradient, V, level)
        order, c = np.argsort(rows.index, kind="stable"), len(names)

        def listed(values: Array) -> Array:
            whole = np.full((rows.size, c), np.nan)
            whole[known] = values
            return whole[order].ravel()

        index = pd.MultiIndex.from_product([rows.index[order], list(names)], names=["row", "category"])
        columns = {"estimate": at.estimate, "std_error": at.std_error, "low": at.low, "high": at.high}
        table = pd.DataFrame({name: listed(values) for name, values in columns.items()}, index=index)
        table["status"] = np.repeat(rows.status.text[order], c)
        return shown(table)

    def _gradients(
        self, found: CumulativeProbabilities, rows: Rows, covariates: Array, known: NDArray[np.int64]
    ) -> Array:
        """Of cumulative probabilities in all parameters, shape (n, k, q)."""
        from clusterglm.inference.predictions.categories import gradients

        moves = self._cumulative.by_covariates(covariates[known])
        return gradients(found, rows.X[known], self._of_effects(rows, known), moves)

    def _of_effects(self, rows: Rows, known: NDArray[np.int64]) -> Array:
        """Of some rows, derivatives of what probabilities are averaged over in the parameters of its distribution."""
        return np.ones((len(known), len(self._inner) - len(self._beta)))

    # Proportional odds -----------------------------------------------------------------------------------------------

    def parallel_test(self, method: str = "score") -> ParallelTest:
        """Test that covariates' effects are the same at all thresholds, as proportional odds assume.

        Parameters
        ----------
        method : {"score", "lr"}
            The score test, for which the model with effects of each threshold is not fitted; or the likelihood ratio
            with that model, fitted for all terms and for each. A variance that lies at 0 is held there.

        Returns
        -------
        ParallelTest
            Of all terms of the formula together, and of each, by chi-square; prints as a table. Terms in `nonparallel=`
            have their own effects at each threshold already, and stand beside.

        Raises
        ------
        OptionError
            On another method; with another link than the logit, without covariates, or with two categories.

        Notes
        -----
        In the wider model, that of `nonparallel=`, the effects of a term at threshold c are those at the first one and
        a difference: P(Y <= c) = F(threshold_c - x'(beta + delta_c)). Thresholds must be in order for every row. A
        ratio is nan, with its reason, where the likelihood rises up to where they cross; where covariates separate
        responses at a threshold, so that `nonparallel=` refuses the fit, it is that of the limit.
        """
        from clusterglm.inference.hypotheses.parallel import METHODS, parallel_test

        check_option("method", method, METHODS)

        if not self._cumulative.by_shifts or self._cumulative.reversed:
            raise OptionError(
                f"a test of parallel effects with link={self.link!r}",
                "link='logit', whose score in effects at each threshold is known",
                "the same model with link='logit'",
            )
        terms = formula_terms(self.data)
        if not terms or len(self.categories) < 3:
            what = "with two categories" if len(self.categories) < 3 else "of nothing"
            if self._many:
                what = "where every term has coefficients at each threshold already"
            raise OptionError(
                f"a test of parallel effects {what}",
                "covariates, and at least three categories",
                "cg.compare with the fit without nonparallel=" if self._many else "a formula with covariates",
            )
        return parallel_test(self.data.rows, self._cumulative, self._beta, self._wider, terms, method)

    def _wider(self, data: ModelData, beta: Array) -> Wider:
        """The log-likelihood of kernel rows with more columns, in their coefficients and what else was estimated."""
        from clusterglm.inference.hypotheses.parallel import Wider
        from clusterglm.likelihood.evaluation import core_problem
        from clusterglm.likelihood.pooled import evaluate_pooled

        problem = core_problem(data.X, data, self._kernel)
        return Wider(lambda theta: evaluate_pooled(problem, theta), np.zeros(0))

    @property
    def _kernel(self) -> Response:
        rows = self.data.rows
        return self._cumulative.kernel_rows(rows.a[:1], rows.b[:1]).response

    # Draws and residuals ---------------------------------------------------------------------------------------------

    def simulate(self, n: int = 1, seed: Seed = None) -> pd.DataFrame:
        """Draw new responses for the rows that were used; see `PooledResult.simulate`.

        Returns
        -------
        DataFrame
            Index `row`, columns 0 to n - 1: ordered categoricals.
        """
        import pandas as pd

        drawn = super().simulate(n, seed)
        kind = pd.CategoricalDtype(list(self.categories), ordered=True)
        made = {
            j: pd.Categorical.from_codes(self._cumulative.category(drawn[j].to_numpy()), dtype=kind)
            for j in drawn.columns
        }
        return pd.DataFrame(made, index=drawn.index)

    def residuals(
        self,
        kind: str = "quantile",
        intercepts: str | ArrayLike | None = None,
        seed: Seed = None,
        n_sim: int = 250,
    ) -> pd.Series[float]:
        """Residuals of the rows that were used: see `PooledResult.residuals`.

        Parameters
        ----------
        kind : {"quantile", "simulated"}
            Randomised quantile residuals, standard normal if the model holds, or ranks among simulated responses.
        intercepts, seed, n_sim
            As there.

        Raises
        ------
        OptionError
            On another kind: a category less its mean is not defined.
        """
        check_option("kind", kind, _DRAWN)
        return super().residuals(kind, intercepts, seed, n_sim)

    def _dispersion_finding(self, n_sim: int, seed: int) -> Finding:
        from clusterglm.inference.diagnostics.adequacy import Finding

        return Finding("Dispersion", None, "categories have none beside their probabilities")

    # Tables ----------------------------------------------------------------------------------------------------------

    def _glance(self) -> dict[str, Any]:
        own = {name for each in self._family.own for name in (each, f"{each}_se")}
        return {name: value for name, value in super()._glance().items() if name not in own}

    def _own_facts(self) -> list[tuple[str, str]]:
        k = self._cumulative.n_thresholds
        named = zip(self._family.own[:k], self._values[:k], self._own_errors()[:k], strict=True)
        return [
            (f"Threshold {name}", f"{value:.5g}" + (f" (Std. Error {se:.4g})" if np.isfinite(se) else ""))
            for name, value, se in named
        ]

    def _response_facts(self) -> list[tuple[str, str]]:
        return [
            ("Family, link", f"{self.family}, {self.link} (a positive coefficient means higher categories)"),
            ("Categories", " < ".join(self.categories)),
            *self._facts_at_thresholds,
        ]

    def _report_parts(self) -> list[str]:
        return [part for part in super()._report_parts() if part in _PARTS]


def _at(known: NDArray[np.int64], which: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Marks of some rows as marks of all."""
    whole = np.zeros(n, dtype=bool)
    whole[known] = which
    return whole


@only(WORK, no_mean)
@dataclass(frozen=True, repr=False, eq=False)
class OrdinalPooledResult(OrdinalResult, OwnPooledResult):  # type: ignore[misc]
    """A model of ordered categories without cluster effects."""


@only(WORK, no_mean)
@dataclass(frozen=True, repr=False, eq=False)
class OrdinalRandomEffectsResult(OrdinalSampling, AtModes, OrdinalResult, OwnRandomEffectsResult):  # type: ignore[misc]
    """A model of ordered categories with a random intercept for each cluster."""

    _mean_kinds = ("marginal", "typical")

    @property
    def pooled(self) -> OrdinalPooledResult:
        """The fit of this model without its random intercepts."""
        return ordinal_pooled(self.fit.pooled, self.data)

    @property
    def _spread_of_intercepts(self) -> tuple[float, Any]:
        return self.sigma, self.distribution

    def _wider(self, data: ModelData, beta: Array) -> Wider:
        from clusterglm.engine.base import InMemory
        from clusterglm.engine.block import Block
        from clusterglm.fit.sums import MarginalSums, in_free
        from clusterglm.inference.hypotheses.parallel import At, Wider
        from clusterglm.model.parameters import random_intercept

        if self.sigma == 0.0:
            return super()._wider(data, beta)
        block, requested = Block(data.X, data, self._kernel, 1), self.quadrature.requested
        likelihood = MarginalSums(InMemory(block), data.n_clusters, self.fit.integrator, 1.0)
        parameters = random_intercept(len(beta), state=self.fit.sigma_state)
        known = np.append(beta, self.sigma)

        def by(plan: Plan) -> At:
            return lambda free: in_free(likelihood.evaluate(parameters.filled(free, known), plan), parameters)

        def laid_at(free: Array) -> At:
            return by(likelihood.choose(parameters.filled(free, known), requested.tolerance).plan)

        others = known[parameters.free][len(beta) :]
        return Wider(by(self.fit.plan), others, laid_at if requested.kind == "auto" else None)


def ordinal_pooled(fit: OwnPooledFit, data: Any) -> OrdinalPooledResult:
    """The result of a pooled fit."""
    assert fit.response is not None
    return OrdinalPooledResult(fit, data, fit.response)
