"""What a verb asks of a user's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from clusterglm.data.formulas.tree import Node
from clusterglm.data.offsets import given_in
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class Request:
    """What to take from a table besides the formula's columns: the arguments of a verb, and what passes have shown.

    Parameters
    ----------
    response : Response
    cluster : str, array or None
        Column or ids; None where the formula has `(1 | id)`, or without `need_cluster`.
    weights, offset, subset : str or array, optional
        Column, or an element per row of the table; `subset` is boolean.
    cluster_weights : str, array or mapping, optional
        Column or array, constant within clusters; or a mapping from cluster ids to weights.
    need_cluster : bool
        Whether the model has cluster effects.
    sigma_known : bool
        Sigma is held fixed, so that it need not be identified.
    fixed_effects : bool
        Every cluster has an intercept of its own: X gets no column of ones, and collinearity is left to be judged
        within clusters.
    functions : mapping of str to callable, optional
        The user's own, for the formula.
    mass_points : bool
        Intercepts of groups of clusters that are not known stand in for the column of ones.
    left_out : tuple of str
        Columns of X that clusters' intercepts take up.
    constant : tuple of Node, optional
        Factors that are constant in clusters; None where nobody has looked.
    alone : bool
        To look, X has each factor alone, whatever terms they are part of.
    penalized : bool
        Estimates are finite whatever the responses, even where they are all equal.
    success : optional
        The level of a response of two levels that is the success.
    levels : tuple of str, optional
        Categories of an ordered response, from the lowest to the highest.
    nonparallel : str, optional
        Terms of the formula whose coefficients differ between the thresholds of an ordered response.
    effects : bool
        Whether more than an intercept may vary over clusters.
    inside : str, optional
        Of several grouping factors, the one whose levels are the clusters.
    nested : tuple of two str, optional
        Grouping factors, the clusters' and another of whose levels it is known that each lies in one cluster; None
        where the rows are to show it.
    groupings : bool
        Whether grouping factors may lie in any way to each other: what varies, an intercept alone too, becomes effects
        that know each row's level of each factor.
    beside : tuple of str
        Columns of further factors whose levels have intercepts: rows without a level are left out.
    """

    response: Response
    _: KW_ONLY
    cluster: Any = None
    weights: Any = None
    cluster_weights: Any = None
    offset: Any = None
    subset: Any = None
    need_cluster: bool = True
    sigma_known: bool = False
    fixed_effects: bool = False
    functions: Mapping[str, Callable[..., Any]] | None = None
    mass_points: bool = False
    left_out: tuple[str, ...] = ()
    constant: tuple[Node, ...] | None = None
    alone: bool = False
    penalized: bool = False
    success: Any = None
    levels: tuple[str, ...] | None = None
    nonparallel: str | None = None
    effects: bool = False
    inside: str | None = None
    nested: tuple[str, str] | None = None
    groupings: bool = False
    beside: tuple[str, ...] = ()

    @property
    def absorb(self) -> bool:
        """Whether other intercepts stand in for a column of ones: those of clusters, or mass points."""
        return self.fixed_effects or self.mass_points

    @property
    def taken(self) -> tuple[str, ...]:
        """Columns that `.` in a formula does not stand for."""
        given = (self.cluster, self.weights, self.cluster_weights, given_in(self.offset)[1], self.subset)
        return (*(each for each in given if isinstance(each, str)), *self.beside)
