"""Wald tests of linear hypotheses and of terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from clusterglm.data.prepare import FittedData
from clusterglm.errors import DesignError, OptionError, check_option
from clusterglm.inference.uncertainty.intervals import check_level, wald_interval, wald_p_values, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters
from clusterglm.model.response.base import Response
from clusterglm.results.topics.pieces import Pieces

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.hypotheses.wald import Constraints, LinearTest


class Hypotheses(Pieces):
    """Tests of hypotheses on the coefficients."""

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
        @property
        def _estimates(self) -> Array: ...
        def _covariance(self, kind: str) -> Array: ...

    @with_alpha
    def wald_test(
        self,
        hypothesis: str | list[str] | ArrayLike,
        cov: str = "observed",
        r: ArrayLike | None = None,
        *,
        level: float = 0.95,
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
        from clusterglm.inference.hypotheses.wald import read_hypotheses, symbols_of

        check_option("cov", cov, self._covariances)
        if not self.data.names:
            raise OptionError(
                "a hypothesis on the coefficients of a model without coefficients", "one", "add a covariate"
            )
        terms = {term: which for term, which in formula_terms(self.data).items() if term != "1"}
        symbols = symbols_of(self.data.names, self.data.design.aliases, terms)
        check_level(level)
        found = self._test(read_hypotheses(hypothesis, r, self.data.names, symbols), cov)
        ratio = self.response.ratio
        return replace(found, level=level, ratio="" if ratio is None else ratio[0])

    @with_alpha
    def delta_method(
        self, expressions: str | Sequence[str] | Mapping[str, str], *, level: float = 0.95, cov: str = "observed"
    ) -> pd.DataFrame:
        """Functions of the estimates, with standard errors by the delta method.

        Parameters
        ----------
        expressions : str, sequence of str, or mapping of str to str
            Such as `"exp(a) / b"`, of coefficients and other parameters by the names that `cov()` has, those that are
            not plain words in backquotes: "exp(`(Intercept)`)". Arithmetic and the functions of formulas that have a
            derivative: `exp`, `log`, `sqrt`, `plogis`, `qlogis`, `pnorm` and the like. A mapping names them.
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
        [4.64]
        """
        import pandas as pd

        from clusterglm.inference.effects.delta_method import functions_of
        from clusterglm.results.tables.frame import shown

        check_option("cov", cov, self._covariances)
        check_level(level)
        parameters, V = self._parameters, self._covariance(cov)
        values = np.full(len(parameters), np.nan)
        values[parameters.estimated] = self._estimates
        known = dict(zip(self.data.design.aliases, self.data.names, strict=False))
        found = functions_of(expressions, parameters.names, values, known)
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

    def term_tests(self, cov: str = "observed") -> pd.DataFrame:
        """Wald test of each term of the formula, all its columns jointly, next to all others (type III).

        Parameters
        ----------
        cov : {"observed", "robust", "quasi"}

        Returns
        -------
        DataFrame
            A row per term but the intercept: `term`, `statistic`, `df`, `pvalue` (chi-square). A term that is also part
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
        unit, rows = np.eye(len(self._beta)), []
        for term, columns in formula_terms(self.data).items():
            if columns == (self.data.intercept,):
                continue
            words = tuple(f"{self.data.names[j]} = 0" for j in columns)
            test = self._test(Constraints(unit[list(columns)], np.zeros(len(columns)), words), cov)
            rows.append((term, test.statistic, test.df, test.pvalue))
        return shown(pd.DataFrame(rows, columns=["term", "statistic", "df", "pvalue"]))

    def _report_parts(self) -> list[str]:
        return [*super()._report_parts(), *(["terms"] if len(self.data.names) > 1 else [])]

    def _test(self, constraints: Constraints, cov: str) -> LinearTest:
        from clusterglm.inference.hypotheses.wald import linear_test

        of_beta = self._parameters.coefficients
        return linear_test(constraints, self._beta, self._covariance(cov)[of_beta, of_beta], cov)


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
