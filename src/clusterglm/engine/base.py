"""What a fit asks of the place where blocks live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from clusterglm.engine.block import Block

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
        """The same for work that leaves something in the blocks' memory on which later work depends."""


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
