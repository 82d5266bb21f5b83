"""What the library says of its arguments, in the words of a shell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import typer

command: ContextVar[str | None] = ContextVar("command", default=None)
"""The command that runs; None: any."""

_VERBS = "random_effects|fixed_effects|conditional|pooled|nonparametric"
_OTHERS = {"n_jobs": "jobs", "kinds": "kind", "n_threads": "threads", "variables": "variable"}
"""Arguments of the library, and the parameters of commands that are called otherwise."""
_VALUE = r"""('[^']*'|"[^"]*"|[\w.+-]+(?:\([^)]*\))?)?"""


def in_shell_words(text: str, app: typer.Typer) -> str:
    """Options in place of arguments: --cluster id for cluster='id', --model pooled for cg.pooled(...)."""
    options = dict(_options(app))
    options |= {word: options[ours] for word, ours in _OTHERS.items() if ours in options}
    text = re.sub(r"(?:control=cg\.)?\bControl\((\w+=[^)]*)\)", r"\1", text)
    text = re.sub(r", or alpha=[\d.]+, which says the same", "", text)
    if "at" in options:
        text = re.sub(r"\bat=\{'([^']*)': '?([^'}\]]*)'?\}", r"--at \1=\2", text)
    text = re.sub(rf"\bcg\.({_VERBS})\b(\([^)]*\))?", r"--model \1", text)

    text = re.sub(
        r"(--[a-z-]+)=('[^']*')?(?=\W|$)", lambda found: f"{found[1]} {(found[2] or '')[1:-1]}".rstrip(), text
    )

    def option(found: re.Match[str]) -> str:
        name, value = options.get(found[1]), found[2] or ""
        if name is None:
            return found[0]
        bare = value[1:-1] if value[:1] in ("'", '"') and value[1:-1].isidentifier() else value
        return name if bare in ("", "True") else f"{name} {bare}"

    return re.sub(rf"(?<![\w.-])([a-z_]+)=(?!=){_VALUE}", option, text)


def _options(app: typer.Typer) -> Iterator[tuple[str, str]]:
    """Parameters of the command, or of those of its group, that are options, and how these are written."""
    from inspect import signature

    commands = [(each.name or getattr(each.callback, "__name__", ""), each) for each in app.registered_commands]
    for group in app.registered_groups:
        inner = [] if group.typer_instance is None else group.typer_instance.registered_commands
        commands += [(str(group.name), each) for each in inner]
    for title, each in commands:
        if each.callback is None or command.get() not in (None, title):
            continue
        for name, parameter in signature(each.callback, eval_str=True).parameters.items():
            said: tuple[Any, ...] = getattr(parameter.annotation, "__metadata__", ())
            for info in said:
                if isinstance(info, typer.models.OptionInfo):
                    written = [text for text in info.param_decls or () if text.startswith("--")]
                    yield name, written[0] if written else "--" + name.replace("_", "-")
