"""What results offer but layers above them do: `fit.plot`, `fit.report`.

A result must not import upward, and a user should not have to know where a plot lives. So these few names, and no
others, are looked up when first asked for; `tests/test_layers.py` holds the package to this one list.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

ABOVE = {
    "plot": ("clusterglm.plot.accessor", "Plots"),
    "report": ("clusterglm.report.fit", "report"),
}


def above(name: str) -> Any:
    """The object behind a name of the list."""
    module, attribute = ABOVE[name]
    return getattr(import_module(module), attribute)
