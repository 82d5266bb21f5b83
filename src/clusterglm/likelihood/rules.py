"""Quadrature rules for the integral over a cluster's intercept, and plans that give each cluster its own.

Two kinds: *adaptive Gauss-Hermite*, whose nodes follow each cluster's mode and curvature, and a *trapezoid rule* on the
normal scale, whose nodes stay where they are: with an analytic integrand it converges faster than any power of its step
(Trefethen and Weideman, SIAM Review 56, 2014), and it does not mind several modes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.model.quadrature import hermite


@dataclass(frozen=True)
class Rule:
    """One quadrature rule.

    Parameters
    ----------
    nodes : int
        Number of nodes.
    half_width : float or None
        None: adaptive Gauss-Hermite. Otherwise: trapezoid rule on [-half_width, half_width], normal scale.
    """

    nodes: int
    half_width: float | None = None

    @property
    def adaptive(self) -> bool:
        """Whether the nodes follow the cluster."""
        return self.half_width is None

    @cached_property
    def core(self) -> _core.Rule:
        """The rule as the core takes it."""
        if self.half_width is None:
            return _core.Rule(True, *hermite(self.nodes))
        s = np.linspace(-self.half_width, self.half_width, self.nodes)
        return _core.Rule(False, s, np.full(self.nodes, np.log(s[1] - s[0])))

    def __getstate__(self) -> dict[str, object]:
        """The core's rule is made again where it is needed; it cannot be pickled."""
        return {"nodes": self.nodes, "half_width": self.half_width}

    def __str__(self) -> str:
        if self.nodes == 1:
            return "Laplace"
        kind = "adaptive Gauss-Hermite" if self.adaptive else "trapezoid"
        return f"{kind}, {self.nodes} nodes"


@dataclass(frozen=True)
class Part:
    """The clusters that one rule serves.

    Parameters
    ----------
    rule : Rule
    clusters : ndarray of int64 or None
        Numbers of the clusters, ascending; None means all.
    """

    rule: Rule
    clusters: NDArray[np.int64] | None = None

    def count(self, n_clusters: int) -> int:
        """How many clusters that is, of `n_clusters`."""
        return n_clusters if self.clusters is None else len(self.clusters)


Plan = tuple[Part, ...]
"""Every cluster in exactly one part."""


def single_rule(nodes: int) -> Plan:
    """The same adaptive Gauss-Hermite rule for every cluster."""
    return (Part(Rule(nodes)),)
