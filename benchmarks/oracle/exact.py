"""Single integrals once more with mpmath: other formulas, other breakpoints, another rule, as many digits as wanted.

Slow (about a second a cluster): for samples, and where the package and `integral.py` disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from mpmath import mp, mpf

from oracle.integral import Rows

Function = Callable[[mpf], mpf]
_BELOW = 85  # nats below the largest that matter


def _exp(x: mpf) -> mpf:
    """exp(x); where it is beyond 10^86, that, which no response outlives."""
    return mp.exp(min(x, mpf(200)))


def _success(link: str) -> tuple[Function, Function]:
    """log P(1) and log P(0) of eta."""
    if link == "logit":
        return lambda e: -mp.log1p(mp.exp(-e)), lambda e: -mp.log1p(mp.exp(e))
    if link == "probit":
        tail = lambda e: mp.erfc(e / mp.sqrt(2)) / 2  # noqa: E731
        log = lambda e: mp.log(tail(e)) if e > 0 else mp.log1p(-tail(-e))  # noqa: E731
        return lambda e: log(-e), log
    return lambda e: mp.log(-mp.expm1(-_exp(e))), lambda e: -_exp(e)


def _kernel(link: str) -> Callable[[mpf, mpf, mpf], mpf]:
    if link == "log":
        return lambda e, a, b: a * e - b * _exp(e)
    one, none = _success(link)
    return lambda e, a, b: (a * one(e) if a else 0) + (b * none(e) if b else 0)


def _density(name: str, s: mpf, shape: tuple[float, ...]) -> tuple[Function, list[mpf], mpf]:
    """log f as it stands in textbooks, the points where it peaks or has a corner, and its finest scale."""
    pi, zero = mp.pi, [mpf(0)]
    if name == "gaussian":
        return lambda b: mp.log(mp.npdf(b, 0, s)), zero, s
    if name == "logistic":
        return lambda b: -b / s - 2 * mp.log1p(mp.exp(-b / s)) - mp.log(s), zero, s
    if name == "laplace":
        return lambda b: -abs(b) / s - mp.log(2 * s), zero, s
    if name == "cauchy":
        return lambda b: -mp.log(pi * s * (1 + (b / s) ** 2)), zero, s
    if name == "student_t":
        d = mpf(shape[0])
        c = -mp.log(mp.beta(mpf(1) / 2, d / 2) * mp.sqrt(d) * s)
        return lambda b: c - (d + 1) / 2 * mp.log(1 + (b / s) ** 2 / d), zero, s * min(d, 1)
    if name == "bridge":
        phi = 1 / mp.sqrt(1 + 3 * s * s / pi**2)
        top, cosine = mp.log(mp.sin(phi * pi) / (2 * pi)), mp.cos(phi * pi)
        return lambda b: top - mp.log(mp.cosh(phi * b) + cosine), zero, (1 - phi) / phi
    if name == "log_gamma":
        k = 1 / s**2
        c = k * mp.log(k) - mp.loggamma(k)
        return lambda b: c + k * (b - _exp(b)), zero, s
    if name == "gaussian_mixture":
        w, d = mpf(shape[0]), mpf(shape[1])
        p = s / mp.sqrt(1 + w * (1 - w) * d * d)
        means = [-w * d * p, (1 - w) * d * p]
        f = lambda b: (1 - w) * mp.npdf(b, means[0], p) + w * mp.npdf(b, means[1], p)  # noqa: E731
        return lambda b: mp.log(f(b)), means, p
    if name == "secant":
        return lambda b: -mp.log(2 * s * mp.cosh(pi * b / (2 * s))), zero, s
    if name == "gumbel":
        shift = mp.log(mp.log(2))
        return lambda b: -(b / s - shift) - _exp(shift - b / s) - mp.log(s), [s * shift], s
    if name == "sinh_normal":
        return lambda b: mp.log(mp.npdf(mp.asinh(b), 0, s)) - mp.log(1 + b * b) / 2, zero, min(s, mpf(1))
    raise KeyError(name)


def log_integral(
    rows: Rows, link: str, name: str, sigma: float, shape: tuple[float, ...] = (), digits: int = 25
) -> tuple[mpf, mpf]:
    """Log of one cluster's integral, and the error that mpmath estimates."""
    with mp.workdps(digits + 15):  # what log(1 - x) loses, and counts of many digits
        s = mpf(sigma)
        f, centres, scale = _density(name, s, shape)
        kernel = _kernel(link)
        terms = [tuple(_exact(x) for x in one) for one in zip(rows.eta, rows.a, rows.b, strict=True)]
        constant = _exact(rows.constant)

        def g(b: mpf) -> mpf:
            return constant + sum(kernel(eta + b, p, q) for eta, p, q in terms) + f(b)

        reach = 4 * (max(abs(eta) for eta, _, _ in terms) + 60) + 100 * s
        heavy = {"cauchy": 1.0, "student_t": shape[0] if shape else 1.0}.get(name)
        if heavy is not None:
            reach *= mpf(10) ** (16 / min(heavy, 1.0))
        if name == "bridge":
            reach += 400 * (1 + s)
        if name == "log_gamma":
            reach += 100 * s * s
        if name == "sinh_normal":
            reach += mp.sinh(40 * s)
        known = _peaks(g, _grid(centres, scale, reach))
        top = max(known.values())
        share = {(u, v): max(known[u], known[v]) + mp.log(v - u) for u, v in pairwise(sorted(known))}
        pieces = [piece for piece, log in share.items() if log > max(share.values()) - _BELOW]
        total = error = mpf(0)
        for u, v in pieces:
            value, wrong = mp.quad(
                lambda b: mp.exp(g(b) - top), [u, v], error=True, method="gauss-legendre", maxdegree=5
            )
            total, error = total + value, error + wrong
        return mp.log(total) + top, error / total


def _exact(x: object) -> mpf:
    """A long double as it is."""
    high = float(x)  # type: ignore[arg-type]
    return mpf(high) + mpf(float(x - type(x)(high)))  # type: ignore[operator, call-arg]


def _grid(centres: list[mpf], scale: mpf, reach: mpf) -> list[mpf]:
    points, step = set(centres), scale / 3
    while step < reach:
        points |= {c + step for c in centres} | {c - step for c in centres}
        step *= mpf("1.7")
    return sorted(points)


def _peaks(g: Function, grid: list[mpf]) -> dict[mpf, mpf]:
    """Values on the grid, with points at falling distances from each of its peaks and from where g drops beside it."""
    known = {b: g(b) for b in grid}
    for _ in range(3):  # a peak between points shows when those beside it are closer
        points = sorted(known)
        top = max(known.values())
        found = [
            i for i in range(1, len(points) - 1) if known[points[i]] >= max(known[points[i - 1]], known[points[i + 1]])
        ]
        for i in found:
            low, high = points[i - 1], points[i + 1]
            at = _highest(g, low, high)
            if g(at) < top - _BELOW:
                continue
            known[at] = g(at)
            for side in (low - at, high - at):
                step = side / 2
                while abs(step) > mpf(10) ** -25 * (abs(at) + abs(side)):
                    known[at + step] = g(at + step)
                    if known[at] - known[at + step] < mpf("0.5"):
                        break
                    step /= mpf("1.7")
    return known


def _highest(g: Function, low: mpf, high: mpf) -> mpf:
    """Golden-section search."""
    ratio = (mp.sqrt(5) - 1) / 2
    u, v = high - ratio * (high - low), low + ratio * (high - low)
    gu, gv = g(u), g(v)
    for _ in range(70):
        if gu > gv:
            high, v, gv = v, u, gu
            u = high - ratio * (high - low)
            gu = g(u)
        else:
            low, u, gu = u, v, gv
            v = low + ratio * (high - low)
            gv = g(v)
    return (low + high) / 2


def distance(value: object, other: mpf) -> float:
    """Absolute difference of a long double and a number of mpmath."""
    with mp.workdps(60):
        return float(abs(_exact(value) - other))
