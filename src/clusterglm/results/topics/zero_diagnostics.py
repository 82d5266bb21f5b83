"""What such results say of the fit: both linear predictors of every row are held against its count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from clusterglm.errors import check_option
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.response.base import Response
from clusterglm.model.response.poisson_log import PoissonLog

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

    from clusterglm.data.prepare import ModelData
    from clusterglm.inference.diagnostics.residuals import MarginalMoments
    from clusterglm.model.response.zeros.inflated import ZeroInflated
    from clusterglm.model.response.zeros.rows import AtOdds
    from clusterglm.results.topics.diagnostics import Diagnostics as Base
else:
    Base = object

_RESIDUALS = ("response", "pearson", "quantile", "simulated")


def linear_predictor(zero: ModelData, inflated: ZeroInflated) -> Array:
    """Of zeros, no further out than their exponential can be taken, shape (n,)."""
    return np.clip(zero.X @ inflated.zero, -700.0, 700.0)


class ZeroDiagnostics(Base):
    """Of counts whose zeros have a linear predictor."""

    _resid_of_broom = "pearson"  # there is no saturated model

    if TYPE_CHECKING:

        @property
        def _spread(self) -> float | Array:
            """As `AveragedDiagnostics` has it; 0 without cluster effects."""

        @property
        def _inflated(self) -> ZeroInflated: ...
        @property
        def _zero(self) -> ModelData: ...

    @property
    def _w(self) -> Array:
        """Linear predictor of zeros of the rows in cluster order."""
        return linear_predictor(self._zero, self._inflated)

    @property
    def _response_of_rows(self) -> AtOdds:
        return self._inflated.at_odds(self._w)

    def _draw(self, eta: Array, rng: np.random.Generator) -> Array:
        return self._response_of_rows.draw(rng, eta)

    def residuals(
        self,
        kind: str = "response",
        intercepts: str | ArrayLike | None = None,
        seed: Any = None,
        n_sim: int = 250,
    ) -> pd.Series[float]:
        """Residuals of the rows that were used: see `PooledResult.residuals`.

        Parameters
        ----------
        kind : {"response", "pearson", "quantile", "simulated"}
            Observed less mean; the same over the standard deviation, zeros for certain among both; randomised quantile
            residuals, standard normal if the model holds; or ranks among simulated responses.
        intercepts, seed, n_sim
            As there.

        Raises
        ------
        OptionError
            On another kind.
        """
        check_option("kind", kind, _RESIDUALS)
        return super().residuals(kind, intercepts, seed, n_sim)

    def _marginal_moments(self) -> MarginalMoments:
        from clusterglm.inference.diagnostics.residuals import marginal_moments, with_zeros_for_certain

        counts = marginal_moments(self._inflated.count, self._eta(0.0), Gaussian(), self._spread)
        return with_zeros_for_certain(counts, expit(self._w))

    def _calibration_by(self, kind: str) -> tuple[Response, Array | None]:
        """By Poisson's score equations, which are right of any mean; intervals have the variance of these counts."""
        if kind == "marginal":
            moments = self._marginal_moments()
            return PoissonLog(), moments.between + moments.within
        return PoissonLog(), self._response_of_rows.variance(self._mean_at(kind))
