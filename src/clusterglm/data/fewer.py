"""Data of a smaller model: without the columns of some terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clusterglm.data.design import Design
from clusterglm.data.formulas.algebra import right_side
from clusterglm.data.formulas.check import known_functions
from clusterglm.data.formulas.formula import signed_terms
from clusterglm.data.formulas.parse import Parser
from clusterglm.data.formulas.tokens import tokens_of
from clusterglm.data.formulas.tree import Name, text_of
from clusterglm.data.prepare import ModelData
from clusterglm.errors import DesignError


def without_terms(
    data: ModelData, terms: Sequence[str], formula: str | None = None, *, absorbed: bool = False
) -> ModelData:
    """The data without the columns of terms, as `Design.terms` names them.

    Parameters
    ----------
    data : ModelData
    terms : sequence of str
    formula : str, optional
        Of the smaller model; by default the larger one's with the terms taken away at its end.
    absorbed : bool
        Whether clusters have intercepts of their own, beside which no coefficient is needed.

    Raises
    ------
    DesignError
        Where no coefficient is left.
    """
    named = data.design.terms()
    columns = [j for term in terms for j in named[term]]
    if len(columns) == len(data.names) and not absorbed:
        raise DesignError(
            f"a model without {' and '.join(terms)}, which has no coefficient", "one coefficient or more", "'y ~ 1'"
        )
    design = data.design.without(columns)
    kept = [j for j in range(len(data.names)) if j not in columns]
    if formula is None:
        formula = data.formula + "".join(f" - {written(data.design, term)}" for term in terms)
    return replace(
        data,
        X=np.ascontiguousarray(data.X[:, kept]),
        names=tuple(data.names[j] for j in kept),
        intercept=design.intercept,
        design=design,
        formula=formula,
    )


def coded_anew(data: ModelData, terms: Sequence[str], *, absorbed: bool) -> str:
    """Why the model without terms is not that without their columns, in words; empty where it is.

    Factors are coded next to what stands before them: an interaction takes up a main effect that is taken away, a
    factor the missing intercept.
    """
    named = data.design.terms()
    parts = {term: frozenset(term.split(":")) for term in named}
    rest = [term for term in named if term not in terms]
    inside = next((other for term in terms for other in rest if parts[term] < parts[other]), None)
    if inside is not None:
        return f"{inside!r} is coded anew without it"
    categorical = {factor.expression for factor in data.design.factors}
    others = [term for term in rest if parts[term] & categorical]
    if data.intercept is None and not absorbed and others and any(parts[term] & categorical for term in terms):
        return f"{others[0]!r} is coded anew without it, in a model without an intercept"
    return ""


def taken_away(change: str, data: ModelData) -> list[str] | None:
    """Terms that a formula such as "~ . - x - z" takes away; None where it does more, or they are not all there."""
    tokens = tokens_of(change, data.design.variables)
    at = next((k for k, token in enumerate(tokens) if token.is_("~")), len(tokens))
    left = tokens[:at]
    if at + 1 >= len(tokens) or (left and not (len(left) == 1 and left[0].is_("."))):
        return None
    (_, first), *others = signed_terms(tokens[at + 1 :], change)
    if not (len(first) == 1 and first[0].is_(".")) or not others or any(sign != "-" for sign, _ in others):
        return None
    names, functions = set(data.design.variables), known_functions(data.design.functions)
    nodes = [("+", Parser(some, names, functions, change).whole()) for _, some in others]
    wanted = [frozenset(term.texts) for term in right_side(nodes, list).terms if term.factors]
    found = {frozenset(term.split(":")): term for term in data.design.terms() if term != "1"}
    if not wanted or not all(each in found for each in wanted):
        return None
    return [found[each] for each in wanted]


def written(design: Design, term: str) -> str:
    """A term of a design as a formula has it, with backticks where they must be."""
    means = () if design.cluster_means is None else design.cluster_means.terms
    made = {each.name for each in means}
    coded = next(each for each, _ in design.coding.places() if each.name == term.strip("`"))
    numbers = dict.fromkeys(k for part in coded.parts for k, _ in part)
    nodes = [design.coding.factors[k].node for k in numbers]
    return ":".join(n.name if isinstance(n, Name) and n.name in made else text_of(n) for n in nodes)
