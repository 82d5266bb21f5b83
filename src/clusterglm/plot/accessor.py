"""`fit.plot`: the plots of this package with the fit as their first argument."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from clusterglm.plot.base import Plot
from clusterglm.plot.clusters import caterpillar
from clusterglm.plot.counts import rootogram
from clusterglm.plot.curves import predictions
from clusterglm.plot.density import density
from clusterglm.plot.estimates import coefficients
from clusterglm.plot.fitted import calibration, qq, residuals
from clusterglm.plot.influence import influence
from clusterglm.plot.likelihood import integration, profile
from clusterglm.plot.means import adjusted_means
from clusterglm.plot.mixing import gradient
from clusterglm.plot.random_effects import random_effects
from clusterglm.plot.replicates import bootstrap
from clusterglm.plot.survival import survival
from clusterglm.results.models.base import Result


class _OfFit:
    """A function of a fit as a method that knows it, signature and docstring included."""

    def __init__(self, function: Callable[..., Plot]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, plots: Plots | None, owner: type | None = None) -> Any:
        return self.function if plots is None else MethodType(self.function, plots._fit)


class Plots:
    """The plots of one result; `clusterglm.plot` has the same as functions, which take several results, too."""

    def __init__(self, fit: Result) -> None:
        self._fit = fit

    adjusted_means = _OfFit(adjusted_means)
    bootstrap = _OfFit(bootstrap)
    calibration = _OfFit(calibration)
    caterpillar = _OfFit(caterpillar)
    coefficients = _OfFit(coefficients)
    density = _OfFit(density)
    gradient = _OfFit(gradient)
    influence = _OfFit(influence)
    integration = _OfFit(integration)
    predictions = _OfFit(predictions)
    profile = _OfFit(profile)
    qq = _OfFit(qq)
    random_effects = _OfFit(random_effects)
    residuals = _OfFit(residuals)
    rootogram = _OfFit(rootogram)
    survival = _OfFit(survival)

    def __repr__(self) -> str:
        names = sorted(name for name, value in vars(Plots).items() if isinstance(value, _OfFit))
        return f"plots of a {self._fit.kind} fit: {', '.join(names)}"
