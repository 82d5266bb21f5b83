"""quadrature="auto": for each cluster the cheapest rule that is accurate enough at the estimate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.certificate import unseen
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.ladders import ABOUT_MODE, HERMITE, families, ladders
from clusterglm.likelihood.marginal import MarginalLikelihood
from clusterglm.likelihood.outside import Summits, gaps, resolved
from clusterglm.likelihood.panels import Panels, lay_panels
from clusterglm.likelihood.rules import Part, Plan, Rule, rule_of_panels
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.quadrature import Quadrature

_LEFT = 0.03  # share of the clusters that a rule for nearly all may leave to others
_SAMPLE = 2000  # clusters on which rules are tried before one is chosen for a large data set
FEW = 2 * _SAMPLE  # clusters up to which each gets a rule of its own at once
_UNEVEN = (
    30.0  # times a cluster's share of the tolerance, an error that few clusters come near while the sum is within it
)
_SAFETY = 10.0  # times the error that a rule's convergence lets expect
_RELIED = 0.7  # part of the convergence seen so far that is relied on
_COARSE = 1e-7  # of a cluster's error: rules that leave more may agree by chance before they converge
_MUCH = 0.1  # of the error that a cluster may have: what lies beyond a rule's ends is then worth a closer look
_UNKNOWN = 1.0  # error of a log-likelihood beyond which its value says nothing
_ROUNDING = 2e-14  # relative error of a cluster's log-likelihood that no rule can better


@dataclass(frozen=True)
class IntegrationReport:
    """How the integrals were computed, and how well.

    Parameters
    ----------
    requested : Quadrature
        What the user asked for.
    scale : {"normal", "density"}
        Scale of the adaptive rules.
    nodes : int
        Largest number of nodes of any cluster.
    rules : tuple of (str, int)
        Each rule in words and the number of clusters it served.
    error : float
        Bound of the absolute error of the log-likelihood, rounding included: the sum over clusters of what the change
        from a coarser rule bodes while rules converge, and of bounds of what the nodes do not cover; nan where it was
        not computed.
    unit : float
        What the log-likelihood is counted in where weights are small: the tolerance is for a log-likelihood over it.
    """

    requested: Quadrature
    scale: str
    nodes: int
    rules: tuple[tuple[str, int], ...]
    error: float
    unit: float = 1.0

    @property
    def accurate(self) -> bool:
        """Whether no error beyond what was asked for is known; always true for a rule that the user fixed."""
        return self.requested.kind != "auto" or not self.error > self.requested.tolerance * self.unit


def report(
    plan: Plan, error: float, requested: Quadrature, scale: str, n_clusters: int, unit: float = 1.0
) -> IntegrationReport:
    """Describe a plan."""
    rules = tuple((str(part.rule), part.count(n_clusters)) for part in plan)
    return IntegrationReport(requested, scale, max(part.rule.nodes for part in plan), rules, error, unit)


@dataclass(frozen=True)
class Choice:
    """Rules that were chosen at a point.

    Parameters
    ----------
    plan : Plan
    error : float
        Sum over clusters of bounds of the errors.
    there : Evaluation or None
        The likelihood by these rules at the point, where choosing them has computed it already.
    """

    plan: Plan
    error: float
    there: Evaluation | None = None


def choose_plan(likelihood: MarginalLikelihood, theta: Array, tolerance: float, unimodal: bool) -> Choice:
    """Choose rules at `theta`.

    Parameters
    ----------
    likelihood : MarginalLikelihood
    theta : ndarray, shape (q,)
        Where the rules must be accurate.
    tolerance : float
        Bound of the sum of the clusters' errors.
    unimodal : bool
        Whether no cluster's integrand can have two modes; if one can, adaptive rules, which see only one of them,
        are left for clusters that the trapezoid rule cannot resolve.

    Returns
    -------
    Choice

    Notes
    -----
    The error of a rule follows from its change from the next coarser one (see `_rate`). A large data set is served in
    two steps: rules are tried on a sample of its clusters, the cheapest one that suits nearly all of them is checked on
    all, and the rest get rules one by one.
    """
    m = likelihood.n_clusters
    each = share(tolerance, m, unimodal)
    if m <= FEW:
        return rules_one_by_one(likelihood, theta, each, unimodal)
    sigma = likelihood.sigma(theta)
    rule = most_useful(likelihood.distribution, sigma, rules_of_some(likelihood, theta, m, each, unimodal))
    return rules_by_one(likelihood, theta, rule, each, unimodal)


def share(tolerance: float, n_clusters: int, unimodal: bool) -> float:
    """What the error of one cluster may be.

    Where errors follow from how rules converge, these are fine enough to do so, whatever else would be tolerated.
    """
    each = tolerance / n_clusters
    return min(each, _COARSE) if unimodal else each


def rules_one_by_one(likelihood: MarginalLikelihood, theta: Array, each: float, unimodal: bool) -> Choice:
    """A rule for each cluster; `each` is what its error may be."""
    everything = np.arange(likelihood.n_clusters, dtype=np.int64)
    rules = _ladder(likelihood, theta, everything, each, unimodal)
    return Choice(rules.plan(), float(rules.errors.sum()))


def rules_of_some(
    likelihood: MarginalLikelihood, theta: Array, n_clusters: int, each: float, unimodal: bool
) -> NDArray[np.int64]:
    """Numbers of the rules of some clusters; as many as there are to be of `n_clusters`, of which these are a part."""
    sample = np.arange(0, likelihood.n_clusters, n_clusters // _SAMPLE, dtype=np.int64)
    each = each if unimodal else _UNEVEN * each
    return _shared_rules(likelihood, theta, sample, each, unimodal, careful=False).numbers


def rules_by_one(likelihood: MarginalLikelihood, theta: Array, rule: Rule, each: float, unimodal: bool) -> Choice:
    """One rule, not the coarsest of its kind, for all clusters but those that it does not suit."""
    all_rules = ladders(likelihood.distribution, likelihood.sigma(theta)).rules
    there, errors = _evaluated(likelihood, theta, rule, each, unimodal)
    rest = np.flatnonzero(errors > each) if unimodal else _worst(errors, 0.5 * each * len(errors))
    numbers = np.full(likelihood.n_clusters, all_rules.index(rule))
    if len(rest) > 0:
        others = _ladder(likelihood, theta, rest, each if unimodal else 0.5 * each, unimodal)
        numbers[rest], errors[rest], all_rules = others.numbers, others.errors, others.rules
        there = _exchanged(likelihood, theta, there, (Part(rule, rest),), others.plan(rest))
    return Choice(_Rules(all_rules, numbers, errors).plan(), float(errors.sum()), there)


@dataclass(frozen=True)
class _Rules:
    """Rules of some clusters.

    Parameters
    ----------
    rules : tuple of Rule
        Those that there are.
    numbers : ndarray of int64, shape (c,)
        Which of them each cluster has.
    errors : ndarray, shape (c,)
        Bounds of the errors of the clusters' weighted log-likelihoods.
    """

    rules: tuple[Rule, ...]
    numbers: NDArray[np.int64]
    errors: Array

    def plan(self, clusters: NDArray[np.int64] | None = None) -> Plan:
        """With the clusters' own numbers (by default, those of all clusters of the data)."""
        used = np.unique(self.numbers)
        if len(used) == 1 and clusters is None:
            return (Part(self.rules[used[0]]),)
        every = np.arange(len(self.numbers)) if clusters is None else clusters
        return tuple(Part(self.rules[number], every[self.numbers == number]) for number in used)


def _ladder(
    likelihood: MarginalLikelihood, theta: Array, clusters: NDArray[np.int64], each: float, unimodal: bool
) -> _Rules:
    """For each cluster the first shared rule whose error is at most `each` or nothing but rounding; else panels.

    The clusters with the largest errors get panels, until the rest has no more than is allowed in all.
    """
    shared = _shared_rules(likelihood, theta, clusters, each, unimodal)
    rules, numbers, errors = list(shared.rules), shared.numbers, shared.errors
    hard = _worst(errors, each * len(clusters))
    if len(hard) == 0:
        return shared
    for i, laid in zip(hard, _panels(likelihood, theta, clusters[hard], each), strict=True):
        if laid.error < errors[i]:
            numbers[i], errors[i] = len(rules), laid.error
            rules.append(rule_of_panels(laid.edges))
    unknown = np.flatnonzero(errors > _UNKNOWN)
    if len(unknown) > 0:  # such rules follow a mode however far out it lies
        numbers[unknown] = rules.index(HERMITE[0]) + _steadiest(likelihood, theta, clusters[unknown])[0]
    return _Rules(tuple(rules), numbers, errors)


def _steadiest(
    likelihood: MarginalLikelihood, theta: Array, clusters: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Array]:
    """Which Gauss-Hermite rule differs least from the next coarser one, for each of some clusters, and its values."""
    values = np.stack([likelihood.cluster_values(theta, rule, clusters)[0] for rule in HERMITE])
    change = np.abs(np.diff(values, axis=0))
    best = 1 + np.argmin(np.where(np.isnan(change), np.inf, change), axis=0)
    return best, values[best, np.arange(len(clusters))]


def moving(likelihood: MarginalLikelihood, theta: Array, choice: Choice, each: float) -> Choice:
    """The same with Gauss-Hermite rules, whose derivatives see them move, wherever they say the same.

    Derivatives by rules that stay, or do not know that they move, are sums of much larger terms where counts are huge.
    """
    served: dict[Rule, list[NDArray[np.int64]]] = {}
    error = choice.error
    for part in choice.plan:
        clusters = np.arange(likelihood.n_clusters) if part.clusters is None else part.clusters
        before = likelihood.cluster_values(theta, part.rule, clusters)[0]
        best, values = _steadiest(likelihood, theta, clusters)
        difference = np.abs(values - before)
        good = difference <= np.maximum(each, _ROUNDING * (1.0 + np.abs(before)))
        error += float(difference[good].sum())
        for rule, which in ((part.rule, ~good), *((HERMITE[k], good & (best == k)) for k in np.unique(best))):
            if which.any():
                served.setdefault(rule, []).append(clusters[which])
    return Choice(tuple(Part(rule, np.sort(np.concatenate(parts))) for rule, parts in served.items()), error)


def _worst(errors: Array, allowed: float) -> NDArray[np.int64]:
    """As few clusters as possible without which the errors are no more than is allowed in all, ascending."""
    ascending = np.argsort(errors, kind="stable")
    enough = int(np.searchsorted(np.cumsum(errors[ascending]), allowed, side="right"))
    return np.sort(ascending[enough:])


def _panels(likelihood: MarginalLikelihood, theta: Array, clusters: NDArray[np.int64], each: float) -> list[Panels]:
    """Panels of single clusters, with the values and errors of their weighted log-likelihoods."""
    weights = likelihood.weights[clusters]

    def log_integrands(which: NDArray[np.int64], points: Array) -> Array:
        return likelihood.log_integrands(theta, clusters[which], points)

    member = likelihood.distribution.at(likelihood.sigma(theta))
    laid = lay_panels(
        log_integrands, likelihood.summits(theta).of(clusters), member.kinks, each / np.maximum(weights, 1.0)
    )
    return [
        replace(panels, value=weight * panels.value, error=weight * panels.error)
        for panels, weight in zip(laid, weights.tolist(), strict=True)
    ]


def _shared_rules(
    likelihood: MarginalLikelihood,
    theta: Array,
    clusters: NDArray[np.int64],
    each: float,
    unimodal: bool,
    careful: bool = True,
) -> _Rules:
    """For each cluster the first rule whose error is at most `each` or nothing but rounding; else the best of all.

    Where an integrand may have several modes, two rules may agree because both miss one: they are believed only where
    a bound shows that they do not (`certificate.py`).
    """
    sigma = likelihood.sigma(theta)
    rules, errors = np.ones(len(clusters), dtype=np.int64), np.full(len(clusters), np.inf)
    all_rules = ladders(likelihood.distribution, sigma).rules
    summits = None if unimodal else likelihood.summits(theta).of(clusters)
    for family in families(likelihood.distribution, sigma, likelihood.scale, unimodal):
        open_ = np.flatnonzero(errors > each)
        if summits is not None and not family[0].about_mode:  # sharp clusters are for rules that follow them
            fine = family[2 * len(family) // 3].points[0]
            open_ = open_[resolved(gaps(fine, summits.s[open_]), summits.of(open_), fine[0], fine[-1])]
        if len(open_) == 0:
            continue
        values, ends = likelihood.cluster_values(theta, family[0], clusters[open_])
        before = earlier = np.full(len(open_), np.inf)
        for k, (coarser, rule) in enumerate(pairwise(family)):
            better, ends_finer = likelihood.cluster_values(theta, rule, clusters[open_])
            change = np.abs(better - values)
            if summits is None:
                ends = np.maximum(ends, ends_finer)
                outside = _beyond_ends(likelihood, theta, rule, clusters[open_], better, ends, each)
                error = _bound(change, better, outside, _rate(coarser, rule), each)
                error = np.maximum(error, _doubt(before, earlier, (1.5, 3.0) if rule.about_mode else (1.25, 1.5)))
                hopeless = outside > 3.0 * each  # refinement hardly brings in what lies outside
            else:
                error = _bound(change, better, np.zeros(len(open_)), 1.0, each)
                if careful:
                    error = np.maximum(error, before)
                elif likelihood.distribution.geometric and not rule.about_mode:
                    error = np.minimum(error, _geometric(change, before, family[max(k - 1, 0) : k + 2]))
                missing, seen = _unseen(
                    likelihood, theta, (coarser, rule), clusters, better, summits, open_, error <= each
                )
                error, hopeless = np.where(seen, error + missing, np.inf), missing > each
            improved = error < errors[open_]
            errors[open_[improved]], rules[open_[improved]] = error[improved], all_rules.index(rule)
            still = (error > each) & ~hopeless
            open_, values, ends = open_[still], better[still], ends_finer[still]
            before, earlier = change[still], before[still]
            if len(open_) == 0:
                break
    return _Rules(all_rules, rules, errors)


def _unseen(
    likelihood: MarginalLikelihood,
    theta: Array,
    pair: tuple[Rule, Rule],
    clusters: NDArray[np.int64],
    values: Array,
    summits: Summits,
    open_: NDArray[np.int64],
    wanted: NDArray[np.bool_],
) -> tuple[Array, NDArray[np.bool_]]:
    """`unseen` of weighted likelihoods, of those of the open clusters that are wanted; the others count as not seen."""
    missing, seen = np.zeros(len(open_)), np.zeros(len(open_), dtype=bool)
    which = np.flatnonzero(wanted)
    if len(which) > 0:
        chosen = clusters[open_[which]]
        weights = likelihood.weights[chosen]
        log_integrals = np.divide(values[which], weights, out=np.zeros(len(which)), where=weights > 0.0)
        found, seen[which] = unseen(likelihood, theta, pair, chosen, log_integrals, summits.of(open_[which]))
        missing[which] = weights * found
    return missing, seen


def _beyond_ends(
    likelihood: MarginalLikelihood,
    theta: Array,
    rule: Rule,
    clusters: NDArray[np.int64],
    values: Array,
    ends: Array,
    each: float,
) -> Array:
    """Bounds of what weighted log-likelihoods lack beyond the ends of a rule that has just served the clusters.

    Log-concave integrands fall on at least as they do between the last two nodes, by r from one node to the next; so
    what lies beyond is at most r / (1 - r) times what the last node adds. From the mode to there they fall by r at the
    most each time, and the highest node adds at least one of n shares: if n times the last one is little, so is r.
    No bound is below what the last nodes add, which is known to a double's digits of the integral alone.
    """
    weights = likelihood.weights[clusters]
    steps = (0.5 if rule.about_mode else 1.0) * (rule.nodes - 1)
    most = np.minimum(rule.nodes * ends, 0.9) ** (1.0 / steps)
    bound: Array = weights * ends * np.maximum(1.0, most / (1.0 - most))
    much = np.flatnonzero((bound > _MUCH * each) & (most > 0.5))
    if len(much) == 0:
        return bound
    low, high, unit = likelihood.spans(rule, clusters[much])
    step = rule.step * np.where(np.isfinite(unit), unit, 1.0)
    points = np.stack([low, high, low + step, high - step], axis=1)
    logs = likelihood.log_integrands(theta, clusters[much], points) - (values[much] / weights[much])[:, None]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        fall = np.exp(logs[:, :2] - logs[:, 2:])
        beyond = step[:, None] * np.exp(logs[:, :2]) * np.where(fall < 1.0, fall / (1.0 - fall), np.inf)
    beyond = np.where(np.isnan(beyond), 0.0, beyond).sum(axis=1)
    bound[much] = weights[much] * np.maximum(ends[much], beyond)
    return bound


def _bound(change: Array, better: Array, ends: Array, rate: float, each: float) -> Array:
    """Bounds of the finer rule's errors: what its change bodes, and what lies at the ends, unless all is rounding."""
    error: Array = np.minimum(change, _SAFETY * change**rate) + ends
    rounding = change + ends <= _ROUNDING * (1.0 + np.abs(better))
    return np.where(rounding, np.minimum(error, each), error)


def _rate(coarser: Rule, finer: Rule) -> float:
    """The power of the coarser rule's error that the finer one's is about.

    The error of a trapezoid rule of step h is exp(-c/h) for an integrand that is analytic in a strip, and less for an
    entire one (Trefethen and Weideman, SIAM Review 56, 2014). Not so on the normal scale of heavy tails, whose strip is
    narrow and beset with large values.
    """
    return (finer.nodes - 1) / (coarser.nodes - 1) if finer.about_mode else 1.0


def _doubt(before: Array, earlier: Array, powers: tuple[float, float]) -> Array:
    """What errors are at least, given the two changes before: two rules may agree by chance, or three.

    The powers are such that convergence would surpass them.
    """
    return np.maximum(before ** powers[0], np.where(earlier < np.inf, earlier, 0.0) ** powers[1])


def _geometric(change: Array, before: Array, rules: tuple[Rule, ...]) -> Array:
    """Bounds of the errors of the finest of three rules whose errors fall on as they did from the first to the second.

    Of that only a part is relied on; and the error is at least what the first change says alone, lest the second was
    small by chance.
    """
    first, second, third = rules[0].nodes - 1, rules[-2].nodes - 1, rules[-1].nodes - 1
    if first == second:
        return change
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = np.where(before > 0.0, np.minimum(change / before, 1.0), 1.0)
    again = _SAFETY * change * fall ** (_RELIED * (third - second) / (second - first))
    return np.asarray(np.minimum(change, np.maximum(again, before ** (third / first))))


def _evaluated(
    likelihood: MarginalLikelihood, theta: Array, rule: Rule, each: float, unimodal: bool
) -> tuple[Evaluation, Array]:
    """The likelihood by one rule, not the coarsest of its kind, and bounds of every cluster's error."""
    ladder = ladders(likelihood.distribution, likelihood.sigma(theta))
    coarser = ladder.coarser(rule)
    values, ends = likelihood.cluster_values(theta, coarser, None)
    there, better, ends_finer = likelihood.evaluate_by_cluster(theta, rule)
    change = np.abs(better - values)
    every = np.arange(likelihood.n_clusters, dtype=np.int64)
    if unimodal:
        outside = _beyond_ends(likelihood, theta, rule, every, better, np.maximum(ends, ends_finer), each)
        return there, _bound(change, better, outside, _rate(coarser, rule), each)
    errors = _bound(change, better, np.zeros(len(values)), 1.0, each)
    if likelihood.distribution.geometric and not rule.about_mode and coarser != ladder.narrow[0]:
        first = ladder.coarser(coarser)
        before = np.abs(values - likelihood.cluster_values(theta, first, None)[0])
        errors = np.minimum(errors, _geometric(change, before, (first, coarser, rule)))
    summits = likelihood.summits(theta)
    missing, seen = _unseen(likelihood, theta, (coarser, rule), every, better, summits, every, errors <= _UNEVEN * each)
    return there, np.where(seen, errors + missing, np.inf)


def _exchanged(likelihood: MarginalLikelihood, theta: Array, there: Evaluation, old: Plan, new: Plan) -> Evaluation:
    """The likelihood with other rules for some clusters."""
    before, after = likelihood.evaluate(theta, old), likelihood.evaluate(theta, new)
    return Evaluation(
        there.value - before.value + after.value,
        there.score - before.score + after.score,
        there.hessian - before.hessian + after.hessian,
    )


def most_useful(distribution: Distribution, sigma: float, numbers: NDArray[np.int64]) -> Rule:
    """Of the kind that serves most of the sample, the rule that is fine enough for nearly all of those."""
    ladder = ladders(distribution, sigma)
    chosen = Counter(numbers.tolist())
    counts = {ladder.rules[number]: count for number, count in chosen.items()}
    kinds = [
        {rule: counts[rule] for rule in kind if rule in counts} for kind in (chain(*ABOUT_MODE), ladder.narrow, HERMITE)
    ]
    most = max(kinds, key=lambda kind: sum(kind.values()))
    if not most:
        return ladder.narrow[2]
    if next(iter(most)).about_mode:
        return _about_most_modes(most)
    served = np.cumsum(list(most.values()))
    return list(most)[int(np.searchsorted(served, 0.98 * served[-1]))]


def _about_most_modes(counts: dict[Rule, int]) -> Rule:
    """The rule that reaches as far as nearly all clusters want, in steps that are short enough for as many."""
    everyone = beyond = sum(counts.values())
    for family in ABOUT_MODE:
        beyond -= sum(counts.get(rule, 0) for rule in family)
        if beyond <= _LEFT * everyone:
            break
    by_step = sorted(counts, key=lambda rule: -rule.step)
    served = np.cumsum([counts[rule] for rule in by_step])
    step = by_step[int(np.searchsorted(served, (1.0 - _LEFT) * everyone))].step
    return next((rule for rule in family[1:] if rule.step <= step), family[-1])
