"""What arguments must be: numbers, whole numbers, seeds; refusals name the argument and what it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from clusterglm.errors import OptionError

MOST = 10**9  # replicates, simulations, points: more than any memory holds
MOST_THREADS = 1024
_CHARACTERS_SHOWN = 60  # characters of a value in an error


def shown(value: object) -> str:
    """A value in an error: short, on one line."""
    words = " ".join(repr(value).split())
    return words if len(words) <= _CHARACTERS_SHOWN else f"{words[:_CHARACTERS_SHOWN]}..."


def is_whole(value: object) -> bool:
    """Whether it is a whole number: not True, and not 1.0."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def whole_number(argument: str, value: Any, least: int, most: int = MOST, *, advice: str = "") -> int:
    """The value, if it is a whole number from `least` to `most`; `OptionError` otherwise."""
    if not is_whole(value) or not least <= value <= most:
        raise OptionError(
            f"{argument}={shown(value)}",
            f"a whole number from {least:,} to {most:,}",
            advice or f"{argument}={max(least, 1)}, for instance",
        )
    return int(value)


def number(argument: str, value: Any, low: float, high: float, *, needed: str = "", advice: str = "") -> float:
    """The value, if it is a number from `low` to `high`; `OptionError` otherwise."""
    try:
        found = float(value) if isinstance(value, Real) and not isinstance(value, bool) else np.nan
    except OverflowError:  # a whole number beyond float64
        found = np.nan
    if not low <= found <= high:
        raise OptionError(
            f"{argument}={shown(value)}",
            needed or f"a number from {low:g} to {high:g}",
            advice or f"{argument}={low:g}",
        )
    return found


def yes_or_no(argument: str, value: Any) -> bool:
    """The value, if it is True or False; `OptionError` otherwise."""
    if not isinstance(value, bool | np.bool_):
        raise OptionError(f"{argument}={shown(value)}", "True or False", f"{argument}=True")
    return bool(value)


def mapping(argument: str, value: Any) -> dict[str, Any]:
    """A copy of a mapping from names, empty for None; `OptionError` on what is none."""
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(name, str) for name in value)):
        raise OptionError(f"{argument}={shown(value)}", "a mapping from names", f"{argument}={{'x': ...}}")
    return dict(value or {})


def several(argument: str, value: Any, what: str, advice: str, *, least: int = 0) -> list[Any]:
    """The members of a sequence, not the letters of a word; `OptionError` on what is none, or has too few."""
    known = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    found = list(value) if known and np.ndim(np.asarray(value, object)) <= 1 else None
    if found is None or len(found) < least:
        raise OptionError(f"{argument}={shown(value)}", what, advice)
    return found


def seed_sequence(seed: Any) -> np.random.SeedSequence:
    """The root of all random numbers of a seed; fresh for None.

    Raises
    ------
    OptionError
        When the seed is no whole number from 0, and no SeedSequence.
    """
    if isinstance(seed, np.random.SeedSequence):
        return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
    if seed is not None and (not is_whole(seed) or seed < 0):
        raise OptionError(f"seed={shown(seed)}", "a whole number, not negative, or a SeedSequence", "seed=1")
    return np.random.SeedSequence(None if seed is None else int(seed))


def generator(seed: Any) -> np.random.Generator:
    """A generator of random numbers: the one given, or that of a seed; `OptionError` as by `seed_sequence`."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(seed if isinstance(seed, np.random.SeedSequence) else seed_sequence(seed))
