"""`clusterglm datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clusterglm.cli.common import app, check_folders, readable_errors


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="One of them.", show_default="all")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the data set to this file as CSV.")] = None,
) -> None:
    """Describe the bundled example data, or write one to a file."""
    with readable_errors():
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
        check_folders(write)
        write.write_bytes(content)
        print(f"{name} written to {write}")
