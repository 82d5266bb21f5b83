"""`within(x)` and `between(x)`: a covariate about its cluster's mean, and the mean.

Mundlak, Econometrica 46, 1978; Neuhaus and Kalbfleisch, Biometrics 54, 1998.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import cluster_column, encode
from clusterglm.data.formulas.columnwise import State
from clusterglm.data.formulas.evaluate import Evaluator
from clusterglm.data.formulas.formula import ClusterTerm
from clusterglm.data.formulas.values import Basis, Categories, as_numbers
from clusterglm.data.tables.columns import model_columns
from clusterglm.errors import ClusterError, FormulaError, nearest
from clusterglm.model.arrays import Array


@dataclass(frozen=True, eq=False)
class ClusterMeans:
    """What new data need for `within(...)` and `between(...)`.

    Parameters
    ----------
    column : str
        The cluster column.
    labels : ndarray, shape (m,)
        Clusters of the fit.
    terms : tuple of ClusterTerm, length k
    means : ndarray, shape (k, m)
        Of each term's expression, over the rows that were fitted, each as often as its weight and trials say.
    """

    column: str
    labels: NDArray[Any]
    terms: tuple[ClusterTerm, ...]
    means: Array

    def columns(
        self,
        table: nw.DataFrame[Any],
        keep: NDArray[np.int64] | None,
        memory: dict[str, State],
        functions: Mapping[str, Callable[..., Any]],
    ) -> dict[str, Array]:
        """Values of the terms in new data.

        Parameters
        ----------
        table : narwhals DataFrame
        keep : ndarray of int64, or None
            Complete rows, in which no label is missing; None for all.
        memory : dict of str to State
            What functions of whole columns have learned.
        functions : mapping of str to callable
            The user's own.

        Returns
        -------
        dict of str to ndarray, shape (kept rows,)
            By the means of the fit for its clusters, and by the mean of the rows at hand for others.
        """
        import pandas as pd

        labels = self._labels(table)
        codes = encode(labels if keep is None else labels[keep])
        fitted = np.asarray(pd.Index(self.labels).get_indexer(pd.Index(codes.labels)))
        known, found = fitted >= 0, {}
        for term, of_fit in zip(self.terms, self.means, strict=True):
            x = _evaluated(term, table, keep, memory, functions, learning=False)
            means = means_of(x, codes.codes, len(codes.labels))
            means[known] = of_fit[fitted[known]]
            found[term.name] = _column(term, x, means[codes.codes])
        return found

    def missing(self, table: nw.DataFrame[Any]) -> NDArray[np.bool_]:
        """Rows without a label, shape (rows,)."""
        return np.asarray(encode(self._labels(table)).codes < 0)

    def _labels(self, table: nw.DataFrame[Any]) -> nw.Series[Any]:
        found = cluster_column(table, self.column)
        if found is None:
            names = ", ".join(term.name for term in self.terms)
            raise ClusterError(
                f"new data without the cluster column {self.column!r}, for {names}",
                "each row's cluster: its mean is known from the fit, or taken from the new rows of a new cluster",
                f"{nearest(self.column, table.columns)}add the column",
            )
        return found


def cluster_means(
    terms: Sequence[ClusterTerm],
    table: nw.DataFrame[Any],
    keep: NDArray[np.int64] | None,
    codes: NDArray[np.int64],
    labels: NDArray[Any],
    name: str,
    memory: dict[str, State],
    functions: Mapping[str, Callable[..., Any]],
    weights: Array | None = None,
    times: NDArray[np.int64] | None = None,
) -> tuple[ClusterMeans, dict[str, Array]]:
    """Means of the rows that are fitted, and the columns made of them.

    Parameters
    ----------
    terms : sequence of ClusterTerm, length k
    table : narwhals DataFrame
    keep : ndarray of int64, or None
        Rows in use; None for all.
    codes : ndarray of int64, shape (n,)
        Cluster of each row in use.
    labels : ndarray, shape (m,)
    name : str
        The cluster column.
    memory : dict of str to State
        To which is added what functions of whole columns learn.
    functions : mapping of str to callable
        The user's own.
    weights : ndarray, shape (n,), optional
        How much each row in use counts in a mean; by default alike.
    times : ndarray of int64, shape (n,), optional
        How often each is there, for what functions of whole columns learn.

    Returns
    -------
    means : ClusterMeans
    columns : dict of str to ndarray, shape (n,)

    Raises
    ------
    FormulaError
        When an expression is not numeric.
    """
    means, columns = np.empty((len(terms), len(labels))), {}
    for k, term in enumerate(terms):
        x = _evaluated(term, table, keep, memory, functions, learning=True, times=times)
        means[k] = means_of(x, codes, len(labels), weights)
        columns[term.name] = _column(term, x, means[k][codes])
    return ClusterMeans(name, labels, tuple(terms), means), columns


def means_of(x: Array, codes: NDArray[np.int64], m: int, weights: Array | None = None) -> Array:
    """Mean of each cluster, shape (m,); exact where x is constant."""
    first = np.empty(m)
    first[codes[::-1]] = x[::-1]
    with np.errstate(invalid="ignore"):  # infinite values are reported with their column later
        away = x - first[codes] if weights is None else weights * (x - first[codes])
        means: Array = first + np.bincount(codes, away, m) / np.bincount(codes, weights, m)
    return means


def _column(term: ClusterTerm, x: Array, mean: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return mean if term.kind == "between" else x - mean


def _evaluated(
    term: ClusterTerm,
    table: nw.DataFrame[Any],
    keep: NDArray[np.int64] | None,
    memory: dict[str, State],
    functions: Mapping[str, Callable[..., Any]],
    *,
    learning: bool,
    times: NDArray[np.int64] | None = None,
) -> Array:
    names, n = term.expression.variables, len(table) if keep is None else len(keep)
    columns = model_columns(table, names, keep)
    value = Evaluator(columns, n, memory, functions, learning=learning, times=times).column(term.expression.node)
    if isinstance(value, (Categories, Basis)):
        what = "categories" if isinstance(value, Categories) else "several columns"
        raise FormulaError(
            f"{term.expression.text!r}, {what}, in {term.name}",
            "numbers, which have means",
            f"I({term.expression.text} == 'a') for each level, or a column of zeros and ones",
        )
    return np.asarray(as_numbers(value, term.expression.text))
