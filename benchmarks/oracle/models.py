"""Random models at the edges: sharp and outlying clusters, heavy tails, corners, rare events, huge counts.

A model follows from (seed, number) alone. Every distribution is met with every link equally often.
"""

from __future__ import annotations

from dataclasses import dataclass

import mpmath
import numpy as np

from oracle.integral import Judged, Rows, loglik
from oracle.intercept import INTERCEPTS, intercept
from oracle.response import Long, constants

LINKS = ("logit", "probit", "cloglog", "log")
NAMES = tuple(INTERCEPTS)
_MOST = 6e7  # the largest count
_ON_THEIR_OWN_SCALE = ("gaussian", "logistic", "cauchy", "student_t")
_DF = (0.5, 1.0, 2.0, 3.0, 4.0, 7.0, 30.0, 200.0)


@dataclass(frozen=True)
class Model:
    """Data, and how they are to be fitted.

    Parameters
    ----------
    name : str
        Of the intercept's distribution, as `oracle.INTERCEPTS` has it.
    shape : tuple of float or None
        Its shape parameters; None where they are to be estimated.
    link : str
    sigma : float or None
        Where it is held; None where it is to be estimated.
    columns : dict of ndarray
        id, y, n, x, o, w, cw: cluster, response, trials, covariate, offset, weights; one row for `times` equal ones.
    times : ndarray
    uses : frozenset of str
        Which of x, o, w and cw the fit is told of.
    traits : str
        What is special, in words.
    scale : str
        On which adaptive rules are to integrate.
    tolerance : float
        Asked for.
    """

    name: str
    shape: tuple[float, ...] | None
    link: str
    sigma: float | None
    columns: dict[str, np.ndarray]
    times: np.ndarray
    uses: frozenset[str]
    traits: str
    scale: str = "normal"
    tolerance: float = 1e-6

    @property
    def family(self) -> str:
        """Family of the response."""
        return "poisson" if self.link == "log" else "binomial"

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """The columns with every row by itself."""
        return {key: np.repeat(column, self.times) for key, column in self.columns.items()}

    def clusters(self, intercept: float, slope: float) -> list[Rows]:
        """What the oracle integrates, at coefficients that are taken as exact."""
        d = {key: column.astype(Long) for key, column in self.columns.items()}
        w = self.times.astype(Long) * (d["w"] if "w" in self.uses else 1)
        eta = Long(intercept) + (Long(slope) * d["x"] if "x" in self.uses else 0 * w)
        eta += d["o"] if "o" in self.uses else 0
        a = w * d["y"]
        b = w if self.family == "poisson" else w * (d["n"] - d["y"])
        c = constants(self.family, d["y"], d["n"], w)
        order = np.argsort(self.columns["id"], kind="stable")
        out = []
        for i in np.split(order, np.flatnonzero(np.diff(self.columns["id"][order])) + 1):
            weight = float(self.columns["cw"][i[0]]) if "cw" in self.uses else 1.0
            out.append(Rows(eta[i], a[i], b[i], c[i].sum(), weight))
        return out

    def judged(self, coefficients: tuple[float, float], sigma: float, shape: tuple[float, ...]) -> Judged:
        """The log-likelihood there, by the oracle."""
        density = intercept(self.name, sigma, *shape) if sigma > 0.0 else None
        return loglik(self.clusters(*coefficients), self.link, density)


def model(seed: int, number: int) -> Model:
    """The model of this number."""
    rng = np.random.default_rng([seed, number])
    name, link = NAMES[number % len(NAMES)], LINKS[number // len(NAMES) % len(LINKS)]
    shape = _shape(rng, name)
    sigma = _sigma(rng, name)
    traits = []
    m = int(5 * 12.0 ** rng.random())
    if many := number % 1999 == 500:  # so many that rules are chosen by a sample of them
        m, traits = 4200 + 20 * m, ["many clusters"]
    spread = min(sigma, 2.0) if sigma is not None else 10 ** rng.uniform(-1, 0.5)
    centre = rng.uniform(-8, 8) if rng.random() < 0.5 else rng.uniform(-2, 2)
    size = rng.integers(1, (2, 6, 31)[rng.choice(3, p=(0.2, 0.6, 0.2))], m)
    if many:
        size = np.minimum(size, 2)
    trials = _trials(rng, size.sum())
    id_ = np.repeat(np.arange(m), size)
    own = spread * np.clip(rng.standard_t(3, m), -20, 20)
    # sharp clusters, some of them far from the others
    for _ in range(rng.choice(3, p=(0.25, 0.6, 0.15))):
        k = rng.integers(m)
        rows = np.flatnonzero(id_ == k)
        trials[rows] = np.maximum(np.rint(10 ** rng.uniform(2, 7.75) / (len(rows) if rng.random() < 0.5 else 1)), 1)
        traits.append("sharp")
        if rng.random() < 0.6:
            own[k] = rng.uniform(-8, 8) - (centre if rng.random() < 0.5 else 0.0)
            traits.append("outlying")
    columns = {"id": id_, "n": trials}
    columns["x"] = rng.integers(0, 2, len(id_)).astype(float) if rng.random() < 0.6 else rng.normal(size=len(id_))
    columns["o"] = np.round(rng.uniform(-1, 1, len(id_)), rng.integers(1, 17))
    columns["w"] = rng.choice((0.5, 1.0, 2.0, 3.7), len(id_))
    columns["cw"] = rng.choice((0.5, 1.0, 3.0), m)[id_]
    uses = frozenset(key for key, share in (("x", 0.5), ("o", 0.2), ("w", 0.2), ("cw", 0.2)) if rng.random() < share)
    eta = centre + own[id_] + (0.5 * columns["x"] if "x" in uses else 0) + (columns["o"] if "o" in uses else 0)
    columns["y"] = _response(rng, link, eta, trials)
    if rng.random() < 0.15:
        k = id_ == rng.integers(m)
        columns["y"][k] = 0.0 if link == "log" or rng.random() < 0.5 else trials[k]
        traits.append("all alike")
    times = np.ones(len(id_), dtype=np.int64)
    if link != "log" and number % 1499 == 0 and not many:  # one cluster of very many rows of 0 and 1
        rows = np.flatnonzero(id_ == rng.integers(m))
        n = 10 ** rng.uniform(4, 6.3)
        share = columns["y"][rows] / trials[rows]
        columns["y"] = np.append(columns["y"], np.ones(len(rows)))
        columns["y"][rows] = 0.0
        for key in ("id", "n", "x", "o", "w", "cw"):
            if key == "n":
                columns["n"][rows] = 1.0
            columns[key] = np.append(columns[key], columns[key][rows])
        each = np.maximum(n / len(rows), 1)
        times = np.append(times, np.maximum(np.rint(each * share), 1).astype(np.int64))
        times[rows] = np.maximum(np.rint(each * (1 - share)), 1)
        traits.append("many rows")
    scale, tolerance = "normal", 1e-6
    if number % 13 == 5 and name in _ON_THEIR_OWN_SCALE:
        scale = "density"
        traits.append("density scale")
    if number % 17 == 5:
        tolerance = (1e-3, 1e-9)[number // 17 % 2]
        traits.append(f"tolerance {tolerance:g}")
    traits += [] if sigma is not None else ["sigma estimated"]
    traits += [] if shape is not None else ["shape estimated"]
    traits += sorted(uses)
    return Model(name, shape, link, sigma, columns, times, uses, " ".join(traits), scale, tolerance)


def _shape(rng: np.random.Generator, name: str) -> tuple[float, ...] | None:
    draw = rng.random(3)
    if name == "student_t":
        return None if draw[0] < 0.1 else (_DF[int(draw[1] * len(_DF))],)
    if name == "gaussian_mixture":
        return None if draw[0] < 0.1 else (0.02 + 0.96 * draw[1], 10.0 * draw[2])
    return ()


def _sigma(rng: np.random.Generator, name: str) -> float | None:
    kind = rng.random()
    most = 0.3 if name == "sinh_normal" else 1.5  # beyond, its quantiles overflow
    if kind < 0.6:
        return float(10 ** rng.uniform(-6, most))
    return float(10 ** rng.uniform(-1.5, min(most, 0.8))) if kind < 0.8 else None


def _trials(rng: np.random.Generator, n: int) -> np.ndarray:
    kind = rng.random()
    if kind < 0.3:
        return np.ones(n)
    return rng.integers(1, 20, n).astype(float) if kind < 0.8 else np.rint(10 ** rng.uniform(0, 3, n))


def _response(rng: np.random.Generator, link: str, eta: np.ndarray, trials: np.ndarray) -> np.ndarray:
    if link == "log":
        # trials are the exposure, as far as counts stay below what is wanted
        mu = np.minimum(np.exp(np.minimum(eta, 18.0)) * np.where(trials >= 100, trials, 1.0), _MOST)
        return np.minimum(rng.poisson(mu).astype(float), _MOST)
    p = {
        "logit": lambda e: 1 / (1 + np.exp(-e)),
        "probit": lambda e: np.array([float(mpmath.ncdf(one)) for one in e]),
        "cloglog": lambda e: -np.expm1(-np.exp(e)),
    }[link](np.clip(eta, -30, 30))
    return rng.binomial(np.minimum(trials, _MOST).astype(np.int64), p).astype(float)
