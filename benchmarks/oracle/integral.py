"""Integrals over a cluster's intercept, right by construction.

The integrand is exp(l(b)) f(b), l the cluster's log-likelihood. l is concave for every family and link here, so that
its values and slopes at the ends of an interval bound it inside: from above by the tangents, from below by the chord.
An interval is therefore

* left out, where the bound of its integral is negligible beside a lower bound of the whole;
* halved, where the total bend of l and log f would let a peak hide in it;
* integrated otherwise, by the pair of Gauss (10) and Kronrod (21), and halved where the two differ too much.

All intervals of all clusters are refined side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from oracle.intercept import Intercept
from oracle.response import EPS, KERNELS, Kernel, Long, Values

_BEND = 16  # slope lost over an interval, times its length: a peak there is no narrower than a sixteenth of it
_NEGLIGIBLE = -46  # log of a share
_ERROR = np.log(Long(1e-16))  # of one interval beside the whole
_SWEEPS = 400
_AT_ONCE = 400_000  # numbers

# Kronrod's extension of the Gauss rule of 10 points (Piessens et al., QUADPACK, 1983)
_NODES = [
    "0.995657163025808080735527280689003",
    "0.973906528517171720077964012084452",
    "0.930157491355708226001207180059508",
    "0.865063366688984510732096688423493",
    "0.780817726586416897063717578345042",
    "0.679409568299024406234327365114874",
    "0.562757134668604683339000099272694",
    "0.433395394129247190799265943165784",
    "0.294392862701460198131126602310086",
    "0.148874338981631210884826001129720",
    "0",
]
_KRONROD = [
    "0.011694638867371874278064396062192",
    "0.032558162307964727478818972459390",
    "0.054755896574351996031381300244580",
    "0.075039674810919952767043140916190",
    "0.093125454583697605535065465083366",
    "0.109387158802297641899210590325805",
    "0.123491976262065851077958109585166",
    "0.134709217311473325928054001771707",
    "0.142775938577060080797094273138717",
    "0.147739104901338491374841515972069",
    "0.149445554002916905664936468389821",
]
_GAUSS = [
    "0.066671344308688137593568809893332",
    "0.149451349150580593145863396957658",
    "0.219086362515982043995534934228163",
    "0.269266719309996355091226921569469",
    "0.295524224714752870173815619188769",
]


def _symmetric(half: list[str], sign: int = 1) -> Values:
    positive = np.array([Long(one) for one in half], dtype=Long)
    return np.concatenate([sign * positive[:-1], positive[::-1]])


NODES, KRONROD = _symmetric(_NODES, -1), _symmetric(_KRONROD)
GAUSS = _symmetric([_GAUSS[k // 2] if k % 2 else "0" for k in range(10)] + ["0"])


@dataclass(frozen=True)
class Rows:
    """Rows of one cluster.

    Parameters
    ----------
    eta : ndarray, shape (n,)
        Linear predictors without the intercept.
    a, b : ndarray, shape (n,)
        Binomial: weighted successes and failures; Poisson: weighted count and weight.
    constant : float
        What of the log-likelihood is free of eta.
    weight : float
        Of the cluster; it multiplies the logarithm of the integral.
    """

    eta: Values
    a: Values
    b: Values
    constant: np.longdouble
    weight: float = 1.0

    def merged(self) -> Rows:
        """These rows with equal linear predictors added up, one row for each."""
        eta, index = np.unique(self.eta, return_inverse=True)
        a, b = np.zeros(len(eta), dtype=Long), np.zeros(len(eta), dtype=Long)
        np.add.at(a, index, self.a)
        np.add.at(b, index, self.b)
        return Rows(eta, a, b, self.constant, self.weight)

    @property
    def key(self) -> tuple[bytes, ...]:
        """Equal for clusters with equal integrals."""
        shown = (self.eta, self.a, self.b, self.constant)
        return tuple(repr(np.asarray(one, dtype=Long).tolist()).encode() for one in shown)


@dataclass(frozen=True)
class Judged:
    """A logarithm.

    Parameters
    ----------
    value, error : longdouble
        `error` bounds what the value lacks.
    size : longdouble
        Of the terms that it is a sum of; times an arithmetic's eps, what rounding in it may do.
    least : longdouble
        Of the clusters, each without its weight.
    """

    value: np.longdouble
    error: np.longdouble
    size: np.longdouble
    least: np.longdouble


def loglik(clusters: Iterable[Rows], link: str, density: Intercept | None) -> Judged:
    """The log-likelihood; without intercepts where `density` is None."""
    distinct: dict[tuple[bytes, ...], Rows] = {}
    weights: dict[tuple[bytes, ...], float] = {}
    for cluster in clusters:
        rows = cluster.merged()
        distinct.setdefault(rows.key, rows)
        weights[rows.key] = weights.get(rows.key, 0.0) + rows.weight
    kernel, unique = KERNELS[link], list(distinct.values())
    if density is None:
        values = np.array([kernel.value(r.eta, r.a, r.b).sum() + r.constant for r in unique], dtype=Long)
        errors = np.zeros(len(unique), dtype=Long)
    else:
        values, errors = log_integrals(unique, link, density)
    w = np.array(list(weights.values()), dtype=Long)
    size = (w * _sizes(unique, values)).sum()
    return Judged((w * values).sum(), (w * errors).sum() + 4 * EPS * size, size, values.min())


def log_integral(rows: Rows, link: str, density: Intercept) -> Judged:
    """The log-likelihood of one cluster."""
    return loglik([Rows(rows.eta, rows.a, rows.b, rows.constant)], link, density)


def log_integrals(clusters: list[Rows], link: str, density: Intercept) -> tuple[Values, Values]:
    """Logarithms of the clusters' integrals, and bounds of their errors but for rounding."""
    values, errors = np.empty(len(clusters), dtype=Long), np.empty(len(clusters), dtype=Long)
    size = np.array([len(rows.eta) for rows in clusters])
    group = np.ceil(np.log2(size) / 2).astype(int)  # up to 1, 4, 16, ... rows
    for each in np.unique(group):
        members = np.flatnonzero(group == each)
        stack = _Stack([clusters[i] for i in members], KERNELS[link])
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            values[members], errors[members] = _integrate(stack, density)
    return values, errors


class _Stack:
    """Clusters with as many rows each: what is lacking has a = b = 0."""

    def __init__(self, clusters: list[Rows], kernel: Kernel) -> None:
        shape = len(clusters), max(len(rows.eta) for rows in clusters)
        self.eta, self.a, self.b = (np.zeros(shape, dtype=Long) for _ in range(3))
        for i, rows in enumerate(clusters):
            n = len(rows.eta)
            self.eta[i, :n], self.a[i, :n], self.b[i, :n] = rows.eta, rows.a, rows.b
        self.constant = np.array([rows.constant for rows in clusters], dtype=Long)
        self.kernel = kernel
        self.reach = float(np.abs(self.eta).max()) + 60.0

    def __len__(self) -> int:
        return len(self.constant)

    def value(self, c: Values, b: Values) -> Values:
        """l of clusters c, shape (k,), at intercepts b, shape (k,) or (k, nodes)."""
        out = np.empty(b.shape, dtype=Long)
        step = max(1, _AT_ONCE // (self.eta.shape[1] * math.prod(b.shape[1:])))
        for i in range(0, len(b), step):
            s = slice(i, i + step)
            at = c[s]
            place = (..., *[None] * (b.ndim - 1), slice(None))
            eta, p, q = self.eta[at][place], self.a[at][place], self.b[at][place]
            out[s] = self.kernel.value(eta + b[s][..., None], p, q).sum(-1)
        return out + self.constant[c].reshape(-1, *[1] * (b.ndim - 1))

    def slope(self, c: Values, b: Values) -> Values:
        """l' of clusters c at intercepts b, shape (k,) each."""
        out = np.empty(b.shape, dtype=Long)
        step = max(1, _AT_ONCE // self.eta.shape[1])
        for i in range(0, len(b), step):
            s = slice(i, i + step)
            out[s] = self.kernel.slope(self.eta[c[s]] + b[s][:, None], self.a[c[s]], self.b[c[s]]).sum(-1)
        return out


@dataclass
class _Intervals:
    """[u, v] of clusters c with l and l' at both ends."""

    c: Values
    u: Values
    v: Values
    lu: Values
    lv: Values
    su: Values
    sv: Values

    def only(self, which: Values) -> _Intervals:
        return _Intervals(*(x[which] for x in vars(self).values()))

    def halves(self, stack: _Stack) -> _Intervals:
        m = self.u + (self.v - self.u) / 2
        lm, sm = stack.value(self.c, m), stack.slope(self.c, m)
        pairs = ((self.c, self.c), (self.u, m), (m, self.v), (self.lu, lm), (lm, self.lv), (self.su, sm), (sm, self.sv))
        return _Intervals(*(np.concatenate(pair) for pair in pairs))

    def highest(self) -> Values:
        """At least l inside: the tangents' crossing."""
        gap = self.v - self.u
        turn = np.clip((self.lv - self.lu - self.sv * gap) / (self.su - self.sv), 0, gap)
        crossing = np.where(np.isfinite(turn), self.lu + self.su * turn, np.maximum(self.lu, self.lv) + self.su * gap)
        crossing = np.maximum(crossing, np.maximum(self.lu, self.lv))  # rounding
        return np.where(self.su <= 0, self.lu, np.where(self.sv >= 0, self.lv, crossing))


def _integrate(stack: _Stack, density: Intercept) -> tuple[Values, Values]:
    m = len(stack)
    grid = density.grid(stack.reach)
    c = np.repeat(np.arange(m), len(grid))
    points = np.tile(grid, m)
    l, s = (x.reshape(m, -1) for x in (stack.value(c, points), stack.slope(c, points)))
    c = np.repeat(np.arange(m), len(grid) - 1)
    u, v = np.tile(grid[:-1], m), np.tile(grid[1:], m)
    live = _Intervals(c, u, v, l[:, :-1].ravel(), l[:, 1:].ravel(), s[:, :-1].ravel(), s[:, 1:].ravel())
    done, wrong = np.full(m, -np.inf, dtype=Long), np.full(m, -np.inf, dtype=Long)
    for end in (0, -1):  # log P <= 0, and l falls from here on where it falls here
        falls = s[:, end] >= 0 if end == 0 else s[:, end] <= 0
        wrong = np.logaddexp(wrong, np.where(falls, np.minimum(l[:, end], 0), 0) + density.outside(grid[end]))
    for _ in range(_SWEEPS):
        gap = np.log(live.v - live.u)
        least = gap + np.minimum(live.lu, live.lv) + density.lowest(live.u, live.v)
        most = gap + live.highest() + density.highest(live.u, live.v)
        whole = _added(done, live.c, least)
        matters = most > whole[live.c] + _NEGLIGIBLE
        wrong = _added(wrong, live.c[~matters], most[~matters])
        live, most = live.only(matters), most[matters]
        if len(live.c) == 0:
            return done, np.exp(wrong - done)
        bend = np.nan_to_num(live.su - live.sv + density.bend(live.u, live.v), nan=np.inf)
        width = live.v - live.u
        point = width <= 16 * EPS * np.maximum(np.abs(live.u), np.abs(live.v))
        tame = (bend * width <= _BEND) | point
        found, error = _kronrod(stack, density, live, tame)
        error = np.where(point, most, error)
        whole = _added(whole, live.c, np.where(tame, found, -np.inf))
        good = tame & ((error <= whole[live.c] + _ERROR) | point)
        done = _added(done, live.c[good], found[good])
        wrong = _added(wrong, live.c[good], error[good])
        live = live.only(~good).halves(stack)
    raise ArithmeticError(f"an integral is not done after {_SWEEPS} sweeps")


def _kronrod(stack: _Stack, density: Intercept, live: _Intervals, which: Values) -> tuple[Values, Values]:
    """Logs of integrals and of their errors as QUADPACK estimates them; -inf where not asked for."""
    found, error = np.full(len(which), -np.inf, dtype=Long), np.full(len(which), -np.inf, dtype=Long)
    if not which.any():
        return found, error
    part = live.only(which)
    half = (part.v - part.u) / 2
    b = (part.u + half)[:, None] + half[:, None] * NODES
    g = stack.value(part.c, b) + density.log_density(b)
    top = np.where(np.isfinite(g.max(1)), g.max(1), 0)
    e = np.exp(g - top[:, None])
    fine, coarse = e @ KRONROD, e @ GAUSS
    change = np.abs(fine - coarse)
    bound = np.where(fine > 0, change * np.minimum(1, np.sqrt(200 * change / fine)), 0)
    found[which], error[which] = np.log(fine * half) + top, np.log(bound * half) + top
    return found, error


def _added(totals: Values, c: Values, logs: Values) -> Values:
    """log of exp(totals) and of the exp(logs) that belong to each."""
    out = totals.copy()
    np.logaddexp.at(out, c, logs)
    return out


def _sizes(clusters: list[Rows], values: Values) -> Values:
    """What the terms of each cluster's log-likelihood sum to without their signs, or more."""
    out = 100 + np.abs(values)
    for i, rows in enumerate(clusters):
        n = rows.a + rows.b
        terms = n * (1 + np.abs(np.log(np.maximum(n, 1))) + np.abs(rows.eta))
        out[i] += terms.sum() + np.abs(rows.constant)
    return out
