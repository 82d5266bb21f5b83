"""Any table a user may bring: frames, dicts of columns, CSV and Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.tables.csv import read_csv
from clusterglm.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".csv", ".csv.gz", ".parquet", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
_ACCEPTED = "a pandas, polars or pyarrow table, a dict of columns, or the path of a file that ends in " + ", ".join(
    FORMATS
)
_NUMERIC_OBJECTS = ("boolean", "integer", "floating", "mixed-integer-float", "decimal")
_COLUMNS_SHOWN = 20  # column names that an error lists


def read_table(data: object) -> nw.DataFrame[Any]:
    """Read a table in any of the accepted forms.

    Parameters
    ----------
    data : data frame, dict or path
        Any eager frame that narwhals knows, a dict from names to columns of one length,
        or the path (str or Path) of a .csv, .tsv, .txt or .parquet file; text may be packed, as .csv.gz.

    Returns
    -------
    narwhals DataFrame
        Over the user's own frame, without a copy; a file becomes a pyarrow table, a dict a pandas frame.

    Raises
    ------
    DataError
        When it is not a table, two columns share a name, or the file is missing or cannot be read.
    """
    if isinstance(data, (str, Path)):
        native: object = _read_file(Path(data))
    elif isinstance(data, Mapping):
        native = _from_columns(data)
    else:
        native = nw.to_native(data, pass_through=True)
    if hasattr(native, "collect"):
        raise DataError(f"data of type {_type(native)}, which is lazy", "a table in memory", "data.collect()")
    _check_names(native)
    try:
        frame = nw.from_native(native, eager_only=True)  # type: ignore[call-overload]
    except TypeError:
        raise DataError(f"data of type {_type(data)}", _ACCEPTED, "pandas.DataFrame(data)") from None
    names = frame.columns
    if len(names) == 0:
        raise DataError("data without columns", _ACCEPTED, "check how the table was made")
    if not any(isinstance(name, str) for name in names):
        raise DataError(
            f"column names that are not strings: {', '.join(map(repr, names[:_COLUMNS_SHOWN]))}",
            "names that a formula can use",
            "data.columns = ['y', 'x', ...]",
        )
    return frame  # type: ignore[no-any-return]


def column(table: nw.DataFrame[Any], name: str, role: str) -> nw.Series[Any]:
    """One column of a table.

    Parameters
    ----------
    table : narwhals DataFrame
    name : str
    role : str
        What the column is for, as the error says it: "covariate", or an argument such as "weights=".

    Raises
    ------
    DataError
        When there is no such column; it suggests the nearest name.
    """
    check_columns(table, [name], role)
    return table.get_column(name)


def check_columns(table: nw.DataFrame[Any], names: Sequence[str], role: str) -> None:
    """Raise `DataError` for the first of `names` that is not a column; see `column`."""
    present = table.columns
    known = set(present)
    for name in names:
        if name in known:
            continue
        listed = ", ".join(map(repr, present[:_COLUMNS_SHOWN]))
        more = f" and {len(present) - _COLUMNS_SHOWN} more" if len(present) > _COLUMNS_SHOWN else ""
        if name in getattr(getattr(table.to_native(), "index", None), "names", ()):
            advice = f"it is the index of the data frame: data.reset_index() makes {name!r} a column"
        else:
            hint = nearest(name, [c for c in present if isinstance(c, str)]) if isinstance(name, str) else ""
            advice = f"{hint}check the spelling; capitals count"
        got = f"{role}{'' if role.endswith('=') else ' '}{name!r}"
        raise DataError(f"{got}, which is not a column of the data", f"one of {listed}{more}", advice)


def to_pandas_columns(table: nw.DataFrame[Any], names: Sequence[str]) -> pd.DataFrame:
    """Some columns as a pandas frame with plain NumPy columns.

    Parameters
    ----------
    table : narwhals DataFrame
    names : sequence of str
        Column names; repeated ones count once.

    Returns
    -------
    pandas.DataFrame, index 0 .. rows - 1
        Integers and bools stay as they are; integers with missing values become floats with NaN, bools with
        missing values objects with None. Strings become str or object, dates datetime64, decimals floats.
        Categories keep their order. Numbers are not copied where that can be avoided.

    Raises
    ------
    DataError
        When a name is not a column.
    """
    import pandas as pd

    names = list(dict.fromkeys(names))
    check_columns(table, names, "variable")
    columns = {name: _to_pandas(table.get_column(name)) for name in names}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(table)), columns=names, copy=False)


def _to_pandas(values: nw.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    dtype = values.dtype
    missing = values.null_count() > 0
    if dtype.is_numeric() and not dtype.is_decimal():
        if not missing:
            return pd.Series(values.to_numpy(), copy=False)
        return pd.Series(float_array(values), copy=False)
    if dtype.is_decimal():
        return pd.Series(float_array(values), copy=False)
    if isinstance(dtype, nw.Boolean):
        return pd.Series(np.asarray(values.to_list(), dtype=object) if missing else values.to_numpy().astype(bool))
    if isinstance(dtype, nw.Categorical) and values.implementation.is_pyarrow():
        return values.to_native().unify_dictionaries().to_pandas()  # type: ignore[no-any-return]  # in their order
    series: pd.Series[Any] = values.to_pandas().reset_index(drop=True)
    if isinstance(dtype, nw.Date) and not pd.api.types.is_datetime64_any_dtype(series.dtype):
        return pd.to_datetime(series)
    arrow = getattr(series.dtype, "pyarrow_dtype", None)
    if arrow is not None and isinstance(dtype, (nw.Datetime, nw.Duration)):
        return pd.Series(values.to_numpy())
    if arrow is not None and isinstance(dtype, nw.Categorical):
        return values.to_arrow().to_pandas()  # type: ignore[no-any-return]
    if arrow is not None or str(series.dtype) == "string":
        return series.astype(object)
    return series


def float_array(values: nw.Series[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers (decimals, bools) as float64 with NaN where missing, shape (rows,); a copy only if needed."""
    plain = array_behind(values)
    if plain is not None:
        return plain.astype(np.float64, copy=False)
    if values.null_count() == 0 and not values.dtype.is_decimal():
        return np.asarray(values.to_numpy(), dtype=np.float64)
    if values.dtype.is_decimal():
        return np.array([np.nan if value is None else float(value) for value in values.to_list()], dtype=np.float64)
    nothing = False if isinstance(values.dtype, nw.Boolean) else 0
    filled = np.array(values.fill_null(nothing).to_numpy(), dtype=np.float64)
    null = np.asarray(values.is_null().to_numpy(), dtype=bool)
    filled[null] = np.nan
    return filled


def numeric(values: nw.Series[Any]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Numbers or bools of any type as `float_array` gives them; None when the column holds anything else."""
    dtype = values.dtype
    if dtype.is_numeric() or isinstance(dtype, nw.Boolean):
        return float_array(values)
    if not isinstance(dtype, (nw.Object, nw.Unknown)):
        return None
    import pandas as pd

    items = values.to_list()
    if pd.api.types.infer_dtype(items, skipna=True) not in _NUMERIC_OBJECTS:
        return None
    return np.array([np.nan if pd.isna(item) else float(item) for item in items], dtype=np.float64)


def is_missing(values: nw.Series[Any]) -> NDArray[np.bool_]:
    """Null or NaN, shape (rows,)."""
    plain = array_behind(values)
    if plain is not None:
        return is_nan(plain)
    known = pandas_categories(values)
    if known is not None:
        return np.asarray(known.cat.codes.to_numpy() < 0)
    missing = values.is_null()
    if values.dtype.is_float():
        missing = missing | values.is_nan().fill_null(True)
    return np.asarray(missing.to_numpy(), dtype=bool)


def missing_in(table: nw.DataFrame[Any], name: str) -> NDArray[np.bool_]:
    """Rows in which a column is null or NaN, shape (rows,)."""
    plain = array_of(table, name)
    return is_missing(table.get_column(name)) if plain is None else is_nan(plain)


def array_of(table: nw.DataFrame[Any], name: str) -> NDArray[Any] | None:
    """The array of a column of plain numbers (in pandas, bools too), without a copy; None for any other column.

    None of its values is missing, but may be NaN. The usual column, without the detour by narwhals: a fit of few rows
    is hardly more than access to columns.
    """
    return _plain(table.to_native()[name], table.implementation)


def array_behind(values: nw.Series[Any]) -> NDArray[Any] | None:
    """The array behind a Series of plain numbers, without a copy; None for any other Series."""
    return _plain(values.to_native(), values.implementation)


def pandas_categories(values: nw.Series[Any]) -> pd.Series[Any] | None:
    """The Series behind categories of pandas' own, whose codes need no detour by narwhals either; None for others."""
    if not values.implementation.is_pandas():
        return None
    import pandas as pd

    native: pd.Series[Any] = values.to_native()
    return native if isinstance(native.dtype, pd.CategoricalDtype) else None


def _plain(native: Any, library: nw.Implementation) -> NDArray[Any] | None:
    if library.is_pandas():
        dtype = native.dtype
        return np.asarray(native.to_numpy()) if isinstance(dtype, np.dtype) and dtype.kind in "biuf" else None
    if library.is_pyarrow():
        import pyarrow as pa

        plain = pa.types.is_integer(native.type) or pa.types.is_floating(native.type)
        return native.chunk(0).to_numpy() if plain and native.num_chunks == 1 and native.null_count == 0 else None
    if library.is_polars():
        plain = (native.dtype.is_integer() or native.dtype.is_float()) and "128" not in str(native.dtype)
        return native.to_numpy() if plain and native.n_chunks() == 1 and native.null_count() == 0 else None
    return None


def is_nan(plain: NDArray[Any]) -> NDArray[np.bool_]:
    """Where numbers or bools are NaN, shape (rows,)."""
    return np.isnan(plain) if plain.dtype.kind == "f" else np.zeros(len(plain), dtype=bool)


def as_series(values: object, name: str, error: type[DataError] = DataError) -> nw.Series[Any]:
    """One column of any kind as a narwhals Series.

    Parameters
    ----------
    values : Series, array or sequence, shape (n,)
    name : str
        What the error calls it.
    error : class
        Of the error to raise.

    Raises
    ------
    DataError
        Or `error`, when it is not a column.
    """
    if isinstance(values, nw.Series):
        return values
    import pandas as pd
    import pyarrow as pa

    if isinstance(values, pa.Array):
        values = pa.chunked_array([values])
    series = nw.from_native(values, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        return series
    if not isinstance(values, Sized) or isinstance(values, (str, bytes, dict)) or getattr(values, "ndim", 1) != 1:
        shape = f" and shape {values.shape}" if isinstance(values, np.ndarray) else ""
        raise error(f"{name} of type {_type(values)}{shape}", "one value per row", "a list or an array")
    # pandas infers bools, dates and strings from objects, and never turns 1 into "1" as np.asarray does
    return nw.from_native(pd.Series(values, copy=False), series_only=True)


def _check_names(native: object) -> None:
    columns = getattr(native, "column_names", None) or getattr(native, "columns", None)
    if columns is None or callable(columns) or not hasattr(columns, "__iter__"):
        return
    if type(columns).__name__ == "MultiIndex":
        raise DataError(
            "data with several levels of column names",
            "one name per column",
            "data.columns = ['_'.join(c) for c in data]",
        )
    seen: set[object] = set()
    for name in columns.tolist() if hasattr(columns, "tolist") else columns:
        if isinstance(name, str) and name in seen:
            raise DataError(f"two columns named {name!r}", "a name of its own for each column", "rename one of them")
        seen.add(name) if isinstance(name, str) else None


def refuse_other_index(values: object, index: Any, name: str, others: str) -> None:
    """Refuse a pandas Series that has as many rows as `index` but in another order or under other labels."""
    own: Any = getattr(values, "index", None)
    if hasattr(own, "equals") and hasattr(index, "equals") and len(own) == len(index) and not own.equals(index):
        raise DataError(
            f"{name} with another index than {others}",
            "rows that belong together, in the same order",
            "reindex it like the data, or pass .to_numpy() when the order is right",
        )


def _from_columns(data: Mapping[Any, Any]) -> object:
    """A dict of columns as a pandas frame; values are taken by position."""
    import pandas as pd

    columns: dict[Any, Any] = {}
    index: Any = None
    for name, values in data.items():
        if not isinstance(name, str):
            raise DataError(f"a column named {name!r}", "names that are strings", f"rename it to {str(name)!r}")
        if isinstance(values, pd.Series):
            index = values.index if index is None else index
            refuse_other_index(values, index, f"column {name!r}", "the columns before it")
        columns[name] = as_series(values, f"column {name!r}").to_pandas().reset_index(drop=True)
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r} has {length}" for name, length in list(lengths.items())[:_COLUMNS_SHOWN])
        raise DataError(f"columns of different lengths: {shown}", "as many values in each", "check the shorter ones")
    return pd.DataFrame(columns, copy=False)


def _read_file(path: Path) -> Any:
    name = path.name.lower()
    path = path.expanduser()
    if path.is_dir():
        raise DataError(f"the folder {str(path)!r}", f"a file that ends in {', '.join(FORMATS)}", "name a file in it")
    if not path.exists():
        folder = path.parent
        beside = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        hint = nearest(path.name, beside)
        where = (
            f"look in {str(folder.resolve())!r}" if folder.is_dir() else f"there is no folder {str(folder)!r} either"
        )
        raise DataError(f"the file {str(path)!r}, which does not exist", "the path of a file", f"{hint}{where}")
    if not name.endswith(FORMATS):
        needed = f"a name that ends in {', '.join(FORMATS)}"
        raise DataError(f"the file {str(path)!r}", needed, "rename the file, or read it into a data frame yourself")
    if not name.endswith(".parquet"):
        return read_csv(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise DataError(
            f"the file {str(path)!r}, which cannot be read as Parquet: {' '.join(str(problem).split())}",
            "a Parquet file that holds one table",
            "open it and see what it holds, or read it into a data frame yourself",
        ) from None


def _type(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}.{kind.__name__}"
