"""What the study of misspecified intercepts says of truths that no model assumes, and of a smooth distribution."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterglm.results.findings import NOT_RUN, Claim, Estimate, Figure, Panel, Series, Table, verdict
from clusterglm.study.distribution import ACCURATE, ASSUMED, BETA, SMOOTH
from clusterglm.study.estimates import errors, slope_ratio
from clusterglm.study.summary import accuracy, mean, share
from clusterglm.study.tables import Grid
from clusterglm.study.truths import OTHERS

AGRESTI = "after Agresti, Caffo and Ohman-Strickland, Computational Statistics & Data Analysis 47, 2004"
LITIERE = "after Litière, Alonso and Molenberghs, Statistics in Medicine 27, 2008"
KOMAREK = "after Komárek and Lesaffre, Computational Statistics & Data Analysis 52, 2008"
NEAR = 0.05  # of a slope or an intercept, a bias that is called small
_HARDLY = 0.03  # by which one RMSE is larger than another, and is still called as good
_NEEDED = (f"needs truth = {' or '.join(OTHERS)} and covariates = two",)
_SMOOTH_NEEDED = ("needs smooth = 1",)


def claims(grid: Grid) -> tuple[Claim, ...]:
    """Of fits with covariates, accurately integrated.

    Parameters
    ----------
    grid : Grid
        All truths.
    """
    both = _with_smooth(grid)
    return (_slopes(grid), _intercept_and_scale(grid), _found(both), _costs(both))


def _with_smooth(grid: Grid) -> Grid:
    """Data that the smooth model was fitted to as well; older files know nothing of it."""
    return grid.at(smooth=1) if "smooth" in grid.table else Grid(grid.table[:0], grid.methods)


def _cells(grid: Grid, truths: tuple[str, ...]) -> Iterator[tuple[str, Grid]]:
    kept = Grid(grid.table[grid.table.truth.isin(truths)], grid.methods)
    return kept.cells("truth", "size", "sigma")


def _has(grid: Grid, assumed: str) -> bool:
    return bool((grid.table.assumed == assumed).any())


def _both_slopes(at: Grid, assumed: str) -> Estimate:
    """Bias of the mean of two slopes whose truths are 1."""
    one, other = (errors(at, ACCURATE, assumed, f"slope{k}", BETA[k]) for k in (1, 2))
    return accuracy(0.5 * (one + other), 0.0).bias


def _slopes(grid: Grid) -> Claim:
    text = "Skewed intercepts, and intercepts in two humps, hardly bias the slopes of the Gaussian model"
    evidence, votes = [], []
    for name, at in _cells(grid, OTHERS):
        found = _both_slopes(at, "gaussian")
        votes.append(-Estimate(abs(found.value), found.error).beyond(NEAR))
        evidence.append(f"{name}: {found}")
    if not votes:
        return Claim(text, AGRESTI, NOT_RUN, _NEEDED)
    end = f"Bias of both slopes together, whose truths are 1. Verdict: less than {NEAR:.0%} in every cell."
    return Claim(text, AGRESTI, verdict(votes), ("; ".join(evidence) + ".", end), "distance")


def _intercept_and_scale(grid: Grid) -> Claim:
    text = "Skewed intercepts, and intercepts in two humps, bias the intercept or the scale of the Gaussian model"
    evidence, votes = [], []
    for name, at in _cells(grid, OTHERS):
        sigma = float(at.table.sigma.iloc[0])
        intercept = accuracy(errors(at, ACCURATE, "gaussian", "intercept", BETA[0]), 0.0).bias
        scale = accuracy(errors(at, ACCURATE, "gaussian", "sigma_hat", sigma) / sigma, 0.0).bias
        evidence.append(f"{name}: intercept {intercept}, scale {scale.percent()}")
        larger = [Estimate(abs(intercept.value), intercept.error).beyond(NEAR * BETA[0])]
        larger.append(Estimate(abs(scale.value), scale.error).beyond(NEAR))
        votes.append(max(larger))
    if not votes:
        return Claim(text, LITIERE, NOT_RUN, _NEEDED)
    end = f"Verdict: either is off by more than {NEAR:.0%} in every cell."
    return Claim(text, LITIERE, verdict(votes), ("; ".join(evidence) + ".", end), "distance")


def _paired(at: Grid, column: str) -> tuple[np.ndarray, np.ndarray]:
    """One column of the smooth and of the Gaussian model, replicate by replicate."""
    smooth, gaussian = (errors(at, ACCURATE, assumed, column, 0.0) for assumed in (SMOOTH, "gaussian"))
    return smooth, gaussian


def _found(grid: Grid) -> Claim:
    text = "A smooth distribution finds the true one where it is skewed or has two humps"
    evidence, votes = [], []
    for name, at in _cells(grid, OTHERS):
        smooth, gaussian = _paired(at, "distance")
        gain = mean(smooth - gaussian)
        votes.append(-gain.beyond(0.0))
        evidence.append(
            f"{name}: {mean(smooth)} from the truth, the Gaussian model {mean(gaussian)}; AIC prefers the smooth one "
            f"in {_preferred(at).percent()}"
        )
    if not votes:
        return Claim(text, KOMAREK, NOT_RUN, (*_NEEDED, *_SMOOTH_NEEDED))
    end = (
        "Distances are the largest differences between the estimated and the true distribution function of intercepts. "
        "Verdict: whether the smooth one is nearer than the Gaussian, in the same data."
    )
    return Claim(text, KOMAREK, verdict(votes), ("; ".join(evidence) + ".", end), "distance")


def _preferred(at: Grid) -> Estimate:
    """How often AIC, which counts effective parameters, is lower for the smooth than for the Gaussian model.

    With none of them the smooth one is the Gaussian, and differs by rounding alone.
    """
    smooth, gaussian = _paired(at, "lr")
    counted = 2.0 * errors(at, ACCURATE, SMOOTH, "effective", 0.0)
    lower = (counted > 0.0) & (smooth - counted > gaussian)
    return share(np.where(np.isnan(smooth - gaussian), np.nan, lower))


def _costs(grid: Grid) -> Claim:
    text = "Where intercepts are Gaussian, a smooth distribution costs next to nothing"
    evidence, votes = [], []
    for name, at in _cells(grid, ("gaussian",)):
        ratio = slope_ratio(at, ACCURATE, SMOOTH, "gaussian")
        votes.append(1 if abs(ratio.value - 1.0) <= _HARDLY + 2.0 * ratio.error else -1)
        evidence.append(f"{name}: {ratio}, AIC prefers the smooth one in {_preferred(at).percent()}")
    if not votes:
        return Claim(text, KOMAREK, NOT_RUN, _SMOOTH_NEEDED)
    end = f"RMSE of the slopes over that of the Gaussian model. Verdict: within {_HARDLY:.0%}."
    return Claim(text, KOMAREK, verdict(votes), ("; ".join(evidence) + ".", end), "distance")


def figure(grid: Grid) -> Figure:
    """Distances from the truth, by what is assumed."""
    grid = _with_smooth(grid)
    drawn, sizes = [], grid.levels("size")
    for truth in grid.levels("truth"):
        for sigma in grid.levels("sigma"):
            at, lines = grid.at(truth=truth, sigma=sigma), []
            for assumed in (*ASSUMED, SMOOTH):
                found = [mean(errors(at.at(size=k), ACCURATE, assumed, "distance", 0.0)) for k in sizes]
                if any(np.isfinite(each.value) for each in found):
                    lines.append(Series(assumed, tuple(f.value for f in found), tuple(f.error for f in found)))
            if lines:
                drawn.append(Panel(f"truth {truth}, sigma = {sigma:g}", tuple(map(str, sizes)), tuple(lines)))
    return Figure(
        "distance", "How far the distribution of intercepts is from the true one",
        "Largest difference between the distribution functions, by assumed distribution; accurate integration.",
        "cluster size", "distance", tuple(drawn), max(1, len(grid.levels("sigma"))),
    )  # fmt: skip


def table(grid: Grid) -> Table:
    """Bias and RMSE of the Gaussian and the smooth model, for truths that have a standard deviation of sigma."""
    rows = []
    for name, at in _cells(grid, ("gaussian", *OTHERS)):
        sigma = float(at.table.sigma.iloc[0])
        for assumed in ("gaussian", SMOOTH):
            if not _has(at, assumed):
                continue
            cells = []
            targets = zip(("intercept", "slope1", "slope2", "sigma_hat"), (*BETA, sigma), strict=True)
            for column, target in targets:
                found = accuracy(errors(at, ACCURATE, assumed, column, target), 0.0)
                cells += [str(found.bias), str(found.rmse)]
            distance = mean(errors(at, ACCURATE, assumed, "distance", 0.0))
            rows.append((name, assumed, str(found.n), *cells, str(distance)))
    measures = (f"{what} of {c}" for c in ("intercept", "x1", "x2", "sigma") for what in ("bias", "RMSE"))
    columns = ("cell", "assumed", "n", *measures, "distance")
    caption = "Accurate integration; sigma is the standard deviation of all of these."
    return Table("others", "The Gaussian and the smooth model", caption, columns, tuple(rows), folded=True)
