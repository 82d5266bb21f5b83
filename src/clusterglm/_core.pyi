"""Typed face of the compiled core."""

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

generation: str
"""Processors that the kernels are compiled for: "x86-64-v3" where this one knows it, or "baseline"."""

class Problem:
    def __init__(
        self,
        starts: _Integers,
        X: _Floats,
        a: _Floats,
        b: _Floats,
        offset: _Floats,
        cluster_weights: _Floats,
        response: str,
        own: int = 0,
        groups: _Integers | None = None,
        own_columns: _Floats | None = None,
        own_numbers: _Integers | None = None,
    ) -> None: ...
    @property
    def n_clusters(self) -> int: ...
    @property
    def n_coefficients(self) -> int: ...
    @property
    def n_own(self) -> int: ...
    @property
    def cluster_weights(self) -> _Floats: ...

class Outside:
    def __init__(
        self,
        local: NDArray[np.int32],
        columns: NDArray[np.int32],
        starts: _Integers,
        touched: NDArray[np.int32],
        matrix: _Integers,
        size: _Integers,
    ) -> None: ...
    def spread(self, slopes: _Floats, v: _Floats, offset: _Floats | None, to: _Floats) -> None: ...
    def gather(self, slopes: _Floats, by: _Floats, to: _Floats) -> None: ...

class LocationMap: ...

class Rule:
    def __init__(self, follows: bool, moves: bool, positions: _Floats, log_weights: _Floats) -> None: ...

class PointSet:
    kinds: int
    def __init__(self, positions: _Floats, log_weights: _Floats, kinds: _Integers | None = None) -> None: ...

def gaussian() -> LocationMap: ...
def logistic(normal_scale: bool) -> LocationMap: ...
def cauchy(normal_scale: bool) -> LocationMap: ...
def student_t(df: float, edges: _Floats, coefficients: _Floats, normal_scale: bool) -> LocationMap: ...
def scale_table(edges: _Floats, coefficients: _Floats, compressed: bool) -> LocationMap: ...
def map_table(edges: _Floats, coefficients: _Floats) -> LocationMap: ...
def own_density(map: LocationMap) -> LocationMap: ...
def locate(map: LocationMap, s: _Floats, sigma: float, out: _Floats) -> None: ...
def side_by_side(columns: list[_Floats | None], X: _Floats, ranges: _Floats) -> None: ...

NORMAL_EFFECTS: int
"""Most effects of a unit of normal responses."""

def normal_products(left: _Floats, right: _Floats, starts: _Integers, found: _Floats, place: int) -> None: ...
def normal_value(squares: _Floats, products: _Floats, weights: _Floats, root: _Floats, found: _Floats) -> None: ...
def normal_slopes(
    squares: _Floats, products: _Floats, weights: _Floats, root: _Floats, v: _Floats, found: _Floats
) -> None: ...
def marginal(
    problem: Problem,
    map: LocationMap,
    rule: Rule,
    theta: _Floats,
    order: int,
    clusters: _Integers | None,
    modes: _Floats,
    score: _Floats,
    hessian: _Floats,
    values: _Floats | None = None,
    ends: _Floats | None = None,
    scores: _Floats | None = None,
    posterior: _Floats | None = None,
    omegas: _Floats | None = None,
    threads: int = 1,
) -> float: ...
def vector(
    problem: Problem,
    coefficients: int,
    effects: _Integers,
    rows: _Integers,
    columns: _Integers,
    theta: _Floats,
    points: PointSet,
    follow: bool,
    precise: bool,
    centres: _Floats,
    factors: _Floats,
    order: int,
    clusters: _Integers | None,
    score: _Floats,
    hessian: _Floats,
    values: _Floats | None = None,
    scores: _Floats | None = None,
    means: _Floats | None = None,
    covariances: _Floats | None = None,
    shares: _Floats | None = None,
    threads: int = 1,
) -> float: ...
def nested(
    problem: Problem,
    first_child: _Integers,
    child_starts: _Integers,
    coefficients: int,
    upper_effects: _Integers,
    upper_rows: _Integers,
    upper_columns: _Integers,
    lower_effects: _Integers,
    lower_rows: _Integers,
    lower_columns: _Integers,
    theta: _Floats,
    upper: PointSet,
    lower: PointSet,
    follow: bool,
    precise: bool,
    centres1: _Floats,
    factors1: _Floats,
    centres2: _Floats,
    slopes2: _Floats,
    factors2: _Floats,
    order: int,
    units: _Integers | None,
    score: _Floats,
    hessian: _Floats,
    values: _Floats | None = None,
    scores: _Floats | None = None,
    means1: _Floats | None = None,
    covariances1: _Floats | None = None,
    means2: _Floats | None = None,
    covariances2: _Floats | None = None,
    across: _Floats | None = None,
    threads: int = 1,
) -> float: ...
def integrands(
    problem: Problem,
    map: LocationMap,
    theta: _Floats,
    clusters: _Integers | None,
    points: _Floats,
    out: _Floats,
    threads: int = 1,
) -> None: ...
def pooled(
    problem: Problem,
    beta: _Floats,
    order: int,
    score: _Floats,
    hessian: _Floats,
    cluster_sums: _Floats | None = None,
    threads: int = 1,
) -> float: ...
def profile(
    problem: Problem,
    beta: _Floats,
    order: int,
    intercepts: _Floats,
    score: _Floats,
    hessian: _Floats,
    information: _Floats | None = None,
    means: _Floats | None = None,
    scores: _Floats | None = None,
    threads: int = 1,
) -> float: ...
def conditional(
    problem: Problem,
    beta: _Floats,
    order: int,
    intercepts: _Floats,
    score: _Floats,
    hessian: _Floats,
    scores: _Floats | None = None,
    threads: int = 1,
) -> float: ...
def crossed(
    problem: Problem,
    outside: Outside,
    slopes: _Floats,
    coefficients: int,
    effects: _Integers,
    rows: _Integers,
    columns: _Integers,
    theta: _Floats,
    points: PointSet | None,
    follow: bool,
    precise: bool,
    centres: _Floats,
    factors: _Floats,
    task: int,
    units: _Integers | None,
    matrices: _Floats | None = None,
    direction: _Floats | None = None,
    kappa: _Floats | None = None,
    values: _Floats | None = None,
    logs: _Floats | None = None,
    row_results: _Floats | None = None,
    pulls: _Floats | None = None,
    entries: _Floats | None = None,
    direct: _Floats | None = None,
    first: _Floats | None = None,
    kept: _Floats | None = None,
    known: bool = False,
    means: _Floats | None = None,
    covariances: _Floats | None = None,
    spreads: _Floats | None = None,
    follows: _Floats | None = None,
    bends: _Floats | None = None,
    threads: int = 1,
) -> None: ...
