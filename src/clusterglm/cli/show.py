"""`clusterglm show`, `check`, `report`, `ratios` and `effects`: what a saved fit says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import NOT_CONVERGED, app, example, heard_warnings, readable_errors
from clusterglm.cli.fit import given, interval_options, load_table, print_intervals, print_summary
from clusterglm.cli.output import check_files, check_table, printed, write_json, write_table
from clusterglm.cli.saved import open_fit

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.results.models.base import Result


@app.command(epilog=example("clusterglm show fit.json --robust"))
def show(
    fit: opt.Fit,
    robust: opt.Robust = False,
    cov: opt.Cov = "observed",
    df: opt.Degrees = None,
    level: opt.Coverage = None,
    json: opt.Json = None,
) -> None:
    """Print the summary of a saved fit."""
    with readable_errors():
        check_files(json)
        intervals = interval_options(robust, level, cov, df)
        result = open_fit(fit)
        if not printed(json):
            print_summary(result, robust, cov, df)
            print_intervals(result, intervals)
        if json is not None:
            from clusterglm.results.tables.export import as_dict

            write_json(as_dict(result), json)
    if not result.converged:
        raise typer.Exit(NOT_CONVERGED)


@app.command(epilog=example("clusterglm check fit.json --seed 1"))
def check(
    fit: opt.Fit,
    seed: opt.Seed = None,
    n_sim: Annotated[int, typer.Option(help="Simulations of each test.")] = 250,
    json: opt.Json = None,
) -> None:
    """Look at a saved fit from several sides: integrals, dispersion, influence, residuals."""
    with readable_errors():
        check_files(json)
        result = open_fit(fit)
        _refuse_unknown(result, "check")
        with heard_warnings():
            found = result.check(seed, n_sim)  # type: ignore[attr-defined]  # looked at above
        if not printed(json):
            print(found)
        rows = [{"name": each.name, "fine": each.fine, "words": each.words, "advice": each.advice}
                for each in found.findings]  # fmt: skip
        write_json({"seed": found.seed, "findings": rows}, json)


@app.command(epilog=example("clusterglm report fit.json --out fit.html --data bacteria"))
def report(
    fit: opt.Fit,
    out: Annotated[Path, typer.Option(help="The page to write, as .html.")],
    data: Annotated[
        str | None,
        typer.Option(help="The table that was fitted, for what the fit does not keep.", autocompletion=opt.data_sets),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.", show_default="the model")] = None,
    n_boot: Annotated[
        int | None,
        typer.Option(help="Replicates of the test of no clustering; 0 for none.", show_default="by the rows"),
    ] = None,
    n_sim: Annotated[
        int | None, typer.Option(help="Simulations of the diagnostics; 0 for none.", show_default="by the rows")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is simulated.")] = 1,
    cov: opt.Cov = "observed",
    df: opt.Degrees = None,
    jobs: opt.Jobs = 1,
    json: opt.Json = None,
) -> None:
    """Write a page with tables, tests, diagnostics and plots of a saved fit; as JSON, its caveats and numbers."""
    with readable_errors():
        check_files(out, json)
        result = open_fit(fit)
        table = None if data is None else load_table(data)
        with heard_warnings():
            result.report(
                out, data=table, title=title, n_boot=n_boot, n_sim=n_sim, seed=seed, n_jobs=jobs, cov=cov, df=df
            )
        print(f"{out} written", file=sys.stderr)
        if json is not None:
            from dataclasses import asdict

            from clusterglm.results.tables.export import as_dict
            from clusterglm.results.topics.caveats import caveats

            known = [asdict(each) for each in caveats(result)]
            write_json({"page": str(out), "seed": seed, "caveats": known, **as_dict(result)}, json)


@app.command(epilog=example("clusterglm ratios fit.json --cov robust"))
def ratios(
    fit: opt.Fit, level: opt.Coverage = None, cov: opt.Cov = "observed", out: opt.Answer = None, json: opt.Json = None
) -> None:
    """Odds, rate or hazard ratios of a saved fit, with intervals."""
    with readable_errors():
        check_table(out)
        check_files(json)
        result = open_fit(fit)
        with heard_warnings():
            found = result.ratios(cov=cov, **given({"level": level}))
        _answer(found, out, json)


@app.command(epilog=example("clusterglm effects fit.json --variable trt"))
def effects(
    fit: opt.Fit,
    variable: Annotated[
        list[str] | None, typer.Option(help="Column that changes; may be repeated.", show_default="every one")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Which intercept: marginal (averaged over all), typical or conditional.",
            show_default="the first that the model has",
            autocompletion=opt.one_of(("marginal", "typical", "conditional")),
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The table that was fitted, where a covariate cannot be read off the fit.",
            autocompletion=opt.data_sets,
        ),
    ] = None,
    level: opt.Coverage = None,
    cov: opt.Cov = "observed",
    out: opt.Answer = None,
    json: opt.Json = None,
) -> None:
    """Average effects of a saved fit: changes of the probability, or of the mean count, over its rows."""
    with readable_errors():
        check_table(out)
        check_files(json)
        result = open_fit(fit)
        _refuse_unknown(result, "average_effects")
        options = given({"variables": variable, "kind": kind, "level": level})
        options |= {} if data is None else {"data": load_table(data)}
        with heard_warnings():
            found = result.average_effects(cov=cov, **options)  # type: ignore[attr-defined]  # looked at above
        _answer(found, out, json)


def _refuse_unknown(result: Result, name: str) -> None:
    """Refuse what this kind of fit does not have."""
    from clusterglm.errors import OptionError

    if not hasattr(type(result), name):
        what = {"check": "a check", "average_effects": "average effects"}[name]
        raise OptionError(
            f"{what} of a {result.kind} fit",
            "a model with a mean for each row",
            "--model fixed_effects or --model random_effects in `clusterglm fit`",
        )


def _answer(found: pd.DataFrame, out: Path | None, json: Path | None) -> None:
    """A table of estimates: printed as people read it, written as programs do."""
    if out is not None:
        write_table(found, out)
    elif not printed(json):
        print(found)
    rows: list[dict[str, Any]] = found.to_dict(orient="records")  # type: ignore[assignment]  # names are text
    write_json(rows, json)
