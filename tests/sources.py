"""What tests of the source ask of it: its modules as syntax trees, and questions that no module should ask."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "clusterglm"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted(
    path for folder in ("src", "cpp", "tests", "benchmarks") for path in (ROOT / folder).rglob("*") if path.is_file()
)

# From the bottom up; the compiled core stands on nothing. Layers in one row do not see each other.
LAYERS = (
    ("_core", "errors"),
    ("model",),
    ("data",),
    ("likelihood",),
    ("engine",),
    ("fit",),
    ("inference", "sample"),
    ("results",),
    ("api",),
    ("study", "plot"),
    ("report",),
    ("cli", "sklearn"),
    ("__main__",),
)
FLOOR = {layer: floor for floor, layers in enumerate(LAYERS) for layer in layers}
SLOW = ("pandas", "formulaic", "scipy.stats", "scipy.optimize", "pyarrow", "rich", "typer")
SLOW += ("matplotlib", "jinja2", "distributed", "statsmodels")  # and not installed everywhere
BY_NAME = (
    "__init__.py",
    "engine/__init__.py",
    "likelihood/registry.py",
    "model/distribution/__init__.py",
    "model/family.py",
    "results/above.py",
    "results/files/values.py",
    "study/catalogue.py",
)
LONGEST = 500
HONEST = ("api", "data", "engine", "fit", "results")  # what they hold is what its type says
OF_PARAMETERS = {"theta", "score", "scores", "hessian", "covariance", "_covariance", "V", "gradient", "derivatives"}
OF_PARAMETERS |= {"information", "products", "shift", "robust", "std_errors", "_estimates", "_parameter_names"}
VERBS = ("pooled", "random_effects", "fixed_effects", "conditional", "nonparametric")
ARGUMENTS = {
    "model/distribution/__init__.py": 2,  # distribution=: a word, or an object; which classes of a file are some
    "plot/counts.py": 1,  # a fit, or a selection
    "plot/likelihood.py": 1,  # a fit, or a curve
    "results/models/several.py": 1,  # a result at all
}
"""Files that ask for the class of a result, fit or distribution, each to tell what an argument of the user's is."""


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node: ast.AST, *, functions: bool, types: bool) -> Iterator[ast.AST]:
    """All nodes below `node`; with or without the bodies of functions and of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if not functions and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if not types and is_type_checking(child):
            continue
        yield child
        yield from statements(child, functions=functions, types=types)


def imported(path: Path, text: str, *, functions: bool = True, types: bool = True) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, `a.b` and `a.b.c` for `from a.b import c`."""
    package = ("clusterglm", *path.relative_to(PACKAGE).parent.parts)
    for node in statements(tree(text), functions=functions, types=types):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, name
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@lru_cache(maxsize=1)  # trees of all modules would fill the memory
def tree(text: str) -> ast.Module:
    return ast.parse(text)


def module_name(path: Path) -> str:
    return ".".join(["clusterglm", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


def is_a_name(node: ast.AST) -> bool:
    """Whether an expression is called as a family, a link, a kernel, a code or the name of a distribution is."""
    called = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    of_one = any(word in ast.unparse(node) for word in ("response", "distribution"))
    return called in ("family", "link", "kernel") or (called in ("code", "name") and of_one)


def is_text(node: ast.AST) -> bool:
    """Whether an expression is, or holds, text, or is a constant of the module."""
    constant = ast.unparse(node).rpartition(".")[2].isupper() if isinstance(node, ast.Name | ast.Attribute) else False
    return constant or any(isinstance(p, ast.Constant) and isinstance(p.value, str) for p in ast.walk(node))


def integrators_named(path: Path, text: str) -> list[str]:
    """Imports, in fits, of an integrator or of what only one of them knows."""
    if layer(path) != "fit":
        return []
    own = tuple(f"clusterglm.likelihood.{folder}" for folder in ("integrators", "scalar"))
    return [f"{path.name}:{line} {name}" for line, name in imported(path, text) if name.startswith(own)]


def compared_names(path: Path, text: str) -> list[str]:
    """Questions about the name of a family, link or kernel: comparisons with text, cases, and tables of answers."""
    if layer(path) == "model":
        return []
    found = []
    for node in ast.walk(tree(text)):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn):
            sides = [node.left, *node.comparators]
            asked = sides if any(is_text(side) for side in sides) else []
        elif isinstance(node, ast.Match):
            asked = [node.subject] if any(is_text(case.pattern) for case in node.cases) else []
        elif isinstance(node, ast.Subscript):
            asked = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            in_table, of_text = node.func.attr == "get", node.func.attr in ("startswith", "endswith")
            asked = node.args[:1] if in_table else [node.func.value] if of_text else []
        found += [f"{path.name}:{node.lineno} {ast.unparse(node)}" for each in asked if is_a_name(each)]
    return found


def casts(path: Path, text: str) -> list[str]:
    """Imports of `typing.cast`, which tells the type checker what it cannot see, where types are to be honest."""
    names = imported(path, text) if layer(path) in HONEST else ()
    return [f"{path.name}:{line}" for line, name in names if name == "typing.cast"]


def by_position(path: Path, text: str) -> list[str]:
    """Parameters that are found by counting: vectors and matrices of them indexed by -1, p or p + 1, p + 1 of them."""
    if path.relative_to(PACKAGE).as_posix() == "model/parameters.py":
        return []
    found = []
    for node in ast.walk(tree(text)):
        wrong = False
        if isinstance(node, ast.Subscript):
            of = {getattr(each, "attr", getattr(each, "id", "")) for each in ast.walk(node.value)}
            wrong = bool(of & OF_PARAMETERS) and any(is_counted(each) for each in indices(node.slice))
        elif isinstance(node, ast.BinOp):
            wrong = ast.unparse(node).replace("fit.", "") in ("p + 1", "len(beta) + 1", "X.shape[1] + 1")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "index":
            wrong = any(isinstance(each, ast.Constant) and each.value == "sigma" for each in node.args)
        if wrong:
            found.append(f"{path.name}:{node.lineno} {ast.unparse(node)}")
    return found


def indices(node: ast.AST) -> Iterator[ast.AST]:
    """The single indices and the ends of slices of a subscript."""
    if isinstance(node, ast.Tuple):
        for each in node.elts:
            yield from indices(each)
    elif isinstance(node, ast.Slice):
        yield from (end for end in (node.lower, node.upper) if end is not None)
    else:
        yield node


def is_counted(index: ast.AST) -> bool:
    """Whether an index is -1, p, q, the number of coefficients, or a sum with one of these."""
    if isinstance(index, ast.BinOp):
        return is_counted(index.left) or is_counted(index.right)
    coefficients = isinstance(index, ast.Call) and ast.unparse(index.func) == "len" and "beta" in ast.unparse(index)
    return ast.unparse(index) in ("-1", "p", "q") or coefficients


def numbers_named(text: str) -> dict[str, object]:
    """Names of numbers, and of tuples of numbers, that a module defines."""
    found: dict[str, object] = {}
    for node in tree(text).body:
        if not isinstance(node, ast.Assign) or len(node.targets) > 1:
            continue
        target, value = node.targets[0], node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=True))
        for name, number in pairs:
            if isinstance(name, ast.Name) and name.id.isupper() and is_number(number):
                found[name.id] = eval(compile(ast.Expression(number), "constant", "eval"), {"__builtins__": {}})
    return found


def is_number(node: ast.AST) -> bool:
    """Whether an expression is arithmetic of numbers alone."""
    parts = [part for part in ast.walk(node) if isinstance(part, ast.expr)]
    constants = [part.value for part in parts if isinstance(part, ast.Constant)]
    arithmetic = ast.Constant | ast.BinOp | ast.UnaryOp | ast.Tuple
    return all(isinstance(part, arithmetic) for part in parts) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in constants
    )


def ambiguous(texts: dict[str, str]) -> list[str]:
    """Names of numbers that two modules give different values."""
    values: dict[str, dict[object, str]] = {}
    for module, text in texts.items():
        for name, value in numbers_named(text).items():
            values.setdefault(name, {}).setdefault(value, module)
    return [f"{name}: {', '.join(found.values())}" for name, found in values.items() if len(found) > 1]


@cache
def own_classes() -> frozenset[tuple[str, str]]:
    """Layer and name of the classes of results, fits and distributions."""
    walks = [(layer(path), ast.walk(ast.parse(read(path)))) for path in MODULES]
    classes = [(where, node) for where, walk in walks for node in walk if isinstance(node, ast.ClassDef)]
    bases = {(where, node.name): {ast.unparse(base) for base in node.bases} for where, node in classes}
    found = {("model", "Distribution")} | {each for each in bases if each[0] == "results"}
    found |= {each for each in bases if each[0] == "fit" and each[1].endswith(("Fit", "Estimates"))}
    while True:
        names = {name for _, name in found}
        more = {each for each, of in bases.items() if of & names} - found
        if not more:
            return frozenset(found)
        found |= more


def class_questions(path: Path, text: str) -> list[str]:
    """What a module asks of the class of a result, fit or distribution, or of the verb that made it."""
    parts = [name.split(".") for _, name in imported(path, text)]
    known = {names[-1] for names in parts if len(names) > 2 and (names[1], names[-1]) in own_classes()}
    known |= {name for where, name in own_classes() if where == layer(path) and f"class {name}" in text}
    found = []
    for node in ast.walk(tree(text)):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            asked = [*node.args[1:]]
        elif isinstance(node, ast.Compare) and "type(" in ast.unparse(node.left):
            asked = [*node.comparators]
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        elif isinstance(node, ast.Compare) and any(getattr(part, "attr", "") == "kind" for part in ast.walk(node)):
            verbs = [part for part in ast.walk(node) if isinstance(part, ast.Constant) and part.value in VERBS]
            found += [ast.unparse(node)] if verbs else []
        names = {part.id for each in asked for part in ast.walk(each) if isinstance(part, ast.Name)}
        found += [ast.unparse(node)] if names & known else []
    return found


def headings_named(text: str) -> list[str]:
    """Headings of the page of formulas to which comments point."""
    found = []
    for match in re.finditer(r'explanation/likelihood\.md,\s*(?://\s*)?"([^"]+)"(?: to "([^"]+)")?', text):
        found += [name for name in match.groups() if name]
    return found
