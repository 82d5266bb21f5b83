"""`clusterglm power`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import STOPPED, app, example, heard_warnings, readable_errors, resume_collections
from clusterglm.cli.fit import given, load_table
from clusterglm.cli.output import check_files, check_table, printed, write_json, write_table
from clusterglm.cli.progress import bar
from clusterglm.cli.saved import open_fit
from clusterglm.cli.study import dask_or_none

_METHODS = ("wald", "t", "lr")


@app.command(epilog=example("clusterglm power fit.json --test week --clusters 50,100,200 --plot power.png"))
def power(
    model: Annotated[
        str, typer.Argument(help="A file that `clusterglm fit ... --save FILE` wrote; or a formula, with values.")
    ],
    test: Annotated[
        list[str], typer.Option(help="A coefficient, a term, or equations such as 'x1 = x2'; may be repeated.")
    ],
    clusters: Annotated[str | None, typer.Option(help="Numbers of clusters, as 20,40,80.")] = None,
    size: Annotated[str | None, typer.Option(help="Numbers of rows in each, as 5,10.")] = None,
    effect: Annotated[
        str | None, typer.Option(help="Values of the tested coefficient, as 0,0.5; or of another, as week=0,0.5.")
    ] = None,
    multiple: Annotated[str | None, typer.Option(help="Factors of the tested coefficients, as 0.5,1.")] = None,
    replicates: Annotated[int, typer.Option(help="Data sets for each combination.")] = 1000,
    alpha: Annotated[float, typer.Option(help="Significance level.")] = 0.05,
    method: Annotated[str, typer.Option(help="wald, t or lr.", autocompletion=opt.one_of(_METHODS))] = "wald",
    cov: opt.Cov = "observed",
    wanted: Annotated[float, typer.Option(help="The power for which it is said how many are needed.")] = 0.8,
    design: Annotated[
        str | None, typer.Option(help="A table of covariates and clusters, in place of a plan by the options below.")
    ] = None,
    cluster: Annotated[str, typer.Option(help="Column of cluster labels of a plan.")] = "id",
    between: Annotated[
        list[str] | None,
        typer.Option(
            help="A covariate that is constant in clusters: trt=placebo,drug, trt=placebo:2,drug:1, or "
            '"age=normal(50,10)"; may be repeated.'
        ),
    ] = None,
    within: Annotated[
        list[str] | None, typer.Option(help="One that varies in clusters, as week=0,2,4; may be repeated.")
    ] = None,
    nested: Annotated[
        list[str] | None, typer.Option(help="A factor nested in the clusters, as class=4 in each; may be repeated.")
    ] = None,
    crossed: Annotated[
        list[str] | None, typer.Option(help="A factor that crosses them, as item=10; may be repeated.")
    ] = None,
    level: Annotated[
        list[str] | None, typer.Option(help="The factor in which a covariate is constant, as trt=class.")
    ] = None,
    randomise: Annotated[bool, typer.Option("--randomise", help="Deal values out at random.")] = False,
    param: Annotated[list[str] | None, typer.Option(help="A coefficient, as trtdrug=0.5; may be repeated.")] = None,
    sigma: Annotated[
        str | None,
        typer.Option(help="Standard deviations of random effects: 1, 1,0.5 in order, or person=1,item=0.5."),
    ] = None,
    correlation: Annotated[float | None, typer.Option(help="Of the effects of a grouping factor.")] = None,
    family: opt.Family = opt.FAMILY,
    link: opt.Link = None,
    distribution: opt.Distribution = None,
    family_parameters: Annotated[
        str | None, typer.Option(help="The family's own parameters: alpha=0.5, residual_sd=2, or thresholds as -1,0,1.")
    ] = None,
    levels: opt.Levels = None,
    trials: Annotated[str | None, typer.Option(help="Trials of rows, with cbind(yes, no).")] = None,
    quadrature: opt.Quadrature = None,
    reml: Annotated[
        bool, typer.Option("--reml", help="Restricted maximum likelihood, with --family gaussian.")
    ] = False,
    seed: opt.Seed = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    scheduler: Annotated[
        str, typer.Option(help="processes, dask (a cluster on this machine), or the address of a Dask scheduler.")
    ] = "processes",
    store: Annotated[
        Path | None, typer.Option(help="Keep p-values in this .parquet file, from which an interrupted call goes on.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curve to this file, as .png, .pdf or .svg.", show_default="no picture")
    ] = None,
    out: opt.Answer = None,
    json: opt.Json = None,
) -> None:
    """Power and sample size by simulation, from a saved fit or from assumed values."""
    with readable_errors():
        check_table(out)
        check_files(plot, json)
        asked: dict[str, Any] = {
            "clusters": _numbers("--clusters", clusters), "size": _numbers("--size", size),
            "multiple": _numbers("--multiple", multiple), "effect": _effect(effect), "replicates": replicates,
            "alpha": alpha, "method": method, "cov": cov, "seed": seed, "workers": workers, "store": store,
        }  # fmt: skip
        plan = {
            "cluster": cluster, "between": _values("--between", between), "within": _values("--within", within),
            "nested": _pairs("--nested", nested, int), "crossed": _pairs("--crossed", crossed, int),
            "level": _pairs("--level", level, str), "randomise": randomise,
        }  # fmt: skip
        values = {
            "params": _pairs("--param", param, float) or None, "sigma": _number_or_named("--sigma", sigma),
            "correlation": correlation, "link": link, "distribution": distribution,
            "family_parameters": _number_or_named("--family-parameters", family_parameters),
            "levels": opt.listed(levels),
            "trials": None if trials is None else _one(trials), "quadrature": _rule(quadrature), "reml": reml or None,
        }  # fmt: skip
        import clusterglm as cg

        if "~" in model:
            asked |= given({**values, "family": family})
            asked["design"] = load_table(design) if design is not None else _plan(plan, asked)
        else:
            _refuse_values(given(values))
            model_or_fit: Any = open_fit(Path(model))
        resume_collections()
        with dask_or_none(scheduler, workers) as client, bar("data sets") as show, heard_warnings():
            found = cg.power(model if "~" in model else model_or_fit, test, **asked, client=client, progress=show)
        if plot is not None:
            _draw(found, plot)
        if out is not None:
            write_table(found.to_frame(), out)
        elif not printed(json):
            print(found)
            if any(found.replicates[name].nunique() > 1 for name in found.factors):
                print(f"\n{found.needed(wanted)}")
        write_json(found.to_dict(), json)
        if found.interrupted:
            raise typer.Exit(STOPPED)


def _plan(plan: dict[str, Any], asked: dict[str, Any]) -> Any:
    """The design of the options; rows of each cluster that are given alone are its own."""
    from clusterglm import design
    from clusterglm.errors import OptionError

    if asked["clusters"] is None:
        raise OptionError("a plan without --clusters", "how many there are", "--clusters 20,40,80")
    sizes = asked["size"]
    return design(max(asked["clusters"]), None if sizes is None else max(sizes), **plan)


def _draw(found: Any, file: Path) -> None:
    from clusterglm.plot import power as of_power
    from clusterglm.plot.base import off_screen

    with off_screen(7.0):
        of_power(found).save(file)
    print(f"{file} written", file=sys.stderr)


def _refuse_values(values: dict[str, Any]) -> None:
    from clusterglm.errors import OptionError

    if values:
        name = next(iter(values)).replace("params", "param").replace("_", "-")
        raise OptionError(
            f"--{name} beside a saved fit, which has its own", "a formula with values", "'y ~ x + (1 | id)'"
        )


def _one(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text.strip()


def _numbers(option: str, text: str | None) -> list[Any] | None:
    """`20,40` as numbers."""
    from clusterglm.errors import OptionError

    if text is None:
        return None
    found = [_one(part) for part in text.split(",")]
    bad = [each for each in found if isinstance(each, str)]
    if bad:
        raise OptionError(f"{option} {text}", "numbers with commas between them", f"{option} 20,40")
    return found


def _effect(text: str | None) -> Any:
    if text is None:
        return None
    name, equals, values = text.rpartition("=")
    return {name: _numbers("--effect", values)} if equals else _numbers("--effect", text)


def _number_or_named(option: str, text: str | None) -> Any:
    """`1`, `1,0.5` or `person=1,item=0.5`."""
    if text is None:
        return None
    if "=" in text:
        return _pairs(option, text.split(","), float)
    found = _numbers(option, text) or []
    return found[0] if len(found) == 1 else found


def _rule(text: str | None) -> Any:
    return None if text is None else _one(text)


def _pairs(option: str, texts: list[str] | None, kind: type) -> dict[str, Any]:
    """`name=value` each, the last = counting."""
    from clusterglm.errors import OptionError

    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.rpartition("=")
        try:
            found[name.strip()] = kind(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise OptionError(f"{option} {text}", "a name, =, and its value", f"{option} name=1")
    return found


def _values(option: str, texts: list[str] | None) -> dict[str, Any]:
    """`trt=a,b`, `trt=a:2,b:1` or `age=normal(50,10)`."""
    from clusterglm.errors import OptionError

    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, values = text.partition("=")
        if not equals or not name or not values:
            raise OptionError(f"{option} {text}", "a covariate and its values", f"{option} trt=placebo,drug")
        parts = values.split(",")
        if "(" in values or values in ("normal", "uniform", "bernoulli"):
            found[name] = values
        elif all(":" in part for part in parts):
            pairs = [part.rpartition(":") for part in parts]
            found[name] = {_one(value): _one(share) for value, _, share in pairs}
        else:
            found[name] = [_one(part) for part in parts]
    return found
