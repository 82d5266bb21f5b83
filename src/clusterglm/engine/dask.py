"""Data spread over the machines of a Dask cluster: blocks stay on the workers, sums come back.

One actor a worker holds that worker's blocks and answers with all their sums in one message. The sums are added here,
in the order of the blocks, so that results are the same bits for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import narwhals.stable.v2 as nw
import numpy as np

from clusterglm.data.blocks.nested import cluster_of, pairs_of, with_nesting
from clusterglm.data.blocks.parquet import damaged, open_files, plain
from clusterglm.data.blocks.parts import Survey, check_request, learn, survey
from clusterglm.data.blocks.regroup import hashed
from clusterglm.data.blocks.streamed import Facts, facts_of
from clusterglm.data.formulas.formula import ParsedFormula
from clusterglm.data.prepare import Learned, assemble
from clusterglm.data.request import Request
from clusterglm.data.rows import read_formula
from clusterglm.data.tables.table import check_columns, read_table
from clusterglm.engine.base import Gathered
from clusterglm.engine.block import Block
from clusterglm.engine.tasks import PATIENCE, results, workers_of
from clusterglm.errors import ClusterGLMError, DataError
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import SAMPLE_OF_ROWS

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
P = ParamSpec("P")

_BLOCKS_A_WORKER = 4  # blocks to a worker, so that those of a lost one can be shared out
_PARTS_AT_A_TIME = 64  # partitions of which combinations of labels are held


@dataclass(frozen=True)
class Dask:
    """Fit data that are spread over the workers of a Dask cluster, or run replicates there.

    The rows of a cluster are brought together on one worker, where they stay; each likelihood evaluation is a message
    to every worker and its sums back. Blocks of a worker that is lost are made again on others, from the data.

    Parameters
    ----------
    client : distributed.Client
    blocks : int, optional
        Number of blocks; four a worker by default. The same number gives the same bits for any number of workers.
    progress : callable, optional
        Is told in lines of text how far the work has come, and of lost workers.
    """

    client: Any
    blocks: int | None = None
    progress: Callable[[str], object] | None = None

    def gather(self, formula: str, data: Any, request: Request, threads: int) -> Gathered:
        """Bring the data into blocks on the workers.

        Parameters
        ----------
        formula : str
        data : dask.dataframe.DataFrame, or str or Path
            Parquet files at a path that this process and all workers see: a folder, one, or a pattern.
        request : Request
        threads : int
            Not used: the workers' own numbers of threads are.

        Raises
        ------
        EngineError
            When no worker is there.
        DataError
            When files do not agree, or the data cannot be fitted.
        """
        from dask.delayed import delayed

        workers = _workers(self.client)
        parts, empty, orders = _source(data)
        parsed, request = read_formula(formula, empty.columns, request)
        names = check_request(parsed, request, empty.columns)
        check_columns(empty, names, "argument")
        request = with_nesting(parsed, request, empty.columns, partial(self._pairs, parts, parsed))
        cluster = cluster_of(parsed, request)
        n = self.blocks or _BLOCKS_A_WORKER * len(workers)
        split = [delayed(_split, nout=n, pure=True)(part, list(names), cluster, n) for part in parts]
        tables = [delayed(_joined, pure=True)([pieces[k] for pieces in split]) for k in range(n)]
        self._say(f"{len(parts)} partitions, to become {n} blocks on {len(workers)} workers")
        futures = self.client.compute(tables)
        surveys: list[Survey] = self.client.gather(self.client.map(survey, futures, parsed=parsed, request=request))
        shown = {name: orders[name] for name in names if name in orders}
        learned = learn(surveys, parsed, request, shown)
        self._say("rows brought together")
        settings = parsed, request, learned, SAMPLE_OF_ROWS // n + 1
        blocks = DaskBlocks(self.client, tables, settings, self._say)
        try:
            facts = blocks.settle()
        except BaseException:
            blocks.close()
            raise
        return Gathered(blocks, facts, learned, parsed, "they are on the workers of a Dask cluster")

    def _pairs(self, parts: list[Any], parsed: ParsedFormula, asked: Request) -> Iterator[pd.DataFrame]:
        """See `pairs_of`; a few partitions at a time."""
        from dask.delayed import delayed

        self._say(f"all rows are read once: which of {' and '.join(map(repr, parsed.groupings))} lies in the other")
        for first in range(0, len(parts), _PARTS_AT_A_TIME):
            some = parts[first : first + _PARTS_AT_A_TIME]
            tasks = [delayed(pairs_of, pure=True)(part, parsed, asked) for part in some]
            yield from self.client.gather(self.client.compute(tasks))

    def results(self, work: Callable[[int], T], n: int, share: int | None = None) -> Generator[tuple[int, T]]:
        """`work(k)` for k = 0, ..., n - 1 on the workers, in the order in which they are done."""
        return results(self.client, work, n, share)

    def _say(self, line: str) -> None:
        if self.progress is not None:
            self.progress(line)


class Home:
    """Blocks of one worker; lives there as an actor.

    Parameters
    ----------
    settings : tuple
        Formula, request, what was learned, and how many rows a block shows of itself.
    """

    def __init__(self, settings: tuple[Any, Any, Learned, int]) -> None:
        from distributed import get_worker

        self._settings = settings
        self._threads = int(get_worker().state.nthreads)
        self._facts: list[tuple[int, Facts]] = []
        self._blocks: dict[int, Block] = {}

    def add(self, k: int, table: Any) -> None:
        """Block number `k` from its rows."""
        parsed, request, learned, sample = self._settings
        part = assemble(read_table(table), parsed, request, learned)
        self._facts.append((k, facts_of(part, request.response, sample)))
        if part.n_obs > 0:
            self._blocks[k] = Block(part.X, part, request.response, self._threads)

    def facts(self) -> list[tuple[int, Facts]]:
        """Number and facts of every block."""
        return self._facts

    def rescale(self, centre: Array, scale: Array) -> None:
        """See `Scattered`."""
        self._blocks = {k: block.rescaled(centre, scale) for k, block in self._blocks.items()}

    def each(self, work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[int, T]]:
        """Number and result of every block that has rows."""
        return [(k, work(block, *args, **kwargs)) for k, block in self._blocks.items()]


def _move(home: Any, k: int, table: Any) -> None:
    home.add(k, table).result()


class DaskBlocks:
    """Blocks on workers, and how to make them again.

    Parameters
    ----------
    client : distributed.Client
    tables : list of Delayed
        The rows of each block, as Dask can compute them any time.
    settings : tuple
        See `Home`.
    say : callable
        Takes lines that tell of lost workers.
    """

    def __init__(self, client: Any, tables: list[Any], settings: Any, say: Callable[[str], None]) -> None:
        self._client = client
        self._tables = tables
        self._settings = settings
        self._say = say
        self._homes: dict[Any, tuple[str, list[int]]] = {}  # actor -> its worker, its blocks
        self._lasting: dict[str, tuple[Any, ...]] = {}  # what new homes must be asked first

    def settle(self) -> list[Facts]:
        """Give every worker its share of the blocks; their facts, in order."""
        self._house(list(range(len(self._tables))))
        return self._ask("facts")

    def rescale(self, centre: Array, scale: Array) -> None:
        """See `Scattered`."""
        self._ask("rescale", centre, scale)
        self._lasting["rescale"] = "rescale", centre, scale

    def each(self, work: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """See `Blocks`."""
        return self._ask("each", work, args, kwargs)

    def leave(self, work: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """See `Blocks`."""
        found: list[T] = self._ask("each", work, args, kwargs)
        self._lasting[work.__name__] = "each", work, args, kwargs
        return found

    def close(self) -> None:
        """Let the workers forget the blocks."""
        self._homes.clear()

    def _ask(self, method: str, *args: Any) -> list[Any]:
        """Ask all homes at once; blocks of those that are lost move elsewhere, and are asked there."""
        found: dict[int, Any] = {}
        homes = list(self._homes)
        while homes:
            asked = [(home, getattr(home, method)(*args)) for home in homes]
            homeless: list[int] = []
            for home, answer in asked:
                try:
                    found.update(self._wait(self._homes[home][0], answer) or [])
                except _LostError:
                    homeless += self._leave_home(home)
            homes = self._house(homeless)
        return [found[k] for k in sorted(found)]

    def _house(self, numbers: list[int]) -> list[Any]:
        """New homes for blocks, which know what the others have been told."""
        homes = []
        while numbers:
            workers = _workers(self._client)
            futures = dict(zip(numbers, self._client.compute([self._tables[k] for k in numbers]), strict=True))
            begun = []
            for i, worker in enumerate(workers[: len(numbers)]):
                share = sorted(numbers)[i :: len(workers)]
                options = {"workers": [worker], "allow_other_workers": False, "pure": False}
                future = self._client.submit(Home, self._settings, actor=True, **options)
                # tasks of their own, as an actor would keep its arguments in memory as long as it lives
                moves = [self._client.submit(_move, future, k, futures[k], **options) for k in share]
                begun.append((worker, share, future, moves))
            del futures
            numbers = []
            for worker, share, future, moves in begun:
                try:
                    home = self._wait(worker, future)
                    for move in moves:
                        self._wait(worker, move)
                    for method, *args in self._lasting.values():
                        self._wait(worker, getattr(home, method)(*args))
                except _LostError:
                    self._say(f"worker {worker} is lost, and its {len(share)} blocks go to others")
                    numbers += share
                else:
                    self._homes[home] = worker, share
                    homes.append(home)
        return homes

    def _leave_home(self, home: Any) -> list[int]:
        worker, numbers = self._homes.pop(home)
        self._say(f"worker {worker} is lost, and its {len(numbers)} blocks go to others")
        return numbers

    def _wait(self, worker: str, answer: Any) -> Any:
        """What a worker replies, or `_LostError` when it is gone."""
        while True:
            try:
                return answer.result(timeout=PATIENCE)
            except TimeoutError:
                if worker not in _workers(self._client):
                    raise _LostError from None
            except ClusterGLMError:
                raise
            except Exception as problem:
                # the scheduler may not have noticed yet: an actor that cannot be reached is lost, too
                if isinstance(problem, OSError) or "Actor" in str(problem) or worker not in _workers(self._client):
                    raise _LostError from None
                raise


class _LostError(Exception):
    """A worker is gone."""


def _workers(client: Any) -> list[str]:
    return list(workers_of(client))


def _source(data: Any) -> tuple[list[Any], nw.DataFrame[Any], dict[str, list[Any]]]:
    """Delayed partitions, a table without rows, and the order of categories."""
    from dask.delayed import delayed

    if isinstance(data, str | Path):
        import pyarrow as pa

        files = open_files(data)
        parts = [delayed(_read, pure=True)(path) for path in files.paths]
        return parts, read_table(pa.Table.from_batches([], schema=files.schema)), files.orders(files.columns)
    if not hasattr(data, "to_delayed"):
        raise DataError(
            f"data of type {type(data).__name__} for engine=Dask(client)",
            "a dask.dataframe, or the path of Parquet files that all workers see",
            "dask.dataframe.from_pandas(data, npartitions=8)",
        )
    meta = data._meta
    coded = {name: kind for name, kind in meta.dtypes.items() if hasattr(kind, "categories")}
    orders = {name: list(kind.categories) for name, kind in coded.items() if data[name].cat.known}
    return list(data.to_delayed()), read_table(meta), orders


def _read(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path).read(use_threads=False)
    except (pa.ArrowException, OSError) as problem:
        raise damaged(path, problem) from None


def _split(part: Any, names: list[str], cluster: str | None, n: int) -> list[Any]:
    """Rows of a partition by block: by the hash of their cluster, or just in turn."""
    table = plain(read_table(part).to_arrow().select(names))
    block = np.arange(len(table)) % n if cluster is None else hashed(table[cluster]) % np.uint64(n)
    order = np.argsort(block, kind="stable")
    ends = np.searchsorted(block[order], np.arange(n + 1))
    return [table.take(order[ends[k] : ends[k + 1]]) for k in range(n)]


def _joined(pieces: list[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.concat_tables(pieces, promote_options="default")
    except pa.ArrowException as problem:
        raise DataError(
            f"partitions whose columns have different types: {' '.join(str(problem).split())}",
            "one type for each column in all partitions",
            "data.astype({...}) with a type for the column named",
        ) from None
