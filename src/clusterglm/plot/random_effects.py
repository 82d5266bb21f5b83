"""Random effects of the clusters against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtri

from clusterglm.errors import OptionError, nearest
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arguments import several, whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import CLUSTERS_DRAWN
from clusterglm.plot.base import Plot, canvas, legend, wrapped
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import check_fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WITH_ELLIPSES = 60  # clusters
_OUTLINE = 121  # of an ellipse


@with_alpha
def random_effects(
    fit: Result,
    effects: Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    level: float = 0.95,
    named: int = _WITH_ELLIPSES,
    theme: str | None = None,
) -> Plot:
    """Two random effects of each cluster against each other, with ellipses of what its data leave open.

    Parameters
    ----------
    fit : MixedEffectsResult
    effects : sequence of two str, optional
        Names as in `random_effects`, that of the horizontal axis first; by default the first two.
    ax : matplotlib Axes, optional
    level : float
        Probability within an ellipse.
    named : int
        Most clusters that have an ellipse; of more of them, only points are drawn, of above 2,000 as many at even
        distances.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `label`; the posterior means of both effects under their names; `sd_` and the names; `correlation` of the
        two given the cluster's data.

    Raises
    ------
    OptionError
        For models without several random effects, and effects that there are not.

    Notes
    -----
    A cluster's ellipse is that of the normal distribution with the posterior mean and covariance of its effects; the
    large broken one is that of the effects' distribution.
    """
    import pandas as pd

    whole_number("named", named, 0)
    check_fit(fit, "cg.plot.random_effects")
    radius = float(np.sqrt(chdtri(2.0, 1.0 - check_level(level))))
    first, second = _pair(fit, effects)
    posterior = fit._effects_given_data()
    where = [posterior.names.index(first), posterior.names.index(second)]
    means, covariances = posterior.means[:, where], posterior.covariances[:, where][:, :, where]
    sd = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = covariances[:, 0, 1] / sd.prod(axis=1)
    table = pd.DataFrame(
        {
            "label": fit.data.rows.labels,
            first: means[:, 0],
            second: means[:, 1],
            f"sd_{first}": sd[:, 0],
            f"sd_{second}": sd[:, 1],
            "correlation": correlation,
        }
    )
    shown = np.unique(np.linspace(0, len(means) - 1, CLUSTERS_DRAWN).astype(int))
    percent = f"{100 * level:g}%"
    with canvas(ax, theme, (5.6, 4.8)) as (axis, look):
        axis.axhline(0.0, color=look.muted, linewidth=1.0, zorder=1)
        axis.axvline(0.0, color=look.muted, linewidth=1.0, zorder=1)
        if len(means) <= named:
            for centre, covariance in zip(means, covariances, strict=True):
                axis.plot(*_ellipse(centre, covariance, radius), color=look.colours[0], linewidth=0.8, alpha=0.45)
        size = 4.0 if len(shown) <= named else 2.2
        some = f" ({percent} given its data)" if len(means) <= named else ""
        label = f"{fit.data.cluster_name}: posterior mean{some}"
        axis.plot(*means[shown].T, "o", color=look.colours[0], markersize=size, label=label)
        whole = posterior.covariance[np.ix_(where, where)]
        label = f"{percent} of the effects' distribution"
        axis.plot(*_ellipse(np.zeros(2), whole, radius), color=look.colours[1], linestyle="--", label=label)
        axis.set_xlabel(wrapped(f"Random effect {first}", 60))
        axis.set_ylabel(wrapped(f"Random effect {second}", 40))
        legend(axis)
    return Plot(axis, table)


def _pair(fit: Result, effects: Sequence[str] | None) -> tuple[str, str]:
    known = list(fit._cluster_effects())
    if len(known) < 2:
        raise OptionError(
            f"random effects against each other of a {fit.kind} fit with {len(known)}",
            "two random effects or more",
            "a formula such as y ~ x + (x | id); or fit.plot.caterpillar()",
        )
    if effects is None:
        return known[0], known[1]
    example = f"effects={known[:2]!r}"
    wanted = several("effects", effects, "two names of random effects", example)
    for name in wanted:
        if name not in known:
            listed = ", ".join(map(repr, known))
            raise OptionError(f"effects= with {name!r}", f"one of {listed}", f"{nearest(str(name), known)}{example}")
    if len(wanted) != 2 or wanted[0] == wanted[1]:
        raise OptionError(f"effects={list(wanted)!r}", "two different random effects", example)
    return wanted[0], wanted[1]


def _ellipse(centre: Array, covariance: Array, radius: float) -> Array:
    """Its outline, shape (2, points); a line where the covariance is singular."""
    values, axes = np.linalg.eigh(covariance)
    angle = np.linspace(0.0, 2.0 * np.pi, _OUTLINE)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    return np.asarray(centre[:, None] + radius * (axes * np.sqrt(np.maximum(values, 0.0))) @ circle)
