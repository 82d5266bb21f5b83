"""quadrature="auto": for each cluster the cheapest rule that is accurate enough at the estimate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.marginal import MarginalLikelihood
from clusterglm.likelihood.rules import Part, Plan, Rule, fixed_rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.quadrature import Quadrature

_HALF_WIDTH = 9.0  # the standard normal leaves 2e-19 outside
_WIDE = 16.0  # for clusters whose intercept lies far out
_NARROW_NODES = (17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025)
_WIDE_NODES = (193, 257, 385, 513, 769, 1025, 2049)
HERMITE = tuple(Rule(n) for n in (5, 8, 12, 16, 24, 32, 48, 64, 96))
ABOUT_MODE = (  # 8.5 omega out is 2e-16 of a normal density; posteriors that are longer on one side want more
    tuple(Rule(n, 8.5, about_mode=True) for n in (13, 17, 21, 25, 29, 33, 41)),
    tuple(Rule(n, 9.5, about_mode=True) for n in (21, 25, 29, 33, 37, 45)),
    tuple(Rule(n, 12.0, about_mode=True) for n in (29, 37, 45, 57, 73)),
)
_LEFT = 0.03  # share of the clusters that a rule for nearly all may leave to others
_ROUGH = 4  # number of the narrow rule that replaces adaptive ones while the neighbourhood of the maximum is sought
_SAMPLE = 2000  # clusters on which rules are tried before one is chosen for a large data set
FEW = 2 * _SAMPLE  # clusters up to which each gets a rule of its own at once
_SAFETY = 10.0  # times the error that a rule's convergence lets expect
_ROUNDING = 2e-14  # relative error of a cluster's log-likelihood that no rule can better


@dataclass(frozen=True)
class Ladders:
    """Rules of growing fineness that suit a distribution.

    Parameters
    ----------
    narrow, wide : tuple of Rule
        Fixed rules.
    """

    narrow: tuple[Rule, ...]
    wide: tuple[Rule, ...]

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """All of them: a cluster's rule is kept as its number in here."""
        return self.narrow + HERMITE + self.wide + tuple(chain(*ABOUT_MODE))


@lru_cache(maxsize=16)
def ladders(distribution: Distribution) -> Ladders:
    """Those of a distribution."""
    return Ladders(
        tuple(fixed_rule(distribution, nodes, _HALF_WIDTH) for nodes in _NARROW_NODES),
        tuple(fixed_rule(distribution, nodes, _WIDE) for nodes in _WIDE_NODES),
    )


def rough_rule(distribution: Distribution, nodes: int) -> Rule:
    """A cheap rule to find the neighbourhood of the maximum with."""
    return Rule(nodes) if _smooth(distribution) else ladders(distribution).narrow[_ROUGH]


def _smooth(distribution: Distribution) -> bool:
    """Whether a rule can follow a cluster's mode and curvature, and ask for nothing else."""
    return not (distribution.kinks or distribution.own_scale)


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
        Estimated absolute error of the log-likelihood: the sum over clusters of bounds that follow from the change from
        the next coarser rule while the rules converge; nan where it was not estimated.
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
        Sum over clusters of the estimated errors.
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
    each = tolerance / m
    if m <= FEW:
        return rules_one_by_one(likelihood, theta, each, unimodal)
    rule = most_useful(likelihood.distribution, rules_of_some(likelihood, theta, m, each, unimodal))
    return rules_by_one(likelihood, theta, rule, each, unimodal)


def rules_one_by_one(likelihood: MarginalLikelihood, theta: Array, each: float, unimodal: bool) -> Choice:
    """A rule for each cluster; `each` is what its error may be."""
    everything = np.arange(likelihood.n_clusters, dtype=np.int64)
    chosen, errors = _ladder(likelihood, theta, everything, each, unimodal)
    return Choice(_as_plan(ladders(likelihood.distribution).rules, chosen), float(errors.sum()))


def rules_of_some(
    likelihood: MarginalLikelihood, theta: Array, n_clusters: int, each: float, unimodal: bool
) -> NDArray[np.int64]:
    """Numbers of the rules of some clusters; as many as there are to be of `n_clusters`, of which these are a part."""
    sample = np.arange(0, likelihood.n_clusters, n_clusters // _SAMPLE, dtype=np.int64)
    return _ladder(likelihood, theta, sample, each, unimodal)[0]


def rules_by_one(likelihood: MarginalLikelihood, theta: Array, rule: Rule, each: float, unimodal: bool) -> Choice:
    """One rule, not the coarsest of its kind, for all clusters but those that it does not suit."""
    all_rules = ladders(likelihood.distribution).rules
    there, errors = _evaluated(likelihood, theta, rule, each)
    rest = np.flatnonzero(errors > each)
    rules = np.full(likelihood.n_clusters, all_rules.index(rule))
    if len(rest) > 0:
        rules[rest], errors[rest] = _ladder(likelihood, theta, rest, each, unimodal)
        there = _exchanged(likelihood, theta, there, (Part(rule, rest),), _as_plan(all_rules, rules[rest], rest))
    return Choice(_as_plan(all_rules, rules), float(errors.sum()), there)


def _ladder(
    likelihood: MarginalLikelihood, theta: Array, clusters: NDArray[np.int64], each: float, unimodal: bool
) -> tuple[NDArray[np.int64], Array]:
    """For each cluster the first rule whose error is at most `each` or nothing but rounding; else the best of all.

    Two rules that agree by chance, or three, while those before them did not, are not believed: the error is taken to
    be at least the two changes before, each to a power that convergence would surpass.
    """
    rules, errors = np.ones(len(clusters), dtype=np.int64), np.full(len(clusters), np.inf)
    all_rules = ladders(likelihood.distribution).rules
    for family in _families(likelihood.distribution, unimodal):
        open_ = np.flatnonzero(errors > each)
        if len(open_) == 0:
            break
        values, ends = likelihood.cluster_values(theta, family[0], clusters[open_])
        before = earlier = np.full(len(open_), np.inf)
        doubt = (1.5, 3.0) if family[0].about_mode else (1.25, 1.5)
        for coarser, rule in pairwise(family):
            better, ends_finer = likelihood.cluster_values(theta, rule, clusters[open_])
            change = np.abs(better - values)
            outside = np.maximum(ends, ends_finer)
            least = np.maximum(before ** doubt[0], np.where(earlier < np.inf, earlier, 0.0) ** doubt[1])
            error = np.maximum(_bound(change, better, outside, (coarser, rule), each), least)
            improved = error < errors[open_]
            errors[open_[improved]], rules[open_[improved]] = error[improved], all_rules.index(rule)
            still = (error > each) & (outside <= 3.0 * each)  # refinement hardly brings in what lies outside
            open_, values, ends = open_[still], better[still], ends_finer[still]
            before, earlier = change[still], before[still]
            if len(open_) == 0:
                break
    return rules, errors


def _bound(change: Array, better: Array, ends: Array, pair: tuple[Rule, Rule], each: float) -> Array:
    """Bounds of the finer rule's errors: what its change bodes, and what lies at the ends, unless all is rounding."""
    error: Array = np.minimum(change, _SAFETY * change ** _rate(*pair)) + ends
    rounding = change + ends <= _ROUNDING * (1.0 + np.abs(better))
    return np.where(rounding, np.minimum(error, each), error)


def _rate(coarser: Rule, finer: Rule) -> float:
    """The power of the coarser rule's error that the finer one's is about.

    The error of a trapezoid rule of step h is exp(-c/h) for an integrand that is analytic in a strip, and less for an
    entire one (Trefethen and Weideman, SIAM Review 56, 2014). Not so on the normal scale of heavy tails, whose strip is
    narrow and beset with large values.
    """
    return (finer.nodes - 1) / (coarser.nodes - 1) if finer.about_mode else 1.0


def _families(distribution: Distribution, unimodal: bool) -> Iterator[tuple[Rule, ...]]:
    """Rules in the order in which they are tried: cheap ones first; what could miss a mode, last."""
    rules = ladders(distribution)
    if unimodal:
        if _smooth(distribution):
            yield from ABOUT_MODE
        yield rules.narrow[:7]
        yield HERMITE
        yield rules.narrow[4:]
    else:
        yield rules.narrow
        yield HERMITE
    yield rules.wide


def _evaluated(likelihood: MarginalLikelihood, theta: Array, rule: Rule, each: float) -> tuple[Evaluation, Array]:
    """The likelihood by one rule, not the coarsest of its kind, and every cluster's estimated error."""
    rules = ladders(likelihood.distribution)
    family = next(family for family in (*ABOUT_MODE, rules.narrow, HERMITE, rules.wide) if rule in family)
    coarser = family[family.index(rule) - 1]
    values, ends = likelihood.cluster_values(theta, coarser, None)
    there, better, ends_finer = likelihood.evaluate_by_cluster(theta, rule)
    ends = np.maximum(ends, ends_finer)
    return there, _bound(np.abs(better - values), better, ends, (coarser, rule), each)


def _exchanged(likelihood: MarginalLikelihood, theta: Array, there: Evaluation, old: Plan, new: Plan) -> Evaluation:
    """The likelihood with other rules for some clusters."""
    before, after = likelihood.evaluate(theta, old), likelihood.evaluate(theta, new)
    return Evaluation(
        there.value - before.value + after.value,
        there.score - before.score + after.score,
        there.hessian - before.hessian + after.hessian,
    )


def most_useful(distribution: Distribution, numbers: NDArray[np.int64]) -> Rule:
    """Of the kind that serves most of the sample, the rule that is fine enough for nearly all of those."""
    ladder = ladders(distribution)
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


def _as_plan(rules: tuple[Rule, ...], numbers: NDArray[np.int64], clusters: NDArray[np.int64] | None = None) -> Plan:
    """Clusters (all by default) with the numbers of their rules."""
    used = np.unique(numbers)
    if len(used) == 1 and clusters is None:
        return (Part(rules[used[0]]),)
    every = np.arange(len(numbers)) if clusters is None else clusters
    return tuple(Part(rules[number], every[numbers == number]) for number in used)
