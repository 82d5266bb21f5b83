"""From covariates to the design matrix, by formulaic, and again for new data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.cluster_means import ClusterMeans
from clusterglm.data.columns import as_frame, model_columns
from clusterglm.data.formula import Expression, ParsedFormula, context
from clusterglm.data.offsets import as_offset, column_of
from clusterglm.data.plain import PlainSpec, matrix_of_terms, plain_matrix, plain_spec
from clusterglm.data.table import check_columns, column, missing_in, numeric
from clusterglm.errors import DataError, DesignError, FormulaError, UnseenLevelError
from clusterglm.model.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

INTERCEPT = "(Intercept)"
_SHOWN = 5  # levels that an error names


@dataclass(frozen=True)
class Factor:
    """A categorical column in the formula.

    Parameters
    ----------
    expression : str
        As in the formula: `trt` or `C(trt)`.
    column : str or None
        The column itself, when the expression is no more than that.
    levels : tuple
        Levels that the fit has seen.
    """

    expression: str
    column: str | None
    levels: tuple[Any, ...]


@dataclass(frozen=True)
class Design:
    """How covariates become the columns of X; can be pickled, and applied to new data.

    Parameters
    ----------
    formula : str
        The right-hand side given to formulaic.
    names : tuple of str
        Columns of X, named as R names them.
    intercept : int or None
        The column of ones.
    variables : tuple of str
        Columns of the user's table that X needs.
    factors : tuple of Factor
        Categorical columns with their levels.
    offsets : tuple of Expression
        Arguments of the `offset(...)` terms.
    offset_argument : str, "array" or None
        Column passed as `offset=`, prefixed with "column:", or as `exposure=`, with "exposure:"; or that an array was.
    spec : formulaic.ModelSpec or PlainSpec
        State of the transforms: knots, centres, contrasts.
    cluster_means : ClusterMeans or None
        For `within(...)` and `between(...)`.
    """

    formula: str
    names: tuple[str, ...]
    intercept: int | None
    variables: tuple[str, ...]
    factors: tuple[Factor, ...]
    offsets: tuple[Expression, ...]
    offset_argument: str | None
    spec: Any
    cluster_means: ClusterMeans | None = None

    def build(self, table: nw.DataFrame[Any]) -> Array:
        """Design matrix of new data, shape (rows, p); rows with a missing covariate, or cluster if needed, are NaN.

        Raises
        ------
        DataError
            When a column is missing (the nearest name is given) or cannot be transformed as in the fit.
        UnseenLevelError
            When a categorical column has a level that the fit has not seen.
        ClusterError
            When `within(...)` or `between(...)` finds no cluster column.
        """
        missing = np.zeros(len(table), dtype=bool)
        check_columns(table, self.variables, "covariate")
        for name in self.variables:
            missing |= missing_in(table, name)
        if self.cluster_means is not None:
            missing |= self.cluster_means.missing(table)
        keep = np.flatnonzero(~missing)
        if len(keep) == 0 or len(self.names) == 0:
            return np.full((len(table), len(self.names)), np.nan)
        complete = keep if missing.any() else None
        columns = model_columns(table, self.variables, complete)
        plain = plain_matrix(self.spec, columns, len(keep)) if isinstance(self.spec, PlainSpec) else None
        if plain is not None:
            matrix = plain.X
        else:
            frame = as_frame(columns, len(keep))
            if self.cluster_means is not None:
                frame = frame.assign(**self.cluster_means.columns(table, complete))
            matrix = self._build(frame)
        if complete is None:
            return matrix
        X: Array = np.full((len(table), len(self.names)), np.nan)
        X[keep] = matrix
        return X

    def _build(self, frame: pd.DataFrame) -> Array:
        """The matrix of complete rows, by formulaic."""
        for factor in self.factors:
            _refuse_unseen(factor, frame)
        with _formulaic(self.formula, DataError) as caught:
            built = self.spec.get_model_matrix(frame, context=context())
            matrix: Array = np.ascontiguousarray(built.__wrapped__, dtype=np.float64)
        for warning in caught:
            if warning.category.__name__ == "DataMismatchWarning":
                raise UnseenLevelError(
                    f"a level that the fit has not seen in {', '.join(f.expression for f in self.factors)}: "
                    f"{warning.message}",
                    "the levels of the fitted data",
                    "drop these rows, or fit again with data that have the level",
                )
        return matrix

    @property
    def offset_columns(self) -> list[str]:
        """Columns of the user's table that the offset needs."""
        argument = column_of(self.offset_argument)
        names = [name for term in self.offsets for name in term.variables]
        return list(dict.fromkeys(names if argument is None else [*names, argument]))

    def offset(self, table: nw.DataFrame[Any]) -> Array:
        """Sum of the offsets of new data, shape (rows,); NaN where a column of theirs is missing.

        Raises
        ------
        DataError
            When a column is missing or not numeric, or when the fit took its offset from an array.
        """
        total = formula_offset(self.offsets, table)
        if self.offset_argument == "array":
            raise DataError(
                "new data for a model whose offset= or exposure= was an array",
                "the offset of the new rows",
                "fit with offset= or exposure= the name of a column, or with offset(...) in the formula",
            )
        name = column_of(self.offset_argument)
        if name is not None:
            total += as_offset(numbers(column(table, name, "offset"), name, "offset"), self.offset_argument)
        return total


def make_design(
    parsed: ParsedFormula,
    frame: pd.DataFrame,
    offset_argument: str | None,
    *,
    absorb: bool = False,
    cluster_means: ClusterMeans | None = None,
) -> tuple[Design, Array]:
    """Design and matrix of the fitted data.

    Parameters
    ----------
    parsed : ParsedFormula
    frame : DataFrame
        Complete rows of `parsed.variables`, from `model_frame`, and the columns of `parsed.cluster_terms`.
    offset_argument : str or None
        See `Design`.
    absorb : bool
        The clusters have intercepts of their own: categorical columns are coded as next to an intercept, whatever the
        formula says of one, and the column of ones is left out.
    cluster_means : ClusterMeans, optional
        What new data will need for the terms of clusters.

    Returns
    -------
    design : Design
    X : ndarray, shape (rows, p)
        C order, float64; infinite or NaN where a transform made it so.

    Raises
    ------
    FormulaError
        When formulaic cannot read or evaluate a term.
    DesignError
        When the formula leaves no column, or a term is not numeric.
    """
    listed = spec_of(parsed, absorb=absorb)
    found = None if listed is None else plain_matrix(listed, frame, len(frame))
    if listed is not None and found is not None:
        return listed_design(parsed, listed, offset_argument), found.X
    import formulaic

    if not parsed.variables:
        import pandas as pd

        # formulaic takes the number of rows from the columns it uses: none here
        frame = pd.DataFrame({"rows": np.zeros(len(frame))}, index=frame.index)
    with _formulaic(parsed.right, FormulaError):
        terms = formulaic.Formula(f"{parsed.right} + 1" if absorb else parsed.right)
        _refuse_dates((str(factor.expr) for term in terms for factor in term.factors), frame)
        # full-rank coding; rows are complete, and "ignore" keeps formulaic from dropping any
        _refuse_too_wide(terms, frame)
        plain = matrix_of_terms(terms, frame)
        rows = frame if plain is None else frame.head(2)  # enough to name the columns
        matrix = formulaic.model_matrix(terms, rows, output="numpy", na_action="ignore", context=context())
        spec = matrix.model_spec
        X = np.ascontiguousarray(matrix.__wrapped__) if plain is None else plain.X
    if X.dtype != np.float64:
        X = _as_floats(X, spec)
    if absorb:
        X = np.ascontiguousarray(X[:, 1:])  # formulaic puts the column of ones first
        spec = spec.subset([term for term in spec.terms if term.degree > 0])
    if X.ndim != 2 or (X.shape[1] == 0 and not absorb):
        raise DesignError(f"no coefficient in '{parsed.text}'", "an intercept or a covariate", "drop '- 1' or '0 +'")
    names = _names(spec)
    for term in () if cluster_means is None else cluster_means.terms:
        names = tuple(name.replace(f"`{term.name}`", term.name) for name in names)
    design = Design(
        formula=parsed.right,
        names=names,
        intercept=names.index(INTERCEPT) if INTERCEPT in names else None,
        variables=parsed.variables,
        factors=_factors(spec, parsed.variables),
        offsets=parsed.offsets,
        offset_argument=offset_argument,
        spec=spec,
        cluster_means=cluster_means,
    )
    return design, X


def listed_design(parsed: ParsedFormula, spec: PlainSpec, offset_argument: str | None) -> Design:
    """The design of a formula that lists columns of numbers, as `make_design` would have it."""
    return Design(
        formula=parsed.right,
        names=((INTERCEPT,) if spec.intercept else ()) + spec.columns,
        intercept=0 if spec.intercept else None,
        variables=parsed.variables,
        factors=(),
        offsets=parsed.offsets,
        offset_argument=offset_argument,
        spec=spec,
    )


def spec_of(parsed: ParsedFormula, *, absorb: bool) -> PlainSpec | None:
    """What a formula lists, where it does no more; None otherwise."""
    return None if parsed.cluster_terms else plain_spec(parsed.right, parsed.variables, intercept=not absorb)


def numbers(values: nw.Series[Any], name: str, role: str) -> Array:
    """A numeric column as float64 with NaN for missing values; `DataError` if it is not numeric."""
    found = numeric(values)
    if found is None:
        raise DataError(
            f"the {role} {name!r} of type {values.dtype}", "numbers", "convert the column, or name another one"
        )
    return np.array(found)  # never the user's own memory


def formula_offset(offsets: Sequence[Expression], table: nw.DataFrame[Any]) -> Array:
    """Sum of the `offset(...)` terms over all rows of the table, shape (rows,); NaN where a column is missing."""
    total: Array = np.zeros(len(table))
    for term in offsets:
        columns = {name: numbers(column(table, name, "offset"), name, "offset") for name in term.variables}
        total = total + np.broadcast_to(np.asarray(term.evaluate(columns), dtype=np.float64), total.shape)
    return total


def _refuse_unseen(factor: Factor, frame: pd.DataFrame) -> None:
    if factor.column is None:
        return
    values = frame[factor.column]
    present = values.cat.categories if hasattr(values, "cat") else values.unique()
    seen = set(factor.levels)
    unseen = [repr(level) for level in np.asarray(present).tolist() if level not in seen]
    if unseen:
        known = ", ".join(map(repr, np.asarray(factor.levels, dtype=object)[:20].tolist()))
        more = f" and {len(unseen) - _SHOWN} more" if len(unseen) > _SHOWN else ""
        raise UnseenLevelError(
            f"levels of {factor.column!r} that the fit has not seen: {', '.join(unseen[:_SHOWN])}{more}",
            f"one of the fitted levels {known}",
            "drop these rows, or fit again with data that have the level",
        )


def _factors(spec: Any, variables: Sequence[str]) -> tuple[Factor, ...]:
    found = []
    for expression, (_, state) in spec.encoder_state.items():
        if "categories" not in state:
            continue
        bare = next((v for v in variables if _is_just(expression, v)), None)
        levels = tuple(np.asarray(state["categories"], dtype=object).tolist())
        found.append(Factor(expression, bare, levels))
    return tuple(found)


def _is_just(expression: str, variable: str) -> bool:
    """Whether a categorical expression takes its levels straight from a column."""
    if expression.strip("`") == variable:
        return True
    return re.match(rf"(?:C|factor)\(`?{re.escape(variable)}`?\s*[,)]", expression) is not None


def _names(spec: Any) -> tuple[str, ...]:
    """Names of the columns as R gives them: `trtdrug` for formulaic's `trt[T.drug]`."""
    names: list[str] = []
    for term in spec.structure:
        for name in term.columns:
            if name == "Intercept" and str(term.term) == "1":
                names.append(INTERCEPT)
                continue
            for expression in sorted((str(f.expr) for f in term.term.factors), key=len, reverse=True):
                levels = spec.encoder_state.get(expression, (None, {}))[1].get("categories", ())
                name = _r_name(name, expression, levels)
            names.append(name)
    # two columns may meet in one name, such as level "b1" of `a` and level "1" of `ab`
    return tuple(names) if len(set(names)) == len(names) else tuple(spec.column_names)


def _r_name(name: str, expression: str, levels: Sequence[Any]) -> str:
    for level in levels:
        for prefix in ("T.", "S.", "H.", "D.", ""):
            bracketed = f"{expression}[{prefix}{level}]"
            if bracketed in name:
                label = f"{level:g}" if isinstance(level, float) else str(level)
                return name.replace(bracketed, expression + label, 1)
    return re.sub(rf"({re.escape(expression)})\[(.*?)\]", r"\1\2", name, count=1)


def _refuse_dates(expressions: Iterable[str], frame: pd.DataFrame) -> None:
    for name in (expression.strip("`") for expression in expressions):
        if name in frame and frame[name].dtype.kind in "mM":
            raise DesignError(
                f"the covariate {name!r} holds dates or times",
                "numbers or categories",
                f"a numeric column, such as days since the start; or C({name}) for a level per date",
            )


def _refuse_too_wide(terms: Iterable[Any], frame: pd.DataFrame) -> None:
    """Refuse categories that need more columns than there are rows, before memory is asked for them."""
    levels = {str(name): len(kind.categories) for name, kind in frame.dtypes.items() if hasattr(kind, "categories")}
    for term in terms:
        size, widest = 1, ("", 0)
        for factor in term.factors:
            bare = next((name for name in frame if _is_just(str(factor.expr), str(name))), None)
            if bare is None:
                continue
            if str(factor.expr).startswith(("C(", "factor(")) and bare not in levels:
                levels[str(bare)] = int(frame[bare].nunique())
            size *= levels.get(str(bare), 1)
            widest = max(widest, (str(bare), levels.get(str(bare), 1)), key=lambda pair: pair[1])
        if size > len(frame) + 1:
            raise DesignError(
                f"the term {str(term)!r} with {size} levels for {len(frame)} rows",
                "fewer columns than rows",
                f"drop it, or merge levels of {widest[0]!r} ({widest[1]} of them); cluster= for ids of clusters",
            )


def _as_floats(X: NDArray[Any], spec: Any) -> Array:
    try:
        return np.ascontiguousarray(X, dtype=np.float64)
    except (TypeError, ValueError):
        raise DesignError(
            f"a term that is not numeric, of type {X.dtype}, among {', '.join(map(str, spec.column_names))}",
            "terms that are numeric or categorical",
            "C(column) for categories",
        ) from None


@contextmanager
def _formulaic(text: str, error: type[DataError]) -> Iterator[list[warnings.WarningMessage]]:
    """Formulaic's errors as ours; its warnings recorded, NumPy's silent (the values are checked afterwards)."""
    from formulaic.errors import FormulaicError, FormulaSyntaxError

    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            yield caught
        except FormulaSyntaxError as problem:
            raise FormulaError(
                f"{_first_line(problem)} (in {text!r})", "terms joined by +, -, * or :", "y ~ x1 + x2 + x1:x2"
            ) from problem
        except (FormulaicError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as problem:
            if isinstance(problem, DataError):
                raise
            raise error(
                f"{_first_line(problem)} (in {text!r})",
                "terms that can be computed from the columns",
                "check the arguments of the function, or compute the term as a column of the data first",
            ) from problem


def _first_line(problem: Exception) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(problem)).strip()
    return plain.splitlines()[0] if plain else type(problem).__name__
