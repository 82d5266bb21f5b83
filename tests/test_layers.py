"""The shape of the house: which layer imports which, where names may be imported, how long a file may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

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
    ("inference",),
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
    for node in statements(ast.parse(text), functions=functions, types=types):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, name
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def wrong_imports(path: Path, text: str) -> list[str]:
    """Imports of a layer that is not below the module's own."""
    own = layer(path)
    wrong = []
    for line, name in imported(path, text):
        parts = name.split(".")
        other = parts[1] if parts[0] == "clusterglm" and len(parts) > 1 else own
        # A bare `import clusterglm` is lazy and may be of any layer, so only the command line may ask it for names.
        whole = name == "clusterglm" and own != "cli" and "from clusterglm import" not in text.splitlines()[line - 1]
        if whole or (other in FLOOR and other != own and FLOOR[other] >= FLOOR[own]):
            wrong.append(f"{path.name}:{line} {own} imports {name}")
    return wrong


def slow_imports(path: Path, text: str) -> list[str]:
    """Slow packages that importing the module would load."""
    allowed = ("typer",) if layer(path) == "cli" else ()
    if path.relative_to(PACKAGE).as_posix() == "results/tables/frame.py":  # a class of pandas
        allowed = ("pandas",)
    return [
        f"{path.name}:{line} {name}"
        for line, name in imported(path, text, functions=False, types=False)
        for slow in SLOW
        if slow not in allowed and (name == slow or name.startswith(f"{slow}."))
    ]


def looked_up(path: Path, text: str) -> list[str]:
    """Imports by name, which the checks above cannot see, but where names come from a list that can be read."""
    if path.relative_to(PACKAGE).as_posix() in BY_NAME:
        return []
    return [
        f"{path.name}:{node.lineno}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__")
    ]


def prints(path: Path, text: str) -> list[str]:
    """Calls of print, or writing to standard output, outside the command line."""
    if layer(path) == "cli":
        return []
    return [
        f"{path.name}:{node.lineno}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    ]


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
    for node in ast.walk(ast.parse(text)):
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


def by_position(path: Path, text: str) -> list[str]:
    """Parameters that are found by counting: vectors and matrices of them indexed by -1, p or p + 1, p + 1 of them."""
    if path.relative_to(PACKAGE).as_posix() == "model/parameters.py":
        return []
    found = []
    for node in ast.walk(ast.parse(text)):
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
    for node in ast.parse(text).body:
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
    nodes = [(layer(path), node) for path in MODULES for node in ast.walk(ast.parse(read(path)))]
    classes = [(where, node) for where, node in nodes if isinstance(node, ast.ClassDef)]
    bases = {(where, node.name): {ast.unparse(base) for base in node.bases} for where, node in classes}
    found = {("model", "Distribution")} | {each for each in bases if each[0] == "results"}
    found |= {each for each in bases if each[0] == "fit" and each[1].endswith(("Fit", "Estimates"))}
    while more := {each for each, names in bases.items() if names & {name for _, name in found}} - found:
        found |= more
    return frozenset(found)


def class_questions(path: Path, text: str) -> list[str]:
    """What a module asks of the class of a result, fit or distribution, or of the verb that made it."""
    parts = [name.split(".") for _, name in imported(path, text)]
    known = {names[-1] for names in parts if len(names) > 2 and (names[1], names[-1]) in own_classes()}
    known |= {name for where, name in own_classes() if where == layer(path) and f"class {name}" in text}
    found = []
    for node in ast.walk(ast.parse(text)):
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


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """A cycle of the graph, or an empty list."""
    done: set[str] = set()

    def walk(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return []
        for target in sorted(graph.get(node, ())):
            if found := walk(target, [*trail, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def module_name(path: Path) -> str:
    return ".".join(["clusterglm", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer(path) for path in MODULES} - {"__init__"} <= set(FLOOR)


@pytest.mark.parametrize("path", [p for p in MODULES if layer(p) != "__init__"], ids=module_name)
def test_layers_see_only_those_below(path: Path) -> None:
    assert wrong_imports(path, read(path)) == []


def test_no_cycles() -> None:
    """Nor by way of types; but the package itself, which everything imports, lists all that it has as types."""
    paths = {module_name(path): path for path in MODULES}
    graph = {
        name: {other for _, other in imported(path, read(path), types=name != "clusterglm")} & paths.keys() - {name}
        for name, path in paths.items()
    }
    assert cycle(graph) == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_slow_packages_wait_until_needed(path: Path) -> None:
    assert slow_imports(path, read(path)) == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_nothing_is_imported_by_name(path: Path) -> None:
    assert looked_up(path, read(path)) == []


def test_results_reach_upward_for_plots_and_reports_alone() -> None:
    from clusterglm.results.above import ABOVE, above

    assert {name: module.split(".")[1] for name, (module, _) in ABOVE.items()} == {"plot": "plot", "report": "report"}
    assert all(callable(above(name)) for name in ABOVE)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_only_the_command_line_prints(path: Path) -> None:
    assert prints(path, read(path)) == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_no_name_of_a_family_or_link_is_compared(path: Path) -> None:
    """What matters about a response is an attribute of it, which a new one has to state."""
    assert compared_names(path, read(path)) == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_parameters_are_asked_for_by_name(path: Path) -> None:
    """Where a parameter is in a vector or a covariance is what `model/parameters.py` says."""
    assert by_position(path, read(path)) == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_fit_knows_no_integrator_by_name(path: Path) -> None:
    """What it asks of one is in `likelihood/integrator.py`; `likelihood/registry.py` finds it."""
    assert integrators_named(path, read(path)) == []


def test_a_constant_has_one_value() -> None:
    """Sizes of data stand in `model/large_data.py`; other numbers beside what they are for, under their own names."""
    assert ambiguous({module_name(path): read(path) for path in MODULES}) == []


def test_results_fits_and_distributions_say_what_they_are() -> None:
    """Nobody asks for their class, so that a new one is a new file."""
    assert {("fit", "PooledFit"), ("results", "RandomEffectsLimit"), ("model", "StudentT")} <= own_classes()
    questions = {path.relative_to(PACKAGE).as_posix(): class_questions(path, read(path)) for path in MODULES}
    assert {path: len(found) for path, found in questions.items() if found} == ARGUMENTS
    assert sum(ARGUMENTS.values()) <= 5


def test_formulas_that_comments_name_are_there() -> None:
    page = (ROOT / "docs" / "explanation" / "likelihood.md").read_text(encoding="utf-8")
    headings = {line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")}
    named = {path.name: headings_named(read(path)) for path in SOURCES if path.suffix in (".py", ".hpp")}
    assert sum(map(len, named.values())) >= 12
    assert {f"{file}: {name}" for file, names in named.items() for name in names if name not in headings} == set()


def test_files_are_short() -> None:
    code = [path for path in SOURCES if path.suffix in (".py", ".pyi", ".hpp", ".cpp")]
    assert len(code) > len(MODULES) > 0
    assert [path.name for path in code if len(read(path).splitlines()) > LONGEST] == []


def test_these_checks_can_fail() -> None:
    """Each finds what it looks for in a module made for it, and lets good code pass."""
    fit, cli = PACKAGE / "fit" / "example.py", PACKAGE / "cli.py"
    assert wrong_imports(fit, "from clusterglm.results.models.base import Result")
    assert wrong_imports(fit, "from clusterglm import api")
    assert wrong_imports(fit, "from ..results import base")
    assert wrong_imports(fit, "def f():\n    import clusterglm.cli")
    assert wrong_imports(fit, "import clusterglm as cg")
    assert wrong_imports(PACKAGE / "plot" / "example.py", "from clusterglm.report import page")
    assert not wrong_imports(fit, "from clusterglm import _core\nfrom clusterglm.model.control import Control")
    assert not wrong_imports(cli, "import clusterglm as cg\nfrom clusterglm.errors import OptionError")
    assert slow_imports(fit, "from scipy import stats")
    assert slow_imports(fit, "try:\n    import pandas.api\nexcept ImportError:\n    pass")
    assert slow_imports(cli, "import rich")
    assert not slow_imports(cli, "import typer")
    assert not slow_imports(fit, "from scipy.special import expit\ndef f():\n    import pandas")
    assert not slow_imports(fit, "if TYPE_CHECKING:\n    import pandas as pd")
    assert wrong_imports(PACKAGE / "plot" / "example.py", "from clusterglm.study import runner")
    assert not wrong_imports(PACKAGE / "report" / "example.py", "from clusterglm.plot import coefficients")
    assert looked_up(fit, "import importlib\nimportlib.import_module('clusterglm.plot')")
    assert looked_up(fit, "def f():\n    from importlib import import_module\n    import_module('clusterglm.plot')")
    assert prints(fit, "print(1)")
    assert not prints(cli, "print(1)")
    for question in (
        'response.family == "binomial"',
        '"log" != self.link',
        'fit.link in ("logit", "log")',
        "family in KNOWN",
        'response.code == "poisson_log"',
        'fit.response.family.startswith("bin")',
        "TABLE[response.link]",
        "TABLE.get(response.code, 0.0)",
    ):
        assert compared_names(fit, f"answer = {question}")
    assert compared_names(fit, 'match response.link:\n    case "log":\n        pass')
    assert not compared_names(PACKAGE / "model" / "example.py", 'link == "log"')
    assert not compared_names(fit, 'known = response.trials and first != second and name == "x" and family is None')
    for counted in (
        "theta[-1]",
        "theta[:-1]",
        "fit.covariance[p, p]",
        "np.diag(fit.covariance)[: len(self._beta)]",
        "at.hessian[:q, :q]",
        "scores[:, p : p + inner]",
        "self._covariance(cov)[-1, -1]",
        "np.zeros((p + 1, p + 1))",
        "np.empty((n, len(fit.beta) + 1))",
        'names.index("sigma")',
    ):
        assert by_position(fit, f"found = {counted}")
    assert not by_position(PACKAGE / "model" / "parameters.py", "theta[-1]")
    assert not by_position(fit, "theta[at.scale], hessian[at.free, at.free], starts[:-1], scores[:, j], n + 1")
    assert integrators_named(fit, "from clusterglm.likelihood.scalar.rules import Rule")
    assert integrators_named(fit, "def f():\n    from clusterglm.likelihood import integrators")
    assert not integrators_named(fit, "from clusterglm.likelihood.integrator import Integrator")
    assert not integrators_named(PACKAGE / "inference" / "example.py", "import clusterglm.likelihood.scalar.rules")
    assert numbers_named("A, B = 1, -2.0**-3\nC = (1, 2)\nD = (1, 'x')\ne = 3\nF = g(2)") == {
        "A": 1,
        "B": -0.125,
        "C": (1, 2),
    }
    assert ambiguous({"a": "_MOST = 3", "b": "_MOST = 4"})
    assert not ambiguous({"a": "_MOST = 3\nX = 'a'", "b": "_MOST = 3\nX = 'b'"})
    classes = "from clusterglm.results.models.pooled import PooledResult\n"
    classes += "from clusterglm.model.distribution import Gaussian\n"
    for question in (
        "isinstance(fit, PooledResult)",
        "issubclass(kind, (int, Gaussian))",
        "type(fit) is PooledResult",
        'self.kind == "pooled"',
        'fit.kind in ("conditional", "fixed_effects")',
    ):
        assert class_questions(cli, f"{classes}answer = {question}")
    assert class_questions(cli, f"{classes}match fit:\n    case PooledResult():\n        pass")
    assert not class_questions(cli, 'answer = isinstance(fit, dict) and kind == "conditional" and self.kind == "exact"')
    assert compared_names(fit, 'answer = fit.distribution.code == "cauchy"')
    assert compared_names(fit, "answer = known.family == opt.FAMILY")
    page = "docs/explanation/" + "likelihood.md"
    assert headings_named(f'({page},\n// "A b" to "C")') == ["A b", "C"]
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}}
    found = cycle(graph)
    assert found[0] == found[-1]
    assert all(target in graph[source] for source, target in pairwise(found))
    assert not cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()})
