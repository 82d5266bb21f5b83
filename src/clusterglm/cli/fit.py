"""`clusterglm fit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clusterglm.cli.common import NOT_CONVERGED, app, check_folders, readable_errors, resume_collections

if TYPE_CHECKING:
    from clusterglm.results.base import Result


@app.command()
def fit(
    data: Annotated[
        str, typer.Argument(help="A CSV or Parquet file, or the name of a bundled data set (`clusterglm datasets`).")
    ],
    formula: Annotated[str, typer.Argument(help='For instance "y ~ x + C(group)" or "cbind(ill, well) ~ period".')],
    cluster: Annotated[str | None, typer.Option(help="Column of cluster labels.")] = None,
    model: Annotated[
        str, typer.Option(help="random_effects, nonparametric, fixed_effects, conditional or pooled.")
    ] = "random_effects",
    family: Annotated[str, typer.Option(help="binomial or poisson.")] = "binomial",
    link: Annotated[str | None, typer.Option(help="logit, cloglog, probit; log for poisson.")] = None,
    distribution: Annotated[
        str | None,
        typer.Option(
            help='Of the random intercept: gaussian, logistic, cauchy, laplace, bridge, log_gamma, "t(4)"; '
            "student_t or gaussian_mixture to estimate the shape.",
            show_default="gaussian",
        ),
    ] = None,
    quadrature: Annotated[
        str | None, typer.Option(help="auto, laplace, or a number of nodes.", show_default="auto")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="Of adaptive quadrature: normal or density.", show_default="normal")
    ] = None,
    bias_correction: Annotated[
        str | None, typer.Option(help="Of fixed effects: analytical or jackknife.", show_default="none")
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(help="Mass points of the nonparametric model.", show_default="as many as it takes"),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Column of case weights.")] = None,
    cluster_weights: Annotated[str | None, typer.Option(help="Column of cluster weights.")] = None,
    offset: Annotated[str | None, typer.Option(help="Column added to the linear predictor.")] = None,
    sigma: Annotated[float | None, typer.Option(help="Starting value of sigma; its value with --fix-sigma.")] = None,
    fix_sigma: Annotated[bool, typer.Option("--fix-sigma", help="Hold sigma at the value of --sigma.")] = False,
    threads: Annotated[int, typer.Option(help="Threads; 0 for every core.")] = 1,
    tol: Annotated[float, typer.Option(help="Gradient at which to stop, in standard errors.")] = 1e-6,
    max_iter: Annotated[int, typer.Option(help="Most iterations.")] = 100,
    json: Annotated[Path | None, typer.Option(help="Write the result to this file as JSON.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table of estimates to this file as CSV.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report with tests, diagnostics and plots to this file as HTML.")
    ] = None,
    progress: Annotated[bool, typer.Option("--progress", help="Show each iteration on standard error.")] = False,
) -> None:
    """Fit a model and print its summary."""
    with readable_errors():
        options: dict[str, Any] = {
            "cluster": cluster,
            "link": link,
            "weights": weights,
            "cluster_weights": cluster_weights,
            "offset": offset,
        }
        special: dict[str, Any] = {
            "distribution": distribution_name(distribution),
            "quadrature": quadrature,
            "scale": scale,
            "sigma": sigma,
            "fix_sigma": fix_sigma or None,
            "bias_correction": bias_correction,
            "points": points,
        }
        check_model(model, special)
        check_folders(json, csv, report)
        result = run_fit(
            model,
            formula,
            data,
            family=family,
            control={"max_iter": max_iter, "tol": tol, "n_threads": threads},
            progress=progress,
            **{name: value for name, value in (options | special).items() if value is not None},
        )
        print(result)
        _write(result, json, csv)
        if report is not None:
            result.report(report, data=load_table(data), progress=_show_part if progress else None)
    if not result.converged:
        raise typer.Exit(NOT_CONVERGED)


def run_fit(model: str, formula: str, data: Any, *, control: dict[str, Any], progress: bool, **options: Any) -> Result:
    import warnings

    import formulaic  # noqa: F401  # every fit needs it

    import clusterglm as cg
    import clusterglm.api.verbs

    resume_collections()

    settings = cg.Control(**control, progress=_show_iteration if progress else None)
    verb = getattr(cg, model)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", cg.errors.ClusterGLMWarning)
        result: Result = verb(formula, load_table(data), control=settings, **options)
    for warning in heard:
        print(f"warning: {warning.message}", file=sys.stderr)
    return result


def load_table(data: Any) -> Any:
    """The path of a file, or a bundled data set; a table as it is."""
    import clusterglm as cg

    if not isinstance(data, str):
        return data
    return cg.datasets.load(data) if data in cg.datasets.names() and not Path(data).is_file() else data


def distribution_name(name: str | None) -> str | None:
    """The library's name: "t(4)" is short for "student_t(4)"."""
    return f"student_{name}" if name is not None and name.startswith("t(") else name


def check_model(model: str, special: dict[str, Any]) -> None:
    """Options of one model mean nothing to another."""
    from clusterglm.errors import OptionError, check_option

    check_option("--model", model, ["random_effects", "nonparametric", "fixed_effects", "conditional", "pooled"])
    owners = {"bias_correction": "fixed_effects", "points": "nonparametric"}
    for name, value in special.items():
        owner = owners.get(name, "random_effects")
        if model != owner and value is not None:
            option = "--" + name.replace("_", "-")
            raise OptionError(
                f"{option} with --model {model}",
                f"only options of the model: {option} belongs to {owner}",
                f"leave {option} out, or use --model {owner}",
            )


def _write(result: Result, json: Path | None, csv: Path | None) -> None:
    if json is not None:
        from json import dumps

        from clusterglm.results.export import as_dict

        json.write_text(dumps(as_dict(result), indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    if csv is not None:
        result.tidy().to_csv(csv, index=False)


def _show_iteration(step: Any) -> None:
    print(
        f"iteration {step.iteration:>3}   log-likelihood {step.loglik:.6f}   gradient {step.gradient_norm:.1e}",
        file=sys.stderr,
        flush=True,
    )


def _show_part(done: int, wanted: int) -> None:
    print(f"report: part {done} of {wanted}", file=sys.stderr, flush=True)
