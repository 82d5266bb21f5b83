"""What a peer is asked, what it answers, and how the answer is checked."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import record
import simulate

import clusterglm as cg

SAME, NEAR = 0.01, 0.5
"""Differences in standard errors up to which estimates are called the same, and nearly the same."""


@dataclass(frozen=True)
class Answer:
    """Estimates and standard errors in the order of our columns."""

    estimates: np.ndarray
    se: np.ndarray | None = None
    sigma: float | None = None


@dataclass(frozen=True)
class Peer:
    """One call of another program.

    `prepare` takes the data frame, does what is not to be timed, and returns the call. `ours` are the verb and options
    that compute the same. `se` says what its standard errors are, where they are not those of the complete information.
    `most` is the largest number of clusters that it is timed with. `reads_formulas`: its time includes a formula's.
    """

    name: str
    package: str
    prepare: Callable[[pd.DataFrame], Callable[[], Answer]]
    ours: tuple[str, dict[str, Any]]
    se: str = ""
    most: int = 100_000
    reads_formulas: bool = False


@dataclass(frozen=True)
class Agreement:
    """How far a peer's answer is from ours: estimates in our standard errors, its standard errors over ours."""

    furthest: float
    sigma: float | None
    se: tuple[float, float] | None

    def words(self, peer: Peer) -> str:
        where = f"within {self.furthest:.1g} standard errors of ours"
        text = f"the same estimates, {where}" if self.furthest <= SAME else f"nearly the same estimates, {where}"
        if self.furthest > NEAR:
            text = f"OTHER ESTIMATES, up to {self.furthest:.1g} standard errors from ours"
        if self.sigma is not None:
            text += f", sigma {self.sigma:+.1%}"
        if self.se is not None:
            text += f"; standard errors {self.se[0]:.3f} to {self.se[1]:.3f} of ours"
            text += f" ({peer.se})" if peer.se else ""
        return text


def ours(data: pd.DataFrame, peer: Peer) -> Any:
    """Our fit of what the peer computes."""
    verb, options = peer.ours
    return getattr(cg, verb)(simulate.FORMULA, data, **(({} if verb == "pooled" else {"cluster": "id"}) | options))


def agreement(answer: Answer, fit: Any) -> Agreement:
    """Compare what a peer found with a fit of ours."""
    furthest = float(np.max(np.abs(answer.estimates - fit.params.to_numpy()) / fit.bse.to_numpy()))
    sigma = None if answer.sigma is None else answer.sigma / fit.sigma - 1.0
    se = None if answer.se is None else answer.se / fit.bse.to_numpy()
    return Agreement(furthest, sigma, None if se is None else (float(se.min()), float(se.max())))


def figures(
    peers: list[Peer], data: pd.DataFrame, own: dict[str, list[float]], turns: int, budget: float
) -> list[record.Figure | record.Missing]:
    """Time every peer that is installed, in turns, and check its answer.

    Parameters
    ----------
    own : dict of str to list of float
        Seconds of our fits, in which a peer's time is also given: by `str(peer.ours)`.
    turns, budget : int, float
        See `record.in_turns`.
    """
    found: list[record.Figure | record.Missing] = []
    calls: dict[str, Callable[[], Answer]] = {}
    answers: dict[str, Answer] = {}
    first: dict[str, float] = {}
    clusters = int(data["id"].nunique())
    chosen = {peer.name: peer for peer in peers}
    for peer in peers:
        if record.installed(peer.package) is None:
            found.append(record.Missing(peer.name, "not installed"))
        elif clusters > peer.most:
            found.append(record.Missing(f"{peer.name}, {clusters:,} clusters", f"too slow: up to {peer.most:,}"))
        else:
            try:
                _warm(peer, data)
                call = peer.prepare(data)
                start = time.perf_counter()
                answers[peer.name] = _quietly(call)
                first[peer.name] = time.perf_counter() - start
                calls[peer.name] = call
            except Exception as error:  # whatever a peer raises, the others are measured
                found.append(record.Missing(peer.name, f"failed: {type(error).__name__}: {error}"[:200]))
    runs = {name: lambda call=call: _quietly(call) for name, call in calls.items()}
    seconds = record.in_turns(runs, turns, budget, warmed=first)
    for name, values in seconds.items():
        peer = chosen[name]
        found += timed(peer, record.installed(peer.package) or "", values, answers[name], data, own)
    return found


def _warm(peer: Peer, data: pd.DataFrame) -> None:
    """A fit of fifty clusters, whatever comes of it: imports, and code that is compiled when it is first called."""
    few = data[data["id"] < 50]
    with contextlib.suppress(Exception):
        _quietly(peer.prepare(few))


def timed(
    peer: Peer, version: str, seconds: list[float], answer: Answer, data: pd.DataFrame, own: dict[str, list[float]]
) -> list[record.Figure]:
    """A peer's time, how many times ours it is, and how its answer compares."""
    against = f"{peer.package} {version}".strip()
    close = agreement(answer, ours(data, peer))
    note = close.words(peer)
    rows = [record.timed(f"time {peer.name}", peer.name, seconds, against=against, note=note)]
    if str(peer.ours) in own:
        rows.append(
            record.ratio(f"ratio {peer.name}", f"{peer.name} / ours", seconds, own[str(peer.ours)], against=against)
        )
    return rows


def design(data: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The design matrix with its intercept, and the response as floats."""
    X = np.column_stack([np.ones(len(data)), data[[f"x{k}" for k in range(1, 6)]]])
    return X, data["y"].to_numpy(float)


def _quietly(call: Callable[[], Answer]) -> Answer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()
