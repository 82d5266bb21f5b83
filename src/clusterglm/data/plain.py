"""Formulas that do no more than list columns of numbers: their design matrix is written in one pass.

formulaic copies every column and then joins the copies, which takes longer than an evaluation of the likelihood; and to
read such a formula takes it longer than a fit of few rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array

if TYPE_CHECKING:
    import pandas as pd
    from formulaic import ModelSpec

Columns: TypeAlias = "Mapping[str, Any] | pd.DataFrame"
"""Arrays or Series of one length by name."""

_ROWS = 4096  # at a time, so that what is written stays in the cache
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class PlainSpec:
    """Stands for formulaic's specification of a formula that lists columns of numbers; makes that when it is asked.

    Parameters
    ----------
    columns : tuple of str
        In their order in the formula.
    intercept : bool
        Whether there is a column of ones before them.
    """

    columns: tuple[str, ...]
    intercept: bool

    @property
    def transform_state(self) -> dict[str, Any]:
        """None, as columns are taken as they are."""
        return {}

    @cached_property
    def formulaic(self) -> ModelSpec:
        """The specification itself."""
        from clusterglm.data.design_state import spec_from_state

        one = [["1", "literal"]]
        terms = [one] * self.intercept + [[[name, "lookup"]] for name in self.columns]
        structure = [{"term": one, "scoped": [{"factors": [], "scale": 1}], "columns": ["Intercept"]}] * self.intercept
        structure += [
            {"term": [[name, "lookup"]], "scoped": [{"factors": [[name, False]], "scale": 1}], "columns": [name]}
            for name in self.columns
        ]
        encodings: dict[str, Any] = {name: ["numerical", {}] for name in self.columns}
        return spec_from_state({"terms": terms, "structure": structure, "transforms": {}, "encodings": encodings})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copy and pickle look for
            raise AttributeError(name)
        return getattr(self.formulaic, name)


def plain_spec(right: str, variables: Sequence[str], *, intercept: bool) -> PlainSpec | None:
    """The specification where a right-hand side lists names or is 1, and nothing else; None otherwise.

    Parameters
    ----------
    right : str
        For formulaic.
    variables : sequence of str
        Columns that it uses.
    intercept : bool
        Whether the column of ones is to be there.
    """
    names = [] if right == "1" else right.split(" + ")
    if not all(_NAME.fullmatch(name) and name in variables for name in names):
        return None
    return PlainSpec(tuple(dict.fromkeys(names)), intercept)


def plain_matrix(spec: PlainSpec, columns: Columns, n: int) -> Array | None:
    """Its matrix of n rows, shape (n, p); None where a column holds anything but numbers."""
    found = [_numbers(columns[name]) for name in spec.columns]
    return None if any(each is None for each in found) else _side_by_side(found, n, ones=spec.intercept)


def matrix_of_terms(terms: Iterable[Any], frame: pd.DataFrame) -> Array | None:
    """Ones and columns of numbers side by side, shape (rows, terms); None where a term is anything else.

    Parameters
    ----------
    terms : iterable of formulaic Term
        In the order of the columns.
    frame : DataFrame
        As from `model_frame`.
    """
    found = [_column(term, frame) for term in terms]
    return None if not found or any(each is None for each in found) else _side_by_side(found, len(frame))


def _side_by_side(columns: Sequence[NDArray[Any] | None], n: int, *, ones: bool = False) -> Array:
    X = np.empty((n, len(columns) + ones))
    for first in range(0, n, _ROWS):
        rows = slice(first, first + _ROWS)
        X[rows, : int(ones)] = 1.0
        for k, values in enumerate(columns, start=int(ones)):
            assert values is not None
            X[rows, k] = values[rows]
    return X


def _column(term: Any, frame: pd.DataFrame) -> NDArray[Any] | None:
    """Its values, if a term is the intercept or the name of a column of numbers."""
    if str(term) == "1":
        return np.broadcast_to(1.0, len(frame))
    if len(term.factors) != 1:
        return None
    (factor,) = term.factors
    if factor.eval_method.value != "lookup" or factor.expr not in frame.columns:
        return None
    return _numbers(frame[factor.expr])


def _numbers(values: Any) -> NDArray[Any] | None:
    """An array of numbers, or that behind a Series of them; None for anything else."""
    return np.asarray(values) if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iuf" else None
