"""A Parquet file with a row for each cluster, of blocks whose labels wait on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from clusterglm.data.blocks.store import space_needed
from clusterglm.data.files import whole


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
    OptionError, StorageError
        When the file cannot be written; see `files.whole`.
    DataError
        When the disk is full.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole(path) as unfinished, ExitStack() as opened, space_needed(path.parent):
        writer: Any = None
        for block, columns in blocks:
            labels = pq.read_table(_labels_of(block))["label"]
            table = pa.table({"label": labels, **columns})
            writer = writer or opened.enter_context(pq.ParquetWriter(unfinished, table.schema))
            writer.write_table(table.cast(writer.schema))


def _labels_of(block: Path) -> Path:
    return block.with_name(f"labels-{block.name}.parquet")
