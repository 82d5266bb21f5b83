"""Whether what a file gives fits the classes that it names: types field by field, and sizes against each other."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.blocks.streamed import StreamedData
from clusterglm.data.design import Design
from clusterglm.data.effects import Effects
from clusterglm.data.formulas.check import check_expression
from clusterglm.data.formulas.coding import width
from clusterglm.data.formulas.columnwise import COLUMNWISE
from clusterglm.data.formulas.tree import Call, text_of, walk
from clusterglm.data.prepare import FittedData, ModelData, told_apart
from clusterglm.model.covariance import STRUCTURES
from clusterglm.model.penalty import PENALTIES
from clusterglm.model.response.own.base import OwnParameters

_FACES: dict[Any, tuple[type, ...]] = {FittedData: (ModelData, StreamedData)}
"""Classes behind a protocol."""

_KINDS = {np.float64: "f", np.int64: "iu", np.bool_: "b"}


@cache
def hints_of(kind: type) -> dict[str, Any]:
    """Types of a class's fields; names that only type checkers import are looked up where they are defined."""
    from clusterglm.inference.hypotheses.score_test import ScoreTest

    return get_type_hints(kind, localns={"ScoreTest": ScoreTest})


def conforms(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, as deep as the type says."""
    if hint is Any or hint is object:
        return True
    if hint is None or hint is type(None):
        return value is None
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union or origin is types.UnionType:
        return any(conforms(value, each) for each in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is ...:
            return all(conforms(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(conforms, value, arguments))
    if origin is np.ndarray:
        (wanted,) = get_args(arguments[1]) or (Any,)
        return isinstance(value, np.ndarray) and (wanted is Any or value.dtype.kind in _KINDS[wanted])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(
            conforms(key, arguments[0]) and conforms(item, arguments[1]) for key, item in value.items()
        )
    if isinstance(origin, type) and is_dataclass(origin):
        return isinstance(value, origin)
    if isinstance(hint, TypeVar):
        return hint.__bound__ is not None and isinstance(value, hint.__bound__)
    if origin is not None:  # a function
        return callable(value)
    if hint is float:
        return isinstance(value, (float, int, np.floating, np.integer)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return isinstance(value, _FACES.get(hint, hint))


def misfit(data: ModelData | StreamedData) -> str | None:
    """What does not fit together in the data of a fit, in words; None where everything does."""
    p, design = len(data.names), data.design
    found = _design_misfit(design)
    if found is not None or told_apart(design) != data.names:
        return found or f"a design of {len(design.names)} columns for {p} names"
    if data.intercept != design.intercept or not (data.intercept is None or 0 <= data.intercept < p):
        return f"intercept {data.intercept} of {p} columns"
    if isinstance(data, StreamedData):
        return None if data.effects is None else _terms_misfit(data.effects)
    n, m = len(data.a), len(data.starts) - 1
    if data.X.shape != (n, p):
        return f"X of shape {data.X.shape} for {n} rows and {p} names"
    for name in ("b", "offset", "weights", "trials", "row_index"):
        if getattr(data, name).shape != (n,):
            return f"{name} of shape {getattr(data, name).shape} for {n} rows"
    for name in ("labels", "cluster_weights"):
        if getattr(data, name).shape != (m,):
            return f"{name} of shape {getattr(data, name).shape} for {m} clusters"
    if _repeated(data.labels):
        return "labels of clusters that occur twice"
    starts = data.starts
    if m < 1 or starts[0] != 0 or starts[-1] != n or bool((np.diff(starts) < 0).any()):
        return f"starts of clusters that do not go from 0 to {n}"
    if n and int(data.row_index.min()) < 0:
        return "negative numbers of rows"
    found = None if data.by_threshold is None else _design_misfit(data.by_threshold)
    return found if data.effects is None or found is not None else _effects_misfit(data.effects, starts)


def _terms_misfit(effects: Effects) -> str | None:
    """What does not fit together in the terms of the random part, in words."""
    children = effects.children
    if children is not None:
        levels = [term.group == children.group for term in effects.terms]
        if levels != sorted(levels) or not 0 < sum(levels) < len(levels):
            return f"terms that are not those of clusters and then those of {children.group!r}"
    for term in effects.terms:
        if term.structure not in STRUCTURES:
            return f"a covariance that is {term.structure!r}"
        found = _design_misfit(term.design)
        if found is not None:
            return found
    columns = sum(len(term.design.names) for term in effects.terms)
    return None if effects.Z.shape[1:] == (columns,) and columns else f"Z of shape {effects.Z.shape}"


def _effects_misfit(effects: Effects, clusters: NDArray[np.int64]) -> str | None:
    """What does not fit together in the random part, in words."""
    found = _terms_misfit(effects)
    if found is not None:
        return found
    n, children = int(clusters[-1]), effects.children
    if children is not None:
        firsts = children.starts
        if len(firsts) < 2 or firsts[0] != 0 or firsts[-1] != n or bool((np.diff(firsts) <= 0).any()):
            return f"starts of {children.group!r} that do not go from 0 to {n}"
        if not set(clusters.tolist()) <= set(firsts.tolist()) or children.labels.shape != (len(firsts) - 1,):
            return f"levels of {children.group!r} that are not nested in the clusters"
    for each in (*effects.groupings, *effects.outside):
        if each.codes.shape != (n,) or set(each.codes.tolist()) != set(range(len(each.labels))):
            return f"levels of {each.group!r} that are not those of {n} rows"
    known = {each.group for each in effects.groupings}
    if known and known != {term.group for term in effects.terms}:
        return "levels of other factors than those of the terms"
    if effects.outside:
        order, others = [term.group for term in effects.terms], [each.group for each in effects.outside]
        if children is not None or list(dict.fromkeys(order))[1:] != others or sorted(order, key=order.index) != order:
            return "terms in another order than their factors"
    return None if len(effects.Z) == n else f"Z of shape {effects.Z.shape}"


def fit_misfit(fit: Any, data: ModelData | StreamedData) -> str | None:
    """What does not fit together in estimates and their data, in words."""
    p, m = len(data.names), None if isinstance(data, StreamedData) else len(data.labels)
    lengths = {"beta": p, "uncorrected": p, **({} if m is None else {"intercepts": m, "informative": m})}
    names = [field.name for field in fields(fit)]
    if "phi" in names:
        r = 0 if data.effects is None else data.effects.covariance.n_parameters
        every = len(fit.parameters)
        if fit.phi.shape != (r,) or fit.held.shape != (r,) or fit.covariance.shape != (every, every):
            return f"phi of shape {fit.phi.shape} for {r} parameters of a covariance"
    for name in names:
        value = getattr(fit, name)
        if name in lengths and value.shape != (lengths[name],):
            return f"{name} of shape {value.shape}, not ({lengths[name]},)"
        if name in ("covariance", "hessian") and (value.ndim != 2 or not p <= value.shape[0] == value.shape[1]):
            return f"{name} of shape {value.shape} for {p} coefficients"
    own = getattr(fit, "response", None)
    if isinstance(own, OwnParameters) and isinstance(data, ModelData):
        by_threshold = () if data.by_threshold is None else data.by_threshold.names
        found = own.misfit(data.a, data.b, by_threshold)
        if found is not None:
            return found
    if "penalty" in names and (
        fit.penalty not in (None, *PENALTIES) or (fit.penalty is None) != (fit.penalized_loglik is None)
    ):
        return f"penalty {fit.penalty!r} with a penalised log-likelihood of {fit.penalized_loglik}"
    return None


def limit_misfit(result: Any) -> str | None:
    """What does not fit together in a result at the limit of separation, in words."""
    found, rest, (n, p) = result.recession, result.rest, result.data.X.shape
    k = p - len(found.kept)
    if found.decided.shape != (n,) or found.basis.shape != (p, k) or found.walls.ndim != 2 or found.walls.shape[1] != k:
        return f"a recession of shape {found.basis.shape} for {n} rows and {p} coefficients"
    if found.kept.ndim != 1 or sorted(set(found.kept.tolist()) & set(range(p))) != found.kept.tolist():
        return f"columns {found.kept.tolist()} of {p}"
    if rest is None:
        return None if k == p else "no fit to the rows that are not certain"
    if rest.data.names != tuple(result.data.names[j] for j in found.kept.tolist()):
        return f"a fit of {', '.join(rest.data.names)} to the rows that are not certain"
    if not np.array_equal(rest.data.row_index, result.data.row_index[~found.decided]):
        return "a fit to other rows than those that are not certain"
    return fit_misfit(rest.fit, rest.data)


def _repeated(labels: Any) -> bool:
    return labels.ndim != 1 or len(set(labels.tolist())) < len(labels)


def _design_misfit(design: Design) -> str | None:
    coding, means = design.coding, design.cluster_means
    terms = () if means is None else means.terms
    allowed = {*design.variables, *(term.name for term in terms)}
    places = {k for term in coding.terms for part in term.parts for k, _ in part}
    if not places <= set(range(len(coding.factors))):
        return "terms of factors that are not there"
    made = sum(term.columns for term in coding.terms)
    if any(term.columns != width(term, coding.factors) for term in coding.terms) or not (
        set(coding.left_out) <= set(range(made)) and len(set(coding.left_out)) == len(coding.left_out)
    ):
        return "terms of another number of columns than their factors make"
    if design.names not in coding.names() or design.intercept != coding.intercept:
        return f"names of columns that are not those of the terms: {', '.join(design.names)}"
    expressions = [*design.offsets, *(term.expression for term in terms)]
    for node in [factor.node for factor in coding.factors]:
        check_expression(node, allowed, design.functions)
    for expression in expressions:
        check_expression(expression.node, expression.variables, design.functions)
    for node in [factor.node for factor in coding.factors] + [each.node for each in expressions]:
        for part in walk(node):
            state = design.memory.get(text_of(part)) if isinstance(part, Call) else None
            if isinstance(part, Call) and state is not None and not COLUMNWISE[part.function].keeps(state):
                return f"{text_of(part)} with a memory that it cannot have"
    if means is not None and means.means.shape != (len(terms), len(means.labels)):
        return f"means of clusters of shape {means.means.shape}"
    if means is not None and _repeated(means.labels):
        return "labels of clusters that occur twice"
    return None
