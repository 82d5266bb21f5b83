"""Results of penalised quasi-likelihood: estimates and predictions, and no likelihood."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, check_option
from clusterglm.fit.gaussian import RESIDUAL
from clusterglm.fit.pql import PqlFit, fit_pql
from clusterglm.inference.uncertainty.covariance import KINDS
from clusterglm.inference.uncertainty.intervals import wald_interval_of_scale
from clusterglm.inference.uncertainty.mixed import standardised_covariance
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Parameters, random_effects
from clusterglm.results.models.base import Result
from clusterglm.results.models.mixed import MixedEffectsResult
from clusterglm.results.models.refusing import only
from clusterglm.results.tables.table import Summary, counted
from clusterglm.results.topics.caveats import Caveat
from clusterglm.results.topics.gaussian_effects import GaussianEffects
from clusterglm.results.topics.mixed_pieces import term_in_words
from clusterglm.results.topics.quasi_prediction import QuasiPredictions
from clusterglm.results.topics.testing import Hypotheses

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects
    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.results.topics.effect_rows import EffectRows

_WORK = {
    "adjusted_means", "augment", "average_effects", "bootstrap", "bse", "conf_int", "converged", "cov", "cov_params",
    "data", "delta_method", "df_resid", "dispersion", "distribution", "effects_covariance", "family",
    "family_parameters", "fit", "for_maketables", "formula", "glance", "jackknife", "kind", "link", "n_clusters",
    "n_obs", "n_parameters", "nobs", "optimization", "params", "penalty", "plot", "pooled", "predict", "pvalues",
    "random_effects", "random_effects_covariance", "random_effects_sd", "ratios", "report", "residuals", "response",
    "save", "shape", "sigma", "sigma_se", "simulate", "singular", "summary", "term_tests", "tidy", "tvalues",
    "variance_components", "wald_test", "zvalues",
}  # fmt: skip
_OF_LIKELIHOOD = {
    "aic", "bic", "clustering_test", "deviance", "drop_one", "llf", "loglik", "penalized_loglik", "profile", "sample",
    "test_clustering",
}  # fmt: skip
_PARTS = ("coefficients", "terms", "average effects", "adjusted means", "predictions", "random effects")  # of a report
_WITHOUT = "a fit by penalised quasi-likelihood, which maximises no likelihood of the responses"
_TELLS_LITTLE = 50.0  # trials, or counts, of a level of a factor up to which the bias is said
_TELLS_HARDLY = 10.0  # and up to which it is serious
_EXACT = 'quadrature="auto", the maximum of the likelihood'


def _without(result: Any, name: str) -> tuple[str, str, str]:
    if name in _OF_LIKELIHOOD:
        return f"{name} of {_WITHOUT}", "a likelihood", _EXACT
    return (
        f"{name} of a fit with quadrature={result.fit.quasi!r}",
        "what is worked out for penalised quasi-likelihood, which this is not",
        f"fit.predict, fit.residuals, fit.conf_int; or {_EXACT}",
    )


@only(_WORK, _without)
@dataclass(frozen=True, repr=False, eq=False)
class QuasiResult(GaussianEffects, QuasiPredictions, MixedEffectsResult):
    """A generalised linear mixed model by penalised quasi-likelihood, with random effects of any grouping factors."""

    fit: PqlFit  # type: ignore[assignment]

    _untested: ClassVar[str] = "penalised quasi-likelihood maximises no likelihood"

    # The estimates ---------------------------------------------------------------------------------------------------

    @property
    def dispersion(self) -> float:
        """The responses' variance over that of their distribution, phi: 1 with "pql", estimated with "pql-ml"."""
        return float(self.fit.residual_sd**2)

    @property
    def family_parameters(self) -> pd.Series[float]:
        """`residual_sd`, the root of the dispersion, where that is estimated."""
        import pandas as pd

        return pd.Series([self.fit.residual_sd], index=[RESIDUAL], name="estimate").iloc[: self._free]

    @property
    def _free(self) -> int:
        """1 where the dispersion is estimated."""
        return int(self.fit.form.known_sd is None)

    @property
    def _parameters(self) -> Parameters:
        inner = random_effects(self.data.names, self._covariance_of.read_labels())
        return inner.and_own((RESIDUAL,)) if self._free else inner

    @property
    def _covariances(self) -> tuple[str, ...]:
        return KINDS[:1]

    def _covariance(self, kind: str) -> Array:
        nowhere = np.append(self._on_boundary, np.zeros(self._free, dtype=bool))
        return standardised_covariance(self._read[1], self._delta_covariance(kind), nowhere)

    def cov(self, kind: str = "observed", *, parameters: str = "all") -> pd.DataFrame:
        """Covariance matrix of the estimates, from the last working model, whose weights are taken as known.

        Parameters
        ----------
        kind : {"observed"}
            Of generalised least squares for the coefficients; inverse of the observed information of the working
            model's likelihood for the others.
        parameters : {"all", "coefficients"}
            All of them: the coefficients, standard deviations and correlations, and `residual_sd` where the dispersion
            is estimated. nan in the rows of those that have no standard error.

        Returns
        -------
        DataFrame
            Rows and columns by parameter.
        """
        check_option("parameters", parameters, ("all", "coefficients"))
        whole, names = super().cov(kind), list(self._parameters.names)
        chosen = names if parameters == "all" else names[self._parameters.coefficients]
        return whole.loc[chosen, chosen]

    @property
    def _estimates(self) -> Array:
        return np.concatenate([self.fit.beta, self._read[0], [self.fit.residual_sd] * self._free])

    def _wald(self, level: float, cov: str) -> tuple[Array, Array]:
        check_option("cov", cov, self._covariances)
        low, high = super()._wald(level, cov)
        if self._free:
            low[-1], high[-1] = wald_interval_of_scale(self.fit.residual_sd, self._residual_error(), level)
        return low, high

    def _residual_error(self) -> float:
        errors = np.sqrt(np.diag(self._covariance("observed")))
        return float(errors[self._parameters.own.start])

    def _by_profile(self, level: float, names: list[str], n_jobs: int) -> NoReturn:
        raise OptionError(f"profile intervals of {_WITHOUT}", "a likelihood", f'method="wald"; or {_EXACT}')

    def _check_draws(self) -> None:
        if self._free:
            raise OptionError(
                f"responses drawn from a model with an estimated dispersion ({self.dispersion:.4g})",
                "a distribution of the responses, which a dispersion other than 1 does not leave",
                'quadrature="pql", whose dispersion is 1',
            )

    def _draw_new(self, rng: np.random.Generator) -> Array:
        self._check_draws()
        return super()._draw_new(rng)

    def _reestimate(self, new: ModelData) -> Array:
        from clusterglm.inference.uncertainty.bootstrap_intervals import converged

        again = converged(fit_pql(new, self.response, self.fit.form, Control(), self.fit.beta))
        return np.concatenate([again.beta, self._covariance_of.read(again.phi)[0], [again.residual_sd] * self._free])

    def _fitted_to(self, new: ModelData) -> QuasiResult:
        return replace(self, fit=fit_pql(new, self.response, self.fit.form, Control()), data=new)

    def _call(self) -> tuple[str, dict[str, Any]]:
        verb, known = Hypotheses._call(self)
        return verb, known | {"quadrature": self.fit.quasi}

    # Averages --------------------------------------------------------------------------------------------------------

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "response"
    ) -> AverageEffects:
        from clusterglm.inference.effects.mixed_average import effects_in_clusters, effects_over_clusters

        if kind == "conditional":
            raise OptionError(
                f'kind="conditional" of averages over rows, of {_WITHOUT.partition(",")[0]}',
                'kind="marginal" or "typical"',
                'predict(kind="conditional"), for single rows',
            )
        fit = self.fit.without_dispersion
        kept = np.ix_(*[np.arange(len(fit.parameters))] * 2)
        V = self._delta_covariance(cov)[kept]
        if kind == "marginal":
            return effects_over_clusters(changes, fit, rows.offset, rows.weights, V, link=scale == "link")
        return effects_in_clusters(changes, fit, rows.offset, rows.weights, V, None, link=scale == "link")

    # Tables ----------------------------------------------------------------------------------------------------------

    def _tidy(self, level: float, exponentiate: bool, cov: str) -> pd.DataFrame:
        import pandas as pd

        table = super()._tidy(level, exponentiate, cov)
        if not self._free:
            return table
        ends = wald_interval_of_scale(self.fit.residual_sd, self._residual_error(), level)
        row = ["response", RESIDUAL, self.fit.residual_sd, self._residual_error(), np.nan, np.nan, *ends]
        return pd.concat([table, pd.DataFrame([row], columns=table.columns)], ignore_index=True)

    def _glance(self) -> dict[str, Any]:
        counts, story = self._counts, self.optimization
        return {
            "family": self.family,
            "link": self.link,
            "n_obs": self.n_obs,
            "n_clusters": self.n_clusters,
            "weighted": " and ".join(counts.weighted),
            "sum_weights": counts.sum_rows,
            "sum_cluster_weights": counts.sum_clusters,
            "n_parameters": self.n_parameters,
            **dict.fromkeys(("loglik", "aic", "bic", "deviance"), np.nan),
            "df_resid": self.df_resid,
            "converged": self.converged,
            "iterations": story.iterations,
            "gradient_norm": np.nan,
            "quadrature": self.fit.quasi,
            "dispersion": self.dispersion,
            "n_effects": self._covariance_of.n_effects,
            "singular": self.singular,
        }

    def _summary(self) -> Summary:
        levels = [f"{len(each.labels):,} of {each.group!r}" for each in self.fit.effects.groupings]
        model = (
            ("Formula", self.formula),
            *self._response_facts(),
            ("Random effects", "; ".join(map(term_in_words, self.fit.effects.terms))),
            ("Observations", f"{counted(self.n_obs, 'row')} in {' and '.join(levels)}"),
            *self._weight_facts(),
        )
        facts = [*self._component_facts(), *self._dispersion_facts(), *self._likelihood_facts(), *self._closing_facts()]
        bias = [f"{caveat.title}: {caveat.words}" for caveat in self._caveats_of_bias()]
        notes = (*self._boundary_notes(), *bias, *self.data.notes)
        return Summary(
            "Random-effects model, penalised quasi-likelihood", model, self._coefficients(), tuple(facts), notes
        )

    def _dispersion_facts(self) -> list[tuple[str, str]]:
        if not self._free:
            return []
        root = f"residual_sd {self.fit.residual_sd:.5g}, Std. Error {self._residual_error():.4g}"
        return [("Dispersion", f"{self.dispersion:.5g} ({root})")]

    def _likelihood_facts(self) -> list[tuple[str, str]]:
        return [
            ("Likelihood", "penalised quasi-likelihood: no likelihood, no AIC, no likelihood-ratio tests"),
            ("Fitted by", self.fit.form.words),
        ]

    def _closing_facts(self) -> list[tuple[str, str]]:
        story = self.optimization
        words = f"{story.message} ({counted(story.iterations, 'working model')}"
        if np.isfinite(story.gradient_norm):
            words += f", linear predictor within {story.gradient_norm:.1e} residual standard deviations"
        return [("Convergence", f"{words})"), *Result._closing_facts(self)[1:]]

    # What to know ----------------------------------------------------------------------------------------------------

    def _caveats_of_optimisation(self) -> list[Caveat]:
        if self.converged:
            return []
        words = f"Working models did not settle: {self.optimization.message}."
        return [Caveat("Not converged", words, serious=True)]

    def _caveats_of_integration(self) -> list[Caveat]:
        return self._caveats_of_bias()

    def _caveats_of_bias(self) -> list[Caveat]:
        data, response = self.data.rows, self.response
        amounts = []
        for levels in self.fit.effects.groupings:
            a, b = (np.bincount(levels.codes, each) for each in self._single)
            sizes = [response.amount(float(each), float(other)) for each, other in zip(a, b, strict=True)]
            amounts.append((float(np.mean(sizes)), levels.group))
        amount, group = min(amounts)
        if amount > _TELLS_LITTLE:
            return []
        what = "trials" if response.trials else f"of {data.response_name!r} in sum"
        wrong = (
            "coefficients too near 0, and standard deviations of random effects to either side of where they belong"
            if self._free
            else "standard deviations of random effects, and with them coefficients, too near 0"
        )
        words = (
            f"penalised quasi-likelihood puts {wrong} where a level tells little (here {amount:.3g} {what} a level of "
            f'{group!r} on average; Breslow and Lin 1995). quadrature="auto" has no such bias.'
        )
        return [Caveat("Bias", words, serious=amount <= _TELLS_HARDLY)]

    # Beside others ---------------------------------------------------------------------------------------------------

    def _candidate(self, name: str) -> Candidate:
        raise OptionError(f"a comparison of {name}, {_WITHOUT}", "fits that have likelihoods", _EXACT)

    @property
    def _in_words(self) -> str:
        return f"{super()._in_words}, {self.fit.quasi}"

    def _export(self) -> dict[str, Any]:
        return {
            "random_effects": self.variance_components.to_dict(orient="records"),
            "quadrature": self.fit.quasi,
            "dispersion": self.dispersion,
        }

    @property
    def _without_integrals(self) -> str:
        return "a fit by penalised quasi-likelihood, which computes no integrals,"

    def _report_parts(self) -> list[str]:
        return [part for part in super()._report_parts() if part in _PARTS]
