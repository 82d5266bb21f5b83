"""Estimates without each cluster, or each of some groups of clusters: the jackknife."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import OptionError
from clusterglm.inference.uncertainty.replicates import number_of, run_replicates
from clusterglm.model.arguments import seed_sequence, whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.workers import Progress

CENTRES = ("mean", "estimate")


class Accelerated(Protocol):
    """What BCa intervals ask of a jackknife."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def acceleration(self) -> Array: ...


@dataclass(frozen=True)
class Parts:
    """What is deleted, one part after another.

    Parameters
    ----------
    labels : ndarray, shape (k,)
        Of the clusters, or numbers of the groups from 1.
    left : callable
        Number of a part -> how often each cluster is there without it, shape (m,).
    sizes : ndarray of int64, shape (k,)
        Clusters in each part.
    times : ndarray of int64, shape (k,)
        How many parts are like this one: clusters that a row of the data stands for.
    seed : int or SeedSequence, optional
        Of the groups.
    """

    labels: NDArray[Any]
    left: Callable[[int], Array]
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]
    seed: int | np.random.SeedSequence | None = None


def single_clusters(labels: NDArray[Any], repeats: Array) -> Parts:
    """Each cluster; of one that stands for several, one.

    Parameters
    ----------
    labels : ndarray, shape (m,)
    repeats : ndarray, shape (m,)
        How many clusters each one stands for.
    """

    def left(k: int) -> Array:
        others = np.array(repeats, dtype=np.float64)
        others[k] -= 1.0
        return others

    return Parts(labels, left, np.ones(len(labels), dtype=np.int64), repeats.astype(np.int64))


def groups_of_clusters(repeats: Array, groups: int, seed: int | np.random.SeedSequence | None) -> Parts:
    """So many groups into which the clusters are dealt at random, their sizes as equal as can be.

    Raises
    ------
    OptionError
        When there are fewer than two groups, or more than clusters.
    """
    m = int(repeats.sum())
    whole_number("groups", groups, 2, m, advice=f"groups={min(m, 50)}; or groups=None, for each cluster by itself")
    root = seed_sequence(seed)
    each = np.repeat(np.arange(len(repeats)), repeats.astype(np.int64))
    dealt = np.random.default_rng(root).permutation(each)

    def left(k: int) -> Array:
        return np.asarray(repeats - np.bincount(dealt[k::groups], minlength=len(repeats)))

    sizes = np.array([len(dealt[k::groups]) for k in range(groups)], dtype=np.int64)
    given = seed if isinstance(seed, np.random.SeedSequence) else int(str(root.entropy))
    return Parts(np.arange(1, groups + 1), left, sizes, np.ones(groups, dtype=np.int64), given)


@dataclass(frozen=True)
class Refitted:
    """Estimates without each part.

    Parameters
    ----------
    deleted : ndarray, shape (k, q)
        nan where there is none.
    failures : tuple of (str, int)
    interrupted : bool
    """

    deleted: Array
    failures: tuple[tuple[str, int], ...]
    interrupted: bool


def refitted(
    parts: Parts,
    refit: Callable[[Array], Array],
    q: int,
    n_jobs: int = 1,
    progress: Progress = None,
    engine: Any = None,
) -> Refitted:
    """Fit again without each part.

    Parameters
    ----------
    parts : Parts
    refit : callable
        How often each cluster is there, shape (m,) -> estimates, shape (q,).
    q : int
        Parameters.
    n_jobs, progress, engine
        See `run_replicates`.
    """

    def without(rng: np.random.Generator) -> Array:
        k = number_of(rng)
        return np.append(refit(parts.left(k)), float(k))

    deleted = np.full((len(parts.labels), q), np.nan)
    runs = run_replicates(without, len(deleted), 0, n_jobs, progress, engine)
    if len(runs.values):
        deleted[runs.values[:, -1].astype(np.int64)] = runs.values[:, :-1]
    return Refitted(deleted, runs.failures, runs.interrupted)


@dataclass(frozen=True)
class Moments:
    """What estimates without parts of the data say of the estimates.

    Parameters
    ----------
    corrected : ndarray, shape (q,)
        Estimates less their bias: the mean of the pseudo-values, each by its share of the clusters.
    pseudo : ndarray, shape (k, q)
        Pseudo-values.
    covariance : ndarray, shape (q, q)
    df : float
        Parts less one.
    """

    corrected: Array
    pseudo: Array
    covariance: Array
    df: float


def moments(
    estimate: Array, deleted: Array, sizes: NDArray[np.int64], times: NDArray[np.int64], centre: str
) -> Moments:
    """Bias and covariance by the jackknife, from the parts without which there are estimates.

    Parameters
    ----------
    estimate : ndarray, shape (q,)
    deleted : ndarray, shape (k, q)
    sizes, times : ndarray, shape (k,)
        See `Parts`.
    centre : {"mean", "estimate"}
        What deviations are taken from.

    Returns
    -------
    Moments
        nan from fewer than two parts.

    Notes
    -----
    With m clusters, h = m / (clusters in part j) and G parts, pseudo-values are h theta - (h - 1) theta_j, and the
    covariance is the mean of their squared deviations, over h - 1 each: Busing, Meijer and van der Leeden (Statistics
    and Computing 9, 1999). With single clusters it is (m - 1)/m times the sum of the squared deviations of theta_j:
    Tukey's (Efron and Tibshirani 1993, chapter 11).
    """
    there = reached(deleted)
    w, n, some = times[there].astype(np.float64), sizes[there].astype(np.float64), deleted[there]
    parts, m = float(w.sum()), float(w @ n)
    q = len(estimate)
    pseudo = np.full(deleted.shape, np.nan)
    if parts < 2.0:
        return Moments(np.full(q, np.nan), pseudo, np.full((q, q), np.nan), np.nan)
    h = m / n
    with np.errstate(invalid="ignore"):  # infinite where a parameter runs to the end of its range
        pseudo[there] = h[:, None] * estimate - (h - 1.0)[:, None] * some
        corrected = parts * estimate - (w * (1.0 - n / m)) @ some
        apart = pseudo[there] - (corrected if centre == "mean" else estimate)
        covariance = (apart.T * (w / (h - 1.0))) @ apart / parts
    return Moments(corrected, pseudo, covariance, parts - 1.0)


def reached(deleted: Array) -> NDArray[np.bool_]:
    """Parts without which there are estimates, shape (k,); single parameters may be undefined there."""
    return np.asarray(~np.isnan(deleted).all(axis=1)) if deleted.shape[1] else np.ones(len(deleted), dtype=bool)


def acceleration(deleted: Array, times: NDArray[np.int64]) -> Array:
    """A sixth of the skewness of what clusters do to the estimates, shape (q,), 0 where they do nothing.

    Efron (Journal of the American Statistical Association 82, 1987); Efron and Tibshirani (1993, equation 14.15).
    """
    there = reached(deleted)
    w, some = times[there].astype(np.float64), deleted[there]
    if not w.sum() > 0.0:
        return np.full(deleted.shape[1], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = w @ some / w.sum() - some
        square, cube = w @ apart**2, w @ apart**3
        return np.asarray(np.where(square == 0.0, 0.0, cube / (6.0 * square**1.5)))


def not_finite(names: tuple[str, ...], found: Array) -> list[str]:
    """Which parameters have no finite estimate in how many of some fits, shape (k, q); a sentence each."""
    numbers = (~np.isfinite(found)).sum(axis=0).tolist() if len(found) else [0] * len(names)
    return [
        f"{name} is infinite or undefined in {number} of {len(found)}"
        for name, number in zip(names, numbers, strict=True)
        if number
    ]


def refuse_kind_of_groups(kind: str, groups: int | None) -> None:
    """Refuse one step without a group of clusters."""
    if kind == "one_step" and groups is not None:
        raise OptionError(
            f"groups={groups} with kind={kind!r}",
            "fits without each group: a step is taken without a single cluster, which costs next to nothing",
            'kind="exact", or groups=None',
        )
