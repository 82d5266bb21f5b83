"""Grouping factors that may lie in any way to each other: each row's level of each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import encode
from clusterglm.data.formulas.algebra import INTERCEPT
from clusterglm.data.formulas.formula import ParsedFormula
from clusterglm.data.formulas.random import RandomTerm
from clusterglm.data.nesting import lies_in, refuse_alike

_Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Levels:
    """The levels of a grouping factor.

    Parameters
    ----------
    group : str
        The factor.
    codes : ndarray of int64, shape (n,)
        Each row's level, a number in `labels`.
    labels : ndarray, shape (k,)
    nested : bool
        Whether every level lies in one cluster.
    """

    group: str
    codes: _Integers
    labels: NDArray[Any]
    nested: bool

    def moved(self, rows: _Integers) -> Levels:
        """The levels of some rows, in some order."""
        return replace(self, codes=self.codes[rows])

    def within(self, starts: _Integers) -> Levels:
        """Those that occur, where rows have become others; a level of a cluster is another one in each copy of it.

        Parameters
        ----------
        starts : ndarray of int64, shape (m + 1,)
            First row of each cluster as they are now, and n.
        """
        codes = self.codes
        if self.nested:
            codes = np.repeat(np.arange(len(starts) - 1), np.diff(starts)) * len(self.labels) + codes
        found, codes = np.unique(codes, return_inverse=True)
        return replace(self, codes=codes.astype(np.int64), labels=self.labels[found % len(self.labels)])


def with_intercept(parsed: ParsedFormula, cluster: str) -> ParsedFormula:
    """A formula whose random terms say what varies, also where clusters were given apart from it."""
    if parsed.random:
        return parsed
    return replace(parsed, random=(RandomTerm(f"1 | {cluster}", (INTERCEPT,), (cluster,)),))


def clusters_among(factors: Mapping[str, nw.Series[Any]], used: _Integers) -> str:
    """The factor in which all others lie; where there is none, the one with most levels.

    Parameters
    ----------
    factors : mapping of str to narwhals Series
        Two or more.
    used : ndarray of int64
        Rows in use, whose levels are not missing.

    Raises
    ------
    FormulaError
        On factors that group the rows alike.
    """
    coded = {name: encode(series[used]) for name, series in factors.items()}
    refuse_alike(coded)
    by_levels = sorted(coded, key=lambda name: len(coded[name].labels))
    top = by_levels[0]
    return top if all(lies_in(each.codes, coded[top].codes) for each in coded.values()) else by_levels[-1]


def levels_of(
    factors: Mapping[str, nw.Series[Any]], cluster: str, index: _Integers, starts: _Integers, labels: NDArray[Any]
) -> tuple[Levels, ...]:
    """Each row's level of each factor.

    Parameters
    ----------
    factors : mapping of str to narwhals Series
        By rows of the table; empty where clusters are the only one.
    cluster : str
        The factor whose levels are the clusters.
    index : ndarray of int64, shape (n,)
        Rows of the table in use, in cluster order.
    starts, labels : ndarray
        Of the clusters.
    """
    own = np.repeat(np.arange(len(labels)), np.diff(starts))
    found = []
    for name in factors or (cluster,):
        if name == cluster:
            found.append(Levels(name, own, labels, nested=True))
            continue
        codes = encode(factors[name][index])
        found.append(Levels(name, codes.codes, codes.labels, lies_in(codes.codes, own)))
    return tuple(found)
