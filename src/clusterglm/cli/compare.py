"""`clusterglm compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import NOT_CONVERGED, app, example, readable_errors
from clusterglm.cli.fit import check_model, given, load_table, run_fit
from clusterglm.cli.output import check_files, printed, write_json
from clusterglm.data.files import whole


@app.command(
    epilog=example('clusterglm compare bacteria "y ~ week" "y ~ week + trt" --cluster ID --distribution gaussian'),
)
def compare(
    data: opt.Data,
    formulas: Annotated[list[str], typer.Argument(help='One or more, as "y ~ x" "y ~ x + z", the smallest first.')],
    cluster: opt.Cluster = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="As for `fit`; may be repeated, the smallest first.",
            show_default="random_effects",
            autocompletion=opt.one_of(opt.MODELS),
        ),
    ] = None,
    family: opt.Family = opt.FAMILY,
    link: opt.Link = None,
    distribution: Annotated[
        list[str] | None,
        typer.Option(
            help="Of random intercepts, as for `fit`; may be repeated.",
            show_default="gaussian",
            autocompletion=opt.one_of(opt.DISTRIBUTIONS),
        ),
    ] = None,
    quadrature: opt.Quadrature = None,
    weights: opt.Weights = None,
    cluster_weights: opt.ClusterWeights = None,
    offset: opt.Offset = None,
    exposure: opt.Exposure = None,
    success: opt.Success = None,
    levels: opt.Levels = None,
    threads: opt.Threads = 1,
    subset: opt.Subset = None,
    sep: opt.Sep = None,
    decimal: opt.Decimal = None,
    encoding: opt.Encoding = None,
    json: opt.Json = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file as CSV.")] = None,
) -> None:
    """Fit every formula by every model and distribution; print the fits side by side, with likelihood-ratio tests."""
    with readable_errors():
        general = {
            "cluster": cluster,
            "link": link,
            "weights": weights,
            "cluster_weights": cluster_weights,
            "offset": offset,
            "exposure": exposure,
            "success": success,
            "levels": opt.listed(levels),
            "subset": subset,
        }
        variants = _variants(model or ["random_effects"], distribution or [], quadrature)
        check_files(json, csv)
        from clusterglm.data.tables.table import read_table

        table = read_table(load_table(data, sep, decimal, encoding))  # once, not for every fit
        settings: dict[str, Any] = {
            "family": family,
            "control": {"n_threads": threads},
            "progress": False,
            **given(general),
        }
        fits = [
            run_fit(name, formula, table, **settings, **special) for formula in formulas for name, special in variants
        ]
        import clusterglm as cg

        comparison = cg.compare(*fits)
        if not printed(json):
            print(comparison)
        rows = comparison.to_frame().reset_index().to_dict(orient="records")
        write_json({"fits": rows, "notes": comparison.notes}, json)
        if csv is not None:
            with whole(csv) as part:
                comparison.to_frame().to_csv(part)
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
    random = [{**fixed, "distribution": each} for each in distributions] or [fixed]
    return [(name, special) for name in models for special in (random if name == "random_effects" else [{}])]
