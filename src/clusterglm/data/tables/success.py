"""Which level of a response of two levels counts as success, and what a reader of the results should know of it."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from clusterglm.errors import OptionError, nearest
from clusterglm.model.arguments import shown

NOTE = "success is "
"""How the note begins that summaries show before all else."""

_LATER = {
    "case": "control", "cases": "controls", "ill": "well", "sick": "well", "died": "survived", "dead": "survived",
    "death": "survival", "deceased": "survived", "disease": "healthy", "diseased": "healthy",
    "event": "none", "abnormal": "normal", "relapse": "remission", "accepted": "rejected", "hit": "miss",
    "correct": "wrong", "affected": "healthy", "bad": "good", "broken": "intact", "defective": "ok", "default": "paid",
}  # fmt: skip
"""Events that come before their opposites in the alphabet, which makes the opposites successes."""
_NEGATIONS = ("no", "not", "non", "un", "in", "dis")


def level_name(value: Any) -> str:
    """A level in words: numbers without decimals that say nothing."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return str(value)
    number = float(value)
    return str(int(number)) if number.is_integer() else str(number)


def ordered(levels: tuple[str, str], success: Any, name: str) -> tuple[str, str]:
    """(failure, success), of which `success` names the second; None leaves the order.

    Raises
    ------
    OptionError
        When it names neither.
    """
    if success is None:
        return levels
    chosen = level_name(success)
    if chosen not in levels:
        raise OptionError(
            f"success={shown(success)}",
            f"one of the two levels of {name}: {' or '.join(map(repr, levels))}",
            f"{nearest(chosen, levels)}success={levels[1]!r}",
        )
    return levels if chosen == levels[1] else (levels[1], levels[0])


def coding_note(levels: tuple[str, ...], name: str) -> str:
    """What counts as success where nobody said so, and how to say it."""
    failure, success = levels
    words = f"{NOTE}{name} = {success!r}, failure {failure!r}, "
    if event_comes_first(failure, success):
        return (
            f"{words}by their order alone: an effect above zero favours {success!r}. "
            f"If {failure!r} is the event that you mean, say success={failure!r}"
        )
    return f"{words}by their order; success={failure!r} turns it round"


def event_comes_first(first: str, second: str) -> bool:
    """Whether the first of two levels is the one that people mean by an event, as in case and control."""
    one, other = (" ".join(each.lower().replace("-", " ").replace("_", " ").split()) for each in (first, second))
    return _LATER.get(one) == other or any(other in (f"{word}{one}", f"{word} {one}") for word in _NEGATIONS)
