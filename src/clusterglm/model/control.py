"""Settings of the optimiser."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

from clusterglm.errors import OptionError
from clusterglm.model.arguments import MOST_THREADS, whole_number


@dataclass(frozen=True)
class Control:
    """Settings of a fit.

    Parameters
    ----------
    max_iter : int
        Most Newton iterations, at least 1.
    tol : float
        The fit has converged when the norm of the gradient, in standard-error units, is below it; in (0, 1).
    n_threads : int or None
        Threads of the likelihood, at most 1024; 0 or None: one for every core this process may use.
    progress : callable, optional
        Called with an `Iteration` after each one; a fit stops when it returns False.

    Raises
    ------
    OptionError
        On a value that is not allowed.

    Examples
    --------
    >>> import clusterglm as cg
    >>> cg.Control(n_threads=2, max_iter=50).tol
    1e-06
    """

    max_iter: int = 100
    tol: float = 1e-6
    n_threads: int | None = 1
    progress: Callable[[Any], bool | None] | None = None

    def __post_init__(self) -> None:
        whole_number("max_iter", self.max_iter, 1, advice="the default, 100")
        if isinstance(self.tol, bool) or not isinstance(self.tol, Real) or not 0.0 < float(self.tol) < 1.0:
            raise OptionError(f"tol={self.tol!r}", "a number between 0 and 1", "the default, 1e-6")
        if self.n_threads is not None:
            whole_number("n_threads", self.n_threads, 0, MOST_THREADS, advice="n_threads=0 for every core, or 1")
        if self.progress is not None and not callable(self.progress):
            raise OptionError(
                f"progress={self.progress!r}", "a function of one iteration, or None", "progress=print to see each one"
            )

    @property
    def threads(self) -> int:
        """Number of threads to start, at least 1."""
        if self.n_threads:
            return int(self.n_threads)
        if hasattr(os, "sched_getaffinity"):
            return max(1, len(os.sched_getaffinity(0)))
        return os.cpu_count() or 1
