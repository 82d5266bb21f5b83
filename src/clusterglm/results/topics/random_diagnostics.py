"""What is special to the diagnostics of random effects: averages over them, and the accuracy of the integrals."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from clusterglm.data.prepare import ModelData
from clusterglm.errors import AccuracyWarning, OptionError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.model.arguments import several, whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.printing import unfolded
from clusterglm.model.quadrature import MAX_NODES
from clusterglm.results.topics.diagnostics import Diagnostics

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.adequacy import Finding, IntegrationCheck, IntegrationCurve
    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.diagnostics.residuals import MarginalMoments

_NOTABLE = 0.1  # units of log-likelihood that a coarse rule may be off without a word


class AveragedDiagnostics(Diagnostics):
    """A result whose means can be averaged over the distribution of the clusters' effects."""

    if TYPE_CHECKING:

        @property
        def distribution(self) -> Distribution:
            """Of what a row's linear predictor has from its cluster, but for its scale."""

    @property
    @abstractmethod
    def _spread(self) -> float | Array:
        """Scale of what rows' linear predictors have from their cluster; shape (n,) where it differs between rows."""

    # Residuals over all clusters -------------------------------------------------------------------------------------

    @property
    def _drawn(self) -> str:
        return "marginal"

    @property
    def _known_intercepts(self) -> list[str]:
        return [*super()._known_intercepts, "marginal"]

    def _residuals(self, kind: str, intercepts: str | ArrayLike, n_sim: int, rng: np.random.Generator) -> Array:
        from clusterglm.inference.diagnostics.residuals import marginal_residuals

        if not isinstance(intercepts, str) or intercepts != "marginal":
            return super()._residuals(kind, intercepts, n_sim, rng)
        if kind == "quantile":
            return self._marginal_quantile(rng, slice(None))
        if kind == "simulated":
            return self._ranks(self._draw_new, n_sim, rng)
        if kind == "deviance":
            raise OptionError(
                "deviance residuals over all clusters",
                "a linear predictor for each row",
                'kind="quantile" or "pearson"; or intercepts="conditional"',
            )
        return marginal_residuals(kind, self._response_of_rows, self._moments, *self._single)

    def _marginal_quantile(self, rng: np.random.Generator, rows: NDArray[np.int64] | slice) -> Array:
        from clusterglm.inference.diagnostics.quantile_residuals import marginal_ends, randomised

        eta, trials, sigma = self._eta(0.0)[rows], self.data.rows.trials[rows], self._spread
        sigma, response = sigma[rows] if isinstance(sigma, np.ndarray) else sigma, self._response_of_rows.of_rows(rows)
        ends = marginal_ends(response, self._y[rows], eta, trials, self.distribution, sigma)
        _warn_unresolved(ends.unresolved)
        return randomised(ends, rng)

    def _uniformity_finding(self, rng: np.random.Generator) -> Finding:
        from clusterglm.inference.diagnostics.adequacy import of_uniformity
        from clusterglm.inference.diagnostics.quantile_residuals import uniformity

        own = self._written_out("quantile residuals")
        starts = own.data.rows.starts
        rows = starts[:-1] + rng.integers(0, np.diff(starts))  # others depend on these
        z = own._marginal_quantile(rng, rows)
        return of_uniformity("marginal quantile residuals, one row of each cluster", uniformity(ndtr(z)))

    @cached_property
    def _moments(self) -> MarginalMoments:
        moments = self._marginal_moments()
        _warn_unresolved(moments.unresolved)
        return moments

    def _marginal_moments(self) -> MarginalMoments:
        from clusterglm.inference.diagnostics.residuals import marginal_moments

        return marginal_moments(self.response, self._eta(0.0), self.distribution, self._spread)

    @property
    def _averaged_counts(self) -> tuple[Array, Distribution, float | Array]:
        return self._eta(0.0), self.distribution, self._spread

    @property
    def _calibrated(self) -> str:
        """Means at modes, which have seen the responses, look worse calibrated than they are."""
        return "marginal" if np.isfinite(self._moments.mean).all() else self._own

    def _mean_at(self, intercepts: str) -> Array:
        return self._moments.mean if intercepts == "marginal" else super()._mean_at(intercepts)


class RandomEffectsDiagnostics(AveragedDiagnostics):
    """A result whose likelihood is an integral over one intercept."""

    if TYPE_CHECKING:

        @property
        def fit(self) -> RandomEffectsFit:
            """The estimates."""

    @property
    def _spread(self) -> float | Array:
        return float(self.fit.sigma)

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.influence import random_effects_deletion

        return random_effects_deletion(self.fit, self.data.rows)

    def _predictor(self) -> Callable[[ModelData], Array]:
        from clusterglm.inference.diagnostics.dispersion import at_modes

        return at_modes(self.fit)

    # The integrals ---------------------------------------------------------------------------------------------------

    def integration_check(self) -> IntegrationCheck:
        """Compare the quadrature that was used with an accurate one, at the estimates.

        Returns
        -------
        IntegrationCheck
            Differences of the log-likelihood, in all and of the worst cluster, and how far the parameters would move,
            in standard errors. Prints as a sentence with advice. Costs a few evaluations of the likelihood.

        Warns
        -----
        AccuracyWarning
            When the integrals were not accurate enough.
        """
        found = self._integration_checked
        if not found.adequate:
            warnings.warn(str(found), AccuracyWarning, stacklevel=2)
        return found

    @cached_property
    def _integration_checked(self) -> IntegrationCheck:
        from clusterglm.inference.diagnostics.adequacy import check_integration

        return check_integration(self.fit)

    def integration_curve(self, nodes: Sequence[int] = (1, 2, 3, 5, 9, 16, 25, 50)) -> IntegrationCurve:
        """Error of the log-likelihood at the estimates by so many adaptive Gauss-Hermite nodes.

        Parameters
        ----------
        nodes : sequence of int
            1 is the Laplace approximation.

        Raises
        ------
        OptionError
            At sigma = 0, where there is nothing to integrate, and on other numbers of nodes.
        """
        from clusterglm.inference.diagnostics.adequacy import integration_curve

        for n in (chosen := several("nodes", nodes, "numbers of nodes", "nodes=(1, 5, 25)", least=1)):
            whole_number("nodes", n, 1, MAX_NODES)
        if self.fit.sigma == 0.0:
            raise OptionError("integration errors at sigma = 0", "an intercept that varies", "integration_check()")
        return integration_curve(self.fit, chosen)

    _what_a_hint_advises = 'integration_check() says what that does to them; quadrature="auto" avoids it'

    @cached_property
    def _integration_hint(self) -> str:
        """A note for the summary, from a quick look without derivatives; empty where there is nothing to say."""
        from clusterglm.inference.diagnostics.adequacy import quick_difference

        apart = quick_difference(self.fit)
        if not abs(apart) > _NOTABLE:
            return ""
        return (
            f"Nine adaptive nodes change the log-likelihood by {-apart:+.2g} at these estimates: "
            f"{self._what_a_hint_advises}."
        )

    def _own_findings(self) -> list[Finding]:
        from clusterglm.inference.diagnostics.adequacy import Finding

        found = self._integration_checked
        return [Finding("Integration", found.adequate, unfolded(found))]


def _warn_unresolved(rows: int) -> None:
    if rows > 0:
        warnings.warn(
            f"averages over the intercept's distribution did not settle to 1e-10 in {rows} rows",
            AccuracyWarning,
            stacklevel=5,
        )
