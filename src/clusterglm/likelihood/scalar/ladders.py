"""Quadrature rules of growing fineness, by kind, that suit a distribution of the intercept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

from clusterglm.likelihood.scalar.rules import Rule, fixed_rule, heavy_half_width, heavy_rule
from clusterglm.model.distribution.base import Distribution

_HALF_WIDTH = 9.0  # the standard normal leaves 2e-19 outside
_WIDE = 16.0  # for clusters whose intercept lies far out
_NARROW_NODES = (17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025)
_WIDE_NODES = (193, 257, 385, 513, 769, 1025, 2049)
_HEAVY_STEPS = (0.7, 0.55, 0.44, 0.35, 0.28, 0.22, 0.18, 0.15, 0.125, 0.105, 0.09, 0.075, 0.06, 0.045, 0.03, 0.02)
_PREDICTOR_REACH = 64.0  # of a linear predictor; no likelihood changes where one is within half of that
_ROUGH = 4  # number of the narrow rule that replaces adaptive ones while the neighbourhood of the maximum is sought
_ROUGH_WEAK = 3  # the same where clusters say little
_LIGHT = 30.0  # degrees of freedom above which a t distribution is nearly Gaussian
_LITTLE_SAID = 50.0  # trials or counts of a cluster that says little of its intercept
HERMITE = tuple(Rule(n) for n in (5, 8, 12, 16, 24, 32, 48, 64, 96))
ABOUT_MODE = (  # 8.5 omega out is 2e-16 of a normal density; posteriors that are longer on one side want more
    tuple(Rule(n, 8.5, about_mode=True) for n in (13, 17, 21, 25, 29, 33, 41)),
    tuple(Rule(n, 9.5, about_mode=True) for n in (21, 25, 29, 33, 37, 45)),
    tuple(Rule(n, 12.0, about_mode=True) for n in (29, 37, 45, 57, 73)),
)


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

    def coarser(self, rule: Rule) -> Rule:
        """The next coarser rule of the same kind; the next finer one of the coarsest."""
        family = next(family for family in (*ABOUT_MODE, self.narrow, HERMITE, self.wide) if rule in family)
        return family[max(family.index(rule) - 1, 0)] if rule != family[0] else family[1]


def ladders(distribution: Distribution, sigma: float = 1.0) -> Ladders:
    """Rules that suit a distribution, near a sigma."""
    if not _is_heavy(distribution):
        return _fixed(distribution)
    return _heavy(distribution, heavy_half_width(distribution, _PREDICTOR_REACH, sigma))


def _is_heavy(distribution: Distribution) -> bool:
    """Whether rules in x, t = c sinh x, suit it: with c, its spread, nodes lie wider apart."""
    return distribution.tail <= _LIGHT


@lru_cache(maxsize=16)
def _fixed(distribution: Distribution) -> Ladders:
    return Ladders(
        tuple(fixed_rule(distribution, nodes, _HALF_WIDTH) for nodes in _NARROW_NODES),
        tuple(fixed_rule(distribution, nodes, _WIDE) for nodes in _WIDE_NODES),
    )


@lru_cache(maxsize=64)
def _heavy(distribution: Distribution, half_width: float) -> Ladders:
    return Ladders(tuple(heavy_rule(distribution, step, half_width) for step in _HEAVY_STEPS), ())


def rough_rule(distribution: Distribution, nodes: int, least: float, size: float) -> Rule:
    """A cheap rule to find the neighbourhood of the maximum with.

    Parameters
    ----------
    distribution : Distribution
    nodes : int
        Of a rule that follows clusters.
    least : float
        The smallest sigma that the search may come by.
    size : float
        Trials or counts of a typical cluster. Where they are few, a fixed rule needs no search for modes, of which
        there may be several.
    """
    if (distribution.geometric or _is_heavy(distribution)) and size <= _LITTLE_SAID:
        return ladders(distribution, least).narrow[_ROUGH_WEAK]
    return Rule(nodes) if smooth(distribution) else ladders(distribution).narrow[_ROUGH]


def smooth(distribution: Distribution) -> bool:
    """Whether a rule can follow a cluster's mode and curvature, and ask for nothing else."""
    return not (distribution.kinks or distribution.own_scale)


def families(distribution: Distribution, sigma: float, scale: str, unimodal: bool) -> Iterator[tuple[Rule, ...]]:
    """Rules in the order in which they are tried.

    Gauss-Hermite rules are not among them: where the likelihood is a step at the mode, all of them say the same.

    Parameters
    ----------
    distribution : Distribution
    sigma : float
    scale : {"normal", "density"}
        Scale of integration of rules that follow a cluster; what these miss can be bounded on the normal scale alone.
    unimodal : bool
        Whether no cluster's integrand can have two modes.
    """
    rules = ladders(distribution, sigma)
    if unimodal:
        if smooth(distribution):
            yield from ABOUT_MODE
        yield rules.narrow
        yield rules.wide
        return
    yield rules.narrow
    if scale == "normal":
        yield from ABOUT_MODE
