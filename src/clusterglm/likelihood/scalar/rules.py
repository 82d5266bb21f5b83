"""Quadrature rules for the integral over a cluster's intercept, and plans that give each cluster its own.

Four kinds. *Adaptive Gauss-Hermite*: nodes follow each cluster's mode and curvature, and derivatives see them move.
*Fixed rules*: nodes stay where they are, and do not mind several modes. Of these the *trapezoid rule* on the normal
scale converges faster than any power of its step, the integrand being analytic (Trefethen and Weideman, SIAM Review
56, 2014). Where it is not, at a corner of the density, *Gauss-Legendre* rules stand on either side; where it changes
within a small part of the normal scale (two parts of a mixture far apart), the trapezoid rule is laid on the
distribution's own scale. Heavy tails have theirs too, t = c sinh x, on which a likelihood that rises at some t does so
within about one unit; beyond an intercept so large that likelihoods no longer change, all nodes become one. *Adaptive
trapezoid*: its nodes follow the cluster, so that few will do; being fine, its sum does not depend on where they lie,
and its derivatives, like those of a fixed rule, need not know that they move. *Panels*: Gauss-Legendre rules laid for
one cluster (`panels.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np

from clusterglm import _core
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.scalar.panels import ORDER, panel_points
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.quadrature import hermite
from clusterglm.model.special import log_normal_density

_TAIL_MASS = 30.0  # log of what second moments leave outside
_TAIL_DEPTH = 300.0  # log of 1 / probability as far as that
_WIDEST = 600.0  # half-width of a rule in x, sinh of which is a number
_HIGHEST_ORDER = 48  # highest order of a Gauss-Legendre rule; more nodes make more panels


@dataclass(frozen=True)
class Rule:
    """One quadrature rule.

    Parameters
    ----------
    nodes : int
        Number of nodes.
    half_width : float or None
        None: adaptive Gauss-Hermite. Otherwise: a fixed rule on [-half_width, half_width] of the normal scale, or a
        trapezoid rule of so many omega to either side of the mode, omega the inverse root of the curvature there.
    kinks : tuple of float
        Points on the normal scale between which Gauss-Legendre rules are put; none: the trapezoid rule.
    own : Distribution, optional
        Whose scale the nodes of the trapezoid rule are even on; the normal scale by default. On that of heavy tails
        `half_width` is in units of x (see above), and the outermost nodes stand for all that lies beyond.
    about_mode : bool
        Whether the trapezoid rule follows the cluster.
    panels : tuple of (float, float)
        Panels of one cluster, on the normal scale.
    """

    nodes: int
    half_width: float | None = None
    kinks: tuple[float, ...] = ()
    own: Distribution | None = None
    about_mode: bool = False
    panels: tuple[tuple[float, float], ...] = ()

    @property
    def hermite(self) -> bool:
        """Whether this is adaptive Gauss-Hermite."""
        return self.half_width is None

    @property
    def adaptive(self) -> bool:
        """Whether the nodes follow the cluster."""
        return self.about_mode or self.hermite

    @property
    def heavy(self) -> bool:
        """Whether the outermost nodes stand for all that lies beyond."""
        return self.own is not None and self.own.tail < np.inf

    @property
    def laid_for(self) -> Literal["all", "sigma", "theta"]:
        """Panels hold one integrand, which all parameters move; where rules for heavy tails end depends on sigma."""
        return "theta" if self.panels else "sigma" if self.heavy else "all"

    @property
    def step(self) -> float:
        """Distance of neighbouring nodes of a trapezoid rule."""
        return 2.0 * (self.half_width or 0.0) / (self.nodes - 1)

    @property
    def finer(self) -> Rule:
        """A rule of this kind with about twice the nodes. Panels, laid for one integrand, stay as they are."""
        if self.panels:
            return self
        if self.hermite:
            return replace(self, nodes=2 * self.nodes)
        return replace(self, nodes=2 * self.nodes - (2 if self.kinks else 1))

    @cached_property
    def points(self) -> tuple[Array, Array]:
        """Nodes and log-weights: in units of omega about the mode if adaptive, on the normal scale if not."""
        if self.half_width is None:
            c, log_w = hermite(self.nodes)
            return c, log_w + 0.5 * np.log(2.0)
        if self.panels:
            return panel_points(self.panels)
        if self.kinks:
            return _between(self.kinks, self.half_width, self.nodes)
        if self.own is not None:
            return (_even_in_sinh if self.heavy else _even_in)(self.own, self.half_width, self.nodes)
        s = np.linspace(-self.half_width, self.half_width, self.nodes)
        return s, np.full(self.nodes, np.log(s[1] - s[0]))

    @cached_property
    def core(self) -> _core.Rule:
        """The rule as the core takes it."""
        return _core.Rule(self.adaptive, self.hermite, *self.points)

    def __getstate__(self) -> dict[str, object]:
        """The core's rule is made again where it is needed; it cannot be pickled."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        if self.nodes == 1:
            return "Laplace"
        if self.panels:
            return f"Gauss-Legendre on panels, {self.nodes} nodes"
        kind = "Gauss-Hermite" if self.hermite else "Gauss-Legendre" if self.kinks else "trapezoid"
        return f"{'adaptive ' if self.adaptive else ''}{kind}, {self.nodes} nodes"


def fixed_rule(distribution: Distribution, nodes: int, half_width: float) -> Rule:
    """The fixed rule that suits a distribution, of about so many nodes."""
    kinks = distribution.kinks
    if kinks:
        each = -(-nodes // (len(kinks) + 1))
        panels = -(-each // _HIGHEST_ORDER)
        return Rule(panels * -(-each // panels) * (len(kinks) + 1) + 2, half_width, kinks)
    return Rule(nodes, half_width, own=distribution if distribution.own_scale else None)


def rule_of_panels(panels: tuple[tuple[float, float], ...]) -> Rule:
    """The rule of one cluster's panels."""
    return Rule(ORDER * len(panels), panels[-1][1], panels=panels)


def heavy_half_width(distribution: Distribution, reach: float, sigma: float) -> float:
    """Where rules in x, t = c sinh x, end so that intercepts reach about +-reach: the same for all sigma nearby."""
    end = np.arcsinh(reach / (max(sigma, 1e-100) * distribution.spread))
    return float(np.ceil(2.0 * np.clip(end, 1.0, _WIDEST)) / 2.0)


def heavy_rule(distribution: Distribution, step: float, half_width: float) -> Rule:
    """The trapezoid rule of about a step in x, t = c sinh x."""
    return Rule(2 * int(np.ceil(half_width / step)) + 1, half_width, own=distribution)


def rule_for_moments(rule: Rule) -> Rule:
    """What means and variances of intercepts are computed by in place of a rule: they may need more of the tails."""
    if rule.own is None or not rule.heavy:
        return rule
    nu = rule.own.tail
    half_width = max(min(_TAIL_MASS / max(nu - 2.0, 0.1), _TAIL_DEPTH / nu), rule.half_width or 0.0)
    return heavy_rule(rule.own, rule.step, half_width)


def rule_for_logs(rule: Rule) -> Rule:
    """The same for means of what grows no faster than logarithms of intercepts."""
    if rule.own is None or not rule.heavy:
        return rule
    return heavy_rule(rule.own, rule.step, max(_TAIL_MASS / rule.own.tail, rule.half_width or 0.0))


def averaging_rule(distribution: Distribution, nodes: int, half_width: float) -> tuple[Array, Array]:
    """Nodes on the normal scale and weights, with its density, for averages over the distribution."""
    s, log_weights = fixed_rule(distribution, nodes, half_width).points
    return s, np.exp(log_weights + log_normal_density(s))


def _between(kinks: tuple[float, ...], half_width: float, nodes: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and log-weights between kinks, and a node in the middle of the unit beyond either end.

    What the last two carry shows how much of an integral lies outside.
    """
    corners = [-half_width, *kinks, half_width]
    each = (nodes - 2) // (len(corners) - 1)
    panels = -(-each // _HIGHEST_ORDER)
    parts = [np.linspace(a, b, panels + 1)[:-1] for a, b in pairwise(corners)]
    edges = np.append(np.concatenate(parts), half_width)
    x, w = np.polynomial.legendre.leggauss(each // panels)
    half = 0.5 * np.diff(edges)[:, None]
    inside = (0.5 * (edges[:-1] + edges[1:])[:, None] + half * x).ravel()
    s = np.concatenate([[-half_width - 0.5], inside, [half_width + 0.5]])
    return s, np.concatenate([[0.0], np.log((half * w).ravel()), [0.0]])


def _even_in(distribution: Distribution, half_width: float, nodes: int) -> tuple[Array, Array]:
    """Nodes on the normal scale that are even on the distribution's own, and log-weights: ds = f(t) / phi(s) dt."""
    low, high = distribution.quantile_of_normal(np.array([-half_width, half_width])).tolist()
    t = np.linspace(low, high, nodes)
    s = distribution.normal_of(t)
    return s, np.log(t[1] - t[0]) + distribution.log_density(t)[0] - log_normal_density(s)


def _even_in_sinh(distribution: Distribution, half_width: float, nodes: int) -> tuple[Array, Array]:
    """Nodes on the normal scale that are even in x, t = c sinh x, and log-weights; the ends have those of all beyond.

    With c^2 the degrees of freedom nu, f(t) dt = f(0) c cosh(x)^-nu dx.
    """
    nu, c = distribution.tail, distribution.spread
    x, step = np.linspace(-half_width, half_width, nodes, retstep=True)
    beyond = half_width + step * np.arange(1.0, 2.0 + 45.0 / (nu * step))
    constant = float(distribution.log_density(np.zeros(1))[0][0]) + np.log(c * step)
    inside, outside = (constant - nu * (np.logaddexp(y, -y) - np.log(2.0)) for y in (x, beyond))
    inside[[0, -1]] = np.logaddexp(inside[[0, -1]], np.logaddexp.reduce(outside))
    s = distribution.normal_of(c * np.sinh(x))
    return s, inside - log_normal_density(s)


Plan = tuple[Part[Rule], ...]
"""Every cluster in exactly one part."""


def single_rule(nodes: int) -> Plan:
    """One adaptive Gauss-Hermite rule for every cluster."""
    return (Part(Rule(nodes)),)
