"""`clusterglm plot`: a command for each plot, of saved fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

import clusterglm.cli.options as opt
from clusterglm.cli.common import app, example, heard_warnings, readable_errors
from clusterglm.cli.fit import given, load_table
from clusterglm.cli.output import check_files, printed, write_json
from clusterglm.cli.progress import Show, bar
from clusterglm.cli.saved import names_of, open_fit

group = typer.Typer(help="Draw a plot of a saved fit.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="plot")

Out: TypeAlias = Annotated[
    Path, typer.Option(help="The picture to write; its ending says in which format, as .png, .pdf or .svg.")
]
Theme: TypeAlias = Annotated[str, typer.Option(help="light or dark.", autocompletion=opt.one_of(("light", "dark")))]
Width: TypeAlias = Annotated[float, typer.Option(help="Of the picture, in inches.")]
Dpi: TypeAlias = Annotated[float, typer.Option(help="Dots an inch, in formats that have dots.")]
Json: TypeAlias = Annotated[
    Path | None, typer.Option(help="Write what is drawn to this file as JSON; - prints it.", show_default="none")
]
Fits: TypeAlias = Annotated[list[Path], typer.Argument(help="One or more files of `clusterglm fit ... --save FILE`.")]
Level: TypeAlias = Annotated[float, typer.Option(help="Coverage of the intervals.")]
Parameter: TypeAlias = Annotated[str | None, typer.Option(help="A coefficient, or sigma.")]
Replicates: TypeAlias = Annotated[int, typer.Option(help="Replicates.")]
Simulations: TypeAlias = Annotated[int, typer.Option(help="Simulations behind the envelope.")]


def _example(name: str, more: str = "") -> str:
    return example(f"clusterglm plot {name} fit.json {more}--out {name}.png")


@group.command(epilog=example("clusterglm plot coefficients pooled.json random.json --out coefficients.png"))
def coefficients(
    fits: Fits,
    out: Out,
    level: Level = 0.95,
    method: Annotated[str, typer.Option(help="Of the intervals: wald or profile.")] = "wald",
    cov: Annotated[str, typer.Option(help="Of Wald intervals: observed or robust.")] = "observed",
    exponentiate: Annotated[bool, typer.Option("--exponentiate", help="Odds, rate or hazard ratios.")] = False,
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Coefficients with intervals, of one fit or of several side by side."""
    own = {"level": level, "method": method, "cov": cov, "exponentiate": exponentiate}
    _draw("coefficients", fits, out, theme, width, dpi, json, own)


@group.command(epilog=_example("caterpillar"))
def caterpillar(
    fit: opt.Fit,
    out: Out,
    effect: Annotated[
        str | None, typer.Option(help="One of several random effects.", show_default="all, side by side")
    ] = None,
    level: Level = 0.95,
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Intercepts or other effects of the clusters with intervals, in order."""
    _draw("caterpillar", [fit], out, theme, width, dpi, json, given({"effect": effect}) | {"level": level})


@group.command("random-effects", epilog=_example("random-effects"))
def random_effects(
    fit: opt.Fit,
    out: Out,
    effect: Annotated[
        list[str] | None, typer.Option(help="One of the two effects; given twice.", show_default="the first two")
    ] = None,
    level: Level = 0.95,
    theme: Theme = "light",
    width: Width = 5.6,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Two random effects of the clusters against each other, with ellipses."""
    _draw("random_effects", [fit], out, theme, width, dpi, json, given({"effects": effect}) | {"level": level})


@group.command(epilog=_example("predictions", "--variable week "))
def predictions(
    fit: opt.Fit,
    out: Out,
    variable: Annotated[
        str | None, typer.Option(help="Covariate along which to predict.", show_default="the first")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The table that was fitted, where a covariate cannot be read off the fit.",
            autocompletion=opt.data_sets,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Column with a curve for each value.", show_default="what the formula lets interact with the covariate"
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE", help="Value of another column; may be repeated, for several values of one too."
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="typical or marginal; may be repeated.", show_default="both, with random effects"),
    ] = None,
    clusters: Annotated[int | None, typer.Option(help="How many clusters to show besides.")] = None,
    level: Level = 0.95,
    scale: Annotated[str | None, typer.Option(help="As for `predict`.")] = None,
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Predictions with intervals along a covariate, the others held in their middle."""
    own = given({"variable": variable, "by": by, "kinds": kind, "clusters": clusters, "scale": scale})
    with readable_errors():
        own |= {"level": level, "at": _pairs(at or [])}
        own |= {} if data is None else {"data": load_table(data)}
    _draw("predictions", [fit], out, theme, width, dpi, json, own)


@group.command(epilog=_example("rootogram"))
def rootogram(
    fits: Fits,
    out: Out,
    of: Annotated[
        str | None,
        typer.Option(help="clusters, by their events; or rows, by their count.", show_default="what the fits know"),
    ] = None,
    cells: Annotated[int, typer.Option(help="Most bars.")] = 30,
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Observed and fitted numbers of events in clusters, or of counts, of one fit or of several."""
    _draw("rootogram", fits, out, theme, width, dpi, json, {"cells": cells} | given({"of": of}))


@group.command(epilog=_example("influence"))
def influence(
    fit: opt.Fit,
    out: Out,
    parameter: Annotated[
        str | None, typer.Option(help="How far this one moves, in standard errors.", show_default="Cook's distance")
    ] = None,
    kind: Annotated[str, typer.Option(help="one_step or exact.")] = "one_step",
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """What single clusters do to the estimates."""
    own = {"kind": kind} | given({"parameter": parameter})
    _draw("influence", [fit], out, theme, width, dpi, json, own)


@group.command(epilog=_example("profile", "--parameter sigma "))
def profile(
    fit: opt.Fit,
    out: Out,
    parameter: Parameter = None,
    level: Level = 0.95,
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Profile log-likelihood of a parameter, sigma by default."""
    own = {"level": level} | given({"parameter": parameter})
    _draw("profile", [fit], out, theme, width, dpi, json, own)


@group.command(epilog=_example("density"))
def density(
    fits: Fits,
    out: Out,
    level: Annotated[float, typer.Option(help="Coverage of the band.")] = 0.95,
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Density of the random intercepts, of one fit or of several."""
    _draw("density", fits, out, theme, width, dpi, json, {"level": level})


@group.command(epilog=_example("gradient"))
def gradient(
    fit: opt.Fit,
    out: Out,
    n_boot: Annotated[int, typer.Option(help="Replicates behind the bands; 0 for none.")] = 0,
    seed: opt.Seed = None,
    jobs: opt.Jobs = 1,
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Gradient function of the fitted distribution of intercepts."""
    own = {"n_boot": n_boot, "seed": seed, "n_jobs": jobs}
    _draw("gradient", [fit], out, theme, width, dpi, json, own)


@group.command(epilog=_example("bootstrap", "--n-boot 500 --seed 1 "))
def bootstrap(
    fit: opt.Fit,
    out: Out,
    parameter: Annotated[
        str | None, typer.Option(help="A coefficient, or sigma.", show_default="the test of no clustering")
    ] = None,
    n_boot: Replicates = 999,
    resample: Annotated[
        str,
        typer.Option(
            help="What is drawn for an estimate: responses from the model, or the data's clusters.",
            autocompletion=opt.one_of(("model", "clusters")),
        ),
    ] = "model",
    seed: opt.Seed = None,
    jobs: opt.Jobs = 1,
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Simulated values of an estimate, or of the test of no clustering, with the observed one."""
    own = {"n_boot": n_boot, "seed": seed, "n_jobs": jobs, "resample": resample} | given({"parameter": parameter})
    _draw("bootstrap", [fit], out, theme, width, dpi, json, own, bar_of="replicates")


@group.command(epilog=_example("integration"))
def integration(
    fit: opt.Fit, out: Out, theme: Theme = "light", width: Width = 7.0, dpi: Dpi = 200.0, json: Json = None
) -> None:
    """Error of the log-likelihood against the number of quadrature nodes."""
    _draw("integration", [fit], out, theme, width, dpi, json, {})


@group.command(epilog=_example("calibration"))
def calibration(
    fit: opt.Fit,
    out: Out,
    groups: Annotated[int, typer.Option(help="Groups of ascending predictions.")] = 10,
    kind: Annotated[str | None, typer.Option(help="Of the predictions.")] = None,
    level: Level = 0.95,
    theme: Theme = "light",
    width: Width = 5.5,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Observed against predicted means, in groups of ascending predictions."""
    own = {"groups": groups, "level": level} | given({"kind": kind})
    _draw("calibration", [fit], out, theme, width, dpi, json, own)


@group.command(epilog=_example("qq", "--seed 1 "))
def qq(
    fit: opt.Fit,
    out: Out,
    n_sim: Simulations = 99,
    level: Level = 0.95,
    seed: opt.Seed = None,
    jobs: opt.Jobs = 1,
    theme: Theme = "light",
    width: Width = 5.5,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Quantile residuals against those of the standard normal, with an envelope from simulations."""
    own = {"n_sim": n_sim, "level": level, "seed": seed, "n_jobs": jobs}
    _draw("qq", [fit], out, theme, width, dpi, json, own, bar_of="simulations")


@group.command(epilog=_example("residuals", "--seed 1 "))
def residuals(
    fit: opt.Fit,
    out: Out,
    n_sim: Simulations = 99,
    level: Level = 0.95,
    seed: opt.Seed = None,
    jobs: opt.Jobs = 1,
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Quantile residuals against the linear predictor, with an envelope from simulations."""
    own = {"n_sim": n_sim, "level": level, "seed": seed, "n_jobs": jobs}
    _draw("residuals", [fit], out, theme, width, dpi, json, own, bar_of="simulations")


@group.command(epilog=_example("survival", "--data new.csv --time month --by treated "))
def survival(
    fit: opt.Fit,
    out: Out,
    data: Annotated[str, typer.Option(help="A row for each period of each curve: a CSV or Parquet file.")],
    time: Annotated[str, typer.Option(help="The column of periods.")],
    by: Annotated[
        list[str] | None, typer.Option(help="A column that names curves; more than once.", show_default="one curve")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="marginal or typical.", autocompletion=opt.one_of(("marginal", "typical")))
    ] = "marginal",
    level: Level = 0.95,
    theme: Theme = "light",
    width: Width = 7.0,
    dpi: Dpi = 200.0,
    json: Json = None,
) -> None:
    """Survival curves of a fit to person-periods, averaged over frailties."""
    with readable_errors():
        own = {"data": load_table(data), "time": time, "by": by, "kind": kind, "level": level}
    _draw("survival", [fit], out, theme, width, dpi, json, own)


def _draw(
    name: str,
    files: list[Path],
    out: Path,
    theme: str,
    width: float,
    dpi: float,
    json: Path | None,
    own: dict[str, Any],
    bar_of: str | None = None,
) -> None:
    """Draw what the function of this name in `clusterglm.plot` draws; `bar_of`: what it counts as it goes on."""
    with readable_errors():
        check_files(out, json)
        _check_format(out)
        import clusterglm.plot
        from clusterglm.plot.base import off_screen

        function: Callable[..., Any] = getattr(clusterglm.plot, name)
        fits = [open_fit(file) for file in files]
        subject = fits[0] if len(fits) == 1 else dict(zip(names_of(files), fits, strict=True))
        with heard_warnings(), off_screen(width):
            if bar_of is None:
                plot = function(subject, theme=theme, **own)
            else:
                with bar(bar_of) as show, _all_or_nothing(show) as progress:
                    plot = function(subject, theme=theme, progress=progress, **own)
        plot.save(out, dpi)
        if json is not None:
            write_json({"plot": name, "data": plot.data.reset_index().to_dict(orient="records")}, json)
        if not printed(json):
            print(f"{out} written")


@contextmanager
def _all_or_nothing(show: Show) -> Iterator[Show]:
    """Replicates that the user stopped end without an error; half of them make no picture here."""
    seen = [0, 0]

    def progress(done: int, wanted: int, note: str = "") -> None:
        seen[:] = done, wanted
        show(done, wanted, note)

    yield progress
    if seen[0] < seen[1]:
        raise KeyboardInterrupt


def _check_format(out: Path) -> None:
    """Refuse endings that matplotlib does not know before any work is done."""
    from clusterglm.errors import MissingPackageError, OptionError

    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as problem:
        raise MissingPackageError(
            f"plots, and matplotlib cannot be imported ({problem})",
            "matplotlib 3.9 or later",
            "pip install 'clusterglm[plot]'",
        ) from problem
    known = sorted(FigureCanvasBase.filetypes)
    if out.suffix.removeprefix(".").lower() not in known:
        raise OptionError(
            f"a picture in the file {str(out)!r}", f"a name that ends in one of {', '.join(known)}", f"{out.stem}.png"
        )


def _pairs(texts: list[str]) -> dict[str, list[Any]]:
    """The values of each column."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, value = _pair(text)
        found.setdefault(name, []).append(value)
    return found


def _pair(text: str) -> tuple[str, Any]:
    """COLUMN=VALUE, the value as a number where it is one."""
    from clusterglm.errors import OptionError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise OptionError(f"--at {text!r}", "COLUMN=VALUE", "--at week=3")
    try:
        number = float(value)
    except ValueError:
        return name, value
    return name, int(number) if number.is_integer() else number
