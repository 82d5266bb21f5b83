"""What a fit says of how its integrals were computed."""

from __future__ import annotations

from dataclasses import dataclass

from clusterglm.likelihood.plan import Plan
from clusterglm.model.quadrature import Quadrature


@dataclass(frozen=True)
class OutsideReport:
    """What importance sampling says of Laplace's approximation over the effects of crossed factors.

    Parameters
    ----------
    laplace : float
        The log-likelihood at the estimates by Laplace's approximation of these effects.
    correction : float
        What sampling adds to it.
    standard_error : float
        Monte Carlo standard error of the corrected log-likelihood.
    of_estimates : float
        The largest Monte Carlo standard error of an estimate, in its standard errors.
    moved : float
        The farthest that an estimate was moved from the maximum of Laplace's approximation, in standard errors.
    share : float
        Effective share of the draws.
    draws : int
    tolerance : float
        Of the log-likelihood's standard error.
    most_of_estimates : float
        Of those of the estimates.
    applied : bool
        Whether estimates and log-likelihood are the corrected ones. Otherwise sampling knows too little to be used.
    """

    laplace: float
    correction: float
    standard_error: float
    of_estimates: float
    moved: float
    share: float
    draws: int
    tolerance: float
    most_of_estimates: float
    applied: bool

    @property
    def enough(self) -> bool:
        """Whether both errors are as small as was asked for."""
        small = self.standard_error <= self.tolerance and self.of_estimates <= self.most_of_estimates
        return self.applied and small

    @property
    def advice(self) -> str:
        """What to make of errors that are larger; empty where they are not."""
        if self.enough:
            return ""
        known = (
            f"the log-likelihood is corrected with a standard error of {self.standard_error:.2g}, estimates with up to "
            f"{self.of_estimates:.2g} of their standard errors"
            if self.applied
            else "estimates and log-likelihood are those of Laplace's approximation, whose error is not known"
        )
        return (
            f"of {self.draws:,} draws of the effects of crossed factors {100.0 * self.share:.2g}% are effective: "
            f"{known}. Fewer of these effects, or more rows for each, make the approximation better: integrate out the "
            "factor whose levels have the fewest rows (inside=), give coefficients to a factor of few levels, or allow "
            "Quadrature('auto', tolerance_outside=...)"
        )


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
        not computed. An estimate for responses whose clusters may have several summits.
    unit : float
        What the log-likelihood is counted in where weights are small: the tolerance is for a log-likelihood over it.
    outside : OutsideReport or None
        Of crossed factors, whose effects are integrated out by Laplace's approximation, if it was corrected: `error` is
        then that of the other integrals.
    """

    requested: Quadrature
    scale: str
    nodes: int
    rules: tuple[tuple[str, int], ...]
    error: float
    unit: float = 1.0
    outside: OutsideReport | None = None

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
