"""Predictions of zero-inflated counts: means, counts that are no certain zeros, probabilities of zeros."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.errors import check_option
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters
from clusterglm.model.response.zeros.inflated import ZeroInflated
from clusterglm.results.topics.newdata import Rows, fitted_rows, new_rows, one_per_row
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.predictions.prediction import LinkPrediction
    from clusterglm.inference.predictions.zeros import Predictors

_STEP_OF_SHIFTS = 1e-4  # of differences in parameters, over 1 + their size
_ALONE = Wanted(None, "observed")  # a prediction without an interval
_NAMES = {
    "response": "mean", "count": "count", "zero": "probability_of_zero", "excess": "probability_of_excess_zero",
    "link": "linear_predictor",
}  # fmt: skip
_LINKS = {"response": "log", "count": "log", "zero": "logit", "excess": "logit", "link": "identity"}
_WHERE = ("typical", "conditional", "marginal")


class ZeroPredictions:
    """What is predicted of rows with two linear predictors."""

    _scales: tuple[str, ...] = ("response", "count", "zero", "excess", "link")

    if TYPE_CHECKING:
        fit: Any
        data: FittedData

        @property
        def _inner(self) -> Parameters: ...
        @property
        def _parameters(self) -> Parameters: ...
        @property
        def _beta(self) -> Array: ...
        @property
        def _values(self) -> Array: ...
        @property
        def _covariances(self) -> tuple[str, ...]: ...
        def _covariance_of_predictions(self, cov: str) -> Array: ...

    @property
    def _inflated(self) -> ZeroInflated:
        found: ZeroInflated = self.fit.inflated
        return found

    @property
    def _zero(self) -> ModelData:
        """The rows with the columns of zeros."""
        found: ModelData = self.fit.zero_rows
        return found

    @property
    def _k(self) -> int:
        """Parameters of the response that are no coefficients of zeros."""
        return int(self._inflated.dispersed)

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
            Anything the fit takes as data, with the columns of both formulas; by default the rows that were used.
        kind : {"typical", "conditional", "marginal"} or array_like, optional
            At an intercept of zero, that of a typical cluster (the default); at the posterior mode of the row's own
            cluster; averaged over the distribution of intercepts; or a number, or one for each row of the answer. In a
            pooled model the words mean the same.
        scale : {"response", "count", "zero", "excess", "link"}
            The mean; the mean of counts that are no zeros for certain, or have passed the hurdle; P(y = 0); P(a zero
            for certain), of zero inflation; or the linear predictor of counts. Offsets are included.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error` (delta method), `low`,
            `high` (an interval of the logarithm, or of the log odds, transformed; of linear predictors themselves) and
            `status`: "ok", or what is missing.

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
        import pandas as pd

        from clusterglm.inference.predictions.zeros import predicted, with_intervals
        from clusterglm.results.tables.frame import shown

        check_option("scale", scale, tuple(self._inflated.scales))
        check_option("cov", cov, self._covariances)
        rows, at = self._predictors(data, kind)

        def whole(theta: Array, shift: Array | float) -> Array:
            own = replace(self._inflated, values=tuple(theta[len(self._inner) :].tolist()))
            beta, sigma, zero = self._split(theta, rows)
            return predicted(own.scales[scale], replace(at, shift=at.shift + shift), beta, sigma, zero)

        order = np.argsort(rows.index, kind="stable")
        index = pd.Index(rows.index[order], name="row")
        if level is None:
            rows.status.warn(stacklevel=3)
            return pd.Series(whole(self._theta, 0.0)[order], index=index, name=_NAMES[scale])
        covariance = self._covariance_of_predictions(cov)
        moves = self._moves(rows, kind, covariance)
        found = with_intervals(whole, self._theta, covariance, check_level(level), _LINKS[scale], moves)
        columns = {"estimate": found.estimate, "std_error": found.std_error, "low": found.low, "high": found.high}
        table = pd.DataFrame({name: values[order] for name, values in columns.items()}, index=index)
        table["status"] = rows.status.text[order]
        return shown(table)

    @property
    def _theta(self) -> Array:
        """All parameters: (beta, sigma where there is one, the response's)."""
        sigma = [self.fit.sigma] if self._inner.scales else []
        return np.concatenate([self._beta, sigma, np.where(np.isinf(self._values), -700.0, self._values)])

    def _split(self, theta: Array, rows: Rows) -> tuple[Array, float | Array, Array]:
        """(beta, standard deviation of what rows have from their clusters, coefficients of zeros)."""
        at, inner = self._parameters, self._inner
        sigma = float(theta[inner.scale]) if inner.scales else 0.0
        return theta[at.coefficients], sigma, theta[at.zeros]

    def _predictors(self, data: Any, kind: Any) -> tuple[Rows, Predictors]:
        from clusterglm.inference.predictions.zeros import Predictors

        if data is None:
            rows, zero = fitted_rows(self.data.rows), fitted_rows(self._zero)
        else:
            rows, zero = new_rows(self.data, data), new_rows(self._zero, data)
            rows.status.refuse(~zero.status.ok, zero.status.text)
        shift, averaged = self._shift(kind, rows)
        ok = rows.status.ok
        shift = np.where(ok, shift, np.nan)
        return rows, Predictors(rows.X, rows.offset, shift, zero.X, averaged)

    def _shift(self, kind: Any, rows: Rows) -> tuple[Array, bool]:
        """Each row's intercept, and whether predictions are averaged over intercepts."""
        kind = "typical" if kind is None else kind
        if not isinstance(kind, str):
            return np.asarray(rows.given(one_per_row(kind, rows.size, list(_WHERE), "kind")), dtype=np.float64), False
        check_option("kind", kind, _WHERE)
        return self._named_shift(kind, rows)

    def _named_shift(self, kind: str, rows: Rows) -> tuple[Array, bool]:
        return np.zeros(rows.size), False

    def _moves(self, rows: Rows, kind: Any, covariance: Array) -> Array | None:
        """As `KindsInWords` has it, in `_theta`; 0 in what has no variance."""
        return None


class ZerosAtModes(ZeroPredictions):
    """ "conditional" is at the posterior modes of the effects of a row's clusters."""

    if TYPE_CHECKING:

        def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction: ...

    def _named_shift(self, kind: str, rows: Rows) -> tuple[Array, bool]:
        if kind != "conditional":
            return np.zeros(rows.size), kind == "marginal"
        return self._at_kind(kind, rows, _ALONE).estimate - rows.eta(self._beta), False

    def _moves(self, rows: Rows, kind: Any, covariance: Array) -> Array | None:
        """By differences of all that modes depend on."""
        if not isinstance(kind, str) or kind != "conditional":
            return None
        inner, values = self.fit.theta, np.array(self._inflated.values)
        found = np.zeros((rows.size, len(covariance) + 1))

        def shift(move: Array) -> Array:
            fit = self.fit.moved(inner + move[: len(inner)], values + move[len(inner) :])
            return replace(self, fit=fit)._named_shift(kind, rows.unmarked())[0]  # type: ignore[type-var]

        for k in np.flatnonzero(np.diag(covariance) > 0.0):
            move = np.zeros(len(covariance))
            move[k] = step = _STEP_OF_SHIFTS * (1.0 + abs(self._theta[k]))
            found[:, k] = (shift(move) - shift(-move)) / (2.0 * step)
        found[:, -1] = np.sqrt(np.maximum(self._left_open(rows), 0.0))
        return found

    def _left_open(self, rows: Rows) -> Array:
        """Mean square about the modes of what rows have from their clusters, given the data, shape (n,)."""
        return self._at_kind("conditional", rows.unmarked(), _ALONE).extra
