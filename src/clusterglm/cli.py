"""The command line. Arguments are parsed before anything heavy is imported."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from clusterglm.results.base import Result

_NOT_CONVERGED, _BAD_INPUT, _STOPPED = 1, 2, 130

app = typer.Typer(
    name="clusterglm",
    help="Generalised linear models for clustered data, by exact and fast maximum likelihood.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line of this process.

    Exit status: 0; 1 when a fit did not converge; 2 when the input cannot be used; 130 when the user stopped it.
    """
    gc.disable()  # imports make many objects and no garbage: collections would take a fifth of their time
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_STOPPED)
    finally:
        gc.enable()


def _show_version(wanted: bool) -> None:
    if wanted:
        from clusterglm import __version__

        print(f"clusterglm {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def fit(
    data: Annotated[
        str, typer.Argument(help="A CSV or Parquet file, or the name of a bundled data set (`clusterglm datasets`).")
    ],
    formula: Annotated[str, typer.Argument(help='For instance "y ~ x + C(group)" or "cbind(ill, well) ~ period".')],
    cluster: Annotated[str | None, typer.Option(help="Column of cluster labels.")] = None,
    model: Annotated[
        str, typer.Option(help="random_effects, fixed_effects, conditional or pooled.")
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
    progress: Annotated[bool, typer.Option("--progress", help="Show each iteration on standard error.")] = False,
) -> None:
    """Fit a model and print its summary."""
    with _readable_errors():
        options: dict[str, Any] = {
            "cluster": cluster,
            "link": link,
            "weights": weights,
            "cluster_weights": cluster_weights,
            "offset": offset,
        }
        special: dict[str, Any] = {
            "distribution": _distribution(distribution),
            "quadrature": quadrature,
            "scale": scale,
            "sigma": sigma,
            "fix_sigma": fix_sigma or None,
            "bias_correction": bias_correction,
        }
        _check_model(model, special)
        _check_folders(json, csv)
        result = _fit(
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
    if not result.converged:
        raise typer.Exit(_NOT_CONVERGED)


@app.command()
def compare(
    data: Annotated[
        str, typer.Argument(help="A CSV or Parquet file, or the name of a bundled data set (`clusterglm datasets`).")
    ],
    formulas: Annotated[list[str], typer.Argument(help='One or more, as "y ~ x" "y ~ x + z", the smallest first.')],
    cluster: Annotated[str | None, typer.Option(help="Column of cluster labels.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="As for `fit`; may be repeated, the smallest first.", show_default="random_effects"),
    ] = None,
    family: Annotated[str, typer.Option(help="binomial or poisson.")] = "binomial",
    link: Annotated[str | None, typer.Option(help="logit, cloglog, probit; log for poisson.")] = None,
    distribution: Annotated[
        list[str] | None,
        typer.Option(help="Of random intercepts, as for `fit`; may be repeated.", show_default="gaussian"),
    ] = None,
    quadrature: Annotated[
        str | None, typer.Option(help="auto, laplace, or a number of nodes.", show_default="auto")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Column of case weights.")] = None,
    cluster_weights: Annotated[str | None, typer.Option(help="Column of cluster weights.")] = None,
    offset: Annotated[str | None, typer.Option(help="Column added to the linear predictor.")] = None,
    threads: Annotated[int, typer.Option(help="Threads; 0 for every core.")] = 1,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file as CSV.")] = None,
) -> None:
    """Fit every formula by every model and distribution; print the fits side by side, with likelihood-ratio tests."""
    with _readable_errors():
        options = {
            "cluster": cluster,
            "link": link,
            "weights": weights,
            "cluster_weights": cluster_weights,
            "offset": offset,
        }
        given = {name: value for name, value in options.items() if value is not None}
        variants = _variants(model or ["random_effects"], distribution or [], quadrature)
        _check_folders(csv)
        from clusterglm.data.table import read_table

        table = read_table(_table(data))  # once, not for every fit
        settings: dict[str, Any] = {"family": family, "control": {"n_threads": threads}, "progress": False, **given}
        fits = [_fit(name, formula, table, **settings, **special) for formula in formulas for name, special in variants]
        import clusterglm as cg

        comparison = cg.compare(*fits)
        print(comparison)
        if csv is not None:
            comparison.to_frame().to_csv(csv)
    if not all(fit.converged for fit in fits):
        raise typer.Exit(_NOT_CONVERGED)


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="One of them.", show_default="all")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the data set to this file as CSV.")] = None,
) -> None:
    """Describe the bundled example data, or write one to a file."""
    with _readable_errors():
        from clusterglm.data import datasets as bundled

        if write is None:
            for each in bundled.names() if name is None else (name,):
                known = bundled.describe(each)
                print(f"{each}: {known.title}\n    {known.rows} rows, {known.clusters} clusters. {known.source}.")
                family = "" if known.family == "binomial" else f" --family {known.family}"
                print(f'    clusterglm fit {each} "{known.formula}" --cluster {known.cluster}{family}\n')
            return
        if name is None:
            from clusterglm.errors import OptionError

            listed = ", ".join(bundled.names())
            raise OptionError(
                "--write without the name of a data set",
                f"one of {listed}",
                "clusterglm datasets bacteria --write FILE",
            )
        content = bundled.path(name).read_bytes()
        _check_folders(write)
        write.write_bytes(content)
        print(f"{name} written to {write}")


def _fit(model: str, formula: str, data: Any, *, control: dict[str, Any], progress: bool, **options: Any) -> Result:
    import warnings

    import formulaic  # noqa: F401  # every fit needs it

    import clusterglm as cg
    import clusterglm.api

    _resume_collections()

    settings = cg.Control(**control, progress=_show_iteration if progress else None)
    verb = getattr(cg, model)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", cg.errors.ClusterGLMWarning)
        result: Result = verb(formula, _table(data), control=settings, **options)
    for warning in heard:
        print(f"warning: {warning.message}", file=sys.stderr)
    return result


def _table(data: Any) -> Any:
    """The path of a file, or a bundled data set; a table as it is."""
    import clusterglm as cg

    if not isinstance(data, str):
        return data
    return cg.datasets.load(data) if data in cg.datasets.names() and not Path(data).is_file() else data


def _distribution(name: str | None) -> str | None:
    """The library's name: "t(4)" is short for "student_t(4)"."""
    return f"student_{name}" if name is not None and name.startswith("t(") else name


def _check_model(model: str, special: dict[str, Any]) -> None:
    """Options of one model mean nothing to another."""
    from clusterglm.errors import OptionError, check_option

    check_option("--model", model, ["random_effects", "fixed_effects", "conditional", "pooled"])
    for name, value in special.items():
        owner = "fixed_effects" if name == "bias_correction" else "random_effects"
        if model != owner and value is not None:
            option = "--" + name.replace("_", "-")
            raise OptionError(
                f"{option} with --model {model}",
                f"only options of the model: {option} belongs to {owner}",
                f"leave {option} out, or use --model {owner}",
            )


def _variants(models: list[str], distributions: list[str], quadrature: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Each model with its own options; random effects once for each distribution."""
    from clusterglm.errors import OptionError

    for name in models:
        _check_model(name, {})
    if "random_effects" not in models and (distributions or quadrature is not None):
        raise OptionError(
            f"--distribution or --quadrature with --model {' --model '.join(models)}",
            "options of the models: these belong to random_effects",
            "leave them out, or add --model random_effects",
        )
    fixed: dict[str, Any] = {} if quadrature is None else {"quadrature": quadrature}
    random = [{**fixed, "distribution": _distribution(each)} for each in distributions] or [fixed]
    return [(name, special) for name in models for special in (random if name == "random_effects" else [{}])]


def _check_folders(*files: Path | None) -> None:
    """Refuse files that cannot be written before any work is done."""
    from clusterglm.errors import OptionError

    for file in files:
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            wrong = "it is a folder" if file.is_dir() else "its folder does not exist"
            raise OptionError(
                f"the file {str(file)!r} to write to: {wrong}", "a file in a folder that exists", "another path"
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


def _resume_collections() -> None:
    """Let the garbage collector work again, on what comes after the imports."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


@contextmanager
def _readable_errors() -> Iterator[None]:
    """Answer errors that the library raises on purpose, and those of the file system, with their message alone."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise typer.Exit(_STOPPED) from None
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(_BAD_INPUT) from None
    except Exception as error:
        from clusterglm.errors import ClusterGLMError

        if not isinstance(error, ClusterGLMError):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(_BAD_INPUT) from None


if __name__ == "__main__":
    main()
