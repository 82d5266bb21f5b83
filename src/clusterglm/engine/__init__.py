"""Where blocks of clusters live and are summed: in memory, on disk, on other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clusterglm.engine.dask import Dask
    from clusterglm.engine.stream import Stream

__all__ = ["Dask", "Stream"]

_HOMES = {"Dask": "clusterglm.engine.dask", "Stream": "clusterglm.engine.stream"}


def __getattr__(name: str) -> object:
    """Import an engine when it is first asked for."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'clusterglm.engine' has no attribute {name!r}; it has {', '.join(__all__)}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
