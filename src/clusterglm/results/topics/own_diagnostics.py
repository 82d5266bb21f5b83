"""What results say of a fit whose response has parameters of its own, which count as known there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.poisson_log import PoissonLog

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.residuals import MarginalMoments


class OwnDiagnostics:
    """Of responses with parameters of their own."""

    if TYPE_CHECKING:
        data: Any

        @property
        def response(self) -> Response: ...
        @property
        def _response_of_rows(self) -> Response: ...
        def _mean_at(self, intercepts: str) -> Array: ...
        def _marginal_moments(self) -> MarginalMoments: ...

    def _calibration_by(self, kind: str) -> tuple[Response, Array | None]:
        """By score equations that are right of any mean; intervals have the variance of these responses."""
        plain: Response = BinomialLogit() if self.response.bounded else PoissonLog()
        a, b = self.data.rows.a, self.data.rows.b
        more = self.response.overdispersion(a, b)
        if kind == "marginal":  # trials of a row share its cluster
            moments = self._marginal_moments()
            return plain, moments.between * self.response.sizes(a, b) + moments.within * more
        return plain, self._response_of_rows.variance(self._mean_at(kind)) * more
