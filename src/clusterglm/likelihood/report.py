"""What a fit says of how its integrals were computed."""

from __future__ import annotations

from dataclasses import dataclass

from clusterglm.likelihood.plan import Plan
from clusterglm.model.quadrature import Quadrature


@dataclass(frozen=True)
class IntegrationReport:
    """How the integrals were computed, and how well.

    Parameters
    ----------
    requested : Quadrature
        What the user asked for.
    scale : {"normal", "density"}
        Scale of integration, that of the adaptive rules.
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
