"""Metropolis's algorithm with proposals that do not depend on where a chain is.

They are draws of a multivariate t about the posterior's mode (of two: one nearly normal, and now and then one with
heavy tails), scaled by the inverse of its negative Hessian there and stretched on either side along each axis as the
posterior is (Geweke, Econometrica 57, 1989). A draw costs one value of the likelihood, without derivatives, and where
the posterior is much like its mode's shape most are accepted: such draws are hardly dependent. Tails of a t are heavier
than those of any posterior that has a normal prior's, so that the ratio of posterior to proposal is bounded and the
chain converges geometrically (Mengersen and Tweedie, Annals of Statistics 24, 1996). How much alike the two are is seen
from the proposals' weights, of which there are as many as values of the likelihood: their effective share, and the
shape k of their tail (Pareto). A few hundred are looked at before any chain starts; all of them at the end, as a
posterior may have a far part, such as a large standard deviation with coefficients that grow with it, in which few
proposals come to lie and chains stay for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.special import gammaln, logsumexp

from clusterglm.model.arrays import Array
from clusterglm.sample.loo import smoothed
from clusterglm.sample.target import Mode, Target

PILOT = 200  # proposals by whose weights it is judged
LEAST_SHARE = (
    0.2  # of effective proposals, below which a Hamiltonian draw, of about ten evaluations, is the cheaper one
)
WORST_TAIL = 0.7  # Pareto k, above which weights have no mean that so few could tell
_CORE_DF, _TAIL_DF = 30.0, 5.0  # of most proposals, which lose little where a posterior is normal, and of those far out
_TAIL_SHARE = 0.15


@dataclass(frozen=True)
class Proposal:
    """A mixture of two multivariate t about a mode, in q dimensions, as wide on either side as the posterior is."""

    mode: Mode

    def draw(self, rng: np.random.Generator) -> tuple[Array, float]:
        """A point, and its log-density."""
        q = len(self.mode.x)
        df = _TAIL_DF if rng.random() < _TAIL_SHARE else _CORE_DF
        z = rng.standard_normal(q) / np.sqrt(rng.chisquare(df) / df)
        wide = self.mode.stretches[(z > 0.0).astype(int), np.arange(q)]
        square = float(z @ z)
        core, tail = _log_t(square, q, _CORE_DF), _log_t(square, q, _TAIL_DF)
        mixed = np.logaddexp(np.log1p(-_TAIL_SHARE) + core, np.log(_TAIL_SHARE) + tail)
        return self.mode.x + self.mode.root @ (wide * z), float(mixed - np.log(wide).sum() - self._log_volume)

    @cached_property
    def _log_volume(self) -> float:
        return float(np.linalg.slogdet(self.mode.root)[1])


def _log_t(square: float, q: int, df: float) -> float:
    """Log-density of a standard t in q dimensions where z'z is `square`."""
    constant = gammaln(0.5 * (df + q)) - gammaln(0.5 * df) - 0.5 * q * np.log(df * np.pi)
    return float(constant - 0.5 * (df + q) * np.log1p(square / df))


@dataclass(frozen=True)
class Fitness:
    """How much a posterior is like the proposals.

    Parameters
    ----------
    share : float
        Effective proposals over their number.
    tail : float
        Pareto k of the weights.
    log_evidence : float
        Logarithm of the integral of what `Target.value` is the logarithm of.
    """

    share: float
    tail: float
    log_evidence: float

    @property
    def enough(self) -> bool:
        """Whether proposals will do."""
        return self.share >= LEAST_SHARE and self.tail <= WORST_TAIL


def pilot(target: Target, mode: Mode, rng: np.random.Generator) -> Array:
    """Logs of the weights of some proposals."""
    proposal, log_weights = Proposal(mode), np.empty(PILOT)
    for k in range(PILOT):
        x, log_density = proposal.draw(rng)
        log_weights[k] = target.value(x) - log_density
    return log_weights


def fitness(log_weights: Array) -> Fitness:
    """Judge proposals by their weights."""
    total, number = logsumexp(log_weights), len(log_weights)
    share = float(np.exp(2.0 * total - logsumexp(2.0 * log_weights)) / number)
    return Fitness(share, smoothed(log_weights)[1], float(total - np.log(number)))


@dataclass
class State:
    """A chain's last draw and what it has cost.

    Parameters
    ----------
    x : ndarray, shape (q,)
    value : float
        Log-posterior.
    evaluations, accepted, divergent : int
    moves : int
        Of which so many were accepted.
    log_weights : list of float
        Of all independence proposals.
    """

    x: Array
    value: float
    evaluations: int = 0
    moves: int = 0
    accepted: float = 0.0
    divergent: int = 0
    log_weights: list[float] = field(default_factory=list)


def chain(target: Target, mode: Mode, rng: np.random.Generator, warmup: int) -> Iterator[State]:
    """Draws without end, after `warmup` that are left out."""
    proposal = Proposal(mode)
    x, log_density = proposal.draw(rng)
    state = State(x, target.value(x), 1)
    weight = state.value - log_density
    done = 0
    while True:
        x, log_density = proposal.draw(rng)
        value = target.value(x)
        log_uniform = np.log(rng.random())
        state.evaluations += 1
        state.log_weights.append(value - log_density)
        if done >= warmup:
            state.moves += 1
        if value > -np.inf and (weight == -np.inf or log_uniform < value - log_density - weight):
            state.x, state.value, weight = x, value, value - log_density
            state.accepted += float(done >= warmup)
        done += 1
        if done > warmup:
            yield state
