"""The families and links that can be fitted, found by name."""

from __future__ import annotations

from clusterglm.errors import OptionError, check_option
from clusterglm.model.response.base import Response
from clusterglm.model.response.binomial_cloglog import BinomialCloglog
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.binomial_probit import BinomialProbit
from clusterglm.model.response.poisson_log import PoissonLog

RESPONSES: dict[str, Response] = {
    r.code: r for r in (BinomialLogit(), BinomialCloglog(), BinomialProbit(), PoissonLog())
}
"""Every response model by its code; the first of a family has the family's default link."""


def families() -> tuple[str, ...]:
    """Names of the families."""
    return tuple(dict.fromkeys(r.family for r in RESPONSES.values()))


def links(family: str) -> tuple[str, ...]:
    """Names of a family's links, the default first."""
    return tuple(r.link for r in RESPONSES.values() if r.family == family)


def response(family: str, link: str | None = None) -> Response:
    """The response model of a family and link.

    Parameters
    ----------
    family : str
        "binomial" or "poisson".
    link : str, optional
        Binomial: "logit" (default), "cloglog", "probit"; Poisson: "log".

    Raises
    ------
    OptionError
        When a name is not among the allowed ones; it lists them.
    """
    if isinstance(family, str) and family in ("gaussian", "normal"):
        raise OptionError(
            f"family={family!r}, of responses measured on a continuous scale",
            f"one of {', '.join(map(repr, families()))}: yes-or-no, grouped and count responses",
            "a linear mixed model of another package, such as MixedLM of statsmodels; "
            "distribution='gaussian' is that of the random intercept",
        )
    check_option("family", family, families())
    allowed = links(family)
    chosen = allowed[0] if link is None else check_option("link", link, allowed)
    return RESPONSES[f"{family}_{chosen}"]
