"""What a simulation study is: factors, and what happens in one replicate.

A study of one's own is a function in a file and a dict of factors:

    import numpy as np
    from clusterglm.study import Study, attempt, run_study

    def one(cell, rng):
        x = rng.standard_t(cell["df"], size=cell["n"])
        return [
            attempt("mean", lambda: {"estimate": float(np.mean(x))}),
            attempt("median", lambda: {"estimate": float(np.median(x))}),
        ]

    STUDY = Study("location", {"df": [3, 10], "n": [20, 80]}, one)

    if __name__ == "__main__":
        run_study(STUDY, replicates=1000, out="location.parquet", workers=2)

The file has a row for each method of each replicate; stopped at any point, the same command goes on where it was.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from clusterglm.errors import StudyError, nearest

Value: TypeAlias = str | int | float | bool
Cell: TypeAlias = dict[str, Value]
Row: TypeAlias = dict[str, Value | None]

RESERVED = ("cell", "replicate")


@dataclass(frozen=True)
class Study:
    """A simulation study.

    Parameters
    ----------
    name : str
    factors : mapping of str to sequence
        Levels of each factor; every combination is a cell.
    replicate : callable
        (cell, random generator) -> rows, a list of dicts of plain values, such as one for each method and parameter. It
        must be a function of a module, so that other processes can import it. An exception is a failure of the whole
        replicate, which is kept and counted.
    version : str
        To be changed with `replicate`: runs of different versions do not mix.
    check : callable, optional
        Raises `StudyError` on a cell that makes no sense.
    """

    name: str
    factors: Mapping[str, Sequence[Value]]
    replicate: Callable[[Cell, np.random.Generator], list[Row]]
    version: str = "1"
    check: Callable[[Cell], None] | None = None

    def __post_init__(self) -> None:
        for name, levels in self.factors.items():
            if name in RESERVED or not isinstance(name, str):
                raise StudyError(f"a factor named {name!r}", f"a name other than {', '.join(RESERVED)}", "another name")
            if isinstance(levels, str) or len(levels) == 0:
                raise StudyError(
                    f"factor {name!r} with levels {levels!r}", "a list of one level or more", f"{name}=[...]"
                )
            bad = [level for level in levels if not isinstance(level, str | int | float | bool)]
            if bad:
                raise StudyError(
                    f"factor {name!r} with level {bad[0]!r}", "text, numbers or truth values", "plain values"
                )
            if len(set(levels)) < len(levels):
                raise StudyError(f"factor {name!r} with levels {list(levels)}", "levels that differ", "each level once")
        if self.check is not None:
            for cell in self.cells:
                self.check(cell)

    def with_levels(self, settings: Sequence[str]) -> Study:
        """This study with other levels of some factors.

        Parameters
        ----------
        settings : sequence of str
            Each "factor=level,level,...", read as the type of the factor's first level.

        Raises
        ------
        StudyError
            On an unknown factor or a level that cannot be read.
        """
        chosen: dict[str, list[Value]] = {}
        for setting in settings:
            name, equals, text = setting.partition("=")
            if name not in self.factors or not equals:
                raise StudyError(
                    f"the setting {setting!r}",
                    f"FACTOR=LEVEL,LEVEL,... with one of the factors {', '.join(self.factors)}",
                    nearest(name, self.factors) + f"{next(iter(self.factors))}=...",
                )
            chosen[name] = [_level(name, part.strip(), self.factors[name][0]) for part in text.split(",")]
        return replace(self, factors={name: chosen.get(name, levels) for name, levels in self.factors.items()})

    @property
    def cells(self) -> list[Cell]:
        """All combinations, the last factor varying fastest."""
        names = list(self.factors)
        return [dict(zip(names, levels, strict=True)) for levels in itertools.product(*self.factors.values())]

    def fingerprint(self, seed: int) -> str:
        """A hash of everything that the numbers depend on, but the number of replicates."""
        content = [self.name, self.version, seed, {name: list(levels) for name, levels in self.factors.items()}]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def generator(seed: int, cell: int, replicate: int) -> np.random.Generator:
    """The random numbers of one replicate, whoever draws them and when."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(cell, replicate)))


def attempt(method: str, compute: Callable[[], Row]) -> Row:
    """What a method found, or why it did not: the row of one method in one replicate."""
    try:
        return {"method": method, **compute()}
    except Exception as error:
        return {"method": method, "failure": reason(error)}


def reason(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".split("\n")[0]


def single(value: float) -> float:
    """A number to the seven digits of single precision, which take half the room in a file."""
    return float(np.float32(value))


def _level(factor: str, text: str, like: Value) -> Value:
    try:
        if isinstance(like, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(like, int | float):
            return type(like)(text)
    except (ValueError, KeyError):
        kind = {bool: "true or false", int: "whole numbers"}.get(type(like), "numbers")
        raise StudyError(f"{factor}={text}", kind, f"{factor}={like}") from None
    return text
