"""The shape of the house: which layer imports which, where names may be imported, how long a file may be.

What is asked of a module stands in `sources.py`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from sources import (
    ARGUMENTS,
    BY_NAME,
    FLOOR,
    LONGEST,
    MODULES,
    PACKAGE,
    ROOT,
    SLOW,
    SOURCES,
    ambiguous,
    by_position,
    casts,
    class_questions,
    compared_names,
    headings_named,
    imported,
    integrators_named,
    layer,
    module_name,
    numbers_named,
    own_classes,
    read,
    tree,
)


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
        for node in ast.walk(tree(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__")
    ]


def prints(path: Path, text: str) -> list[str]:
    """Calls of print, or writing to standard output, outside the command line."""
    if layer(path) == "cli":
        return []
    return [
        f"{path.name}:{node.lineno}"
        for node in ast.walk(tree(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    ]


RULES: tuple[Callable[[Path, str], list[str]], ...] = (
    wrong_imports,
    slow_imports,  # slow packages wait until needed
    looked_up,  # nothing is imported by name
    prints,  # only the command line prints
    compared_names,  # what matters about a response is an attribute of it, which a new one has to state
    casts,  # the type checker is told the truth
    by_position,  # where a parameter is in a vector or a covariance is what `model/parameters.py` says
    integrators_named,  # what a fit asks of one is in `likelihood/integrator.py`; `likelihood/registry.py` finds it
)


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


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer(path) for path in MODULES} - {"__init__"} <= set(FLOOR)


def test_no_module_breaks_a_rule() -> None:
    """One after another, so that each is parsed once for all rules."""
    broken = [
        f"{rule.__name__}: {module_name(path)}: {found}"
        for path in MODULES
        for rule in RULES
        if rule is not wrong_imports or layer(path) != "__init__"
        for found in rule(path, read(path))
    ]
    assert broken == []


def test_no_cycles() -> None:
    """Nor by way of types; but the package itself, which everything imports, lists all that it has as types."""
    paths = {module_name(path): path for path in MODULES}
    graph = {
        name: {other for _, other in imported(path, read(path), types=name != "clusterglm")} & paths.keys() - {name}
        for name, path in paths.items()
    }
    assert cycle(graph) == []


def test_results_reach_upward_for_plots_and_reports_alone() -> None:
    from clusterglm.results.above import ABOVE, above

    assert {name: module.split(".")[1] for name, (module, _) in ABOVE.items()} == {"plot": "plot", "report": "report"}
    assert all(callable(above(name)) for name in ABOVE)


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
    assert casts(fit, "def f(data):\n    from typing import Any, cast\n    return cast(Any, data)")
    assert not casts(fit, "import narwhals\ntable.cast(int)")
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
