"""Effects in the units people report: ratios and average effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import FittedData
from clusterglm.data.repeats import repeats_of
from clusterglm.errors import DataError, OptionError, check_option
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters
from clusterglm.model.response.base import Response
from clusterglm.results.topics.heterogeneity import Heterogeneity
from clusterglm.results.topics.pieces import Pieces

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.fit.fixed_effects import FixedEffectsFit, ProfiledEstimates
    from clusterglm.inference.effects.average_effects import AverageEffects, ClusterIntercepts
    from clusterglm.inference.predictions.averaged_mean import MeanJet
    from clusterglm.inference.predictions.prediction import PredictedIntercepts
    from clusterglm.results.topics.effect_rows import EffectRows

_KINDS = ("marginal", "typical", "conditional")


class Ratios(Pieces):
    """What every kind of result with coefficients offers."""

    if TYPE_CHECKING:
        data: FittedData

        @property
        def response(self) -> Response: ...
        @property
        def _covariances(self) -> tuple[str, ...]: ...
        @property
        def _beta(self) -> Array: ...
        @property
        def _parameters(self) -> Parameters: ...
        def _covariance(self, kind: str) -> Array: ...
        def _delta_covariance(self, kind: str) -> Array: ...

    @with_alpha
    def ratios(self, *, level: float = 0.95, cov: str = "observed") -> pd.DataFrame:
        """Exponentials of the coefficients: odds ratios (logit), rate ratios (log) or hazard ratios (cloglog).

        Within a cluster, where the model has cluster effects: both rows of a ratio have the same intercept.

        Parameters
        ----------
        level : float
            Coverage of the intervals, which are those of the coefficients, exponentiated.
        cov : {"observed", "robust", "quasi"}
            Covariance of the coefficients.

        Returns
        -------
        DataFrame
            One row per coefficient: `term`, `kind` ("odds ratio"; for the intercept "odds"), `estimate`, `std_error`
            (delta method), `conf_low`, `conf_high`.

        Raises
        ------
        OptionError
            For probit, whose coefficients are not logarithms of ratios.

        Examples
        --------
        >>> import clusterglm as cg
        >>> bacteria = cg.datasets.load("bacteria")
        >>> fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
        >>> fit.ratios().set_index("term").loc["week", "estimate"].round(2)
        np.float64(0.86)
        """
        import pandas as pd

        from clusterglm.inference.effects.ratios import exponentiated, ratio_names
        from clusterglm.results.tables.frame import shown

        ratio, baseline = ratio_names(self.response)
        check_option("cov", cov, self._covariances)
        se = np.sqrt(np.diag(self._covariance(cov)))[self._parameters.coefficients]
        found = exponentiated(self.response.ratio_sign * self._beta, se, level)
        kinds = [baseline if j == self.data.intercept else ratio for j in range(len(self._beta))]
        table = pd.DataFrame(
            {
                "term": list(self.data.names),
                "kind": kinds,
                "estimate": found.estimate,
                "std_error": found.std_error,
                "conf_low": found.low,
                "conf_high": found.high,
            }
        )
        return shown(table)


class Effects(Ratios):
    """Average effects where clusters have no effect: all kinds mean the same."""

    _averaged_over: ClassVar[str] = ""
    """What average effects are averages over besides the rows, or where they are taken, in words."""

    def _report_parts(self) -> list[str]:
        return [*super()._report_parts(), *(["average effects"] if self.data.design.variables else [])]

    @with_alpha
    def average_effects(
        self,
        variables: str | Sequence[str] | None = None,
        kind: str = "marginal",
        *,
        level: float = 0.95,
        data: Any = None,
        cov: str = "observed",
    ) -> pd.DataFrame:
        """Average changes of the mean when a variable of the data changes, over the rows that were used.

        For numeric variables the derivative of the mean; for 0/1 variables and levels of categorical ones differences,
        for a binomial model risk differences. A variable changes wherever the formula uses it: in squares, splines and
        interactions too (not in offsets).

        Parameters
        ----------
        variables : str or sequence of str, optional
            Columns of the data; by default all that the formula uses.
        kind : {"marginal", "typical", "conditional"}
            Which intercept; without cluster effects the words mean the same.
        level : float
            Coverage of the intervals.
        data : table, optional
            The table that was fitted, needed where the design does not tell a variable's values (a spline or a
            logarithm without the variable itself); or another one, over whose complete rows to average, each with
            weight one. Where the rows of the fit are not in memory any table is another one.
        cov : {"observed", "robust"}
            Covariance of the estimates.

        Returns
        -------
        DataFrame
            One row per effect: `term`, `contrast` ("derivative", or "drug - placebo"), `estimate`, `std_error`, `z`,
            `pvalue`, `conf_low`, `conf_high`; with `note` where something is to be said.

        Raises
        ------
        OptionError
            On another kind, or a variable that the formula does not use.
        DataError
            Where `data` is needed, or does not do.

        Notes
        -----
        Averages count trials, and weights of rows and clusters. Standard errors by the delta method, covariates held
        fixed; intervals are normal.
        """
        from clusterglm.inference.diagnostics.design_changes import check_variables
        from clusterglm.inference.predictions.averaged_mean import mean_jet
        from clusterglm.results.topics.effect_rows import effect_rows, effects_table

        check_option("kind", kind, _KINDS)
        check_option("cov", cov, self._covariances)
        check_level(level)
        check_variables(self.data.design, variables)
        rows = effect_rows(self.data, data, clusters=False)
        found = self._averages(variables, cov, rows, partial(mean_jet, response=self.response), rows.offset, None)
        return effects_table(found, level, "")

    def _averages(
        self,
        variables: str | Sequence[str] | None,
        cov: str,
        rows: EffectRows,
        jet: Callable[[Array], MeanJet],
        known: Array,
        intercepts: ClusterIntercepts | None,
    ) -> AverageEffects:
        from clusterglm.inference.diagnostics.design_changes import check_variables, design_changes
        from clusterglm.inference.effects.average_effects import average_effects

        design = self.data.design
        changes = design_changes(design, rows.frame, check_variables(design, variables))
        covariance = self._delta_covariance(cov)
        return average_effects(changes, self._beta, known, rows.weights, covariance, jet, intercepts, rows.times)

    def to_marginaleffects(self, data: Any = None) -> Any:
        """The result as a model of the package marginaleffects, for its `slopes`, `comparisons`, `predictions`.

        Parameters
        ----------
        data : table, optional
            The table that was fitted; needed where the design does not tell a variable's values, or with an offset.

        Returns
        -------
        marginaleffects.classes.ModelAbstract
            Pass it as `model`. Its predictions are means (of one trial, for a binomial).

        Raises
        ------
        OptionError
            When marginaleffects is not installed, or too old or too new for this adapter.
        DataError
            Where `data` is needed.

        Notes
        -----
        Averages in marginaleffects count each row once: pass `wts=` for weights.
        """
        from clusterglm.results.tables.marginaleffects import adapter

        V = self._covariance("observed")
        return adapter(self, self._beta, V, list(self.data.names), partial(_plain_mean, self.response), data)


def _plain_mean(response: Response, theta: Array, X: Array, offset: Array) -> Array:
    return response.mean(X @ theta + offset)


class FixedEffectsEffects(Effects):
    """Average effects at estimated intercepts."""

    _averaged_over: ClassVar[str] = ", at the clusters' intercepts"

    if TYPE_CHECKING:
        fit: FixedEffectsFit | ProfiledEstimates

    @with_alpha
    def average_effects(
        self,
        variables: str | Sequence[str] | None = None,
        kind: str = "conditional",
        *,
        level: float = 0.95,
        data: Any = None,
        cov: str = "observed",
        clusters: str = "all",
    ) -> pd.DataFrame:
        """Average changes of the mean when a variable of the data changes, at the clusters' estimated intercepts.

        For numeric variables the derivative of the mean; for 0/1 variables and levels of categorical ones differences,
        for a binomial model risk differences. A variable changes wherever the formula uses it: in squares, splines and
        interactions too (not in offsets). If the coefficients were corrected for bias, so are these averages.

        Parameters
        ----------
        variables : str or sequence of str, optional
            Columns of the data; by default all that the formula uses.
        kind : "conditional"
            At each row's own intercept, the only kind that fixed intercepts have.
        level : float
            Coverage of the intervals.
        data : table, optional
            The table that was fitted, needed where the design does not tell a variable's values; or another one of the
            same clusters, over whose complete rows to average, each with weight one.
        cov : {"observed", "robust"}
            Covariance of the coefficients.
        clusters : {"all", "informative"}
            Average over all rows, to which clusters with infinite intercepts contribute effects of 0; or only over
            rows in clusters with finite ones.

        Returns
        -------
        DataFrame
            One row per effect: `term`, `contrast`, `estimate`, `std_error`, `z`, `pvalue`, `conf_low`, `conf_high`;
            with `note` where something is to be said.

        Raises
        ------
        OptionError
            On another kind, another choice of clusters, or a variable that the formula does not use.
        DataError
            Where `data` is needed, or does not do.

        Notes
        -----
        Standard errors by the delta method on the joint inverse of the expected information of coefficients and
        intercepts, covariates held fixed. Weights count as repeated trials and clusters.
        """
        from clusterglm.inference.diagnostics.design_changes import check_variables
        from clusterglm.inference.predictions.averaged_mean import mean_jet
        from clusterglm.results.topics.effect_rows import EffectRows, effect_rows, effects_table

        check_option("kind", kind, ("conditional",))
        check_option("clusters", clusters, ("all", "informative"))
        check_option("cov", cov, self._covariances)
        check_level(level)
        check_variables(self.data.design, variables)
        rows = effect_rows(self.data, data, clusters=True)
        finite = self.fit.by_cluster.informative
        inside = finite[rows.codes]
        if not inside.any():
            raise DataError(
                "rows of which none is in a cluster with a finite intercept", "rows whose mean can move", "other data="
            )
        total = 1.0 if clusters == "all" else float(rows.weights[inside].sum())
        codes = (np.cumsum(finite) - 1)[rows.codes[inside]]
        used = EffectRows(
            rows.frame[inside], rows.offset[inside], rows.weights[inside] / total, codes, rows.times[inside]
        )
        intercepts = self._effect_intercepts(codes)
        known = used.offset + intercepts.at.values[codes]
        found = self._averages(variables, cov, used, partial(mean_jet, response=self.response), known, intercepts)
        left = float(rows.weights[~inside].sum())
        note = f"rows in clusters with infinite intercepts, {100.0 * left:.3g}% of the weight, count with effects of 0"
        return effects_table(found, level, note if left > 0.0 and clusters == "all" else "")

    def _effect_intercepts(self, codes: NDArray[np.int64]) -> ClusterIntercepts:
        from clusterglm.inference.effects.average_effects import (
            ClusterIntercepts,
            bias_corrected,
            expected_intercepts,
            uncorrected,
        )
        from clusterglm.inference.uncertainty.correction import linear_predictor, only_clusters

        fit = self.fit.by_cluster
        used = only_clusters(self.data.rows, fit.informative)
        gamma = fit.intercepts[fit.informative]
        eta = linear_predictor(used, self.fit.beta, gamma)
        size = self.response.sizes(used.a, used.b)
        at = expected_intercepts(used.X, used.starts, used.cluster_weights, eta, size, gamma, self.response)
        if not self.fit.correction:
            return uncorrected(at, codes)
        corrected = bias_corrected(at, used.starts, eta, size, self.response)
        return ClusterIntercepts(at, codes, corrected.shift, corrected.curvature)

    def to_marginaleffects(self, data: Any = None) -> Any:
        """Refused: the intercepts' noise has no place in marginaleffects, whose models are their coefficients.

        Raises
        ------
        OptionError
        """
        raise OptionError(
            "marginaleffects for fixed effects, whose intercepts have noise that it has no place for",
            "a model that its coefficients describe",
            "average_effects(); or cg.random_effects(...).to_marginaleffects()",
        )


class RandomEffectsEffects(Heterogeneity, Effects):
    """Effects with a random intercept."""

    _averaged_over: ClassVar[str] = " and over the distribution of intercepts"

    if TYPE_CHECKING:
        fit: RandomEffectsFit

        @property
        def _posterior(self) -> PredictedIntercepts: ...

    @with_alpha
    def average_effects(
        self,
        variables: str | Sequence[str] | None = None,
        kind: str = "marginal",
        *,
        level: float = 0.95,
        data: Any = None,
        cov: str = "observed",
    ) -> pd.DataFrame:
        """Average changes of the mean when a variable of the data changes, over the rows that were used.

        For numeric variables the derivative of the mean; for 0/1 variables and levels of categorical ones differences,
        for a binomial model risk differences. A variable changes wherever the formula uses it: in squares, splines and
        interactions too (not in offsets).

        Parameters
        ----------
        variables : str or sequence of str, optional
            Columns of the data; by default all that the formula uses.
        kind : {"marginal", "typical", "conditional"}
            Of the mean averaged over the distribution of intercepts, that of the population; at an intercept of zero,
            that of a typical cluster; or at the posterior mode of each row's cluster.
        level : float
            Coverage of the intervals.
        data : table, optional
            The table that was fitted, needed where the design does not tell a variable's values (a spline or a
            logarithm without the variable itself); or another one, over whose complete rows to average, each with
            weight one. Where the rows of the fit are not in memory any table is another one.
        cov : {"observed", "robust"}
            Covariance of the estimates.

        Returns
        -------
        DataFrame
            One row per effect: `term`, `contrast` ("derivative", or "drug - placebo"), `estimate`, `std_error`, `z`,
            `pvalue`, `conf_low`, `conf_high`; with `note` where something is to be said.

        Raises
        ------
        OptionError
            On another kind, or a variable that the formula does not use.
        DataError
            Where `data` is needed, or does not do.

        Notes
        -----
        Averages count trials, and weights of rows and clusters. Standard errors by the delta method in coefficients
        and sigma, covariates held fixed; for "conditional" with the posterior variance of the intercepts (Booth and
        Hobert, Journal of the American Statistical Association 93, 1998). Intervals are normal.
        """
        from clusterglm.inference.diagnostics.design_changes import check_variables
        from clusterglm.inference.effects.average_effects import uncorrected
        from clusterglm.inference.effects.heterogeneity import sigma_note
        from clusterglm.inference.predictions.averaged_mean import averaged_jet, mean_jet
        from clusterglm.results.topics.effect_rows import effect_rows, effects_table

        check_option("kind", kind, _KINDS)
        check_option("cov", cov, self._covariances)
        check_level(level)
        check_variables(self.data.design, variables)
        fit = self.fit
        rows = effect_rows(self.data, data, clusters=kind == "conditional")
        jet, known, intercepts = partial(mean_jet, response=fit.response), rows.offset, None
        if kind == "marginal":
            jet = partial(averaged_jet, sigma=fit.sigma, response=fit.response, distribution=fit.distribution)
        elif kind == "conditional":
            each = self._posterior.variances / repeats_of(self.data.rows).clusters  # repeats have noise of their own
            intercepts = uncorrected(replace(self._posterior, variances=each), rows.codes)
            known = rows.offset + self._posterior.values[rows.codes]
        note, _ = sigma_note(fit.sigma, 0.0, fit.sigma_fixed)
        return effects_table(self._averages(variables, cov, rows, jet, known, intercepts), level, note)

    def to_marginaleffects(self, data: Any = None, kind: str = "marginal") -> Any:
        """The result as a model of the package marginaleffects, for its `slopes`, `comparisons`, `predictions`.

        Parameters
        ----------
        data : table, optional
            The table that was fitted; needed where the design does not tell a variable's values, or with an offset.
        kind : {"marginal", "typical"}
            Its predictions are means (of one trial, for a binomial), averaged over the distribution of intercepts, or
            at an intercept of zero.

        Returns
        -------
        marginaleffects.classes.ModelAbstract
            Pass it as `model`. For "marginal", sigma is the last of its parameters, unless it was held fixed or lies
            at zero.

        Raises
        ------
        OptionError
            On another kind; when marginaleffects is not installed, or too old or too new for this adapter.
        DataError
            Where `data` is needed.

        Notes
        -----
        Averages in marginaleffects count each row once: pass `wts=` for weights.
        """
        from clusterglm.inference.predictions.averaged_mean import averaged_jet
        from clusterglm.results.tables.marginaleffects import adapter

        check_option("kind", kind, ("marginal", "typical"))
        fit, parameters, of_beta = self.fit, self.fit.parameters, self.fit.parameters.coefficients
        if kind == "typical":
            V = fit.covariance[of_beta, of_beta]
            return adapter(self, fit.beta, V, list(self.data.names), partial(_plain_mean, fit.response), data)

        def mean(free: Array, X: Array, offset: Array) -> Array:
            theta = parameters.reflected(parameters.filled(free, fit.theta))
            sigma = float(theta[parameters.scale])
            return averaged_jet(X @ theta[of_beta] + offset, sigma, fit.response, fit.distribution).mean

        theta, V = fit.theta[parameters.free], parameters.of_free(fit.covariance)
        return adapter(self, theta, V, list(parameters.only_free.names), mean, data)
