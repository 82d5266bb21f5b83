"""`clusterglm simulate`."""

from __future__ import annotations

from typing import Annotated

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import app, example, readable_errors
from clusterglm.cli.output import check_files, check_table, printed, write_json, write_table
from clusterglm.cli.saved import open_fit


@app.command(epilog=example("clusterglm simulate fit.json -n 10 --seed 1 --out simulated.parquet"))
def simulate(
    fit: opt.Fit,
    n: Annotated[int, typer.Option("-n", "--n", help="Data sets to draw.", min=1)] = 1,
    seed: opt.Seed = None,
    out: opt.Table = None,
    json: opt.Json = None,
) -> None:
    """Draw new responses for the rows of a saved fit.

    Random intercepts are drawn anew, fixed ones stay as they were estimated, a conditional model keeps each cluster's
    total. The answer has a row for each row of the fit: its position in the table that was fitted, counted from 0, and
    its response (successes or counts) in each data set; with whole-number weights, for each row that these stand for.
    """
    with readable_errors():
        check_table(out)
        check_files(json)
        result = open_fit(fit)
        seed = _fresh() if seed is None else seed
        drawn = result.simulate(n, seed)
        counts = drawn.select_dtypes("number")  # categories have none
        if counts.shape == drawn.shape and (counts % 1.0 == 0.0).all(axis=None):
            drawn = drawn.astype("int64")
        drawn.columns = [f"draw{k + 1}" for k in range(n)]
        if json is not None:
            columns = {name: drawn[name].to_list() for name in drawn.columns}
            index = {str(each): drawn.index.get_level_values(str(each)).to_list() for each in drawn.index.names}
            write_json({"seed": seed, "response": result.data.response_name, **index, **columns}, json)
        if out is not None or not printed(json):
            write_table(drawn.reset_index(), out)


def _fresh() -> int:
    """A seed of the system's, small enough for any reader of JSON."""
    from secrets import randbits

    return randbits(48)
