"""The design matrix of columns that a formula takes as they are, written in one pass.

formulaic copies every column and then joins the copies, which takes longer than an evaluation of the likelihood.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.model.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 16_384  # at a time, so that what is written stays in the cache


def plain_matrix(terms: Iterable[Any], frame: pd.DataFrame) -> Array | None:
    """Ones and columns of numbers side by side, shape (rows, terms); None where a term is anything else.

    Parameters
    ----------
    terms : iterable of formulaic Term
        In the order of the columns.
    frame : DataFrame
        As from `model_frame`.
    """
    columns = [_column(term, frame) for term in terms]
    found = [each for each in columns if each is not None]
    if not found or len(found) < len(columns):
        return None
    X = np.empty((len(frame), len(found)))
    for first in range(0, len(frame), _ROWS):
        rows = slice(first, first + _ROWS)
        for k, values in enumerate(found):
            X[rows, k] = values[rows]
    return X


def _column(term: Any, frame: pd.DataFrame) -> Array | None:
    """Its values, if a term is the intercept or the name of a column of numbers."""
    if str(term) == "1":
        return np.broadcast_to(1.0, len(frame))
    if len(term.factors) != 1:
        return None
    (factor,) = term.factors
    if factor.eval_method.value != "lookup" or factor.expr not in frame.columns:
        return None
    values = frame[factor.expr]
    return values.to_numpy() if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iuf" else None
