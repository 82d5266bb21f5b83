"""What the library says of its arguments, in the words of a shell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

_VERBS = "random_effects|fixed_effects|conditional|pooled|nonparametric"
_OTHERS = {"n_jobs": "jobs", "kinds": "kind", "n_threads": "threads", "variables": "variable"}
"""Arguments of the library, and the parameters of commands that are called otherwise."""
_VALUE = r"""('[^']*'|"[^"]*"|[\w.+-]+(?:\([^)]*\))?)?"""


def in_shell_words(text: str, app: typer.Typer) -> str:
    """Options in place of arguments: --cluster id for cluster='id', --model pooled for cg.pooled(...)."""
    options = dict(_options(app))
    options |= {word: options[ours] for word, ours in _OTHERS.items() if ours in options}
    text = re.sub(r"(?:control=cg\.)?\bControl\((\w+=[^)]*)\)", r"\1", text)
    text = re.sub(rf"\bcg\.({_VERBS})\b(\([^)]*\))?", r"--model \1", text)

    def option(found: re.Match[str]) -> str:
        name, value = options.get(found[1]), found[2] or ""
        if name is None:
            return found[0]
        bare = value[1:-1] if value[:1] in ("'", '"') and value[1:-1].isidentifier() else value
        return name if bare in ("", "True") else f"{name} {bare}"

    return re.sub(rf"(?<![\w.-])([a-z_]+)=(?!=){_VALUE}", option, text)


def _options(app: typer.Typer) -> Iterator[tuple[str, str]]:
    """Parameters of all commands that are options, and how these are written."""
    from inspect import signature

    commands = [*app.registered_commands]
    for group in app.registered_groups:
        commands += [] if group.typer_instance is None else group.typer_instance.registered_commands
    for command in commands:
        if command.callback is None:
            continue
        for name, parameter in signature(command.callback, eval_str=True).parameters.items():
            said: tuple[Any, ...] = getattr(parameter.annotation, "__metadata__", ())
            for each in said:
                if isinstance(each, typer.models.OptionInfo):
                    written = [text for text in each.param_decls or () if text.startswith("--")]
                    yield name, written[0] if written else "--" + name.replace("_", "-")
