"""The public face, name by name and argument by argument: whoever changes it has to say so in `golden/public_api.txt`.

python tests/test_public_api.py     # writes the file anew
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import clusterglm as cg
from clusterglm.results.files.storage import STORED

FILE = Path(__file__).parent / "golden" / "public_api.txt"


def arguments(of: Any) -> str:
    """Names, kinds and defaults; annotations may change."""
    try:
        signature = inspect.signature(of)
    except (TypeError, ValueError):
        return ""
    shown = []
    for each in signature.parameters.values():
        default = each.default
        plain = default is inspect.Parameter.empty or default is None or isinstance(default, str | int | float | tuple)
        shown.append(each.replace(annotation=each.empty, default=default if plain else ...))
    return str(signature.replace(parameters=shown, return_annotation=inspect.Signature.empty))


def members(kind: type) -> Iterator[str]:
    """Of a class, those of its bases in the package among them."""
    names = {name for base in kind.__mro__ if base.__module__.startswith("clusterglm") for name in vars(base)}
    for name in sorted(name for name in names if not name.startswith("_")):
        value = inspect.getattr_static(kind, name)
        function = getattr(value, "__func__", value)
        yield f"    {name}{arguments(function) if inspect.isfunction(function) else ''}"


def lines() -> Iterator[str]:
    """The whole, in a fixed order."""
    kinds: dict[str, type] = {}
    for name in sorted(cg.__all__):
        value = getattr(cg, name)
        if inspect.isclass(value):
            kinds[name] = value
        else:
            yield f"cg.{name}{arguments(value) if callable(value) else ''}"
    for module, names in sorted(STORED.items()):
        if module.startswith("results.models."):
            kinds |= {name: getattr(import_module(f"clusterglm.{module}"), name) for name in names}
    for name, kind in sorted(kinds.items()):
        yield f"{name}{arguments(kind)}"
        yield from members(kind)


def test_the_public_face_is_what_it_was() -> None:
    known, here = FILE.read_text().splitlines(), list(lines())
    assert [line for line in known if line not in here] == []
    assert here == known


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n")
