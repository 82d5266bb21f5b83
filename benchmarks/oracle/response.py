"""log P(row | eta) and its slope in extended precision, for every family and link.

A row enters as two numbers: binomial a = w y, b = w (n - y), weighted successes and failures; Poisson a = w y, b = w.
What is free of eta is `constants`. Each kernel is concave in eta, on which `integral.py` rests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import mpmath
import numpy as np

Long = np.longdouble
Values = np.ndarray
EPS = np.finfo(Long).eps
if EPS > 1e-18:
    raise ImportError(f"the oracle needs extended precision: here a long double has an eps of {EPS:.1e}, not 1.1e-19")


def long(value: Callable[[], mpmath.mpf]) -> np.longdouble:
    """What `value()` gives with 60 digits, rounded."""
    with mpmath.workdps(60):
        return Long(mpmath.nstr(value(), 25))


@lru_cache(maxsize=1)
def _small_factorials() -> Values:
    return np.array([long(lambda n=n: mpmath.loggamma(n + 1)) for n in range(40)], dtype=Long)


HALF_LOG_2PI = long(lambda: mpmath.log(2 * mpmath.pi) / 2)
_STIRLING = [long(lambda k=k: mpmath.bernoulli(2 * k) / (2 * k * (2 * k - 1))) for k in range(1, 9)]


def log_factorial(n: Values) -> Values:
    """log n! of whole numbers, by Stirling's series from 40 on."""
    n = np.asarray(n, dtype=Long)
    x = np.maximum(n, 40) + 1
    rest = sum(c / x ** (2 * k + 1) for k, c in enumerate(_STIRLING))
    far = (x - Long(0.5)) * np.log(x) - x + HALF_LOG_2PI + rest
    return np.where(n < 40, _small_factorials()[np.minimum(n, 39).astype(int)], far)


def constants(family: str, y: Values, n: Values, w: Values) -> Values:
    """The part of each row's weighted log-probability that is free of eta."""
    if family == "poisson":
        return -w * log_factorial(y)
    return w * (log_factorial(n) - log_factorial(y) - log_factorial(n - y))


@dataclass(frozen=True)
class Kernel:
    """What depends on eta, and its slope; both take (eta, a, b)."""

    value: Callable[[Values, Values, Values], Values]
    slope: Callable[[Values, Values, Values], Values]


def _times(a: Values, x: Values) -> Values:
    """a x, and 0 where a = 0 whatever x is."""
    return np.where(a > 0, a * x, 0)


def _softplus(x: Values) -> Values:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _logit(eta: Values, a: Values, b: Values) -> Values:
    return -_times(a, _softplus(-eta)) - _times(b, _softplus(eta))


def _logit_slope(eta: Values, a: Values, b: Values) -> Values:
    return a * np.exp(-_softplus(eta)) - b * np.exp(-_softplus(-eta))


def _cloglog(eta: Values, a: Values, b: Values) -> Values:
    mu = np.exp(eta)
    success = np.where(eta < -60, eta, np.log(-np.expm1(-np.exp(np.maximum(eta, -60)))))
    return _times(a, success) - _times(b, mu)


def _cloglog_slope(eta: Values, a: Values, b: Values) -> Values:
    mu = np.exp(np.clip(eta, -60, 9))  # exp(9) in the exponent: the quotient is 0 to 3000 digits
    return _times(a, mu / np.expm1(mu)) - _times(b, np.exp(eta))


def _poisson(eta: Values, a: Values, b: Values) -> Values:
    return a * eta - _times(b, np.exp(eta))


def _poisson_slope(eta: Values, a: Values, b: Values) -> Values:
    return a - _times(b, np.exp(eta))


_STEP, _TERMS, _FAR = 8, 18, 40


@lru_cache(maxsize=1)
def _mills_table() -> Values:
    """Taylor coefficients of Mills' ratio m(x) = Phi(-x) / phi(x) about 0, 1/8, ..., 40, from m' = x m - 1."""
    table = np.empty((_FAR * _STEP + 1, _TERMS), dtype=Long)
    with mpmath.workdps(60):
        for i in range(len(table)):
            x = mpmath.mpf(i) / _STEP
            m = mpmath.sqrt(mpmath.pi / 2) * mpmath.exp(x * x / 2) * mpmath.erfc(x / mpmath.sqrt(2))
            c = [m, x * m - 1]
            for k in range(1, _TERMS - 1):
                c.append((x * c[k] + c[k - 1]) / (k + 1))
            table[i] = [long(lambda one=one: one) for one in c]
    return table


def _mills(x: Values) -> Values:
    """Phi(-x) / phi(x) for x >= 0."""
    near = np.minimum(x, _FAR)
    i = np.rint(near * _STEP).astype(int)
    d, c = near - Long(1) * i / _STEP, _mills_table()
    value = c[i, _TERMS - 1]
    for k in range(_TERMS - 2, -1, -1):
        value = value * d + c[i, k]
    if not np.any(x > _FAR):
        return value
    far = np.maximum(x, _FAR)
    series, term = np.ones_like(far), np.ones_like(far)
    for k in range(1, 13):  # asymptotic; the terms still fall at k = 800
        term = -term * (2 * k - 1) / (far * far)
        series = series + term
    return np.where(x > _FAR, series / far, value)


def _log_phi(x: Values) -> Values:
    return -x * x / 2 - HALF_LOG_2PI


def _log_tails(eta: Values) -> tuple[Values, Values]:
    """log Phi(eta) and log Phi(-eta)."""
    size = np.abs(eta)
    small = _log_phi(size) + np.log(_mills(size))
    large = np.log1p(-np.exp(small))
    return np.where(eta < 0, small, large), np.where(eta < 0, large, small)


def _probit(eta: Values, a: Values, b: Values) -> Values:
    below, above = _log_tails(eta)
    return _times(a, below) + _times(b, above)


def _probit_slope(eta: Values, a: Values, b: Values) -> Values:
    size = np.abs(eta)
    steep = 1 / _mills(size)
    flat = np.exp(_log_phi(size) - _log_tails(size)[0])
    return _times(a, np.where(eta < 0, steep, flat)) - _times(b, np.where(eta < 0, flat, steep))


KERNELS = {
    "logit": Kernel(_logit, _logit_slope),
    "probit": Kernel(_probit, _probit_slope),
    "cloglog": Kernel(_cloglog, _cloglog_slope),
    "log": Kernel(_poisson, _poisson_slope),
}
