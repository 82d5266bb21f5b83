"""Results of models of survival times: times and survival in place of the mean of a count.

What has not been worked out for censored responses is refused by name (`WORK` lists what works).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from clusterglm.errors import OptionError, PredictionWarning, check_option
from clusterglm.fit.own import OwnPooledFit
from clusterglm.inference.uncertainty.intervals import check_level, wald_interval, with_alpha
from clusterglm.model.arguments import seed_sequence
from clusterglm.model.arrays import Array
from clusterglm.model.response.own.durations import Durations
from clusterglm.results.models.base import Seed
from clusterglm.results.models.own import OwnPooledResult, OwnRandomEffectsResult, OwnResult
from clusterglm.results.models.reasons import OF_DURATIONS
from clusterglm.results.models.refusing import only
from clusterglm.results.topics.diagnostics import Diagnostics
from clusterglm.results.topics.kinds import AtModes, Averaging, KindsInWords, with_moves
from clusterglm.results.topics.newdata import Rows, fitted_rows, new_rows
from clusterglm.results.topics.own_sampling import DurationsSampling
from clusterglm.results.topics.survival_times import UNRESOLVED, Frailty, SurvivalTimes

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.adequacy import Diagnosis
    from clusterglm.inference.predictions.durations import LogTimes

WORK = {
    "acceleration_factors", "aic", "bic", "bootstrap", "bse", "check", "clustering_test", "conf_int", "converged",
    "cov", "cov_params", "data", "delta_method", "deviance", "df_resid", "distribution", "drop_one", "family",
    "family_parameters", "family_response", "fit", "for_maketables", "formula", "glance", "icc", "integration_check",
    "integration_curve", "jackknife", "kind", "link", "llf", "loglik", "median_odds_ratio", "n_clusters", "n_obs",
    "n_parameters", "nobs", "optimization", "params", "penalized_loglik", "penalty", "plot", "pooled", "predict",
    "profile", "pvalues", "quadrature", "random_effects", "random_effects_sd", "ratios", "report", "residuals",
    "response", "sample", "save", "shape", "sigma", "sigma_se", "simulate", "summary", "survival", "term_tests",
    "test_clustering", "tidy", "tvalues", "wald_test", "zvalues",
}  # fmt: skip
_SCALES = ("response", "median", "link")
_NAMES = {"response": "mean", "median": "median", "link": "linear_predictor"}
_KINDS = ("quantile", "cox_snell", "martingale")
_NO_MEAN = "no finite mean over the frailty's distribution: its tails are too heavy"
_PARTS = ("coefficients", "terms", "sigma", "random effects", "intercepts", "intercepts at zero",
          "predictions")  # of a report  # fmt: skip


def no_durations(result: Any, name: str) -> tuple[str, str, str]:
    otherwise = "what allows for survival times, which this does not yet", "fit.predict, fit.survival, fit.ratios"
    return f"{name} of a fit with family={result.family!r}", *OF_DURATIONS.get(name, otherwise)


class DurationsResult(KindsInWords, SurvivalTimes, OwnResult, Diagnostics):
    """What results of survival times share."""

    _scales = _SCALES

    @property
    def _durations(self) -> Durations:
        found = self._family
        assert isinstance(found, Durations)
        return found

    def _frailty(self, rows: Rows, averaged: Averaging) -> Any:
        return Frailty.none(rows.size)

    # Predictions -----------------------------------------------------------------------------------------------------

    @with_alpha
    def predict(
        self,
        data: Any = None,
        kind: str | ArrayLike | None = None,
        *,
        scale: str = "response",
        level: float | None = None,
        cov: str = "observed",
    ) -> pd.Series[float] | pd.DataFrame:
        """Mean or median survival times, of rows of the fitted data or of new data.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
        kind : {"typical", "conditional", "marginal"} or array_like, optional
            At a random intercept of zero (the default); at the posterior mode of the row's own cluster; averaged over
            the distribution of intercepts, that of the population: the mean of all times, and the time by which half
            of all have had the event; or a number, or one for each row of the answer. In a pooled model the words mean
            the same. On mass points "conditional" (or "posterior") averages over them with their probabilities given
            the data of the row's cluster, and is the default; there is no "typical".
        scale : {"response", "median", "link"}
            Mean time, median time, or the linear predictor, which is the logarithm of a hazard.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error` (delta method), `low`,
            `high` (an interval of the logarithm, transformed) and `status`: "ok", or what is missing.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance.
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted (they are nan) or have no finite mean (inf).
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        check_option("scale", scale, _SCALES)
        check_option("cov", cov, self._covariances)
        rows = fitted_rows(self.data.rows) if data is None else new_rows(self.data, data)
        eta, averaged = self._eta_of(rows, kind)
        order = np.argsort(rows.index, kind="stable")
        index = pd.Index(rows.index[order], name="row")
        if scale == "link":
            if averaged or level is not None:
                raise OptionError(
                    f"scale='link' with {'kind=' + repr(kind) if averaged else f'level={level!r}'}",
                    "a linear predictor at an intercept, without an interval",
                    "scale='response' or 'median'",
                )
            rows.status.warn(stacklevel=3)
            return pd.Series(eta[order], index=index, name=_NAMES[scale])
        frailty = self._frailty(rows, averaged) if averaged else Frailty.none(rows.size)
        at = self._log_times(np.where(rows.status.ok, eta, np.nan), scale, frailty)
        lacking = "" if at.exists and at.resolved else UNRESOLVED if at.exists else _NO_MEAN
        if lacking:
            rows.status.note(np.ones(rows.size, dtype=bool), lacking)
        values = np.exp(at.value)
        if level is None:
            if lacking:
                warnings.warn(f"{rows.size} rows: {lacking}", PredictionWarning, stacklevel=3)
            rows.status.warn(stacklevel=3)
            return pd.Series(values[order], index=index, name=_NAMES[scale])
        moves = self._moves(rows, kind, cov)
        se = self._delta_errors(rows.X, at.by_eta, frailty.moved(at.by_sigma), at.by_k, cov, moves)
        low, high = (np.exp(end) for end in wald_interval(at.value, se, check_level(level)))
        columns = {"estimate": values, "std_error": values * se, "low": low, "high": high}
        table = pd.DataFrame({name: each[order] for name, each in columns.items()}, index=index)
        table["status"] = rows.status.text[order]
        return shown(table)

    def _log_times(self, eta: Array, scale: str, frailty: Any) -> LogTimes:
        k = self._durations.k
        found: LogTimes = frailty.mean_times(eta, k) if scale == "response" else frailty.quantile_times(0.5, eta, k)
        return found

    def _delta_errors(
        self, X: Array, by_eta: Array, by_frailty: Array, by_k: Array, cov: str, moves: Array | None = None
    ) -> Array:
        """Standard errors of functions of the estimates, one of each row; without columns, no frailty moves them."""
        of_effects = np.zeros((len(X), len(self._inner) - len(self._beta)))
        if by_frailty.shape[1] > 0:
            of_effects[:] = by_frailty
        gradient = np.hstack([by_eta[:, None] * X, of_effects, *([by_k[:, None]] if self._family.own else [])])
        gradient, V = with_moves(gradient, by_eta, moves, self._covariance_of_predictions(cov))
        return np.asarray(np.sqrt(np.maximum(np.einsum("ij,ij->i", gradient @ V, gradient), 0.0)))

    # Ratios of times -------------------------------------------------------------------------------------------------

    @with_alpha
    def acceleration_factors(self, *, level: float = 0.95, cov: str = "observed") -> pd.DataFrame:
        """Ratios of times, exp(-beta / shape): what multiplies every quantile of the time, within a cluster.

        Above 1 the event comes later. `ratios` are those of hazards, exp(beta).

        Parameters
        ----------
        level : float
            Coverage of the intervals.
        cov : {"observed", "robust"}
            Covariance of the estimates.

        Returns
        -------
        DataFrame
            One row per coefficient: `term`, `kind` ("acceleration factor"; for the intercept "time"), `estimate`,
            `std_error` (delta method, the shape's uncertainty included), `conf_low`, `conf_high`.
        """
        import pandas as pd

        from clusterglm.inference.effects.ratios import exponentiated
        from clusterglm.results.tables.frame import shown

        check_option("cov", cov, self._covariances)
        k, beta = self._durations.k, self._beta
        p = len(beta)
        found = exponentiated(
            -beta / k, self._delta_errors(np.eye(p), np.full(p, -1.0 / k), np.zeros((p, 0)), beta / k**2, cov), level
        )
        kinds = ["time" if j == self.data.intercept else "acceleration factor" for j in range(p)]
        return shown(
            pd.DataFrame(
                {
                    "term": list(self.data.names),
                    "kind": kinds,
                    "estimate": found.estimate,
                    "std_error": found.std_error,
                    "conf_low": found.low,
                    "conf_high": found.high,
                }
            )
        )

    # Draws and residuals ---------------------------------------------------------------------------------------------

    @property
    def _censored(self) -> bool:
        return bool(np.any(self.data.rows.a < 0.0))

    def simulate(self, n: int = 1, seed: Seed = None) -> pd.DataFrame:
        """Draw new survival times for the rows that were used, none of them censored.

        When the rows' times would have been censored is not known for those that had the event: what is drawn is the
        time of the event. Random intercepts are drawn anew.

        Parameters
        ----------
        n, seed
            As in `PooledResult.simulate`.

        Returns
        -------
        DataFrame
            Index `row`, columns 0 to n - 1: times.
        """
        return super().simulate(n, seed)

    def _check_draws(self) -> None:
        super()._check_draws()
        if self._censored:
            raise OptionError(
                "a bootstrap of censored times: when those with an event would have been is not known",
                "times that are all events, since draws are not censored",
                'fit.conf_int(method="profile"); or cov="robust"',
            )

    def residuals(
        self,
        kind: str = "quantile",
        intercepts: str | ArrayLike | None = None,
        seed: Seed = None,
        n_sim: int = 250,
    ) -> pd.Series[float]:
        """Residuals of the rows that were used.

        Parameters
        ----------
        kind : {"quantile", "cox_snell", "martingale"}
            Quantile residuals, standard normal if the model holds, of which a censored row's is drawn from what is left
            beyond its time; the cumulative hazard at the row's time, a censored sample of unit exponentials if the
            model holds; or the event less that.
        intercepts : {"conditional", "typical", "marginal"} or array_like, optional
            As in `PooledResult.residuals`; "marginal", of random effects, for quantile residuals alone.
        seed : int, SeedSequence or Generator, optional
            Of what is drawn for censored rows.
        n_sim : int
            Not used.

        Returns
        -------
        Series
            Index `row`: position in the user's table.
        """
        check_option("kind", kind, _KINDS)
        if kind == "quantile":
            return super().residuals(kind, intercepts, seed, n_sim)
        at = self._own if intercepts is None else intercepts
        if isinstance(at, str) and at == "marginal":
            raise OptionError(
                f"{kind} residuals over all clusters", "a linear predictor for each row", 'kind="quantile"'
            )
        if isinstance(at, str):
            self._check_intercepts(at, "intercepts")
        y = self._y
        hazard = self._durations.cumulative_hazard(np.abs(y), self._eta_at(at))
        return self._in_user_order(hazard if kind == "cox_snell" else (y > 0.0) - hazard, "residual")

    def check(self, seed: int | None = None, n_sim: int = 250) -> Diagnosis:
        """The check that censored times allow: whether quantile residuals are uniform.

        Parameters
        ----------
        seed : int, optional
            By default fresh, and reported.
        n_sim : int
            Not used.

        Returns
        -------
        Diagnosis
            Of random effects, by residuals averaged over frailties in one row of each cluster, for others depend on it.
        """
        from clusterglm.inference.diagnostics.adequacy import Diagnosis, Finding

        given = seed_sequence(seed).entropy
        assert isinstance(given, int)  # of a whole number, or of None
        if not self._counts.whole:
            words = "not tested: weights that are not whole numbers do not say how many rows to draw"
            return Diagnosis((Finding("Residuals", None, words),), given)
        return Diagnosis((self._uniformity_finding(np.random.default_rng(given)),), given)

    # Tables ----------------------------------------------------------------------------------------------------------

    @property
    def _events_in_words(self) -> str:
        data = self.data.rows
        times = data.weights * self._per_row(data.cluster_weights)
        events, n = float(times[data.a > 0.0].sum()), float(times.sum())
        return f"{events:.10g} of {n:.10g} rows, the others censored" if events < n else f"all {n:.10g} rows"

    def _response_facts(self) -> list[tuple[str, str]]:
        levels = self.data.levels
        known = [] if levels is None else [("Event", f"{levels[1]!r} (censored {levels[0]!r})")]
        return [*super()._response_facts(), *known, ("Events", self._events_in_words)]

    def _report_parts(self) -> list[str]:
        return [*(part for part in super()._report_parts() if part in _PARTS), "checks"]


@only(WORK, no_durations)
@dataclass(frozen=True, repr=False, eq=False)
class DurationsPooledResult(DurationsResult, OwnPooledResult):  # type: ignore[misc]
    """A model of survival times without cluster effects."""


@only(WORK, no_durations)
@dataclass(frozen=True, repr=False, eq=False)
class DurationsRandomEffectsResult(DurationsSampling, AtModes, DurationsResult, OwnRandomEffectsResult):  # type: ignore[misc]
    """A model of survival times with a random intercept for each cluster: a shared frailty, on the log hazard."""

    @property
    def pooled(self) -> DurationsPooledResult:
        """The fit of this model without its random intercepts."""
        return durations_pooled(self.fit.pooled, self.data)

    def _frailty(self, rows: Rows, averaged: Averaging) -> Frailty:
        return Frailty(self.sigma, self.distribution, np.ones((rows.size, 1)))

    def _refuse_clustering_test(self, method: str, statistic: str, insist: bool) -> None:
        super()._refuse_clustering_test(method, statistic, insist)
        if method == "bootstrap" and self._censored:
            raise OptionError(
                "a bootstrap of censored times: when those with an event would have been is not known",
                "times that are all events, since draws are not censored",
                'method="boundary", by the boundary\'s mixture of chi-squares; or "permutation"',
            )


def durations_pooled(fit: OwnPooledFit, data: Any) -> DurationsPooledResult:
    """The result of a pooled fit."""
    assert fit.response is not None
    return DurationsPooledResult(fit, data, fit.response)
