"""Results of models whose response has parameters of its own.

They are of their verb's class. What has not been worked out for such responses is refused by name (`WORK` lists what
has), so that nothing takes an estimated parameter for known without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, check_option
from clusterglm.fit.own import OwnPooledFit, OwnRandomEffectsFit, own_again, own_of, own_pooled_again
from clusterglm.inference.hypotheses.clustering import at_boundary_in_words, likelihood_ratio
from clusterglm.inference.uncertainty.intervals import wald_interval, wald_interval_of_scale
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Index, Parameters, State, coefficients
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.results.models.base import Result
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult
from clusterglm.results.models.reasons import WHY
from clusterglm.results.models.refusing import no_profile, only
from clusterglm.results.tables.table import Summary
from clusterglm.results.topics.caveats import Caveat
from clusterglm.results.topics.intervals import ProfileCurve
from clusterglm.results.topics.own_diagnostics import OwnDiagnostics
from clusterglm.results.topics.own_means import OwnMeans
from clusterglm.results.topics.own_sampling import OwnSampling

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.hypotheses.bootstrap import Refit
    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.inference.uncertainty.peaks import Summit

R = TypeVar("R")

WORK = {
    "adjusted_means", "aic", "augment", "average_effects", "bic", "bootstrap", "bse", "calibration", "check",
    "clustering_test", "conf_int", "converged", "cov", "cov_params", "data", "delta_method", "deviance", "df_resid",
    "dispersion_lr_test", "dispersion_test", "distribution", "drop_one", "family", "family_parameters",
    "family_response", "fit", "for_maketables", "formula", "glance", "icc", "influence", "integration_check",
    "integration_curve", "interval_odds_ratio", "jackknife", "kind", "link", "llf", "loglik",
    "marginal_coefficients", "median_odds_ratio", "n_clusters", "n_obs", "n_parameters", "nobs",
    "optimization", "params", "penalized_loglik", "penalty", "plot", "pooled", "predict", "profile", "pvalues",
    "quadrature", "random_effects", "random_effects_sd", "ratios", "report", "residual_envelope", "residuals",
    "response", "sample", "save", "shape", "sigma", "sigma_se", "simulate", "summary", "term_tests",
    "test_clustering", "tidy", "tvalues", "wald_test", "zero_inflation_test", "zvalues",
}  # fmt: skip
"""Members that work."""
_COVARIED = ("all", "coefficients")
_AT_BOUND = "a parameter of the response lies at the end of its range, where the reference is not known"


@dataclass(frozen=True)
class DispersionTest:
    """Likelihood-ratio test of a response without its own parameter, at the end of whose range that is.

    Parameters
    ----------
    against : str
        The model without the parameter, in words.
    statistic : float
        Twice the difference of the log-likelihoods, never negative.
    pvalue : float
        P(T >= statistic), where T is 0 or chi-square on one degree of freedom with probability one half each (Self and
        Liang, JASA 82, 1987).
    """

    against: str
    statistic: float
    pvalue: float

    def __str__(self) -> str:
        return at_boundary_in_words(self.statistic, self.pvalue)


def not_yet(result: Any, name: str) -> tuple[str, str, str]:
    needed, instead = WHY.get(name, ("what allows for their estimation, which this does not yet", "fit.predict"))
    return (
        f"{name} of a fit with family={result.family!r}, whose response has parameters of its own",
        needed,
        f"{_instead(result, name)}{instead}",
    )


def _instead(result: Any, name: str) -> str:
    limit = result._family.at_limit
    return "" if limit is None else f"family={limit.family!r} for {name}; or "


with_own_parameters = only(WORK, not_yet)


class OwnResult(OwnDiagnostics, OwnMeans, Result):
    """What results share whose response has parameters of its own."""

    if TYPE_CHECKING:
        fit: Any

        @property
        def _inner(self) -> Parameters:
            """All parameters but the response's own."""

    @property
    def _family(self) -> OwnParameters:
        """The response, without values where the maximum lies at their lower end."""
        found: OwnParameters = self.fit.response
        return found

    @property
    def family(self) -> str:
        return self._family.family

    @property
    def _own_state(self) -> State:
        state: State = self.fit.own_state
        return state

    @property
    def _parameters(self) -> Parameters:
        return self._inner.and_own(self._family.own, self._own_state)

    @property
    def _values(self) -> Array:
        """Of the response's parameters; `at_lower` at the lower end."""
        own = self._family
        return np.array(own.values) if own.values else np.full(len(own.own), own.at_lower)

    @property
    def n_parameters(self) -> int:
        """Number of estimated parameters, those of the response among them."""
        return len(self._parameters.only_estimated)

    @property
    def family_parameters(self) -> pd.Series[float]:
        """The response's own parameters by name; 0, or inf for `phi`, where the data are no more dispersed.

        Negative binomial: `alpha`, of the variance mean + alpha mean^2, or mean (1 + alpha) with "negative_binomial1".
        Beta-binomial: `phi`, of the variance n mean (1 - mean) (phi + n) / (phi + 1), which is larger for smaller phi.
        """
        import pandas as pd

        return pd.Series(self._values, index=list(self._family.own), name="estimate")

    @property
    def dispersion_lr_test(self) -> DispersionTest:
        """Likelihood-ratio test against the model without the response's own parameter (alpha = 0: Poisson).

        Raises
        ------
        OptionError
            Where no such model is a limit of this one.
        """
        if self._family.at_limit is None:
            raise OptionError(
                f"a test of the dispersion with family={self.family!r}",
                "a response that is a simpler one without its own parameter",
                "fit.conf_int(method='profile') for the parameter; cg.compare with a fit of another family",
            )
        found = likelihood_ratio(self.loglik, float(self.fit.loglik_at_limit))
        return DispersionTest(self._family.limit, found.statistic, found.pvalue)

    @property
    def deviance(self) -> float:
        """Twice the log-likelihood that means equal to the responses have more, at the same parameters of the family.

        Where the parameters are at the lower end of their range it is the deviance of the model there.
        """
        own, rows = self._family, self.data.rows
        if own.at_end:
            return super().deviance
        each = own.saturated(rows.a, rows.b) + own.log_constants(rows.a / rows.weights, rows.trials, rows.weights)
        return 2.0 * (float(self._per_row(rows.cluster_weights) @ each) - self.loglik)

    # Uncertainty -----------------------------------------------------------------------------------------------------

    def _free_scores(self) -> tuple[Array, Array]:
        """Scores in the free parameters, of clusters or rows, and how many each one stands for."""
        raise NotImplementedError

    def _covariance(self, kind: str) -> Array:
        observed: Array = self.fit.whole_covariance
        if kind == "observed":
            return observed
        from clusterglm.inference.uncertainty.covariance import sandwich

        parameters = self._parameters
        return parameters.nan_where_not_free(sandwich(parameters.of_free(observed), *self._free_scores()))

    def _delta_covariance(self, kind: str) -> Array:
        """That of the other parameters."""
        inner = slice(0, len(self._inner))
        return super()._delta_covariance(kind)[inner, inner]

    def cov(self, kind: str = "observed", *, parameters: str = "all") -> pd.DataFrame:
        """Covariance matrix of the estimates.

        Parameters
        ----------
        kind : {"observed", "robust"}
            Inverse of the observed information, or the sandwich of per-cluster scores; see `PooledResult.cov`.
        parameters : {"all", "coefficients"}
            All of them: the coefficients, `sigma` in a random-intercept model, the response's own. nan in the rows of
            those that have no standard error.

        Returns
        -------
        DataFrame
            Rows and columns by parameter.
        """
        check_option("parameters", parameters, _COVARIED)
        whole = super().cov(kind)
        names = list(self._parameters.names)
        chosen = names if parameters == "all" else names[self._parameters.coefficients]
        return whole.loc[chosen, chosen]

    @property
    def _estimates(self) -> Array:
        inner = np.append(self._beta, self.fit.sigma) if len(self._inner) > len(self._beta) else self._beta
        return np.append(inner, self._values)[self._parameters.estimated]

    @property
    def _with_intervals(self) -> Index:
        return self._parameters.estimated

    def _own_errors(self, cov: str = "observed") -> Array:
        return np.sqrt(np.diag(self._covariance(cov))[self._parameters.own])

    def _own_intervals(self, level: float, cov: str) -> list[tuple[float, float]]:
        """Wald intervals; of parameters that are scales on the log scale."""
        if not self._family.scales:
            return list(zip(*wald_interval(self._values, self._own_errors(cov), level), strict=True))
        pairs = zip(self._values.tolist(), self._own_errors(cov).tolist(), strict=True)
        return [wald_interval_of_scale(value, se, level) for value, se in pairs]

    def _wald(self, level: float, cov: str) -> tuple[Array, Array]:
        low, high = super()._wald(level, cov)
        if self._family.own:
            k = len(self._family.own)
            low[-k:], high[-k:] = np.array(self._own_intervals(level, cov)).T
        return low, high

    def _by_profile(self, level: float, names: list[str], n_jobs: int) -> tuple[Array, Array]:
        self._refuse_profile_at_boundary()
        return super()._by_profile(level, names, n_jobs)

    def profile(self, parameter: str, to: float = 3.0, points: int = 13, threads: int = 1) -> ProfileCurve:
        """See `RandomEffectsResult.profile`: of a coefficient, sigma, or a parameter of the response."""
        self._refuse_profile_at_boundary()
        return super().profile(parameter, to, points, threads)

    def _refuse_profile_at_boundary(self) -> None:
        raise NotImplementedError

    def _candidate(self, name: str) -> Candidate:
        """With the response whatever its parameters, which each fit estimates."""
        untested = _AT_BOUND if self._own_state == "boundary" else ""
        return replace(super()._candidate(name), response=replace(self._family, values=()), untested=untested)

    def _found_again(self, fit: Any, inner: Array) -> Array:
        """Estimates from other responses, in the order of `_estimates`."""
        from clusterglm.inference.uncertainty.bootstrap_intervals import converged

        own = converged(fit).response
        assert isinstance(own, OwnParameters)
        return np.append(inner, own.values or np.full(len(own.own), own.at_lower))[self._parameters.estimated]

    # Beside others, on pages -----------------------------------------------------------------------------------------

    _component: ClassVar[str] = "response"
    """What `tidy` calls the response's parameters."""
    _parts_known: ClassVar[tuple[str, ...]] = (
        "coefficients", "terms", "average effects", "adjusted means", "sigma", "random effects", "intercepts",
        "intercepts at zero", "checks", "residuals", "calibration", "influence", "predictions", "integrals",
    )  # fmt: skip
    """Parts of a report in which nothing takes an estimated parameter for known without a word."""

    @property
    def _in_words(self) -> str:
        return f"{self.family}, {super()._in_words}"

    def _report_parts(self) -> list[str]:
        return [part for part in super()._report_parts() if part in self._parts_known]

    def _tidy(self, level: float, exponentiate: bool, cov: str) -> pd.DataFrame:
        import pandas as pd

        table = super()._tidy(level, exponentiate, cov)
        if "component" not in table:
            table.insert(0, "component", "coefficient")
        errors, ends_of = self._own_errors(cov), self._own_intervals(level, cov)
        named = zip(self._family.own, self._values, errors, ends_of, strict=True)
        rows = [[self._component, name, value, se, np.nan, np.nan, *ends] for name, value, se, ends in named]
        return pd.concat([table, pd.DataFrame(rows, columns=table.columns)], ignore_index=True)

    def _glance(self) -> dict[str, Any]:
        named = dict(zip(self._family.own, self._values.tolist(), strict=True))
        errors = {f"{name}_se": float(se) for name, se in zip(self._family.own, self._own_errors(), strict=True)}
        return {**super()._glance(), **named, **errors}

    def _response_facts(self) -> list[tuple[str, str]]:
        return [("Family, link", f"{self.family}, {self.link} ({self._family.meaning})")]

    def _values_in_words(self) -> list[tuple[str, str]]:
        """The response's parameters."""
        facts: list[tuple[str, str]] = []
        for name, value, se in zip(self._family.own, self._values, self._own_errors(), strict=True):
            error = f" (Std. Error {se:.4g})" if np.isfinite(se) else f" (the maximum lies at {self._family.limit})"
            facts.append((name, f"{value:.5g}{error}"))
        return facts

    def _own_facts(self) -> list[tuple[str, str]]:
        """The response's parameters, and tests of them."""
        facts = self._values_in_words()
        return facts if self._family.at_limit is None else [*facts, ("No dispersion", str(self.dispersion_lr_test))]

    def _with_own_facts(self, plain: Summary) -> Summary:
        """A summary with what there is to say of the response's parameters."""
        facts, notes = self._own_facts(), plain.notes
        if self._own_state == "boundary":
            names = ", ".join(self._family.own)
            words = (
                f"The maximum lies at {names} = {self._family.at_lower:g}, {self._family.limit}: the data are not "
                f"more dispersed. Coefficients and standard errors are its own, and {names} has no standard error on "
                "the boundary."
            )
            notes = (words, *notes)
        return replace(plain, facts=(*facts, *plain.facts), notes=notes)


@with_own_parameters
@dataclass(frozen=True, repr=False, eq=False)
class OwnPooledResult(OwnResult, PooledResult):
    """A model without cluster effects whose response has parameters of its own, such as the negative binomial."""

    fit: OwnPooledFit
    _of_few_clusters: ClassVar[bool] = False

    @property
    def _inner(self) -> Parameters:
        return coefficients(self.data.names)

    def _fitted_to(self, new: ModelData) -> OwnPooledResult:
        again = own_pooled_again(self.fit, new)
        assert again.response is not None
        return replace(self, fit=again, data=new, family_response=again.response.as_fitted)

    def _reestimate(self, new: ModelData) -> Array:
        again = own_pooled_again(self.fit, new)
        return self._found_again(again, again.beta)

    def _summary(self) -> Summary:
        return self._with_own_facts(super()._summary())

    def _free_scores(self) -> tuple[Array, Array]:
        from clusterglm.inference.uncertainty.own import own_pooled_scores

        repeats = self._repeats.clusters
        repeats = repeats if self._clustered else self._repeats.rows * self._per_row(repeats)
        return own_pooled_scores(self.data.rows, self.fit, by_row=not self._clustered), repeats

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.own import own_pooled_deletion

        return own_pooled_deletion(self.fit, self.data.rows)

    def test_clustering(self) -> Any:
        """There is none: the score test takes the response's parameters for known."""
        raise OptionError(
            f"a score test of no clustering with family={self.family!r}",
            "a response without parameters of its own",
            "cg.random_effects, whose summary has the likelihood-ratio test, and test_clustering() a bootstrap",
        )

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.own import own_pooled_summit

        return own_pooled_summit(self.data.rows, self.fit, threads)

    def _refuse_profile_at_boundary(self) -> None:
        if self._own_state == "boundary":
            raise no_profile(f"{', '.join(self._family.own)} = {self._family.at_lower:g}", self._family.at_limit)


@with_own_parameters
@dataclass(frozen=True, repr=False, eq=False)
class OwnRandomEffectsResult(OwnSampling, OwnResult, RandomEffectsResult):
    """A random-intercept model whose response has parameters of its own, such as the negative binomial."""

    fit: OwnRandomEffectsFit
    _by_ratio = ("bootstrap", "boundary")
    _what_a_hint_advises = 'quadrature="auto" avoids it'

    @property
    def _inner(self) -> Parameters:
        return self.fit.parameters

    def _fitted_to(self, new: ModelData) -> OwnRandomEffectsResult:
        return replace(self, fit=own_again(self.fit, new), data=new)

    def _reestimate(self, new: ModelData) -> Array:
        again = own_again(self.fit, new)
        return self._found_again(again, again.theta)

    @property
    def response(self) -> Response:
        return own_of(self.fit).as_fitted

    @property
    def pooled(self) -> OwnPooledResult:
        """The fit of this model without its random intercepts."""
        return pooled_result(self.fit.pooled, self.data)

    def _summary(self) -> Summary:
        return self._with_own_facts(super()._summary())

    def _free_scores(self) -> tuple[Array, Array]:
        from clusterglm.inference.uncertainty.own import own_marginal_scores

        return own_marginal_scores(self.data.rows, self.fit), self._repeats.clusters

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.own import own_marginal_deletion

        return own_marginal_deletion(self.fit, self.data.rows)

    def _predictor(self) -> Callable[[ModelData], Array]:
        from clusterglm.inference.diagnostics.own import own_at_modes

        return own_at_modes(self.fit)

    def _refit(self, pooled: Any) -> Refit:
        from clusterglm.inference.hypotheses.bootstrap import refit_by

        return refit_by(lambda new: own_again(self.fit, new))

    @property
    def _null_response(self) -> Response:
        return self.pooled.response

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.own import own_marginal_summit

        return own_marginal_summit(self.data.rows, self.fit, threads)

    def _refuse_profile_at_boundary(self) -> None:
        ends = [f"{name} = {self._family.at_lower:g}" for name in self._family.own if self._own_state == "boundary"]
        lost = [*(["sigma = 0"] if self.fit.boundary else []), *ends]
        if lost or (self.fit.sigma_fixed and self.sigma == 0.0):
            raise no_profile(", ".join(lost) or "sigma = 0", self._family.at_limit)

    def _caveats_of_integration(self) -> list[Caveat]:
        if self.sigma == 0.0:
            return []
        if self.quadrature.requested.kind == "auto":
            if self._family.one_summit:
                return []
            words = (
                f"The error of the integrals is estimated, and not bounded: with family={self.family!r} the likelihood "
                "of a cluster may have several summits."
            )
            return [Caveat("Integrals of several summits", words)]
        words = f'The integrals are by {self.quadrature.requested}, with an error that was not estimated; "auto" does.'
        return [Caveat("Integrals by a fixed rule", words)]


def pooled_result(fit: OwnPooledFit, data: Any) -> OwnPooledResult:
    """The result of a pooled fit."""
    assert fit.response is not None
    return OwnPooledResult(fit, data, fit.response.as_fitted)
