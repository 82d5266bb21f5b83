"""Text on a terminal: no wider than it, nor than 100 columns."""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import TypeVar

WIDEST = 100
_NARROWEST = 60

T = TypeVar("T")


def terminal_width() -> int:
    """Columns that text may take: those of the terminal, or of COLUMNS, from 60 to 100; 100 where there is none."""
    return max(_NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def fold(text: str) -> str:
    """Lines that are too long for the terminal broken, with what follows indented; elsewhere the text as it is."""
    if shutil.get_terminal_size((0, 0)).columns == 0:
        return text
    most, lines = terminal_width(), list[str]()
    for line in text.split("\n"):
        margin = line[: len(line) - len(line.lstrip())]
        lines += [line] if len(line) <= most else textwrap.wrap(line, most, subsequent_indent=f"{margin}  ")
    return "\n".join(lines)


def count(n: float) -> str:
    """How many: a whole number as it is, any other (effective parameters) with two decimals."""
    return f"{n:.2f}" if isinstance(n, float) else str(n)


def p_in_words(p: float) -> str:
    """'p = 0.0123'."""
    return "p < 2e-16" if p < 2e-16 else f"p = {p:.4g}"


def unfolded(value: object) -> str:
    """What an object says of itself, in one line, for a place in other text."""
    return re.sub(r"\n\s*", " ", str(value))


def printed(kind: type[T]) -> type[T]:
    """A class whose objects show themselves by what `__str__` says, folded."""
    say = kind.__str__

    def text(self: T) -> str:
        return fold(say(self))

    setattr(kind, "__str__", text)  # noqa: B010  # mypy lets no method be assigned
    setattr(kind, "__repr__", text)  # noqa: B010
    return kind
