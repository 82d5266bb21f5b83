"""Predictions and average effects at the intercepts of two factors."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.data.groupings import Levels
from clusterglm.data.prepare import ModelData
from clusterglm.data.two_way import TwoWay
from clusterglm.errors import DataError, check_option
from clusterglm.fit.two_way import TwoWayFit
from clusterglm.inference.predictions.prediction import LinkPrediction, at_intercepts
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.inference.uncertainty.two_way import Joint
from clusterglm.model.arrays import Array
from clusterglm.results.topics.effect_rows import EffectRows, recovered_variables
from clusterglm.results.topics.effects import Effects
from clusterglm.results.topics.heterogeneity import row_weights
from clusterglm.results.topics.newdata import Rows, cluster_codes, new_rows, refuse_unknown_clusters
from clusterglm.results.topics.prediction import Predictions, Wanted

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects


class TwoWayPredictions(Predictions):
    """What is predicted with the effects of both factors."""

    _kinds = ("conditional",)

    if TYPE_CHECKING:
        fit: TwoWayFit
        data: ModelData
        levels: Levels

        @property
        def _used(self) -> TwoWay: ...
        @property
        def _joint(self) -> Joint: ...
        def _covariance(self, kind: str) -> Array: ...

    @with_alpha
    def predict(
        self,
        data: Any = None,
        kind: str | ArrayLike | None = None,
        *,
        scale: str = "response",
        level: float | None = None,
        cov: str = "observed",
    ) -> pd.Series[float] | pd.DataFrame:
        """Predict rows of the fitted data, or of new data with levels of both factors that the fit knows.

        Parameters
        ----------
        data : table, optional
            With the columns of the right-hand side and both factors; by default the rows that were used.
        kind : "conditional" or array_like, optional
            The effects of the rows' own levels; or a number in their place, or one for each row of the answer.
        scale : {"response", "link"}
            The mean (of one trial, for a binomial), or the linear predictor.
        level : float, optional
            Coverage of intervals. Without it, predictions alone.
        cov : {"observed", "robust", "robust:NAME", "two-way"}
            Covariance of the coefficients, for the intervals.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error` (from the joint
            information of coefficients and effects), `low`, `high` and `status`.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance.
        DataError
            When a column is missing altogether; on intervals where both factors have thousands of levels.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted: they are nan.
        """
        check_option("scale", scale, self._scales)
        return self._predicted(data, kind, scale, Wanted(level, cov))

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        first, second = self._levels_of(rows)
        estimate = rows.eta(self._beta) + self.fit.intercepts[first] + self.fit.second[second]
        if wanted.level is None:
            return at_intercepts(estimate)
        variance = self._joint.variances_at(rows.X, first, second, self._covariance(wanted.cov))
        return LinkPrediction(estimate, np.zeros(rows.size), variance)

    def _levels_of(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Levels of both factors of each row, 0 where they are not known and the row therefore refused."""
        if rows.frame is None:
            return self._used.first_codes, self.levels.codes
        found = []
        for name, labels in ((self.data.cluster_name, self.data.labels), (self.levels.group, self.levels.labels)):
            codes, words = cluster_codes(labels, name, rows.frame)
            refuse_unknown_clusters(rows.status, codes, words, str(name), "the fit")
            found.append(np.maximum(codes, 0))
        return found[0], found[1]


class TwoWayEffects(Effects):
    """What is averaged at the effects of both factors."""

    _mean_kinds = ("conditional",)
    _marginal_differs: ClassVar[bool] = True

    if TYPE_CHECKING:
        fit: TwoWayFit
        data: ModelData
        levels: Levels

        @property
        def _used(self) -> TwoWay: ...
        @property
        def _joint(self) -> Joint: ...
        def _levels_of(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...

    @with_alpha
    def average_effects(
        self,
        variables: Any = None,
        kind: str = "conditional",
        *,
        by: Any = None,
        comparison: str = "difference",
        level: float = 0.95,
        data: Any = None,
        cov: str = "observed",
    ) -> pd.DataFrame:
        """Average changes of the mean when a variable of the data changes, at the estimated effects of both factors.

        Parameters
        ----------
        variables, by, comparison, level
            As in a model with effects of one factor.
        kind : "conditional"
            At each row's own effects, the only kind there is.
        data : table, optional
            The table that was fitted, needed where the design does not tell a variable's values; or another one of the
            same levels, over whose complete rows to average.
        cov : {"observed", "robust", "robust:NAME", "two-way"}
            Covariance of the coefficients.

        Returns
        -------
        DataFrame
            One row per effect: `term`, `contrast`, the columns of `by`, `estimate`, `std_error`, `z`, `pvalue`,
            `conf_low`, `conf_high`, `note`.

        Notes
        -----
        Over the rows in use, which leave out those that the effects predict perfectly. Standard errors by the delta
        method on the joint information of coefficients and all effects. After `bias_correction` averages are those at
        corrected coefficients; what the noise of the effects adds to them is not taken off.
        """
        check_option("kind", kind, self._mean_kinds)
        check_option("cov", cov, self._covariances)
        check_level(level)
        words = "over rows that the effects do not predict perfectly" if self._left_out else ""
        return self._effects_over(variables, kind, by, comparison, level, cov, lambda: (self._rows(data), words))

    @property
    def _left_out(self) -> bool:
        return any(" of " in each.reason or "certain" in each.reason for each in self.data.dropped)

    def _rows(self, table: Any) -> EffectRows:
        from clusterglm.inference.diagnostics.design_changes import table_frame

        data = self.data
        if table is None:
            pairs = self._pairs(self._used.first_codes, self.levels.codes)
            return EffectRows(recovered_variables(data), data.offset, row_weights(data), pairs, np.ones(data.n_obs))
        rows = new_rows(data, table)
        first, second = self._levels_of(rows)
        kept = np.flatnonzero(rows.status.ok)
        if len(kept) == 0:
            raise DataError(
                f"data= without a row to average over ({rows.status})",
                "complete rows of known levels",
                "the fitted table",
            )
        assert rows.frame is not None
        one = np.ones(len(kept))
        frame = table_frame(data.whole_design, rows.frame, kept)
        pairs = self._pairs(first[kept], second[kept])
        return EffectRows(frame, rows.offset[kept], one / len(kept), pairs, one)

    def _pairs(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
        """Levels of both factors in one number."""
        return first * len(self.levels.labels) + second

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "response"
    ) -> AverageEffects:
        from clusterglm.inference.effects.two_way import two_way_effects
        from clusterglm.inference.predictions.averaged_mean import link_jet, mean_jet

        levels = np.divmod(rows.codes, len(self.levels.labels))
        known = rows.offset + self.fit.intercepts[levels[0]] + self.fit.second[levels[1]]
        jet = link_jet if scale == "link" else partial(mean_jet, response=self.response)
        covariance = self._covariance(cov)
        return two_way_effects(changes, self._beta, known, rows.weights, covariance, jet, self._joint, levels)
