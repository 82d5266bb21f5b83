"""What a fit needs of the data, as sums over blocks of clusters, wherever the blocks live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.blocks.store import BlockArrays
from clusterglm.data.blocks.streamed import StreamedData, expected_at_zero
from clusterglm.data.checks import SeparationReport, find_separation
from clusterglm.data.clusters import rows_of, spread_out
from clusterglm.data.identical import merge_identical
from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.data.repeats import Repeats
from clusterglm.data.tables.glance import step_through
from clusterglm.data.weighing import Weighing, weighing, weight_sum
from clusterglm.engine.base import Blocks, InMemory
from clusterglm.engine.block import Block
from clusterglm.fit.standardise import Standardisation, standardise
from clusterglm.fit.start import sigma_moments
from clusterglm.fit.surrogate import Surrogate
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.likelihood.integrator import AnyIntegrator, UnitLikelihood
from clusterglm.likelihood.plan import Choice, CountedPart, Goal, Part, Plan, UnitRule, spread
from clusterglm.likelihood.pooled import cluster_sums, evaluate_pooled
from clusterglm.likelihood.rounding import Rounding, bound_of_rounding, rounding_of
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import (
    FEWEST_SAMPLED,
    MANY_CLUSTERS,
    MOST_SAMPLED,
    MOST_SAMPLED_ROWS,
    ROWS_OF_A_BLOCK,
    SAMPLED_ONE_IN,
)
from clusterglm.model.parameters import Parameters
from clusterglm.model.response.base import Response

_EXCHANGES = 20  # rounds in which blocks may contradict a separation that some of their rows suggest


@dataclass(frozen=True)
class Sample:
    """Some rows: where a fit of many starts.

    Parameters
    ----------
    X : ndarray, shape (k, p)
    a, b, offset : ndarray, shape (k,)
    factor : float
        How many times as many there are in all.
    """

    X: Array
    a: Array
    b: Array
    offset: Array
    factor: float


@dataclass(frozen=True)
class SomeClusters:
    """Whole clusters: where a fit of many starts, and what stands in for the rest between two evaluations.

    Parameters
    ----------
    block : Block
    factor : float
        By which their sums are to be multiplied.
    """

    block: Block
    factor: float

    @property
    def size(self) -> float:
        """Trials, or counts, of a cluster on average."""
        data = self.block.data
        return self.block.response.amount(float(data.a.sum()), float(data.b.sum())) / self.block.n_clusters

    def sigma_moments(self, gamma: Array) -> tuple[float, float]:
        """See `start.sigma_moments`; of the sample alone, as only their ratio is of use."""
        return _sigma_moments(self.block, gamma)

    def surrogate(self, integrator: AnyIntegrator, rule: UnitRule, parameters: Parameters, theta: Array) -> Surrogate:
        """The sample's likelihood by one rule, in the free parameters; the others are held as in `theta`."""
        likelihood = _likelihood(self.block, integrator)

        def at(free: Array) -> Evaluation:
            return in_free(likelihood.evaluate(parameters.filled(free, theta), (Part(rule),)), parameters)

        return Surrogate(at, self.factor, self.block.n_clusters)


class Sums:
    """The data of a fit in the optimiser's columns.

    Parameters
    ----------
    blocks : Blocks
    data : FittedData
        What results keep of the data.
    standard : Standardisation
        The columns' centres and scales.
    response : Response
    mean : float
        The response's overall mean, offsets allowed for.
    raised : float
        What offsets add to linear predictors besides; see `Response.raised`.
    sample : Sample or None
        Rows to start from; None: all of them, where they are few or unknown.
    weights : Weighing
        How large the weights are.
    sort : ndarray of int64, shape (m,), optional
        Which cluster of the blocks each of the data's has become, where identical ones were merged.
    """

    def __init__(
        self,
        blocks: Blocks,
        data: FittedData,
        standard: Standardisation,
        response: Response,
        mean: float,
        raised: float,
        sample: Sample | None,
        weights: Weighing,
        sort: NDArray[np.int64] | None = None,
    ) -> None:
        self.blocks = blocks
        self.data = data
        self.standard = standard
        self.response = response
        self.mean = mean
        self.raised = raised
        self.sample = sample
        self.weights = weights
        self._sort = sort

    @property
    def p(self) -> int:
        """Columns."""
        return len(self.standard.L)

    def pooled(self, gamma: Array) -> Evaluation:
        """Log-likelihood without cluster effects, with score and Hessian."""
        return added(self.blocks.each(_pooled, gamma))

    def reach(self, gamma: Array) -> tuple[float, float]:
        """Least and largest linear predictor."""
        low, high = zip(*self.blocks.each(_reach, gamma), strict=True)
        return min(low), max(high)

    def rounding(self) -> float:
        """Bound of what rounding may do to a log-likelihood."""
        return bound_of_rounding(self.blocks.each(_rounding))

    def sigma_moments(self, gamma: Array) -> tuple[float, float]:
        """See `start.sigma_moments`."""
        parts = np.array(self.blocks.each(_sigma_moments, gamma))
        return float(parts[:, 0].sum()), float(parts[:, 1].sum())

    def marginal(self, integrator: AnyIntegrator) -> MarginalSums:
        """The likelihood with random effects."""
        return MarginalSums(self.blocks, self._n_clusters, integrator, self.weights.unit)

    def some_clusters(self, threads: int) -> SomeClusters | None:
        """About one cluster in `SAMPLED_ONE_IN`, or fewer of very many; None of data with few clusters."""
        m = self._n_clusters
        number = min(m // SAMPLED_ONE_IN, MOST_SAMPLED, MOST_SAMPLED_ROWS * m // self.data.n_obs)
        if m < MANY_CLUSTERS or number < FEWEST_SAMPLED:
            return None
        every = step_through(m, number)
        shown = self.blocks.each(_shown, every)
        X, a, b, offset, weights, sizes = (np.concatenate(parts) for parts in list(zip(*shown, strict=True))[:-1])
        arrays = BlockArrays(np.append(0, np.cumsum(sizes)), a, b, offset, weights)
        factor = sum(part[-1] for part in shown) / float(weights.sum())
        return SomeClusters(Block(X, arrays, self.response, threads), factor)

    @property
    def _n_clusters(self) -> int:
        """Number of clusters of the blocks."""
        return self.data.n_clusters if self._sort is None else int(self._sort.max()) + 1

    def by_cluster(self, plan: Plan) -> Plan:
        """Rules of the blocks' clusters as rules of the data's."""
        return plan if self._sort is None else spread(plan, self._sort)

    def by_block(self, plan: Plan) -> Plan:
        """The reverse of `by_cluster`."""
        if self._sort is None:
            return plan
        first = np.unique(self._sort, return_index=True)[1]
        return spread(plan, first)

    def separation(self) -> SeparationReport | None:
        """Covariates that separate the responses: suggested by some of the rows, and confirmed by all."""
        names, response = self.data.names, self.response
        most = None if isinstance(self.blocks, InMemory) else ROWS_OF_A_BLOCK
        shown = self.blocks.each(_rows, most)
        for _ in range(_EXCHANGES):
            X, a, b = (np.concatenate(parts) for parts in zip(*shown, strict=True))
            found = find_separation(X, a, b, names, response)
            if found is None or most is None:
                return found
            against = self.blocks.each(_against, found.direction)
            if sum(len(rows[1]) for rows in against) == 0:
                return found
            shown += against
        return None


class MarginalSums:
    """The marginal likelihood of clusters in blocks.

    Parameters
    ----------
    blocks : Blocks
    n_clusters : int
    integrator : Integrator
    unit : float
        See `Weighing`.
    """

    sampled = True  # whether some of the clusters may stand in for the whole

    def __init__(self, blocks: Blocks, n_clusters: int, integrator: AnyIntegrator, unit: float) -> None:
        self.n_clusters = n_clusters
        self.integrator = integrator
        self._unit = unit
        self._blocks = blocks

    def evaluate(self, theta: Array, plan: Plan) -> Evaluation:
        """Log-likelihood (without constants) at `theta`, shape (p + 1,), with score and Hessian."""
        return added(self._blocks.each(_marginal, self.integrator, theta, _sent(plan)))

    def choose(self, theta: Array, tolerance: float, moving: bool = False) -> Choice:
        """Rules for log-likelihoods over the unit, to a `Goal`; blocks keep the rules of their clusters."""
        goal, shared, unit = Goal(tolerance, self.n_clusters, moving), None, self._unit
        if self.integrator.by_sample(goal):
            proposals = self._blocks.each(_proposals, self.integrator, theta, goal, unit)
            shared = self.integrator.agreed(theta, proposals)
        parts = self._blocks.leave(_rules, self.integrator, theta, goal, shared, unit)
        rounding = bound_of_rounding([part[3] for part in parts])
        there = None if parts[0][0] is None else added([part[0] for part in parts if part[0] is not None])
        error = float(sum(part[1] for part in parts)) + rounding
        if isinstance(self._blocks, InMemory):
            return Choice(self._blocks.block.memory.chosen, error, there)
        counts: Counter[UnitRule] = Counter()
        for part in parts:
            counts.update(part[2])
        ordered = sorted(counts.items(), key=lambda item: (item[0].adaptive, item[0].nodes))
        return Choice(tuple(CountedPart(rule, None, number) for rule, number in ordered), error, there)

    def outer_products(self, theta: Array, plan: Plan, whole: tuple[bool, bool]) -> Array:
        """Sum over clusters of the scores' outer products, shape (p + 1, p + 1); `whole` as `whole_weights` has it."""
        return np.asarray(sum(self._blocks.each(_marginal_products, self.integrator, theta, _sent(plan), whole)))


def whole_weights(sums: Sums) -> tuple[bool, bool]:
    """Whether case and cluster weights, of data in blocks, say how many rows and clusters there are."""
    data = sums.data
    if not isinstance(data, StreamedData) or data.counts is None:
        return False, False
    return "case" not in data.counts.fractions, "cluster" not in data.counts.fractions


def repeats_in(data: ClusterArrays, whole: tuple[bool, bool]) -> Repeats:
    """How many rows and clusters each one of a block stands for, where its weights say so."""
    weights: Array | None = getattr(data, "weights", None)
    rows = weights if whole[0] and weights is not None else np.ones(len(data.a))
    return Repeats(rows, data.cluster_weights if whole[1] else np.ones(len(data.starts) - 1))


def products_of(scores: Array, repeats: Array) -> Array:
    """Sum of outer products of weighted scores, shape (q, q); of what stands for several, each has its share."""
    each = scores / np.sqrt(repeats)[:, None]
    return np.asarray(each.T @ each)


@dataclass(frozen=True)
class LastChosen:
    """In the place of a plan: the rules that each block has chosen last for its clusters, and keeps."""


def sums_in_memory(data: ModelData, response: Response, threads: int, sample: int) -> Sums:
    """The whole data as one block.

    Parameters
    ----------
    data : ModelData
    response : Response
    threads : int
    sample : int
        Rows from which a fit of many more starts.
    """
    rows = merge_identical(data, response)
    standard = standardise(rows.X, data.intercept)
    rows = replace(rows, X=standard.X)
    some = None
    if rows.n_obs >= 4 * sample:
        shown = slice(None, None, step_through(rows.n_obs, sample))
        X, a, b, offset = (np.ascontiguousarray(v[shown]) for v in (rows.X, rows.a, rows.b, rows.offset))
        some = Sample(X, a, b, offset, rows.n_obs / len(a))
    block = Block(rows.X, rows, response, threads)
    total, expected, weights = float(data.b.sum()), expected_at_zero(data, response), weighing([weight_sum(data)])
    mean, raised = response.overall_mean(float(data.a.sum()), total, expected), response.raised(total, expected)
    return Sums(InMemory(block), data, standard, response, mean, raised, some, weights, rows.sort)


def in_free(full: Evaluation, parameters: Parameters) -> Evaluation:
    """The derivatives in the free parameters alone."""
    if parameters.all_free:
        return full
    return Evaluation(full.value, full.score[parameters.free], parameters.of_free(full.hessian))


def added(parts: Sequence[Evaluation]) -> Evaluation:
    """The sum, in the order given."""
    if len(parts) == 1:
        return parts[0]
    value, score, hessian = parts[0].value, parts[0].score.copy(), parts[0].hessian.copy()
    for part in parts[1:]:
        value += part.value
        score += part.score
        hessian += part.hessian
    return Evaluation(value, score, hessian)


def chosen_clusters(X: Array, data: ClusterArrays, chosen: NDArray[np.int64]) -> tuple[Array, BlockArrays]:
    """X and the other arrays of some clusters, copied."""
    rows, starts = rows_of(data.starts, chosen)
    return X[rows], BlockArrays(starts, data.a[rows], data.b[rows], data.offset[rows], data.cluster_weights[chosen])


def _sent(plan: Plan) -> Plan | LastChosen:
    """A plan as blocks take it."""
    return LastChosen() if isinstance(plan[0], CountedPart) else plan


# Work on one block ----------------------------------------------------------------------------------------------------


def _pooled(block: Block, gamma: Array) -> Evaluation:
    return evaluate_pooled(block.problem, gamma, 2, block.threads)


def _reach(block: Block, gamma: Array) -> tuple[float, float]:
    eta = block.X @ gamma + block.data.offset
    return float(eta.min()), float(eta.max())


def _shown(block: Block, every: int) -> tuple[Array, Array, Array, Array, Array, NDArray[np.int64], float]:
    """One cluster in `every`: rows, weights and sizes; and the weight of all clusters."""
    data = block.data
    X, some = chosen_clusters(block.X, data, spread_out(block.n_clusters, every))
    return X, some.a, some.b, some.offset, some.cluster_weights, np.diff(some.starts), float(data.cluster_weights.sum())


def _sigma_moments(block: Block, gamma: Array) -> tuple[float, float]:
    S1, S2 = cluster_sums(block.problem, gamma, block.n_clusters, block.threads)
    return sigma_moments(S1, S2, block.data.cluster_weights)


def _likelihood(block: Block, integrator: AnyIntegrator) -> UnitLikelihood:
    """The block's likelihood, which goes on from the modes of the last visit."""
    model, found = block.likelihood
    if model != integrator:
        modes = block.memory.modes
        if modes is None:
            modes = block.memory.modes = np.zeros(block.n_clusters)
        found = integrator.likelihood(block.X, block.data, block.response, block.threads, modes)
        block.likelihood = integrator, found
    likelihood: UnitLikelihood = found
    return likelihood


def _of_block(plan: Plan | LastChosen, block: Block) -> Plan:
    return block.memory.chosen if isinstance(plan, LastChosen) else plan


def _marginal(block: Block, integrator: AnyIntegrator, theta: Array, plan: Plan | LastChosen) -> Evaluation:
    return _likelihood(block, integrator).evaluate(theta, _of_block(plan, block))


def _marginal_products(
    block: Block, integrator: AnyIntegrator, theta: Array, plan: Plan | LastChosen, whole: tuple[bool, bool]
) -> Array:
    scores = _likelihood(block, integrator).unit_scores(theta, _of_block(plan, block))
    return products_of(scores, repeats_in(block.data, whole).clusters)


def _proposals(block: Block, integrator: AnyIntegrator, theta: Array, goal: Goal, unit: float) -> NDArray[np.int64]:
    return integrator.proposals(_likelihood(_in_units(block, unit), integrator), theta, goal)


def _rules(
    block: Block, integrator: AnyIntegrator, theta: Array, goal: Goal, shared: UnitRule | None, unit: float
) -> tuple[Evaluation | None, float, dict[UnitRule, int], Rounding]:
    choice = integrator.choose(_likelihood(_in_units(block, unit), integrator), theta, goal, shared)
    block.memory.plan = choice.plan
    there = choice.there
    if there is not None and unit != 1.0:
        there = Evaluation(unit * there.value, unit * there.score, unit * there.hessian)
    counts = {part.rule: part.count(block.n_clusters) for part in choice.plan}
    return there, unit * choice.error, counts, _rounding(block)


def _in_units(block: Block, unit: float) -> Block:
    """The block with log-likelihoods over `unit`: how fast rules converge shows in differences about 1 or less."""
    if unit == 1.0:
        return block
    data = block.data
    arrays = BlockArrays(data.starts, data.a, data.b, data.offset, data.cluster_weights / unit)
    return Block(block.X, arrays, block.response, block.threads, block.memory)


def _rounding(block: Block) -> Rounding:
    return rounding_of(block.data, block.response)


def _rows(block: Block, most: int | None) -> tuple[Array, Array, Array]:
    """Rows spread over the block, and those in which a column is least or largest."""
    data = block.data
    if most is None or block.n_obs <= most:
        chosen = np.arange(block.n_obs)
    else:
        spread = np.arange(0, block.n_obs, block.n_obs // most)
        chosen = np.unique(np.concatenate([spread, block.X.argmin(axis=0), block.X.argmax(axis=0)]))
    if len(chosen) == block.n_obs and most is None:
        return block.X, data.a, data.b
    return block.X[chosen], data.a[chosen], data.b[chosen]


def _against(block: Block, direction: Array) -> tuple[Array, Array, Array]:
    """The rows that most contradict a separating direction; none where there are none."""
    data = block.data
    margins = block.X @ direction
    size = 1e-6 * max(1.0, float(np.abs(margins).max()))
    towards = block.response.rises_towards(data.a, data.b)
    wrong = np.where(towards == 0.0, np.abs(margins), -towards * margins)
    wrong[(data.a == 0.0) & (data.b == 0.0)] = 0.0
    worst = np.argsort(-wrong)[:ROWS_OF_A_BLOCK]
    worst = worst[wrong[worst] > size]
    return block.X[worst], data.a[worst], data.b[worst]
