"""`clusterglm adjusted-means`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import app, example, heard_warnings, readable_errors
from clusterglm.cli.fit import given, load_table
from clusterglm.cli.output import check_files, check_table, printed, write_json, write_table
from clusterglm.cli.saved import open_fit

if TYPE_CHECKING:
    from clusterglm.results.tables.adjusted_means import AdjustedMeans, Contrasts

_METHODS = ("pairwise", "reference", "polynomial")
_COMPARISONS = ("difference", "ratio", "lnor")
_ADJUSTMENTS = ("holm", "tukey", "mvt", "bonferroni", "none")


@app.command(
    "adjusted-means",
    epilog=example("clusterglm adjusted-means fit.json trt --by week --at week=0,11 --contrasts pairwise"),
)
def adjusted_means(
    fit: opt.Fit,
    variables: Annotated[list[str], typer.Argument(help="Columns of the formula whose values make the means.")],
    by: Annotated[
        list[str] | None,
        typer.Option(help="A further column, within whose values means are compared; may be repeated."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="Values of a column, as week=0,11, or one at which it is held; may be repeated."),
    ] = None,
    slope: Annotated[str | None, typer.Option(help="Slopes along this column in the place of means.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Which intercept: marginal (averaged over all), typical or conditional.",
            show_default="the first that the model has",
            autocompletion=opt.one_of(("marginal", "typical", "conditional")),
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="response or link.",
            show_default="the first that the model has",
            autocompletion=opt.one_of(("response", "link")),
        ),
    ] = None,
    over: Annotated[
        str,
        typer.Option(
            help="The other covariates: observed or balanced.", autocompletion=opt.one_of(("observed", "balanced"))
        ),
    ] = "observed",
    contrasts: Annotated[
        str | None,
        typer.Option(
            help="Compare the means: pairwise, reference or polynomial.",
            show_default="the means alone",
            autocompletion=opt.one_of(_METHODS),
        ),
    ] = None,
    comparison: Annotated[
        str, typer.Option(help="difference, ratio or lnor.", autocompletion=opt.one_of(_COMPARISONS))
    ] = "difference",
    adjust: Annotated[
        str,
        typer.Option(
            help="For how many contrasts: holm, tukey, mvt, bonferroni or none.",
            autocompletion=opt.one_of(_ADJUSTMENTS),
        ),
    ] = "holm",
    reference: Annotated[str | None, typer.Option(help="Of contrasts with one.", show_default="the first")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The table that was fitted, where a covariate cannot be read off the fit.",
            autocompletion=opt.data_sets,
        ),
    ] = None,
    level: opt.Coverage = None,
    cov: opt.Cov = "observed",
    df: opt.Degrees = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw them to this file, as .png, .pdf or .svg.", show_default="no picture")
    ] = None,
    out: opt.Answer = None,
    json: opt.Json = None,
) -> None:
    """Adjusted means of groups of a saved fit (estimated marginal means, margins), and contrasts of them."""
    with readable_errors():
        check_table(out)
        check_files(plot, json)
        result = open_fit(fit)
        options = given({"by": by, "slope": slope, "kind": kind, "scale": scale, "level": level, "df": df})
        options |= {"at": _values(at), "over": over, "cov": cov}
        options |= {} if data is None else {"data": load_table(data)}
        with heard_warnings():
            found: AdjustedMeans | Contrasts = _refused_or(result)(variables, **options)
            if contrasts is not None:
                chosen = None if adjust == "none" else adjust
                more = given({"reference": reference})
                found = found.contrasts(contrasts, comparison=comparison, adjust=chosen, **more)  # type: ignore[union-attr]
        if plot is not None:
            _draw(found, plot, means=contrasts is None)
        table = found.to_frame()
        if out is not None:
            write_table(table, out)
        elif not printed(json):
            print(found)
        rows = table.to_dict(orient="records")
        write_json({"what": found.what, "rows": rows, "covariance": found.covariance.tolist()}, json)


def _draw(found: Any, file: Path, *, means: bool) -> None:
    from clusterglm.plot import adjusted_means as of_means
    from clusterglm.plot import contrasts as of_contrasts
    from clusterglm.plot.base import off_screen

    with off_screen(7.0):
        (of_means if means else of_contrasts)(found).save(file)
    print(f"{file} written", file=sys.stderr)


def _refused_or(result: Any) -> Any:
    """The method of a fit that has one."""
    from clusterglm.errors import OptionError

    if not hasattr(result, "adjusted_means"):
        raise OptionError(
            f"adjusted means of a {result.kind} fit",
            "a model that has them",
            "--model random_effects in `clusterglm fit`",
        )
    return result.adjusted_means


def _values(texts: list[str] | None) -> dict[str, Any]:
    """`week=0,11` as names and values; numbers as such."""
    from clusterglm.errors import OptionError

    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, values = text.partition("=")
        if not equals or not name or not values:
            raise OptionError(f"--at {text}", "a column and its values", "--at week=0,11")
        found[name] = [_value(each) for each in values.split(",")]
    return found


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
