"""Results of normal responses: least squares, and linear mixed models by ML or REML."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, check_option
from clusterglm.fit.gaussian import (
    RESIDUAL,
    GaussianFit,
    GaussianPooledFit,
    fit_gaussian,
    fit_gaussian_pooled,
    responses,
)
from clusterglm.inference.uncertainty.bias_reduced import KINDS as FEW_CLUSTERS
from clusterglm.inference.uncertainty.covariance import KINDS, sandwich
from clusterglm.inference.uncertainty.degrees import KENWARD_ROGER
from clusterglm.inference.uncertainty.intervals import wald_interval_of_scale
from clusterglm.inference.uncertainty.mixed import standardised_covariance
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Parameters, coefficients, random_effects
from clusterglm.model.response.base import Response
from clusterglm.model.response.continuous.gaussian import GaussianIdentity
from clusterglm.results.models.base import Result
from clusterglm.results.models.mixed import MixedEffectsResult
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.refusing import only
from clusterglm.results.tables.table import Summary, counted
from clusterglm.results.topics.caveats import Caveat
from clusterglm.results.topics.gaussian_effects import GaussianEffects, LinearAverages
from clusterglm.results.topics.gaussian_prediction import GaussianPredictions
from clusterglm.results.topics.linear_sampling import LinearSampling
from clusterglm.results.topics.mixed_pieces import term_in_words

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.inference.uncertainty.degrees import Degrees
    from clusterglm.inference.uncertainty.kenward_roger import KenwardRoger
    from clusterglm.inference.uncertainty.peaks import Summit
    from clusterglm.inference.uncertainty.profiling import Crossing, Peak

_WORK = {
    "adjusted_means", "aic", "augment", "average_effects", "bic", "bootstrap", "bse", "conf_int", "converged", "cov",
    "cov_params", "data", "delta_method", "deviance", "df_resid", "drop_one", "family", "family_parameters",
    "family_response", "fit", "for_maketables", "formula", "glance", "jackknife", "kind", "link", "llf", "loglik",
    "n_clusters", "n_obs", "n_parameters", "nobs", "optimization", "params", "penalized_loglik", "penalty", "plot",
    "predict", "profile", "pvalues", "reml", "report", "residuals", "response", "save", "simulate", "summary",
    "term_tests", "tidy", "tvalues", "wald_test", "zvalues",
}  # fmt: skip
_OF_EFFECTS = {
    "clustering_test", "distribution", "effects_covariance", "icc", "intraclass_correlation", "pooled", "r2",
    "random_effects", "random_effects_covariance", "random_effects_sd", "sample", "shape", "sigma", "sigma_se",
    "singular", "variance_components",
}  # fmt: skip
_PARTS = ("coefficients", "terms", "average effects", "adjusted means", "random effects", "intercepts",
          "predictions")  # of a report  # fmt: skip
_COVARIED = ("all", "coefficients")
_RESIDUALS = ("response", "pearson", "quantile")


def _not_yet(result: Any, name: str) -> tuple[str, str, str]:
    return (
        f"{name} of a fit with family={result.family!r}",
        "what is worked out for normal responses, which this is not",
        "fit.predict, fit.residuals, fit.simulate or fit.conf_int",
    )


class GaussianResult(LinearAverages, Result):
    """What results of normal responses share: a residual standard deviation."""

    if TYPE_CHECKING:
        fit: GaussianFit | GaussianPooledFit

        @property
        def _inner(self) -> Parameters:
            """All parameters but the residual standard deviation."""

    @property
    def response(self) -> Response:
        return GaussianIdentity(self.fit.residual_sd)

    @property
    def reml(self) -> bool:
        """Whether `loglik` is the restricted log-likelihood, which does not compare with others of other covariates."""
        return self.fit.reml

    @property
    def family_parameters(self) -> pd.Series[float]:
        """The response's own parameter, `residual_sd`: the standard deviation about the mean given all effects."""
        import pandas as pd

        return pd.Series([self.fit.residual_sd], index=[RESIDUAL], name="estimate")

    @property
    def _parameters(self) -> Parameters:
        return self._inner.and_own((RESIDUAL,))

    @property
    def n_parameters(self) -> int:
        """Number of estimated parameters, the residual standard deviation among them, with REML too."""
        return len(self._parameters)

    @property
    def _covariances(self) -> tuple[str, ...]:
        return super()._covariances if self._over_clusters else KINDS[:1]

    @property
    def _over_clusters(self) -> bool:
        """Whether the log-likelihood is a sum over clusters."""
        return not self.reml

    def cov(self, kind: str = "observed", *, parameters: str = "all") -> pd.DataFrame:
        """Covariance matrix of the estimates.

        Parameters
        ----------
        kind : {"observed", "robust", "kenward_roger"}
            Inverse of the observed information, or the sandwich of per-cluster scores; see `PooledResult.cov`. REML
            and crossed factors have the first alone of these: their likelihoods are no sums over clusters. Of mixed
            models by REML also that of Kenward and Roger (Biometrics 53, 1997), whose coefficients' part has less bias
            in small samples: what `df="kenward_roger"` takes.
        parameters : {"all", "coefficients"}
            All of them: the coefficients, standard deviations and correlations, `residual_sd`. nan in the rows of those
            that have no standard error.

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
    def _with_intervals(self) -> Any:
        return self._parameters.estimated

    def drop_one(self) -> pd.DataFrame:
        """See `PooledResult.drop_one`; restricted likelihoods of different coefficients do not compare."""
        if self.reml:
            raise OptionError(
                "drop_one() of a fit by REML, whose likelihood does not compare with that of fewer covariates",
                "the full likelihood",
                "reml=False; or term_tests(), whose Wald tests need no other fit",
            )
        return super().drop_one()

    def _residual_error(self, cov: str = "observed") -> float:
        errors = np.sqrt(np.diag(self._covariance(cov)))
        return float(errors[self._parameters.own.start])

    def _residual_interval(self, level: float, cov: str) -> tuple[float, float]:
        return wald_interval_of_scale(self.fit.residual_sd, self._residual_error(cov), level)

    def _tidy(self, level: float, exponentiate: bool, cov: str) -> pd.DataFrame:
        import pandas as pd

        table = super()._tidy(level, exponentiate, cov)
        if "component" not in table:
            table.insert(0, "component", "coefficient")
        ends = self._residual_interval(level, cov)
        row = ["response", RESIDUAL, self.fit.residual_sd, self._residual_error(cov), np.nan, np.nan, *ends]
        return pd.concat([table, pd.DataFrame([row], columns=table.columns)], ignore_index=True)

    def _glance(self) -> dict[str, Any]:
        return {**super()._glance(), **self._residual_glance()}

    def _residual_glance(self) -> dict[str, Any]:
        return {"reml": self.reml, RESIDUAL: self.fit.residual_sd, f"{RESIDUAL}_se": self._residual_error()}

    def _export(self) -> dict[str, Any]:
        return super()._export() | {"reml": self.reml, "family_parameters": self.family_parameters.to_dict()}

    def _candidate(self, name: str) -> Candidate:
        return replace(super()._candidate(name), restricted=self.reml)

    def _response_facts(self) -> list[tuple[str, str]]:
        return [("Family, link", f"{self.family}, {self.link}")]

    def _residual_facts(self) -> list[tuple[str, str]]:
        error = f" (Std. Error {self._residual_error():.4g})"
        return [(RESIDUAL, f"{self.fit.residual_sd:.5g}{error}")]

    def _caveats_of_data(self) -> list[Caveat]:
        return [caveat for caveat in super()._caveats_of_data() if caveat.title != "Few events"]

    def _call(self) -> tuple[str, dict[str, Any]]:
        verb, known = super()._call()
        return verb, known | ({"reml": True} if self.reml else {})

    def _report_parts(self) -> list[str]:
        return [part for part in super()._report_parts() if part in _PARTS]

    @property
    def _in_words(self) -> str:
        return f"{self.family}{', REML' if self.reml else ''}, {super()._in_words}"

    def _refuse_profile(self) -> None:
        if self.reml:
            raise OptionError(
                "a profile of the restricted likelihood, in which there are no coefficients",
                "the full likelihood",
                "reml=False for profiles; or Wald intervals",
            )

    def _by_profile(self, level: float, names: list[str], n_jobs: int) -> tuple[Array, Array]:
        self._refuse_profile()
        return super()._by_profile(level, names, n_jobs)

    def profile(self, parameter: str, to: float = 3.0, points: int = 13, threads: int = 1) -> Any:
        """See `RandomEffectsResult.profile`: of a coefficient, a standard deviation or a correlation."""
        self._refuse_profile()
        return super().profile(parameter, to, points, threads)


@only(_WORK, _not_yet)
@dataclass(frozen=True, repr=False, eq=False)
class GaussianPooledResult(GaussianResult, PooledResult):
    """Least squares: normal responses without cluster effects."""

    fit: GaussianPooledFit  # type: ignore[assignment]

    _untested: ClassVar[str] = ""

    @property
    def _inner(self) -> Parameters:
        return coefficients(self.data.names)

    @property
    def deviance(self) -> float:
        """The weighted sum of squared residuals, as R's glm has it."""
        return float(self.fit.rss)

    def _degrees(self, R: Array, cov: str, together: bool = False) -> Degrees:
        from clusterglm.inference.uncertainty.degrees import Degrees

        if cov != "observed":
            return super()._degrees(R, cov, together)
        # of the residual variance: n, or n - p
        df = float(0.5 * (self.fit.residual_sd / self._residual_error()) ** 2)
        return Degrees(np.full(len(R), df), df, 1.0 / len(R))

    def _covariance(self, kind: str) -> Array:
        if kind == "observed":
            return self.fit.covariance
        if kind in FEW_CLUSTERS:
            mean = self._parameters.coefficients
            whole = np.full_like(self.fit.covariance, np.nan)  # they say nothing of the residual standard deviation
            whole[mean, mean] = self._bias_reduced.covariance(kind)
            return whole
        from clusterglm.inference.uncertainty.gaussian import least_squares_scores

        scores = least_squares_scores(self.data.rows, self.fit, by_row=not self._clustered)
        repeats = self._repeats.clusters
        repeats = repeats if self._clustered else self._repeats.rows * self._per_row(repeats)
        return sandwich(self.fit.covariance, scores, repeats)

    @property
    def _estimates(self) -> Array:
        return np.append(self.fit.beta, self.fit.residual_sd)

    def _wald(self, level: float, cov: str) -> tuple[Array, Array]:
        low, high = super()._wald(level, cov)
        low[-1], high[-1] = self._residual_interval(level, cov)
        return low, high

    def _delta_covariance(self, kind: str) -> Array:
        return self._covariance(kind)

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.gaussian_profiles import least_squares_summit

        return least_squares_summit(self.data.rows, self.fit)

    def _fitted_to(self, new: ModelData) -> GaussianPooledResult:
        fit = fit_gaussian_pooled(new, self.reml)
        return replace(self, fit=fit, data=new, family_response=GaussianIdentity(fit.residual_sd))

    def _reestimate(self, new: ModelData) -> Array:
        again = fit_gaussian_pooled(new, self.reml)
        return np.append(again.beta, again.residual_sd)

    def residuals(
        self, kind: str = "response", intercepts: Any = None, seed: Any = None, n_sim: int = 250
    ) -> pd.Series[float]:
        """Residuals of the rows that were used: observed minus mean, or ("pearson", "quantile") the same over its sd.

        Parameters
        ----------
        kind : {"response", "pearson", "quantile"}
        intercepts, seed, n_sim
            Of no use: there are no intercepts, and nothing is drawn.

        Returns
        -------
        Series
            Index `row`: position in the user's table.
        """
        check_option("kind", kind, _RESIDUALS)
        data = self.data.rows
        left = responses(data) - data.X @ self.fit.beta
        return self._in_user_order(left if kind == "response" else left / self.fit.residual_sd, "residual")

    def _likelihood_facts(self) -> list[tuple[str, str]]:
        (name, likelihood), *others = super()._likelihood_facts()
        return [(f"Restricted {name.lower()}" if self.reml else name, likelihood), *others]

    def _summary(self) -> Summary:
        plain = super()._summary()
        return replace(plain, title="Least squares, normal responses", facts=(*self._residual_facts(), *plain.facts))


@only(_WORK | _OF_EFFECTS, _not_yet)
@dataclass(frozen=True, repr=False, eq=False)
class GaussianMixedResult(LinearSampling, GaussianEffects, GaussianPredictions, GaussianResult, MixedEffectsResult):
    """A linear mixed model: normal responses with random effects of one grouping factor, of nested or crossed ones."""

    fit: GaussianFit  # type: ignore[assignment]

    _untested: ClassVar[str] = ""

    @property
    def _inner(self) -> Parameters:
        return random_effects(self.data.names, self._covariance_of.read_labels())

    @property
    def pooled(self) -> GaussianPooledResult:
        """The fit of this model without its random effects."""
        return GaussianPooledResult(self.fit.pooled, replace(self.data.rows, effects=None), self.response)

    @property
    def deviance(self) -> float:
        """-2 loglik, as R's lme4 has it; of the restricted log-likelihood with REML."""
        return -2.0 * self.loglik

    # Uncertainty -----------------------------------------------------------------------------------------------------

    @property
    def _over_clusters(self) -> bool:
        return not self.reml and all(levels.nested for levels in self.fit.effects.groupings)

    def _covariance(self, kind: str) -> Array:
        nowhere = np.append(self._on_boundary, False)
        return standardised_covariance(self._read[1], self._delta_covariance(kind), nowhere)

    def _degrees(self, R: Array, cov: str, together: bool = False) -> Degrees:
        from clusterglm.inference.uncertainty.gaussian import mixed_degrees

        if cov == KENWARD_ROGER:
            return self._kenward_roger.degrees(R)
        return mixed_degrees(self.fit, R) if cov == "observed" else super()._degrees(R, cov, together)

    @property
    def _covariances(self) -> tuple[str, ...]:
        return (*super()._covariances, *((KENWARD_ROGER,) if self.reml else ()))

    @property
    def _restricted(self) -> bool:
        return self.reml

    @cached_property
    def _kenward_roger(self) -> KenwardRoger:
        from clusterglm.inference.uncertainty.bias_reduced import refuse_weights
        from clusterglm.inference.uncertainty.kenward_roger import kenward_roger

        if not self.reml:
            raise OptionError(
                'df="kenward_roger" of a fit by maximum likelihood', "restricted maximum likelihood", "reml=True"
            )
        refuse_weights(self.data.rows.weights, self.data.rows.cluster_weights)
        return kenward_roger(self.fit)

    def _delta_covariance(self, kind: str) -> Array:
        if kind != KENWARD_ROGER:
            return super()._delta_covariance(kind)
        found, mean = super()._delta_covariance("observed"), self._parameters.coefficients
        found[mean, mean] = self._kenward_roger.covariance
        return found

    @cached_property
    def _scores(self) -> Array:
        from clusterglm.inference.uncertainty.gaussian import mixed_scores

        return mixed_scores(self.fit, self._effects_known)

    @property
    def _estimates(self) -> Array:
        return np.concatenate([self.fit.beta, self._read[0], [self.fit.residual_sd]])

    def _wald(self, level: float, cov: str) -> tuple[Array, Array]:
        check_option("cov", cov, self._covariances)
        low, high = super()._wald(level, cov)
        low[-1], high[-1] = self._residual_interval(level, cov)
        return low, high

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.gaussian_profiles import mixed_summit

        return mixed_summit(self.fit)

    def _crossing(self, peak: Peak, drop: float, side: int, begin: Crossing | None = None) -> Crossing:
        from clusterglm.inference.uncertainty.mixed_profiles import mixed_crossing

        return mixed_crossing(peak, drop, side, begin)

    def _fitted_to(self, new: ModelData) -> GaussianMixedResult:
        return replace(self, fit=fit_gaussian(new, self.reml, Control()), data=new)

    def _reestimate(self, new: ModelData) -> Array:
        from clusterglm.inference.uncertainty.bootstrap_intervals import converged

        again = converged(fit_gaussian(new, self.reml, Control()))
        return np.concatenate([again.beta, self._covariance_of.read(again.phi)[0], [again.residual_sd]])

    # Tables ----------------------------------------------------------------------------------------------------------

    def _glance(self) -> dict[str, Any]:
        return {
            **Result._glance(self),
            "distribution": "gaussian",
            "n_effects": self._covariance_of.n_effects,
            "singular": self.singular,
            **self._residual_glance(),
        }

    def _summary(self) -> Summary:
        seen = f"{counted(self.n_obs, 'row')}"
        levels = [f"{len(each.labels):,} of {each.group!r}" for each in self.fit.effects.groupings]
        model = (
            ("Formula", self.formula),
            *self._response_facts(),
            ("Random effects", "; ".join(map(term_in_words, self.fit.effects.terms))),
            ("Observations", f"{seen} in {' and '.join(levels)}"),
            *self._weight_facts(),
        )
        facts = [
            *self._component_facts(),
            *self._residual_facts(),
            *self._likelihood_facts(),
            *self._closing_facts(),
        ]
        title = "Linear mixed model, " + ("restricted maximum likelihood (REML)" if self.reml else "maximum likelihood")
        notes = (*self._boundary_notes(), *self.data.notes)
        return Summary(title, model, self._coefficients(), tuple(facts), notes)

    def _likelihood_facts(self) -> list[tuple[str, str]]:
        words = "Restricted log-likelihood" if self.reml else "Log-likelihood"
        return [
            (
                words,
                f"{self.loglik:.4f} ({counted(self.n_parameters, 'parameter')})   "
                f"AIC {self.aic:.2f}   BIC {self.bic:.2f}",
            )
        ]

    # Beside others, on pages ------------------------------------------------------------------------------------------

    def _candidate(self, name: str) -> Candidate:
        from clusterglm.inference.hypotheses.random_part import RandomPart
        from clusterglm.results.topics.pieces import Pieces

        terms = [(term.group, term.effects, term.structure) for term in self._covariance_of.terms]
        return replace(
            Pieces._candidate(self, name), random_part=RandomPart.of(terms, self.singular), restricted=self.reml
        )

    def _export(self) -> dict[str, Any]:
        return {
            "random_effects": self.variance_components.to_dict(orient="records"),
            "reml": self.reml,
            "family_parameters": self.family_parameters.to_dict(),
        }

    def _caveats_of_integration(self) -> list[Caveat]:
        return []

    @property
    def _without_integrals(self) -> str:
        return "a fit of normal responses, whose integrals are closed forms,"
