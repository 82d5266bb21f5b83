"""Which penalty a likelihood is maximised with."""

from __future__ import annotations

from clusterglm.errors import OptionError, check_option

PENALTIES = ("firth", "soft")

IN_WORDS = {
    "firth": "Firth: half the log-determinant of the expected information (Jeffreys' prior)",
    "soft": "soft: 2 root(p/n) times Firth's of the model without random effects and a Huber loss of log sigma",
}
"""What a summary says of each."""

SEVERAL_IN_WORDS = {
    "soft": "soft: 2 root(p/n) times Firth's of the model without random effects and Huber losses of the Cholesky "
    "factor of their covariance, its diagonal in logarithms",
}
"""The same, of models with several random effects."""


def read_penalty(value: object, known: str = "firth") -> str | None:
    """Read the argument `penalty=`.

    Parameters
    ----------
    value : object
        None, or the penalty that the model knows.
    known : {"firth", "soft"}

    Raises
    ------
    OptionError
        On anything else.
    """
    if value is None:
        return None
    if isinstance(value, str) and value in PENALTIES and value != known:
        raise OptionError(
            f"penalty={value!r}",
            f"penalty={known!r}, which this model can have",
            "penalty='firth' in cg.pooled, cg.fixed_effects and cg.conditional, penalty='soft' in cg.random_effects",
        )
    return check_option("penalty", value, (known,))
