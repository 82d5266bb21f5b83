"""How the integral over a cluster's intercept is to be computed, and the Gauss-Hermite rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral, Real

import numpy as np

from clusterglm.errors import OptionError, check_option
from clusterglm.model.arrays import Array
from clusterglm.model.quasi import QUASI

KINDS = ("laplace", "fixed", "auto")
SCALES = ("normal", "density")
MAX_NODES = 100  # that a user may ask for
_MAX_HERMITE = 200


@dataclass(frozen=True)
class Quadrature:
    """A request for an integration rule.

    Parameters
    ----------
    kind : {"laplace", "fixed", "auto"}
        Laplace approximation, a fixed number of adaptive Gauss-Hermite nodes, or as many as a tolerance needs.
    nodes : int, optional
        With "fixed": nodes per cluster, 1 to 100. One node is the Laplace approximation.
    tolerance : float
        With "auto": largest change of the total log-likelihood that more nodes may still make.
    tolerance_outside : float
        With "auto" and crossed factors: standard error of the log-likelihood by importance sampling over the effects
        for which Laplace's approximation is taken first.

    Raises
    ------
    OptionError
        On a value that is not allowed.

    Examples
    --------
    >>> import clusterglm as cg
    >>> rule = cg.Quadrature("auto", tolerance=1e-3)
    >>> bacteria = cg.datasets.load("bacteria")
    >>> fit = cg.random_effects("y ~ week", bacteria, cluster="ID", quadrature=rule)
    >>> bool(fit.quadrature.error < 1e-3)
    True
    """

    kind: str
    nodes: int | None = None
    tolerance: float = 1e-6
    tolerance_outside: float = 0.01

    def __post_init__(self) -> None:
        check_option("kind", self.kind, KINDS)
        if self.kind == "fixed" and not _is_node_count(self.nodes):
            raise OptionError(
                f"a fixed quadrature with nodes={self.nodes!r}",
                f"a whole number of nodes from 1 to {MAX_NODES}",
                'quadrature=8, or quadrature="auto" for as many as the tolerance needs',
            )
        if self.kind != "fixed" and self.nodes is not None:
            raise OptionError(
                f"quadrature kind {self.kind!r} with nodes={self.nodes!r}",
                'nodes only with kind "fixed"',
                f"Quadrature({self.kind!r}) or Quadrature('fixed', nodes={self.nodes!r})",
            )
        for name, default in (("tolerance", "1e-6"), ("tolerance_outside", "0.01")):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 < float(value) < np.inf:
                raise OptionError(f"{name}={value!r}", "a positive number", f"the default, {default}")

    @property
    def one_point(self) -> bool:
        """Whether it is Laplace's approximation, by either name."""
        return self.kind == "laplace" or self.nodes == 1

    def __str__(self) -> str:
        if self.kind == "fixed":
            return f"adaptive Gauss-Hermite, {self.nodes} node{'s' if self.nodes != 1 else ''}"
        return "Laplace" if self.kind == "laplace" else f"automatic, tolerance {self.tolerance:g}"


def _is_node_count(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 1 <= int(value) <= MAX_NODES


def quadrature(value: str | int | Quadrature) -> Quadrature:
    """Read the argument `quadrature=`: "laplace", "auto", a number of nodes (also as digits), or a `Quadrature`.

    Raises
    ------
    OptionError
        On anything else.
    """
    if isinstance(value, Quadrature):
        return value
    if isinstance(value, str) and value in ("laplace", "auto"):
        return Quadrature(value)
    if isinstance(value, str) and value in QUASI:
        raise OptionError(
            f"quadrature={value!r}, penalised quasi-likelihood, which computes no integral",
            "'auto', 'laplace', or a number of nodes",
            "cg.random_effects(..., quadrature=...), which alone fits by penalised quasi-likelihood",
        )
    number: object = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, Integral) and _is_node_count(number):
        return Quadrature("fixed", nodes=int(number))
    raise OptionError(
        f"quadrature={value!r}",
        f"'laplace', 'auto', or a whole number of nodes from 1 to {MAX_NODES}",
        "quadrature='auto', which adds nodes until the log-likelihood stops moving",
    )


def check_scale(scale: str) -> str:
    """Return `scale` if it is "normal" or "density"; raise `OptionError` otherwise."""
    return check_option("scale", scale, SCALES)


@lru_cache(maxsize=64)
def hermite(nodes: int) -> tuple[Array, Array]:
    """Gauss-Hermite rule in the form adaptive quadrature needs.

    Parameters
    ----------
    nodes : int
        1 to 200.

    Returns
    -------
    c : ndarray, shape (nodes,)
        sqrt(2) x_k, ascending; x_k the zeros of the physicists' Hermite polynomial. Read-only.
    log_w : ndarray, shape (nodes,)
        log h_k + x_k^2, h_k the weights. Read-only.

    Raises
    ------
    OptionError
        When `nodes` is out of range.
    """
    if isinstance(nodes, bool) or not isinstance(nodes, Integral) or not 1 <= nodes <= _MAX_HERMITE:
        raise OptionError(f"nodes={nodes!r}", f"a whole number from 1 to {_MAX_HERMITE}", "8 to 50 nodes")
    # Eigenvalues of the Jacobi matrix, polished by Newton on the orthonormal Hermite functions psi_j. These carry
    # exp(-x^2/2), so that h_k exp(x_k^2) = 1 / sum_{j < n} psi_j(x_k)^2: a sum of squares, no underflow, no loss.
    off = np.sqrt(np.arange(1, nodes) / 2.0)
    x = np.linalg.eigvalsh(np.diag(off, 1) + np.diag(off, -1))
    for _ in range(3):
        last, before, total = _hermite_functions(x, nodes)
        x = x - last / (np.sqrt(2.0 * nodes) * before - x * last)
    x = 0.5 * (x - x[::-1])
    _, _, total = _hermite_functions(x, nodes)
    c, log_w = np.sqrt(2.0) * x, -np.log(total)
    c.flags.writeable = log_w.flags.writeable = False
    return c, log_w


def _hermite_functions(x: Array, n: int) -> tuple[Array, Array, Array]:
    """psi_n, psi_{n-1} and the sum of psi_j^2 over j < n, at x."""
    before, last = np.zeros_like(x), np.pi**-0.25 * np.exp(-0.5 * x * x)
    total = np.zeros_like(x)
    for j in range(n):
        total += last * last
        before, last = last, x * np.sqrt(2.0 / (j + 1)) * last - np.sqrt(j / (j + 1)) * before
    return last, before, total
