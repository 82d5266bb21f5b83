"""R^2 of models with random effects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.data.formulas.coding import INTERCEPT
from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.errors import OptionError, check_option
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

if TYPE_CHECKING:
    from clusterglm.inference.effects.r_squared import R2


class ExplainedVariance:
    """How much of the variance covariates and random effects explain."""

    if TYPE_CHECKING:
        data: FittedData

        @property
        def response(self) -> Response: ...
        @property
        def n_obs(self) -> int: ...
        @property
        def _beta(self) -> Array: ...
        def _fitted_to(self, new: ModelData) -> Any: ...
        def _effects_variances(self) -> dict[str, Array]:
            """Variance of the random effects' part of each row, by grouping factor."""

    def r2(self, method: str | None = None) -> R2:
        """Marginal and conditional R^2: shares of the variance on the scale of the linear predictor.

        Parameters
        ----------
        method : "theoretical", "delta", "lognormal" or "trigamma", optional
            Where the variance of single responses comes from: that of the latent variable (pi^2/3 for the logit, the
            default for binomial responses), or the delta method; for counts the trigamma function (the default), the
            lognormal approximation, or the delta method. All but the first fit the null model, an intercept with the
            same random effects.

        Returns
        -------
        R2
            `marginal`, `conditional`, `method`, and the partition of the variance.

        Raises
        ------
        OptionError
            On a method that there is not for the response, and where random intercepts have no variance.

        Notes
        -----
        Nakagawa, Johnson and Schielzeth (J. R. Soc. Interface 14, 2017); with random slopes Johnson (Methods in Ecology
        and Evolution 5, 2014). The offset is left out, as in R's MuMIn. Rows count with their trials and weights, so
        that grouped responses have the R^2 of their trials (MuMIn counts each row once). MuMIn and performance
        approximate the null model's mean of binary responses for "delta"; here it is the exact integral.
        """
        from clusterglm.inference.effects.r_squared import explained, methods_for, residual_variance

        known = methods_for(self.response)
        method = check_option("method", known[0] if method is None else method, known)
        data = self.data.rows
        weights = data.weights * data.trials * np.repeat(data.cluster_weights, np.diff(data.starts))
        share, whole = weights / weights.sum(), bool((np.rint(weights) == weights).all())
        groups = {name: float(share @ each) for name, each in self._effects_variances().items()}
        if not np.isfinite(list(groups.values())).all():
            raise OptionError(
                "R2 with random intercepts whose distribution has no variance",
                "a distribution with a variance",
                'distribution="gaussian"; or fit.average_effects(), which needs none',
            )
        mean = 0.0 if method == "theoretical" else self._null_mean(share)
        residual = residual_variance(method, mean, self.response)
        count = int(weights.sum()) if whole else self.n_obs
        return explained(data.X @ self._beta, weights, count, groups, residual, method)

    def _null_mean(self, share: Array) -> float:
        """Mean of the null model averaged over its random effects and over the rows."""
        data = self.data.rows
        ones = np.ones((data.n_obs, 1))
        null = self._fitted_to(replace(data, X=ones, names=(INTERCEPT,), intercept=0, offset=np.zeros(data.n_obs)))
        order = np.argsort(data.row_index, kind="stable")
        return float(share[order] @ null.predict(kind="marginal").to_numpy())
