"""quadrature="auto": for each cluster the cheapest rule that is accurate enough at the estimate.

The rules and how they are chosen: docs/explanation/likelihood.md, "Rules and their choice".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.plan import Choice, Part
from clusterglm.likelihood.scalar.convergence import ROUNDING, beyond_ends, bound, doubt, geometric, rate_of, unseen_by
from clusterglm.likelihood.scalar.ladders import ABOUT_MODE, HERMITE, families, ladders
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.outside import gaps, resolved
from clusterglm.likelihood.scalar.panels import Panels, lay_panels
from clusterglm.likelihood.scalar.rules import Plan, Rule, rule_of_panels
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import FEW_CLUSTERS, SAMPLE_FOR_RULES

_LEFT = 0.03  # share of the clusters that a rule for nearly all may leave to others
_UNEVEN = (
    30.0  # times a cluster's share of the tolerance, an error that few clusters come near while the sum is within it
)
_COARSE = 1e-7  # of a cluster's error: rules that leave more may agree by chance before they converge
_UNKNOWN = 1.0  # error of a log-likelihood beyond which its value says nothing


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
    The error of a rule follows from its change from the next coarser one (see `rate_of`). A large data set is served in
    two steps: rules are tried on a sample of its clusters, the cheapest one that suits nearly all of them is checked on
    all, and the rest get rules one by one.
    """
    m = likelihood.n_clusters
    each = share(tolerance, m, unimodal)
    if m <= FEW_CLUSTERS:
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
    sample = np.arange(0, likelihood.n_clusters, n_clusters // SAMPLE_FOR_RULES, dtype=np.int64)
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
        """The plan, with clusters under these numbers (by default, those of all clusters of the data)."""
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
    """A choice with Gauss-Hermite rules, whose derivatives see them move, wherever they give the values of its rules.

    Derivatives by rules that stay, or do not know that they move, are sums of much larger terms where counts are huge.
    """
    served: dict[Rule, list[NDArray[np.int64]]] = {}
    error = choice.error
    for part in choice.plan:
        clusters = np.arange(likelihood.n_clusters) if part.clusters is None else part.clusters
        before = likelihood.cluster_values(theta, part.rule, clusters)[0]
        best, values = _steadiest(likelihood, theta, clusters)
        difference = np.abs(values - before)
        good = difference <= np.maximum(each, ROUNDING * (1.0 + np.abs(before)))
        error += float(difference[good].sum())
        for rule, which in ((part.rule, ~good), *((HERMITE[k], good & (best == k)) for k in np.unique(best))):
            if which.any():
                served.setdefault(rule, []).append(clusters[which])
    return Choice(tuple(Part(rule, np.sort(np.concatenate(parts))) for rule, parts in served.items()), error)


def _worst(errors: Array, allowed: float) -> NDArray[np.int64]:
    """The fewest clusters without which the errors are no more than is allowed in all, ascending."""
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
                outside = beyond_ends(likelihood, theta, rule, clusters[open_], better, ends, each)
                error = bound(change, better, outside, rate_of(coarser, rule), each)
                error = np.maximum(error, doubt(before, earlier, (1.5, 3.0) if rule.about_mode else (1.25, 1.5)))
                hopeless = outside > 3.0 * each  # refinement hardly brings in what lies outside
            else:
                error = bound(change, better, np.zeros(len(open_)), 1.0, each)
                if careful:
                    error = np.maximum(error, before)
                elif likelihood.distribution.geometric and not rule.about_mode:
                    error = np.minimum(error, geometric(change, before, family[max(k - 1, 0) : k + 2]))
                missing, seen = unseen_by(
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
        outside = beyond_ends(likelihood, theta, rule, every, better, np.maximum(ends, ends_finer), each)
        return there, bound(change, better, outside, rate_of(coarser, rule), each)
    errors = bound(change, better, np.zeros(len(values)), 1.0, each)
    if likelihood.distribution.geometric and not rule.about_mode and coarser != ladder.narrow[0]:
        first = ladder.coarser(coarser)
        before = np.abs(values - likelihood.cluster_values(theta, first, None)[0])
        errors = np.minimum(errors, geometric(change, before, (first, coarser, rule)))
    summits = likelihood.summits(theta)
    wanted = errors <= _UNEVEN * each
    missing, seen = unseen_by(likelihood, theta, (coarser, rule), every, better, summits, every, wanted)
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
    """The rule that is fine enough for nearly all clusters of the sample whose rules are of the commonest kind."""
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
