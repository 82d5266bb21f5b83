"""The families and links that can be fitted, found by name: every response in the folder `response`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

from clusterglm.errors import OptionError, check_option
from clusterglm.model import response as folder
from clusterglm.model.response import continuous as continuous_folder
from clusterglm.model.response import own as own_folder
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters

R = TypeVar("R", bound=Response)


def _in_folder(package: ModuleType, base: type[R]) -> dict[str, R]:
    """Every response that a file of a folder has, by family and link; the first of a family is its default."""
    found = []
    for file in iter_modules(package.__path__):
        module = import_module(f"{package.__name__}.{file.name}")
        for kind in vars(module).values():
            own = isinstance(kind, type) and kind.__module__ == module.__name__
            if own and issubclass(kind, base) and not isabstract(kind):
                found.append(kind())
    return {f"{r.family}_{r.link}": r for r in sorted(found, key=lambda r: (r.family, not r.default, r.link))}


def _chosen(known: Mapping[str, R], family: object, link: str | None) -> R | None:
    """That of a family and link; None for a family that is not among them."""
    if not isinstance(family, str):
        return None
    name = _OTHER_NAMES.get(family, family)
    allowed = tuple(r.link for r in known.values() if r.family == name)
    if not allowed:
        return None
    return known[f"{name}_{allowed[0] if link is None else check_option('link', link, allowed)}"]


def registered() -> dict[str, Response]:
    """Every response in the folder, by family and link."""
    return _in_folder(folder, Response)  # type: ignore[type-abstract]


RESPONSES = registered()
"""Every response model by its family and link; the first of a family has the family's default link."""


_OTHER_NAMES = {
    "nbinom1": "negative_binomial1",
    "nbinom2": "negative_binomial",
    "betabinomial": "beta_binomial",
    "cumulative": "ordinal",
    "normal": "gaussian",
}


CONTINUOUS = _in_folder(continuous_folder, Response)  # type: ignore[type-abstract]
"""Responses with a density, likewise."""


def continuous_families() -> tuple[str, ...]:
    """Names of the families whose responses have a density."""
    return tuple(dict.fromkeys(r.family for r in CONTINUOUS.values()))


def continuous(family: str, link: str | None = None) -> Response | None:
    """The response model of a family whose responses have a density; None for any other family.

    Raises
    ------
    OptionError
        When the family has no such link.
    """
    return _chosen(CONTINUOUS, family, link)


WITH_OWN = _in_folder(own_folder, OwnParameters)  # type: ignore[type-abstract]
"""Responses with parameters of their own, likewise; these are to be estimated."""


def own_families() -> tuple[str, ...]:
    """Names of the families with parameters of their own."""
    return tuple(dict.fromkeys(r.family for r in WITH_OWN.values()))


def with_own(family: str, link: str | None = None) -> OwnParameters | None:
    """The response model of a family with parameters of its own; None for any other family.

    Raises
    ------
    OptionError
        When the family has no such link.
    """
    return _chosen(WITH_OWN, family, link)


def families() -> tuple[str, ...]:
    """Names of the families."""
    return tuple(dict.fromkeys(r.family for r in RESPONSES.values()))


def all_families() -> tuple[str, ...]:
    """Those, and the families with parameters of their own and with a density."""
    return (*families(), *own_families(), *continuous_families())


def links(family: str) -> tuple[str, ...]:
    """Names of a family's links, the default first."""
    return tuple(r.link for r in RESPONSES.values() if r.family == family)


def default_link(family: str) -> str:
    """The link that a family has where none is named, with parameters of its own or without."""
    return next(r.link for r in all_responses() if r.family == family)


def all_responses() -> tuple[Response, ...]:
    """Those of the registries of discrete responses, with parameters of their own or without."""
    return (*RESPONSES.values(), *WITH_OWN.values())


def response(family: str, link: str | None = None) -> Response:
    """The response model of a family and link.

    Parameters
    ----------
    family : str
        "binomial" or "poisson".
    link : str, optional
        Binomial: "logit" (default), "cloglog", "probit"; Poisson: "log".

    Raises
    ------
    OptionError
        When a name is not among the allowed ones; it lists them.
    """
    if continuous(family) is not None:
        raise OptionError(
            f"family={family!r}, of responses measured on a continuous scale",
            f"one of {', '.join(map(repr, families()))} here",
            f"cg.random_effects or cg.pooled with family={family!r}; distribution='gaussian' is that of the random "
            "intercept",
        )
    if with_own(family) is not None:
        raise OptionError(
            f"family={family!r}, which has parameters of its own",
            f"one of {', '.join(map(repr, families()))} here",
            f"cg.pooled or cg.random_effects with family={family!r} and one intercept per cluster",
        )
    check_option("family", family, all_families())
    allowed = links(family)
    chosen = allowed[0] if link is None else check_option("link", link, allowed)
    return RESPONSES[f"{family}_{chosen}"]
