"""Data sets of Parquet files: which files, whether they agree, and their rows brought together by cluster."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterglm.data.store import full_disk
from clusterglm.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1 << 17  # rows that are read at a time where clusters do not matter


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
        import pyarrow.parquet as pq

        waiting: list[pa.RecordBatch] = []
        for path in self.paths:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(min(rows, _BATCH), columns=list(names), use_threads=False):
                    waiting.append(batch)
                    if sum(map(len, waiting)) >= rows:
                        yield plain(pa.Table.from_batches(waiting))
                        waiting = []
        if waiting:
            yield plain(pa.Table.from_batches(waiting))


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


def regroup(
    files: ParquetFiles,
    names: Sequence[str],
    cluster: str,
    parts: int,
    folder: Path,
    threads: int,
    memory: int,
) -> list[Path]:
    """Write the rows once more, all rows of a cluster into the same of `parts` folders, by DuckDB.

    Parameters
    ----------
    files : ParquetFiles
    names : sequence of str
        Columns to write.
    cluster : str
        Column of the clusters, among them.
    parts : int
    folder : Path
        Empty; it takes the result and DuckDB's own temporary files.
    threads : int
    memory : int
        Bytes that DuckDB may use.

    Returns
    -------
    list of Path
        The folders, in order of their number; one for each part that has rows.

    Raises
    ------
    DataError
        When DuckDB is not installed, a file cannot be read to its end, or the disk is full.
    """
    try:
        import duckdb
    except ImportError:
        raise DataError(
            "data that are not in memory, without DuckDB to bring the rows of each cluster together",
            "the package duckdb",
            "pip install 'clusterglm[large]'",
        ) from None
    _refuse_twins(files, names)
    result = folder / "parts"
    listed = ", ".join(_text(str(path)) for path in files.paths)
    chosen = ", ".join(map(_name, names))
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": str(threads),
        "memory_limit": f"{max(memory, 1 << 27) // 1000}KB",
        "temp_directory": str(folder / "spill"),
        "preserve_insertion_order": "false",
        "partitioned_write_max_open_files": str(max(parts, 100)),
    }
    try:
        with duckdb.connect(config=settings) as connection:
            connection.execute("SET enable_progress_bar = false")
            connection.execute(
                f"COPY (SELECT {chosen}, (hash({_name(cluster)}) % {parts})::INTEGER AS {_name(_PART)} "
                f"FROM read_parquet([{listed}], hive_partitioning = false)) TO {_text(str(result))} "
                f"(FORMAT PARQUET, PARTITION_BY ({_name(_PART)}), COMPRESSION LZ4, ROW_GROUP_SIZE 65536)"
            )
    except duckdb.Error as problem:
        reason = " ".join(str(problem).split())
        if any(words in reason.lower() for words in ("no space left", "disk full", "file too large", "write to file")):
            raise full_disk(folder, reason) from None
        raise DataError(
            f"the files {files.paths[0].name!r} and others, which cannot be read to the end: {reason}",
            "whole Parquet files",
            "open the file that is named, and write it again",
        ) from None
    found = {int(path.name.removeprefix(f"{_PART}=")): path for path in result.iterdir()}
    return [found[k] for k in sorted(found)]


_PART = "_clusterglm_part"


def read_part(path: Path) -> pa.Table:
    """All rows of a folder that `regroup` has written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pa.concat_tables([pq.ParquetFile(file).read(use_threads=False) for file in sorted(path.iterdir())])


def reading(tables: Iterator[pa.Table], files: ParquetFiles) -> Iterator[pa.Table]:
    """The same tables, with an error in words where a file ends too soon."""
    import pyarrow as pa

    try:
        yield from tables
    except (pa.ArrowException, OSError) as problem:
        raise damaged(files.paths[0].parent, problem) from None


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


def _refuse_twins(files: ParquetFiles, names: Sequence[str]) -> None:
    """DuckDB takes names that differ in capitals alone for one."""
    for name in names:
        twins = [other for other in files.columns if other.lower() == name.lower() and other != name]
        if twins:
            raise DataError(
                f"columns whose names differ in capitals alone: {name!r} and {twins[0]!r}",
                "names that differ otherwise, where rows are brought together by cluster",
                f"rename {twins[0]!r}",
            )


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


Report = Callable[[str], object]
"""Takes a line that says how far long work has come."""
