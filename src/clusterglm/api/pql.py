"""`random_effects` by penalised quasi-likelihood."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clusterglm.api.arguments import read_start, warn_unless_converged
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.errors import OptionError
from clusterglm.fit.pql import fit_pql
from clusterglm.model.control import Control
from clusterglm.model.quasi import QuasiLikelihood
from clusterglm.results.models.pql import QuasiResult


def quasi_random_effects(
    formula: str,
    data: Any,
    request: Request,
    form: QuasiLikelihood,
    start: Any,
    control: Control,
    refused: list[tuple[bool, str, str]],
) -> QuasiResult:
    """Fit by penalised quasi-likelihood; see `cg.random_effects`.

    Parameters
    ----------
    refused : list of (bool, str, str)
        Whether an argument was given that says nothing here, which, and what is needed in its place.

    Raises
    ------
    OptionError
    """
    for given, what, needed in refused:
        if given:
            raise OptionError(f"{what} with quadrature={form.name!r}", needed, 'leave it out; or quadrature="auto"')
    rows = prepare(formula, data, replace(request, effects=True, groupings=True))
    result = QuasiResult(fit_pql(rows, request.response, form, control, read_start(start, rows)), rows)
    warn_unless_converged(result.optimization)
    return result
