"""`clusterglm table`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import app, example, readable_errors
from clusterglm.cli.output import check_files, printed, write_json
from clusterglm.cli.saved import names_of, open_fit

_SPREADS = ("std_error", "interval", "none")


@app.command(epilog=example("clusterglm table pooled.json random.json --exponentiate --out odds.docx"))
def table(
    fits: Annotated[list[Path], typer.Argument(help="One or more files of `clusterglm fit ... --save FILE`.")],
    exponentiate: Annotated[bool, typer.Option("--exponentiate", help="Odds, rate or hazard ratios.")] = False,
    spread: Annotated[
        str,
        typer.Option(help="Below an estimate: std_error, interval or none.", autocompletion=opt.one_of(_SPREADS)),
    ] = "std_error",
    level: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    cov: Annotated[
        str,
        typer.Option(
            help="Of the estimates: observed, robust, or quasi (conditional models of counts).",
            autocompletion=opt.one_of(opt.COVARIANCES),
        ),
    ] = "observed",
    stars: Annotated[bool, typer.Option("--stars", help="Mark coefficients by their p-values.")] = False,
    digits: Annotated[int, typer.Option(help="Decimals.")] = 3,
    caption: Annotated[str, typer.Option(help="Above the table.", show_default=False)] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the table to this file: .txt, .md, .html, .tex or .docx (Word).", show_default="printed"
        ),
    ] = None,
    json: opt.Json = None,
) -> None:
    """Saved fits side by side, as papers show them."""
    with readable_errors():
        check_files(out, json)
        import clusterglm as cg

        named = dict(zip(names_of(fits), [open_fit(file) for file in fits], strict=True))
        made = cg.table(
            named, exponentiate=exponentiate, spread=spread, level=level, cov=cov, stars=stars, digits=digits,
            caption=caption,
        )  # fmt: skip
        if out is not None:
            made.save(out)
        elif not printed(json):
            print(made)
        rows = made.frame.reset_index().to_dict(orient="records")
        write_json({"caption": made.caption, "rows": rows, "notes": made.notes}, json)
