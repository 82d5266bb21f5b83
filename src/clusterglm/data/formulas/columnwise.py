"""Functions of a whole column: what they learn from the fitted rows is kept as data and applied to any other rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from clusterglm.data.formulas import polynomial, splines
from clusterglm.data.formulas.values import Basis, Categories, Value
from clusterglm.errors import FormulaError
from clusterglm.model.arrays import Array

State = dict[str, Any]


@dataclass(frozen=True)
class ColumnFunction:
    """A function that has a memory.

    Parameters
    ----------
    learn : callable
        From the values of the fitted rows, missing ones left out, and the other arguments to what is kept.
    apply : callable
        From what is kept and any rows' values to a value.
    names : tuple of str
        Of the other arguments.
    state : dict of str to str
        What is kept: "number", "count", "flag", "text", "texts", "numbers" or "matrix"; with "?" where it may be None.
    """

    learn: Callable[..., State]
    apply: Callable[[State, Array], Value]
    names: tuple[str, ...] = ()
    state: Mapping[str, str] = field(default_factory=dict)

    def keeps(self, state: Any) -> bool:
        """Whether something is what the function could have learned."""
        if not isinstance(state, dict) or set(state) != set(self.state):
            return False
        return all(_is_a(state[name], kind) for name, kind in self.state.items()) and _fits(state)


_VALUE = {"value": "number"}
_CUBIC = {"knots": "numbers", "constraints": "matrix?", "cyclic": "flag", "extrapolation": "text"}
_SCALED = {"center": "number?", "scale": "number?"}


def _is_a(value: Any, kind: str) -> bool:
    if kind.endswith("?"):
        return value is None or _is_a(value, kind[:-1])
    if kind == "texts":
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if kind in ("numbers", "matrix"):
        dimensions = 1 if kind == "numbers" else 2
        return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == dimensions and value.size > 0
    kinds: dict[str, tuple[type, ...]] = {
        "number": (float, int, np.floating), "count": (int,), "flag": (bool,), "text": (str,)
    }  # fmt: skip
    return isinstance(value, kinds[kind]) and (kind == "flag" or not isinstance(value, bool))


def _fits(state: State) -> bool:
    """Whether its parts fit each other."""
    if "knots" in state:
        knots, degree = state["knots"], state.get("degree", 3)
        few = len(knots) < 2 if "constraints" in state else len(knots) < 2 * (degree + 1)
        if few or not bool((np.diff(knots) >= 0.0).all()) or not knots[0] < knots[-1]:
            return False
        if state.get("extrapolation", "raise") not in splines.OUTSIDE or not 0 <= degree <= splines.MOST_DEGREE:
            return False
        if "combinations" in state:
            return bool(len(state["combinations"]) == len(knots) - 4 - (not state["include_intercept"]))
        constraints = state.get("constraints")
        return constraints is None or bool(constraints.shape[1] == len(knots) - state["cyclic"])
    if "alpha" in state and not state["raw"]:
        alpha, norms, degree = state["alpha"], state["norms2"], state["degree"]
        return alpha is not None and norms is not None and len(alpha) == degree == len(norms) - 1
    if "degree" in state:
        return 1 <= int(state["degree"]) <= polynomial.MOST_POWERS
    if "ends" in state:
        return len(state["labels"]) == len(state["ends"]) - 1 and bool((np.diff(state["ends"]) > 0.0).all())
    return True


def _statistic(function: Callable[[Array], Any]) -> ColumnFunction:
    return ColumnFunction(
        lambda x: {"value": np.float64(function(x))}, lambda state, x: np.float64(state["value"]), (), _VALUE
    )


def _spread(power: float, ddof: float) -> ColumnFunction:
    def learn(x: Array, ddof: Any = ddof) -> State:
        if len(x) <= ddof:
            raise FormulaError(f"the spread of {len(x)} values", f"more than {float(ddof):g} of them", "a number")
        return {"value": np.float64(np.std(x, ddof=float(ddof)) ** power)}

    return ColumnFunction(learn, lambda state, x: np.float64(state["value"]), ("ddof",), _VALUE)


def _quantile(x: Array, probs: Any) -> State:
    if np.ndim(probs) != 0 or not 0.0 <= probs <= 1.0:
        raise FormulaError("quantile() without one share", "a number from 0 to 1", "quantile(x, 0.9)")
    return {"value": np.float64(np.quantile(x, probs))}


def _scale(x: Array, center: Any = True, scale: Any = True, ddof: Any = 1) -> State:
    """Centre and scale: learned where True, none where False, else as given."""
    middle = np.mean(x, axis=0) if center is True else None if center in (False, None) else np.float64(center)
    rest = x if middle is None else x - middle
    if scale is True:
        if len(x) <= ddof:
            raise FormulaError(f"the scale of {len(x)} values", f"more than {float(ddof):g} of them", "scale=False")
        scale = np.sqrt(np.sum(rest**2, axis=0) / (len(x) - float(ddof)))
        if not scale > 0.0:
            raise FormulaError("scale() of a column that does not vary", "a column that varies", "scale=False")
    return {"center": middle, "scale": None if scale in (False, None) else np.float64(scale)}


def _scaled(state: State, x: Array) -> Array:
    x = x if state["center"] is None else x - state["center"]
    return x if state["scale"] is None else x / state["scale"]


def _cut(x: Array, breaks: Any, labels: Any = None, right: Any = True, include_lowest: Any = False) -> State:
    """Ends of intervals: those given, or of as many equal ones as `breaks` says, a thousandth wider, as R has them."""
    if np.ndim(breaks) == 0:
        count = int(breaks)
        if count != breaks or not 2 <= count <= 1000:
            raise FormulaError(f"cut() into {float(breaks):g} intervals", "a whole number from 2 to 1000", "cut(x, 4)")
        low, high = float(np.min(x)), float(np.max(x))
        width = (high - low) or abs(low)
        ends = np.linspace(low, high, count + 1)
        ends[0], ends[-1] = low - width / 1000.0, high + width / 1000.0
    else:
        ends = np.unique(np.asarray(breaks, dtype=np.float64))
        if len(ends) != len(breaks) or len(ends) < 2:
            raise FormulaError("cut() at breaks that are not all different", "two different ones or more", "cut(x, 4)")
    own = labels is not None and labels is not True and labels is not False
    if own and (not isinstance(labels, tuple) or len(labels) != len(ends) - 1):
        raise FormulaError("labels= of cut()", f"{len(ends) - 1} texts, one for each interval", "leave labels= out")
    words = tuple(map(str, labels)) if own else _intervals(ends, bool(right), bool(include_lowest))
    return {"ends": ends, "labels": words, "right": bool(right), "include_lowest": bool(include_lowest)}


def _intervals(ends: Array, right: bool, lowest: bool) -> tuple[str, ...]:
    """Intervals in words, with as many digits, from 3 on, as tell them apart."""
    for digits in range(3, 17):
        words = [f"{end:.{digits}g}" for end in ends]
        if len(set(words)) == len(words):
            break
    last = len(ends) - 2
    return tuple(
        f"{'[' if not right or (lowest and k == 0) else '('}{words[k]},{words[k + 1]}"
        f"{']' if right or (lowest and k == last) else ')'}"
        for k in range(last + 1)
    )


def _cut_at(state: State, x: Array) -> Categories:
    ends, right = state["ends"], state["right"]
    codes = np.searchsorted(ends, x, side="left" if right else "right") - 1
    if state["include_lowest"]:
        codes[x == (ends[0] if right else ends[-1])] = 0 if right else len(ends) - 2
    codes = np.where((codes < 0) | (codes >= len(ends) - 1) | np.isnan(x), -1, codes)
    return Categories(tuple(state["labels"]), codes.astype(np.int64))


def _polynomial(state: State, x: Array) -> Basis:
    matrix = polynomial.apply(state, x)
    first = 0 if state["raw"] else 1  # as the names have always been
    return Basis(matrix, tuple(str(k + first) for k in range(matrix.shape[1])))


def _functions() -> dict[str, ColumnFunction]:
    statistics: tuple[Callable[[Array], Any], ...] = (np.mean, np.median, np.min, np.max, np.sum)
    mean, median, least, most, total = map(_statistic, statistics)
    natural, cyclic = (partial(splines.learn_cubic, cyclic=each) for each in (False, True))
    spline = ("df", "knots", "degree", "include_intercept", "lower_bound", "upper_bound", "extrapolation")
    cubic = ("df", "knots", "lower_bound", "upper_bound", "constraints", "extrapolation")
    cr = ColumnFunction(natural, splines.apply_cubic, cubic, _CUBIC)
    scale = ColumnFunction(_scale, _scaled, ("center", "scale", "ddof"), _SCALED)
    return {
        "mean": mean, "np.mean": mean, ".mean": mean, "np.average": mean, "median": median, "np.median": median,
        ".median": median, "min": least, "np.min": least, ".min": least, "np.amin": least, "max": most, "np.max": most,
        ".max": most, "np.amax": most, "sum": total, "np.sum": total, ".sum": total, "sd": _spread(1.0, 1.0),
        ".std": _spread(1.0, 1.0), "np.std": _spread(1.0, 0.0), "var": _spread(2.0, 1.0), ".var": _spread(2.0, 1.0),
        "np.var": _spread(2.0, 0.0),
        "quantile": ColumnFunction(_quantile, lambda state, x: np.float64(state["value"]), ("probs",), _VALUE),
        "scale": scale,
        "standardize": ColumnFunction(
            lambda x, center=True, rescale=True, ddof=0: _scale(x, center, rescale, ddof), _scaled,
            ("center", "rescale", "ddof"), _SCALED,
        ),
        "center": ColumnFunction(lambda x: _scale(x, True, False), _scaled, (), _SCALED),
        "poly": ColumnFunction(
            polynomial.learn, _polynomial, ("degree", "raw"),
            {"degree": "count", "raw": "flag", "alpha": "numbers?", "norms2": "numbers?"},
        ),
        "bs": ColumnFunction(
            splines.learn_bs, splines.apply_bs, spline,
            {"knots": "numbers", "degree": "count", "include_intercept": "flag", "extrapolation": "text"},
        ),
        "ns": ColumnFunction(
            splines.learn_ns, splines.apply_ns, ("df", "knots", "include_intercept", "lower_bound", "upper_bound"),
            {"knots": "numbers", "combinations": "matrix", "include_intercept": "flag"},
        ),
        "cr": cr, "cs": cr, "cc": ColumnFunction(cyclic, splines.apply_cubic, cubic, _CUBIC),
        "cut": ColumnFunction(
            _cut, _cut_at, ("breaks", "labels", "right", "include_lowest"),
            {"ends": "numbers", "labels": "texts", "right": "flag", "include_lowest": "flag"},
        ),
    }  # fmt: skip


COLUMNWISE: dict[str, ColumnFunction] = _functions()
FORGETFUL = {
    "rank": "its rank", "cumsum": "a running sum", "cumprod": "a running product", "diff": "another row",
    "lag": "another row", "lead": "another row", "shift": "another row", "sort": "another row", "order": "its rank",
    "sort_values": "another row", "roll": "another row", "sample": "chance", "rolling": "other rows",
    "ewm": "other rows", "argsort": "its rank", "rev": "another row", "ave": "other rows", "qcut": "its rank",
}  # fmt: skip
"""Functions of other rows of which nothing can be kept that would give new rows a value."""
