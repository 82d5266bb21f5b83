"""Do two fits compare, is one a special case of the other, and the likelihood-ratio test if it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from clusterglm.data.blocks.streamed import StreamedData, totals_of
from clusterglm.data.checks import RANK_TOLERANCE
from clusterglm.data.design import INTERCEPT
from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.inference.hypotheses.alike import row_order, same_columns, same_factors, same_levels
from clusterglm.inference.hypotheses.random_part import Extra, RandomPart, extra_effects
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import ROWS_AT_A_TIME
from clusterglm.model.printing import p_in_words, printed
from clusterglm.model.response.base import Response

_FLAT = 1e-13  # of a column's largest value: variation that is rounding
_VISIBLE = 1e-3  # error of a likelihood ratio that its p-value does not show
_OUT_OF_REACH = "with the penalty the variances that the larger model has more cannot be 0, as in the smaller one"
_ROUNDING = 1e-8  # of a log-likelihood: how far below its special case's a maximum may end


@dataclass(frozen=True)
class Candidate:
    """What a comparison needs to know of a fit.

    Parameters
    ----------
    name : str
    data : FittedData
    response : Response
    loglik : float
    untested : str
        Why its likelihood ratios are not tested; empty where they are.
    conditional : bool
        Whether the likelihood is given each cluster's total.
    within : bool
        Whether every cluster has an intercept of its own, or had one that was conditioned out.
    distribution : Distribution or None
        Of random intercepts.
    sigma : float
        0 for pooled models.
    sigma_estimated : bool
    integration_error : float
        Estimated error of the log-likelihood; nan where it is not known.
    integration : str
        How the integrals over the intercepts were asked for, in words; empty without any.
    penalty : str or None
        What was added to the log-likelihood; it was maximised without where this is None.
    penalized_loglik : float or None
        The maximum with the penalty.
    random_part : RandomPart or None
        Random effects, where there are several.
    restricted : bool
        Whether the log-likelihood is a restricted one (REML).
    apart : FittedData or None
        With those of the columns of `data` alone that have `n_apart` coefficients each, one for each threshold.
    n_apart : int
    beside : FittedData or None
        With the columns of another linear predictor.
    penalized_ratio : callable or None
        Columns of a smaller model, and the model -> the likelihood ratio with the penalty.
    """

    name: str
    data: FittedData
    response: Response
    loglik: float
    untested: str
    conditional: bool = False
    within: bool = False
    distribution: Distribution | None = None
    sigma: float = 0.0
    sigma_estimated: bool = False
    integration_error: float = 0.0
    integration: str = ""
    penalty: str | None = None
    penalized_loglik: float | None = None
    penalized_ratio: Callable[[Array, Candidate], float] | None = None
    random_part: RandomPart | None = None
    restricted: bool = False
    apart: FittedData | None = None
    n_apart: int = 1
    beside: FittedData | None = None

    @property
    def effects(self) -> RandomPart | None:
        """The random effects, as models with several have them; None where they are of another kind."""
        if self.random_part is not None or not self.random:
            return self.random_part or RandomPart()
        if self.distribution is None or not self.distribution.normal or not self.sigma_estimated:
            return None
        return RandomPart.of([(str(self.data.cluster_name), (INTERCEPT,), "us")], self.sigma == 0.0)

    @property
    def n_coefficients(self) -> int:
        """Coefficients of all columns."""
        apart, beside = (0 if each is None else len(each.names) for each in (self.apart, self.beside))
        return len(self.data.names) + (self.n_apart - 1) * apart + beside

    @property
    def random(self) -> bool:
        """Whether intercepts vary at random, or might."""
        return self.sigma_estimated or self.sigma > 0.0 or self.random_part is not None


@printed
@dataclass(frozen=True)
class LikelihoodRatio:
    """Likelihood-ratio test of a model against one of which it is a special case.

    Parameters
    ----------
    smaller, larger : str
        Names of the fits; in the order of the comparison where there is no test.
    statistic : float
        Twice the difference of the log-likelihoods; nan where there is no test.
    df : int
        Coefficients, and sigma, that the larger model has more.
    boundary : bool
        Whether the smaller one lies at sigma = 0, the boundary of the larger one: the reference is then half
        chi-square on df - 1 and half on df degrees of freedom (Self and Liang, JASA 82, 1987), otherwise chi-square.
    pvalue : float
    reason : str
        Why there is no test; empty when there is one.
    penalized : bool
        Whether the likelihoods are penalised ones; the statistic is then that of `pooled_ratio` or its like.
    """

    smaller: str
    larger: str
    statistic: float
    df: int
    boundary: bool
    pvalue: float
    reason: str = ""
    penalized: bool = False

    def __str__(self) -> str:
        pair = f"{self.smaller} against {self.larger}"
        if self.reason:
            return f"{pair}: no test, {self.reason}"
        reference = f"chi2 on {self.df} df"
        if self.boundary:
            reference = f"half chi2 on {self.df - 1} and half chi2 on {self.df} df"
        kind = "penalised likelihood ratio" if self.penalized else "likelihood ratio"
        return f"{pair}: {kind} {self.statistic:.4g}, {p_in_words(self.pvalue)} ({reference})"


def likelihood_ratio_test(first: Candidate, second: Candidate) -> LikelihoodRatio:
    """Test whichever of two fits is a special case of the other.

    Parameters
    ----------
    first, second : Candidate
        With the same rows and responses; see `data_difference`.

    Returns
    -------
    LikelihoodRatio
        Without a test where neither model is a special case of the other, or the reference distribution is not known;
        `reason` says why.
    """
    if reason := incomparable(first, second) or _unlike(first, second):
        return _no_test(first, second, reason)
    outward, inward = _is_special_case(first, second), _is_special_case(second, first)
    if outward and inward:
        return _no_test(first, second, "they are the same model in other words")
    if not outward and not inward:
        return _no_test(first, second, "neither is a special case of the other")
    smaller, larger = (first, second) if outward else (second, first)
    extra = _extra(smaller, larger)
    df, boundary = larger.n_coefficients - smaller.n_coefficients + extra.df, extra.boundary
    if extra.unknown:
        return _no_test(smaller, larger, extra.unknown)
    if larger.penalized_loglik is not None:
        if boundary:
            return _no_test(smaller, larger, _OUT_OF_REACH)
        return _penalized_test(smaller, larger, df)
    difference = larger.loglik - smaller.loglik
    slack = _ROUNDING * (1.0 + abs(smaller.loglik))
    if difference < -slack:
        what = f"the larger model, {larger.name}, has the lower log-likelihood, by {-difference:.2g}"
        return _no_test(first, second, f"{what}: it is not at its maximum, or its integrals are too coarse")
    statistic = max(0.0, 2.0 * difference)
    return LikelihoodRatio(
        smaller.name, larger.name, statistic, df, boundary, mixture_p_value(statistic, df, boundary=boundary)
    )


def _penalized_test(smaller: Candidate, larger: Candidate, df: int) -> LikelihoodRatio:
    X, data = smaller.data.rows.X, larger.data.rows
    rows = _matching_rows(smaller.data.rows, data)
    assert larger.penalized_loglik is not None
    assert larger.penalized_ratio is not None
    top = larger.penalized_loglik
    statistic = larger.penalized_ratio(X if rows is None else X[rows], smaller)
    if not statistic > -2.0 * _ROUNDING * (1.0 + abs(top)):  # nan included
        return _no_test(smaller, larger, "the maximum of the penalised likelihood was not found for both of them")
    statistic = max(0.0, statistic)
    pvalue = mixture_p_value(statistic, df, boundary=False)
    return LikelihoodRatio(smaller.name, larger.name, statistic, df, False, pvalue, penalized=True)


def mixture_p_value(statistic: float, df: int, *, boundary: bool) -> float:
    """P(T >= statistic) for chi-square on `df`, or for half chi-square on df - 1 and half on df degrees of freedom.

    Chi-square on 0 degrees of freedom is 0.
    """
    if statistic <= 0.0:
        return 1.0
    whole = float(chdtrc(df, statistic))
    if not boundary:
        return whole
    return 0.5 * whole + (0.5 * float(chdtrc(df - 1, statistic)) if df > 1 else 0.0)


def data_difference(first: FittedData, second: FittedData, names: tuple[str, str]) -> str:
    """How the rows or responses of two fits differ, as a sentence; empty when they are the same.

    Where rows are not in memory, as far as their number and sums tell.
    """
    a, b = names
    if _streamed(first, second):
        if first.n_obs != second.n_obs:
            return f"{a} uses {first.n_obs} rows, {b} {second.n_obs}"
        same = first.response_name == second.response_name and _same_sums(first, second, "response")
        return "" if same else f"{first.response_name!r} and {second.response_name!r} differ in their sums"
    first, second = first.rows, second.rows
    one, two = np.sort(first.row_index), np.sort(second.row_index)
    if not np.array_equal(one, two):
        words = []
        for name, data, other, less in ((a, first, b, np.setdiff1d(two, one)), (b, second, a, np.setdiff1d(one, two))):
            if len(less) > 0:
                why = "; ".join(f"{dropped.count} dropped: {dropped.reason}" for dropped in data.dropped)
                shown = ", ".join(map(str, less[:3].tolist())) + (", ..." if len(less) > 3 else "")
                words.append(
                    f"{name} is without {len(less)} of the rows of {other} (in position {shown})"
                    + (f" ({why})" if why else "")
                )
        return f"{a} uses {first.n_obs} rows, {b} {second.n_obs}: {'; '.join(words)}"
    i, j = row_order(first), row_order(second)
    y, z = _successes(first)[i], _successes(second)[j]
    differ = ~np.isclose(y, z, rtol=1e-9, atol=0.0)
    differ |= first.trials[i] != second.trials[j]
    if not differ.any():
        return ""
    row = int(first.row_index[i][np.argmax(differ)])
    what = f"{first.response_name!r} and {second.response_name!r} differ"
    if first.response_name == second.response_name:
        what = f"the responses {first.response_name!r} differ"
    return f"{what} in {int(differ.sum())} of {len(y)} rows, the first of them row {row}"


def same_weights(first: FittedData, second: FittedData) -> bool:
    """Whether rows count alike in two fits to the same rows, case and cluster weights together."""
    if _streamed(first, second):
        return _same_sums(first, second, "weights")
    first, second = first.rows, second.rows
    one, two = (data.weights * np.repeat(data.cluster_weights, np.diff(data.starts)) for data in (first, second))
    return bool(np.allclose(one[row_order(first)], two[row_order(second)], rtol=1e-12, atol=0.0))


def same_clusters(first: FittedData, second: FittedData) -> bool:
    """Whether two fits to the same rows group them alike, whatever the labels."""
    if first.n_clusters != second.n_clusters:
        return False
    if _streamed(first, second):
        return first.cluster_name == second.cluster_name and _sizes(first) == _sizes(second)
    first, second = first.rows, second.rows
    one, two = _cluster_of(first)[row_order(first)], _cluster_of(second)[row_order(second)]
    pairs = np.unique(one * np.int64(second.n_clusters) + two)
    return len(pairs) == first.n_clusters


def _same_factors(first: FittedData, second: FittedData) -> bool:
    """Whether the grouping factors of one of two fits to the same rows are all among those of the other."""
    return same_clusters(first, second) if _streamed(first, second) else same_factors(first.rows, second.rows)


def incomparable(first: Candidate, second: Candidate) -> str:
    """Why two log-likelihoods of the same responses do not compare; empty when they do."""
    if first.conditional != second.conditional:
        return "a likelihood given each cluster's total does not compare with a full one"
    if first.conditional and not same_clusters(first.data, second.data):
        return "likelihoods given the totals of other clusters do not compare"
    if first.response.continuous != second.response.continuous:
        return "a log-density does not compare with the logarithm of a probability"
    if first.restricted != second.restricted:
        return "a restricted log-likelihood (REML) does not compare with a full one"
    if first.restricted and not same_columns(first.data, second.data):
        return "restricted log-likelihoods (REML) of other fixed effects do not compare: fit both with reml=False"
    if not same_weights(first.data, second.data):
        return "the weights differ, so that log-likelihoods do not compare"
    return ""


def columns_nested(inner: FittedData, outer: FittedData, *, within: bool) -> bool:
    """Whether every column of one design is a combination of those of another.

    Parameters
    ----------
    inner, outer : FittedData
        Of the same rows, which may be in another order.
    within : bool
        Next to an intercept for every cluster; the clusters are the same.

    Notes
    -----
    From a QR decomposition of both designs side by side, about the means (of all rows where a combination of the outer
    columns is constant, or of each cluster): the part of an inner column outside the span of the outer ones, relative
    to its norm, against the tolerance of the check for collinearity. Where rows are not in memory, by the columns'
    names alone.
    """
    if len(inner.names) == 0:
        return True
    if _streamed(inner, outer):
        return set(inner.names) <= set(outer.names)
    inner, outer, centre = inner.rows, outer.rows, True
    if not within and not outer.has_intercept:
        ones = np.ones((outer.n_obs, 1))
        centre = bool(_outside(outer, ones, None, within=False, centre=False)[0] <= RANK_TOLERANCE)
    rows = _matching_rows(inner, outer)
    return bool((_outside(outer, inner.X, rows, within=within, centre=centre) <= RANK_TOLERANCE).all())


def _unlike(first: Candidate, second: Candidate) -> str:
    """Why two models cannot be nested, before their columns are looked at."""
    if first.untested or second.untested:
        return first.untested or second.untested
    if first.response != second.response:
        same = type(first.response) is type(second.response)
        return "what the family has besides the formula differs" if same else "family or link differ"
    if first.penalty != second.penalty:
        one, other = (first, second) if second.penalty is None else (second, first)
        return f"{one.name} maximises a likelihood with penalty={one.penalty!r}, and {other.name} one without"
    if not _same_offsets(first.data, second.data):
        return "the offsets differ"
    if first.within != second.within:
        return "with an intercept for every cluster the likelihood ratio is not nearly chi-square"
    both_random = first.random and second.random
    if both_random and _several(first, second):
        if first.effects is None or second.effects is None:
            return (
                "random intercepts that are not normal, or whose sigma was held fixed, are no special case of several"
            )
    elif both_random and first.distribution != second.distribution and not _same_kind(first, second):
        return "the distributions of the intercept differ"
    if not both_random and any(one.random and one.distribution and one.distribution.free for one in (first, second)):
        return "the shape of the intercept's distribution was estimated, and means nothing at sigma = 0"
    if both_random and first.integration != second.integration and not _precise(first, second):
        return (
            f"their integrals differ in accuracy ({first.integration}; {second.integration}), and so would the "
            'statistic: fit both with quadrature="auto"'
        )
    levels = same_levels(first.data, second.data) if both_random else None
    if levels is not None:
        return "" if levels else "the levels of grouping factors differ"
    alike = _same_factors if both_random else same_clusters
    if (first.within or both_random) and not alike(first.data, second.data):
        return "the clusters differ"
    return ""


def _precise(first: Candidate, second: Candidate) -> bool:
    """Whether integration moves the statistic by no more than can be seen; not where an error is unknown."""
    return 2.0 * (first.integration_error + second.integration_error) < _VISIBLE


def _same_kind(first: Candidate, second: Candidate) -> bool:
    """Distributions of one class are of one kind when they have the same name and parameters."""
    one, two = first.distribution, second.distribution
    if one is None or two is None or type(one) is not type(two):
        return False
    return one.parameters == two.parameters and one.name == two.name


def _is_special_case(inner: Candidate, outer: Candidate) -> bool:
    if _several(inner, outer):
        less, more = inner.effects, outer.effects
        random = less is not None and more is not None and extra_effects(less, more) is not None
    else:
        random = outer.sigma_estimated or (not inner.sigma_estimated and inner.sigma == outer.sigma)
    others = (inner.apart, outer.apart, outer.within), (inner.beside, outer.beside, False)
    for one, other, within in others:
        if one is not None and (other is None or not columns_nested(one, other, within=within)):
            return False
    return random and columns_nested(inner.data, outer.data, within=outer.within)


def _several(first: Candidate, second: Candidate) -> bool:
    return first.random_part is not None or second.random_part is not None


def _extra(smaller: Candidate, larger: Candidate) -> Extra:
    """Parameters of random effects that a larger model has more."""
    if _several(smaller, larger):
        assert smaller.effects is not None
        assert larger.effects is not None
        found = extra_effects(smaller.effects, larger.effects)
        assert found is not None
        return found
    with_sigma = larger.sigma_estimated and not smaller.sigma_estimated
    return Extra(int(with_sigma), with_sigma and smaller.sigma == 0.0)


def _no_test(first: Candidate, second: Candidate, reason: str) -> LikelihoodRatio:
    return LikelihoodRatio(first.name, second.name, np.nan, 0, False, np.nan, reason)


def _same_offsets(first: FittedData, second: FittedData) -> bool:
    if _streamed(first, second):
        return _same_sums(first, second, "offset")
    first, second = first.rows, second.rows
    return np.array_equal(first.offset[row_order(first)], second.offset[row_order(second)])


def _streamed(first: FittedData, second: FittedData) -> bool:
    """Whether the rows of one are not in memory."""
    return not (first.in_memory and second.in_memory)


def _same_sums(first: FittedData, second: FittedData, of: str) -> bool:
    one, two = (data.totals if isinstance(data, StreamedData) else totals_of(data.rows) for data in (first, second))
    return bool(np.allclose(getattr(one, of), getattr(two, of), rtol=1e-9, atol=1e-9 * first.n_obs))


def _sizes(data: FittedData) -> dict[int, int]:
    if isinstance(data, StreamedData):
        return data.sizes
    sizes, counts = np.unique(np.diff(data.rows.starts), return_counts=True)
    return dict(zip(sizes.tolist(), counts.tolist(), strict=True))


def _successes(data: ModelData) -> Array:
    """Successes or counts without their weights, shape (n,)."""
    return np.asarray(data.a / data.weights)


def _cluster_of(data: ModelData) -> NDArray[np.int64]:
    return np.repeat(np.arange(data.n_clusters), np.diff(data.starts))


def _matching_rows(inner: ModelData, outer: ModelData) -> NDArray[np.int64] | None:
    """For each row of `outer` the position of the same row in `inner`; None when the orders are the same."""
    if np.array_equal(inner.row_index, outer.row_index):
        return None
    rows = np.empty(outer.n_obs, dtype=np.int64)
    rows[row_order(outer)] = row_order(inner)
    return rows


def _outside(outer: ModelData, inner: Array, rows: NDArray[np.int64] | None, *, within: bool, centre: bool) -> Array:
    """The part of each column of `inner` outside the span of the outer columns, relative to its norm."""
    p = outer.X.shape[1]
    triangle, largest = np.empty((0, p + inner.shape[1])), np.zeros(inner.shape[1])
    for block in _blocks(outer, inner, rows, within=within, centre=centre):
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, block]), mode="r"))
    for first in range(0, len(inner), ROWS_AT_A_TIME):
        np.maximum(largest, np.abs(inner[first : first + ROWS_AT_A_TIME]).max(axis=0), out=largest)
    norm = np.linalg.norm(triangle[:, p:], axis=0)
    rest = np.linalg.norm(triangle[p:, p:], axis=0)
    real = norm > _FLAT * largest * np.sqrt(outer.n_obs)  # otherwise constant, and in the span
    outside: Array = np.divide(rest, norm, out=np.zeros_like(rest), where=real)
    return outside


def _blocks(
    outer: ModelData, inner: Array, rows: NDArray[np.int64] | None, *, within: bool, centre: bool
) -> Iterator[Array]:
    """Both designs side by side, some rows at a time, about the means."""

    def both(first: int, last: int) -> Array:
        chosen = inner[first:last] if rows is None else inner[rows[first:last]]
        return np.hstack([outer.X[first:last], chosen])

    n, starts = outer.n_obs, outer.starts
    if within:
        k = 0
        while k < outer.n_clusters:
            end = max(k + 1, int(np.searchsorted(starts, starts[k] + ROWS_AT_A_TIME, side="right")) - 1)
            part, sizes = both(int(starts[k]), int(starts[end])), np.diff(starts[k : end + 1])
            local = starts[k:end] - starts[k]
            part -= np.repeat(part[local], sizes, axis=0)  # first rows first: constant columns are then exactly 0
            part -= np.repeat(np.add.reduceat(part, local, axis=0) / sizes[:, None], sizes, axis=0)
            yield part
            k = end
        return
    origin = both(0, 1)[0] * centre
    pieces = range(0, n, ROWS_AT_A_TIME)
    mean = sum(((both(i, i + ROWS_AT_A_TIME) - origin).sum(axis=0) for i in pieces), np.zeros(len(origin))) / n * centre
    for i in pieces:
        yield both(i, i + ROWS_AT_A_TIME) - origin - mean
