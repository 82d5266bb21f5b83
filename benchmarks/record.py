"""The one form in which benchmarks give their figures: measured part by part, kept at once, printed as a table.

A script names its parts and calls `run`. Each part is written to `results/NAME.json` when it is done, with the commit,
the machine, the versions and the date, and is not measured again while the same commit, options and machine would
measure it. A run that was interrupted therefore goes on where it was. Runs with options of their own are kept apart, in
`build/benchmarks/`: what is published is made with the defaults.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ASIDE = HERE.parent / "build" / "benchmarks"
MEASURED = ("src", "cpp", "CMakeLists.txt", "benchmarks", ":(exclude)benchmarks/results", ":(exclude)benchmarks/*.md")
"""What a figure depends on: a commit that changes nothing here leaves figures valid."""


@dataclass(frozen=True)
class Figure:
    """A measured claim.

    `value` is what is stated, `low` and `high` the least and the largest over `turns` (or None where it was measured
    once, or is a count). `against` names the peer or floor, `at_most` and `at_least` what the project promises.
    """

    claim: str
    words: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    turns: int = 1
    against: str = ""
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def kept(self) -> bool | None:
        """Whether the promise is kept; None where there is none."""
        if self.at_most is None and self.at_least is None:
            return None
        above = -math.inf if self.at_least is None else self.at_least
        below = math.inf if self.at_most is None else self.at_most
        return above <= self.value <= below


@dataclass(frozen=True)
class Missing:
    """What was not measured, and why."""

    words: str
    why: str


@dataclass(frozen=True)
class Part:
    """Figures that were measured together, and the circumstances."""

    figures: tuple[Figure, ...]
    missing: tuple[Missing, ...]
    commit: str
    date: str
    machine: str
    others: float | None
    """Cores that other processes kept busy meanwhile, on average; None where the system does not say."""
    seconds: float
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Part:
        figures = tuple(Figure(**figure) for figure in stored["figures"])
        return cls(**stored | {"figures": figures, "missing": tuple(Missing(**one) for one in stored["missing"])})


Measure = Callable[[argparse.Namespace], Iterable[Figure | Missing]]


def run(
    name: str,
    doc: str,
    parts: dict[str, Measure],
    long: dict[str, Measure] | None = None,
    packages: Iterable[str] = (),
    **defaults: Any,
) -> None:
    """Measure the parts of a script that are asked for and not there yet.

    Parameters
    ----------
    name : str
        Of the script and of its file of results.
    doc : str
        Its docstring; the first line is printed.
    parts, long : dict
        What to measure, in order; `long` only with `--all`.
    packages : iterable of str
        Distributions whose versions matter, besides clusterglm, numpy and scipy.
    **defaults
        The script's options and their values.
    """
    options = _options(doc, defaults, (*parts, *(long or {})))
    own = {key: getattr(options, key) for key in defaults}
    folder = options.out or (RESULTS if own == defaults else ASIDE)
    chosen = {**parts, **(long or {})} if options.all or options.only else parts
    failed = []
    print(doc.strip().splitlines()[0], flush=True)
    for part, measure in chosen.items():
        if options.only and part not in options.only:
            continue
        kept = read(folder / f"{name}.json").get(part)
        if kept is not None and not options.again and _valid(kept, own):
            show(part, kept, "measured before, at the same commit")
            continue
        try:
            done = _measured(measure, options, own, packages)
        except Exception:  # the parts that follow are measured all the same
            traceback.print_exc()
            failed.append(part)
            continue
        write(folder / f"{name}.json", part, done)
        show(part, done, f"{done.seconds:.0f} s")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def read(path: Path) -> dict[str, Part]:
    """The parts in a file of results; none where there is no file."""
    if not path.exists():
        return {}
    return {name: Part.from_dict(part) for name, part in json.loads(path.read_text()).items()}


def write(path: Path, name: str, part: Part) -> None:
    """Put one part into a file; whoever interrupts this finds the file as it was or as it shall be."""
    parts = {known: asdict(other) for known, other in read(path).items()} | {name: asdict(part)}
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(parts, indent=1) + "\n")
    scratch.replace(path)


def show(name: str, part: Part, how: str) -> None:
    """A plain table."""
    print(f"\n{name} ({how})", flush=True)
    width = max((len(figure.words) for figure in part.figures), default=0)
    for figure in part.figures:
        spread = (
            "" if figure.low is None else f"  ({_number(figure.low)} to {_number(figure.high)}, {figure.turns} turns)"
        )
        limit = {None: "", True: "  kept", False: "  NOT KEPT"}[figure.kept]
        promised = f"  {promise(figure)}:{limit}" if limit else ""
        print(f"  {figure.words:{width}s}{_number(figure.value):>9s} {figure.unit:6s}{spread}{promised}", flush=True)
    for one in part.missing:
        print(f"  not measured: {one.words} ({one.why})", flush=True)


def promise(figure: Figure) -> str:
    """What the project promises of a figure, in words."""
    limits = [("at least", figure.at_least), ("at most", figure.at_most)]
    return ", ".join(f"{words} {limit:g}" for words, limit in limits if limit is not None)


def timed(claim: str, words: str, seconds: list[float], **more: Any) -> Figure:
    """A time: the median over turns, with the least and the largest."""
    return _over_turns(claim, words, seconds, "s", **more)


def ratio(claim: str, words: str, above: list[float], below: list[float], **more: Any) -> Figure:
    """How many times as long: the median over turns, each turn's two times divided; of medians where turns differ."""
    if len(above) == len(below):
        return _over_turns(claim, words, [a / b for a, b in zip(above, below, strict=True)], "times", **more)
    return Figure(claim, words, _median(above) / _median(below), "times", **more)


def measured(claim: str, words: str, values: list[float], unit: str, **more: Any) -> Figure:
    """Anything else that was measured in turns."""
    return _over_turns(claim, words, values, unit, **more)


def in_turns(
    runs: dict[str, Callable[[], object]],
    turns: int,
    budget: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
    warmed: dict[str, float] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each run, one after the other in turns, so that a slow spell of the machine meets all of them.

    The first turn warms up and is not counted. What has taken more than `budget` seconds is not run again; where that
    was the first turn, its time, imports included, counts after all. `warmed` are seconds of first turns that the
    caller has made; then there is no other.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    first = dict(warmed or {})
    spent = {name: first.get(name, 0.0) for name in runs}
    for turn in range(-1 if warmed is None else 0, turns):
        for name, work in runs.items():
            if spent[name] > budget:
                continue
            start = clock()
            work()
            took = clock() - start
            spent[name] += took
            if turn >= 0:
                seconds[name].append(took)
            else:
                first[name] = took
    return {name: values or [first[name]] for name, values in seconds.items()}


def installed(package: str) -> str | None:
    """Version of a distribution, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _over_turns(claim: str, words: str, values: list[float], unit: str, **more: Any) -> Figure:
    if len(values) == 1:
        return Figure(claim, words, values[0], unit, **more)
    return Figure(claim, words, _median(values), unit, min(values), max(values), len(values), **more)


def _median(values: list[float]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2.0


def _number(value: float) -> str:
    if value == 0.0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:.1e}"


def _options(doc: str, defaults: dict[str, Any], parts: Iterable[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"{value} by default")
    parser.add_argument("--all", action="store_true", help="the long parts too")
    parser.add_argument("--only", nargs="+", choices=list(parts), help="these parts alone")
    parser.add_argument("--again", action="store_true", help="also what this commit has measured")
    parser.add_argument("--out", type=Path, help="folder for the results")
    return parser.parse_args()


def _measured(measure: Measure, options: argparse.Namespace, own: dict[str, Any], packages: Iterable[str]) -> Part:
    date, others, start = datetime.date.today().isoformat(), _others(), time.perf_counter()
    found = list(measure(options))
    seconds, before, after = time.perf_counter() - start, others, _others()
    versions = {name: installed(name) for name in ("clusterglm", "numpy", "scipy", *packages)}
    part = Part(
        figures=tuple(one for one in found if isinstance(one, Figure)),
        missing=tuple(one for one in found if isinstance(one, Missing)),
        commit=commit(),
        date=date,
        machine=machine(),
        others=None if before is None or after is None else round(max(after - before, 0.0) / seconds, 1),
        seconds=round(seconds, 1),
        options=own,
        versions={"python": platform.python_version()} | {k: v for k, v in versions.items() if v is not None},
    )
    return replace(part, figures=tuple(_rounded(figure) for figure in part.figures))


def _others() -> float | None:
    """Seconds for which cores were busy with anything but this process and its children, since the machine started."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, interrupts, soft, stolen = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
    busy = (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")
    return busy - sum(os.times()[:4])


def _rounded(figure: Figure) -> Figure:
    """Four digits: more would be noise in a file that people compare."""
    shorter = {
        key: float(f"{getattr(figure, key):.4g}")
        for key in ("value", "low", "high")
        if getattr(figure, key) is not None
    }
    return replace(figure, **shorter)


def _valid(part: Part, own: dict[str, Any]) -> bool:
    here = (commit(), machine(), json.loads(json.dumps(own)))
    return not part.commit.endswith("changed") and (part.commit, part.machine, part.options) == here


def commit(root: Path = HERE.parent) -> str:
    """The last commit that changed what is measured; "... changed" where the working tree has."""
    last = _git(root, "log", "-1", "--format=%h", "--", *MEASURED)
    if not last:
        return "unknown, changed"
    return f"{last}, changed" if _git(root, "status", "--porcelain", "--", *MEASURED) else last


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def machine() -> str:
    """Processor, number of cores, system."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


if __name__ == "__main__":
    sys.exit("This is what the benchmarks share; run one of them, or run.py.")
