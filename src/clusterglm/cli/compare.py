"""`clusterglm compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clusterglm.cli.common import NOT_CONVERGED, app, check_folders, readable_errors
from clusterglm.cli.fit import check_model, distribution_name, load_table, run_fit


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
    with readable_errors():
        options = {
            "cluster": cluster,
            "link": link,
            "weights": weights,
            "cluster_weights": cluster_weights,
            "offset": offset,
        }
        given = {name: value for name, value in options.items() if value is not None}
        variants = _variants(model or ["random_effects"], distribution or [], quadrature)
        check_folders(csv)
        from clusterglm.data.table import read_table

        table = read_table(load_table(data))  # once, not for every fit
        settings: dict[str, Any] = {"family": family, "control": {"n_threads": threads}, "progress": False, **given}
        fits = [
            run_fit(name, formula, table, **settings, **special) for formula in formulas for name, special in variants
        ]
        import clusterglm as cg

        comparison = cg.compare(*fits)
        print(comparison)
        if csv is not None:
            comparison.to_frame().to_csv(csv)
    if not all(fit.converged for fit in fits):
        raise typer.Exit(NOT_CONVERGED)


def _variants(models: list[str], distributions: list[str], quadrature: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Each model with its own options; random effects once for each distribution."""
    from clusterglm.errors import OptionError

    for name in models:
        check_model(name, {})
    if "random_effects" not in models and (distributions or quadrature is not None):
        raise OptionError(
            f"--distribution or --quadrature with --model {' --model '.join(models)}",
            "options of the models: these belong to random_effects",
            "leave them out, or add --model random_effects",
        )
    fixed: dict[str, Any] = {} if quadrature is None else {"quadrature": quadrature}
    random = [{**fixed, "distribution": distribution_name(each)} for each in distributions] or [fixed]
    return [(name, special) for name in models for special in (random if name == "random_effects" else [{}])]
