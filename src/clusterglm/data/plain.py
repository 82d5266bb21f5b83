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

from clusterglm import _core
from clusterglm.model.arrays import Array

if TYPE_CHECKING:
    import pandas as pd
    from formulaic import ModelSpec

Columns: TypeAlias = "Mapping[str, Any] | pd.DataFrame"
"""Arrays or Series of one length by name."""

_NUMBERS = 131_072  # that become floats at a time: no copy of a column
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


@dataclass(frozen=True)
class Matrix:
    """Columns side by side.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        C order.
    ranges : ndarray, shape (p, 2), or None
        Least and largest value of each column, NaN where one is; None where they are not known.
    """

    X: Array
    ranges: Array | None = None


def plain_matrix(spec: PlainSpec, columns: Columns, n: int) -> Matrix | None:
    """Its matrix of n rows; None where a column holds anything but numbers."""
    found = [_numbers(columns[name]) for name in spec.columns]
    if any(each is None for each in found):
        return None
    return _side_by_side([None, *found] if spec.intercept else found, n)


def matrix_of_terms(terms: Iterable[Any], frame: pd.DataFrame) -> Matrix | None:
    """Ones and columns of numbers side by side, in the order of the terms; None where a term is anything else.

    Parameters
    ----------
    terms : iterable of formulaic Term
    frame : DataFrame
        As from `model_frame`.
    """
    columns: list[NDArray[Any] | None] = []
    for term in terms:
        if str(term) == "1":
            columns.append(None)
            continue
        found = _column(term, frame)
        if found is None:
            return None
        columns.append(found)
    return _side_by_side(columns, len(frame)) if columns else None


def _side_by_side(columns: Sequence[NDArray[Any] | None], n: int) -> Matrix:
    """None stands for ones."""
    step = max(_NUMBERS // max(len(columns), 1), 1)
    X, parts = np.empty((n, len(columns))), np.empty((-(-n // step), len(columns), 2))
    for k, first in enumerate(range(0, n, step)):
        rows = slice(first, first + step)
        some = [None if each is None else np.ascontiguousarray(each[rows], dtype=np.float64) for each in columns]
        _core.side_by_side(some, X[rows], parts[k])
    if n == 0:
        return Matrix(X)
    return Matrix(X, np.stack([parts[:, :, 0].min(axis=0), parts[:, :, 1].max(axis=0)], axis=1))


def _column(term: Any, frame: pd.DataFrame) -> NDArray[Any] | None:
    """Its values, if a term is the name of a column of numbers."""
    if len(term.factors) != 1:
        return None
    (factor,) = term.factors
    if factor.eval_method.value != "lookup" or factor.expr not in frame.columns:
        return None
    return _numbers(frame[factor.expr])


def _numbers(values: Any) -> NDArray[Any] | None:
    """An array of numbers, or that behind a Series of them; None for anything else."""
    plain = values is not None and isinstance(values.dtype, np.dtype) and values.dtype.kind in "iuf"
    return np.asarray(values) if plain else None
