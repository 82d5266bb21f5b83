"""Cluster labels of any type to codes, and the order that puts each cluster's rows together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.tables.table import array_behind, as_series
from clusterglm.errors import ClusterError

if TYPE_CHECKING:
    import pandas as pd

_ACCEPTED = "labels of one type: strings, whole numbers, numbers, bools, dates or categories"
_GLANCE = 1000  # labels that mostly show whether all are in order
_GOLDEN = 0.5 * (5.0**0.5 - 1.0)
_DENSE = 4  # a table over the range of integer labels is used when it has at most so many entries per row


@dataclass(frozen=True)
class Codes:
    """Each row's cluster as a number.

    Attributes
    ----------
    codes : ndarray of int64, shape (n,)
        Position in `labels`; -1 where the label is missing.
    labels : ndarray, shape (m,)
        The labels that occur, in sorted order (categories: in their own order). Strings as objects; times with a
        zone in UTC.
    """

    codes: NDArray[np.int64]
    labels: NDArray[Any]


@dataclass(frozen=True)
class Grouping:
    """Rows brought together by cluster.

    Attributes
    ----------
    order : ndarray of int64, shape (n,), or None
        Rows in cluster order, each cluster's in their former order; None when they already are.
    starts : ndarray of int64, shape (m + 1,)
        Where each cluster begins among the ordered rows; n last.
    """

    order: NDArray[np.int64] | None
    starts: NDArray[np.int64]


def encode(values: object) -> Codes:
    """Number the clusters.

    Parameters
    ----------
    values : narwhals Series or array-like, shape (n,)
        Labels: strings, integers, floats, bools, dates, times, categories, or objects of one sortable type.
        None, NaN and NaT are missing.

    Raises
    ------
    ClusterError
        When labels of different types are mixed, cannot be sorted, or are infinite.
    """
    series = as_series(values, "cluster labels", ClusterError)
    dtype = series.dtype
    if isinstance(dtype, (nw.Categorical, nw.Enum)):
        return _categories(series)
    if isinstance(dtype, nw.String):
        return _strings(series.to_arrow())
    if dtype.is_integer() or dtype.is_float() or isinstance(dtype, (nw.Boolean, nw.Date, nw.Datetime, nw.Duration)):
        return _without_missing(series)
    if dtype.is_nested():
        raise ClusterError(f"cluster labels of type {dtype}", _ACCEPTED, "join the parts into one column of strings")
    return _objects(series)


def _part(label: Any) -> str:
    """A label as a part of a combination: the same for 1 and 1.0; in quotes where colons would run into each other."""
    whole = isinstance(label, float) and label.is_integer()
    text = str(int(label)) if whole else str(label)
    return repr(text) if set(text) & set(":'\"") else text


def cluster_column(table: nw.DataFrame[Any], name: str) -> nw.Series[Any] | None:
    """The labels by the name of their column; `a:b` is each combination of the columns a and b.

    Parameters
    ----------
    table : narwhals DataFrame
    name : str

    Returns
    -------
    narwhals Series or None
        Of combinations as text, missing where a part is; None where there is no such column.
    """
    if name in table.columns:
        return table.get_column(name)
    parts = name.split(":")
    if len(parts) < 2 or not set(parts) <= set(table.columns):
        return None
    import pandas as pd

    coded = [encode(table.get_column(part)) for part in parts]
    combined, missing = np.zeros(len(table), dtype=np.int64), np.zeros(len(table), dtype=bool)
    for each in coded:
        combined = combined * len(each.labels) + each.codes
        combined = np.unique(combined, return_inverse=True)[1].astype(np.int64)  # small, lest they overflow
        missing |= each.codes < 0
    combined[missing] = -1
    _, first, place = np.unique(combined, return_index=True, return_inverse=True)
    columns = [np.array([_part(label) for label in each.labels], dtype=object)[each.codes[first]] for each in coded]
    words = [":".join(each) for each in zip(*columns, strict=True)]
    joined = np.array(words, dtype=object)[place]
    joined[missing] = None
    return nw.from_native(pd.Series(joined, dtype="str"), series_only=True)


def gather(values: object) -> tuple[NDArray[Any], Grouping]:
    """The labels that occur, and what brings the rows of each together: `encode` and `group`.

    Parameters
    ----------
    values : narwhals Series or array-like, shape (n,)
        As `encode` takes them; none missing.

    Returns
    -------
    labels : ndarray, shape (m,)
    grouping : Grouping
    """
    series = as_series(values, "cluster labels", ClusterError)
    array = array_behind(series)
    if array is not None and array.dtype.kind in "iu" and len(array) > 0:
        if _ascending(array[:_GLANCE]):
            starts = _runs(array)
            labels = array[starts]
            if bool((labels[1:] > labels[:-1]).all()):  # in order: nothing to encode, nothing to move
                return labels, Grouping(None, np.append(starts, len(array)))
        found = _sorted_together(array)
        if found is not None:
            return found
    coded = encode(series)
    return coded.labels, group(coded.codes, len(coded.labels))


def group(codes: NDArray[np.int64], n_clusters: int) -> Grouping:
    """Order that brings the rows of each cluster together.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Cluster of each row, 0 to `n_clusters - 1`; none missing.
    n_clusters : int
        Number of clusters; one without rows keeps an empty block.
    """
    starts = np.zeros(n_clusters + 1, dtype=np.int64)
    np.cumsum(np.bincount(codes, minlength=n_clusters), out=starts[1:])
    if _ascending(codes):
        return Grouping(None, starts)
    # NumPy sorts 16-bit integers by counting; 16 bits at a time beats a comparison sort of 64 severalfold
    order: NDArray[np.int64] = np.argsort(codes.astype(np.uint16), kind="stable")
    shift = 16
    while (n_clusters - 1) >> shift:
        digit = (codes[order] >> shift).astype(np.uint16)
        order = order[np.argsort(digit, kind="stable")]
        shift += 16
    return Grouping(order, starts)


def spread_out(n: int, every: int) -> NDArray[np.int64]:
    """One of each `every` neighbours among n, at places in no order that a design could have.

    Clusters whose number says their treatment, as in a trial that takes turns, have a part in it in proportion: places
    move on by the golden section of `every`.

    Parameters
    ----------
    n, every : int
        At least one neighbourhood, of at least one.

    Returns
    -------
    ndarray of int64, shape (n // every,)
        Ascending.
    """
    turn = np.arange(max(n // every, 1))
    found: NDArray[np.int64] = turn * every + np.floor(np.mod(turn * _GOLDEN, 1.0) * min(every, n)).astype(np.int64)
    return found


def rows_of(starts: NDArray[np.int64], clusters: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of some clusters, and where these begin among them.

    Parameters
    ----------
    starts : ndarray of int64, shape (m + 1,)
    clusters : ndarray of int64, shape (k,)

    Returns
    -------
    rows : ndarray of int64, shape (n,)
    starts : ndarray of int64, shape (k + 1,)
        n last.
    """
    first = starts[clusters]
    sizes = starts[clusters + 1] - first
    begin = np.zeros(len(clusters) + 1, dtype=np.int64)
    np.cumsum(sizes, out=begin[1:])
    return np.repeat(first - begin[:-1], sizes) + np.arange(begin[-1]), begin


def _categories(series: nw.Series[Any]) -> Codes:
    import pandas as pd

    native: pd.Series[Any] = series.to_pandas()
    if not isinstance(native.dtype, pd.CategoricalDtype):  # a pandas column over pyarrow's dictionaries
        native = series.to_arrow().to_pandas()
    codes = native.cat.codes.to_numpy().astype(np.int64)
    labels = native.cat.categories
    if isinstance(series.dtype, nw.Categorical) and series.implementation.is_polars():
        # polars keeps these in the order of appearance, which means nothing, and shares them between columns
        return _used(*_sorted(codes, labels.to_numpy(dtype=object)))
    plain = labels.to_numpy(dtype=object) if pd.api.types.is_string_dtype(labels.dtype) else labels.to_numpy()
    return _used(codes, plain)


def _strings(values: Any) -> Codes:
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if pa.types.is_null(values.type):
        values = values.cast(pa.string())
    encoded = values if isinstance(values, pa.DictionaryArray) else pc.dictionary_encode(values)
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    labels = encoded.dictionary.take(pa.array(order)).to_numpy(zero_copy_only=False)
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1
    indices = encoded.indices.fill_null(len(order)).to_numpy(zero_copy_only=False)
    return Codes(rank[indices], labels.astype(object))


def _without_missing(series: nw.Series[Any]) -> Codes:
    """Numbers, bools and times, of which any may be missing."""
    dtype = series.dtype
    missing = None
    if series.null_count() > 0:
        missing = np.asarray(series.is_null().to_numpy(), dtype=bool)
        series = series.drop_nulls()
    if isinstance(dtype, nw.Datetime) and dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    array = np.asarray(series.to_numpy())
    if isinstance(dtype, nw.Boolean):
        array = array.astype(bool)
    elif isinstance(dtype, nw.Date):
        array = array.astype("datetime64[D]")
    if array.dtype.kind == "f":
        array = array.astype(np.float32) if array.dtype.itemsize < 4 else array
        nan = np.isnan(array)
        if nan.any():
            array = array[~nan]
            if missing is None:
                missing = nan
            else:
                missing[np.flatnonzero(~missing)[nan]] = True
        if np.isinf(array).any():
            raise ClusterError("infinite cluster labels", "finite numbers", "correct them, or make them missing (NaN)")
        array = array + array.dtype.type(0)  # -0.0 becomes 0.0
    found = _scalars(array)
    if missing is None:
        return found
    codes = np.full(len(missing), -1, dtype=np.int64)
    codes[~missing] = found.codes
    return Codes(codes, found.labels)


def _scalars(array: NDArray[Any]) -> Codes:
    """Codes of numbers, bools or times, none missing."""
    if len(array) == 0:
        return Codes(np.empty(0, dtype=np.int64), array)
    if array.dtype.kind in "mM":
        found = _scalars(array.view(np.int64))
        return Codes(found.codes, found.labels.view(array.dtype))
    if _ascending(array):
        first = np.empty(len(array), dtype=bool)
        first[0] = True
        np.not_equal(array[1:], array[:-1], out=first[1:])
        codes = np.cumsum(first, dtype=np.int64)
        codes -= 1
        return Codes(codes, array[first])
    if array.dtype.kind == "b":
        labels, inverse = np.unique(array, return_inverse=True)
        return Codes(inverse.astype(np.int64, copy=False), labels)
    if array.dtype.kind in "iu":
        low, high = int(array.min()), int(array.max())
        if high - low < _DENSE * len(array):
            return _dense(array, low, high)
    import pandas as pd

    raw, uniques = pd.factorize(array)
    return Codes(*_sorted(raw.astype(np.int64, copy=False), np.asarray(uniques)))


def _dense(array: NDArray[Any], low: int, high: int) -> Codes:
    """Integers in a narrow range: a table instead of a hash."""
    # wide enough for the difference, whatever the type of the labels: int8 labels may span 255
    shifted = (
        (array - array.dtype.type(low)).astype(np.int64) if array.dtype.itemsize == 8 else array.astype(np.int64) - low
    )
    present = np.zeros(high - low + 1, dtype=bool)
    present[shifted] = True
    rank = np.cumsum(present, dtype=np.int64)
    rank -= 1
    values = np.flatnonzero(present)
    labels = values.astype(array.dtype) + array.dtype.type(low) if array.dtype.itemsize == 8 else values + low
    return Codes(rank[shifted], labels.astype(array.dtype))


def _objects(series: nw.Series[Any]) -> Codes:
    """Python objects: told apart by what they hold."""
    import pandas as pd

    items: list[Any] = series.to_list()
    array = np.empty(len(items), dtype=object)
    array[:] = items
    kind = pd.api.types.infer_dtype(array, skipna=True)
    if kind == "string":
        import pyarrow as pa

        return _strings(pa.array(array, from_pandas=True))
    missing = np.array([_is_missing(value) for value in items], dtype=bool)
    present = array[~missing]
    converted = _converted(present, kind)
    if converted is None:
        found = _comparable(present)
    else:
        found = _without_missing(nw.from_native(pd.Series(converted), series_only=True))
        if kind == "date":
            found = Codes(found.codes, found.labels.astype("datetime64[D]"))
    codes = np.full(len(items), -1, dtype=np.int64)
    codes[~missing] = found.codes
    return Codes(codes, found.labels)


def _converted(present: NDArray[Any], kind: str) -> NDArray[Any] | None:
    """Objects as a NumPy array of one plain type; None where there is none."""
    if kind in ("date", "datetime", "datetime64"):
        import pandas as pd

        try:
            zoned = any(getattr(value, "tzinfo", None) is not None for value in present)
            times = pd.DatetimeIndex(pd.to_datetime(present, utc=zoned))
            return np.asarray((times.tz_convert(None) if zoned else times).to_numpy())
        except (ValueError, TypeError, OverflowError):
            return None
    types = {"boolean": bool, "floating": np.float64, "mixed-integer-float": np.float64, "integer": np.int64}
    if len(present) == 0:
        return np.empty(0)
    if kind not in types:
        return None
    try:
        return present.astype(types[kind])
    except OverflowError:
        return None


def _comparable(present: NDArray[Any]) -> Codes:
    """Codes of hashable objects of one type that can be sorted: tuples, decimals, UUIDs, huge integers."""
    kinds = sorted({type(value).__name__ for value in present})
    if len(kinds) > 1:
        examples = ", ".join(repr(next(v for v in present if type(v).__name__ == kind)) for kind in kinds)
        raise ClusterError(
            f"cluster labels of different types: {', '.join(kinds)} (such as {examples})",
            _ACCEPTED,
            "convert the column to one type, for instance strings",
        )
    try:
        labels = sorted(set(present.tolist()))
    except TypeError:
        raise ClusterError(
            f"cluster labels of type {kinds[0]}, which cannot be sorted", _ACCEPTED, "convert the column to strings"
        ) from None
    position = {label: k for k, label in enumerate(labels)}
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return Codes(np.fromiter((position[value] for value in present), np.int64, len(present)), array)


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return (
        value is None or value is pd.NA or value is pd.NaT or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))
    )


def _sorted(codes: NDArray[np.int64], labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Codes and labels with the labels in ascending order; -1 stays."""
    order = np.argsort(labels, kind="stable")
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1
    return rank[codes], labels[order]


def _sorted_together(array: NDArray[Any]) -> tuple[NDArray[Any], Grouping] | None:
    """Labels and order of integers, by one sort of labels and positions in the same words; None if too large for that.

    NumPy sorts plain numbers by vectors of them: up to twice as fast as a table or a hash, and a sort by codes.
    """
    low, n = array.min(), len(array)
    bits = n.bit_length()
    if (int(array.max()) - int(low)).bit_length() + bits > 63:
        return None
    wide = array if array.dtype.itemsize == 8 else array.astype(np.int64)
    words = (wide - wide.dtype.type(low)).astype(np.int64) << bits
    words |= np.arange(n)
    words.sort()
    order = words & ((1 << bits) - 1)
    words >>= bits
    starts = _runs(words)
    labels = words[starts].astype(wide.dtype) + wide.dtype.type(low)
    return labels.astype(array.dtype), Grouping(order, np.append(starts, n))


def _used(codes: NDArray[np.int64], labels: NDArray[Any]) -> Codes:
    """Codes and labels without the labels that no row has."""
    used = np.bincount(codes[codes >= 0], minlength=len(labels)) > 0
    if used.all():
        return Codes(codes, labels)
    rank = np.append(np.cumsum(used) - 1, -1)
    return Codes(rank[codes].astype(np.int64, copy=False), labels[used])


def _runs(array: NDArray[Any]) -> NDArray[np.int64]:
    """Where each run of equal values begins."""
    return np.concatenate([[0], np.flatnonzero(array[1:] != array[:-1]) + 1])


def _ascending(array: NDArray[Any]) -> bool:
    return len(array) < 2 or bool(np.all(array[1:] >= array[:-1]))
