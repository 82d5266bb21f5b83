"""The families and links that can be fitted, found by name: every response in the folder `response`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules

from clusterglm.errors import OptionError, check_option
from clusterglm.model import response as folder
from clusterglm.model.response import continuous as continuous_folder
from clusterglm.model.response import own as own_folder
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters


def _found() -> Iterator[Response]:
    for file in iter_modules(folder.__path__):
        module = import_module(f"{folder.__name__}.{file.name}")
        for kind in vars(module).values():
            own = isinstance(kind, type) and kind.__module__ == module.__name__
            if own and issubclass(kind, Response) and not isabstract(kind):
                yield kind()


def registered() -> dict[str, Response]:
    """Every response in the folder, by family and link."""
    found = sorted(_found(), key=lambda r: (r.family, not r.default, r.link))
    return {f"{r.family}_{r.link}": r for r in found}


RESPONSES = registered()
"""Every response model by its family and link; the first of a family has the family's default link."""


_OTHER_NAMES = {"nbinom2": "negative_binomial", "cumulative": "ordinal", "normal": "gaussian"}


def _continuous() -> dict[str, Response]:
    files = iter_modules(continuous_folder.__path__)
    modules = [import_module(f"{continuous_folder.__name__}.{file.name}") for file in files]
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    found = [kind() for kind in kinds if issubclass(kind, Response) and not isabstract(kind)]
    return {f"{r.family}_{r.link}": r for r in sorted(found, key=lambda r: (r.family, not r.default, r.link))}


CONTINUOUS = _continuous()
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
    if not isinstance(family, str):
        return None
    name = _OTHER_NAMES.get(family, family)
    allowed = tuple(r.link for r in CONTINUOUS.values() if r.family == name)
    if not allowed:
        return None
    return CONTINUOUS[f"{name}_{allowed[0] if link is None else check_option('link', link, allowed)}"]


def _with_own() -> dict[str, OwnParameters]:
    modules = (import_module(f"{own_folder.__name__}.{file.name}") for file in iter_modules(own_folder.__path__))
    kinds = (kind for module in modules for kind in vars(module).values() if isinstance(kind, type))
    found = {kind() for kind in kinds if issubclass(kind, OwnParameters) and not isabstract(kind)}
    return {f"{r.family}_{r.link}": r for r in sorted(found, key=lambda r: (r.family, not r.default, r.link))}


WITH_OWN = _with_own()
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
    if not isinstance(family, str):
        return None
    name = _OTHER_NAMES.get(family, family)
    allowed = tuple(r.link for r in WITH_OWN.values() if r.family == name)
    if not allowed:
        return None
    return WITH_OWN[f"{name}_{allowed[0] if link is None else check_option('link', link, allowed)}"]


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
    return next(r.link for r in (*RESPONSES.values(), *WITH_OWN.values()) if r.family == family)


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
