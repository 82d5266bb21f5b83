"""How the incidental-parameter bias of a fixed-effects model is to be corrected."""

from __future__ import annotations

from dataclasses import dataclass

from clusterglm.errors import OptionError, check_option

CORRECTIONS = ("analytical", "jackknife")


@dataclass(frozen=True)
class SplitPanel:
    """A request for the half-panel jackknife: the model is fitted again to each half of every cluster.

    Parameters
    ----------
    order : str, optional
        Column of the data that orders the rows within clusters, such as time; None: the order of the table. The
        halves are the rows before and after the middle, so that each keeps the dependence of neighbouring rows.

    Raises
    ------
    OptionError
        When `order` is not the name of a column.

    Notes
    -----
    Dhaene and Jochmans, Rev. Econ. Stud. 82, 2015. Clusters need four rows to carry information into both halves.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> half = cg.SplitPanel(order="week")
    >>> fit = cg.fixed_effects("y ~ week", bacteria, cluster="ID", bias_correction=half)
    >>> fit.n_informative
    24
    """

    order: str | None = None

    def __post_init__(self) -> None:
        if self.order is not None and (not isinstance(self.order, str) or not self.order):
            raise OptionError(
                f"SplitPanel(order={self.order!r})",
                "the name of a column, or None for the order of the table",
                'SplitPanel(order="time"), with the name of your column',
            )

    def __str__(self) -> str:
        return "half-panel jackknife, rows " + (f"by {self.order!r}" if self.order else "in the order of the table")


def bias_correction(value: object) -> str | SplitPanel | None:
    """Read the argument `bias_correction=`.

    Parameters
    ----------
    value : object
        None, "analytical", "jackknife" (the same as `SplitPanel()`), or a `SplitPanel`.

    Returns
    -------
    "analytical", SplitPanel or None

    Raises
    ------
    OptionError
        On anything else.
    """
    if value is None or isinstance(value, SplitPanel):
        return value
    name = check_option("bias_correction", value, CORRECTIONS)
    return SplitPanel() if name == "jackknife" else name
