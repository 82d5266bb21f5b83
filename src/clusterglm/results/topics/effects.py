"""Effects in the units people report: ratios and average effects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
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
from clusterglm.results.topics.adjusted_means import Averages
from clusterglm.results.topics.heterogeneity import Heterogeneity
from clusterglm.results.topics.pieces import Pieces

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.fit.fixed_effects import FixedEffectsFit, ProfiledEstimates
    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects, ClusterIntercepts
    from clusterglm.inference.predictions.prediction import PredictedIntercepts
    from clusterglm.results.topics.effect_rows import EffectRows


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


class Effects(Averages, Ratios):
    """Average effects on the mean."""

    _averaged_over: ClassVar[str] = ""
    """What average effects are averages over besides the rows, or where they are taken, in words."""

    def _report_parts(self) -> list[str]:
        means = ["adjusted means"] if self._fixed_design.factors else []
        return [*super()._report_parts(), *(["average effects"] if self._fixed_design.variables else []), *means]

    @with_alpha
    def average_effects(
        self,
        variables: str | Sequence[str] | None = None,
        kind: str = "marginal",
        *,
        by: str | Sequence[str] | None = None,
        comparison: str = "difference",
        level: float = 0.95,
        data: Any = None,
        cov: str = "observed",
    ) -> pd.DataFrame:
        """Average changes of the mean when a variable of the data changes, over the rows that were used.

        For numeric variables the derivative of the mean; for 0/1 variables and levels of categorical ones differences,
        for a binomial model risk differences. A variable changes wherever the formula uses it: in squares, splines,
        interactions and random slopes too (not in offsets). Of ordered categories there is one for the probability of
        each, which sum to 0.

        Parameters
        ----------
        variables : str or sequence of str, optional
            Columns of the data; by default all that the formula uses.
        kind : {"marginal", "typical", "conditional"}
            Of the mean averaged over the distribution of the random effects, that of the population; at random effects
            of zero, those of a typical cluster; or at the posterior mode of each row's cluster. Without cluster effects
            the words mean the same.
        by : str or sequence of str, optional
            Columns of the formula: averages over the rows of each of their levels, or combinations of levels.
        comparison : {"difference", "ratio", "lnor"}
            Of the two averaged means: their difference; their ratio, for a binomial model a risk ratio; or the
            logarithm of their odds ratio. The latter two are of variables with two values or levels alone.
        level : float
            Coverage of the intervals.
        data : table, optional
            The table that was fitted, needed where the design does not tell a variable's values (a spline or a
            logarithm without the variable itself, or a variable of the random part alone); or another one, over whose
            complete rows to average, each with weight one. Where the rows of the fit are not in memory any table is
            another one.
        cov : {"observed", "robust"}
            Covariance of the estimates.

        Returns
        -------
        DataFrame
            One row per effect: `term`, `contrast` ("derivative", or "drug - placebo"), the columns of `by`, `category`
            of ordered responses, `estimate`, `std_error`, `z`, `pvalue`, `conf_low`, `conf_high`; with `note` where
            something is to be said.

        Raises
        ------
        OptionError
            On another kind or comparison, or a variable that the formula does not use.
        DataError
            Where `data` is needed, or does not do.

        Notes
        -----
        Averages count trials, and weights of rows and clusters. Standard errors by the delta method in all estimates,
        those of the random effects' distribution included, covariates held fixed; for "conditional" with the posterior
        variance of the effects (Booth and Hobert, Journal of the American Statistical Association 93, 1998). A row's
        mean is averaged over a normal variable of standard deviation |L'z| where several effects vary, L L' their
        covariance and z the row's columns, which move with the variable. Intervals are normal, those of ratios that of
        the logarithm transformed; z is that of the logarithm.
        """
        check_option("kind", kind, self._mean_kinds)
        check_option("cov", cov, self._covariances)
        check_level(level)
        return self._effects_over(
            variables, kind, by, comparison, level, cov, lambda: (self._mean_rows(data, kind), "")
        )

    def _effects_over(
        self,
        variables: str | Sequence[str] | None,
        kind: str,
        by: str | Sequence[str] | None,
        comparison: str,
        level: float,
        cov: str,
        read: Callable[[], tuple[EffectRows, str]],
        scale: str = "response",
    ) -> pd.DataFrame:
        """Effects over rows, which are read once the variables are known, with what is to be said of them."""
        from clusterglm.inference.diagnostics.design_changes import check_variables, design_changes
        from clusterglm.inference.effects.adjusted_means import by_groups, compared_effects, groups_of
        from clusterglm.inference.effects.contrasts import check_comparison
        from clusterglm.results.topics.effect_rows import effects_table, with_outcomes

        check_comparison(comparison, self._response_on(scale))
        design = self._whole_design
        wanted, names = check_variables(design, variables), [] if by is None else check_variables(design, by, "by")
        rows, words = read()
        changes, groups = design_changes(design, rows.frame, wanted), groups_of(design, rows.frame, names)
        labels = with_outcomes(groups.repeated(len(changes)), self._outcomes, len(changes) * len(groups.rows))
        note = "; ".join(filter(None, [self._mean_note(kind), words]))
        if comparison == "difference":
            found = self._averaged(by_groups(changes, groups), rows, kind, cov, scale=scale)
            return effects_table(found, level, note, labels)

        def means(ends: Collection[DesignChange]) -> AverageEffects:
            return self._averaged(ends, rows, kind, cov, scale=scale)

        compared = compared_effects(changes, groups, means, comparison)
        return effects_table(compared, level, note, labels, exponentiate=comparison == "ratio")

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

    _marginal_differs = True
    _mean_kinds = ("conditional",)
    _averaged_over: ClassVar[str] = ", at the clusters' intercepts"

    if TYPE_CHECKING:
        fit: FixedEffectsFit | ProfiledEstimates

    @with_alpha
    def average_effects(
        self,
        variables: str | Sequence[str] | None = None,
        kind: str = "conditional",
        *,
        by: str | Sequence[str] | None = None,
        comparison: str = "difference",
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
        by : str or sequence of str, optional
            Columns of the formula: averages over the rows of each of their levels, or combinations of levels.
        comparison : {"difference", "ratio", "lnor"}
            As in a model with random effects; the latter two over rows in clusters with finite intercepts.
        level : float
            Coverage of the intervals.
        data : table, optional
            The table that was fitted, needed where the design does not tell a variable's values; or another one of the
            same clusters, over whose complete rows to average, each with weight one.
        cov : {"observed", "robust"}
            Covariance of the coefficients.
        clusters : {"all", "informative"}
            Average over all rows, to which clusters with infinite intercepts contribute effects of 0; or only over
            rows in clusters with finite ones, which groups and other comparisons than differences ask for.

        Returns
        -------
        DataFrame
            One row per effect: `term`, `contrast`, the columns of `by`, `estimate`, `std_error`, `z`, `pvalue`,
            `conf_low`, `conf_high`; with `note` where something is to be said.

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
        check_option("kind", kind, self._mean_kinds)
        check_option("clusters", clusters, ("all", "informative"))
        check_option("cov", cov, self._covariances)
        check_level(level)
        zeros = clusters == "all" and by is None and comparison == "difference"

        def read() -> tuple[EffectRows, str]:
            rows, left = self._finite_rows(data, whole=zeros)
            if left == 0.0 or clusters == "informative":
                return rows, ""
            words = f"rows in clusters with infinite intercepts, {100.0 * left:.3g}% of the weight, "
            return rows, words + ("count with effects of 0" if zeros else "are left out")

        return self._effects_over(variables, kind, by, comparison, level, cov, read)

    def _finite_rows(self, data: Any, *, whole: bool) -> tuple[EffectRows, float]:
        """Rows of clusters with a finite intercept, and the share of the weight that the others have.

        Their weights sum to one, or, if the `whole` counts, to what the others leave.
        """
        from clusterglm.results.topics.effect_rows import EffectRows, effect_rows

        rows = effect_rows(self.data, data, clusters=True)
        finite = self.fit.by_cluster.informative
        inside = finite[rows.codes]
        if not inside.any():
            raise DataError(
                "rows of which none is in a cluster with a finite intercept", "rows whose mean can move", "other data="
            )
        total = 1.0 if whole else float(rows.weights[inside].sum())
        codes = (np.cumsum(finite) - 1)[rows.codes[inside]]
        used = EffectRows(
            rows.frame[inside], rows.offset[inside], rows.weights[inside] / total, codes, rows.times[inside]
        )
        return used, float(rows.weights[~inside].sum())

    @property
    def _said_of_means(self) -> list[str]:
        lost = not self.fit.by_cluster.informative.all()
        return ["rows in clusters with infinite intercepts are left out"] if lost else []

    def _mean_rows(self, table: Any, kind: str) -> EffectRows:
        return self._finite_rows(table, whole=False)[0]

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "response"
    ) -> AverageEffects:
        from clusterglm.inference.predictions.averaged_mean import link_jet, mean_jet

        intercepts = self._effect_intercepts(rows.codes)
        jet = link_jet if scale == "link" else partial(mean_jet, response=self.response)
        return self._averages(changes, rows, cov, jet, rows.offset + intercepts.at.values[rows.codes], intercepts)

    def _effect_intercepts(self, codes: NDArray[np.int64]) -> ClusterIntercepts:
        from clusterglm.data.resampled import only_clusters
        from clusterglm.inference.effects.average_effects import (
            ClusterIntercepts,
            bias_corrected,
            expected_intercepts,
            uncorrected,
        )
        from clusterglm.inference.uncertainty.correction import linear_predictor

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

    _marginal_differs = True
    _averaged_over: ClassVar[str] = " and over the distribution of intercepts"

    if TYPE_CHECKING:
        fit: RandomEffectsFit

        @property
        def _posterior(self) -> PredictedIntercepts: ...

    def _mean_note(self, kind: str) -> str:
        from clusterglm.inference.effects.heterogeneity import sigma_note

        return sigma_note(self.fit.sigma, 0.0, self.fit.sigma_fixed)[0]

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "response"
    ) -> AverageEffects:
        from clusterglm.inference.effects.average_effects import uncorrected
        from clusterglm.inference.predictions.averaged_mean import averaged_jet, averaged_link_jet, link_jet, mean_jet

        fit, response = self.fit, self.response
        jet = link_jet if scale == "link" else partial(mean_jet, response=response)
        known, intercepts = rows.offset, None
        if kind == "marginal":
            averaged = averaged_link_jet if scale == "link" else averaged_jet
            jet = partial(averaged, sigma=fit.sigma, response=response, distribution=fit.distribution)
        elif kind == "conditional":
            each = self._posterior.variances / repeats_of(self.data.rows).clusters  # repeats have noise of their own
            intercepts = uncorrected(replace(self._posterior, variances=each), rows.codes)
            known = rows.offset + self._posterior.values[rows.codes]
        return self._averages(changes, rows, cov, jet, known, intercepts)

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
