"""Blocks of clusters on disk: plain float64 and int64 words, in the order in which the core wants them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import RawIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.errors import DataError
from clusterglm.model.arrays import Array

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class BlockArrays:
    """What a likelihood needs of one block besides X; see `ModelData`."""

    starts: NDArray[np.int64]
    a: Array
    b: Array
    offset: Array
    cluster_weights: Array


@dataclass(frozen=True)
class StoredBlock:
    """A block in a file of its own.

    Parameters
    ----------
    path : Path
    n, m, p : int
        Rows, clusters, columns.
    offset, weighted : bool
        Whether the file holds offsets (else 0) and cluster weights (else 1).
    """

    path: Path
    n: int
    m: int
    p: int
    offset: bool
    weighted: bool

    @property
    def words(self) -> int:
        """Length of the file in units of 8 bytes."""
        return self.n * (self.p + 2 + self.offset) + self.m + 1 + (self.m if self.weighted else 0)

    def read(self, buffer: Array) -> tuple[Array, BlockArrays]:
        """X and the other arrays, as views of `buffer`, shape (words or more,).

        Raises
        ------
        DataError
            When the file is gone or has been cut short.
        """
        words = buffer[: self.words]
        try:
            with self.path.open("rb", buffering=0) as file:
                view, got = words.view(np.uint8).data, 0
                while got < len(view):  # one call reads at most 2 GB
                    more = file.readinto(view[got:])
                    if not more:
                        break
                    got += more
        except OSError as problem:
            raise lost(self.path, str(problem)) from None
        if got < len(view):
            raise lost(self.path, f"it ends after {got} of {len(view)} bytes")
        parts, first = [], 0
        for length in (self.n * self.p, self.n, self.n, self.n * self.offset, self.m * self.weighted, self.m + 1):
            parts.append(words[first : first + length])
            first += length
        X, a, b, offset, weights, starts = parts
        arrays = BlockArrays(
            starts.view(np.int64),
            a,
            b,
            offset if self.offset else _all(0.0, self.n),
            weights if self.weighted else _all(1.0, self.m),
        )
        return X.reshape(self.n, self.p), arrays


def _all(value: float, n: int) -> Array:
    """n times the same value; memory that is used again is not cleared again."""
    return _many(value, 1 << n.bit_length())[:n]


@lru_cache(maxsize=4)
def _many(value: float, n: int) -> Array:
    return np.full(n, value)


def store(data: ModelData, path: Path) -> StoredBlock:
    """Write the arrays of a block.

    Raises
    ------
    DataError
        When the disk is full.
    """
    X, offset, weights = data.X, bool(data.offset.any()), bool(np.any(data.cluster_weights != 1.0))
    arrays: list[NDArray[np.float64] | NDArray[np.int64]] = [X, data.a, data.b]
    arrays += [data.offset] * offset + [data.cluster_weights] * weights + [data.starts]
    with space_needed(path.parent), path.open("wb", buffering=0) as file:
        for array in arrays:
            write_whole(file, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return StoredBlock(path, data.n_obs, data.n_clusters, X.shape[1], offset, weights)


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
