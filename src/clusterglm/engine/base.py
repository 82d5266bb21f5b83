"""What a fit asks of the place where blocks live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from clusterglm.data.blocks.streamed import Facts
from clusterglm.data.formulas.formula import ParsedFormula
from clusterglm.data.prepare import Learned
from clusterglm.engine.block import Block
from clusterglm.model.arrays import Array

T = TypeVar("T")
P = ParamSpec("P")


class Blocks(Protocol):
    """Blocks in a fixed order, wherever they are.

    Results come back block by block and are added in that order, so that sums are the same bits for any number of
    threads, workers and machines.
    """

    def each(self, work: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """`work(block, ...)` of every block; the function must be one that can be pickled by name."""

    def leave(self, work: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """`each` for work that leaves something in the blocks' memory on which later work depends."""


class Scattered(Blocks, Protocol):
    """Blocks outside this process' memory."""

    def rescale(self, centre: Array, scale: Array) -> None:
        """Columns become less `centre`, over `scale`."""

    def close(self) -> object:
        """Give back what the blocks take up."""


@dataclass(frozen=True)
class Gathered:
    """Blocks, what is known of each, and what they have in common.

    Parameters
    ----------
    blocks : Scattered
    facts : list of Facts
    learned : Learned
    parsed : ParsedFormula
    where : str
        Where the rows are, in words.

    Notes
    -----
    As a context, the blocks go at its end.
    """

    blocks: Scattered
    facts: list[Facts]
    learned: Learned
    parsed: ParsedFormula
    where: str

    def __enter__(self) -> Gathered:
        return self

    def __exit__(self, *_: object) -> None:
        self.blocks.close()


class InMemory:
    """One block, the whole data.

    Parameters
    ----------
    block : Block
    """

    def __init__(self, block: Block) -> None:
        self.block = block

    def each(self, work: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """See `Blocks`."""
        return [work(self.block, *args, **kwargs)]

    def leave(self, work: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """See `Blocks`."""
        return self.each(work, *args, **kwargs)
