"""What commands write: tables and JSON, to files or printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterglm.data.files import check_writable, whole, write_text

if TYPE_CHECKING:
    import pandas as pd

_TABLES = (".csv", ".parquet")


def printed(file: Path | None) -> bool:
    """Whether "-" stands for a file: standard output."""
    return str(file) == "-"


def check_files(*files: Path | None) -> None:
    """Refuse files that cannot be written before any work is done."""
    for file in files:
        if file is not None and not printed(file):
            check_writable(file)


def check_table(file: Path | None) -> None:
    """Refuse a file for a table that cannot be written, or whose ending does not say how."""
    check_files(file)
    if file is not None and not printed(file) and file.suffix not in _TABLES:
        from clusterglm.errors import OptionError

        raise OptionError(
            f"a table in the file {str(file)!r}", f"a name that ends in {' or '.join(_TABLES)}", f"{file.stem}.csv"
        )


def write_json(content: Any, file: Path | None) -> None:
    """Strict JSON to a file, or to standard output; numbers that are not finite are null."""
    if file is None:
        return
    from json import dumps

    from clusterglm.results.tables.export import plain

    text = dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False, default=str)
    if printed(file):
        print(text)
        return
    write_text(file, text + "\n")


def write_table(table: pd.DataFrame, file: Path | None) -> None:
    """A table without its index as CSV or Parquet to a file, or as CSV to standard output."""
    if file is None or printed(file):
        print(table.to_csv(index=False), end="")
        return
    with whole(file) as part:
        if file.suffix == ".parquet":
            table.to_parquet(part, index=False)
        else:
            table.to_csv(part, index=False)
