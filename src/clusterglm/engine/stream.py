"""Data larger than memory: blocks of clusters on disk, of which a few are in memory at a time."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from clusterglm.data.blocks.cluster_file import write_labels, write_table
from clusterglm.data.blocks.nested import cluster_of, pairs_of, with_nesting
from clusterglm.data.blocks.order import apart, in_order, read_spans, whole_clusters
from clusterglm.data.blocks.parquet import ParquetFiles, Span, open_files
from clusterglm.data.blocks.parts import Survey, check_request, learn, survey, whole_columns
from clusterglm.data.blocks.regroup import Parts
from clusterglm.data.blocks.store import Space, StoredBlock, full_disk, store
from clusterglm.data.blocks.streamed import Facts, facts_of
from clusterglm.data.blocks.threads import a_few_at_a_time
from clusterglm.data.formulas.formula import ParsedFormula
from clusterglm.data.prepare import Learned, assemble
from clusterglm.data.request import Request
from clusterglm.data.rows import read_formula
from clusterglm.data.tables.table import read_table
from clusterglm.engine.base import Gathered
from clusterglm.engine.block import Block, Memory, rescale
from clusterglm.errors import DataError, OptionError
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import MEMORY_OF_STREAMS, SAMPLE_OF_ROWS
from clusterglm.model.response.base import Response

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

T = TypeVar("T")
P = ParamSpec("P")
_Task: TypeAlias = "tuple[Path, Callable[[], pa.Table]]"

_BLOCKS_IN_MEMORY = 12  # blocks, and what it takes to make one, that together fill the memory allowed
_AT_ONCE = 6  # times the rows that all threads together hold while they bring rows together, each a second time


@dataclass(frozen=True)
class Stream:
    """Fit Parquet files without reading them into memory.

    The rows are brought together by cluster in blocks on disk, once, and each likelihood evaluation reads the blocks
    one after the other. They are deleted when the fit ends, whichever way. Files in which the clusters' labels never
    fall, and such whose row groups do not share labels, are not rearranged first.

    Parameters
    ----------
    memory : int
        Bytes for blocks and for bringing rows together, beyond the 300 MB or so of the interpreter and its libraries.
    folder : str or Path, optional
        Where the blocks go; by default the system's folder for temporary files. It needs space for the columns in use
        as 8-byte numbers at most.
    progress : callable, optional
        Is told in lines of text how far the work has come, and before it begins how much disk it needs.
    cluster_effects : str or Path, optional
        A Parquet file that `cg.fixed_effects` writes, with the columns of `FixedEffectsResult.cluster_effects`: a row
        for each cluster, block after block. An older file of that name goes once the new one is whole.

    Raises
    ------
    OptionError
        When `memory` is below 1 MB.
    """

    memory: int = MEMORY_OF_STREAMS
    folder: str | Path | None = None
    progress: Callable[[str], object] | None = None
    cluster_effects: str | Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.memory, int) or self.memory < 2**20:
            raise OptionError(f"memory={self.memory!r}", "a whole number of bytes, at least 1 MB", "memory=2**29")

    def gather(self, formula: str, data: Any, request: Request, threads: int) -> Gathered:
        """Bring the data into blocks.

        Parameters
        ----------
        formula : str
        data : str or Path
            Parquet files: a folder of them, one, or a pattern.
        request : Request
        threads : int

        Raises
        ------
        DataError
            When files do not agree or cannot be read, the disk is too small, or the data cannot be fitted.
        """
        if not isinstance(data, str | Path):
            raise DataError(
                f"data of type {type(data).__name__} for engine=Stream()",
                "a folder of Parquet files, a pattern such as 'folder/*.parquet', or one file",
                "without engine= for tables in memory",
            )
        files = open_files(data)
        parsed, request = read_formula(formula, files.columns, request)
        names = check_request(parsed, request, files.columns)
        _refuse_missing(files, names)
        request = self._with_nesting(files, names, parsed, request)
        self._refuse_whole_columns(files, whole_columns(parsed))
        try:
            folder = Path(tempfile.mkdtemp(prefix="clusterglm-", dir=None if self.folder is None else str(self.folder)))
        except OSError as problem:
            raise OptionError(
                f"folder={str(self.folder)!r}, in which nothing can be written ({problem.strerror})",
                "a folder that exists",
                "folder=None, for the system's folder for temporary files",
            ) from None
        blocks = DiskBlocks(folder, request.response, threads)
        try:
            facts, learned = self._fill(blocks, files, names, parsed, request, threads)
        except BaseException:
            blocks.close()
            raise
        return Gathered(blocks, facts, learned, parsed, f"they were read block by block from {str(data)!r}")

    def _with_nesting(
        self, files: ParquetFiles, names: tuple[str, ...], parsed: ParsedFormula, request: Request
    ) -> Request:
        """See `with_nesting`."""

        def pairs(asked: Request) -> Iterator[pd.DataFrame]:
            self._say(f"all rows are read once: which of {' and '.join(map(repr, parsed.groupings))} lies in the other")
            return (pairs_of(table, parsed, asked) for table in files.tables(names, self._few(names)))

        return with_nesting(parsed, request, files.columns, pairs)

    def _few(self, names: tuple[str, ...]) -> int:
        """Rows of a table that is soon forgotten."""
        return max(1000, self.memory // _BLOCKS_IN_MEMORY // (8 * (len(names) + 4)))

    def _fill(
        self,
        blocks: DiskBlocks,
        files: ParquetFiles,
        names: tuple[str, ...],
        parsed: ParsedFormula,
        request: Request,
        threads: int,
    ) -> tuple[list[Facts], Learned]:
        surveys = _surveys(files.tables(names, self._few(names)), parsed, request)
        learned = learn(surveys, parsed, request, files.orders(names))
        effects = 0 if learned.effects is None else learned.effects.Z.shape[1]
        wide = 8 * (len(learned.design.names) + effects + 3)
        plan = _plan(files, names, cluster_of(parsed, request), wide, self.memory)
        self._refuse_small_disk(plan, blocks.folder)

        def fill(_: int, task: _Task) -> tuple[Facts, StoredBlock | None]:
            path, read = task
            # columns in one piece, of which there are views
            part = assemble(read_table(read().combine_chunks()), parsed, request, learned)
            facts = facts_of(part, request.response, SAMPLE_OF_ROWS // plan.parts + 1)
            if part.n_obs == 0:
                path.unlink(missing_ok=True)
                return facts, None
            stored = store(part, path)
            if self.cluster_effects is not None:
                write_labels(part.labels, stored.path)
            return facts, stored

        facts = []
        tasks = self._tasks(plan, names, blocks.folder, threads)
        for k, (found, stored) in enumerate(a_few_at_a_time(fill, tasks, threads)):
            facts.append(found)
            blocks.add(stored)
            self._say(f"block {k + 1} of {'about ' if plan.ordered else ''}{plan.parts}")
        return facts, learned

    def _refuse_whole_columns(self, files: ParquetFiles, names: tuple[str, ...]) -> None:
        """Functions of whole columns, such as a spline's knots, take these columns into memory."""
        need = 8 * files.n * len(names)
        if need > self.memory:
            raise OptionError(
                f"whole columns ({', '.join(map(repr, names))}, {files.n:,} rows) and {self.memory:,} bytes",
                f"{need:,} bytes, for these columns alone",
                f"memory={need}, or numbers in their place, such as knots=[...] and I((age - 50) / 10)",
            )

    def _refuse_small_disk(self, plan: _Plan, folder: Path) -> None:
        free, files = shutil.disk_usage(folder).free, plan.files
        need, left = f"up to {plan.need / 1e9:.2f} GB", f"{free / 1e9:.2f} GB"
        self._say(
            f"{files.n:,} rows in {len(files.paths)} files, to become {plan.parts} blocks: {need} in {str(folder)!r}, "
            f"whose disk has {left} left"
        )
        if plan.need > free:
            raise full_disk(folder, f"{need} are needed, {left} are there")

    def _tasks(self, plan: _Plan, names: tuple[str, ...], folder: Path, threads: int) -> Iterator[_Task]:
        """Whole clusters, once they are together: what reads them, and the file that their block goes to."""
        files, cluster = plan.files, plan.cluster
        paths = (folder / f"block-{k:05d}" for k in count())
        if cluster is None:
            yield from zip(paths, map(_at_hand, files.tables(names, plan.rows)), strict=False)
        elif plan.ordered:
            self._say(f"rows are in the order of {cluster!r}, and stay where they are")
            tables = whole_clusters(files.tables(names, plan.rows), cluster)
            yield from zip(paths, map(_at_hand, tables), strict=False)
        elif plan.ranges is not None:
            self._say(f"whole row groups hold whole clusters of {cluster!r}: rows stay where they are")
            yield from zip(paths, (partial(read_spans, spans, names) for spans in plan.ranges), strict=False)
        else:
            together = Parts([*islice(paths, plan.parts)])
            at_once = max(1000, self.memory // _AT_ONCE // plan.width // threads)
            for n in together.fill(files, names, cluster, at_once, threads):
                self._say(f"{n:,} rows of {files.n:,} brought together by {cluster!r}")
            yield from together.reads()

    def _say(self, line: str) -> None:
        if self.progress is not None:
            self.progress(line)


@dataclass(frozen=True)
class _Plan:
    """How files become blocks of whole clusters.

    Parameters
    ----------
    files : ParquetFiles
        In the order of their labels, if `ordered`.
    cluster : str or None
    ordered : bool
        Whether labels never fall.
    ranges : list of list of Span, or None
        Row groups of whole clusters, a block each.
    width : int
        Bytes that a row takes up in a table.
    rows, parts : int
        Of a block, and how many blocks.
    need : int
        Bytes on disk, at most.
    """

    files: ParquetFiles
    cluster: str | None
    ordered: bool
    ranges: list[list[Span]] | None
    width: int
    rows: int
    parts: int
    need: int


def _plan(files: ParquetFiles, names: tuple[str, ...], cluster: str | None, wide: int, memory: int) -> _Plan:
    """What the files allow; `wide` bytes are a row in its block."""
    width = files.width(names)
    rows = max(1000, memory // _BLOCKS_IN_MEMORY // max(width, wide))
    ordered = None if cluster is None else in_order(files, cluster)
    ranges = None if cluster is None or ordered is not None else apart(files, cluster, rows)
    scattered = cluster is not None and ordered is None and ranges is None
    parts = max(1, -(-files.n // rows)) if ranges is None else len(ranges)
    need = files.n * (max(width, wide) if scattered else wide)
    return _Plan(ordered or files, cluster, ordered is not None, ranges, width, rows, parts, need)


class DiskBlocks:
    """Blocks in files of one folder, read ahead while another is at work.

    Parameters
    ----------
    folder : Path
        Belongs to the blocks, and goes with them.
    response : Response
    threads : int
        Threads of the core.
    """

    def __init__(self, folder: Path, response: Response, threads: int) -> None:
        self.folder = folder
        self._response = response
        self._threads = threads
        self._stored: list[StoredBlock] = []
        self._memories: list[Memory] = []
        self._units: tuple[Array, Array] | None = None
        self._spaces: list[Space] = []
        self.close = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def add(self, stored: StoredBlock | None) -> None:
        """One more block, unless it is empty."""
        if stored is not None:
            self._stored.append(stored)
            self._memories.append(Memory())

    def rescale(self, centre: Array, scale: Array) -> None:
        """Blocks are to be seen in columns less `centre`, over `scale`."""
        self._units = centre, scale

    def each(self, work: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """See `Blocks`."""
        return list(self._one_by_one(work, *args, **kwargs))

    def write(
        self,
        path: str | Path,
        work: Callable[Concatenate[Block, P], dict[str, Any]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Columns that `work(block, ...)` gives of each cluster, beside the labels, into a file that appears whole."""
        tables = self._one_by_one(work, *args, **kwargs)
        write_table(Path(path), zip((stored.path for stored in self._stored), tables, strict=True))

    def _one_by_one(self, work: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        if not self._spaces:
            self._spaces = [Space(self._stored) for _ in range(min(2, len(self._stored)))]
        with ThreadPoolExecutor(1, thread_name_prefix="clusterglm-read") as ahead:
            coming = ahead.submit(self._read, 0)
            for k in range(len(self._stored)):
                block = coming.result()
                if k + 1 < len(self._stored):
                    coming = ahead.submit(self._read, k + 1)
                yield work(block, *args, **kwargs)

    def leave(self, work: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """See `Blocks`."""
        return self.each(work, *args, **kwargs)

    def _read(self, k: int) -> Block:
        X, arrays = self._stored[k].read(self._spaces[k % len(self._spaces)])
        if self._units is not None:
            rescale(X, *self._units)
        return Block(X, arrays, self._response, self._threads, self._memories[k])


def _at_hand(table: pa.Table) -> Callable[[], pa.Table]:
    return lambda: table


def _surveys(tables: Iterator[pa.Table], parsed: ParsedFormula, request: Request) -> list[Survey]:
    """Surveys of all tables where columns have levels, else up to the first with a complete row."""
    found = []
    for table in tables:
        found.append(survey(table, parsed, request))
        last = found[-1]
        if last.head is not None and not (last.levels or last.response or last.columns or last.made):
            break
    return found or [Survey()]


def _refuse_missing(files: ParquetFiles, names: tuple[str, ...]) -> None:
    import pyarrow as pa

    from clusterglm.data.tables.table import column

    table = read_table(pa.Table.from_batches([], schema=files.schema))
    for name in names:
        column(table, name, "argument")
