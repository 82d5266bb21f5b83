"""What the reference describes: every public name, and every class that public functions and methods return.

Found by reading the package, so that new names appear by themselves.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import clusterglm


@dataclass(frozen=True)
class Entry:
    """Something with a page of its own: its name for users, dotted path, group, and the first line of its docstring."""

    name: str
    path: str
    group: str
    summary: str

    @property
    def page(self) -> str:
        """Its page; none differs from another by capitals alone, which some file systems do not tell apart."""
        capitals = self.group == "result" and self.name.lower() in clusterglm.__all__
        return f"reference/{self.name}{'-result' if capitals else ''}.md"

    @property
    def public(self) -> str:
        """The name as users write it."""
        if self.name in clusterglm.__all__:
            return f"cg.{self.name}"
        return self.path if self.group == "module" else self.name


GROUPS = {
    "function": "Functions",
    "class": "Arguments",
    "module": "Modules",
    "model": "Results of models",
    "result": "Other results",
    "base": "What distributions have in common",
}


IMPORTED = ("study", "sklearn")
"""Public modules that users import by themselves."""

_SHOWN = ("results", "inference", "fit", "model", "plot", "study", "data.datasets", "data.planned", "likelihood.report")
"""Packages whose classes users get into their hands; those of others pass between rooms of the house."""


@cache
def entries() -> tuple[Entry, ...]:
    """All of them, group by group, by name."""
    public = {name: getattr(clusterglm, name) for name in clusterglm.__all__ if not name.startswith("_")}
    public |= {name: importlib.import_module(f"clusterglm.{name}") for name in IMPORTED}
    found = {name: _entry(name, value) for name, value in public.items()}
    modules = [value for value in public.values() if isinstance(value, ModuleType)]
    on_their_pages = {home(module, name) for module in modules for name in members(module)}
    kinds = _kinds_of(_returned(public.values()))
    for cls in [*kinds, *_returned([*public.values(), *kinds])]:
        elsewhere = cls.__name__ in found or f"{cls.__module__}.{cls.__qualname__}" in on_their_pages
        if not elsewhere and not _half(cls):
            found[cls.__name__] = _entry(cls.__name__, cls, _kind_of_result(cls))
    return tuple(
        sorted(
            found.values(),
            key=lambda entry: (list(GROUPS).index(entry.group), entry.name.lower()),
        )
    )


def members(module: ModuleType) -> list[str]:
    """Public functions and classes of a module: those it names, or else those it defines."""
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if callable(getattr(module, name))]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__ and callable(value)
        if inspect.isclass(value) or module is not clusterglm.errors  # whose functions make the package's own messages
    ]


def home(module: ModuleType, name: str) -> str:
    """The dotted path of a member where it is defined."""
    value = getattr(module, name)
    return f"{value.__module__}.{value.__qualname__}"


def _entry(name: str, value: Any, group: str | None = None) -> Entry:
    if isinstance(value, ModuleType):
        return Entry(name, value.__name__, "module", _summary(value))
    kind = group or ("class" if inspect.isclass(value) else "function")
    return Entry(name, f"{value.__module__}.{value.__qualname__}", kind, _summary(value))


def _summary(value: Any) -> str:
    return (inspect.getdoc(value) or "").partition("\n")[0]


def _half(cls: type) -> bool:
    """Whether a class is what results share, rather than one of them."""
    return _kind_of_result(cls) == "model" and not cls.__name__.endswith("Result")


def _kind_of_result(cls: type) -> str:
    from clusterglm.results.models.base import Result

    if inspect.isabstract(cls):
        return "base"
    return "model" if issubclass(cls, Result) else "result"


def _returned(values: Any) -> list[type]:
    """Classes of the package that the values, and the methods of these classes in turn, say they return."""
    from clusterglm.model.distribution import Distribution

    found: dict[type, None] = {}
    waiting = list(values)
    while waiting:
        for cls in _named(waiting.pop()):
            if cls not in found and (cls is Distribution or not inspect.isabstract(cls)):
                found[cls] = None
                waiting.append(cls)
    return list(found)


def _kinds_of(found: list[type]) -> list[type]:
    """Kinds of results with more, or other, members than the classes that functions say they return."""
    from clusterglm.results import models
    from clusterglm.results.models.base import Result
    from clusterglm.results.models.blocks import OverBlocks
    from clusterglm.results.models.limit import Limit

    for module in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        importlib.import_module(module.name)
    waiting, kinds = [cls for cls in found if issubclass(cls, Result)], []
    while waiting:
        for cls in waiting.pop().__subclasses__():
            waiting.append(cls)
            if not (issubclass(cls, OverBlocks | Limit) or inspect.isabstract(cls) or cls.__name__.startswith("_")):
                kinds.append(cls)
    return kinds


def _named(value: Any) -> Iterator[type]:
    """Classes in the annotations of what a function, or the public parts of a class or a module, give back."""
    if isinstance(value, ModuleType):
        for name in members(value):
            yield from _named(getattr(value, name))
    elif inspect.isclass(value):
        for name, part in inspect.getmembers(value):
            function = part.fget if isinstance(part, property) else getattr(part, "func", part)
            if not name.startswith("_") and inspect.isfunction(function):
                yield from _named(function)
        if dataclasses.is_dataclass(value) and not _keeps_arrays(value):
            for field in dataclasses.fields(value):
                if not field.name.startswith("_"):
                    yield from _classes(field.type, value.__module__)
    elif inspect.isfunction(value):
        yield from _classes(value.__annotations__.get("return"), value.__module__)


def _keeps_arrays(cls: type) -> bool:
    """Whether the fields of a class are what it computes with, and its methods what it says."""
    from clusterglm.results.models.base import Result

    return issubclass(cls, Result)


def _classes(annotation: Any, module: str) -> Iterator[type]:
    if not isinstance(annotation, str):
        return
    for node in ast.walk(ast.parse(annotation, mode="eval")):
        if isinstance(node, ast.Name):
            value = _named_in(node.id, module)
            if inspect.isclass(value) and value.__module__.startswith(tuple(f"clusterglm.{name}" for name in _SHOWN)):
                yield value


def _named_in(name: str, module: str) -> Any:
    """What a name stands for in a module, also where it is imported only for a type checker."""
    loaded = importlib.import_module(module)
    if hasattr(loaded, name):
        return getattr(loaded, name)
    home = _imports(module).get(name, "")
    return getattr(importlib.import_module(home), name) if home.startswith("clusterglm.") else None


@cache
def _imports(module: str) -> dict[str, str]:
    """Names that a module imports, wherever in its text, and the modules they come from."""
    source = inspect.getsource(importlib.import_module(module))
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.level == 0]
    return {alias.name: node.module or "" for node in found for alias in node.names}
