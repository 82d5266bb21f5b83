"""Columns of a user's table as formulas need them, whatever frame they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.table import array_of, check_columns, to_pandas_columns
from clusterglm.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def model_frame(table: nw.DataFrame[Any], names: Sequence[str], keep: NDArray[np.int64] | None) -> pd.DataFrame:
    """The columns of `model_columns` as a frame."""
    return as_frame(model_columns(table, names, keep), len(table) if keep is None else len(keep))


def as_frame(columns: Mapping[str, Any], n: int) -> pd.DataFrame:
    """Columns of n rows as a frame, not copied but for numbers of fewer bytes, whose products may need more."""
    import pandas as pd

    wide = {"f": np.float64, "i": np.int64, "u": np.int64}
    plain = {name: each for name, each in columns.items() if isinstance(each, np.ndarray)}
    wider = {name: each.astype(wide.get(each.dtype.kind, each.dtype), copy=False) for name, each in plain.items()}
    return pd.DataFrame({**columns, **wider}, index=pd.RangeIndex(n), copy=False)


def model_columns(
    table: nw.DataFrame[Any],
    names: Sequence[str],
    keep: NDArray[np.int64] | None,
    arrays: Mapping[str, NDArray[Any] | None] | None = None,
) -> dict[str, Any]:
    """Columns as formulaic needs them, whatever frame they came from: arrays of numbers or bools, or Series.

    Strings become categories in sorted order; categories without rows are dropped; numbers become NumPy's.

    Parameters
    ----------
    table : narwhals DataFrame
    names : sequence of str
    keep : ndarray of int64 or None
        Rows to keep, free of missing values in these columns; None for all.
    arrays : mapping of str to ndarray or None, optional
        The columns as `array_of` gives them, where they are at hand.
    """
    if arrays is None:
        check_columns(table, names, "covariate")
    columns: dict[str, Any] = {}
    for name in names:
        plain = array_of(table, name) if arrays is None else arrays[name]
        if plain is not None:
            columns[name] = _of_one_type(plain if keep is None else plain[keep])
            continue
        values = table.get_column(name)
        if isinstance(values.dtype, nw.Boolean) or (values.dtype.is_numeric() and not values.dtype.is_decimal()):
            columns[name] = _numeric(values, keep)  # without a detour that copies
            continue
        series = to_pandas_columns(table, [name])[name]
        series = (series if keep is None else series.take(keep)).reset_index(drop=True)
        columns[name] = _plain(series, name, values.dtype, table.implementation.is_polars())
    return columns


def _numeric(values: nw.Series[Any], keep: NDArray[np.int64] | None) -> NDArray[Any]:
    """Numbers or bools of the rows `keep`, none of them missing, as a NumPy array of a plain type."""
    dtype = values.dtype
    truth = isinstance(dtype, nw.Boolean)
    plain = np.asarray((values.fill_null(False if truth else 0) if values.null_count() > 0 else values).to_numpy())
    plain = plain if keep is None else plain[keep]
    if plain.dtype.kind not in "biuf" or (plain.dtype.kind == "f") != dtype.is_float():
        fits = dtype.is_integer() and not isinstance(dtype, (nw.UInt64, nw.Int128, nw.UInt128))
        return plain.astype(np.bool_ if truth else np.int64 if fits else np.float64)
    return _of_one_type(plain)


def _of_one_type(plain: NDArray[Any]) -> NDArray[Any]:
    """Bools and numbers as they are, but for integers that int64 does not hold."""
    return plain.astype(np.float64) if plain.dtype == np.uint64 else plain


def _plain(values: pd.Series[Any], name: str, dtype: Any, from_polars: bool) -> pd.Series[Any]:
    """A column without missing values that is not of a numeric type, as a Categorical, date, number or bool."""
    import pandas as pd

    kind = values.dtype
    if isinstance(kind, pd.PeriodDtype):
        return pd.Series(values.dt.to_timestamp())  # for C(...); a plain date is refused by name
    if isinstance(kind, pd.CategoricalDtype):
        values = values.cat.remove_unused_categories()
        if from_polars and isinstance(dtype, nw.Categorical):  # in order of appearance, which means nothing
            values = values.cat.reorder_categories(sorted(values.cat.categories))
        return values
    if isinstance(dtype, nw.String):
        return pd.Series(pd.Categorical(values.astype(object)), index=values.index)
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind):
        return pd.Series(values.to_numpy(dtype=np.float64), index=values.index)
    if not (pd.api.types.is_object_dtype(kind) or pd.api.types.is_complex_dtype(kind)):
        return values
    inferred = pd.api.types.infer_dtype(values, skipna=False)
    if inferred == "string":
        return pd.Series(pd.Categorical(values), index=values.index)
    if inferred in ("integer", "floating", "mixed-integer-float", "decimal", "boolean"):
        return pd.Series(values.to_numpy(dtype=bool if inferred == "boolean" else np.float64), index=values.index)
    if inferred in ("date", "datetime", "datetime64"):
        return pd.to_datetime(values)
    kinds = sorted({type(value).__name__ for value in values.iloc[:1000]})
    raise DataError(
        f"the column {name!r} with values of type {', '.join(kinds)}",
        "a column of numbers, bools or strings",
        "make the column of one type",
    )
