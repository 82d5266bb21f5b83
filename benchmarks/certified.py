"""Whether fits are as accurate as they report: random models at the edges against an oracle that shares no code.

    python benchmarks/certified.py [--fits 2000] [--seed 1] [--first 0]

Each fit's log-likelihood is compared with the oracle's (`oracle/`) at the same parameters. A fit may be

* inside: the difference is no more than the error that it reports;
* outside: it is more, and no warning was given; `wrong` where it is also more than the tolerance asked for, and else
  `rounded` where rounding in double precision may do as much to terms of that size;
* warned: an `AccuracyWarning` said that the tolerance was missed; `beyond` where even the reported error is too small;
* refused: an error of the package; `crash`: any other exception.

Results of single fits are kept in `build/benchmarks/`, so that an interrupted run goes on at the same commit.
(seed, number) makes a model again: `python -c "import certified; certified.show(1, 423)"`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import record
from oracle import exact, log_integral
from oracle import intercept as density
from oracle.models import LINKS, NAMES, Model, model
from scipy.special import ndtri

import clusterglm as cg

ROUNDING = 4.0 * np.finfo(np.float64).eps
"""Relative: a log-likelihood is a float64 itself."""
OUTCOMES = ("inside", "rounded", "outside", "wrong", "warned", "beyond", "refused", "crash")
BAD = ("rounded", "outside", "wrong", "beyond", "crash")
_CHECKED = 400  # of so many fits, one has a cluster judged by mpmath too
_SHORT = 8  # rows, as a cluster has that mpmath judges


def secant(p: np.ndarray) -> np.ndarray:
    """Quantiles of the hyperbolic secant distribution."""
    return 2.0 / np.pi * np.log(np.tan(np.pi / 2.0 * p))


def gumbel(p: np.ndarray) -> np.ndarray:
    """Quantiles of the Gumbel distribution with median 0."""
    return np.log(np.log(2.0)) - np.log(-np.log(p))


def gumbel_upper(q: np.ndarray) -> np.ndarray:
    """Quantiles of the Gumbel distribution with median 0, from probabilities of the upper tail."""
    return np.log(np.log(2.0)) - np.log(-np.log1p(-q))


def sinh_normal(p: np.ndarray, sigma: float) -> np.ndarray:
    """Quantiles of sinh(sigma z)."""
    return np.sinh(sigma * ndtri(p))


@cache
def users(name: str) -> Any:
    """The distributions that a user would supply."""
    return {
        "secant": lambda: cg.UserDistribution("secant", secant),
        "gumbel": lambda: cg.UserDistribution("gumbel", gumbel, upper_quantile=gumbel_upper),
        "sinh_normal": lambda: cg.UserDistribution("sinh_normal", sinh_normal, scale_family=False),
    }[name]()


def fit(one: Model) -> Any:
    """The package's fit."""
    rows = one.rows
    data = {key: rows[key] for key in ("id", *one.uses)}
    single = one.family == "poisson" or bool(np.all(rows["n"] == 1.0))
    data |= {"y": rows["y"]} if single else {"y": rows["y"], "f": rows["n"] - rows["y"]}
    free = {"student_t": cg.StudentT, "gaussian_mixture": cg.GaussianMixture}
    if one.name in free:
        distribution = free[one.name](*(one.shape or ()))
    else:
        distribution = users(one.name) if one.name in ("secant", "gumbel", "sinh_normal") else one.name
    named = {"w": "weights", "cw": "cluster_weights", "o": "offset"}
    return cg.random_effects(
        f"{'y' if single else 'cbind(y, f)'} ~ {'x' if 'x' in one.uses else '1'}",
        data,
        cluster="id",
        family=one.family,
        link=one.link,
        distribution=distribution,
        quadrature=cg.Quadrature("auto", tolerance=one.tolerance),
        scale=one.scale,
        **({} if one.sigma is None else {"sigma": one.sigma, "fix_sigma": True}),
        **{named[key]: key for key in one.uses if key in named},
    )


def estimates(one: Model, fitted: Any) -> tuple[tuple[float, float], float, str, tuple[float, ...]]:
    """Coefficients, sigma, and the distribution with its shape where the fit ended."""
    params = fitted.params
    coefficients = float(params["(Intercept)"]), float(params["x"]) if "x" in one.uses else 0.0
    found = fitted.distribution
    name = one.name if found.code in ("user", "member") else found.code
    return coefficients, float(fitted.sigma), name, tuple(float(p) for p in found.parameters)


def outcome(one: Model) -> dict[str, Any]:
    """Fit a model and judge it."""
    out: dict[str, Any] = {"distribution": one.name, "link": one.link, "traits": one.traits, "sigma": one.sigma}
    start = time.process_time()
    fitted = None
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        try:
            fitted = fit(one)
        except cg.errors.ClusterGLMError as error:
            out |= {"outcome": "refused", "why": f"{type(error).__name__}: {error.got}"}
        except Exception as error:  # what nobody expects is what is looked for
            out |= {"outcome": "crash", "why": f"{type(error).__name__}: {error}"}
    out["seconds"] = round(time.process_time() - start, 4)
    if fitted is None:
        return out
    kinds = sorted({warning.category.__name__ for warning in given})
    coefficients, sigma, name, shape = estimates(one, fitted)
    start = time.process_time()
    judged = _at(one, name).judged(coefficients, sigma, shape)
    difference = abs(fitted.loglik - judged.value)
    report = fitted.quadrature
    allowed = report.error + judged.error + ROUNDING * (1.0 + abs(fitted.loglik))
    rounding = np.finfo(np.float64).eps * judged.size / 2
    if "AccuracyWarning" in kinds:
        result = "warned" if difference <= allowed else "beyond"
    elif difference <= allowed:
        result = "inside"
    elif not difference <= report.requested.tolerance:
        result = "wrong"
    else:
        result = "rounded" if difference <= rounding else "outside"
    return out | {
        "outcome": result,
        "loglik": float(fitted.loglik),
        "exact": float(judged.value),
        "difference": float(difference),
        "reported": float(report.error),
        "oracle": float(judged.error),
        "rounding": float(rounding),
        "least": float(judged.least),
        "at": [*coefficients, sigma, *shape],
        "rules": [f"{rule}: {count}" for rule, count in report.rules],
        "warnings": kinds,
        "judging": round(time.process_time() - start, 4),
    }


def _at(one: Model, name: str) -> Model:
    """The model with the distribution that the fit ended with: a t distribution may end as the Gaussian."""
    return one if name == one.name else Model(**{**vars(one), "name": name})


def doubt(one: Model, found: dict[str, Any], which: int) -> float:
    """How far the oracle's integral of one short cluster is from mpmath's, less the error that it states."""
    intercept, slope, sigma, *shape = found["at"]
    name = "gaussian" if one.name == "student_t" and not shape else one.name
    clusters = [rows.merged() for rows in one.clusters(intercept, slope)]
    clusters = [rows for rows in clusters if len(rows.eta) <= _SHORT] or clusters[:1]
    rows = clusters[which % len(clusters)]
    ours = log_integral(rows, one.link, density(name, sigma, *shape))
    theirs, error = exact.log_integral(rows, one.link, name, sigma, tuple(shape))
    return exact.distance(ours.value, theirs) - float(ours.error) - float(error)


def run(seed: int, numbers: Iterable[int], path: Path | None) -> Iterator[dict[str, Any]]:
    """Outcomes of the models of these numbers; those in the file at `path` are not computed again, others appended."""
    known = {}
    if path is not None and path.exists():
        known = {line["number"]: line for line in map(json.loads, path.read_text().splitlines())}
    for number in numbers:
        if number in known:
            yield known[number]
            continue
        one = model(seed, number)
        found = {"number": number} | outcome(one)
        if number % _CHECKED == _CHECKED // 2 and found.get("at", [0, 0, 0])[2] > 0.0:
            found["doubt"] = doubt(one, found, number // _CHECKED)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(json.dumps(found) + "\n")
        yield found


def show(seed: int, number: int) -> None:
    """One model again: its outcome, and the oracle's clusters beside mpmath's."""
    one = model(seed, number)
    found = outcome(one)
    print(json.dumps(found, indent=1))
    if found.get("at", [0, 0, 0])[2] > 0.0:
        for which in range(min(len(np.unique(one.columns["id"])), 60)):
            print(f"cluster {which}: oracle beyond its error by {doubt(one, found, which):.1e}")


def line(seed: int, found: dict[str, Any]) -> str:
    """A fit that is not as it should be, in one line."""
    numbers = "".join(f" {key} {found[key]:.2g}" for key in ("difference", "reported", "rounding") if key in found)
    sigma = "estimated" if found["sigma"] is None else f"{found['sigma']:.2g}"
    where = f"{found['distribution']} {found['link']}, sigma {sigma}, {found['traits'] or 'nothing special'}"
    why = found.get("why", "; ".join(found.get("rules", [])))
    return f"{found['outcome']:8s}{numbers}: certified.show({seed}, {found['number']}): {where} | {why}"


def table(found: list[dict[str, Any]]) -> str:
    """Counts of outcomes by distribution and link."""
    rows = [f"{'':27s}" + "".join(f"{name:>9s}" for name in OUTCOMES)]
    for name in NAMES:
        for link in LINKS:
            counts = Counter(one["outcome"] for one in found if (one["distribution"], one["link"]) == (name, link))
            if counts:
                rows.append(f"{name:18s}{link:9s}" + "".join(f"{counts[kind] or '':>9}" for kind in OUTCOMES))
    counts = Counter(one["outcome"] for one in found)
    return "\n".join([*rows, f"{'all':27s}" + "".join(f"{counts[kind]:>9}" for kind in OUTCOMES)])


def certified(options: argparse.Namespace) -> Iterable[record.Figure]:
    """The models from `first` on."""
    path = record.ASIDE / f"certified-{options.package}-{options.seed}.jsonl".replace(", ", "-")
    if options.package.endswith("changed"):
        path.unlink(missing_ok=True)
    found = []
    for one in run(options.seed, range(options.first, options.first + options.fits), path):
        found.append(one)
        if one["outcome"] in BAD:
            print(line(options.seed, one), flush=True)
        if one.get("doubt", 0.0) > 0.0:
            print(f"the oracle is not sure of itself: {one['doubt']:.1e} in {one['number']}", file=sys.stderr)
    print(table(found))
    counts = Counter(one["outcome"] for one in found)
    n = len(found)
    words = {
        "wrong": "fits that are off by more than was asked for, without a warning",
        "outside": "fits that are off by more than they report, within what was asked for",
        "rounded": "fits that are off by more than they report, by rounding",
        "beyond": "fits with a warning that are off by more than they report",
        "crash": "fits that end in an error that is not the package's",
    }
    for kind, text in words.items():
        yield record.Figure(kind, text, counts[kind], "fits", turns=n, at_most=0)
    yield record.Figure("warned", "fits with a warning, within what they report", counts["warned"], "fits", turns=n)
    yield record.Figure("refused", "fits refused with an error of the package", counts["refused"], "fits", turns=n)
    yield record.Figure("inside", "fits within what they report", counts["inside"], "fits", turns=n)


def many(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Ten times as many."""
    return certified(argparse.Namespace(**{**vars(options), "fits": 10 * options.fits}))


if __name__ == "__main__":
    record.run(
        "certified",
        __doc__,
        {"random models": certified},
        long={"ten times as many": many},
        fits=2000,
        seed=1,
        first=0,
        package=record.commit(Path(cg.__file__).parents[2]),  # which may be that of another folder
    )
