"""Priors: what was asked for in words, and the log-density of all parameters with its derivatives."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from clusterglm.errors import OptionError, PriorWarning, nearest
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arguments import shown, yes_or_no
from clusterglm.model.arrays import Array
from clusterglm.sample.coordinates import Coordinate, Coordinates
from clusterglm.sample.densities import (
    Density,
    Exponential,
    Flat,
    GammaOfInverse,
    HalfNormal,
    HalfT,
    LogisticBeta,
    Normal,
    StudentT,
    of_place,
)

_CALL = re.compile(r"\s*([a-z_]+)\s*(?:\(([^()]*)\))?\s*")
_LEAST_IN_PRIOR, _LARGEST_IN_PRIOR = 1e-12, 1e12  # what has squares, and beta functions, in double precision

_OF_COEFFICIENTS: dict[str, tuple[str, Callable[..., Density]]] = {
    "normal": ("normal(location, scale)", Normal),
    "student_t": ("student_t(df, location, scale)", StudentT),
    "flat": ("flat", Flat),
}
_OF_SCALES: dict[str, tuple[str, Callable[..., Density]]] = {
    "half_normal": ("half_normal(scale)", HalfNormal),
    "half_t": ("half_t(df, scale)", HalfT),
    "exponential": ("exponential(rate)", Exponential),
    "pc": ("pc(upper, probability)", lambda u, p: Exponential(-float(np.log(p)) / u, (u, p))),
}
_OF_SHAPES: dict[str, tuple[str, Callable[..., Density]]] = {
    "beta": ("beta(a, b)", of_place),
    "gamma": ("gamma(shape, rate)", GammaOfInverse),
}
_FORMS = {"sd": _OF_SCALES, "family": _OF_SCALES, "shape": _OF_SHAPES}
_IMPROPER = (
    "a flat prior of a standard deviation or its logarithm: the likelihood does not vanish as the deviation goes to 0, "
    "so that the posterior has no integral"
)


@dataclass(frozen=True)
class Prior:
    """Prior distributions of a model's parameters, all independent.

    Parameters
    ----------
    coefficients : str or mapping of str to str
        "normal(location, scale)", "student_t(df, location, scale)" or "flat"; a mapping names coefficients, and the
        others have the default. Of effects in standard deviations of their columns where `scaled`.
    intercept : str
        The same, of the intercept where all columns have their means; of ordered categories, of each threshold there.
    sd : str or mapping of str to str
        Of the random effects' standard deviations (scales, of distributions without): "half_normal(scale)",
        "half_t(df, scale)", "exponential(rate)", or "pc(upper, probability)", the penalised-complexity prior with
        P(sd > upper) = probability (Simpson and others, Statistical Science 32, 2017), which is exponential.
    family : str or mapping of str to str, optional
        Of the parameters that a response has of its own (`family_parameters`), such as `alpha` of a negative binomial:
        the words of `sd`, as densities of the parameter's value; and of the `residual_sd` of a linear model. By default
        "half_t(3, 2.5)", and "half_t(1, 10)" of `phi` of a beta-binomial and of a gamma's `shape`, which are large
        where responses vary little.
    correlation : str
        "lkj(eta)": the density of a correlation matrix R is proportional to det(R)^(eta - 1).
    shape : str or mapping of str to str, optional
        Of the shape of the intercept's distribution, where that is estimated: "gamma(shape, rate)" of degrees of
        freedom, "beta(a, b)" of the place of any shape's working value in its range, which is 1 / `df` from 0 to 2, the
        log odds of `weight` from -4.5 to 4.5, `separation` from 0 to 6. By default "gamma(2, 0.1)" of `df` (Juarez and
        Steel, Journal of Business and Economic Statistics 28, 2010), "beta(2, 2)" of `weight`, and "beta(1, 1)", which
        is uniform.
    scaled : bool
        Whether scales of coefficients and of slopes' deviations are divided by the standard deviation of the column,
        as rstanarm does: a posterior then does not depend on the units of covariates. In a linear model all are in
        standard deviations of the response too, and the intercept's prior is about the response's mean.

    Raises
    ------
    OptionError
        On a distribution that is not there, or numbers that it cannot have; on a flat prior of a standard deviation.

    Examples
    --------
    >>> import clusterglm as cg
    >>> print(cg.Prior(sd="exponential(1)"))
    coefficients: normal(0, 2.5), in standard deviations of columns
    intercept: normal(0, 2.5), at the means of the columns
    standard deviations: exponential(1)
    correlations: lkj(1)
    parameters of the family: their defaults
    shapes of distributions: their defaults
    """

    coefficients: str | Mapping[str, str] = "normal(0, 2.5)"
    intercept: str = "normal(0, 2.5)"
    sd: str | Mapping[str, str] = "half_t(3, 2.5)"
    correlation: str = "lkj(1)"
    scaled: bool = True
    family: str | Mapping[str, str] | None = None
    shape: str | Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        yes_or_no("scaled", self.scaled)
        asked = ("coefficients", self.coefficients), ("sd", self.sd), ("family", self._family), ("shape", self._shape)
        for argument, value in asked:
            for text in _words(argument, value).values():
                _read(argument, text)
        _read("intercept", self.intercept)
        _eta(self.correlation)

    @property
    def _family(self) -> str | Mapping[str, str]:
        return {} if self.family is None else self.family

    @property
    def _shape(self) -> str | Mapping[str, str]:
        return {} if self.shape is None else self.shape

    def __str__(self) -> str:
        def said(value: str | Mapping[str, str]) -> str:
            return value if isinstance(value, str) else ", ".join(f"{k} {v}" for k, v in value.items())

        scaled = ", in standard deviations of columns" if self.scaled else ""
        return "\n".join(
            (
                f"coefficients: {said(self.coefficients)}{scaled}",
                f"intercept: {self.intercept}, at the means of the columns",
                f"standard deviations: {said(self.sd)}",
                f"correlations: {self.correlation}",
                f"parameters of the family: {'their defaults' if self.family is None else said(self.family)}",
                f"shapes of distributions: {'their defaults' if self.shape is None else said(self.shape)}",
            )
        )

    def of(self, coordinates: Coordinates) -> JointDensity:
        """The density of these parameters.

        Raises
        ------
        OptionError
            On a name that no parameter has.

        Warns
        -----
        PriorWarning
            Where it is no distribution.
        """
        defaults = Prior()
        coefficients, sd = _words("coefficients", self.coefficients), _words("sd", self.sd)
        family, shape = _words("family", self._family), _words("shape", self._shape)
        asked = (
            ("coefficients", coefficients, "coefficient"), ("sd", sd, "sd"), ("family", family, "own"),
            ("shape", shape, "shape"),
        )  # fmt: skip
        for argument, words, kind in asked:
            known = [one.name for one in coordinates.each if one.kind == kind]
            for name in set(words) - {""} - set(known):
                advice = f"{nearest(name, known)}the intercept has an argument of its own"
                some = f"one of {', '.join(map(repr, known))}" if known else "a model that has such parameters"
                raise OptionError(f"{argument}= of {name!r}", some, advice)

        def one(of: Coordinate) -> Density:
            if of.share is not None:
                eta, share = _eta(self.correlation), of.share
                a, b = (first + eta * second for first, second in (share.a, share.b))
                return LogisticBeta(a, b, share.slope, share.shift, f"LKJ({eta:g})")
            if of.kind in ("intercept", "threshold"):
                density = _read("intercept", self.intercept)
                return density.per(of.unit).about(of.centre) if self.scaled else density
            if of.kind == "shape":
                return _of_shape(of, _read("shape", shape.get(of.name, shape.get("", of.prior))))
            if of.kind == "own":
                density = _read("family", family.get(of.name, family.get("", of.prior)))
            else:
                words, default = (sd, defaults.sd) if of.kind == "sd" else (coefficients, defaults.coefficients)
                argument = "sd" if of.kind == "sd" else "coefficients"
                density = _read(argument, words.get(of.name, words.get("", str(default))))
            return density.per(of.unit) if self.scaled else density

        found = JointDensity(coordinates, tuple(map(one, coordinates.each)))
        if not found.proper:
            names = [each.name for each, of in zip(coordinates.each, found.each, strict=True) if not of.proper]
            warnings.warn(
                f"the prior of {', '.join(names)} is flat: the posterior is a distribution only where the data alone "
                "keep these coefficients finite, which separation, for one, does not",
                PriorWarning,
                stacklevel=4,
            )
        return found


@dataclass(frozen=True)
class JointDensity:
    """The prior of all parameters.

    Parameters
    ----------
    coordinates : Coordinates
    each : tuple of Density
        Of the parameters, the intercept's at the means of the columns.
    """

    coordinates: Coordinates
    each: tuple[Density, ...]

    @property
    def proper(self) -> bool:
        """Whether it is a distribution."""
        return all(density.proper for density in self.each)

    @cached_property
    def _centring(self) -> Array:
        return self.coordinates.centring()

    def evaluate(self, x: Array) -> Evaluation:
        """Log-density of x, shape (q,), with two derivatives."""
        A = self._centring
        terms = np.array([one.terms(float(v)) for one, v in zip(self.each, A @ x, strict=True)])
        return Evaluation(float(terms[:, 0].sum()), A.T @ terms[:, 1], A.T @ (terms[:, 2, None] * A))

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """Draws of x, shape (n, q)."""
        found = np.column_stack([one.draw(rng, n) for one in self.each])
        return np.asarray(np.linalg.solve(self._centring, found.T).T)

    def lines(self) -> list[tuple[str, str]]:
        """Each parameter's name and prior, in words."""
        return [
            (one.name, f"{density}{', at the means of the columns' if one.kind in ('intercept', 'threshold') else ''}")
            for one, density in zip(self.coordinates.each, self.each, strict=True)
        ]


def _words(argument: str, value: Any) -> dict[str, str]:
    """What was said of single parameters, and under "" of all."""
    if isinstance(value, str):
        return {"": value}
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise OptionError(
            f"{argument}={shown(value)}", "a prior as text, or a mapping from names to such texts", "normal(0, 2.5)"
        )
    return dict(value)


def _read(argument: str, text: Any) -> Density:
    """The density that a text names; nothing in it is run."""
    known = _FORMS.get(argument, _OF_COEFFICIENTS)
    forms = ", ".join(form for form, _ in known.values())
    name, numbers = _parsed(argument, text, forms)
    if argument == "sd" and name == "flat":
        raise OptionError(f"{argument}={text!r}, {_IMPROPER}", f"one of {forms}", "half_t(3, 2.5)")
    if name not in known:
        raise OptionError(f"{argument}={text!r}", f"one of {forms}", f"{nearest(name, known)}such as {forms}")
    form, make = known[name]
    wanted = form.count(",") + 1 if "(" in form else 0
    if name == "normal" and len(numbers) == 1:
        numbers = [0.0, *numbers]
    location = 1 if name == "student_t" else 0 if name == "normal" else None
    positive = all(n >= _LEAST_IN_PRIOR for k, n in enumerate(numbers) if k != location)
    share = name == "pc" and len(numbers) == 2 and numbers[1] >= 1.0
    if len(numbers) != wanted or not positive or share or not all(abs(n) <= _LARGEST_IN_PRIOR for n in numbers):
        also = (
            ", a probability below 1" if name == "pc" else "" if location is None else ", the location of either sign"
        )
        limits = f"numbers above 0, from {_LEAST_IN_PRIOR:g} to {_LARGEST_IN_PRIOR:g}{also}"
        raise OptionError(f"{argument}={text!r}", f"{form} with {limits}", form)
    return make(*numbers)


def _of_shape(of: Coordinate, density: Density) -> Density:
    """What was said of a shape, in the range that it has."""
    if not isinstance(density, GammaOfInverse):
        return density
    if not of.inverse:
        raise OptionError(
            f"shape={str(density)!r} of {of.name!r}", "beta(a, b), of its place in its range", "beta(1, 1)"
        )
    return replace(density, most=of.ends[1])


def _eta(text: Any) -> float:
    name, numbers = _parsed("correlation", text, "lkj(eta)")
    if name != "lkj" or len(numbers) != 1 or not 0.0 < numbers[0] <= _LARGEST_IN_PRIOR:
        raise OptionError(f"correlation={text!r}", "lkj(eta) with a number above 0", "lkj(1)")
    return numbers[0]


def _parsed(argument: str, text: Any, forms: str) -> tuple[str, list[float]]:
    found = _CALL.fullmatch(text) if isinstance(text, str) else None
    try:
        inside = found.group(2) if found else None
        numbers = [float(part) for part in inside.split(",")] if inside else []
    except ValueError:
        found = None
    if found is None:
        raise OptionError(
            f"{argument}={shown(text)}", f"one of {forms}", forms.split(", half")[0].split(", student")[0]
        )
    return found.group(1), numbers
