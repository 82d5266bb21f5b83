"""A Parquet file with a row for each cluster, of blocks whose labels wait on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from clusterglm.data.store import space_needed
from clusterglm.errors import OptionError


def write_labels(labels: NDArray[Any], block: Path) -> None:
    """The labels of a block's clusters, beside the block."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with space_needed(block.parent):
        pq.write_table(pa.table({"label": labels}), _labels_of(block))


def write_table(path: Path, blocks: Iterator[tuple[Path, dict[str, Any]]]) -> None:
    """Labels and other columns of block after block.

    Parameters
    ----------
    path : Path
        The file appears when all is written.
    blocks : iterator of (Path, dict)
        Where each block lies, and its columns.

    Raises
    ------
    OptionError
        When the file cannot be written.
    DataError
        When the disk is full.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    unfinished = path.with_name(path.name + ".part")
    writer: Any = None
    try:
        with space_needed(path.parent):
            for block, columns in blocks:
                labels = pq.read_table(_labels_of(block))["label"]
                table = pa.table({"label": labels, **columns})
                writer = writer or pq.ParquetWriter(unfinished, table.schema)
                writer.write_table(table.cast(writer.schema))
            writer.close()
            unfinished.replace(path)
    except BaseException as problem:
        with suppress(OSError):
            if writer is not None:
                writer.close()
        unfinished.unlink(missing_ok=True)
        if isinstance(problem, OSError):
            raise _unwritable(path, problem) from None
        raise


def _labels_of(block: Path) -> Path:
    return block.with_name(f"labels-{block.name}.parquet")


def _unwritable(path: Path, problem: OSError) -> OptionError:
    return OptionError(
        f"cluster_effects={str(path)!r}, which cannot be written ({problem.strerror or problem})",
        "a file in a folder that exists",
        "the path of a Parquet file, such as 'effects.parquet'",
    )
