"""`clusterglm test-clustering`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import STOPPED, app, example, readable_errors
from clusterglm.cli.fit import check_model, given, load_table, run_fit
from clusterglm.cli.output import check_files, printed, write_json
from clusterglm.cli.progress import bar
from clusterglm.cli.saved import open_fit

if TYPE_CHECKING:
    from clusterglm.results.models.base import Result
    from clusterglm.results.topics.clustering import ClusteredResult

_METHODS = ("bootstrap", "permutation", "score", "boundary")
_STATISTICS = ("lr", "loglik")


@app.command(
    "test-clustering",
    epilog=example(
        'clusterglm test-clustering bacteria "y ~ trt + I(week > 2)" --cluster ID --n-boot 500 --seed 1',
        "clusterglm test-clustering fit.json --method score",
    ),
)
def clustering(
    data: Annotated[
        str,
        typer.Argument(
            metavar="FIT | DATA",
            help="A saved fit; or, with a formula, a CSV or Parquet file or a bundled data set.",
            autocompletion=opt.data_sets,
        ),
    ],
    formula: Annotated[str | None, typer.Argument(help="As for `fit`.", show_default="that of the saved fit")] = None,
    cluster: opt.Cluster = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="random_effects or fixed_effects.",
            show_default="random_effects",
            autocompletion=opt.one_of(("random_effects", "fixed_effects")),
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(help="binomial or poisson.", show_default=opt.FAMILY, autocompletion=opt.families),
    ] = None,
    link: opt.Link = None,
    distribution: opt.Distribution = None,
    quadrature: opt.Quadrature = None,
    weights: opt.Weights = None,
    cluster_weights: opt.ClusterWeights = None,
    offset: opt.Offset = None,
    exposure: opt.Exposure = None,
    success: opt.Success = None,
    method: Annotated[
        str,
        typer.Option(
            help="bootstrap; permutation of the cluster labels; score, which needs no simulation; or boundary, the "
            "likelihood-ratio test of random intercepts.",
            autocompletion=opt.one_of(_METHODS),
        ),
    ] = "bootstrap",
    statistic: Annotated[
        str,
        typer.Option(
            help="Of the first two: lr, the likelihood ratio; or loglik, as in R's glmmboot.",
            autocompletion=opt.one_of(_STATISTICS),
        ),
    ] = "lr",
    n_boot: Annotated[int, typer.Option(help="Replicates.")] = 2000,
    seed: opt.Seed = None,
    jobs: opt.Jobs = 1,
    insist: Annotated[
        bool, typer.Option("--insist", help="Permute although covariates differ between clusters.")
    ] = False,
    subset: opt.Subset = None,
    sep: opt.Sep = None,
    decimal: opt.Decimal = None,
    encoding: opt.Encoding = None,
    json: opt.Json = None,
) -> None:
    """Test the hypothesis that clusters have no effect, with a saved fit or with data and a formula.

    Ctrl-C ends the simulation: the test from the replicates that were done is printed, and the status is 130.
    """
    with readable_errors():
        check_files(json)
        general = {
            "cluster": cluster,
            "family": family,
            "link": link,
            "weights": weights,
            "cluster_weights": cluster_weights,
            "offset": offset,
            "exposure": exposure,
            "success": success,
            "subset": subset,
        }
        special = {"distribution": distribution, "quadrature": quadrature}
        table = data if formula is None else load_table(data, sep, decimal, encoding)
        result = _result(table, formula, model, given(general), given(special))
        with bar("replicates") as show:
            found = result.test_clustering(method, statistic, n_boot, seed, jobs, show, insist)
        if not printed(json):
            print(found)
        write_json({"method": method, **_content(found)}, json)
    if getattr(found, "interrupted", False):
        raise typer.Exit(STOPPED)


def _result(
    data: Any, formula: str | None, model: str | None, general: dict[str, Any], special: dict[str, Any]
) -> ClusteredResult:
    """The fit: a saved one, or one made now."""
    from pathlib import Path

    from clusterglm.errors import OptionError

    result: Result
    if formula is None:
        named = [*general, *special, *(() if model is None else ("model",))]
        if named:
            option = "--" + named[0].replace("_", "-")
            raise OptionError(
                f"{option} without a formula, as for the saved fit {data!r}",
                "data and a formula; a saved fit has its own model",
                f'clusterglm test-clustering {data} "y ~ x" {option} ..., or leave {option} out',
            )
        result = open_fit(Path(data))
    else:
        check_model(model or "random_effects", special)
        result = run_fit(
            model or "random_effects", formula, data, control={}, progress=False, **{"family": opt.FAMILY} | general,
            **special,
        )  # fmt: skip
    if not result._simulates_no_clustering:
        raise OptionError(
            f"a test of no clustering in a {result.kind} fit",
            "a model with cluster effects",
            "--model random_effects or --model fixed_effects",
        )
    return cast("ClusteredResult", result)


def _content(found: Any) -> dict[str, Any]:
    """The fields of a test, the simulated values among them."""
    from dataclasses import asdict, is_dataclass

    assert is_dataclass(found)
    assert not isinstance(found, type)
    content = asdict(found)
    if "replicates" in content:  # the longest comes last
        content["replicates"] = content.pop("replicates").tolist()
    return content
