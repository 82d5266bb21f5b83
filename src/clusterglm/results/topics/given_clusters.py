"""Predictions given what is known of a row's cluster: its rows in the fit, a history, or nothing."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, PredictionWarning, check_option
from clusterglm.inference.predictions.prediction import LinkPrediction, Prediction, on_scale
from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows, cluster_codes, history_data, refuse_unknown_clusters
from clusterglm.results.topics.prediction import Predictions, Wanted

_GIVEN = ("conditional", "posterior")  # kinds that ask for a row's cluster


@dataclass(frozen=True)
class Known:
    """Clusters of n rows.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Numbers of the history's clusters, then of the fit's; any where a row is refused or unseen.
    unseen : ndarray of bool, shape (n,)
        Rows that are predicted although nothing is known of their cluster.
    labels : ndarray of object, shape (n,)
    """

    codes: NDArray[np.int64]
    unseen: NDArray[np.bool_]
    labels: NDArray[np.object_]


class GivenClusters(Predictions):
    """Predictions with random effects, of which more or less is known."""

    def _kind_with_history(self, data: Any, kind: Any) -> str:
        if data is None:
            raise OptionError("history= without data=", "the rows to predict in its clusters", "predict(new, ...)")
        if kind is None:
            return "conditional"
        if isinstance(kind, str) and kind in _GIVEN:
            return kind
        raise OptionError(f"history= with kind={kind!r}", 'kind="posterior" or "conditional"', "leave kind= out")

    def _check_questions(self, kind: Any, level: float | None, unseen: str, interval: str) -> None:
        check_option("unseen", unseen, ("refuse", "marginal"))
        check_option("interval", interval, ("mean", "cluster"))
        named = self._kinds[0] if kind is None else kind
        if not isinstance(named, str):
            named = "a number"
        if unseen == "marginal" and named not in _GIVEN:
            raise OptionError(
                f'unseen="marginal" with kind {named}', "a kind that asks for a row's cluster", 'kind="posterior"'
            )
        if interval == "mean":
            return
        if level is None:
            raise OptionError('interval="cluster" without a level', "the interval's coverage", "level=0.95")
        if named != "marginal" and (named != "conditional" or unseen != "marginal"):
            advice = 'kind="conditional", whose interval is one of the row\'s own cluster'
            raise OptionError(
                f'interval="cluster" with kind {named}',
                "a prediction for clusters of which nothing is known",
                f'kind="marginal"; or {advice}' if named == "posterior" else 'kind="marginal"',
            )

    def _history(self, table: Any) -> ModelData | None:
        if table is None:
            return None
        history, left = history_data(self.data.rows, self.response, table)
        if not left.ok.all():
            count = int(np.count_nonzero(~left.ok))
            warnings.warn(f"{count} rows of the history are not complete ({left})", PredictionWarning, stacklevel=7)
        return history

    def _known(self, rows: Rows, history: ModelData | None, wanted: Wanted) -> Known:
        """Which clusters the rows belong to; those of which nothing is known are refused unless it is wanted else."""
        if rows.frame is None:
            nobody = np.zeros(rows.size, dtype=bool)
            return Known(self._codes(rows), nobody, np.full(rows.size, "", dtype=object))
        name, where = str(self.data.cluster_name), "the fit" if history is None else "the fit or the history"
        codes, words = cluster_codes(self.data.rows.labels, self.data.cluster_name, rows.frame)
        if history is not None:
            own, _ = cluster_codes(history.labels, name, rows.frame)
            codes = np.where((own == -1) & (codes >= 0), history.n_clusters + codes, own)
        unseen = (codes == -1) & rows.status.ok & (wanted.unseen == "marginal")
        refuse_unknown_clusters(rows.status, np.where(unseen, 0, codes), words, name, where)
        return Known(np.maximum(codes, 0), unseen, words)

    def _say_unseen(self, rows: Rows, known: Known) -> None:
        reason = "cluster " + known.labels + " not seen: the mean over all clusters"
        rows.status.say_first(known.unseen, np.asarray(reason, dtype=object))

    def _with_interval(self, at: LinkPrediction, rows: Rows, scale: str, level: float, cov: str) -> Prediction:
        found = super()._with_interval(at, rows, scale, level, cov)
        if at.of_new is None:
            return found
        which = np.flatnonzero(at.of_new & ~np.isnan(rows.eta(self._beta)))
        ends = self._new_cluster_ends(rows, which, cov, level)
        low, high = found.low.copy(), found.high.copy()
        low[which], high[which] = (on_scale(scale, self.response, end)[0] for end in ends)
        return Prediction(found.estimate, found.std_error, low, high)

    @abstractmethod
    def _new_cluster_ends(self, rows: Rows, which: NDArray[np.int64], cov: str, level: float) -> tuple[Array, Array]:
        """Ends, on the scale of the link, of intervals for the mean of a new cluster in some rows."""
