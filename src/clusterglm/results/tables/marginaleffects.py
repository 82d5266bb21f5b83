"""Results as models of the package marginaleffects, which is imported only here, and only when asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np

from clusterglm.data.design import numbers
from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.data.tables.table import column, read_table
from clusterglm.errors import DataError, OptionError
from clusterglm.inference.diagnostics.design_changes import recovered_frame, table_frame
from clusterglm.inference.diagnostics.residuals import observed
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

if TYPE_CHECKING:
    from typing import Protocol

    class _Fitted(Protocol):
        data: FittedData

        @property
        def response(self) -> Response: ...


def adapter(
    result: _Fitted,
    theta: Array,
    covariance: Array,
    names: list[str],
    mean: Callable[[Array, Array, Array], Array],
    data: Any,
) -> Any:
    """An object of a subclass of marginaleffects' ModelAbstract.

    Parameters
    ----------
    result : Result
    theta : ndarray, shape (q,)
        Parameters.
    covariance : ndarray, shape (q, q)
    names : list of str, length q
    mean : function
        From parameters, design (n, p) and offset (n,) to means (n,).
    data : table or None
        The table that was fitted, or None to read it off the design.

    Raises
    ------
    OptionError
        When marginaleffects is not installed or has another interface.
    DataError
        Where `data` is needed.
    """
    try:
        import polars as pl
        from marginaleffects.classes import ModelAbstract, ModelVault  # type: ignore[import-not-found,unused-ignore]
    except ImportError as problem:
        raise OptionError(
            f"marginaleffects cannot be imported as needed ({problem})",
            "marginaleffects 0.6 or later, with a version of polars that it takes",
            "pip install 'marginaleffects>=0.6'; average_effects() needs neither",
        ) from problem

    fitted = result.data.rows
    design = fitted.design

    def exog(newdata: Any) -> Array:
        """Design with the offset in a last column."""
        table = nw.from_native(newdata, eager_only=True)
        return np.column_stack([design.build(table), design.offset(table)])

    class ClusterGLMModel(ModelAbstract):  # type: ignore[misc,unused-ignore]
        """The interface that marginaleffects asks for."""

        df_resid = float("inf")  # normal intervals, like ours

        def get_vcov(self, vcov: Any = True) -> Array | None:
            if isinstance(vcov, np.ndarray):
                if vcov.shape != covariance.shape:
                    raise OptionError(f"vcov= of shape {vcov.shape}", f"shape {covariance.shape}", "vcov=True")
                return vcov
            if vcov is None or isinstance(vcov, bool):
                return np.array(covariance) if vcov else None
            raise OptionError(f"vcov={vcov!r}", "True, False or a matrix", "vcov=result.cov('robust').to_numpy()")

        def get_exog(self, newdata: Any) -> Array:
            return exog(newdata)

        def get_predict(self, params: Any, newdata: Any) -> Any:
            at = newdata if isinstance(newdata, np.ndarray) else exog(newdata)
            values = mean(np.asarray(params, dtype=np.float64), at[:, :-1], at[:, -1])
            return pl.DataFrame({"rowid": np.arange(len(values), dtype=np.int32), "estimate": values})

    table = _model_data(fitted, result.response, data)
    vault = ModelVault(
        coef=np.array(theta),
        coefnames=np.array(names),
        formula=lambda newdata: (None, exog(newdata)),  # a function, so that nobody else reads ours
        modeldata=table,
        package="clusterglm",
        variable_names=[fitted.response_name, *design.variables],
    )
    try:
        return ClusterGLMModel(result, vault)
    except pl.exceptions.PolarsError as problem:
        raise OptionError(
            f"marginaleffects with polars {pl.__version__}, which do not fit ({str(problem).splitlines()[0]})",
            "a version of polars that marginaleffects takes",
            "pip install 'polars<2'; average_effects() needs neither",
        ) from problem


def _model_data(data: ModelData, response: Response, table: Any) -> Any:
    """The rows of the fit as a polars frame: variables, columns of the offset, and the observed response."""
    import polars as pl

    design = data.design
    if table is None:
        if design.offsets or design.offset_argument is not None:
            raise DataError(
                "a model with an offset, and the fit keeps no table", "the table that was fitted", "data=the same table"
            )
        frame = recovered_frame(data)
    else:
        rows = read_table(table)
        if len(rows) <= data.row_index.max():
            raise DataError(f"data= with {len(rows)} rows", "the table that was fitted", "data=the same table")
        frame = table_frame(design, rows, data.row_index)
        for name in design.offset_columns:
            frame[name] = numbers(column(rows, name, "offset"), name, "offset")[data.row_index]
    found = pl.from_pandas(frame.assign(**{data.response_name: observed(response, data.a, data.b)}))
    levels = {str(name): list(frame[name].cat.categories) for name in frame if hasattr(frame[name], "cat")}
    return found.with_columns(pl.col(name).cast(pl.Enum(known)) for name, known in levels.items())
