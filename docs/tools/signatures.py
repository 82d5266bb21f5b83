"""Parameters that share an entry of a docstring have each its own type and default: those of the signature.

And a default that is a constant is the number or the words that it stands for.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from griffe import Class, DocstringSectionKind, Extension, Function


class OwnDefaults(Extension):
    """The parser of docstrings gives all names of an entry what the first has, and of choices the first as default."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        _correct(func)

    def on_class(self, *, cls: Class, **_: Any) -> None:
        _correct(cls)


def _correct(found: Function | Class) -> None:
    for each in found.parameters:
        if re.fullmatch(r"_?[A-Z][A-Z_]+", str(each.default)):
            value = getattr(importlib.import_module(found.module.path), str(each.default))
            if isinstance(value, int | float | str | tuple):
                each.default = repr(value)
    if found.docstring is None:
        return
    known = {each.name: each for each in found.parameters}
    taken = {str(each.annotation) for each in known.values() if each.annotation is not None}
    for section in found.docstring.parsed:
        if section.kind is not DocstringSectionKind.parameters:
            continue
        for parameter in section.value:
            own = known.get(parameter.name)
            if own is None:
                continue
            parameter.value = own.default
            if str(parameter.annotation) in taken:
                parameter.annotation = own.annotation
