"""What commands write: files that are whole or not there, tables, JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_TABLES = (".csv", ".parquet")


def printed(file: Path | None) -> bool:
    """Whether "-" stands for a file: standard output."""
    return str(file) == "-"


def check_files(*files: Path | None) -> None:
    """Refuse files that cannot be written before any work is done."""
    from clusterglm.errors import OptionError

    for file in files:
        if file is None or printed(file):
            continue
        if file.is_dir() or not file.absolute().parent.is_dir():
            wrong = "it is a folder" if file.is_dir() else "its folder does not exist"
            raise OptionError(
                f"the file {str(file)!r} to write to: {wrong}", "a file in a folder that exists", "another path"
            )


def check_table(file: Path | None) -> None:
    """Refuse a file for a table that cannot be written, or whose ending does not say how."""
    check_files(file)
    if file is not None and not printed(file) and file.suffix not in _TABLES:
        from clusterglm.errors import OptionError

        raise OptionError(
            f"a table in the file {str(file)!r}", f"a name that ends in {' or '.join(_TABLES)}", f"{file.stem}.csv"
        )


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A name to write to; what is there at the end takes the file's place, and nothing is left of what fails."""
    target = file.resolve()
    if target.exists() and not target.is_file():  # a device or a named pipe, which nothing may replace
        yield target
        return
    part = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_json(content: Any, file: Path | None) -> None:
    """Strict JSON to a file, or to standard output; numbers that are not finite are null."""
    if file is None:
        return
    from json import dumps

    from clusterglm.results.export import plain

    text = dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False, default=str)
    if printed(file):
        print(text)
        return
    with whole(file) as part:
        part.write_text(text + "\n", encoding="utf-8")


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
