"""Step by step: tests of terms, a fit with another formula, rows that several fits have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.design import formula_offset
from clusterglm.data.formulas.formula import parse_formula, updated_formula
from clusterglm.data.offsets import column_of
from clusterglm.data.prepare import ModelData
from clusterglm.data.tables.table import read_table
from clusterglm.errors import DataError, OptionError, check_option
from clusterglm.results.models.several import check_fit, is_result

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.results.models.base import Result
    from clusterglm.results.tables.comparison import Comparison

_TESTS = ("wald", "lr")


def anova(*fits: Result, test: str = "wald", cov: str = "observed") -> pd.DataFrame | Comparison:
    """Test the terms of a fit; or compare several, as `compare` does.

    Parameters
    ----------
    *fits : Result
    test : {"wald", "lr"}
        Of a single fit: Wald tests, or likelihood-ratio tests for which the model is fitted again without each term.
    cov : {"observed", "robust", "quasi"}
        Covariance of Wald tests.

    Returns
    -------
    DataFrame or Comparison
        Of one fit a row per term, next to all others (type III): `term`, `statistic`, `df`, `pvalue`, and `reason`
        where there is no test. A term that is also part of an interaction is tested where the other variables of that
        are zero, or at their reference level; `fit.drop_one()` keeps to terms that are in no other.

    Raises
    ------
    OptionError
        On another test, or something that is no fit.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
    >>> cg.anova(fit, test="lr")["term"].to_list()
    ['trt', 'week']
    """
    if len(fits) != 1:
        from clusterglm.results.tables.comparison import compare

        return compare(*fits)
    (fit,) = fits
    check_fit(fit, "anova")
    if check_option("test", test, _TESTS) == "wald":
        return fit.term_tests(cov)
    if cov != "observed":
        raise OptionError(f'cov={cov!r} with test="lr"', "likelihoods, which have no other covariance", 'test="wald"')
    return fit._tests_by_refitting()


def update(fit: Result, formula: str, data: Any = None, **changes: Any) -> Any:
    """Fit the model of a fit with another formula, to the same rows.

    Parameters
    ----------
    fit : Result
    formula : str
        In which `.` stands for what the fit has on that side: "~ . - x", "~ . + z", "log(y) ~ .".
    data : table, optional
        The table that was fitted, from which all rows of the fit are read again. Without it terms can be taken away.
    **changes
        Other arguments of the fit's verb, such as `link="probit"`; they need `data`, too.

    Returns
    -------
    Result
        Of the rows of the fit, with its weights, offset and clusters: less those in which a new covariate is missing.

    Raises
    ------
    OptionError
        Where `data` is needed.
    DataError
        Where it is not the table of the fit.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
    >>> smaller = cg.update(fit, "~ . - trt")
    >>> cg.compare(smaller, fit).tests[0].df
    2
    """
    check_fit(fit, "update")
    if data is None:
        if changes:
            raise OptionError(
                f"update(..., {next(iter(changes))}=...) without data", "the table", "data=the same table"
            )
        return fit._without_terms(formula)
    verb, options = fit._call()
    table = read_table(data)
    rows = fit.data.rows
    n = len(table)
    if rows.row_index.max() >= n:
        raise DataError(
            f"a table of {n} rows for a fit that used row {int(rows.row_index.max())}", "the table of the fit", "data="
        )
    text = updated_formula(fit.formula, formula)
    if parse_formula(text, table.columns, rows.design.functions).cluster is not None:
        options["cluster"] = None
    return _verb(verb)(text, data, **{**_of_rows(rows, table, n), **options, **changes})


def common_rows(*fits: Result) -> NDArray[np.int64]:
    """Positions in the table of the rows that all fits have used, in ascending order.

    Parameters
    ----------
    *fits : Result
        To one table, of which covariates are missing in different rows: `table.iloc[cg.common_rows(a, b)]` is that to
        fit both to, so that `compare` compares them.

    Returns
    -------
    ndarray of int64

    Raises
    ------
    OptionError
        On something that is no fit.
    DataError
        When they have no row in common.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> late = cg.pooled("y ~ trt", bacteria, subset="week > 2")
    >>> len(cg.common_rows(late, cg.pooled("y ~ trt", bacteria)))
    126
    """
    if not fits or not all(map(is_result, fits)):
        raise OptionError("common_rows(...) of something that is no fit", "fits", "cg.common_rows(small, large)")
    found = fits[0].data.rows.row_index
    for fit in fits[1:]:
        found = np.intersect1d(found, fit.data.rows.row_index)
    if len(found) == 0:
        raise DataError("fits that have no row in common", "fits to one table", "data= the same for all")
    return np.sort(found)


def _of_rows(rows: ModelData, table: Any, n: int) -> dict[str, Any]:
    """Arguments that give the rows of a table what they had in a fit."""
    cluster_of = np.repeat(np.arange(rows.n_clusters), np.diff(rows.starts))

    def spread(values: NDArray[Any], otherwise: Any) -> NDArray[Any]:
        whole = np.full(n, otherwise, dtype=values.dtype)
        whole[rows.row_index] = values
        return whole

    used = np.zeros(n, dtype=bool)
    used[rows.row_index] = True
    found: dict[str, Any] = {"subset": used}
    if rows.cluster_name is not None and rows.effects is None:
        known = rows.cluster_name in table.columns
        found["cluster"] = rows.cluster_name if known else spread(rows.labels[cluster_of], rows.labels[0])
    if (rows.weights != 1.0).any():
        found["weights"] = spread(rows.weights, 1.0)
    if (rows.cluster_weights != 1.0).any():
        found["cluster_weights"] = spread(rows.cluster_weights[cluster_of], 1.0)
    design, column = rows.design, column_of(rows.design.offset_argument)
    if column is not None and column in table.columns:
        name = "exposure" if str(design.offset_argument).startswith("exposure") else "offset"
        found[name] = column
    elif design.offset_argument is not None:
        own = formula_offset(design.offsets, table[rows.row_index], design.functions)
        found["offset"] = spread(rows.offset - own, 0.0)
    return found


def _verb(name: str) -> Any:
    from clusterglm.api import verbs, within

    return getattr(verbs, name, None) or getattr(within, name)
