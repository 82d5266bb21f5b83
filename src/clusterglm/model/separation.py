"""What to do where covariates separate the responses."""

from __future__ import annotations

from clusterglm.errors import check_option

SEPARATIONS = ("error", "limit")


def read_separation(value: object) -> bool:
    """Read the argument `separation=`: whether a likelihood without a maximum is followed to its limit.

    Parameters
    ----------
    value : object
        "error" or "limit".

    Raises
    ------
    OptionError
        On anything else.
    """
    return check_option("separation", value, SEPARATIONS) == "limit"
