"""Whether data stay out of memory; by itself, so that fits in memory load nothing of what blocks need."""

from __future__ import annotations

from typing import Any

from clusterglm.data.blocks.parquet import is_dataset
from clusterglm.errors import DataError, OptionError


def is_elsewhere(data: Any, engine: Any, penalty: str | None = None, to_limit: bool = False) -> bool:
    """Whether the rows stay out of this process' memory.

    Raises
    ------
    OptionError
        When they do, for a penalty or the limit of a separated fit, which take all rows at once.
    """
    if engine is None and not is_dataset(data):
        return False
    if penalty is not None:
        raise OptionError(
            f"penalty={penalty!r} for rows that are not in memory",
            "a table in memory, all of whose rows the penalty takes at once",
            "the columns in use as a table; or penalty=None, as much data seldom need one",
        )
    if to_limit:
        raise OptionError(
            "separation='limit' for rows that are not in memory",
            "a table in memory, of all of whose rows it must be known which are certain in the limit",
            "the columns in use as a table; or separation='error', the default",
        )
    return True


def refuse_elsewhere(data: Any, verb: str) -> None:
    """Raise `DataError` for several Parquet files where they cannot be read block by block."""
    if is_dataset(data):
        raise DataError(
            f"several Parquet files, {str(data)!r}, for cg.{verb}",
            "a table in memory: pooled, random-effects, fixed-effects and conditional fits read files block by block",
            "pyarrow.parquet.read_table(folder, columns=[...]), where memory holds the columns in use",
        )
