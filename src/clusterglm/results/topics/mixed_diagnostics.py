"""What is special to the diagnostics of several random effects."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import AccuracyWarning, OptionError
from clusterglm.fit.mixed import MixedFit
from clusterglm.model.arguments import several, whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.distribution import Gaussian
from clusterglm.model.printing import unfolded
from clusterglm.model.quadrature import MAX_NODES
from clusterglm.results.topics.random_diagnostics import AveragedDiagnostics

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.adequacy import Finding, IntegrationCheck, IntegrationCurve
    from clusterglm.inference.diagnostics.influence import Deletion


class MixedDiagnostics(AveragedDiagnostics):
    """A result whose likelihood is an integral over several effects of each cluster."""

    if TYPE_CHECKING:
        fit: MixedFit

        @property
        def _read(self) -> tuple[Array, Array]: ...
        def _as_shown(self, values: Array) -> Array: ...

    @property
    def distribution(self) -> Gaussian:
        """Distribution of the random effects: they are jointly normal."""
        return Gaussian()

    @property
    def _spread(self) -> Array:
        """A row's z'b is normal with standard deviation |L'z|."""
        return np.asarray(np.linalg.norm(self.fit.effects.Z @ self.fit.factor, axis=1))

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.mixed_influence import mixed_deletion

        return mixed_deletion(self.fit, self._as_shown)

    def _predictor(self) -> Callable[[ModelData], Array]:
        from clusterglm.inference.diagnostics.mixed import effects_at_modes

        return effects_at_modes(self.fit)

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
        from clusterglm.inference.diagnostics.mixed import check_mixed_integration

        names, J = self._names_integrated, self._read[1]
        se = np.sqrt(np.diag(self._covariance("observed")))[: len(J)]
        return check_mixed_integration(self._integrated, names, J, se)

    @property
    def _integrated(self) -> MixedFit:
        """The fit whose integrals are looked at: with parameters of the response as known, where it has some."""
        return self.fit

    @property
    def _names_integrated(self) -> tuple[str, ...]:
        """Of its coefficients, standard deviations and correlations."""
        return self._parameters.names[: len(self._read[1])]

    def integration_curve(self, nodes: Sequence[int] = (1, 2, 3, 5, 9, 16, 25, 50)) -> IntegrationCurve:
        """Error of the log-likelihood at the estimates by so many adaptive Gauss-Hermite nodes for each effect.

        Parameters
        ----------
        nodes : sequence of int
            1 is the Laplace approximation. Numbers that make more than 100,000 points of a cluster are left out.

        Raises
        ------
        OptionError
            Where no effect varies, so that there is nothing to integrate, and on other numbers of nodes.
        """
        for n in (chosen := several("nodes", nodes, "numbers of nodes", "nodes=(1, 5, 25)", least=1)):
            whole_number("nodes", n, 1, MAX_NODES)
        if not self.fit.factor.any():
            raise OptionError(
                "integration errors where all standard deviations are 0", "an effect that varies", "integration_check()"
            )
        return self._integration_curve(chosen)

    def _integration_curve(self, nodes: list[int]) -> IntegrationCurve:
        from clusterglm.inference.diagnostics.mixed import mixed_integration_curve

        return mixed_integration_curve(self._integrated, nodes)

    def _own_findings(self) -> list[Finding]:
        from clusterglm.inference.diagnostics.adequacy import Finding

        found = self._integration_checked
        return [Finding("Integration", found.adequate, unfolded(found))]
