"""Factors of terms become columns: which of them are coded next to an intercept, their values and their names.

A categorical factor spans the column of ones. Each term is taken apart into the smallest products that span it and
nothing that earlier terms span, and these are joined again where that is the same space: so the columns are independent
whatever margins a formula leaves out, and are R's where it leaves out none (Chambers and Hastie 1992, sec. 2.4).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from clusterglm.data.formulas.algebra import Term, factor_text
from clusterglm.data.formulas.check import FACTORS
from clusterglm.data.formulas.contrasts import Contrast, coded, label_of
from clusterglm.data.formulas.meant import refuse_what_was_meant_otherwise
from clusterglm.data.formulas.tree import Call, Name, Node, text_of
from clusterglm.data.formulas.values import Basis, Categories, as_categories, as_numbers, recoded, used
from clusterglm.errors import DataError, DesignError, FormulaError
from clusterglm.model.arrays import Array

INTERCEPT = "(Intercept)"
MOST_CATEGORIES = 8
"""Categorical factors of one term; the products to look at double with each."""

_Part: TypeAlias = tuple[tuple[int, bool], ...]


@dataclass(frozen=True)
class Factor:
    """A factor of a term, and what a fit has learned of it.

    Parameters
    ----------
    expression : str
        As names of columns show it: `x`, `trt`, `C(trt)`, `bs(x, df=4)`.
    node : Node
    levels : tuple
        Of a categorical factor, those that the fit has seen.
    contrast : Contrast or None
        Of a categorical factor; None for numbers.
    fields : tuple of str or None
        Of several columns that belong together, their names.
    spans_intercept : bool
        Whether a column of ones is a combination of its columns.
    """

    expression: str
    node: Node
    levels: tuple[Any, ...] = ()
    contrast: Contrast | None = None
    fields: tuple[str, ...] | None = None
    spans_intercept: bool = False

    @property
    def column(self) -> str | None:
        """The column itself, when the expression is no more than that, or that as categories."""
        if isinstance(self.node, Name):
            return self.node.name
        if isinstance(self.node, Call) and self.node.function in FACTORS and self.node.arguments:
            first = self.node.arguments[0]
            return first.name if isinstance(first, Name) else None
        return None


@dataclass(frozen=True)
class CodedTerm:
    """The columns of a term.

    Parameters
    ----------
    name : str
    parts : tuple of parts
        Products, each of pairs (number of a factor, whether it is coded next to an intercept); the columns are those of
        the first part, of the second, and so on.
    columns : int
        How many there are.
    """

    name: str
    parts: tuple[_Part, ...]
    columns: int


@dataclass(frozen=True)
class Coding:
    """How factors become columns.

    Parameters
    ----------
    factors : tuple of Factor
    terms : tuple of CodedTerm
        In the order of the columns; terms without a column of their own are among them.
    left_out : tuple of int
        Columns, as the terms make them, that are left out.
    """

    factors: tuple[Factor, ...]
    terms: tuple[CodedTerm, ...]
    left_out: tuple[int, ...] = ()

    @property
    def plain(self) -> tuple[str, ...] | None:
        """Columns of numbers that it lists, where it does no more, the intercept left out; else None."""
        simple = all(isinstance(factor.node, Name) and factor.contrast is None for factor in self.factors)
        single = all(len(term.parts) == 1 and len(term.parts[0]) <= 1 for term in self.terms)
        if self.left_out or not (simple and single) or any(not term.parts[0] for term in self.terms[1:]):
            return None
        return tuple(self.factors[part[0]].expression for term in self.terms for part in term.parts[0])

    @property
    def intercept(self) -> int | None:
        """Position of the column of ones."""
        return 0 if self.terms and self.terms[0].parts == ((),) else None

    def places(self) -> list[tuple[CodedTerm, tuple[int, ...]]]:
        """Each term and the positions of its columns in the matrix."""
        found, made, at = [], 0, 0
        for term in self.terms:
            kept = sum(j not in self.left_out for j in range(made, made + term.columns))
            found.append((term, tuple(range(at, at + kept))))
            made, at = made + term.columns, at + kept
        return found

    def without(self, columns: Collection[int]) -> Coding:
        """This coding without some columns of the matrix; terms and factors that have none left go."""
        made = sum(term.columns for term in self.terms)
        kept = [j for j in range(made) if j not in self.left_out]
        gone = {kept[j] for j in columns} | set(self.left_out)
        terms: list[CodedTerm] = []
        left_out: list[int] = []
        first = at = 0
        for term in self.terms:
            own = range(first, first + term.columns)
            if not gone.issuperset(own) or not own:
                terms.append(term)
                left_out += [at + j - first for j in own if j in gone]
                at += term.columns
            first += term.columns
        used = sorted({k for term in terms for part in term.parts for k, _ in part})
        new = {k: i for i, k in enumerate(used)}
        moved = [
            replace(term, parts=tuple(tuple((new[k], reduced) for k, reduced in part) for part in term.parts))
            for term in terms
        ]
        return Coding(tuple(self.factors[k] for k in used), tuple(moved), tuple(left_out))

    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the columns as R has them, `trtdrug`, and longer ones in which no two are alike, `trt[T.drug]`."""
        short, long = self._named(0, INTERCEPT, ":"), self._named(1, "Intercept", ":")
        # two columns may meet in one name, such as level "b1" of `a` and level "1" of `ab`
        return short if len(set(short)) == len(short) else long, long

    def words(self) -> tuple[str, ...]:
        """What the columns are to people who read: `trt = drug`."""
        return self._named(2, "the intercept", " × ")

    def references(self) -> dict[str, Any]:
        """The levels that the others of a factor are compared with, by the factor's column or expression."""
        found = {}
        for term in self.terms:
            for k, reduced in (pair for part in term.parts for pair in part):
                factor = self.factors[k]
                if reduced and factor.contrast is not None:
                    level = coded(factor.contrast, factor.levels, reduced=True, what=factor.expression).base
                    if level is not None:
                        found[factor.column or factor.expression] = factor.levels[level]
        return found

    def _named(self, which: int, intercept: str, joined: str) -> tuple[str, ...]:
        names: list[str] = []
        blocks: dict[tuple[int, bool], tuple[list[str], list[str], list[str]]] = {}
        for part in (part for term in self.terms for part in term.parts):
            for key in part:
                if key not in blocks:
                    blocks[key] = _labels(self.factors[key[0]], key[1])
            last_first = product(*(blocks[key][which] for key in reversed(part)))
            names.extend(joined.join(reversed(labels)) if part else intercept for labels in last_first)
        return tuple(name for j, name in enumerate(names) if j not in self.left_out)


def learn_coding(
    terms: Sequence[Term],
    values: Mapping[Node, Any],
    rows: int,
    *,
    absorbed: Collection[Node] = (),
    levels: Mapping[Node, tuple[Any, ...]] | None = None,
) -> Coding:
    """How the terms of a fit are coded.

    Parameters
    ----------
    terms : sequence of Term
        Intercept first, then by number of factors.
    values : mapping of Node to value
        Of each factor, in the fitted rows.
    rows : int
        Number of these rows.
    absorbed : collection of Node
        Factors that are constant within clusters, whose intercepts therefore span them and all their products.
    levels : mapping of Node to tuple, optional
        Levels of computed factors in all rows, where these are some of them.

    Raises
    ------
    DesignError
        When a term needs more columns than there are rows, or dates stand for themselves.
    FormulaError
        When a term has too many categorical factors.
    """
    nodes = list(dict.fromkeys(node for term in terms for node in term.factors))
    known = levels or {}
    factors = [_factor(node, values[node], known.get(node)) for node in nodes]
    place = {node: k for k, node in enumerate(nodes)}
    spanned: set[frozenset[tuple[int, bool]]] = set()
    made: list[CodedTerm] = []
    for term in terms:
        which = [place[node] for node in term.factors]
        some = _spanned(which, factors, term)
        if absorbed and term.factors:
            constant = {place[node] for node in absorbed if node in place}
            if not set(which) <= constant:  # the others' columns are seen to be constant, and said to be left out
                spanned |= {frozenset(part) for part in some if {k for k, _ in part} <= constant}
        new = [part for part in some if frozenset(part) not in spanned]
        spanned |= {frozenset(part) for part in new}
        parts = tuple(_joined(new))
        size = sum(_width(part, factors) for part in parts)
        if size > rows + 1:
            raise _too_wide(term, size, rows, [factors[k] for k in which])
        made.append(CodedTerm(term.name, parts, size))
    return Coding(tuple(factors), tuple(made))


def build(coding: Coding, values: Mapping[Node, Any], rows: int) -> Array:
    """The matrix of some rows, shape (rows, p), C order; NaN where a factor has no value.

    Raises
    ------
    DataError
        When a factor is now of another kind than in the fit.
    """
    X = np.empty((rows, sum(term.columns for term in coding.terms)))
    blocks: dict[tuple[int, bool], Array] = {}
    at = 0
    for term in coding.terms:
        for part in term.parts:
            for key in part:
                if key not in blocks:
                    factor = coding.factors[key[0]]
                    blocks[key] = _block(factor, values[factor.node], key[1])
            for which in product(*(range(blocks[key].shape[1]) for key in reversed(part))):
                each = [blocks[key][:, j] for key, j in zip(part, reversed(which), strict=True)]
                X[:, at] = each[0] if each else 1.0
                with np.errstate(all="ignore"):  # what is not finite is reported with its column later
                    for more in each[1:]:
                        X[:, at] *= more
                at += 1
    return np.ascontiguousarray(np.delete(X, coding.left_out, axis=1)) if coding.left_out else X


def fitted_to(factor: Factor, value: Any) -> Any:
    """A factor's value in new rows, as in the fit: categories by its levels, -2 where a level is new.

    Raises
    ------
    DataError
        When it is of another kind: categories where numbers were fitted.
    """
    if factor.contrast is not None:
        return recoded(as_categories(value, factor.expression), factor.levels)
    if isinstance(value, Categories):
        shown = ", ".join(repr(level) for level in value.levels[:3])
        raise DataError(
            f"the covariate {factor.expression!r} with categories ({shown}), which was fitted as numbers",
            "numbers",
            "convert the column, or fit with categories",
        )
    return value


def _factor(node: Node, value: Any, levels: tuple[Any, ...] | None) -> Factor:
    text = factor_text(node)
    if isinstance(value, Categories):
        value = used(value) if levels is None else recoded(value, levels)
        if isinstance(node, Name) and value.levels and hasattr(value.levels[0], "isoformat"):
            raise DesignError(
                f"the covariate {text!r} holds dates or times",
                "numbers or categories",
                f"a numeric column, such as days since the start; or C({text_of(node)}) for a level per date",
            )
        if isinstance(node, Name) and levels is None:
            refuse_what_was_meant_otherwise(value.levels, text)
        return Factor(text, node, value.levels, value.contrast or Contrast(), None, spans_intercept=True)
    if isinstance(value, Basis):
        return Factor(text, node, (), None, value.fields, value.spans_intercept)
    return Factor(text, node)


def _spanned(which: Sequence[int], factors: Sequence[Factor], term: Term) -> list[_Part]:
    """The smallest products whose spaces make up a term's."""
    several = sum(factors[k].spans_intercept for k in which)
    if several > MOST_CATEGORIES:
        raise FormulaError(
            f"the term {term.name!r} of {several} categorical factors",
            f"at most {MOST_CATEGORIES}",
            "fewer interactions",
        )
    choices = [((k, True), None) if factors[k].spans_intercept else ((k, False),) for k in which]
    return [tuple(each for each in chosen if each is not None) for chosen in product(*choices)]


def _joined(parts: Iterable[_Part]) -> list[_Part]:
    """The fewest products of the same space: one without a factor, and it times that factor less ones, are one."""
    found: list[_Part] = []
    for part in sorted(parts, key=len):
        for other in found:
            more = set(part) - set(other)
            if len(other) == len(part) - 1 and len(more) == 1:
                (new,) = more
                if new[1]:
                    whole = tuple((k, False) if (k, reduced) == new else (k, reduced) for k, reduced in part)
                    found = _joined([*(each for each in found if each is not other), whole])
                    break
        else:
            found.append(part)
    return found


def _columns(factor: Factor, reduced: bool) -> int:
    if factor.contrast is not None:
        if factor.contrast.kind == "matrix":
            return len(np.atleast_2d(np.asarray(dict(factor.contrast.options)["matrix"], dtype=object)).T)
        return len(factor.levels) - reduced
    return 1 if factor.fields is None else len(factor.fields) - (reduced and factor.spans_intercept)


def width(term: CodedTerm, factors: Sequence[Factor]) -> int:
    """How many columns the parts of a term make."""
    return sum(_width(part, factors) for part in term.parts)


def _width(part: _Part, factors: Sequence[Factor]) -> int:
    size = 1
    for k, reduced in part:
        size *= _columns(factors[k], reduced)
    return size


def _labels(factor: Factor, reduced: bool) -> tuple[list[str], list[str], list[str]]:
    """What each of its columns is called: shortly, at length, and in words."""
    text = factor.expression
    if factor.contrast is not None:
        found = coded(factor.contrast, factor.levels, reduced=reduced, what=text)
        spelled = {label_of(level): str(level) for level in factor.levels}
        long = [f"{text}[{found.prefix}{spelled.get(label, label)}]" for label in found.labels]
        own = found.base is not None or (not reduced and factor.contrast.kind != "matrix")  # a column is a level's
        words = [f"{factor.column or text} = {label}" for label in found.labels] if own else long
        return [text + label for label in found.labels], long, words
    if factor.fields is None:
        return [text], [text], [text]
    fields = factor.fields[1:] if reduced and factor.spans_intercept else factor.fields
    long = [f"{text}[{each}]" for each in fields]
    return [text + each for each in fields], long, long


def _block(factor: Factor, value: Any, reduced: bool) -> Array:
    """A factor's columns, shape (rows, k)."""
    if factor.contrast is not None:
        matrix = coded(factor.contrast, factor.levels, reduced=reduced, what=factor.expression).matrix
        nothing = np.full((2, matrix.shape[1]), np.nan)  # serves the codes of what is unseen and missing
        return np.asarray(np.vstack([matrix, nothing])[value.codes])
    if isinstance(value, Basis):
        if factor.fields is not None and value.matrix.shape[1] != len(factor.fields):  # of a file that was changed
            raise DesignError(
                f"{factor.expression} with {value.matrix.shape[1]} columns, of a fit with {len(factor.fields)}",
                "as many as the fit has learned",
                "fit and save again",
            )
        return value.matrix[:, 1:] if reduced and factor.spans_intercept else value.matrix
    return np.asarray(as_numbers(value, factor.expression))[:, None]


def _too_wide(term: Term, size: int, rows: int, factors: Sequence[Factor]) -> DesignError:
    widest = max(factors, key=lambda factor: len(factor.levels))
    levels = len(widest.levels)
    name = widest.column or widest.expression
    whole = 1
    for factor in factors:
        whole *= max(len(factor.levels), 1)
    return DesignError(
        f"the term {term.name!r} with {max(whole, size)} levels for {rows} rows",
        "fewer columns than rows",
        f"drop it, or merge levels of {name!r} ({levels} of them); cluster= for ids of clusters",
    )
