"""The page of benchmarks and the figures in README, from what was measured (`benchmarks/results/*.json`).

    python docs/tools/benchmarks.py             say where page and README state something else
    python docs/tools/benchmarks.py --update    write both

README has some of the rows that the page begins with. Figures without results stay as they are in README, and the page
says what was not measured.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from record import RESULTS, Figure, Part, promise, read  # noqa: E402

PAGE = ROOT / "docs" / "evidence" / "benchmarks.md"
README = ROOT / "README.md"
Results = dict[str, dict[str, Part]]

TITLES = {
    "random_effects": "Random effects beside other programs",
    "distributions": "Distributions of the intercept",
    "random_slopes": "Random slopes",
    "gaussian": "Linear mixed models",
    "own_parameters": "Responses with parameters of their own",
    "crossed": "Crossed factors beside other programs",
    "fixed_effects": "Fixed effects and conditional likelihood beside other programs",
    "kernels": "One evaluation of the likelihood",
    "linearity": "From 10,000 to 10 million rows",
    "accuracy": "Real data with known maxima",
    "memory": "Memory beyond the input",
    "larger_than_memory": "Files larger than memory",
    "extremes": "Very long and very many clusters",
    "machines": "More than one machine",
    "study": "A replicate of a simulation study",
    "startup": "Starting",
    "coverage": "Intervals",
    "coverage_slopes": "Intervals of several random effects",
    "coverage_contrasts": "Intervals of adjusted means and contrasts",
    "coverage_resampling": "Intervals of clusters drawn, or left out",
    "certified_slopes": "Log-likelihoods of several effects against an oracle",
    "posterior": "Draws from posteriors",
    "random_slopes_models": "Random small models with slopes",
    "certified": "Log-likelihoods against an oracle",
    "selection": "Choosing the distribution of the intercept",
    "clustering_size": "Tests of no clustering",
    "gradient_function": "The gradient function's test",
    "smooth": "Smooth densities of the intercept",
}
LONG = {
    "larger_than_memory": ("20 million rows, scattered", "20 million rows, sorted"),
    "extremes": ("single rows", "long clusters", "conditional"),
    "own_parameters": ("coverage", "fixed"),
    "coverage": ("coverage",),
    "coverage_slopes": ("coverage", "oracle"),
    "coverage_contrasts": ("coverage",),
    "coverage_resampling": ("coverage",),
    "certified_slopes": ("random", "extreme", "three"),
    "posterior": (
        "calibration_independence",
        "calibration_hamiltonian",
        "calibration_negative_binomial",
        "calibration_ordinal",
        "calibration_gamma",
        "calibration_slopes",
        "calibration_nested",
        "calibration_crossed",
        "calibration_inflated",
        "calibration_hurdle",
        "calibration_student_t",
        "calibration_gaussian_mixture",
    ),
    "random_slopes_models": ("models",),
    "certified": ("ten times as many",),
    "selection": ("clusters of 5", "clusters of 20"),
    "clustering_size": ("clusters of 2", "clusters of 5", "clusters of 10"),
    "gradient_function": ("gaussian", "two points"),
    "smooth": ("two humps", "gaussian"),
}
"""Parts that only `make bench-all` measures."""
_KEPT = "\u00a0"  # a space at which no line ends
ABOUT = {
    "large": "100,000 clusters of 5",
    "few": "2,000 clusters of 5",
    "tiny": "300 clusters of 5",
    "glum": "The promise of the first table, measured more often",
    "everything": "",
}
INTRODUCTION = """# Benchmarks

<!-- written by docs/tools/benchmarks.py from benchmarks/results -->

`make bench` measures this page, `make bench-all` the long simulations too. Everyone gets the same data, in turns within
one process and with one thread unless said otherwise (R: a process of its own, timed inside). Figures are medians over
the turns, with the least and the largest. Times are of the machine named below each table; ratios carry over to others.
What the project promises is checked when it is measured, and broken promises stay on the page.
"""


def results(folder: Path = RESULTS) -> Results:
    """What was measured, by script and part."""
    return {path.stem: read(path) for path in sorted(folder.glob("*.json"))}


def page(found: Results) -> str:
    """The whole page."""
    text = INTRODUCTION + "\n" + _promises(found) + _in_short(found)
    for name, title in TITLES.items():
        if found.get(name):
            parts = sorted(found[name].items(), key=lambda part: ABOUT.get(part[0]) != "")  # what has no heading first
            sections = (_section(name, part, measured) for part, measured in parts)
            text += f"\n## {title}\n\n{_about(name)}\n\n" + "\n".join(sections)
    return text + "\n" + _absent(found)


def _promises(found: Results) -> str:
    promised = [
        (figure, name)
        for name in TITLES
        for part in found.get(name, {}).values()
        for figure in part.figures
        if figure.kept is not None
    ]
    broken = [(figure, name) for figure, name in promised if not figure.kept]
    if not promised:
        return "Nothing that is promised has been measured.\n"
    if not broken:
        return f"All {len(promised)} promises that were measured are kept.\n"
    lines = [
        f"- {figure.words}: {amount(figure)}, promised {promise(figure)} ([{TITLES[name]}](#{_anchor(TITLES[name])}))"
        for figure, name in broken
    ]
    return f"{len(promised) - len(broken)} of {len(promised)} promises are kept. Broken:\n\n" + "\n".join(lines) + "\n"


def _in_short(found: Results) -> str:
    """The rows of `ROWS` that were measured, each linked to its table."""
    numbers, lines = Numbers(found), []
    for first, (script, words) in ROWS.items():
        with contextlib.suppress(KeyError):
            lines.append(f"| {first} | {words(numbers)} | [{TITLES[script]}](#{_anchor(TITLES[script])}) |")
    table = ["\n## In short", "", "| measured | figure | where |", "|---|---|---|", *lines]
    return "\n".join(table) + "\n" if lines else ""


def _about(script: str) -> str:
    """What the script says of itself, without its command."""
    words = ast.get_docstring(ast.parse((RESULTS.parent / f"{script}.py").read_text())) or ""
    return "\n\n".join(piece for piece in words.split("\n\n") if not piece.lstrip().startswith("python benchmarks/"))


def _table(part: Part) -> list[str]:
    """A line for each figure; a peer's time and how many times ours that is share one."""
    ratios = {one.claim.removeprefix("ratio "): one for one in part.figures if one.claim.startswith("ratio ")}
    peers = {name for name in ratios if any(one.claim == f"time {name}" for one in part.figures)}
    header = ["", "figure", "least to largest", *(["times ours"] if peers else []), "beside", "promised"]
    rows = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for figure in part.figures:
        name = figure.claim.partition(" ")[2]
        if figure.claim.startswith("ratio ") and name in peers:
            continue
        beside = [""] if peers else []
        if figure.claim.startswith("time ") and name in peers:
            beside = [" ".join(filter(None, (_number(ratios[name].value), _spread(ratios[name], "({} to {})"))))]
        kept = {None: "", True: ": kept", False: ": **broken**"}[figure.kept]
        spread = _spread(figure, f"{{}} to {{}}, {figure.turns}{_KEPT}turns")
        cells = (
            figure.words,
            amount(figure).replace(" ", _KEPT),
            spread,
            *beside,
            figure.against,
            promise(figure) + kept,
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def _spread(figure: Figure, form: str) -> str:
    return "" if figure.low is None or figure.high is None else form.format(_number(figure.low), _number(figure.high))


def _section(script: str, name: str, part: Part) -> str:
    """A part's table, what there is to say of its figures, and its circumstances."""
    heading = ABOUT.get(name, (name[0].upper() + name[1:]).replace("_", " "))
    rows = _table(part)
    notes = [f"- {figure.words}: {figure.note}" for figure in part.figures if figure.note]
    versions = ", ".join(f"{package} {number}" for package, number in part.versions.items())
    busy = (
        f"; other processes kept {part.others:g} cores busy" if part.others is not None and part.others >= 0.3 else ""
    )
    made = (
        f"`python benchmarks/{script}.py`, {part.date}, commit {part.commit}, {part.seconds:.0f} s; "
        f"{part.machine}{busy}; {versions}."
    )
    pieces = [f"### {heading}" if heading else "", "\n".join(rows), "\n".join(notes), f"<small>{made}</small>"]
    return "\n\n".join(piece for piece in pieces if piece) + "\n"


def _absent(found: Results) -> str:
    lines = [
        f"- {title}: `benchmarks/{name}.py` has not been run" for name, title in TITLES.items() if not found.get(name)
    ]
    for name, parts in LONG.items():
        absent = [part for part in parts if part not in found.get(name, {})]
        if absent and found.get(name):
            lines.append(f"- {TITLES[name]}: {', '.join(absent)} (`python benchmarks/{name}.py --all`)")
    for name in TITLES:
        for part in found.get(name, {}).values():
            lines += [f"- {TITLES[name]}: {one.words} ({one.why})" for one in part.missing]
    return "## What was not measured\n\n" + ("\n".join(dict.fromkeys(lines)) or "Nothing is missing.") + "\n"


class Numbers:
    """Figures by script, part and claim, as README words them; `KeyError` where there is none."""

    def __init__(self, found: Results) -> None:
        self._found = found

    def figure(self, script: str, part: str, claim: str) -> Figure:
        return next((one for one in self._found[script][part].figures if one.claim == claim), None) or self._absent(
            script, part, claim
        )

    def __call__(self, script: str, part: str, claim: str) -> str:
        """The value alone, to two digits."""
        return _two(self.figure(script, part, claim).value)

    def range(self, script: str, part: str, claim: str) -> str:
        """From the least to the largest."""
        one = self.figure(script, part, claim)
        low, high = _two(one.value if one.low is None else one.low), _two(one.value if one.high is None else one.high)
        return low if low == high else f"{low} to {high}"

    def version(self, script: str, part: str, package: str) -> str:
        return self._found[script][part].versions[package]

    @staticmethod
    def _absent(*key: str) -> Figure:
        raise KeyError(key)


def _large(n: Numbers) -> str:
    glmm = ("random_effects", "large", "time glmm, 7 nodes")
    ratio = n("random_effects", "large", "ratio glmm, 7 nodes")
    return (
        f"{n('random_effects', 'large', 'logit, 8 nodes')} s; glmm {n.version('random_effects', 'large', 'glmm')} "
        f"with 7 nodes {n(*glmm)} s, {ratio} times as long"
    )


ROWS: dict[str, tuple[str, Callable[[Numbers], str]]] = {
    "18 exact maxima on real data (Gaussian, logistic, Cauchy): log-likelihood": (
        "accuracy",
        lambda n: f"within {n('accuracy', 'exact maxima', 'loglik')}",
    ),
    "the same: estimates, in standard errors": (
        "accuracy",
        lambda n: f"within {n('accuracy', 'exact maxima', 'estimates')}",
    ),
    "the same: time of a whole fit, formula included": (
        "accuracy",
        lambda n: f"{n.range('accuracy', 'exact maxima', 'time')} ms",
    ),
    "2,000 clusters of 5, logit, 8 nodes": (
        "random_effects",
        lambda n: (
            f"{n('random_effects', 'few', 'logit, 8 nodes')} s; lme4 "
            f"{n('random_effects', 'few', 'time lme4, 8 nodes')} s (timed one after the other)"
        ),
    ),
    "100,000 clusters of 5, logit, 8 nodes": ("random_effects", _large),
    'the same with `quadrature="auto"`': (
        "random_effects",
        lambda n: f"{n('random_effects', 'large', 'logit, automatic')} s",
    ),
    "Poisson, the same size, 8 nodes": (
        "random_effects",
        lambda n: f"{n('random_effects', 'large', 'Poisson, 8 nodes')} s",
    ),
    "a plain GLM of the same data, no clusters at all": (
        "random_effects",
        lambda n: (
            f"statsmodels {n('random_effects', 'large', 'time statsmodels GLM, no clusters')} s, glum "
            f"{n('random_effects', 'large', 'time glum, no clusters, no standard errors')} s"
        ),
    ),
    "the same with fixed effects, formula included": (
        "fixed_effects",
        lambda n: (
            f"{n.range('fixed_effects', 'large', 'fixed effects')} s; fereg "
            f"{n.version('fixed_effects', 'large', 'fereg')} {n.range('fixed_effects', 'large', 'time fereg, feglm')} s"
        ),
    ),
    "conditional logit, one stratum of 10,000 rows, 5,000 events": (
        "fixed_effects",
        lambda n: f"{n.range('fixed_effects', 'large', 'conditional, one stratum of 10,000 rows, 5,000 events')} s",
    ),
    "95% profile intervals of sigma, 200 clusters of 5: coverage": (
        "coverage",
        lambda n: f"{n.figure('coverage', 'coverage', 'sigma profile').value:.1f}% (5,000 data sets)",
    ),
    "200 clusters of 5, Cauchy intercepts: AIC picks Cauchy": (
        "selection",
        lambda n: (
            f"{n.figure('selection', 'clusters of 5', 'cauchy AIC, exact').value:.1f}%; with 8 nodes on the density "
            f"scale {n.figure('selection', 'clusters of 5', 'cauchy AIC, 8 nodes, density scale').value:.0f}%"
        ),
    ),
    "peak memory beyond the input": (
        "memory",
        lambda n: (
            f"{n('memory', 'everything', 'auto sorted')} design matrices, "
            f"{n('memory', 'everything', 'auto shuffled')} with rows in no order"
        ),
    ),
    "20 million rows in Parquet files, clusters scattered, 8 nodes, two threads": (
        "larger_than_memory",
        lambda n: (
            f"{n('larger_than_memory', '20 million rows, scattered', 'fit')} s, peak memory "
            f"{n('larger_than_memory', '20 million rows, scattered', 'memory')} GiB"
        ),
    ),
    "one replicate of a study, 200 clusters of 5: Laplace, 8 nodes": (
        "study",
        lambda n: (
            f"{n('study', 'methods', 'mixed, Laplace')} and {n('study', 'methods', 'mixed, 8 nodes')} ms; lme4 "
            f"{n('study', 'R', 'lme4 glmer, Laplace')} and {n('study', 'R', 'lme4 glmer, 8 nodes')} ms"
        ),
    ),
    "`import clusterglm` / `import numpy`": (
        "startup",
        lambda n: n.range("startup", "processes", "import clusterglm / import numpy"),
    ),
    "`clusterglm fit`, whole process / `import formulaic`": (
        "startup",
        lambda n: n.range("startup", "processes", "clusterglm fit / import formulaic"),
    ),
}
"""Rows by their first cell: the script that measures them, and what the second cell says."""


def readme(text: str, found: Results) -> str:
    """README with the figures that were measured."""
    numbers, lines = Numbers(found), []
    for line in text.split("\n"):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        lines.append(line if len(cells) != 3 or cells[0] not in ROWS else _row(cells, numbers))
    return "\n".join(lines)


def _row(cells: list[str], numbers: Numbers) -> str:
    script, words = ROWS[cells[0]]
    with contextlib.suppress(KeyError):  # not measured: as it was
        cells = [cells[0], words(numbers), f"`benchmarks/{script}.py`"]
    return "| " + " | ".join(cells).rstrip() + " |"


def amount(figure: Figure) -> str:
    """A figure with its unit."""
    return f"{_number(figure.value)} {figure.unit}".replace(" %", "%").strip()


def _number(value: float) -> str:
    if value == 0.0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:.1e}"


def _two(value: float) -> str:
    """Two digits, as README has them; 7.4e-9 and not 7.4e-09."""
    if 0.0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.0f}" if value >= 10.0 else f"{value:.1f}" if value >= 1.0 else f"{value:.2g}"


def _anchor(title: str) -> str:
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -")
    return "-".join(kept.split())


def main(arguments: list[str]) -> int:
    found = results()
    wanted = {PAGE: page(found), README: readme(README.read_text(), found)}
    wrong = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in wrong:
        if "--update" in arguments:
            path.write_text(wanted[path])
        sys.stderr.write(
            f"{path.relative_to(ROOT)} {'written' if '--update' in arguments else 'is not what was measured'}\n"
        )
    return len(wrong) > 0 and "--update" not in arguments


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
