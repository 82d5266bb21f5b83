"""Likelihoods that compare rows within clusters, as sums over blocks: intercepts profiled or conditioned out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from clusterglm import _core
from clusterglm.data.blocks.store import BlockArrays
from clusterglm.data.checks import SeparationReport
from clusterglm.data.clusters import spread_out
from clusterglm.data.prepare import ModelData
from clusterglm.data.weighing import weighing, weight_sum
from clusterglm.data.within import Variation, find_separation_within, joined, refuse_flat, variation
from clusterglm.engine.base import Blocks, InMemory
from clusterglm.engine.block import Block
from clusterglm.errors import ClusterError, DataError, OptionError, SeparationError
from clusterglm.fit.newton import Maximum, Optimization, maximize
from clusterglm.fit.pooled import border
from clusterglm.fit.standardise import standardise
from clusterglm.fit.sums import Sums, added, chosen_clusters, products_of, repeats_in, whole_weights
from clusterglm.likelihood.conditional import ConditionalLikelihood
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.likelihood.profile import ProfileLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.large_data import MANY_ROWS, ROWS_OF_A_BLOCK, SAMPLE_WITHIN
from clusterglm.model.response.base import Response

_CLEAR_WITHIN = 1e-6  # within clusters: share of a column's variation, and smallest eigenvalue of the correlations
_CLOSE = 1e-6  # standard errors from the maximum, above which separation is worth a look
_TAME = 4.0  # largest standardised coefficient that is believed of a sample
_EXCHANGES = 20  # rounds in which blocks may contradict a separation that some of their clusters suggest

Likelihood = ProfileLikelihood | ConditionalLikelihood
Rows = tuple[Array, Array, Array, NDArray[np.int64]]
"""X, a, b of some rows, and the sizes of their clusters."""


@dataclass(frozen=True)
class Informative:
    """What the clusters can tell.

    Parameters
    ----------
    clusters, rows : int
        Clusters with a finite intercept, and their rows: the others say nothing of the coefficients.
    low, high : int
        Clusters whose intercept is -inf, all responses being failures (zero counts), and inf, all being successes.
    trials : float
        Of these rows, their weights counted; nan where it is not known.
    """

    clusters: int
    rows: int
    low: int
    high: int
    trials: float = float("nan")


class WithoutClusters:
    """Estimates from rows that are not in memory."""

    @property
    def by_cluster(self) -> NoReturn:
        """What belongs to single clusters: refused."""
        raise OptionError(
            "something of single clusters, of a fit whose rows are not in memory",
            "the clusters' own intercepts",
            "the coefficients, which the result has; or fit a part of the data that memory holds",
        )


def informative_clusters(data: ClusterArrays, response: Response) -> NDArray[np.bool_]:
    """Clusters whose intercept has a finite maximum, shape (m,): others say nothing of beta."""
    return _informative_ones(data.a, data.b, data.starts, response)[0]


def _informative_ones(
    a: Array, b: Array, starts: NDArray[np.int64], response: Response
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which clusters are, and which have successes or counts at all, shape (m,) each."""
    towards = response.rises_towards(np.add.reduceat(a, starts[:-1]), np.add.reduceat(b, starts[:-1]))
    return towards == 0.0, towards >= 0.0


class WithinSums:
    """A likelihood without the clusters' intercepts.

    Parameters
    ----------
    sums : Sums
        The data, X without a column of ones.
    conditional : bool
        The likelihood given the clusters' totals; otherwise each intercept is at its best.
    """

    def __init__(self, sums: Sums, conditional: bool) -> None:
        self.sums = sums
        self.conditional = conditional
        # the conditional likelihood of counts is the profile likelihood, up to a constant
        self.exact = conditional and not sums.response.poisson_totals

    @property
    def p(self) -> int:
        """Columns."""
        return self.sums.p

    def evaluate(self, gamma: Array) -> Evaluation:
        """Log-likelihood (without constants) at standardised coefficients, with score and Hessian."""
        return added(self.sums.blocks.each(_evaluate, self.exact, gamma))

    def informative(self) -> Informative:
        """What the clusters can tell.

        Raises
        ------
        DataError
            When a conditional likelihood is asked of weights that are not whole numbers.
        """
        parts = np.array(self.sums.blocks.each(_informative, self.conditional, whole_weights(self.sums)))
        *counts, trials = parts.sum(axis=0)
        clusters, rows, low, high = map(int, counts)
        return Informative(clusters, rows, low, high, float(trials))

    def constant(self) -> float:
        """What the likelihood given Poisson totals has more than that at the best intercepts."""
        multinomial = self.conditional and self.sums.response.poisson_totals
        return float(sum(self.sums.blocks.each(_multinomial))) if multinomial else 0.0

    def intercepts(self, gamma: Array) -> Array:
        """Each cluster's best intercept, beside the user's columns; block after block, shape (m,)."""
        found = np.concatenate(self.sums.blocks.each(_intercepts, gamma))
        return found - float(self.sums.standard.centre @ (self.sums.standard.L @ gamma))

    def outer_products(self, gamma: Array) -> Array:
        """Sum over clusters of the outer products of their scores in the user's coefficients, shape (p, p)."""
        inside = sum(self.sums.blocks.each(_products, self.exact, gamma, whole_weights(self.sums)))
        back = np.linalg.inv(self.sums.standard.L)
        return np.asarray(back.T @ inside @ back)

    def sample(self, threads: int) -> Likelihood | None:
        """The likelihood of a sample of the clusters, where there are very many; else None."""
        data = self.sums.data
        step = data.n_clusters // SAMPLE_WITHIN
        if data.n_obs < MANY_ROWS or step < 4:
            return None
        parts = self.sums.blocks.each(_every, step)
        X = np.concatenate([X for X, _ in parts])
        a, b, offset, weights = (
            np.concatenate([getattr(arrays, name) for _, arrays in parts])
            for name in ("a", "b", "offset", "cluster_weights")
        )
        starts = _starts(np.concatenate([np.diff(arrays.starts) for _, arrays in parts]))
        problem = _core.Problem(starts, X, a, b, offset, weights, self.sums.response.code)
        kind = ConditionalLikelihood if self.exact else ProfileLikelihood
        return kind(problem, threads)

    def refuse_unidentified(self) -> None:
        """See `data.within.refuse_unidentified`; columns are named in the user's units."""
        standard = self.sums.standard
        found = variation_of(self.sums.blocks)
        refuse_flat(found.rescaled(standard.centre, 1.0 / np.diag(standard.L)), self.sums.data.names)

    def reach(self, gamma: Array, limit: float) -> float:
        """Largest difference of the linear predictor within a cluster; a bound of it, where that is below the limit."""
        return max(self.sums.blocks.each(_reach, gamma, limit))

    def separation(self) -> SeparationReport | None:
        """Covariates that separate the responses within clusters: some clusters suggest them, and all confirm."""
        names, response, blocks = self.sums.data.names, self.sums.response, self.sums.blocks
        memory = isinstance(blocks, InMemory)
        shown = blocks.each(_rows, None if memory else ROWS_OF_A_BLOCK)
        for _ in range(_EXCHANGES):
            X, a, b, sizes = (np.concatenate(parts) for parts in zip(*shown, strict=True))
            starts = _starts(sizes)
            known = _informative_ones(a, b, starts, response)[0]
            most = None if memory else 1  # only this one is put to all clusters
            found = find_separation_within(X, a, b, starts, names, response, known, most)
            if found is None or memory:
                return found
            against = blocks.each(_against, found.direction)
            if sum(len(rows[1]) for rows in against) == 0:
                return found
            shown += against
        return None


def sums_within(data: ModelData, response: Response, threads: int) -> Sums:
    """The whole data as one block, columns centred whether or not the formula has an intercept."""
    standard = standardise(data.X, None, centred=True)
    block = Block(standard.X, data, response, threads)
    return Sums(InMemory(block), data, standard, response, float("nan"), 0.0, None, weighing([weight_sum(data)]))


def within_maximum(
    within: WithinSums,
    informative: Informative,
    start: Array | None,
    control: Control,
    penalized: Callable[[Array], Evaluation] | None = None,
) -> Maximum:
    """The maximum of a likelihood that compares rows within clusters, in standardised coefficients.

    With a penalty, of the likelihood `penalized`, which separation leaves finite.

    Raises
    ------
    ClusterError
        When no cluster has responses that vary.
    DesignError
        When coefficients are not identified within clusters; it names the columns.
    SeparationError
        When covariates separate the responses within clusters.
    """
    sums, p = within.sums, within.p
    if informative.clusters == 0:
        raise ClusterError(
            f"none of the {sums.data.n_clusters} clusters has {sums.response.words.varied}",
            "responses that vary within some clusters: rows are compared with others of their cluster only",
            "check that cluster= names the right column; or cg.pooled, cg.random_effects",
        )
    sample = within.sample(control.threads)
    begin = (within if sample is None else sample).evaluate(np.zeros(p))
    weight = sums.weights.unit * sums.data.n_obs
    doubtful = not _clear(begin, weight)
    if doubtful and sample is not None:  # it may miss what the others show
        doubtful = not _clear(within.evaluate(np.zeros(p)), weight)
    if doubtful:
        within.refuse_unidentified()
    if p == 0:
        nothing = Optimization("converged", "converged: there is no coefficient to estimate", 0, 1, 0.0, ())
        return Maximum(np.zeros(0), within.evaluate(np.zeros(0)), nothing)
    theta = np.zeros(p)
    if start is not None:
        theta = sums.standard.inside(checked_start(start, sums.data.names))
    elif sample is not None:
        theta = _start_from(sample, begin, control, sums.weights.unit)
    if penalized is not None:
        return maximize(penalized, theta, control, radius=4.0, unit=sums.weights.unit)
    known = begin if sample is None and not theta.any() else None
    maximum = maximize(within.evaluate, theta, control, radius=4.0, begin=known, unit=sums.weights.unit)
    _refuse_separation(maximum, within, control)
    return maximum


def checked_start(start: Array, names: tuple[str, ...]) -> Array:
    """Starting coefficients of the right number, finite.

    Raises
    ------
    OptionError
    """
    values = np.asarray(start, dtype=np.float64)
    if values.shape != (len(names),) or not np.isfinite(values).all():
        raise OptionError(
            f"start with shape {values.shape} and values {values}",
            f"one finite number for each of the {len(names)} coefficients: {', '.join(names)}",
            "start=None",
        )
    return values


def _clear(begin: Evaluation, weight: float) -> bool:
    """Whether columns vary enough within clusters, and independently, for no doubt about their coefficients."""
    information = -begin.hessian
    size = np.sqrt(np.maximum(np.diag(information), 0.0))
    if not np.all(size > 1e-4 * np.sqrt(weight)):
        return False
    return len(size) == 0 or bool(np.linalg.eigvalsh(information / np.outer(size, size))[0] > _CLEAR_WITHIN)


def _start_from(sample: Likelihood, begin: Evaluation, control: Control, unit: float) -> Array:
    """The estimates of the sample, unless they look odd: then zeros."""
    zeros = np.zeros(sample.n_parameters)
    quick = Control(max_iter=12, tol=0.1, n_threads=control.n_threads)
    found = maximize(sample.evaluate, zeros, quick, radius=4.0, begin=begin, unit=unit)
    # In a sample a rare level may be without variation, and its coefficient anywhere.
    return found.theta if found.optimization.converged and np.abs(found.theta).max() < _TAME else zeros


def _refuse_separation(maximum: Maximum, within: WithinSums, control: Control) -> None:
    story, response, weights = maximum.optimization, within.sums.response, within.sums.weights
    # a likelihood that rises for ever is so flat in the end that rounding stops the search, short of the tolerance
    if story.converged and story.gradient_norm < _CLOSE * weights.root and np.abs(maximum.theta).max() < _TAME:
        extreme = border(weights, control)
        low, high = response.link_function(np.array([extreme, 1.0 - extreme]))
        limit = 0.5 * (high - low) if response.bounded else -low
        if within.reach(maximum.theta, limit) < limit:
            return
    separation = within.separation()
    if separation is not None:
        raise SeparationError(separation.got, separation.needed, separation.advice)


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


# Work on one block ----------------------------------------------------------------------------------------------------


def likelihood_of(block: Block, exact: bool) -> Likelihood:
    """The block's likelihood, which goes on from the intercepts of the last visit."""
    kind = ConditionalLikelihood if exact else ProfileLikelihood
    model, found = block.likelihood
    if model is not kind:
        memory = block.memory
        intercepts = memory.conditioned if exact else memory.profiled
        if intercepts is None:
            intercepts = np.full(block.n_clusters, np.nan)
            if exact:
                memory.conditioned = intercepts
            else:
                memory.profiled = intercepts
        found = kind(block.problem, block.threads, intercepts)
        block.likelihood = kind, found
    assert isinstance(found, ProfileLikelihood | ConditionalLikelihood)
    return found


def profile_of(block: Block) -> ProfileLikelihood:
    """The likelihood of which each intercept is at its best."""
    found = likelihood_of(block, exact=False)
    assert isinstance(found, ProfileLikelihood)
    return found


def _evaluate(block: Block, exact: bool, gamma: Array) -> Evaluation:
    return likelihood_of(block, exact).evaluate(gamma)


def _informative(block: Block, conditional: bool, whole: tuple[bool, bool]) -> tuple[float, ...]:
    data, response = block.data, block.response
    if conditional:
        _check_counts(data)
    known, some = _informative_ones(data.a, data.b, data.starts, response)
    repeats = repeats_in(data, whole)
    times = repeats.clusters
    sizes, trials = (np.add.reduceat(each, data.starts[:-1]) for each in (repeats.rows, data.a + data.b))
    sizes = times * sizes if all(whole) else np.diff(data.starts)
    of_known = [float(each[known].sum()) for each in (times, sizes, times * trials)]
    low, all_ = float(times[~some].sum()), float(times.sum())
    return *of_known[:2], low, all_ - of_known[0] - low, of_known[2]


def _check_counts(data: ClusterArrays) -> None:
    if any(np.any(values != np.round(values)) for values in (data.b, data.a)):
        raise DataError(
            "case weights that are not whole numbers, in a conditional likelihood",
            "weights that count repeated rows: given a cluster's total, a row has no likelihood of its own to weigh",
            "cluster_weights= for weights of whole clusters; or cg.fixed_effects, which takes any case weights",
        )


def _multinomial(block: Block) -> float:
    """From Poisson probabilities at the best intercepts to probabilities given the clusters' totals."""
    total = np.add.reduceat(block.data.a, block.data.starts[:-1])
    return float(block.data.cluster_weights @ (gammaln(total + 1.0) - xlogy(total, total) + total))


def _intercepts(block: Block, gamma: Array) -> Array:
    return profile_of(block).intercepts(gamma)


def _products(block: Block, exact: bool, gamma: Array, whole: tuple[bool, bool]) -> Array:
    likelihood = likelihood_of(block, exact)
    if isinstance(likelihood, ConditionalLikelihood):
        scores = likelihood.cluster_scores(gamma)
    else:
        scores = likelihood.clusters(gamma).scores
    known = informative_clusters(block.data, block.response)
    return products_of(scores[known], repeats_in(block.data, whole).clusters[known])


def _every(block: Block, step: int) -> tuple[Array, BlockArrays]:
    return chosen_clusters(block.X, block.data, spread_out(block.n_clusters, step))


def variation_of(blocks: Blocks) -> Variation:
    """How columns vary within clusters, in the units that blocks hold them in."""
    return joined(blocks.each(_variation))


def _variation(block: Block) -> Variation:
    return variation(block.X, block.data.starts, informative_clusters(block.data, block.response))


def _reach(block: Block, gamma: Array, limit: float) -> float:
    eta, first = block.X @ gamma, block.data.starts[:-1]
    anywhere = float(eta.max() - eta.min())  # not less than within clusters
    if anywhere < limit:
        return anywhere
    return float((np.maximum.reduceat(eta, first) - np.minimum.reduceat(eta, first)).max())


def _rows(block: Block, most: int | None) -> Rows:
    """Clusters that can tell, spread over the block; of long ones, rows spread over them."""
    data = block.data
    sizes = np.diff(data.starts)
    if most is None or block.n_obs <= most:
        return block.X, data.a, data.b, sizes
    known = np.flatnonzero(informative_clusters(data, block.response))
    if len(known) == 0:
        return block.X[:0], data.a[:0], data.b[:0], sizes[:0]
    known = known[:: -(-int(np.minimum(sizes[known], most).sum()) // most)]
    chosen = [np.arange(data.starts[k], data.starts[k + 1], -(-sizes[k] // most)) for k in known.tolist()]
    rows = np.concatenate(chosen)
    return block.X[rows], data.a[rows], data.b[rows], np.array([len(each) for each in chosen], dtype=np.int64)


def _against(block: Block, direction: Array) -> Rows:
    """The two rows of each cluster that most contradict a separating direction; none where there are none."""
    data = block.data
    u, first = block.X @ direction, data.starts[:-1]
    size = 1e-6 * max(1.0, float(np.abs(u).max()))
    upper, lower = np.where(data.a > 0.0, u, np.inf), np.where(data.b > 0.0, u, -np.inf)
    gap = np.minimum.reduceat(upper, first) - np.maximum.reduceat(lower, first)
    worst = np.argsort(gap)[: ROWS_OF_A_BLOCK // 2]
    pairs = []
    for k in worst[gap[worst] < -size].tolist():
        of = slice(data.starts[k], data.starts[k + 1])
        pairs.append(data.starts[k] + np.array([upper[of].argmin(), lower[of].argmax()]))
    rows = np.concatenate(pairs) if pairs else np.empty(0, dtype=np.int64)
    return block.X[rows], data.a[rows], data.b[rows], np.full(len(pairs), 2, dtype=np.int64)
