"""Which penalty a likelihood is maximised with."""

from __future__ import annotations

from clusterglm.errors import check_option

PENALTIES = ("firth",)

IN_WORDS = {"firth": "Firth: half the log-determinant of the expected information (Jeffreys' prior)"}
"""What a summary says of each."""


def read_penalty(value: object) -> str | None:
    """Read the argument `penalty=`.

    Parameters
    ----------
    value : object
        None, or "firth".

    Raises
    ------
    OptionError
        On anything else.
    """
    return None if value is None else check_option("penalty", value, PENALTIES)
