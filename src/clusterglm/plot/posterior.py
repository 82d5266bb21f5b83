"""Posteriors: chains and densities of parameters, and data drawn from the model beside those that were seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clusterglm.errors import OptionError, nearest
from clusterglm.model.arguments import several, shown, whole_number
from clusterglm.model.arrays import Array
from clusterglm.plot.base import Plot, canvas, legend, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clusterglm.results.models.posterior import Posterior

_POINTS = 200  # of a density
_STATISTICS = ("mean of all responses", "standard deviation of clusters' means")


def trace(
    posterior: Posterior,
    parameter: str | None = None,
    ax: Axes | None = None,
    *,
    theme: str | None = None,
) -> Plot:
    """Draws of one parameter in the order of each chain, with their density beside it.

    Parameters
    ----------
    posterior : Posterior
        What `fit.sample()` gives.
    parameter : str, optional
        By default the last, of which chains know the least in most models.
    ax : matplotlib Axes, optional
        Its place is divided in two.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `chain`, `draw`, `value`; the axis is that of the chains.

    Raises
    ------
    OptionError
        On a parameter that there is not.
    """
    import pandas as pd

    _check(posterior)
    names = list(posterior.names)
    name = names[-1] if parameter is None else parameter
    if not isinstance(name, str) or name not in names:
        advice = f"{nearest(str(name), names)}parameter={names[0]!r}"
        raise OptionError(f"parameter={shown(name)}", f"one of {', '.join(map(repr, names))}", advice)
    values, positive = posterior.values[:, :, names.index(name)], bool(posterior._coordinates.logs[names.index(name)])
    chains, number = values.shape
    with canvas(ax, theme, (7.2, 3.2)) as (axis, look):
        left, right = panels(axis, 2)
        low, high = float(values.min()), float(values.max())
        begin = low - 0.1 * (high - low)
        at = np.linspace(max(begin, 0.0) if positive else begin, high + 0.1 * (high - low), _POINTS)
        for k, own in enumerate(values):
            colour = look.colours[k % len(look.colours)]
            left.plot(np.arange(number), own, color=colour, linewidth=0.6, label=f"chain {k + 1}")
            right.plot(at, density_of(own, at, positive), color=colour)
        left.set_xlabel("Draw")
        left.set_ylabel(name)
        right.set_xlabel(name)
        right.set_ylabel("Density")
        legend(left)
    frame = {"chain": np.repeat(np.arange(chains), number), "draw": np.tile(np.arange(number), chains)}
    return Plot(left, pd.DataFrame(frame | {"value": values.ravel()}))


def predictive_check(
    posterior: Posterior,
    ax: Axes | None = None,
    *,
    statistics: Sequence[str] = _STATISTICS,
    n: int = 100,
    theme: str | None = None,
) -> Plot:
    """Data drawn from the posterior predictive distribution, of clusters with new effects, beside those that were seen.

    Parameters
    ----------
    posterior : Posterior
    ax : matplotlib Axes, optional
        Its place is divided in as many as there are statistics.
    statistics : sequence of str
        Among "mean of all responses" and "standard deviation of clusters' means".
    n : int
        Data sets, at least 20.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `statistic`, `set` (-1 for the data that were seen), `value`, and `share`, of the sets in which the
        statistic is at least what was seen.

    Raises
    ------
    OptionError
        On a statistic that there is not, or fewer sets.
    """
    import pandas as pd

    _check(posterior)
    whole_number("n", n, 20, 100_000, advice="n=100")
    for name in several("statistics", statistics, "names of statistics", f"statistics=[{_STATISTICS[0]!r}]", least=1):
        if not isinstance(name, str) or name not in _STATISTICS:
            raise OptionError(
                f"statistics= with {shown(name)}", f"among {_STATISTICS[0]!r} and {_STATISTICS[1]!r}", "leave out"
            )
    seen, drawn = posterior.predictive_statistics(n)
    parts = []
    with canvas(ax, theme, (3.4 * max(2, len(statistics)), 3.2)) as (axis, look):
        for own, name in zip(panels(axis, len(statistics)), statistics, strict=True):
            k = _STATISTICS.index(name)
            own.hist(drawn[:, k], bins=min(30, n // 5), color=look.colours[0], alpha=0.5, label="drawn")
            own.axvline(seen[k], color=look.colours[1], label="seen")
            own.set_xlabel(f"{name[0].upper()}{name[1:]}")
            own.set_ylabel("Data sets")
            legend(own)
            share = float((drawn[:, k] >= seen[k]).mean())
            columns = {"set": np.arange(-1, n), "value": np.append(seen[k], drawn[:, k]), "share": share}
            parts.append(pd.DataFrame({"statistic": name} | columns))
    return Plot(own, pd.concat(parts, ignore_index=True))


def _check(posterior: object) -> None:
    if not hasattr(type(posterior), "predictive_statistics"):
        raise OptionError(
            f"a picture of the posterior of {shown(posterior)}", "what fit.sample() gives", "fit.sample()"
        )


def density_of(draws: Array, at: Array, positive: bool = False) -> Array:
    """A kernel density estimate, by a normal kernel and the normal reference bandwidth with the smaller spread.

    Of what is `positive` the part that a kernel has below 0 is reflected.
    """
    quartiles = np.quantile(draws, [0.25, 0.75])
    spread = min(float(np.std(draws)), float(quartiles[1] - quartiles[0]) / 1.349) or float(np.std(draws)) or 1.0
    width = 0.9 * spread * len(draws) ** -0.2
    kernels = np.exp(-0.5 * ((at[:, None] - draws) / width) ** 2)
    if positive:
        kernels += np.exp(-0.5 * ((at[:, None] + draws) / width) ** 2)
    return np.asarray(kernels.mean(axis=1) / (width * np.sqrt(2.0 * np.pi)))
