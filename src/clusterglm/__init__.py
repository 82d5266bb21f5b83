"""Generalised linear models for clustered data, by maximum likelihood.

    import clusterglm as cg
    fit = cg.random_effects("y ~ x", data, family="binomial", cluster="id")

Public names are imported on first use, so that `import clusterglm` itself costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clusterglm import engine, errors, plot
    from clusterglm.api.nonparametric import nonparametric
    from clusterglm.api.selection import select_distribution
    from clusterglm.api.simulation import simulate
    from clusterglm.api.steps import anova, common_rows, update
    from clusterglm.api.verbs import pooled, random_effects
    from clusterglm.api.within import conditional, fixed_effects
    from clusterglm.data import datasets
    from clusterglm.data.planned import design
    from clusterglm.model.bias import SplitPanel
    from clusterglm.model.control import Control
    from clusterglm.model.distribution.bridge import Bridge
    from clusterglm.model.distribution.gaussian_mixture import GaussianMixture
    from clusterglm.model.distribution.laplace import Laplace
    from clusterglm.model.distribution.log_gamma import LogGamma
    from clusterglm.model.distribution.student_t import StudentT
    from clusterglm.model.distribution.user import UserDistribution
    from clusterglm.model.quadrature import Quadrature
    from clusterglm.results.files.storage import load
    from clusterglm.results.tables.comparison import compare
    from clusterglm.results.tables.publication import table
    from clusterglm.sample.prior import Prior
    from clusterglm.study.power import power

    __version__: str

__all__ = [
    "Bridge",
    "Control",
    "GaussianMixture",
    "Laplace",
    "LogGamma",
    "Prior",
    "Quadrature",
    "SplitPanel",
    "StudentT",
    "UserDistribution",
    "__version__",
    "anova",
    "common_rows",
    "compare",
    "conditional",
    "datasets",
    "design",
    "engine",
    "errors",
    "fixed_effects",
    "load",
    "nonparametric",
    "plot",
    "pooled",
    "power",
    "random_effects",
    "select_distribution",
    "simulate",
    "table",
    "update",
]

_OBJECTS = {
    "Bridge": "clusterglm.model.distribution.bridge",
    "Control": "clusterglm.model.control",
    "GaussianMixture": "clusterglm.model.distribution.gaussian_mixture",
    "Laplace": "clusterglm.model.distribution.laplace",
    "LogGamma": "clusterglm.model.distribution.log_gamma",
    "Prior": "clusterglm.sample.prior",
    "Quadrature": "clusterglm.model.quadrature",
    "SplitPanel": "clusterglm.model.bias",
    "StudentT": "clusterglm.model.distribution.student_t",
    "UserDistribution": "clusterglm.model.distribution.user",
    "anova": "clusterglm.api.steps",
    "common_rows": "clusterglm.api.steps",
    "compare": "clusterglm.results.tables.comparison",
    "conditional": "clusterglm.api.within",
    "design": "clusterglm.data.planned",
    "fixed_effects": "clusterglm.api.within",
    "load": "clusterglm.results.files.storage",
    "nonparametric": "clusterglm.api.nonparametric",
    "pooled": "clusterglm.api.verbs",
    "power": "clusterglm.study.power",
    "random_effects": "clusterglm.api.verbs",
    "select_distribution": "clusterglm.api.selection",
    "simulate": "clusterglm.api.simulation",
    "table": "clusterglm.results.tables.publication",
    "update": "clusterglm.api.steps",
}
_MODULES = {
    "datasets": "clusterglm.data.datasets",
    "engine": "clusterglm.engine",
    "errors": "clusterglm.errors",
    "plot": "clusterglm.plot",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for (PEP 562)."""
    from importlib import import_module

    value: object
    if name in _OBJECTS:
        value = getattr(import_module(_OBJECTS[name]), name)
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    elif name == "__version__":
        from importlib.metadata import version

        value = version("clusterglm")
    else:
        raise AttributeError(f"module 'clusterglm' has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
