"""Terms of a formula whose coefficients differ between the thresholds of an ordered response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.design import Design
from clusterglm.data.formulas.algebra import right_side
from clusterglm.data.formulas.check import known_functions
from clusterglm.data.formulas.formula import signed_terms
from clusterglm.data.formulas.parse import Parser
from clusterglm.data.formulas.tokens import tokens_of
from clusterglm.data.prepare import ModelData
from clusterglm.errors import FormulaError, OptionError, nearest
from clusterglm.model.arguments import shown
from clusterglm.model.arrays import Array

_EXAMPLES = "nonparallel='x', 'x + z' or '.' for all"
_ALL = (".", "~.")


def read_nonparallel(given: Any, response_is_ordered: bool, family: str) -> str | None:
    """The argument `nonparallel=` of a verb, as the terms of a right-hand side.

    Raises
    ------
    OptionError
        When it is neither text nor a list of it, or the family has no thresholds.
    """
    if given is None:
        return None
    if not response_is_ordered:
        raise OptionError(
            f"nonparallel= with family={family!r}",
            "family='ordinal', whose thresholds may have coefficients of their own",
            "leave nonparallel= out",
        )
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, Sequence) or not all(isinstance(each, str) and each.strip() for each in listed):
        raise OptionError(f"nonparallel={shown(given)}", "terms of the formula", _EXAMPLES)
    text = " + ".join(each.strip().removeprefix("~").strip() for each in listed)
    if not text:
        raise OptionError(f"nonparallel={shown(given)}", "one term of the formula or more", _EXAMPLES)
    return text


@dataclass(frozen=True)
class ByThreshold:
    """Data without the columns whose coefficients differ between thresholds, and what these columns are.

    Parameters
    ----------
    data : ModelData
    names : tuple of str
        The q columns.
    patterns : ndarray, shape (g, q)
        Different rows of them.
    of : ndarray of int64, shape (n,)
        Which of these each row has.
    """

    data: ModelData
    names: tuple[str, ...]
    patterns: Array
    of: NDArray[np.int64]


def apart(data: ModelData, wanted: str) -> ByThreshold:
    """Take the columns of terms out of the design.

    Parameters
    ----------
    data : ModelData
    wanted : str
        Terms, as in a formula.

    Raises
    ------
    FormulaError
        On terms that the formula does not have.
    """
    terms = _named(wanted, data)
    columns = sorted(j for term in terms for j in data.design.terms()[term])
    others = [j for j in range(len(data.names)) if j not in columns]
    patterns, of = np.unique(data.X[:, columns], axis=0, return_inverse=True)
    design = data.design.without(columns)
    rest = replace(
        data,
        X=np.ascontiguousarray(data.X[:, others]),
        names=tuple(data.names[j] for j in others),
        intercept=design.intercept,
        design=design,
        by_threshold=data.design.without(others),
    )
    return ByThreshold(rest, tuple(data.names[j] for j in columns), patterns, np.asarray(of.ravel(), dtype=np.int64))


def _named(wanted: str, data: ModelData) -> list[str]:
    """Terms of the formula, by what is asked for."""
    design = data.design
    found = {frozenset(term.replace("`", "").split(":")): term for term in design.terms() if term != "1"}
    if wanted.replace(" ", "") in _ALL:
        if not found:
            raise FormulaError(f"nonparallel={wanted!r} of a formula without covariates", "covariates", _EXAMPLES)
        return list(found.values())
    asked = _terms_of(wanted, design)
    for each in asked:
        if each not in found:
            name = ":".join(each) or "1"
            known = [term for term in design.terms() if term != "1"]
            what = f", which is no term of the formula {data.formula!r}" if each else ", the thresholds themselves"
            raise FormulaError(
                f"nonparallel={wanted!r}{what}",
                f"terms of the formula: {', '.join(map(repr, known)) or 'it has none'}",
                f"{nearest(name, known)}" + (f"write + {name} in the formula, too" if each else _EXAMPLES),
            )
    return [found[each] for each in asked]


def _terms_of(text: str, design: Design) -> list[frozenset[str]]:
    """The terms of a right-hand side, each as the texts of its factors."""
    names = {*design.variables, *(() if design.cluster_means is None else (t.name for t in design.cluster_means.terms))}
    tokens, functions = tokens_of(text, design.variables), known_functions(design.functions)
    nodes = [(sign or "+", Parser(some, names, functions, text).whole()) for sign, some in signed_terms(tokens, text)]
    if any(sign == "-" for sign, _ in nodes):
        raise FormulaError(f"nonparallel={text!r} with a minus", "terms, with + between", _EXAMPLES)
    side = right_side(nodes, list)
    if side.random or side.offsets:
        what = "random terms" if side.random else "an offset"
        raise FormulaError(f"nonparallel={text!r} with {what}", "covariates whose coefficients are fixed", _EXAMPLES)
    found = [frozenset(term.texts) for term in side.terms if term.factors]
    return found or [frozenset()]
