"""Whether what was predicted happened: observed against predicted means, in groups and by recalibration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from clusterglm.data.prepare import ModelData
from clusterglm.data.resampled import only_rows
from clusterglm.errors import ClusterGLMError, OptionError
from clusterglm.fit.pooled import fit_pooled
from clusterglm.inference.diagnostics.residuals import observed
from clusterglm.inference.uncertainty.covariance import pooled_scores, sandwich
from clusterglm.inference.uncertainty.intervals import check_level
from clusterglm.model.arguments import whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.printing import printed
from clusterglm.model.response.base import Response

if TYPE_CHECKING:
    import pandas as pd

_NO_MEAN = 1e-300  # mean of rows that are all certain not to have an event


@dataclass(frozen=True)
class Groups:
    """Rows in groups of ascending predictions.

    Parameters
    ----------
    rows : ndarray of int64, shape (g,)
    size : ndarray, shape (g,)
        Trials, or the weight of counts.
    predicted, observed : ndarray, shape (g,)
        Means of one trial or count, weighted by size.
    low, high : ndarray, shape (g,)
        Score interval of the expected mean (Wilson's, and its like for counts). It takes rows to be independent given
        their predictions, so that it is too short for predictions that leave out what the rows of a cluster share.
    """

    rows: NDArray[np.int64]
    size: Array
    predicted: Array
    observed: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Recalibration:
    """link(mean) = intercept + slope * predictor, fitted to the data.

    Parameters
    ----------
    slope, slope_se : float
        Below 1: predictions too far apart; above: too close together.
    intercept, intercept_se : float
        At a slope of 1 (calibration in the large): positive where responses are higher than predicted.
    left_out : int
        Rows with a certain prediction (infinite intercepts).
    failure : str
        Why there are no numbers; empty if there are.
    """

    slope: float
    slope_se: float
    intercept: float
    intercept_se: float
    left_out: int
    failure: str = ""


@printed
@dataclass(frozen=True)
class Calibration:
    """Predicted beside observed means.

    Parameters
    ----------
    kind : {"conditional", "marginal", "typical"}
        Intercepts behind the predictions.
    response : Response
    groups : Groups
    recalibration : Recalibration
    brier : float
        Mean squared difference between a trial (or count) and its prediction: for a binomial Brier's score.
    brier_null : float
        The same of the overall mean as everybody's prediction.
    level : float
        Of the intervals.
    """

    kind: str
    response: Response
    groups: Groups
    recalibration: Recalibration
    brier: float
    brier_null: float
    level: float

    @property
    def family(self) -> str:
        """Name of the family."""
        return self.response.family

    def table(self) -> pd.DataFrame:
        """One row per group: `n_obs`, `size`, `predicted`, `observed`, `low`, `high`."""
        import pandas as pd

        g = self.groups
        columns = {
            "n_obs": g.rows,
            "size": g.size,
            "predicted": g.predicted,
            "observed": g.observed,
            "low": g.low,
            "high": g.high,
        }
        return pd.DataFrame(columns, index=pd.RangeIndex(1, len(g.rows) + 1, name="group"), copy=True)

    def __str__(self) -> str:
        again = self.recalibration
        lines = [
            f"Calibration of {self.kind} predictions",
            self.table().to_string(float_format=lambda x: f"{x:.4g}"),
            f"{self.response.words.squared_error} {self.brier:.4g} (of the overall mean {self.brier_null:.4g})",
        ]
        if again.failure:
            lines.append(f"no recalibration: {again.failure}")
        else:
            lines.append(
                f"slope {again.slope:.4g} (Std. Error {again.slope_se:.2g}), intercept at slope 1 "
                f"{again.intercept:.4g} (Std. Error {again.intercept_se:.2g})"
            )
        if again.left_out > 0:
            lines.append(f"{again.left_out} rows with certain predictions are not part of slope and intercept")
        return "\n".join(lines)


def calibrate(
    data: ModelData,
    response: Response,
    mean: Array,
    kind: str,
    groups: int = 10,
    level: float = 0.95,
    variance: Array | None = None,
) -> Calibration:
    """Compare predictions with the data.

    Parameters
    ----------
    data : ModelData
    response : Response
    mean : ndarray, shape (n,)
        Predicted mean of one trial or count of each row.
    kind : {"conditional", "marginal", "typical"}
    groups : int
        Of about equal numbers of trials or counts; those with equal predictions stay together, so that there may be
        fewer.
    level : float
        Of the intervals.
    variance : ndarray, shape (n,), optional
        Of one trial or count about its prediction, where that is not the response's own of this mean.

    Raises
    ------
    OptionError
        When `groups` or `level` is out of range, or predictions are not finite.
    """
    if not np.isfinite(mean).all():
        raise OptionError(
            f"calibration of {kind} means of which {int(np.count_nonzero(~np.isfinite(mean)))} do not exist",
            "finite means; a count has none over all clusters if the intercept's tails are heavy",
            'kind="conditional" or kind="typical"',
        )
    check_level(level)
    whole_number("groups", groups, 1, advice="groups=10")
    y, size = observed(response, data.a, data.b), response.sizes(data.a, data.b)
    overall = np.full(len(y), float(size @ y) / float(size.sum()))
    return Calibration(
        kind,
        response,
        grouped(mean, y, size, groups, response, level, variance),
        recalibrate(data, response, mean),
        _squared_error(response, y, mean, size),
        _squared_error(response, y, overall, size),
        level,
    )


def grouped(
    mean: Array, y: Array, size: Array, groups: int, response: Response, level: float, variance: Array | None = None
) -> Groups:
    """Rows in groups of ascending predictions, of about equal numbers of trials or counts; see `Groups`.

    With a `variance` of rows their size counts in the intervals as if its ratio to that of the response, on average
    over a group, were that at any mean.
    """
    at = np.round(mean / max(float(mean.max()), _NO_MEAN), 10)  # equal predictions are found with some noise
    order = np.argsort(at, kind="stable")
    # the group of a row is that of the first row with the same prediction; rank counts trials
    before = np.concatenate([[0.0], np.cumsum(size[order])])
    rank = before[np.searchsorted(at[order], at, side="left")]
    group = np.unique(rank * groups // before[-1], return_inverse=True)[1]
    total = np.asarray(np.bincount(group, size), dtype=np.float64)
    predicted, share = np.bincount(group, size * mean) / total, np.bincount(group, size * y) / total
    counted = total
    if variance is not None:
        usual = np.bincount(group, size * response.variance(mean))
        counted = np.asarray(total * usual / np.bincount(group, size * variance), dtype=np.float64)
    low, high = score_interval(share, counted, response, level)
    return Groups(np.bincount(group), total, predicted, share, low, high)


def score_interval(share: Array, size: Array, response: Response, level: float) -> tuple[Array, Array]:
    """Means that a score test does not reject.

    Wilson (Journal of the American Statistical Association 22, 1927) for proportions; the same construction with the
    Poisson variance for rates: (y - mu)^2 = z^2 mu / size.

    Parameters
    ----------
    share : ndarray, shape (g,)
        Observed proportion or rate.
    size : ndarray, shape (g,)
        Trials or weight.
    response : Response
    level : float

    Returns
    -------
    low, high : ndarray, shape (g,)
    """
    z2 = float(ndtri(0.5 + 0.5 * level)) ** 2
    # (y - mu)^2 = (z^2 / size) (mu - c mu^2), c = 1 for a proportion and 0 for a rate
    c = -response.variance_curvature
    scale = 1.0 + c * z2 / size
    centre = (share + 0.5 * z2 / size) / scale
    half = np.sqrt(z2 / size * (share * (1.0 - c * share) + 0.25 * z2 / size)) / scale
    high = np.where(scale > 0.0, centre + half, np.inf)  # few counts may agree with a variance of any size
    return np.maximum(centre - half, 0.0), np.minimum(high, 1.0) if response.bounded else high


def recalibrate(data: ModelData, response: Response, mean: Array) -> Recalibration:
    """Fit a straight line in the model's own link to the predictions.

    Cox (Biometrika 45, 1958). Standard errors are robust: they sum scores over clusters, or over rows where there are
    no clusters.

    Parameters
    ----------
    data : ModelData
    response : Response
    mean : ndarray, shape (n,)
    """
    eta = response.link_function(mean)
    finite = np.isfinite(eta)
    left_out = int(np.count_nonzero(~finite))
    nan = float("nan")
    if not finite.any():
        return Recalibration(nan, nan, nan, nan, left_out, "every prediction is certain")
    rows, eta = only_rows(data, np.flatnonzero(finite)), eta[finite]
    one = np.ones(len(eta))
    try:
        intercept, intercept_se = _line(replace(rows, offset=eta), response, one[:, None])
    except ClusterGLMError as error:
        return Recalibration(nan, nan, nan, nan, left_out, error.got)
    if np.ptp(eta) <= 1e-9 * (1.0 + np.abs(eta).max()):
        return Recalibration(nan, nan, intercept, intercept_se, left_out, "all predictions are equal")
    try:
        slope, slope_se = _line(replace(rows, offset=0.0 * eta), response, np.column_stack([one, eta]))
    except ClusterGLMError as error:
        return Recalibration(nan, nan, intercept, intercept_se, left_out, error.got)
    return Recalibration(slope, slope_se, intercept, intercept_se, left_out)


def _line(rows: ModelData, response: Response, X: Array) -> tuple[float, float]:
    """Last coefficient of a pooled fit, and its robust standard error."""
    names: tuple[Any, ...] = ("(Intercept)", "predictor")
    data = replace(rows, X=np.ascontiguousarray(X), names=names[: X.shape[1]], intercept=0)
    fit = fit_pooled(data, response, Control())
    if not fit.optimization.converged:
        return float("nan"), float("nan")
    scores = pooled_scores(data, response, fit.beta, by_row=data.cluster_name is None)
    last = len(data.names) - 1
    if len(scores) < 2:
        return float(fit.beta[last]), float("nan")
    robust = sandwich(fit.covariance, scores, np.ones(len(scores)))
    return float(fit.beta[last]), float(np.sqrt(robust[last, last]))


def _squared_error(response: Response, y: Array, mean: Array, size: Array) -> float:
    """Mean squared error of single trials, or of counts: y is a row's mean of `size` of them."""
    return float(size @ ((y - mean) ** 2 + response.variance_inside(y))) / float(size.sum())
