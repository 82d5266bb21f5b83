"""Tests of no clustering of counts whose zeros have a linear predictor too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.pooled import PooledFit
from clusterglm.model.response.base import Response
from clusterglm.results.topics.clustering import ClusteredResult
from clusterglm.results.topics.zero_diagnostics import linear_predictor

if TYPE_CHECKING:
    from clusterglm.inference.hypotheses.bootstrap import Refit
    from clusterglm.model.response.zeros.inflated import ZeroInflated


class ZeroClustering(ClusteredResult):
    """Draws are from both linear predictors without clusters, and both are fitted again."""

    _by_ratio = ("bootstrap", "permutation", "boundary")

    fit: Any

    if TYPE_CHECKING:

        @property
        def _zero(self) -> ModelData: ...

    def _again(self, new: ModelData) -> Any:
        """The fit of the model to other responses."""
        raise NotImplementedError

    @property
    def _null_response(self) -> Response:
        inflated: ZeroInflated = self.fit.pooled.inflated
        return inflated.at_odds(linear_predictor(self._zero, inflated))

    def _refuse_clustering_test(self, method: str, statistic: str, insist: bool) -> None:
        from clusterglm.inference.hypotheses.bootstrap import refuse_unlike_clusters

        super()._refuse_clustering_test(method, statistic, insist)
        if method == "permutation" and not insist:
            refuse_unlike_clusters(self._zero)

    def _refit(self, pooled: PooledFit) -> Refit:
        from clusterglm.inference.hypotheses.bootstrap import refit_by

        # labels that are dealt out anew number the rows by their places here
        by_place = replace(self.fit, zero=replace(self._zero, row_index=np.arange(self._zero.n_obs)))
        dealt: ZeroClustering = replace(self, fit=by_place)  # type: ignore[type-var]  # all results are dataclasses
        X = self.data.rows.X
        return refit_by(lambda new: (self if new.X is X else dealt)._again(new))
