"""Linear hypotheses on coefficients: reading them, and their Wald tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from scipy.special import chdtrc

from clusterglm.errors import ClusterError, OptionError, nearest
from clusterglm.inference.uncertainty.degrees import Degrees, t_interval, t_p_values
from clusterglm.model.arrays import Array
from clusterglm.model.printing import p_in_words, printed

if TYPE_CHECKING:
    import pandas as pd

Symbols: TypeAlias = Mapping[str, tuple[int, ...]]
"""What a name in a hypothesis stands for: positions of one column, or of all columns of a term."""

_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?!\w)")
_OPERATORS = ("==", "=", "+", "-", "*", "/", "(", ")", ",")
_READINGS = 1000  # ways to cut a text into names that are looked at
_SPELLED_OUT = 6  # hypotheses that a sentence spells out
_RANK = 1e-9  # smallest singular value that counts, rows and columns scaled to 1
_EXAMPLES = "'x1 = x2', 'x1 + 2*x2 = 0.5', 'x1 = 0, x2 = 0', a list of these, a term of the formula, or a matrix R"


@dataclass(frozen=True)
class Constraints:
    """Linear hypotheses R beta = r.

    Parameters
    ----------
    R : ndarray, shape (k, p)
    r : ndarray, shape (k,)
    words : tuple of str, length k
        Each row as an equation.
    """

    R: Array
    r: Array
    words: tuple[str, ...]


@printed
@dataclass(frozen=True)
class LinearTest:
    """Wald test of linear hypotheses R beta = r.

    Parameters
    ----------
    hypotheses : tuple of str, length k
        The rows as equations.
    statistic : float
        d' (R V R')^-1 d with d = R beta - r.
    df : int
        k.
    pvalue : float
        P(chi-square on k degrees of freedom > statistic). With a robust covariance from few clusters it is too small.
    estimate, std_error : ndarray, shape (k,)
        R beta - r and its standard errors.
    covariance : ndarray, shape (k, k)
        R V R'.
    cov : {"observed", "robust"}
        Which V.
    level : float
        Coverage of the intervals of single combinations.
    ratio : str
        What exponentials of coefficients are, such as "odds ratio"; empty where they mean nothing.
    degrees : Degrees, optional
        Degrees of freedom, where they were asked for: `pvalue` is then that of F = `degrees.scale` times the statistic
        on `df` and `degrees.joint` of them, and single combinations have those of t.
    """

    hypotheses: tuple[str, ...]
    statistic: float
    df: int
    pvalue: float
    estimate: Array
    std_error: Array
    covariance: Array = field(repr=False)
    cov: str = "observed"
    level: float = 0.95
    ratio: str = ""
    degrees: Degrees | None = field(default=None, repr=False)

    def to_frame(self) -> pd.DataFrame:
        """Each combination by itself.

        Returns
        -------
        DataFrame
            A row per hypothesis: `hypothesis`, `estimate` (left side less right side), `std_error`, `z`, `pvalue`,
            `conf_low`, `conf_high`; and, where exponentials of coefficients are ratios, that of the estimate with its
            interval, `ratio`, `ratio_low`, `ratio_high`.
        """
        import pandas as pd

        df = np.full(len(self.estimate), np.nan) if self.degrees is None else self.degrees.single
        z, (low, high) = self.estimate / self.std_error, t_interval(self.estimate, self.std_error, df, self.level)
        columns: dict[str, Any] = {
            "hypothesis": list(self.hypotheses), "estimate": self.estimate, "std_error": self.std_error,
            "z": z, **({} if self.degrees is None else {"df": df}), "pvalue": t_p_values(z, df),
            "conf_low": low, "conf_high": high,
        }  # fmt: skip
        if self.ratio:
            columns |= {"ratio": np.exp(self.estimate), "ratio_low": np.exp(low), "ratio_high": np.exp(high)}
        return pd.DataFrame(columns)

    def __str__(self) -> str:
        shown = ", ".join(self.hypotheses[:_SPELLED_OUT])
        if self.df > _SPELLED_OUT:
            shown += f" and {self.df - _SPELLED_OUT} more"
        difference = ""
        if self.df == 1:
            (row,) = self.to_frame().to_dict("records")
            level, ends = f"{100.0 * self.level:g}%", f"from {row['conf_low']:.4g} to {row['conf_high']:.4g}"
            difference = f"; left less right side {row['estimate']:.4g}, standard error {row['std_error']:.4g}"
            difference += f", {level} {ends}"
            if self.ratio:
                ends = f"from {row['ratio_low']:.4g} to {row['ratio_high']:.4g}"
                difference += f"; as {self.ratio} {row['ratio']:.4g}, {level} {ends}"
        words = f"chi2 = {self.statistic:.4g} on {self.df} df"
        if self.degrees is not None:
            words = f"F = {self.degrees.scale * self.statistic:.4g} on {self.df} and {self.degrees.joint:.4g} df"
        return f"Wald test of {shown}: {words}, {p_in_words(self.pvalue)} ({self.cov} covariance{difference})"


def linear_test(constraints: Constraints, beta: Array, covariance: Array, cov: str) -> LinearTest:
    """Test R beta = r.

    Parameters
    ----------
    constraints : Constraints
    beta : ndarray, shape (p,)
    covariance : ndarray, shape (p, p)
    cov : str
        Name of the covariance.

    Raises
    ------
    OptionError
        When rows of R follow from others, or contradict them.
    ClusterError
        When the covariance of R beta is singular: a robust one from fewer clusters than hypotheses.
    """
    _check_rows(constraints)
    d = constraints.R @ beta - constraints.r
    V = constraints.R @ covariance @ constraints.R.T
    V = 0.5 * (V + V.T)
    se = np.sqrt(np.diag(V))
    if not (se > 0.0).all() or np.linalg.eigvalsh(V / np.outer(se, se))[0] < 1e-12:
        raise ClusterError(
            f"a singular {cov} covariance of {len(d)} linear combinations of coefficients",
            "a covariance of full rank: a robust one needs more clusters than hypotheses",
            'fewer hypotheses, or cov="observed"',
        )
    z = d / se
    statistic = float(z @ np.linalg.solve(V / np.outer(se, se), z))
    return LinearTest(constraints.words, statistic, len(d), float(chdtrc(len(d), statistic)), d, se, V, cov)


def read_hypotheses(hypothesis: Any, r: Any, names: Sequence[str], symbols: Symbols) -> Constraints:
    """Hypotheses of any accepted form as R beta = r.

    Parameters
    ----------
    hypothesis : str, sequence of str, or array_like of shape (k, p) or (p,)
        Equations with numbers, + - * / and brackets; without `=`, the expression is zero. A term of the formula stands
        for all its columns. A data frame R is matched by the names of its columns, others being zero.
    r : array_like, shape (k,), optional
        Right-hand side for a matrix; by default zero.
    names : sequence of str, length p
        The coefficients.
    symbols : mapping of str to tuple of int
        Names that may occur; see `symbols_of`.

    Raises
    ------
    OptionError
        It names what cannot be read, with the nearest coefficient, and says how to write it.
    """
    texts = [hypothesis] if isinstance(hypothesis, str) else hypothesis
    if isinstance(texts, list | tuple) and len(texts) > 0 and all(isinstance(text, str) for text in texts):
        if r is not None:
            raise OptionError("r= with hypotheses in words", "r= for a matrix R", "'x1 = 0.5' says it in words")
        rows = [row for text in texts for row in _read(text, names, symbols)]
        R, right = np.array([row[:-1] for row in rows]), np.array([-row[-1] for row in rows])
    else:
        R, right = _matrix(hypothesis, r, names)
    return Constraints(R, right, tuple(_in_words(row, value, names) for row, value in zip(R, right, strict=True)))


def symbols_of(names: Sequence[str], aliases: Sequence[str], terms: Mapping[str, tuple[int, ...]]) -> Symbols:
    """What may be called by name: columns, other names of theirs, and terms; the former win. `a:b` is `b:a`.

    Parameters
    ----------
    names : sequence of str, length p
    aliases : sequence of str, length p
        Another name of each column, such as `trt[T.b]`.
    terms : mapping of str to tuple of int
        The terms of the formula and their columns.
    """
    columns = {name: (j,) for j, name in enumerate(names)}
    others = {name: (j,) for j, name in enumerate(aliases)} if len(aliases) == len(names) else {}
    named = {**{name.replace("`", ""): which for name, which in terms.items()}, **others, **columns}
    turned = {":".join(reversed(name.split(":"))): which for name, which in named.items() if name.count(":") == 1}
    return {**turned, **named}


class _Token(NamedTuple):
    kind: str  # "name", "number" or "operator"
    text: str
    value: Any = None


class _UnreadableError(Exception):
    """The tokens are not an equation."""


def _read(text: str, names: Sequence[str], symbols: Symbols) -> list[Array]:
    """Rows (coefficients, constant) that are zero under the hypotheses, shape (p + 1,) each."""
    found: dict[bytes, list[Array]] = {}
    patterns = [(name, _pattern(name)) for name in symbols]
    furthest = [0]
    for tokens in islice(_readings(text, 0, patterns, symbols, furthest), _READINGS):
        try:
            rows = _Parser(tokens, len(names)).rows()
        except _UnreadableError:
            continue
        found[np.array(rows).tobytes()] = rows
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise OptionError(
            f"the hypothesis {text!r}, which can be read in {len(found)} ways",
            "names that cannot be taken for sums of others",
            "put the names in `backquotes`",
        )
    raise _unreadable(text, furthest[0], names, symbols)


def _unreadable(text: str, position: int, names: Sequence[str], symbols: Symbols) -> OptionError:
    if position < len(text):
        match = re.match(r"`[^`]*`?|[^\s+\-*/=,()`]+|.", text[position:], re.DOTALL)
        word = match.group().strip("`") if match else ""
        if word == "sigma":
            return OptionError(
                "sigma in a hypothesis on coefficients",
                f"one of {', '.join(names)}",
                'test_clustering(method="boundary") for sigma = 0',
            )
        if re.search(r"\w", word):
            return OptionError(
                f"{word!r} in the hypothesis {text!r}, which is not a coefficient",
                f"one of {', '.join(names)}, or a term of the formula",
                f"{nearest(word, symbols)}names that are not plain words may be put in `backquotes`",
            )
    return OptionError(
        f"the hypothesis {text!r}", f"linear equations: {_EXAMPLES}", "names that are not plain words in `backquotes`"
    )


def _pattern(name: str) -> re.Pattern[str]:
    """The name as it stands; inside brackets white space is free, and ^ may be written for **."""
    pieces, depth, previous = [], 0, ""
    for piece in re.findall(r"\s+|\*\*|\w+|.", name, re.DOTALL):
        inside = depth > 0
        depth += (piece in "([{") - (piece in ")]}")
        if not inside:
            pieces.append(re.escape(piece))
        elif not piece.isspace():
            words = previous[-1:].isalnum() and piece[0].isalnum()
            power = r"(?:\*\*|\^)" if piece in ("**", "^") else re.escape(piece)
            pieces.append((r"\s+" if words else r"\s*") + power)
        if not piece.isspace():
            previous = piece
    start = r"(?<![\w.])" if re.match(r"\w", name) else ""
    end = r"(?!\w)" if re.search(r"\w\Z", name) else ""
    return re.compile(start + "".join(pieces) + end)


def _readings(
    text: str, at: int, patterns: list[tuple[str, re.Pattern[str]]], symbols: Symbols, furthest: list[int]
) -> Iterator[list[_Token]]:
    """All ways to cut the text into names, numbers and operators, those with longer names first."""
    while at < len(text) and text[at].isspace():
        at += 1
    furthest[0] = max(furthest[0], at)
    if at == len(text):
        yield []
        return
    found: list[tuple[int, _Token]] = []
    quoted = re.compile(r"`([^`]+)`").match(text, at)
    if quoted and quoted.group(1) in symbols:
        found.append((quoted.end(), _Token("name", quoted.group(1), symbols[quoted.group(1)])))
    for name, pattern in patterns:
        match = pattern.match(text, at)
        if match:
            found.append((match.end(), _Token("name", name, symbols[name])))
    found.sort(key=lambda item: -item[0])
    number = _NUMBER.match(text, at)
    if number:
        found.append((number.end(), _Token("number", number.group(), float(number.group()))))
    operator = next((each for each in _OPERATORS if text.startswith(each, at)), None)
    if operator is not None:
        found.append((at + len(operator), _Token("operator", operator)))
    for end, token in found:
        for rest in _readings(text, end, patterns, symbols, furthest):
            yield [token, *rest]


class _Parser:
    """Equations with commas between them, read from left to right; a form is p coefficients and a constant."""

    def __init__(self, tokens: list[_Token], p: int) -> None:
        self.tokens = tokens
        self.at = 0
        self.p = p

    def rows(self) -> list[Array]:
        rows = self._equation()
        while self._take(","):
            rows += self._equation()
        if self.at < len(self.tokens):
            raise _UnreadableError
        return rows

    def _take(self, *texts: str) -> str:
        """The next token if it is one of these operators, or nothing."""
        if self.at < len(self.tokens) and self.tokens[self.at].kind == "operator" and self._text() in texts:
            self.at += 1
            return self.tokens[self.at - 1].text
        return ""

    def _text(self) -> str:
        return self.tokens[self.at].text

    def _equation(self) -> list[Array]:
        whole = self._term()
        if whole is not None:
            return whole
        sides = [self._sum()]
        while self._take("=", "=="):
            sides.append(self._sum())
        if len(sides) == 1:
            sides.append(np.zeros(self.p + 1))
        rows = [left - right for left, right in pairwise(sides)]
        if not all(row[:-1].any() for row in rows):  # nothing to test: an equation of numbers, or x = x
            raise _UnreadableError
        return rows

    def _term(self) -> list[Array] | None:
        """A term of several columns, alone or `= 0`: all its coefficients are zero."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else _Token("operator", "")
        if token.kind != "name" or len(token.value) == 1:
            return None
        self.at += 1
        if self._take("=", "==") and self._sum().any():
            raise _UnreadableError
        return [np.eye(self.p + 1)[j] for j in token.value]

    def _sum(self) -> Array:
        total = self._product()
        while sign := self._take("+", "-"):
            total = total + self._product() if sign == "+" else total - self._product()
        return total

    def _product(self) -> Array:
        total = self._factor()
        while operator := self._take("*", "/"):
            factor = self._factor()
            if operator == "/" or factor[:-1].any():
                total, factor = (total, factor) if operator == "/" else (factor, total)
            if factor[:-1].any() or (operator == "/" and factor[-1] == 0.0):
                raise _UnreadableError
            total = total / factor[-1] if operator == "/" else total * factor[-1]
        return total

    def _factor(self) -> Array:
        if sign := self._take("+", "-"):
            return self._factor() if sign == "+" else -self._factor()
        if self._take("("):
            inner = self._sum()
            if not self._take(")"):
                raise _UnreadableError
            return inner
        if self.at == len(self.tokens) or self.tokens[self.at].kind == "operator":
            raise _UnreadableError
        token = self.tokens[self.at]
        self.at += 1
        form = np.zeros(self.p + 1)
        if token.kind == "number":
            form[-1] = token.value
        elif len(token.value) == 1:
            form[token.value[0]] = 1.0
        else:
            raise _UnreadableError
        return form


def _matrix(R: Any, r: Any, names: Sequence[str]) -> tuple[Array, Array]:
    p = len(names)
    if hasattr(R, "columns") and hasattr(R, "to_numpy"):
        given = [str(name) for name in R.columns]
        unknown = [name for name in given if name not in names]
        if unknown or len(set(given)) < len(given):
            raise OptionError(
                f"a data frame R with the columns {', '.join(given)}",
                f"columns, each once, among {', '.join(names)}",
                f"{nearest(unknown[0], names) if unknown else ''}a matrix with a column for each coefficient",
            )
        whole = np.zeros((len(R), p))
        whole[:, [list(names).index(name) for name in given]] = R.to_numpy()
        R = whole
    try:
        matrix = np.atleast_2d(np.asarray(R, dtype=np.float64))
        right = np.zeros(len(matrix)) if r is None else np.atleast_1d(np.asarray(r, dtype=np.float64))
    except (TypeError, ValueError):
        raise OptionError(f"the hypothesis {R!r}", _EXAMPLES, "result.params.index lists the coefficients") from None
    if matrix.ndim != 2 or matrix.shape[1] != p or len(matrix) == 0 or right.shape != (len(matrix),):
        raise OptionError(
            f"R of shape {matrix.shape} and r of shape {right.shape}",
            f"R of shape (hypotheses, {p}) and r with a number for each row, for {', '.join(names)}",
            f"hypotheses in words: {_EXAMPLES}",
        )
    if not (np.isfinite(matrix).all() and np.isfinite(right).all()):
        raise OptionError("R or r with values that are not finite", "finite numbers", "check how they were made")
    return matrix.copy(), right.copy()


def _check_rows(constraints: Constraints) -> None:
    """Refuse hypotheses that follow from others or contradict them."""
    largest = np.abs(constraints.R).max(axis=0)
    R = constraints.R / np.where(largest > 0.0, largest, 1.0)
    norm = np.linalg.norm(R, axis=1)
    if not (norm > 0.0).all():
        k = int(np.argmin(norm > 0.0))
        raise OptionError(
            f"row {k + 1} of R without a coefficient", "rows that each name a coefficient", "drop the row"
        )
    R, right = R / norm[:, None], constraints.r / norm
    for k in range(1, len(R)):
        before = R[:k]
        weights = np.linalg.lstsq(before.T, R[k], rcond=None)[0]
        if np.linalg.norm(before.T @ weights - R[k]) > _RANK:
            continue
        consistent = abs(weights @ right[:k] - right[k]) <= _RANK * max(1.0, float(np.abs(right).max()))
        used = [constraints.words[j] for j in np.flatnonzero(np.abs(weights) > _RANK).tolist()]
        how = "follows from" if consistent else "contradicts"
        raise OptionError(
            f"the hypothesis {constraints.words[k]}, which {how} {' and '.join(used)}",
            "hypotheses of which none follows from or contradicts others",
            f"leave {constraints.words[k]} out",
        )


def _in_words(row: Array, right: float, names: Sequence[str]) -> str:
    """The equation of a row: 'x1 - 2*x2 = 0.5'."""
    if not row.any():
        return f"0 = {right:.6g}"
    scale = -1.0 if row[np.flatnonzero(row)].max() < 0.0 else 1.0
    text = ""
    for j in np.flatnonzero(row).tolist():
        value = float(scale * row[j])
        size = "" if abs(value) == 1.0 else f"{abs(value):.6g}*"
        sign = ("-" if value < 0.0 else "") if not text else (" - " if value < 0.0 else " + ")
        text += f"{sign}{size}{names[j]}"
    return f"{text} = {scale * right + 0.0:.6g}"
