"""Distributions of the random intercept: one file for each, found by name here."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, isabstract, signature
from pkgutil import iter_modules

from clusterglm.errors import OptionError, nearest
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.distribution.bridge import Bridge
from clusterglm.model.distribution.cauchy import Cauchy
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.distribution.gaussian_mixture import GaussianMixture
from clusterglm.model.distribution.laplace import Laplace
from clusterglm.model.distribution.log_gamma import LogGamma
from clusterglm.model.distribution.logistic import Logistic
from clusterglm.model.distribution.smooth import Smooth
from clusterglm.model.distribution.student_t import StudentT
from clusterglm.model.distribution.user import UserDistribution

__all__ = [
    "DISTRIBUTIONS",
    "Bridge",
    "Cauchy",
    "Distribution",
    "Gaussian",
    "GaussianMixture",
    "Laplace",
    "LogGamma",
    "Logistic",
    "Smooth",
    "StudentT",
    "UserDistribution",
    "distribution",
]

_IN_ORDER = (
    Gaussian(), Logistic(), Cauchy(), Laplace(), Bridge(), LogGamma(), StudentT(), GaussianMixture(), Smooth(),
)  # fmt: skip


def registered() -> dict[str, Distribution]:
    """Every distribution in this folder that can be made without an argument, by its code."""
    found: dict[str, Distribution] = {each.code: each for each in _IN_ORDER}
    for file in iter_modules(__path__):
        module = import_module(f"{__name__}.{file.name}")
        for kind in vars(module).values():
            own = isinstance(kind, type) and kind.__module__ == module.__name__ and issubclass(kind, Distribution)
            if own and not isabstract(kind) and not _needs_arguments(kind):
                found.setdefault(kind.code, kind())
    return found


def _needs_arguments(kind: type) -> bool:
    return any(each.default is Parameter.empty for each in signature(kind).parameters.values())


DISTRIBUTIONS = registered()
"""The distributions by name; shape parameters, where there are any, are then estimated."""

_WITH_NUMBERS: dict[str, Callable[..., Distribution]] = {
    "student_t": StudentT,
    "gaussian_mixture": GaussianMixture,
    "smooth": Smooth,
}
_SHORT = {"t": "student_t", "normal": "gaussian"}  # what other software calls them
_CALL = re.compile(r"(\w+)\(([^()]*)\)")


def distribution(value: str | Distribution) -> Distribution:
    """Read the argument `distribution=`.

    Parameters
    ----------
    value : str or Distribution
        "gaussian", "logistic", "cauchy", "laplace", "bridge", "log_gamma"; "student_t", "gaussian_mixture" and
        "smooth", whose shape is then estimated; "student_t(4)" (any degrees of freedom), "gaussian_mixture(0.3, 3)"
        (weight of the upper part and separation) and "smooth(lambda=10)" (weight of the penalty on roughness); "t(4)"
        and "normal", as others call them; or an object such as `StudentT(4)`.

    Raises
    ------
    OptionError
        On anything else; it lists what is allowed.
    """
    if isinstance(value, Distribution):
        return value
    if isinstance(value, str):
        word, bracket, rest = value.strip().partition("(")
        value = _SHORT.get(word, word) + bracket + (rest.strip().removeprefix("lambda=") if word == "smooth" else rest)
        if value in DISTRIBUTIONS:
            return DISTRIBUTIONS[value]
        match = _CALL.fullmatch(value)
        if match and match[1] in _WITH_NUMBERS:
            try:
                return _WITH_NUMBERS[match[1]](*(float(number) for number in match[2].split(",")))
            except (TypeError, ValueError):  # not numbers, or not valid ones: the general answer below
                pass
    listed = ", ".join(repr(name) for name in DISTRIBUTIONS)
    hint = (
        nearest(value, [*DISTRIBUTIONS, "student_t(4)", "gaussian_mixture(0.3, 3)"]) if isinstance(value, str) else ""
    )
    raise OptionError(
        f"distribution={value!r}",
        f"one of {listed}, 'student_t(df)', 'gaussian_mixture(weight, separation)', or an object such as StudentT(4)",
        f"{hint}pass one of the allowed values as distribution=",
    )
