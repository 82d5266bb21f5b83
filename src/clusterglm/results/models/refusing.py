"""Classes of results of which only some public members work: all others refuse in words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any, NoReturn, TypeVar

from clusterglm.errors import OptionError
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import Result

R = TypeVar("R")

_REFUSED: set[Callable[..., Any]] = set()

Words = Callable[[Any, str], tuple[str, str, str]]
"""A result and the name of a member -> what was asked, what would be needed, what to try."""


def only(work: Collection[str], words: Words) -> Callable[[type[R]], type[R]]:
    """A decorator of classes whose public members work if they are named, and otherwise raise `OptionError`.

    Parameters
    ----------
    work : collection of str
        Members that work, of classes above where one between refuses them. Members that a class gets later refuse
        until they are named here.
    words : callable
    """

    def decorated(cls: type[R]) -> type[R]:
        for name in dir(cls):
            if name.startswith("_"):
                continue
            if name not in work:
                refused = _refusing(name, words)
                setattr(cls, name, refused if callable(getattr(cls, name)) else property(refused))
            elif _refuses(inspect.getattr_static(cls, name)):
                above = (each.__dict__[name] for each in cls.__mro__ if name in each.__dict__)
                setattr(cls, name, next(member for member in above if not _refuses(member)))
        return cls

    return decorated


def _refusing(name: str, words: Words) -> Callable[..., Any]:
    def refused(self: Result, *_: Any, **__: Any) -> NoReturn:
        raise OptionError(*words(self, name))

    refused.__name__ = refused.__qualname__ = name
    _REFUSED.add(refused)
    return refused


def _refuses(member: Any) -> bool:
    """Whether it is a member that was made to refuse."""
    return (member.fget if isinstance(member, property) else member) in _REFUSED


def no_profile(what: str, limit: Response | None) -> OptionError:
    """What is said where a profile has no maximum inside; `limit`: the response of the model that it is there."""
    return OptionError(
        f"a profile where the maximum lies at {what}",
        "a maximum inside, where no parameter is at the end of its range",
        f"the model that it is there{'' if limit is None else f', such as family={limit.family!r}'}; or Wald intervals",
    )
