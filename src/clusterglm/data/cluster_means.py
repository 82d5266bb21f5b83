"""`within(x)` and `between(x)`: a covariate about its cluster's mean, and the mean.

Mundlak, Econometrica 46, 1978; Neuhaus and Kalbfleisch, Biometrics 54, 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import encode
from clusterglm.data.formula import ClusterTerm
from clusterglm.data.table import column, numeric
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
        Of each term's expression, over the rows that were fitted, each counting once.
    """

    column: str
    labels: NDArray[Any]
    terms: tuple[ClusterTerm, ...]
    means: Array

    def columns(self, table: nw.DataFrame[Any], keep: NDArray[np.int64] | None) -> dict[str, Array]:
        """Values of the terms in new data.

        Parameters
        ----------
        table : narwhals DataFrame
        keep : ndarray of int64, or None
            Complete rows, in which no label is missing; None for all.

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
            x = _evaluated(term, table, keep)
            means = means_of(x, codes.codes, len(codes.labels))
            means[known] = of_fit[fitted[known]]
            found[term.name] = _column(term, x, means[codes.codes])
        return found

    def missing(self, table: nw.DataFrame[Any]) -> NDArray[np.bool_]:
        """Rows without a label, shape (rows,)."""
        return np.asarray(encode(self._labels(table)).codes < 0)

    def _labels(self, table: nw.DataFrame[Any]) -> nw.Series[Any]:
        if self.column not in table.columns:
            names = ", ".join(term.name for term in self.terms)
            raise ClusterError(
                f"new data without the cluster column {self.column!r}, for {names}",
                "each row's cluster: its mean is known from the fit, or taken from the new rows of a new cluster",
                f"{nearest(self.column, table.columns)}add the column",
            )
        return table.get_column(self.column)


def cluster_means(
    terms: Sequence[ClusterTerm],
    table: nw.DataFrame[Any],
    keep: NDArray[np.int64] | None,
    codes: NDArray[np.int64],
    labels: NDArray[Any],
    name: str,
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
        x = _evaluated(term, table, keep)
        means[k] = means_of(x, codes, len(labels))
        columns[term.name] = _column(term, x, means[k][codes])
    return ClusterMeans(name, labels, tuple(terms), means), columns


def means_of(x: Array, codes: NDArray[np.int64], m: int) -> Array:
    """Mean of each cluster, shape (m,); exact where x is constant."""
    first = np.empty(m)
    first[codes[::-1]] = x[::-1]
    with np.errstate(invalid="ignore"):  # infinite values are reported with their column later
        means: Array = first + np.bincount(codes, x - first[codes], m) / np.bincount(codes, minlength=m)
    return means


def _column(term: ClusterTerm, x: Array, mean: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return mean if term.kind == "between" else x - mean


def _evaluated(term: ClusterTerm, table: nw.DataFrame[Any], keep: NDArray[np.int64] | None) -> Array:
    columns = {}
    for name in term.expression.variables:
        values = column(table, name, "covariate")
        numbers = numeric(values if keep is None else values[keep])
        if numbers is None:
            raise FormulaError(
                f"{name!r} of type {values.dtype} in {term.name}",
                "numbers, which have means",
                f"a column of zeros and ones for each level of {name!r}",
            )
        columns[name] = numbers
    value = np.asarray(term.expression.evaluate(columns), dtype=np.float64)
    if value.shape != (len(table) if keep is None else len(keep),):
        raise FormulaError(f"{term.name} of a single value", "a value for each row", "an expression of columns")
    return value
