"""`clusterglm predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import app, example, heard_warnings, readable_errors
from clusterglm.cli.fit import given, load_table
from clusterglm.cli.output import check_files, check_table, printed, write_json, write_table
from clusterglm.cli.saved import open_fit

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.results.models.base import Result


@app.command(
    epilog=example("clusterglm predict fit.json --newdata new.csv --kind marginal --level 0.95 --out predicted.csv")
)
def predict(
    fit: opt.Fit,
    newdata: Annotated[
        str | None,
        typer.Option(
            help="Rows to predict: a CSV or Parquet file, or a bundled data set.",
            show_default="the rows of the fit",
            autocompletion=opt.data_sets,
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Which intercept: typical, conditional (the mode of the row's cluster), posterior (averaged over what "
            "is known of it), marginal (averaged over all); or a number.",
            show_default="the first that the model has",
            autocompletion=opt.one_of(("typical", "conditional", "posterior", "marginal")),
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="response or link; link, ratio or probability (within sets) for conditional models.",
            show_default="the first that the model has",
            autocompletion=opt.one_of(("response", "link", "ratio", "probability")),
        ),
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="Coverage of intervals, such as 0.95.", show_default="no intervals")
    ] = None,
    cov: Annotated[
        str | None,
        typer.Option(
            help="Of the estimates, for intervals: observed, robust, or quasi (conditional models of counts).",
            show_default="observed",
            autocompletion=opt.one_of(opt.COVARIANCES),
        ),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(help="Observed rows of new clusters, responses included, for kinds conditional and posterior."),
    ] = None,
    unseen: Annotated[
        str | None,
        typer.Option(
            help="What these kinds do with clusters of which nothing is known: refuse, or marginal.",
            show_default="refuse",
            autocompletion=opt.one_of(("refuse", "marginal")),
        ),
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option(
            help="What intervals of marginal predictions are to hold: the mean over clusters, or a new cluster's.",
            show_default="mean",
            autocompletion=opt.one_of(("mean", "cluster")),
        ),
    ] = None,
    effects: Annotated[
        list[str] | None,
        typer.Option(help="With nested effects, a factor whose effects count for these kinds; may be repeated."),
    ] = None,
    total: Annotated[
        int | None, typer.Option(help="Successes of each set, for probabilities of conditional models.")
    ] = None,
    with_data: Annotated[
        bool, typer.Option("--with-data", help="Put the columns of --newdata before the predictions.")
    ] = False,
    out: opt.Table = None,
    sep: opt.Sep = None,
    decimal: opt.Decimal = None,
    encoding: opt.Encoding = None,
    json: opt.Json = None,
) -> None:
    """Predict rows of the fitted data or of new data from a saved fit.

    The answer has a row for each row to predict: its position in the table, counted from 0, and the mean; or, with
    --level, the estimate, its standard error, the interval, and whether the row could be predicted. Of an ordinal fit
    it has the probability of each category, a column each; with --level, a row each.
    """
    with readable_errors():
        check_table(out)
        check_files(json)
        result = open_fit(fit)
        named = given(
            {
                "kind": _number_or_word(kind),
                "scale": scale,
                "level": level,
                "cov": cov,
                "history": history,
                "unseen": unseen,
                "interval": interval,
                "effects": effects or None,
                "total": total,
            }
        )
        _check_known(result, named)
        table = None if newdata is None else load_table(newdata, sep, decimal, encoding)
        if "history" in named:
            named["history"] = load_table(named["history"], sep, decimal, encoding)
        with heard_warnings():
            found = result.predict(table, **named)
        rows: pd.DataFrame = found.to_frame() if found.ndim == 1 else found
        if with_data:
            rows = _beside(rows, table)
        rows = rows.reset_index()
        if json is not None:
            write_json({"kind": kind, "scale": scale, "level": level, "rows": rows.to_dict(orient="records")}, json)
        if out is not None or not printed(json):
            write_table(rows, out)


def _number_or_word(kind: str | None) -> str | float | None:
    try:
        return None if kind is None else float(kind)
    except ValueError:
        return kind


def _check_known(result: Result, named: dict[str, Any]) -> None:
    """Refuse options that predictions of this kind of model do not have."""
    from inspect import signature

    from clusterglm.errors import OptionError

    known = signature(result.predict).parameters
    for name in named:
        if name not in known:
            raise OptionError(
                f"--{name} with a {result.kind} fit",
                ", ".join(f"--{each}" for each in known if each != "data"),
                f"leave --{name} out",
            )


def _beside(rows: pd.DataFrame, table: Any) -> pd.DataFrame:
    """The predictions after the columns of the new data."""
    import pandas as pd

    from clusterglm.data.tables.table import read_table, to_pandas_columns
    from clusterglm.errors import OptionError

    if table is None:
        raise OptionError("--with-data without --newdata", "the table to put them beside", "--newdata FILE")
    frame = read_table(table)
    given_columns = to_pandas_columns(frame, frame.columns).reset_index(drop=True)
    if len(rows) != len(given_columns):
        raise OptionError(
            "--with-data with several predictions of each row", "one row for each of the table", "leave --level out"
        )
    clash = [name for name in rows.columns if name in given_columns.columns]
    predicted = rows.rename(columns={name: f"predicted_{name}" for name in clash}).reset_index(drop=True)
    return pd.concat([given_columns, predicted], axis=1).rename_axis(index="row")
