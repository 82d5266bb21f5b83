"""Data sets of Parquet files: which files, whether they agree, and what is in them, a part at a time."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterglm.errors import DataError
from clusterglm.model.large_data import READ_AT_A_TIME

if TYPE_CHECKING:
    import pyarrow as pa

_BUFFER = 1 << 20  # bytes of a column that are read ahead


@dataclass(frozen=True)
class ParquetFiles:
    """Files of one table.

    Parameters
    ----------
    paths : tuple of Path
        In the order of their names.
    rows : tuple of int
        Of each file.
    schema : pyarrow.Schema
        Of all.
    """

    paths: tuple[Path, ...]
    rows: tuple[int, ...]
    schema: pa.Schema

    @property
    def n(self) -> int:
        """Rows in all."""
        return sum(self.rows)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    def orders(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Levels of dictionary columns in the order that the first file gives them."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        coded = [name for name in names if pa.types.is_dictionary(self.schema.field(name).type)]
        if not coded:
            return {}
        head = pq.ParquetFile(self.paths[0]).read_row_group(0, columns=coded)
        return {name: head[name].chunk(0).dictionary.to_pylist() for name in coded if head[name].num_chunks > 0}

    def tables(self, names: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """The columns `names` in tables of about so many rows, in order."""
        import pyarrow as pa

        waiting: list[pa.RecordBatch] = []
        for path in self.paths:
            for batch in Span(path).batches(names, min(rows, READ_AT_A_TIME)):
                waiting.append(batch)
                if sum(map(len, waiting)) >= rows:
                    yield plain(pa.Table.from_batches(waiting))
                    waiting = []
        if waiting:
            yield plain(pa.Table.from_batches(waiting))

    def width(self, names: Sequence[str]) -> int:
        """Bytes that a row of these columns takes up in memory, or a little more, as far as the first rows show."""
        first = next(self.tables(names, 1000), None)
        found = 0 if first is None else -(-first.nbytes // len(first))
        return max(8 * len(names), found)

    def spans(self, rows: int) -> Iterator[Span]:
        """All rows in spans of at least so many, or of a whole file, in order."""
        import pyarrow.parquet as pq

        for path in self.paths:
            with reading(path):
                content = pq.read_metadata(path)
            first, count = 0, 0
            for k in range(content.num_row_groups):
                count += content.row_group(k).num_rows
                if count >= rows or k + 1 == content.num_row_groups:
                    yield Span(path, range(first, k + 1), content)
                    first, count = k + 1, 0


@dataclass(frozen=True)
class Span:
    """Row groups of a file.

    Parameters
    ----------
    path : Path
    groups : sequence of int, optional
        All by default.
    content : pyarrow.parquet.FileMetaData, optional
        The file's, if it has been read before.
    """

    path: Path
    groups: Sequence[int] | None = None
    content: Any = None

    def batches(self, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """The columns `names` in batches of so many rows, as they lie in the file.

        Raises
        ------
        DataError
            When the file cannot be read to its end.
        """
        import pyarrow.parquet as pq

        # buffered, as a row group may be as large as the memory allowed
        options = {"metadata": self.content, "buffer_size": _BUFFER, "pre_buffer": False}
        with reading(self.path), pq.ParquetFile(self.path, **options) as file:
            yield from file.iter_batches(rows, row_groups=self.groups, columns=list(names), use_threads=False)


def plain(table: pa.Table) -> pa.Table:
    """A table with the values of dictionary columns in place of their numbers: dictionaries differ between parts."""
    import pyarrow as pa

    fields = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


def is_dataset(data: object) -> bool:
    """Whether `data` names several Parquet files: a folder, or a pattern such as "folder/*.parquet"."""
    if not isinstance(data, str | Path):
        return False
    return Path(data).expanduser().is_dir() or (glob.has_magic(str(data)) and not Path(data).exists())


def open_files(data: str | Path) -> ParquetFiles:
    """Find the files and compare them, from their last bytes alone.

    Parameters
    ----------
    data : str or Path
        A folder (with all that lies below it), a pattern, or one file.

    Raises
    ------
    DataError
        When there is no file, one is no whole Parquet file, or a column is missing or of another type in one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = Path(data).expanduser()
    if where.is_dir():
        paths = sorted(path for path in where.rglob("*.parquet") if not path.name.startswith(("_", ".")))
    elif where.exists():
        paths = [where]
    else:
        paths = sorted(Path(path) for path in glob.glob(str(where), recursive=True))
    if not paths:
        raise DataError(
            f"no Parquet file at {str(data)!r}", "a folder or a pattern of .parquet files", "check the path"
        )
    schemas, rows = [], []
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                schemas.append(file.schema_arrow)
                rows.append(file.metadata.num_rows)
        except (pa.ArrowException, OSError) as problem:
            raise damaged(path, problem) from None
    for path, schema in zip(paths[1:], schemas[1:], strict=True):
        _refuse_other_columns(paths[0], schemas[0], path, schema)
    return ParquetFiles(tuple(paths), tuple(rows), schemas[0])


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Says in words that a file, or one of a folder, ends too soon."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as problem:
        raise damaged(path, problem) from None


def damaged(path: Path, problem: Exception) -> DataError:
    """The error for a file, or one of a folder, that is no whole Parquet file."""
    return DataError(
        f"{str(path)!r}, which cannot be read as Parquet: {' '.join(str(problem).split())}",
        "whole Parquet files: one that was cut short lacks the table of contents at its end",
        "write the file again, or take it out of the folder",
    )


def _refuse_other_columns(first: Path, expected: pa.Schema, path: Path, schema: pa.Schema) -> None:
    for field in expected:
        if field.name not in schema.names:
            raise DataError(
                f"{str(path)!r} without the column {field.name!r}, which {first.name!r} has",
                "the same columns in all files",
                "write the file again, or name files that agree by a pattern such as 'folder/2024-*.parquet'",
            )
        other = schema.field(field.name).type
        if other != field.type:
            raise DataError(
                f"the column {field.name!r} of type {other} in {str(path)!r}, of type {field.type} in {first.name!r}",
                "one type for each column in all files",
                "write one of the files again with the type of the others",
            )
