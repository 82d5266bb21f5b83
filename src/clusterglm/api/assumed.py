"""A model with assumed values: from a formula, planned data and numbers by name to what responses are drawn from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import ArrayLike

from clusterglm.api.values import numbers_by_name, read_covariance, read_own
from clusterglm.data.offsets import one_offset
from clusterglm.data.ordered import read_levels
from clusterglm.data.planned import StudyDesign, is_planned
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.recession import without_column
from clusterglm.data.request import Request
from clusterglm.data.tables.table import read_table
from clusterglm.errors import ClusterError, DataError, FormulaError, OptionError, ResponseError, nearest
from clusterglm.inference.simulation import Truth
from clusterglm.model.arguments import number, shown, whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.distribution import Distribution
from clusterglm.model.distribution import distribution as read_distribution
from clusterglm.model.family import continuous as family_continuous
from clusterglm.model.family import response as read_response
from clusterglm.model.family import with_own as family_with_own
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters

_NAME = r"(?:`[^`]+`|[^\W\d][\w.]*)"
_ONE = re.compile(rf"\s*({_NAME})\s*")
_TWO = re.compile(rf"\s*cbind\(\s*({_NAME})\s*,\s*({_NAME})\s*\)\s*")
_STAND_INS = ((0, 1), (1, 2))  # responses that are there while the design is made; not all families know 0
_LARGEST_SIGMA = 1e6


@dataclass(frozen=True)
class AssumedModel:
    """A formula and what it takes to draw responses from it.

    Parameters
    ----------
    formula : str
    request : Request
    own : OwnParameters or None
        The response where it has parameters of its own.
    columns : tuple of str
        The response's column, or those of successes and failures.
    trials : int, str or None
        Of binomial responses with two columns.
    truth : Truth
    names : tuple of str
        The coefficients.
    options : mapping
        Arguments of the verb that fits the model.
    """

    formula: str
    request: Request
    own: OwnParameters | None
    columns: tuple[str, ...]
    trials: Any
    truth: Truth
    names: tuple[str, ...]
    options: Mapping[str, Any]

    def rows(self, design: Any, rng: np.random.Generator) -> tuple[nw.DataFrame[Any], ModelData]:
        """The table of a design, and its rows as a model has them."""
        return _rows_of(self, design, rng)

    def frame(self, table: nw.DataFrame[Any], rows: ModelData, y: Array) -> nw.DataFrame[Any]:
        """The table with responses, which are in the order of the model's rows."""
        whole = np.full(len(table), np.nan)
        whole[rows.row_index] = y
        values: list[ArrayLike]
        if len(self.columns) == 2:
            trials = np.full(len(table), np.nan)
            trials[rows.row_index] = rows.trials
            values = [whole, trials - whole]
        else:
            values = [whole]
        return _with_columns(table, self.columns, values, self._levels)

    @property
    def _levels(self) -> tuple[str, ...] | None:
        return None if self.own is None or not self.own.ordered else self.request.levels


def assumed(
    formula: str,
    design: Any,
    params: Any,
    *,
    sigma: Any = None,
    correlation: Any = None,
    covariance: Any = None,
    cluster: Any = None,
    family: str = "binomial",
    link: str | None = None,
    distribution: str | Distribution = "gaussian",
    family_parameters: Any = None,
    levels: Any = None,
    trials: Any = None,
    offset: Any = None,
    exposure: Any = None,
    functions: Any = None,
    rng: np.random.Generator,
) -> tuple[AssumedModel, nw.DataFrame[Any], ModelData]:
    """Read all arguments; see `cg.simulate`.

    Returns
    -------
    AssumedModel
    table : narwhals DataFrame
        Of the design.
    rows : ModelData
        With responses that only stand in.
    """
    own, measured = family_with_own(family, link), family_continuous(family, link)
    response = measured or (read_response(family, link) if own is None else own.reads)
    if response.ordered and levels is None:
        levels = _usual_levels(family_parameters)
    request = Request(
        response,
        cluster=cluster,
        offset=one_offset(offset, exposure),
        levels=read_levels(levels, response.ordered, family),
        functions=functions,
        need_cluster=False,
        sigma_known=True,
        penalized=True,
        effects=True,
        groupings=measured is not None,
    )
    columns = _response_columns(formula, response, trials)
    options = {
        "family": family, "link": link, "cluster": cluster, "offset": offset, "exposure": exposure,
        "functions": functions, "levels": levels,
    }  # fmt: skip
    model = AssumedModel(formula, request, own, columns, trials, Truth(response, np.zeros(0)), (), options)
    table, rows = model.rows(design, rng)
    if own is not None:
        own = own.of_levels(rows.levels)
    response = read_own(own or response, family, family_parameters)
    beta = numbers_by_name("params", params, _spellings(rows))
    truth = Truth(response, beta, **_random_part(rows, distribution, sigma, correlation, covariance))
    chosen = {} if truth.distribution is None else {"distribution": truth.distribution}
    return replace(model, own=own, truth=truth, names=rows.names, options=options | chosen), table, rows


def _random_part(
    rows: ModelData, distribution: str | Distribution, sigma: Any, correlation: Any, covariance: Any
) -> dict[str, Any]:
    law, effects = read_distribution(distribution), rows.effects
    if effects is not None:
        if not law.normal:
            raise OptionError(
                f"distribution={law.name!r} of several random effects", "distribution='gaussian'", "(1 | id) alone"
            )
        return {"factor": read_covariance(effects.covariance, sigma, correlation, covariance)}
    for name, given in (("correlation", correlation), ("covariance", covariance)):
        if given is not None:
            raise OptionError(
                f"{name}= of a model with {'one random intercept' if rows.cluster_name else 'no random effects'}",
                "sigma=, its standard deviation" if rows.cluster_name else "random effects in the formula",
                "sigma=1.0" if rows.cluster_name else "(1 | id)",
            )
    if rows.cluster_name is None:
        if sigma is not None:
            raise ClusterError(
                f"sigma={shown(sigma)} of a model without clusters", "random effects", "(1 | id) in the formula"
            )
        return {}
    if law.free:
        raise OptionError(
            f"distribution={law.name!r}, whose shape is not given", "a distribution of given shape", "'student_t(4)'"
        )
    if isinstance(sigma, Mapping) and set(sigma) == {rows.cluster_name}:
        sigma = sigma[rows.cluster_name]
    if sigma is None:
        raise OptionError(
            f"no sigma= for the random intercept of {rows.cluster_name!r}",
            "its standard deviation, on the scale of the linear predictor",
            "sigma=1.0",
        )
    needed = "a standard deviation: a number, not negative"
    return {"distribution": law, "sigma": number("sigma", sigma, 0.0, _LARGEST_SIGMA, needed=needed)}


def _spellings(rows: ModelData) -> dict[str, tuple[str, ...]]:
    """Coefficients, each with other names of it: `trtdrug` is `trt[T.drug]` and `trt[drug]`, too."""
    longer = rows.design.aliases if len(rows.design.aliases) == len(rows.names) else rows.names
    found = {}
    for j, (name, other) in enumerate(zip(rows.names, longer, strict=True)):
        others = [other, other.replace("[T.", "[")]
        found[name] = (*others, "Intercept") if j == rows.intercept else tuple(others)
    return found


def spelled(rows: ModelData, name: str) -> str | None:
    """A coefficient by any of its names; None where it is none."""
    known = _spellings(rows)
    return name if name in known else next((each for each, others in known.items() if name in others), None)


def unknown_coefficient(rows: ModelData, name: Any, what: str) -> OptionError:
    """The error for a name that is no coefficient."""
    return OptionError(
        f"{what} of {name!r}, which is no coefficient",
        f"one of {', '.join(rows.names)}",
        f"{nearest(str(name), rows.names)}a name as summaries print it",
    )


def _usual_levels(family_parameters: Any) -> list[int]:
    """Categories 1, 2, ... as many as thresholds ask for."""
    known = isinstance(family_parameters, Mapping | Sequence | np.ndarray) and not isinstance(family_parameters, str)
    if not known and not np.isscalar(family_parameters):
        raise OptionError(
            f"family_parameters={shown(family_parameters)} of ordered categories",
            "the thresholds, in ascending order",
            "family_parameters=[-1.0, 0.5, 2.0], of four categories",
        )
    count = len(family_parameters) if known else 1
    return list(range(1, count + 2))


def _response_columns(formula: Any, response: Response, trials: Any) -> tuple[str, ...]:
    """Names on the left-hand side."""
    left, _, _ = formula.partition("~") if isinstance(formula, str) else ("y", "", "")
    one, two = _ONE.fullmatch(left), _TWO.fullmatch(left)
    if (two is None) != (trials is None) or (two is not None and not response.bounded):
        raise OptionError(
            f"trials={shown(trials)} with the response {left.strip()!r}",
            "cbind(successes, failures) on the left of '~' where there are several trials, and trials=",
            "'cbind(yes, no) ~ x' with trials=10; or 'y ~ x' without trials=",
        )
    found = two or one
    if found is None:
        raise FormulaError(
            f"the response {left.strip()!r} of data that are to be drawn",
            "the name of its column, or cbind(successes, failures)",
            "'y ~ x'",
        )
    return tuple(name.strip("`") for name in found.groups())


def _rows_of(model: AssumedModel, design: Any, rng: np.random.Generator) -> tuple[nw.DataFrame[Any], ModelData]:
    table = read_table(_frame_of(design, rng))
    for k, pair in enumerate(_STAND_INS):
        try:
            rows = prepare(model.formula, _with_stand_in(model, table, pair), model.request)
            break
        except ResponseError:
            if k == len(_STAND_INS) - 1:
                raise
    if rows.dropped:
        reasons = "; ".join(f"{each.count}: {each.reason}" for each in rows.dropped)
        raise DataError(f"a design with rows that cannot be used ({reasons})", "complete rows", "drop them before")
    own = model.own
    if own is not None and own.location:
        if rows.intercept is None:
            raise FormulaError(
                f"{model.formula!r} without an intercept, whose place the thresholds take",
                "a formula with its intercept",
                "leave 0 + or - 1 out of the formula",
            )
        rows = without_column(rows, rows.intercept)
    return table, rows


def _frame_of(design: Any, rng: np.random.Generator) -> Any:
    if is_planned(design):
        planned: StudyDesign = design
        return planned.frame(rng)
    return design


def _with_stand_in(model: AssumedModel, table: nw.DataFrame[Any], pair: tuple[int, int]) -> nw.DataFrame[Any]:
    """The table with responses of every kind that there are."""
    n, levels = len(table), model.request.levels
    if levels is not None:
        codes = np.resize(np.arange(len(levels), dtype=np.float64), n)
        return _with_columns(table, model.columns, [codes], levels)
    if len(model.columns) == 1:
        return _with_columns(table, model.columns, [np.resize(np.array(pair, dtype=np.float64), n)], None)
    trials = _trials(table, model.trials)
    first = np.where(np.arange(n) % 2 == 0, 0.0, trials)
    return _with_columns(table, model.columns, [first, trials - first], None)


def _trials(table: nw.DataFrame[Any], given: Any) -> Array:
    if isinstance(given, str):
        if given not in table.columns:
            raise OptionError(
                f"trials={given!r}",
                "a whole number, or a column of the design",
                nearest(given, table.columns) + "trials=10",
            )
        found = np.asarray(table.get_column(given).to_numpy(), dtype=np.float64)
    else:
        found = np.full(len(table), float(whole_number("trials", given, 1)))
    if not (np.isfinite(found).all() and (found >= 1.0).all() and (found == np.rint(found)).all()):
        raise OptionError(f"trials={given!r}", "whole numbers, 1 or more", "trials=10")
    return found


def _with_columns(
    table: nw.DataFrame[Any], names: Sequence[str], values: Sequence[Any], levels: tuple[str, ...] | None
) -> nw.DataFrame[Any]:
    """The table with further columns: whole numbers as such, and categories where there are levels."""
    made, how = [], table.implementation
    for name, numbers in zip(names, values, strict=True):
        array = np.asarray(numbers)
        if levels is not None:
            words = [levels[int(code)] for code in array]
            made.append(nw.new_series(name, words, nw.Enum(list(levels)), backend=how))
        elif np.isfinite(array).all() and (array == np.rint(array)).all() and np.abs(array).max(initial=0.0) < 2**53:
            made.append(nw.new_series(name, array.astype(np.int64), backend=how))
        else:
            made.append(nw.new_series(name, array, backend=how))
    native = table.to_native()
    index = getattr(native, "index", None)
    if index is not None:  # rows of pandas go by their labels
        made = [nw.maybe_set_index(each, index=index) for each in made]
    return table.with_columns(*made)
