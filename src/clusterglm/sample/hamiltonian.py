"""Hamiltonian Monte Carlo, with the curvature at the posterior's mode as metric.

For where independence proposals fail: where the posterior is far from its mode's shape, as with a standard deviation
that few clusters tell from 0 (a long tail of its logarithm), with correlations near an end, with heavy-tailed priors of
coefficients that the data hardly bound. A draw costs some ten scores, and is worth hardly less than an independent one.

In coordinates in which the Hessian at the mode is -I a normal posterior is turned round by a quarter in a time of
pi / 2. Paths take a random time about that, so that none returns to where it began, in leapfrog steps whose length is
found in warm-up by dual averaging for an acceptance of .8 (Hoffman and Gelman, Journal of Machine Learning Research 15,
2014); half-way through it the coordinates are made anew from the draws so far, as the posterior's own covariance may
not be the mode's. No U-turn is looked for: with a metric as good as this one the quarter is known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.sample.independence import State
from clusterglm.sample.target import Mode, Target

_QUARTER = 0.5 * np.pi
_ACCEPT = 0.8  # of proposals
_LONGEST_PATH = 64  # of a path
_DIVERGENT = 1000.0  # gain of energy along a path at which it is given up


def chain(target: Target, mode: Mode, rng: np.random.Generator, warmup: int) -> Iterator[State]:
    """Draws without end, after `warmup` that are left out."""
    root = mode.root
    state = _begun(target, mode, rng)
    step = _StepSize(0.5)
    seen = []
    for done in range(warmup):
        accepted, _ = _path(target, root, state, step.now, rng)
        step.learn(accepted)
        if done >= warmup // 8:
            seen.append(state.x)
        if done + 1 == warmup // 2 and len(seen) > 5 * len(mode.x):
            root = _own_root(np.array(seen), root)
            step = _StepSize(step.settled)
    length = step.settled
    while True:
        accepted, divergent = _path(target, root, state, length, rng)
        state.moves += 1
        state.accepted += accepted
        state.divergent += int(divergent)
        yield state


def _begun(target: Target, mode: Mode, rng: np.random.Generator) -> State:
    """A start spread as the mode's normal approximation is, nearer where that is outside of what can be computed."""
    z, state = rng.standard_normal(len(mode.x)), State(mode.x, mode.value)
    for shrink in (1.0, 0.5, 0.25, 0.0):
        x = mode.x + shrink * (mode.root @ z)
        state = State(x, target.value(x), state.evaluations + 1)
        if np.isfinite(state.value):
            break
    return state


def _path(target: Target, root: Array, state: State, length: float, rng: np.random.Generator) -> tuple[float, bool]:
    """One proposal along a path; the chance of its acceptance, and whether it was lost on the way."""
    momentum = rng.standard_normal(len(state.x))
    time, log_uniform = rng.uniform(0.5, 1.5) * _QUARTER, np.log(rng.random())
    steps = int(np.clip(np.ceil(time / length), 1, _LONGEST_PATH))
    x, energy = state.x, state.value - 0.5 * float(momentum @ momentum)
    slope = root.T @ target.evaluate(x, 1).score
    p = momentum + 0.5 * length * slope
    for k in range(steps):
        x = x + length * (root @ p)
        there = target.evaluate(x, 1)
        state.evaluations += 1
        if not (np.isfinite(there.value) and np.isfinite(there.score).all()):
            return 0.0, True
        slope = root.T @ there.score
        p = p + (length if k + 1 < steps else 0.5 * length) * slope
        if energy - there.value > _DIVERGENT:
            return 0.0, True
    value = target.value(x)
    state.evaluations += 2
    gain = value - 0.5 * float(p @ p) - energy
    chance = float(np.exp(min(0.0, gain))) if np.isfinite(gain) else 0.0
    if log_uniform < gain:
        state.x, state.value = x, value
    return chance, not gain > -_DIVERGENT


def _own_root(draws: Array, root: Array) -> Array:
    """A root of the draws' covariance, drawn towards that by the mode's curvature."""
    n = len(draws)
    inside = np.linalg.solve(root, (draws - draws.mean(axis=0)).T)
    covariance = (inside @ inside.T / (n - 1) * n + 5.0 * np.eye(len(root))) / (n + 5.0)
    return np.asarray(root @ np.linalg.cholesky(covariance))


class _StepSize:
    """Dual averaging of the logarithm of the step's length; constants are those of Hoffman and Gelman."""

    def __init__(self, first: float) -> None:
        self.now = first
        self._centre = np.log(10.0 * first) if first >= 0.5 else np.log(2.0 * first)
        self._error, self._mean, self._count = 0.0, 0.0, 0

    def learn(self, accepted: float) -> None:
        """From the chance of acceptance of one path."""
        self._count += 1
        t = self._count
        self._error += (_ACCEPT - accepted - self._error) / (t + 10.0)
        log_length = min(self._centre - np.sqrt(t) / 0.05 * self._error, np.log(_QUARTER))
        weight = t**-0.75
        self._mean = weight * log_length + (1.0 - weight) * self._mean
        self.now = float(np.exp(log_length))

    @property
    def settled(self) -> float:
        """The length to keep."""
        return float(np.exp(self._mean)) if self._count else self.now
