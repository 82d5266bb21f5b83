"""Where a linear predictor is taken, of results that know three words for it, or are given numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from clusterglm.errors import check_option
from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows, one_per_row

if TYPE_CHECKING:
    from clusterglm.inference.distribution.mass_points import Chances

Averaging: TypeAlias = "bool | Chances"
"""Whether an average over intercepts is to be taken; of intercepts on mass points, with which probabilities."""


class KindsInWords:
    """Linear predictors of rows by `kind`."""

    _where: ClassVar[tuple[str, ...]] = ("typical", "conditional", "marginal")

    if TYPE_CHECKING:

        @property
        def _beta(self) -> Array: ...

    def _eta_of(self, rows: Rows, kind: Any, level: float | None) -> tuple[Array, Averaging]:
        """Linear predictors, and what average over intercepts is to be taken."""
        eta = rows.eta(self._beta)
        kind = self._where[0] if kind is None else kind
        if not isinstance(kind, str):
            return eta + rows.given(one_per_row(kind, rows.size, list(self._where), "kind")), False
        check_option("kind", kind, self._where)
        return self._at_words(eta, kind, rows, level)

    def _at_words(self, eta: Array, kind: str, rows: Rows, level: float | None) -> tuple[Array, Averaging]:
        return eta, False
