"""Wald tests of linear hypotheses and of terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.errors import DataError, DesignError, OptionError, check_option
from clusterglm.inference.uncertainty.intervals import check_level, wald_interval, wald_p_values, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Index, Parameters
from clusterglm.model.response.base import Response
from clusterglm.results.topics.pieces import Pieces

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.hypotheses.wald import Constraints, LinearTest, Symbols
    from clusterglm.inference.uncertainty.degrees import Degrees


class Hypotheses(Pieces):
    """Tests of hypotheses on the coefficients."""

    if TYPE_CHECKING:
        data: FittedData

        @property
        def response(self) -> Response: ...
        @property
        def _covariances(self) -> tuple[str, ...]: ...
        @property
        def loglik(self) -> float: ...
        @property
        def aic(self) -> float: ...
        @property
        def _beta(self) -> Array: ...
        @property
        def _parameters(self) -> Parameters: ...
        @property
        def _estimates(self) -> Array: ...
        @property
        def _with_intervals(self) -> Index: ...
        def _covariance(self, kind: str) -> Array: ...
        def _small_sample(
            self, df: str | None, cov: str, R: Array | None = ..., together: bool = ...
        ) -> tuple[str, Degrees | None]: ...

    @with_alpha
    def wald_test(
        self,
        hypothesis: str | list[str] | ArrayLike,
        cov: str = "observed",
        r: ArrayLike | None = None,
        *,
        level: float = 0.95,
        df: str | None = None,
    ) -> LinearTest:
        """Wald test of linear hypotheses on the coefficients, and what they are about with intervals.

        Parameters
        ----------
        hypothesis : str, list of str, or array_like
            Equations: `"x1 = x2"`, `"x1 + 2*x2 = 0.5"`, `"x1 = 0, x2 = 0"`, or a list of them; without `=` the
            expression is zero. A term of the formula, such as `"trt"`, stands for all its columns. Names may be put in
            backquotes, and must be where they could be taken for a sum. Or a matrix R, shape (k, p) or (p,), of the
            hypotheses R beta = r, or a data frame whose columns are coefficients.
        cov : {"observed", "robust", "quasi"}
            Covariance of the coefficients; see `cov`.
        r : array_like, shape (k,), optional
            Right-hand side for a matrix; by default zero.
        level : float
            Coverage of the intervals of single combinations.
        df : "satterthwaite" or "kenward_roger", optional
            F and t in the place of chi-square and normal distributions; see `conf_int` for which models have which.

        Returns
        -------
        LinearTest
            `statistic`, `df`, `pvalue`; `estimate` and `std_error` of each combination; `to_frame()` with intervals,
            and as ratios where exponentials of coefficients are such. Prints as a sentence. The reference is
            chi-square, also for a robust covariance, which no F distribution makes exact.

        Raises
        ------
        OptionError
            When a hypothesis cannot be read, names an unknown coefficient, follows from others or contradicts them.
        ClusterError
            When a robust covariance comes from too few clusters for so many hypotheses.

        Examples
        --------
        >>> import clusterglm as cg
        >>> bacteria = cg.datasets.load("bacteria")
        >>> fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
        >>> fit.wald_test("trtdrug = trtdrug+").df
        1
        """
        from clusterglm.inference.hypotheses.wald import read_hypotheses

        check_option("cov", cov, self._covariances)
        names = self._testable[0]
        if not names:
            raise OptionError(
                "a hypothesis on the coefficients of a model without coefficients", "one", "add a covariate"
            )
        check_level(level)
        constraints = read_hypotheses(hypothesis, r, names, self._symbols())
        return replace(self._tested(constraints, cov, df), level=level, ratio=self._ratio_of(constraints.R))

    def _ratio_of(self, R: Array) -> str:
        """What exponentials of combinations of coefficients are; empty where they are nothing."""
        return "" if self.response.ratio is None else self.response.ratio[0]

    @with_alpha
    def delta_method(
        self, expressions: str | Sequence[str] | Mapping[str, str], *, level: float = 0.95, cov: str = "observed"
    ) -> pd.DataFrame:
        """Functions of the estimates, with standard errors by the delta method.

        Parameters
        ----------
        expressions : str, sequence of str, or mapping of str to str
            Such as `"exp(a) / b"`, of coefficients and other parameters by the names that `cov()` has, those that are
            not plain words in backquotes: ``"exp(`(Intercept)`)"``. Arithmetic and the functions of formulas that have
            a derivative: `exp`, `log`, `sqrt`, `plogis`, `qlogis`, `pnorm` and the like. A mapping names them.
        level : float
            Coverage of the intervals.
        cov : {"observed", "robust", "quasi"}
            Covariance of the estimates.

        Returns
        -------
        DataFrame
            A row per expression: `term`, `estimate`, `std_error`, `z`, `pvalue`, `conf_low`, `conf_high`; nan where a
            parameter has no standard error, as sigma has none at 0.

        Raises
        ------
        OptionError
            On a name that is no estimate; the nearest is given.
        FormulaError
            On what cannot be read, or has no derivative.

        Notes
        -----
        Intervals are normal on the scale of the expression: of a ratio take that of its logarithm, log(a) - log(b).

        Examples
        --------
        >>> import clusterglm as cg
        >>> bacteria = cg.datasets.load("bacteria")
        >>> fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
        >>> fit.delta_method({"half": "-log(2) / week"})["estimate"].round(2).to_list()
        [4.76]
        """
        import pandas as pd

        from clusterglm.inference.effects.delta_method import functions_of
        from clusterglm.results.tables.frame import shown

        check_option("cov", cov, self._covariances)
        check_level(level)
        parameters, values = self._parameters, self._estimates
        every = np.arange(len(parameters))
        places = every[parameters.estimated]
        if len(values) < len(places):  # mass points are told by a table of their own
            places = every[self._with_intervals]
        if len(places) == 0:
            raise OptionError("a function of the estimates of a model without coefficients", "one", "add a covariate")
        V, names = self._covariance(cov)[np.ix_(places, places)], parameters.names_of(places)
        known = dict(zip(self.data.design.aliases, self.data.names, strict=False))
        found = functions_of(expressions, names, values, known)
        se = np.empty(len(found.value))
        for j, gradient in enumerate(found.gradient):
            used = np.flatnonzero(gradient)
            se[j] = np.sqrt(gradient[used] @ V[np.ix_(used, used)] @ gradient[used])
        with np.errstate(divide="ignore", invalid="ignore"):
            z, (low, high) = found.value / se, wald_interval(found.value, se, level)
        table = {
            "term": list(found.names), "estimate": found.value, "std_error": se, "z": z, "pvalue": wald_p_values(z),
            "conf_low": low, "conf_high": high,
        }  # fmt: skip
        return shown(pd.DataFrame(table))

    def term_tests(self, cov: str = "observed", *, df: str | None = None) -> pd.DataFrame:
        """Wald test of each term of the formula, all its columns jointly, next to all others (type III).

        Parameters
        ----------
        cov : {"observed", "robust", "quasi"}
        df : "satterthwaite" or "kenward_roger", optional
            See `wald_test`.

        Returns
        -------
        DataFrame
            A row per term but the intercept: `term`, `statistic`, `df`, `pvalue` (chi-square); with `df=` also `F` and
            `df_denominator`, from which `pvalue` then is. A term that is also part
            of an interaction is tested where the other variables of that are zero (or at their reference level).

        Raises
        ------
        OptionError, ClusterError
            As `wald_test`.
        """
        import pandas as pd

        from clusterglm.inference.hypotheses.wald import Constraints
        from clusterglm.results.tables.frame import shown

        check_option("cov", cov, self._covariances)
        names = self._testable[0]
        unit, rows = np.eye(len(names)), []
        for term, columns in {**formula_terms(self.data), **self._further_terms}.items():
            if columns == (self.data.intercept,):
                continue
            words = tuple(f"{names[j]} = 0" for j in columns)
            test = self._tested(Constraints(unit[list(columns)], np.zeros(len(columns)), words), cov, df)
            row = {"term": term, "statistic": test.statistic, "df": test.df}
            if test.degrees is not None:
                row |= {"F": test.degrees.scale * test.statistic, "df_denominator": test.degrees.joint}
            rows.append(row | {"pvalue": test.pvalue})
        return shown(pd.DataFrame(rows, columns=None if rows else ["term", "statistic", "df", "pvalue"]))

    # Terms, by fits without them --------------------------------------------------------------------------------------

    def drop_one(self) -> pd.DataFrame:
        """Fits without each term that is in no other, by likelihood ratios and AIC (R's drop1).

        Returns
        -------
        DataFrame
            A row for the fit as it is ("") and one for each term that could go: `term`, `df` (coefficients less),
            `loglik`, `aic`, `delta` (AIC less that of the fit), `lr_statistic`, `lr_pvalue`, and `reason` where there
            is no fit or no test.

        Raises
        ------
        OptionError
            For models that cannot be fitted again without a term.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        whole = {"term": "", "df": 0, "loglik": self.loglik, "aic": self.aic, "delta": 0.0}
        rows = [whole | {"lr_statistic": np.nan, "lr_pvalue": np.nan, "reason": ""}]
        rows += [self._without(term, *how) for term, how in self._smaller(alone=True).items()]
        table = pd.DataFrame(rows)
        table["delta"] = table["aic"] - self.aic
        return shown(table.drop(columns=[] if table["reason"].any() else "reason"))

    def _tests_by_refitting(self) -> pd.DataFrame:
        """Likelihood-ratio tests of all terms, next to all others."""
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        found = [self._without(term, *how) for term, how in self._smaller(alone=False).items()]
        names = {"term": "term", "lr_statistic": "statistic", "df": "df", "lr_pvalue": "pvalue", "reason": "reason"}
        table = pd.DataFrame(found, columns=list(names)).rename(columns=names)
        return shown(table.drop(columns=[] if table["reason"].any() else "reason"))

    def _smaller(self, *, alone: bool) -> dict[str, tuple[int, Callable[[], Any]]]:
        """Terms that a smaller model lacks: coefficients that it has less, and the fit; those `alone` in no other."""
        from clusterglm.data.fewer import coded_anew, without_terms

        rows, absorbed, kept = self.data.rows, self._own_intercepts, self._kept_without_columns
        found = dict[str, tuple[int, Callable[[], Any]]]()
        for term, places in formula_terms(self.data).items():
            if places == (self.data.intercept,) or (
                alone and (term == "1" or coded_anew(rows, [term], absorbed=absorbed))
            ):
                continue

            def fitted(term: str = term) -> Any:
                return self._fitted_to(without_terms(rows, [term], absorbed=kept))

            found[term] = len(places), fitted
        return found

    def _without(self, term: str, df: int, fitted: Callable[[], Any]) -> dict[str, Any]:
        """A row of `drop_one`."""
        from clusterglm.inference.hypotheses.comparison import likelihood_ratio_test

        nothing = {"loglik": np.nan, "aic": np.nan, "lr_statistic": np.nan, "lr_pvalue": np.nan}
        row = {"term": term, "df": df, "delta": np.nan}
        try:
            smaller = fitted()
        except DataError as problem:
            return row | nothing | {"reason": f"no fit without it: {problem.got}"}
        test = likelihood_ratio_test(smaller._candidate("the fit without it"), self._candidate("the fit"))
        return row | {
            "loglik": smaller.loglik, "aic": smaller.aic, "lr_statistic": test.statistic, "lr_pvalue": test.pvalue,
            "reason": test.reason,
        }  # fmt: skip

    def _without_terms(self, change: str) -> Any:
        """The fit without the terms that a formula takes away, "~ . - x"."""
        from clusterglm.data.fewer import coded_anew, taken_away, without_terms
        from clusterglm.data.formulas.formula import updated_formula

        text, rows = updated_formula(self.data.formula, change), self.data.rows
        lost = taken_away(change, rows)
        why = "more than terms to take away" if lost is None else coded_anew(rows, lost, absorbed=self._own_intercepts)
        if lost is None or why:
            raise OptionError(
                f"update(..., {change!r}) without data: {why}",
                f"terms to take away, of {', '.join(repr(term) for term in formula_terms(self.data) if term != '1')}",
                "data=the same table",
            )
        return self._fitted_to(without_terms(rows, lost, text, absorbed=self._kept_without_columns))

    @property
    def _kept_without_columns(self) -> bool:
        """Whether a model of intercepts alone can be fitted: where they are not conditioned out."""
        return self._own_intercepts and not self._given_totals

    def _fitted_to(self, new: ModelData) -> Any:
        """The result of the same model fitted to other data."""
        raise OptionError(
            f"a {self.kind} fit to other columns of the same rows", "another kind of model", f"cg.{self.kind}(...)"
        )

    def _call(self) -> tuple[str, dict[str, Any]]:
        """The verb that made the result, and arguments of it that are not those of rows."""
        functions = self.data.design.functions
        known = {"family": self.response.family, "link": self.response.link, "functions": dict(functions) or None}
        levels = self.data.levels
        return self.kind, known | ({} if levels is None else {"success": levels[1]})

    def _report_parts(self) -> list[str]:
        return [*super()._report_parts(), *(["terms"] if len(self.data.names) > 1 else [])]

    def _tested(self, constraints: Constraints, cov: str, df: str | None) -> LinearTest:
        """The test, with degrees of freedom where they are asked for."""
        kind, degrees = self._small_sample(df, cov, constraints.R, together=True)
        found = self._test(constraints, kind)
        if degrees is None:
            return found
        return replace(found, degrees=degrees, pvalue=degrees.p_value(found.statistic))

    def _test(self, constraints: Constraints, cov: str) -> LinearTest:
        from clusterglm.inference.hypotheses.wald import linear_test

        _, values, places = self._testable
        known = constraints.R.shape[1]  # of the first ones, where hypotheses are about these alone
        places = places[:known]
        return linear_test(constraints, values[:known], self._covariance(cov)[np.ix_(places, places)], cov)

    @property
    def _testable(self) -> tuple[tuple[str, ...], Array, NDArray[np.int64]]:
        """What hypotheses may be about: names, estimates, and where these are among the parameters."""
        return self.data.names, self._beta, np.arange(len(self._parameters))[self._parameters.coefficients]

    def _symbols(self) -> Symbols:
        """What may be called by name in a hypothesis, and the estimates that it stands for."""
        from clusterglm.inference.hypotheses.wald import symbols_of

        terms = {term: which for term, which in formula_terms(self.data).items() if term != "1"}
        p, further = len(self.data.names), self._further_terms.items()
        more = {name: (p + j,) for j, name in enumerate(self._testable[0][p:])}
        others = {term.replace("`", ""): which for term, which in further}
        return {**others, **symbols_of(self.data.names, self.data.design.aliases, terms), **more}

    @property
    def _further_terms(self) -> dict[str, tuple[int, ...]]:
        """Terms beside those of the formula, with the positions of their coefficients among what is testable."""
        return {}


def formula_terms(data: FittedData) -> dict[str, tuple[int, ...]]:
    """The terms of the formula, each with the positions of its columns.

    Raises
    ------
    DesignError
        When the columns are no longer those of the formula.
    """
    found = data.design.terms()
    first = sum(map(len, found.values()))
    if first != len(data.names):
        raise DesignError(
            f"{len(data.names)} columns where the formula {data.formula!r} makes {first}",
            "the columns of the formula",
            "hypotheses on columns by a matrix R",
        )
    return found
