"""What a simulation study is: factors, and what happens in one replicate."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from clusterglm.errors import StudyError

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
    """

    name: str
    factors: Mapping[str, Sequence[Value]]
    replicate: Callable[[Cell, np.random.Generator], list[Row]]
    version: str = "1"

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
