"""The report of a fit: one page that explains itself."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from clusterglm.data.files import check_writable, write_text
from clusterglm.errors import OptionError
from clusterglm.inference.diagnostics.design_changes import check_variables
from clusterglm.model.arguments import seed_sequence, several, shown, whole_number
from clusterglm.model.distribution import Distribution
from clusterglm.model.large_data import MOST_ROWS_FOR_CHOICE, REPORTED_IN_FULL
from clusterglm.report.page import Section, Table, jinja, render, section
from clusterglm.report.sections import Options, plan
from clusterglm.results.models.base import Result
from clusterglm.results.tables.comparison import model_words
from clusterglm.results.topics.caveats import Caveat, caveats

DISTRIBUTIONS = ("gaussian", "logistic", "cauchy")
_BOOT, _SIM, _VARIABLES = 499, 250, 3


def report(
    fit: Result,
    path: str | Path,
    *,
    data: Any = None,
    title: str | None = None,
    n_boot: int | None = None,
    n_sim: int | None = None,
    distributions: Sequence[str | Distribution] | None = None,
    variables: Sequence[str] | None = None,
    seed: int = 1,
    n_jobs: int = 1,
    cov: str = "observed",
    df: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """The page that `Result.report` writes; it says what the arguments are."""
    file = check_writable(path)
    if progress is not None and not callable(progress):
        raise OptionError(f"progress={shown(progress)}", "a function of two numbers, or None", "progress=print")
    if title is not None and not isinstance(title, str):
        raise OptionError(f"title={shown(title)}", "text, or None", "title='Bacteria'")
    if distributions is not None:
        distributions = several("distributions", distributions, "a list of distributions", "distributions=['cauchy']")
    if variables is not None:
        variables = several("variables", variables, "a list of variables", "variables=[]")
    seed_sequence(seed)
    summary = fit.summary(cov=cov, df=df)  # refuses what there is not
    jinja()  # rather now than after the work
    of = fit._finite  # tests and pictures are of what is finite
    options = Options(
        data,
        _replicates("n_boot", n_boot, _BOOT, 99, (of or fit)._rows_of_usual_cost),
        _replicates("n_sim", n_sim, _SIM, 200, fit.n_obs),
        tuple((DISTRIBUTIONS if fit.n_obs <= MOST_ROWS_FOR_CHOICE else ()) if distributions is None else distributions),
        tuple(_variables(of or fit, variables)),
        seed,
        n_jobs,
        cov,
        df,
    )
    sections = [] if of is None else plan(of, options)
    total, done = sum(len(parts) for _, _, parts in sections), [0]

    def advance() -> None:
        done[0] += 1
        if progress is not None:
            progress(done[0], total)

    made = [section(key, heading, parts, advance) for key, heading, parts in sections]
    known = [*_failures(made), *caveats(fit), *_findings(made)]
    said = {f"{each.title}: {each.words}" for each in known}
    page = render(
        "fit.html",
        made,
        title=title or f"{fit.data.response_name}: {model_words(fit)}",
        summary=summary,
        notes=[note for note in summary.last_notes if note not in said],
        caveats=known,
        facts=_facts(fit, options, made),
    )
    write_text(file, page)
    return file


def _replicates(name: str, given: int | None, usual: int, least: int, rows: int) -> int:
    if given is None:
        affordable = min(usual, usual * REPORTED_IN_FULL // max(rows, 1))
        return affordable if affordable >= least else 0
    return whole_number(name, given, 0, advice=f"{name}={usual}, or 0 to leave them out")


def _variables(fit: Result, given: Sequence[str] | None) -> list[str]:
    if given is None:
        return list(fit._fixed_design.variables)[:_VARIABLES]
    return check_variables(fit._fixed_design, given) if len(given) > 0 else []


def _failures(sections: Sequence[Section]) -> list[Caveat]:
    lost = [name for each in sections for name in each.failed]
    if not lost:
        return []
    return [
        Caveat("Parts are missing", f"Could not be made: {', '.join(lost)}. The reasons stand in their places.", True)
    ]


def _findings(sections: Sequence[Section]) -> list[Caveat]:
    """What the quick checks ask to be looked at."""
    tables = [block for each in sections for block in each.blocks if isinstance(block, Table)]
    rows = [row for table in tables if table.caption == "Quick checks" for row in table.rows]
    return [
        Caveat(f"Check of {name.lower()}", words)
        for name, mark, words in rows
        if mark == "look" and name != "Integration"
    ]


def _facts(fit: Result, options: Options, sections: Sequence[Section]) -> list[tuple[str, str]]:
    """How the page came about."""
    times = ", ".join(f"{each.title.lower()} {each.seconds:.1f} s" for each in sections)
    return [
        ("Written", datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")),
        ("Software", f"clusterglm {version('clusterglm')}, NumPy {np.__version__}, Python {platform.python_version()}"),
        ("Computed", f"n_boot={options.n_boot}, n_sim={options.n_sim}, seed={options.seed}"),
        ("Optimisation", f"{fit.optimization.message}, {fit.optimization.iterations} iterations"),
        ("Time", times),
    ]
