"""`clusterglm datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import app, example, readable_errors
from clusterglm.cli.output import check_files, printed, write_json
from clusterglm.data.files import write_bytes

_DEFAULTS = {"model": "random_effects", "family": opt.FAMILY, "cluster_weights": None}
"""Defaults of options of `clusterglm fit`, which an example does not name."""


@app.command(epilog=example("clusterglm datasets bacteria --write bacteria.csv"))
def datasets(
    name: Annotated[
        str | None, typer.Argument(help="One of them.", show_default="all", autocompletion=opt.data_sets)
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Write the data set to this file as CSV.")] = None,
    json: opt.Json = None,
) -> None:
    """Describe the bundled example data, or write one to a file."""
    with readable_errors():
        from dataclasses import asdict

        from clusterglm.data import datasets as bundled

        check_files(json)
        described = [bundled.describe(each) for each in (bundled.names() if name is None else (name,))]
        if write is not None:
            _write(name, write)
            if not printed(json):
                print(f"{name} written to {write}")
        elif not printed(json):
            for known in described:
                print(f"{known.name}: {known.title}\n    {known.rows} rows, {known.clusters} clusters. {known.source}.")
                options = {name: getattr(known, name) for name in _DEFAULTS}
                wanted = {name: value for name, value in options.items() if value != _DEFAULTS[name]}
                more = "".join(f" --{name.replace('_', '-')} {value}" for name, value in wanted.items())
                print(f'    clusterglm fit {known.name} "{known.formula}" --cluster {known.cluster}{more}\n')
        write_json([asdict(known) for known in described], json)


def _write(name: str | None, file: Path) -> None:
    from clusterglm.data import datasets as bundled

    if name is None:
        from clusterglm.errors import OptionError

        listed = ", ".join(bundled.names())
        raise OptionError(
            "--write without the name of a data set",
            f"one of {listed}",
            "clusterglm datasets bacteria --write FILE",
        )
    write_bytes(file, bundled.path(name).read_bytes())
