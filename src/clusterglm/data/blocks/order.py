"""Parquet files whose clusters are whole already: in the order of their labels, or apart in ranges of labels.

Both are found out beforehand, and the files are read in tables of whole clusters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterglm.data.blocks.parquet import ParquetFiles, Span, plain
from clusterglm.model.large_data import READ_AT_A_TIME

if TYPE_CHECKING:
    import pyarrow as pa

_SMALL_REST = 8  # a last cluster with less than this share of a table goes with the one before


def in_order(files: ParquetFiles, cluster: str) -> ParquetFiles | None:
    """The files in such an order that labels never fall, so that clusters are whole; None where there is none.

    Only the column of clusters is read, and where labels fall soon, only its beginning.
    """
    import pyarrow as pa

    ends = []
    for path, rows in zip(files.paths, files.rows, strict=True):
        if rows == 0:
            continue
        try:
            found = _ends(path, cluster)
        except (pa.ArrowException, OSError):  # labels that have no order, or a file that the next step complains of
            return None
        if found is None:
            return None
        ends.append((*found, path, rows))
    try:
        ends.sort(key=lambda each: each[0])
        apart = all(ends[k][1] <= ends[k + 1][0] for k in range(len(ends) - 1))
    except TypeError:
        return None
    if not ends or not apart:
        return None
    return replace(files, paths=tuple(each[2] for each in ends), rows=tuple(each[3] for each in ends))


def _ends(path: Path, cluster: str) -> tuple[Any, Any] | None:
    """First and last label of a file; None where labels fall or are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    first: pa.Scalar | None = None
    last: pa.Scalar | None = None
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(READ_AT_A_TIME, columns=[cluster], use_threads=False):
            labels = plain(pa.Table.from_batches([batch]))[cluster].combine_chunks()
            if labels.null_count > 0:
                return None
            if last is not None and not pc.less_equal(last, labels[0]).as_py():
                return None
            if not pc.all(pc.less_equal(labels[:-1], labels[1:]), min_count=0).as_py():
                return None
            first, last = first if first is not None else labels[0], labels[-1]
    return None if first is None or last is None else (first.as_py(), last.as_py())


def apart(files: ParquetFiles, cluster: str, rows: int) -> list[list[Span]] | None:
    """Row groups that hold whole clusters together, at most so many rows; None where more share labels.

    Judged by the least and largest label that files state of each row group.
    """
    if not _comparable(files.schema.field(cluster).type):
        return None
    ranges = []
    for span in files.spans(1):
        for k in span.groups or ():
            found = _stated(span, k, cluster)
            if found is None:
                return None
            ranges.append((*found, span.content.row_group(k).num_rows, Span(span.path, [k], span.content)))
    ranges.sort(key=lambda each: each[0])
    sharing: list[list[Span]] = []  # row groups whose ranges overlap, one with the next
    sizes: list[int] = []
    reached = None
    for low, high, n, span in ranges:
        if reached is None or low > reached:
            sharing.append([])
            sizes.append(0)
        sharing[-1].append(span)
        sizes[-1] += n
        reached = high if reached is None else max(reached, high)
    if max(sizes, default=0) > rows:
        return None
    tables, held = [], rows
    for spans, n in zip(sharing, sizes, strict=True):
        if held + n > rows:
            tables.append(spans)
            held = n
        else:
            tables[-1] = tables[-1] + spans
            held += n
    return tables


def _comparable(kind: pa.DataType) -> bool:
    """Whether files state least and largest labels of a type as values whose order is theirs: not so of halves."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    known = (types.is_integer, types.is_float32, types.is_float64, types.is_string, types.is_large_string)
    return any(holds(kind) for holds in (*known, types.is_date, types.is_timestamp))


def _stated(span: Span, group: int, cluster: str) -> tuple[Any, Any] | None:
    """Least and largest label of a row group; None where the file does not say."""
    content = span.content.row_group(group)
    for column in map(content.column, range(content.num_columns)):
        if column.path_in_schema == cluster and column.is_stats_set:
            stated = column.statistics
            known = stated.has_min_max and stated.min == stated.min and stated.max == stated.max
            return (stated.min, stated.max) if known else None
    return None


def read_spans(spans: Sequence[Span], names: Sequence[str]) -> pa.Table:
    """All rows of some spans, in the order in which these are given."""
    import pyarrow as pa

    batches = (batch for span in spans for batch in span.batches(names, READ_AT_A_TIME))
    return plain(pa.Table.from_batches(batches))


def whole_clusters(tables: Iterator[pa.Table], cluster: str) -> Iterator[pa.Table]:
    """Tables of ordered rows, cut anew where clusters end."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ready: pa.Table | None = None
    held: list[pa.Table] = []  # the last cluster so far, which may go on
    for table in tables:
        labels = table[cluster]
        begins = pc.index(labels, labels[-1]).as_py()
        goes_on = bool(held) and pc.equal(labels[-1], held[-1][cluster][-1]).as_py()
        if not goes_on and (held or begins > 0):
            if ready is not None:
                yield ready
            ready, held = pa.concat_tables([*held, table[:begins]]), []
        held.append(table[begins:])
    rest = pa.concat_tables(held) if held else None
    if ready is not None and rest is not None and _SMALL_REST * len(rest) < len(ready):
        yield pa.concat_tables([ready, rest])
        return
    yield from (each for each in (ready, rest) if each is not None)
