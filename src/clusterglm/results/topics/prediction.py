"""Predictions of every kind of result, with standard errors, intervals and a status for each row."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.errors import OptionError, check_option
from clusterglm.inference.predictions.prediction import (
    LinkPrediction,
    PredictedIntercepts,
    Prediction,
    at_intercepts,
    fixed_intercepts,
    given_clusters,
    on_scale,
    with_interval,
)
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.likelihood.profile import ClusterProfile
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.results.models.weighted import Weighted
from clusterglm.results.topics.newdata import (
    Rows,
    cluster_codes,
    fitted_rows,
    new_rows,
    one_per_row,
    refuse_unknown_clusters,
)

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.fit.fixed_effects import FixedEffectsFit, ProfiledEstimates

SCALES = ("response", "link")
_NAMES = {"response": "mean", "link": "linear_predictor", "ratio": "ratio", "probability": "probability"}


@dataclass(frozen=True)
class Wanted:
    """What is asked for besides the kind; defaults where a model does not know the question.

    Parameters
    ----------
    level : float or None
        Coverage of intervals; None where none are asked for.
    cov : {"observed", "robust"}
    history : table, optional
    interval : {"mean", "cluster"}
    unseen : {"refuse", "marginal"}
    total : int or array_like, optional
    effects : tuple of str, optional
        Grouping factors whose effects count; None means all.
    """

    level: float | None
    cov: str
    history: Any = None
    interval: str = "mean"
    unseen: str = "refuse"
    total: Any = None
    effects: tuple[str, ...] | None = None


class Predictions(Weighted):
    """The steps of a prediction, which kinds of results share."""

    _kinds: tuple[str, ...] = ("typical", "conditional", "marginal")
    """Words for the intercept, the default first."""
    _scales: tuple[str, ...] = SCALES
    """The default first."""
    _takes_kind: bool = True
    """Whether `predict` asks which intercept."""
    _drawn_kinds: tuple[str, ...] = ()
    """Kinds of which a picture has a curve, where nobody says which."""
    _drawn_clusters: int | None = None
    """Clusters of which a picture has a curve, where nobody says how many; None where it can have none."""
    _curves_differ: bool = True
    """Whether predictions of different kinds do; where they do not, curves need no name."""

    if TYPE_CHECKING:

        @property
        def response(self) -> Response: ...
        @property
        def _covariances(self) -> tuple[str, ...]: ...
        @property
        def _beta(self) -> Array: ...
        def _delta_covariance(self, kind: str) -> Array: ...

    @abstractmethod
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict rows of the fitted data or of new data; each kind of result says at which intercepts."""

    def _predicted(
        self, data: Any, kind: str | ArrayLike | None, scale: str, wanted: Wanted
    ) -> pd.Series[float] | pd.DataFrame:
        check_option("cov", wanted.cov, self._covariances)
        if wanted.level is not None:
            check_level(wanted.level)
        kind = self._kinds[0] if kind is None else kind
        rows = fitted_rows(self.data.rows) if data is None else new_rows(self.data, data)
        return self._table(self._at(kind, rows, scale, wanted), rows, scale, wanted)

    def _at(self, kind: Any, rows: Rows, scale: str, wanted: Wanted) -> LinkPrediction:
        """At intercepts of a kind or given as numbers; derivatives are those of what `scale` makes of it."""
        named = isinstance(kind, str) and kind in self._kinds
        at = self._at_kind(kind, rows, wanted) if named else self._at_numbers(kind, rows)
        return at if wanted.level is None else self._moved_by_response(at, kind, rows, scale, wanted)

    def _moved_by_response(
        self, at: LinkPrediction, kind: Any, rows: Rows, scale: str, wanted: Wanted
    ) -> LinkPrediction:
        """With derivatives in the response's own parameters, where it has some."""
        return at

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        """At an intercept by name; with what standard errors need where there is a level."""
        return at_intercepts(rows.eta(self._beta))

    def _at_numbers(self, kind: Any, rows: Rows) -> LinkPrediction:
        if isinstance(kind, str) and kind in (*SCALES, "ratio"):
            raise OptionError(
                f"kind={kind!r}", f"one of {', '.join(map(repr, self._kinds))}, or intercepts", f"scale={kind!r}"
            )
        if isinstance(kind, str):
            check_option("kind", kind, self._kinds)
        return at_intercepts(rows.eta(self._beta) + rows.given(one_per_row(kind, rows.size, self._kinds, "kind")))

    def _table(self, at: LinkPrediction, rows: Rows, scale: str, wanted: Wanted) -> pd.Series[float] | pd.DataFrame:
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        order = np.argsort(rows.index, kind="stable")
        index = pd.Index(rows.index[order], name="row")
        if wanted.level is None:
            rows.status.warn(stacklevel=5)
            values = on_scale(scale, self.response, at.estimate)[0]
            return pd.Series(values[order], index=index, name=_NAMES[scale])
        found = self._with_interval(at, rows, scale, wanted.level, wanted.cov)
        table = pd.DataFrame(
            {
                "estimate": found.estimate[order],
                "std_error": found.std_error[order],
                "low": found.low[order],
                "high": found.high[order],
                "status": rows.status.text[order],
            },
            index=index,
        )
        return shown(table)

    def _with_interval(self, at: LinkPrediction, rows: Rows, scale: str, level: float, cov: str) -> Prediction:
        variance = at.variance(rows.X, self._covariance_of_predictions(cov))
        return with_interval(scale, self.response, at.estimate, variance, level)

    def _covariance_of_predictions(self, cov: str) -> Array:
        """Of all that predictions have derivatives in; 0 for what is taken as known."""
        return self._delta_covariance(cov)

    def _codes(self, rows: Rows, labels: NDArray[Any] | None = None, where: str = "the fit") -> NDArray[np.int64]:
        """Each row's cluster, 0 where it is not known and the row therefore refused."""
        if rows.frame is None:
            return np.repeat(np.arange(self.data.n_clusters), np.diff(self.data.rows.starts))
        known = self.data.rows.labels if labels is None else labels
        codes, words = cluster_codes(known, self.data.cluster_name, rows.frame)
        refuse_unknown_clusters(rows.status, codes, words, str(self.data.cluster_name), where)
        return np.maximum(codes, 0)


class PooledPredictions(Predictions):
    """Predictions where clusters have no effect: all kinds mean the same."""

    _drawn_kinds = ("typical",)
    _curves_differ = False

    @overload
    def predict(
        self,
        data: Any = ...,
        kind: str | ArrayLike | None = ...,
        *,
        scale: str = ...,
        level: None = ...,
        cov: str = ...,
    ) -> pd.Series[float]: ...
    @overload
    def predict(
        self, data: Any = ..., kind: str | ArrayLike | None = ..., *, scale: str = ..., level: float, cov: str = ...
    ) -> pd.DataFrame: ...

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
        """Predict rows of the fitted data or of new data.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
        kind : {"typical", "conditional", "marginal"} or array_like, optional
            Which intercept; without cluster effects the words mean the same. A number, or one for each row, is added to
            the linear predictor.
        scale : {"response", "link"}
            Scale of the predictions: the mean (of one trial, for a binomial), or the linear predictor. Offsets are
            included, weights are not.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error` (delta method), `low`,
            `high` (an interval of the linear predictor, transformed) and `status`: "ok", or what is missing.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance.
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted: they are nan.
        """
        check_option("scale", scale, self._scales)
        return self._predicted(data, kind, scale, Wanted(level, cov))


class FixedEffectsPredictions(Predictions):
    """Predictions at estimated intercepts."""

    _kinds = ("conditional",)
    _drawn_clusters = 3

    if TYPE_CHECKING:
        fit: FixedEffectsFit | ProfiledEstimates

        @property
        def _profile(self) -> ClusterProfile: ...

    @overload
    def predict(
        self,
        data: Any = ...,
        kind: str | ArrayLike | None = ...,
        *,
        scale: str = ...,
        level: None = ...,
        cov: str = ...,
    ) -> pd.Series[float]: ...
    @overload
    def predict(
        self, data: Any = ..., kind: str | ArrayLike | None = ..., *, scale: str = ..., level: float, cov: str = ...
    ) -> pd.DataFrame: ...

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
        """Predict rows of the fitted data or of new data of the same clusters.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side and of the clusters; by default the
            rows that were used.
        kind : "conditional" or array_like, optional
            The intercepts of the rows' own clusters; or a number, or one for each row of the answer.
        scale : {"response", "link"}
            Scale of the predictions: the mean (of one trial, for a binomial), or the linear predictor. Offsets are
            included, weights are not.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error` (from the joint
            information of coefficients and intercepts), `low`, `high` (an interval of the linear predictor,
            transformed) and `status`: "ok", or what is missing. 0 or 1, without a standard error, in clusters whose
            intercept is infinite.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance.
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted: they are nan.
        """
        check_option("scale", scale, self._scales)
        return self._predicted(data, kind, scale, Wanted(level, cov))

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        codes = self._codes(rows)
        of_clusters = self.fit.by_cluster.intercepts
        intercepts = of_clusters[codes]
        if wanted.level is None:
            return at_intercepts(rows.eta(self._beta) + intercepts)
        words = self.response.words
        for where, which in ((np.isneginf(intercepts), words.low), (np.isposinf(intercepts), words.high)):
            rows.status.note(where, f"no standard error: the cluster's responses are all {which}")
        at = fixed_intercepts(self._profile, self.data.rows.cluster_weights / self._repeats.clusters)
        known = PredictedIntercepts(of_clusters, at.derivatives, at.variances)
        return given_clusters(rows.eta(self._beta), codes, known)
