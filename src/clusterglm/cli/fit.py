"""`clusterglm fit`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import NOT_CONVERGED, app, example, heard_warnings, readable_errors, resume_collections
from clusterglm.cli.output import check_files, printed, write_json, write_table

if TYPE_CHECKING:
    from clusterglm.results.models.base import Result

_WITHOUT_POINTS = ("random_effects", "fixed_effects", "conditional", "pooled")


@app.command(epilog=example('clusterglm fit bacteria "y ~ trt + I(week > 2)" --cluster ID --save fit.json'))
def fit(
    data: opt.Data,
    formula: opt.Formula,
    cluster: opt.Cluster = None,
    model: Annotated[
        str,
        typer.Option(
            help="random_effects, nonparametric, fixed_effects, conditional or pooled.",
            autocompletion=opt.one_of(opt.MODELS),
        ),
    ] = "random_effects",
    family: opt.Family = opt.FAMILY,
    link: opt.Link = None,
    distribution: opt.Distribution = None,
    quadrature: opt.Quadrature = None,
    inside: Annotated[
        str | None,
        typer.Option(
            help="Of grouping factors that cross, the one integrated out exactly.", show_default="the largest"
        ),
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="Of integration, not of predictions: normal or density.", show_default="normal")
    ] = None,
    bias_correction: Annotated[
        str | None, typer.Option(help="Of fixed effects: analytical or jackknife.", show_default="none")
    ] = None,
    penalty: Annotated[
        str | None,
        typer.Option(
            help="For finite estimates where responses are separated: soft of random effects, firth of pooled, "
            "fixed_effects and conditional models.",
            show_default="none",
            autocompletion=opt.one_of(opt.PENALTIES),
        ),
    ] = None,
    separation: Annotated[
        str | None,
        typer.Option(
            help="Where responses are separated: error, or limit for the limit of the fit, in which some coefficients "
            "are infinite.",
            show_default="error",
            autocompletion=opt.one_of(opt.SEPARATIONS),
        ),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(help="Mass points of the nonparametric model.", show_default="as many as it takes"),
    ] = None,
    weights: opt.Weights = None,
    cluster_weights: opt.ClusterWeights = None,
    offset: opt.Offset = None,
    exposure: opt.Exposure = None,
    success: opt.Success = None,
    levels: opt.Levels = None,
    nonparallel: Annotated[
        str | None,
        typer.Option(
            help='Terms of an ordinal model with coefficients for each threshold, such as "x + z".', show_default="none"
        ),
    ] = None,
    zero_inflation: Annotated[
        str | None,
        typer.Option(help='Of counts: formula of P(a zero for certain), such as "~ 1" or "~ x".', show_default="none"),
    ] = None,
    hurdle: Annotated[
        str | None,
        typer.Option(help="Of counts: the formula of P(y = 0); others are then truncated.", show_default="none"),
    ] = None,
    subset: opt.Subset = None,
    sigma: Annotated[float | None, typer.Option(help="Starting value of sigma; its value with --fix-sigma.")] = None,
    fix_sigma: Annotated[bool, typer.Option("--fix-sigma", help="Hold sigma at the value of --sigma.")] = False,
    reml: Annotated[
        bool, typer.Option("--reml", help="Restricted maximum likelihood, with --family gaussian.")
    ] = False,
    threads: opt.Threads = 1,
    tol: Annotated[float, typer.Option(help="Gradient at which to stop, in standard errors.")] = 1e-6,
    max_iter: Annotated[int, typer.Option(help="Most iterations.")] = 100,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the fit to this file, for predict, simulate, plot and test-clustering; .gz packs it."),
    ] = None,
    json: opt.Json = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table of estimates to this file as CSV.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report with tests, diagnostics and plots to this file as HTML.")
    ] = None,
    progress: Annotated[bool, typer.Option("--progress", help="Show each iteration on standard error.")] = False,
    robust: opt.Robust = False,
    cov: opt.Cov = "observed",
    df: opt.Degrees = None,
    level: opt.Coverage = None,
    sep: opt.Sep = None,
    decimal: opt.Decimal = None,
    encoding: opt.Encoding = None,
) -> None:
    """Fit a model and print its summary."""
    with readable_errors():
        general: dict[str, Any] = {
            "cluster": opt.columns_in(cluster) if model == "fixed_effects" else cluster,
            "link": link,
            "weights": weights,
            "cluster_weights": cluster_weights,
            "offset": offset,
            "exposure": exposure,
            "success": success,
            "levels": opt.listed(levels),
            "subset": subset,
        }
        special: dict[str, Any] = {
            "distribution": distribution,
            "quadrature": quadrature,
            "inside": inside,
            "scale": scale,
            "sigma": sigma,
            "fix_sigma": fix_sigma or None,
            "reml": reml or None,
            "bias_correction": bias_correction,
            "points": points,
            "penalty": penalty,
            "separation": separation,
            "zero_inflation": zero_inflation,
            "hurdle": hurdle,
            "nonparallel": nonparallel,
        }
        check_model(model, special)
        check_files(save, json, csv, report)
        intervals = interval_options(robust, level, cov, df)
        table = load_table(data, sep, decimal, encoding)
        result = run_fit(
            model,
            formula,
            table,
            family=family,
            control={"max_iter": max_iter, "tol": tol, "n_threads": threads},
            progress=progress,
            **given(general | special),
        )
        if not printed(json):
            print_summary(result, robust, cov, df)
            print_intervals(result, intervals)
        _write(result, save, json, csv, **intervals)
        if report is not None:
            result.report(report, data=table, cov=cov, df=df, progress=_show_part if progress else None)
    if not result.converged:
        raise typer.Exit(NOT_CONVERGED)


def run_fit(model: str, formula: str, data: Any, *, control: dict[str, Any], progress: bool, **settings: Any) -> Result:
    """The fit, with its warnings on standard error."""
    import clusterglm as cg
    import clusterglm.api.verbs

    resume_collections()

    chosen = cg.Control(**control, progress=_show_iteration if progress else None)
    verb = getattr(cg, model)
    with heard_warnings():
        result: Result = verb(formula, load_table(data), control=chosen, **settings)
    return result


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Options that the user gave; the library has defaults of its own for the others."""
    return {name: value for name, value in values.items() if value is not None}


def load_table(data: Any, sep: str | None = None, decimal: str | None = None, encoding: str | None = None) -> Any:
    """CSV from standard input, or of a given form; a bundled data set; the path of another file; a table as it is."""
    import clusterglm as cg
    from clusterglm.data.tables.csv import Form, read_csv
    from clusterglm.errors import OptionError, nearest

    if not isinstance(data, str):
        return data
    form = Form("\t" if sep == "\\t" else sep, decimal, encoding)
    for option, value in (("--sep", form.separator), ("--decimal", decimal)):
        if value is not None and (len(value) != 1 or (option == "--decimal" and value not in ".,")):
            raise OptionError(f"{option} {value!r}", "one letter" if option == "--sep" else ". or ,", "--sep ';'")
    if data == "-":
        return read_csv(sys.stdin.buffer.read(), form, "standard input")
    path = Path(data)
    if not path.is_file() and data in cg.datasets.names():
        return cg.datasets.load(data)
    if "~" in data[1:] and not path.exists():
        raise OptionError(
            f"the formula {data!r} in the place of the data", "the data first, then the formula", f'DATA "{data}"'
        )
    if not path.exists() and not path.suffix and path.name == data:
        names = cg.datasets.names()
        raise OptionError(
            f"the data {data!r}, which are neither a file nor a bundled data set",
            f"a file, or one of {', '.join(names)}",
            f"{nearest(data, names)}clusterglm datasets",
        )
    return read_csv(path, form) if form != Form() and path.is_file() else data


def interval_options(robust: bool, level: float | None, cov: str, df: str | None) -> dict[str, Any]:
    """Options of `tidy`, from those of the command line."""
    from clusterglm.errors import OptionError
    from clusterglm.inference.uncertainty.intervals import check_level

    if level is not None:
        check_level(level)
    if robust and cov not in ("observed", "robust"):
        raise OptionError(f"--robust with --cov {cov}", "one kind of standard errors", f"--cov {cov} alone")
    return given({"cov": "robust" if robust else cov, "level": level, "df": df})


def print_summary(result: Result, robust: bool, cov: str, df: str | None) -> None:
    """With the errors that were asked for; robust ones, if by --robust, follow in a table of their own."""
    print(result.summary() if robust else result.summary(cov=cov, df=df))


def print_intervals(result: Result, options: Mapping[str, Any]) -> None:
    """After a summary, the table of estimates with the errors and intervals that were asked for."""
    if options["cov"] != "robust" and "level" not in options:
        return
    kind = "robust standard errors" if options["cov"] == "robust" else "standard errors"
    print(f"\nEstimates with {kind} and {100 * options.get('level', 0.95):g}% intervals\n")
    print(result.tidy(**options))


_ELSEWHERE = {
    word: ours
    for ours, words in {
        "conditional": "clogit condlogit matched strata",
        "random_effects": "glmer glmm glmmml mixed melogit mepoisson xtlogit re random",
        "fixed_effects": "fe fixed feglm bife",
        "pooled": "glm logit logistic poisson binomial",
        "nonparametric": "npml npmlreg",
    }.items()
    for word in words.split()
}
"""Models and what other software calls them."""


def check_model(model: str, special: dict[str, Any]) -> None:
    """Options of one model mean nothing to another."""
    from clusterglm.errors import OptionError, check_option

    if model not in opt.MODELS and model.lower() in _ELSEWHERE:
        ours = _ELSEWHERE[model.lower()]
        raise OptionError(f"--model {model}", f"one of {', '.join(map(repr, opt.MODELS))}", f"--model {ours}")
    check_option("--model", model, opt.MODELS)
    owners: dict[str, tuple[str, ...]] = {
        "bias_correction": ("fixed_effects",),
        "points": ("nonparametric",),
        "penalty": _WITHOUT_POINTS,
        "separation": _WITHOUT_POINTS,
        "zero_inflation": ("random_effects", "pooled"),
        "hurdle": ("random_effects", "pooled"),
        "nonparallel": ("random_effects", "pooled"),
        "reml": ("random_effects", "pooled"),
    }
    for name, value in special.items():
        own = owners.get(name, ("random_effects",))
        if model not in own and value is not None:
            option = "--" + name.replace("_", "-")
            raise OptionError(
                f"{option} with --model {model}",
                f"only options of the model: {option} belongs to {' and '.join(own)}",
                f"leave {option} out, or use --model {own[0]}",
            )


def _write(result: Result, save: Path | None, json: Path | None, csv: Path | None, **intervals: Any) -> None:
    if save is not None:
        result.save(save)
    if json is not None:
        from clusterglm.results.tables.export import as_dict

        write_json(as_dict(result), json)
    if csv is not None:
        write_table(result.tidy(**intervals), csv)


def _show_iteration(step: Any) -> None:
    print(
        f"iteration {step.iteration:>3}   log-likelihood {step.loglik:.6f}   gradient {step.gradient_norm:.1e}",
        file=sys.stderr,
        flush=True,
    )


def _show_part(done: int, wanted: int) -> None:
    print(f"report: part {done} of {wanted}", file=sys.stderr, flush=True)
