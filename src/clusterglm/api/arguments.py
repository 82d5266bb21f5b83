"""What the verbs' arguments become."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from clusterglm.data.prepare import FittedData
from clusterglm.errors import AccuracyWarning, ConvergenceWarning, OptionError, nearest
from clusterglm.fit.newton import Optimization
from clusterglm.likelihood.report import IntegrationReport
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control


def read_control(control: Control | None) -> Control:
    """The settings, or the default ones."""
    if control is None:
        return Control()
    if not isinstance(control, Control):
        raise OptionError(f"control={control!r}", "a Control, or None", "control=cg.Control(max_iter=200)")
    return control


def read_start(start: Any, data: FittedData) -> Array | None:
    """Starting coefficients in the order of the columns, from an array or by name."""
    if start is None:
        return None
    if hasattr(start, "to_dict"):  # a pandas Series, such as another result's params
        start = start.to_dict()
    if isinstance(start, Mapping):
        names = list(data.names)
        unknown = [str(name) for name in start if name not in names]
        missing = [name for name in names if name not in start]
        if unknown or missing:
            hint = nearest(unknown[0], names) if unknown else ""
            raise OptionError(
                f"start without {', '.join(missing) or 'nothing'} and with {', '.join(unknown) or 'nothing else'}",
                f"one number for each of {', '.join(names)}",
                f"{hint}start=None, which begins at the pooled fit",
            )
        start = [start[name] for name in names]
    try:
        return np.asarray(start, dtype=np.float64)
    except (TypeError, ValueError):
        raise OptionError(
            f"start={start!r}", "numbers, one for each coefficient", "start=None, which begins at the pooled fit"
        ) from None


def warn_unless_converged(story: Optimization, level: int = 4) -> None:
    """Warn that the optimiser ended early, at the line of the user's call."""
    if not story.converged:
        warnings.warn(story.message, ConvergenceWarning, stacklevel=level)


def warn_unless_accurate(report: IntegrationReport, level: int = 4) -> None:
    """Warn that automatic quadrature missed its tolerance."""
    if not report.accurate:
        known = (
            f"the integrals are known to {report.error:.1e} in the log-likelihood, rounding included,"
            if report.error < report.unit
            else "some clusters lie so far out in the intercept's distribution that their integrals are not known,"
        )
        warnings.warn(
            f"{known} not to the {report.requested.tolerance * report.unit:g} asked for: look at `result.quadrature`, "
            "or allow Quadrature('auto', tolerance=...)",
            AccuracyWarning,
            stacklevel=level,
        )
    if report.outside is not None and not report.outside.enough:
        warnings.warn(report.outside.advice, AccuracyWarning, stacklevel=level)
