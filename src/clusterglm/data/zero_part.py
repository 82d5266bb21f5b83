"""The rows of a model once more, with the columns of a second linear predictor: that of zeros."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clusterglm.data.formulas.formula import parse_formula
from clusterglm.data.prepare import ModelData, assemble, prepare
from clusterglm.data.request import Request
from clusterglm.data.rows import read_formula
from clusterglm.data.tables.table import read_table
from clusterglm.errors import FormulaError

_EXAMPLE = "zero_inflation='~ 1', or '~ x' with covariates"


def read_zero_part(
    formula: str, right: object, data: object, request: Request, argument: str
) -> tuple[ModelData, ModelData]:
    """The data of a model, and the same rows in the same order with the columns of a second formula.

    Rows without a covariate of the second formula are left out of both.

    Parameters
    ----------
    formula : str
    right : str
        The second formula, `~ x`, without a response.
    data : table
    request : Request
    argument : {"zero_inflation", "hurdle"}
        What is called so in errors.

    Raises
    ------
    FormulaError
        Of a second formula with a response, random terms, offsets or means of clusters.
    DataError
        As `prepare`.
    """
    table = read_table(data)
    whole = _with_response(formula, right, list(table.columns), request, argument)
    main = prepare(formula, data, request)
    alone = replace(
        request, cluster=None, weights=None, cluster_weights=None, offset=None, need_cluster=False, effects=False,
        inside=None,
    )  # fmt: skip
    zero = assemble(table, *read_formula(whole, table.columns, alone))
    common = np.intersect1d(main.row_index, zero.row_index)
    lost = main.n_obs - len(common)
    if lost > 0 or len(common) < zero.n_obs:
        rows = np.zeros(len(table), dtype=bool)
        rows[common] = True
        zero = assemble(table, *read_formula(whole, table.columns, replace(alone, subset=rows)))
        if lost > 0:
            dropped = main.dropped
            main = prepare(formula, data, replace(request, subset=rows))
            words = f"{lost} row{'s' * (lost != 1)} without covariates of {argument}= left out"
            main = replace(main, dropped=dropped, notes=(*main.notes, words))
    place = np.empty(len(table), dtype=np.int64)
    place[zero.row_index] = np.arange(zero.n_obs)
    order = place[main.row_index]
    moved = replace(
        main, X=np.ascontiguousarray(zero.X[order]), names=zero.names, intercept=zero.intercept, design=zero.design,
        offset=np.zeros(main.n_obs), formula=zero.formula, notes=(), dropped=(),
    )  # fmt: skip
    return main, moved


def zero_part_of(zero: ModelData, data: ModelData) -> ModelData:
    """The rows of zeros in the order, and with the counts and clusters, of data that may have them in another."""
    X = zero.X
    if not np.array_equal(zero.row_index, data.row_index):  # rows of a table, of which repeats are alike
        order = np.argsort(zero.row_index, kind="stable")
        X = np.ascontiguousarray(X[order[np.searchsorted(zero.row_index[order], data.row_index)]])
    return replace(
        data, X=X, names=zero.names, intercept=zero.intercept, design=zero.design, offset=np.zeros(data.n_obs),
        formula=zero.formula, notes=(), dropped=(),
    )  # fmt: skip


def _with_response(formula: str, right: object, columns: list[str], request: Request, argument: str) -> str:
    """The second formula with the response of the first."""
    if not isinstance(right, str) or not right.strip().startswith("~"):
        raise FormulaError(
            f"{argument}={right!r}", "a formula without a response, as a string that begins with ~", _EXAMPLE
        )
    whole = f"{formula.partition('~')[0].strip()} {right.strip()}"
    parsed = parse_formula(whole, columns, request.functions, request.taken)
    for found, what, advice in (
        (parsed.random, "random terms", "(1 | id) in the formula of the counts alone"),
        (parsed.offsets, "an offset", "covariates"),
        (parsed.cluster_terms, "means of clusters", "a column of them, made before"),
    ):
        if found:
            raise FormulaError(f"{argument}={right!r}, with {what}", "covariates whose coefficients are fixed", advice)
    return whole
