"""Blocks of clusters on disk: plain numbers in the order in which the core wants them, in as few bytes as hold them."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.errors import DataError
from clusterglm.model.arrays import Array

_GLANCE = 1000  # numbers that mostly show whether a narrower type has all
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class BlockArrays:
    """What a likelihood needs of one block besides X; see `ModelData`. None stands for case weights of one.

    Children have numbers for labels.
    """

    starts: NDArray[np.int64]
    a: Array
    b: Array
    offset: Array
    cluster_weights: Array
    weights: Array | None = None
    effects: Effects | None = None


@dataclass(frozen=True)
class StoredBlock:
    """A block in a file of its own.

    Parameters
    ----------
    path : Path
    n, m, p : int
        Rows, clusters, columns.
    kinds : dict of str to dtype
        Arrays in the file, in its order, and their types there. Offsets are left out where all are 0, weights
        where all are 1.
    effects : Effects or None
        What varies over clusters, without rows.
    children : int
        Levels of what is nested in clusters.
    """

    path: Path
    n: int
    m: int
    p: int
    kinds: dict[str, np.dtype[Any]]
    effects: Effects | None = None
    children: int = 0

    @property
    def length(self) -> int:
        """Length of the file in bytes."""
        return sum(self._count(name) * kind.itemsize for name, kind in self.kinds.items())

    @property
    def widened(self) -> int:
        """Numbers that the file has in a narrower type."""
        return sum(self._count(name) for name, kind in self.kinds.items() if kind.itemsize < 8)

    def read(self, space: Space) -> tuple[Array, BlockArrays]:
        """X and the other arrays, as views of `space`.

        Raises
        ------
        DataError
            When the file is gone or has been cut short.
        """
        content = space.content[: self.length]
        try:
            with self.path.open("rb", buffering=0) as file:
                got = 0
                while got < len(content):  # one call reads at most 2 GB
                    more = file.readinto(content[got:].data)
                    if not more:
                        break
                    got += more
        except OSError as problem:
            raise lost(self.path, str(problem)) from None
        if got < len(content):
            raise lost(self.path, f"it ends after {got} of {len(content)} bytes")
        arrays: dict[str, Array] = {}
        first = used = 0
        for name, kind in self.kinds.items():
            count = self._count(name)
            values = content[first : first + count * kind.itemsize].view(kind)
            first += count * kind.itemsize
            if kind.itemsize < 8:
                wide = space.numbers[used : used + count]
                wide[:] = values
                values, used = wide, used + count
            arrays[name] = values
        return arrays["X"].reshape(self.n, self.p), BlockArrays(
            arrays["starts"].view(np.int64),
            arrays["a"],
            arrays["b"],
            arrays["offset"] if "offset" in arrays else _all(0.0, self.n),
            arrays["weights"] if "weights" in arrays else _all(1.0, self.m),
            arrays.get("case_weights"),
            self._effects(arrays),
        )

    def _effects(self, arrays: dict[str, Array]) -> Effects | None:
        effects = self.effects
        if effects is None:
            return None
        children = effects.children
        if children is not None:
            children = replace(children, starts=arrays["children"].view(np.int64), labels=np.arange(self.children))
        return replace(effects, Z=arrays["Z"].reshape(self.n, -1), children=children)

    def _count(self, name: str) -> int:
        effects = 0 if self.effects is None else self.effects.Z.shape[1]
        counts = {
            "X": self.n * self.p,
            "Z": self.n * effects,
            "weights": self.m,
            "starts": self.m + 1,
            "children": self.children + 1,
        }
        return counts.get(name, self.n)


class Space:
    """Memory into which any of some blocks can be read, one at a time."""

    def __init__(self, blocks: Sequence[StoredBlock]) -> None:
        self.content = page_aligned(max(block.length for block in blocks))
        self.numbers = page_aligned(8 * max(block.widened for block in blocks)).view(np.float64)


def page_aligned(length: int) -> NDArray[np.uint8]:
    """Memory that begins with a page, as files do in the system's cache.

    On AMD's processors a copy takes four times as long to memory that lies a few bytes further into a page.
    """
    page = 4096
    raw = np.empty(length + page, dtype=np.uint8)
    first = -raw.ctypes.data % page
    return raw[first : first + length]


def _all(value: float, n: int) -> Array:
    """n times the same value; memory that is used again is not cleared again."""
    return _many(value, 1 << n.bit_length())[:n]


@lru_cache(maxsize=4)
def _many(value: float, n: int) -> Array:
    return np.full(n, value)


def store(data: ModelData, path: Path) -> StoredBlock:
    """Write the arrays of a block, over a file that may be there: its pages need not be found anew.

    Raises
    ------
    DataError
        When the disk is full.
    """
    arrays: dict[str, NDArray[Any]] = {"X": _narrow(data.X), "a": _narrow(data.a), "b": _narrow(data.b)}
    if data.offset.any():
        arrays["offset"] = _narrow(data.offset)
    if np.any(data.cluster_weights != 1.0):
        arrays["weights"] = _narrow(data.cluster_weights)
    if data.weights.strides != (0,) and np.any(data.weights != 1.0):
        arrays["case_weights"] = _narrow(data.weights)
    arrays["starts"] = data.starts
    children = None
    if data.effects is not None:
        arrays["Z"], children = _narrow(data.effects.Z), data.effects.children
    if children is not None:
        arrays["children"] = children.starts
    ordered = sorted(arrays.items(), key=lambda each: -each[1].itemsize)  # so that all are aligned
    with space_needed(path.parent), path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        for _, array in ordered:
            write_whole(file, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        file.truncate()
    return StoredBlock(
        path,
        data.n_obs,
        data.n_clusters,
        data.X.shape[1],
        {name: a.dtype for name, a in ordered},
        None if data.effects is None else data.effects.without_rows(),
        0 if children is None else len(children.labels),
    )


def _narrow(values: Array) -> NDArray[Any]:
    """Numbers in a narrower type, if one has them all: responses and dummies in bytes, what was float32 as such."""
    flat = values.reshape(-1)
    for kind in (np.uint8, np.float32):
        with np.errstate(invalid="ignore", over="ignore"):
            if all(np.array_equal(part.astype(kind), part) for part in (flat[:_GLANCE], flat)):
                return values.astype(kind)
    return values


def write_whole(file: RawIOBase, content: memoryview) -> None:
    """Write all bytes, of which one call may take a part."""
    written = 0
    while written < len(content):
        written += file.write(content[written:]) or 0


@contextmanager
def space_needed(folder: Path) -> Iterator[None]:
    """Says in words that the disk is full."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in _NO_SPACE:
            raise
        raise full_disk(folder, problem.strerror or str(problem)) from None


def full_disk(folder: Path, reason: str) -> DataError:
    """The error for a disk without space."""
    return DataError(
        f"the disk of {str(folder)!r} has no space left for blocks of the data ({reason})",
        "space for a copy of the columns in use, as float64",
        "cg.engine.Stream(folder=...) on a larger disk; nothing was left behind in this one",
    )


def lost(path: Path, reason: str) -> DataError:
    """The error for a file of the fit's own that is not what was written."""
    return DataError(
        f"the block {str(path)!r}, which cannot be read back: {reason}",
        "the files of a fit to stay as they are while it runs",
        "fit again, with cg.engine.Stream(folder=...) in a folder that nobody tidies up",
    )
