"""The door for covariates: columns of a user's table as numbers or categories, whatever frame they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import encode
from clusterglm.data.formulas.values import Categories
from clusterglm.data.tables.table import array_of, check_columns, float_array, pandas_categories, to_pandas_columns
from clusterglm.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")


def model_columns(
    table: nw.DataFrame[Any],
    names: Sequence[str],
    keep: NDArray[np.int64] | None,
    arrays: Mapping[str, NDArray[Any] | None] | None = None,
) -> dict[str, Any]:
    """Columns as formulas compute with them.

    Parameters
    ----------
    table : narwhals DataFrame
    names : sequence of str
    keep : ndarray of int64 or None
        Rows to keep; None for all.
    arrays : mapping of str to ndarray or None, optional
        The columns as `array_of` gives them, where they are at hand.

    Returns
    -------
    dict of str to ndarray or Categories
        Numbers and bools in a type of NumPy's; where a value is missing, floats with NaN. Texts are categories in
        sorted order, dates in order of time, categories in their own order (polars' plain ones, whose order is that
        of appearance and means nothing, sorted).

    Raises
    ------
    DataError
        On a column of mixed or other types.
    """
    if arrays is None:
        check_columns(table, names, "covariate")
    columns: dict[str, Any] = {}
    for name in names:
        plain = array_of(table, name) if arrays is None else arrays[name]
        if plain is not None:
            columns[name] = plain if keep is None else plain[keep]
            continue
        values = table.get_column(name)
        columns[name] = _column(values if keep is None else values[keep], name)
    return columns


def model_frame(table: nw.DataFrame[Any], names: Sequence[str], keep: NDArray[np.int64] | None) -> pd.DataFrame:
    """The columns of `model_columns` as a pandas frame."""
    import pandas as pd

    columns = model_columns(table, names, keep)
    made = {
        name: pd.Categorical.from_codes(each.codes, categories=pd.Index(list(each.levels)))
        if isinstance(each, Categories)
        else each
        for name, each in columns.items()
    }
    return pd.DataFrame(made, index=pd.RangeIndex(len(table) if keep is None else len(keep)), copy=False)


def _column(values: nw.Series[Any], name: str) -> Any:
    dtype = values.dtype
    if isinstance(dtype, nw.String):
        found = encode(values)
        return Categories(tuple(found.labels.tolist()), found.codes)
    if dtype.is_decimal():
        return float_array(values)
    if isinstance(dtype, nw.Boolean) or dtype.is_numeric():
        return _numbers(values)
    known = pandas_categories(values)
    if known is not None:
        return _categories(known)
    series = to_pandas_columns(values.to_frame(), [values.name])[values.name]
    return _other(series, name, sort=isinstance(dtype, nw.Categorical) and values.implementation.is_polars())


def _numbers(values: nw.Series[Any]) -> NDArray[Any]:
    """Numbers or bools as a NumPy array of a plain type."""
    if values.null_count() > 0:
        return float_array(values)
    dtype, plain = values.dtype, np.asarray(values.to_numpy())
    if plain.dtype.kind in "biuf" and (plain.dtype.kind == "f") == dtype.is_float():
        return plain
    fits = dtype.is_integer() and not isinstance(dtype, (nw.UInt64, nw.Int128, nw.UInt128))
    return plain.astype(np.bool_ if isinstance(dtype, nw.Boolean) else np.int64 if fits else np.float64)


def _other(values: pd.Series[Any], name: str, *, sort: bool) -> Any:
    """A column that is not of a numeric type: categories, dates, or objects that are all of one kind."""
    import pandas as pd

    kind = values.dtype
    if isinstance(kind, pd.PeriodDtype):
        values = values.dt.to_timestamp()
    if isinstance(kind, pd.CategoricalDtype):
        if sort:
            values = values.cat.reorder_categories(sorted(values.cat.categories))
        return _categories(values)
    if pd.api.types.is_datetime64_any_dtype(values.dtype) or pd.api.types.is_timedelta64_dtype(values.dtype):
        return _categories(values.astype("category"))
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    inferred = "complex" if pd.api.types.is_complex_dtype(kind) else pd.api.types.infer_dtype(values, skipna=True)
    if inferred in ("string", "empty"):
        return _categories(values.astype("category"))
    if inferred in _NUMBERS:
        return np.array([np.nan if pd.isna(value) else float(value) for value in values], dtype=np.float64)
    if inferred == "boolean":
        gone = values.isna().to_numpy()
        found = values.to_numpy(dtype=object)
        return np.where(gone, np.nan, found).astype(np.float64) if gone.any() else found.astype(bool)
    if inferred in ("date", "datetime", "datetime64", "timedelta", "timedelta64"):
        return _categories(pd.Series(pd.to_datetime(values)).astype("category"))
    kinds = sorted({type(value).__name__ for value in values.iloc[:1000]})
    raise DataError(
        f"the column {name!r} with values of type {', '.join(kinds)}",
        "a column of numbers, bools or strings",
        "make the column of one type",
    )


def _categories(values: pd.Series[Any]) -> Categories:
    """A pandas series of categories, its levels as Python's own values."""
    return Categories(tuple(values.cat.categories.tolist()), values.cat.codes.to_numpy().astype(np.int64))
