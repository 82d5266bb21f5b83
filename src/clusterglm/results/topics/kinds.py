"""Where a linear predictor is taken, of results that know three words for it, or are given numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from clusterglm.errors import check_option
from clusterglm.inference.predictions.prediction import with_a_unit
from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows, one_per_row
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    from clusterglm.inference.distribution.mass_points import Chances
    from clusterglm.inference.predictions.prediction import LinkPrediction

Averaging: TypeAlias = "bool | Chances"
"""Whether an average over intercepts is to be taken; of intercepts on mass points, with which probabilities."""

_SOME_LEVEL = 0.95  # asks for derivatives, which are the same at any


class KindsInWords:
    """Linear predictors of rows by `kind`."""

    _where: ClassVar[tuple[str, ...]] = ("typical", "conditional", "marginal")

    if TYPE_CHECKING:

        @property
        def _beta(self) -> Array: ...

    def _eta_of(self, rows: Rows, kind: Any) -> tuple[Array, Averaging]:
        """Linear predictors, and what average over intercepts is to be taken."""
        eta = rows.eta(self._beta)
        kind = self._where[0] if kind is None else kind
        if not isinstance(kind, str):
            return eta + rows.given(one_per_row(kind, rows.size, list(self._where), "kind")), False
        check_option("kind", kind, self._where)
        return self._at_words(eta, kind, rows)

    def _at_words(self, eta: Array, kind: str, rows: Rows) -> tuple[Array, Averaging]:
        return eta, False

    def _moves(self, rows: Rows, kind: Any, cov: str) -> Array | None:
        """How linear predictors move but by x'beta, where they do.

        Returns
        -------
        ndarray, shape (n, q + 1), or None
            Derivatives in the q parameters, and the standard deviation of what the data leave open.
        """
        return None


class AtModes:
    """ "conditional" is at the posterior modes of the effects of a row's clusters."""

    if TYPE_CHECKING:

        def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction: ...
        def _at(self, kind: Any, rows: Rows, scale: str, wanted: Wanted) -> LinkPrediction: ...
        def _covariance_of_predictions(self, cov: str) -> Array: ...

    def _at_words(self, eta: Array, kind: str, rows: Rows) -> tuple[Array, bool]:
        if kind == "conditional":
            return self._at_kind(kind, rows, Wanted(None, "observed")).estimate, False
        return eta, kind == "marginal"

    def _moves(self, rows: Rows, kind: Any, cov: str) -> Array | None:
        if not isinstance(kind, str) or kind != "conditional":
            return None
        at = self._at(kind, rows, "link", Wanted(_SOME_LEVEL, cov))
        moved = at.gradient(np.zeros_like(rows.X), len(self._covariance_of_predictions(cov)))
        return np.column_stack([moved, np.sqrt(np.maximum(at.extra, 0.0))])


def with_moves(gradient: Array, by_eta: Array, moves: Array | None, covariance: Array) -> tuple[Array, Array]:
    """Derivatives and covariance with those of what linear predictors have from clusters; see `_moves`.

    Parameters
    ----------
    gradient : ndarray, shape (n, ..., q)
    by_eta : ndarray, shape (n, ...)
        Derivatives in the linear predictor.
    moves : ndarray, shape (n, q + 1), or None
    covariance : ndarray, shape (q, q)
    """
    if moves is None:
        return gradient, covariance
    none = np.zeros((*by_eta.shape, 1))
    each = np.expand_dims(moves, tuple(range(1, by_eta.ndim)))
    return np.concatenate([gradient, none], axis=-1) + by_eta[..., None] * each, with_a_unit(covariance)
