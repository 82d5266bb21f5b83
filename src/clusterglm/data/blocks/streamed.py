"""What is known of data whose rows are not in memory: facts of single blocks, and their sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from clusterglm.data.checks import check_design, check_response, refuse_clusters
from clusterglm.data.design import Design
from clusterglm.data.effects import Effects, WholeDesign, refuse_dependent
from clusterglm.data.formulas.formula import ParsedFormula
from clusterglm.data.nesting import alike
from clusterglm.data.prepare import Learned, ModelData, notes_of, told_apart
from clusterglm.data.repeats import Counts, counts_of, repeats_of, sizes_of_clusters, together
from clusterglm.data.request import Request
from clusterglm.data.rows import Dropped
from clusterglm.data.weighing import WeightSum, weight_sum
from clusterglm.errors import DataError, OptionError
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_CLEAR = 1e-6  # smallest eigenvalue of the correlations above which there is no doubt about the rank
_LEAST_LOG = -700.0  # of a number that float64 holds
_NO_COUNTS = Counts(0, 0, 0.0, 0.0)  # of a block without rows
INSTEAD = "predict(data=...) for a table in memory; or fit a part of the data that memory holds"


@dataclass(frozen=True)
class Totals:
    """Sums by which rows in any order are known again.

    Parameters
    ----------
    response : tuple of float
        Sums of successes or counts, without their weights, of their squares, and of trials.
    weights, offset : tuple of float
        Sums of weights (of rows times clusters) and of offsets, and of their squares.
    """

    response: tuple[float, ...]
    weights: tuple[float, ...]
    offset: tuple[float, ...]


def totals_of(data: ModelData) -> Totals:
    """The sums of rows in memory."""
    n, offset = data.n_obs, data.offset
    y, weights = data.a, (float(n), float(n))
    if data.weights.strides != (0,) or np.any(data.cluster_weights != 1.0):  # else nothing as long as the data
        y = data.a / data.weights
        each = data.weights * np.repeat(data.cluster_weights, np.diff(data.starts))
        weights = float(each.sum()), float(each @ each)
    trials = float(n * data.trials[0]) if data.trials.strides == (0,) and n > 0 else float(data.trials.sum())
    return Totals((float(y.sum()), float(y @ y), trials), weights, (float(offset.sum()), float(offset @ offset)))


def _together(parts: Sequence[Totals]) -> Totals:
    def each(name: str) -> tuple[float, ...]:
        return tuple(float(sum(terms)) for terms in zip(*(getattr(part, name) for part in parts), strict=True))

    return Totals(each("response"), each("weights"), each("offset"))


@dataclass(frozen=True)
class Columns:
    """Columns of a block in numbers that can be put together with those of others.

    Parameters
    ----------
    n : int
        Rows.
    mean : ndarray, shape (p,)
    products : ndarray, shape (p, p)
        Sums of products about the means.
    shown : ndarray, shape (k, p)
        Some rows; and those in which a column is least or largest that is constant in the others.
    """

    n: int
    mean: Array
    products: Array
    shown: Array


@dataclass(frozen=True)
class EffectFacts:
    """The random part of a block: its columns, and the number of levels of what is nested in clusters."""

    columns: Columns
    children: int


@dataclass(frozen=True)
class Facts:
    """One block in numbers that can be put together with those of others.

    Parameters
    ----------
    n, m : int
        Rows and clusters.
    sizes, repeated : dict of int to int
        Number of clusters of each size; and with rows and clusters as often as whole-number weights say.
    constant, saturated : float
        See `ModelData`.
    dropped : tuple of Dropped
    cluster_name : str or None
    mean : ndarray, shape (p,)
        Of the columns of X.
    products : ndarray, shape (p, p)
        Sums of products of the columns about their means.
    a, b, expected : float
        Sums of a and of b, and `expected_at_zero`.
    trials : float
        Most trials of a cluster.
    mixed : bool
        Whether the intercept of some cluster has a finite maximum.
    rows : tuple of four ndarrays
        X, a, b, offset of some rows spread over the block.
    extremes : ndarray, shape (k, p)
        Rows of X in which a column is least or largest that is constant in the others.
    totals : Totals
    weights : WeightSum
    counts : Counts
    offsets : ndarray
        Those of some rows, the least and the largest.
    effects : EffectFacts or None
        Of what varies over clusters.
    """

    n: int
    m: int
    sizes: dict[int, int]
    repeated: dict[int, int]
    constant: float
    saturated: float
    dropped: tuple[Dropped, ...]
    cluster_name: str | None
    mean: Array
    products: Array
    a: float
    b: float
    expected: float
    trials: float
    mixed: bool
    rows: tuple[Array, Array, Array, Array]
    extremes: Array
    totals: Totals
    weights: WeightSum
    counts: Counts
    offsets: Array
    effects: EffectFacts | None = None


def expected_at_zero(data: ModelData, response: Response) -> float:
    """Sum of b exp(offset), or of b; see `Response.overall_mean` and `Response.raised`."""
    factors = (response.exponential_mean or response.exponential_tail) and data.offset.any()
    return float(data.b @ np.exp(np.maximum(data.offset, _LEAST_LOG))) if factors else float(data.b.sum())


def facts_of(data: ModelData, response: Response, sample: int) -> Facts:
    """The facts of a block of rows of a response; `sample` rows of it stand for all."""
    X, n = data.X, data.n_obs
    if n == 0:
        p, none = X.shape[1], np.zeros(X.shape[1])
        rows = np.empty((0, p)), np.empty(0), np.empty(0), np.empty(0)
        nothing = 0.0, 0.0, 0.0, 0.0, False, rows, rows[0], totals_of(data), weight_sum(data), _NO_COUNTS, np.empty(0)
        return Facts(0, 0, {}, {}, 0.0, 0.0, data.dropped, data.cluster_name, none, np.zeros((p, p)), *nothing)
    mean, products = _moments_of(X)
    first_rows, trials = data.starts[:-1], data.trials
    a, b = np.add.reduceat(data.a, first_rows), np.add.reduceat(data.b, first_rows)
    sizes, counts = np.unique(np.diff(data.starts), return_counts=True)
    same = trials.strides == (0,)  # in each row
    chosen = slice(None, None, max(1, n // max(1, sample)))
    return Facts(
        n=n,
        m=data.n_clusters,
        sizes=dict(zip(sizes.tolist(), counts.tolist(), strict=True)),
        repeated=sizes_of_clusters(data, repeats_of(data)),
        constant=data.constant,
        saturated=data.saturated,
        dropped=data.dropped,
        cluster_name=data.cluster_name,
        mean=mean,
        products=products,
        a=float(data.a.sum()),
        b=float(data.b.sum()),
        expected=expected_at_zero(data, response),
        trials=float(trials[0] * sizes[-1] if same else np.add.reduceat(trials, first_rows).max()),
        mixed=bool(np.any(response.rises_towards(a, b) == 0.0)),
        rows=(X[chosen].copy(), data.a[chosen].copy(), data.b[chosen].copy(), data.offset[chosen].copy()),
        extremes=_extremes(X, chosen),
        totals=totals_of(data),
        weights=weight_sum(data),
        counts=counts_of(data),
        offsets=np.append(data.offset[chosen], [data.offset.min(), data.offset.max()]),
        effects=None if data.effects is None else _effect_facts(data.effects, chosen),
    )


def _effect_facts(effects: Effects, chosen: slice) -> EffectFacts:
    Z = effects.Z
    shown = np.concatenate([Z[chosen], _extremes(Z, chosen)])
    children = 0 if effects.children is None else len(effects.children.labels)
    return EffectFacts(Columns(len(Z), *_moments_of(Z), shown), children)


def _moments_of(X: Array) -> tuple[Array, Array]:
    """Means of columns, and sums of products about them."""
    n, p = X.shape
    mean, products = np.ones(n) @ X / n, np.zeros((p, p))
    for first in range(0, n, 8192):
        about = X[first : first + 8192] - mean
        products += about.T @ about
    return mean, products


def _extremes(X: Array, chosen: slice) -> Array:
    """Rows in which a column is least or largest that is constant as far as some rows show."""
    flat = np.flatnonzero(np.ptp(X[chosen], axis=0) == 0.0)
    extreme = [f(X[:, j]) for j in flat.tolist() for f in (np.argmin, np.argmax)]
    found: Array = X[np.unique(np.array(extreme, dtype=int))]
    return found


@dataclass(frozen=True)
class Moments:
    """Number, means and products about the means of all rows, shapes (), (p,), (p, p)."""

    n: int
    mean: Array
    products: Array


def moments(facts: Sequence[Facts | Columns]) -> Moments:
    """Put together blocks' moments (Chan, Golub and LeVeque, The American Statistician 37, 1983)."""
    n, mean, products = 0, np.zeros_like(facts[0].mean), np.zeros_like(facts[0].products)
    for each in facts:
        if each.n == 0:
            continue
        total, gap = n + each.n, each.mean - mean
        products = products + each.products + np.outer(gap, gap) * (n * each.n / total)
        mean, n = mean + gap * (each.n / total), total
    return Moments(n, mean, products)


@dataclass(frozen=True)
class StreamedData:
    """What a result keeps of data whose rows stay elsewhere; see `ModelData` for what has the same name.

    Parameters
    ----------
    sizes : dict of int to int
        Number of clusters of each size, repeats counted.
    where : str
        Where the rows are, in words.
    totals : Totals
    counts : Counts, optional
        What weights add up to; None in files that are older.
    effects : Effects, optional
        What varies over clusters, where it is more than an intercept; without rows.
    n_children : int
        Levels of what is nested in the clusters.
    """

    names: tuple[str, ...]
    intercept: int | None
    n_obs: int
    n_clusters: int
    sizes: dict[int, int]
    constant: float
    saturated: float
    dropped: tuple[Dropped, ...]
    design: Design
    response_name: str
    cluster_name: str | None
    formula: str
    notes: tuple[str, ...]
    levels: tuple[str, ...] | None
    where: str
    totals: Totals
    counts: Counts | None = None
    effects: Effects | None = None
    n_children: int = 0

    @property
    def whole_design(self) -> WholeDesign:
        """How the columns are made, those whose coefficients vary too."""
        return WholeDesign(self.design, self.effects)

    @property
    def has_intercept(self) -> bool:
        """Whether X has a column of ones from the formula."""
        return self.intercept is not None

    def refuse(self, what: str, instead: str = INSTEAD, error: type[OptionError] = OptionError) -> NoReturn:
        """The error for what takes the rows themselves."""
        raise error(
            f"{what}, of a fit whose {self.n_obs:,} rows are not in memory ({self.where})",
            "the rows that were fitted",
            instead,
        )

    @property
    def in_memory(self) -> bool:
        """Whether the rows are in memory: they are not."""
        return False

    @property
    def rows(self) -> NoReturn:
        """Refused: they were not kept."""
        self.refuse("something of single rows or clusters")


def describe(
    facts: Sequence[Facts], learned: Learned, parsed: ParsedFormula, request: Request, where: str
) -> StreamedData:
    """Check the data as a whole, and sum up what results keep of them.

    Raises
    ------
    DataError
        For what `prepare` refuses once it has seen all rows.
    """
    design, n, m = learned.design, sum(each.n for each in facts), sum(each.m for each in facts)
    dropped = _all_dropped(facts)
    counts = together([each.counts for each in facts], n, m)
    sizes: Counter[int] = Counter()
    for each in facts:
        sizes.update(each.repeated if counts.whole else each.sizes)
    if n == 0:
        reasons = "; ".join(f"{each.count}: {each.reason}" for each in dropped)
        raise DataError(
            f"no row is left of {sum(each.count for each in dropped)} ({reasons})",
            "complete rows with positive weight",
            "look at the columns named; check subset=",
        )
    check_response(*_sums(facts), request.response, parsed.response_name)
    cluster_name = facts[0].cluster_name
    if cluster_name is None:
        m, sizes = 1, Counter({counts.rows: 1})
    if request.need_cluster and not request.absorb:
        trials = max(each.trials for each in facts)
        refuse_clusters(m, trials, request.response, str(cluster_name), request.sigma_known)
    if not request.absorb:
        shown = np.concatenate([each.rows[0] for each in facts] + [each.extremes for each in facts])
        _check_columns(moments(facts), shown, design)
    levels, n_children = learned.levels, 0
    if learned.effects is not None:
        n_children = sum(each.effects.children for each in facts if each.effects is not None)
        _check_effects(learned.effects, [each.effects.columns for each in facts if each.effects is not None])
        if learned.effects.children is not None and n_children == m:
            raise alike(str(cluster_name), learned.effects.children.group)
    return StreamedData(
        names=told_apart(design),
        intercept=design.intercept,
        n_obs=n,
        n_clusters=m,
        sizes=dict(sorted(sizes.items())),
        constant=sum(each.constant for each in facts),
        saturated=sum(each.saturated for each in facts),
        dropped=dropped,
        design=design,
        response_name=parsed.response_name,
        cluster_name=cluster_name,
        formula=parsed.text,
        notes=(
            *notes_of(parsed, request, levels, np.concatenate([each.offsets for each in facts]), design),
            *learned.notes,
        ),
        levels=levels,
        where=where,
        totals=_together([each.totals for each in facts]),
        counts=replace(counts, clusters=1, sum_clusters=1.0) if cluster_name is None else counts,
        effects=learned.effects,
        n_children=n_children,
    )


def _all_dropped(facts: Sequence[Facts]) -> tuple[Dropped, ...]:
    """Dropped rows of all blocks by reason, in the order in which each block has the reasons."""
    counts: Counter[str] = Counter()
    order: list[str] = []
    for each in facts:
        counts.update({dropped.reason: dropped.count for dropped in each.dropped})
        place = len(order)
        for reason in reversed([dropped.reason for dropped in each.dropped]):
            if reason in order:
                place = order.index(reason)
            else:
                order.insert(place, reason)
    return tuple(Dropped(reason, counts[reason]) for reason in order)


def _sums(facts: Sequence[Facts]) -> tuple[Array, Array]:
    return np.array([each.a for each in facts]), np.array([each.b for each in facts])


def _check_effects(effects: Effects, parts: Sequence[Columns]) -> None:
    """Refuse what `make_effects` refuses once it has seen all rows."""
    total, shown = moments(parts), np.concatenate([each.shown for each in parts])
    first = 0
    for term in effects.terms:
        own = slice(first, first + len(term.design.names))
        _check_columns(Moments(total.n, total.mean[own], total.products[own, own]), shown[:, own], term.design)
        first = own.stop
    squares = _squares(total)
    size = np.sqrt(np.diag(squares))
    for terms, where in effects.by_factor():
        some = np.ix_(where, where)
        if np.linalg.eigvalsh(squares[some] / np.outer(size[where], size[where]))[0] <= _CLEAR:
            refuse_dependent(shown[:, where], terms)


def _squares(total: Moments) -> Array:
    """Sums of products of columns."""
    return np.asarray(total.products + total.n * np.outer(total.mean, total.mean))


def squares_of_effects(facts: Sequence[Facts]) -> Array:
    """Mean products of the columns of what varies over clusters, shape (q, q)."""
    total = moments([each.effects.columns for each in facts if each.effects is not None])
    return _squares(total) / total.n


def _check_columns(total: Moments, shown: Array, design: Design) -> None:
    """Refuse columns that are constant or combinations of others: what all rows leave in doubt, some rows decide."""
    p = len(design.names)
    others = [j for j in range(p) if j != design.intercept]
    low, high = shown.min(axis=0), shown.max(axis=0)
    products = total.products if design.intercept is not None else _squares(total)
    size = np.sqrt(np.diag(products))[others]
    varies = (high - low)[others] > 1e-6 * np.maximum(np.abs(low), np.abs(high))[others]
    if total.n >= p and (design.intercept is None or varies.all()) and np.all(size > 0.0):
        correlations = products[np.ix_(others, others)] / np.outer(size, size)
        if len(others) == 0 or np.linalg.eigvalsh(correlations)[0] > _CLEAR:
            return
    check_design(np.ascontiguousarray(shown), design.names, design.intercept)
