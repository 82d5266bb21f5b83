"""The families and links that can be fitted, found by name: every response in the folder `response`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules

from clusterglm.errors import OptionError, check_option
from clusterglm.model import response as folder
from clusterglm.model.response.base import Response


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


def families() -> tuple[str, ...]:
    """Names of the families."""
    return tuple(dict.fromkeys(r.family for r in RESPONSES.values()))


def links(family: str) -> tuple[str, ...]:
    """Names of a family's links, the default first."""
    return tuple(r.link for r in RESPONSES.values() if r.family == family)


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
    if isinstance(family, str) and family in ("gaussian", "normal"):
        raise OptionError(
            f"family={family!r}, of responses measured on a continuous scale",
            f"one of {', '.join(map(repr, families()))}: yes-or-no, grouped and count responses",
            "a linear mixed model of another package, such as MixedLM of statsmodels; "
            "distribution='gaussian' is that of the random intercept",
        )
    check_option("family", family, families())
    allowed = links(family)
    chosen = allowed[0] if link is None else check_option("link", link, allowed)
    return RESPONSES[f"{family}_{chosen}"]
