"""Distributions of the random intercept: one file for each, found by name here."""

from __future__ import annotations

import re

from clusterglm.errors import OptionError, nearest
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.distribution.cauchy import Cauchy
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.distribution.logistic import Logistic
from clusterglm.model.distribution.student_t import StudentT

__all__ = ["DISTRIBUTIONS", "Cauchy", "Distribution", "Gaussian", "Logistic", "StudentT", "distribution"]

DISTRIBUTIONS: dict[str, Distribution] = {d.code: d for d in (Gaussian(), Logistic(), Cauchy())}
"""The distributions without parameters, by name."""

_STUDENT_T = re.compile(r"student_t\(\s*([^\s)]+)\s*\)")


def distribution(value: str | Distribution) -> Distribution:
    """Read the argument `distribution=`.

    Parameters
    ----------
    value : str or Distribution
        "gaussian", "logistic", "cauchy", "student_t(4)" (any degrees of freedom), or an object such as `StudentT(4)`.

    Raises
    ------
    OptionError
        On anything else; it lists what is allowed.
    """
    if isinstance(value, Distribution):
        return value
    if isinstance(value, str):
        if value in DISTRIBUTIONS:
            return DISTRIBUTIONS[value]
        match = _STUDENT_T.fullmatch(value)
        if match:
            try:
                return StudentT(float(match[1]))
            except ValueError:  # not a number, or not a valid one: the general answer below
                pass
    listed = ", ".join(repr(name) for name in DISTRIBUTIONS)
    hint = nearest(value, [*DISTRIBUTIONS, "student_t(4)"]) if isinstance(value, str) else ""
    raise OptionError(
        f"distribution={value!r}",
        f"one of {listed}, 'student_t(df)', or an object such as StudentT(4)",
        f"{hint}pass one of the allowed values as distribution=",
    )
