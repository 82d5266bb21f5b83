"""Rows of Parquet files brought together by cluster: one pass that adds each row to its part, in a file of its own.

Rows are sorted by part within what is read at a time, and a part's share is added to its file as one piece, in the form
in which it lies in memory. To write Parquet files by part takes DuckDB four times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.blocks.parquet import ParquetFiles, Span, plain
from clusterglm.data.blocks.store import lost, space_needed, write_whole
from clusterglm.data.blocks.threads import a_few_at_a_time

if TYPE_CHECKING:
    import pyarrow as pa

_LETTERS = 64  # of a label by which its part is chosen
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, order=True)
class Piece:
    """Some rows of a part: where the data have them, where the part's file has them, and in which types."""

    place: tuple[int, int]
    first: int
    length: int
    schema: pa.Schema = field(compare=False)


class Parts:
    """Files of rows, each of whole clusters.

    Parameters
    ----------
    paths : sequence of Path
        Of files to come, in one folder; parts without rows get none.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._pieces: list[list[Piece]] = [[] for _ in self._paths]
        self._locks = [Lock() for _ in self._paths]
        self._schema: pa.Schema | None = None

    def fill(self, files: ParquetFiles, names: Sequence[str], cluster: str, rows: int, threads: int) -> Iterator[int]:
        """Add all rows, each to the part of its cluster.

        Parameters
        ----------
        files : ParquetFiles
        names : sequence of str
            Columns to take.
        cluster : str
            Column of the clusters, among them.
        rows : int
            How many each thread reads at a time; it holds them twice.
        threads : int

        Yields
        ------
        int
            Rows so far.

        Raises
        ------
        DataError
            When a file cannot be read to its end, or the disk is full.
        """
        done = 0
        for n in a_few_at_a_time(partial(self._distribute, names, cluster, rows), files.spans(rows), threads):
            done += n
            yield done

    def reads(self) -> Iterator[tuple[Path, Callable[[], pa.Table]]]:
        """For each part that has rows its file, and what reads them in the order of the data, in any thread."""
        return ((self._paths[k], partial(self._read, k)) for k, pieces in enumerate(self._pieces) if pieces)

    def _distribute(self, names: Sequence[str], cluster: str, rows: int, number: int, span: Span) -> int:
        import pyarrow as pa

        n, parts = 0, len(self._paths)
        for k, batch in enumerate(span.batches(names, rows)):
            table = plain(pa.Table.from_batches([batch]))
            self._schema = table.schema
            part = _part_of(table[cluster], parts)
            moved = _narrow(table).take(pa.array(np.argsort(part, kind="stable")))
            ends = np.append(0, np.cumsum(np.bincount(part, minlength=parts)))
            for j in np.flatnonzero(np.diff(ends)).tolist():
                self._add(j, moved[ends[j] : ends[j + 1]], (number, k))
            n += len(table)
        return n

    def _add(self, k: int, rows: pa.Table, place: tuple[int, int]) -> None:
        pieces = [batch.serialize() for batch in rows.to_batches()]
        with self._locks[k], space_needed(self._paths[k].parent), self._paths[k].open("ab", buffering=0) as file:
            for piece in pieces:
                self._pieces[k].append(Piece(place, file.tell(), piece.size, rows.schema))
                write_whole(file, memoryview(piece))

    def _read(self, k: int) -> pa.Table:
        import pyarrow as pa

        path, pieces = self._paths[k], sorted(self._pieces[k])
        try:
            content = path.read_bytes()
        except OSError as problem:
            raise lost(path, str(problem)) from None
        length = sum(piece.length for piece in pieces)
        if len(content) < length:
            raise lost(path, f"it ends after {len(content)} of {length} bytes")
        whole = pa.py_buffer(content)
        batches = [pa.ipc.read_record_batch(whole.slice(each.first, each.length), each.schema) for each in pieces]
        return pa.concat_tables(pa.Table.from_batches([batch]).cast(self._schema) for batch in batches)


def _narrow(table: pa.Table) -> pa.Table:
    """Whole numbers in as few bytes as hold them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    fields = []
    for each in table.schema:
        if pa.types.is_signed_integer(each.type):
            low, high = (pc.min_max(table[each.name])[end].as_py() or 0 for end in ("min", "max"))
            for kind in (pa.int8(), pa.int16(), pa.int32()):
                most = 1 << (kind.bit_width - 1)
                if kind.bit_width < each.type.bit_width and -most <= low and high < most:
                    each = each.with_type(kind)
                    break
        fields.append(each)
    return table.cast(pa.schema(fields))


def _part_of(labels: pa.ChunkedArray, parts: int) -> NDArray[Any]:
    """Each row's part: that of its label; rows without one, which a fit leaves out, go to all in turn."""
    hashes = hashed(labels)
    missing = np.flatnonzero(labels.is_null(nan_is_null=True).to_numpy())
    hashes[missing] = np.arange(len(missing))
    return (hashes % np.uint64(parts)).astype(np.min_scalar_type(parts))  # NumPy sorts 16 bits by counting


def hashed(labels: pa.ChunkedArray) -> NDArray[np.uint64]:
    """A number for each label; equal labels have equal ones, whatever type of number they are, and wherever."""
    import pandas as pd
    import pyarrow as pa

    kind = labels.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        numbers = labels.cast(pa.float64(), safe=False).to_numpy() + 0.0  # -0.0 becomes 0.0
        return pd.util.hash_array(numbers)
    try:
        text = labels.cast(pa.large_string()).combine_chunks()
    except pa.ArrowException:  # of a type that is refused in words once clusters are told apart
        text = pa.array(map(str, labels.to_pylist()), pa.large_string())
    return pd.util.hash_array(_words(text))


def _words(text: pa.LargeStringArray) -> NDArray[np.uint64]:
    """The sum of a text's words of 8 bytes, each times a number of its own: the same however long others are."""
    import pyarrow.compute as pc

    text = pc.utf8_slice_codeunits(text.fill_null(""), 0, _LETTERS)
    words = -(-(pc.max(pc.binary_length(text)).as_py() or 1) // 8)
    padded = pc.ascii_rpad(text, 8 * words, "\0")
    table = np.frombuffer(padded.buffers()[2], np.uint64, words * len(padded)).reshape(-1, words)
    return np.asarray(table @ _ODD ** np.arange(1, words + 1, dtype=np.uint64))
