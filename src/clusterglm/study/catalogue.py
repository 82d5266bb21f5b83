"""The studies that come with the package, by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterglm.errors import StudyError, check_option
from clusterglm.results.findings import Findings
from clusterglm.study.design import Study
from clusterglm.study.runner import description

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("effects", "distribution", "timing")


def bundled(name: str) -> Study:
    """One of them.

    Raises
    ------
    OptionError
    """
    study: Study = import_module(f"clusterglm.study.{check_option('study', name, NAMES)}").STUDY
    return study


def command(about: dict[str, Any], out: str) -> str:
    """The command line that makes a file again.

    Parameters
    ----------
    about : dict
        From `description`.
    out : str
        Name of the file.
    """
    usual = bundled(about["study"]).factors
    settings = [
        f"--set {name}={','.join(str(level) for level in levels)}"
        for name, levels in about["factors"].items()
        if list(usual[name]) != levels
    ]
    words = ["clusterglm study", about["study"], "--replicates", str(about["replicates"]), "--seed", str(about["seed"])]
    return " ".join([*words, *settings, "--out", out])


def read_findings(paths: list[Path]) -> tuple[Findings, list[dict[str, Any]]]:
    """What files of one study say together, and what each of them is.

    Parameters
    ----------
    paths : list of Path

    Returns
    -------
    findings : Findings
    runs : list of dict
        For each file its `description`, with "command" and "file".

    Raises
    ------
    StudyError
        When a file is of no bundled study, of another one than the first, or repeats the numbers of another.
    """
    runs = [description(path) for path in paths]
    name, seen = runs[0]["study"], []
    if name not in NAMES:
        raise StudyError(f"{paths[0]} is of the study {name!r}", f"one of {', '.join(NAMES)}", "a report of your own")
    for path, run in zip(paths, runs, strict=True):
        if run["study"] != name or run["study_version"] != runs[0]["study_version"]:
            raise StudyError(f"{path} is of another study than {paths[0]}", "files of one", "a report for each")
        if run["seed"] in seen:
            raise StudyError(f"{path} has the seed of another file", "independent replicates", "--seed, another one")
        seen.append(run["seed"])
        run |= {"command": command(run, path.name), "file": path.name}
    findings: Findings = import_module(f"clusterglm.study.{name}_findings").findings(_rows(paths))
    return findings, runs


def _rows(paths: list[Path]) -> pd.DataFrame:
    import pandas as pd

    tables = [pd.read_parquet(path).assign(run=k) for k, path in enumerate(paths)]
    return pd.concat(tables, ignore_index=True)
