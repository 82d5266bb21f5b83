"""Fits of several random effects to rows in blocks elsewhere.

Every block answers with integrals of its own (`levels.py`), and answers are added in the order of the blocks. Points
that are chosen cluster by cluster stay with the block, under what they were chosen for; a block that does not have them
any more, as one that has come to another machine, chooses them again.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.blocks.store import BlockArrays
from clusterglm.data.blocks.streamed import StreamedData, squares_of_effects
from clusterglm.data.clusters import rows_of, spread_out
from clusterglm.data.effects import Children, Effects
from clusterglm.data.request import Request
from clusterglm.engine.base import Blocks, Gathered
from clusterglm.engine.block import Block
from clusterglm.fit.levels import AnyPlan, Chosen, Integrals, integrals
from clusterglm.fit.mixed_looks import one_in
from clusterglm.fit.mixed_task import MixedTask, effects_of
from clusterglm.fit.pooled import PooledFit, pooled_estimates
from clusterglm.fit.standardise import Standardisation, tells_columns_apart
from clusterglm.fit.streamed import refuse_homogeneous_blocks, sums_of_blocks
from clusterglm.fit.sums import Sums, added, chosen_clusters, products_of, repeats_in
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.moments import NestedPairs
from clusterglm.likelihood.vector.vector import VectorPosterior
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.large_data import MANY_FOR_POINTS
from clusterglm.model.parameters import random_effects
from clusterglm.model.response.base import Response

_CHOICES_KEPT = 2  # choices of points that a block keeps


@dataclass(frozen=True)
class Asked:
    """Points that any block knows.

    Parameters
    ----------
    nodes : int or None
        So many a dimension; None: for a look.
    second : bool
        For a second look, not a first one.
    many : bool
        Whether clusters are many, in all blocks.
    """

    nodes: int | None
    second: bool = False
    many: bool = False


@dataclass(frozen=True, eq=False)
class Kept:
    """Points that blocks chose for their clusters.

    Parameters
    ----------
    entries : ndarray, shape (q,)
        Where they were chosen.
    tolerance : float
    for_slopes : bool
        Whether they are those for derivatives.
    rules : tuple of (str, int)
        As `Integrals.rules` has them.
    most : int
        The largest number of points of a row.
    held : bool
        Whether second derivatives are those of points held, in all blocks.
    """

    entries: Array
    tolerance: float
    for_slopes: bool
    rules: tuple[tuple[str, int], ...]
    most: int
    held: bool


@dataclass(frozen=True)
class _Rule:
    """Points of one kind in a block: in words, whether they are laid apart from the modes, their number, clusters."""

    words: str
    placed: bool
    size: int
    clusters: int


@dataclass(frozen=True)
class _Share:
    """What a block says of the points that it has chosen: for values, and, where they are others, for derivatives."""

    error: float
    value: float | None
    rules: tuple[_Rule, ...]
    for_slopes: tuple[_Rule, ...] | None
    held: bool
    held_slopes: bool


class BlockIntegrals:
    """Integrals of all clusters of some blocks; see `Integrals`.

    Parameters
    ----------
    blocks : Blocks
    scale : ndarray, shape (q,)
        What the columns of effects are divided by.
    data : StreamedData
    p : int
        Columns with coefficients.
    response : Response
    """

    threads = 1  # blocks have threads of their own
    learned, nearly_quadratic = None, False

    def __init__(self, blocks: Blocks, scale: Array, data: StreamedData, p: int, response: Response) -> None:
        self.n_clusters = data.n_clusters
        self._blocks, self._scale, self._data = blocks, scale, data
        self._one = _made_up(effects_of(data), p, response)

    @property
    def dimensions(self) -> int:
        return self._one.dimensions

    @property
    def n_units(self) -> int:
        return self.n_clusters

    @property
    def _many(self) -> bool:
        return self.n_clusters >= MANY_FOR_POINTS

    def evaluate(self, entries: Array, plan: AnyPlan, order: int = 2) -> Evaluation:
        return added(self._blocks.each(_evaluated, self._scale, self.n_clusters, entries, plan, order))

    def few(self, many: bool | None = None) -> AnyPlan:
        return (Asked(None, many=self._many if many is None else many),)

    def similar(self, entries: Array, plan: AnyPlan) -> Evaluation:
        return self.evaluate(entries, self.few())

    def glanced(self, entries: Array, plan: AnyPlan, above: float = -np.inf) -> float:
        return self.evaluate(entries, plan, 0).value

    def pairs(self, entries: Array) -> NestedPairs | None:
        found = self._blocks.each(_pairs, self._scale, entries)
        return None if any(each is None for each in found) else reduce(operator.add, found)

    def more(self, of_sample: bool = False) -> AnyPlan | None:
        return None if of_sample or self._one.more() is None else (Asked(None, second=True),)

    def wide(self, entries: Array) -> None:
        """Nothing: where they lie depends on single clusters."""
        return

    def by_nodes(self, nodes: int) -> AnyPlan:
        return (Asked(nodes),)

    def held(self, plan: AnyPlan) -> bool:
        (asked,) = plan
        return asked.held if isinstance(asked, Kept) else self._one.held(_known(self._one, asked))

    def within(self, entries: Array, tolerance: float, among: int | None = None) -> Chosen:
        shares = self._blocks.each(_chosen, self._scale, entries, tolerance, self.n_clusters)
        values = [share.value for share in shares if share.value is not None]
        held = all(share.held for share in shares)
        plan = Kept(entries, tolerance, False, *_together([share.rules for share in shares]), held)
        slopes = plan
        if any(share.for_slopes is not None for share in shares):
            rules = [share.rules if share.for_slopes is None else share.for_slopes for share in shares]
            slopes = Kept(entries, tolerance, True, *_together(rules), all(share.held_slopes for share in shares))
        points = (plan,)
        return Chosen(
            points,
            float(sum(share.error for share in shares)),
            points if slopes is plan else (slopes,),
            float(sum(values)) if len(values) == len(shares) else None,
        )

    def rules(self, plan: AnyPlan) -> tuple[tuple[str, int], ...]:
        (asked,) = plan
        if isinstance(asked, Kept):
            return asked.rules
        return tuple((words, self.n_clusters) for words, _ in self._one.rules(_known(self._one, asked)))

    def most(self, plan: AnyPlan) -> int:
        (asked,) = plan
        return asked.most if isinstance(asked, Kept) else self._one.most(_known(self._one, asked))

    def outer_products(self, entries: Array, plan: AnyPlan, slopes: Array, whole: tuple[bool, bool]) -> Array:
        """Sum over clusters of the outer products of scores, which are `slopes` times those in `entries`."""
        given = self._scale, self.n_clusters, entries, plan, slopes, whole
        return np.asarray(sum(self._blocks.each(_products, *given)))

    # What takes single clusters --------------------------------------------------------------------------------------

    def unit_scores(self, entries: Array, plan: AnyPlan) -> NoReturn:
        self._data.refuse("scores of single clusters")

    def cluster_values(self, entries: Array, plan: AnyPlan) -> NoReturn:
        self._data.refuse("log-likelihoods of single clusters")

    def of_cluster(self, plan: AnyPlan, i: int) -> NoReturn:
        self._data.refuse("points of a single cluster")

    def remember(self, modes: tuple[Array, ...] | None) -> NoReturn:
        self._data.refuse("modes of single clusters")

    def at_modes(self, entries: Array) -> NoReturn:
        self._data.refuse("modes of single clusters")

    def given_data(self, entries: Array, plan: AnyPlan) -> VectorPosterior:
        self._data.refuse("what is known of single clusters")


@dataclass(frozen=True)
class MixedBlockSums:
    """Rows in blocks; see `MixedSums`.

    Parameters
    ----------
    gathered : Gathered
    request : Request
    data : StreamedData
    sums : Sums
    squares : ndarray, shape (q, q)
        Mean products of the columns whose coefficients vary.
    threads : int
        Threads of the core where a sample of the clusters is looked at.
    """

    gathered: Gathered
    request: Request
    data: StreamedData
    sums: Sums
    squares: Array
    threads: int

    @classmethod
    def of(cls, gathered: Gathered, request: Request, threads: int) -> MixedBlockSums:
        """Check the data as a whole, and choose the columns' units; see `sums_of_blocks`."""
        data, sums = sums_of_blocks(gathered, request)
        return cls(gathered, request, data, sums, squares_of_effects(gathered.facts), threads)

    @property
    def penalty(self) -> None:
        return None

    @property
    def standard(self) -> Standardisation:
        return self.sums.standard

    @property
    def mean_squares(self) -> Array:
        return np.diag(self.squares)

    def pooled(self, control: Control) -> PooledFit:
        return pooled_estimates(self.sums, control)

    def refuse_homogeneous(self) -> None:
        refuse_homogeneous_blocks(self.gathered, self.request)

    def integrals(self, scale: Array) -> BlockIntegrals:
        """Integrals of all clusters, with the columns of effects over `scale`."""
        return BlockIntegrals(self.gathered.blocks, scale, self.data, self.sums.p, self.request.response)

    def task(self, scale: Array) -> MixedTask:
        covariance, response = effects_of(self.data).covariance, self.request.response
        own, squares = random_effects(self.sums.p, covariance.n_parameters), self.squares / np.outer(scale, scale)
        return MixedTask(self.integrals(scale), covariance, own, squares, response.bounded)

    def sample(self, task: MixedTask, scale: Array) -> MixedTask | None:
        every = one_in(self.data.n_clusters)
        if every is None:
            return None
        X, arrays = _joined(self.gathered.blocks.each(_shown, every))
        if not tells_columns_apart(X):
            return None
        effects = effects_of(arrays)
        Z = np.ascontiguousarray(effects.Z / scale)
        return replace(task, likelihood=integrals(X, Z, effects, arrays, self.request.response, self.threads))


def _made_up(effects: Effects, p: int, response: Response) -> Integrals:
    """Integrals of one cluster that there is not: they know what does not depend on data."""
    one, zero = np.ones(1), np.zeros(1)
    starts = np.array([0, 1], dtype=np.int64)
    children = None if effects.children is None else replace(effects.children, starts=starts)
    of_one = replace(effects, Z=np.ones((1, effects.Z.shape[1])), children=children)
    return integrals(np.zeros((1, p)), of_one.Z, of_one, BlockArrays(starts, zero, one, zero, one), response, 1)


def _known(likelihood: Integrals, asked: Asked) -> AnyPlan:
    more = likelihood.more() if asked.second else None
    if more is not None:
        return more
    return likelihood.few(asked.many) if asked.nodes is None else likelihood.by_nodes(asked.nodes)


def _together(parts: Sequence[Sequence[_Rule]]) -> tuple[tuple[tuple[str, int], ...], int]:
    """Rules of all blocks, in the order in which they are tried; and the largest number of points."""
    found: dict[tuple[bool, int, str], int] = {}
    for rule in (rule for part in parts for rule in part):
        key = rule.placed, rule.size, rule.words
        found[key] = found.get(key, 0) + rule.clusters
    return tuple((words, found[placed, size, words]) for placed, size, words in sorted(found)), max(
        size for _, size, _ in found
    )


# Work on one block ----------------------------------------------------------------------------------------------------


def _likelihood(block: Block, scale: Array) -> Integrals:
    """The block's integrals, which go on from the modes of the last visit."""
    key = scale.tobytes()
    known, found = block.likelihood
    if known != key:
        effects = block.effects
        Z = np.ascontiguousarray(effects.Z / scale)
        found = integrals(block.X, Z, effects, block.data, block.response, block.threads)
        block.memory.joint_modes = found.remember(block.memory.joint_modes)
        block.likelihood = key, found
    likelihood: Integrals = found
    return likelihood


def _choice(block: Block, likelihood: Integrals, entries: Array, tolerance: float, among: int) -> Chosen:
    """Points that the block has chosen there, or chooses now."""
    kept, key = block.memory.points, (entries.tobytes(), tolerance)
    if key not in kept:
        kept[key] = likelihood.within(entries, tolerance, among)
        for old in list(kept)[:-_CHOICES_KEPT]:
            del kept[old]
    found: Chosen = kept[key]
    return found


def _plan(block: Block, likelihood: Integrals, plan: AnyPlan, among: int) -> AnyPlan:
    (asked,) = plan
    if not isinstance(asked, Kept):
        return _known(likelihood, asked)
    found = _choice(block, likelihood, asked.entries, asked.tolerance, among)
    return found.slopes if asked.for_slopes else found.plan


def _evaluated(block: Block, scale: Array, among: int, entries: Array, plan: AnyPlan, order: int) -> Evaluation:
    likelihood = _likelihood(block, scale)
    return likelihood.evaluate(entries, _plan(block, likelihood, plan, among), order)


def _pairs(block: Block, scale: Array, entries: Array) -> NestedPairs | None:
    found = _likelihood(block, scale).pairs(entries)
    return found if isinstance(found, NestedPairs) else None


def _chosen(block: Block, scale: Array, entries: Array, tolerance: float, among: int) -> _Share:
    likelihood = _likelihood(block, scale)
    found = _choice(block, likelihood, entries, tolerance, among)
    return _Share(
        found.error,
        found.value,
        _rules(likelihood, found.plan),
        _rules(likelihood, found.slopes) if found.value_apart else None,
        likelihood.held(found.plan),
        likelihood.held(found.slopes),
    )


def _rules(likelihood: Integrals, plan: AnyPlan) -> tuple[_Rule, ...]:
    return tuple(
        _Rule(words, part.places is not None, likelihood.most((part,)), clusters)
        for part in plan
        for words, clusters in likelihood.rules((part,))
    )


def _products(
    block: Block, scale: Array, among: int, entries: Array, plan: AnyPlan, slopes: Array, whole: tuple[bool, bool]
) -> Array:
    likelihood = _likelihood(block, scale)
    scores = likelihood.unit_scores(entries, _plan(block, likelihood, plan, among)) @ slopes.T
    return products_of(scores, repeats_in(block.data, whole).clusters)


def _shown(block: Block, every: int) -> tuple[Array, BlockArrays]:
    """One cluster in `every`."""
    chosen = spread_out(block.n_clusters, every)
    X, arrays = chosen_clusters(block.X, block.data, chosen)
    effects = block.effects.taken(*rows_of(block.data.starts, chosen))
    return X, replace(arrays, effects=effects)


def _joined(parts: Sequence[tuple[Array, BlockArrays]]) -> tuple[Array, BlockArrays]:
    """Clusters of several blocks, one after another."""
    arrays, effects = [part[1] for part in parts], [effects_of(part[1]) for part in parts]

    def rows(name: str) -> Any:
        return np.concatenate([getattr(each, name) for each in arrays])

    parts_of = [each.children for each in effects if each.children is not None]
    children = None
    if parts_of:
        starts = _starts([each.starts for each in parts_of])
        children = Children(parts_of[0].group, starts, np.arange(len(starts) - 1))
    together = replace(effects[0], Z=np.concatenate([each.Z for each in effects]), children=children)
    X, starts = np.concatenate([part[0] for part in parts]), _starts([each.starts for each in arrays])
    return X, BlockArrays(starts, rows("a"), rows("b"), rows("offset"), rows("cluster_weights"), effects=together)


def _starts(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """First rows of groups, of parts one after another."""
    return np.append(0, np.cumsum(np.concatenate([np.diff(part) for part in parts]))).astype(np.int64)
