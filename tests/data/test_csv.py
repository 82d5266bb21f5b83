"""CSV as other programs write it: separators, decimal commas and Latin-1, found where there is no doubt."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from clusterglm.data.tables.csv import Form, read_csv
from clusterglm.data.tables.table import read_table
from clusterglm.errors import DataError

WANTED = {"ort": ["Zürich", "Bern"], "x": [1.5, -0.25], "n": [3, 4]}


def written(separator: str, decimal: str, encoding: str) -> bytes:
    rows = [["ort", "x", "n"]] + [
        [ort, str(x).replace(".", decimal), str(n)] for ort, x, n in zip(*WANTED.values(), strict=True)
    ]
    return "".join(separator.join(row) + "\r\n" for row in rows).encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", ","), (";", "."), ("\t", ","), ("|", ".")])
def test_what_is_in_no_doubt_is_found(separator: str, decimal: str, encoding: str, tmp_path: Path) -> None:
    content = written(separator, decimal, encoding)
    assert read_csv(content).to_pydict() == WANTED
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    assert read_table(file).to_native().to_pydict() == WANTED
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(content))
    assert read_table(packed).to_native().to_pydict() == WANTED


def test_latin_1_far_below_the_first_lines() -> None:
    lines = ["ort,n", *["Bern,1"] * 40_000, "Zürich,2"]
    found = read_csv("\n".join(lines).encode("latin-1"))
    assert found["ort"][-1].as_py() == "Zürich"
    assert found["n"].type == "int64"


def test_a_letter_cut_by_the_first_block_is_still_utf_8() -> None:
    for shift in range(4):
        text = "ort,n\n" + "a" * (2**16 - 8 - shift) + "ü€ü,1\n"
        assert read_csv(text.encode())["ort"][0].as_py().endswith("ü€ü")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a;b\n1,500;2\n2,250;3\n", "decimals or of thousands"),
        (b"a;b\n1,5;2.5\n", "decimals or of thousands"),
        (b"a,x;b\n1,x;2\n", "commas or semicolons"),
        ("ort,n\nМосква,1\n".encode("cp1251"), "encoding is in doubt"),
        ("ort,n\n“Bern”,1\n".encode("cp1252"), "encoding is in doubt"),
    ],
)
def test_what_is_in_doubt_is_named(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_csv(content)


def test_what_is_said_settles_it() -> None:
    assert read_csv(b"a;b\n1,500;2\n", Form(decimal=","))["a"].to_pylist() == [1.5]
    assert read_csv(b"a,x;b\n1,x;2\n", Form(separator=";")).column_names == ["a,x", "b"]
    assert read_csv("ort,n\nМосква,1\n".encode("cp1251"), Form(encoding="cp1251"))["ort"].to_pylist() == ["Москва"]
    with pytest.raises(DataError, match="encoding 'latin1000'"):
        read_csv(b"a\n1\n", Form(encoding="latin1000"))


def test_text_with_commas_in_quotes_and_one_column() -> None:
    assert read_csv(b'a,b\n"x;y, z",1\n')["a"].to_pylist() == ["x;y, z"]
    np.testing.assert_array_equal(read_csv(b"y\n1\n0\n")["y"].to_numpy(), [1, 0])
