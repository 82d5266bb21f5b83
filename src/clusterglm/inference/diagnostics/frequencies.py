"""How many rows have which count: observed, and as a fitted model expects them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.inference.diagnostics.quantile_residuals import over_intercepts
from clusterglm.inference.distribution.event_counts import EventCounts
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.response.base import Response

_LARGEST_CELL = 1000  # counts that are cells of their own
_AT_A_TIME = 32  # cells whose probabilities are averaged together


def row_counts(
    response: Response, y: Array, eta: Array, distribution: Distribution, sigma: float | Array
) -> EventCounts:
    """Observed and expected numbers of rows by their count; the last cell holds all larger ones.

    Parameters
    ----------
    response : Response
        Of counts, that of the rows.
    y, eta : ndarray, shape (n,)
        Counts, and linear predictors at an intercept of zero.
    distribution : Distribution
        Of intercepts.
    sigma : float, or ndarray of shape (n,)
        Their scale; see `over_intercepts`.
    """
    known = [eta, response.mean(eta), np.broadcast_to(sigma, eta.shape)]
    _, first, times = np.unique(np.column_stack(known), axis=0, return_index=True, return_counts=True)
    some, at, spread = response.of_rows(first), eta[first], sigma[first] if isinstance(sigma, np.ndarray) else sigma
    top = int(min(y.max(), _LARGEST_CELL))
    upto = np.empty(top + 1)
    for begin in range(0, top + 1, _AT_A_TIME):
        cells = np.arange(begin, min(begin + _AT_A_TIME, top + 1), dtype=np.float64)

        def below(rows: NDArray[np.int64], shift: Array, cells: Array = cells) -> Array:
            line, own = at[rows, None] + shift, some.of_rows(rows)
            one = np.ones_like(line)
            return np.stack([own.tails(cell * one, line, one)[0] for cell in cells])

        upto[begin : begin + len(cells)] = over_intercepts(below, len(at), distribution, spread)[0] @ times
    expected = np.diff(np.concatenate([[0.0], upto, [float(len(y))]]))
    observed = np.bincount(np.minimum(y, top + 1).astype(np.int64), minlength=top + 2).astype(np.float64)
    return EventCounts(np.arange(top + 2), observed, np.maximum(expected, 0.0), open_ended=True)
