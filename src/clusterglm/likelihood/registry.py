"""The integrator of a model, found by what it serves: every one in the folder `integrators`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from clusterglm.errors import OptionError
from clusterglm.likelihood import integrators as folder
from clusterglm.likelihood.integrator import AnyIntegrator, Integrator
from clusterglm.model.distribution.base import Distribution


def registered() -> tuple[type[Integrator[Any, Any]], ...]:
    """Every integrator in the folder."""
    modules = (import_module(f"{folder.__name__}.{file.name}") for file in iter_modules(folder.__path__))
    return tuple(
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and issubclass(kind, Integrator)
    )


INTEGRATORS = list(registered())


def integrator_for(distribution: Distribution, scale: str, *, several_modes: bool = False) -> AnyIntegrator:
    """The integrator that serves a model.

    Parameters
    ----------
    distribution : Distribution
    scale : str
    several_modes : bool
        Whether the model's rows are not log-concave.

    Raises
    ------
    OptionError
        When none does.
    """
    for kind in INTEGRATORS:
        if kind.several_modes == several_modes and kind.serves(distribution, scale):
            return kind(distribution, scale)
    raise OptionError(
        f"scale={scale!r} with distribution {distribution.name}",
        f"what an integrator serves: {', '.join(kind.__name__ for kind in INTEGRATORS)}",
        'scale="normal", the default',
    )
