"""Classes of results of which only some public members work: all others refuse in words."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NoReturn, TypeVar

from clusterglm.errors import OptionError
from clusterglm.results.models.base import Result

R = TypeVar("R")

Words = Callable[[Any, str], tuple[str, str, str]]
"""A result and the name of a member -> what was asked, what would be needed, what to try."""


def only(work: Collection[str], words: Words) -> Callable[[type[R]], type[R]]:
    """A decorator of classes whose public members work if they are named, and otherwise raise `OptionError`.

    Parameters
    ----------
    work : collection of str
        Members that work. Members that a class gets later refuse until they are named here.
    words : callable
    """

    def decorated(cls: type[R]) -> type[R]:
        for name in dir(cls):
            if not name.startswith("_") and name not in work:
                refused = _refusing(name, words)
                setattr(cls, name, refused if callable(getattr(cls, name)) else property(refused))
        return cls

    return decorated


def _refusing(name: str, words: Words) -> Callable[..., Any]:
    def refused(self: Result, *_: Any, **__: Any) -> NoReturn:
        raise OptionError(*words(self, name))

    refused.__name__ = refused.__qualname__ = name
    return refused
