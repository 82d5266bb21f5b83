"""`clusterglm study`: run the simulation studies, and report them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import app, example, readable_errors, resume_collections
from clusterglm.cli.output import check_files, printed, write_json
from clusterglm.cli.progress import bar
from clusterglm.data.files import write_text

if TYPE_CHECKING:
    from clusterglm.study.runner import Progress

_HELP = {
    "effects": "Clusters as fixed effects or as random effects: tests of no clustering, bias and precision.",
    "distribution": "A random intercept whose distribution is not the one assumed: bias, precision, selection.",
    "timing": "An intercept for each of 1000 clusters, profiled out or as dummies.",
}
_REPLICATES = {"effects": 1000, "distribution": 100, "timing": 1}

group = typer.Typer(
    help="Simulation studies: the two of Holmberg's thesis and its timing example, at any size.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(group, name="study")


def _command(name: str) -> Callable[..., None]:
    def command(
        out: Annotated[Path, typer.Option(help="The Parquet file to write; an interrupted run of it goes on.")],
        replicates: Annotated[int, typer.Option(help="Data sets for each cell of the design.")] = _REPLICATES[name],
        seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 1,
        workers: Annotated[int, typer.Option(help="Processes or threads.")] = 1,
        scheduler: Annotated[
            str,
            typer.Option(
                help="processes, threads, dask (a cluster on this machine), or the address of a Dask scheduler."
            ),
        ] = "processes",
        settings: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="FACTOR=LEVEL,...", help="Other levels of a factor; may be repeated."),
        ] = None,
        report: Annotated[Path | None, typer.Option(help="Write a report to this HTML file.")] = None,
        json: opt.Json = None,
    ) -> None:
        with readable_errors():
            check_files(report, json)
            if report is not None:
                _need_report()
            from clusterglm.study.catalogue import bundled, read_findings
            from clusterglm.study.runner import run_study

            study = bundled(name).with_levels(settings or [])
            resume_collections()
            with dask_or_none(scheduler, workers) as client, _bar(name) as progress:
                done = run_study(
                    study, replicates, out, seed=seed, workers=workers, threads=scheduler == "threads",
                    client=client, progress=progress,
                )  # fmt: skip
            findings = read_findings([out])[0]
            if not printed(json):
                print(
                    f"{out}: {done.replicates} replicates, {done.failed} of them with a failure; "
                    f"{done.seconds:.0f} s, {done.cpu_seconds:.0f} s of processor time in all\n"
                )
                print(findings)
            write_json({"run": asdict(done), "findings": asdict(findings)}, json)
            if report is not None:
                _write_report([out], report)
                if not printed(json):
                    print(f"report written to {report}")

    return command


for _name, _text in _HELP.items():
    _end = example(f"clusterglm study {_name} --out {_name}.parquet --replicates {_REPLICATES[_name]} --workers 2")
    group.command(_name, help=_text, epilog=_end)(_command(_name))


@group.command("report", epilog=example("clusterglm study report effects.parquet --out effects.html"))
def report_command(
    files: Annotated[list[Path], typer.Argument(help="Parquet files of one study, from runs with different seeds.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file.", show_default="the first, with .html")] = None,
) -> None:
    """Write the report of a study that was run."""
    with readable_errors():
        target = out or files[0].with_suffix(".html")
        check_files(target)
        _need_report()
        _write_report(files, target)
        print(f"report written to {target}")


def _write_report(files: list[Path], target: Path) -> None:
    from clusterglm.report.study import study_report
    from clusterglm.study.catalogue import read_findings

    findings, runs = read_findings(files)
    text = study_report(findings, runs)
    write_text(target, text)


def _need_report() -> None:
    """Refuse before any work what would fail after it."""
    from importlib.util import find_spec

    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        from clusterglm.errors import OptionError

        raise OptionError(
            f"a report without {' and '.join(missing)}", "the packages that draw it", "pip install 'clusterglm[report]'"
        )


@contextmanager
def dask_or_none(scheduler: str, workers: int) -> Iterator[Any]:
    """A client of Dask, or None."""
    if scheduler in ("processes", "threads"):
        yield None
        return
    from clusterglm.study.dask import LOCAL, dask_client

    if scheduler != LOCAL and "://" not in scheduler:
        from clusterglm.errors import OptionError

        raise OptionError(
            f"--scheduler {scheduler}", "processes, threads, dask, or an address", "--scheduler tcp://127.0.0.1:8786"
        )
    with dask_client(scheduler, workers) as client:
        yield client


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Progress], None]]:
    """A bar with the time that is left, where standard error is a terminal."""
    with bar(name) as draw:

        def show(progress: Progress) -> None:
            failed = f", {progress.failed} with failures" if progress.failed else ""
            draw(progress.done, progress.total, f"{_clock(progress.seconds_left)} left{failed}")

        yield show


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
