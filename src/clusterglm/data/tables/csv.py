"""Text tables: what separates the columns, how decimals and letters are written, found where there is no doubt."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterglm.errors import DataError

_HEAD = 2**16  # bytes from which the form is found
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_COMMA_NUMBER = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3},\d{3}")
_MANY_HIGH = re.compile(rb"[\x80-\xff]{3,}")  # words of other alphabets
_NO_LETTER = re.compile(rb"[\x80-\xbf\xd7\xf7]")  # of Latin-1


@dataclass(frozen=True)
class Form:
    """How a text table is written; None is found from its content.

    Parameters
    ----------
    separator, decimal, encoding : str, optional
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None


def read_csv(source: Path | bytes, form: Form | None = None, name: str = "") -> Any:
    """A pyarrow table from a CSV file or its content, which may be compressed.

    Parameters
    ----------
    source : Path or bytes
    form : Form, optional
    name : str
        What errors call it.

    Raises
    ------
    DataError
        Where the form is in doubt; it names the possibilities.
    """
    import pyarrow as pa

    form, what = form or Form(), name or f"the file {str(source)!r}"
    try:
        return _read(_Content(source), form, what)
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise DataError(
            f"{what}, which cannot be read as CSV: {' '.join(str(problem).split())}",
            "a CSV file that holds one table, a header line first",
            "open it and see what it holds; --sep in a shell, or a data frame of your own in Python",
        ) from None


def _read(content: _Content, form: Form, what: str) -> Any:
    import pyarrow as pa

    head = content.read(_HEAD)
    encoding = form.encoding or ("utf8" if _is_utf8(head) else _encoding(content.read(), what))
    try:
        text = head.decode(encoding, errors="replace")
    except LookupError:
        raise DataError(f"encoding {encoding!r}", "one that Python knows", "utf-8, latin-1 or cp1252") from None
    separator = form.separator or _separator(text, len(head) == _HEAD, what)
    decimal = form.decimal or _decimal(text, separator, what)
    table = _parsed(content, encoding, separator, decimal)
    if form.encoding is None and any(pa.types.is_binary(field.type) for field in table.schema):  # further down
        table = _parsed(content, _encoding(content.read(), what), separator, decimal)
    return table


class _Content:
    """The bytes of a file, which may be compressed, or bytes that are here."""

    def __init__(self, source: Path | bytes) -> None:
        self._source = source

    def open(self) -> Any:
        import pyarrow as pa

        if isinstance(self._source, bytes):
            return pa.BufferReader(self._source)
        return pa.input_stream(str(self._source), compression="detect")

    def read(self, most: int | None = None) -> bytes:
        with self.open() as stream:
            found: bytes = stream.read(most)
        return found


def _parsed(content: _Content, encoding: str, separator: str, decimal: str) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow

    parse = arrow.ParseOptions(delimiter=separator)
    convert = arrow.ConvertOptions(strings_can_be_null=True, decimal_point=decimal)
    try:
        with content.open() as stream:
            return arrow.read_csv(stream, arrow.ReadOptions(encoding=encoding), parse, convert)
    except pa.ArrowInvalid as problem:
        if "conversion error" not in str(problem):
            raise
    # types are guessed from the first megabyte: a column that turns fractional later needs all of it
    whole = content.read()
    reading = arrow.ReadOptions(block_size=min(len(whole) + 1, 2**31 - 1), encoding=encoding)
    return arrow.read_csv(pa.BufferReader(whole), reading, parse, convert)


def _is_utf8(head: bytes) -> bool:
    """Whether it is, but for a letter that is cut at its end."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as problem:
        return len(head) == _HEAD and problem.start > len(head) - 4 and problem.reason == "unexpected end of data"
    return True


def _encoding(content: bytes, what: str) -> str:
    """Encoding of text that is not UTF-8: Latin-1, where letters with accents stand one or two by themselves."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if _NO_LETTER.search(content) or _MANY_HIGH.search(content):
        raise DataError(
            f"{what}, which is not text in UTF-8, and in which encoding is in doubt",
            "UTF-8; or Latin-1, which is known by letters with accents among others",
            "--encoding cp1252, say, in a shell; in Python the frame of pandas.read_csv, which is told the encoding",
        )
    return "latin-1"


def _separator(text: str, cut: bool, what: str) -> str:
    """What splits every line into the same number of columns; a comma where nothing does."""
    lines = text.splitlines()[: -1 if cut else None][:100]
    found = []
    for separator in _SEPARATORS:
        counts = {len(row) for row in csv.reader(lines, delimiter=separator) if row}
        if len(counts) == 1 and counts.pop() > 1:
            found.append(separator)
    if len(found) > 1:
        raise DataError(
            f"{what}, which {' or '.join(_SEPARATORS[each] for each in found)} could split into columns",
            "one of them",
            f"--sep {found[0]!r} in a shell; pandas.read_csv(path, sep={found[0]!r}) in Python, and that frame",
        )
    return found[0] if found else ","


def _decimal(text: str, separator: str, what: str) -> str:
    """A comma where numbers are written with it, and it separates nothing."""
    if separator == ",":
        return "."
    cells = [cell.strip() for row in csv.reader(text.splitlines()[1:100], delimiter=separator) for cell in row]
    with_comma = [cell for cell in cells if _COMMA_NUMBER.fullmatch(cell)]
    if not with_comma:
        return "."
    if all(_THOUSANDS.fullmatch(cell) for cell in with_comma) or any(re.fullmatch(r"[-+]?\d+\.\d+", c) for c in cells):
        raise DataError(
            f"{what}, in which the comma of {with_comma[0]!r} may be that of decimals or of thousands",
            "decimals with one sign throughout",
            "--decimal , or --decimal . in a shell; pandas.read_csv(path, decimal=',') in Python, and that frame",
        )
    return ","
