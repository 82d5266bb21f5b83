"""Bounds of rules' errors, from how integrals change as rules get finer and how integrands fall at their ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.scalar.certificate import unseen
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.outside import Summits
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.arrays import Array

_SAFETY = 10.0  # times the error that a rule's convergence lets expect
_RELIED = 0.7  # part of the convergence seen so far that is relied on
_WORTH_A_LOOK = 0.1  # of the error that a cluster may have: what lies beyond a rule's ends is then worth a closer look
ROUNDING = 2e-14  # relative error of a cluster's log-likelihood that no rule can better


def unseen_by(
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


def beyond_ends(
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
    much = np.flatnonzero((bound > _WORTH_A_LOOK * each) & (most > 0.5))
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


def bound(change: Array, better: Array, ends: Array, rate: float, each: float) -> Array:
    """Bounds of the finer rule's errors: what its change bodes, and what lies at the ends, unless all is rounding."""
    error: Array = np.minimum(change, _SAFETY * change**rate) + ends
    rounding = change + ends <= ROUNDING * (1.0 + np.abs(better))
    return np.where(rounding, np.minimum(error, each), error)


def rate_of(coarser: Rule, finer: Rule) -> float:
    """The power of the coarser rule's error that the finer one's is about.

    The error of a trapezoid rule of step h is exp(-c/h) for an integrand that is analytic in a strip, and less for an
    entire one (Trefethen and Weideman, SIAM Review 56, 2014). Not so on the normal scale of heavy tails, whose strip is
    narrow and beset with large values.
    """
    return (finer.nodes - 1) / (coarser.nodes - 1) if finer.about_mode else 1.0


def doubt(before: Array, earlier: Array, powers: tuple[float, float]) -> Array:
    """What errors are at least, given the two changes before: two rules may agree by chance, or three.

    The powers are such that convergence would surpass them.
    """
    return np.maximum(before ** powers[0], np.where(earlier < np.inf, earlier, 0.0) ** powers[1])


def geometric(change: Array, before: Array, rules: tuple[Rule, ...]) -> Array:
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
