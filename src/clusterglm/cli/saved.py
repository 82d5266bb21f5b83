"""Fits that an earlier command saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clusterglm.cli.common import heard_warnings, resume_collections

if TYPE_CHECKING:
    from clusterglm.results.models.base import Result


def open_fit(file: Path) -> Result:
    """The fit in a file.

    Raises
    ------
    OptionError
        When there is no such file, or another kind of result in it.
    StorageError
        When it is no stored result.
    """
    from clusterglm.errors import OptionError

    if not file.is_file():
        raise OptionError(
            f"the file {str(file)!r}, which does not exist",
            "a saved fit",
            'clusterglm fit DATA "y ~ x" --cluster ID --save FILE writes one',
        )
    import clusterglm as cg
    from clusterglm.results.models.several import is_result

    with heard_warnings():
        found = cg.load(file)
    resume_collections()
    if not is_result(found):
        raise OptionError(
            f"the file {str(file)!r}, which holds a {type(found).__name__}", "one fit", "fit.save(path) of one of them"
        )
    return found


def names_of(files: list[Path]) -> list[str]:
    """What files are called beside each other: without folders and endings, where this tells them apart."""
    short = [file.name.removesuffix(".gz").rpartition(".")[0] or file.name for file in files]
    return short if len(set(short)) == len(short) else [str(file) for file in files]
