"""How the levels of a factor become columns next to an intercept: contrast matrices, a row per level.

As in R (Chambers and Hastie, Statistical Models in S, 1992, ch. 2): `contr.treatment`, `contr.SAS`, `contr.sum`,
`contr.helmert`, `contr.poly`; and backward differences, `contr.diff`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clusterglm.data.formulas.polynomial import orthogonal
from clusterglm.data.formulas.values import UNSEEN, positions
from clusterglm.errors import FormulaError
from clusterglm.model.arrays import Array

_PREFIX = {"treatment": "T.", "SAS": "T.", "sum": "S.", "helmert": "H.", "diff": "D.", "poly": "", "matrix": ""}
_OPTIONS = {
    "treatment": ("base",), "SAS": ("base",), "sum": (), "helmert": ("reverse", "scale"), "diff": ("backward",),
    "poly": ("scores",), "matrix": ("matrix",),
}  # fmt: skip
_NAMES = {"Treatment": "treatment", "Sum": "sum", "Helmert": "helmert", "Diff": "diff", "Poly": "poly"}
_ORDINALS = (".L", ".Q", ".C")

KINDS = (*(f"contr.{kind}" for kind in _OPTIONS if kind != "matrix"), *_NAMES)
"""Names of contrasts that a formula may use; the later ones are those of other packages."""


@dataclass(frozen=True)
class Contrast:
    """A coding.

    Parameters
    ----------
    kind : str
        "treatment", "SAS", "sum", "helmert", "diff", "poly", or "matrix" for one's own.
    options : tuple of (str, value)
        As `base` of treatment contrasts: a level, or its number from 1 where no level is called so; None for the first
        (of "SAS" the last).
    """

    kind: str = "treatment"
    options: tuple[tuple[str, Any], ...] = field(default=())


@dataclass(frozen=True)
class Coded:
    """Columns that levels become.

    Parameters
    ----------
    matrix : ndarray, shape (levels, k)
    labels : tuple of str, length k
        What names of columns end with.
    prefix : str
        What stands before the label in the longer names, as in `trt[T.drug]`.
    base : int or None
        Position of the level that the others are compared with, where there is one.
    """

    matrix: Array
    labels: tuple[str, ...]
    prefix: str
    base: int | None = None


def contrast_of(name: str, arguments: Sequence[Any], keywords: dict[str, Any]) -> Contrast:
    """The contrast that `contr.NAME(...)` means.

    Raises
    ------
    FormulaError
        On an unknown name or argument.
    """
    kind = _NAMES.get(name, name.removeprefix("contr."))
    known = _OPTIONS.get(kind)
    if known is None or kind == "matrix":
        raise FormulaError(f"the contrasts {name}", f"one of {', '.join(KINDS)}", "contr.treatment, the default")
    keywords = {"base" if key in ("ref", "reference") else key: value for key, value in keywords.items()}
    if kind in ("treatment", "SAS") and arguments and "base" in keywords:
        arguments = ()  # R's number of levels
    options = dict(zip(known, arguments, strict=False)) | keywords
    if len(arguments) > len(known) or not set(keywords) <= set(known):
        odd = next((key for key in keywords if key not in known), f"{len(arguments)} arguments")
        raise FormulaError(
            f"contr.{kind} with {odd!r}", f"no arguments but {', '.join(known) or 'none'}", "see its R page"
        )
    return Contrast(kind, tuple(options.items()))


def coded(contrast: Contrast, levels: Sequence[Any], *, reduced: bool, what: str) -> Coded:
    """The columns.

    Parameters
    ----------
    contrast : Contrast
    levels : sequence, length k
    reduced : bool
        Next to an intercept, k - 1 columns; else a dummy for each level.
    what : str
        The factor, for errors.

    Raises
    ------
    FormulaError
        When the contrast does not fit the levels.
    """
    k, kind, options = len(levels), contrast.kind, dict(contrast.options)
    labels = tuple(label_of(level) for level in levels)
    if not reduced and kind != "matrix":
        return Coded(np.eye(k), labels, "")
    prefix = _PREFIX[kind]
    if kind in ("treatment", "SAS"):
        base = _base(options.get("base"), levels, what, k - 1 if kind == "SAS" else 0)
        others = [j for j in range(k) if j != base]
        return Coded(np.eye(k)[:, others], tuple(labels[j] for j in others), prefix, base)
    if kind == "sum":
        return Coded(np.vstack([np.eye(k - 1), -np.ones((1, k - 1))]), labels[:-1], prefix)
    if kind == "helmert":
        forward = options.get("reverse") is False
        return Coded(_helmert(k, forward, bool(options.get("scale"))), labels[:-1] if forward else labels[1:], prefix)
    if kind == "diff":
        forward = options.get("backward") is False
        matrix = np.tile(np.arange(1.0, k) / k, (k, 1)) - np.triu(np.ones((k, k - 1)))
        return Coded(-matrix if forward else matrix, labels[:-1] if forward else labels[1:], prefix)
    if kind == "poly":
        scores = np.arange(float(k)) if options.get("scores") is None else _scores(options["scores"], k, what)
        ordinals = tuple(_ORDINALS[j] if j < len(_ORDINALS) else f"^{j + 1}" for j in range(k - 1))
        return Coded(orthogonal(scores, k - 1)[0], ordinals, prefix)
    matrix = _own(options["matrix"], k, what)
    return Coded(matrix, tuple(str(j + 1) for j in range(matrix.shape[1])), prefix)


def label_of(level: Any) -> str:
    """A level as names show it."""
    return f"{level:g}" if isinstance(level, float) else str(level)


def _base(base: Any, levels: Sequence[Any], what: str, otherwise: int) -> int:
    if base is None:
        return otherwise
    (found,) = positions(levels, [base]).tolist()
    if found == UNSEEN and type(base) is int and 1 <= base <= len(levels):
        return base - 1  # as R counts
    if found == UNSEEN:
        shown = ", ".join(map(repr, levels[:20]))
        raise FormulaError(f"the reference level {base!r} of {what}", f"one of {shown}", "check the spelling")
    return int(found)


def _helmert(k: int, forward: bool, scale: bool) -> Array:
    """Each level less the mean of those before it (or after it), times their number."""
    j = np.arange(k - 1)
    matrix = np.zeros((k, k - 1))
    if forward:
        matrix[np.tril_indices(k, -1, k - 1)] = -1.0
        matrix[j, j] = k - 1.0 - j
    else:
        matrix[np.triu_indices(k, 0, k - 1)] = -1.0
        matrix[j + 1, j] = j + 1.0
    return matrix / (k - j if forward else j + 2) if scale else matrix


def _scores(scores: Any, k: int, what: str) -> Array:
    found = np.asarray(scores, dtype=np.float64)
    if found.shape != (k,) or len(np.unique(found)) < k:
        raise FormulaError(f"{found.size} scores of {what}", f"{k} different ones, one for each level", "equal steps")
    return found


def _own(matrix: Any, k: int, what: str) -> Array:
    try:
        found = np.asarray(matrix, dtype=np.float64)
    except ValueError:
        found = np.empty(0)
    if found.ndim != 2 or len(found) != k or not 0 < found.shape[1] <= k:
        raise FormulaError(
            f"a contrast matrix of shape {found.shape} for {what}",
            f"a row for each of its {k} levels, and at most {k} columns",
            "C(g, contr.sum), for instance",
        )
    return found
