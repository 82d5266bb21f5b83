"""Kernel rows that have no weights: rows of whole-number weights are repeated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import DataError
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


def repeated(a: Array, b: Array) -> tuple[Array, NDArray[np.int64] | None]:
    """Counts a / b, each b times, and which row each is of; None where each row is one."""
    y = np.rint(np.asarray(a) / b)
    if np.all(b == 1.0):
        return y, None
    of = np.repeat(np.arange(len(y), dtype=np.int64), np.rint(b).astype(np.int64))
    return y[of], of


def refuse_fractions(response: Response, weights: Array) -> None:
    """Raise `DataError` unless all case weights are whole numbers."""
    bad = np.rint(weights) != weights
    if np.any(bad):
        first = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"weights that are no whole numbers ({float(weights[first]):g} the first of {int(np.count_nonzero(bad))}) "
            f"with family={response.family!r}",
            "whole numbers, as of repeated rows: this family's likelihood is of rows, not of shares of rows",
            "rows without weights; cluster_weights may be fractions",
        )
