"""Chains side by side: the same draws for any number of workers, and what was drawn is kept on Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from clusterglm.errors import check_option
from clusterglm.model.arrays import Array
from clusterglm.model.workers import Progress, reporting, worker_count
from clusterglm.sample import hamiltonian, independence
from clusterglm.sample.diagnostics import effective_size, split
from clusterglm.sample.independence import Fitness, State, fitness, pilot
from clusterglm.sample.target import Mode, Target

METHODS = ("auto", "independence", "hamiltonian")
_LEAST_WORTH = 0.1  # of a draw, that independence draws are to have
_JUDGED = 50  # draws of a chain
_OFTEN = 0.2  # seconds between reports
_WARMUP = {"independence": 50, "hamiltonian": 400}
_SAMPLERS = {"independence": independence.chain, "hamiltonian": hamiltonian.chain}


@dataclass(frozen=True)
class Sampler:
    """How draws were made.

    Parameters
    ----------
    method : {"independence", "hamiltonian"}
    warmup : int
        Draws of each chain that are left out.
    evaluations : int
        Of the likelihood, values and scores alike, by all chains, their warm-up and what came before: the search for
        the mode and the proposals by which the method was chosen.
    accepted : float
        Share of moves that were accepted, or their mean chance.
    divergences : int
        Paths of the Hamiltonian sampler that were lost.
    share, tail : float
        Effective share and Pareto k of the weights of all independence proposals that were made.
    log_evidence : float
        By these weights: log of the integral of likelihood (without constants) times prior.
    interrupted : bool
        Stopped by the user.
    """

    method: str
    warmup: int
    evaluations: int
    accepted: float
    divergences: int
    share: float
    tail: float
    log_evidence: float
    interrupted: bool


@dataclass(frozen=True)
class Drawn:
    """Draws of x, shape (chains, draws, q), their log-posteriors, shape (chains, draws), and how they were made."""

    x: Array
    log_density: Array
    sampler: Sampler


class _Chain:
    """One of them, and what it has drawn."""

    def __init__(self, steps: Iterator[State], q: int, draws: int) -> None:
        self.steps, self.done = steps, 0
        self.x, self.values = np.empty((draws, q)), np.empty(draws)
        self.state: State | None = None

    def advance(self) -> None:
        self.state = next(self.steps)
        self.x[self.done], self.values[self.done] = self.state.x, self.state.value
        self.done += 1


def run(
    target: Target,
    mode: Mode,
    *,
    method: str,
    draws: int,
    warmup: int | None,
    chains: int,
    seed: np.random.SeedSequence,
    n_jobs: int,
    progress: Progress,
) -> Drawn:
    """Draw.

    Parameters
    ----------
    target : Target
    mode : Mode
        Of the target.
    method : {"auto", "independence", "hamiltonian"}
        "auto": the first, as long as the proposals' weights say that it will do; chains that it turns out not to serve
        are drawn anew.
    draws, warmup, chains : int
        Of each chain; None for as much warm-up as the method is known to need.
    seed : SeedSequence
        Chain k draws from child k, whatever worker has it, with a likelihood of its own.
    n_jobs : int
        Threads; -1 for as many as there are processors.
    progress : bool or callable, optional

    Raises
    ------
    OptionError
        On another method, or an argument out of range.
    KeyboardInterrupt
        On Ctrl-C before every chain has a draw; later, the draws that all chains have are returned.
    """
    check_option("method", method, METHODS)
    workers = min(worker_count(n_jobs), chains)
    weights = pilot(target.fresh(), mode, np.random.default_rng(seed.spawn(1)[0]))
    fit, spent = fitness(weights), mode.evaluations + len(weights)
    ways = (["independence"] if fit.enough else []) + ["hamiltonian"] if method == "auto" else [method]
    for way in ways:
        before = _WARMUP[way] if warmup is None else warmup
        streams = [np.random.default_rng(child) for child in seed.spawn(chains)]
        each = [_Chain(_SAMPLERS[way](target.fresh(), mode, one, before), len(mode.x), draws) for one in streams]
        interrupted = _advance(each, draws, workers, progress)
        states = [chain.state for chain in each if chain.state is not None]
        spent += sum(state.evaluations for state in states)
        if way == "independence":
            fit = fitness(np.concatenate([weights, *(state.log_weights for state in states)]))
        if interrupted or (fit.enough and _moving(each)):
            break
    have = min(chain.done for chain in each)
    if have == 0:
        raise KeyboardInterrupt
    return Drawn(
        np.array([chain.x[:have] for chain in each]),
        np.array([chain.values[:have] for chain in each]),
        _report(states, way, before, spent, fit, interrupted),
    )


def _moving(each: list[_Chain]) -> bool:
    """Whether the chains' draws are worth enough, which equal ones are not; true where they are too few to tell."""
    x = np.array([chain.x for chain in each])
    sizes = [effective_size(split(one)) for one in np.moveaxis(x, 2, 0)] if x.shape[1] >= _JUDGED else []
    return all(size >= _LEAST_WORTH * x[..., 0].size for size in sizes)


def _report(states: list[State], way: str, warmup: int, spent: int, fit: Fitness, interrupted: bool) -> Sampler:
    moves = max(1, sum(state.moves for state in states))
    return Sampler(
        way,
        warmup,
        spent,
        sum(state.accepted for state in states) / moves,
        sum(state.divergent for state in states),
        fit.share,
        fit.tail,
        fit.log_evidence,
        interrupted,
    )


def _advance(each: list[_Chain], draws: int, workers: int, progress: Progress) -> bool:
    """Fill all chains, those of a worker draw by draw in turn; whether Ctrl-C came first."""
    stop = threading.Event()

    def work(own: list[_Chain], report: Callable[[], None]) -> None:
        for _ in range(draws):
            for chain in own:
                if stop.is_set():
                    return
                chain.advance()
            report()

    with reporting(progress, draws * len(each), "draws") as show:

        def report() -> None:
            show(sum(chain.done for chain in each))

        try:
            if workers == 1:
                work(each, report)
            else:
                with ThreadPoolExecutor(workers) as pool:
                    try:
                        waiting = {pool.submit(work, each[k::workers], lambda: None) for k in range(workers)}
                        while waiting:
                            finished, waiting = wait(waiting, timeout=_OFTEN)
                            report()
                            for future in finished:
                                future.result()
                    finally:
                        stop.set()
        except KeyboardInterrupt:
            return True
    return False
