"""What a result whose likelihood is an integral says of the accuracy of its quadrature."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property

from clusterglm.errors import AccuracyWarning, OptionError
from clusterglm.fit.random_effects import RandomEffectsFit
from clusterglm.inference.adequacy import (
    Finding,
    IntegrationCheck,
    IntegrationCurve,
    check_integration,
    integration_curve,
    quick_difference,
)
from clusterglm.results.diagnostics import Diagnostics

_NOTABLE = 0.1  # units of log-likelihood that a coarse rule may be off without a word


class RandomEffectsDiagnostics(Diagnostics):
    """A result whose likelihood is an integral."""

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
        assert isinstance(self.fit, RandomEffectsFit)
        return check_integration(self.fit, self.data)

    def integration_curve(self, nodes: Sequence[int] = (1, 2, 3, 5, 9, 16, 25, 50)) -> IntegrationCurve:
        """Error of the log-likelihood at the estimates by so many adaptive Gauss-Hermite nodes.

        Parameters
        ----------
        nodes : sequence of int
            1 is the Laplace approximation.

        Raises
        ------
        OptionError
            At sigma = 0, where there is nothing to integrate.
        """
        assert isinstance(self.fit, RandomEffectsFit)
        if self.fit.sigma == 0.0:
            raise OptionError("integration errors at sigma = 0", "an intercept that varies", "integration_check()")
        return integration_curve(self.fit, self.data, nodes)

    @cached_property
    def _integration_hint(self) -> str:
        """A note for the summary, from a quick look without derivatives; empty where there is nothing to say."""
        assert isinstance(self.fit, RandomEffectsFit)
        apart = quick_difference(self.fit, self.data)
        if not abs(apart) > _NOTABLE:
            return ""
        return (
            f"Nine adaptive nodes change the log-likelihood by {-apart:+.2g} at these estimates: integration_check() "
            'says what that does to them; quadrature="auto" avoids it.'
        )

    def _own_findings(self) -> list[Finding]:
        found = self._integration_checked
        return [Finding("Integration", found.adequate, str(found))]
