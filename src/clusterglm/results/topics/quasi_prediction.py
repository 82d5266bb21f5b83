"""Predictions and residuals by penalised quasi-likelihood: at effects of zero, given the data, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError, check_option
from clusterglm.fit.pql import PqlFit
from clusterglm.inference.predictions.prediction import LinkPrediction
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.results.topics.gaussian_prediction import GaussianPredictions
from clusterglm.results.topics.newdata import Rows, columns_with_effects
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    import pandas as pd

_RESIDUALS = ("response", "pearson")
_AT = ("conditional", "typical")


class QuasiPredictions(GaussianPredictions):
    """Predictions of responses that have a mean, from effects that working models predict."""

    _kinds = ("typical", "conditional", "marginal")

    if TYPE_CHECKING:
        fit: PqlFit  # type: ignore[assignment]

        @property
        def response(self) -> Response: ...
        @property
        def _single(self) -> tuple[Array, Array]: ...
        def _fitted_eta(self) -> Array: ...
        def _eta(self, intercepts: Array | float) -> Array: ...

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        if wanted.unseen == "marginal":
            raise OptionError(
                'unseen="marginal" of a fit by penalised quasi-likelihood',
                "rows of levels that were fitted",
                'kind="marginal" for rows of others',
            )
        return self._over_effects(rows, wanted) if kind == "marginal" else super()._at_kind(kind, rows, wanted)

    def _over_effects(self, rows: Rows, wanted: Wanted) -> LinkPrediction:
        """The link of the mean averaged over the effects, whose part of the linear predictor is normal.

        The derivative of the averaged mean in the variance of that part is half its second one in the linear predictor.
        """
        from clusterglm.inference.predictions.normal_mean import normal_jet

        fit, places = self.fit, self.fit.parameters
        Z = columns_with_effects(fit.effects, rows)
        which = np.flatnonzero(rows.status.ok)
        z, eta = Z[which], rows.eta(self._beta)[which]
        scaled = z @ fit.factor
        at = normal_jet(eta, np.sqrt(np.einsum("ij,ij->i", scaled, scaled)), fit.response).on_link(fit.response)
        link, own = np.full(rows.size, np.nan), np.zeros((rows.size, len(fit.theta)))
        link[which] = at.mean
        gradient = np.zeros((len(which), len(fit.theta)))
        gradient[:, places.coefficients] = at.first[:, None] * rows.X[which]
        # d (z'L L'z) / d phi = 2 (L'z)' (dL'z)
        moved = np.einsum("ni,kij,nj->nk", z, fit.effects.covariance.slopes(fit.phi), scaled)
        gradient[:, places.place("random")] = at.second[:, None] * moved
        own[which] = gradient
        new = np.ones(rows.size, dtype=bool) if wanted.interval == "cluster" else None
        zero = np.zeros(rows.size)
        return LinkPrediction(link, zero, zero, own=own, cluster=np.arange(rows.size), of_new=new)

    def residuals(
        self, kind: str = "response", intercepts: Any = None, seed: Any = None, n_sim: int = 250
    ) -> pd.Series[float]:
        """Residuals of the rows that were used.

        Parameters
        ----------
        kind : {"response", "pearson"}
            Observed (share of successes, or count) minus mean; the same over its standard deviation, the dispersion
            among it.
        intercepts : "conditional" or "typical", optional
            At the effects given the data (the default), or at effects of zero.
        seed, n_sim
            Of no use: nothing is drawn.

        Returns
        -------
        Series
            Index `row`: position in the user's table. A residual is that of one row: weights play no part.

        Raises
        ------
        OptionError
            On another kind, or other intercepts.
        """
        from clusterglm.inference.diagnostics.residuals import residuals

        check_option("kind", kind, _RESIDUALS)
        at = check_option("intercepts", _AT[0] if intercepts is None else intercepts, _AT)
        eta = self._fitted_eta() if at == "conditional" else self._eta(0.0)
        values = residuals(kind, self.response, eta, *self._single)
        return self._in_user_order(values if kind == "response" else values / self.fit.residual_sd, "residual")
