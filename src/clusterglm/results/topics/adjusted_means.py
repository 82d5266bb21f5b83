"""Adjusted means of groups: what other software calls estimated marginal means, least-squares means or margins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clusterglm.data.prepare import FittedData
from clusterglm.errors import OptionError, check_option
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arguments import mapping, shown
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.results.topics.pieces import Pieces

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects, ClusterIntercepts
    from clusterglm.inference.predictions.averaged_mean import MeanJet
    from clusterglm.inference.uncertainty.degrees import Degrees
    from clusterglm.model.parameters import Parameters
    from clusterglm.results.tables.adjusted_means import AdjustedMeans
    from clusterglm.results.topics.effect_rows import EffectRows

_OVER = ("observed", "balanced")


class Averages(Pieces):
    """Averages of means over rows, where clusters have no effect: all kinds mean the same."""

    _mean_kinds: ClassVar[tuple[str, ...]] = ("marginal", "typical", "conditional")
    """At which random effects means are taken, the default first."""
    _mean_scales: ClassVar[tuple[str, ...]] = ("response", "link")
    """The default first."""

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
        def _delta_covariance(self, kind: str) -> Array: ...
        def _degrees(self, R: Array, cov: str, together: bool = ...) -> Degrees: ...
        def _small_sample(
            self, df: str | None, cov: str, R: Array | None = ..., together: bool = ...
        ) -> tuple[str, Degrees | None]: ...

    @with_alpha
    def adjusted_means(
        self,
        variables: str | Sequence[str],
        *,
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        slope: str | None = None,
        kind: str | None = None,
        scale: str | None = None,
        over: str = "observed",
        level: float = 0.95,
        data: Any = None,
        cov: str = "observed",
        df: str | None = None,
    ) -> AdjustedMeans:
        """Means with some variables set to each of their values, averaged over the other covariates.

        Of ordered categories the probabilities of each, which are compared between values of the variables.

        Parameters
        ----------
        variables : str or sequence of str
            Columns of the formula, whose combinations of values make the means: all levels of a categorical one, the
            values that there are of a numeric one, if they are at most 12.
        by : str or sequence of str, optional
            Further such columns, within whose values contrasts are taken.
        at : mapping of str to value or sequence of values, optional
            Values in the place of all; other variables are held at the value given.
        slope : str, optional
            Slopes along this variable in the place of means (of a variable that is 0 or 1: the difference).
        kind : "marginal", "typical" or "conditional", optional
            Of the mean averaged over the distribution of the random effects, that of the population (the default); at
            random effects of zero, those of a typical cluster; or at what is known of each row's cluster, the only kind
            of fixed effects.
        scale : "response" or "link", optional
            Averages of means ("probability" of ordered categories), or of linear predictors (for "marginal" the links
            of averaged means): `on_response()` of the answer puts these through the inverse link, as R's emmeans does.
        over : {"observed", "balanced"}
            Over the other covariates as they are in the rows that were used, weights and trials counted; or over all
            combinations of their levels alike, numeric ones and the offset at their mean.
        level : float
            Coverage of the intervals.
        data : table, optional
            The table that was fitted, needed where the design does not tell a variable's values; or another one, over
            whose complete rows to average, each with weight one.
        cov : {"observed", "robust"}
            Covariance of the estimates.
        df : "satterthwaite" or "kenward_roger", optional
            Student's t in the place of normal distributions, for the means and all contrasts of them; see `conf_int`
            for which models have degrees of freedom.

        Returns
        -------
        AdjustedMeans
            A table (`to_frame()`) with the joint covariance of the means, and `contrasts(...)` of them.

        Raises
        ------
        OptionError
            On a variable that the formula does not use, a level that there is not, or another kind or scale.
        DataError
            Where `data` is needed, or does not do.

        Notes
        -----
        Searle, Speed and Milliken (American Statistician 34, 1980) for balanced ones; Lane and Nelder (Biometrics 38,
        1982) for observed ones, as Stata's margins has them. Standard errors by the delta method in all estimates,
        covariates held fixed; see `average_effects`.

        Examples
        --------
        >>> import clusterglm as cg
        >>> bacteria = cg.datasets.load("bacteria")
        >>> fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
        >>> fit.adjusted_means("trt").to_frame()["estimate"].round(3).to_list()
        [0.876, 0.711, 0.786]
        """
        from clusterglm.inference.diagnostics.design_changes import check_variables
        from clusterglm.inference.effects.adjusted_means import Cells, balanced, cell_values, set_to
        from clusterglm.results.tables.adjusted_means import AdjustedMeans
        from clusterglm.results.topics.effect_rows import said_of, with_outcomes

        kind = check_option("kind", self._mean_kinds[0] if kind is None else kind, self._mean_kinds)
        scale = check_option("scale", self._mean_scales[0] if scale is None else scale, self._mean_scales)
        check_option("over", over, _OVER)
        check_option("cov", cov, self._covariances)
        check_level(level)
        design, held_at = self._whole_design, mapping("at", at)
        wanted = check_variables(design, variables)
        within = [] if by is None else check_variables(design, by, "by")
        check_variables(design, list(held_at), "at")
        self._check_means(wanted, within, slope, kind, scale, over)
        rows = self._mean_rows(data, kind)
        values, held = cell_values(design, rows.frame, [*wanted, *within], held_at)
        if over == "balanced":
            frame = balanced(design, rows.frame, rows.weights, {*values, *held, *([] if slope is None else [slope])})
            n = len(frame)
            offset = np.full(n, float(rows.weights @ rows.offset))
            rows = replace(rows, frame=frame, offset=offset, weights=np.full(n, 1.0 / n), times=np.ones(n))
        if df is not None:
            cov, _ = self._small_sample(df, cov)
        cells = Cells(design, set_to(design, rows.frame, held), values, slope)
        found = self._averaged(cells, rows, kind, cov, scale=scale)
        each = dict(zip(values, zip(*cells.combinations, strict=True), strict=True))
        columns = with_outcomes(each, () if scale == "link" else self._outcomes, len(cells))
        within += [name for name in columns if name not in values]
        what = self._means_in_words(kind, scale, over, slope)
        said = [self._mean_note(kind), *self._said_of_means]
        if np.isinf(found.std_error).any():
            said.append(
                "what the data say of some clusters' effects has no variance, so that there is no standard error"
            )
        note = said_of(found, "; ".join(filter(None, said)))
        degrees = self._degrees_of(found.gradient, cov) if df is not None else None
        return AdjustedMeans(
            columns, tuple(within), found.estimate, found.std_error, found.covariance, scale, kind, level, what,
            self._response_on(scale), note, slope is not None, degrees,
        )  # fmt: skip

    def _degrees_of(self, gradient: Array, cov: str) -> Callable[[Array], Array]:
        """From combinations of averages, whose derivatives in all parameters are given, to degrees of freedom."""
        of_beta = gradient[:, self._parameters.coefficients]
        return lambda C: self._degrees(C @ of_beta, cov).single

    @property
    def _said_of_means(self) -> list[str]:
        """What is to be said of adjusted means of this kind of result, besides what holds for other averages."""
        return []

    def _check_means(
        self, wanted: list[str], within: list[str], slope: str | None, kind: str, scale: str, over: str
    ) -> None:
        from clusterglm.inference.diagnostics.design_changes import check_variables

        twice = [name for name in wanted if name in within]
        if not wanted or twice:
            what = f"{twice[0]!r} in variables= and by=" if twice else "adjusted means of no variable"
            raise OptionError(what, "variables, each once", f"adjusted_means({self._whole_design.variables[0]!r})")
        if slope is not None:
            if not isinstance(slope, str):
                raise OptionError(f"slope={shown(slope)}", "the name of one numeric variable", "slope='x'")
            (along,) = check_variables(self._whole_design, slope, "slope")
            if along in (*wanted, *within):
                raise OptionError(
                    f"slopes along {along!r} at values of {along!r}", "another variable", "at=, to hold it"
                )
            if scale == "link" and kind == "marginal" and self._marginal_differs:
                raise OptionError(
                    'slopes of the link of averaged means (kind="marginal", scale="link")',
                    "slopes of linear predictors, or of means",
                    'kind="typical"; or scale="response"',
                )
        if over == "balanced" and kind == "conditional" and self._marginal_differs:
            raise OptionError(
                'over="balanced" with kind="conditional", where each row has its own cluster\'s effects',
                "rows that were observed",
                'over="observed"; or another kind=',
            )

    _marginal_differs: ClassVar[bool] = False
    """Whether kinds differ, as they do with effects of clusters."""

    def _means_in_words(self, kind: str, scale: str, over: str, slope: str | None) -> str:
        words = self._words_on(scale)
        what = f"Adjusted means: {words}" if slope is None else f"Slopes of the {words} along {slope}"
        kinds = f", {kind}" if self._marginal_differs else ""
        return (
            f"{what}{kinds}, averaged over the other covariates {'as observed' if over == 'observed' else 'balanced'}"
        )

    def _words_on(self, scale: str) -> str:
        """What is averaged on a scale, in words."""
        return self.response.words.expectation.lower() if scale == "response" else "linear predictor"

    def _response_on(self, scale: str) -> Response:
        """A response that has what is averaged for its mean: by its link means have intervals."""
        return self.response

    # What averages are made of ---------------------------------------------------------------------------------------

    @property
    def _outcomes(self) -> tuple[str, ...]:
        """What there is a mean of for each row, by name; nothing where it is the response alone."""
        return ()

    def _mean_rows(self, table: Any, kind: str) -> EffectRows:
        """Rows to average over, with their clusters where these count."""
        from clusterglm.results.topics.effect_rows import effect_rows

        clusters = kind == "conditional" and self._marginal_differs
        return effect_rows(self.data, table, clusters=clusters, beside=self._beside)

    def _mean_note(self, kind: str) -> str:
        """What is to be said of averages of a kind."""
        return ""

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "response"
    ) -> AverageEffects:
        """Averages of changes of the mean, or of means, over rows; or of what else `scale` names."""
        from clusterglm.inference.predictions.averaged_mean import link_jet, mean_jet

        jet = link_jet if scale == "link" else partial(mean_jet, response=self.response)
        return self._averages(changes, rows, cov, jet, rows.offset, None)

    def _averages(
        self,
        changes: Collection[DesignChange],
        rows: EffectRows,
        cov: str,
        jet: Callable[[Array], MeanJet],
        known: Array,
        intercepts: ClusterIntercepts | None,
    ) -> AverageEffects:
        from clusterglm.inference.effects.average_effects import average_effects

        covariance = self._delta_covariance(cov)
        return average_effects(changes, self._beta, known, rows.weights, covariance, jet, intercepts, rows.times)
