"""Files of format 1, whose designs were formulaic's: the same designs as data of today's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clusterglm.data.formulas.check import known_functions
from clusterglm.data.formulas.coding import CodedTerm, Coding, Factor
from clusterglm.data.formulas.columnwise import COLUMNWISE, State
from clusterglm.data.formulas.contrasts import Contrast
from clusterglm.data.formulas.evaluate import Evaluator
from clusterglm.data.formulas.parse import Parser
from clusterglm.data.formulas.text import written
from clusterglm.data.formulas.tokens import tokens_of
from clusterglm.data.formulas.tree import Call, Constant, Name, Node, text_of, walk
from clusterglm.data.formulas.values import Basis, Categories
from clusterglm.errors import FileError, FormulaError
from clusterglm.results.files.values import Reader, Writer

_CODING = ("Coding", "CodedTerm", "Factor", "Contrast")
_FIRST_NUMBER = 1_000_000_000  # number of a shared value, beyond those of the file
_MOST_ELEMENTS = 10_000_000
_SMALL = ("scalar", "Interval", "Timestamp", "Decimal", "date", "datetime", "time")
_SPLINES = ("bs", "cr", "cs", "cc")


def translated(tree: Any, source: str, modules: Mapping[str, str]) -> Any:
    """The tree of a file of format 1 as one of format 2.

    Parameters
    ----------
    tree : object
        As JSON gave it.
    source : str
        The file, in words.
    modules : mapping of str to str
        As for `Reader`.

    Raises
    ------
    FileError
        When a design in it is none.
    """
    try:
        return _translated(_without_references(tree), source, modules)
    except FileError:
        raise
    except (
        KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, RecursionError, FormulaError,
    ) as problem:  # fmt: skip
        raise FileError(
            f"{source}, in format 1, whose content does not fit: {type(problem).__name__}: {problem}",
            "a file as fit.save(path) wrote it",
            "clusterglm 0.1 to read it; or fit and save again",
        ) from problem


def _without_references(tree: Any) -> Any:
    """The tree with small values that occur twice, such as intervals that are levels, written out each time."""
    known: dict[int, dict[str, Any]] = {}

    def see(part: Any) -> None:
        if isinstance(part, dict):
            if part.get("@") in _SMALL and "@id" in part:
                known[part["@id"]] = {key: item for key, item in part.items() if key != "@id"}
            for item in part.values():
                see(item)
        elif isinstance(part, list):
            for item in part:
                see(item)

    def put(part: Any) -> Any:
        if isinstance(part, list):
            return [put(item) for item in part]
        if not isinstance(part, dict):
            return part
        if part.get("@") == "same" and part.get("as") in known:
            return put(known[part["as"]])
        return {key: put(item) for key, item in part.items() if not (key == "@id" and part.get("@") in _SMALL)}

    see(tree)
    return put(tree)


def _translated(tree: Any, source: str, modules: Mapping[str, str]) -> Any:
    if isinstance(tree, list):
        return [_translated(item, source, modules) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("@") == "Expression" and "code" in tree:
        return _expression(tree)
    if tree.get("@") == "Design" and "spec" in tree:
        tree = {**tree, **_design(tree, source, modules)}
        del tree["spec"], tree["factors"]
    return {key: _translated(item, source, modules) for key, item in tree.items()}


def _expression(tree: dict[str, Any]) -> dict[str, Any]:
    """An expression by its text, which was kept beside the code."""
    variables = [pair["items"][1] for pair in tree["placeholders"]["items"]]
    new = {"@": "Expression", "text": tree["text"], "variables": {"@": "tuple", "items": variables}}
    node = {"@": "expression", "text": written(_parsed(tree["text"], variables))}
    return {**new, "node": node, **({"@id": tree["@id"]} if "@id" in tree else {})}


def _design(tree: dict[str, Any], source: str, modules: Mapping[str, str]) -> dict[str, Any]:
    """Coding and memory of a design."""
    spec = {key: item for key, item in tree["spec"].items() if not key.startswith("@")}
    found = Reader({}, source, _MOST_ELEMENTS).value(spec)
    variables = Reader({}, source, _MOST_ELEMENTS).value(tree["variables"])
    # the columns that stood for means of clusters were named as such
    nodes = {
        text: Name(text) if method == "lookup" else _parsed(text, variables)
        for part in found["structure"]
        for text, method in part["term"]
        if method != "literal"
    }
    memory = _memory(found["transforms"], nodes, variables)
    factors = {
        text: _factor(text, node, found["encodings"].get(text, ["numerical", {}]), memory)
        for text, node in nodes.items()
    }
    place = {text: k for k, text in enumerate(factors)}
    terms = tuple(
        CodedTerm(
            ":".join(text for text, method in part["term"] if method != "literal") or "1",
            tuple(
                tuple((place[text], bool(reduced)) for text, reduced in scoped["factors"]) for scoped in part["scoped"]
            ),
            len(part["columns"]),
        )
        for part in found["structure"]
    )
    writer = Writer({name: modules[name] for name in _CODING}, _FIRST_NUMBER)
    coding = Coding(tuple(factors.values()), terms)
    return {"coding": writer.plain(coding), "memory": writer.plain(memory), "functions": {}}


def _factor(text: str, node: Node, encoding: list[Any], memory: Mapping[str, State]) -> Factor:
    kind, state = encoding
    if kind == "categorical":
        levels = tuple(np.asarray(state["categories"], dtype=object).tolist())
        return Factor(text, node, levels, _contrast(node, levels), None, spans_intercept=True)
    if isinstance(node, Call) and node.function in COLUMNWISE and text_of(node) in memory:
        kept = memory[text_of(node)]
        at = kept["knots"][:1] if "knots" in kept else np.zeros(1)
        value = COLUMNWISE[node.function].apply(kept, at)
        if isinstance(value, Basis):
            return Factor(text, node, (), None, value.fields, value.spans_intercept)
    return Factor(text, node)


def _contrast(node: Node, levels: tuple[Any, ...]) -> Contrast:
    """The contrasts that `C(...)` asks for."""
    names = [part.name for part in walk(node) if isinstance(part, Name)]
    codes = np.arange(len(levels), dtype=np.int64)
    bare = isinstance(node, Call) and node.arguments and isinstance(node.arguments[0], Name)
    columns = {name: Categories(levels, codes) if bare else np.zeros(len(levels)) for name in names}
    value = Evaluator(columns, len(levels), {}, {}).column(node)
    return (value.contrast if isinstance(value, Categories) else None) or Contrast()


def _memory(transforms: Mapping[str, Any], nodes: Mapping[str, Node], variables: tuple[str, ...]) -> dict[str, State]:
    memory: dict[str, State] = {}
    for text, state in transforms.items():
        node = _parsed(text, variables)
        if isinstance(node, Call) and node.function in COLUMNWISE:
            memory[text_of(node)] = _state(node, state)
    for node in nodes.values():
        if isinstance(node, Call) and node.function == "poly" and text_of(node) not in memory:
            memory[text_of(node)] = {
                "degree": int(_constants(node).get("degree", 1)),
                "raw": True,
                "alpha": None,
                "norms2": None,
            }
    return memory


def _state(node: Call, state: Mapping[str, Any]) -> State:
    if node.function == "poly":
        norms, alpha = state["norms2"], state["alpha"]
        degree = len(norms) - 1
        return {
            "degree": degree,
            "raw": False,
            "alpha": np.array([alpha[k] for k in range(degree)], dtype=np.float64),
            "norms2": np.array([norms[k] for k in range(degree + 1)], dtype=np.float64),
        }
    if node.function not in _SPLINES:
        return {name: None if state[name] is None else np.float64(state[name]) for name in ("center", "scale")}
    knots = np.asarray(state["knots"], dtype=np.float64)
    outside = _constants(node).get("extrapolation", "raise")
    if node.function == "bs":
        degree = int(np.sum(knots == knots[0])) - 1
        whole = bool(_constants(node).get("include_intercept", False))
        return {"knots": knots, "degree": degree, "include_intercept": whole, "extrapolation": outside}
    own = state["constraints"]
    constraints = None if own is None else np.atleast_2d(np.asarray(own, dtype=np.float64))
    return {"knots": knots, "constraints": constraints, "cyclic": bool(state["cyclic"]), "extrapolation": outside}


def _constants(node: Call) -> dict[str, Any]:
    """Arguments besides the column, by their names."""
    names = COLUMNWISE[node.function].names
    given = dict(zip(names, node.arguments[1:], strict=False)) | dict(node.keywords)
    return {name: value.value for name, value in given.items() if isinstance(value, Constant)}


def _parsed(text: str, variables: Any) -> Node:
    known = set(variables)
    return Parser(tokens_of(text, known), known, known_functions(), text).whole()
