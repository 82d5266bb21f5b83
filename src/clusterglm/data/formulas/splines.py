"""Spline bases: B-splines `bs`, natural splines `ns`, and cubic regression splines `cr` (`cs`) and `cc`.

`bs` and `ns` are those of R's package splines; `cr` and `cc` are natural and cyclic splines known by their values at
the knots (Wood, Generalized Additive Models, 2nd ed. 2017, sec. 5.3.1). SciPy evaluates them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clusterglm.data.formulas.values import Basis
from clusterglm.errors import DataError, FormulaError
from clusterglm.model.arrays import Array

OUTSIDE = ("raise", "clip", "na", "zero", "extend")
MOST_DEGREE = 20
_MOST_DF = 1000


def learn_bs(
    x: Array,
    df: Any = None,
    knots: Any = None,
    degree: Any = 3,
    include_intercept: Any = False,
    lower_bound: Any = None,
    upper_bound: Any = None,
    extrapolation: Any = "raise",
) -> dict[str, Any]:
    """Knots of `bs`, those at the ends repeated; inner ones at equally spaced quantiles where `df` is given.

    Raises
    ------
    FormulaError
        When the arguments do not fit each other.
    """
    degree, whole = _count(degree, "degree", 0, MOST_DEGREE), bool(include_intercept)
    low, high, outside = _bounds(x, lower_bound, upper_bound, extrapolation)
    inner = _inner(x, df, knots, low, high, outside, degree + whole, "bs")
    return {
        "knots": np.concatenate([np.repeat(low, degree + 1), inner, np.repeat(high, degree + 1)]),
        "degree": degree,
        "include_intercept": whole,
        "extrapolation": outside,
    }


def apply_bs(state: dict[str, Any], x: Array) -> Basis:
    """The basis; its first function is left out unless it was asked for.

    Raises
    ------
    DataError
        When a value lies outside the boundary knots, unless `extrapolation` says what to do.
    """
    knots, degree, outside = state["knots"], state["degree"], state["extrapolation"]
    x, beyond = _placed(x, knots[0], knots[-1], outside, "bs")
    matrix = _b_splines(x, knots, degree)
    if outside == "zero":
        matrix[beyond] = 0.0
    fields = tuple(str(k) for k in range(matrix.shape[1]))
    if state["include_intercept"]:
        return Basis(matrix, fields, spans_intercept=True)
    return Basis(np.ascontiguousarray(matrix[:, 1:]), fields[1:])


def learn_ns(
    x: Array,
    df: Any = None,
    knots: Any = None,
    include_intercept: Any = False,
    lower_bound: Any = None,
    upper_bound: Any = None,
) -> dict[str, Any]:
    """Knots of `ns`, and the combinations of B-splines whose second derivative is 0 at the boundary."""
    whole = bool(include_intercept)
    low, high, _ = _bounds(x, lower_bound, upper_bound, "extend")
    inner = _inner(x, df, knots, low, high, "clip", 1 + whole, "ns")  # quantiles of what lies inside
    knots = np.concatenate([np.repeat(low, 4), inner, np.repeat(high, 4)])
    curvature = _b_splines(np.array([low, high]), knots, 3, derivative=2)
    first = 0 if whole else 1
    full = np.linalg.qr(curvature[:, first:].T, mode="complete")[0]
    return {"knots": knots, "combinations": np.ascontiguousarray(full[:, 2:]), "include_intercept": whole}


def apply_ns(state: dict[str, Any], x: Array) -> Basis:
    """The basis, linear outside the boundary knots."""
    knots, whole = state["knots"], state["include_intercept"]
    low, high = knots[0], knots[-1]
    inside = np.clip(x, low, high)
    matrix = _b_splines(inside, knots, 3)
    for end, where in ((low, x < low), (high, x > high)):
        if where.any():
            matrix[where] += (x[where] - end)[:, None] * _b_splines(np.array([end]), knots, 3, derivative=1)
    matrix[np.isnan(x)] = np.nan
    made = matrix[:, 0 if whole else 1 :] @ state["combinations"]
    return Basis(made, tuple(str(k + 1) for k in range(made.shape[1])), spans_intercept=whole)


def learn_cubic(
    x: Array,
    df: Any = None,
    knots: Any = None,
    lower_bound: Any = None,
    upper_bound: Any = None,
    constraints: Any = None,
    extrapolation: Any = "raise",
    *,
    cyclic: bool,
) -> dict[str, Any]:
    """Knots of `cr` and `cc`, and constraints on the coefficients: "center" makes the fitted curve average zero.

    Raises
    ------
    FormulaError
        When the arguments do not fit each other.
    """
    if df is None and knots is None:
        raise FormulaError("a cubic spline without df and knots", "one of them", "cr(x, df=4)")
    if isinstance(constraints, str) and constraints != "center":
        raise FormulaError(f"constraints={constraints!r}", "'center', or a matrix", "constraints='center'")
    low, high, outside = _bounds(x, lower_bound, upper_bound, extrapolation)
    own = None if constraints is None or isinstance(constraints, str) else np.atleast_2d(np.asarray(constraints, float))
    fixed = 1 if isinstance(constraints, str) else 0 if own is None else len(own)
    used = _used(x, low, high, outside)
    inner = _inner(np.unique(used), df, knots, low, high, outside, 2 - fixed - cyclic, "cr")
    places = np.unique(np.concatenate([[low, high], inner]))
    if len(places) != len(inner) + 2:
        raise FormulaError(
            f"{len(inner)} inner knots that are not all different and inside ({low:g}, {high:g})",
            "different ones",
            "a smaller df",
        )
    if isinstance(constraints, str):
        own = _cubic(x, places, cyclic).mean(axis=0)[None, :]
    if own is not None and own.shape[1] != len(places) - cyclic:
        raise FormulaError(f"constraints of {own.shape[1]} columns", f"{len(places) - cyclic} of them", "'center'")
    return {"knots": places, "constraints": own, "cyclic": cyclic, "extrapolation": outside}


def apply_cubic(state: dict[str, Any], x: Array) -> Basis:
    """The basis; raises `DataError` as `apply_bs`."""
    knots, outside = state["knots"], state["extrapolation"]
    x, beyond = _placed(x, knots[0], knots[-1], outside, "cc" if state["cyclic"] else "cr")
    matrix = _cubic(x, knots, state["cyclic"])
    if state["constraints"] is not None:
        full = np.linalg.qr(state["constraints"].T, mode="complete")[0]
        matrix = matrix @ full[:, len(state["constraints"]) :]
    if outside == "zero":
        matrix[beyond] = 0.0
    return Basis(matrix, tuple(str(k + 1) for k in range(matrix.shape[1])))


def _cubic(x: Array, knots: Array, cyclic: bool) -> Array:
    """Splines that are 1 at one knot and 0 at the others, natural or cyclic; linear outside, or repeated."""
    from scipy.interpolate import CubicSpline

    n = len(knots)
    if cyclic:
        at = np.eye(n - 1)[[*range(n - 1), 0]]
        return np.asarray(CubicSpline(knots, at, bc_type="periodic")(x))
    spline = CubicSpline(knots, np.eye(n), bc_type="natural")
    inside = np.clip(x, knots[0], knots[-1])
    return np.asarray(spline(inside)) + (x - inside)[:, None] * np.asarray(spline(inside, 1))


def _b_splines(x: Array, knots: Array, degree: int, derivative: int = 0) -> Array:
    from scipy.interpolate import BSpline

    basis = BSpline(knots, np.eye(len(knots) - degree - 1), degree, extrapolate=True)
    return np.asarray(basis(x, derivative))


def _bounds(x: Array, low: Any, high: Any, extrapolation: Any) -> tuple[float, float, str]:
    if extrapolation not in OUTSIDE:
        raise FormulaError(f"extrapolation={extrapolation!r}", f"one of {', '.join(OUTSIDE)}", "'extend', as R has it")
    least = float(np.nanmin(x) if low is None else _number(low, "lower_bound"))
    most = float(np.nanmax(x) if high is None else _number(high, "upper_bound"))
    if not least < most:
        raise FormulaError(f"a spline from {least:g} to {most:g}", "a column that varies", "drop the term")
    return least, most, str(extrapolation)


def _inner(x: Array, df: Any, knots: Any, low: float, high: float, outside: str, others: int, name: str) -> Array:
    """Inner knots, `others` fewer than `df`."""
    if df is not None and knots is not None:
        raise FormulaError(f"{name}() with df= and knots=", "one of them", f"{name}(x, df=4)")
    if knots is not None:
        given = np.sort(np.atleast_1d(np.asarray(knots, dtype=np.float64)).ravel())
        if given.size and not (low <= given[0] and given[-1] <= high):
            raise FormulaError(
                f"{name}() with knots from {given[0]:g} to {given[-1]:g}", f"knots between {low:g} and {high:g}", "df="
            )
        return given
    if df is None:
        return np.empty(0)
    count = _count(df, "df", max(1, others), _MOST_DF, name) - others
    return np.asarray(np.nanquantile(_used(x, low, high, outside), np.linspace(0.0, 1.0, count + 2))[1:-1])


def _used(x: Array, low: float, high: float, outside: str) -> Array:
    """Values that quantiles are taken of."""
    if outside not in ("clip", "na", "zero"):
        return x
    return x[(x >= low) & (x <= high)]


def _placed(x: Array, low: float, high: float, outside: str, name: str) -> tuple[Array, Any]:
    """Values as `extrapolation` wants them, and which lie outside."""
    beyond = (x < low) | (x > high)
    if not beyond.any() or outside == "extend":
        return x, beyond
    if outside == "raise":
        worst = float(x[int(np.argmax(beyond))])
        raise DataError(
            f"{name}() at {worst:g}, outside its boundary knots {low:g} and {high:g}",
            "values between them, as in the fit",
            f"{name}(..., extrapolation='extend') or 'clip' in the fitted formula",
        )
    return (np.where(beyond, np.nan, x) if outside == "na" else np.clip(x, low, high)), beyond


def _count(value: Any, name: str, least: int, most: int, function: str = "bs") -> int:
    number = _number(value, name)
    if number != int(number) or not least <= number <= most:
        raise FormulaError(
            f"{function}() with {name}={number:g}", f"a whole number from {least} to {most}", f"{name}={least}"
        )
    return int(number)


def _number(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)):
        raise FormulaError(f"{name}={value!r}", "a number", f"{name}=3")
    return float(value)
