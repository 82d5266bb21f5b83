"""Wald tests of linear hypotheses and of terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from clusterglm.data.prepare import ModelData
from clusterglm.errors import DesignError, OptionError, check_option
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
        data: ModelData

        @property
        def response(self) -> Response: ...
        @property
        def _covariances(self) -> tuple[str, ...]: ...
        @property
        def _beta(self) -> Array: ...
        @property
        def _parameters(self) -> Parameters: ...
        def _covariance(self, kind: str) -> Array: ...

    def wald_test(
        self, hypothesis: str | list[str] | ArrayLike, cov: str = "observed", r: ArrayLike | None = None
    ) -> LinearTest:
        """Wald test of linear hypotheses on the coefficients.

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

        Returns
        -------
        LinearTest
            `statistic`, `df`, `pvalue`; `estimate` and `std_error` of each combination. Prints as a sentence. The
            reference is chi-square, also for a robust covariance, which no F distribution makes exact.

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
        return self._test(read_hypotheses(hypothesis, r, self.data.names, symbols), cov)

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


def formula_terms(data: ModelData) -> dict[str, tuple[int, ...]]:
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
